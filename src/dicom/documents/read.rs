//! Reads report objects that came from the network: whose, of what, how final, and what they say.

use super::render::{Decoder, render};
use super::{MAX_DATA_SET_BYTES, ReadError, ReadReport, ReadRequest, ReportContent, is_report, is_structured};
use crate::dicom::charset::SenderCharset;
use crate::dicom::tree::{DataSet, Malformed, Reading, parse};
use crate::model::{IssuedId, ReportStatus, Uid};
use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use std::{borrow::Cow, io::Read};

/// A report of thousands of measurements stays far below.
const MAX_ELEMENTS: usize = 200_000;

/// Sequences a report is read by; of others nothing is wanted, so a fault in one does no harm.
const SEQUENCES: [Tag; 14] = [
    tags::CONTENT_SEQUENCE,
    tags::CONCEPT_NAME_CODE_SEQUENCE,
    tags::CONCEPT_CODE_SEQUENCE,
    tags::MEASURED_VALUE_SEQUENCE,
    tags::MEASUREMENT_UNITS_CODE_SEQUENCE,
    tags::NUMERIC_VALUE_QUALIFIER_CODE_SEQUENCE,
    tags::VERIFYING_OBSERVER_SEQUENCE,
    tags::AUTHOR_OBSERVER_SEQUENCE,
    tags::PREDECESSOR_DOCUMENTS_SEQUENCE,
    tags::REFERENCED_SERIES_SEQUENCE,
    tags::REFERENCED_SOP_SEQUENCE,
    tags::REFERENCED_REQUEST_SEQUENCE,
    tags::REQUEST_ATTRIBUTES_SEQUENCE,
    tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
];

/// How many requests and predecessors are read; a report answers one or two.
const MAX_REFERENCES: usize = 64;

pub fn read(
    sop_class: &Uid,
    transfer_syntax: &Uid,
    data_set: &[u8],
    sender: SenderCharset,
) -> Result<ReadReport, ReadError> {
    if !is_report(sop_class) {
        return Err(ReadError::NotAReport);
    }
    if data_set.len() > MAX_DATA_SET_BYTES {
        return Err(ReadError::TooLarge(data_set.len()));
    }
    let (bytes, explicit) = plain(transfer_syntax, data_set)?;
    let root =
        parse(&bytes, Reading { explicit, max_elements: MAX_ELEMENTS, is_sequence: |tag| SEQUENCES.contains(&tag) })
            .map_err(|Malformed { at, what }| ReadError::Malformed { at, what })?;
    let mut decoder = Decoder { lossy: false, sender };
    let charset = decoder.charset_of(&root, "");
    let content = if is_structured(sop_class) {
        ReportContent::Text(render(&root, &charset, &mut decoder)?)
    } else {
        ReportContent::Pdf(document(&root)?)
    };
    Ok(ReadReport {
        study: uid(&root, tags::STUDY_INSTANCE_UID).ok_or(ReadError::Missing("Study Instance UID (0020,000D)"))?,
        series: uid(&root, tags::SERIES_INSTANCE_UID),
        sop_instance: uid(&root, tags::SOP_INSTANCE_UID).ok_or(ReadError::Missing("SOP Instance UID (0008,0018)"))?,
        patient_id: IssuedId::new(
            decoder.text(&root, tags::PATIENT_ID, &charset).trim(),
            decoder.text(&root, tags::ISSUER_OF_PATIENT_ID, &charset).trim(),
        ),
        patient_name: decoder.text(&root, tags::PATIENT_NAME, &charset),
        accession: accession(&root, &charset, &mut decoder),
        requests: requests(&root, &charset, &mut decoder),
        title: title(&root, &charset, &mut decoder),
        status: status(&root, is_structured(sop_class)),
        predecessors: predecessors(&root),
        author: author(&root, &charset, &mut decoder),
        content,
        lossy: decoder.lossy,
    })
}

/// The bytes without deflation, and whether their VR is explicit.
fn plain<'a>(transfer_syntax: &Uid, bytes: &'a [u8]) -> Result<(Cow<'a, [u8]>, bool), ReadError> {
    match transfer_syntax.as_str() {
        uids::IMPLICIT_VR_LITTLE_ENDIAN => Ok((Cow::Borrowed(bytes), false)),
        uids::EXPLICIT_VR_LITTLE_ENDIAN => Ok((Cow::Borrowed(bytes), true)),
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => {
            let mut inflated = Vec::new();
            let most = u64::try_from(MAX_DATA_SET_BYTES).unwrap_or(u64::MAX);
            // One more than allowed, so that a bomb is told from a report of just that size.
            let read = flate2::read::DeflateDecoder::new(bytes).take(most + 1).read_to_end(&mut inflated);
            read.map_err(|_| ReadError::Malformed { at: 0, what: "not deflated data (PS3.5 A.5)" })?;
            if inflated.len() > MAX_DATA_SET_BYTES {
                return Err(ReadError::TooLarge(inflated.len()));
            }
            Ok((Cow::Owned(inflated), true))
        }
        _ => Err(ReadError::TransferSyntax),
    }
}

fn uid(set: &DataSet<'_>, tag: Tag) -> Option<Uid> {
    std::str::from_utf8(set.bytes(tag)).ok().and_then(|text| Uid::new(text).ok())
}

/// CS values: ASCII, padded.
fn keyword(set: &DataSet<'_>, tag: Tag) -> String {
    String::from_utf8_lossy(set.bytes(tag)).trim_matches([' ', '\0']).to_owned()
}

