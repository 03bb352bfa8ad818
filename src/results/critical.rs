//! Critical results: the origin is asked to acknowledge them, and a person is told when nobody has in time.
//!
//! In: a report whose reader flags a result (OBX-8 AA, HH, LL, or as agreed), an acknowledgement by HL7 or by a person, and
//! the clock. Out: a row of who is to answer until when, and a line on the case that goes away once somebody has. Does not
//! remind anybody twice: who is told again, and how, is for those who watch over what waits.

use crate::{
    config::Config,
    model::{Aside, Clock, Moment, ReportId, chain},
    store::{Behind, CaseRow, CriticalResult, Durability, Store, StoreError, Tx},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looked up at a time: critical results that nobody answers, which are few.
const BATCH: i64 = 1000;
/// Of an origin that is no partner any more.
const WITHIN: Duration = Duration::from_secs(30 * 60);

/// The origin is to acknowledge this version, as its own configuration says how soon.
///
/// # Errors
/// When the database fails.
pub async fn ask(
    tx: &mut Tx,
    config: &Config,
    case: &CaseRow,
    (report, version): (ReportId, i64),
    now: Moment,
) -> Result<(), StoreError> {
    let within = config.partners.get(&case.origin).map_or(WITHIN, |origin| origin.critical_within);
    tx.ask_acknowledgement(report, case.id, now, now + within).await?;
    let (origin, minutes) = (&case.origin, within.as_secs() / 60);
    let what = format!("version {version} is critical: {origin} is to acknowledge it within {minutes} min");
    metrics::counter!("neisse_critical_results_total", "outcome" => "asked").increment(1);
    tx.tell(case.id, now, "results", &what).await
}

/// Somebody has this version of a case's report, and so what the ones before it said. The caller saves the case and
/// commits. Returns how many waited for it.
///
/// # Errors
/// When the database fails.
pub async fn acknowledge(
    tx: &mut Tx,
    case: &mut CaseRow,
    up_to: i64,
    (actor, by): (&str, &str),
    now: Moment,
) -> Result<usize, StoreError> {
    let open = tx.critical_results(case.id).await?;
    let open = open.iter().filter(|critical| critical.acknowledged.is_none() && critical.version <= up_to);
    let mut acknowledged = 0;
    for critical in open {
        tx.acknowledge_critical(critical.report, by, now).await?;
        if !critical.told.is_empty() {
            case.needs_nobody_for(&critical.told);
        }
        let what = format!("critical result (version {}) acknowledged by {by}", critical.version);
        tx.tell(case.id, now, actor, &what).await?;
        metrics::counter!("neisse_critical_results_total", "outcome" => "acknowledged").increment(1);
        acknowledged += 1;
    }
    Ok(acknowledged)
}

/// Looks again and again for what nobody has acknowledged in time.
pub struct CriticalWatch {
    pub store: Store,
    pub clock: Clock,
}

impl CriticalWatch {
    pub async fn run(self, stop: CancellationToken) {
        let (mut aside, mut unreadable) = (Aside::default(), Aside::default());
        loop {
            if let Err(error) = self.look(&mut aside, &mut unreadable).await {
                tracing::error!(error = %chain(&error), "Critical results cannot be looked up");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One case that cannot be told, or a row that cannot be read, does not keep the others from it.
    async fn look(&self, aside: &mut Aside<ReportId>, unreadable: &mut Aside<String>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut behind = Some(Behind::nothing());
        while let Some(from) = behind {
            let page = self.store.overdue_critical(now, &from, BATCH).await?;
            behind = page.next;
            for overdue in page.rows {
                match overdue {
                    Ok(overdue) => self.tell_unless_aside(&overdue, now, aside).await?,
                    Err(error) if unreadable.waits(&error.row) => {}
                    Err(error) => {
                        tracing::error!(error = %chain(&error), "The critical result of a report ({}) is overdue and cannot be read: a person is needed", error.row);
                        unreadable.failed(error.row);
                    }
                }
            }
        }
        Ok(())
    }

    async fn tell_unless_aside(
        &self,
        overdue: &CriticalResult,
        now: Moment,
        aside: &mut Aside<ReportId>,
    ) -> Result<(), StoreError> {
        if aside.waits(&overdue.report) {
            return Ok(());
        }
        match self.tell(overdue, now).await {
            Ok(()) => aside.done(&overdue.report),
            Err(error) if error.is_about_one() => {
                aside.failed(overdue.report);
                tracing::error!(case.id = %overdue.case, error = %chain(&error), "Case {}: its critical result is overdue and cannot be told", overdue.case);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn tell(&self, overdue: &CriticalResult, now: Moment) -> Result<(), StoreError> {
        let mut tx = self.store.begin(Durability::Process).await?;
        let mut case = tx.case(overdue.case).await?;
        // It may have been acknowledged meanwhile.
        let still = tx.critical_results(case.id).await?.contains(overdue);
        if !still {
            return Ok(());
        }
        let told = not_acknowledged(&case, overdue);
        case.needs_a_person(&told);
        tx.critical_told(overdue.report, &told).await?;
        tx.tell(case.id, now, "results", &told).await?;
        tx.save_case(&case).await?;
        tx.commit().await?;
        metrics::counter!("neisse_critical_results_total", "outcome" => "overdue").increment(1);
        tracing::error!(case.id = %case.id, site = %case.origin, "Case {}: {told}", case.id);
        Ok(())
    }
}

fn not_acknowledged(case: &CaseRow, overdue: &CriticalResult) -> String {
    let minutes = (overdue.due.0 - overdue.asked.0) / 60_000_000;
    let (origin, version) = (&case.origin, overdue.version);
    format!("critical result (version {version}) not acknowledged by {origin} within {minutes} min: call them")
}
