//! Bytes off the disk again: a whole journal, or one instance out of it.
//!
//! In: what retention has decided may go. It decides nothing itself, and it refuses to touch anything that is not
//! exactly the record it was told.

use super::{
    Shared, SpoolError,
    format::{ALIGN, Nonce, RecordHeader, RecordState, align_up},
    records::{read_header, read_nonce},
};
use crate::model::{JournalId, JournalPlace};
use rustix::fs::FallocateFlags;
use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, MetadataExt},
};

pub(super) fn unlink(shared: &Shared, journal: JournalId) -> Result<(), SpoolError> {
    retire(shared, journal)?;
    match fs::remove_file(shared.path(journal)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SpoolError::Purge(error)),
        _ => Ok(()),
    }
}

pub(super) fn retire(shared: &Shared, journal: JournalId) -> Result<(), SpoolError> {
    let waiting = {
        let mut idle = shared.idle();
        let at = idle.iter().position(|waiting| waiting.id == journal);
        at.map(|at| idle.swap_remove(at))
    };
    if let Some(waiting) = waiting {
        waiting.close(shared);
    }
    // After this look no writer can take it up again: each takes one that waits, or makes its own.
    if shared.active().contains(&journal) { Err(SpoolError::InUse(journal)) } else { Ok(()) }
}

/// First the headers are rewritten as purged, without who and what, and made durable; then the holes are punched. Cut
/// off in between, the bytes stay until this is asked for again.
pub(super) fn punch(shared: &Shared, journal: JournalId, places: &[JournalPlace]) -> Result<(), SpoolError> {
    let file = shared.open(journal, true)?;
    let nonce = read_nonce(&file, journal)?;
    let headers = places.iter().map(|place| genuine(&file, &nonce, journal, place)).collect::<Result<Vec<_>, _>>()?;
    for mut header in headers {
        header.state = RecordState::Purged;
        header.meta.clear();
        file.write_all_at(&header.encode(&nonce), header.offset).map_err(SpoolError::Purge)?;
    }
    file.sync_data().map_err(SpoolError::Purge)?;
    for place in places {
        // Up to the next record, whole blocks and all; the part of a block behind the header is zeroed by the kernel.
        let length = align_up(place.end()) - place.data;
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, mode, place.data, length).map_err(|error| SpoolError::Purge(error.into()))?;
    }
    Ok(())
}

/// The header of exactly this record.
pub(super) fn genuine(
    file: &File,
    nonce: &Nonce,
    journal: JournalId,
    place: &JournalPlace,
) -> Result<RecordHeader, SpoolError> {
    let found = match read_header(file, nonce, place.record) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
        found => found.map_err(|error| SpoolError::Read(journal, error))?,
    };
    let same = |header: &RecordHeader| {
        place.journal == journal && header.data() == place.data && header.length == place.length
    };
    found.filter(same).ok_or(SpoolError::NoSuchRecord { journal, record: place.record })
}

/// Blocks behind the end of the file, which a process reserves ahead and gives back when it closes the journal, stay
/// reserved when it is killed: up to 64 MiB each time. Content and length do not change.
pub(super) fn give_back_room_ahead(shared: &Shared, journal: JournalId) {
    let path = shared.path(journal);
    let Ok(found) = fs::metadata(&path) else { return };
    if found.blocks() * 512 <= align_up(found.len()) + ALIGN {
        return;
    }
    let cut = fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(found.len()));
    if let Err(error) = cut {
        tracing::warn!(%journal, %error, "Journal not cut to its length; its tail stays on disk");
    }
}
