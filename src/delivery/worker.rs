//! The workers of a partner: each takes an envelope, claims the delivery, makes one attempt, settles it.
//!
//! In: envelopes of one partner and lane. Out: outcomes in the ledger. `stat` and `routine` have as many workers as the
//! partner takes associations at a time and share its [`Slots`], `bulk` has one beside them; a worker makes one
//! attempt at a time and keeps its association open for a moment, for what follows. HL7 messages it hands over to the partner's
//! connections (`mllp_lines`). A claimed delivery belongs to its attempt until
//! the lease runs out; progress prolongs it.

use super::{
    c_store::{self, Batch, Line, Sent},
    identity::Identities,
    mllp_lines::{self, Waiting},
    report::{self, Hl7Line},
    retry::{OWN_ATTEMPTS, verdict},
    settle::{Ending, log, reason, settle, settle_alone, unwanted},
    slots::{Slot, Slots},
    way::{Going, Way},
};
use crate::{
    config::Live,
    model::{Bell, Channel, Clock, DeliveryKind, Fault, Lane, Outcome, PartnerId, chain},
    queue::{Carrier, envelope::Envelope},
    spool::Spool,
    store::{Claimed, DeliveryRow, Durability, RefusedInstance, SentInstance, Store, StoreError},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// An attempt that has not reported progress for this long is taken for dead.
const LEASE: Duration = Duration::from_secs(5 * 60);
/// How often progress is written down.
const NOTE_EVERY: Duration = Duration::from_secs(5);
/// An idle association is released after this.
const KEEP_LINE: Duration = Duration::from_secs(3);
/// How often a worker looks whether the database answers again.
const DATABASE_AWAY: Duration = Duration::from_secs(1);

/// What every worker shares.
#[derive(Clone)]
pub struct Delivering {
    pub store: Store,
    pub spool: Spool,
    pub config: Live,
    pub clock: Clock,
    pub carrier: Carrier,
    /// Rung when something is owed again or its successor may leave.
    pub handoff: Bell,
}

/// Starts workers for every partner that can be delivered to, and for those a reload adds; returns when `stop` is
/// cancelled and every worker has settled the attempt it was making.
pub async fn run(delivering: Delivering, stop: CancellationToken) {
    let tracker = TaskTracker::new();
    let mut crews: HashMap<Crew, CancellationToken> = HashMap::new();
    let mut config = delivering.config.clone();
    loop {
        staff(&delivering, &tracker, &mut crews, &stop).await;
        tokio::select! {
            () = config.replaced() => {}
            () = stop.cancelled() => break,
        }
    }
    tracker.close();
    tracker.wait().await;
}

/// One crew a partner and numbers of associations and connections: a change of them ends the old crew after its current attempts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Crew {
    partner: PartnerId,
    associations: usize,
    /// MLLP.
    connections: usize,
}

async fn staff(
    delivering: &Delivering,
    tracker: &TaskTracker,
    crews: &mut HashMap<Crew, CancellationToken>,
    stop: &CancellationToken,
) {
    let config = delivering.config.now();
    let wanted: Vec<Crew> = config
        .partners
        .values()
        .filter(|partner| {
            partner.dicom.as_ref().is_some_and(|dicom| dicom.deliver.is_some())
                || partner.hl7.as_ref().is_some_and(|hl7| hl7.deliver.is_some())
        })
        .map(|partner| {
            let target = partner.dicom.as_ref().and_then(|dicom| dicom.deliver.as_ref());
            let associations = target.map_or(1, |target| target.associations);
            let target = partner.hl7.as_ref().and_then(|hl7| hl7.deliver.as_ref());
            let connections = target.map_or(1, |target| target.connections);
            Crew { partner: partner.id.clone(), associations, connections }
        })
        .collect();
    crews.retain(|crew, end| {
        let stays = wanted.contains(crew);
        if !stays {
            end.cancel();
        }
        stays
    });
    for crew in wanted {
        if crews.contains_key(&crew) {
            continue;
        }
        let end = stop.child_token();
        // A slide that gives way keeps its association: one beside those of the others, or stat images would have one less.
        let (slots, bulk, way) = (Slots::new(crew.associations), Slots::new(1), Way::new());
        let messages = Arc::new(Waiting::default());
        for _ in 0..crew.connections {
            tracker.spawn(mllp_lines::keep(delivering.clone(), Arc::clone(&messages), end.clone()));
        }
        for lane in Lane::ALL {
            let workers = if lane == Lane::Bulk { 1 } else { crew.associations };
            for _ in 0..workers {
                let slots = if lane == Lane::Bulk { &bulk } else { &slots };
                let (slots, way, messages) = (Arc::clone(slots), Arc::clone(&way), Arc::clone(&messages));
                let shared = Shared { slots, way, messages };
                tracker.spawn(work(delivering.clone(), crew.partner.clone(), lane, shared, end.clone()));
            }
        }
        crews.insert(crew, end);
    }
}

