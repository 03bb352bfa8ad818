//! (file scu)
