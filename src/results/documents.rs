//! (file documents)
