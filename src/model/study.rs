//! What is known of a study and of each instance received.

use super::{Digest, IdentifierKind, IssuedId, JournalId, Moment, PartnerId, Priority, Uid};
use serde::{Deserialize, Serialize};

/// Where an instance's data set lies: a byte range of a journal, exactly as received, without file meta information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalPlace {
    pub journal: JournalId,
    /// Byte offset of the record in the journal.
    pub record: u64,
    /// Byte offset of the data set in the journal.
    pub data: u64,
    /// Length of the data set, bytes.
    pub length: u64,
    pub sha256: Digest,
}

impl JournalPlace {
    /// The byte behind the data set.
    pub fn end(&self) -> u64 {
        self.data + self.length
    }
}

/// What the header of an instance says about its study, read by the header scanner and decoded to UTF-8.
/// Holds patient data: goes to the store and to partners, never to a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StudyFacts {
    /// (0010,0020) with (0010,0021), or the sender's configured issuer.
    pub patient_id: IssuedId,
    /// Identifiers of the patient that have been merged into the one above (ADT^A40): images and reports may still carry
    /// them.
    pub former_patient_ids: Vec<IssuedId>,
    /// (0010,0010), as received: `Family^Given^Middle^Prefix^Suffix`.
    pub patient_name: String,
    /// (0010,0030), `YYYYMMDD`.
    pub birth_date: String,
    /// (0010,0040).
    pub sex: String,
    /// (0008,0050) with (0008,0051), or the sender's configured issuer.
    pub accession: IssuedId,
    /// (0040,2016) of the data set or its Request Attributes Sequence.
    pub placer_order_number: String,
    /// (0040,2017).
    pub filler_order_number: String,
    /// Who gave them, where they come from the order: DICOM names no issuer.
    pub placer_issuer: String,
    pub filler_issuer: String,
    /// (0008,0060).
    pub modality: String,
    /// (0008,1030).
    pub description: String,
    /// (0020,0010).
    pub study_id: String,
    /// (0018,0015).
    pub body_part: String,
    /// (0008,0020) and (0008,0030), `YYYYMMDD` and `HHMMSS`.
    pub study_date: String,
    pub study_time: String,
    /// (0040,1003).
    pub priority: Priority,
    /// Number of Study Related Instances (0020,1208), where the sender says it.
    pub expected_instances: Option<u32>,
    /// (0008,0090).
    pub referring_physician: String,
    /// (0040,0512), whole-slide images.
    pub container_id: String,
    /// That container and the specimens in it, (0040,0551), each with its issuer ((0040,0513), (0040,0562)) or the sender's
    /// configured one; each once.
    pub specimens: Vec<IssuedId>,
}

impl StudyFacts {
    /// Everything it is identified by; the issuer empty where nobody has named one.
    pub fn identifiers(&self) -> Vec<(IdentifierKind, IssuedId)> {
        let placer = IssuedId::new(self.placer_order_number.as_str(), self.placer_issuer.as_str());
        let filler = IssuedId::new(self.filler_order_number.as_str(), self.filler_issuer.as_str());
        let all = [
            (IdentifierKind::Patient, self.patient_id.clone()),
            (IdentifierKind::Accession, self.accession.clone()),
            (IdentifierKind::Placer, placer),
            (IdentifierKind::Filler, filler),
        ];
        all.into_iter().filter(|(_, id)| !id.is_empty()).collect()
    }
}

/// What an instance says about itself and its series, for those who search. No patient data, but a person's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceFacts {
    /// (0020,0013).
    pub number: Option<i32>,
    /// (0020,0011).
    pub series_number: Option<i32>,
    /// (0008,103E).
    pub series_description: String,
    /// Performed Procedure Step Start Date and Time (0040,0244), (0040,0245): `YYYYMMDD`, `HHMMSS`.
    pub performed_on: String,
    pub performed_at: String,
}

/// One durable instance on its way from the journal to the index.
#[derive(Clone, Debug)]
pub struct ReceivedInstance {
    pub origin: PartnerId,
    /// Calling and called AE title of the association it came by.
    pub calling_ae: String,
    pub called_ae: String,
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub transfer_syntax: Uid,
    pub study: Uid,
    pub series: Uid,
    pub place: JournalPlace,
    pub received: Moment,
    pub facts: StudyFacts,
    pub own: InstanceFacts,
}
