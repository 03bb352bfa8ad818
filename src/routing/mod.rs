//! Stage 2: decide. `decide`, `condition`, `calendar` and `coverage` are pure: no I/O, no clock. `step` is the one
//! transaction that stores a decision together with what it makes owed.

pub mod calendar;
pub mod claims;
pub mod condition;
pub mod coverage;
pub mod decide;
mod names;
mod offer;
mod orders;
mod patients;
pub mod readers;
pub mod slides;
pub mod step;
