//! The configuration is read again while a scanner is sending: a new partner gets workers and queues, changed rules hold
//! for new cases, and the scanner notices nothing.

use crate::support::{
    center::Center,
    eventually,
    faults::{attempts, deliver_to, is_delivered, send_head_ct},
    hospital::{Scanner, head_ct},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
};
use neisse::{
    model::{CaseState, DeliveryState},
    store::CaseRow,
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_effect_without_dropping_an_association() {
    for footing in BOTH {
        let mut network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        let zwickau = Center::start("ZWICKAU").await;
        let (open, slices) = head_ct(1, 6);
        let mut scanner = Scanner::connect(network.node().dicom, &slices[0]).await;
        for slice in &slices[..3] {
            assert_eq!(scanner.send(slice).await, 0x0000);
        }
        eventually("the first slices are in Chemnitz", SOON, async || network.chemnitz.arrivals().len() == 3).await;

        let port = zwickau.port;
        network.reload(|files| {
            let text = files["partners/chemnitz.toml"].replace("CHEMNITZ", "ZWICKAU").replace("KLCHEM", "KLZWI");
            files.insert("partners/zwickau.toml".into(), text.replace("Klinikum Chemnitz", "Klinikum Zwickau"));
            deliver_to(files, "zwickau", "ZWICKAU", port);
            let routes = ALWAYS_CHEMNITZ.replace("chemnitz", "zwickau").replace("Always", "Zwickau now");
            files.insert("routes.toml".into(), routes);
        });
        let (new, _) = send_head_ct(&network, 2, 4).await;
        let new = network.case_in(&new.study(), CaseState::Delivered).await;
        assert_eq!(new.reader.as_ref().map(|reader| reader.as_str()), Some("zwickau"), "the new rule for a new case");
        assert_eq!(zwickau.arrivals().len(), 4);

        for slice in &slices[3..] {
            assert_eq!(scanner.send(slice).await, 0x0000, "the association lives on");
        }
        scanner.release().await;
        let old = network.case_in(&open.study(), CaseState::Delivered).await;
        assert_eq!(old.reader.as_ref().map(|reader| reader.as_str()), Some("chemnitz"), "what is decided stays");
        assert_eq!(network.chemnitz.arrivals().len(), slices.len(), "each exactly once");
        assert_ne!(
            old.decision.expect("decided").rules_version,
            new.decision.expect("decided").rules_version,
            "each case says by which rules it was decided"
        );
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_that_moves_is_found_at_its_new_place() {
    let mut network = Network::start(Footing::Embedded, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
    network.chemnitz.go_away().await;
    let (patient, slices) = send_head_ct(&network, 1, 4).await;
    network.until_paused("chemnitz").await;
    let elsewhere = Center::start("CHEMNITZ").await;
    let port = elsewhere.port;
    network.reload(|files| deliver_to(files, "chemnitz", "CHEMNITZ", port));
    network.probe_until_back("chemnitz").await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    assert_eq!(elsewhere.arrivals().len(), slices.len());
    network.at_rest().await;
}

/// Chemnitz is away with a case owed to it, and new cases go to Leipzig.
async fn owed_to_chemnitz() -> (Network, CaseRow) {
    let mut network = Network::start(Footing::Embedded, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
    network.chemnitz.go_away().await;
    let (patient, _) = send_head_ct(&network, 1, 4).await;
    let case = network.case(&patient.study(), "a whole case", |case| case.whole.is_some()).await;
    network.until_paused("chemnitz").await;
    network.reload(|files| {
        files.insert("routes.toml".into(), ALWAYS_CHEMNITZ.replace("chemnitz", "leipzig-ukl"));
    });
    (network, case)
}

async fn stays_owed(network: &Network, case: &CaseRow) {
    network.probe_until_back("chemnitz").await;
    let tried = attempts(&network.owed_to(case, "chemnitz").await);
    for _ in 0..20 {
        network.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(100)).await;
        let rows = network.owed_to(case, "chemnitz").await;
        assert!(rows.iter().all(|row| row.state == DeliveryState::Owed), "{rows:?}");
        assert_eq!(attempts(&rows), tried);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_to_a_partner_without_a_place_waits_for_one() {
    let (mut network, case) = owed_to_chemnitz().await;
    let mut before = String::new();
    network.reload(|files| {
        let file = files.get_mut("partners/chemnitz.toml").expect("a file");
        before.clone_from(file);
        *file = file.lines().filter(|line| !line.starts_with("deliver = ")).map(|line| format!("{line}\n")).collect();
    });
    stays_owed(&network, &case).await;
    network.chemnitz.come_back().await;
    network.reload(|files| *files.get_mut("partners/chemnitz.toml").expect("a file") = before);
    network.soon("it is delivered", async || network.owed_to(&case, "chemnitz").await.iter().all(is_delivered)).await;
    network.at_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_to_a_partner_that_was_taken_out_is_put_before_a_person() {
    let (mut network, case) = owed_to_chemnitz().await;
    network.reload(|files| {
        files.remove("partners/chemnitz.toml");
    });
    stays_owed(&network, &case).await;
    network.clock.advance(Duration::from_secs(25 * 3600));
    eventually("it has stopped", SOON, async || {
        network.owed_to(&case, "chemnitz").await.iter().all(|row| row.state == DeliveryState::Stopped)
    })
    .await;
    let attention = network.now(case.id).await.attention;
    assert!(attention.contains("it is no partner any more"), "{attention}");
    network.at_rest().await;
}
