//! (file decide)
