//! The one transaction that stores a decision together with what it makes owed.
//!
//! In: cases with instances or orders nobody is owed yet. Out: decided cases (or held ones, and a person told), rows in the
//! ledger, and a ring for `handoff`. The decision is made once, when the first instance is there, by the rules and the
//! clock of that moment; what comes later follows it.

use super::{
    claims,
    condition::CaseFacts,
    decide::{Rules, decide},
    offer,
    orders::{deadline, owe_orders, takers},
    patients::owe_news,
    slides,
};
use crate::{
    config::{Config, Live, WithoutOrder},
    model::{
        Aside, Bell, CaseEvent, CaseId, CaseState, Clock, Decision, DeliveryKind, DeliveryState, Disposition, Lane,
        Moment, PartnerId, Priority, Reading, WITHOUT_ITS_ORDER, chain,
    },
    store::{CaseRow, Durability, NewDelivery, Store, StoreError, Tx},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest sleep between looks, should a ring get lost or a person release a case by hand.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const BATCH: i64 = 200;
/// Instances in one image batch, at most: a cut association sends no more than this again.
const BATCH_INSTANCES: i64 = 250;
/// An instance of this size and more goes by the bulk lane, bytes.
const BULK_BYTES: i64 = 100_000_000;

pub struct RoutingStep {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    /// Rung when there are cases to route.
    pub bell: Bell,
    /// Rung when something is owed.
    pub handoff: Bell,
}

impl RoutingStep {
    pub async fn run(mut self, stop: CancellationToken) {
        let mut rules = None;
        let mut aside = Aside::default();
        loop {
            if rules.is_none() {
                rules = self.compile();
            }
            if let Some(rules) = &rules
                && let Err(error) = self.route_all(rules, &mut aside).await
            {
                tracing::error!(error = %chain(&error), "Cases cannot be routed now; they wait");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            tokio::select! {
                () = self.bell.rung() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.config.replaced() => rules = self.compile(),
                () = stop.cancelled() => return,
            }
        }
    }

    /// `None` cannot come from a checked configuration; should it, cases wait and it is said every time.
    fn compile(&self) -> Option<Rules> {
        Rules::compile(&self.config.now())
            .inspect_err(|error| tracing::error!(error = %chain(error), "The rules cannot be used; cases wait"))
            .ok()
    }

    /// Routes every case that waits. One that cannot be routed is put aside, a person is told, and the rest goes on.
    async fn route_all(&self, rules: &Rules, aside: &mut Aside<CaseId>) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let waiting = self.store.cases_to_route_after(after, BATCH).await?;
            for id in &waiting {
                if aside.waits(id) {
                    continue;
                }
                match self.route(*id, rules).await {
                    Ok(()) => aside.done(id),
                    Err(error) if error.is_about_one() => self.put_aside(*id, &error, aside).await?,
                    Err(error) => return Err(error),
                }
            }
            if waiting.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
                return Ok(());
            }
            after = waiting.last().copied();
        }
    }

    async fn put_aside(&self, id: CaseId, error: &StoreError, aside: &mut Aside<CaseId>) -> Result<(), StoreError> {
        let times = aside.failed(id);
        tracing::error!(case.id = %id, times, error = %chain(error), "Case {id} cannot be routed and waits for a person; the others go on");
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.mark_for_a_person(id, "it cannot be routed: see the log").await?;
        tx.commit().await
    }

    /// Routes one case: decides if nobody has, then owes what is not owed yet.
    ///
    /// # Errors
    /// When the database fails; nothing has been changed then.
    #[tracing::instrument(skip_all, fields(case.id = %id))]
    async fn route(&self, id: CaseId, rules: &Rules) -> Result<(), StoreError> {
        if !self.route_with(id, rules, Durability::Process).await? {
            self.route_with(id, rules, Durability::Synced).await?;
        }
        Ok(())
    }

    /// False, and nothing done: what is decided here must survive a power cut. Who of several readers gets a case depends on the moment,
    /// and the one that was told of it must keep it; all else would be decided in the same way again.
    async fn route_with(&self, id: CaseId, rules: &Rules, durability: Durability) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let config = self.config.now();
        let give_up = now + config.delivery.give_up;
        let mut tx = self.store.begin(durability).await?;
        if config.has_mappings() {
            let origin = tx.case_as_it_is(id).await?.origin;
            tx.hold_names(&origin).await?;
        }
        let mut case = tx.case(id).await?;
        if case.state == CaseState::New && case.waits_until.is_some_and(|until| until > now) {
            return Ok(true);
        }
        let is_new = case.state == CaseState::New;
        let mut news = tx.take_order_news(id).await?;
        if case.state == CaseState::New {
            if !without_its_order(&mut tx, &config, &mut case, now).await? {
                decide_case(&mut tx, &config, &mut case, rules, now).await?;
            }
            let readers = case.reading().map_or(0, |reading| reading.readers.len());
            if durability == Durability::Process && readers > 1 {
                return Ok(false);
            }
            hold_if_nobody_takes_its_order(&mut tx, &config, &mut case, now).await?;
            offer::offer(&mut tx, &case, now).await?;
            news = true;
        } else if news {
            decide_held_slides(&mut tx, &config, &mut case, now).await?;
            offer::offer_again(&mut tx, &case, now).await?;
        }
        if news {
            tx.note_task_priority(id, case.priority, now).await?;
            owe_orders(&mut tx, &config, &mut case, now, give_up).await?;
            owe_news(&mut tx, &config, &mut case, now, give_up).await?;
        }
        if case.state != CaseState::Held {
            map_identifiers(&mut tx, &config, &case, now).await?;
            owe_images(&mut tx, &mut case, now, give_up).await?;
            tx.note_if_all_delivered(&mut case, now).await?;
        }
        tx.save_case(&case).await?;
        tx.commit().await?;
        if is_new {
            log(&case);
        }
        self.handoff.ring();
        Ok(true)
    }
}

