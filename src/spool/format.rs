//! The bytes of a journal: file header and record header, written and read back. No I/O.
//!
//! ```text
//! file     | file header, padded to 4096 | record, padded to 4096 | record … | whatever was left behind
//! record   | header, 512                 | data set as received, `length` bytes
//!
//! file header    0 magic "NEISSEJ1"   8 version u32   12 CRC-32C of what follows u32   16 nonce [16]
//!               32 journal id [16]
//! record header  0 magic "NREC"       4 version u8    5 state u8   6 meta length u16
//!                8 nonce [16]        24 sequence u64  32 own offset u64   40 data length u64
//!               48 received i64      56 CRC-32C of the other 508 bytes u32   60 CRC-32C of the data set u32
//!               64 SHA-256 of the data set before this one, or zeros [32]
//!               96 meta: origin, calling AE, called AE, SOP class, SOP instance, transfer syntax, each one length
//!                  byte and its text
//! ```
//!
//! The SHA-256 stands one record later because it takes longer than everything else: it is finished while the disk
//! syncs. Until the next record follows, the CRC vouches for the data set, and the index for its digest.
//!
//! Integers are little endian. A peer chooses every byte of its data set but does not know the nonce, so nothing it
//! sends can be taken for a record header; the own offset keeps a header from being valid anywhere but where it was
//! written. Records start at multiples of 4096, so that no block with a durable record is ever written again, and a
//! hole can be punched for one instance without touching its neighbour.

use super::{RecordMeta, SpoolError};
use crate::model::{Digest, JournalId, Moment, PartnerId, Uid};
use uuid::Uuid;

pub(super) const ALIGN: u64 = 4096;
/// The first record's offset.
pub(super) const FIRST_RECORD: u64 = ALIGN;
pub(super) const RECORD_HEADER: usize = 512;
pub(super) const FILE_HEADER: usize = 48;

const FILE_MAGIC: &[u8; 8] = b"NEISSEJ1";
const RECORD_MAGIC: &[u8; 4] = b"NREC";
const FILE_VERSION: u32 = 1;
const RECORD_VERSION: u8 = 1;
const META_AT: usize = 96;
const CRC_AT: usize = 56;
/// An AE title has at most 16 bytes (PS3.5 6.2); room for what stands in its place where images came by HTTP.
const MAX_AE_BYTES: usize = 64;

pub(super) type Nonce = [u8; 16];

pub(super) fn align_up(offset: u64) -> u64 {
    offset.saturating_add(ALIGN - 1) / ALIGN * ALIGN
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordState {
    Present,
    /// The data set has been purged; the header keeps its length, so that the walk finds the next record.
    Purged,
}

/// A [`RecordMeta`] in its on-disk form, checked to fit.
#[derive(Clone, Debug)]
pub(super) struct EncodedMeta {
    pub(super) text: Vec<u8>,
    pub(super) received: Moment,
}

#[derive(Clone, Debug)]
pub(super) struct RecordHeader {
    pub(super) state: RecordState,
    pub(super) sequence: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) received: Moment,
    pub(super) data_crc: u32,
    /// Of the record before this one, if it was known in time.
    pub(super) previous_sha256: Option<Digest>,
    /// Empty once purged.
    pub(super) meta: Vec<u8>,
}

impl RecordHeader {
    pub(super) fn data(&self) -> u64 {
        self.offset + RECORD_HEADER as u64
    }

    /// The byte after the data set; `None` for a length no file can have.
    pub(super) fn end(&self) -> Option<u64> {
        self.data().checked_add(self.length).filter(|end| i64::try_from(*end).is_ok())
    }

