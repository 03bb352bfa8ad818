//! Bytes off the disk again: a whole journal, or one instance out of it.
//!
//! In: what retention has decided may go. It decides nothing itself, and it refuses to touch anything that is not
//! exactly the record it was told.

use super::{
    Shared, SpoolError,
    format::{RecordState, align_up},
    records::{read_header, read_nonce},
};
use crate::model::{JournalId, JournalPlace};
use rustix::fs::FallocateFlags;
use std::{fs, io, os::unix::fs::FileExt};

pub(super) fn unlink(shared: &Shared, journal: JournalId) -> Result<(), SpoolError> {
    // No writer can take it up again after this look: each makes a journal of its own.
    if shared.active().contains(&journal) {
        return Err(SpoolError::InUse(journal));
    }
    match fs::remove_file(shared.path(journal)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SpoolError::Purge(error)),
        _ => Ok(()),
    }
}

/// First the header is rewritten as purged, without who and what, and made durable; then the hole is punched. Cut off
/// in between, the bytes stay until this is asked for again.
pub(super) fn punch(shared: &Shared, place: &JournalPlace) -> Result<(), SpoolError> {
    let file = shared.open(place.journal, true)?;
    let nonce = read_nonce(&file, place.journal)?;
    let no_such_record = SpoolError::NoSuchRecord { journal: place.journal, record: place.record };
    let found = match read_header(&file, &nonce, place.record) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
        found => found.map_err(|error| SpoolError::Read(place.journal, error))?,
    };
    let Some(mut header) = found else { return Err(no_such_record) };
    if header.data() != place.data || header.length != place.length {
        return Err(no_such_record);
    }
    header.state = RecordState::Purged;
    header.meta.clear();
    file.write_all_at(&header.encode(&nonce), place.record).map_err(SpoolError::Purge)?;
    file.sync_data().map_err(SpoolError::Purge)?;
    // Up to the next record, whole blocks and all; the part of a block behind the header is zeroed by the kernel.
    let length = align_up(place.data + place.length) - place.data;
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, mode, place.data, length).map_err(|error| SpoolError::Purge(error.into()))
}
