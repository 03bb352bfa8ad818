//! The broker is killed, the line is cut or stalls, queues are deleted, strangers publish: what was confirmed arrives,
//! what was not is known not to be, and everything goes on by itself.

use crate::support::{
    carrier::{SOON, amqp, amqp_carrier, envelope, next, partner, trouble, until_up},
    eventually,
    proxy::{Line, Proxy},
    rabbit::{Rabbit, shared_url},
};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeleteOptions};
use neisse::{
    config::QueueUrl,
    model::{Lane, PartnerId},
    queue::{Carrier, CarrierState, PublishError},
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Publishes numbers one after the other, each as often as it takes, as `handoff` does from the ledger.
fn publish_on(carrier: &Carrier, partner: &PartnerId, stop: &Arc<AtomicBool>) -> JoinHandle<u32> {
    let (carrier, partner, stop) = (carrier.clone(), partner.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let parcel = envelope(&partner, Lane::Routine, number);
            while carrier.publish(&parcel).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            number += 1;
        }
        number
    })
}

/// Notes every number that comes.
fn consume_on(carrier: &Carrier, partner: &PartnerId) -> (Arc<Mutex<Vec<u32>>>, JoinHandle<()>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (carrier, partner, noted) = (carrier.clone(), partner.clone(), Arc::clone(&seen));
    let task = tokio::spawn(async move {
        let mut consumer = carrier.consume(&partner, Lane::Routine, 8).await;
        while let Some(carried) = consumer.next().await {
            noted.lock().expect("no panic").push(carried.envelope.items);
            carried.done().await;
        }
    });
    (seen, task)
}