/// What the workers of a partner share.
struct Shared {
    slots: Arc<Slots>,
    way: Arc<Way>,
    /// What waits for a connection.
    messages: Arc<Waiting>,
}

async fn work(delivering: Delivering, partner: PartnerId, lane: Lane, shared: Shared, end: CancellationToken) {
    let Shared { slots, way, messages } = &shared;
    let mut consumer = delivering.carrier.consume(&partner, lane, 1).await;
    let mut lines = Lines::default();
    loop {
        let idle = lines.dicom.is_open();
        let carried = tokio::select! {
            carried = consumer.next() => carried,
            () = tokio::time::sleep(KEEP_LINE), if idle => {
                lines.let_go().await;
                continue;
            }
            () = slots.wanted(), if idle => {
                lines.let_go().await;
                continue;
            }
            () = end.cancelled() => None,
        };
        let Some(carried) = carried else { break };
        if carried.envelope.kind.channel() == Channel::Hl7 {
            let is_taken = tokio::select! {
                is_taken = messages.put(&carried.envelope) => is_taken,
                () = end.cancelled() => false,
            };
            if !is_taken {
                break;
            }
            carried.done().await;
            continue;
        }
        let going = right_of_way(lane, way, &mut lines, &end).await;
        if lines.slot.is_none() {
            lines.slot = tokio::select! {
                slot = slots.take() => slot,
                () = end.cancelled() => break,
            };
        }
        // Dropped, it is carried again; its row, if claimed, is taken back at the next start.
        if Box::pin(delivering.attempt(&carried.envelope, &mut lines, &end)).await.is_some() {
            carried.done().await;
        }
        drop(going);
        if !lines.dicom.is_open() || slots.is_wanted() {
            lines.let_go().await;
        }
    }
    lines.let_go().await;
}

/// Stat images take the way; others wait until it is free, without an association.
async fn right_of_way(lane: Lane, way: &Arc<Way>, lines: &mut Lines, end: &CancellationToken) -> Option<Going> {
    if lane == Lane::Stat {
        return Some(way.go());
    }
    let mut gives = true;
    if way.is_taken() {
        lines.let_go().await;
        gives = tokio::select! {
            is_free = way.free() => is_free,
            () = end.cancelled() => true,
        };
    }
    lines.way = Some(Arc::clone(way)).filter(|_| gives);
    None
}

/// What a worker keeps open to its partner: an association, or a connection.
#[derive(Default)]
pub struct Lines {
    pub dicom: Line,
    pub hl7: Option<Hl7Line>,
    /// Where messages wait for connections, and how the last ones have fared.
    pub waiting: Option<Arc<Waiting>>,
    /// Held while `dicom` is open.
    slot: Option<Slot>,
    /// Whom the attempt gives way to.
    way: Option<Arc<Way>>,
}

impl Lines {
    pub fn for_messages(waiting: &Arc<Waiting>) -> Self {
        Self { waiting: Some(Arc::clone(waiting)), ..Self::default() }
    }

