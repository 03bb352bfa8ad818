//! What both made objects share: the patient, the study, the series, the equipment, and the ways to put elements.
//!
//! In: [`DocumentAbout`]. Out: a data set to which the object's own module is added, and its bytes.

use super::letters::written;
use super::{DocumentAbout, MAX_DATA_SET_BYTES, MAX_EVIDENCE, MadeInstance, MakeError, ReferencedInstance};
use crate::model::{Discipline, IssuedId, OrderNumbers, Uid};
use chrono::{DateTime, Offset};
use chrono_tz::Tz;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::DataSetSequence};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::entries::EXPLICIT_VR_LITTLE_ENDIAN;
use std::collections::BTreeMap;

/// What the other elements of an object may take, beside a document in it.
pub const HEADER_ROOM: usize = 1024 * 1024;

pub fn put(set: &mut InMemDicomObject, tag: Tag, vr: VR, text: &str) {
    let value = if text.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(text) };
    set.put(DataElement::new(tag, vr, value));
}

pub fn put_uid(set: &mut InMemDicomObject, tag: Tag, uid: &Uid) {
    put(set, tag, VR::UI, uid.as_str());
}

pub fn put_items(set: &mut InMemDicomObject, tag: Tag, items: Vec<InMemDicomObject>) {
    set.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// A Code Sequence item (PS3.3 8.8).
pub fn code(value: &str, scheme: &str, meaning: &str) -> InMemDicomObject {
    let mut item = InMemDicomObject::new_empty();
    put(&mut item, tags::CODE_VALUE, VR::SH, value);
    put(&mut item, tags::CODING_SCHEME_DESIGNATOR, VR::SH, scheme);
    put(&mut item, tags::CODE_MEANING, VR::LO, meaning);
    item
}

/// CID 7000, Diagnostic Imaging Report Document Titles; LOINC's own for pathology.
pub fn document_title(about: &DocumentAbout<'_>) -> InMemDicomObject {
    match Discipline::of_modality(&about.facts.modality) {
        Discipline::Radiology => code("18748-4", "LN", "Diagnostic Imaging Report"),
        Discipline::Pathology => code("11526-1", "LN", "Pathology study"),
    }
}

/// An identifier or a name: written as it is, or refused.
fn exact(text: &str, what: &'static str) -> Result<String, MakeError> {
    let text = text.trim();
    if text.contains('\\') || text.contains(char::is_control) {
        Err(MakeError::NotEncodable(what))
    } else {
        Ok(text.to_owned())
    }
}

/// A title or an institution: words for people, in which a slash says the same as a backslash.
pub fn phrase(text: &str) -> String {
    text.trim()
        .chars()
        .map(|c| {
            if c == '\\' {
                '/'
            } else if c.is_control() {
                ' '
            } else {
                c
            }
        })
        .collect()
}

/// A phrase for LO, which holds 64 characters (PS3.5 6.2); strict receivers refuse the object otherwise. Only for what
/// describes: identifiers and the report are never shortened.
pub fn short_phrase(text: &str) -> String {
    let phrase = phrase(text);
    if phrase.chars().count() <= 64 {
        return phrase;
    }
    phrase.chars().take(61).chain(['.'; 3]).collect()
}

pub fn author(about: &DocumentAbout<'_>) -> Result<Option<String>, MakeError> {
    let name = about.author.as_deref().map(|name| exact(name, "the author's name")).transpose()?;
    Ok(name.filter(|name| !name.is_empty()))
}

pub fn local(about: &DocumentAbout<'_>) -> DateTime<Tz> {
    about.content.utc().with_timezone(&about.time_zone)
}

/// `+0100`, for Timezone Offset From UTC (0008,0201) and after a DT.
pub fn offset(at: DateTime<Tz>) -> String {
    let minutes = at.offset().fix().local_minus_utc() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

/// Everything up to the object's own module.
pub fn begin(about: &DocumentAbout<'_>, sop_class: &str, modality: &str) -> Result<InMemDicomObject, MakeError> {
    if about.evidence.len() > MAX_EVIDENCE {
        return Err(MakeError::TooManyReferences(about.evidence.len()));
    }
    let mut set = InMemDicomObject::new_empty();
    sop_common(&mut set, about, sop_class);
    patient(&mut set, about)?;
    study(&mut set, about)?;
    series_and_equipment(&mut set, about, modality);
    content_time(&mut set, about);
    put_items(&mut set, tags::REFERENCED_REQUEST_SEQUENCE, requests(about)?);
    if let Some(predecessor) = &about.predecessor {
        let items = vec![references(&about.study, std::slice::from_ref(predecessor))];
        put_items(&mut set, tags::PREDECESSOR_DOCUMENTS_SEQUENCE, items);
    }
    Ok(set)
}

/// SOP Common Module, PS3.3 C.12.1.
fn sop_common(set: &mut InMemDicomObject, about: &DocumentAbout<'_>, sop_class: &str) {
    let at = local(about);
    put(set, tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192");
    put(set, tags::INSTANCE_CREATION_DATE, VR::DA, &at.format("%Y%m%d").to_string());
    put(set, tags::INSTANCE_CREATION_TIME, VR::TM, &at.format("%H%M%S").to_string());
    put(set, tags::SOP_CLASS_UID, VR::UI, sop_class);
    put_uid(set, tags::SOP_INSTANCE_UID, &about.sop_instance);
    put(set, tags::TIMEZONE_OFFSET_FROM_UTC, VR::SH, &offset(at));
}

/// Patient Module, PS3.3 C.7.1.1. A date or a sex that is not what the standard says cannot be written and stays empty.
fn patient(set: &mut InMemDicomObject, about: &DocumentAbout<'_>) -> Result<(), MakeError> {
    let facts = about.facts;
    put(set, tags::PATIENT_NAME, VR::PN, &exact(&facts.patient_name, "the patient's name")?);
    put(set, tags::PATIENT_ID, VR::LO, &exact(&facts.patient_id.value, "the patient ID")?);
    let issuer = exact(&facts.patient_id.issuer, "the issuer of the patient ID")?;
    if !issuer.is_empty() {
        put(set, tags::ISSUER_OF_PATIENT_ID, VR::LO, &issuer);
    }
    put(set, tags::PATIENT_BIRTH_DATE, VR::DA, date(&facts.birth_date));
    let sex = facts.sex.trim();
    put(set, tags::PATIENT_SEX, VR::CS, if matches!(sex, "M" | "F" | "O") { sex } else { "" });
    Ok(())
}

/// General Study Module, PS3.3 C.7.2.1.
fn study(set: &mut InMemDicomObject, about: &DocumentAbout<'_>) -> Result<(), MakeError> {
    let facts = about.facts;
    put_uid(set, tags::STUDY_INSTANCE_UID, &about.study);
    put(set, tags::STUDY_DATE, VR::DA, date(&facts.study_date));
    put(set, tags::STUDY_TIME, VR::TM, time(&facts.study_time));
    put(set, tags::REFERRING_PHYSICIAN_NAME, VR::PN, &exact(&facts.referring_physician, "the referring physician")?);
    put(set, tags::STUDY_ID, VR::SH, "");
    accession(set, &about.facts.accession)?;
    let description = short_phrase(&facts.description);
    if !description.is_empty() {
        put(set, tags::STUDY_DESCRIPTION, VR::LO, &description);
    }
    Ok(())
}

/// Accession Number (0008,0050) with the Issuer of Accession Number Sequence (0008,0051).
fn accession(set: &mut InMemDicomObject, accession: &IssuedId) -> Result<(), MakeError> {
    put(set, tags::ACCESSION_NUMBER, VR::SH, &exact(&accession.value, "the accession number")?);
    let issuer = exact(&accession.issuer, "the issuer of the accession number")?;
    if !issuer.is_empty() && !accession.is_empty() {
        let mut item = InMemDicomObject::new_empty();
        put(&mut item, tags::LOCAL_NAMESPACE_ENTITY_ID, VR::UT, &issuer);
        put_items(set, tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE, vec![item]);
    }
    Ok(())
}

/// SR Document Series (C.17.1) or Encapsulated Document Series (C.24.1), and General Equipment (C.7.5.1).
fn series_and_equipment(set: &mut InMemDicomObject, about: &DocumentAbout<'_>, modality: &str) {
    put(set, tags::MODALITY, VR::CS, modality);
    put_uid(set, tags::SERIES_INSTANCE_UID, &about.series);
    // Behind the images in viewers that sort by number.
    put(set, tags::SERIES_NUMBER, VR::IS, if modality == "SR" { "9001" } else { "9002" });
    put(set, tags::SERIES_DESCRIPTION, VR::LO, &short_phrase(&about.title));
    put_items(set, tags::REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE, Vec::new());
    put(set, tags::MANUFACTURER, VR::LO, "Neisse");
    put(set, tags::INSTITUTION_NAME, VR::LO, &short_phrase(&about.institution));
    put(set, tags::INSTANCE_NUMBER, VR::IS, &about.version.to_string());
}

fn content_time(set: &mut InMemDicomObject, about: &DocumentAbout<'_>) {
    let at = local(about);
    put(set, tags::CONTENT_DATE, VR::DA, &at.format("%Y%m%d").to_string());
    put(set, tags::CONTENT_TIME, VR::TM, &at.format("%H%M%S").to_string());
}

/// An item for each request this answers (PS3.3 Table C.17-2).
fn requests(about: &DocumentAbout<'_>) -> Result<Vec<InMemDicomObject>, MakeError> {
    let facts = about.facts;
    if about.orders.is_empty() {
        let (placer, filler) = (&facts.placer_order_number, &facts.filler_order_number);
        return Ok(vec![request(about, placer, filler, &facts.accession, &facts.description)?]);
    }
    let mut seen: Vec<&OrderNumbers> = Vec::new();
    let mut items = Vec::new();
    for order in about.orders {
        if !seen.contains(&order) {
            seen.push(order);
            items.push(request(about, &order.placer.value, &order.filler.value, &order.accession, "")?);
        }
    }
    Ok(items)
}

/// Type 2 attributes we do not know are present and empty.
fn request(
    about: &DocumentAbout<'_>,
    placer: &str,
    filler: &str,
    number: &IssuedId,
    description: &str,
) -> Result<InMemDicomObject, MakeError> {
    let mut item = InMemDicomObject::new_empty();
    put_uid(&mut item, tags::STUDY_INSTANCE_UID, &about.study);
    put_items(&mut item, tags::REFERENCED_STUDY_SEQUENCE, Vec::new());
    accession(&mut item, number)?;
    let placer = exact(placer, "the placer order number")?;
    put(&mut item, tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST, VR::LO, &placer);
    let filler = exact(filler, "the filler order number")?;
    put(&mut item, tags::FILLER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST, VR::LO, &filler);
    put(&mut item, tags::REQUESTED_PROCEDURE_ID, VR::SH, "");
    put(&mut item, tags::REQUESTED_PROCEDURE_DESCRIPTION, VR::LO, &short_phrase(description));
    put_items(&mut item, tags::REQUESTED_PROCEDURE_CODE_SEQUENCE, Vec::new());
    Ok(item)
}

/// Hierarchical SOP Instance Reference Macro, PS3.3 Table C.17-3.
pub fn references(study: &Uid, instances: &[ReferencedInstance]) -> InMemDicomObject {
    let mut series: BTreeMap<&Uid, Vec<InMemDicomObject>> = BTreeMap::new();
    for instance in instances {
        let mut item = InMemDicomObject::new_empty();
        put_uid(&mut item, tags::REFERENCED_SOP_CLASS_UID, &instance.sop_class);
        put_uid(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, &instance.sop_instance);
        series.entry(&instance.series).or_default().push(item);
    }
    let series = series.into_iter().map(|(uid, instances)| {
        let mut item = InMemDicomObject::new_empty();
        put_items(&mut item, tags::REFERENCED_SOP_SEQUENCE, instances);
        put_uid(&mut item, tags::SERIES_INSTANCE_UID, uid);
        item
    });
    let mut item = InMemDicomObject::new_empty();
    put_items(&mut item, tags::REFERENCED_SERIES_SEQUENCE, series.collect());
    put_uid(&mut item, tags::STUDY_INSTANCE_UID, study);
    item
}

/// The bytes of the finished object.
pub fn finish(about: &DocumentAbout<'_>, sop_class: &str, set: InMemDicomObject) -> Result<MadeInstance, MakeError> {
    finish_around(about, sop_class, set, None)
}

/// The same with one element of bytes (OB, of even length) that is not in the set: its writer would copy tens of megabytes
/// twice.
pub fn finish_around(
    about: &DocumentAbout<'_>,
    sop_class: &str,
    set: InMemDicomObject,
    large: Option<(Tag, Vec<u8>)>,
) -> Result<MadeInstance, MakeError> {
    let (set, warnings) = written(set, &about.outgoing);
    // All at once: growing while it is written would be a copy.
    let mut data_set = Vec::with_capacity(large.as_ref().map_or(0, |(_, value)| HEADER_ROOM + value.len()));
    let write = |set: &InMemDicomObject, data_set: &mut Vec<u8>| {
        let written = set.write_dataset_with_ts(data_set, &EXPLICIT_VR_LITTLE_ENDIAN.erased());
        written.map_err(|error| MakeError::Write(Box::new(error)))
    };
    match large {
        None => write(&set, &mut data_set)?,
        Some((tag, value)) => {
            // Elements stand in the order of their tags (PS3.5 7.1).
            let (before, after): (Vec<_>, Vec<_>) = set.into_iter().partition(|element| element.header().tag < tag);
            write(&InMemDicomObject::from_element_iter(before), &mut data_set)?;
            put_bytes(&mut data_set, tag, &value)?;
            write(&InMemDicomObject::from_element_iter(after), &mut data_set)?;
        }
    }
    let uid = |text: &str| Uid::new(text).map_err(|_| MakeError::NotEncodable("a UID"));
    Ok(MadeInstance {
        sop_class: uid(sop_class)?,
        sop_instance: about.sop_instance.clone(),
        transfer_syntax: uid(uids::EXPLICIT_VR_LITTLE_ENDIAN)?,
        data_set,
        warnings,
    })
}

/// PS3.5 7.1.2: tag, VR, two reserved bytes, length, value.
fn put_bytes(data_set: &mut Vec<u8>, tag: Tag, value: &[u8]) -> Result<(), MakeError> {
    let most = MAX_DATA_SET_BYTES;
    let length = u32::try_from(value.len()).map_err(|_| MakeError::TooLarge { found: value.len(), most })?;
    data_set.extend_from_slice(&tag.group().to_le_bytes());
    data_set.extend_from_slice(&tag.element().to_le_bytes());
    data_set.extend_from_slice(b"OB\0\0");
    data_set.extend_from_slice(&length.to_le_bytes());
    data_set.extend_from_slice(value);
    Ok(())
}

fn date(text: &str) -> &str {
    let text = text.trim();
    if text.len() == 8 && text.bytes().all(|b| b.is_ascii_digit()) { text } else { "" }
}

fn time(text: &str) -> &str {
    let text = text.trim();
    let fits = text.len() <= 13 && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if fits && text.starts_with(|c: char| c.is_ascii_digit()) { text } else { "" }
}
