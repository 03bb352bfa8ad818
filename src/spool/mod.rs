//! (room spool)
