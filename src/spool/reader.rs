//! One instance read back, to be delivered or served: positioned reads of whole blocks off the async threads, one block
//! ahead of the caller, hashed on the way.
//!
//! The last block is handed out only when the SHA-256 of all of them is the one that was recorded: a delivery of
//! damaged bytes cannot be completed by accident. A purged instance fails the same way. What is only looked at, and can be
//! asked for again, is compared by the CRC-32C of its record instead, which takes a tenth of the time.

use crate::model::{Digest, JournalPlace, PartnerId};
use bytes::{Buf, Bytes, BytesMut};
use rustix::{buffer::spare_capacity, io::Errno};
use sha2::{Digest as _, Sha256};
use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};
use tokio::task::JoinHandle;

const BLOCK_BYTES: u64 = 256 << 10;
/// A last block may be longer by this: what little would be left costs another thread as much as a whole block.
const LAST_BYTES: u64 = 64 << 10;

/// What is known of the bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Not read to the end.
    NotYet,
    Matches,
    /// They are not the bytes that were received.
    Differs,
}

pub struct PlaceReader {
    file: Arc<File>,
    place: JournalPlace,
    /// Of the data set, how much has been read or is being read.
    asked: u64,
    ready: Bytes,
    ahead: Option<JoinHandle<io::Result<ReadBlock>>>,
    /// Absent while a thread has it.
    check: Option<Check>,
    /// What its record says, if the check goes by it.
    crc: u32,
    verified: Verified,
}

/// What has been read so far is compared by.
enum Check {
    Digest(Box<Sha256>),
    Crc(u32),
}

impl Check {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Digest(hasher) => hasher.update(bytes),
            Self::Crc(crc) => *crc = crc32c::crc32c_append(*crc, bytes),
        }
    }
}

/// Parts of one instance, by positioned reads on the calling thread: frames, bulk data, the header. What is read so is not
/// compared with the digest, which is of the whole.
pub struct RangeReader {
    file: File,
    place: JournalPlace,
    origin: PartnerId,
}

impl RangeReader {
    pub(super) fn new(file: File, place: JournalPlace, origin: PartnerId) -> Self {
        Self { file, place, origin }
    }

    /// Who sent it.
    pub fn origin(&self) -> &PartnerId {
        &self.origin
    }

    /// Bytes of the data set.
    pub fn length(&self) -> u64 {
        self.place.length
    }

    /// Fills `into` with what stands from byte `offset` of the data set on. Blocking.
    ///
    /// # Errors
    /// When that reaches past the data set's end, or the journal cannot be read.
    pub fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(into.len() as u64).filter(|end| *end <= self.place.length);
        let at = end.and_then(|_| self.place.data.checked_add(offset)).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.file.read_exact_at(into, at)
    }
}

struct ReadBlock {
    bytes: Bytes,
    check: Check,
}

impl PlaceReader {
    pub(super) fn new(file: File, place: JournalPlace) -> Self {
        Self::checked(file, place, Check::Digest(Box::default()), 0)
    }

    /// `crc`: of the data set, as its record has it.
    pub(super) fn by_crc(file: File, place: JournalPlace, crc: u32) -> Self {
        Self::checked(file, place, Check::Crc(0), crc)
    }

    fn checked(file: File, place: JournalPlace, check: Check, crc: u32) -> Self {
        Self {
            file: Arc::new(file),
            place,
            asked: 0,
            ready: Bytes::new(),
            ahead: None,
            check: Some(check),
            crc,
            verified: Verified::NotYet,
        }
    }

    /// Appends up to `at_most` bytes to `into` and says how many; 0 only at the end of the data set.
    ///
    /// # Errors
    /// When the journal cannot be read, is shorter than it was ([`io::ErrorKind::UnexpectedEof`]), or holds other bytes
    /// than were received ([`io::ErrorKind::InvalidData`]). All of it is then in doubt, not only what was to come.
    pub async fn read(&mut self, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
        if at_most == 0 || (self.ready.is_empty() && !self.next_block().await?) {
            return Ok(0);
        }
        let taken = at_most.min(self.ready.len());
        into.extend_from_slice(&self.ready[..taken]);
        self.ready.advance(taken);
        Ok(taken)
    }

