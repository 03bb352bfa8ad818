//! Query parameters of UPS-RS (PS3.18 8.3.4, 11.9, 11.10): keys as keywords or tags, and the spellings of a UID in the wild.
//!
//! In: the query as it came. Out: keys as a data set, bounded in number, length and depth; or what is wrong with them, without
//! repeating them.

use crate::dicom::{service::DataSet, ups};
use dicom_core::{
    Tag, VR,
    dictionary::{DataDictionary, DataDictionaryEntry},
};
use dicom_dictionary_std::StandardDataDictionary;
use dicom_object::mem::InMemElement;

const MAX_QUERY_BYTES: usize = 16 << 10;
const MAX_KEYS: usize = 100;
const MAX_DEPTH: usize = 4;

#[derive(Clone, Debug)]
pub struct Search {
    pub keys: DataSet,
    pub limit: Option<u64>,
    pub offset: u64,
    pub is_fuzzy: bool,
}

#[derive(Clone, Debug)]
pub struct Subscription {
    pub keys: DataSet,
    pub deletion_lock: bool,
}

/// # Errors
/// What is wrong with it.
pub fn search(query: &str) -> Result<Search, &'static str> {
    let mut search = Search { keys: DataSet::new_empty(), limit: None, offset: 0, is_fuzzy: false };
    let (mut fields, mut is_all) = (Vec::new(), false);
    for (name, value) in pairs(query)? {
        match name.as_str() {
            "limit" => search.limit = Some(number(&value)?),
            "offset" => search.offset = number(&value)?,
            "fuzzymatching" => search.is_fuzzy = truth(&value)?,
            "includefield" if value == "all" => is_all = true,
            "includefield" => fields.extend(value.split(',').map(str::to_owned)),
            _ => put_key(&mut search.keys, &name, &value)?,
        }
    }
    if is_all || fields.is_empty() {
        for tag in ups::SUPPORTED {
            if search.keys.get(tag).is_none() {
                put_tag(&mut search.keys, tag, "");
            }
        }
    }
    for field in &fields {
        let tag = first_tag(field)?;
        if search.keys.get(tag).is_none() {
            put_tag(&mut search.keys, tag, "");
        }
    }
    // What a task is known by is always told.
    for tag in [dicom_dictionary_std::tags::SOP_CLASS_UID, dicom_dictionary_std::tags::SOP_INSTANCE_UID] {
        if search.keys.get(tag).is_none() {
            put_tag(&mut search.keys, tag, "");
        }
    }
    Ok(search)
}

/// # Errors
/// What is wrong with it.
pub fn subscription(query: &str) -> Result<Subscription, &'static str> {
    let mut wanted = Subscription { keys: DataSet::new_empty(), deletion_lock: false };
    for (name, value) in pairs(query)? {
        match name.to_ascii_lowercase().as_str() {
            "deletionlock" => wanted.deletion_lock = truth(&value)?,
            "filter" => {
                for key in value.split([',', '&']).filter(|key| !key.is_empty()) {
                    let (name, value) = key.split_once('=').ok_or("a filter is Keyword=value")?;
                    put_key(&mut wanted.keys, name, value)?;
                }
            }
            _ => return Err("not a parameter of a subscription"),
        }
    }
    Ok(wanted)
}

/// A UID under one of these names, or bare, as different clients write it.
pub fn uid(query: &str, names: &[&str]) -> Option<String> {
    let pairs = pairs(query).ok()?;
    let is_uid = |text: &str| crate::model::Uid::new(text).is_ok();
    let named = pairs.iter().find(|(name, _)| names.iter().any(|known| known.eq_ignore_ascii_case(name)));
    let bare = pairs.iter().find(|(name, value)| value.is_empty() && is_uid(name));
    named.map(|(_, value)| value.clone()).or_else(|| bare.map(|(name, _)| name.clone()))
}

fn pairs(query: &str) -> Result<Vec<(String, String)>, &'static str> {
    if query.len() > MAX_QUERY_BYTES {
        return Err("the query is too long");
    }
    let parts: Vec<&str> = query.split('&').filter(|part| !part.is_empty()).collect();
    if parts.len() > MAX_KEYS {
        return Err("too many parameters");
    }
    parts
        .into_iter()
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

/// Percent-encoding (RFC 3986), and `+` for a space as forms have it.
fn decoded(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
                    return Err("not percent-encoded as it should be");
                };
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
            }
            byte => bytes.push(byte),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    if text.chars().any(char::is_control) { Err("control characters") } else { Ok(text) }
}

fn number(text: &str) -> Result<u64, &'static str> {
    text.trim().parse().map_err(|_| "expected a number")
}

fn truth(text: &str) -> Result<bool, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" | "" => Ok(false),
        _ => Err("expected true or false"),
    }
}

/// `00404025.00080100`, `ScheduledStationNameCodeSequence.CodeValue`.
fn put_key(keys: &mut DataSet, path: &str, value: &str) -> Result<(), &'static str> {
    let path = path.split('.').map(tag).collect::<Option<Vec<Tag>>>().ok_or("not an attribute of DICOM")?;
    if path.len() > MAX_DEPTH {
        return Err("too deep a sequence");
    }
    put_path(keys, &path, value);
    Ok(())
}

