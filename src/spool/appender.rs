//! A journal and the association that writes it, blocking side: blocks in, durable records out.
//!
//! In: the blocks of one instance after another. Out: where it lies, after `fdatasync`. It decides when a journal is
//! made, extended, rotated and given up; it knows nothing of tasks, and leaves the SHA-256 to `hashing`.
//!
//! Room is made ahead of the data, because an `fdatasync` that also has to make new blocks and a new length durable
//! waits for the file system's own journal: zeros behind a small instance, `fallocate` in front of a large one.

use super::{
    Shared, SpoolError,
    disk::DiskFile,
    format::{self, EncodedMeta, FIRST_RECORD, Nonce, RECORD_HEADER, RecordHeader, RecordState, align_up},
    hashing::Block,
};
use crate::model::{Digest, JournalId, JournalPlace};
use std::{fs, io, sync::Arc};

/// Behind an instance of up to this size, zeros are written ahead: it costs less than the syncs it saves.
const SMALL_INSTANCE_BYTES: u64 = 128 << 10;
const ZEROS_AHEAD_BYTES: u64 = 512 << 10;
const ALLOCATE_AHEAD_MIN_BYTES: u64 = 8 << 20;
const ALLOCATE_AHEAD_MAX_BYTES: u64 = 64 << 20;
/// What an abandoned instance has left beyond the last record is given back at once above this size.
const KEEP_LEFTOVER_BYTES: u64 = 16 << 20;
/// What is reserved behind the end of a journal that waits for its next association, at most.
const IDLE_AHEAD_BYTES: u64 = 1 << 20;
/// Journals that wait for an association. Many associations bring one instance only: making a journal for each would
/// cost twice the time, and a file.
const IDLE_JOURNALS: usize = 16;
static ZEROS: [u8; ZEROS_AHEAD_BYTES as usize] = [0; ZEROS_AHEAD_BYTES as usize];

pub(super) struct Appender {
    shared: Arc<Shared>,
    journal: Option<OpenJournal>,
    record: Option<Unfinished>,
}

/// A durable record; its place lacks the digest.
pub(super) struct Committed {
    journal: JournalId,
    record: u64,
    length: u64,
}

pub(super) struct OpenJournal {
    pub(super) id: JournalId,
    nonce: Nonce,
    file: Box<dyn DiskFile>,
    /// Where the next record starts.
    tail: u64,
    /// The byte after the last record: where the file is cut when it is closed.
    end: u64,
    sequence: u64,
    /// Of the last record, if it became known.
    last_sha256: Option<Digest>,
    /// Bytes up to here have been written before, so writing them again changes no metadata.
    written_to: u64,
    /// Blocks up to here have been reserved.
    allocated_to: u64,
    /// The file's name is durable.
    named: bool,
}

/// The instance that is arriving.
#[derive(Default)]
struct Unfinished {
    length: u64,
    crc: u32,
}

impl Committed {
    pub(super) fn place(self, sha256: Digest) -> JournalPlace {
        let data = self.record + RECORD_HEADER as u64;
        JournalPlace { journal: self.journal, record: self.record, data, length: self.length, sha256 }
    }
}

