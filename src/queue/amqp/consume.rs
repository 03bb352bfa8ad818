//! Consuming: one lane of one partner, as an endless line of envelopes, over as many connections as it takes.
//!
//! In: the consuming connection. Out: [`Carried`] envelopes, acknowledged one by one. What is no envelope of ours goes
//! to the dead ones with a reason. Nothing is acknowledged before a worker says `done`.

use super::{
    AmqpCarrier,
    link::{Link, Live, until},
    publish::REASON_HEADER,
    topology::{self, DEAD},
};
use crate::model::{Lane, PartnerId};
use crate::queue::{Carried, DeadLetter, Envelope, Receipt};
use futures_util::StreamExt;
use lapin::{
    Acker, BasicProperties, Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions, BasicRejectOptions},
    types::{AMQPValue, FieldTable},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// Opening a channel and subscribing; acknowledging.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A subscription that has brought nothing for this long is made anew. RabbitMQ can forget one without a word: when its
/// queue is deleted and declared again within a moment, the old subscription is taken over and then dropped.
const RENEW_AFTER: Duration = Duration::from_secs(300);

/// Between two attempts to subscribe on a connection that stands.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

pub struct AmqpConsumer {
    carrier: AmqpCarrier,
    partner: PartnerId,
    lane: Lane,
    prefetch: u16,
    session: Option<Session>,
    /// The subscription under way, in a task of its own that is never cut off in the middle: the client would keep a
    /// half-made subscription, and the envelopes the broker sends to it. So that also a worker that only ever waits a
    /// moment gets there.
    subscribing: Option<JoinHandle<Option<Session>>>,
    /// Tells that task that nobody waits any more.
    given_up: CancellationToken,
}

/// One subscription on one connection.
struct Session {
    generation: u64,
    channel: Channel,
    deliveries: lapin::Consumer,
    /// Changes when some queue was deleted: for the reason at [`RENEW_AFTER`], it may have been this one.
    lost: watch::Receiver<u64>,
    heard: Instant,
}

/// What a consumer saw next.
enum Seen {
    Closed,
    Broken(&'static str),
    /// basic.cancel by the broker: the queue is gone, and what was in it.
    Deleted,
    Delivered(Box<Delivery>),
}

impl AmqpConsumer {
    pub(super) fn new(carrier: AmqpCarrier, partner: PartnerId, lane: Lane, prefetch: u16) -> Self {
        Self { carrier, partner, lane, prefetch, session: None, subscribing: None, given_up: CancellationToken::new() }
    }

    pub(in crate::queue) async fn next(&mut self) -> Option<Carried> {
        loop {
            let Some(session) = &mut self.session else {
                self.session = Some(self.subscribed().await?);
                continue;
            };
            match session.next(&self.carrier).await {
                Seen::Closed => {
                    // The channel goes with it, and what was not acknowledged is carried again.
                    self.session = None;
                    return None;
                }
                Seen::Broken(reason) => {
                    tracing::debug!(partner = %self.partner, lane = %self.lane, reason, "Subscribing again");
                    self.session = None;
                }
                Seen::Deleted => {
                    tracing::warn!(partner = %self.partner, lane = %self.lane, "The queue was deleted: made again");
                    self.session = None;
                    self.carrier.0.lost.send_modify(|lost| *lost += 1);
                }
                Seen::Delivered(delivery) => {
                    let redelivered = delivery.redelivered;
                    let receipt = AmqpReceipt::new(self.carrier.clone(), session.channel.clone(), *delivery);
                    match Envelope::from_bytes(&receipt.body) {
                        Ok(envelope) => {
                            return Some(Carried { envelope, redelivered, receipt: Receipt::Amqp(Box::new(receipt)) });
                        }
                        Err(error) => self.refuse(receipt, error.to_string()),
                    }
                }
            }
        }
    }

