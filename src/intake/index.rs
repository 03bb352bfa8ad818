//! Reads durable instances into the database: one transaction for a batch, never one for an instance.
//!
//! In: a bounded channel fed by `c_store` and `recovery`. Out: rows, and a ring of the bells. The first instance of a
//! quiet moment goes at once, so that the reader has it within milliseconds; while more keep coming, a batch gathers
//! for [`GATHER`]. The database may be away for an hour: the batch is tried again, the channel fills, and what does
//! not fit is left to the journal ([`Backlog`]), which is re-read when the database is back. Nothing waits on it. One
//! study that the database does not take keeps no other waiting: it stays in its journal, which is read again. How far it has
//! come, [`CaughtUp`] says to whoever would call something unknown.

use super::{
    matching::{self, Bells},
    recovery::{RecoveryError, Tail},
};
use crate::{
    config::{Config, Live},
    model::{Aside, CaughtUp, Clock, JournalId, Moment, PartnerId, ReceivedInstance, Uid, chain},
    spool::Spool,
    store::{Durability, Store, StoreError, Tx},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long a batch gathers while instances keep coming.
const GATHER: Duration = Duration::from_millis(40);
/// Instances in one transaction, at most.
const BATCH: usize = 512;
/// Instances that wait in memory for the index, about 1 KiB each.
const WAITING: usize = 4096;
/// How often journals that overran the channel are looked at again.
const BACKLOG_EVERY: Duration = Duration::from_secs(2);

/// The way in for `c_store`: never waits for the database.
#[derive(Clone)]
pub struct IndexQueue {
    sender: mpsc::Sender<ReceivedInstance>,
    pub(super) backlog: Backlog,
    pub caught_up: CaughtUp,
    is_recovered: Arc<AtomicBool>,
}

/// Journals whose newest records are on disk but not in the channel, each with the byte behind the newest.
#[derive(Clone, Default)]
pub struct Backlog(Arc<Mutex<HashMap<JournalId, u64>>>);

impl Backlog {
    fn journals(&self) -> MutexGuard<'_, HashMap<JournalId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<JournalId> {
        self.journals().keys().copied().collect()
    }

    /// The journal has been indexed to here. If that is all of it, what follows goes into the channel again.
    fn caught_up(&self, journal: JournalId, indexed_to: u64) {
        let mut journals = self.journals();
        if journals.get(&journal).is_some_and(|newest| *newest <= indexed_to) {
            journals.remove(&journal);
        }
    }
}

impl IndexQueue {
    /// Hands a durable instance to the index, or leaves it to the journal when the database is behind. Once a journal
    /// is left behind, the rest of it is too: its records must be indexed in order.
    pub fn push(&self, instance: ReceivedInstance) {
        let (journal, end) = (instance.place.journal, instance.place.end());
        // Under the lock, so that nothing slips between the last look into the journal and its way back to the channel.
        let mut behind = self.backlog.journals();
        if behind.contains_key(&journal) || self.sender.try_send(instance).is_err() {
            behind.insert(journal, end);
        }
    }

    /// What was durable before this start has been handed over, all of it.
    pub fn recovered(&self) {
        self.is_recovered.store(true, Ordering::Release);
    }

    /// For `recovery`, which may wait.
    pub(super) async fn push_in_order(&self, instance: ReceivedInstance) {
        // The receiver lives as long as the process; at shutdown the journal has it.
        let _ = self.sender.send(instance).await;
    }
}

/// The index itself; `run` is its life.
pub struct Indexer {
    pub store: Store,
    pub spool: Spool,
    pub config: Live,
    pub clock: Clock,
    pub bells: Bells,
    receiver: mpsc::Receiver<ReceivedInstance>,
    backlog: Backlog,
    /// Journals that hold something that could not be indexed, though the rest of them could. Their mark stays where it
    /// is until all of it has been. Each with whose that is.
    stuck: HashMap<JournalId, HashSet<PartnerId>>,
    /// When they are looked at again.
    aside: Aside<JournalId>,
    caught_up: CaughtUp,
    is_recovered: Arc<AtomicBool>,
    /// A moment, and how many instances are still to be indexed of what was durable then.
    awaited: Option<(Moment, usize)>,
}

