//! A small data set rewritten as a whole, deflated or not (PS3.5 A.5).
//!
//! A deflated one has to be inflated to be rewritten, and its new length is known only when it has been deflated again:
//! so it is done in memory, and one that inflates to more than [`MAX_INFLATED_BYTES`] is refused. Deflate is used for
//! reports, presentation states and segmentations, which are small.

use super::{HeaderReader, Modification, RewriteError, Said};
use crate::dicom::charset::SenderCharset;
use crate::{
    dicom::scan::{is_deflated, is_zlib_header},
    model::{IssuedId, Uid},
};
use flate2::{
    Compression,
    read::{DeflateDecoder, ZlibDecoder},
    write::DeflateEncoder,
};
use std::{
    borrow::Cow,
    io::{Read, Write},
};

/// Of a deflated data set, inflated.
pub const MAX_INFLATED_BYTES: usize = 64 << 20;

/// The data set with each identifier as `becomes` says, and how many changed. See `RewritableHeader::patches`.
///
/// # Errors
/// It cannot be read for certain, or is deflated and too large.
pub fn rewrite_whole(
    transfer_syntax: &Uid,
    data_set: &[u8],
    sender: &SenderCharset,
    becomes: &dyn Fn(&Said) -> Option<IssuedId>,
    noted: Option<Modification<'_>>,
) -> Result<(Vec<u8>, u32), RewriteError> {
    let deflated = is_deflated(transfer_syntax);
    let plain = if deflated { Cow::Owned(inflate(data_set)?) } else { Cow::Borrowed(data_set) };
    let header = read(transfer_syntax, &plain)?;
    let patches = header.patches(sender, becomes, noted)?;
    if patches.is_empty() {
        return Ok((data_set.to_vec(), 0));
    }
    let rewritten = patches.apply(&plain);
    let whole = if deflated { deflate(&rewritten)? } else { rewritten };
    Ok((whole, patches.identifiers()))
}

/// The identifiers of a small data set, each once.
///
/// # Errors
/// As above.
pub fn identifiers_of(
    transfer_syntax: &Uid,
    data_set: &[u8],
    sender: &SenderCharset,
) -> Result<Vec<Said>, RewriteError> {
    let deflated = is_deflated(transfer_syntax);
    let plain = if deflated { Cow::Owned(inflate(data_set)?) } else { Cow::Borrowed(data_set) };
    read(transfer_syntax, &plain)?.identifiers(sender)
}

/// Whether all identifiers of a header stand where the rewriter looks: none out of order behind it. `plain` ends before Pixel Data.
///
/// # Errors
/// One stands elsewhere, or it cannot be read for certain.
pub fn check_order(transfer_syntax: &Uid, plain: &[u8]) -> Result<(), RewriteError> {
    read(transfer_syntax, plain).map(drop)
}

fn read(transfer_syntax: &Uid, plain: &[u8]) -> Result<super::RewritableHeader, RewriteError> {
    let mut reader = HeaderReader::new(transfer_syntax);
    reader.push(plain)?;
    let header = reader.finish()?;
    header.rest().push(plain)?;
    Ok(header)
}

fn inflate(data_set: &[u8]) -> Result<Vec<u8>, RewriteError> {
    let most = MAX_INFLATED_BYTES as u64 + 1;
    let mut plain = Vec::new();
    // Some senders wrap the stream in a zlib header, which the standard does not.
    let read = match data_set {
        [first, second, ..] if is_zlib_header(*first, *second) => {
            ZlibDecoder::new(data_set).take(most).read_to_end(&mut plain)
        }
        _ => DeflateDecoder::new(data_set).take(most).read_to_end(&mut plain),
    };
    read.map_err(|_| RewriteError::Deflated)?;
    if plain.len() > MAX_INFLATED_BYTES { Err(RewriteError::Deflated) } else { Ok(plain) }
}

/// Padded to even length with a NUL (PS3.5 A.5).
fn deflate(plain: &[u8]) -> Result<Vec<u8>, RewriteError> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).map_err(|_| RewriteError::Deflated)?;
    let mut bytes = encoder.finish().map_err(|_| RewriteError::Deflated)?;
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    Ok(bytes)
}
