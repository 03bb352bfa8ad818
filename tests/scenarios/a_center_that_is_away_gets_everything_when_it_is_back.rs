//! A center is away for an hour, and for longer than anybody waits: probes and no attempts, a person told once at the
//! deadline and once at the end, everything there within seconds of its return.

use crate::support::{
    center::Center,
    eventually,
    faults::{attempts, is_delivered, send_head_ct, set, tonight},
    network::{ALWAYS_CHEMNITZ, Footing, Network, SOON},
};
use neisse::model::{CaseState, DeliveryState};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A reader that no other scenario has, so that its numbers on the metrics page are this scenario's.
const ROUTES: &str = "[[route]]\nname = \"Zwickau\"\nfrom = [\"rabenstein\"]\nto = [\"zwickau\"]\n\
    also_to = [\"leipzig-ukl\"]\nreport_within = \"45m\"\n";

fn zwickau(files: &mut BTreeMap<String, String>) {
    let text = files["partners/chemnitz.toml"].replace("CHEMNITZ", "ZWICKAU").replace("KLCHEM", "KLZWI");
    files.remove("partners/chemnitz.toml");
    files.insert("partners/zwickau.toml".into(), text.replace("Klinikum Chemnitz", "Klinikum Zwickau"));
    set(files, "neisse.toml", "retry_max", "\"10m\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn for_an_hour() {
    let (mut away, leipzig) = (Center::start("ZWICKAU").await, Center::start("UKL").await);
    away.go_away().await;
    let mut network = Network::with_centers(Footing::Embedded, ROUTES, tonight(), away, leipzig, zwickau).await;
    let since = network.clock.now();
    let (patient, slices) = send_head_ct(&network, 1, 10).await;
    let case = network.case(&patient.study(), "a whole case", |case| case.whole.is_some()).await;
    network.until_delivered(&case, "leipzig-ukl").await;
    network.until_paused("zwickau").await;

    let late = "images still not delivered to zwickau at its deadline";
    let mut waits = Vec::new();
    while network.clock.now().since(since) < Duration::from_secs(44 * 60) {
        assert_eq!(network.told(&case, late).await, 0);
        waits.push(network.probe_in_vain("zwickau").await.as_secs());
    }
    assert!(waits.windows(2).all(|pair| pair[1] + 5 >= pair[0]), "they grow: {waits:?}");
    assert!((600..630).contains(waits.last().expect("waits")), "to the longest wait: {waits:?}");
    assert!((8..=14).contains(&waits.len()), "and few they are: {waits:?}");
    network.clock.advance(Duration::from_secs(16 * 60));
    network.case(&patient.study(), "a person is told", |case| case.attention.contains(late)).await;
    network.probe_in_vain("zwickau").await;
    let rows = network.owed_to(&case, "zwickau").await;
    assert!(rows.iter().all(|row| row.attempts <= 1), "no attempts while it is away: {rows:?}");
    assert_eq!(network.metric("neisse_partner_paused{partner=\"zwickau\"}").await, Some(1.0));
    let owed = network.metric("neisse_deliveries{partner=\"zwickau\",state=\"owed\"}").await;
    assert_eq!(owed, Some(rows.len() as f64));

    network.chemnitz.come_back().await;
    let back = Instant::now();
    network.probe_until_back("zwickau").await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    assert!(back.elapsed() < Duration::from_secs(15), "{:?}", back.elapsed());
    assert_eq!(network.chemnitz.arrivals().len(), slices.len(), "each exactly once");
    let rows = network.owed_to(&case, "zwickau").await;
    assert!(rows.iter().all(|row| row.attempts <= 2), "{rows:?}");
    let counted = |outcome: &'static str| format!("neisse_attempts_total{{partner=\"zwickau\",outcome=\"{outcome}\"}}");
    let delivered = network.metric(&counted("delivered")).await;
    let failed = network.metric(&counted("try_again")).await;
    assert_eq!(delivered, Some(rows.len() as f64));
    assert_eq!(failed, Some((attempts(&rows) - rows.len() as i64) as f64));
    assert_eq!(network.metric("neisse_partner_paused{partner=\"zwickau\"}").await, Some(0.0));
    assert_eq!(network.told(&case, late).await, 1, "{}", network.story(&case).await);
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn for_longer_than_anybody_waits() {
    let mut network = Network::start(Footing::Embedded, ALWAYS_CHEMNITZ, tonight()).await;
    network.chemnitz.go_away().await;
    let (patient, slices) = send_head_ct(&network, 1, 4).await;
    let case = network.case(&patient.study(), "a whole case", |case| case.whole.is_some()).await;
    network.until_paused("chemnitz").await;
    network.clock.advance(Duration::from_secs(25 * 3600));
    eventually("it ends in front of a person", SOON, async || {
        let rows = network.ledger(&case).await;
        rows.iter().all(|row| row.state == DeliveryState::Stopped)
    })
    .await;
    let case = network.now(case.id).await;
    let rows = network.ledger(&case).await;
    let told = "images not delivered to chemnitz";
    assert!(case.attention.contains(told) && case.attention.contains("cannot be reached"), "{}", case.attention);
    assert_eq!(network.told(&case, told).await, rows.len(), "{}", network.story(&case).await);
    assert_eq!(case.state, CaseState::Routed, "not taken for delivered");

    // A day later a person sends it again.
    network.chemnitz.come_back().await;
    network.probe_until_back("chemnitz").await;
    assert!(network.chemnitz.arrivals().is_empty(), "what has stopped does not start by itself");
    assert_eq!(network.resend(&case).await, rows.len() as u64);
    network.case_in(&patient.study(), CaseState::Delivered).await;
    assert_eq!(network.chemnitz.arrivals().len(), slices.len());
    assert!(network.ledger(&case).await.iter().all(is_delivered));
    network.at_rest().await;
}