impl Indexer {
    pub fn new(store: Store, spool: Spool, config: Live, clock: Clock, bells: Bells) -> (IndexQueue, Indexer) {
        Self::with_room(WAITING, store, spool, config, clock, bells)
    }

    pub(super) fn with_room(
        waiting: usize,
        store: Store,
        spool: Spool,
        config: Live,
        clock: Clock,
        bells: Bells,
    ) -> (IndexQueue, Indexer) {
        let (sender, receiver) = mpsc::channel(waiting);
        let backlog = Backlog::default();
        let (caught_up, is_recovered) = (CaughtUp::default(), Arc::new(AtomicBool::new(false)));
        let queue = IndexQueue {
            sender,
            backlog: backlog.clone(),
            caught_up: caught_up.clone(),
            is_recovered: is_recovered.clone(),
        };
        let indexer = Indexer {
            store,
            spool,
            config,
            clock,
            bells,
            receiver,
            backlog,
            stuck: HashMap::new(),
            aside: Aside::default(),
            caught_up,
            is_recovered,
            awaited: None,
        };
        (queue, indexer)
    }

    /// Indexes until `stop`, then what is still in the channel.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut look_back = tokio::time::interval(BACKLOG_EVERY);
        loop {
            tokio::select! {
                received = self.receiver.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    if !self.index(&batch, &stop).await {
                        return;
                    }
                    self.look_how_far(received);
                    batch.clear();
                    if !stop.is_cancelled() {
                        tokio::time::sleep(GATHER).await;
                    }
                }
                _ = look_back.tick() => {
                    if !self.catch_up(&stop).await {
                        return;
                    }
                    self.look_how_far(0);
                }
                () = stop.cancelled(), if self.receiver.is_empty() => return,
            }
        }
    }

    /// Instances leave the channel in the order they came: so many more, and everything of that moment is known.
    fn look_how_far(&mut self, written: usize) {
        if self.awaited.is_none() && self.is_recovered.load(Ordering::Acquire) {
            let now = self.clock.now();
            // Under the lock, as `push` does it.
            let behind = self.backlog.journals();
            self.awaited = behind.is_empty().then(|| (now, self.receiver.len()));
        } else if let Some((_, left)) = &mut self.awaited {
            *left = left.saturating_sub(written);
        }
        if let Some((at, _)) = self.awaited.take_if(|(_, left)| *left == 0) {
            self.caught_up.mark(at, self.stuck.values().flatten().cloned().collect());
        }
    }

    /// Writes the batch, trying again until the database takes it. False: the process stops before that. Then nothing
    /// more may be indexed: the journal's mark would pass over this batch, and the next start would not look for it.
    async fn index(&mut self, batch: &[ReceivedInstance], stop: &CancellationToken) -> bool {
        let mut wait = Duration::from_millis(100);
        loop {
            match self.write(batch).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "The index cannot be written; instances stay in the journal. Next try in {wait:?}");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = stop.cancelled() => return false,
                    }
                    wait = (wait * 2).min(Duration::from_secs(5));
                }
            }
        }
    }

    async fn write(&mut self, batch: &[ReceivedInstance]) -> Result<(), StoreError> {
        let (config, now) = (self.config.now(), self.clock.now());
        let mut studies: Studies = BTreeMap::new();
        for instance in batch {
            studies.entry((instance.origin.clone(), instance.study.clone())).or_default().push(instance.clone());
        }
        match self.write_together(&config, &studies, batch, now).await {
            Err(error) if error.is_about_one() => self.write_apart(&config, &studies, batch, now).await,
            written => written,
        }
    }

    async fn write_together(
        &self,
        config: &Config,
        studies: &Studies,
        batch: &[ReceivedInstance],
        now: Moment,
    ) -> Result<(), StoreError> {
        let mut tx = self.store.begin(Durability::Process).await?;
        let mut written = Written::default();
        for instances in studies.values() {
            written.add(write_study(&mut tx, config, instances, now).await?);
        }
        self.mark(&mut tx, batch).await?;
        tx.commit().await?;
        self.ring(written);
        Ok(())
    }

    /// Each study by itself, because one of them cannot be written. What fails is in its journal, whose mark stays before
    /// it: the journal is read again now and then, and at the next start.
    async fn write_apart(
        &mut self,
        config: &Config,
        studies: &Studies,
        batch: &[ReceivedInstance],
        now: Moment,
    ) -> Result<(), StoreError> {
        for ((origin, _), instances) in studies {
            match self.write_alone(config, instances, now).await {
                Ok(written) => self.ring(written),
                Err(error) if error.is_about_one() => {
                    for instance in instances {
                        self.stuck.entry(instance.place.journal).or_default().insert(origin.clone());
                    }
                    let count = instances.len();
                    tracing::error!(site = %origin, instances = count, error = %chain(&error), "{count} instances of one study of {origin} cannot be indexed and stay in their journal; the others go on");
                }
                Err(error) => return Err(error),
            }
        }
        let mut tx = self.store.begin(Durability::Process).await?;
        self.mark(&mut tx, batch).await?;
        tx.commit().await
    }

    async fn write_alone(
        &self,
        config: &Config,
        instances: &[ReceivedInstance],
        now: Moment,
    ) -> Result<Written, StoreError> {
        let mut tx = self.store.begin(Durability::Process).await?;
        let written = write_study(&mut tx, config, instances, now).await?;
        tx.commit().await?;
        Ok(written)
    }

    /// How far each journal is indexed, but for those that hold something that could not be.
    async fn mark(&self, tx: &mut Tx, batch: &[ReceivedInstance]) -> Result<(), StoreError> {
        for (journal, end) in matching::journal_ends(batch) {
            if !self.stuck.contains_key(&journal) {
                tx.journal_indexed(journal, end).await?;
            }
        }
        Ok(())
    }

    fn ring(&self, written: Written) {
        if written.reports > 0 {
            self.bells.results.ring();
        }
        if written.added > 0 {
            self.bells.routing.ring();
            self.bells.completeness.ring();
        }
    }

    /// Re-reads journals that overran the channel, and those that hold something that could not be indexed. False: the
    /// process stops.
    async fn catch_up(&mut self, stop: &CancellationToken) -> bool {
        let mut journals: BTreeSet<JournalId> = self.backlog.all().into_iter().collect();
        journals.extend(self.stuck.keys().filter(|journal| !self.aside.waits(journal)));
        for journal in journals {
            if stop.is_cancelled() {
                return true;
            }
            let was_stuck = self.stuck.remove(&journal);
            match self.read_again(journal, stop).await {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => {
                    if let Some(origins) = was_stuck {
                        self.stuck.insert(journal, origins);
                    }
                    tracing::error!(%journal, error = %chain(&error), "Journal {journal} cannot be re-read yet");
                }
            }
            // All of it is read each time, so not every time.
            if self.stuck.contains_key(&journal) {
                self.aside.failed(journal);
            } else {
                self.aside.done(&journal);
            }
        }
        true
    }

    /// Indexes what of a journal is not indexed. False: the process stops.
    async fn read_again(&mut self, journal: JournalId, stop: &CancellationToken) -> Result<bool, RecoveryError> {
        let mut tail = Tail::behind(&self.store, &self.spool, &self.config, journal).await?;
        loop {
            let instances = tail.next().await?;
            if instances.is_empty() {
                self.backlog.caught_up(journal, tail.to());
                return Ok(true);
            }
            if !self.index(&instances, stop).await {
                return Ok(false);
            }
        }
    }
}

/// Instances by origin and study, in the order they became durable.
type Studies = BTreeMap<(PartnerId, Uid), Vec<ReceivedInstance>>;

/// What came of a batch.
#[derive(Clone, Copy, Default)]
struct Written {
    added: i64,
    reports: usize,
}

impl Written {
    fn add(&mut self, more: Written) {
        self.added += more.added;
        self.reports += more.reports;
    }
}

/// Instances of one study of one origin, each to its case or to the reports.
async fn write_study(
    tx: &mut Tx,
    config: &Config,
    instances: &[ReceivedInstance],
    now: Moment,
) -> Result<Written, StoreError> {
    let (mut written, mut images) = (Written::default(), Vec::with_capacity(instances.len()));
    for instance in instances {
        if matching::is_returning_report(tx, config, instance).await? {
            matching::keep_report(tx, instance).await?;
            written.reports += 1;
        } else {
            images.push(instance.clone());
        }
    }
    if let Some(first) = images.first()
        && let Some(done) =
            matching::join(tx, config.partners.get(&first.origin), &first.origin, &first.study, &images, now).await?
    {
        written.added = done.added;
    }
    Ok(written)
}