    /// Releases the association, then its slot.
    async fn let_go(&mut self) {
        self.dicom.release().await;
        self.slot = None;
    }
}

/// What one attempt at anything came to.
pub struct Attempted {
    pub outcome: Outcome,
    pub done_to: i64,
    pub refused: Vec<RefusedInstance>,
    /// What left under identifiers of the partner's own.
    pub mapped: Vec<SentInstance>,
    /// It broke off after the connection stood, and what was sent is one thing: that may be the trouble.
    pub broke_off: bool,
    /// It broke off, and as far as is known no other message does: the partner is not paused over it.
    pub may_be_it: bool,
}

impl Attempted {
    pub fn ended(delivery: &DeliveryRow, outcome: Outcome) -> Self {
        let (refused, mapped) = (delivery.refused.clone(), Vec::new());
        Self { outcome, done_to: delivery.done_to, refused, mapped, broke_off: false, may_be_it: false }
    }
}

/// How far an attempt has come.
struct Reached {
    done_to: i64,
    mapped: Vec<SentInstance>,
}

impl Delivering {
    /// Claims, makes and settles one attempt. While the database is away it waits with what it has: an outcome that is
    /// known is not given up. `None`: told to end before the database was back, or the ledger's row cannot be read.
    pub(super) async fn attempt(&self, envelope: &Envelope, lines: &mut Lines, end: &CancellationToken) -> Option<()> {
        let mut doubtful = None;
        let claimed = loop {
            match self.claim(envelope, &mut doubtful).await {
                Ok(claimed) => break claimed,
                Err(error) => {
                    database_away(&envelope.partner, &error, end).await?;
                    if error.is_about_one() {
                        return None;
                    }
                }
            }
        };
        // Done already, withdrawn, or in other hands: the envelope has served.
        let Some(mut delivery) = claimed else { return Some(()) };
        // For what the rooms of the wire and the disk log meanwhile, at whatever level.
        let (case, site, attempt) = (delivery.case, &delivery.partner, delivery.attempts);
        let span = tracing::error_span!("attempt", case.id = %case, %site, attempt);
        let mut attempted = Box::pin(self.make(&delivery, lines)).instrument(span).await;
        let waiting = lines.waiting.as_ref();
        attempted.may_be_it = waiting.is_some_and(|waiting| waiting.may_be_the_message(delivery.id, &attempted));
        delivery.refused.clone_from(&attempted.refused);
        let now = self.clock.now();
        let config = self.config.now();
        let verdict = verdict(&delivery, &attempted, &config.delivery, now);
        let ending = Ending {
            attempted: &attempted,
            verdict: &verdict,
            asks_commitment: config.asks_commitment_of(&delivery.partner),
            now,
        };
        loop {
            match settle(&self.store, &delivery, &ending).await {
                Ok(settled) => {
                    log(&delivery, &attempted.outcome, settled);
                    break;
                }
                // Its case cannot be read or moved: no worker waits for that.
                Err(error) if error.is_about_one() => {
                    settle_alone(&self.store, &delivery, &ending, &error).await;
                    break;
                }
                Err(error) => database_away(&envelope.partner, &error, end).await?,
            }
        }
        self.handoff.ring();
        Some(())
    }

    /// `None`: it is not to be tried now. `doubtful`: the number of an attempt whose claim the database did not confirm.
    async fn claim(&self, envelope: &Envelope, doubtful: &mut Option<i64>) -> Result<Option<Claimed>, StoreError> {
        let now = self.clock.now();
        let node = self.config.now().node.name.clone();
        let mut tx = self.store.begin(Durability::Process).await?;
        if let Some(attempt) = *doubtful {
            tx.unclaim(envelope.delivery, attempt).await?;
        }
        let claimed = if tx.is_paused(&envelope.partner, envelope.kind.channel()).await? {
            // Queued before the partner was paused: owed again, due when it is back.
            tx.not_published(envelope.delivery, now).await?;
            None
        } else {
            tx.claim(envelope.delivery, now, now + LEASE, &node).await?
        };
        *doubtful = claimed.as_ref().map(|delivery| delivery.attempts).or(*doubtful);
        tx.commit().await?;
        Ok(claimed)
    }

