//! What a hospital tells of a patient: ADT^A08 and A31 (changed data), A40 and the older A34 (an identifier merged into
//! another) (HL7 v2.5.1 3.3.8, 3.3.40; IHE ITI-30).
//!
//! In: a [`Message`](super::message::Message). Out: a [`PatientNews`], or the place of what it cannot do without; and the same message
//! for a receiver, with who sends and receives it and what the patient is called there, all else as received.
//!
//! Does not say whom it concerns: `intake` does. Admissions, transfers and discharges are not taken.

mod forward;
mod read;

pub use forward::{AdtForward, forward, identifiers};

use crate::model::IssuedId;
use serde::{Deserialize, Serialize};

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// A08, A31.
    Changed,
    /// A40, A34.
    Merged,
}

/// What is known of a patient now. Holds patient data: goes to the store and to partners, never to a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatientNews {
    pub news: News,
    /// PID-3, each with CX-4.1 as its issuer; PID-2 where PID-3 is empty. At least one.
    pub patient_ids: Vec<IssuedId>,
    /// MRG-1: what has been merged into the above. At least one when something was merged.
    pub merged_ids: Vec<IssuedId>,
    /// PID-5 as `Family^Given^Middle^Prefix^Suffix`. Empty: unchanged.
    pub patient_name: String,
    /// PID-7, `YYYYMMDD`. Empty: unchanged.
    pub birth_date: String,
    /// PID-8. Empty: unchanged.
    pub sex: String,
}

#[cfg(test)]
mod tests;
