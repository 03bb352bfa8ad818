//! What must hold of matching whatever a peer asks. For fuzzing and property tests.

use super::{MatchOptions, Names, check, matches, returned, text, times};
use crate::dicom::service::DataSet;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::DataSetSequence};
use dicom_dictionary_std::tags;

const KEYS: [(Tag, VR); 9] = [
    (tags::PATIENT_NAME, VR::PN),
    (tags::PATIENT_ID, VR::LO),
    (tags::MODALITY, VR::CS),
    (tags::STUDY_DATE, VR::DA),
    (tags::STUDY_TIME, VR::TM),
    (tags::SCHEDULED_PROCEDURE_STEP_START_DATE_TIME, VR::DT),
    (tags::STUDY_INSTANCE_UID, VR::UI),
    (tags::PATIENT_COMMENTS, VR::LT),
    (tags::SERIES_NUMBER, VR::IS),
];

/// Whatever the bytes: no panic, and no more work than their length allows; a candidate fits keys that ask for nothing, and is
/// returned whole to keys that name all it has.
pub fn fuzz_matching(bytes: &[u8]) {
    let (how, rest) = bytes.split_at(bytes.len().min(2));
    let how = how.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let text: String = String::from_utf8_lossy(rest).chars().take(4096).collect();
    let (key, known) = text.split_once('\n').unwrap_or((&text, &text));
    let options = MatchOptions {
        names: [Names::Exact, Names::Folded, Names::Fuzzy][how % 3],
        unknown_matches: how & 4 != 0,
        combined_datetime: how & 8 != 0,
        time_zone: (how & 16 != 0).then_some(chrono_tz::Europe::Berlin),
    };
    let (mut keys, mut empty, mut candidate) = (DataSet::new_empty(), DataSet::new_empty(), DataSet::new_empty());
    for (number, (tag, vr)) in KEYS.into_iter().enumerate() {
        candidate.put(DataElement::new(tag, vr, PrimitiveValue::from(known)));
        empty.put(DataElement::new(tag, vr, PrimitiveValue::Empty));
        if (how >> number) & 1 == 0 {
            keys.put(DataElement::new(tag, vr, PrimitiveValue::from(key)));
        }
    }
    for level in [&mut keys, &mut candidate] {
        let item = level.clone();
        level.put(DataElement::new(tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE, VR::SQ, DataSetSequence::from(vec![item])));
    }
    let _ = (check(&keys), matches(&keys, &candidate, options), returned(&keys, &candidate), times::days(key));
    assert!(matches(&empty, &candidate, options), "keys that ask for nothing refuse something");
    let kept = returned(&candidate, &candidate).iter().count();
    assert_eq!(kept, candidate.iter().count(), "something asked for is not returned");
    assert!(text::wild("*", known), "a star does not match everything");
    let prefix: String = known.chars().take(3).filter(|letter| !matches!(letter, '*' | '?')).collect();
    assert!(!known.starts_with(&prefix) || text::wild(&format!("{prefix}*"), known), "a prefix does not match");
}
