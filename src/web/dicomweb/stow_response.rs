//! What became of each instance of a STOW-RS request: the Store Instances Response (PS3.18 10.5.3.3, Annex I).

use super::ROOT;
use crate::model::Uid;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

/// Until then a disk may have room again, or an intake a place.
const RETRY_AFTER_SECS: u32 = 30;

pub struct Stored {
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub study: Option<Uid>,
    pub series: Option<Uid>,
    /// Warning Reason (0008,1196).
    pub warning: Option<u16>,
}

pub struct Failed {
    pub sop_class: Uid,
    pub sop_instance: Uid,
    /// Failure Reason (0008,1197).
    pub reason: u16,
}

#[derive(Default)]
pub struct Outcome {
    pub stored: Vec<Stored>,
    pub failed: Vec<Failed>,
    /// Parts of which nobody can say which instance they are: Other Failures Sequence (0008,119A).
    pub other: Vec<u16>,
    /// The body broke off.
    pub broken: Option<StatusCode>,
}

impl Outcome {
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty() && self.failed.is_empty() && self.other.is_empty()
    }

    /// PS3.18 Table 10.5.3-1.
    fn status(&self) -> StatusCode {
        if let Some(broken) = self.broken {
            return broken;
        }
        let mut reasons = self.failed.iter().map(|failed| failed.reason).chain(self.other.iter().copied()).peekable();
        if reasons.peek().is_none() {
            let warned = self.stored.iter().any(|stored| stored.warning.is_some());
            return if warned { StatusCode::ACCEPTED } else { StatusCode::OK };
        }
        if !self.stored.is_empty() {
            return StatusCode::ACCEPTED;
        }
        // Out of resources: the same again later.
        if reasons.all(|reason| (0xA700..0xA800).contains(&reason)) {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        StatusCode::CONFLICT
    }

    /// `media`: as which JSON is accepted.
    pub fn response(&self, base: &str, media: &'static str) -> Response {
        let body = Value::Object(self.body(base)).to_string();
        let status = self.status();
        let mut response = (status, [(header::CONTENT_TYPE, media)], body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
        }
        response
    }

    fn body(&self, base: &str) -> Map<String, Value> {
        let mut body = Map::new();
        let mut studies = self.stored.iter().filter_map(|stored| stored.study.as_ref());
        if let Some(first) = studies.next()
            && studies.all(|study| study == first)
        {
            let url = format!("{base}{ROOT}/studies/{first}");
            body.insert("00081190".to_owned(), json!({ "vr": "UR", "Value": [url] }));
        }
        let mut put = |tag: &str, items: Vec<Value>| {
            if !items.is_empty() {
                body.insert(tag.to_owned(), json!({ "vr": "SQ", "Value": items }));
            }
        };
        put("00081198", self.failed.iter().map(failed).collect());
        put("00081199", self.stored.iter().map(|one| stored(one, base)).collect());
        put("0008119A", self.other.iter().map(|reason| json!({ "00081197": number(*reason) })).collect());
        body
    }
}

fn of(class: &Uid, instance: &Uid) -> Map<String, Value> {
    let uid = |uid: &Uid| json!({ "vr": "UI", "Value": [uid.as_str()] });
    [("00081150".to_owned(), uid(class)), ("00081155".to_owned(), uid(instance))].into_iter().collect()
}

fn number(reason: u16) -> Value {
    json!({ "vr": "US", "Value": [reason] })
}

fn stored(stored: &Stored, base: &str) -> Value {
    let mut item = of(&stored.sop_class, &stored.sop_instance);
    if let (Some(study), Some(series)) = (&stored.study, &stored.series) {
        let url = format!("{base}{ROOT}/studies/{study}/series/{series}/instances/{}", stored.sop_instance);
        item.insert("00081190".to_owned(), json!({ "vr": "UR", "Value": [url] }));
    }
    if let Some(warning) = stored.warning {
        item.insert("00081196".to_owned(), number(warning));
    }
    Value::Object(item)
}

fn failed(failed: &Failed) -> Value {
    let mut item = of(&failed.sop_class, &failed.sop_instance);
    item.insert("00081197".to_owned(), number(failed.reason));
    Value::Object(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(stored: usize, failed: &[u16]) -> Outcome {
        let uid = |text: &str| Uid::new(text).unwrap();
        let one = |_| Stored {
            sop_class: uid("1.2"),
            sop_instance: uid("1.3"),
            study: Some(uid("1.4")),
            series: Some(uid("1.5")),
            warning: None,
        };
        let refused = |reason: &u16| Failed { sop_class: uid("1.2"), sop_instance: uid("1.6"), reason: *reason };
        Outcome {
            stored: (0..stored).map(one).collect(),
            failed: failed.iter().map(refused).collect(),
            ..Outcome::default()
        }
    }

    #[test]
    fn the_status_says_whether_all_some_or_none_is_stored() {
        let table: [(usize, &[u16], u16); 5] =
            [(2, &[], 200), (1, &[0xA900], 202), (0, &[0xC000], 409), (0, &[0xA700], 503), (0, &[0xA700, 0xC000], 409)];
        for (stored, failed, status) in table {
            let response = outcome(stored, failed).response("", super::super::DICOM_JSON);
            assert_eq!(response.status().as_u16(), status, "{stored} {failed:?}");
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), status == 503, "{stored} {failed:?}");
        }
        let body = Value::Object(outcome(1, &[0x0122]).body("https://here"));
        assert_eq!(body["00081190"]["Value"][0], "https://here/dicom-web/studies/1.4");
        assert_eq!(body["00081198"]["Value"][0]["00081197"]["Value"][0], 0x0122);
        let url = "https://here/dicom-web/studies/1.4/series/1.5/instances/1.3";
        assert_eq!(body["00081199"]["Value"][0]["00081190"]["Value"][0], url);
    }
}
