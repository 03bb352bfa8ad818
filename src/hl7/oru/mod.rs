//! Reports as HL7 v2: ORU^R01 in from readers, ORU^R01 out to origins (HL7 v2.5.1 7.3.1); and what OUL (`oul`) and MDM
//! (`mdm`), which carry the same in other orders, share with it.
//!
//! In: a [`Message`](super::message::Message), or what is to be sent. Out: an [`OruReport`] in plain text, or bytes in
//! the receiver's character set. Segments out of order, local segments and old versions are tolerated; what
//! cannot be understood as far as a report must be is refused with its place.
//!
//! Does not say whose report it is: correlation does, by the identifiers found here.

mod cut;
mod document;
mod encapsulated;
mod group;
mod kind;
mod names;
mod observation;
mod read;
mod specimen;
mod values;
mod write;

pub use super::ack::{ErrorCode, Rejected};
pub use encapsulated::Encapsulated;
pub(super) use group::Groups;
pub use kind::ReportKind;
pub use names::Interpreter;
pub(super) use names::patient_name;
pub(super) use observation::coded;
pub(super) use read::{Reader, patient_ids};
pub use specimen::Specimen;
pub use values::{Detail, Structured};
pub use write::{ObservationToSend, OruToSend, Part, SentReport, Shape, ValueToSend};
pub(super) use write::{coded as coded_parts, entity as entity_parts, timestamp};

use crate::model::{IssuedId, ReportStatus, Uid};

/// More than this in one message is not a report, and would need memory out of proportion to the message.
pub const MAX_OBSERVATIONS: usize = 250_000;
pub const MAX_GROUPS: usize = 5_000;
/// Results of one message that are kept in parts; the rest is text.
const MAX_STRUCTURED: usize = 10_000;

/// A report as received. Holds patient data: goes to the store and to partners, never to a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OruReport {
    /// What it came as.
    pub kind: ReportKind,
    /// MSH-3.1 and MSH-4.1.
    pub sending_application: String,
    pub sending_facility: String,
    /// MSH-5.1 and MSH-6.1.
    pub receiving_application: String,
    pub receiving_facility: String,
    /// MSH-10.
    pub control_id: String,
    /// MSH-11.1: P, or empty where the sender names none.
    pub processing_id: String,
    /// MSH-12.1.
    pub version: String,
    /// PID-3, each with CX-4.1 as its issuer; PID-2 where PID-3 is empty. May be empty.
    pub patient_ids: Vec<IssuedId>,
    /// PID-5 in the order of DICOM: `Family^Given^Middle^Prefix^Suffix` (PS3.5 6.2.1.1).
    pub patient_name: String,
    /// PID-7, `YYYYMMDD`; empty unless the sender names a day.
    pub birth_date: String,
    /// PID-8.
    pub sex: String,
    /// One an OBR; at least one.
    pub groups: Vec<OruGroup>,
    /// The sender cancels the document (MDM^T11, TXA-19 CA): what it reported is no report any more.
    pub cancelled: bool,
    /// It adds to the report before it, which it does not repeat (MDM^T06).
    pub is_addendum: bool,
    /// TXA-12 and TXA-13 of a document: its number, and that of the document it replaces or adds to.
    pub document: IssuedId,
    pub parent: IssuedId,
    /// Bytes that mean nothing in the message's character set became U+FFFD somewhere in this report.
    pub lossy: bool,
}

/// One OBR and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OruGroup {
    /// OBR-2, or ORC-2.
    pub placer: IssuedId,
    /// OBR-3, or ORC-3.
    pub filler: IssuedId,
    /// What may be the accession number: OBR-18, OBR-3, IPC-1, in this order, each once.
    pub accessions: Vec<IssuedId>,
    /// ZDS-1, IPC-3 and the OBX that name it, each once. More than one: the report is about several studies.
    pub study_uids: Vec<Uid>,
    /// SPM and SAC before it (OUL), or behind it (ORU).
    pub specimens: Vec<Specimen>,
    /// OBR-25; OBX-11 of all where OBR-25 is empty. Of an MDM TXA-17.
    pub status: ReportStatus,
    /// OBR-4: code, text, coding system.
    pub service: Coded,
    /// OBR-7 and OBR-22 as sent: `YYYYMMDDHHMMSS`, more or less of it, perhaps with a fraction and an offset.
    pub observed_at: String,
    pub reported_at: String,
    /// OBR-32.
    pub interpreter: Interpreter,
    /// In the order received. Notes (NTE) stand among them where they stood.
    pub observations: Vec<Observation>,
}

/// CE, CWE: identifier, text, name of coding system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coded {
    pub code: String,
    pub text: String,
    pub system: String,
}

/// One OBX, or one NTE (value type `NTE`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// OBX-1.
    pub set_id: String,
    /// OBX-2.
    pub value_type: String,
    /// OBX-3.
    pub code: Coded,
    /// OBX-11 as sent. See [`Observation::is_withdrawn`].
    pub status: String,
    /// What it has beside a text; most have nothing.
    pub detail: Option<Box<Detail>>,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Lines separated by LF: repetitions and `\.br\` both end a line.
    Text(String),
    /// ED, or RP that carries its data.
    Document { mime: String, bytes: Encapsulated },
    /// RP: the document lies elsewhere, under this address.
    Pointer { address: String, mime: String },
}

impl Observation {
    /// OBX-11 D (delete), W (wrong), X (no result possible): this is to be taken back, not shown.
    pub fn is_withdrawn(&self) -> bool {
        matches!(self.status.as_str(), "D" | "W" | "X")
    }

    /// OBX-8.
    pub fn flags(&self) -> &[String] {
        self.detail.as_ref().map_or(&[], |detail| &detail.flags)
    }

    /// The lines of a text; none of a document.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        let text = if let Content::Text(text) = &self.content { Some(text) } else { None };
        text.into_iter().flat_map(|text| text.split('\n'))
    }
}

#[cfg(test)]
mod tests;
