//! (file listener)
