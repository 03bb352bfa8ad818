//! The invented patient and order of a sample, and one made instance: its UIDs, its data set, its Part 10 file.

use super::data_set::DataSet;
use crate::model::Uid;
use dicom_dictionary_std::tags;
use sha2::{Digest, Sha256};

pub(super) const IMPLICIT_LE: &str = "1.2.840.10008.1.2";
pub(super) const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
pub(super) const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub(super) const RLE: &str = "1.2.840.10008.1.2.5";

/// An invented patient and the order the study answers. Equal cases give equal files; UIDs come from `key`.
#[derive(Clone, Debug)]
pub struct SampleCase {
    pub key: String,
    pub patient_name: String,
    pub patient_id: String,
    pub birth_date: String,
    pub sex: String,
    /// Specific Character Set (0008,0005) of the files.
    pub charset: String,
    pub accession: String,
    /// Empty: no Request Attributes Sequence.
    pub placer_order: String,
    pub filler_order: String,
    /// Requested Procedure Priority (0040,1003), beside the order numbers: STAT, HIGH, ROUTINE.
    pub priority: String,
    pub study_date: String,
    pub study_time: String,
    pub referring: String,
    /// Study Description (0008,1030).
    pub description: String,
    pub institution: String,
}

impl SampleCase {
    /// An invented patient for each number, for demonstrations and measurements.
    pub fn numbered(number: u64) -> Self {
        const FAMILIES: [&str; 8] =
            ["Musterfrau", "Probstein", "Testhoff", "Beispielmann", "Vorlage", "Platzhalter", "Demokoski", "Zkouška"];
        let family = FAMILIES[(number % FAMILIES.len() as u64) as usize];
        let (given, sex) = if number.is_multiple_of(2) { ("Erika", "F") } else { ("Emil", "M") };
        Self {
            key: format!("numbered {number}"),
            patient_name: format!("{family}^{given}^{}", roman_like(number)),
            patient_id: format!("SYN-{number:06}"),
            birth_date: format!("{:04}{:02}{:02}", 1930 + number % 80, 1 + number % 12, 1 + number % 28),
            sex: sex.to_owned(),
            charset: "ISO_IR 192".to_owned(),
            accession: format!("A{number:08}"),
            placer_order: format!("P{number:08}"),
            filler_order: format!("F{number:08}"),
            priority: "ROUTINE".to_owned(),
            study_date: "20260203".to_owned(),
            study_time: "231005".to_owned(),
            referring: "Anforderer^Ada".to_owned(),
            description: String::new(),
            institution: "Neisse sample hospital".to_owned(),
        }
    }

    /// The Study Instance UID of this case.
    pub fn study(&self) -> Uid {
        sample_uid(&[&self.key, "study"])
    }
}

/// A middle name made of the number, so that no two patients are namesakes.
fn roman_like(number: u64) -> String {
    number.to_string().bytes().map(|digit| char::from(b'A' + (digit - b'0'))).collect()
}

/// One made instance, in memory.
#[derive(Clone, Debug)]
pub struct SampleInstance {
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub transfer_syntax: Uid,
    /// In `transfer_syntax`, without file meta information: what C-STORE carries.
    pub data_set: Vec<u8>,
}

impl SampleInstance {
    /// The same as a DICOM file (PS3.10 7).
    pub fn part10(&self) -> Vec<u8> {
        let mut file = file_start(&self.sop_class, &self.sop_instance, &self.transfer_syntax);
        file.extend_from_slice(&self.data_set);
        file
    }
}

/// Preamble and File Meta Information (PS3.10 7.1), Explicit VR Little Endian whatever follows.
pub(super) fn file_start(sop_class: &Uid, sop_instance: &Uid, transfer_syntax: &Uid) -> Vec<u8> {
    let mut meta = Vec::new();
    let mut put = |element: u16, vr: &[u8; 2], value: &[u8]| {
        meta.extend_from_slice(&[0x02, 0x00]);
        meta.extend_from_slice(&element.to_le_bytes());
        meta.extend_from_slice(vr);
        let length = value.len().next_multiple_of(2);
        if vr == b"OB" {
            meta.extend_from_slice(&[0, 0]);
            meta.extend_from_slice(&(length as u32).to_le_bytes());
        } else {
            meta.extend_from_slice(&(length as u16).to_le_bytes());
        }
        meta.extend_from_slice(value);
        meta.resize(meta.len() + length - value.len(), if vr == b"SH" { b' ' } else { 0 });
    };
    put(0x0001, b"OB", &[0, 1]);
    put(0x0002, b"UI", sop_class.as_str().as_bytes());
    put(0x0003, b"UI", sop_instance.as_str().as_bytes());
    put(0x0010, b"UI", transfer_syntax.as_str().as_bytes());
    put(0x0012, b"UI", sample_uid(&["implementation"]).as_str().as_bytes());
    put(0x0013, b"SH", b"NEISSE_SAMPLE");
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM\x02\x00\x00\x00UL\x04\x00");
    file.extend_from_slice(&(meta.len() as u32).to_le_bytes());
    file.extend_from_slice(&meta);
    file
}

/// A UID that is always the same for the same words: a version 8 UUID under 2.25 (PS3.5 B.2).
pub(super) fn sample_uid(words: &[&str]) -> Uid {
    let mut hash = Sha256::new();
    for word in words {
        hash.update(word.as_bytes());
        hash.update([0]);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    let uuid = uuid::Builder::from_custom_bytes(bytes).into_uuid();
    // 2.25 and at most 39 digits: always a UID.
    Uid::new(&format!("2.25.{}", uuid.as_u128())).unwrap_or_else(|_| Uid::generate())
}

/// What differs between the series of a case.
pub(super) struct Series<'a> {
    pub sop_class: &'a str,
    pub modality: &'a str,
    pub description: &'a str,
    pub body_part: &'a str,
    pub manufacturer: &'a str,
    pub number: u16,
}

