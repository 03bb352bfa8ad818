//! What is known of a study, a series, an instance, as a data set to be matched and returned.
//!
//! In: rows of the store. Out: data sets that have every attribute supported at their level and above, empty where nothing is
//! known. Knows no query.

use super::{Level, Question};
use crate::{
    dicom::service::DataSet,
    model::StudyFacts,
    store::{FoundInstance, FoundSeries, FoundStudy},
};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::DataSetSequence};
use dicom_dictionary_std::tags;

/// What [`Naming`](super::Naming) may change.
const IDENTIFIERS: [Tag; 4] = [tags::PATIENT_ID, tags::ISSUER_OF_PATIENT_ID, tags::ACCESSION_NUMBER, tags::STUDY_ID];

/// Kept by no row: returned empty and matched by nothing.
const UNKNOWN_OF_SERIES: [(Tag, VR); 2] = [(tags::LATERALITY, VR::CS), (tags::STATION_NAME, VR::SH)];
const UNKNOWN_OF_INSTANCE: [(Tag, VR); 4] =
    [(tags::ROWS, VR::US), (tags::COLUMNS, VR::US), (tags::BITS_ALLOCATED, VR::US), (tags::NUMBER_OF_FRAMES, VR::IS)];

/// Of a study: no scanner has more, and an answer has its bounds.
const MOST_MODALITIES: usize = 64;

pub fn without_identifiers(keys: &DataSet) -> DataSet {
    let mut others = keys.clone();
    for tag in IDENTIFIERS {
        others.remove_element(tag);
    }
    others
}

fn put(set: &mut DataSet, tag: Tag, vr: VR, text: &str) {
    let value = if text.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(text) };
    set.put(DataElement::new(tag, vr, value));
}

fn put_number(set: &mut DataSet, tag: Tag, number: Option<i64>) {
    put(set, tag, VR::IS, &number.map(|number| number.to_string()).unwrap_or_default());
}

fn patient(set: &mut DataSet, facts: &StudyFacts) {
    put(set, tags::PATIENT_NAME, VR::PN, &facts.patient_name);
    put(set, tags::PATIENT_ID, VR::LO, &facts.patient_id.value);
    put(set, tags::ISSUER_OF_PATIENT_ID, VR::LO, &facts.patient_id.issuer);
    put(set, tags::PATIENT_BIRTH_DATE, VR::DA, &facts.birth_date);
    put(set, tags::PATIENT_SEX, VR::CS, &facts.sex);
}

/// At the level of patients only what is the patient's.
pub fn study(study: &FoundStudy, question: &Question) -> DataSet {
    let mut set = DataSet::new_empty();
    put(&mut set, tags::QUERY_RETRIEVE_LEVEL, VR::CS, question.level.as_str());
    // PS3.4 C.4.1.1.3.2.
    put(&mut set, tags::RETRIEVE_AE_TITLE, VR::AE, &question.ae_title);
    patient(&mut set, &study.facts);
    if question.level > Level::Patient {
        of_study(&mut set, study);
    }
    set
}

fn of_study(set: &mut DataSet, study: &FoundStudy) {
    let facts = &study.facts;
    put(set, tags::STUDY_INSTANCE_UID, VR::UI, study.study.as_str());
    put(set, tags::STUDY_DATE, VR::DA, &facts.study_date);
    put(set, tags::STUDY_TIME, VR::TM, &facts.study_time);
    put(set, tags::ACCESSION_NUMBER, VR::SH, &facts.accession.value);
    put(set, tags::STUDY_ID, VR::SH, &facts.study_id);
    put(set, tags::STUDY_DESCRIPTION, VR::LO, &facts.description);
    put(set, tags::REFERRING_PHYSICIAN_NAME, VR::PN, &facts.referring_physician);
    let modalities = match study.modalities.as_slice() {
        [] => PrimitiveValue::Empty,
        known => PrimitiveValue::Strs(known.iter().take(MOST_MODALITIES).map(|name| code(name)).collect()),
    };
    set.put(DataElement::new(tags::MODALITIES_IN_STUDY, VR::CS, modalities));
    put_number(set, tags::NUMBER_OF_STUDY_RELATED_SERIES, Some(study.series));
    put_number(set, tags::NUMBER_OF_STUDY_RELATED_INSTANCES, Some(study.instances));
    put(set, tags::INSTANCE_AVAILABILITY, VR::CS, availability(!study.is_purged));
}

