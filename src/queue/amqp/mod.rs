//! The carrier by RabbitMQ (AMQP 0-9-1): quorum queues, publisher confirms, manual acknowledgement.
//!
//! In: envelopes. Out: the same envelopes, at least once, on whichever node consumes. Two connections, one to publish
//! and one to consume, because a broker that is low on memory stops reading from publishers only. The broker may be
//! absent, at the start or later: envelopes wait in the ledger then, and nothing here keeps any.

pub mod connect;
mod consume;
mod link;
mod publish;
pub mod topology;

use super::{CarrierError, CarrierState, DeadLetter, Envelope, PublishError};
use crate::config::Amqp;
use crate::model::{Lane, PartnerId};
use link::Link;
use publish::Publisher;
use std::{
    sync::{Arc, Mutex, Once, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

pub use consume::AmqpConsumer;
pub(super) use consume::AmqpReceipt;

/// How long `close` waits for the two connections to say goodbye.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct AmqpCarrier(Arc<Shared>);

struct Shared {
    node: String,
    partners: Arc<Mutex<Vec<PartnerId>>>,
    publisher: Publisher,
    consuming: Arc<Link>,
    /// A node without consumers has no second connection.
    consuming_started: Once,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    state: watch::Sender<CarrierState>,
    /// Counts queues that were found deleted, by a consumer or by an unroutable envelope.
    lost: watch::Sender<u64>,
}

/// Both connections' states, and what the carrier's is by them: the worse of the two.
#[derive(Default)]
struct Parts {
    publishing: Option<CarrierState>,
    consuming: Option<CarrierState>,
}

impl Parts {
    fn whole(&self) -> CarrierState {
        let badness = |state: &&CarrierState| match state {
            CarrierState::Up => 0,
            CarrierState::Blocked { .. } => 1,
            CarrierState::Down { .. } => 2,
        };
        // A node always publishes, so before its first word that connection is down, however well the other is.
        let not_yet = || CarrierState::Down { reason: "not connected yet".to_string() };
        let publishing = self.publishing.clone().unwrap_or_else(not_yet);
        let both = [Some(publishing), self.consuming.clone()];
        let both = both.iter().flatten();
        both.max_by_key(badness).cloned().unwrap_or(CarrierState::Up)
    }
}

impl AmqpCarrier {
    /// Starts to connect. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the URL is not AMQP, or certificates cannot be read. A broker that is not there is not an error.
    pub fn open(config: Amqp, node: &str, partners: Vec<PartnerId>) -> Result<Self, CarrierError> {
        let uri = connect::parse_url(&config.url)?;
        connect::tls(&config, &uri)?;
        let partners = Arc::new(Mutex::new(partners));
        let state = watch::Sender::new(CarrierState::Down { reason: "not connected yet".to_string() });
        let lost = watch::Sender::new(0);
        let parts = Arc::new(Mutex::new(Parts::default()));
        let link = |does: &str, put: fn(&mut Parts, CarrierState)| {
            let (parts, state) = (Arc::clone(&parts), state.clone());
            let report = Box::new(move |part: CarrierState| {
                // Sent while still holding the lock, so that the last word is the last state.
                let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
                put(&mut parts, part);
                let whole = parts.whole();
                metrics::gauge!("neisse_queue_up").set(if whole == CarrierState::Up { 1.0 } else { 0.0 });
                state.send_replace(whole);
            });
            let name = format!("neisse {node} {does}");
            Arc::new(Link::new(config.clone(), uri.clone(), name, Arc::clone(&partners), lost.clone(), report))
        };
        let publishing = link("publish", |parts, part| parts.publishing = Some(part));
        let consuming = link("consume", |parts, part| parts.consuming = Some(part));
        let task = tokio::spawn(Arc::clone(&publishing).keep());
        Ok(Self(Arc::new(Shared {
            node: node.to_string(),
            partners,
            publisher: Publisher::new(publishing),
            consuming,
            consuming_started: Once::new(),
            tasks: Mutex::new(vec![task]),
            state,
            lost,
        })))
    }

    pub(super) async fn publish(&self, envelope: &Envelope) -> Result<(), PublishError> {
        let result = self.0.publisher.publish(envelope).await;
        if result == Err(PublishError::Unroutable) && self.knows(&envelope.partner) {
            // Someone deleted a queue that should be there: the next attempt finds it.
            self.0.publisher.link().missing();
        }
        result
    }

    fn knows(&self, partner: &PartnerId) -> bool {
        self.0.partners.lock().unwrap_or_else(PoisonError::into_inner).contains(partner)
    }

    pub(super) fn consume(&self, partner: &PartnerId, lane: Lane, prefetch: u16) -> AmqpConsumer {
        self.0.consuming_started.call_once(|| {
            let task = tokio::spawn(Arc::clone(&self.0.consuming).keep());
            self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        });
        AmqpConsumer::new(self.clone(), partner.clone(), lane, prefetch)
    }

    pub(super) fn declare(&self, partners: Vec<PartnerId>) {
        *self.0.partners.lock().unwrap_or_else(PoisonError::into_inner) = partners;
        self.0.publisher.link().incomplete();
    }

    pub(super) fn state(&self) -> watch::Receiver<CarrierState> {
        self.0.state.subscribe()
    }

    pub(super) fn lost(&self) -> watch::Receiver<u64> {
        self.0.lost.subscribe()
    }

    pub(super) async fn take_dead(&self) -> Option<DeadLetter> {
        consume::take_dead(self).await
    }

    pub(super) async fn close(&self) {
        self.0.publisher.link().close();
        self.0.consuming.close();
        let tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // The task ends by itself; a broker that does not say goodbye is not waited for.
            let _ = timeout(CLOSE_WITHIN, task).await;
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.publisher.link().close();
        self.consuming.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carrier_is_as_well_as_its_worse_connection() {
        let down = || Some(CarrierState::Down { reason: "cut".to_string() });
        let blocked = || Some(CarrierState::Blocked { reason: "memory".to_string() });
        let up = || Some(CarrierState::Up);
        let whole = |publishing, consuming| Parts { publishing, consuming }.whole();
        assert_eq!(whole(up(), None), CarrierState::Up);
        assert_eq!(Some(whole(up(), blocked())), blocked());
        assert_eq!(Some(whole(blocked(), down())), down());
        assert_eq!(Some(whole(down(), up())), down());
        assert!(matches!(whole(None, up()), CarrierState::Down { .. }), "nothing can be published yet");
    }
}
