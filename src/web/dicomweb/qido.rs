//! QIDO-RS (PS3.18 10.6): a query string becomes the identifier of a C-FIND, its answers become JSON.
//!
//! Keys by tag (`00100020`) or keyword (`PatientID`), also inside of sequences (`RequestAttributesSequence.…`). A page
//! has at most [`MAX_PAGE`] answers; that there are more is said by a Warning.

use super::{
    Below, ROOT, Shared,
    accept::{percent_decoded, wishes},
    metadata::check_json,
    put,
};
use crate::{
    dicom::{
        service::{DataSet, Find, FindModel},
        ups::put_items,
    },
    model::Uid,
    web::{Caller, Problem, Site, json_model::to_json},
};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use dicom_core::{
    DataElement, Tag, VR,
    dictionary::{DataDictionary, DataDictionaryEntry},
    value::DataSetSequence,
};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use dicom_object::mem::InMemElement;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

const MAX_PAGE: u64 = 1_000;
const MAX_PARAMETERS: usize = 200;
const MAX_KEY_BYTES: usize = 4 << 10;
const MAX_NESTED: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Study,
    Series,
    Instance,
}

/// PS3.18 Table 10.6.3-3: what is told without being asked for.
const OF_STUDY: &[Tag] = &[
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::INSTANCE_AVAILABILITY,
    tags::MODALITIES_IN_STUDY,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::STUDY_DESCRIPTION,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::STUDY_INSTANCE_UID,
    tags::STUDY_ID,
    tags::NUMBER_OF_STUDY_RELATED_SERIES,
    tags::NUMBER_OF_STUDY_RELATED_INSTANCES,
];
/// Table 10.6.3-4.
const OF_SERIES: &[Tag] = &[
    tags::STUDY_INSTANCE_UID,
    tags::MODALITY,
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::SERIES_DESCRIPTION,
    tags::SERIES_INSTANCE_UID,
    tags::SERIES_NUMBER,
    tags::BODY_PART_EXAMINED,
    tags::NUMBER_OF_SERIES_RELATED_INSTANCES,
    tags::PERFORMED_PROCEDURE_STEP_START_DATE,
    tags::PERFORMED_PROCEDURE_STEP_START_TIME,
    tags::REQUEST_ATTRIBUTES_SEQUENCE,
];
/// Table 10.6.3-5.
const OF_INSTANCE: &[Tag] = &[
    tags::STUDY_INSTANCE_UID,
    tags::SERIES_INSTANCE_UID,
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::INSTANCE_AVAILABILITY,
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::INSTANCE_NUMBER,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::NUMBER_OF_FRAMES,
];

pub async fn studies(State(site): Shared, caller: Caller, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    search(&site, &caller, &headers, &uri, Level::Study, None).await
}

pub async fn series(State(site): Shared, caller: Caller, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    search(&site, &caller, &headers, &uri, Level::Series, None).await
}

pub async fn instances(State(site): Shared, caller: Caller, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    search(&site, &caller, &headers, &uri, Level::Instance, None).await
}

pub async fn series_of(
    State(site): Shared,
    caller: Caller,
    Path(study): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    search(&site, &caller, &headers, &uri, Level::Series, Some(Below::study(&study)?)).await
}

pub async fn instances_of(
    State(site): Shared,
    caller: Caller,
    Path(study): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    search(&site, &caller, &headers, &uri, Level::Instance, Some(Below::study(&study)?)).await
}

pub async fn instances_of_series(
    State(site): Shared,
    caller: Caller,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    search(&site, &caller, &headers, &uri, Level::Instance, Some(Below::series(&path)?)).await
}

async fn search(
    site: &Site,
    caller: &Caller,
    headers: &HeaderMap,
    uri: &Uri,
    level: Level,
    below: Option<Below>,
) -> Result<Response, Problem> {
    let media = check_json(&wishes(headers, uri)?)?;
    let find = find(uri.query().unwrap_or_default(), level, below.as_ref())?;
    let limit = find.limit.unwrap_or(MAX_PAGE);
    let mut answers = site.services()?.find(&caller.0, find).await?;
    let base = site.base_url(headers);
    let (mut found, mut is_partial) = (Vec::new(), answers.is_partial);
    while let Some(answer) = answers.matches.next().await {
        if found.len() as u64 >= limit {
            is_partial = true;
            break;
        }
        let set = answer?;
        let Some(mut object) = to_json(&set) else {
            tracing::error!("An answer to a search could not be written as JSON");
            return Err(Problem::internal());
        };
        object["00081190"] = json!({ "vr": "UR", "Value": [retrieve_url(&base, &set, level, below.as_ref())] });
        found.push(object);
    }
    let mut response = if found.is_empty() {
        StatusCode::NO_CONTENT.into_response()
    } else {
        ([(header::CONTENT_TYPE, media)], Value::Array(found).to_string()).into_response()
    };
    warn(&mut response, is_partial, answers.has_unsupported_keys);
    Ok(response)
}

