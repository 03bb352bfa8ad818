//! (file memory)