/// What has been decided of a case.
fn log(case: &CaseRow) {
    if let Some(reading) = case.reading() {
        tracing::info!(case.id = %case.id, site = %case.origin, rule = %reading.rule, "Case {} of {} goes to {} by \"{}\"", case.id, case.origin, names(&reading.readers), reading.rule);
    }
}

async fn decide_case(
    tx: &mut Tx,
    config: &Config,
    case: &mut CaseRow,
    rules: &Rules,
    now: Moment,
) -> Result<(), StoreError> {
    // The clock of the decision is the arrival of the first instance: an hour without database, or a case released
    // later by a person, does not change who was on duty when it came.
    let askers = slides::askers(tx, case).await?;
    let mut decision =
        slides::decide(&askers, config, case.first).unwrap_or_else(|| decide(&facts_of(case), rules, case.first));
    // Who is there to read it, and has how much to read, is asked of this moment: a decision after the fact helps nobody.
    claims::arrange(tx, config, case, rules, &mut decision, now).await?;
    follow(tx, case, decision, now).await
}

/// Slides that nobody was named for, and the order of their specimen has come: as if it had been there before them.
async fn decide_held_slides(tx: &mut Tx, config: &Config, case: &mut CaseRow, now: Moment) -> Result<(), StoreError> {
    let Some(reason) = case.held_undecided().map(str::to_owned) else { return Ok(()) };
    let askers = slides::askers(tx, case).await?;
    let Some(decision) = slides::decide(&askers, config, case.first) else { return Ok(()) };
    if case.decision.as_ref().is_some_and(|before| before.disposition == decision.disposition) {
        return Ok(());
    }
    case.needs_nobody_for(&reason);
    follow(tx, case, decision, now).await?;
    log(case);
    Ok(())
}

/// The case is given to its reader, or held.
async fn follow(tx: &mut Tx, case: &mut CaseRow, decision: Decision, now: Moment) -> Result<(), StoreError> {
    match &decision.disposition {
        Disposition::Read(reading) => {
            case.take(CaseEvent::Decided)?;
            case.reader = reading.reader().cloned();
            case.report_due = reading.report_within.map(|within| case.first + within);
            tx.tell(case.id, now, "routing", &story(reading)).await?;
        }
        Disposition::Hold { reason } => hold(tx, case, reason, now).await?,
    }
    case.decision = Some(decision);
    Ok(())
}

