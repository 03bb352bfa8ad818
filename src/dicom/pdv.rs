//! (file pdv)
