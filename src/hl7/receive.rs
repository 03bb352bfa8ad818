//! Memory for messages on their way in: bounded for each connection and for all together.
//!
//! In: how much a connection has received of a message. Out: room for more, after a wait if too many large messages are
//! under way at once. Up to 64 KiB a connection takes without asking; up to 2 MiB from one pool, beyond that from
//! a second one, always in this order, so that no two connections can wait for each other.
//!
//! Does not read: the listener does. All together use at most 4 times the largest message, and 64 KiB a connection.

use bytes::BytesMut;
use std::sync::Arc;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

const FIRST_BYTES: usize = 8 * 1024;
const SMALL_BYTES: usize = 64 * 1024;
const MEDIUM_BYTES: usize = 2 * 1024 * 1024;

/// Messages of the largest size that may be under way at once; one more of their size is shared by medium ones.
const LARGE_AT_ONCE: usize = 3;

/// What all connections share.
#[derive(Clone)]
pub(super) struct Budget {
    medium: Arc<Semaphore>,
    large: Arc<Semaphore>,
    /// Message and frame.
    max_bytes: usize,
}

impl Budget {
    pub(super) fn new(max_bytes: usize) -> Self {
        let medium = (max_bytes / MEDIUM_BYTES).max(1);
        Self { medium: Arc::new(Semaphore::new(medium)), large: Arc::new(Semaphore::new(LARGE_AT_ONCE)), max_bytes }
    }
}

/// The bytes of one connection that are not yet a message.
pub(super) struct ReceiveBuffer {
    pub(super) bytes: BytesMut,
    budget: Budget,
    limit: usize,
    medium: Option<OwnedSemaphorePermit>,
    large: Option<OwnedSemaphorePermit>,
}

impl ReceiveBuffer {
    pub(super) fn new(budget: Budget) -> Self {
        Self { bytes: BytesMut::new(), budget, limit: 0, medium: None, large: None }
    }

    /// Makes sure that at least one byte can be read without the buffer growing by itself. May wait for others.
    pub(super) async fn make_room(&mut self) -> Result<(), AcquireError> {
        if self.bytes.len() < self.bytes.capacity() {
            return Ok(());
        }
        if self.bytes.len() >= self.limit {
            self.raise_limit().await?;
        }
        // A new allocation of exactly this size: growing in place would double it.
        let mut larger = BytesMut::with_capacity(self.limit.max(self.bytes.len() + 1));
        larger.extend_from_slice(&self.bytes);
        self.bytes = larger;
        Ok(())
    }

    async fn raise_limit(&mut self) -> Result<(), AcquireError> {
        let max = self.budget.max_bytes;
        let next = [FIRST_BYTES, SMALL_BYTES, MEDIUM_BYTES].into_iter().find(|step| *step > self.limit && *step < max);
        let next = next.unwrap_or(max);
        if next > SMALL_BYTES && self.medium.is_none() && self.large.is_none() {
            self.medium = Some(self.budget.medium.clone().acquire_owned().await?);
        }
        if next > MEDIUM_BYTES && self.large.is_none() {
            self.large = Some(self.budget.large.clone().acquire_owned().await?);
            self.medium = None;
        }
        self.limit = next;
        Ok(())
    }

    /// A message has been answered: gives back what it needed, keeping only what has been received after it.
    pub(super) fn settle(&mut self) {
        if self.bytes.len() > SMALL_BYTES {
            return;
        }
        self.bytes = BytesMut::from(&self.bytes[..]);
        self.limit = if self.bytes.is_empty() { 0 } else { SMALL_BYTES.min(self.budget.max_bytes) };
        (self.medium, self.large) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn fill(buffer: &mut ReceiveBuffer, bytes: usize) {
        while buffer.bytes.len() < bytes {
            buffer.make_room().await.expect("room");
            let room = buffer.bytes.capacity().min(bytes);
            buffer.bytes.resize(room, b'x');
        }
    }

    #[tokio::test]
    async fn no_more_large_messages_at_once_than_the_budget_holds() {
        let max = 4 * MEDIUM_BYTES;
        let budget = Budget::new(max);
        let mut first: Vec<ReceiveBuffer> = (0..LARGE_AT_ONCE).map(|_| ReceiveBuffer::new(budget.clone())).collect();
        for buffer in &mut first {
            fill(buffer, MEDIUM_BYTES + 1).await;
            assert!(buffer.bytes.capacity() <= max);
        }
        let mut next = ReceiveBuffer::new(budget.clone());
        let waited = tokio::time::timeout(Duration::from_millis(20), fill(&mut next, MEDIUM_BYTES + 1)).await;
        assert!(waited.is_err(), "a fourth large message has to wait");
        let mut small = ReceiveBuffer::new(budget);
        fill(&mut small, SMALL_BYTES).await;
        first[0].bytes.clear();
        first[0].settle();
        fill(&mut next, MEDIUM_BYTES + 1).await;
    }

    #[tokio::test]
    async fn what_came_after_a_message_is_kept() {
        let mut buffer = ReceiveBuffer::new(Budget::new(10 * MEDIUM_BYTES));
        fill(&mut buffer, SMALL_BYTES + 1).await;
        let message = buffer.bytes.split_to(SMALL_BYTES - 9);
        drop(message);
        buffer.settle();
        assert_eq!(&buffer.bytes[..], b"xxxxxxxxxx");
        assert!(buffer.medium.is_none());
    }
}
