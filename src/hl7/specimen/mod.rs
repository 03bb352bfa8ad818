//! Specimens as HL7 v2: SSU^U03 in and out, and the SPM and SAC of any message (HL7 v2.5.1 13.3.3, 7.4.3, 13.4.3).
//!
//! In: a [`Message`](super::message::Message), or what is to be told. Out: a [`SpecimenStatus`], what was said of each
//! specimen; or the text of a message, for `outgoing`. Older and looser SSU are tolerated: v2.4 has no SPM, many leave
//! EQU out.
//!
//! Does not say what an event does to a specimen (`model::specimen_event` does), nor who may tell it.

mod read;
mod segments;
mod write;

pub use read::specimens_in;
pub use write::{SpecimenToTell, SsuToSend};

use crate::model::{SpecimenSaid, TimeSaid};

/// An SSU^U03 as received. Goes to the store and to partners, never to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecimenStatus {
    /// EQU-2, or MSH-7: when it happened, where the specimen itself says nothing.
    pub at: TimeSaid,
    /// At least one.
    pub specimens: Vec<ToldSpecimen>,
    /// Bytes that mean nothing in the message's character set became U+FFFD somewhere in it.
    pub lossy: bool,
}

/// One specimen of the message: an SPM with the container it stands under, or a container alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldSpecimen {
    /// Ids as sent: an issuer that was left out is empty.
    pub said: SpecimenSaid,
    /// SAC-8 of its container.
    pub status: Status,
    /// Which SAC of the message, from 1.
    pub sac: usize,
}

/// SAC-8, as far as it says what happened: table 0370, or our own words as alternate code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Empty, U (unknown) or X (container unavailable): the specimen itself must say it.
    #[default]
    Silent,
    /// I (identified) or P (in position): it is where the sender is.
    Here,
    /// O (in process) or R (process completed).
    InWork,
    /// L (left equipment): it has left where the sender is.
    Left,
    /// M.
    Missing,
    /// `collected`, `shipped`, …: what we write ourselves, and agree on with partners whose table has no fitting code.
    Said(crate::model::SpecimenEvent),
    /// Something else: it would be a guess.
    Other,
}

#[cfg(test)]
mod tests;
