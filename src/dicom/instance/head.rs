//! The header of an instance: everything before Pixel Data, inflated, and where Pixel Data begins.

use super::{InstanceError, MAX_HEAD_BYTES, ReadAt, malformed, tree};
use crate::{
    dicom::scan::{Element, Survey, Syntax, UNDEFINED, has_long_header, is_deflated, is_zlib_header},
    model::Uid,
};
use flate2::{Decompress, FlushDecompress, Status};

const PIECE_BYTES: usize = 64 << 10;
/// Nothing is wanted: the survey ends behind this tag, which no element has, or at Pixel Data.
const BEFORE_PIXELS: u32 = 0x7FE0_0007;
static WANTED: [u32; 1] = [BEFORE_PIXELS];

/// Where the value of Float Pixel Data, Double Float Pixel Data or Pixel Data begins, in the inflated data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelStart {
    pub tag: u32,
    pub vr: Option<[u8; 2]>,
    pub value: u64,
    /// `None`: encapsulated.
    pub length: Option<u32>,
}

/// Holds patient data: no `Debug`.
pub struct Head {
    pub(super) bytes: Vec<u8>,
    pub(super) syntax: Syntax,
    pub pixels: Option<PixelStart>,
    /// Offsets are of the inflated data set, which is not what lies in the journal.
    pub is_deflated: bool,
    pub transfer_syntax: Uid,
}

impl Head {
    /// Reads it. Blocking.
    ///
    /// # Errors
    /// When the journal cannot be read, or the data set cannot.
    pub fn read(source: &dyn ReadAt, transfer_syntax: &Uid) -> Result<Self, InstanceError> {
        let is_deflated = is_deflated(transfer_syntax);
        let (mut survey, mut offset) = (Survey::new(transfer_syntax, &WANTED), 0);
        let mut inflater = is_deflated.then(Inflater::default);
        let mut bytes = Vec::new();
        let mut more = true;
        // One piece more than the survey needs, so that Pixel Data's own header is there as a whole.
        while offset < source.length() && more {
            let take = usize::try_from(source.length() - offset).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let mut piece = vec![0; take];
            source.read_exact_at(&mut piece, offset)?;
            offset += take as u64;
            let piece = match &mut inflater {
                Some(inflater) => inflater.inflate(&piece)?,
                None => piece,
            };
            more = survey.push(&piece)?;
            bytes.extend_from_slice(&piece);
            if bytes.len() > MAX_HEAD_BYTES + PIECE_BYTES * 16 {
                return Err(InstanceError::HeadTooLong);
            }
        }
        let found = survey.finish()?;
        let start = found.before.get(&BEFORE_PIXELS).copied().unwrap_or(bytes.len() as u64);
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
        if start > MAX_HEAD_BYTES {
            return Err(InstanceError::HeadTooLong);
        }
        if bytes.len() - start < 12 && offset < source.length() && inflater.is_none() {
            let take = usize::try_from(source.length() - offset).unwrap_or(12).min(12);
            let mut piece = vec![0; take];
            source.read_exact_at(&mut piece, offset)?;
            bytes.extend_from_slice(&piece);
        }
        let pixels = pixel_start(&bytes, start, found.syntax)?;
        bytes.truncate(start);
        bytes.shrink_to_fit();
        Ok(Self { bytes, syntax: found.syntax, pixels, is_deflated, transfer_syntax: transfer_syntax.clone() })
    }

    /// Its elements.
    ///
    /// # Errors
    /// When lengths contradict each other, or sequences are nested too deeply.
    pub fn elements(&self) -> Result<tree::Items, InstanceError> {
        tree::parse(&self.bytes, self.syntax)
    }

    /// The same, where no more elements and items are wanted than `most`.
    ///
    /// # Errors
    /// As above, and where there are more.
    pub fn elements_within(&self, most: usize) -> Result<tree::Items, InstanceError> {
        tree::parse_within(&self.bytes, self.syntax, most)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn is_big_endian(&self) -> bool {
        self.syntax == Syntax::ExplicitBe
    }
}

/// A deflated data set as a whole. `None`: it is longer than `most`. Blocking.
///
/// # Errors
/// When the journal cannot be read, or it cannot be inflated.
pub fn inflated(source: &dyn ReadAt, most: usize) -> Result<Option<Vec<u8>>, InstanceError> {
    let (mut inflater, mut offset, mut bytes) = (Inflater { most, ..Inflater::default() }, 0, Vec::new());
    while offset < source.length() {
        let take = usize::try_from(source.length() - offset).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let mut piece = vec![0; take];
        source.read_exact_at(&mut piece, offset)?;
        offset += take as u64;
        bytes.extend_from_slice(&inflater.inflate(&piece)?);
        if bytes.len() > most {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

fn pixel_start(bytes: &[u8], start: usize, syntax: Syntax) -> Result<Option<PixelStart>, InstanceError> {
    let Some(found) = bytes.get(start..).filter(|rest| rest.len() >= 8) else { return Ok(None) };
    let mut header = [0; 12];
    let known = found.len().min(12);
    header[..known].copy_from_slice(&found[..known]);
    let element = Element::read(&header, syntax);
    if !matches!(element.tag, 0x7FE0_0008..=0x7FE0_0010) {
        return Ok(None);
    }
    let size = if has_long_header(&header, syntax) { 12 } else { 8 };
    if known < size {
        return malformed(start as u64, "Pixel Data without its length");
    }
    let length = (element.length != UNDEFINED).then_some(element.length);
    Ok(Some(PixelStart { tag: element.tag, vr: element.vr, value: (start + size) as u64, length }))
}

/// PS3.5 A.5, piece by piece.
struct Inflater {
    stream: Option<Decompress>,
    made: usize,
    most: usize,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { stream: None, made: 0, most: MAX_HEAD_BYTES }
    }
}

impl Inflater {
    fn inflate(&mut self, piece: &[u8]) -> Result<Vec<u8>, InstanceError> {
        let broken = InstanceError::Malformed { at: 0, what: "deflated data that cannot be inflated (PS3.5 A.5)" };
        let zlib = matches!(piece, [first, second, ..] if is_zlib_header(*first, *second));
        let stream = self.stream.get_or_insert_with(|| Decompress::new(zlib));
        let (mut out, mut rest) = (Vec::with_capacity(PIECE_BYTES), piece);
        loop {
            if out.len() == out.capacity() {
                out.reserve(PIECE_BYTES);
            }
            let before = (stream.total_in(), out.len());
            let Ok(status) = stream.decompress_vec(rest, &mut out, FlushDecompress::None) else { return Err(broken) };
            let taken = usize::try_from(stream.total_in() - before.0).unwrap_or(rest.len()).min(rest.len());
            rest = &rest[taken..];
            // A bomb: a thousand bytes for one. Whoever wants more of it is told so.
            if self.made + out.len() > self.most + PIECE_BYTES {
                break;
            }
            let stuck = taken == 0 && out.len() == before.1;
            if status == Status::StreamEnd || (rest.is_empty() && out.len() < out.capacity()) || stuck {
                break;
            }
        }
        self.made += out.len();
        Ok(out)
    }
}
