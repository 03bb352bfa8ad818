//! Reports by specimen: OUL^R22 out to origins (HL7 v2.5.1 7.3.6). It is read with ORU (`oru`), whose segments it has.
//!
//! In: the report to send, cut into sections of one examination each. Out: SPM, SAC, OBR, ORC and OBX for each specimen.

mod write;

pub(super) use write::{build, specimens};

#[cfg(test)]
mod tests;
