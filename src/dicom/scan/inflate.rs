//! Deflated data sets (PS3.5 A.5), inflated piece by piece straight into the walker.
//!
//! Nothing inflated is kept, so a deflate bomb costs time only, and that ends at the walker's cap on header bytes.

use super::{ScanError, walk::Walker};
use flate2::{Decompress, FlushDecompress, Status};

const PIECE_BYTES: usize = 16 * 1024;

pub(super) struct Inflater {
    /// Made when the first two bytes are known: some senders wrap the stream in a zlib header (RFC 1950), which the
    /// standard does not (RFC 1951).
    stream: Option<Decompress>,
    first: Vec<u8>,
    piece: Box<[u8; PIECE_BYTES]>,
    ended: bool,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self { stream: None, first: Vec::with_capacity(2), piece: Box::new([0; PIECE_BYTES]), ended: false }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn feed(&mut self, mut bytes: &[u8], walker: &mut Walker) -> Result<(), ScanError> {
        if self.stream.is_none() {
            let missing = bytes.len().min(2 - self.first.len());
            let (start, rest) = bytes.split_at(missing);
            self.first.extend_from_slice(start);
            bytes = rest;
            let [first, second] = self.first[..] else { return Ok(()) };
            self.stream = Some(Decompress::new(is_zlib_header(first, second)));
            self.inflate(&[first, second], walker)?;
        }
        self.inflate(bytes, walker)
    }

    fn inflate(&mut self, mut bytes: &[u8], walker: &mut Walker) -> Result<(), ScanError> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        // After the stream's end comes at most a byte of padding to even length.
        while !self.ended && !walker.is_done() {
            let (taken, made) = (stream.total_in(), stream.total_out());
            let status = stream.decompress(bytes, &mut self.piece[..], FlushDecompress::None);
            let taken = usize::try_from(stream.total_in() - taken).map_err(|_| ScanError::Deflate)?;
            let made = usize::try_from(stream.total_out() - made).map_err(|_| ScanError::Deflate)?;
            bytes = bytes.get(taken..).ok_or(ScanError::Deflate)?;
            // What came out before a break is looked at first, so that the verdict does not depend on how the stream was cut.
            walker.walk(self.piece.get(..made).ok_or(ScanError::Deflate)?)?;
            let status = status.map_err(|_| ScanError::Deflate)?;
            self.ended = status == Status::StreamEnd;
            // Less than a full piece out: everything that could be made from this input has been made.
            if made < PIECE_BYTES && bytes.is_empty() || taken == 0 && made == 0 {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// RFC 1950 2.2. A raw deflate stream never starts so: 0x78 would be a stored block with stray bits in its padding.
pub(in crate::dicom) fn is_zlib_header(first: u8, second: u8) -> bool {
    first == 0x78 && u16::from_be_bytes([first, second]).is_multiple_of(31)
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("ended", &self.ended).finish_non_exhaustive()
    }
}
