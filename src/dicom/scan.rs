//! (file scan)