    /// Makes the attempt, and keeps the lease while it runs, however long that is.
    async fn make(&self, delivery: &Claimed, lines: &mut Lines) -> Attempted {
        let reached = Mutex::new(Reached { done_to: delivery.done_to, mapped: Vec::new() });
        let making = async {
            match delivery.kind {
                // On the heap: it is the larger of the two by far.
                DeliveryKind::Images => {
                    let way = lines.way.clone();
                    Box::pin(self.send_images(delivery, &mut lines.dicom, &reached, way)).await
                }
                DeliveryKind::Message => report::send_message(self, delivery, lines).await,
                DeliveryKind::ReportOru
                | DeliveryKind::ReportOul
                | DeliveryKind::ReportMdm
                | DeliveryKind::ReportPdf
                | DeliveryKind::ReportSr => report::send(self, delivery, lines).await,
            }
        };
        match Box::pin(while_noting(NOTE_EVERY, making, || self.note(delivery, &reached))).await {
            Some(Ok(attempted)) => attempted,
            Some(Err(error)) => Attempted::ended(delivery, not_read(&error)),
            None => {
                let reason = "its lease ran out, and it was owed again meanwhile".to_owned();
                Attempted::ended(delivery, Outcome::NotYet { reason, after: Duration::ZERO })
            }
        }
    }

    async fn send_images(
        &self,
        delivery: &Claimed,
        line: &mut Line,
        reached: &Mutex<Reached>,
        way: Option<Arc<Way>>,
    ) -> Result<Attempted, StoreError> {
        let case = self.store.case(delivery.case).await?;
        if unwanted(&case, delivery) {
            let reason = "the case is held or goes to another reader".to_owned();
            return Ok(Attempted::ended(delivery, Outcome::NotYet { reason, after: Duration::ZERO }));
        }
        let config = self.config.now();
        let target = match c_store::target(config.partners.get(&delivery.partner)) {
            Ok(target) => target,
            Err(outcome) => return Ok(Attempted::ended(delivery, outcome)),
        };
        let instances = self.store.deliverable(delivery.case, delivery.done_to + 1, delivery.last_seq).await?;
        if instances.is_empty() {
            return Ok(Attempted {
                done_to: delivery.last_seq,
                ..Attempted::ended(delivery, Outcome::Delivered { warning: None })
            });
        }
        if instances.iter().any(|instance| !instance.on_disk) {
            let reason =
                "its images have been taken off this node's disk ([retention]); have them sent to it again".into();
            return Ok(Attempted::ended(delivery, Outcome::Refused { reason, fault: Fault::Ours }));
        }
        let settings = c_store::settings(&config);
        let last_try = match &delivery.last_outcome {
            Some(outcome) if delivery.tries() >= OWN_ATTEMPTS => Some(reason(outcome)),
            _ => None,
        };
        let identities = Identities::toward(&delivery.partner, &case, &config, &self.store, self.clock.now());
        let (way, is_bulk) = (way.as_deref(), delivery.lane == Lane::Bulk);
        let batch = Batch { spool: &self.spool, instances: &instances, identities, way, is_bulk };
        let sending = c_store::send(line, &settings, &target, batch, last_try, |seq, mapped| {
            let mut reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
            reached.done_to = seq;
            reached.mapped.extend(mapped);
        });
        let Sent { done_to, refused, mapped, outcome } = sending.await;
        let mut all_refused = delivery.refused.clone();
        all_refused.extend(refused);
        let done_to = if matches!(outcome, Outcome::Delivered { .. }) { delivery.last_seq } else { done_to };
        metrics::counter!("neisse_instances_delivered_total", "partner" => delivery.partner.to_string())
            .increment(u64::try_from(instances.iter().filter(|i| i.seq <= done_to).count()).unwrap_or(0));
        Ok(Attempted { outcome, done_to, refused: all_refused, mapped, broke_off: false, may_be_it: false })
    }

