//! (file condition)
