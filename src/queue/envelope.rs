//! The message on the queue: which delivery a worker is to make, and where its content is found.
//!
//! In: a delivery's references. Out: a JSON object of at most 64 KiB, and back. `docs/envelope.schema.json` and
//! `docs/asyncapi.yaml` describe the same thing for software that is not ours.
//!
//! Holds no patient data by construction: ids of our own, counts, times, and a reference of a closed alphabet. A newer
//! writer may add fields, which are passed over; another `version` is refused, because it may mean something else.

use crate::model::{CaseId, DeliveryId, DeliveryKind, Lane, Moment, PartnerId};
use serde::{Deserialize, Serialize};

/// The version written, and the only one read.
pub const VERSION: u32 = 1;

/// Larger than this is no envelope: content travels by reference.
pub const MAX_ENVELOPE_BYTES: usize = 64 * 1024;

/// Longest `content` reference, bytes.
pub const MAX_CONTENT_BYTES: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    pub version: u32,
    /// Also the AMQP message id: a worker that has seen it does nothing twice.
    pub delivery: DeliveryId,
    pub case: CaseId,
    pub partner: PartnerId,
    pub lane: Lane,
    pub kind: DeliveryKind,
    /// How many instances or documents the content holds.
    pub items: u32,
    pub bytes: u64,
    /// Where the content is fetched, relative to the node's HTTP root: `deliveries/<id>/content`.
    pub content: String,
    #[serde(with = "rfc3339")]
    pub created: Moment,
    /// When a person has to be told, should it not have arrived.
    #[serde(with = "rfc3339::option", default)]
    pub deadline: Option<Moment>,
}

/// Repeats nothing of what was read: it comes from outside.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvelopeError {
    #[error("an envelope of {0} bytes: at most {MAX_ENVELOPE_BYTES} expected")]
    TooLong(usize),
    #[error("not an envelope: JSON not readable at line {line}, column {column}")]
    NotReadable { line: usize, column: usize },
    #[error("envelope version {0}: expected {VERSION}")]
    Version(u64),
    #[error(
        "content reference of an envelope: expected 1 to {MAX_CONTENT_BYTES} of a-z A-Z 0-9 / - _ . without \"..\""
    )]
    Content,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u64,
}

impl Envelope {
    /// # Errors
    /// When `version` is not ours, or `content` is not a reference.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EnvelopeError> {
        self.check()?;
        let bytes = serde_json::to_vec(self).map_err(|error| not_readable(&error))?;
        if bytes.len() > MAX_ENVELOPE_BYTES { Err(EnvelopeError::TooLong(bytes.len())) } else { Ok(bytes) }
    }

    /// # Errors
    /// When `bytes` are too many, are not an envelope, or are one of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE_BYTES {
            return Err(EnvelopeError::TooLong(bytes.len()));
        }
        // The version first: of another version, the other fields may look different.
        let VersionOnly { version } = serde_json::from_slice(bytes).map_err(|error| not_readable(&error))?;
        if version != u64::from(VERSION) {
            return Err(EnvelopeError::Version(version));
        }
        let envelope: Envelope = serde_json::from_slice(bytes).map_err(|error| not_readable(&error))?;
        envelope.check()?;
        Ok(envelope)
    }

    fn check(&self) -> Result<(), EnvelopeError> {
        if self.version != VERSION {
            return Err(EnvelopeError::Version(u64::from(self.version)));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.');
        let fits = (1..=MAX_CONTENT_BYTES).contains(&self.content.len())
            && self.content.bytes().all(plain)
            && !self.content.contains("..")
            && !self.content.starts_with('/');
        if fits { Ok(()) } else { Err(EnvelopeError::Content) }
    }
}

/// serde_json's own text may quote the value it did not like.
fn not_readable(error: &serde_json::Error) -> EnvelopeError {
    EnvelopeError::NotReadable { line: error.line(), column: error.column() }
}

