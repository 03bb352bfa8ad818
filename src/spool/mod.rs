//! The only image bytes on disk: append-only journals. An association has one to itself while it lasts, and leaves it to
//! the next.
//!
//! In: the data set of each instance as it arrives, with who sent it. Out: a [`JournalPlace`] once the instance would
//! survive a power cut, its bytes again by positioned reads, and after a crash every record that is whole.
//!
//! Rules the files of this room keep:
//! - [`JournalWriter::commit`] returns after `fdatasync` of the journal (and, for its first instance, `fsync` of the
//!   directory). Only then may the peer be answered `0000`.
//! - A record's header, with length, CRC and the journal's secret nonce, is written last: an unfinished instance is
//!   nothing. A discarded one is overwritten by the next.
//! - A block that holds a durable record is never written again, except to purge it.
//! - After a failed `fdatasync` the journal is left alone for ever; the instance is refused and the next one starts a
//!   new journal.
//! - File names are ids of our own making. Files are readable by this user alone.
//! - One process at a time, by a lock file.
//!
//! Measured with `cargo bench --bench journal` (ext4, 2 cores that had six times as much to do, medians of 5 rounds,
//! each against a bare loop of `write` + `fdatasync` in the same round, which neither hashes nor frames):
//!
//! | | 1 writer | 4 writers |
//! |---|---|---|
//! | 36 KB, one file each with directory sync | 0.48 | 0.32 |
//! | 36 KB, spool | 2.65 | 2.14 |
//! | 526 KB, one file each with directory sync | 0.43 | 0.36 |
//! | 526 KB, spool | 1.21 | 0.65 |
//!
//! Single rounds differ by a factor of two and more. What was tried on the bare loop: zeros 0.25 to 1 MiB ahead, 1.3 to
//! 1.5 for 36 KB but 0.75 for 526 KB; `fallocate` ahead, 1.0 to 1.3 for both; `sync_file_range` early, 0.7 to 0.9;
//! files that have been written before, 1.8 to 2.2 for all, not used: they would keep purged images, or cost each byte
//! twice. SHA-256 runs at 1.7 GB/s (0.3 ms for 526 KB, hence beside the sync), CRC-32C at 24 GB/s.
//!
//! An association for each 36 KB instance: 320 to 630/s with a journal each, 590 to 830/s since an association leaves
//! its journal to the next (one association for all: 560 to 1,330/s, on a machine as busy).
//!
//! What it does not do: it parses no data set, knows no study, decides no retention, and keeps no index; the database
//! is the index, and [`Spool::records`] rebuilds its tail.

mod appender;
mod disk;
mod error;
mod format;
mod free;
mod hashing;
mod purge;
mod reader;
mod records;
#[cfg(test)]
mod tests;
mod writer;

pub use error::SpoolError;
pub use reader::{PlaceReader, RangeReader, Verified};
pub use records::Records;
pub use writer::JournalWriter;

use crate::model::{JournalId, JournalPlace, Moment, PartnerId, Uid};
use appender::OpenJournal;
use disk::{Disk, RealDisk};
use format::{RecordHeader, RecordState};
use free::FreeSpace;
use hashing::Blocks;
use std::{
    collections::HashSet,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const LOCK_FILE: &str = "spool.lock";
const JOURNAL_SUFFIX: &str = "journal";

#[derive(Clone, Copy, Debug)]
pub struct SpoolSettings {
    /// Instances are refused while the file system has less than this free.
    pub reserve_bytes: u64,
}

/// Who sent what, kept in the record itself so that the index can be rebuilt from the journals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMeta {
    pub origin: PartnerId,
    pub calling_ae: String,
    pub called_ae: String,
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub transfer_syntax: Uid,
    pub received: Moment,
}

/// For metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolStats {
    pub journals: u64,
    /// Blocks in use, so punched holes do not count.
    pub bytes_on_disk: u64,
    /// Journals that an association is writing now.
    pub open_journals: u64,
    pub free_bytes: u64,
}

/// When a journal gives way to the next.
#[derive(Clone, Copy, Debug)]
struct Limits {
    rotate_above_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rotate_above_bytes: 1 << 30 }
    }
}

#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

