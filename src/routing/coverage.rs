//! (file coverage)
