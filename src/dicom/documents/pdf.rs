//! Encapsulated PDF (PS3.3 A.45.1): SC Equipment and Encapsulated Document modules.

use super::common::{HEADER_ROOM, begin, document_title, finish_around, phrase, put, put_items};
use super::{DocumentAbout, MAX_DATA_SET_BYTES, MadeInstance, MakeError};
use crate::model::ReportStatus;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};

pub fn make(about: &DocumentAbout<'_>, pdf: Vec<u8>) -> Result<MadeInstance, MakeError> {
    let most = MAX_DATA_SET_BYTES - HEADER_ROOM;
    if pdf.len() > most {
        return Err(MakeError::TooLarge { found: pdf.len(), most });
    }
    if !pdf.starts_with(b"%PDF-") {
        return Err(MakeError::NotPdf);
    }
    let mut set = begin(about, uids::ENCAPSULATED_PDF_STORAGE, "DOC")?;
    // WSD, workstation: made by a computer, nothing was scanned (PS3.3 C.8.6.1).
    put(&mut set, tags::CONVERSION_TYPE, VR::CS, "WSD");
    // Encapsulated Document Module, PS3.3 C.24.2.
    put(&mut set, tags::ACQUISITION_DATE_TIME, VR::DT, "");
    // The pages name the patient.
    put(&mut set, tags::BURNED_IN_ANNOTATION, VR::CS, "YES");
    put(&mut set, tags::DOCUMENT_TITLE, VR::ST, &phrase(&about.title));
    put_items(&mut set, tags::CONCEPT_NAME_CODE_SEQUENCE, vec![document_title(about)]);
    let is_report = matches!(about.status, ReportStatus::Final | ReportStatus::Corrected);
    let verified = is_report && super::common::author(about)?.is_some();
    put(&mut set, tags::VERIFICATION_FLAG, VR::CS, if verified { "VERIFIED" } else { "UNVERIFIED" });
    // Not of this module, but readers that know it from SR understand it, and ours reads it back.
    if about.status != ReportStatus::Withdrawn {
        put(&mut set, tags::PRELIMINARY_FLAG, VR::CS, if is_report { "FINAL" } else { "PRELIMINARY" });
    }
    put(&mut set, tags::MIME_TYPE_OF_ENCAPSULATED_DOCUMENT, VR::LO, "application/pdf");
    let length = u32::try_from(pdf.len()).map_err(|_| MakeError::TooLarge { found: pdf.len(), most })?;
    set.put(DataElement::new(tags::ENCAPSULATED_DOCUMENT_LENGTH, VR::UL, PrimitiveValue::from(length)));
    let mut padded = pdf;
    if padded.len() % 2 == 1 {
        padded.push(0);
    }
    finish_around(about, uids::ENCAPSULATED_PDF_STORAGE, set, Some((tags::ENCAPSULATED_DOCUMENT, padded)))
}
