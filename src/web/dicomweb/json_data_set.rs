//! A data set in the DICOM JSON Model (PS3.18 F) as the bytes of a data set in Explicit VR Little Endian, in UTF-8.
//!
//! In: one object of metadata. Out: its bytes in pieces, with a gap where a value has a part of its own, and where Pixel
//! Data are to come from. `None` everywhere: the JSON is not of the model.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use dicom_core::VR;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, mem};

const MAX_DEPTH: usize = 32;
const PIXEL_DATA: u32 = 0x7FE0_0010;

pub enum Segment {
    Bytes(Vec<u8>),
    /// The tag has been written; VR, length and value are missing.
    Bulk {
        location: String,
        vr: VR,
    },
}

/// A data set, and the location of its Pixel Data where they are a part.
pub fn written(object: &Map<String, Value>) -> Option<(Vec<Segment>, Option<String>)> {
    let mut writer = Writer { segments: Vec::new(), bytes: Vec::new(), pixels: None };
    writer.object(object, 0)?;
    writer.flush();
    Some((writer.segments, writer.pixels))
}

struct Writer {
    segments: Vec<Segment>,
    bytes: Vec<u8>,
    pixels: Option<String>,
}

impl Writer {
    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            self.segments.push(Segment::Bytes(mem::take(&mut self.bytes)));
        }
    }

    fn object(&mut self, object: &Map<String, Value>, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut elements: BTreeMap<u32, &Value> = BTreeMap::new();
        for (key, element) in object {
            let tag = u32::from_str_radix(key, 16).ok().filter(|_| key.len() == 8)?;
            // File meta group and group lengths are not of a data set, (0008,3002) only of metadata.
            if tag >> 16 > 2 && tag & 0xFFFF != 0 && tag != 0x0008_3002 {
                elements.insert(tag, element);
            }
        }
        let utf8 = serde_json::json!({ "vr": "CS", "Value": ["ISO_IR 192"] });
        if depth == 0 || elements.contains_key(&0x0008_0005) {
            elements.insert(0x0008_0005, &utf8);
        }
        elements.into_iter().try_for_each(|(tag, element)| self.element(tag, element, depth))
    }

    fn element(&mut self, tag: u32, element: &Value, depth: usize) -> Option<()> {
        let vr = element.get("vr")?.as_str().and_then(|text| VR::from_binary(text.as_bytes().try_into().ok()?))?;
        let link = element.get("BulkDataURI").and_then(Value::as_str);
        if let (PIXEL_DATA, 0, Some(link)) = (tag, depth, link) {
            self.pixels = Some(link.to_owned());
            return Some(());
        }
        // Nothing stands behind Pixel Data but padding and signatures, which would no longer hold.
        if tag > PIXEL_DATA && self.pixels.is_some() {
            return Some(());
        }
        self.bytes.extend(((tag >> 16) as u16).to_le_bytes());
        self.bytes.extend(((tag & 0xFFFF) as u16).to_le_bytes());
        if let Some(link) = link {
            self.flush();
            self.segments.push(Segment::Bulk { location: link.to_owned(), vr });
            return Some(());
        }
        if vr == VR::SQ {
            return self.sequence(element.get("Value"), depth);
        }
        let value = match element.get("InlineBinary") {
            Some(inline) => BASE64_STANDARD.decode(inline.as_str()?).ok()?,
            None => encoded(vr, element.get("Value"))?,
        };
        put_value(&mut self.bytes, vr, &value)
    }

    fn sequence(&mut self, items: Option<&Value>, depth: usize) -> Option<()> {
        const UNDEFINED: [u8; 4] = [0xFF; 4];
        self.bytes.extend(VR::SQ.to_bytes());
        self.bytes.extend([0, 0]);
        self.bytes.extend(UNDEFINED);
        for item in items.and_then(Value::as_array).into_iter().flatten() {
            self.bytes.extend([0xFE, 0xFF, 0x00, 0xE0]);
            self.bytes.extend(UNDEFINED);
            self.object(item.as_object()?, depth + 1)?;
            self.bytes.extend([0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0]);
        }
        self.bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        Some(())
    }
}

/// PS3.5 7.1.2.
fn has_long_length(vr: VR) -> bool {
    matches!(
        vr,
        VR::OB
            | VR::OD
            | VR::OF
            | VR::OL
            | VR::OV
            | VR::OW
            | VR::SQ
            | VR::SV
            | VR::UC
            | VR::UN
            | VR::UR
            | VR::UT
            | VR::UV
    )
}

