//! The carrier inside this process: one bounded line of envelopes for each partner and lane.
//!
//! The default of a single node. Forgets everything when the process ends, which loses nothing: the ledger refills it
//! at start. Behaves like `amqp` in all a worker can see: order, prefetch, giving back, dead ones, unknown partners.

use super::{Carried, CarrierState, DELIVERY_LIMIT, DeadLetter, Envelope, PublishError, Receipt};
use crate::model::{Lane, PartnerId};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

/// Envelopes waiting in one lane; about 300 bytes each. More stay in the ledger until there is room.
pub const LANE_CAPACITY: usize = 10_000;

/// Dead ones kept to be looked at. The ledger knows them all; the oldest here gives way, with a line in the log.
const DEAD_CAPACITY: usize = 1_000;

#[derive(Clone)]
pub struct MemoryCarrier(Arc<Shared>);

struct Shared {
    lanes: Mutex<HashMap<(PartnerId, Lane), Arc<Line>>>,
    dead: Mutex<VecDeque<DeadLetter>>,
    closed: watch::Sender<bool>,
    state: watch::Sender<CarrierState>,
    /// Never changes: nobody else can take a line away.
    lost: watch::Sender<u64>,
}

/// One lane of one partner.
#[derive(Default)]
struct Line {
    waiting: Mutex<VecDeque<Waiting>>,
    next_place: AtomicU64,
    arrived: Notify,
}

struct Waiting {
    /// Its place in the line, kept when it is given back.
    place: u64,
    envelope: Envelope,
    given_back: u32,
}

/// The data behind a lock is whole between statements here, so a panic elsewhere does not spoil it.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryCarrier {
    pub fn new(partners: &[PartnerId]) -> Self {
        let carrier = Self(Arc::new(Shared {
            lanes: Mutex::default(),
            dead: Mutex::default(),
            closed: watch::Sender::new(false),
            state: watch::Sender::new(CarrierState::Up),
            lost: watch::Sender::new(0),
        }));
        carrier.declare(partners);
        metrics::gauge!("neisse_queue_up").set(1.0);
        carrier
    }

    pub(super) fn declare(&self, partners: &[PartnerId]) {
        let mut lanes = held(&self.0.lanes);
        for partner in partners {
            for lane in Lane::ALL {
                lanes.entry((partner.clone(), lane)).or_default();
            }
        }
    }

    pub(super) fn publish(&self, envelope: &Envelope) -> Result<(), PublishError> {
        envelope.to_bytes()?;
        if *self.0.closed.borrow() {
            return Err(PublishError::Unavailable("closed".to_string()));
        }
        let line = held(&self.0.lanes).get(&(envelope.partner.clone(), envelope.lane)).cloned();
        let line = line.ok_or(PublishError::Unroutable)?;
        let mut waiting = held(&line.waiting);
        if waiting.len() >= LANE_CAPACITY {
            return Err(PublishError::Unavailable(format!("{LANE_CAPACITY} envelopes are waiting in this lane")));
        }
        let place = line.next_place.fetch_add(1, Ordering::Relaxed);
        waiting.push_back(Waiting { place, envelope: envelope.clone(), given_back: 0 });
        drop(waiting);
        line.arrived.notify_one();
        Ok(())
    }

    pub(super) fn consume(&self, partner: &PartnerId, lane: Lane, prefetch: u16) -> MemoryConsumer {
        // A consumer makes its lane, as declaring its queue does with a broker.
        let line = held(&self.0.lanes).entry((partner.clone(), lane)).or_default().clone();
        MemoryConsumer {
            shared: Arc::clone(&self.0),
            line,
            free: Arc::new(Semaphore::new(usize::from(prefetch))),
            closed: self.0.closed.subscribe(),
        }
    }

    pub(super) fn state(&self) -> watch::Receiver<CarrierState> {
        self.0.state.subscribe()
    }

    pub(super) fn lost(&self) -> watch::Receiver<u64> {
        self.0.lost.subscribe()
    }

    pub(super) fn take_dead(&self) -> Option<DeadLetter> {
        held(&self.0.dead).pop_front()
    }

    pub(super) fn close(&self) {
        self.0.closed.send_replace(true);
        self.0.state.send_replace(CarrierState::Down { reason: "closed".to_string() });
        metrics::gauge!("neisse_queue_up").set(0.0);
    }
}

