//! One association's end of the spool, async side: bytes in as they come, a durable place out.
//!
//! Four blocks of 256 KiB of data at most are in memory: one fills while one blocking thread writes and another hashes
//! those before. A block keeps long pieces in the buffers they were received in, which are longer than the pieces when a
//! peer wraps little data in much protocol, and gathers the short ones in one buffer. A small instance is one block and
//! one visit to a blocking thread, which hashes, writes and syncs it. Between instances nothing is held.
//!
//! Every future here may be dropped at any await: the work that has been handed over goes on, and the next call waits
//! for it first. An instance whose `commit` was dropped may be durable without anybody having been told, as after a
//! power cut between the sync and the answer.

use super::{
    RecordMeta, Shared, SpoolError,
    appender::{Appender, Committed},
    format::{self, EncodedMeta},
    hashing::{Block, Hashing},
};
use crate::model::{Digest, JournalPlace};
use bytes::Bytes;
use std::sync::Arc;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
    task::JoinHandle,
};

/// Blocks of one association in memory.
const MAX_BLOCKS: usize = 4;
/// Hashed by the thread that syncs: waking another would take longer.
const HASH_IN_PLACE_BYTES: usize = 64 << 10;

pub struct JournalWriter {
    shared: Arc<Shared>,
    hand: Hand,
    instance: Option<Arriving>,
    room: Arc<Semaphore>,
}

/// Who has the journal.
enum Hand {
    Free(Box<Appender>),
    /// A blocking thread; gives it back with what came of the work.
    Working(JoinHandle<Worked>),
    /// The work is done and nobody has asked yet what came of it.
    Done(Worked),
    /// The thread panicked. Its journal was closed when it unwound.
    Lost,
}

type Worked = (Box<Appender>, Result<Done, SpoolError>);

#[derive(Default)]
struct Done {
    committed: Option<Committed>,
    /// Known already when the instance was small.
    sha256: Option<Digest>,
}

struct Arriving {
    meta: EncodedMeta,
    block: Block,
    /// Once the first block has been handed over.
    hashing: Option<Hashing>,
}

