//! What a performed procedure step must hold to begin, to change and to end (PS3.4 Table F.7.2-1). Pure.
//!
//! In: attributes as they were sent. Out: the refusal of PS3.7 with the element it is about, or what is to be kept.

use crate::{
    dicom::{
        matching::{value, values},
        service::{DataSet, Refusal},
    },
    model::Uid,
};
use dicom_core::{Tag, header::Header};
use dicom_dictionary_std::tags;

/// Instances one step may name: more than any examination has.
const MAX_INSTANCES: usize = 100_000;

/// Error ID (0000,0903) of a step that has ended (PS3.4 Table F.7.2-2).
pub const MAY_NO_LONGER_BE_UPDATED: u16 = 0xA710;

/// Performed Procedure Step Status (0040,0252).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    InProgress,
    Completed,
    Discontinued,
}

impl Status {
    pub const ALL: [Status; 3] = [Status::InProgress, Status::Completed, Status::Discontinued];

    pub fn as_str(self) -> &'static str {
        match self {
            Status::InProgress => "IN PROGRESS",
            Status::Completed => "COMPLETED",
            Status::Discontinued => "DISCONTINUED",
        }
    }

    /// For metrics and people.
    pub fn label(self) -> &'static str {
        match self {
            Status::InProgress => "in_progress",
            Status::Completed => "completed",
            Status::Discontinued => "discontinued",
        }
    }
}

/// Type 1 at N-CREATE; each in the one item, or several, of the sequence before it.
const AT_BEGIN: [Tag; 7] = [
    tags::SCHEDULED_STEP_ATTRIBUTES_SEQUENCE,
    tags::PERFORMED_PROCEDURE_STEP_ID,
    tags::PERFORMED_STATION_AE_TITLE,
    tags::PERFORMED_PROCEDURE_STEP_START_DATE,
    tags::PERFORMED_PROCEDURE_STEP_START_TIME,
    tags::PERFORMED_PROCEDURE_STEP_STATUS,
    tags::MODALITY,
];

/// Type 1 once it is completed. One that was broken off may have made nothing.
const AT_END: [Tag; 3] =
    [tags::PERFORMED_PROCEDURE_STEP_END_DATE, tags::PERFORMED_PROCEDURE_STEP_END_TIME, tags::PERFORMED_SERIES_SEQUENCE];

/// N-SET may not touch these (PS3.4 Table F.7.2-1, "not allowed"): whose examination it is stays as it began.
const FIXED: [Tag; 17] = [
    tags::SCHEDULED_STEP_ATTRIBUTES_SEQUENCE,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE,
    tags::OTHER_PATIENT_I_DS_SEQUENCE,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::REFERENCED_PATIENT_SEQUENCE,
    tags::ADMISSION_ID,
    tags::PERFORMED_PROCEDURE_STEP_ID,
    tags::PERFORMED_STATION_AE_TITLE,
    tags::PERFORMED_STATION_NAME,
    tags::PERFORMED_PROCEDURE_STEP_START_DATE,
    tags::PERFORMED_PROCEDURE_STEP_START_TIME,
    tags::MODALITY,
    tags::STUDY_ID,
];

const fn missing(tag: Tag) -> Refusal {
    Refusal { element: Some(tag), ..Refusal::new(0x0120, "a required attribute is missing") }
}

const fn empty(tag: Tag) -> Refusal {
    Refusal { element: Some(tag), ..Refusal::new(0x0121, "a required attribute has no value") }
}

const fn invalid(tag: Tag) -> Refusal {
    Refusal { element: Some(tag), ..Refusal::new(0x0106, "an attribute has a value that it may not have") }
}

/// Whether a step may begin like this.
///
/// # Errors
/// 0120, 0121 or 0106, with the element.
pub fn may_begin(attributes: &DataSet) -> Result<(), Refusal> {
    AT_BEGIN.into_iter().try_for_each(|tag| is_there(attributes, tag))?;
    for item in items(attributes, tags::SCHEDULED_STEP_ATTRIBUTES_SEQUENCE) {
        is_there(item, tags::STUDY_INSTANCE_UID)?;
        is_uid(item, tags::STUDY_INSTANCE_UID)?;
    }
    if status(attributes)? != Status::InProgress {
        return Err(invalid(tags::PERFORMED_PROCEDURE_STEP_STATUS));
    }
    Ok(())
}

/// Whether a step may end like this.
///
/// # Errors
/// 0120 or 0121, with the element.
pub fn may_end(attributes: &DataSet, status: Status) -> Result<(), Refusal> {
    if status == Status::Completed {
        AT_END.into_iter().try_for_each(|tag| is_there(attributes, tag))?;
    }
    Ok(())
}

