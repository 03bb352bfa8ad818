//! One association's end of the spool, async side: bytes in as they come, a durable place out.
//!
//! Two blocks at most are in memory: one fills while a blocking thread writes and hashes the other. A small instance is
//! one block and one visit to a blocking thread, which writes, hashes and syncs it. Between instances nothing is held.
//!
//! Every future here may be dropped at any await: the work that has been handed over goes on, and the next call waits
//! for it first. An instance whose `commit` was dropped may be durable without anybody having been told, as after a
//! power cut between the sync and the answer.

use super::{
    RecordMeta, Shared, SpoolError,
    appender::Appender,
    format::{self, EncodedMeta, RECORD_HEADER},
};
use crate::model::JournalPlace;
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;

pub(super) const BLOCK_BYTES: usize = 256 << 10;
/// Spare buffers kept for the next instance of any association.
const SPARE_BLOCKS: usize = 16;

pub struct JournalWriter {
    shared: Arc<Shared>,
    hand: Hand,
    instance: Option<Arriving>,
}

/// Who has the journal.
enum Hand {
    Free(Box<Appender>),
    /// A blocking thread; gives it back with what came of the work.
    Working(JoinHandle<(Box<Appender>, Result<Option<JournalPlace>, SpoolError>)>),
    /// The thread panicked. Its journal was closed when it unwound.
    Lost,
}

struct Arriving {
    meta: EncodedMeta,
    block: Vec<u8>,
    /// `block` is the instance's first, with room for the record header in front.
    first: bool,
}

impl JournalWriter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let appender = Box::new(Appender::new(shared.clone()));
        Self { shared, hand: Hand::Free(appender), instance: None }
    }

    /// Starts an instance. One that was begun before and not committed is discarded.
    ///
    /// # Errors
    /// [`SpoolError::BelowReserve`] before the disk is full; [`SpoolError::MetaTooLong`].
    pub async fn begin(&mut self, meta: RecordMeta) -> Result<(), SpoolError> {
        self.discard().await;
        let meta = format::encode_meta(&meta)?;
        self.shared.free.claim(&self.shared, 0)?;
        let mut block = self.shared.blocks.take();
        block.resize(RECORD_HEADER, 0);
        self.instance = Some(Arriving { meta, block, first: true });
        Ok(())
    }

    /// Adds bytes of the data set. Waits while two blocks are under way.
    ///
    /// # Errors
    /// When a block could not be written: the instance is then over, and must be refused.
    pub async fn write(&mut self, mut data: Bytes) -> Result<(), SpoolError> {
        while !data.is_empty() {
            let Some(instance) = &mut self.instance else { return Err(SpoolError::NoInstance) };
            let room = BLOCK_BYTES.saturating_sub(instance.block.len()).min(data.len());
            instance.block.extend_from_slice(&data.split_to(room));
            if instance.block.len() >= BLOCK_BYTES {
                self.hand_over().await?;
            }
        }
        if self.instance.is_some() { Ok(()) } else { Err(SpoolError::NoInstance) }
    }

    /// Makes the instance durable.
    ///
    /// # Errors
    /// When it is not: it must be refused. The writer can be used for the next instance all the same.
    pub async fn commit(&mut self) -> Result<JournalPlace, SpoolError> {
        self.settle_instance().await?;
        let Some(Arriving { meta, mut block, first }) = self.instance.take() else {
            return Err(SpoolError::NoInstance);
        };
        self.launch(move |shared, appender| {
            let result = appender.commit(meta, &mut block, first);
            shared.blocks.give_back(block);
            result.map(Some)
        });
        self.settle().await?.ok_or(SpoolError::WorkerLost)
    }

    /// Forgets the instance that was begun, if any.
    pub async fn discard(&mut self) {
        // What the last work came to no longer matters to anybody.
        let _ = self.settle().await;
        if let Some(instance) = self.instance.take() {
            self.shared.blocks.give_back(instance.block);
        }
        if matches!(&self.hand, Hand::Free(appender) if appender.has_leftover()) {
            self.launch(|_, appender| {
                appender.abandon();
                Ok(None)
            });
            let _ = self.settle().await;
        }
    }

    /// Ends the journal. Without it, dropping the writer does the same in the background.
    pub async fn close(mut self) {
        self.discard().await;
        if let Hand::Free(appender) = std::mem::replace(&mut self.hand, Hand::Lost) {
            let _ = tokio::task::spawn_blocking(move || drop(appender)).await;
        }
    }

    /// Gives the full block to a blocking thread, after the one before has come back.
    async fn hand_over(&mut self) -> Result<(), SpoolError> {
        self.settle_instance().await?;
        let Some(instance) = &mut self.instance else { return Err(SpoolError::NoInstance) };
        let block = std::mem::replace(&mut instance.block, self.shared.blocks.take());
        let first = std::mem::replace(&mut instance.first, false);
        self.launch(move |shared, appender| {
            let result = appender.append(&block, first);
            shared.blocks.give_back(block);
            result.map(|()| None)
        });
        Ok(())
    }

    /// Waits for the work under way; if it failed, the instance has failed.
    async fn settle_instance(&mut self) -> Result<(), SpoolError> {
        let settled = self.settle().await;
        if settled.is_err()
            && let Some(instance) = self.instance.take()
        {
            self.shared.blocks.give_back(instance.block);
        }
        settled.map(|_| ())
    }

    async fn settle(&mut self) -> Result<Option<JournalPlace>, SpoolError> {
        let Hand::Working(work) = &mut self.hand else { return Ok(None) };
        // By reference, so that a dropped future leaves the handle where the next call finds it.
        match work.await {
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
        W: FnOnce(&Shared, &mut Appender) -> Result<Option<JournalPlace>, SpoolError> + Send + 'static,
    {
        let mut appender = match std::mem::replace(&mut self.hand, Hand::Lost) {
            Hand::Free(appender) => appender,
            Hand::Working(_) | Hand::Lost => Box::new(Appender::new(self.shared.clone())),
        };
        let shared = self.shared.clone();
        self.hand = Hand::Working(tokio::task::spawn_blocking(move || {
            let result = work(&shared, &mut appender);
            (appender, result)
        }));
    }
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