impl Shared {
    fn bury(&self, envelope: Envelope, reason: String) {
        tracing::warn!(delivery.id = %envelope.delivery, partner = %envelope.partner, reason, "An envelope is dead");
        let mut dead = held(&self.dead);
        if dead.len() >= DEAD_CAPACITY
            && let Some(oldest) = dead.pop_front()
        {
            let id = oldest.envelope.map(|envelope| envelope.delivery.to_string());
            tracing::error!(
                delivery.id = id,
                "More than {DEAD_CAPACITY} dead envelopes; the oldest is only in the ledger now"
            );
        }
        dead.push_back(DeadLetter { envelope: Some(envelope), reason });
    }
}

pub struct MemoryConsumer {
    shared: Arc<Shared>,
    line: Arc<Line>,
    /// As many permits as envelopes may be out at a time.
    free: Arc<Semaphore>,
    closed: watch::Receiver<bool>,
}

impl MemoryConsumer {
    pub(super) async fn next(&mut self) -> Option<Carried> {
        let permit = tokio::select! {
            biased;
            _ = self.closed.wait_for(|closed| *closed) => return None,
            permit = Arc::clone(&self.free).acquire_owned() => permit.ok()?,
        };
        loop {
            let arrived = self.line.arrived.notified();
            if *self.closed.borrow() {
                return None;
            }
            let (first, more) = {
                let mut waiting = held(&self.line.waiting);
                (waiting.pop_front(), !waiting.is_empty())
            };
            if let Some(first) = first {
                if more {
                    // One notice wakes one consumer; pass it on while there is more.
                    self.line.arrived.notify_one();
                }
                let (envelope, redelivered) = (first.envelope.clone(), first.given_back > 0);
                let receipt = MemoryReceipt {
                    carried: Some(first),
                    shared: Arc::clone(&self.shared),
                    line: Arc::clone(&self.line),
                    _out: permit,
                };
                return Some(Carried { envelope, redelivered, receipt: Receipt::Memory(receipt) });
            }
            tokio::select! {
                () = arrived => {}
                _ = self.closed.wait_for(|closed| *closed) => return None,
            }
        }
    }
}

pub(super) struct MemoryReceipt {
    /// Taken by `done` and `dead`; what is still here on drop goes back to its place in the line.
    carried: Option<Waiting>,
    shared: Arc<Shared>,
    line: Arc<Line>,
    _out: OwnedSemaphorePermit,
}

impl MemoryReceipt {
    pub(super) fn done(mut self) {
        self.carried = None;
    }

    pub(super) fn dead(mut self, reason: String) {
        if let Some(carried) = self.carried.take() {
            self.shared.bury(carried.envelope, reason);
        }
    }
}

impl Drop for MemoryReceipt {
    fn drop(&mut self) {
        let Some(mut carried) = self.carried.take() else {
            return;
        };
        if carried.given_back >= DELIVERY_LIMIT {
            self.shared.bury(carried.envelope, "delivery_limit".to_string());
            return;
        }
        carried.given_back += 1;
        let mut waiting = held(&self.line.waiting);
        let at = waiting.iter().position(|other| other.place > carried.place).unwrap_or(waiting.len());
        waiting.insert(at, carried);
        drop(waiting);
        self.line.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CaseId, DeliveryId, DeliveryKind, Moment};

    fn envelope(partner: &PartnerId) -> Envelope {
        let delivery = DeliveryId::generate();
        Envelope {
            version: super::super::envelope::VERSION,
            delivery,
            case: CaseId::generate(),
            partner: partner.clone(),
            lane: Lane::Routine,
            kind: DeliveryKind::Images,
            items: 1,
            bytes: 1,
            content: format!("deliveries/{delivery}/content"),
            created: Moment(0),
            deadline: None,
        }
    }

    #[test]
    fn a_full_lane_takes_no_more_and_says_so() {
        let partner = PartnerId::new("chemnitz").unwrap();
        let carrier = MemoryCarrier::new(std::slice::from_ref(&partner));
        for _ in 0..LANE_CAPACITY {
            carrier.publish(&envelope(&partner)).unwrap();
        }
        assert!(matches!(carrier.publish(&envelope(&partner)), Err(PublishError::Unavailable(_))));
    }

    #[test]
    fn the_oldest_dead_one_gives_way() {
        let partner = PartnerId::new("chemnitz").unwrap();
        let carrier = MemoryCarrier::new(&[]);
        for number in 0..=DEAD_CAPACITY {
            carrier.0.bury(envelope(&partner), number.to_string());
        }
        assert_eq!(carrier.take_dead().unwrap().reason, "1");
    }
}