fn accession(set: &DataSet<'_>, charset: &str, decoder: &mut Decoder) -> IssuedId {
    let issuer = set.items(tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE).first();
    // Universal where there is no local name (PS3.3 10.17).
    let issuer = issuer.map_or_else(String::new, |issuer| {
        let local = decoder.text(issuer, tags::LOCAL_NAMESPACE_ENTITY_ID, charset);
        if local.is_empty() { decoder.text(issuer, tags::UNIVERSAL_ENTITY_ID, charset) } else { local }
    });
    IssuedId::new(decoder.text(set, tags::ACCESSION_NUMBER, charset).trim(), issuer.trim())
}

fn requests(root: &DataSet<'_>, charset: &str, decoder: &mut Decoder) -> Vec<ReadRequest> {
    let items = root.items(tags::REFERENCED_REQUEST_SEQUENCE).iter();
    let items = items.chain(root.items(tags::REQUEST_ATTRIBUTES_SEQUENCE));
    let mut text = |item: &DataSet<'_>, tag| decoder.text(item, tag, charset).trim().to_owned();
    let read: Vec<_> = items
        .take(MAX_REFERENCES)
        .map(|item| {
            let placer = text(item, tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST);
            let filler = text(item, tags::FILLER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST);
            (item, placer, filler)
        })
        .collect();
    read.into_iter()
        .map(|(item, placer_order_number, filler_order_number)| ReadRequest {
            accession: accession(item, charset, decoder),
            placer_order_number,
            filler_order_number,
            study: uid(item, tags::STUDY_INSTANCE_UID),
        })
        .collect()
}

fn title(root: &DataSet<'_>, charset: &str, decoder: &mut Decoder) -> String {
    let title = decoder.text(root, tags::DOCUMENT_TITLE, charset).trim().to_owned();
    let concept = root.items(tags::CONCEPT_NAME_CODE_SEQUENCE).first();
    match concept {
        Some(concept) if title.is_empty() => decoder.text(concept, tags::CODE_MEANING, charset).trim().to_owned(),
        _ => title,
    }
}

/// Preliminary Flag (0040,A496) decides where present; else a report is final only if it is complete and verified
/// (PS3.3 C.17.2): what a sender does not say is not made more certain here.
fn status(root: &DataSet<'_>, structured: bool) -> Option<ReportStatus> {
    let complete = keyword(root, tags::COMPLETION_FLAG) != "PARTIAL";
    let verified = keyword(root, tags::VERIFICATION_FLAG);
    match keyword(root, tags::PRELIMINARY_FLAG).as_str() {
        "PRELIMINARY" => Some(ReportStatus::Preliminary),
        "FINAL" if complete => Some(ReportStatus::Final),
        _ if verified == "VERIFIED" && complete => Some(ReportStatus::Final),
        _ if structured || verified == "UNVERIFIED" => Some(ReportStatus::Preliminary),
        _ => None,
    }
}

fn predecessors(root: &DataSet<'_>) -> Vec<Uid> {
    let studies = root.items(tags::PREDECESSOR_DOCUMENTS_SEQUENCE).iter();
    let series = studies.flat_map(|study| study.items(tags::REFERENCED_SERIES_SEQUENCE));
    let instances = series.flat_map(|series| series.items(tags::REFERENCED_SOP_SEQUENCE));
    instances.filter_map(|instance| uid(instance, tags::REFERENCED_SOP_INSTANCE_UID)).take(MAX_REFERENCES).collect()
}

fn author(root: &DataSet<'_>, charset: &str, decoder: &mut Decoder) -> Option<String> {
    let verifying =
        root.items(tags::VERIFYING_OBSERVER_SEQUENCE).last().map(|item| (item, tags::VERIFYING_OBSERVER_NAME));
    let author = root.items(tags::AUTHOR_OBSERVER_SEQUENCE).first().map(|item| (item, tags::PERSON_NAME));
    let observer = root.items(tags::CONTENT_SEQUENCE).iter().find(|item| {
        let concept = item.items(tags::CONCEPT_NAME_CODE_SEQUENCE).first();
        // Person Observer Name, PS3.16 TID 1003.
        concept.is_some_and(|concept| keyword(concept, tags::CODE_VALUE) == "121008")
    });
    let (item, tag) = verifying.or(author).or(observer.map(|item| (item, tags::PERSON_NAME)))?;
    let name = decoder.text(item, tag, charset);
    (!name.is_empty()).then_some(name)
}

/// The PDF without the padding that makes its length even.
fn document(root: &DataSet<'_>) -> Result<Vec<u8>, ReadError> {
    let document = root.bytes(tags::ENCAPSULATED_DOCUMENT);
    if document.is_empty() {
        return Err(ReadError::Missing("Encapsulated Document (0042,0011)"));
    }
    // Some writers put a few bytes before the header; readers of PDF look for it in the first kilobyte.
    let head = &document[..document.len().min(1024)];
    if !head.windows(5).any(|window| window == b"%PDF-") {
        return Err(ReadError::NotPdf);
    }
    let stated = root.bytes(tags::ENCAPSULATED_DOCUMENT_LENGTH);
    let stated =
        <[u8; 4]>::try_from(stated).ok().map(u32::from_le_bytes).and_then(|length| usize::try_from(length).ok());
    let padded = document.last() == Some(&0);
    Ok(match stated {
        Some(length) if length > document.len() => {
            return Err(ReadError::Malformed { at: 0, what: "the document is shorter than its stated length" });
        }
        // Believed only where it removes no more than the padding.
        Some(length) if length + 1 == document.len() && padded => document[..length].to_vec(),
        None if padded => document[..document.len() - 1].to_vec(),
        _ => document.to_vec(),
    })
}
