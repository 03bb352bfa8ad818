//! Basic Text SR (PS3.3 A.35.1): SR Document General and SR Document Content modules.
//!
//! The content is one container of Findings with one text, the whole report: cutting it into history, findings and
//! conclusion would be interpretation.

use super::common::{
    author, begin, code, document_title, finish, local, offset, phrase, put, put_items, references, short_phrase,
};
use super::{DocumentAbout, MAX_TEXT_BYTES, MadeInstance, MakeError};
use crate::model::ReportStatus;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

pub fn make(about: &DocumentAbout<'_>, text: &str) -> Result<MadeInstance, MakeError> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(MakeError::TooLarge { found: text.len(), most: MAX_TEXT_BYTES });
    }
    let mut set = begin(about, uids::BASIC_TEXT_SR_STORAGE, "SR")?;
    let author = author(about)?;
    document_general(&mut set, about, author.as_deref());
    content(&mut set, about, author.as_deref(), text);
    finish(about, uids::BASIC_TEXT_SR_STORAGE, set)
}

/// SR Document General Module, PS3.3 C.17.2.
fn document_general(set: &mut InMemDicomObject, about: &DocumentAbout<'_>, author: Option<&str>) {
    // What is taken back is neither preliminary nor final, and nobody has verified it.
    let is_report = matches!(about.status, ReportStatus::Final | ReportStatus::Corrected);
    if about.status != ReportStatus::Withdrawn {
        put(set, tags::PRELIMINARY_FLAG, VR::CS, if is_report { "FINAL" } else { "PRELIMINARY" });
    }
    put(set, tags::COMPLETION_FLAG, VR::CS, if is_report { "COMPLETE" } else { "PARTIAL" });
    match author.filter(|_| is_report) {
        Some(author) => {
            put(set, tags::VERIFICATION_FLAG, VR::CS, "VERIFIED");
            put_items(set, tags::VERIFYING_OBSERVER_SEQUENCE, vec![verifying_observer(about, author)]);
        }
        None => put(set, tags::VERIFICATION_FLAG, VR::CS, "UNVERIFIED"),
    }
    put_items(set, tags::PERFORMED_PROCEDURE_CODE_SEQUENCE, Vec::new());
    if !about.evidence.is_empty() {
        let evidence = vec![references(&about.study, &about.evidence)];
        put_items(set, tags::CURRENT_REQUESTED_PROCEDURE_EVIDENCE_SEQUENCE, evidence);
    }
}

fn verifying_observer(about: &DocumentAbout<'_>, author: &str) -> InMemDicomObject {
    let at = local(about);
    let mut item = InMemDicomObject::new_empty();
    put(&mut item, tags::VERIFYING_ORGANIZATION, VR::LO, &short_phrase(&about.institution));
    put(&mut item, tags::VERIFICATION_DATE_TIME, VR::DT, &format!("{}{}", at.format("%Y%m%d%H%M%S"), offset(at)));
    put(&mut item, tags::VERIFYING_OBSERVER_NAME, VR::PN, author);
    put_items(&mut item, tags::VERIFYING_OBSERVER_IDENTIFICATION_CODE_SEQUENCE, Vec::new());
    item
}

/// SR Document Content Module, PS3.3 C.17.3, after PS3.16 TID 2000.
fn content(set: &mut InMemDicomObject, about: &DocumentAbout<'_>, author: Option<&str>, text: &str) {
    put(set, tags::VALUE_TYPE, VR::CS, "CONTAINER");
    put_items(set, tags::CONCEPT_NAME_CODE_SEQUENCE, vec![document_title(about)]);
    put(set, tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE");
    let mut template = InMemDicomObject::new_empty();
    put(&mut template, tags::MAPPING_RESOURCE, VR::CS, "DCMR");
    put(&mut template, tags::TEMPLATE_IDENTIFIER, VR::CS, "2000");
    put_items(set, tags::CONTENT_TEMPLATE_SEQUENCE, vec![template]);
    let mut items = vec![language(&about.language)];
    items.extend(observer(about, author));
    items.push(findings(text));
    put_items(set, tags::CONTENT_SEQUENCE, items);
}

fn item(relationship: &str, value_type: &str, concept: InMemDicomObject) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    put(&mut item, tags::RELATIONSHIP_TYPE, VR::CS, relationship);
    put(&mut item, tags::VALUE_TYPE, VR::CS, value_type);
    put_items(&mut item, tags::CONCEPT_NAME_CODE_SEQUENCE, vec![concept]);
    item
}

fn with_text(mut item: InMemDicomObject, tag: Tag, vr: VR, text: &str) -> InMemDicomObject {
    put(&mut item, tag, vr, text);
    item
}

fn with_code(mut item: InMemDicomObject, value: InMemDicomObject) -> InMemDicomObject {
    put_items(&mut item, tags::CONCEPT_CODE_SEQUENCE, vec![value]);
    item
}

/// TID 1204, Language of Content Item and Descendants.
fn language(language: &str) -> InMemDicomObject {
    let concept = code("121049", "DCM", "Language of Content Item and Descendants");
    let value = match language.get(..2).unwrap_or_default() {
        "de" => code("de", "RFC5646", "German"),
        "pl" => code("pl", "RFC5646", "Polish"),
        "cs" => code("cs", "RFC5646", "Czech"),
        _ => code("en", "RFC5646", "English"),
    };
    with_code(item("HAS CONCEPT MOD", "CODE", concept), value)
}

/// TID 1002, Observer Context: the person where we know one.
fn observer(about: &DocumentAbout<'_>, author: Option<&str>) -> Vec<InMemDicomObject> {
    let Some(author) = author else { return Vec::new() };
    let kind = item("HAS OBS CONTEXT", "CODE", code("121005", "DCM", "Observer Type"));
    let name = item("HAS OBS CONTEXT", "PNAME", code("121008", "DCM", "Person Observer Name"));
    let mut items =
        vec![with_code(kind, code("121006", "DCM", "Person")), with_text(name, tags::PERSON_NAME, VR::PN, author)];
    let institution = phrase(&about.institution);
    if !institution.is_empty() {
        let concept = code("121009", "DCM", "Person Observer's Organization Name");
        items.push(with_text(item("HAS OBS CONTEXT", "TEXT", concept), tags::TEXT_VALUE, VR::UT, &institution));
    }
    items
}

fn findings(text: &str) -> InMemDicomObject {
    let finding = item("CONTAINS", "TEXT", code("121071", "DCM", "Finding"));
    let finding = with_text(finding, tags::TEXT_VALUE, VR::UT, &as_unlimited_text(text));
    let mut section = item("CONTAINS", "CONTAINER", code("121070", "DCM", "Findings"));
    put(&mut section, tags::CONTINUITY_OF_CONTENT, VR::CS, "SEPARATE");
    put_items(&mut section, tags::CONTENT_SEQUENCE, vec![finding]);
    section
}

/// UT (PS3.5 6.2): lines end in CR LF; a control character that is not allowed stands as U+FFFD. Text Value
/// (0040,A160) is type 1, so a report without text says `-`.
fn as_unlimited_text(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let lines: String = lines
        .chars()
        .map(|c| if c.is_control() && !matches!(c, '\n' | '\t' | '\u{c}') { '\u{fffd}' } else { c })
        .collect();
    if lines.trim().is_empty() { "-".to_owned() } else { lines.replace('\n', "\r\n") }
}
