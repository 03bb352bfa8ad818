//! (file sample)
