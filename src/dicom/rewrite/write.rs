//! Elements, items and sequences as bytes, in each of the ways elements are written (PS3.5 7.1, 7.5).
//!
//! Sequences and items are written with their length. Text is ASCII here, and so right in every character set.

use super::RewriteError;
use crate::dicom::scan::{ITEM, Syntax};

pub(super) const TEXT_SH: &[u8; 2] = b"SH";
pub(super) const TEXT_LO: &[u8; 2] = b"LO";
pub(super) const TEXT_CS: &[u8; 2] = b"CS";
pub(super) const TEXT_DT: &[u8; 2] = b"DT";
pub(super) const TEXT_UT: &[u8; 2] = b"UT";
pub(super) const SEQUENCE: &[u8; 2] = b"SQ";

/// An element of text, padded to even length with a space (PS3.5 6.2).
pub(super) fn text(syntax: Syntax, tag: u32, vr: &[u8; 2], text: &str) -> Result<Vec<u8>, RewriteError> {
    let mut value = text.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(b' ');
    }
    element(syntax, tag, vr, &value)
}

/// An element with this value.
pub(super) fn element(syntax: Syntax, tag: u32, vr: &[u8; 2], value: &[u8]) -> Result<Vec<u8>, RewriteError> {
    let too_long = RewriteError::TooLong { tag };
    // FFFFFFFF is no length.
    let length = u32::try_from(value.len()).ok().filter(|length| *length < u32::MAX).ok_or(too_long.clone())?;
    let mut bytes = tag_bytes(syntax, tag).to_vec();
    match (syntax, vr) {
        (Syntax::ImplicitLe, _) => bytes.extend(length.to_le_bytes()),
        (_, b"SQ" | b"UT" | b"UN") => {
            bytes.extend([vr[0], vr[1], 0, 0]);
            bytes.extend(long(syntax, length));
        }
        _ => {
            let short = u16::try_from(length).map_err(|_| too_long)?;
            bytes.extend(vr);
            bytes.extend(if syntax == Syntax::ExplicitBe { short.to_be_bytes() } else { short.to_le_bytes() });
        }
    }
    bytes.extend_from_slice(value);
    Ok(bytes)
}

/// An item of a sequence; it has no VR in any syntax.
pub(super) fn item(syntax: Syntax, content: &[u8]) -> Result<Vec<u8>, RewriteError> {
    let length = u32::try_from(content.len()).ok().filter(|length| *length < u32::MAX);
    let length = length.ok_or(RewriteError::TooLong { tag: ITEM })?;
    let mut bytes = tag_bytes(syntax, ITEM).to_vec();
    bytes.extend(long(syntax, length));
    bytes.extend_from_slice(content);
    Ok(bytes)
}

fn tag_bytes(syntax: Syntax, tag: u32) -> [u8; 4] {
    let [a, b, c, d] = tag.to_be_bytes();
    if syntax == Syntax::ExplicitBe { [a, b, c, d] } else { [b, a, d, c] }
}

fn long(syntax: Syntax, length: u32) -> [u8; 4] {
    if syntax == Syntax::ExplicitBe { length.to_be_bytes() } else { length.to_le_bytes() }
}