/// A CS has no more letters (PS3.5 6.2).
fn code(text: &str) -> String {
    text.chars().take(16).collect()
}

fn availability(on_disk: bool) -> &'static str {
    if on_disk { "ONLINE" } else { "UNAVAILABLE" }
}

/// With what is known of its study.
pub fn series(study: &DataSet, series: &FoundSeries) -> DataSet {
    let mut set = study.clone();
    put(&mut set, tags::SERIES_INSTANCE_UID, VR::UI, &series.series_uid);
    put(&mut set, tags::MODALITY, VR::CS, &series.modality);
    put_number(&mut set, tags::SERIES_NUMBER, series.number);
    put(&mut set, tags::SERIES_DESCRIPTION, VR::LO, &series.description);
    put(&mut set, tags::BODY_PART_EXAMINED, VR::CS, &series.body_part);
    put(&mut set, tags::PERFORMED_PROCEDURE_STEP_START_DATE, VR::DA, &series.started_on);
    put(&mut set, tags::PERFORMED_PROCEDURE_STEP_START_TIME, VR::TM, &series.started_at);
    put_number(&mut set, tags::NUMBER_OF_SERIES_RELATED_INSTANCES, Some(series.instances));
    UNKNOWN_OF_SERIES.into_iter().for_each(|(tag, vr)| put(&mut set, tag, vr, ""));
    let none = DataSetSequence::<DataSet>::empty();
    set.put(DataElement::new(tags::REQUEST_ATTRIBUTES_SEQUENCE, VR::SQ, none));
    set
}

/// With what is known of its series and study.
pub fn instance(series: &DataSet, instance: &FoundInstance) -> DataSet {
    let mut set = series.clone();
    put(&mut set, tags::SERIES_INSTANCE_UID, VR::UI, instance.series.as_str());
    put(&mut set, tags::SOP_CLASS_UID, VR::UI, instance.sop_class.as_str());
    put(&mut set, tags::SOP_INSTANCE_UID, VR::UI, instance.sop_instance.as_str());
    put_number(&mut set, tags::INSTANCE_NUMBER, instance.number);
    put(&mut set, tags::AVAILABLE_TRANSFER_SYNTAX_UID, VR::UI, instance.transfer_syntax.as_str());
    put(&mut set, tags::INSTANCE_AVAILABILITY, VR::CS, availability(instance.on_disk));
    UNKNOWN_OF_INSTANCE.into_iter().for_each(|(tag, vr)| put(&mut set, tag, vr, ""));
    set
}

/// Every attribute that is supported at this level.
pub fn empty(level: Level) -> DataSet {
    let mut set = DataSet::new_empty();
    put(&mut set, tags::RETRIEVE_AE_TITLE, VR::AE, "");
    patient(&mut set, &StudyFacts::default());
    if level == Level::Patient {
        return set;
    }
    for (tag, vr) in [
        (tags::STUDY_INSTANCE_UID, VR::UI),
        (tags::STUDY_DATE, VR::DA),
        (tags::STUDY_TIME, VR::TM),
        (tags::ACCESSION_NUMBER, VR::SH),
        (tags::STUDY_ID, VR::SH),
        (tags::STUDY_DESCRIPTION, VR::LO),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
        (tags::MODALITIES_IN_STUDY, VR::CS),
        (tags::NUMBER_OF_STUDY_RELATED_SERIES, VR::IS),
        (tags::NUMBER_OF_STUDY_RELATED_INSTANCES, VR::IS),
        (tags::INSTANCE_AVAILABILITY, VR::CS),
    ] {
        put(&mut set, tag, vr, "");
    }
    if level >= Level::Series {
        let nothing = FoundSeries {
            series_uid: String::new(),
            modality: String::new(),
            number: None,
            description: String::new(),
            body_part: String::new(),
            started_on: String::new(),
            started_at: String::new(),
            instances: 0,
        };
        set = series(&set, &nothing);
    }
    if level == Level::Image {
        for (tag, vr) in [
            (tags::SOP_CLASS_UID, VR::UI),
            (tags::SOP_INSTANCE_UID, VR::UI),
            (tags::INSTANCE_NUMBER, VR::IS),
            (tags::AVAILABLE_TRANSFER_SYNTAX_UID, VR::UI),
        ]
        .into_iter()
        .chain(UNKNOWN_OF_INSTANCE)
        {
            put(&mut set, tag, vr, "");
        }
    }
    set
}
