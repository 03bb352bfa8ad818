//! Sees when a study is whole: its association is released and a quiet time has passed. (The other ways to become whole: on
//! evidence of how many instances there are, which `matching` sees as they come; and when all that its scanner says it made
//! are there, which `performed` sees.) And when nothing more comes of what came late.
//!
//! DICOM has no end-of-study signal. Whole is no door that closes: a late instance joins the same case.

use super::{near_misses::propose_orders, open_studies::OpenStudies, orders};
use crate::{
    config::Live,
    model::{Aside, Bell, CaseId, CaseState, Clock, Moment, chain},
    store::{CaseRow, Durability, IncompleteCase, Store, StoreError, Tx},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest sleep between looks, should a ring get lost.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Where only the end of an association is waited for.
const LOOK_SOON: Duration = Duration::from_secs(1);
const BATCH: i64 = 200;

pub struct Completeness {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    pub open: OpenStudies,
    /// Rung by the index and at the end of an association.
    pub bell: Bell,
}

impl Completeness {
    pub async fn run(self, stop: CancellationToken) {
        let mut aside = Aside::default();
        loop {
            if let Err(error) = self.look(&mut aside).await {
                tracing::error!(error = %chain(&error), "Completeness of studies cannot be checked");
            }
            let is_soon = self.look_for_images(&mut aside).await.unwrap_or_else(|error| {
                tracing::error!(error = %chain(&error), "What scanners say they made cannot be looked for");
                false
            });
            let quiet = self.config.now().dicom.quiet;
            let next = self.next_look(quiet).await;
            tokio::select! {
                () = self.bell.rung() => {}
                () = self.clock.sleep_until(next) => {}
                () = tokio::time::sleep(if is_soon { LOOK_SOON } else { LOOK_EVERY }) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn next_look(&self, quiet: Duration) -> Moment {
        let now = self.clock.now();
        match self.store.oldest_incomplete(now - quiet).await {
            // Never a busy loop: a case that is due but still open rings when its association ends, and is due soon
            // after.
            Ok(Some(last)) => (last + quiet).max(now + Duration::from_millis(200)),
            _ => now + LOOK_EVERY,
        }
    }

    /// One look at everything that may be whole. A case that cannot be completed does not keep the others from it.
    ///
    /// # Errors
    /// When the database fails.
    async fn look(&self, aside: &mut Aside<CaseId>) -> Result<(), StoreError> {
        let quiet = self.config.now().dicom.quiet;
        let quiet_since = self.clock.now() - quiet;
        let mut after = None;
        loop {
            let waiting = self.store.cases_to_complete(quiet_since, after, BATCH).await?;
            for case in &waiting {
                if self.open.is_open(&case.origin, &case.study) || aside.waits(&case.id) {
                    continue;
                }
                match self.complete(case, quiet_since).await {
                    Err(error) if error.is_about_one() => {
                        aside.failed(case.id);
                        tracing::error!(case.id = %case.id, error = %chain(&error), "Case {} cannot be completed now; the others go on", case.id);
                    }
                    done => done?,
                }
            }
            match waiting.last() {
                Some(last) if waiting.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX) => {
                    after = Some((last.last, last.id));
                }
                _ => return self.look_at_what_came_late(quiet_since, aside).await,
            }
        }
    }

    /// What came after its study was whole is all there when nothing more comes: its task is ready again.
    async fn look_at_what_came_late(&self, quiet_since: Moment, aside: &mut Aside<CaseId>) -> Result<(), StoreError> {
        for late in self.store.cases_complete_again(quiet_since, BATCH).await? {
            if self.open.is_open(&late.origin, &late.study) || aside.waits(&late.id) {
                continue;
            }
            match self.ready_again(late.id, quiet_since).await {
                Err(error) if error.is_about_one() => {
                    aside.failed(late.id);
                    tracing::error!(case.id = %late.id, error = %chain(&error), "The task of case {} cannot be made ready now; the others go on", late.id);
                }
                done => done?,
            }
        }
        Ok(())
    }

    async fn ready_again(&self, id: CaseId, quiet_since: Moment) -> Result<(), StoreError> {
        let mut tx = self.store.begin(Durability::Process).await?;
        let case = tx.case(id).await?;
        if case.whole.is_some() && case.last <= quiet_since && !self.open.is_open(&case.origin, &case.study) {
            tx.note_task_input(id, true, self.clock.now()).await?;
        }
        tx.commit().await
    }

    async fn complete(&self, waiting: &IncompleteCase, quiet_since: Moment) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut tx = self.store.begin(Durability::Process).await?;
        // Orders are joined to it.
        tx.hold_origin(&waiting.origin).await?;
        let mut case = tx.case(waiting.id).await?;
        // Something may have come, or an association have begun to bring it, since the look.
        if case.whole.is_some() || case.last > quiet_since || self.open.is_open(&case.origin, &case.study) {
            return Ok(());
        }
        let evidence = format!("association released, nothing came for {} s", self.config.now().dicom.quiet.as_secs());
        finish(&mut tx, &mut case, &evidence, now).await?;
        tx.commit().await
    }
}

/// The study is whole, and all that follows from it.
///
/// # Errors
/// When the database fails.
pub(super) async fn finish(tx: &mut Tx, case: &mut CaseRow, evidence: &str, now: Moment) -> Result<(), StoreError> {
    become_whole(tx, case, evidence, now).await?;
    orders::join_orders(tx, case, now).await?;
    propose_orders(tx, case, now).await?;
    if case.state != CaseState::New && case.state != CaseState::Held {
        tx.note_if_all_delivered(case, now).await?;
    }
    tx.save_case(case).await
}

/// Marks the case as whole, for the reason given; the caller saves it.
///
/// # Errors
/// When the database fails.
pub(super) async fn become_whole(
    tx: &mut Tx,
    case: &mut CaseRow,
    evidence: &str,
    now: Moment,
) -> Result<(), StoreError> {
    case.whole = Some(now);
    tx.note_task_input(case.id, true, now).await?;
    let what = format!("study whole: {} instances, {} ({evidence})", case.instances, size(case.bytes));
    tx.tell(case.id, now, "intake", &what).await
}

/// `34 KB`, `12.6 MB`: for people.
fn size(bytes: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal of a size for people")]
    let bytes = bytes as f64;
    if bytes < 1e6 { format!("{:.0} KB", (bytes / 1e3).ceil()) } else { format!("{:.1} MB", bytes / 1e6) }
}
