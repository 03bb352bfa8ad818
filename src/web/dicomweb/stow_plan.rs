//! What metadata in JSON announce: instances, each with what is still to come for it.
//!
//! In: the metadata as they came. Out: a plan an instance. What would take much memory is refused before it is read:
//! as objects, JSON takes many times the room that it has as text.

use super::{
    json_data_set::{Segment, written},
    multipart::MAX_PARTS,
};
use crate::{dicom::scp::InstanceOffer, model::Uid};
use serde::{
    Deserializer as _,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, fmt};

pub const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
/// Elements and items of one instance.
const MAX_OBJECTS: usize = 100_000;
/// Values and names of one instance.
const MAX_VALUES: usize = 1_000_000;

/// An instance that waits for its bulk data.
pub struct Plan {
    pub offer: InstanceOffer,
    pub segments: Vec<Segment>,
    pub pixels: Option<Pixels>,
}

pub struct Pixels {
    pub location: String,
    /// Where they are not compressed.
    pub length: Option<u64>,
    pub frames: u64,
}

#[derive(Default)]
pub struct Plans {
    pub plans: Vec<Plan>,
    /// Instances that cannot be written; the others go on.
    pub unreadable: usize,
}

impl Plan {
    /// Locations of values that have parts of their own, beside Pixel Data.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Bytes(_) => None,
            Segment::Bulk { location, .. } => Some(location.as_str()),
        })
    }
}

/// `None`: it is no metadata, or announces more than one request may bring.
pub fn plans(bytes: &[u8]) -> Option<Plans> {
    if !is_modest(bytes) {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let plans = reader.deserialize_any(Instances).ok()?;
    reader.end().ok()?;
    let places: BTreeSet<&str> = plans.plans.iter().flat_map(Plan::missing).collect();
    // There will not be so many parts.
    (places.len() <= MAX_PARTS).then_some(plans)
}

/// One instance after the other: only one at a time is there as objects.
struct Instances;

impl<'de> Visitor<'de> for Instances {
    type Value = Plans;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an instance or an array of instances")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut instances: A) -> Result<Plans, A::Error> {
        let mut plans = Plans::default();
        while let Some(instance) = instances.next_element::<Value>()? {
            plans.add(instance.as_object());
            if plans.plans.len() + plans.unreadable > MAX_PARTS {
                while instances.next_element::<IgnoredAny>()?.is_some() {}
                return Err(serde::de::Error::custom("too many instances"));
            }
        }
        Ok(plans)
    }

    fn visit_map<A: MapAccess<'de>>(self, instance: A) -> Result<Plans, A::Error> {
        use serde::Deserialize as _;
        let instance = Map::deserialize(MapAccessDeserializer::new(instance))?;
        let mut plans = Plans::default();
        plans.add(Some(&instance));
        Ok(plans)
    }
}

impl Plans {
    fn add(&mut self, instance: Option<&Map<String, Value>>) {
        match instance.and_then(plan) {
            Some(plan) => self.plans.push(plan),
            None => self.unreadable += 1,
        }
    }
}

/// Whether no instance has more elements and values than a header has, and there are no more instances than parts: told
/// from the text alone.
fn is_modest(bytes: &[u8]) -> bool {
    let is_array = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let (mut depth, mut instances, mut objects, mut values) = (0_usize, 0, 0, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in bytes {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => {
                depth += 1;
                objects += 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if is_array && depth == 1 => (instances, objects, values) = (instances + 1, 0, 0),
            b',' => values += 1,
            _ => {}
        }
        if instances >= MAX_PARTS || objects > 2 * MAX_OBJECTS || values > MAX_VALUES {
            return false;
        }
    }
    true
}

fn plan(object: &Map<String, Value>) -> Option<Plan> {
    let uid = |tag: &str| Uid::new(object.get(tag)?.get("Value")?.get(0)?.as_str()?).ok();
    let (sop_class, sop_instance) = (uid("00080016")?, uid("00080018")?);
    // Written here, it is in this syntax; with a compressed part, in that part's.
    let offer = InstanceOffer { sop_class, sop_instance, transfer_syntax: Uid::new(EXPLICIT_LE).ok()? };
    let (segments, location) = written(object)?;
    let pixels = match location {
        Some(location) => Some(Pixels { location, length: native_length(object), frames: frames(object)? }),
        None => None,
    };
    Some(Plan { offer, segments, pixels })
}

fn number(object: &Map<String, Value>, tag: &str) -> Option<u64> {
    let value = object.get(tag)?.get("Value")?.get(0)?;
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// Number of Frames (0028,0008): 1 where it is not said, `None` where it cannot be read.
fn frames(object: &Map<String, Value>) -> Option<u64> {
    let is_said = object.get("00280008").is_some_and(|element| element.get("Value").is_some());
    if is_said { number(object, "00280008") } else { Some(1) }
}

fn native_length(object: &Map<String, Value>) -> Option<u64> {
    let number = |tag: &str| number(object, tag);
    let pixels = number("00280010")?.checked_mul(number("00280011")?)?.checked_mul(number("00280002").unwrap_or(1))?;
    let bits = pixels.checked_mul(number("00280100")?)?.checked_mul(frames(object)?)?;
    Some(bits.div_ceil(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(number: usize, more: &str) -> String {
        format!(
            r#"{{"00080016":{{"vr":"UI","Value":["1.2.3"]}},"00080018":{{"vr":"UI","Value":["1.2.{number}"]}}{more}}}"#
        )
    }

    #[test]
    fn metadata_are_read_one_instance_after_the_other() {
        let pixels = r#","00280008":{"vr":"IS","Value":["7"]},"7FE00010":{"vr":"OW","BulkDataURI":"p"}"#;
        let read = plans(format!(" [{},{},[]]", instance(1, ""), instance(2, pixels)).as_bytes()).expect("metadata");
        assert_eq!((read.plans.len(), read.unreadable), (2, 1));
        assert_eq!(read.plans[1].pixels.as_ref().map(|pixels| pixels.frames), Some(7));
        assert_eq!(plans(instance(1, "").as_bytes()).map(|read| read.plans.len()), Some(1));
        for bad in ["", "7", "[", &format!("{} x", instance(1, ""))] {
            assert!(plans(bad.as_bytes()).is_none(), "{bad}");
        }
        let unknown = r#","00280008":{"vr":"IS","Value":["many"]},"7FE00010":{"vr":"OW","BulkDataURI":"p"}"#;
        assert_eq!(plans(instance(1, unknown).as_bytes()).map(|read| read.unreadable), Some(1));
    }

    #[test]
    fn what_would_take_much_memory_is_not_read() {
        let many = format!("[{}{}]", "{},".repeat(MAX_PARTS), "{}");
        assert!(!is_modest(many.as_bytes()) && plans(many.as_bytes()).is_none());
        assert!(is_modest(format!("[{}{}]", "{},".repeat(MAX_PARTS - 1), "{}").as_bytes()));
        assert!(!is_modest("[".repeat(300_000).as_bytes()));
        assert!(!is_modest(format!("{{\"a\":[{}0]}}", "0,".repeat(MAX_VALUES + 1)).as_bytes()));
        assert!(is_modest(format!("{{\"a\\\"[\":\"{}\"}}", "{[,".repeat(MAX_VALUES)).as_bytes()), "it is a text");
        let links: String =
            (1..=MAX_PARTS + 1).map(|n| format!(r#","0009{n:04X}":{{"vr":"OB","BulkDataURI":"{n}"}}"#)).collect();
        assert!(plans(instance(1, &links).as_bytes()).is_none(), "more links than there can be parts");
    }
}