    /// The next block as it was read, without copying it; `None` only at the end of the data set. Fails as
    /// [`PlaceReader::read`] does.
    ///
    /// # Errors
    /// When the journal cannot be read, or holds other bytes than were received.
    pub async fn block(&mut self) -> io::Result<Option<Bytes>> {
        if self.ready.is_empty() && !self.next_block().await? {
            return Ok(None);
        }
        if self.ahead.is_none() {
            self.read_ahead()?;
        }
        Ok(Some(std::mem::take(&mut self.ready)))
    }

    /// Reads the first block on the calling thread, so that it is at hand when it is asked for. Blocking.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn begin(&mut self) -> io::Result<()> {
        if self.asked > 0 {
            return Ok(());
        }
        if let Some(work) = self.next_work()? {
            let block = work.read()?;
            self.took(block)?;
        }
        Ok(())
    }

    /// Everything has been read, and what is left to be handed out is at hand.
    pub fn is_read(&self) -> bool {
        self.asked == self.place.length && self.ahead.is_none()
    }

    /// Whether the bytes were those that had been received; known once all have been read.
    pub fn verified(&self) -> Verified {
        self.verified
    }

    /// Bytes of the data set.
    pub fn length(&self) -> u64 {
        self.place.length
    }

    /// False at the end.
    async fn next_block(&mut self) -> io::Result<bool> {
        if self.verified == Verified::Differs {
            return Err(differs());
        }
        if self.ahead.is_none() {
            self.read_ahead()?;
        }
        let Some(work) = &mut self.ahead else {
            // An empty data set has no last block to check it with.
            return self.check_end().map(|()| false);
        };
        let read = work.await;
        self.ahead = None;
        self.took(read.map_err(io::Error::other)??)?;
        self.read_ahead()?;
        Ok(true)
    }

    fn took(&mut self, block: ReadBlock) -> io::Result<()> {
        self.check = Some(block.check);
        if self.asked == self.place.length {
            self.check_end()?;
        }
        self.ready = block.bytes;
        Ok(())
    }

    fn check_end(&mut self) -> io::Result<()> {
        if self.verified == Verified::NotYet
            && let Some(check) = &self.check
        {
            let matches = match check {
                Check::Digest(hasher) => Digest(hasher.clone().finalize().into()) == self.place.sha256,
                Check::Crc(found) => *found == self.crc,
            };
            self.verified = if matches { Verified::Matches } else { Verified::Differs };
        }
        if self.verified == Verified::Matches { Ok(()) } else { Err(differs()) }
    }

    /// Starts the next block, unless there is none.
    fn read_ahead(&mut self) -> io::Result<()> {
        if let Some(work) = self.next_work()? {
            self.ahead = Some(tokio::task::spawn_blocking(move || work.read()));
        }
        Ok(())
    }

    fn next_work(&mut self) -> io::Result<Option<Work>> {
        let left = self.place.length - self.asked;
        let length = if left <= BLOCK_BYTES + LAST_BYTES { left } else { BLOCK_BYTES };
        if length == 0 {
            return Ok(None);
        }
        // Lost with a read that failed: there is no going on after that.
        let check = self.check.take().ok_or_else(differs)?;
        let at = self.place.data.checked_add(self.asked).ok_or(io::ErrorKind::InvalidInput)?;
        self.asked += length;
        Ok(Some(Work { file: self.file.clone(), at, length, check }))
    }
}

/// A block to be read and hashed.
struct Work {
    file: Arc<File>,
    at: u64,
    length: u64,
    check: Check,
}

impl Work {
    fn read(mut self) -> io::Result<ReadBlock> {
        let bytes = read_at(&self.file, self.at, self.length as usize)?;
        self.check.update(&bytes);
        Ok(ReadBlock { bytes: bytes.into(), check: self.check })
    }
}

/// Into memory that nobody has to fill with zeros before: filling takes a quarter of the time of reading.
fn read_at(file: &File, at: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let from = at + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut bytes), from) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // There may be more room than was asked for.
    bytes.truncate(length);
    Ok(bytes)
}

fn differs() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the journal does not hold the bytes that were received")
}
