//! The header scanner: reads what routing needs from a data set while it arrives.
//!
//! In: a data set's bytes in pieces of any size, in any transfer syntax. Out: a [`Header`] with the raw bytes of the
//! few wanted elements. Iterative and bounded: nesting, value length, header length and inflated bytes each have a
//! cap, and no memory is taken by what a length field claims. Elements nobody wants are skipped without being kept.
//!
//! It does not interpret Pixel Data, judge whether an object conforms to its IOD, or change a byte.

mod element;
mod facts;
mod header;
mod inflate;
mod tap;
#[cfg(test)]
mod tests;
mod walk;
mod wanted;

pub(in crate::dicom) use element::{
    Element, ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER, Syntax, UNDEFINED, has_long_header,
};
pub use header::Header;
pub(in crate::dicom) use inflate::is_zlib_header;
pub(in crate::dicom) use tap::{Kept, Survey, Surveyed};

use crate::model::Uid;
use inflate::Inflater;
use walk::Walker;

/// Nested sequences. Real objects (SR, enhanced multi-frame, RT) stay below 12.
pub const MAX_DEPTH: usize = 32;
/// A wanted value longer than this is not kept; [`Header::too_long`] names it. The longest legal one, a person name in
/// three groups of 64 characters, stays below 1 KiB in every character set.
pub const MAX_VALUE_BYTES: u64 = 4 * 1024;
/// Bytes of data set, inflated, that are walked in search of the wanted elements.
pub const MAX_HEADER_BYTES: u64 = 64 * 1024 * 1024;

/// GE's private Implicit VR Little Endian with big-endian pixels; its header is plain Implicit VR Little Endian.
const GE_IMPLICIT_BIG_PIXELS: &str = "1.2.840.113619.5.2";
const IMPLICIT_LE: &str = "1.2.840.10008.1.2";
const EXPLICIT_BE: &str = "1.2.840.10008.1.2.2";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
/// JPIP Referenced Deflate and JPIP HTJ2K Referenced Deflate (PS3.5 A.7, A.9).
const JPIP_DEFLATED: [&str; 2] = ["1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"];
/// Every transfer syntax of the standard is below this root and, where not named above, Explicit VR Little Endian.
const STANDARD_ROOT: &str = "1.2.840.10008.1.2";

/// Whether the scanner wants more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    /// Pixel Data has been reached, or the last wanted element passed. Further pushes cost nothing.
    Done,
}

/// Why a data set cannot be read. Says tags and offsets, never values.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScanError {
    #[error("sequences nested deeper than {MAX_DEPTH} at byte {offset}")]
    TooDeep { offset: u64 },
    #[error("no Pixel Data or end within the first {MAX_HEADER_BYTES} bytes of the data set")]
    TooLong,
    #[error("data set ends inside an element, at byte {offset}")]
    Truncated { offset: u64 },
    #[error("({group:04X},{element:04X}) at byte {offset}: expected {expected} (PS3.5 7)")]
    Unexpected { group: u16, element: u16, offset: u64, expected: &'static str },
    #[error("({group:04X},{element:04X}) is there twice with two different values")]
    GivenTwice { group: u16, element: u16 },
    #[error("deflated data set cannot be inflated (PS3.5 A.5)")]
    Deflate,
}

/// Takes a data set in pieces and keeps what is wanted.
#[derive(Debug)]
pub struct HeaderScanner {
    walker: Walker,
    inflater: Option<Inflater>,
    failed: Option<ScanError>,
}

impl HeaderScanner {
    /// For routing: stops at Pixel Data, or earlier when everything wanted has been passed.
    pub fn new(transfer_syntax: &Uid) -> Self {
        Self::start(transfer_syntax, false)
    }

    /// For a small object that dicom-object is to read: walks to the very end, so that depth, lengths and nesting of
    /// all of it have been checked. Whether it may go on is [`Header::is_sound`].
    pub fn whole(transfer_syntax: &Uid) -> Self {
        Self::start(transfer_syntax, true)
    }

    fn start(transfer_syntax: &Uid, whole: bool) -> Self {
        let inflater = is_deflated(transfer_syntax).then(Inflater::new);
        Self { walker: Walker::new(syntax_of(transfer_syntax), whole), inflater, failed: None }
    }

    /// Takes the next piece of the data set. After [`Progress::Done`] it returns at once.
    ///
    /// # Errors
    /// [`ScanError`], from then on the same one for every push.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Progress, ScanError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if self.walker.is_done() {
            return Ok(Progress::Done);
        }
        let taken = match &mut self.inflater {
            Some(inflater) => inflater.feed(bytes, &mut self.walker),
            None => self.walker.walk(bytes),
        };
        if let Err(failed) = taken {
            self.failed = Some(failed.clone());
            return Err(failed);
        }
        Ok(if self.walker.is_done() { Progress::Done } else { Progress::More })
    }

    /// The data set has ended, or the caller has had enough after [`Progress::Done`].
    ///
    /// # Errors
    /// [`ScanError::Truncated`] when it ended inside an element, or what an earlier push failed with.
    pub fn finish(self) -> Result<Header, ScanError> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let cut_off = self.inflater.as_ref().is_some_and(|inflater| !inflater.has_ended());
        if cut_off && !self.walker.is_done() {
            return Err(ScanError::Truncated { offset: self.walker.offset() });
        }
        self.walker.finish()
    }
}

/// How elements are written in a transfer syntax, once inflated.
fn syntax_of(transfer_syntax: &Uid) -> Syntax {
    match transfer_syntax.as_str() {
        IMPLICIT_LE | GE_IMPLICIT_BIG_PIXELS => Syntax::ImplicitLe,
        EXPLICIT_BE => Syntax::ExplicitBe,
        uid if is_standard(uid) => Syntax::ExplicitLe,
        _ => Syntax::Unknown,
    }
}

/// Whether the whole data set is one deflate stream.
pub fn is_deflated(transfer_syntax: &Uid) -> bool {
    let uid = transfer_syntax.as_str();
    uid == DEFLATED || JPIP_DEFLATED.contains(&uid)
}

fn is_standard(uid: &str) -> bool {
    uid.strip_prefix(STANDARD_ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Scans `data` in every way there is; what a fuzzer calls. The first byte chooses the transfer syntax, the second the
/// size of the pieces.
pub fn fuzz_scan(data: &[u8]) {
    const SYNTAXES: [&str; 6] =
        [IMPLICIT_LE, "1.2.840.10008.1.2.1", EXPLICIT_BE, DEFLATED, "1.2.840.10008.1.2.4.90", "1.2.3.4"];
    let [choice, piece, data @ ..] = data else { return };
    let Ok(syntax) = Uid::new(SYNTAXES[usize::from(*choice) % SYNTAXES.len()]) else { return };
    for mut scanner in [HeaderScanner::new(&syntax), HeaderScanner::whole(&syntax)] {
        for bytes in data.chunks(usize::from(*piece).max(1)) {
            if !matches!(scanner.push(bytes), Ok(Progress::More)) {
                break;
            }
        }
        if let Ok(header) = scanner.finish() {
            let _facts = header.facts(Some("ISO_IR 100"), "FUZZ");
        }
    }
}
