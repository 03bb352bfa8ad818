//! The elements of a header: where each value lies, and what lies inside of sequences.
//!
//! In: bytes of a header in any of the three encodings (PS3.5 7). Out: a tree of ranges; nothing is copied or decoded.
//! Depth, count and lengths are checked before anything is made of them.

use super::{InstanceError, malformed};
use crate::dicom::scan::{self, ITEM, ITEM_DELIMITER, MAX_DEPTH, SEQUENCE_DELIMITER, Syntax, UNDEFINED};
use dicom_core::{
    VR,
    dictionary::{DataDictionary, DataDictionaryEntry},
};
use dicom_dictionary_std::StandardDataDictionary;
use std::ops::Range;

/// Of one header. Large enhanced multi-frame objects come near half of it.
const MAX_ELEMENTS: usize = 1_000_000;

pub type Items = Vec<Element>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub tag: u32,
    pub vr: VR,
    pub value: Value,
    /// The value is written in Implicit VR Little Endian inside of a UN.
    pub big_endian: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// In the header.
    Bytes(Range<usize>),
    Items(Vec<Items>),
}

impl Element {
    pub fn bytes<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        match &self.value {
            Value::Bytes(range) => head.get(range.clone()).unwrap_or_default(),
            Value::Items(_) => &[],
        }
    }

    pub fn items(&self) -> &[Items] {
        match &self.value {
            Value::Items(items) => items,
            Value::Bytes(_) => &[],
        }
    }
}

pub fn find(elements: &[Element], tag: u32) -> Option<&Element> {
    elements.iter().find(|element| element.tag == tag)
}

pub fn parse(bytes: &[u8], syntax: Syntax) -> Result<Items, InstanceError> {
    parse_within(bytes, syntax, MAX_ELEMENTS)
}

/// `most`: elements and items.
pub fn parse_within(bytes: &[u8], syntax: Syntax, most: usize) -> Result<Items, InstanceError> {
    let mut reader = Reader { bytes, at: 0, left: most };
    reader.elements(bytes.len(), false, syntax, 0)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    left: usize,
}

impl Reader<'_> {
    fn wrong<T>(&self, what: &'static str) -> Result<T, InstanceError> {
        malformed(self.at as u64, what)
    }

    fn header(&mut self, end: usize, syntax: Syntax) -> Result<scan::Element, InstanceError> {
        let Some(left) = self.left.checked_sub(1) else { return self.wrong("more elements than a header has") };
        self.left = left;
        let left = self.bytes.get(self.at..end).unwrap_or_default();
        let mut buffer = [0; 12];
        let known = left.len().min(12);
        buffer[..known].copy_from_slice(&left[..known]);
        let needed = if known >= 8 && scan::has_long_header(&buffer, syntax) { 12 } else { 8 };
        if known < needed {
            return self.wrong("an element that breaks off");
        }
        self.at += needed;
        Ok(scan::Element::read(&buffer, syntax))
    }

    /// Up to `end`, or to an Item Delimitation Item where `delimited`. Calls itself at most [`MAX_DEPTH`] deep.
    fn elements(&mut self, end: usize, delimited: bool, syntax: Syntax, depth: usize) -> Result<Items, InstanceError> {
        let mut elements = Vec::new();
        while self.at < end {
            let header = self.header(end, syntax)?;
            match header.tag {
                ITEM_DELIMITER if delimited => return Ok(elements),
                // Behind something of a defined length it says nothing.
                ITEM_DELIMITER | SEQUENCE_DELIMITER if header.length == 0 => continue,
                ITEM | ITEM_DELIMITER | SEQUENCE_DELIMITER => return self.wrong("an item outside of a sequence"),
                _ => {}
            }
            let vr = vr_of(&header, syntax);
            let big_endian = syntax == Syntax::ExplicitBe;
            let undefined = header.length == UNDEFINED;
            let value = if vr == VR::SQ || undefined {
                // PS3.5 6.2.2: what stands in a UN of undefined length is in Implicit VR Little Endian.
                let inner = if header.vr == Some(*b"UN") { Syntax::ImplicitLe } else { syntax };
                Value::Items(self.sequence(header.length, end, inner, depth)?)
            } else {
                let length = usize::try_from(header.length).unwrap_or(usize::MAX);
                let Some(to) = self.at.checked_add(length).filter(|to| *to <= end) else {
                    return self.wrong("a length that reaches past the end");
                };
                Value::Bytes(std::mem::replace(&mut self.at, to)..to)
            };
            let vr = if matches!(value, Value::Items(_)) { VR::SQ } else { vr };
            elements.push(Element { tag: header.tag, vr, value, big_endian });
        }
        if delimited { self.wrong("an item that does not end") } else { Ok(elements) }
    }

    fn sequence(&mut self, length: u32, end: usize, syntax: Syntax, depth: usize) -> Result<Vec<Items>, InstanceError> {
        if depth >= MAX_DEPTH {
            return self.wrong("sequences nested too deeply");
        }
        let (delimited, end) = self.extent(length, end)?;
        let mut items = Vec::new();
        while self.at < end {
            let header = self.header(end, syntax)?;
            match header.tag {
                ITEM => {
                    let (delimited, end) = self.extent(header.length, end)?;
                    items.push(self.elements(end, delimited, syntax, depth + 1)?);
                }
                SEQUENCE_DELIMITER if delimited => return Ok(items),
                SEQUENCE_DELIMITER => {}
                _ => return self.wrong("something else than an item in a sequence"),
            }
        }
        if delimited { self.wrong("a sequence that does not end") } else { Ok(items) }
    }

    fn extent(&self, length: u32, end: usize) -> Result<(bool, usize), InstanceError> {
        if length == UNDEFINED {
            return Ok((true, end));
        }
        let to = self.at.checked_add(usize::try_from(length).unwrap_or(usize::MAX)).filter(|to| *to <= end);
        to.map_or_else(|| self.wrong("a length that reaches past the end"), |to| Ok((false, to)))
    }
}

/// As written; by the dictionary in Implicit VR.
fn vr_of(header: &scan::Element, _syntax: Syntax) -> VR {
    if let Some(written) = header.vr {
        return VR::from_binary(written).unwrap_or(VR::UN);
    }
    let (group, element) = ((header.tag >> 16) as u16, (header.tag & 0xFFFF) as u16);
    if element == 0 {
        return VR::UL;
    }
    // Private creators (PS3.5 7.8.1).
    if group % 2 == 1 && (0x10..=0xFF).contains(&element) {
        return VR::LO;
    }
    let known = StandardDataDictionary.by_tag(dicom_core::Tag(group, element));
    known.map_or(VR::UN, |entry| entry.vr().relaxed())
}