    /// In a task of its own: this consumer may be cancelled while the broker is asked.
    fn refuse(&self, receipt: AmqpReceipt, reason: String) {
        tracing::warn!(partner = %self.partner, lane = %self.lane, reason, "Not an envelope: put with the dead ones");
        metrics::counter!("neisse_queue_dead_total", "lane" => self.lane.as_str()).increment(1);
        tokio::spawn(async move { receipt.dead(&reason).await });
    }

    /// None when the carrier is closed.
    async fn subscribed(&mut self) -> Option<Session> {
        let (carrier, prefetch) = (&self.carrier, self.prefetch);
        let (partner, lane, given_up) = (&self.partner, self.lane, &self.given_up);
        let task = self.subscribing.get_or_insert_with(|| {
            let (link, node, lost) = (Arc::clone(&carrier.0.consuming), carrier.0.node.clone(), carrier.lost());
            tokio::spawn(subscribe(link, lost, node, partner.clone(), lane, prefetch, given_up.clone()))
        });
        let session = task.await;
        self.subscribing = None;
        // The task neither panics nor is aborted while this consumer is there.
        session.ok()?
    }
}

impl Drop for AmqpConsumer {
    fn drop(&mut self) {
        self.given_up.cancel();
    }
}

/// Waits for a connection and subscribes; None when the carrier is closed, or the consumer is gone.
async fn subscribe(
    link: Arc<Link>,
    mut lost: watch::Receiver<u64>,
    node: String,
    partner: PartnerId,
    lane: Lane,
    prefetch: u16,
    given_up: CancellationToken,
) -> Option<Session> {
    let (mut current, mut closed) = (link.current(), link.closed());
    loop {
        let live = tokio::select! {
            biased;
            () = until(&mut closed) => return None,
            () = given_up.cancelled() => return None,
            live = current.wait_for(Option::is_some) => live.ok()?.clone()?,
        };
        let tag = format!("{node}.{partner}.{lane}.{}", uuid::Uuid::new_v4().simple());
        lost.mark_unchanged();
        let reason = match timeout(ANSWER_WITHIN, subscribe_on(&live, &partner, lane, prefetch, tag)).await {
            Ok(Ok((channel, deliveries))) => {
                let (generation, heard) = (live.generation, Instant::now());
                return Some(Session { generation, channel, deliveries, lost, heard });
            }
            Ok(Err(error)) => super::connect::why(&error),
            Err(_) => {
                // The connection is given up over it, and what was half made on it with it.
                link.suspect(&live);
                "the broker did not answer in time".to_string()
            }
        };
        tracing::warn!(%partner, %lane, reason, "Not subscribed; trying again");
        tokio::select! {
            () = until(&mut closed) => return None,
            () = given_up.cancelled() => return None,
            () = sleep(AGAIN_AFTER) => {}
        }
    }
}

async fn subscribe_on(
    live: &Live,
    partner: &PartnerId,
    lane: Lane,
    prefetch: u16,
    tag: String,
) -> lapin::Result<(Channel, lapin::Consumer)> {
    let channel = live.connection.create_channel().await?;
    // Also the way back after someone deleted the queue, and for a partner this node did not know at its start.
    let channel = topology::declare_lane(&live.connection, channel, partner, lane).await?;
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    let queue = topology::queue_name(partner, lane);
    let options = BasicConsumeOptions::default();
    let deliveries = channel.basic_consume(queue, tag.into(), options, FieldTable::default()).await?;
    Ok((channel, deliveries))
}

impl Session {
    async fn next(&mut self, carrier: &AmqpCarrier) -> Seen {
        let mut closed = carrier.0.consuming.closed();
        let mut current = carrier.0.consuming.current();
        let generation = self.generation;
        let replaced = |live: &Option<Live>| live.as_ref().is_none_or(|live| live.generation != generation);
        tokio::select! {
            biased;
            () = until(&mut closed) => Seen::Closed,
            _ = current.wait_for(replaced) => Seen::Broken("the connection was lost"),
            delivery = self.deliveries.next() => match delivery {
                Some(Ok(delivery)) => {
                    self.heard = Instant::now();
                    Seen::Delivered(Box::new(delivery))
                }
                Some(Err(_)) => Seen::Broken("the broker closed the channel"),
                None => Seen::Deleted,
            },
            // After the deliveries: what is here already is not given back.
            Ok(()) = self.lost.changed() => Seen::Broken("a queue was deleted"),
            () = sleep_until(self.heard + RENEW_AFTER) => Seen::Broken("nothing came for a while"),
        }
    }
}

pub(in crate::queue) struct AmqpReceipt {
    carrier: AmqpCarrier,
    /// Taken by `done` and `dead`; what is still here on drop is given back.
    acker: Option<Acker>,
    /// Open as long as someone has an envelope of it in hand: closing it would give the envelope back.
    channel: Channel,
    /// As received: what a newer writer added is still there when it is buried and published again.
    body: Vec<u8>,
    id: String,
    routing_key: String,
}

impl AmqpReceipt {
    fn new(carrier: AmqpCarrier, channel: Channel, delivery: Delivery) -> Self {
        let id = delivery.properties.message_id().as_ref();
        Self {
            carrier,
            channel,
            id: id.map(|id| id.as_str().to_string()).unwrap_or_default(),
            routing_key: delivery.routing_key.as_str().to_string(),
            acker: Some(delivery.acker),
            body: delivery.data,
        }
    }

