//! The conformance suite of the carriers: what a worker may rely on, asked of `memory` and of `amqp` alike.

use crate::support::carrier::{A_WHILE, SOON, amqp_carrier, envelope, next, nothing_comes, partner};
use neisse::{
    model::{Lane, PartnerId},
    queue::{Carrier, CarrierState, DELIVERY_LIMIT, DeadLetter, PublishError, memory::MemoryCarrier},
};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::timeout;

/// Every promise, asked of both.
macro_rules! promises {
    ($($promise:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let partners = super::partners();
                let carrier = super::Carrier::Memory(super::MemoryCarrier::new(&partners));
                super::$promise(carrier, &partners).await;
            })*
        }

        mod amqp {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let partners = super::partners();
                let url = crate::support::rabbit::shared_url();
                let carrier = super::amqp_carrier(&url, &partners).await;
                super::$promise(carrier, &partners).await;
            })*
        }
    };
}

promises!(
    a_lane_keeps_its_order,
    what_is_dropped_comes_again_in_its_place,
    what_is_done_never_comes_again,
    what_is_dead_is_kept_with_its_reason,
    what_is_given_back_too_often_is_dead,
    a_partner_nobody_declared_is_unroutable_until_it_is_declared,
    every_lane_gets_its_own_and_nothing_else,
    no_more_are_out_than_were_asked_for,
    two_workers_share_a_lane_and_none_gets_the_others,
    a_worker_that_stops_waiting_loses_nothing,
    closing_ends_workers_and_refuses_publishers,
    an_envelope_arrives_as_it_was_published,
);

fn partners() -> Vec<PartnerId> {
    ["chemnitz", "leipzig-ukl", "liberec"].map(partner).to_vec()
}

async fn publish_numbers(carrier: &Carrier, partner: &PartnerId, lane: Lane, numbers: std::ops::Range<u32>) {
    for number in numbers {
        carrier.publish(&envelope(partner, lane, number)).await.expect("queued");
    }
}

async fn next_dead(carrier: &Carrier) -> DeadLetter {
    let wait = async {
        loop {
            if let Some(letter) = carrier.take_dead().await {
                return letter;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, wait).await.expect("a dead envelope in time")
}

async fn a_lane_keeps_its_order(carrier: Carrier, partners: &[PartnerId]) {
    publish_numbers(&carrier, &partners[0], Lane::Routine, 0..100).await;
    let mut consumer = carrier.consume(&partners[0], Lane::Routine, 10).await;
    for number in 0..100 {
        let carried = next(&mut consumer).await;
        assert_eq!(carried.envelope.items, number);
        assert!(!carried.redelivered);
        carried.done().await;
    }
}

async fn what_is_dropped_comes_again_in_its_place(carrier: Carrier, partners: &[PartnerId]) {
    publish_numbers(&carrier, &partners[0], Lane::Stat, 0..4).await;
    let mut consumer = carrier.consume(&partners[0], Lane::Stat, 2).await;
    let (first, second) = (next(&mut consumer).await, next(&mut consumer).await);
    drop(first);
    // A worker that crashes twice: given back means given back, however often.
    let again = next(&mut consumer).await;
    assert_eq!((again.envelope.items, again.redelivered), (0, true));
    second.done().await;
    again.done().await;
    for number in 2..4 {
        let carried = next(&mut consumer).await;
        assert_eq!((carried.envelope.items, carried.redelivered), (number, false));
        carried.done().await;
    }
    assert!(nothing_comes(&mut consumer).await);
}

async fn what_is_done_never_comes_again(carrier: Carrier, partners: &[PartnerId]) {
    publish_numbers(&carrier, &partners[0], Lane::Bulk, 0..3).await;
    let mut consumer = carrier.consume(&partners[0], Lane::Bulk, 1).await;
    for _ in 0..2 {
        next(&mut consumer).await.done().await;
    }
    drop(consumer);
    let mut consumer = carrier.consume(&partners[0], Lane::Bulk, 1).await;
    let left = next(&mut consumer).await;
    assert_eq!(left.envelope.items, 2);
    left.done().await;
    assert!(nothing_comes(&mut consumer).await);
}

async fn what_is_dead_is_kept_with_its_reason(carrier: Carrier, partners: &[PartnerId]) {
    let published = envelope(&partners[0], Lane::Routine, 7);
    carrier.publish(&published).await.expect("queued");
    let mut consumer = carrier.consume(&partners[0], Lane::Routine, 1).await;
    next(&mut consumer).await.dead("no such delivery\nin the ledger").await;
    let expected = DeadLetter { envelope: Some(published), reason: "no such delivery in the ledger".to_string() };
    assert_eq!(next_dead(&carrier).await, expected);
    assert_eq!(carrier.take_dead().await, None);
    assert!(nothing_comes(&mut consumer).await);
}

async fn what_is_given_back_too_often_is_dead(carrier: Carrier, partners: &[PartnerId]) {
    publish_numbers(&carrier, &partners[0], Lane::Routine, 0..1).await;
    let mut consumer = carrier.consume(&partners[0], Lane::Routine, 1).await;
    for _ in 0..=DELIVERY_LIMIT {
        drop(next(&mut consumer).await);
    }
    let letter = next_dead(&carrier).await;
    assert_eq!(letter.reason, "delivery_limit");
    assert_eq!(letter.envelope.expect("an envelope").items, 0);
    assert!(nothing_comes(&mut consumer).await);
}

async fn a_partner_nobody_declared_is_unroutable_until_it_is_declared(carrier: Carrier, partners: &[PartnerId]) {
    let late = partner("zittau");
    let parcel = envelope(&late, Lane::Routine, 1);
    assert_eq!(carrier.publish(&parcel).await, Err(PublishError::Unroutable));
    carrier.declare(partners.iter().cloned().chain([late.clone()]).collect());
    let declared = async {
        while carrier.publish(&parcel).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, declared).await.expect("declared in time");
    let mut consumer = carrier.consume(&late, Lane::Routine, 1).await;
    next(&mut consumer).await.done().await;
}

async fn every_lane_gets_its_own_and_nothing_else(carrier: Carrier, partners: &[PartnerId]) {
    let lanes: Vec<_> = partners.iter().flat_map(|partner| Lane::ALL.map(|lane| (partner.clone(), lane))).collect();
    let workers = lanes.iter().map(|(partner, lane)| {
        let (carrier, partner, lane) = (carrier.clone(), partner.clone(), *lane);
        tokio::spawn(async move {
            let mut consumer = carrier.consume(&partner, lane, 5).await;
            for number in 0..40 {
                let carried = next(&mut consumer).await;
                assert_eq!((&carried.envelope.partner, carried.envelope.lane), (&partner, lane));
                assert_eq!(carried.envelope.items, number);
                carried.done().await;
            }
            assert!(nothing_comes(&mut consumer).await);
        })
    });
    let workers: Vec<_> = workers.collect();
    let publishers = lanes.iter().map(|(partner, lane)| publish_numbers(&carrier, partner, *lane, 0..40));
    futures_util::future::join_all(publishers).await;
    for worker in workers {
        worker.await.expect("a worker that got its own");
    }
}

async fn no_more_are_out_than_were_asked_for(carrier: Carrier, partners: &[PartnerId]) {
    publish_numbers(&carrier, &partners[0], Lane::Routine, 0..3).await;
    let mut consumer = carrier.consume(&partners[0], Lane::Routine, 2).await;
    let (first, _second) = (next(&mut consumer).await, next(&mut consumer).await);
    assert!(nothing_comes(&mut consumer).await);
    first.done().await;
    assert_eq!(next(&mut consumer).await.envelope.items, 2);
}

async fn two_workers_share_a_lane_and_none_gets_the_others(carrier: Carrier, partners: &[PartnerId]) {
    let (mut one, mut other) =
        (carrier.consume(&partners[0], Lane::Routine, 1).await, carrier.consume(&partners[0], Lane::Routine, 1).await);
    publish_numbers(&carrier, &partners[0], Lane::Routine, 0..30).await;
    let mut seen = Vec::new();
    while seen.len() < 30 {
        let carried = tokio::select! {
            carried = one.next() => carried,
            carried = other.next() => carried,
            () = tokio::time::sleep(SOON) => panic!("only {} of 30 came", seen.len()),
        };
        let carried = carried.expect("open");
        seen.push(carried.envelope.items);
        carried.done().await;
    }
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), 30);
}

