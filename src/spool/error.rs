//! What can go wrong with the spool. Texts hold sizes and journal ids only: nothing a peer has sent.

use crate::model::JournalId;
use std::io;

#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("spool directory cannot be used")]
    Directory(#[source] io::Error),
    #[error("spool directory is in use by another process")]
    Locked,
    #[error("disk below its reserve: {free_bytes} bytes free, {reserve_bytes} kept back")]
    BelowReserve { free_bytes: u64, reserve_bytes: u64 },
    #[error("{0} does not fit into a record header")]
    MetaTooLong(&'static str),
    #[error("no instance has been begun, or it has already failed")]
    NoInstance,
    #[error("journal cannot be created")]
    Create(#[source] io::Error),
    #[error("journal cannot be written")]
    Write(#[source] io::Error),
    /// The kernel may have dropped the pages it could not write and forget that it did: nothing after this error says
    /// anything about that file, so it is not written again.
    #[error("journal cannot be made durable")]
    Sync(#[source] io::Error),
    #[error("journal {0} cannot be read")]
    Read(JournalId, #[source] io::Error),
    #[error("journal {0} is not there")]
    Missing(JournalId),
    #[error("journal {0} has no readable file header")]
    NotAJournal(JournalId),
    /// More records follow, so this is no torn tail: something that had been acknowledged can no longer be read.
    #[error("journal {journal}: the record at byte {record} is damaged")]
    Damaged { journal: JournalId, record: u64 },
    #[error("journal {0} is still being written")]
    InUse(JournalId),
    #[error("journal {journal} has no such record at byte {record}")]
    NoSuchRecord { journal: JournalId, record: u64 },
    #[error("journal cannot be purged")]
    Purge(#[source] io::Error),
    #[error("the thread that wrote the journal is gone")]
    WorkerLost,
}
