//! The blocks of an arriving instance, and their SHA-256 beside the writing: a digest takes about as long as the sync
//! of a fast disk, so neither waits for the other.
//!
//! In: each block once, in order. Out: the digest. One blocking thread at a time works for an instance, and only while
//! there are blocks. How many blocks there may be is the writer's business: each holds a permit until it is dropped.

use super::Shared;
use crate::model::Digest;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

pub(super) const BLOCK_BYTES: usize = 256 << 10;
/// Spare buffers kept for the next instance of any association.
const SPARE_BLOCKS: usize = 16;

/// Pieces this long are kept as they were received; shorter ones are gathered.
const KEEP_PIECE_BYTES: usize = 16 << 10;

/// A run of an instance's bytes, at most [`BLOCK_BYTES`]. Of its own it has one buffer, for all its short pieces. A long
/// piece holds on to the buffer it was received in: where long pieces follow each other on the wire they share those, but
/// a peer may send them so far apart that each of the sixteen keeps one of its own.
pub(super) struct Block {
    pieces: Vec<Piece>,
    /// No buffer at all until there is a short piece.
    gathered: Vec<u8>,
    length: usize,
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

enum Piece {
    Received(Bytes),
    /// Of the block's gathered bytes.
    Gathered(Range<usize>),
}

impl Block {
    pub(super) fn new(shared: &Arc<Shared>, permit: OwnedSemaphorePermit) -> Self {
        Self { pieces: Vec::new(), gathered: Vec::new(), length: 0, shared: shared.clone(), _permit: permit }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_full(&self) -> bool {
        self.length >= BLOCK_BYTES
    }

    /// Takes as much as there is room for; the rest stays in `data`.
    pub(super) fn take(&mut self, data: &mut Bytes) {
        let piece = data.split_to(BLOCK_BYTES.saturating_sub(self.length).min(data.len()));
        self.length += piece.len();
        if piece.len() >= KEEP_PIECE_BYTES {
            return self.pieces.push(Piece::Received(piece));
        }
        if self.gathered.capacity() == 0 {
            self.gathered = self.shared.blocks.take();
        }
        let from = self.gathered.len();
        self.gathered.extend_from_slice(&piece);
        match self.pieces.last_mut() {
            Some(Piece::Gathered(run)) => run.end = self.gathered.len(),
            _ => self.pieces.push(Piece::Gathered(from..self.gathered.len())),
        }
    }

    /// Its bytes in order, never an empty piece.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let bytes = self.pieces.iter().map(|piece| match piece {
            Piece::Received(bytes) => &bytes[..],
            Piece::Gathered(run) => &self.gathered[run.clone()],
        });
        bytes.filter(|bytes| !bytes.is_empty())
    }

    /// Of the whole block, when it is the whole instance.
    pub(super) fn sha256(&self) -> Digest {
        let mut hasher = Sha256::new();
        self.pieces().for_each(|piece| hasher.update(piece));
        Digest(hasher.finalize().into())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.gathered.capacity() > 0 {
            self.shared.blocks.give_back(std::mem::take(&mut self.gathered));
        }
    }
}

/// Buffers that go from association to association, so that an idle one holds none.
#[derive(Default)]
pub(super) struct Blocks(Mutex<Vec<Vec<u8>>>);

impl Blocks {
    fn take(&self) -> Vec<u8> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(BLOCK_BYTES))
    }

    fn give_back(&self, mut block: Vec<u8>) {
        block.clear();
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_BLOCKS {
            spare.push(block);
        }
    }
}

#[derive(Clone)]
pub(super) struct Hashing {
    queue: Arc<Mutex<Queue>>,
    /// On the caller's own thread, which has nobody else to serve.
    inline: bool,
}

#[derive(Default)]
struct Queue {
    blocks: VecDeque<Arc<Block>>,
    /// Absent while the thread has it.
    hasher: Option<Sha256>,
    wanted: Option<oneshot::Sender<Digest>>,
    working: bool,
}

impl Hashing {
    pub(super) fn new(inline: bool) -> Self {
        let queue = Queue { hasher: Some(Sha256::new()), ..Queue::default() };
        Self { queue: Arc::new(Mutex::new(queue)), inline }
    }

    pub(super) fn push(&self, block: Arc<Block>) {
        self.queue().blocks.push_back(block);
        self.work();
    }

    /// After the last block. The receiver fails if the thread panicked.
    pub(super) fn finish(self) -> oneshot::Receiver<Digest> {
        let (send, receive) = oneshot::channel();
        self.queue().wanted = Some(send);
        self.work();
        receive
    }

    fn work(&self) {
        let begun = std::mem::replace(&mut self.queue().working, true);
        if begun {
            return;
        }
        if self.inline {
            return self.drain();
        }
        let hashing = self.clone();
        tokio::task::spawn_blocking(move || hashing.drain());
    }

    fn drain(&self) {
        loop {
            let mut queue = self.queue();
            let Some(mut hasher) = queue.hasher.take() else { return };
            let Some(block) = queue.blocks.pop_front() else {
                queue.working = false;
                match queue.wanted.take() {
                    // Nobody waits any more if the instance was given up.
                    Some(wanted) => drop(wanted.send(Digest(hasher.finalize().into()))),
                    None => queue.hasher = Some(hasher),
                }
                return;
            };
            drop(queue);
            block.pieces().for_each(|piece| hasher.update(piece));
            drop(block);
            self.queue().hasher = Some(hasher);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{Spool, SpoolSettings};
    use tempfile::TempDir;
    use tokio::sync::Semaphore;

    #[test]
    fn short_pieces_between_long_ones_share_one_buffer() {
        let dir = TempDir::new().unwrap();
        let spool = Spool::open(dir.path(), SpoolSettings { reserve_bytes: 0 }).unwrap();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut block = Block::new(&spool.shared, permit);
        let mut sent = Vec::new();
        for number in 0_u8.. {
            if block.is_full() {
                break;
            }
            let long = vec![number; KEEP_PIECE_BYTES];
            for piece in [&long[..], &[!number]] {
                block.take(&mut Bytes::copy_from_slice(piece));
                sent.extend_from_slice(piece);
            }
        }
        sent.truncate(BLOCK_BYTES);
        assert_eq!(block.pieces().count(), 30, "the last long piece has to be cut, and is short");
        assert_eq!(block.pieces().collect::<Vec<_>>().concat(), sent);
        assert_eq!(block.sha256().0, <[u8; 32]>::from(Sha256::digest(&sent)));
        drop(block);
        assert_eq!(spool.shared.blocks.0.lock().unwrap().len(), 1, "buffers it had of its own");
    }
}
