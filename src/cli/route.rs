//! (file route)
