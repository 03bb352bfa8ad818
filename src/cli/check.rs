//! (file check)
