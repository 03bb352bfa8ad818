//! (file calendar)
