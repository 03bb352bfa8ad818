//! Where the frames of an instance lie.
//!
//! In: a [`Head`] and the bytes behind it, by positioned reads. Out: for native pixels, ranges by arithmetic; for
//! encapsulated ones (PS3.5 A.4), runs of fragments, from the Extended or Basic Offset Table, or by walking the items'
//! headers. Sixteen bytes are kept for each frame.

use super::{
    InstanceError, ReadAt,
    head::{Head, PixelStart},
    malformed,
    tree::{Element, find},
};

const ITEM: [u8; 4] = [0xFE, 0xFF, 0x00, 0xE0];
const SEQUENCE_DELIMITER: [u8; 4] = [0xFE, 0xFF, 0xDD, 0xE0];
/// Tiles of the largest slides.
const MAX_FRAMES: u32 = 4_000_000;
const MAX_FRAGMENTS: usize = 8_000_000;

/// What the header says of its pixels (PS3.3 C.7.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pixels {
    pub rows: u32,
    pub columns: u32,
    pub samples: u32,
    pub bits_allocated: u32,
    pub frames: u32,
}

impl Pixels {
    /// # Errors
    /// When the header cannot be read.
    pub fn of(head: &Head) -> Result<Self, InstanceError> {
        let elements = head.elements()?;
        let short = |tag, otherwise| short(head, &elements, tag).unwrap_or(otherwise);
        let frames = find(&elements, 0x0028_0008).map(|element| element.bytes(head.bytes()));
        let frames = frames.and_then(|bytes| std::str::from_utf8(bytes).ok()?.trim_matches([' ', '\0']).parse().ok());
        let frames: u32 = frames.unwrap_or(1);
        if frames > MAX_FRAMES {
            return malformed(0, "more frames than can be told apart");
        }
        Ok(Self {
            rows: short(0x0028_0010, 0),
            columns: short(0x0028_0011, 0),
            samples: short(0x0028_0002, 1),
            bits_allocated: short(0x0028_0100, 8),
            frames: frames.max(1),
        })
    }

    fn frame_bits(self) -> u64 {
        u64::from(self.rows) * u64::from(self.columns) * u64::from(self.samples) * u64::from(self.bits_allocated)
    }
}

/// US, little or big endian.
fn short(head: &Head, elements: &[Element], tag: u32) -> Option<u32> {
    let element = find(elements, tag)?;
    let bytes: [u8; 2] = element.bytes(head.bytes()).get(..2)?.try_into().ok()?;
    Some(u32::from(if element.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }))
}

/// Offsets are of the data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameIndex {
    Native {
        start: u64,
        length: u64,
        frames: u32,
        end: u64,
    },
    /// For each frame, from its first item's header to the byte behind its last fragment.
    Encapsulated(Vec<(u64, u64)>),
}

impl FrameIndex {
    /// Finds them. Blocking.
    ///
    /// # Errors
    /// When there is no Pixel Data, or it is not what its header says.
    pub fn read(source: &dyn ReadAt, head: &Head) -> Result<Self, InstanceError> {
        let Some(start) = head.pixels else { return malformed(0, "no Pixel Data") };
        let pixels = Pixels::of(head)?;
        if let Some(length) = start.length {
            let bits = pixels.frame_bits();
            if bits == 0 || !bits.is_multiple_of(8) && pixels.frames > 1 {
                return malformed(start.value, "frames that do not begin at a byte");
            }
            let end = start.value + u64::from(length);
            return Ok(Self::Native { start: start.value, length: bits.div_ceil(8), frames: pixels.frames, end });
        }
        encapsulated(source, head, start, pixels.frames).map(Self::Encapsulated)
    }

    pub fn count(&self) -> u64 {
        match self {
            Self::Native { frames, .. } => u64::from(*frames),
            Self::Encapsulated(spans) => spans.len() as u64,
        }
    }

    /// How much memory it takes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Native { .. } => 64,
            Self::Encapsulated(spans) => 64 + 16 * spans.len(),
        }
    }

    /// Where the bytes of a frame lie, counted from 1, in `most` pieces. `None`: there is no such frame. Blocking.
    ///
    /// # Errors
    /// When its items are not what they should be, or more.
    pub fn frame(
        &self,
        source: &dyn ReadAt,
        number: u64,
        most: usize,
    ) -> Result<Option<Vec<(u64, u64)>>, InstanceError> {
        let Some(index) = number.checked_sub(1).filter(|index| *index < self.count()) else { return Ok(None) };
        match self {
            Self::Native { start, length, end, .. } => {
                let at = start + index * length;
                if at + length > *end {
                    return malformed(at, "Pixel Data shorter than its frames");
                }
                Ok(Some(vec![(at, *length)]))
            }
            Self::Encapsulated(spans) => {
                let Some((from, to)) = usize::try_from(index).ok().and_then(|index| spans.get(index)) else {
                    return Ok(None);
                };
                let mut walk = Walk { source, at: *from, end: *to };
                let mut pieces = Vec::new();
                while let Some((at, length)) = walk.next()? {
                    if pieces.len() >= most {
                        return Err(InstanceError::TooManyPieces);
                    }
                    pieces.push((at, u64::from(length)));
                }
                Ok(Some(pieces))
            }
        }
    }
}