/// VR, length and value, padded (PS3.5 6.2). What is too long for a VR with 16 bits of length is UN, which has 32 (PS3.5
/// 6.2.2): Contour Data, say, of a structure set that came in Implicit VR. `None`: longer than any value can be.
pub fn put_value(bytes: &mut Vec<u8>, vr: VR, value: &[u8]) -> Option<()> {
    let odd = value.len() % 2;
    let length = value.len() + odd;
    let short = u16::try_from(length).ok().filter(|_| !has_long_length(vr));
    match short {
        Some(length) => {
            bytes.extend(vr.to_bytes());
            bytes.extend(length.to_le_bytes());
        }
        None => {
            let written = if has_long_length(vr) { vr } else { VR::UN };
            bytes.extend(written.to_bytes());
            bytes.extend([0, 0]);
            bytes.extend(u32::try_from(length).ok().filter(|length| *length != u32::MAX)?.to_le_bytes());
        }
    }
    bytes.extend(value);
    let binary = matches!(vr, VR::UI | VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN);
    bytes.extend(std::iter::repeat_n(if binary { 0 } else { b' ' }, odd));
    Some(())
}

fn encoded(vr: VR, values: Option<&Value>) -> Option<Vec<u8>> {
    let Some(values) = values else { return Some(Vec::new()) };
    let values = values.as_array()?;
    let mut bytes = Vec::new();
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    let whole = |value: &Value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    for (at, value) in values.iter().enumerate() {
        match vr {
            VR::US => bytes.extend(u16::try_from(whole(value)?).ok()?.to_le_bytes()),
            VR::SS => bytes.extend(i16::try_from(whole(value)?).ok()?.to_le_bytes()),
            VR::UL => bytes.extend(u32::try_from(whole(value)?).ok()?.to_le_bytes()),
            VR::SL => bytes.extend(i32::try_from(whole(value)?).ok()?.to_le_bytes()),
            VR::SV => bytes.extend(whole(value)?.to_le_bytes()),
            VR::UV => bytes.extend(value.as_u64()?.to_le_bytes()),
            #[expect(clippy::cast_possible_truncation, reason = "FL is what the element is")]
            VR::FL => bytes.extend((number(value)? as f32).to_le_bytes()),
            VR::FD => bytes.extend(number(value)?.to_le_bytes()),
            VR::AT => {
                let tag = u32::from_str_radix(value.as_str()?, 16).ok()?;
                bytes.extend(((tag >> 16) as u16).to_le_bytes());
                bytes.extend(((tag & 0xFFFF) as u16).to_le_bytes());
            }
            VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN => return None,
            _ => {
                if at > 0 {
                    bytes.push(b'\\');
                }
                bytes.extend(text(vr, value)?.into_bytes());
            }
        }
    }
    Some(bytes)
}

fn text(vr: VR, value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(name) if vr == VR::PN => {
            let group = |key: &str| name.get(key).and_then(Value::as_str).unwrap_or_default();
            let name = [group("Alphabetic"), group("Ideographic"), group("Phonetic")].join("=");
            Some(name.trim_end_matches('=').to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_for_its_vr_is_unknown_and_whole() {
        let of = |vr, length| {
            let mut bytes = Vec::new();
            put_value(&mut bytes, vr, &vec![b'1'; length]).expect("a value");
            bytes
        };
        assert_eq!(of(VR::DS, 3), *b"DS\x04\x00111 ");
        assert_eq!(of(VR::US, 65_534)[..4], *b"US\xFE\xFF");
        let long = of(VR::DS, 65_535);
        assert_eq!((&long[..8], long.len()), (&b"UN\x00\x00\x00\x00\x01\x00"[..], 8 + 65_536));
        assert_eq!(of(VR::OW, 65_536)[..8], *b"OW\x00\x00\x00\x00\x01\x00");
        let numbers: Vec<Value> = vec![serde_json::json!(1.5); 20_000];
        let set = serde_json::json!({ "30060050": { "vr": "DS", "Value": numbers } });
        let (segments, _) = written(set.as_object().expect("an object")).expect("a data set");
        let [Segment::Bytes(bytes)] = &segments[..] else { panic!("nothing is missing") };
        assert!(memchr::memmem::find(bytes, b"\x06\x30\x50\x00UN\x00\x00\x80\x38\x01\x001.5\\1.5").is_some());
    }
}
