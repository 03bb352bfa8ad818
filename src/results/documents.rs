//! The report people read: a PDF made from a text report, in the hospital's language, zone and identifiers.
//!
//! In: a [`ReportDocument`]. Out: [`PdfDocument`], the bytes and the characters that no font could show (each stands in
//! the document as ▯, and the document says so). Equal input makes equal bytes, so a repeated delivery is the same
//! object. The body's words and line ends are the sender's; only weight, gaps and breaks of long lines are ours.
//!
//! Does not judge, summarise or translate the report, and draws no images.

mod body;
mod front;
mod pages;
mod words;

use crate::{
    model::{CaseId, IssuedId, Moment, ReportStatus},
    paper::{
        NoFont,
        faces::{Faces, clean},
    },
};
use chrono::{Datelike, Timelike};
use krilla::{Document, metadata::DateTime, metadata::Metadata, page::PageSettings};
use std::collections::BTreeSet;

/// A text report of this size fills 400 pages; a longer one is not a text report.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Names, identifiers and the examination: the longest value of DICOM (LO, PN) has 64 characters a component.
pub const MAX_FIELD_BYTES: usize = 1024;
pub const MAX_PAGES: usize = 1000;
/// No more than this many lines fit a page.
const LINES_A_PAGE: usize = 50;

/// What the document says. Holds patient data; `Debug` is left out on purpose, so that it cannot reach a log.
#[derive(Clone)]
pub struct ReportDocument {
    pub status: ReportStatus,
    /// 1 for the first report of a case, then rising.
    pub version: u32,
    /// ISO 639-1: `de`, `pl`, `cs`, `en`; English for others.
    pub language: String,
    pub reading_institution: String,
    /// The hospital that asked.
    pub origin_name: String,
    /// A DICOM person name, `Family^Given`.
    pub patient_name: String,
    /// The origin's own.
    pub patient_id: IssuedId,
    /// `YYYYMMDD`.
    pub birth_date: String,
    /// (0010,0040).
    pub sex: String,
    pub accession: IssuedId,
    pub examination: String,
    /// `YYYYMMDD` and `HHMMSS`, local time of the origin.
    pub study_date: String,
    pub study_time: String,
    pub reported: Moment,
    /// The origin's.
    pub time_zone: chrono_tz::Tz,
    /// When the report that this one replaces was made.
    pub replaces: Option<Moment>,
    /// A person name or free text.
    pub author: Option<String>,
    /// The report as received, decoded.
    pub body: String,
    pub case: CaseId,
}

pub struct PdfDocument {
    pub bytes: Vec<u8>,
    /// In order, each once. Not empty means: deliver the text as well, or tell a person.
    pub missing: Vec<char>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DocumentError {
    #[error("the report's text has {0} bytes, at most {MAX_BODY_BYTES} are set")]
    BodyTooLong(usize),
    #[error("{field} has {found} bytes, at most {MAX_FIELD_BYTES} are set")]
    FieldTooLong { field: &'static str, found: usize },
    #[error("the report's text fills {0} pages, at most {MAX_PAGES} are set")]
    TooManyPages(usize),
    #[error("names, identifiers and the examination together leave no room for the report on its front page")]
    HeadTooTall,
    #[error(transparent)]
    Font(#[from] NoFont),
    #[error("the PDF could not be written")]
    Write,
}

/// Makes the document.
///
/// # Errors
/// When a value or the whole is longer than can be set; nothing is ever cut to fit.
pub fn pdf(report: &ReportDocument) -> Result<PdfDocument, DocumentError> {
    let report = checked(report)?;
    let faces = Faces::load()?;
    let missing = missing(&faces, &report);
    let words = words::of(&report.language);
    let sheets = pages::lay_out(&faces, words, &report, &missing)?;
    let mut document = Document::new();
    document.set_metadata(metadata(words, &report));
    for sheet in sheets {
        let settings = PageSettings::from_wh(pages::WIDTH, pages::HEIGHT).ok_or(DocumentError::Write)?;
        let mut page = document.start_page_with(settings);
        let mut surface = page.surface();
        sheet.draw(&mut surface);
        surface.finish();
        page.finish();
    }
    // The library's error may quote text of the document, so it is not kept.
    let bytes = document.finish().map_err(|_| DocumentError::Write)?;
    Ok(PdfDocument { bytes, missing })
}

/// What a hospital is told in its language when a reader takes back every result of a report; where there was none
/// before, that there will be none.
pub fn withdrawn(language: &str, there_was_one: bool) -> &'static str {
    let words = words::of(language);
    if there_was_one { words.withdrawn } else { words.cancelled }
}

/// When it takes back one of several; takes `{what}`.
pub fn deleted(language: &str) -> &'static str {
    words::of(language).deleted
}

/// When a result is final as it was before; takes `{what}`.
pub fn unchanged(language: &str) -> &'static str {
    words::of(language).unchanged
}

