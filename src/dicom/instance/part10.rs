//! The file that a data set is sent as over HTTP (PS3.10 7.1): written before it, and read off what comes in.

use super::{InstanceError, malformed};
use crate::dicom::acceptor::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};
use crate::model::Uid;

pub const PREAMBLE_BYTES: usize = 132;
/// A file meta group of real files stays below 1 KiB.
const MAX_META_BYTES: usize = 64 << 10;

/// Preamble and File Meta Information for a data set.
pub fn file_head(sop_class: &Uid, sop_instance: &Uid, transfer_syntax: &Uid) -> Vec<u8> {
    let mut meta = Vec::with_capacity(256);
    // File Meta Information Version, OB.
    meta.extend([0x02, 0x00, 0x01, 0x00, b'O', b'B', 0, 0, 2, 0, 0, 0, 0, 1]);
    put(&mut meta, 0x0002, b"UI", sop_class.as_str(), 0);
    put(&mut meta, 0x0003, b"UI", sop_instance.as_str(), 0);
    put(&mut meta, 0x0010, b"UI", transfer_syntax.as_str(), 0);
    put(&mut meta, 0x0012, b"UI", IMPLEMENTATION_CLASS_UID, 0);
    put(&mut meta, 0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b' ');
    let mut head = vec![0; 128];
    head.extend(b"DICM");
    head.extend([0x02, 0x00, 0x00, 0x00, b'U', b'L', 4, 0]);
    head.extend(u32::try_from(meta.len()).unwrap_or(u32::MAX).to_le_bytes());
    head.extend(meta);
    head
}

/// Of group 0002, all of whose values here are shorter than 64 KiB.
fn put(meta: &mut Vec<u8>, element: u16, vr: &[u8; 2], value: &str, padding: u8) {
    meta.extend([0x02, 0x00]);
    meta.extend(element.to_le_bytes());
    meta.extend(vr);
    let odd = value.len() % 2;
    meta.extend(u16::try_from(value.len() + odd).unwrap_or(0).to_le_bytes());
    meta.extend(value.as_bytes());
    meta.extend(std::iter::repeat_n(padding, odd));
}

/// What the file meta group of an incoming file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHead {
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub transfer_syntax: Uid,
    /// Bytes before the data set.
    pub length: usize,
}

impl FileHead {
    /// Reads what has come of a file. `None`: not enough has come yet.
    ///
    /// # Errors
    /// When it is no DICOM file, or its group 0002 is not what it must be.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, InstanceError> {
        let Some(rest) = bytes.get(PREAMBLE_BYTES..) else { return Ok(None) };
        if bytes[128..PREAMBLE_BYTES] != *b"DICM" {
            return malformed(128, "no DICOM file: DICM is not there (PS3.10 7.1)");
        }
        let (mut at, mut found) = (0, [None, None, None]);
        loop {
            let Some(header) = rest.get(at..at + 8) else { return incomplete(rest.len()) };
            if header[..2] != [0x02, 0x00] {
                break;
            }
            let element = u16::from_le_bytes([header[2], header[3]]);
            let long = matches!(&header[4..6], b"OB" | b"UN" | b"OW" | b"UT" | b"UR" | b"UC");
            let (size, length) = if long {
                let Some(length) = rest.get(at + 8..at + 12) else { return incomplete(rest.len()) };
                (12, u32::from_le_bytes([length[0], length[1], length[2], length[3]]))
            } else {
                (8, u32::from(u16::from_le_bytes([header[6], header[7]])))
            };
            let from = at + size;
            let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            if to > MAX_META_BYTES {
                return malformed((PREAMBLE_BYTES + at) as u64, "a file meta group that is too long");
            }
            let Some(value) = rest.get(from..to) else { return incomplete(rest.len()) };
            let slot = match element {
                0x0002 => Some(0),
                0x0003 => Some(1),
                0x0010 => Some(2),
                _ => None,
            };
            if let Some(slot) = slot {
                found[slot] = std::str::from_utf8(value).ok().and_then(|text| Uid::new(text).ok());
            }
            at = to;
        }
        match found {
            [Some(sop_class), Some(sop_instance), Some(transfer_syntax)] => {
                Ok(Some(Self { sop_class, sop_instance, transfer_syntax, length: PREAMBLE_BYTES + at }))
            }
            _ => malformed(PREAMBLE_BYTES as u64, "no SOP class, SOP instance or transfer syntax in group 0002"),
        }
    }

    /// No file needs more than this to be read so.
    pub const MAX_BYTES: usize = PREAMBLE_BYTES + MAX_META_BYTES + 16;
}

fn incomplete(have: usize) -> Result<Option<FileHead>, InstanceError> {
    if have > MAX_META_BYTES + 16 { malformed(0, "a file meta group that does not end") } else { Ok(None) }
}