async fn hold(tx: &mut Tx, case: &mut CaseRow, reason: &str, now: Moment) -> Result<(), StoreError> {
    case.take(CaseEvent::Hold)?;
    case.needs_a_person(reason);
    tracing::warn!(case.id = %case.id, site = %case.origin, "Case {} of {} is held: {reason}", case.id, case.origin);
    tx.tell(case.id, now, "routing", &format!("held: {reason}")).await
}

/// Its order has not come in time: true when it is held for that.
async fn without_its_order(tx: &mut Tx, config: &Config, case: &mut CaseRow, now: Moment) -> Result<bool, StoreError> {
    if case.waits_until.take().is_none() {
        return Ok(false);
    }
    let origin = config.partners.get(&case.origin);
    if origin.is_none_or(|origin| origin.orders_otherwise == WithoutOrder::Route) {
        tx.tell(case.id, now, "routing", "its order has not come in time: decided without").await?;
        return Ok(false);
    }
    hold(tx, case, WITHOUT_ITS_ORDER, now).await?;
    Ok(true)
}

/// A case without images is its order: a reader that takes no orders would never know of it.
async fn hold_if_nobody_takes_its_order(
    tx: &mut Tx,
    config: &Config,
    case: &mut CaseRow,
    now: Moment,
) -> Result<(), StoreError> {
    let on_site = case.reader.as_ref() == Some(&case.origin);
    if case.has_study || case.state != CaseState::Routed || on_site || !takers(config, case).is_empty() {
        return Ok(());
    }
    let reader = case.reader.as_ref().map_or("nobody", PartnerId::as_str);
    let reason = format!("its reader ({reader}) takes no orders: it needs [hl7] deliver and [orders] deliver = true");
    case.take(CaseEvent::Hold)?;
    case.needs_a_person(&reason);
    tx.tell(case.id, now, "routing", &format!("held: {reason}")).await
}

/// What the rules may ask about.
pub fn facts_of(case: &CaseRow) -> CaseFacts {
    CaseFacts {
        origin: case.origin.clone(),
        discipline: case.discipline,
        modality: case.facts.modality.clone(),
        priority: case.priority,
        body_part: case.facts.body_part.clone(),
        description: case.facts.description.clone(),
        calling_ae: case.calling_ae.clone(),
        called_ae: case.called_ae.clone(),
        age_years: age_years(&case.facts.birth_date, &examined(case)),
    }
}

/// The day of the study; before there is one, the day it was asked for.
fn examined(case: &CaseRow) -> String {
    if case.has_study { case.facts.study_date.clone() } else { case.first.utc().format("%Y%m%d").to_string() }
}

/// Completed years between two `YYYYMMDD` dates.
fn age_years(born: &str, at: &str) -> Option<u32> {
    let number = |text: &str| if text.len() == 8 { text.parse::<u32>().ok() } else { None };
    number(at)?.checked_sub(number(born)?).map(|span| span / 10_000)
}

fn story(reading: &Reading) -> String {
    if reading.rule == slides::RULE {
        return format!("{}: {}; no report is expected", slides::RULE, names(&reading.readers));
    }
    let mut text = format!("\"{}\": read by {}, {}", reading.rule, names(&reading.readers), reading.reading_mode);
    if !reading.also_to.is_empty() {
        text.push_str(&format!(", also to {}", names(&reading.also_to)));
    }
    if let Some(within) = reading.report_within {
        text.push_str(&format!(", report within {} min", within.as_secs() / 60));
    }
    text
}

fn names(partners: &[PartnerId]) -> String {
    partners.iter().map(PartnerId::as_str).collect::<Vec<_>>().join(", ")
}

/// Gives the case's identifiers a name toward each receiver that wants its own, with what makes the images owed.
pub(super) async fn map_identifiers(
    tx: &mut Tx,
    config: &Config,
    case: &CaseRow,
    now: Moment,
) -> Result<(), StoreError> {
    for mapping in case.receivers().iter().filter_map(|partner| config.mapping(partner, &case.origin)) {
        for (kind, id) in case.facts.identifiers() {
            if mapping.names(&id) {
                tx.mapped(&mapping, kind, &id, now).await?;
            }
        }
    }
    Ok(())
}