/// A result that has no name.
pub fn a_result(language: &str) -> &'static str {
    words::of(language).a_result
}

pub fn order(language: &str) -> &'static str {
    words::of(language).order
}

pub fn specimen(language: &str) -> &'static str {
    words::of(language).specimen
}

/// The document's own texts, within bounds and cleaned for setting.
fn checked(report: &ReportDocument) -> Result<ReportDocument, DocumentError> {
    if report.body.len() > MAX_BODY_BYTES {
        return Err(DocumentError::BodyTooLong(report.body.len()));
    }
    // Before anything is reserved for them.
    let pages = report.body.lines().count() / LINES_A_PAGE;
    if pages > MAX_PAGES {
        return Err(DocumentError::TooManyPages(pages));
    }
    let mut report = report.clone();
    for (field, text) in fields_mut(&mut report) {
        if text.len() > MAX_FIELD_BYTES {
            return Err(DocumentError::FieldTooLong { field, found: text.len() });
        }
        *text = clean(text).replace(['\n', '\t'], " ");
    }
    report.body = clean(&report.body);
    Ok(report)
}

fn fields_mut(report: &mut ReportDocument) -> Vec<(&'static str, &mut String)> {
    let mut fields = vec![
        ("reading institution", &mut report.reading_institution),
        ("origin", &mut report.origin_name),
        ("patient name", &mut report.patient_name),
        ("patient ID", &mut report.patient_id.value),
        ("issuer of patient ID", &mut report.patient_id.issuer),
        ("birth date", &mut report.birth_date),
        ("sex", &mut report.sex),
        ("accession number", &mut report.accession.value),
        ("issuer of accession number", &mut report.accession.issuer),
        ("examination", &mut report.examination),
        ("study date", &mut report.study_date),
        ("study time", &mut report.study_time),
    ];
    if let Some(author) = &mut report.author {
        fields.push(("author", author));
    }
    fields
}

fn missing(faces: &Faces, report: &ReportDocument) -> Vec<char> {
    let mut report = report.clone();
    let mut lacking: BTreeSet<char> =
        report.body.chars().filter(|c| !matches!(c, '\n' | '\t') && !faces.can_show(*c)).collect();
    for (_, text) in fields_mut(&mut report) {
        lacking.extend(text.chars().filter(|c| !faces.can_show(*c)));
    }
    lacking.into_iter().collect()
}

/// No patient data here: titles are shown in window lists and indexed by desktops.
fn metadata(words: &words::Words, report: &ReportDocument) -> Metadata {
    let local = report.reported.utc();
    let part = |value: u32| u8::try_from(value).unwrap_or_default();
    let made = DateTime::new(u16::try_from(local.year()).unwrap_or_default())
        .month(part(local.month()))
        .day(part(local.day()))
        .hour(part(local.hour()))
        .minute(part(local.minute()))
        .second(part(local.second()))
        .utc_offset_hour(0)
        .utc_offset_minute(0);
    Metadata::new()
        .title(format!("{} ({})", words.report, words.status(report.status)))
        .language(words.language.to_owned())
        .creator("Neisse".to_owned())
        .document_id(format!("{}-{}", report.case, report.version))
        .creation_date(made)
}

#[cfg(test)]
mod tests;
