//! What the scanner kept: raw bytes by place and tag, and the UIDs among them.
//!
//! A missing or malformed element is simply not there: what to do about it is intake's business.

use super::{ScanError, wanted, wanted::Place};
use crate::model::Uid;
use std::{collections::BTreeMap, fmt};

/// The wanted elements of one data set, as received. Holds patient data: its `Debug` shows none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Header {
    values: BTreeMap<(Place, u32), Vec<u8>>,
    too_long: Vec<(u16, u16)>,
    sound: bool,
}

impl Header {
    pub(super) fn new() -> Self {
        Self { sound: true, ..Self::default() }
    }

    /// SOP Class UID (0008,0016).
    pub fn sop_class(&self) -> Option<Uid> {
        self.uid(wanted::SOP_CLASS_UID)
    }

    /// SOP Instance UID (0008,0018).
    pub fn sop_instance(&self) -> Option<Uid> {
        self.uid(wanted::SOP_INSTANCE_UID)
    }

    /// Study Instance UID (0020,000D).
    pub fn study(&self) -> Option<Uid> {
        self.uid(wanted::STUDY_INSTANCE_UID)
    }

    /// Series Instance UID (0020,000E).
    pub fn series(&self) -> Option<Uid> {
        self.uid(wanted::SERIES_INSTANCE_UID)
    }

    /// The bytes of a top-level wanted element, padding included; none when it is absent or not one of the wanted.
    pub fn raw(&self, group: u16, element: u16) -> Option<&[u8]> {
        self.at(Place::Top, wanted::tag(group, element))
    }

    /// Wanted elements that were there but longer than any legal value, and so not kept.
    pub fn too_long(&self) -> &[(u16, u16)] {
        &self.too_long
    }

    /// False when something was off but could be read past: lengths that leave their sequence, stray delimiters,
    /// illegal VRs, a header cut at its cap. Such an object is carried as it is, but never given to dicom-object.
    pub fn is_sound(&self) -> bool {
        self.sound
    }

    pub(super) fn at(&self, place: Place, tag: u32) -> Option<&[u8]> {
        self.values.get(&(place, tag)).map(Vec::as_slice)
    }

    fn uid(&self, tag: u32) -> Option<Uid> {
        // UI may only be ASCII (PS3.5 6.2); leading spaces are a known fault of some senders.
        let text = std::str::from_utf8(self.at(Place::Top, tag)?).ok()?;
        Uid::new(text.trim_start_matches(' ')).ok()
    }

    /// Keeps a value. A second, different one of the same tag is refused: two readers would take different patients.
    pub(super) fn keep(&mut self, place: Place, tag: u32, value: Vec<u8>) -> Result<(), ScanError> {
        match self.values.get(&(place, tag)) {
            Some(kept) if *kept != value && !wanted::only_describes(tag) => {
                Err(ScanError::GivenTwice { group: (tag >> 16) as u16, element: (tag & 0xFFFF) as u16 })
            }
            Some(_) => Ok(()),
            None => {
                self.values.insert((place, tag), value);
                Ok(())
            }
        }
    }

    pub(super) fn note_too_long(&mut self, tag: u32) {
        let tag = ((tag >> 16) as u16, (tag & 0xFFFF) as u16);
        if !self.too_long.contains(&tag) {
            self.too_long.push(tag);
        }
    }

    pub(super) fn note_unsound(&mut self) {
        self.sound = false;
    }

    pub(super) fn has_essentials(&self) -> bool {
        wanted::ESSENTIAL.iter().all(|tag| self.at(Place::Top, *tag).is_some())
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("values", &self.values.len())
            .field("too_long", &self.too_long)
            .field("sound", &self.sound)
            .finish()
    }
}