fn first_tag(path: &str) -> Result<Tag, &'static str> {
    path.split('.').next().and_then(tag).ok_or("includefield: not an attribute of DICOM")
}

fn tag(name: &str) -> Option<Tag> {
    let is_hex = name.len() == 8 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex {
        let group = u16::from_str_radix(name.get(..4)?, 16).ok()?;
        let element = u16::from_str_radix(name.get(4..)?, 16).ok()?;
        return Some(Tag(group, element));
    }
    StandardDataDictionary.by_name(name).map(|entry| entry.tag())
}

fn put_path(keys: &mut DataSet, path: &[Tag], value: &str) {
    match path {
        [] => {}
        [last] => put_tag(keys, *last, value),
        [sequence, rest @ ..] => {
            // Several keys of one sequence are keys of one item.
            let items = keys.get(*sequence).and_then(InMemElement::items);
            let mut item = items.and_then(<[DataSet]>::first).cloned().unwrap_or_else(DataSet::new_empty);
            put_path(&mut item, rest, value);
            ups::put_items(keys, *sequence, vec![item]);
        }
    }
}

fn put_tag(keys: &mut DataSet, tag: Tag, value: &str) {
    let vr = StandardDataDictionary.by_tag(tag).map_or(VR::LO, |entry| entry.vr().relaxed());
    if vr == VR::SQ {
        return ups::put_items(keys, tag, Vec::new());
    }
    // A list of UIDs is joined by commas here, by backslashes in DICOM (PS3.18 8.3.4.1).
    let value = if vr == VR::UI { value.replace(',', "\\") } else { value.to_owned() };
    ups::put(keys, tag, vr, &value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::matching::{value, values};
    use dicom_dictionary_std::tags;

    #[test]
    fn keys_are_keywords_or_tags_and_sequences_are_joined_by_dots() {
        let query = "ProcedureStepState=IN%20PROGRESS&00741200=HIGH&ScheduledStationNameCodeSequence.CodeValue=chemnitz\
             &00404025.00080102=99NEISSE&limit=5&offset=10&fuzzymatching=true&includefield=PatientName,00100020";
        let asked = search(query).expect("a search");
        assert_eq!((asked.limit, asked.offset, asked.is_fuzzy), (Some(5), 10, true));
        assert_eq!(value(&asked.keys, tags::PROCEDURE_STEP_STATE), "IN PROGRESS");
        assert_eq!(value(&asked.keys, tags::SCHEDULED_PROCEDURE_STEP_PRIORITY), "HIGH");
        let station = asked.keys.get(tags::SCHEDULED_STATION_NAME_CODE_SEQUENCE).and_then(InMemElement::items);
        let station = station.and_then(<[DataSet]>::first).expect("an item");
        assert_eq!(value(station, tags::CODE_VALUE), "chemnitz");
        assert_eq!(value(station, tags::CODING_SCHEME_DESIGNATOR), "99NEISSE");
        assert!(asked.keys.get(tags::PATIENT_ID).is_some() && asked.keys.get(tags::WORKLIST_LABEL).is_none());
        let all = search("").expect("a search");
        assert!(ups::SUPPORTED.iter().all(|tag| all.keys.get(*tag).is_some()));
    }

    #[test]
    fn a_list_of_uids_is_a_list() {
        let asked = search("SOPInstanceUID=2.25.1,2.25.2").expect("a search");
        let uids = asked.keys.get(tags::SOP_INSTANCE_UID).map(values).unwrap_or_default();
        assert_eq!(uids, ["2.25.1", "2.25.2"]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_being_repeated() {
        let long = format!("PatientName={}", "a".repeat(20_000));
        let many = "PatientName=a&".repeat(200);
        for bad in [
            "limit=x",
            "offset=-1",
            "NoSuchKeyword=1",
            "PatientName=%zz",
            "PatientName=%ff",
            "a.b.c.d.e=1",
            &long,
            &many,
        ] {
            assert!(search(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_transaction_uid_is_found_in_every_dialect() {
        let names = ["transaction-uid", "transaction"];
        for query in ["transaction-uid=1.2.3", "transaction=1.2.3", "1.2.3", "x=y&1.2.3", "Transaction-UID=1.2.3"] {
            assert_eq!(uid(query, &names).as_deref(), Some("1.2.3"), "{query}");
        }
        assert_eq!(uid("x=1.2.3", &names), None);
    }

    #[test]
    fn a_filter_is_a_list_of_keys() {
        let wanted =
            subscription("deletionlock=true&filter=ScheduledProcedureStepPriority%3DHIGH%2CWorklistLabel%3Dnight")
                .expect("one");
        assert!(wanted.deletion_lock);
        assert_eq!(value(&wanted.keys, tags::SCHEDULED_PROCEDURE_STEP_PRIORITY), "HIGH");
        assert_eq!(value(&wanted.keys, tags::WORKLIST_LABEL), "night");
    }
}