/// All that was confirmed has come, and how many came more than once.
async fn all_came(seen: &Arc<Mutex<Vec<u32>>>, confirmed: u32) -> usize {
    let missing = || {
        let seen: BTreeSet<_> = seen.lock().expect("no panic").iter().copied().collect();
        (0..confirmed).filter(|number| !seen.contains(number)).count()
    };
    eventually("everything confirmed has come", Duration::from_secs(60), async || missing() == 0).await;
    let seen = seen.lock().expect("no panic");
    seen.len() - seen.iter().collect::<BTreeSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again_while_publishing_and_consuming() {
    let rabbit = Rabbit::start().await;
    let chemnitz = partner("chemnitz");
    let carrier = amqp_carrier(&rabbit.url(), std::slice::from_ref(&chemnitz)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = publish_on(&carrier, &chemnitz, &stop);
    let (seen, consumer) = consume_on(&carrier, &chemnitz);
    for _ in 0..2 {
        let before = seen.lock().expect("no panic").len();
        eventually("envelopes flow", SOON, async || seen.lock().expect("no panic").len() > before + 50).await;
        rabbit.kill().await;
        trouble(&carrier, SOON, |_| true).await;
        let refused = carrier.publish(&envelope(&chemnitz, Lane::Routine, 0)).await;
        assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
        rabbit.again().await;
        let since = Instant::now();
        until_up(&carrier).await;
        assert!(since.elapsed() < Duration::from_secs(25), "up again only after {:?}", since.elapsed());
    }
    let before = seen.lock().expect("no panic").len();
    eventually("envelopes flow again", SOON, async || seen.lock().expect("no panic").len() > before + 50).await;
    stop.store(true, Ordering::Relaxed);
    let confirmed = publisher.await.expect("no panic");
    let twice = all_came(&seen, confirmed).await;
    println!("{confirmed} confirmed, 0 lost, {twice} came twice");
    carrier.close().await;
    consumer.await.expect("ends with the carrier");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_is_cut_again_and_again() {
    let url = shared_url();
    let (credentials, address) = url.rsplit_once('@').expect("credentials");
    let (address, host) = address.split_once('/').expect("a virtual host");
    let proxy = Proxy::to(address).await;
    let chemnitz = partner("chemnitz");
    let through = format!("{credentials}@{}/{host}", proxy.address);
    let carrier = amqp_carrier(&through, std::slice::from_ref(&chemnitz)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = publish_on(&carrier, &chemnitz, &stop);
    let (seen, consumer) = consume_on(&carrier, &chemnitz);
    for cut in 0..6 {
        // At another place of the dialogue each time: during the handshake too.
        proxy.cut_after(proxy.bytes_passed() + 1_000 + 4_321 * cut).await;
        tokio::time::sleep(Duration::from_millis(50 * cut)).await;
    }
    let before = seen.lock().expect("no panic").len();
    eventually("envelopes flow again", SOON, async || seen.lock().expect("no panic").len() > before + 20).await;
    stop.store(true, Ordering::Relaxed);
    let confirmed = publisher.await.expect("no panic");
    let twice = all_came(&seen, confirmed).await;
    println!("{confirmed} confirmed, 0 lost, {twice} came twice");
    carrier.close().await;
    consumer.await.expect("ends with the carrier");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_stalls_and_the_publisher_is_told_that_it_is_not_known() {
    let url = shared_url();
    let (credentials, address) = url.rsplit_once('@').expect("credentials");
    let (address, host) = address.split_once('/').expect("a virtual host");
    let proxy = Proxy::to(address).await;
    let chemnitz = partner("chemnitz");
    let through = format!("{credentials}@{}/{host}", proxy.address);
    let carrier = amqp_carrier(&through, std::slice::from_ref(&chemnitz)).await;
    carrier.publish(&envelope(&chemnitz, Lane::Routine, 1)).await.expect("queued");
    proxy.set(Line::Stalled);
    let since = Instant::now();
    assert_eq!(carrier.publish(&envelope(&chemnitz, Lane::Routine, 2)).await, Err(PublishError::Unknown));
    assert!(since.elapsed() < Duration::from_secs(12), "{:?}", since.elapsed());
    // The connection is given up over it, not used again.
    trouble(&carrier, SOON, |_| true).await;
    proxy.cut();
    proxy.set(Line::Good);
    until_up(&carrier).await;
    carrier.publish(&envelope(&chemnitz, Lane::Routine, 3)).await.expect("queued");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_unroutable_once_and_then_there_again() {
    let url = shared_url();
    let chemnitz = partner("chemnitz");
    let carrier = amqp_carrier(&url, std::slice::from_ref(&chemnitz)).await;
    let mut consumer = carrier.consume(&chemnitz, Lane::Routine, 1).await;
    carrier.publish(&envelope(&chemnitz, Lane::Routine, 1)).await.expect("queued");
    next(&mut consumer).await.done().await;
    let stranger = stranger(&url).await;
    for lane in [Lane::Stat, Lane::Routine] {
        let queue = format!("neisse.to.chemnitz.{lane}").into();
        stranger.1.queue_delete(queue, QueueDeleteOptions::default()).await.expect("deleted");
    }
    let parcel = envelope(&chemnitz, Lane::Stat, 2);
    assert_eq!(carrier.publish(&parcel).await, Err(PublishError::Unroutable));
    eventually("it is queued", SOON, async || carrier.publish(&parcel).await.is_ok()).await;
    // The worker's own queue was deleted under it: it makes it again.
    let parcel = envelope(&chemnitz, Lane::Routine, 3);
    let publishing = eventually("it is queued", SOON, async || carrier.publish(&parcel).await.is_ok());
    let (carried, ()) = tokio::join!(next(&mut consumer), publishing);
    assert_eq!(carried.envelope.items, 3);
    carried.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unroutable_envelope_is_never_mistaken_for_its_neighbour() {
    let chemnitz = partner("chemnitz");
    let carrier = amqp_carrier(&shared_url(), std::slice::from_ref(&chemnitz)).await;
    let nobody = partner("nobody");
    let publishing = (0..400).map(|number| {
        let (carrier, to) = (carrier.clone(), if number % 3 == 0 { nobody.clone() } else { chemnitz.clone() });
        tokio::spawn(async move { (number, carrier.publish(&envelope(&to, Lane::Routine, number)).await) })
    });
    for publishing in publishing.collect::<Vec<_>>() {
        let (number, result) = publishing.await.expect("no panic");
        let expected = if number % 3 == 0 { Err(PublishError::Unroutable) } else { Ok(()) };
        assert_eq!(result, expected, "envelope {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_envelope_is_put_with_the_dead_and_the_lane_goes_on() {
    let url = shared_url();
    let chemnitz = partner("chemnitz");
    let carrier = amqp_carrier(&url, std::slice::from_ref(&chemnitz)).await;
    let (_connection, channel) = stranger(&url).await;
    let strange: [(&[u8], &str); 3] = [
        (b"{\"version\":2}", "envelope version 2: expected 1"),
        (b"\xFF\xFE", "not an envelope: JSON not readable at line 1, column 1"),
        (b"", "not an envelope: JSON not readable at line 1, column 0"),
    ];
    for (body, _) in strange {
        let options = BasicPublishOptions::default();
        let (exchange, key) = ("neisse.deliveries".into(), "chemnitz.routine".into());
        let confirm = channel.basic_publish(exchange, key, options, body, Default::default()).await.expect("sent");
        assert!(confirm.await.expect("confirmed").is_ack());
    }
    carrier.publish(&envelope(&chemnitz, Lane::Routine, 9)).await.expect("queued");
    let mut consumer = carrier.consume(&chemnitz, Lane::Routine, 1).await;
    let carried = next(&mut consumer).await;
    assert_eq!(carried.envelope.items, 9);
    carried.done().await;
    let mut reasons = BTreeSet::new();
    eventually("three dead ones", SOON, async || {
        reasons.extend(carrier.take_dead().await.map(|letter| letter.reason));
        reasons.len() == 3
    })
    .await;
    assert_eq!(reasons, strange.iter().map(|(_, reason)| (*reason).to_string()).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_there_yet_is_waited_for() {
    let url = shared_url();
    let (credentials, address) = url.rsplit_once('@').expect("credentials");
    let (address, host) = address.split_once('/').expect("a virtual host");
    let proxy = Proxy::to(address).await;
    proxy.set(Line::Dead);
    let chemnitz = partner("chemnitz");
    let through = QueueUrl::Amqp(amqp(&format!("{credentials}@{}/{host}", proxy.address)));
    let carrier = Carrier::open(&through, "test", vec![chemnitz.clone()]).expect("a carrier");
    let mut consumer = carrier.consume(&chemnitz, Lane::Stat, 1).await;
    let since = Instant::now();
    let refused = carrier.publish(&envelope(&chemnitz, Lane::Stat, 1)).await;
    assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert!(matches!(*carrier.state().borrow(), CarrierState::Down { .. }));
    proxy.set(Line::Good);
    until_up(&carrier).await;
    carrier.publish(&envelope(&chemnitz, Lane::Stat, 2)).await.expect("queued");
    assert_eq!(next(&mut consumer).await.envelope.items, 2);
}

/// A connection that is not ours, with a channel in confirm mode.
async fn stranger(url: &str) -> (lapin::Connection, lapin::Channel) {
    let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await.expect("connected");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    (connection, channel)
}
