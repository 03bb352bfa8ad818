//! How many associations a partner takes at a time (`associations`), shared by stat and routine; bulk has one of its own.
//!
//! A worker needs a slot before it opens an association and keeps it while the association is open, idle or not. When
//! another waits, idle ones are let go at once and busy ones after the batch they are in, so that a stat study never
//! waits for an association that merely stands open.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

pub struct Slots {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
    wanted: Notify,
}

/// One association of the partner's; free again when dropped.
pub struct Slot(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

impl Slots {
    pub fn new(associations: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(associations.max(1)));
        Arc::new(Self { free, waiting: AtomicUsize::new(0), wanted: Notify::new() })
    }

    /// Waits for a slot, in order. `None` cannot come while the partner has workers.
    pub async fn take(&self) -> Option<Slot> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(Slot(permit));
        }
        let _waiting = Waiting::begin(self);
        self.wanted.notify_waiters();
        Arc::clone(&self.free).acquire_owned().await.ok().map(Slot)
    }

    /// Somebody waits: an association that is not needed now should go.
    pub fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// Until somebody begins to wait.
    pub async fn wanted(&self) {
        let notified = self.wanted.notified();
        if !self.is_wanted() {
            notified.await;
        }
    }
}

/// Counts a waiter, also one whose waiting is given up.
struct Waiting<'a>(&'a Slots);

impl<'a> Waiting<'a> {
    fn begin(slots: &'a Slots) -> Self {
        slots.waiting.fetch_add(1, Ordering::AcqRel);
        Self(slots)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn no_more_than_the_partner_takes_and_whoever_idles_hears_of_who_waits() {
        let slots = Slots::new(1);
        let first = slots.take().await.expect("free");
        assert!(!slots.is_wanted());
        let second = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.take().await.is_some() }
        });
        tokio::time::timeout(Duration::from_secs(5), slots.wanted()).await.expect("told of the one who waits");
        assert!(slots.is_wanted() && !second.is_finished());
        drop(first);
        assert!(second.await.expect("ended"));
        assert!(!slots.is_wanted());
    }
}