impl JournalWriter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let appender = Box::new(Appender::new(shared.clone()));
        Self { shared, hand: Hand::Free(appender), instance: None, room: Arc::new(Semaphore::new(MAX_BLOCKS)) }
    }

    /// Starts an instance. One that was begun before and not committed is discarded.
    ///
    /// # Errors
    /// [`SpoolError::BelowReserve`] before the disk is full; [`SpoolError::MetaTooLong`].
    pub async fn begin(&mut self, meta: RecordMeta) -> Result<(), SpoolError> {
        self.discard().await;
        let meta = format::encode_meta(&meta)?;
        self.shared.free.claim(&self.shared, 0)?;
        let block = self.empty_block().await?;
        self.instance = Some(Arriving { meta, block, hashing: None });
        Ok(())
    }

    /// Adds bytes of the data set. Waits while as many blocks are under way as may be.
    ///
    /// # Errors
    /// When a block could not be written: the instance is then over, and must be refused.
    pub async fn write(&mut self, mut data: Bytes) -> Result<(), SpoolError> {
        // Out of `self` until all is taken: a `write` that is dropped half way leaves no instance to go on with.
        let mut instance = self.instance.take().ok_or(SpoolError::NoInstance)?;
        while !data.is_empty() {
            instance.block.take(&mut data);
            if instance.block.is_full() {
                self.hand_over(&mut instance).await?;
            }
        }
        self.instance = Some(instance);
        Ok(())
    }

    /// Makes the instance durable.
    ///
    /// # Errors
    /// When it is not: it must be refused. The writer can be used for the next instance all the same.
    pub async fn commit(&mut self) -> Result<JournalPlace, SpoolError> {
        let Some(Arriving { meta, block, hashing }) = self.instance.take() else { return Err(SpoolError::NoInstance) };
        self.settle().await?;
        let first = hashing.is_none();
        let in_place = first && block.len() <= HASH_IN_PLACE_BYTES;
        let block = Arc::new(block);
        let hashed = (!in_place).then(|| {
            let hashing = hashing.unwrap_or_else(|| Hashing::new(has_own_thread()));
            hashing.push(block.clone());
            hashing.finish()
        });
        self.launch(move |appender| {
            let sha256 = in_place.then(|| block.sha256());
            let committed = appender.commit(meta, &block, first)?;
            Ok(Done { committed: Some(committed), sha256 })
        });
        let done = self.settle().await?;
        let sha256 = match hashed {
            Some(hashed) => hashed.await.ok(),
            None => done.sha256,
        };
        let (Some(committed), Some(sha256)) = (done.committed, sha256) else { return Err(SpoolError::WorkerLost) };
        if let Hand::Free(appender) = &mut self.hand {
            appender.remember(sha256);
        }
        Ok(committed.place(sha256))
    }

    /// Forgets the instance that was begun, if any.
    pub async fn discard(&mut self) {
        // What the last work came to no longer matters to anybody.
        let _ = self.settle().await;
        self.instance = None;
        if matches!(&self.hand, Hand::Free(appender) if appender.has_leftover()) {
            self.launch(|appender| {
                appender.abandon();
                Ok(Done::default())
            });
            let _ = self.settle().await;
        }
    }

    /// Ends the journal. Without it, dropping the writer does the same in the background.
    pub async fn close(mut self) {
        self.discard().await;
        if let Hand::Free(appender) = std::mem::replace(&mut self.hand, Hand::Lost) {
            if has_own_thread() {
                return drop(appender);
            }
            let _ = tokio::task::spawn_blocking(move || drop(appender)).await;
        }
    }

    /// Gives the full block to a blocking thread, after the one before has come back.
    async fn hand_over(&mut self, instance: &mut Arriving) -> Result<(), SpoolError> {
        self.settle().await?;
        let next = self.empty_block().await?;
        let block = Arc::new(std::mem::replace(&mut instance.block, next));
        let first = instance.hashing.is_none();
        instance.hashing.get_or_insert_with(|| Hashing::new(has_own_thread())).push(block.clone());
        self.launch(move |appender| appender.append(&block, first).map(|()| Done::default()));
        Ok(())
    }

    /// Waits until one of the blocks under way has been both written and hashed, if there are as many as may be.
    async fn empty_block(&self) -> Result<Block, SpoolError> {
        // The semaphore is never closed.
        let permit = self.room.clone().acquire_owned().await.map_err(|_| SpoolError::WorkerLost)?;
        Ok(Block::new(&self.shared, permit))
    }

    /// Waits for the work under way. An error is about the instance it was for.
    async fn settle(&mut self) -> Result<Done, SpoolError> {
        let worked = match &mut self.hand {
            // By reference, so that a dropped future leaves the handle where the next call finds it.
            Hand::Working(work) => work.await,
            Hand::Done(_) => match std::mem::replace(&mut self.hand, Hand::Lost) {
                Hand::Done(worked) => Ok(worked),
                _ => return Err(SpoolError::WorkerLost),
            },
            Hand::Free(_) | Hand::Lost => return Ok(Done::default()),
        };
        match worked {
            Ok((appender, result)) => {
                self.hand = Hand::Free(appender);
                result
            }
            Err(_) => {
                self.hand = Hand::Lost;
                Err(SpoolError::WorkerLost)
            }
        }
    }

    /// Only when nothing is under way.
    fn launch<W>(&mut self, work: W)
    where
        W: FnOnce(&mut Appender) -> Result<Done, SpoolError> + Send + 'static,
    {
        let mut appender = match std::mem::replace(&mut self.hand, Hand::Lost) {
            Hand::Free(appender) => appender,
            Hand::Working(_) | Hand::Done(_) | Hand::Lost => Box::new(Appender::new(self.shared.clone())),
        };
        if has_own_thread() {
            let result = work(&mut appender);
            self.hand = Hand::Done((appender, result));
            return;
        }
        self.hand = Hand::Working(tokio::task::spawn_blocking(move || {
            let result = work(&mut appender);
            (appender, result)
        }));
    }
}

/// A runtime of one thread serves one association, which waits for its disk anyway: the work is done right here. Others
/// must not be made to wait, so it goes to a blocking thread.
fn has_own_thread() -> bool {
    Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread)
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        // Closing cuts the file, which is no work for an async thread. Where the hand is `Working`, the thread that
        // finishes the work drops the appender.
        if let Hand::Free(appender) = std::mem::replace(&mut self.hand, Hand::Lost)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(appender));
        }
    }
}
