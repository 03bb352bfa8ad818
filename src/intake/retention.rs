//! Takes images off the disk when their case is done and its time has passed. Never what is owed, held, stopped, not
//! indexed, or waits for a person.
//!
//! With a case's images goes what was said of it by its scanner (performed steps) and by who read it (ended tasks).
//!
//! Answers to HL7 messages leave the database when nobody sends the message again.
//!
//! In: the clock, `[retention]`, and what the store says is done. Out: marked rows, punched records, unlinked journals.
//! The mark is committed and synced before a byte goes; cut off in between, the next look goes on with it.

use super::recovery::RecoveryError;
use crate::{
    config::Live,
    model::{CaseId, Clock, JournalId, Moment, chain},
    spool::{Spool, SpoolError},
    store::{Durability, JournalUse, PurgeBefore, Store, StoreError},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// Wait before the next look when one failed.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
const BATCH: i64 = 100;
/// Storage commitments that have ended, and the notices of those that nobody took.
const COMMITMENTS_SHOWN: Duration = Duration::from_secs(7 * 24 * 3600);

pub struct Retention {
    pub store: Store,
    pub spool: Spool,
    pub config: Live,
    pub clock: Clock,
}

impl Retention {
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let began = self.clock.now();
            let wait = match self.look(&stop).await {
                Ok(()) => LOOK_EVERY,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "Images that may leave the disk stay for now");
                    AGAIN_AFTER
                }
            };
            tokio::select! {
                () = self.clock.sleep_until(began + wait) => {}
                () = self.config.replaced() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn look(&self, stop: &CancellationToken) -> Result<(), RecoveryError> {
        self.give_up_cases(stop).await?;
        self.forget_answers(stop).await?;
        self.forget_the_rest(stop).await?;
        let spool = self.spool.clone();
        for journal in tokio::task::spawn_blocking(move || spool.journals()).await?? {
            if stop.is_cancelled() {
                return Ok(());
            }
            match self.look_at(journal).await {
                Err(RecoveryError::Store(error)) if error.is_about_one() => {
                    tracing::error!(%journal, error = %chain(&error), "Journal {journal} stays as it is for now; the others go on");
                }
                looked => looked?,
            }
        }
        Ok(())
    }

    async fn look_at(&self, journal: JournalId) -> Result<(), RecoveryError> {
        let known = self.store.journal_use(journal).await?;
        self.clear(journal, known).await
    }

    fn before(&self, now: Moment) -> PurgeBefore {
        let config = self.config.now();
        let before = |keep: Option<Duration>| keep.map(|keep| now - keep);
        PurgeBefore { reported: before(config.retention.keep), unreported: before(config.retention.keep_unreported) }
    }

    /// Marks what may go.
    async fn give_up_cases(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let now = self.clock.now();
        let before = self.before(now);
        if let Some(reported) = before.reported {
            let mut tx = self.store.begin(Durability::Synced).await?;
            tx.purge_report_objects(reported).await?;
            tx.commit().await?;
        }
        loop {
            let done = self.store.cases_to_purge(before, BATCH).await?;
            let mut given_up = 0;
            for id in &done {
                if stop.is_cancelled() {
                    return Ok(());
                }
                match self.give_up(*id, before, now).await {
                    Ok(true) => given_up += 1,
                    Ok(false) => {}
                    Err(error) if error.is_about_one() => {
                        tracing::error!(case.id = %id, error = %chain(&error), "Images of case {id} stay for now; the others go on");
                    }
                    Err(error) => return Err(error),
                }
            }
            // What was not given up has changed since it was listed, or cannot be, and would be listed for ever.
            if given_up < usize::try_from(BATCH).unwrap_or(usize::MAX) {
                return Ok(());
            }
        }
    }

    /// Answers to messages that nobody sends again.
    async fn forget_answers(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let Some(keep) = self.config.now().retention.answers else { return Ok(()) };
        let (before, mut after, mut forgotten) = (self.clock.now() - keep, Moment(i64::MIN), 0);
        while !stop.is_cancelled() {
            let mut tx = self.store.begin(Durability::Process).await?;
            let Some((count, upto)) = tx.forget_answers(after, before).await? else { break };
            tx.commit().await?;
            (after, forgotten) = (upto, forgotten + count);
        }
        if forgotten > 0 {
            tracing::info!(forgotten, "{forgotten} answers to HL7 messages have been forgotten: their time has passed");
        }
        Ok(())
    }

    /// Commitments that have ended, performed steps of what was never sent here, and subscribers that are no partners any more.
    async fn forget_the_rest(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.forget_ended_commitments(now - COMMITMENTS_SHOWN).await?;
        tx.commit().await?;
        let before = self.before(now);
        // Nobody reports on them.
        if let Some(before) = before.unreported {
            let mut looked_at = BATCH;
            while looked_at == BATCH && !stop.is_cancelled() {
                let mut tx = self.store.begin(Durability::Process).await?;
                let count = tx.forget_performed_without_case(before, BATCH).await?;
                tx.commit().await?;
                looked_at = i64::try_from(count).unwrap_or(0);
            }
        }
        let config = self.config.now();
        for partner in self.store.task_subscribers().await? {
            if config.partners.keys().any(|known| known.as_str() == partner) {
                continue;
            }
            let mut tx = self.store.begin(Durability::Process).await?;
            tx.forget_subscriber(&partner).await?;
            tx.commit().await?;
            tracing::info!(site = partner, "{partner} is no partner any more, and is told of no tasks");
        }
        Ok(())
    }

    /// False: the case is not done any more.
    async fn give_up(&self, id: CaseId, before: PurgeBefore, now: Moment) -> Result<bool, StoreError> {
        let mut tx = self.store.begin(Durability::Synced).await?;
        // Holds the case, so that nothing is joined to it meanwhile.
        tx.case(id).await?;
        let Some((images, bytes)) = tx.purge_case(id, before, now).await? else { return Ok(false) };
        if images == 0 {
            // A case of an order alone: nothing of it is on the disk.
            tx.commit().await?;
            return Ok(true);
        }
        tx.tell(id, now, "retention", &format!("{images} images taken off this node's disk")).await?;
        tx.commit().await?;
        metrics::counter!("neisse_bytes_purged_total").increment(u64::try_from(bytes).unwrap_or(0));
        tracing::info!(case.id = %id, images, bytes, "Case {id} is done: its {images} images leave the disk");
        Ok(true)
    }

    /// Takes what may go out of one journal; the whole of it when nothing else is in it.
    async fn clear(&self, journal: JournalId, known: JournalUse) -> Result<(), RecoveryError> {
        if !known.live && self.unlink(journal, known.indexed_to).await? {
            let mut tx = self.store.begin(Durability::Synced).await?;
            tx.journal_purged(journal, &self.store.places_to_purge(journal).await?).await?;
            tx.journal_gone(journal).await?;
            tx.commit().await?;
            return Ok(());
        }
        if !known.to_go {
            return Ok(());
        }
        let places = self.store.places_to_purge(journal).await?;
        let (spool, going) = (self.spool.clone(), places.clone());
        match tokio::task::spawn_blocking(move || spool.punch(journal, &going)).await? {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%journal, error = %chain(&error), "Images of journal {journal} cannot be taken off the disk");
                return Ok(());
            }
        }
        let mut tx = self.store.begin(Durability::Synced).await?;
        tx.journal_purged(journal, &places).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Unlinks a journal without live records. False while an association writes it, while the index does not know all
    /// of it, and when it is damaged: then nobody knows what it holds.
    async fn unlink(&self, journal: JournalId, indexed_to: u64) -> Result<bool, RecoveryError> {
        let spool = self.spool.clone();
        let unlinked = tokio::task::spawn_blocking(move || {
            // First: an association that takes it up between the look at its end and its removal would lose its instance.
            spool.retire(journal)?;
            if spool.end_of(journal)? > indexed_to {
                return Ok(false);
            }
            spool.unlink(journal).map(|()| true)
        });
        match unlinked.await? {
            Ok(unlinked) => Ok(unlinked),
            Err(SpoolError::InUse(_) | SpoolError::Missing(_)) => Ok(false),
            Err(error) => {
                tracing::warn!(%journal, error = %chain(&error), "Journal {journal} holds nothing that is needed, and stays");
                Ok(false)
            }
        }
    }
}