/// PS3.18 8.3.4.4 and 8.3.4.2.
fn warn(response: &mut Response, is_partial: bool, has_unsupported_keys: bool) {
    let mut add = |text: &'static str| response.headers_mut().append(header::WARNING, HeaderValue::from_static(text));
    if is_partial {
        add("299 neisse \"There are additional results that can be requested\"");
    }
    if has_unsupported_keys {
        add("299 neisse \"Some attributes that were asked for are not matched on\"");
    }
}

fn retrieve_url(base: &str, set: &DataSet, level: Level, below: Option<&Below>) -> String {
    let of = |tag: Tag, otherwise: Option<&Uid>| {
        let found = set
            .element_opt(tag)
            .ok()
            .flatten()
            .and_then(|element| element.to_str().ok().and_then(|text| Uid::new(&text).ok()));
        found.or(otherwise.cloned()).map_or_else(String::new, |uid| uid.as_str().to_owned())
    };
    let mut url = format!("{base}{ROOT}/studies/{}", of(tags::STUDY_INSTANCE_UID, below.map(|below| &below.study)));
    if level != Level::Study {
        let series = of(tags::SERIES_INSTANCE_UID, below.and_then(|below| below.series.as_ref()));
        url.push_str(&format!("/series/{series}"));
    }
    if level == Level::Instance {
        url.push_str(&format!("/instances/{}", of(tags::SOP_INSTANCE_UID, None)));
    }
    url
}

/// The question that a query string asks.
fn find(query: &str, level: Level, below: Option<&Below>) -> Result<Find, Problem> {
    let mut identifier = DataSet::new_empty();
    let (mut skip, mut limit, mut is_fuzzy) = (0, MAX_PAGE, false);
    let of_level = match level {
        Level::Study => vec![OF_STUDY],
        Level::Series if below.is_some() => vec![OF_SERIES],
        Level::Series => vec![OF_STUDY, OF_SERIES],
        Level::Instance if below.is_some_and(|below| below.series.is_some()) => vec![OF_INSTANCE],
        Level::Instance if below.is_some() => vec![OF_SERIES, OF_INSTANCE],
        Level::Instance => vec![OF_STUDY, OF_SERIES, OF_INSTANCE],
    };
    of_level.into_iter().flatten().for_each(|tag| ask_for(&mut identifier, *tag));
    for (count, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = percent_decoded(name).zip(percent_decoded(value));
        let (name, value) = decoded.ok_or(Problem::bad_request("a parameter cannot be read"))?;
        if count >= MAX_PARAMETERS || value.len() > MAX_KEY_BYTES {
            return Err(Problem::bad_request("too many or too long parameters"));
        }
        match name.as_str() {
            "limit" => limit = number(&value)?.min(MAX_PAGE),
            "offset" => skip = number(&value)?,
            "fuzzymatching" => is_fuzzy = value == "true",
            "accept" | "emptyvaluematching" | "multiplevaluematching" => {}
            "includefield" => value.split(',').try_for_each(|field| include(&mut identifier, field.trim(), level))?,
            _ => key(&mut identifier, &name, &value)?,
        }
    }
    let level = match level {
        Level::Study => "STUDY",
        Level::Series => "SERIES",
        Level::Instance => "IMAGE",
    };
    put(&mut identifier, tags::QUERY_RETRIEVE_LEVEL, VR::CS, level);
    if let Some(below) = below {
        // The path's, whatever the query says.
        put(&mut identifier, tags::STUDY_INSTANCE_UID, VR::UI, below.study.as_str());
        if let Some(series) = &below.series {
            put(&mut identifier, tags::SERIES_INSTANCE_UID, VR::UI, series.as_str());
        }
    }
    Ok(Find { model: FindModel::StudyRoot, identifier, skip, limit: Some(limit), is_fuzzy })
}

fn number(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::bad_request("limit and offset are whole numbers"))
}

/// Universal matching: to be returned (PS3.4 C.2.2.2.3).
fn ask_for(set: &mut DataSet, tag: Tag) {
    if set.element_opt(tag).ok().flatten().is_some() {
        return;
    }
    match vr_of(tag) {
        VR::SQ => drop(set.put(DataElement::new(tag, VR::SQ, DataSetSequence::empty()))),
        vr => put(set, tag, vr, ""),
    }
}

fn include(set: &mut DataSet, field: &str, level: Level) -> Result<(), Problem> {
    if field == "all" {
        let all = match level {
            Level::Study => vec![OF_STUDY],
            Level::Series => vec![OF_STUDY, OF_SERIES],
            Level::Instance => vec![OF_STUDY, OF_SERIES, OF_INSTANCE],
        };
        all.into_iter().flatten().for_each(|tag| ask_for(set, *tag));
        return Ok(());
    }
    let path = path(field)?;
    if let Some(first) = path.first() {
        ask_for(set, *first);
    }
    Ok(())
}