    pub(super) fn encode(&self, nonce: &Nonce) -> [u8; RECORD_HEADER] {
        let mut bytes = [0; RECORD_HEADER];
        bytes[..4].copy_from_slice(RECORD_MAGIC);
        bytes[4] = RECORD_VERSION;
        bytes[5] = match self.state {
            RecordState::Present => 1,
            RecordState::Purged => 2,
        };
        // `encode_meta` keeps it below the header's end.
        let meta = &self.meta[..self.meta.len().min(RECORD_HEADER - META_AT)];
        bytes[6..8].copy_from_slice(&(meta.len() as u16).to_le_bytes());
        bytes[8..24].copy_from_slice(nonce);
        bytes[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.offset.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.length.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.received.0.to_le_bytes());
        bytes[60..64].copy_from_slice(&self.data_crc.to_le_bytes());
        if let Some(digest) = self.previous_sha256 {
            bytes[64..96].copy_from_slice(&digest.0);
        }
        bytes[META_AT..META_AT + meta.len()].copy_from_slice(meta);
        let crc = record_crc(&bytes);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` for anything but a header written at `offset` of the journal with this nonce.
    pub(super) fn decode(bytes: &[u8; RECORD_HEADER], nonce: &Nonce, offset: u64) -> Option<Self> {
        let state = match bytes[5] {
            1 => RecordState::Present,
            2 => RecordState::Purged,
            _ => return None,
        };
        let meta_length = usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
        let genuine = &bytes[..4] == RECORD_MAGIC
            && bytes[4] == RECORD_VERSION
            && bytes[8..24] == nonce[..]
            && u64_at(bytes, 32) == offset
            && bytes[CRC_AT..CRC_AT + 4] == record_crc(bytes).to_le_bytes();
        if !genuine {
            return None;
        }
        let mut previous = [0; 32];
        previous.copy_from_slice(&bytes[64..96]);
        let header = Self {
            state,
            sequence: u64_at(bytes, 24),
            offset,
            length: u64_at(bytes, 40),
            received: Moment(u64_at(bytes, 48).cast_signed()),
            data_crc: u32::from_le_bytes([bytes[60], bytes[61], bytes[62], bytes[63]]),
            previous_sha256: (previous != [0; 32]).then_some(Digest(previous)),
            meta: bytes.get(META_AT..META_AT + meta_length)?.to_vec(),
        };
        header.end().map(|_| header)
    }

    /// Who sent what, read back; `None` for a purged record or one this version cannot read.
    pub(super) fn record_meta(&self) -> Option<RecordMeta> {
        let mut rest = self.meta.as_slice();
        let mut next = || {
            let (length, tail) = rest.split_first()?;
            let (text, tail) = tail.split_at_checked(usize::from(*length))?;
            rest = tail;
            std::str::from_utf8(text).ok()
        };
        Some(RecordMeta {
            origin: PartnerId::new(next()?).ok()?,
            calling_ae: next()?.to_owned(),
            called_ae: next()?.to_owned(),
            sop_class: Uid::new(next()?).ok()?,
            sop_instance: Uid::new(next()?).ok()?,
            transfer_syntax: Uid::new(next()?).ok()?,
            received: self.received,
        })
    }
}

/// # Errors
/// [`SpoolError::MetaTooLong`] for an AE title beyond [`MAX_AE_BYTES`]; ids and UIDs are bounded by their types.
pub(super) fn encode_meta(meta: &RecordMeta) -> Result<EncodedMeta, SpoolError> {
    let mut text = Vec::with_capacity(RECORD_HEADER - META_AT);
    for (what, value, limit) in [
        ("origin", meta.origin.as_str(), 32),
        ("calling AE title", meta.calling_ae.as_str(), MAX_AE_BYTES),
        ("called AE title", meta.called_ae.as_str(), MAX_AE_BYTES),
        ("SOP Class UID", meta.sop_class.as_str(), 64),
        ("SOP Instance UID", meta.sop_instance.as_str(), 64),
        ("Transfer Syntax UID", meta.transfer_syntax.as_str(), 64),
    ] {
        let length = u8::try_from(value.len()).ok().filter(|length| usize::from(*length) <= limit);
        text.push(length.ok_or(SpoolError::MetaTooLong(what))?);
        text.extend_from_slice(value.as_bytes());
    }
    Ok(EncodedMeta { text, received: meta.received })
}

pub(super) fn encode_file_header(journal: JournalId, nonce: &Nonce) -> [u8; FILE_HEADER] {
    let mut bytes = [0; FILE_HEADER];
    bytes[..8].copy_from_slice(FILE_MAGIC);
    bytes[8..12].copy_from_slice(&FILE_VERSION.to_le_bytes());
    bytes[16..32].copy_from_slice(nonce);
    bytes[32..48].copy_from_slice(journal.0.as_bytes());
    let crc = crc32c::crc32c(&bytes[16..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The nonce of this journal's records; `None` when this is not the header of the journal of that name.
pub(super) fn decode_file_header(bytes: &[u8; FILE_HEADER], journal: JournalId) -> Option<Nonce> {
    let mut nonce = [0; 16];
    nonce.copy_from_slice(&bytes[16..32]);
    (*bytes == encode_file_header(journal, &nonce)).then_some(nonce)
}

/// 122 random bits of the operating system's generator.
pub(super) fn fresh_nonce() -> Nonce {
    Uuid::new_v4().into_bytes()
}

fn record_crc(bytes: &[u8; RECORD_HEADER]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), &bytes[CRC_AT + 4..])
}

fn u64_at(bytes: &[u8; RECORD_HEADER], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}
