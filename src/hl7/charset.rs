//! (file charset)
