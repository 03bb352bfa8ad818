//! (file scp)