impl Appender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, journal: None, record: None }
    }

    /// Writes the next block of an instance.
    pub(super) fn append(&mut self, block: &Block, first: bool) -> Result<(), SpoolError> {
        let result = self.try_append(block, first, false);
        self.after(result)
    }

    /// Writes the last block, then the header, and makes both durable.
    pub(super) fn commit(&mut self, meta: EncodedMeta, last: &Block, first: bool) -> Result<Committed, SpoolError> {
        let result = self.try_append(last, first, true).and_then(|()| self.try_commit(meta));
        self.after(result)
    }

    /// The digest of the record that was committed last, for the next one's header.
    pub(super) fn remember(&mut self, sha256: Digest) {
        if let Some(journal) = &mut self.journal {
            journal.last_sha256 = Some(sha256);
        }
    }

    /// Bytes of an unfinished instance are in the file.
    pub(super) fn has_leftover(&self) -> bool {
        self.record.is_some()
    }

    /// Forgets the instance that was arriving; the next one overwrites it.
    pub(super) fn abandon(&mut self) {
        if self.record.take().is_some_and(|record| record.length > KEEP_LEFTOVER_BYTES) {
            self.give_back();
        }
    }

    fn try_append(&mut self, block: &Block, first: bool, last: bool) -> Result<(), SpoolError> {
        self.shared.free.claim(&self.shared, block.len() as u64)?;
        if first {
            self.start_record()?;
        }
        let (Some(journal), Some(record)) = (&mut self.journal, &mut self.record) else {
            return Err(SpoolError::NoInstance);
        };
        let mut at = journal.tail + RECORD_HEADER as u64 + record.length;
        let small = first && last && block.len() as u64 <= SMALL_INSTANCE_BYTES;
        journal.make_room(at, block.len() as u64, small)?;
        for piece in block.pieces() {
            journal.write(piece, at)?;
            at += piece.len() as u64;
            record.crc = crc32c::crc32c_append(record.crc, piece);
        }
        record.length += block.len() as u64;
        Ok(())
    }

    fn try_commit(&mut self, meta: EncodedMeta) -> Result<Committed, SpoolError> {
        let (Some(journal), Some(record)) = (&mut self.journal, self.record.take()) else {
            return Err(SpoolError::NoInstance);
        };
        let header = RecordHeader {
            state: RecordState::Present,
            sequence: journal.sequence,
            offset: journal.tail,
            length: record.length,
            received: meta.received,
            data_crc: record.crc,
            previous_sha256: journal.last_sha256.take(),
            meta: meta.text,
        };
        let end = header.end().ok_or(SpoolError::Write(io::ErrorKind::FileTooLarge.into()))?;
        journal.write(&header.encode(&journal.nonce), header.offset)?;
        if let Err(error) = journal.make_durable(&self.shared) {
            // As far as this can be undone at all: the instance will be refused, so it should not be found later.
            let _ = journal.file.write_at(&[0; RECORD_HEADER], header.offset);
            return Err(error);
        }
        journal.sequence += 1;
        journal.end = end;
        journal.tail = align_up(end);
        Ok(Committed { journal: journal.id, record: header.offset, length: header.length })
    }

    fn start_record(&mut self) -> Result<(), SpoolError> {
        self.record = None;
        let full = self.journal.as_ref().is_some_and(|open| open.tail > self.shared.limits.rotate_above_bytes);
        if full {
            self.close_journal();
        }
        if self.journal.is_none() {
            let idle = self.shared.idle().pop();
            self.journal = Some(match idle {
                Some(journal) => journal,
                None => OpenJournal::create(&self.shared)?,
            });
        }
        self.record = Some(Unfinished::default());
        Ok(())
    }

    /// An instance that failed is over. A journal that failed is over too, unless the disk was merely full.
    fn after<T>(&mut self, result: Result<T, SpoolError>) -> Result<T, SpoolError> {
        let Err(error) = result else { return result };
        let full = match &error {
            SpoolError::BelowReserve { .. } | SpoolError::NoInstance => true,
            SpoolError::Write(cause) => cause.kind() == io::ErrorKind::StorageFull,
            _ => false,
        };
        self.record = None;
        if full {
            self.give_back();
        } else {
            self.give_up(&error);
        }
        Err(error)
    }

    /// Cuts off what lies beyond the last record.
    fn give_back(&mut self) {
        if let Some(journal) = &mut self.journal
            && journal.file.set_len(journal.end).is_ok()
        {
            journal.written_to = journal.end;
            journal.allocated_to = journal.end;
        }
    }

    /// Leaves a journal that the disk has failed, with all that had been made durable in it before.
    fn give_up(&mut self, error: &SpoolError) {
        let Some(journal) = self.journal.take() else { return };
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(journal = %journal.id, %error, cause, "Journal given up; the next instance starts a new one");
        if journal.sequence == 0 {
            let _ = fs::remove_file(self.shared.path(journal.id));
        }
        self.shared.active().remove(&journal.id);
    }

    fn close_journal(&mut self) {
        self.record = None;
        if let Some(journal) = self.journal.take() {
            journal.close(&self.shared);
        }
    }

    /// Leaves the journal to the next association, if it is as it should be and has room.
    fn hand_on(&mut self) {
        let room =
            |journal: &OpenJournal| journal.sequence > 0 && journal.tail <= self.shared.limits.rotate_above_bytes;
        if std::thread::panicking() || !self.journal.as_ref().is_some_and(room) {
            return self.close_journal();
        }
        self.record = None;
        if self.journal.as_ref().is_some_and(|journal| journal.ahead() > IDLE_AHEAD_BYTES) {
            self.give_back();
        }
        let Some(journal) = self.journal.take() else { return };
        let mut idle = self.shared.idle();
        if idle.len() < IDLE_JOURNALS {
            idle.push(journal);
        } else {
            drop(idle);
            journal.close(&self.shared);
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.hand_on();
    }
}

