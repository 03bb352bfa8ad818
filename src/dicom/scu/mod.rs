//! Sending: opens associations to partners, stores instances there, and asks or tells them by the N-services (PS3.8 9.3,
//! PS3.7 9.1.1, 9.1.5, 10.1).
//!
//! In: a target, proposals, and for each instance its identifiers, its length and a [`DataSource`]. Out: the partner's
//! status for each instance, or an error that says on whose side the attempt broke. Memory is constant whatever an
//! instance's length; header and fragment leave in one write; every step has a time limit, and an instance as a whole
//! one too.
//!
//! Events that a partner reports on an association of ours, because we asked it something there, are heard and answered.
//!
//! Does not decide what to send, in which syntax, or when to try again; does not transcode, pad or look into a data
//! set; one operation at a time (asynchronous operations window 1/1).

mod answer;
mod association;
mod events;
mod negotiate;
mod operate;
mod store;
#[cfg(test)]
mod tests;
mod wire;

use crate::{dicom::dimse::CommandError, model::Uid};
use bytes::BytesMut;
use std::{future::Future, io, time::Duration};

pub use answer::{StoreAnswer, read_answer};
pub use association::Association;
pub use events::Heard;
pub use negotiate::MAX_PROPOSALS;

const VERIFICATION: &str = "1.2.840.10008.1.1";
const IMPLICIT_VR_LE: &str = "1.2.840.10008.1.2";

#[derive(Clone, Debug)]
pub struct ScuSettings {
    pub calling_ae: String,
    /// Connection and association must stand after this.
    pub connect: Duration,
    /// A step without progress for this long, or a response that takes longer, ends the association.
    pub response: Duration,
}

#[derive(Clone, Debug)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub called_ae: String,
}

/// One presentation context: one transfer syntax each, so that what the partner takes is known for each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    pub sop_class: Uid,
    pub transfer_syntax: Uid,
}

impl Proposal {
    /// What [`Association::echo`] needs. `None` never happens: both constants are UIDs.
    pub fn verification() -> Option<Self> {
        Some(Self { sop_class: Uid::new(VERIFICATION).ok()?, transfer_syntax: Uid::new(IMPLICIT_VR_LE).ok()? })
    }
}

#[derive(Clone, Debug)]
pub struct InstanceToStore {
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub transfer_syntax: Uid,
    /// Length of the data set in bytes, without file meta information. Sent as it is, odd or even.
    pub length: u64,
}

/// Where an instance's data set comes from, in order, once.
pub trait DataSource: Send {
    /// Appends up to `at_most` bytes; Ok(0) = end.
    fn read(&mut self, into: &mut BytesMut, at_most: usize) -> impl Future<Output = io::Result<usize>> + Send;
}

/// The partner's C-STORE-RSP. [`read_answer`] says what the status means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreResponse {
    pub status: u16,
    /// Error Comment (0000,0902) as the partner wrote it, at most 64 characters, no control characters. May name a
    /// patient: for the ledger, never for a log.
    pub comment: Option<String>,
}

/// Why there is no association.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("partner cannot be reached")]
    Unreachable(#[source] io::Error),
    #[error("no association after {0:?}")]
    TimedOut(Duration),
    #[error("association rejected ({}): {reason}", if *permanent { "permanent" } else { "transient" })]
    Rejected { permanent: bool, reason: &'static str },
    #[error("association aborted by the partner before it stood")]
    Aborted,
    #[error("partner does not keep to PS3.8: {0}")]
    Protocol(&'static str),
    /// The fault is ours: settings that no association can be asked for with.
    #[error("no association can be requested: {0}")]
    Unfit(&'static str),
}

/// Why an operation has no answer. After all but [`ScuError::NotAccepted`] the association is closed; whether the
/// partner has the instance is unknown, so it is sent again.
#[derive(Debug, thiserror::Error)]
pub enum ScuError {
    #[error("partner accepted no presentation context for this SOP class and transfer syntax")]
    NotAccepted,
    #[error("association is closed already")]
    Closed,
    #[error("connection lost")]
    Lost(#[source] io::Error),
    #[error("no progress for {0:?}, or too little over the whole instance")]
    Stalled(Duration),
    #[error("association aborted by the partner: {0}")]
    Aborted(&'static str),
    #[error("association released by the partner before it answered")]
    Released,
    #[error("partner does not keep to the protocol: {0}")]
    Protocol(&'static str),
    #[error("partner's response cannot be read")]
    Unreadable(#[source] CommandError),
    /// The fault is ours: the instance could not be read, or was shorter than its length.
    #[error("the instance to send cannot be read")]
    Source(#[source] io::Error),
}
