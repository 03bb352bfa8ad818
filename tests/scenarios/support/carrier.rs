//! Envelopes, partners and carriers for scenarios.

use super::eventually;
use neisse::{
    config::{Amqp, QueueUrl},
    model::{CaseId, DeliveryId, DeliveryKind, Lane, Moment, PartnerId},
    queue::{Carried, Carrier, CarrierState, Consumer, Envelope, envelope::VERSION},
};
use std::time::Duration;

/// Long enough for a machine with eight things to do.
pub const SOON: Duration = Duration::from_secs(30);

/// What is not there after this long does not come.
pub const A_WHILE: Duration = Duration::from_millis(700);

pub fn partner(name: &str) -> PartnerId {
    PartnerId::new(name).expect("a partner id")
}

/// `number` is what a scenario tells its envelopes by.
pub fn envelope(partner: &PartnerId, lane: Lane, number: u32) -> Envelope {
    let delivery = DeliveryId::generate();
    Envelope {
        version: VERSION,
        delivery,
        case: CaseId::generate(),
        partner: partner.clone(),
        lane,
        kind: DeliveryKind::Images,
        items: number,
        bytes: 526_000,
        content: format!("deliveries/{delivery}/content"),
        created: Moment(1_798_150_200_000_000),
        deadline: None,
    }
}

pub fn amqp(url: &str) -> Amqp {
    Amqp { url: url.to_string(), ca_file: None, cert_file: None, key_file: None }
}

/// A carrier by RabbitMQ that is up.
pub async fn amqp_carrier(url: &str, partners: &[PartnerId]) -> Carrier {
    let carrier = Carrier::open(&QueueUrl::Amqp(amqp(url)), "test", partners.to_vec()).expect("a carrier");
    until_up(&carrier).await;
    carrier
}

pub async fn until_up(carrier: &Carrier) {
    eventually("the carrier is up", Duration::from_secs(60), async || *carrier.state().borrow() == CarrierState::Up)
        .await;
}

/// Waits until the carrier is down or blocked; why.
pub async fn trouble(carrier: &Carrier, within: Duration, wanted: impl Fn(&str) -> bool) -> String {
    let mut state = carrier.state();
    let reason = |state: &CarrierState| match state {
        CarrierState::Down { reason } | CarrierState::Blocked { reason } => Some(reason.clone()),
        CarrierState::Up => None,
    };
    let seen = state.wait_for(|state| reason(state).is_some_and(|reason| wanted(&reason)));
    match tokio::time::timeout(within, seen).await {
        Ok(state) => reason(&state.expect("the carrier")).expect("a reason"),
        Err(_) => panic!("not within {within:?}; the carrier is {:?}", *carrier.state().borrow()),
    }
}

pub async fn next(consumer: &mut Consumer) -> Carried {
    tokio::time::timeout(SOON, consumer.next()).await.expect("an envelope in time").expect("the carrier is open")
}

pub async fn nothing_comes(consumer: &mut Consumer) -> bool {
    tokio::time::timeout(A_WHILE, consumer.next()).await.is_err()
}
