//! (file mllp)
