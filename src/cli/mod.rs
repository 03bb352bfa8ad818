//! The command line.

pub mod check;
pub mod route;
pub mod sample;