/// Items, one after the other.
struct Walk<'a> {
    source: &'a dyn ReadAt,
    at: u64,
    end: u64,
}

impl Walk<'_> {
    /// Where the next fragment's bytes lie; `None` at the sequence's end.
    fn next(&mut self) -> Result<Option<(u64, u32)>, InstanceError> {
        if self.at + 8 > self.end {
            return Ok(None);
        }
        let mut header = [0; 8];
        self.source.read_exact_at(&mut header, self.at)?;
        let [a, b, c, d, e, f, g, h] = header;
        let length = u32::from_le_bytes([e, f, g, h]);
        match [a, b, c, d] {
            SEQUENCE_DELIMITER => Ok(None),
            ITEM if length != u32::MAX && self.at + 8 + u64::from(length) <= self.end => {
                let at = self.at + 8;
                self.at = at + u64::from(length);
                Ok(Some((at, length)))
            }
            _ => malformed(self.at, "something else than a fragment in Pixel Data"),
        }
    }
}

fn encapsulated(
    source: &dyn ReadAt,
    head: &Head,
    start: PixelStart,
    frames: u32,
) -> Result<Vec<(u64, u64)>, InstanceError> {
    let mut walk = Walk { source, at: start.value, end: source.length() };
    let Some((table, table_bytes)) = walk.next()? else { return malformed(start.value, "no Basic Offset Table") };
    let first = walk.at;
    if let Some(spans) = extended(head, first, frames, source.length())? {
        return Ok(spans);
    }
    if table_bytes != 0 && u64::from(table_bytes) == 4 * u64::from(frames) {
        let mut offsets = vec![0; usize::try_from(table_bytes).unwrap_or(0)];
        source.read_exact_at(&mut offsets, table)?;
        let starts = offsets
            .chunks_exact(4)
            .map(|bytes| first + u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])));
        let starts: Vec<u64> = starts.collect();
        // A table of slides beyond 4 GiB wraps round; one that does not rise is not believed.
        let rises = starts.windows(2).all(|pair| pair[0] < pair[1]);
        if rises && starts.first() == Some(&first) && starts.last().is_some_and(|last| *last < source.length()) {
            let ends = starts.iter().skip(1).copied().chain([source.length()]);
            return Ok(starts.iter().copied().zip(ends).collect());
        }
    }
    by_walking(walk, frames)
}

/// Extended Offset Table (7FE0,0001) and its Lengths (PS3.3 C.7.6.3.1.8).
fn extended(head: &Head, first: u64, frames: u32, end: u64) -> Result<Option<Vec<(u64, u64)>>, InstanceError> {
    let elements = head.elements()?;
    let table = |tag| {
        let bytes = find(&elements, tag).map(|element| element.bytes(head.bytes()))?;
        let values: Vec<u64> =
            bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_le_bytes).collect();
        (values.len() as u64 == u64::from(frames)).then_some(values)
    };
    let (Some(offsets), Some(lengths)) = (table(0x7FE0_0001), table(0x7FE0_0002)) else { return Ok(None) };
    let spans: Option<Vec<(u64, u64)>> = offsets
        .into_iter()
        .zip(lengths)
        .map(|(offset, length)| {
            let from = first.checked_add(offset)?;
            // One fragment a frame; its length may be told without the padding that its item has.
            let to = from.checked_add(8)?.checked_add(length)?.checked_add(length % 2)?;
            (to <= end).then_some((from, to))
        })
        .collect();
    Ok(spans)
}

/// Without a table: one fragment a frame, all for the only one, or as the codestreams end (PS3.5 A.4).
fn by_walking(mut walk: Walk<'_>, frames: u32) -> Result<Vec<(u64, u64)>, InstanceError> {
    let first = walk.at;
    let mut fragments: Vec<(u64, u64)> = Vec::new();
    while let Some((at, length)) = walk.next()? {
        fragments.push((at - 8, at + u64::from(length)));
        if fragments.len() > MAX_FRAGMENTS {
            return malformed(at, "more fragments than can be told apart");
        }
    }
    if fragments.is_empty() {
        return malformed(first, "no fragments");
    }
    if fragments.len() as u64 == u64::from(frames) {
        return Ok(fragments);
    }
    let (from, to) = (first, walk.at);
    if frames == 1 {
        return Ok(vec![(from, to)]);
    }
    let mut spans = Vec::new();
    let mut begun = None;
    for (start, end) in fragments {
        let from = *begun.get_or_insert(start);
        // EOI or EOC, perhaps padded to even length.
        let mut tail = [0; 3];
        if end - start >= 8 + 3 {
            walk.source.read_exact_at(&mut tail, end - 3)?;
        }
        if tail[1..] == [0xFF, 0xD9] || tail[..2] == [0xFF, 0xD9] {
            spans.push((from, end));
            begun = None;
        }
    }
    if spans.len() as u64 == u64::from(frames) {
        Ok(spans)
    } else {
        malformed(from, "fragments that cannot be told apart into frames")
    }
}
