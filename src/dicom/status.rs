//! (file status)
