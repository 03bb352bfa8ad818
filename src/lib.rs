//! Neisse carries radiology and pathology orders, images and reports between hospitals and their readers.
//!
//! Data flows one way through rooms named for what they do; `ARCHITECTURE.md` draws the house, and
//! `tests/house.rs` fails when a room imports one it may not.

pub mod cli;
pub mod config;
pub mod delivery;
pub mod dicom;
pub mod escalation;
pub mod handoff;
pub mod hl7;
pub mod intake;
pub mod model;
pub mod paper;
pub mod queue;
pub mod results;
pub mod routing;
pub mod shutdown;
pub mod spool;
pub mod startup;
pub mod store;
pub mod web;
pub mod worklist;
