//! The MLLP connections to a partner: as many as it takes, often one, shared by its lanes and kept open.
//!
//! In: envelopes of HL7 messages, handed over by the workers that take them off the queue, so that no image waits for an
//! interface engine. Out: attempts, one after the other on each connection, stat before routine. HL7 receivers expect one outstanding message on a
//! connection; many take one connection, and turn a second one away.
//!
//! What waits here is no longer on the queue: its row says `queued`, and is owed again when this node ends, starts anew or its
//! lease runs out. Few wait at a time. Remembers the message that got no answer, so that another one is tried before the partner is
//! taken for away.

use super::{
    report::Hl7Line,
    worker::{Attempted, Delivering, Lines},
};
use crate::{
    model::{DeliveryId, Fault, Lane, Outcome, chain},
    queue::envelope::Envelope,
    store::{Durability, StoreError},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Of one lane. More wait on the queue.
const MOST_WAITING: usize = 64;
/// An idle connection is closed after this.
const KEEP: Duration = Duration::from_secs(5 * 60);

/// What waits for a connection to one partner.
#[derive(Default)]
pub struct Waiting {
    lanes: Mutex<Lanes>,
    more: Notify,
    room: Notify,
    /// The last message that got no answer, if none has got one since.
    unanswered: Mutex<Option<DeliveryId>>,
}

#[derive(Default)]
struct Lanes {
    stat: VecDeque<Envelope>,
    routine: VecDeque<Envelope>,
    bulk: VecDeque<Envelope>,
    is_closed: bool,
}

impl Lanes {
    fn of(&mut self, lane: Lane) -> &mut VecDeque<Envelope> {
        match lane {
            Lane::Stat => &mut self.stat,
            Lane::Routine => &mut self.routine,
            Lane::Bulk => &mut self.bulk,
        }
    }

    fn next(&mut self) -> Option<Envelope> {
        Lane::ALL.into_iter().find_map(|lane| self.of(lane).pop_front())
    }
}

impl Waiting {
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room. False: nothing is sent from here any more.
    pub async fn put(&self, envelope: &Envelope) -> bool {
        loop {
            let room = self.room.notified();
            {
                let mut lanes = self.lanes();
                if lanes.is_closed {
                    return false;
                }
                let lane = lanes.of(envelope.lane);
                if lane.len() < MOST_WAITING {
                    lane.push_back(envelope.clone());
                    self.more.notify_one();
                    return true;
                }
            }
            room.await;
        }
    }

    /// The most urgent one. May be cancelled: nothing is lost by it.
    async fn next(&self) -> Envelope {
        loop {
            let more = self.more.notified();
            let next = self.lanes().next();
            if let Some(envelope) = next {
                self.room.notify_waiters();
                return envelope;
            }
            more.await;
        }
    }

    fn close(&self) -> Vec<Envelope> {
        let mut lanes = self.lanes();
        lanes.is_closed = true;
        self.room.notify_waiters();
        std::iter::from_fn(|| lanes.next()).collect()
    }

    /// Whether this attempt got no answer and no other message has fared so since the partner last answered: then it may be the
    /// message, and another one is to be tried.
    pub fn may_be_the_message(&self, delivery: DeliveryId, attempted: &Attempted) -> bool {
        let mut unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        match &attempted.outcome {
            Outcome::TryAgain { .. } if attempted.broke_off => {
                unanswered.replace(delivery).is_none_or(|before| before == delivery)
            }
            // It cannot be reached, or it is not about the partner.
            Outcome::TryAgain { fault: Fault::Partner | Fault::Agreement | Fault::Ours, .. }
            | Outcome::Refused { fault: Fault::Ours, .. }
            | Outcome::NotYet { .. } => false,
            Outcome::Delivered { .. } | Outcome::TryAgain { .. } | Outcome::Refused { .. } => {
                *unanswered = None;
                false
            }
        }
    }
}

/// Keeps one connection until `end`, and makes one attempt at a time on it.
pub async fn keep(delivering: Delivering, waiting: Arc<Waiting>, end: CancellationToken) {
    let mut lines = Lines::for_messages(&waiting);
    loop {
        let envelope = tokio::select! {
            biased;
            () = end.cancelled() => break,
            () = idle(&mut lines.hl7) => {
                lines.hl7 = None;
                continue;
            }
            envelope = waiting.next() => envelope,
        };
        // Dropped, it is owed again at the next start, or when its lease runs out.
        let _ = Box::pin(delivering.attempt(&envelope, &mut lines, &end)).await;
    }
    // Whichever connection ends first does it for all.
    let left = waiting.close();
    if let Err(error) = owe_again(&delivering, &left).await {
        tracing::error!(error = %chain(&error), deliveries = left.len(), "What waited for a connection is owed again when its lease runs out");
    }
}

/// Until the connection is not needed any more, or the partner has closed it. There is none: for ever.
async fn idle(line: &mut Option<Hl7Line>) {
    match line {
        Some(line) => tokio::select! {
            () = tokio::time::sleep(KEEP) => {}
            () = line.until_gone() => {}
        },
        None => std::future::pending().await,
    }
}

async fn owe_again(delivering: &Delivering, left: &[Envelope]) -> Result<(), StoreError> {
    if left.is_empty() {
        return Ok(());
    }
    // In the order of their ids, as everything does that changes several deliveries at once.
    let mut ids: Vec<DeliveryId> = left.iter().map(|envelope| envelope.delivery).collect();
    ids.sort_unstable();
    let now = delivering.clock.now();
    let mut tx = delivering.store.begin(Durability::Process).await?;
    for id in ids {
        tx.not_published(id, now).await?;
    }
    tx.commit().await?;
    delivering.handoff.ring();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{CaseId, DeliveryKind, Moment, PartnerId},
        queue::envelope::VERSION,
    };

    fn envelope(lane: Lane) -> Envelope {
        Envelope {
            version: VERSION,
            delivery: DeliveryId::generate(),
            case: CaseId::generate(),
            partner: PartnerId::new("chemnitz").expect("an id"),
            lane,
            kind: DeliveryKind::Message,
            items: 1,
            bytes: 1,
            content: String::new(),
            created: Moment(0),
            deadline: None,
        }
    }

    #[tokio::test]
    async fn stat_goes_before_what_waited_longer_and_the_rest_in_its_order() {
        let waiting = Waiting::default();
        let sent: Vec<Envelope> =
            [Lane::Bulk, Lane::Routine, Lane::Routine, Lane::Stat, Lane::Stat].map(envelope).into();
        for one in &sent {
            assert!(waiting.put(one).await);
        }
        for expected in [3, 4, 1, 2, 0] {
            assert_eq!(waiting.next().await, sent[expected]);
        }
    }

    #[tokio::test]
    async fn few_wait_and_nothing_is_taken_at_the_end() {
        let waiting = Arc::new(Waiting::default());
        for _ in 0..MOST_WAITING {
            assert!(waiting.put(&envelope(Lane::Routine)).await);
        }
        assert!(waiting.put(&envelope(Lane::Stat)).await, "another lane has room of its own");
        let late = |waiting: &Arc<Waiting>| {
            let waiting = Arc::clone(waiting);
            tokio::spawn(async move { waiting.put(&envelope(Lane::Routine)).await })
        };
        let one_more = late(&waiting);
        tokio::task::yield_now().await;
        assert!(!one_more.is_finished());
        assert_eq!(waiting.next().await.lane, Lane::Stat);
        assert_eq!(waiting.next().await.lane, Lane::Routine);
        assert!(one_more.await.expect("no panic"));
        let too_late = late(&waiting);
        tokio::task::yield_now().await;
        assert_eq!(waiting.close().len(), MOST_WAITING);
        assert!(!too_late.await.expect("no panic"));
        assert!(!waiting.put(&envelope(Lane::Stat)).await);
    }

    #[test]
    fn one_message_without_an_answer_is_not_yet_the_partner_s_fault() {
        let (waiting, one, other) = (Waiting::default(), DeliveryId::generate(), DeliveryId::generate());
        let fared = |delivery, outcome, broke_off| {
            let attempted =
                Attempted { outcome, done_to: 0, refused: vec![], mapped: vec![], broke_off, may_be_it: false };
            waiting.may_be_the_message(delivery, &attempted)
        };
        let again = |fault| Outcome::TryAgain { reason: String::new(), fault };
        assert!(fared(one, again(Fault::Partner), true));
        assert!(fared(one, again(Fault::Partner), true), "the same message once more");
        assert!(!fared(one, again(Fault::Partner), false), "it cannot be reached");
        assert!(!fared(other, again(Fault::Partner), true), "two in a row");
        assert!(!fared(one, again(Fault::Partner), true));
        assert!(!fared(other, Outcome::Delivered { warning: None }, false));
        assert!(fared(one, again(Fault::Partner), true), "it has answered another one since");
        assert!(!fared(other, again(Fault::Case), false), "a rejection is an answer");
        assert!(fared(one, again(Fault::Partner), true));
    }
}
