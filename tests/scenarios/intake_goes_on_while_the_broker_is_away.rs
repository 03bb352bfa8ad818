//! RabbitMQ is absent at the start, killed for long, blocked by an alarm, cut off again and again, its queues deleted:
//! every instance is accepted meanwhile, and everything arrives by itself afterwards.

use crate::support::{
    center::{Center, Manners},
    eventually,
    faults::{CHEMNITZ_AND_LEIPZIG, attempts, is_delivered, send_head_ct, set, tonight},
    hospital::{Scanner, head_ct, send_study},
    network::{ALWAYS_CHEMNITZ, Footing, Network, SOON},
    proxy::{Line, Proxy},
    rabbit::{Rabbit, shared_url},
};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeleteOptions};
use neisse::{
    cli::sample::{self, SampleCase},
    model::{CaseState, DeliveryState},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A node on SQLite and this broker, optionally by way of `through`.
async fn network(routes: &str, url: &str, through: Option<&Proxy>) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let files = |files: &mut BTreeMap<String, String>| {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (credentials, rest) = rest.split_once('@').expect("credentials");
        let (address, host) = rest.split_once('/').unwrap_or((rest, ""));
        let address = through.map_or(address.to_owned(), |proxy| proxy.address.to_string());
        set(files, "neisse.toml", "response", "\"30s\"");
        let node = files.get_mut("neisse.toml").expect("a file");
        *node = format!("{node}[queue]\nurl = \"{scheme}://{address}/{host}\"\n");
        files.insert("NEISSE_QUEUE_CREDENTIALS".into(), credentials.to_owned());
    };
    Network::with_centers(Footing::Embedded, routes, tonight(), chemnitz, leipzig, files).await
}

fn behind(url: &str) -> &str {
    url.split_once('@').expect("credentials").1.split('/').next().expect("an address")
}

