//! Bytes to drop and to insert, merged into a stream as it passes, or where a part of it is read.

use bytes::BytesMut;
use std::io;

/// At byte `at` of the source, `drop` bytes go and `insert` comes in their place.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Patch {
    pub at: u64,
    pub drop: u64,
    pub insert: Vec<u8>,
}

/// What is to be done to one data set. Holds patient data: no `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Patches {
    /// By place, without overlap.
    list: Vec<Patch>,
    identifiers: u32,
}

impl Patches {
    pub(super) fn new(mut list: Vec<Patch>, identifiers: u32) -> Self {
        list.sort_by_key(|patch| patch.at);
        Self { list, identifiers }
    }

    /// Nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many different identifiers become others.
    pub fn identifiers(&self) -> u32 {
        self.identifiers
    }

    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        self.list.iter().map(|patch| size_of::<Patch>() + patch.insert.capacity()).sum()
    }

    /// How long a data set of this length is afterwards.
    pub fn length(&self, before: u64) -> u64 {
        let dropped: u64 = self.list.iter().map(|patch| patch.drop).sum();
        let inserted: u64 = self.list.iter().map(|patch| patch.insert.len() as u64).sum();
        before.saturating_sub(dropped).saturating_add(inserted)
    }

    /// Fills `into` with what stands from byte `offset` of the patched data set on; `source` reads what it was before.
    ///
    /// # Errors
    /// When the source cannot be read there.
    pub fn read_exact_at(
        &self,
        into: &mut [u8],
        offset: u64,
        source: impl Fn(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = offset.checked_add(into.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        // The piece of `into` that stands for these bytes of the patched data set, and how far into them it begins.
        let part = |from: u64, length: u64| {
            let (first, last) = (offset.max(from), end.min(from.saturating_add(length)));
            (first < last).then(|| ((first - offset) as usize..(last - offset) as usize, first - from))
        };
        let (mut before, mut after) = (0, 0);
        for patch in &self.list {
            let kept = patch.at.saturating_sub(before);
            if let Some((range, skip)) = part(after, kept) {
                source(&mut into[range], before + skip)?;
            }
            after += kept;
            let inserted = patch.insert.len() as u64;
            if let Some((range, skip)) = part(after, inserted) {
                let (skip, length) = (skip as usize, range.len());
                into[range].copy_from_slice(&patch.insert[skip..skip + length]);
            }
            (before, after) = (patch.at + patch.drop, after + inserted);
            if after >= end {
                return Ok(());
            }
        }
        match part(after, u64::MAX) {
            Some((range, skip)) => source(&mut into[range], before + skip),
            None => Ok(()),
        }
    }

    /// All of a small data set at once.
    pub fn apply(&self, data: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::with_capacity(usize::try_from(self.length(data.len() as u64)).unwrap_or(0));
        let mut patcher = Patcher::new(self.clone());
        patcher.push(data, &mut out);
        patcher.finish(&mut out);
        out.to_vec()
    }
}

/// Merges patches into a data set that comes in pieces.
pub struct Patcher {
    patches: std::vec::IntoIter<Patch>,
    next: Option<Patch>,
    at: u64,
    dropping: u64,
}

impl Patcher {
    pub fn new(patches: Patches) -> Self {
        let mut patches = patches.list.into_iter();
        let next = patches.next();
        Self { patches, next, at: 0, dropping: 0 }
    }

    /// Takes the next piece of the source; what comes of it is appended to `out`.
    pub fn push(&mut self, mut piece: &[u8], out: &mut BytesMut) {
        loop {
            self.insert_here(out);
            if piece.is_empty() {
                return;
            }
            let until = match &self.next {
                _ if self.dropping > 0 => self.dropping,
                Some(patch) => patch.at.saturating_sub(self.at),
                None => u64::MAX,
            };
            let taken = usize::try_from(until).map_or(piece.len(), |until| until.min(piece.len()));
            if self.dropping > 0 {
                self.dropping -= taken as u64;
            } else {
                out.extend_from_slice(&piece[..taken]);
            }
            self.at += taken as u64;
            piece = &piece[taken..];
        }
    }

    /// The source has ended: what belongs behind it.
    pub fn finish(&mut self, out: &mut BytesMut) {
        self.insert_here(out);
    }

    fn insert_here(&mut self, out: &mut BytesMut) {
        while self.dropping == 0
            && let Some(patch) = self.next.take_if(|patch| patch.at <= self.at)
        {
            out.extend_from_slice(&patch.insert);
            self.dropping = patch.drop;
            self.next = self.patches.next();
        }
    }
}
