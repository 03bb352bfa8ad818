//! (file envelope)
