//! Some top-level elements kept whole, with where they stand: what a rewriter of headers needs.
//!
//! In: a data set's bytes, inflated, in pieces of any size. Out: the wanted elements as they are written, and where one
//! that is missing belongs. Ends behind the last wanted element, at Pixel Data or at the end. Walks as the scanner does,
//! with the same bounds; what is kept is bounded as well.

use super::{ScanError, element::Element, element::Syntax, syntax_of, walk::Walker};
use crate::model::Uid;
use std::collections::BTreeMap;

/// All that is kept of one data set. Request attributes take a few hundred bytes, a long history of changes some
/// thousand.
const MAX_KEPT_BYTES: usize = 2 << 20;

/// A top-level element as it is written.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::dicom) struct Kept {
    /// Where it begins in its data set or item.
    pub start: u64,
    pub vr: Option<[u8; 2]>,
    /// `UNDEFINED`: it ends with a delimiter.
    pub length: u32,
    /// Bytes of tag, VR and length before the value.
    pub header: usize,
    /// All of it, header and delimiter included.
    pub bytes: Vec<u8>,
}

/// The wanted elements of one data set or item. Holds patient data: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::dicom) struct Surveyed {
    pub syntax: Syntax,
    pub kept: BTreeMap<u32, Kept>,
    /// For each wanted tag, where the first element with a higher one begins.
    pub before: BTreeMap<u32, u64>,
    /// Where one belongs that no higher one follows.
    pub end: u64,
    /// Where the first element begins that was not walked over: Pixel Data, or one past everything wanted.
    pub rest: u64,
}

pub(super) struct Tap {
    /// In rising order.
    wanted: &'static [u32],
    kept: BTreeMap<u32, Kept>,
    before: BTreeMap<u32, u64>,
    open: Option<u32>,
    bytes: usize,
    twice: Option<u32>,
}

impl Tap {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn last(&self) -> u32 {
        self.wanted.last().copied().unwrap_or(0)
    }

    /// A top-level element begins.
    pub(super) fn meet(&mut self, element: &Element, start: u64, header: &[u8]) {
        if element.is_delimiter() {
            return;
        }
        for tag in self.wanted.iter().take_while(|tag| **tag < element.tag) {
            self.before.entry(*tag).or_insert(start);
        }
        if !self.wanted.contains(&element.tag) {
            return;
        }
        if self.kept.contains_key(&element.tag) {
            self.twice = Some(element.tag);
            return;
        }
        let (vr, length) = (element.vr, element.length);
        let kept = Kept { start, vr, length, header: header.len(), bytes: header.to_vec() };
        self.kept.insert(element.tag, kept);
        self.open = Some(element.tag);
    }

    /// The next bytes of the element that is open.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes <= MAX_KEPT_BYTES
            && let Some(kept) = self.open.and_then(|tag| self.kept.get_mut(&tag))
        {
            kept.bytes.extend_from_slice(bytes);
        }
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("kept", &self.kept.len()).finish_non_exhaustive()
    }
}

/// Takes a data set in pieces and keeps the wanted elements.
pub(in crate::dicom) struct Survey {
    walker: Walker,
}

impl Survey {
    /// `wanted`: tags in rising order.
    pub fn new(transfer_syntax: &Uid, wanted: &'static [u32]) -> Self {
        Self::of(syntax_of(transfer_syntax), wanted)
    }

    /// The same for elements that are known to be written so.
    pub fn of(syntax: Syntax, wanted: &'static [u32]) -> Self {
        let (kept, before) = (BTreeMap::new(), BTreeMap::new());
        let tap = Tap { wanted, kept, before, open: None, bytes: 0, twice: None };
        Self { walker: Walker::with_tap(syntax, tap) }
    }

    /// False: everything wanted has been passed.
    ///
    /// # Errors
    /// [`ScanError`]: the data set cannot be read.
    pub fn push(&mut self, bytes: &[u8]) -> Result<bool, ScanError> {
        self.walker.walk(bytes)?;
        Ok(!self.walker.is_done())
    }

    /// # Errors
    /// When the data set ended inside an element, holds one of the wanted twice, or more than can be kept.
    pub fn finish(self) -> Result<Surveyed, ScanError> {
        let truncated = ScanError::Truncated { offset: self.walker.offset() };
        let rest = self.walker.stopped_at();
        let (syntax, end, tap) = self.walker.into_tap().ok_or(truncated)?;
        if let Some(tag) = tap.twice {
            return Err(ScanError::GivenTwice { group: (tag >> 16) as u16, element: (tag & 0xFFFF) as u16 });
        }
        if tap.bytes > MAX_KEPT_BYTES {
            return Err(ScanError::TooLong);
        }
        Ok(Surveyed { syntax, kept: tap.kept, before: tap.before, end, rest })
    }
}
