//! Stage 5: results.

pub mod documents;