/// Owes every instance that is not owed yet to the reader and to whoever gets copies. What is read on site stays there.
async fn owe_images(tx: &mut Tx, case: &mut CaseRow, now: Moment, give_up: Moment) -> Result<(), StoreError> {
    let receivers = case.receivers();
    if !receivers.is_empty() && case.routed_to < case.instances {
        let lengths = tx.lengths(case.id, case.routed_to + 1, case.instances).await?;
        for run in runs(&lengths, case.priority) {
            for partner in &receivers {
                owe_run(tx, case, partner, &run, now, give_up).await?;
            }
        }
    }
    case.routed_to = case.instances;
    Ok(())
}

/// Owes the case's reader what others have been made owed of it before, but what it is owed or has already.
pub(super) async fn catch_up(tx: &mut Tx, case: &CaseRow, now: Moment, give_up: Moment) -> Result<(), StoreError> {
    let receivers = case.receivers();
    let Some(reader) = case.reader.as_ref().filter(|reader| receivers.contains(reader)) else { return Ok(()) };
    let ledger = tx.deliveries(case.id).await?;
    let has = |seq: i64| {
        ledger.iter().any(|row| {
            let counts = row.kind == DeliveryKind::Images && row.state != DeliveryState::Withdrawn;
            counts && row.partner == *reader && (row.first_seq..=row.last_seq).contains(&seq)
        })
    };
    let mut lengths = tx.lengths(case.id, 1, case.routed_to).await?;
    lengths.retain(|(seq, _)| !has(*seq));
    for run in runs(&lengths, case.priority) {
        owe_run(tx, case, reader, &run, now, give_up).await?;
    }
    Ok(())
}

async fn owe_run(
    tx: &mut Tx,
    case: &CaseRow,
    partner: &PartnerId,
    run: &Run,
    now: Moment,
    give_up: Moment,
) -> Result<(), StoreError> {
    tx.owe(&NewDelivery {
        case: case.id,
        partner: partner.clone(),
        lane: run.lane,
        kind: DeliveryKind::Images,
        first_seq: run.first,
        last_seq: run.last,
        report: None,
        version: 0,
        items: run.items,
        bytes: run.bytes,
        deadline: deadline(case),
        give_up,
        now,
    })
    .await
    .map(drop)
}

/// A run of consecutive instances for one lane.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    lane: Lane,
    first: i64,
    last: i64,
    items: i64,
    bytes: i64,
}

/// The lane of what is not large.
pub(super) fn lane(priority: Priority) -> Lane {
    if priority == Priority::Stat { Lane::Stat } else { Lane::Routine }
}

/// Cuts numbered lengths into batches: large objects alone on the bulk lane, the rest in runs. A gap in the numbers
/// (a conflicting duplicate) does not end a run.
fn runs(lengths: &[(i64, i64)], priority: Priority) -> Vec<Run> {
    let lane = lane(priority);
    let mut runs: Vec<Run> = Vec::new();
    for &(seq, length) in lengths {
        let this = if length >= BULK_BYTES && priority != Priority::Stat { Lane::Bulk } else { lane };
        match runs.last_mut() {
            Some(run) if run.lane == this && this != Lane::Bulk && run.items < BATCH_INSTANCES => {
                run.last = seq;
                run.items += 1;
                run.bytes += length;
            }
            _ => runs.push(Run { lane: this, first: seq, last: seq, items: 1, bytes: length }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slide_goes_by_the_bulk_lane_and_does_not_delay_the_rest() {
        let lengths = [(1, 500), (2, 500), (4, 2_000_000_000), (5, 500)];
        let runs = runs(&lengths, Priority::Routine);
        let summary: Vec<_> = runs.iter().map(|run| (run.lane, run.first, run.last, run.items)).collect();
        assert_eq!(summary, [(Lane::Routine, 1, 2, 2), (Lane::Bulk, 4, 4, 1), (Lane::Routine, 5, 5, 1)]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let lengths: Vec<_> = (1..=600).map(|seq| (seq, 1)).collect();
        let runs = runs(&lengths, Priority::Stat);
        assert_eq!(runs.iter().map(|run| run.items).collect::<Vec<_>>(), [250, 250, 100]);
        assert!(runs.iter().all(|run| run.lane == Lane::Stat));
    }

    #[test]
    fn age_counts_completed_years() {
        assert_eq!(age_years("20200524", "20260523"), Some(5));
        assert_eq!(age_years("20200524", "20260524"), Some(6));
        assert_eq!(age_years("", "20260524"), None);
    }
}
