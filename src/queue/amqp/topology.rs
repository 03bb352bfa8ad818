//! Names on the broker, and how each is declared: the table in `docs/asyncapi.yaml`, in code.
//!
//! In: the partners. Out: exchanges and queues that exist. Declaring is harmless when they do already. A queue that
//! exists with other arguments (an operator's policy, an older version) is used as it is, with a line in the log.

use crate::model::{Lane, PartnerId};
use crate::queue::DELIVERY_LIMIT;
use lapin::{
    Channel, Connection, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable, ShortString},
};

pub const DELIVERIES: &str = "neisse.deliveries";
pub const OUTCOMES: &str = "neisse.outcomes";
/// The exchange, and the one queue bound to it.
pub const DEAD: &str = "neisse.dead";

pub fn routing_key(partner: &PartnerId, lane: Lane) -> ShortString {
    format!("{partner}.{lane}").into()
}

pub fn queue_name(partner: &PartnerId, lane: Lane) -> ShortString {
    format!("neisse.to.{partner}.{lane}").into()
}

/// Exchanges, the queue of the dead, and the queues of `partners`.
pub async fn declare(connection: &Connection, partners: &[PartnerId]) -> lapin::Result<()> {
    let mut channel = connection.create_channel().await?;
    // Direct: a worker's `<partner>.<lane>` reaches exactly its own queue. Fanout: the dead keep the routing key they
    // had, so that they can be published again. Topic: outcomes are read by whoever is interested.
    for (name, kind) in
        [(DELIVERIES, ExchangeKind::Direct), (OUTCOMES, ExchangeKind::Topic), (DEAD, ExchangeKind::Fanout)]
    {
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel.exchange_declare(name.into(), kind, durable, FieldTable::default()).await?;
    }
    channel = declare_queue(connection, channel, DEAD.into(), dead_queue_arguments()).await?;
    channel.queue_bind(DEAD.into(), DEAD.into(), "".into(), QueueBindOptions::default(), FieldTable::default()).await?;
    for partner in partners {
        for lane in Lane::ALL {
            channel = declare_lane(connection, channel, partner, lane).await?;
        }
    }
    let _ = channel.close(200, "done".into()).await;
    Ok(())
}

/// The queue of one lane, bound. Gives back a channel that is open.
pub async fn declare_lane(
    connection: &Connection,
    channel: Channel,
    partner: &PartnerId,
    lane: Lane,
) -> lapin::Result<Channel> {
    let queue = queue_name(partner, lane);
    let channel = declare_queue(connection, channel, queue.clone(), lane_queue_arguments()).await?;
    let key = routing_key(partner, lane);
    channel.queue_bind(queue, DELIVERIES.into(), key, QueueBindOptions::default(), FieldTable::default()).await?;
    Ok(channel)
}

async fn declare_queue(
    connection: &Connection,
    channel: Channel,
    queue: ShortString,
    arguments: FieldTable,
) -> lapin::Result<Channel> {
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    match channel.queue_declare(queue.clone(), durable, arguments).await {
        Ok(_) => Ok(channel),
        Err(error) if is_other_arguments(&error) => {
            tracing::warn!(queue = queue.as_str(), "The queue exists with other arguments than ours: used as it is");
            // The broker closes the channel over it (AMQP 0-9-1, 1.7.2.1 precondition-failed).
            connection.create_channel().await
        }
        Err(error) => Err(error),
    }
}

fn is_other_arguments(error: &lapin::Error) -> bool {
    let wanted = AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED);
    matches!(error.kind(), ErrorKind::ProtocolError(found) if *found.kind() == wanted)
}

fn lane_queue_arguments() -> FieldTable {
    let mut arguments = dead_queue_arguments();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(i64::from(DELIVERY_LIMIT)));
    arguments.insert("x-dead-letter-exchange".into(), text(DEAD));
    // The default forgets a dead letter when neisse.dead cannot take it at that moment. At-least-once needs
    // reject-publish, which is also how a full queue should answer: with a nack, not by dropping its oldest.
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments
}

fn dead_queue_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What others build on is what is declared.
    #[test]
    fn the_published_description_has_the_same_names_and_arguments() {
        let described = include_str!("../../../docs/asyncapi.yaml");
        let (partner, lane) = (PartnerId::new("chemnitz").unwrap(), Lane::Stat);
        assert_eq!(queue_name(&partner, lane).as_str(), "neisse.to.chemnitz.stat");
        assert_eq!(routing_key(&partner, lane).as_str(), "chemnitz.stat");
        for name in ["`neisse.deliveries`; the routing key is `{partner}.{lane}`", "neisse.to.{partner}.{lane}"] {
            assert!(described.contains(name), "{name}");
        }
        for exchange in [DELIVERIES, OUTCOMES, DEAD] {
            assert!(described.contains(&format!("exchange `{exchange}`")), "{exchange}");
        }
        for (name, value) in lane_queue_arguments().inner() {
            let value = match value {
                AMQPValue::LongString(text) => text.to_string(),
                AMQPValue::LongLongInt(number) => number.to_string(),
                other => panic!("{name}: {other:?}"),
            };
            assert!(described.contains(&format!("| `{name}` | `{value}` |")), "{name} = {value}");
        }
    }
}