async fn a_worker_that_stops_waiting_loses_nothing(carrier: Carrier, partners: &[PartnerId]) {
    let mut consumer = carrier.consume(&partners[0], Lane::Routine, 1).await;
    let publishing = publish_numbers(&carrier, &partners[0], Lane::Routine, 0..20);
    let consuming = async {
        let mut seen = Vec::new();
        while seen.len() < 20 {
            // Stops in the middle of waiting again and again.
            if let Ok(carried) = timeout(Duration::from_millis(3), consumer.next()).await {
                let carried = carried.expect("open");
                seen.push(carried.envelope.items);
                carried.done().await;
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(publishing, async { timeout(SOON, consuming).await.expect("all in time") });
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
}

async fn closing_ends_workers_and_refuses_publishers(carrier: Carrier, partners: &[PartnerId]) {
    let mut consumer = carrier.consume(&partners[0], Lane::Routine, 1).await;
    let waiting = tokio::spawn(async move { consumer.next().await.is_none() });
    tokio::time::sleep(A_WHILE).await;
    carrier.close().await;
    assert!(timeout(SOON, waiting).await.expect("in time").expect("no panic"));
    let published = carrier.publish(&envelope(&partners[0], Lane::Routine, 1)).await;
    assert!(matches!(published, Err(PublishError::Unavailable(_))), "{published:?}");
    assert!(matches!(*carrier.state().borrow(), CarrierState::Down { .. }));
    let mut late = carrier.consume(&partners[0], Lane::Routine, 1).await;
    assert!(timeout(SOON, late.next()).await.expect("in time").is_none());
}

async fn an_envelope_arrives_as_it_was_published(carrier: Carrier, partners: &[PartnerId]) {
    let published = envelope(&partners[1], Lane::Stat, 3);
    carrier.publish(&published).await.expect("queued");
    let carried = next(&mut carrier.consume(&partners[1], Lane::Stat, 1).await).await;
    assert_eq!(carried.envelope, published);
    carried.done().await;
}
