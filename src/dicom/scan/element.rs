//! One element header: tag, VR and length from 8 or 12 bytes (PS3.5 7.1).

use super::wanted;
use dicom_core::{
    Tag, VR,
    dictionary::{DataDictionary, DataDictionaryEntry},
};
use dicom_dictionary_std::StandardDataDictionary;

pub(in crate::dicom) const ITEM: u32 = wanted::tag(0xFFFE, 0xE000);
pub(in crate::dicom) const ITEM_DELIMITER: u32 = wanted::tag(0xFFFE, 0xE00D);
pub(in crate::dicom) const SEQUENCE_DELIMITER: u32 = wanted::tag(0xFFFE, 0xE0DD);
/// Float Pixel Data (7FE0,0008), Double Float Pixel Data (7FE0,0009), Pixel Data (7FE0,0010).
pub(in crate::dicom) const PIXEL_DATA: [u32; 3] =
    [wanted::tag(0x7FE0, 0x0008), wanted::tag(0x7FE0, 0x0009), wanted::tag(0x7FE0, 0x0010)];
pub(in crate::dicom) const UNDEFINED: u32 = 0xFFFF_FFFF;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dicom) enum Syntax {
    ImplicitLe,
    ExplicitLe,
    ExplicitBe,
    /// A private transfer syntax: the first element tells whether VRs are written.
    Unknown,
}

/// A complete element header.
pub(in crate::dicom) struct Element {
    pub tag: u32,
    /// None in Implicit VR, and for items and delimiters.
    pub vr: Option<[u8; 2]>,
    pub length: u32,
}

/// Whether a data set that begins so has VRs.
pub(in crate::dicom) fn guess_syntax(buffer: &[u8; 12]) -> Syntax {
    if buffer[4..6].iter().all(u8::is_ascii_uppercase) { Syntax::ExplicitLe } else { Syntax::ImplicitLe }
}

/// Whether 12 bytes of header are to be read instead of 8 (PS3.5 7.1.2).
pub(in crate::dicom) fn has_long_header(buffer: &[u8; 12], syntax: Syntax) -> bool {
    syntax != Syntax::ImplicitLe && !is_delimiter(tag_of(buffer, syntax)) && has_long_length([buffer[4], buffer[5]])
}

fn tag_of(buffer: &[u8; 12], syntax: Syntax) -> u32 {
    let [a, b, c, d, ..] = *buffer;
    match syntax {
        Syntax::ExplicitBe => wanted::tag(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
        _ => wanted::tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])),
    }
}

impl Element {
    /// Reads a header of 8 bytes, or of 12 where [`has_long_header`] says so.
    pub(in crate::dicom) fn read(buffer: &[u8; 12], syntax: Syntax) -> Self {
        let tag = tag_of(buffer, syntax);
        let [_, _, _, _, e, f, g, h, i, j, k, l] = *buffer;
        if syntax == Syntax::ImplicitLe {
            return Self { tag, vr: None, length: u32::from_le_bytes([e, f, g, h]) };
        }
        let delimiter = is_delimiter(tag);
        let long = if delimiter { Some([e, f, g, h]) } else { has_long_length([e, f]).then_some([i, j, k, l]) };
        let big = syntax == Syntax::ExplicitBe;
        let length = match long {
            Some(bytes) if big => u32::from_be_bytes(bytes),
            Some(bytes) => u32::from_le_bytes(bytes),
            None if big => u32::from(u16::from_be_bytes([g, h])),
            None => u32::from(u16::from_le_bytes([g, h])),
        };
        Self { tag, vr: (!delimiter).then_some([e, f]), length }
    }

    pub(in crate::dicom) fn is_delimiter(&self) -> bool {
        is_delimiter(self.tag)
    }

    pub(in crate::dicom) fn has_legal_vr(&self) -> bool {
        self.vr.is_none_or(|vr| vr.iter().all(u8::is_ascii_uppercase))
    }

    /// In Implicit VR a sequence of defined length looks like any other value; dicom-object, too, asks its dictionary.
    /// Only what has room for an item in a group of the standard is looked up: a flood of empty elements stays cheap.
    pub(in crate::dicom) fn is_sequence_by_dictionary(&self) -> bool {
        if self.length < 8 || (self.tag >> 16) % 2 == 1 {
            return false;
        }
        let tag = Tag((self.tag >> 16) as u16, (self.tag & 0xFFFF) as u16);
        StandardDataDictionary.by_tag(tag).is_some_and(|entry| entry.vr().relaxed() == VR::SQ)
    }
}

fn is_delimiter(tag: u32) -> bool {
    matches!(tag, ITEM | ITEM_DELIMITER | SEQUENCE_DELIMITER)
}

/// PS3.5 7.1.2 and 6.2: these VRs, and every VR yet to come, have two reserved bytes and a 32-bit length. VRs that are
/// not two capital letters come from faulty writers, which use 16 bits.
fn has_long_length(vr: [u8; 2]) -> bool {
    const SHORT: [&[u8; 2]; 21] = [
        b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
        b"ST", b"TM", b"UI", b"UL", b"US",
    ];
    vr.iter().all(u8::is_ascii_uppercase) && !SHORT.contains(&&vr)
}
