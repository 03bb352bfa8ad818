//! Report objects: Encapsulated PDF and Basic Text SR out, and the same plus Enhanced and Comprehensive SR in.
//!
//! In: what the report is about, and its PDF or text; or an instance received. Out: a data set in Explicit VR Little
//! Endian, without file meta information; or the text, the PDF and the identifiers by which a report finds its case.
//! Made objects stand in the origin's study, in its identifiers, in the character set its partner file names, with every type 1 and type 2
//! attribute of PS3.3 A.35.1 and A.45.1. Equal input makes equal bytes.
//!
//! Does not choose UIDs (the caller's are deterministic, so that sending again is harmless) and knows no case.

mod common;
mod letters;
mod pdf;
mod read;
mod render;
mod sr;

pub(in crate::dicom) use letters::written;

use super::charset::SenderCharset;
use crate::model::{IssuedId, Moment, OrderNumbers, Outgoing, ReportStatus, StudyFacts, Uid};
use dicom_dictionary_std::uids;

/// More than any report; whole-slide images and videos are not reports.
pub const MAX_DATA_SET_BYTES: usize = 64 * 1024 * 1024;
/// A megabyte of text fills 400 pages.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;
/// References in one made object.
pub const MAX_EVIDENCE: usize = 20_000;

/// An instance in the same study.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferencedInstance {
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub series: Uid,
}

