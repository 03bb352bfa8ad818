//! Attribute matching (PS3.4 C.2.2.2): does a candidate fit the keys of a query, and what of it is returned.
//!
//! In: the keys of a request and a candidate, both with text in UTF-8; and how to match ([`MatchOptions`]). Out: yes or no
//! ([`matches()`]), and the attributes asked for ([`returned`]). Pure: reads no clock, no store.
//!
//! A candidate has every attribute that is supported, empty where its value is unknown. So a key that the candidate lacks is
//! one that is not supported: it is passed over and not returned, which [`supports_all`] tells beforehand. Keys are hostile:
//! [`check`] refuses what cannot be matched; whatever else comes, the work is bounded by the length of keys and candidate.

mod fuzz;
mod prepared;
#[cfg(test)]
mod tests;
mod text;
mod times;

pub use fuzz::fuzz_matching;
pub use prepared::Prepared;
pub use times::days;

use super::service::DataSet;
use chrono_tz::Tz;
use dicom_core::{Tag, VR, header::Header, value::Value};
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemElement;

/// Levels of sequences in keys. The deepest the standards ask for is three.
const MAX_DEPTH: usize = 8;
/// UIDs of one list. Each is looked up once for a candidate, however many they are.
const MAX_UIDS: usize = 10_000;
/// Values of any other key: each is tried on every candidate.
const MAX_VALUES: usize = 16;
/// Letters of one value of a key.
const MAX_LETTERS: usize = 1024;
/// Letters of all keys that are no UIDs: they too are tried on every candidate.
const MAX_ALL_LETTERS: usize = 4096;

/// How person names are matched; the standard leaves it to the implementation (PS3.4 C.2.2.2.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// Letter by letter.
    Exact,
    /// Without case and accents.
    #[default]
    Folded,
    /// Fuzzy semantic matching, where it was asked for: each word of the key begins a word of the name, in any order.
    Fuzzy,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct MatchOptions {
    pub names: Names,
    /// A candidate's unknown value fits every key (queries of what is held, PS3.4 C.2.2.1.2); else none (worklists, K.2.2.1.1.1).
    pub unknown_matches: bool,
    /// A range of dates and one of times are one range from moment to moment: always in worklists (PS3.4 Table K.6-1), else
    /// where it was negotiated (C.2.2.2.5.4).
    pub combined_datetime: bool,
    /// Of DT values that name no offset from UTC. `None`: they are compared as they are.
    pub time_zone: Option<Tz>,
}

/// Date and time that are one moment (PS3.4 C.2.2.2.5.4).
const MOMENTS: [(Tag, Tag); 9] = [
    (tags::STUDY_DATE, tags::STUDY_TIME),
    (tags::SERIES_DATE, tags::SERIES_TIME),
    (tags::ACQUISITION_DATE, tags::ACQUISITION_TIME),
    (tags::CONTENT_DATE, tags::CONTENT_TIME),
    (tags::INSTANCE_CREATION_DATE, tags::INSTANCE_CREATION_TIME),
    (tags::PATIENT_BIRTH_DATE, tags::PATIENT_BIRTH_TIME),
    (tags::SCHEDULED_PROCEDURE_STEP_START_DATE, tags::SCHEDULED_PROCEDURE_STEP_START_TIME),
    (tags::SCHEDULED_PROCEDURE_STEP_END_DATE, tags::SCHEDULED_PROCEDURE_STEP_END_TIME),
    (tags::PERFORMED_PROCEDURE_STEP_START_DATE, tags::PERFORMED_PROCEDURE_STEP_START_TIME),
];

/// Whether one candidate fits every key. Where there are many, [`Prepared`] reads the keys once.
pub fn matches(keys: &DataSet, candidate: &DataSet, options: MatchOptions) -> bool {
    Prepared::new(keys, options).fits(candidate)
}

/// The candidate's attributes that the keys ask for. Of a sequence whose key has an item: the items that match, with what the
/// item asks for (PS3.4 C.2.2.2.6); all items where the options the query was matched by are needed to tell.
pub fn returned(keys: &DataSet, candidate: &DataSet) -> DataSet {
    returned_at(keys, candidate, 0)
}

/// Whether there is something in the candidate for every key: its attributes are those supported. Else FF01 (PS3.4 Table
/// C.4-1, K.4-1).
pub fn supports_all(keys: &DataSet, candidate: &DataSet) -> bool {
    supports_at(keys, candidate, 0)
}

/// Whether every key can be matched on.
///
/// # Errors
/// The first that cannot: a date, time or UID that is none, a sequence of several items (PS3.4 C.2.2.2.6), too long, too deep.
pub fn check(keys: &DataSet) -> Result<(), Tag> {
    check_at(keys, 0, &mut 0)
}