/// # Errors
/// 0106: none that the standard knows.
pub fn status(attributes: &DataSet) -> Result<Status, Refusal> {
    let word = value(attributes, tags::PERFORMED_PROCEDURE_STEP_STATUS);
    let known = Status::ALL.into_iter().find(|status| status.as_str() == word);
    known.ok_or(invalid(tags::PERFORMED_PROCEDURE_STEP_STATUS))
}

/// Takes over what an N-SET says: each attribute, and each sequence, whole. False: some of it may not be changed, and says
/// something else than what is known; that stays as it was.
///
/// # Errors
/// 0121: the status is empty.
pub fn change(known: &mut DataSet, said: DataSet) -> Result<bool, Refusal> {
    let mut all = true;
    for element in said {
        let tag = element.tag();
        if tag == tags::PERFORMED_PROCEDURE_STEP_STATUS && values(&element).is_empty() {
            return Err(empty(tag));
        }
        if FIXED.contains(&tag) {
            let before = known.get(tag).map(values).unwrap_or_default();
            all &= element.items().is_some() || values(&element).is_empty() || values(&element) == before;
        } else {
            known.put(element);
        }
    }
    Ok(all)
}

/// Every instance of the Performed Series Sequence, images and others, each once.
///
/// # Errors
/// 0120, 0121 or 0106 for a series or a reference without what identifies it, or too many.
pub fn instances(attributes: &DataSet) -> Result<Vec<Uid>, Refusal> {
    let (mut found, mut seen) = (Vec::new(), std::collections::HashSet::new());
    for series in items(attributes, tags::PERFORMED_SERIES_SEQUENCE) {
        is_there(series, tags::SERIES_INSTANCE_UID)?;
        is_uid(series, tags::SERIES_INSTANCE_UID)?;
        for tag in [tags::REFERENCED_IMAGE_SEQUENCE, tags::REFERENCED_NON_IMAGE_COMPOSITE_SOP_INSTANCE_SEQUENCE] {
            for reference in items(series, tag) {
                is_there(reference, tags::REFERENCED_SOP_INSTANCE_UID)?;
                let uid = is_uid(reference, tags::REFERENCED_SOP_INSTANCE_UID)?;
                if seen.insert(uid.clone()) {
                    found.push(uid);
                }
                if found.len() > MAX_INSTANCES {
                    return Err(Refusal { element: Some(tag), ..Refusal::new(0x0213, "too many instances") });
                }
            }
        }
    }
    Ok(found)
}

fn is_there(set: &DataSet, tag: Tag) -> Result<(), Refusal> {
    let Some(element) = set.get(tag) else { return Err(missing(tag)) };
    let is_empty = match element.items() {
        Some(items) => items.is_empty(),
        None => values(element).is_empty(),
    };
    if is_empty { Err(empty(tag)) } else { Ok(()) }
}

fn is_uid(set: &DataSet, tag: Tag) -> Result<Uid, Refusal> {
    Uid::new(&value(set, tag)).map_err(|_| invalid(tag))
}

