//! The DICOM JSON Model of a header (PS3.18 F), and the values that it leaves out.
//!
//! In: a [`Head`]. Out: JSON with text in UTF-8; binary values of more than 1 KiB, texts of more than 32 KiB and Pixel
//! Data as a link (`BulkDataURI`), whose path [`path_of`] finds again: tags and item numbers, `00081140/0/00091010`.

use super::{
    InstanceError,
    head::Head,
    tree::{Element, Items, Value as Elements, find},
};
use crate::dicom::charset::{Kind, SenderCharset, decode_as};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use dicom_core::VR;
use serde_json::{Map, Number, Value, json};
use std::ops::Range;

const MAX_INLINE_BINARY: usize = 1 << 10;
const MAX_INLINE_TEXT: usize = 32 << 10;
/// Elements and items; as JSON, each takes a hundred times its header.
const MAX_ELEMENTS: usize = 100_000;
const SPECIFIC_CHARACTER_SET: u32 = 0x0008_0005;
const AVAILABLE_TRANSFER_SYNTAX: u32 = 0x0008_3002;
/// Deeper than any sequence that [`super::tree`] reads.
const MAX_PATH: usize = 64;

/// The metadata of an instance (PS3.18 10.4.1.1.2). `bulk` is what links begin with: `https://…/bulkdata`.
///
/// # Errors
/// When the header cannot be read.
pub fn metadata(head: &Head, sender: &SenderCharset, bulk: &str) -> Result<Value, InstanceError> {
    let elements = head.elements_within(MAX_ELEMENTS)?;
    let mut writer = Writer { head: head.bytes(), sender, bulk, path: String::new() };
    let charset = writer.charset_of(&elements, sender.meant(""));
    let mut object = writer.object(&elements, &charset);
    object.insert(key(SPECIFIC_CHARACTER_SET), json!({ "vr": "CS", "Value": ["ISO_IR 192"] }));
    let syntax = json!({ "vr": "UI", "Value": [head.transfer_syntax.as_str()] });
    object.insert(key(AVAILABLE_TRANSFER_SYNTAX), syntax);
    if let Some(pixels) = head.pixels {
        let vr = pixels.vr.and_then(VR::from_binary).unwrap_or(VR::OW);
        let link = format!("{bulk}/{}", key(pixels.tag));
        object.insert(key(pixels.tag), json!({ "vr": vr.to_string(), "BulkDataURI": link }));
    }
    Ok(Value::Object(object))
}

/// What a path of a `BulkDataURI` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// In the header.
    Value(Range<usize>),
    Pixels,
}

/// Finds a value by its path. `None`: there is none, or it is no path.
pub fn path_of(head: &Head, path: &str) -> Result<Option<Bulk>, InstanceError> {
    let parts: Vec<&str> = path.split('/').take(MAX_PATH + 1).collect();
    if parts.len() > MAX_PATH || parts.len().is_multiple_of(2) {
        return Ok(None);
    }
    let tag = |text: &str| (text.len() == 8).then(|| u32::from_str_radix(text, 16).ok()).flatten();
    if let ([only], Some(pixels)) = (&parts[..], head.pixels)
        && tag(only) == Some(pixels.tag)
    {
        return Ok(Some(Bulk::Pixels));
    }
    let root = head.elements()?;
    let mut items: &Items = &root;
    let mut parts = parts.into_iter();
    while let Some(element) = parts.next().and_then(tag).and_then(|tag| find(items, tag)) {
        let Some(number) = parts.next() else {
            return Ok(match &element.value {
                Elements::Bytes(range) => Some(Bulk::Value(range.clone())),
                Elements::Items(_) => None,
            });
        };
        match number.parse::<usize>().ok().and_then(|number| element.items().get(number)) {
            Some(item) => items = item,
            None => return Ok(None),
        }
    }
    Ok(None)
}

fn key(tag: u32) -> String {
    format!("{tag:08X}")
}

struct Writer<'a> {
    head: &'a [u8],
    sender: &'a SenderCharset,
    bulk: &'a str,
    /// Of the item that is being written, with a slash at its end.
    path: String,
}

impl Writer<'_> {
    /// An item may name a set of its own (PS3.5 7.5.3); otherwise its parent's is in force.
    fn charset_of(&self, elements: &[Element], parent: &str) -> String {
        match find(elements, SPECIFIC_CHARACTER_SET) {
            Some(named) => {
                let text = String::from_utf8_lossy(named.bytes(self.head));
                self.sender.meant(text.trim_matches([' ', '\0'])).to_owned()
            }
            None => parent.to_owned(),
        }
    }

    fn object(&mut self, elements: &[Element], charset: &str) -> Map<String, Value> {
        let mut object = Map::new();
        for element in elements {
            // Group lengths mean nothing here, nor does what belongs to a file (PS3.18 F.2.2).
            if element.tag & 0xFFFF == 0 || element.tag >> 16 <= 2 || element.tag == SPECIFIC_CHARACTER_SET {
                continue;
            }
            let written = self.element(element, charset);
            object.insert(key(element.tag), written);
        }
        object
    }

    fn element(&mut self, element: &Element, charset: &str) -> Value {
        let vr = element.vr;
        let bytes = element.bytes(self.head);
        if let Elements::Items(items) = &element.value {
            let items = self.items(element.tag, items, charset);
            return if items.is_empty() { json!({ "vr": "SQ" }) } else { json!({ "vr": "SQ", "Value": items }) };
        }
        let name = vr.to_string();
        if bytes.is_empty() {
            return json!({ "vr": name });
        }
        let limit = if is_binary(vr) { MAX_INLINE_BINARY } else { MAX_INLINE_TEXT };
        if bytes.len() > limit {
            return json!({ "vr": name, "BulkDataURI": format!("{}/{}{}", self.bulk, self.path, key(element.tag)) });
        }
        if is_binary(vr) {
            let little = if element.big_endian { swapped(bytes, width(vr)) } else { bytes.to_vec() };
            return json!({ "vr": name, "InlineBinary": BASE64_STANDARD.encode(little) });
        }
        match values(vr, bytes, element.big_endian, charset) {
            values if values.iter().all(Value::is_null) => json!({ "vr": name }),
            values => json!({ "vr": name, "Value": values }),
        }
    }

    fn items(&mut self, tag: u32, items: &[Items], charset: &str) -> Vec<Value> {
        let above = self.path.len();
        let written = items.iter().enumerate().map(|(number, item)| {
            self.path.push_str(&format!("{}/{number}/", key(tag)));
            let charset = self.charset_of(item, charset);
            let object = self.object(item, &charset);
            self.path.truncate(above);
            Value::Object(object)
        });
        written.collect()
    }
}