/// Never matched on (PS3.4 C.2.2.2; C.4.1.1.3.1 for the level).
fn is_no_key(tag: Tag) -> bool {
    let about = [tags::SPECIFIC_CHARACTER_SET, tags::TIMEZONE_OFFSET_FROM_UTC, tags::QUERY_RETRIEVE_LEVEL];
    tag.element() == 0 || about.contains(&tag)
}

fn most_values(vr: VR) -> usize {
    if vr == VR::UI { MAX_UIDS } else { MAX_VALUES }
}

fn is_universal(wanted: &[String]) -> bool {
    matches!(wanted, [one] if one.bytes().all(|letter| letter == b'*'))
}

fn returned_at(keys: &DataSet, candidate: &DataSet, depth: usize) -> DataSet {
    let mut answer = DataSet::new_empty();
    for key in keys.iter().filter(|key| key.tag() != tags::SPECIFIC_CHARACTER_SET && depth <= MAX_DEPTH) {
        let Some(known) = candidate.get(key.tag()) else { continue };
        match (key.items().and_then(<[_]>::first), known.items()) {
            (Some(wanted), Some(items)) if wanted.iter().next().is_some() => {
                answer.put(reduced(known, wanted, items, depth));
            }
            _ => {
                answer.put(known.clone());
            }
        }
    }
    answer
}

/// The sequence with the items that match, each with what is asked for.
fn reduced(known: &InMemElement, wanted: &DataSet, items: &[DataSet], depth: usize) -> InMemElement {
    let mut kept: Vec<&DataSet> = items.iter().collect();
    if items.len() > 1 {
        let options = MatchOptions { unknown_matches: true, ..MatchOptions::default() };
        let keys = Prepared::new(wanted, options);
        kept.retain(|item| keys.fits(item));
        if kept.is_empty() {
            kept = items.iter().collect();
        }
    }
    let kept: Vec<DataSet> = kept.into_iter().map(|item| returned_at(wanted, item, depth + 1)).collect();
    InMemElement::new(known.tag(), VR::SQ, dicom_core::value::DataSetSequence::from(kept))
}

fn supports_at(keys: &DataSet, candidate: &DataSet, depth: usize) -> bool {
    keys.iter().filter(|key| !is_no_key(key.tag())).all(|key| {
        let Some(known) = candidate.get(key.tag()) else { return false };
        // Of a sequence without an item nobody can tell what its items would have.
        let (Some(wanted), Some(item)) = (key.items().and_then(<[_]>::first), known.items().and_then(<[_]>::first))
        else {
            return true;
        };
        depth < MAX_DEPTH && supports_at(wanted, item, depth + 1)
    })
}

fn check_at(keys: &DataSet, depth: usize, letters: &mut usize) -> Result<(), Tag> {
    for key in keys.iter().filter(|key| !is_no_key(key.tag())) {
        let refused = Err(key.tag());
        if let Some(items) = key.items() {
            if items.len() > 1 || depth >= MAX_DEPTH {
                return refused;
            }
            items.iter().try_for_each(|item| check_at(item, depth + 1, letters))?;
            continue;
        }
        let wanted = values(key);
        if wanted.len() > most_values(key.vr()) || wanted.iter().any(|value| value.chars().count() > MAX_LETTERS) {
            return refused;
        }
        if key.vr() != VR::UI {
            *letters += wanted.iter().map(|value| value.chars().count()).sum::<usize>();
            if *letters > MAX_ALL_LETTERS {
                return refused;
            }
        }
        if wanted.is_empty() || is_universal(&wanted) || wanted == ["\"\""] {
            continue;
        }
        let readable = match key.vr() {
            VR::DA | VR::TM | VR::DT => times::is_readable(key.vr(), &joined(key)),
            VR::UI => wanted.iter().all(|uid| crate::model::Uid::new(uid).is_ok()),
            _ => true,
        };
        if !readable {
            return refused;
        }
    }
    Ok(())
}

/// The values of an element, without padding and without empty ones. A backslash is a letter in narrative text.
pub fn values(element: &InMemElement) -> Vec<String> {
    let Value::Primitive(value) = element.value() else { return Vec::new() };
    let several = value.to_multi_str();
    let padding = |letter: char| letter == ' ' || letter == '\0';
    let is_narrative = matches!(element.vr(), VR::ST | VR::LT | VR::UT | VR::UR);
    let mut found = Vec::new();
    for value in several.iter() {
        if is_narrative {
            found.push(value.trim_end_matches(padding).to_owned());
        } else {
            found.extend(value.split('\\').map(|value| value.trim_matches(padding).to_owned()));
        }
    }
    found.retain(|value| !value.is_empty());
    found
}

/// The first value; empty where there is none.
pub fn value(set: &DataSet, tag: Tag) -> String {
    set.get(tag).and_then(|element| values(element).into_iter().next()).unwrap_or_default()
}

/// As one text again: a date or time key is one.
fn joined(element: &InMemElement) -> String {
    values(element).join("\\")
}
