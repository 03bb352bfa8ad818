//! Publishing: an envelope in, and the broker's word that it is queued, or what else became of it.
//!
//! One envelope at a time on each channel. The client hands a returned message to whichever confirm comes next on the
//! channel, so with two of them under way an unroutable envelope could be taken for a queued one and the other way
//! round; and an unroutable message *is* confirmed after it has been returned. Several channels make up for the speed.
//!
//! Nothing is tried twice here: `handoff` does, from the ledger.

use super::{
    link::{Link, Live},
    topology,
};
use crate::queue::{CarrierState, Envelope, PublishError};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};

/// From the call to an answer, whatever the broker does.
const PUBLISH_WITHIN: Duration = Duration::from_secs(10);

/// What was sent just before the broker said that it is blocked may still be confirmed.
const GRACE: Duration = Duration::from_secs(1);

/// Channels, and so envelopes under way at a time.
const CHANNELS: usize = 8;

/// Persistent, AMQP 0-9-1 basic.delivery-mode.
const PERSISTENT: u8 = 2;

pub const REASON_HEADER: &str = "x-neisse-reason";

pub struct Publisher {
    link: Arc<Link>,
    free: Semaphore,
    /// Channels in confirm mode without anything under way, with the connection they belong to.
    idle: Mutex<Vec<(u64, Channel)>>,
}

/// What is sent where.
struct Parcel<'a> {
    exchange: &'static str,
    routing_key: ShortString,
    body: &'a [u8],
    properties: BasicProperties,
}

impl Publisher {
    pub fn new(link: Arc<Link>) -> Self {
        Self { link, free: Semaphore::new(CHANNELS), idle: Mutex::default() }
    }

    pub fn link(&self) -> &Link {
        &self.link
    }

    pub async fn publish(&self, envelope: &Envelope) -> Result<(), PublishError> {
        let body = envelope.to_bytes()?;
        self.send(Parcel {
            exchange: topology::DELIVERIES,
            routing_key: topology::routing_key(&envelope.partner, envelope.lane),
            body: &body,
            properties: properties(&envelope.delivery.to_string()),
        })
        .await
    }

    /// To the dead ones, with the reason.
    pub async fn bury(&self, body: &[u8], id: &str, routing_key: &str, reason: &str) -> Result<(), PublishError> {
        let mut headers = FieldTable::default();
        headers.insert(REASON_HEADER.into(), AMQPValue::LongString(reason.into()));
        self.send(Parcel {
            exchange: topology::DEAD,
            routing_key: routing_key.into(),
            body,
            properties: properties(id).with_headers(headers),
        })
        .await
    }

    async fn send(&self, parcel: Parcel<'_>) -> Result<(), PublishError> {
        let deadline = Instant::now() + PUBLISH_WITHIN;
        let busy = || PublishError::Unavailable(format!("{CHANNELS} envelopes are waiting for the broker"));
        // Closed never: the semaphore lives as long as this.
        let _permit = timeout_at(deadline, self.free.acquire()).await.map_err(|_| busy())?.map_err(|_| busy())?;
        let live = self.usable()?;
        let channel = self.channel(&live, deadline).await?;
        let result = self.send_on(&channel, parcel, deadline).await;
        match &result {
            Err(PublishError::Unknown) => self.look_after(&live, &channel),
            // Everything has been answered: the channel may be used again.
            _ => self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((live.generation, channel)),
        }
        result
    }

    /// The connection, if it takes anything now.
    fn usable(&self) -> Result<Live, PublishError> {
        let state = self.link.state().borrow().clone();
        match state {
            CarrierState::Down { reason } => Err(PublishError::Unavailable(reason)),
            CarrierState::Blocked { reason } => Err(PublishError::Unavailable(format!("blocked: {reason}"))),
            CarrierState::Up => {
                let live = self.link.current().borrow().clone();
                live.ok_or_else(|| PublishError::Unavailable("the connection was lost".to_string()))
            }
        }
    }

    async fn channel(&self, live: &Live, deadline: Instant) -> Result<Channel, PublishError> {
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(|(generation, channel)| *generation == live.generation && channel.status().connected());
            idle.pop()
        };
        if let Some((_, channel)) = idle {
            return Ok(channel);
        }
        let opening = async {
            let channel = live.connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok::<_, lapin::Error>(channel)
        };
        match timeout_at(deadline, opening).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(PublishError::Unavailable(super::connect::why(&error))),
            Err(_) => {
                self.link.suspect(live);
                Err(PublishError::Unavailable("the broker did not answer in time".to_string()))
            }
        }
    }

    async fn send_on(&self, channel: &Channel, parcel: Parcel<'_>, deadline: Instant) -> Result<(), PublishError> {
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let confirmed = async {
            let publishing = channel.basic_publish(
                parcel.exchange.into(),
                parcel.routing_key,
                options,
                parcel.body,
                parcel.properties,
            );
            publishing.await?.await
        };
        let confirmation = tokio::select! {
            confirmation = timeout_at(deadline, confirmed) => confirmation,
            () = self.blocked_for(GRACE) => return Err(PublishError::Unknown),
        };
        match confirmation {
            Ok(Ok(Confirmation::Ack(None))) => Ok(()),
            // Returned, and then confirmed: the broker's yes to a message it had nowhere to put.
            Ok(Ok(Confirmation::Ack(Some(_)))) => Err(PublishError::Unroutable),
            Ok(Ok(Confirmation::Nack(_))) => Err(PublishError::Refused),
            // Any error, for the frames may have been on their way.
            Ok(Ok(Confirmation::NotRequested) | Err(_)) | Err(_) => Err(PublishError::Unknown),
        }
    }

    async fn blocked_for(&self, span: Duration) {
        let mut state = self.link.state();
        // The sender lives in the link, so this cannot end by itself.
        let _ = state.wait_for(|state| matches!(state, CarrierState::Blocked { .. })).await;
        sleep(span).await;
    }

    /// After an answer that did not come: the channel is not used again, and the connection looked at.
    fn look_after(&self, live: &Live, channel: &Channel) {
        if channel.status().connected() {
            self.link.suspect(live);
        } else {
            // The broker closed the channel alone, as it does when an exchange is missing.
            self.link.incomplete();
        }
    }
}

fn properties(id: &str) -> BasicProperties {
    BasicProperties::default()
        .with_message_id(id.into())
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_type("neisse.delivery".into())
}
