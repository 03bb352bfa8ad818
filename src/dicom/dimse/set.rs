//! The elements of a command set: flat, Implicit VR Little Endian (PS3.7 6.3.1), walked and written by hand.

use super::CommandError;
use dicom_core::Tag;

/// The elements of a command set, borrowed from its bytes.
pub(super) struct CommandSet<'a>(Vec<(u16, &'a [u8])>);

impl<'a> CommandSet<'a> {
    /// Every element must belong to group 0000 and end inside the set.
    pub fn read(bytes: &'a [u8]) -> Result<Self, CommandError> {
        let (mut elements, mut rest) = (Vec::with_capacity(16), bytes);
        while !rest.is_empty() {
            let header = rest.get(..8).ok_or(CommandError::Missing("a whole element header"))?;
            if header[..2] != [0, 0] {
                return Err(CommandError::Missing("only group 0000"));
            }
            let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
            let end = length.checked_add(8).filter(|end| *end <= rest.len());
            let end = end.ok_or(CommandError::Missing("all bytes an element claims"))?;
            elements.push((u16::from_le_bytes([header[2], header[3]]), &rest[8..end]));
            rest = &rest[end..];
        }
        Ok(Self(elements))
    }

    /// The last one written counts, should there be several.
    pub fn value(&self, tag: Tag) -> Option<&'a [u8]> {
        self.0.iter().rev().find(|(element, _)| *element == tag.element()).map(|(_, value)| *value)
    }
}

/// An element to be written: its tag and its value, of even length.
pub(super) type Element = (Tag, Vec<u8>);

pub(super) fn write_command_set(mut elements: Vec<Element>) -> Vec<u8> {
    elements.sort_by_key(|(tag, _)| *tag);
    let mut bytes = Vec::with_capacity(256);
    // Group length (0000,0000): what follows it.
    let length: usize = elements.iter().map(|(_, value)| 8 + value.len()).sum();
    write_element(&mut bytes, Tag(0, 0), &length32(length));
    for (tag, value) in &elements {
        write_element(&mut bytes, *tag, value);
    }
    bytes
}

fn write_element(bytes: &mut Vec<u8>, tag: Tag, value: &[u8]) {
    bytes.extend_from_slice(&tag.group().to_le_bytes());
    bytes.extend_from_slice(&tag.element().to_le_bytes());
    bytes.extend_from_slice(&length32(value.len()));
    bytes.extend_from_slice(value);
}

/// Command sets are a few hundred bytes long.
fn length32(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

pub(super) fn us(tag: Tag, value: u16) -> Element {
    (tag, value.to_le_bytes().to_vec())
}

/// UI is padded with NUL (PS3.5 9.1).
pub(super) fn uid(tag: Tag, value: &str) -> Element {
    (tag, padded(value.as_bytes().to_vec(), 0))
}

pub(super) fn padded(mut value: Vec<u8>, with: u8) -> Vec<u8> {
    if value.len() % 2 == 1 {
        value.push(with);
    }
    value
}

pub(super) fn number(set: &CommandSet<'_>, tag: Tag) -> Option<u16> {
    set.value(tag)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

pub(super) fn text(set: &CommandSet<'_>, tag: Tag) -> String {
    let value = set.value(tag).unwrap_or_default();
    String::from_utf8_lossy(value).trim_end_matches(['\0', ' ']).to_owned()
}

/// What a list of tags holds; a rest that is no tag is left out.
pub(super) fn tags(set: &CommandSet<'_>, tag: Tag) -> Vec<Tag> {
    let half = |bytes: [u8; 2]| u16::from_le_bytes(bytes);
    let value = set.value(tag).unwrap_or_default();
    value.as_chunks().0.iter().map(|[a, b, c, d]| Tag(half([*a, *b]), half([*c, *d]))).collect()
}

pub(super) fn at(tag: Tag, values: &[Tag]) -> Element {
    let both = |value: &Tag| [value.group().to_le_bytes(), value.element().to_le_bytes()].concat();
    (tag, values.iter().flat_map(both).collect())
}

/// LO: at most 64 characters, padded with a space; AE titles too.
pub(super) fn words(tag: Tag, text: &str) -> Element {
    let text: String = text.chars().take(64).collect();
    (tag, padded(text.into_bytes(), b' '))
}
