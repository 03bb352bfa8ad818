//! (file message)
