//! An instance that is kept, taken apart for those who want less than all of it: its header, values of its header, its
//! frames; and the file that a whole one is sent as.
//!
//! In: bytes of a data set by positioned reads ([`ReadAt`], blocking). Out: places and values. Memory is the header's
//! (at most [`MAX_HEAD_BYTES`]) and the offsets of frames; pixels are never read here.
//!
//! Everything is walked with the bounds of the header scanner: a sender may have written anything.

mod frames;
mod head;
mod json;
mod part10;
mod picture;
#[cfg(test)]
mod tests;
mod tree;

pub use frames::{FrameIndex, Pixels};
pub use head::{Head, PixelStart, inflated};
pub use json::{Bulk, metadata, path_of};
pub use part10::{FileHead, PREAMBLE_BYTES, file_head};
pub use picture::Picture;
pub use tree::{Element, Items, Value};

use std::io;

/// A header with everything before Pixel Data, inflated. Real ones stay below 1 MiB, those of large multi-frame objects
/// reach 10.
pub const MAX_HEAD_BYTES: usize = 16 << 20;

/// Bytes of a data set as it is kept. Blocking.
pub trait ReadAt: Send + Sync {
    /// # Errors
    /// When they are not there, or cannot be read.
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;

    /// Bytes of all of it.
    fn length(&self) -> u64;
}

/// Why an instance cannot be taken apart.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    #[error("journal not readable")]
    Read(#[from] io::Error),
    #[error("its header is longer than {MAX_HEAD_BYTES} bytes")]
    HeadTooLong,
    /// Our own words.
    #[error("{what}, at byte {at}")]
    Malformed { at: u64, what: &'static str },
    #[error("a frame of more fragments than are wanted")]
    TooManyPieces,
    #[error(transparent)]
    Scan(#[from] super::scan::ScanError),
}

fn malformed<T>(at: u64, what: &'static str) -> Result<T, InstanceError> {
    Err(InstanceError::Malformed { at, what })
}