fn items(set: &DataSet, tag: Tag) -> &[DataSet] {
    super::performed::items(set, tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dicom_core::{DataElement, PrimitiveValue, VR, value::DataSetSequence};

    fn put(set: &mut DataSet, tag: Tag, vr: VR, text: &str) {
        let value = if text.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(text) };
        set.put(DataElement::new(tag, vr, value));
    }

    fn put_items(set: &mut DataSet, tag: Tag, items: Vec<DataSet>) {
        set.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
    }

    fn begun() -> DataSet {
        let (mut set, mut scheduled) = (DataSet::new_empty(), DataSet::new_empty());
        put(&mut scheduled, tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3");
        put_items(&mut set, tags::SCHEDULED_STEP_ATTRIBUTES_SEQUENCE, vec![scheduled]);
        for (tag, vr, text) in [
            (tags::PATIENT_NAME, VR::PN, "Synthetic^Anna"),
            (tags::PERFORMED_PROCEDURE_STEP_ID, VR::SH, "PPS1"),
            (tags::PERFORMED_STATION_AE_TITLE, VR::AE, "CT1"),
            (tags::PERFORMED_PROCEDURE_STEP_START_DATE, VR::DA, "20261124"),
            (tags::PERFORMED_PROCEDURE_STEP_START_TIME, VR::TM, "0830"),
            (tags::PERFORMED_PROCEDURE_STEP_STATUS, VR::CS, "IN PROGRESS"),
            (tags::MODALITY, VR::CS, "CT"),
        ] {
            put(&mut set, tag, vr, text);
        }
        set
    }

    fn series(uids: &[&str]) -> DataSet {
        let mut series = DataSet::new_empty();
        put(&mut series, tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.1");
        let references = uids.iter().map(|uid| {
            let mut item = DataSet::new_empty();
            put(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, uid);
            item
        });
        put_items(&mut series, tags::REFERENCED_IMAGE_SEQUENCE, references.collect());
        series
    }

    #[test]
    fn every_attribute_of_type_1_has_to_be_there_with_a_value() {
        assert_eq!(may_begin(&begun()), Ok(()));
        for tag in AT_BEGIN {
            let mut set = begun();
            set.remove_element(tag);
            assert_eq!(may_begin(&set), Err(missing(tag)), "{tag}");
            let mut set = begun();
            if tag == tags::SCHEDULED_STEP_ATTRIBUTES_SEQUENCE {
                put_items(&mut set, tag, Vec::new());
            } else {
                put(&mut set, tag, VR::LO, "");
            }
            assert_eq!(may_begin(&set), Err(empty(tag)), "{tag}");
        }
        let mut set = begun();
        put_items(&mut set, tags::SCHEDULED_STEP_ATTRIBUTES_SEQUENCE, vec![DataSet::new_empty()]);
        assert_eq!(may_begin(&set), Err(missing(tags::STUDY_INSTANCE_UID)));
    }

    #[test]
    fn a_step_begins_in_progress_and_nothing_else() {
        for (word, expected) in [
            ("IN PROGRESS", Ok(())),
            ("COMPLETED", Err(invalid(tags::PERFORMED_PROCEDURE_STEP_STATUS))),
            ("DISCONTINUED", Err(invalid(tags::PERFORMED_PROCEDURE_STEP_STATUS))),
            ("STARTED", Err(invalid(tags::PERFORMED_PROCEDURE_STEP_STATUS))),
        ] {
            let mut set = begun();
            put(&mut set, tags::PERFORMED_PROCEDURE_STEP_STATUS, VR::CS, word);
            assert_eq!(may_begin(&set), expected, "{word}");
        }
    }

    #[test]
    fn what_ends_says_when_and_what_was_made() {
        let mut set = begun();
        assert_eq!(may_end(&set, Status::Completed), Err(missing(tags::PERFORMED_PROCEDURE_STEP_END_DATE)));
        assert_eq!(may_end(&set, Status::Discontinued), Ok(()));
        put(&mut set, tags::PERFORMED_PROCEDURE_STEP_END_DATE, VR::DA, "20261124");
        put(&mut set, tags::PERFORMED_PROCEDURE_STEP_END_TIME, VR::TM, "0845");
        put_items(&mut set, tags::PERFORMED_SERIES_SEQUENCE, Vec::new());
        assert_eq!(may_end(&set, Status::Completed), Err(empty(tags::PERFORMED_SERIES_SEQUENCE)));
        put_items(&mut set, tags::PERFORMED_SERIES_SEQUENCE, vec![series(&["1.2.3.1.1", "1.2.3.1.2", "1.2.3.1.1"])]);
        assert_eq!(may_end(&set, Status::Completed), Ok(()));
        let named = instances(&set).expect("instances");
        assert_eq!(named.iter().map(Uid::as_str).collect::<Vec<_>>(), ["1.2.3.1.1", "1.2.3.1.2"]);
        put_items(&mut set, tags::PERFORMED_SERIES_SEQUENCE, vec![series(&["../x"])]);
        assert_eq!(instances(&set), Err(invalid(tags::REFERENCED_SOP_INSTANCE_UID)));
    }

    #[test]
    fn whose_examination_it_is_stays_as_it_began() {
        let (mut known, mut said) = (begun(), DataSet::new_empty());
        put(&mut said, tags::PATIENT_NAME, VR::PN, "Synthetic^Anna");
        put(&mut said, tags::PERFORMED_PROCEDURE_STEP_DESCRIPTION, VR::LO, "Head");
        assert_eq!(change(&mut known, said.clone()), Ok(true));
        assert_eq!(value(&known, tags::PERFORMED_PROCEDURE_STEP_DESCRIPTION), "Head");
        put(&mut said, tags::PATIENT_NAME, VR::PN, "Another^One");
        assert_eq!(change(&mut known, said.clone()), Ok(false));
        assert_eq!(value(&known, tags::PATIENT_NAME), "Synthetic^Anna");
        put(&mut said, tags::PERFORMED_PROCEDURE_STEP_STATUS, VR::CS, "");
        assert_eq!(change(&mut known, said), Err(empty(tags::PERFORMED_PROCEDURE_STEP_STATUS)));
    }
}
