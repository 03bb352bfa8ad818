//! A journal walked from front to back after a restart: every record that is whole, in the order it was made durable.
//!
//! In: a file that may end anywhere, in anything. Out: [`RecordMeta`] and place of each record whose header is genuine
//! and whose data set has the recorded CRC and, where the next record tells it, the recorded SHA-256. The walk ends at
//! the first place that holds none: a power cut leaves exactly one torn record, the last. If a genuine record is found
//! *behind* such a place, that place held an instance which had been acknowledged: the walk then says
//! [`SpoolError::Damaged`] and goes on behind it. Nothing is changed.

use super::{
    RecordMeta, SpoolError,
    format::{self, ALIGN, FILE_HEADER, FIRST_RECORD, Nonce, RECORD_HEADER, RecordHeader, RecordState, align_up},
};
use crate::model::{Digest, JournalId, JournalPlace};
use sha2::{Digest as _, Sha256};
use std::{fs::File, io, os::unix::fs::FileExt};

const BLOCK_BYTES: u64 = 512 << 10;

pub struct Records {
    file: File,
    journal: JournalId,
    nonce: Nonce,
    file_bytes: u64,
    /// Where the next record should start.
    at: u64,
    block: Vec<u8>,
    over: bool,
}

impl Records {
    pub(super) fn open(file: File, journal: JournalId, from: u64) -> Result<Self, SpoolError> {
        let unreadable = |error| SpoolError::Read(journal, error);
        let nonce = read_nonce(&file, journal)?;
        let file_bytes = file.metadata().map_err(unreadable)?.len();
        let at = align_up(from).max(FIRST_RECORD);
        Ok(Self { file, journal, nonce, file_bytes, at, block: Vec::new(), over: false })
    }

    /// The byte after the last record seen.
    pub fn position(&self) -> u64 {
        self.at
    }

    fn step(&mut self) -> Result<Option<(RecordMeta, JournalPlace)>, SpoolError> {
        loop {
            let Some(header) = self.header_at(self.at)? else { return self.search_behind(self.at) };
            let end = header.end().filter(|end| *end <= self.file_bytes);
            let Some(end) = end else { return self.search_behind(self.at) };
            if header.state == RecordState::Purged {
                self.at = align_up(end);
                continue;
            }
            let digest = self.whole(&header, align_up(end))?;
            let (Some(digest), Some(meta)) = (digest, header.record_meta()) else { return self.search_behind(self.at) };
            self.at = align_up(end);
            return Ok(Some((meta, self.place(&header, digest))));
        }
    }

    /// `bad` holds no whole record. Torn tail, or damage with more behind it?
    fn search_behind(&mut self, bad: u64) -> Result<Option<(RecordMeta, JournalPlace)>, SpoolError> {
        let mut at = bad;
        while let Some(next) = at.checked_add(ALIGN).filter(|next| *next < self.file_bytes) {
            at = next;
            if self.header_at(at)?.is_some() {
                self.at = at;
                return Err(SpoolError::Damaged { journal: self.journal, record: bad });
            }
        }
        self.over = true;
        Ok(None)
    }

    fn header_at(&mut self, at: u64) -> Result<Option<RecordHeader>, SpoolError> {
        if at.checked_add(RECORD_HEADER as u64).is_none_or(|end| end > self.file_bytes) {
            return Ok(None);
        }
        read_header(&self.file, &self.nonce, at).map_err(|error| SpoolError::Read(self.journal, error))
    }

    /// The digest of the data set, if it is the one that was received. `next` is where the next record would start.
    fn whole(&mut self, header: &RecordHeader, next: u64) -> Result<Option<Digest>, SpoolError> {
        let (crc, digest) = self.sums(header)?;
        let told = self.header_at(next)?.filter(|next| next.sequence == header.sequence.wrapping_add(1));
        let told = told.and_then(|next| next.previous_sha256);
        let whole = crc == header.data_crc && told.is_none_or(|told| told == digest);
        Ok(whole.then_some(digest))
    }

    fn sums(&mut self, header: &RecordHeader) -> Result<(u32, Digest), SpoolError> {
        let (mut crc, mut hasher) = (0, Sha256::new());
        let mut done = 0;
        while done < header.length {
            let length = BLOCK_BYTES.min(header.length - done);
            self.block.resize(length as usize, 0);
            let read = self.file.read_exact_at(&mut self.block, header.data() + done);
            read.map_err(|error| SpoolError::Read(self.journal, error))?;
            crc = crc32c::crc32c_append(crc, &self.block);
            hasher.update(&self.block);
            done += length;
        }
        Ok((crc, Digest(hasher.finalize().into())))
    }

    fn place(&self, header: &RecordHeader, sha256: Digest) -> JournalPlace {
        JournalPlace {
            journal: self.journal,
            record: header.offset,
            data: header.data(),
            length: header.length,
            sha256,
        }
    }
}

impl Iterator for Records {
    type Item = Result<(RecordMeta, JournalPlace), SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let step = self.step();
        // After a read error there is no knowing where the walk stands.
        self.over |= matches!(step, Err(SpoolError::Read(..)) | Ok(None));
        step.transpose()
    }
}

/// The byte behind the last record, by the headers alone.
pub(super) fn end_of(file: File, journal: JournalId) -> Result<u64, SpoolError> {
    let unreadable = |error| SpoolError::Read(journal, error);
    if file.metadata().map_err(unreadable)?.len() < FILE_HEADER as u64 {
        // Made just before the process was killed, never committed to.
        return Ok(0);
    }
    let (mut records, mut end) = (Records::open(file, journal, 0)?, 0);
    loop {
        let found = records.header_at(records.at)?.and_then(|header| header.end());
        match found.filter(|end| *end <= records.file_bytes) {
            Some(next) => {
                end = next;
                records.at = align_up(next);
            }
            None => return records.search_behind(records.at).map(|_| end),
        }
    }
}

pub(super) fn read_nonce(file: &File, journal: JournalId) -> Result<Nonce, SpoolError> {
    let mut bytes = [0; FILE_HEADER];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(SpoolError::Read(journal, error)),
        // Shorter than its header: made just before a power cut, never committed to.
        _ => format::decode_file_header(&bytes, journal).ok_or(SpoolError::NotAJournal(journal)),
    }
}

/// The genuine header at `at`, if there is one.
pub(super) fn read_header(file: &File, nonce: &Nonce, at: u64) -> io::Result<Option<RecordHeader>> {
    let mut bytes = [0; RECORD_HEADER];
    file.read_exact_at(&mut bytes, at)?;
    Ok(RecordHeader::decode(&bytes, nonce, at))
}
