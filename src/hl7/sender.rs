//! (file sender)
