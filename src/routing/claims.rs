//! Claims decide who reads: an offer that nobody has claimed in time moves to the next reader.
//!
//! In: offers whose `claim_within` has passed, those of readers that are down, claims without a sign of life; each by an index,
//! every second. Out: the offer withdrawn, exactly once, and the case offered to the next ([`super::readers`]) with its images
//! and orders; or a claim ended, and its reader offered it again. Whoever claims in the same moment wins or comes too late, never
//! both: both hold the case first. After the last reader a person is told, and the offer stays. Who lost it to being down may be the
//! next again, for one that is down now.
//!
//! What counts: a claim of the task, and a report, preliminary or final. A case whose order is on hold does not move.

use super::{
    decide::Rules,
    orders::owe_orders,
    patients::owe_news,
    readers::{self, Known, Next},
    step,
};
use crate::{
    config::{Config, Live},
    model::{
        Aside, BY_HAND, Bell, CaseEvent, CaseId, CaseState, Channel, Clock, Decision, Disposition, Moment, PartnerId,
        Priority, Uid, chain,
        task::{has_taken_nothing, is_for_being_down},
    },
    store::{CaseRow, Down, Durability, Offer, Store, StoreError, TaskRow, Tx, Wanted, Withdrawal, spoken},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);
const BATCH: i64 = 200;
/// Who tells, in the story.
const ACTOR: &str = "routing";

/// Puts a decision's readers into the order in which they are offered the case, by what is known of them now.
///
/// # Errors
/// When the database fails.
pub async fn arrange(
    tx: &mut Tx,
    config: &Config,
    case: &CaseRow,
    rules: &Rules,
    decision: &mut Decision,
    now: Moment,
) -> Result<(), StoreError> {
    let Disposition::Read(reading) = &mut decision.disposition else { return Ok(()) };
    let Some(route) = rules.route(&reading.rule).filter(|_| reading.readers.len() > 1) else { return Ok(()) };
    let mut known = Known { down: names(down(tx, config, case, now).await?), ..Known::default() };
    for (reader, _) in readers::shares(route, &case.origin) {
        let load = tx.open_load(&reader).await?;
        known.open.insert(reader, load);
    }
    if route.same_reader {
        known.of_patient = tx.readers_of_patient(case).await?;
    }
    decision.reasons.extend(readers::arrange(reading, route, &case.origin, &known));
    Ok(())
}

/// Readers of this case that are down: nothing can be delivered there since `[delivery] down_after`. Images go by DICOM, an
/// order alone by HL7; to the origin nothing goes.
async fn down(tx: &mut Tx, config: &Config, case: &CaseRow, now: Moment) -> Result<Vec<Down>, StoreError> {
    let needed = if case.has_study { Channel::Dicom } else { Channel::Hl7 };
    let mut down = tx.down_since(now - config.delivery.down_after).await?;
    down.retain(|down| down.channel == needed && down.partner != case.origin);
    Ok(down)
}

fn names(down: Vec<Down>) -> Vec<PartnerId> {
    down.into_iter().map(|down| down.partner).collect()
}

/// Whether the reader could have the case at all.
fn can_take(config: &Config, case: &CaseRow, reader: &PartnerId) -> bool {
    let Some(partner) = config.partners.get(reader) else { return false };
    *reader == case.origin
        || if case.has_study {
            config.no_way_to(reader, Channel::Dicom).is_none()
        } else {
            partner.orders_delivered && config.no_way_to(reader, Channel::Hl7).is_none()
        }
}

/// Why an offer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Unclaimed,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Moved,
    /// Nothing to do (any more).
    InOrder,
    /// Looked at again later.
    NotNow,
}

pub struct Claims {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    /// Rung when something is owed.
    pub handoff: Bell,
    /// Rung when there are events of tasks to tell.
    pub tasks: Bell,
}