/// The modules every sample shares: patient, study, series, equipment, SOP common (PS3.3 C.7, C.12.1).
pub(super) fn common(case: &SampleCase, series: &Series<'_>, instance_number: usize) -> (DataSet, Uid) {
    let instance = sample_uid(&[&case.key, series.modality, &series.number.to_string(), &instance_number.to_string()]);
    let mut set = DataSet::new(&case.charset);
    let description = if case.description.is_empty() { series.description } else { &case.description };
    set.texts(&[
        (tags::SOP_CLASS_UID, series.sop_class),
        (tags::SOP_INSTANCE_UID, instance.as_str()),
        (tags::INSTANCE_CREATION_DATE, &case.study_date),
        (tags::INSTANCE_CREATION_TIME, &case.study_time),
        (tags::STUDY_DATE, &case.study_date),
        (tags::SERIES_DATE, &case.study_date),
        (tags::CONTENT_DATE, &case.study_date),
        (tags::ACQUISITION_DATE, &case.study_date),
        (tags::STUDY_TIME, &case.study_time),
        (tags::SERIES_TIME, &case.study_time),
        (tags::CONTENT_TIME, &case.study_time),
        (tags::ACQUISITION_TIME, &case.study_time),
        (tags::ACCESSION_NUMBER, &case.accession),
        (tags::MODALITY, series.modality),
        (tags::MANUFACTURER, series.manufacturer),
        (tags::INSTITUTION_NAME, &case.institution),
        (tags::REFERRING_PHYSICIAN_NAME, &case.referring),
        (tags::STUDY_DESCRIPTION, description),
        (tags::SERIES_DESCRIPTION, series.description),
        (tags::MANUFACTURER_MODEL_NAME, "Phantom by formula"),
        (tags::PATIENT_NAME, &case.patient_name),
        (tags::PATIENT_ID, &case.patient_id),
        (tags::PATIENT_BIRTH_DATE, &case.birth_date),
        (tags::PATIENT_SEX, &case.sex),
        // A phantom, not a person (PS3.3 C.7.1.1).
        (tags::QUALITY_CONTROL_SUBJECT, "YES"),
        (tags::BODY_PART_EXAMINED, series.body_part),
        (tags::DEVICE_SERIAL_NUMBER, "0000"),
        (tags::SOFTWARE_VERSIONS, "neisse sample"),
        (tags::STUDY_INSTANCE_UID, case.study().as_str()),
        (tags::SERIES_INSTANCE_UID, sample_uid(&[&case.key, series.modality, &series.number.to_string()]).as_str()),
        (tags::STUDY_ID, &case.accession),
        (tags::SERIES_NUMBER, &series.number.to_string()),
        (tags::INSTANCE_NUMBER, &(instance_number + 1).to_string()),
        (tags::BURNED_IN_ANNOTATION, "YES"),
    ]);
    set.text(tags::LOSSY_IMAGE_COMPRESSION, "00");
    // Type 1C: absent where the text is plain ASCII (PS3.3 C.12.1.1.2).
    if !case.charset.is_empty() {
        set.text(tags::SPECIFIC_CHARACTER_SET, &case.charset);
    }
    if !case.placer_order.is_empty() {
        set.items(tags::REQUEST_ATTRIBUTES_SEQUENCE, vec![request(case, description)]);
    }
    (set, instance)
}

/// An item of Request Attributes Sequence (0040,0275), PS3.3 Table 10-9.
fn request(case: &SampleCase, description: &str) -> DataSet {
    let mut item = DataSet::new(&case.charset);
    item.texts(&[
        (tags::ACCESSION_NUMBER, &case.accession),
        (tags::STUDY_INSTANCE_UID, case.study().as_str()),
        (tags::REQUESTED_PROCEDURE_DESCRIPTION, description),
        (tags::SCHEDULED_PROCEDURE_STEP_ID, "SPS1"),
        (tags::REQUESTED_PROCEDURE_ID, "RP1"),
        (tags::REQUESTED_PROCEDURE_PRIORITY, &case.priority),
        (tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST, &case.placer_order),
        (tags::FILLER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST, &case.filler_order),
    ]);
    item
}

/// Image Pixel of one grey value a pixel, unsigned, low bits used (PS3.3 C.7.6.3).
pub(super) fn grey(set: &mut DataSet, columns: u16, rows: u16, bits_allocated: u16, bits_stored: u16) {
    set.text(tags::PHOTOMETRIC_INTERPRETATION, "MONOCHROME2").numbers(&[
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, rows),
        (tags::COLUMNS, columns),
        (tags::BITS_ALLOCATED, bits_allocated),
        (tags::BITS_STORED, bits_stored),
        (tags::HIGH_BIT, bits_stored - 1),
        (tags::PIXEL_REPRESENTATION, 0),
    ]);
}

pub(super) fn made(series: &Series<'_>, sop_instance: Uid, transfer_syntax: &str, data_set: Vec<u8>) -> SampleInstance {
    let constant = |text| Uid::new(text).unwrap_or_else(|_| Uid::generate());
    SampleInstance {
        sop_class: constant(series.sop_class),
        sop_instance,
        transfer_syntax: constant(transfer_syntax),
        data_set,
    }
}

/// A coordinate from -1 to 1 for each of `count` pixels.
pub(super) fn coordinates(count: u16) -> Vec<f32> {
    let half = f32::from(count) / 2.0;
    (0..count).map(|at| (f32::from(at) + 0.5 - half) / half).collect()
}