/// What a made object says about itself. Holds patient data; `Debug` is left out, so that it cannot reach a log.
#[derive(Clone)]
pub struct DocumentAbout<'a> {
    /// The origin's study: the report is to be found where the images are.
    pub study: Uid,
    /// A series of its own.
    pub series: Uid,
    pub sop_instance: Uid,
    pub facts: &'a StudyFacts,
    /// What it answers, where that is several orders; otherwise empty, and the facts say it.
    pub orders: &'a [OrderNumbers],
    pub status: ReportStatus,
    /// Document Title (0042,0010), and the first 64 characters as Series Description (0008,103E).
    pub title: String,
    /// ISO 639-1, of the text.
    pub language: String,
    pub content: Moment,
    /// The origin's: dates and times are written in it.
    pub time_zone: chrono_tz::Tz,
    /// The institution that read.
    pub institution: String,
    /// DICOM person name of who answers for the report. Without it an object is never said to be VERIFIED, because
    /// Verifying Observer Name (0040,A075) is type 1.
    pub author: Option<String>,
    /// The images that were read, for Current Requested Procedure Evidence (0040,A375). May be empty.
    pub evidence: Vec<ReferencedInstance>,
    /// Instance Number (0020,0013).
    pub version: u32,
    /// The version before this one, for Predecessor Documents (0040,A360).
    pub predecessor: Option<ReferencedInstance>,
    /// The set it is written in, and what becomes of letters that set lacks.
    pub outgoing: Outgoing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeInstance {
    pub sop_class: Uid,
    pub sop_instance: Uid,
    /// Always Explicit VR Little Endian.
    pub transfer_syntax: Uid,
    /// Without preamble and file meta information.
    pub data_set: Vec<u8>,
    /// For the case's story and a person, about letters; no patient data.
    pub warnings: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    #[error("the document is not a PDF: expected %PDF- at its start")]
    NotPdf,
    #[error("the document has {found} bytes, at most {most} fit a report object")]
    TooLarge { found: usize, most: usize },
    #[error("{0} images are referenced, at most {MAX_EVIDENCE} fit a report object")]
    TooManyReferences(usize),
    /// A backslash separates values and a control character is not allowed (PS3.5 6.2); an identifier is not altered.
    #[error("{0} holds a backslash or a control character, which DICOM cannot carry")]
    NotEncodable(&'static str),
    #[error("the data set could not be written")]
    Write(#[source] Box<dicom_object::WriteError>),
}

/// What a received report object says.
#[derive(Clone)]
pub struct ReadReport {
    pub study: Uid,
    pub series: Option<Uid>,
    pub sop_instance: Uid,
    /// The issuer is (0010,0021), empty where the object names none.
    pub patient_id: IssuedId,
    pub patient_name: String,
    /// (0008,0050) with (0008,0051).
    pub accession: IssuedId,
    /// Referenced Request Sequence (0040,A370), and Request Attributes Sequence (0040,0275).
    pub requests: Vec<ReadRequest>,
    /// Document Title (0042,0010), or the concept name of the root container.
    pub title: String,
    /// None where the object does not say: an Encapsulated PDF without Verification Flag. Never `Corrected`: a
    /// predecessor may have been preliminary, and only the ledger knows which it was.
    pub status: Option<ReportStatus>,
    /// SOP Instance UIDs of Predecessor Documents (0040,A360).
    pub predecessors: Vec<Uid>,
    /// Verifying observer, else author observer, else person observer of the content: a DICOM person name.
    pub author: Option<String>,
    pub content: ReportContent,
    /// A value had bytes that its character set does not know; they stand as U+FFFD.
    pub lossy: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadRequest {
    pub accession: IssuedId,
    pub placer_order_number: String,
    pub filler_order_number: String,
    pub study: Option<Uid>,
}

#[derive(Clone, PartialEq, Eq)]
pub enum ReportContent {
    Text(String),
    Pdf(Vec<u8>),
}

/// The texts say nothing a peer wrote.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadError {
    #[error("not a report object: expected Basic Text, Enhanced or Comprehensive SR, or Encapsulated PDF")]
    NotAReport,
    #[error("a report in a transfer syntax that is not read: expected Implicit, Explicit or Deflated Little Endian")]
    TransferSyntax,
    #[error("the report has {0} bytes, at most {MAX_DATA_SET_BYTES} are read")]
    TooLarge(usize),
    #[error("the data set is malformed at byte {at}: {what}")]
    Malformed { at: usize, what: &'static str },
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("the encapsulated document is not a PDF")]
    NotPdf,
    #[error("the report holds more text than {MAX_TEXT_BYTES} bytes")]
    TooMuchText,
}

/// Makes an Encapsulated PDF Storage instance (PS3.3 A.45.1).
///
/// # Errors
/// When `pdf` is no PDF or too large, or an identifier cannot be written.
pub fn encapsulated_pdf(about: &DocumentAbout<'_>, pdf: impl Into<Vec<u8>>) -> Result<MadeInstance, MakeError> {
    pdf::make(about, pdf.into())
}

/// Makes a Basic Text SR Storage instance (PS3.3 A.35.1) after TID 2000, Basic Diagnostic Imaging Report.
///
/// # Errors
/// When the text is too large or an identifier cannot be written.
pub fn basic_text_sr(about: &DocumentAbout<'_>, text: &str) -> Result<MadeInstance, MakeError> {
    sr::make(about, text)
}

/// Whether instances of this class are results that [`read_report`] can read.
pub fn is_report(sop_class: &Uid) -> bool {
    is_structured(sop_class) || sop_class.as_str() == uids::ENCAPSULATED_PDF_STORAGE
}

fn is_structured(sop_class: &Uid) -> bool {
    [uids::BASIC_TEXT_SR_STORAGE, uids::ENHANCED_SR_STORAGE, uids::COMPREHENSIVE_SR_STORAGE]
        .contains(&sop_class.as_str())
}

/// Reads a report object as it came from the network.
///
/// # Errors
/// When it is no report, too large, malformed, or lacks its study, its own UID or its document.
pub fn read_report(sop_class: &Uid, transfer_syntax: &Uid, data_set: &[u8]) -> Result<ReadReport, ReadError> {
    read_report_from(sop_class, transfer_syntax, data_set, "")
}

/// The same, with what the sender means by Specific Character Set (0008,0005).
///
/// # Errors
/// As [`read_report`].
pub fn read_report_from(
    sop_class: &Uid,
    transfer_syntax: &Uid,
    data_set: &[u8],
    sender: impl Into<SenderCharset>,
) -> Result<ReadReport, ReadError> {
    read::read(sop_class, transfer_syntax, data_set, sender.into())
}

/// For fuzzing: whatever the bytes, they are a report or an error. The first byte chooses SOP class and transfer syntax.
pub fn fuzz_report(data: &[u8]) {
    const CLASSES: [&str; 3] =
        [uids::BASIC_TEXT_SR_STORAGE, uids::COMPREHENSIVE_SR_STORAGE, uids::ENCAPSULATED_PDF_STORAGE];
    const SYNTAXES: [&str; 3] =
        [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN];
    let [choice, data @ ..] = data else { return };
    let choice = usize::from(*choice);
    let (class, syntax) = (Uid::new(CLASSES[choice % 3]), Uid::new(SYNTAXES[choice / 3 % 3]));
    let (Ok(class), Ok(syntax)) = (class, syntax) else { return };
    let Ok(report) = read_report_from(&class, &syntax, data, "ISO_IR 100") else { return };
    if let ReportContent::Text(text) = report.content {
        assert!(text.len() <= MAX_TEXT_BYTES, "more text than allowed");
    }
}

#[cfg(test)]
mod tests;
