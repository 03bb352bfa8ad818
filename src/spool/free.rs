//! How much disk is left, and the reserve that is never used: a full disk would stop the database as well.
//!
//! `statvfs` at most once a second; what is written in between is taken off the figure, so that it does not flatter.

use super::{Shared, SpoolError};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const FRESH_FOR: Duration = Duration::from_secs(1);

pub(super) struct FreeSpace {
    reserve_bytes: AtomicU64,
    known: Mutex<Option<Known>>,
}

#[derive(Clone, Copy)]
struct Known {
    at: Instant,
    bytes: u64,
}

impl FreeSpace {
    pub(super) fn new(reserve_bytes: u64) -> Self {
        Self { reserve_bytes: AtomicU64::new(reserve_bytes), known: Mutex::new(None) }
    }

    /// From now on another reserve holds.
    pub(super) fn set_reserve(&self, bytes: u64) {
        self.reserve_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self, shared: &Shared) -> Result<u64, SpoolError> {
        self.take(shared, 0)
    }

    /// Asks for `wanted` bytes above the reserve.
    ///
    /// # Errors
    /// [`SpoolError::BelowReserve`] when they are not there.
    pub(super) fn claim(&self, shared: &Shared, wanted: u64) -> Result<(), SpoolError> {
        let free_bytes = self.take(shared, wanted)?;
        let reserve_bytes = self.reserve_bytes.load(Ordering::Relaxed);
        if free_bytes < reserve_bytes {
            return Err(SpoolError::BelowReserve { free_bytes, reserve_bytes });
        }
        Ok(())
    }

    /// The figure after `wanted` has been taken off. `statvfs` answers from memory, so async callers may ask too.
    fn take(&self, shared: &Shared, wanted: u64) -> Result<u64, SpoolError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.filter(|known| known.at.elapsed() < FRESH_FOR);
        let mut now = match fresh {
            Some(known) => known,
            None => {
                Known { at: Instant::now(), bytes: shared.disk.free_bytes(&shared.dir).map_err(SpoolError::Directory)? }
            }
        };
        now.bytes = now.bytes.saturating_sub(wanted);
        *known = Some(now);
        Ok(now.bytes)
    }
}