/// A [`Moment`] as RFC 3339 text in UTC with microseconds, which is all a `Moment` holds.
mod rfc3339 {
    use crate::model::Moment;
    use chrono::{DateTime, SecondsFormat, Utc};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(moment: &Moment, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&moment.utc().to_rfc3339_opts(SecondsFormat::Micros, true))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Moment, D::Error> {
        // Longer than any RFC 3339 instant we would write or take.
        let text = String::deserialize(deserializer)?;
        if text.len() > 40 {
            return Err(D::Error::custom("expected an RFC 3339 instant"));
        }
        DateTime::parse_from_rfc3339(&text)
            .map(|at| Moment::from_utc(at.with_timezone(&Utc)))
            .map_err(|_| D::Error::custom("expected an RFC 3339 instant"))
    }

    pub mod option {
        use super::Moment;
        use serde::{Deserialize, Deserializer, Serializer};

        pub fn serialize<S: Serializer>(moment: &Option<Moment>, serializer: S) -> Result<S::Ok, S::Error> {
            match moment {
                Some(moment) => super::serialize(moment, serializer),
                None => serializer.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Moment>, D::Error> {
            #[derive(Deserialize)]
            struct Wrapped(#[serde(with = "super")] Moment);
            Ok(Option::<Wrapped>::deserialize(deserializer)?.map(|Wrapped(moment)| moment))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn example() -> Envelope {
        let delivery = DeliveryId::generate();
        Envelope {
            version: VERSION,
            delivery,
            case: CaseId::generate(),
            partner: PartnerId::new("chemnitz").unwrap(),
            lane: Lane::Stat,
            kind: DeliveryKind::Images,
            items: 120,
            bytes: 63_120_000,
            content: format!("deliveries/{delivery}/content"),
            created: Moment(1_798_150_200_123_456),
            deadline: Some(Moment(1_798_152_900_000_000)),
        }
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        let written: Value = serde_json::from_slice(&example().to_bytes().unwrap()).unwrap();
        assert_eq!(written["created"], "2026-12-24T22:10:00.123456Z");
        assert_eq!(written["deadline"], "2026-12-24T22:55:00.000000Z");
    }

    #[test]
    fn a_newer_writer_may_add_fields_and_leave_out_the_deadline() {
        let mut written: Value = serde_json::from_slice(&example().to_bytes().unwrap()).unwrap();
        written["colour"] = json!("blue");
        written.as_object_mut().unwrap().remove("deadline");
        let read = Envelope::from_bytes(written.to_string().as_bytes()).unwrap();
        assert_eq!(read, Envelope { deadline: None, ..with_ids_of(&read) });
    }

    fn with_ids_of(other: &Envelope) -> Envelope {
        Envelope { delivery: other.delivery, case: other.case, content: other.content.clone(), ..example() }
    }

    #[test]
    fn another_version_is_refused_by_its_number_whatever_else_it_holds() {
        assert_eq!(Envelope::from_bytes(br#"{"version":2,"parcel":7}"#), Err(EnvelopeError::Version(2)));
    }

    #[test]
    fn an_error_never_repeats_what_was_read() {
        let text = r#"{"version":1,"delivery":"Mustermann^Erika"}"#;
        let error = Envelope::from_bytes(text.as_bytes()).unwrap_err();
        assert!(!error.to_string().contains("Mustermann"), "{error}");
    }

    #[test]
    fn content_is_a_reference_and_nothing_else() {
        for bad in ["", "../../etc/passwd", "/etc/passwd", "a b", "Müller", &"a".repeat(257)] {
            let envelope = Envelope { content: bad.to_string(), ..example() };
            assert_eq!(envelope.to_bytes(), Err(EnvelopeError::Content), "{bad:?}");
            let bytes = serde_json::to_vec(&envelope).unwrap();
            assert_eq!(Envelope::from_bytes(&bytes), Err(EnvelopeError::Content), "{bad:?}");
        }
    }

    #[test]
    fn more_than_64_kib_is_not_read() {
        let bytes = vec![b' '; MAX_ENVELOPE_BYTES + 1];
        assert_eq!(Envelope::from_bytes(&bytes), Err(EnvelopeError::TooLong(MAX_ENVELOPE_BYTES + 1)));
    }

    /// The published schema and what is written agree: same properties, same required ones, same constants and types.
    #[test]
    fn what_is_written_is_what_the_schema_says() {
        let schema: Value = serde_json::from_str(include_str!("../../docs/envelope.schema.json")).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        for envelope in [example(), Envelope { deadline: None, ..example() }] {
            let written: Value = serde_json::from_slice(&envelope.to_bytes().unwrap()).unwrap();
            let written = written.as_object().unwrap();
            for (name, value) in written {
                let rule = properties.get(name).unwrap_or_else(|| panic!("{name} is not in the schema"));
                assert!(fits(value, rule), "{name}: {value} against {rule}");
            }
            for required in schema["required"].as_array().unwrap() {
                assert!(written.contains_key(required.as_str().unwrap()), "{required} is required");
            }
        }
        let mut named: Vec<_> = properties.keys().map(String::as_str).collect();
        let written: Value = serde_json::from_slice(&example().to_bytes().unwrap()).unwrap();
        named.retain(|name| written.get(name).is_none());
        assert!(named.is_empty(), "in the schema but never written: {named:?}");
    }

    #[test]
    fn the_schema_lists_every_lane_and_kind() {
        let schema: Value = serde_json::from_str(include_str!("../../docs/envelope.schema.json")).unwrap();
        let lanes: Vec<_> = Lane::ALL.iter().map(|lane| json!(lane)).collect();
        let kinds: Vec<_> = DeliveryKind::ALL.iter().map(|kind| json!(kind)).collect();
        assert_eq!(schema["properties"]["lane"]["enum"], json!(lanes));
        assert_eq!(schema["properties"]["kind"]["enum"], json!(kinds));
    }

    /// As much of JSON Schema 2020-12 as the envelope's schema uses.
    fn fits(value: &Value, rule: &Value) -> bool {
        let is_type = |name: &Value| match name.as_str() {
            Some("string") => value.is_string(),
            Some("integer") => value.is_u64() || value.is_i64(),
            Some("null") => value.is_null(),
            _ => false,
        };
        let type_fits = match &rule["type"] {
            Value::Array(names) => names.iter().any(is_type),
            Value::Null => true,
            name => is_type(name),
        };
        let const_fits = rule.get("const").is_none_or(|wanted| wanted == value);
        let enum_fits = rule.get("enum").is_none_or(|wanted| wanted.as_array().unwrap().contains(value));
        let length_fits = value
            .as_str()
            .is_none_or(|text| rule.get("maxLength").is_none_or(|most| text.len() as u64 <= most.as_u64().unwrap()));
        type_fits && const_fits && enum_fits && length_fits
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back(
            items: u32, bytes: u64, lane in 0..3_usize, kind in 0..7_usize,
            created in -60_000_000_000_000_000_i64..200_000_000_000_000_000,
            deadline in proptest::option::of(-60_000_000_000_000_000_i64..200_000_000_000_000_000),
        ) {
            let envelope = Envelope {
                items, bytes, lane: Lane::ALL[lane], kind: DeliveryKind::ALL[kind],
                created: Moment(created), deadline: deadline.map(Moment), ..example()
            };
            prop_assert_eq!(Envelope::from_bytes(&envelope.to_bytes().unwrap()), Ok(envelope));
        }

        #[test]
        fn nothing_read_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Envelope::from_bytes(&bytes);
        }

        #[test]
        fn a_damaged_envelope_is_refused_or_still_one(at in 0..300_usize, byte: u8) {
            let mut bytes = example().to_bytes().unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(read) = Envelope::from_bytes(&bytes) {
                prop_assert!(read.to_bytes().is_ok());
            }
        }
    }
}
