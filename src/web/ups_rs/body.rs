//! Bodies of UPS-RS: DICOM JSON in and out (PS3.18 F), one data set as an object or as an array of one.

use super::Problem;
use crate::dicom::{service::DataSet, ups};
use axum::http::{HeaderMap, StatusCode, header};

pub const DICOM_JSON: &str = "application/dicom+json";
/// A task's attributes take a few KB.
const MAX_BODY_BYTES: usize = 256 << 10;

/// # Errors
/// 406 where the caller takes nothing that is given here.
pub fn accepts_json(headers: &HeaderMap) -> Result<(), Problem> {
    let mut named = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if named.peek().is_none() {
        return Ok(());
    }
    let is_ours = |media_type: &str| {
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        matches!(media_type.as_str(), DICOM_JSON | "application/json" | "application/*" | "*/*")
    };
    if named.flat_map(|value| value.split(',')).any(is_ours) {
        Ok(())
    } else {
        Err(Problem::not_acceptable("given as application/dicom+json"))
    }
}

/// # Errors
/// 413, 415, or 400 where it is no data set.
pub fn data_set(headers: &HeaderMap, body: &[u8]) -> Result<DataSet, Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or(DICOM_JSON);
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media_type != DICOM_JSON && media_type != "application/json" {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "taken as application/dicom+json"));
    }
    if body.len() > MAX_BODY_BYTES {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "longer than 256 KiB"));
    }
    let text = std::str::from_utf8(body).map_err(|_| not_readable())?;
    // serde_json ends at 128 levels, so that nesting costs no more stack than that.
    match text.trim_start().as_bytes().first() {
        Some(b'[') => {
            let sets: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|_| not_readable())?;
            match <[serde_json::Value; 1]>::try_from(sets) {
                Ok([set]) => dicom_json::from_value(set).map_err(|_| not_readable()),
                Err(_) => Err(Problem::bad_request("expected one data set")),
            }
        }
        _ => ups::parse(text).ok_or_else(not_readable),
    }
}

fn not_readable() -> Problem {
    Problem::bad_request("the body is no DICOM JSON")
}

/// An array of data sets.
pub fn array(sets: &[DataSet]) -> String {
    let sets: Vec<String> = sets.iter().map(ups::json).collect();
    format!("[{}]", sets.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use dicom_dictionary_std::tags;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn one_data_set_is_taken_as_object_and_as_array_of_one() {
        let object = r#"{"00741000":{"vr":"CS","Value":["IN PROGRESS"]}}"#;
        let json = headers(header::CONTENT_TYPE, "application/dicom+json; charset=utf-8");
        for text in [object.to_owned(), format!(" [{object}]")] {
            let set = data_set(&json, text.as_bytes()).expect("a data set");
            assert!(set.get(tags::PROCEDURE_STEP_STATE).is_some(), "{text}");
        }
        let two = format!("[{object},{object}]");
        for bad in [
            "",
            "[]",
            "nonsense",
            "{\"0074\":1}",
            &two,
            &"[".repeat(100_000),
            &"{\"00404021\":{\"vr\":\"SQ\",\"Value\":[".repeat(5_000),
        ] {
            let problem = data_set(&json, bad.as_bytes()).expect_err("refused");
            assert_eq!(problem.status, StatusCode::BAD_REQUEST);
        }
        let large = format!("[{object}{}]", " ".repeat(MAX_BODY_BYTES));
        assert_eq!(data_set(&json, large.as_bytes()).expect_err("refused").status, StatusCode::PAYLOAD_TOO_LARGE);
        let xml = headers(header::CONTENT_TYPE, "application/dicom+xml");
        assert_eq!(data_set(&xml, object.as_bytes()).expect_err("refused").status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }

    #[test]
    fn only_json_is_given() {
        for good in ["*/*", "application/json", "text/html, application/dicom+json;q=0.9"] {
            assert!(accepts_json(&headers(header::ACCEPT, good)).is_ok(), "{good}");
        }
        assert!(accepts_json(&HeaderMap::new()).is_ok());
        let problem = accepts_json(&headers(header::ACCEPT, "application/dicom+xml")).expect_err("refused");
        assert_eq!(problem.status, StatusCode::NOT_ACCEPTABLE);
    }
}