/// What all writers of one spool have in common.
struct Shared {
    dir: PathBuf,
    limits: Limits,
    disk: Arc<dyn Disk>,
    free: FreeSpace,
    blocks: Blocks,
    /// Journals that are open; they are neither unlinked nor cut.
    active: Mutex<HashSet<JournalId>>,
    /// Those of them that wait for their next association.
    idle: Mutex<Vec<OpenJournal>>,
    /// Locked for as long as the spool is open.
    _lock: File,
}

impl Shared {
    fn path(&self, journal: JournalId) -> PathBuf {
        self.dir.join(format!("{journal}.{JOURNAL_SUFFIX}"))
    }

    fn active(&self) -> MutexGuard<'_, HashSet<JournalId>> {
        // Each use is one call of the set's own, so a panic elsewhere cannot have left it half changed.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<OpenJournal>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, journal: JournalId, for_writing: bool) -> Result<File, SpoolError> {
        let opened = fs::OpenOptions::new().read(true).write(for_writing).open(self.path(journal));
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SpoolError::Missing(journal),
            _ => SpoolError::Read(journal, error),
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut *self.idle());
        idle.into_iter().for_each(|journal| journal.close(self));
    }
}

impl Spool {
    /// Creates `dir` if need be and locks it, and gives back what a killed process had reserved. Blocking: for start-up.
    ///
    /// # Errors
    /// When the directory cannot be made, or another process has it.
    pub fn open(dir: &Path, settings: SpoolSettings) -> Result<Spool, SpoolError> {
        Self::open_on(dir, settings, Limits::default(), Arc::new(RealDisk))
    }