    pub(in crate::queue) async fn done(mut self) {
        if let Some(acker) = self.acker.take() {
            acknowledge(&acker).await;
        }
    }

    pub(in crate::queue) async fn dead(mut self, reason: &str) {
        let carrier = self.carrier.clone();
        let buried = carrier.0.publisher.bury(&self.body, &self.id, &self.routing_key, reason).await;
        let Some(acker) = self.acker.take() else {
            return;
        };
        match buried {
            Ok(()) => acknowledge(&acker).await,
            Err(error) => {
                // The broker moves it itself then, by the queue's dead-letter exchange, without our words.
                tracing::warn!(reason, error = %error, "Dead, and the reason could not be put with it");
                let options = BasicRejectOptions { requeue: false };
                let _ = timeout(ANSWER_WITHIN, acker.reject(options)).await;
            }
        }
    }
}

async fn acknowledge(acker: &Acker) {
    // An acknowledgement that does not arrive makes the envelope come again: at least once.
    match timeout(ANSWER_WITHIN, acker.ack(BasicAckOptions::default())).await {
        Ok(Ok(true)) => {}
        _ => tracing::info!("An acknowledgement did not reach the broker: the envelope will come again"),
    }
}

impl Drop for AmqpReceipt {
    fn drop(&mut self) {
        let Some(acker) = self.acker.take() else {
            return;
        };
        let channel = self.channel.clone();
        // Reject and not nack: only reject counts towards the delivery limit in every version of the broker.
        // Without a runtime the connection is about to go, and the broker gives it back by itself.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = timeout(ANSWER_WITHIN, acker.reject(BasicRejectOptions { requeue: true })).await;
                drop(channel);
            });
        }
    }
}

/// One off the queue of the dead.
pub(super) async fn take_dead(carrier: &AmqpCarrier) -> Option<DeadLetter> {
    let live = carrier.0.publisher.link().current().borrow().clone()?;
    let taking = async {
        let channel = live.connection.create_channel().await?;
        let Some(message) = channel.basic_get(DEAD.into(), BasicGetOptions::default()).await? else {
            return Ok(None);
        };
        let reason = reason_of(&message.delivery.properties);
        let letter = DeadLetter { envelope: Envelope::from_bytes(&message.delivery.data).ok(), reason };
        message.delivery.acker.ack(BasicAckOptions::default()).await?;
        Ok::<_, lapin::Error>(Some(letter))
    };
    timeout(ANSWER_WITHIN, taking).await.ok()?.ok()?
}

/// Ours, or the broker's own (`rejected`, `delivery_limit`).
fn reason_of(properties: &BasicProperties) -> String {
    let header = |name: &str| match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.as_str().to_string()),
        _ => None,
    };
    header(REASON_HEADER).or_else(|| header("x-first-death-reason")).unwrap_or_default()
}