/// Nothing of the case has been tried, and nothing of it is lost.
async fn waits_untried(network: &Network, patient: &SampleCase, slices: i64) {
    let case = network.case(&patient.study(), "a whole case", |case| case.whole.is_some()).await;
    assert_eq!((case.state, case.instances), (CaseState::Routed, slices));
    let rows = network.ledger(&case).await;
    assert_eq!(rows.iter().filter(|row| row.partner.as_str() == "chemnitz").map(|row| row.items).sum::<i64>(), slices);
    assert!(rows.iter().all(|row| matches!(row.state, DeliveryState::Owed | DeliveryState::Queued)), "{rows:?}");
    assert_eq!(attempts(&rows), 0, "a broker that is away costs no attempts");
    let page = network.page("/readyz").await;
    assert!(page.starts_with("HTTP/1.0 200") || page.starts_with("HTTP/1.1 200"), "ready all the same: {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn absent_when_the_node_starts() {
    let url = shared_url();
    let proxy = Proxy::to(behind(&url)).await;
    proxy.set(Line::Dead);
    let network = network(CHEMNITZ_AND_LEIPZIG, &url, Some(&proxy)).await;
    let (patient, slices) = send_head_ct(&network, 1, 8).await;
    waits_untried(&network, &patient, 8).await;
    assert!(network.page("/readyz").await.contains("\"queue\":\"down\""));
    proxy.set(Line::Good);
    let since = Instant::now();
    let case = network.case_in(&patient.study(), CaseState::Delivered).await;
    assert!(since.elapsed() < Duration::from_secs(25), "{:?}", since.elapsed());
    network.until_delivered(&case, "leipzig-ukl").await;
    assert_eq!(network.chemnitz.archive().len(), slices.len());
    assert_eq!(network.leipzig.archive().len(), slices.len());
    assert!(network.page("/readyz").await.contains("\"queue\":\"up\""));
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_for_long_and_blocked_by_an_alarm() {
    let rabbit = Rabbit::start().await;
    let network = network(ALWAYS_CHEMNITZ, &format!("{}/test-1", rabbit.url()), None).await;
    let (first, slices) = head_ct(1, 8);
    let mut scanner = Scanner::connect(network.node().dicom, &slices[0]).await;
    for slice in &slices[..4] {
        assert_eq!(scanner.send(slice).await, 0x0000);
    }
    eventually("the first slices are there", SOON, async || network.chemnitz.archive().len() == 4).await;
    rabbit.kill().await;
    eventually("it is noticed", SOON, async || network.page("/readyz").await.contains("\"queue\":\"down\"")).await;
    // The same association: the scanner notices nothing.
    for slice in &slices[4..] {
        assert_eq!(scanner.send(slice).await, 0x0000);
    }
    scanner.release().await;
    let (second, _) = send_head_ct(&network, 2, 3).await;
    waits_untried(&network, &second, 3).await;
    network.clock.advance(Duration::from_secs(3600));
    rabbit.again().await;
    for patient in [&first, &second] {
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        assert!(network.ledger(&case).await.iter().all(|row| row.attempts == 1), "{}", network.story(&case).await);
        assert_eq!(case.attention, "");
    }

    rabbit.memory_watermark("0.00001").await;
    let (third, _) = send_head_ct(&network, 3, 3).await;
    eventually("it is noticed", SOON, async || network.page("/readyz").await.contains("\"queue\":\"blocked\"")).await;
    waits_untried(&network, &third, 3).await;
    rabbit.memory_watermark("0.4").await;
    network.case_in(&third.study(), CaseState::Delivered).await;
    assert_eq!(network.chemnitz.archive().len(), 8 + 3 + 3);
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_again_and_again_while_a_study_is_passed_on() {
    let url = shared_url();
    let proxy = Proxy::to(behind(&url)).await;
    let network = network(CHEMNITZ_AND_LEIPZIG, &url, Some(&proxy)).await;
    eventually("the broker is in use", SOON, async || network.page("/readyz").await.contains("\"queue\":\"up\"")).await;
    let patient = SampleCase::numbered(1);
    let slices: Vec<_> = sample::head_ct(60, 64, &patient).collect();
    let sending = send_study(network.node().dicom, &slices);
    let cutting = async {
        for pause in [10, 150, 30, 400, 80] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            proxy.cut();
        }
    };
    tokio::join!(sending, cutting);
    let case = network.case_in(&patient.study(), CaseState::Delivered).await;
    network.until_delivered(&case, "leipzig-ukl").await;
    for center in [&network.chemnitz, &network.leipzig] {
        let archive = center.archive();
        assert!(slices.iter().all(|slice| archive[&slice.sop_instance] == slice.data_set));
    }
    assert_eq!(case.attention, "");
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_queues_are_deleted_behind_our_back() {
    let url = shared_url();
    let network = network(CHEMNITZ_AND_LEIPZIG, &url, None).await;
    let (first, _) = send_head_ct(&network, 1, 3).await;
    network.case_in(&first.study(), CaseState::Delivered).await;
    let (_connection, channel) = stranger(&url).await;
    for lane in ["stat", "routine", "bulk"] {
        let queue = format!("neisse.to.chemnitz.{lane}").into();
        channel.queue_delete(queue, QueueDeleteOptions::default()).await.expect("deleted");
    }
    channel.exchange_delete("neisse.deliveries".into(), ExchangeDeleteOptions::default()).await.expect("deleted");
    let since = Instant::now();
    let (second, _) = send_head_ct(&network, 2, 3).await;
    let case = network.case_in(&second.study(), CaseState::Delivered).await;
    network.until_delivered(&case, "leipzig-ukl").await;
    assert!(since.elapsed() < Duration::from_secs(25), "{:?}", since.elapsed());
    assert!(network.ledger(&case).await.iter().all(|row| row.attempts == 1));
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_deleted_with_what_is_in_it() {
    let url = shared_url();
    let network = network(CHEMNITZ_AND_LEIPZIG, &url, None).await;
    // Both workers of the lane have their hands full; what follows waits on the queue.
    let held: Vec<_> = (1..=2).map(|number| head_ct(number, 1)).collect();
    let hold = held.iter().map(|(_, slices)| slices[0].sop_instance.clone()).collect();
    network.chemnitz.behave(Manners { hold, ..Manners::default() });
    for (patient, slices) in &held {
        send_study(network.node().dicom, slices).await;
        let case = network.case(&patient.study(), "a case", |_| true).await;
        eventually("it is under way", SOON, async || {
            let rows = network.owed_to(&case, "chemnitz").await;
            rows.iter().any(|row| row.state == DeliveryState::Attempting)
        })
        .await;
    }
    let (third, _) = send_head_ct(&network, 3, 2).await;
    let case = network.case(&third.study(), "a whole case", |case| case.whole.is_some()).await;
    eventually("it is on the queue", SOON, async || {
        let rows = network.owed_to(&case, "chemnitz").await;
        rows.iter().all(|row| row.state == DeliveryState::Queued)
    })
    .await;
    let (_connection, channel) = stranger(&url).await;
    let queue = "neisse.to.chemnitz.routine".into();
    let lost = channel.queue_delete(queue, QueueDeleteOptions::default()).await.expect("deleted");
    assert!(lost >= 1, "envelopes were in it");
    network.chemnitz.behave(Manners::default());
    network.case_in(&third.study(), CaseState::Delivered).await;
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_envelope_of_ours_is_put_aside_and_counted() {
    let url = shared_url();
    let network = network(ALWAYS_CHEMNITZ, &url, None).await;
    let (first, _) = send_head_ct(&network, 1, 2).await;
    network.case_in(&first.study(), CaseState::Delivered).await;
    let (_connection, channel) = stranger(&url).await;
    let (exchange, key) = ("neisse.deliveries".into(), "chemnitz.routine".into());
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let confirm = channel.basic_publish(exchange, key, options, b"not ours", Default::default()).await.expect("sent");
    assert!(confirm.await.expect("confirmed").is_ack());
    let mut letter = None;
    eventually("it is with the dead ones", SOON, async || {
        letter = network.node().carrier.take_dead().await;
        letter.is_some()
    })
    .await;
    let letter = letter.expect("found");
    assert_eq!(letter.envelope, None);
    assert!(letter.reason.starts_with("not an envelope"), "{}", letter.reason);
    let counted = network.metric("neisse_queue_dead_total{lane=\"routine\"}").await;
    assert!(counted.is_some_and(|count| count >= 1.0), "an alert can be set on it: {counted:?}");
    let (second, _) = send_head_ct(&network, 2, 2).await;
    let case = network.case_in(&second.study(), CaseState::Delivered).await;
    assert!(network.ledger(&case).await.iter().all(is_delivered), "the lane goes on");
    network.at_rest().await;
}

/// A connection that is not ours, with a channel in confirm mode.
async fn stranger(url: &str) -> (lapin::Connection, lapin::Channel) {
    let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await.expect("connected");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    (connection, channel)
}
