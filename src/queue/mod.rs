//! Two ways to carry an envelope to a worker, one behaviour: `memory` and `amqp`.
//!
//! In: envelopes from `handoff`. Out: the same envelopes to `delivery` workers, each lane of each partner in order, each
//! at least once, until it is done or dead. Whatever is on the queue is also a row in the ledger, so what a carrier
//! forgets (memory at a restart) or doubts (a lost confirm) is published again with the same delivery id.
//!
//! Decides nothing about when to try or how often, and never looks into content.

pub mod amqp;
pub mod envelope;
pub mod memory;

use crate::config::QueueUrl;
use crate::model::{Lane, PartnerId};
use tokio::sync::watch;

pub use envelope::{Envelope, EnvelopeError};

/// An envelope given back this often without being done goes to the dead ones: something about it kills workers.
/// The same number RabbitMQ 4 takes by default.
pub const DELIVERY_LIMIT: u32 = 20;

/// Most envelopes of one consumer out at a time; RabbitMQ caps quorum queues there.
pub const MAX_PREFETCH: u16 = 2000;

/// A carrier that cannot be set up at all: a matter for the configuration, not for trying again.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    #[error("the queue's url is not readable: expected amqp://host:port/vhost or amqps://…")]
    Url,
    #[error("the queue's {what} is not readable")]
    File {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("the queue's {what} holds nothing usable: expected PEM")]
    Pem { what: &'static str },
    #[error("the queue's cert_file and key_file go together: found only one of them")]
    HalfIdentity,
    #[error("the queue's certificate and key were refused")]
    Tls(#[source] std::io::Error),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PublishError {
    /// The broker took it and had nowhere to put it. Nothing is queued.
    #[error("no queue is bound for this partner and lane")]
    Unroutable,
    /// The broker answered with a nack. Nothing is queued.
    #[error("the broker refused the envelope (nack)")]
    Refused,
    /// Nothing was sent.
    #[error("the queue takes nothing now: {0}")]
    Unavailable(String),
    /// Sent, and no answer: it may or may not be queued. Publish it again.
    #[error("the broker's confirm did not come: the envelope may have been queued")]
    Unknown,
    /// It could not even be written; trying again does not help.
    #[error("the envelope could not be written")]
    Invalid(#[from] EnvelopeError),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CarrierState {
    Up,
    Down {
        reason: String,
    },
    /// Connected, but the broker has run low on memory or disk and takes no more for now.
    Blocked {
        reason: String,
    },
}

#[derive(Clone)]
pub enum Carrier {
    Memory(memory::MemoryCarrier),
    Amqp(amqp::AmqpCarrier),
}

impl Carrier {
    /// Opens the carrier the configuration names. A broker that is not there yet is no error: see [`Carrier::state`].
    ///
    /// # Errors
    /// When URL or certificates cannot be used at all.
    pub fn open(url: &QueueUrl, node: &str, partners: Vec<PartnerId>) -> Result<Self, CarrierError> {
        Ok(match url {
            QueueUrl::Memory => Carrier::Memory(memory::MemoryCarrier::new(&partners)),
            QueueUrl::Amqp(amqp) => Carrier::Amqp(amqp::AmqpCarrier::open(amqp.clone(), node, partners)?),
        })
    }

    /// Ok only when the envelope is queued: confirmed, and routed.
    ///
    /// # Errors
    /// See [`PublishError`]; only after `Unknown` may it be queued all the same.
    pub async fn publish(&self, envelope: &Envelope) -> Result<(), PublishError> {
        let result = match self {
            Carrier::Memory(carrier) => carrier.publish(envelope),
            Carrier::Amqp(carrier) => carrier.publish(envelope).await,
        };
        let outcome = match &result {
            Ok(()) => "confirmed",
            Err(PublishError::Unroutable) => "returned",
            Err(PublishError::Refused) => "nacked",
            Err(PublishError::Unavailable(_)) => "unavailable",
            Err(PublishError::Unknown) => "unknown",
            Err(PublishError::Invalid(_)) => "invalid",
        };
        metrics::counter!("neisse_queue_published_total", "outcome" => outcome, "lane" => envelope.lane.as_str())
            .increment(1);
        result
    }

    /// Envelopes of one partner and lane, at most `prefetch` out at a time. Never fails: it waits for the broker for
    /// as long as it takes, and starts again by itself after every break.
    pub async fn consume(&self, partner: &PartnerId, lane: Lane, prefetch: u16) -> Consumer {
        let prefetch = prefetch.clamp(1, MAX_PREFETCH);
        Consumer(match self {
            Carrier::Memory(carrier) => ConsumerOf::Memory(carrier.consume(partner, lane, prefetch)),
            Carrier::Amqp(carrier) => ConsumerOf::Amqp(Box::new(carrier.consume(partner, lane, prefetch))),
        })
    }

    /// The partners there are now, after the configuration was read again. Queues of partners that are gone stay with
    /// the broker until someone deletes them: there may be envelopes in them.
    pub fn declare(&self, partners: Vec<PartnerId>) {
        match self {
            Carrier::Memory(carrier) => carrier.declare(&partners),
            Carrier::Amqp(carrier) => carrier.declare(partners),
        }
    }

    pub fn state(&self) -> watch::Receiver<CarrierState> {
        match self {
            Carrier::Memory(carrier) => carrier.state(),
            Carrier::Amqp(carrier) => carrier.state(),
        }
    }

    /// Changes when a queue went away with what was in it: what was queued may have to be published again.
    pub fn lost(&self) -> watch::Receiver<u64> {
        match self {
            Carrier::Memory(carrier) => carrier.lost(),
            Carrier::Amqp(carrier) => carrier.lost(),
        }
    }

    /// Takes one envelope off the dead ones, to look at it or publish it again. None when there is none, or the
    /// broker cannot be asked.
    pub async fn take_dead(&self) -> Option<DeadLetter> {
        match self {
            Carrier::Memory(carrier) => carrier.take_dead(),
            Carrier::Amqp(carrier) => carrier.take_dead().await,
        }
    }

    /// Ends every consumer and connection. What was carried and not done is carried again.
    pub async fn close(&self) {
        match self {
            Carrier::Memory(carrier) => carrier.close(),
            Carrier::Amqp(carrier) => carrier.close().await,
        }
    }
}

/// Refused for good, with the reason its worker gave, or the broker's (`delivery_limit`, `rejected`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// None: it was no envelope of ours.
    pub envelope: Option<Envelope>,
    pub reason: String,
}

pub struct Consumer(ConsumerOf);

enum ConsumerOf {
    Memory(memory::MemoryConsumer),
    Amqp(Box<amqp::AmqpConsumer>),
}

impl Consumer {
    /// The next envelope; None after [`Carrier::close`]. May be cancelled: nothing is lost by it.
    pub async fn next(&mut self) -> Option<Carried> {
        match &mut self.0 {
            ConsumerOf::Memory(consumer) => consumer.next().await,
            ConsumerOf::Amqp(consumer) => consumer.next().await,
        }
    }
}

/// An envelope in a worker's hands. Dropped without [`done`](Carried::done) or [`dead`](Carried::dead), it is carried
/// again. Not to be kept in hand while a person reads, or for longer than the broker waits (RabbitMQ's
/// `consumer_timeout`, 30 minutes by default): it would go to another worker as well.
pub struct Carried {
    pub envelope: Envelope,
    /// Someone had it in hand before and did not finish.
    pub redelivered: bool,
    receipt: Receipt,
}

enum Receipt {
    Memory(memory::MemoryReceipt),
    Amqp(Box<amqp::AmqpReceipt>),
}

impl Carried {
    /// The attempt and its outcome are in the ledger: the queue may forget it. An acknowledgement that gets lost makes
    /// it come once more.
    pub async fn done(self) {
        match self.receipt {
            Receipt::Memory(receipt) => receipt.done(),
            Receipt::Amqp(receipt) => receipt.done().await,
        }
    }

    /// Not deliverable as an envelope: kept with the dead ones for a person. `reason` must hold no patient data.
    pub async fn dead(self, reason: &str) {
        let reason = tidy(reason);
        metrics::counter!("neisse_queue_dead_total", "lane" => self.envelope.lane.as_str()).increment(1);
        match self.receipt {
            Receipt::Memory(receipt) => receipt.dead(reason),
            Receipt::Amqp(receipt) => receipt.dead(&reason).await,
        }
    }
}

/// One line of at most 200 characters: fit for a message header and a log.
fn tidy(reason: &str) -> String {
    reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
