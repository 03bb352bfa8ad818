//! Stage 4: from the queue to the partner.
//!
//! `worker` takes envelopes, claims each delivery in the ledger (the attempt is written down before it is made), sends
//! by `c_store` (with the identifiers of `identity`, where the partner wants its own) or `report` (what `content` reads as the line takes it), and writes the outcome down in `settle`, after `retry` has said whose fault it is and what
//! follows.
//! `slots` shares out the partner's associations, `mllp_lines` its HL7 connections, `way` lets stat images go first.
//! `probe` asks paused partners with C-ECHO whether they are back; `overdue` tells a person what has not left in time.
//!
//! What if power goes here? The attempt is on record, its lease runs out or the next start takes it back, and it is
//! sent again: a DICOM receiver keeps one copy of a SOP instance, an HL7 receiver knows the control id.

pub mod c_store;
mod content;
pub mod identity;
pub mod mllp_lines;
pub mod order_answers;
pub mod overdue;
pub mod probe;
pub mod report;
pub mod retry;
pub mod settle;
pub mod slots;
pub mod way;
pub mod worker;