fn is_binary(vr: VR) -> bool {
    matches!(vr, VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN)
}

/// Bytes of one number; binary values are little endian in JSON (PS3.18 F.2.7).
pub(super) fn width(vr: VR) -> usize {
    match vr {
        VR::OW | VR::US | VR::SS | VR::AT => 2,
        VR::OF | VR::OL | VR::FL | VR::SL | VR::UL => 4,
        VR::OD | VR::OV | VR::FD | VR::SV | VR::UV => 8,
        _ => 1,
    }
}

pub(super) fn swapped(bytes: &[u8], width: usize) -> Vec<u8> {
    let mut little = bytes.to_vec();
    if width > 1 {
        little.chunks_exact_mut(width).for_each(<[u8]>::reverse);
    }
    little
}

fn values(vr: VR, bytes: &[u8], big_endian: bool, charset: &str) -> Vec<Value> {
    match vr {
        VR::US | VR::SS | VR::UL | VR::SL | VR::UV | VR::SV | VR::FL | VR::FD | VR::AT => {
            let little = if big_endian { swapped(bytes, width(vr)) } else { bytes.to_vec() };
            numbers(vr, &little)
        }
        VR::ST | VR::LT | VR::UT | VR::UR => {
            let kind = if vr == VR::UR { Kind::Values } else { Kind::Text };
            let (text, _) = decode_as(kind, bytes, charset);
            vec![words(text.trim_end_matches([' ', '\0']))]
        }
        VR::PN => {
            let (text, _) = decode_as(Kind::Name, bytes, charset);
            text.split('\\').map(name).collect()
        }
        VR::LO | VR::SH | VR::UC => {
            let (text, _) = decode_as(Kind::Values, bytes, charset);
            text.split('\\').map(|value| words(value.trim_matches([' ', '\0']))).collect()
        }
        VR::DS | VR::IS => plain(bytes).split('\\').map(|value| number(vr, value.trim_matches([' ', '\0']))).collect(),
        _ => plain(bytes).split('\\').map(|value| words(value.trim_matches([' ', '\0']))).collect(),
    }
}

fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// An empty value among others is null (PS3.18 F.2.5).
fn words(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::String(text.to_owned()) }
}

/// Number or text (PS3.18 F.2.3): what is no number is told as it stands.
fn number(vr: VR, text: &str) -> Value {
    let whole = text.parse::<i64>().ok().map(Number::from);
    let real = || text.parse::<f64>().ok().filter(|_| vr == VR::DS).and_then(Number::from_f64);
    whole.or_else(real).map_or_else(|| words(text), Value::Number)
}

fn name(text: &str) -> Value {
    let groups = ["Alphabetic", "Ideographic", "Phonetic"];
    let given = groups.into_iter().zip(text.split('='));
    let written: Map<String, Value> = given
        .map(|(group, text)| (group, text.trim_matches([' ', '\0'])))
        .filter(|(_, text)| !text.is_empty())
        .map(|(group, text)| (group.to_owned(), Value::String(text.to_owned())))
        .collect();
    if written.is_empty() { Value::Null } else { Value::Object(written) }
}

fn numbers(vr: VR, little: &[u8]) -> Vec<Value> {
    let real = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
    match vr {
        VR::US => fixed(little, |bytes| u16::from_le_bytes(bytes).into()),
        VR::SS => fixed(little, |bytes| i16::from_le_bytes(bytes).into()),
        VR::UL => fixed(little, |bytes| u32::from_le_bytes(bytes).into()),
        VR::SL => fixed(little, |bytes| i32::from_le_bytes(bytes).into()),
        VR::UV => fixed(little, |bytes| u64::from_le_bytes(bytes).into()),
        VR::SV => fixed(little, |bytes| i64::from_le_bytes(bytes).into()),
        VR::FL => fixed(little, |bytes| real(f32::from_le_bytes(bytes).into())),
        VR::FD => fixed(little, |bytes| real(f64::from_le_bytes(bytes))),
        _ => fixed(little, |[a, b, c, d]: [u8; 4]| Value::String(format!("{b:02X}{a:02X}{d:02X}{c:02X}"))),
    }
}

fn fixed<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> Value) -> Vec<Value> {
    bytes.chunks_exact(N).filter_map(|chunk| chunk.try_into().ok()).map(read).collect()
}