impl OpenJournal {
    fn create(shared: &Shared) -> Result<Self, SpoolError> {
        let id = JournalId::generate();
        let nonce = format::fresh_nonce();
        // Before there is a file: one that nobody writes and nobody knows would be taken for a left over.
        shared.active().insert(id);
        let file = shared.disk.create(&shared.path(id)).map_err(|error| {
            shared.active().remove(&id);
            SpoolError::Create(error)
        })?;
        let header = format::encode_file_header(id, &nonce);
        if let Err(error) = file.write_at(&header, 0) {
            shared.active().remove(&id);
            let _ = fs::remove_file(shared.path(id));
            return Err(SpoolError::Write(error));
        }
        Ok(Self {
            id,
            nonce,
            file,
            tail: FIRST_RECORD,
            end: header.len() as u64,
            sequence: 0,
            last_sha256: None,
            written_to: header.len() as u64,
            allocated_to: 0,
            named: false,
        })
    }

    /// Cuts off what was made ahead. Not synced: a longer file than necessary is harmless.
    pub(super) fn close(self, shared: &Shared) {
        if self.sequence == 0 {
            // Nothing in it was ever acknowledged.
            let _ = fs::remove_file(shared.path(self.id));
        } else if let Err(error) = self.file.set_len(self.end) {
            tracing::warn!(journal = %self.id, %error, "Journal not cut to its length; its tail stays on disk");
        }
        shared.active().remove(&self.id);
    }

    /// How much has been written or reserved behind the last record.
    fn ahead(&self) -> u64 {
        self.written_to.max(self.allocated_to).saturating_sub(self.end)
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> Result<(), SpoolError> {
        self.file.write_at(bytes, at).map_err(SpoolError::Write)?;
        self.written_to = self.written_to.max(at + bytes.len() as u64);
        Ok(())
    }

    /// Without it the write that follows is slower, or says itself that the disk is full.
    fn make_room(&mut self, at: u64, length: u64, small: bool) -> Result<(), SpoolError> {
        let end = align_up(at + length);
        if small {
            // Not behind the first: many associations bring one instance only.
            if self.sequence > 0 && end > self.written_to {
                match self.file.write_at(&ZEROS, end) {
                    Err(error) if error.kind() != io::ErrorKind::StorageFull => return Err(SpoolError::Write(error)),
                    Err(_) => {}
                    Ok(()) => self.written_to = end + ZEROS_AHEAD_BYTES,
                }
            }
        } else if end > self.allocated_to.max(self.written_to) {
            let ahead = end.clamp(ALLOCATE_AHEAD_MIN_BYTES, ALLOCATE_AHEAD_MAX_BYTES);
            let from = self.allocated_to.max(self.written_to);
            // A file system that does not know how says so each time, which costs nothing.
            if self.file.allocate(from, end - from + ahead).is_ok() {
                self.allocated_to = end + ahead;
            }
        }
        Ok(())
    }

    fn make_durable(&mut self, shared: &Shared) -> Result<(), SpoolError> {
        self.file.sync_data().map_err(SpoolError::Sync)?;
        if !self.named {
            shared.disk.sync_dir(&shared.dir).map_err(SpoolError::Sync)?;
            self.named = true;
        }
        Ok(())
    }
}
