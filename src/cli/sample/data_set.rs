//! A small builder of data sets for the samples: elements in, encoded bytes out, the same on every run.
//!
//! Writes Implicit and Explicit VR Little Endian with sequences of defined length, and encapsulated frames (PS3.5 A.4).
//! VRs come from the dictionary. It is no general writer: what the samples do not need is not here.

use crate::dicom::charset;
use dicom_core::{
    Tag, VR,
    dictionary::{DataDictionary, DataDictionaryEntry},
};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    ImplicitLe,
    ExplicitLe,
}

enum Value {
    Plain(Vec<u8>),
    Items(Vec<DataSet>),
    /// Encapsulated frames, one fragment each; the Basic Offset Table stays empty.
    Frames(Vec<Vec<u8>>),
}

pub(super) struct DataSet {
    elements: BTreeMap<Tag, (VR, Value)>,
    charset: String,
}

impl DataSet {
    /// An empty data set whose text is encoded in `charset`.
    pub(super) fn new(charset: &str) -> Self {
        Self { elements: BTreeMap::new(), charset: charset.to_owned() }
    }

    /// For items of code sequences and the like, which are plain ASCII.
    pub(super) fn item() -> Self {
        Self::new("")
    }

    /// Text, UIDs, dates and numbers in text. A character the set lacks becomes `?`.
    pub(super) fn text(&mut self, tag: Tag, text: &str) -> &mut Self {
        let vr = vr_of(tag);
        let encoded = charset::encode(text, &self.charset);
        let mut bytes =
            encoded.unwrap_or_else(|_| text.chars().map(|c| if c.is_ascii() { c as u8 } else { b'?' }).collect());
        if !bytes.len().is_multiple_of(2) {
            bytes.push(if vr == VR::UI { 0 } else { b' ' });
        }
        self.put(tag, vr, bytes)
    }

    pub(super) fn texts(&mut self, pairs: &[(Tag, &str)]) -> &mut Self {
        for (tag, text) in pairs {
            self.text(*tag, text);
        }
        self
    }

    pub(super) fn us(&mut self, tag: Tag, number: u16) -> &mut Self {
        self.put(tag, VR::US, number.to_le_bytes().to_vec())
    }

    pub(super) fn ss(&mut self, tag: Tag, number: i16) -> &mut Self {
        self.put(tag, VR::SS, number.to_le_bytes().to_vec())
    }

    pub(super) fn numbers(&mut self, pairs: &[(Tag, u16)]) -> &mut Self {
        for (tag, number) in pairs {
            self.us(*tag, *number);
        }
        self
    }

    pub(super) fn ul(&mut self, tag: Tag, number: u32) -> &mut Self {
        self.put(tag, VR::UL, number.to_le_bytes().to_vec())
    }

    pub(super) fn fl(&mut self, tag: Tag, number: f32) -> &mut Self {
        self.put(tag, VR::FL, number.to_le_bytes().to_vec())
    }

    /// The value of an AT element: a tag.
    pub(super) fn at(&mut self, tag: Tag, value: Tag) -> &mut Self {
        let bytes = [value.group().to_le_bytes(), value.element().to_le_bytes()].concat();
        self.put(tag, VR::AT, bytes)
    }

    pub(super) fn items(&mut self, tag: Tag, items: Vec<DataSet>) -> &mut Self {
        self.elements.insert(tag, (VR::SQ, Value::Items(items)));
        self
    }

    /// One item with a coded concept (PS3.3 8.8).
    pub(super) fn code(&mut self, tag: Tag, value: &str, scheme: &str, meaning: &str) -> &mut Self {
        let mut item = DataSet::item();
        item.texts(&[
            (tags::CODE_VALUE, value),
            (tags::CODING_SCHEME_DESIGNATOR, scheme),
            (tags::CODE_MEANING, meaning),
        ]);
        self.items(tag, vec![item])
    }

    pub(super) fn pixels(&mut self, vr: VR, mut bytes: Vec<u8>) -> &mut Self {
        if !bytes.len().is_multiple_of(2) {
            bytes.push(0);
        }
        self.put(tags::PIXEL_DATA, vr, bytes)
    }

    pub(super) fn frames(&mut self, frames: Vec<Vec<u8>>) -> &mut Self {
        self.elements.insert(tags::PIXEL_DATA, (VR::OB, Value::Frames(frames)));
        self
    }

    fn put(&mut self, tag: Tag, vr: VR, bytes: Vec<u8>) -> &mut Self {
        self.elements.insert(tag, (vr, Value::Plain(bytes)));
        self
    }

    pub(super) fn encode(&self, coding: Coding) -> Vec<u8> {
        let mut out = Vec::new();
        for (tag, (vr, value)) in &self.elements {
            match value {
                Value::Plain(bytes) => {
                    start(&mut out, coding, *tag, *vr, bytes.len() as u32);
                    out.extend_from_slice(bytes);
                }
                Value::Items(items) => {
                    let mut inside = Vec::new();
                    for item in items {
                        let bytes = item.encode(coding);
                        item_start(&mut inside, bytes.len() as u32);
                        inside.extend_from_slice(&bytes);
                    }
                    start(&mut out, coding, *tag, *vr, inside.len() as u32);
                    out.extend_from_slice(&inside);
                }
                Value::Frames(frames) => {
                    encapsulated_start(&mut out);
                    for frame in frames {
                        item_start(&mut out, frame.len() as u32);
                        out.extend_from_slice(frame);
                    }
                    encapsulated_end(&mut out);
                }
            }
        }
        out
    }
}

fn vr_of(tag: Tag) -> VR {
    StandardDataDictionary.by_tag(tag).map_or(VR::UN, |entry| entry.vr().relaxed())
}

fn start(out: &mut Vec<u8>, coding: Coding, tag: Tag, vr: VR, length: u32) {
    out.extend_from_slice(&tag.group().to_le_bytes());
    out.extend_from_slice(&tag.element().to_le_bytes());
    if coding == Coding::ImplicitLe {
        out.extend_from_slice(&length.to_le_bytes());
        return;
    }
    out.extend_from_slice(&vr.to_bytes());
    // PS3.5 7.1.2
    if matches!(vr, VR::OB | VR::OW | VR::SQ | VR::UT | VR::UC | VR::UN | VR::UR) {
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&length.to_le_bytes());
    } else {
        out.extend_from_slice(&(length as u16).to_le_bytes());
    }
}

pub(super) fn item_start(out: &mut Vec<u8>, length: u32) {
    out.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0]);
    out.extend_from_slice(&length.to_le_bytes());
}

/// Pixel Data of undefined length with an empty Basic Offset Table (PS3.5 Table A.4-1).
pub(super) fn encapsulated_start(out: &mut Vec<u8>) {
    start(out, Coding::ExplicitLe, tags::PIXEL_DATA, VR::OB, u32::MAX);
    item_start(out, 0);
}

pub(super) fn encapsulated_end(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
}