impl Claims {
    pub async fn run(self, stop: CancellationToken) {
        let (mut aside, mut down) = (Aside::default(), Aside::default());
        loop {
            if let Err(error) = self.look(&mut aside, &mut down).await {
                tracing::error!(error = %chain(&error), "Offers and claims cannot be looked at now; they stay as they are");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// What cannot leave a reader that is down waits by itself: its own time may come before that.
    async fn look(&self, aside: &mut Aside<Uid>, kept_by_down: &mut Aside<Uid>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut after = None;
        loop {
            let due = self.store.offers_past(now, after.as_ref(), BATCH).await?;
            self.each(&due, Why::Unclaimed, aside).await?;
            match last(&due) {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        let down_after = self.config.now().delivery.down_after;
        let mut pauses = self.store.pauses().await?;
        pauses.retain(|pause| pause.since <= now - down_after);
        if pauses.is_empty() {
            kept_by_down.clear();
        }
        for pause in pauses {
            for priority in Priority::ALL.into_iter().rev() {
                self.take_from_who_is_down((&pause.partner, pause.channel), priority, kept_by_down).await?;
            }
        }
        self.end_abandoned(now, aside).await
    }

    async fn take_from_who_is_down(
        &self,
        down: (&PartnerId, Channel),
        priority: Priority,
        aside: &mut Aside<Uid>,
    ) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let offers = self.store.offers_to(down, priority, after.as_ref(), BATCH).await?;
            self.each(&offers, Why::Down, aside).await?;
            match last(&offers) {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    async fn each(&self, offers: &[Offer], why: Why, aside: &mut Aside<Uid>) -> Result<(), StoreError> {
        for (_, task, case) in offers {
            if aside.waits(task) {
                continue;
            }
            match self.move_on(*case, task, why).await {
                Ok(Done::Moved) => {
                    aside.done(task);
                    self.handoff.ring();
                    self.tasks.ring();
                }
                Ok(Done::InOrder) => aside.done(task),
                Ok(Done::NotNow) => _ = aside.failed(task.clone()),
                Err(error) if error.is_about_one() => self.put_aside(*case, task, &error, aside).await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One that cannot be read is told of, and keeps no other from it.
    async fn put_aside(
        &self,
        case: CaseId,
        task: &Uid,
        error: &StoreError,
        aside: &mut Aside<Uid>,
    ) -> Result<(), StoreError> {
        aside.failed(task.clone());
        tracing::error!(case.id = %case, error = %chain(error), "Case {case} cannot be offered to another reader and waits for a person; the others go on");
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.mark_for_a_person(case, "nobody has claimed it, and it cannot be read: see the log").await?;
        tx.commit().await
    }

    /// Moves the case from its reader to the next, if it is still to be moved.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn move_on(&self, id: CaseId, task: &Uid, why: Why) -> Result<Done, StoreError> {
        let (now, config) = (self.clock.now(), self.config.now());
        // Two readers have been told by then: after a power cut the case must not be the first one's again.
        let mut tx = self.store.begin(Durability::Synced).await?;
        if config.has_mappings() {
            let origin = tx.case_as_it_is(id).await?.origin;
            tx.hold_names(&origin).await?;
        }
        let mut case = tx.case(id).await?;
        let Some(task) = tx.task(task).await?.filter(|task| is_due(task, why, now)) else { return Ok(Done::InOrder) };
        let waits = matches!(case.state, CaseState::Routed | CaseState::Delivered);
        if !waits || case.reader.as_ref() != Some(&task.reader) || case.reading().is_none() {
            return keep(tx, &task, now).await;
        }
        match tx.report_wanted(id).await? {
            Wanted::Yes => {}
            Wanted::NotNow => return Ok(Done::NotNow),
            Wanted::No => return keep(tx, &task, now).await,
        }
        let down = down(&mut tx, &config, &case, now).await?;
        let is_down = down.iter().find(|down| down.partner == task.reader).cloned();
        // Where a person has named the reader, it is a person who names another.
        let by_hand = case.reading().is_some_and(|reading| reading.rule == BY_HAND);
        match (why, &is_down) {
            // It has just come back, or is down by a channel that this case does not need: not to be asked each second.
            (Why::Down, None) => return Ok(Done::NotNow),
            (Why::Down, Some(_)) if by_hand => return Ok(Done::NotNow),
            _ => {}
        }
        let reason = match (&is_down, why) {
            (Some(down), Why::Down) => has_taken_nothing(task.reader.as_str(), &down.since.to_string()),
            _ => format!("not claimed by {} within {}", task.reader, claim_within(&case)),
        };
        let known = Known { down: names(down), ..Known::default() };
        let mut offered = tx.readers_offered(id).await?;
        // Who lost it to being down has its turn again; who did not claim it has had it.
        offered.retain(|(reader, ended)| why == Why::Unclaimed || *reader == task.reader || !is_for_being_down(ended));
        let offered: Vec<PartnerId> = offered.into_iter().map(|(reader, _)| reader).collect();
        let readers = case.reading().map_or(Vec::new(), |reading| reading.readers.clone());
        match readers::next(&readers, &offered, &known, |reader| can_take(&config, &case, reader)) {
            Next::To(next) => {
                let (from, to) = (&task.reader, next);
                if tx.withdraw_task(id, from, &reason, now).await? != Withdrawal::Withdrawn {
                    return Ok(Done::InOrder);
                }
                offer(&mut tx, &config, &mut case, from, to, now).await?;
                tell_moved(&mut tx, &case, from, &reason, why, now).await?;
                case.is_claimed_now();
                tx.save_case(&case).await?;
                tx.commit().await?;
                Ok(Done::Moved)
            }
            // Who is the only one and down: the deliveries and their deadline tell of it.
            Next::Later | Next::Nobody if why == Why::Down && (readers.len() < 2 || task.told.is_some()) => {
                Ok(Done::NotNow)
            }
            left => self.stays(tx, case, &task, (&reason, why), left, now).await,
        }
    }

    /// Nobody is left to offer it to, or nobody who is there: a person is told once.
    async fn stays(
        &self,
        mut tx: Tx,
        mut case: CaseRow,
        task: &TaskRow,
        (reason, why): (&str, Why),
        left: Next,
        now: Moment,
    ) -> Result<Done, StoreError> {
        let others = if left == Next::Later { "and the others are down" } else { "and no other reader is left" };
        let told = CaseRow::unclaimed(&task.reader, &format!("{reason}, {others}"));
        if case.needs_a_person(&told) {
            tx.tell(case.id, now, ACTOR, &told).await?;
            tx.save_case(&case).await?;
            tracing::warn!(case.id = %case.id, site = %task.reader, "Case {}: {told}", case.id);
        }
        if why == Why::Down {
            // Its time goes on, and so do the looks: another may come back.
            tx.note_task_told(&task.uid, now).await?;
        } else if left == Next::Nobody {
            return keep(tx, task, now).await;
        }
        tx.commit().await?;
        Ok(Done::NotNow)
    }

    /// Ends claims without a sign of life.
    async fn end_abandoned(&self, now: Moment, aside: &mut Aside<Uid>) -> Result<(), StoreError> {
        loop {
            let past = self.store.claims_past_lease(now, BATCH).await?;
            let due: Vec<_> = past.iter().filter(|(_, task)| !aside.waits(task)).collect();
            for (case, task) in &due {
                match self.end_claim(*case, task).await {
                    Ok(()) => self.tasks.ring(),
                    Err(error) if error.is_about_one() => self.put_aside(*case, task, &error, aside).await?,
                    Err(error) => return Err(error),
                }
            }
            if due.is_empty() || past.len() < usize::try_from(BATCH).unwrap_or(usize::MAX) {
                return Ok(());
            }
        }
    }

    async fn end_claim(&self, id: CaseId, task: &Uid) -> Result<(), StoreError> {
        let now = self.clock.now();
        // Its performer is told that it is canceled: it must not be claimed again by itself.
        let mut tx = self.store.begin(Durability::Synced).await?;
        let mut case = tx.case(id).await?;
        let Some(task) = tx.task(task).await?.filter(|task| task.lease.is_some_and(|lease| lease <= now)) else {
            return Ok(());
        };
        // Whoever has reported is at it; the final report ends the claim.
        if !matches!(case.state, CaseState::Routed | CaseState::Delivered) {
            tx.keep_claim(&task.uid, None).await?;
            return tx.commit().await;
        }
        let reason = format!("claimed by {} ({}) and nothing heard of it since", task.claimed_by, task.reader);
        if tx.end_claim(&case, &task.uid, "nothing was heard of its performer (claim_lease)", now).await?.is_some() {
            let told = format!("{reason}: offered to {} again (claim_lease)", task.reader);
            tx.tell(id, now, ACTOR, &told).await?;
            case.needs_a_person(&told);
            tx.save_case(&case).await?;
            tracing::warn!(case.id = %id, site = %task.reader, "Case {id}: its claim is ended, and it is offered to {} again", task.reader);
            metrics::counter!("neisse_claims_ended_total", "partner" => task.reader.to_string()).increment(1);
        }
        tx.commit().await
    }
}

/// The last of a full page.
fn last(offers: &[Offer]) -> Option<(Moment, Uid)> {
    let full = offers.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX);
    offers.last().filter(|_| full).map(|(at, task, _)| (*at, task.clone()))
}

/// Still an offer, and still past its time: somebody may have claimed it since the look.
fn is_due(task: &TaskRow, why: Why, now: Moment) -> bool {
    let in_time = task.expires.is_none_or(|expires| expires > now);
    task.state == crate::model::TaskState::Scheduled && (why == Why::Down || !in_time)
}

fn claim_within(case: &CaseRow) -> String {
    let within = case.reading().and_then(|reading| reading.claim_within);
    within.map_or_else(|| "its time".to_owned(), spoken)
}

/// The offer does not end by itself any more.
async fn keep(mut tx: Tx, task: &TaskRow, now: Moment) -> Result<Done, StoreError> {
    if task.expires.is_some() {
        tx.keep_offer(&task.uid, now).await?;
    }
    tx.commit().await?;
    Ok(if task.expires.is_some() { Done::InOrder } else { Done::NotNow })
}

/// The case is the next reader's: what has not left for the one before is not owed to it, its order is taken back there, and
/// images and orders are owed to the next. Copies go where they went.
async fn offer(
    tx: &mut Tx,
    config: &Config,
    case: &mut CaseRow,
    from: &PartnerId,
    to: PartnerId,
    now: Moment,
) -> Result<(), StoreError> {
    let give_up = now + config.delivery.give_up;
    case.take(CaseEvent::MovedOn)?;
    case.reader = Some(to);
    if !case.receivers().contains(from) {
        tx.withdraw_images_to(case.id, from, now).await?;
    }
    tx.offer_task(case, now).await?;
    step::map_identifiers(tx, config, case, now).await?;
    step::catch_up(tx, case, now, give_up).await?;
    owe_orders(tx, config, case, now, give_up).await?;
    owe_news(tx, config, case, now, give_up).await?;
    tx.note_if_all_delivered(case, now).await.map(drop)
}

async fn tell_moved(
    tx: &mut Tx,
    case: &CaseRow,
    from: &PartnerId,
    reason: &str,
    why: Why,
    now: Moment,
) -> Result<(), StoreError> {
    let to = case.reader.as_ref().map_or("nobody", PartnerId::as_str);
    let told = format!("{reason}: withdrawn there, offered to {to}");
    tx.tell(case.id, now, ACTOR, &told).await?;
    tracing::info!(case.id = %case.id, site = %from, "Case {}: {told}", case.id);
    let why = if why == Why::Down { "down" } else { "unclaimed" };
    metrics::counter!("neisse_cases_moved_total", "partner" => from.to_string(), "reason" => why).increment(1);
    Ok(())
}