fn key(set: &mut DataSet, name: &str, value: &str) -> Result<(), Problem> {
    let path = path(name)?;
    let Some((last, above)) = path.split_last() else { return Ok(()) };
    if value.chars().any(char::is_control) {
        return Err(Problem::bad_request("a value has a control character"));
    }
    let vr = vr_of(*last);
    // A list of UIDs: by commas here, by backslashes in an identifier (PS3.18 8.3.4.1).
    let value = if vr == VR::UI { value.replace(',', "\\") } else { value.to_owned() };
    if vr == VR::SQ {
        ask_for(set, *last);
        return Ok(());
    }
    put_below(set, above, *last, &value);
    Ok(())
}

/// Several keys of one sequence are keys of one item (PS3.4 C.2.2.2.6).
fn put_below(set: &mut DataSet, above: &[Tag], last: Tag, value: &str) {
    let Some((sequence, below)) = above.split_first() else { return put(set, last, vr_of(last), value) };
    let items = set.get(*sequence).and_then(InMemElement::items);
    let mut item = items.and_then(<[DataSet]>::first).cloned().unwrap_or_else(DataSet::new_empty);
    put_below(&mut item, below, last, value);
    put_items(set, *sequence, vec![item]);
}

/// `00400275.00400007`, or keywords.
fn path(text: &str) -> Result<Vec<Tag>, Problem> {
    let path: Option<Vec<Tag>> = text.split('.').take(MAX_NESTED + 1).map(tag).collect();
    path.filter(|path| path.len() <= MAX_NESTED).ok_or(Problem::bad_request("an attribute is neither tag nor keyword"))
}

fn tag(text: &str) -> Option<Tag> {
    if text.len() == 8
        && let Ok(number) = u32::from_str_radix(text, 16)
    {
        // Nothing of a command or of a file meta group is an attribute of a data set.
        let tag = Tag((number >> 16) as u16, (number & 0xFFFF) as u16);
        return (tag.group() > 2).then_some(tag);
    }
    let known = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    known.then(|| StandardDataDictionary.by_name(text).map(|entry| entry.tag())).flatten()
}

fn vr_of(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::LO, |entry| entry.vr().relaxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(find: &Find, tag: Tag) -> String {
        find.identifier.element(tag).unwrap().to_str().unwrap().into_owned()
    }

    #[test]
    fn a_query_string_becomes_an_identifier() {
        let query = "PatientName=M%C3%BCller*&00100020=4711&StudyDate=20260101-&ModalitiesInStudy=CT\
                     &StudyInstanceUID=1.2,1.3&limit=5&offset=10&fuzzymatching=true&includefield=StudyDescription,00081010\
                     &RequestAttributesSequence.ScheduledProcedureStepID=S1\
                     &00400275.RequestedProcedureID=P1";
        let found = find(query, Level::Study, None).unwrap();
        assert_eq!(text(&found, tags::PATIENT_NAME), "Müller*");
        assert_eq!(text(&found, tags::PATIENT_ID), "4711");
        assert_eq!(text(&found, tags::STUDY_INSTANCE_UID), "1.2\\1.3");
        assert_eq!(text(&found, tags::QUERY_RETRIEVE_LEVEL), "STUDY");
        assert_eq!(text(&found, tags::STATION_NAME), "");
        assert_eq!((found.skip, found.limit, found.is_fuzzy), (10, Some(5), true));
        let sequence = found.identifier.element(tags::REQUEST_ATTRIBUTES_SEQUENCE).unwrap();
        let item = &sequence.items().unwrap()[0];
        assert_eq!(item.element(tags::SCHEDULED_PROCEDURE_STEP_ID).unwrap().to_str().unwrap(), "S1");
        assert_eq!(item.element(tags::REQUESTED_PROCEDURE_ID).unwrap().to_str().unwrap(), "P1", "of the same item");
        assert_eq!(found.model, FindModel::StudyRoot);
    }

    #[test]
    fn the_path_wins_over_the_query_and_a_page_has_an_end() {
        let below = Below::series(&("1.2".to_owned(), "1.2.1".to_owned())).unwrap();
        let found = find("StudyInstanceUID=9.9&limit=100000", Level::Instance, Some(&below)).unwrap();
        assert_eq!(text(&found, tags::STUDY_INSTANCE_UID), "1.2");
        assert_eq!(text(&found, tags::SERIES_INSTANCE_UID), "1.2.1");
        assert_eq!(found.limit, Some(MAX_PAGE));
    }

    #[test]
    fn what_is_no_attribute_is_refused() {
        for bad in [
            "Nonsense=1",
            "0010002=1",
            "limit=x",
            "limit=-1",
            "PatientName=%zz",
            "00020010=1",
            "a.b.c.d.e=1",
            "PatientID=%00",
        ] {
            assert!(find(bad, Level::Study, None).is_err(), "{bad}");
        }
        assert!(find(&"PatientID=1&".repeat(300), Level::Study, None).is_err());
        assert!(find(&format!("PatientID={}", "1".repeat(5_000)), Level::Study, None).is_err());
        assert!(
            Below::study("..").is_err() && Below::study("1.2/3").is_err() && Below::study(&"1".repeat(65)).is_err()
        );
    }
}