    /// Writes down how far the attempt has come, which keeps its lease. False: it is no longer ours.
    async fn note(&self, delivery: &Claimed, reached: &Mutex<Reached>) -> bool {
        let (done_to, mapped) = {
            let reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
            (reached.done_to, reached.mapped.clone())
        };
        let lease = self.clock.now() + LEASE;
        let noting = async {
            let mut tx = self.store.begin(Durability::Process).await?;
            let ours = tx.progress(delivery.id, delivery.attempts, done_to, lease).await?;
            tx.note_sent(delivery.case, &delivery.partner, &mapped).await?;
            tx.commit().await?;
            Ok::<_, StoreError>(ours)
        };
        noting.await.unwrap_or_else(|error| {
            tracing::warn!(delivery.id = %delivery.id, error = %chain(&error), "Progress could not be noted");
            true
        })
    }
}

/// Lets an attempt run while `note` is asked for from time to time. `None`: a note said that it is no longer ours.
async fn while_noting<T, N: Future<Output = bool>>(
    every: Duration,
    attempt: impl Future<Output = T>,
    mut note: impl FnMut() -> N,
) -> Option<T> {
    let mut attempt = std::pin::pin!(attempt);
    loop {
        tokio::select! {
            ended = &mut attempt => return Some(ended),
            () = tokio::time::sleep(every) => {}
        }
        // The attempt goes on while the database is slow or away; a note that was begun is not broken off.
        let mut noting = std::pin::pin!(note());
        tokio::select! {
            ended = &mut attempt => {
                noting.await;
                return Some(ended);
            }
            ours = &mut noting => if !ours {
                return None;
            },
        }
    }
}

/// Waits a moment; `None` when told to end.
async fn database_away(partner: &PartnerId, error: &StoreError, end: &CancellationToken) -> Option<()> {
    tracing::error!(site = %partner, error = %chain(error), "A delivery to {partner} cannot be recorded; it waits for the database");
    tokio::select! {
        () = tokio::time::sleep(DATABASE_AWAY) => Some(()),
        () = end.cancelled() => None,
    }
}

/// What was to be sent could not be read from the database. One that is away is nobody's attempt.
pub(super) fn not_read(error: &StoreError) -> Outcome {
    let reason = format!("its content cannot be read: {}", chain(error));
    match error {
        StoreError::Database(_) => Outcome::NotYet { reason, after: DATABASE_AWAY },
        _ => Outcome::TryAgain { reason, fault: Fault::Ours },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn an_attempt_that_is_no_longer_ours_ends() {
        let notes = Mutex::new(0);
        let note = async || {
            let mut notes = notes.lock().unwrap();
            *notes += 1;
            *notes < 3
        };
        assert_eq!(while_noting(SHORT, std::future::pending::<()>(), note).await, None);
        assert_eq!(*notes.lock().unwrap(), 3);
    }

    #[tokio::test]
    async fn an_attempt_goes_on_while_a_note_waits_for_the_database() {
        let (sent, all_sent) = tokio::sync::watch::channel(false);
        let notes = Mutex::new(0);
        let note = || {
            *notes.lock().unwrap() += 1;
            let mut all_sent = all_sent.clone();
            async move { all_sent.wait_for(|all| *all).await.is_ok() }
        };
        let attempt = async {
            tokio::time::sleep(SHORT * 10).await;
            sent.send_replace(true);
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), while_noting(SHORT, attempt, note)).await;
        assert_eq!(ended.expect("not held up by its note"), Some(()));
        assert_eq!(*notes.lock().unwrap(), 1, "one at a time");
    }
}