    fn open_on(dir: &Path, settings: SpoolSettings, limits: Limits, disk: Arc<dyn Disk>) -> Result<Spool, SpoolError> {
        make_durable_dir(dir).map_err(SpoolError::Directory)?;
        let lock = File::create(dir.join(LOCK_FILE)).map_err(SpoolError::Directory)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => SpoolError::Locked,
            TryLockError::Error(error) => SpoolError::Directory(error),
        })?;
        let shared = Shared {
            dir: dir.to_owned(),
            limits,
            disk,
            free: FreeSpace::new(settings.reserve_bytes),
            blocks: Blocks::default(),
            active: Mutex::default(),
            idle: Mutex::default(),
            _lock: lock,
        };
        let spool = Spool { shared: Arc::new(shared) };
        for journal in spool.journals()? {
            purge::give_back_room_ahead(&spool.shared, journal);
        }
        Ok(spool)
    }

    /// A writer for one association. It takes up or makes its journal when its first instance is written.
    pub fn writer(&self) -> JournalWriter {
        JournalWriter::new(self.shared.clone())
    }

    /// # Errors
    /// When the journal is not there or cannot be opened.
    pub fn reader(&self, place: &JournalPlace) -> Result<PlaceReader, SpoolError> {
        Ok(PlaceReader::new(self.shared.open(place.journal, false)?, *place))
    }

    /// For parts of an instance. Blocking.
    ///
    /// # Errors
    /// When the journal is not there or cannot be opened, or the instance has been taken off the disk.
    pub fn ranges(&self, place: &JournalPlace) -> Result<RangeReader, SpoolError> {
        let (file, header) = self.present(place)?;
        let meta = header.record_meta();
        let meta = meta.ok_or(SpoolError::NoSuchRecord { journal: place.journal, record: place.record })?;
        Ok(RangeReader::new(file, *place, meta.origin))
    }

    /// A whole instance to be looked at, compared by the CRC of its record. Blocking.
    ///
    /// # Errors
    /// When the journal is not there or cannot be opened, or the instance has been taken off the disk.
    pub fn reader_by_crc(&self, place: &JournalPlace) -> Result<PlaceReader, SpoolError> {
        let (file, header) = self.present(place)?;
        Ok(PlaceReader::by_crc(file, *place, header.data_crc))
    }

    /// Where an instance has been punched out there are zeros, which who reads only parts of it would not notice.
    fn present(&self, place: &JournalPlace) -> Result<(File, RecordHeader), SpoolError> {
        let (journal, record) = (place.journal, place.record);
        let file = self.shared.open(journal, false)?;
        let header = purge::genuine(&file, &records::read_nonce(&file, journal)?, journal, place)?;
        if header.state != RecordState::Present {
            return Err(SpoolError::NoSuchRecord { journal, record });
        }
        Ok((file, header))
    }

    /// Every journal, oldest first. Blocking.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn journals(&self) -> Result<Vec<JournalId>, SpoolError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.shared.dir).map_err(SpoolError::Directory)? {
            let name = entry.map_err(SpoolError::Directory)?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(JOURNAL_SUFFIX)?.strip_suffix('.'));
            found.extend(stem.and_then(|stem| stem.parse::<JournalId>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The whole records of a journal from byte `from` on: 0 for all, or the end of the last known data set
    /// (`place.data + place.length`). Blocking; reads and hashes every byte.
    ///
    /// # Errors
    /// When the journal cannot be opened or has no file header.
    pub fn records(&self, journal: JournalId, from: u64) -> Result<Records, SpoolError> {
        Records::open(self.shared.open(journal, false)?, journal, from)
    }

    /// Makes durable what a process that was killed has left of a journal: it may have written a record and not synced
    /// it. Blocking.
    ///
    /// # Errors
    /// When the file system refuses. Nothing of the journal may then be taken for durable.
    pub fn make_durable(&self, journal: JournalId) -> Result<(), SpoolError> {
        let shared = &self.shared;
        shared.disk.sync_left(&shared.path(journal)).map_err(SpoolError::Sync)?;
        shared.disk.sync_dir(&shared.dir).map_err(SpoolError::Sync)
    }

    /// What the file system has left for us, at most one second old.
    ///
    /// # Errors
    /// When the file system does not tell.
    pub fn free_bytes(&self) -> Result<u64, SpoolError> {
        self.shared.free.bytes(&self.shared)
    }

    /// The reserve of a configuration that was read again.
    pub fn set_reserve(&self, bytes: u64) {
        self.shared.free.set_reserve(bytes);
    }

    /// The byte behind the last record of a journal, 0 when it holds none. Blocking; reads headers only.
    ///
    /// # Errors
    /// When the journal cannot be opened, or is damaged: then nobody knows what it holds.
    pub fn end_of(&self, journal: JournalId) -> Result<u64, SpoolError> {
        records::end_of(self.shared.open(journal, false)?, journal)
    }

    /// Closes a journal for good: no association takes it up any more. Blocking.
    ///
    /// # Errors
    /// While an association writes it.
    pub fn retire(&self, journal: JournalId) -> Result<(), SpoolError> {
        purge::retire(&self.shared, journal)
    }

    /// Removes a journal with all that is in it. Blocking.
    ///
    /// # Errors
    /// While an association writes it, or when the file system refuses. A journal that is already gone is no error.
    pub fn unlink(&self, journal: JournalId) -> Result<(), SpoolError> {
        purge::unlink(&self.shared, journal)
    }

    /// Takes these instances' bytes, all of one journal, off the disk and leaves their neighbours readable. Blocking. May
    /// be repeated.
    ///
    /// # Errors
    /// When there is no such record at one of the places (none is touched then), or the file system refuses.
    pub fn punch(&self, journal: JournalId, places: &[JournalPlace]) -> Result<(), SpoolError> {
        purge::punch(&self.shared, journal, places)
    }

    /// Blocking: looks at every file.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn stats(&self) -> Result<SpoolStats, SpoolError> {
        let mut stats = SpoolStats { free_bytes: self.free_bytes()?, ..SpoolStats::default() };
        for journal in self.journals()? {
            // Unlinked since it was listed: no longer counted.
            if let Ok(found) = fs::metadata(self.shared.path(journal)) {
                stats.journals += 1;
                stats.bytes_on_disk += found.blocks() * 512;
            }
        }
        let idle = self.shared.idle().len();
        stats.open_journals = self.shared.active().len().saturating_sub(idle) as u64;
        Ok(stats)
    }
}

/// Creates `dir` and its missing ancestors, each one's name synced: a durable file in a directory that a power cut
/// takes away is lost.
fn make_durable_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_durable_dir(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent)?.sync_all()
}
