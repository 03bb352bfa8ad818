//! A patient with 1,100 closed cases marries: the open case and order have the new name when the hospital is answered, the closed ones
//! soon after, also over a restart. An identifier that 20,001 cases have, or 1,001 open ones, is refused, and a person is told.

use crate::support::{
    carrier::partner,
    center::Center,
    eventually,
    ledger::Raw,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    orders::ask,
};
use std::time::Duration;

const CLOSED: usize = 1_100;
const MOST: usize = 20_000;
const MOST_OPEN: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn news_of_a_patient_with_a_thousand_cases_reach_them_all() {
    for footing in BOTH {
        let mut network = network(footing).await;
        let raw = Raw::of(&network, footing).await;
        fill(&raw, "1", "SYN-1", CLOSED, false).await;
        fill(&raw, "2", "SYN-1", 1, true).await;
        fill(&raw, "3", "SYN-3", MOST_OPEN, true).await;
        fill(&raw, "4", "SYN-4", MOST + 1, false).await;
        fill(&raw, "5", "SYN-5", MOST_OPEN + 1, true).await;

        assert_eq!(told(&network, "A1", "A08", "SYN-1", "").await, "MSA|AA|A1");
        assert_eq!(changed(&raw, "2").await, [1, 1], "what is open has changed before the answer");
        network.restart().await;
        eventually("the closed ones follow", PATIENCE, async || changed(&raw, "1").await == [CLOSED, CLOSED]).await;

        // Merged into another identifier: that is theirs now.
        assert_eq!(told(&network, "A2", "A40", "SYN-2", "SYN-1").await, "MSA|AA|A2");
        eventually("all are the other's", PATIENCE, async || of_patient(&raw, "SYN-2").await == [CLOSED + 1; 2]).await;
        assert_eq!(of_patient(&raw, "SYN-1").await, [0, 0]);
        eventually("nothing is left to do", SOON, async || {
            raw.ask("SELECT CAST(COUNT(*) AS TEXT) FROM patient_news").await == "0"
        })
        .await;

        assert_eq!(told(&network, "A3", "A08", "SYN-3", "").await, "MSA|AA|A3", "as many as may be open");
        assert_eq!(changed(&raw, "3").await, [MOST_OPEN, MOST_OPEN]);
        for (control_id, patient, of) in [("A4", "SYN-4", "4"), ("A5", "SYN-5", "5")] {
            let answer = told(&network, control_id, "A08", patient, "").await;
            assert!(answer.starts_with("MSA|AE|"), "{answer}");
            assert_eq!(changed(&raw, of).await, [0, 0]);
            let waiting = format!(
                "SELECT CAST(COUNT(*) AS TEXT) FROM cases WHERE id LIKE '{of}%' AND attention LIKE '%refused%'"
            );
            assert_eq!(raw.ask(&waiting).await, "1", "a person is told, once");
        }
        network.at_rest().await;
    }
}

async fn network(footing: Footing) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
    })
    .await
}

/// The acknowledgement.
async fn told(network: &Network, control_id: &str, event: &str, patient: &str, merged: &str) -> String {
    let merged = if merged.is_empty() { String::new() } else { format!("MRG|{merged}\r") };
    let message = format!(
        "MSH|^~\\&|KIS|DRKRAB|NEISSE|NEISSE|20261124230000||ADT^{event}|{control_id}|P|2.5||||||8859/1\r\
         EVN||20261124230000\rPID|1||{patient}||New^Name\r{merged}"
    );
    ask(network.node().hl7, &message).await[1].clone()
}

/// Cases and orders of rabenstein for one patient. Their ids begin with `first`.
async fn fill(raw: &Raw, first: &str, patient: &str, count: usize, is_open: bool) {
    let padded = match raw {
        Raw::Sqlite(_) => "printf('%012d', i)",
        Raw::Postgres(_) => "lpad(i::text, 12, '0')",
    };
    let id = format!("'{first}0000000-0000-7000-8000-' || {padded}");
    let origin = partner("rabenstein");
    let (state, purged, order) = if is_open { ("held", "NULL", "open") } else { ("reported", "i", "completed") };
    let numbered = format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})");
    let facts = format!(r#"{{"patient_id":{{"value":"{patient}","issuer":"RABENSTEIN"}},"patient_name":"Old^Name"}}"#);
    raw.run(&format!(
        "INSERT INTO cases (id, origin, study_uid, state, discipline, priority, calling_ae, called_ae, facts, patient_id, \
         patient_issuer, accession, accession_issuer, placer_order, filler_order, instances, bytes, routed_to, first_us, last_us, \
         whole_us, decision, reader, attention, purged_us) {numbered} SELECT {id}, '{origin}', '1.2.{first}.' || i, '{state}', \
         'radiology', 'routine', 'A', 'B', '{facts}', '{patient}', 'RABENSTEIN', '', '', '', '', 0, 0, 0, i, i, i, NULL, NULL, '', \
         {purged} FROM n"
    ))
    .await;
    let facts = format!(r#"{{"patients":[{{"value":"{patient}","issuer":"RABENSTEIN"}}],"patient_name":"Old^Name"}}"#);
    raw.run(&format!(
        "INSERT INTO orders (id, origin, state, placer, placer_issuer, filler, filler_issuer, accession, accession_issuer, patient_id, \
         patient_issuer, modality, priority, facts, received_us, changed_us) {numbered} SELECT {id}, '{origin}', '{order}', \
         'O{first}-' || i, 'R', '', '', '', '', '{patient}', 'RABENSTEIN', 'CT', 'routine', '{facts}', i, i FROM n"
    ))
    .await;
}

/// Cases and orders that have the new name.
async fn changed(raw: &Raw, first: &str) -> [usize; 2] {
    let has_it = format!("id LIKE '{first}%' AND facts LIKE '%New^Name%'");
    counts(raw, &has_it).await
}

async fn of_patient(raw: &Raw, patient: &str) -> [usize; 2] {
    counts(raw, &format!("patient_id = '{patient}'")).await
}

async fn counts(raw: &Raw, condition: &str) -> [usize; 2] {
    let mut found = [0; 2];
    for (count, table) in found.iter_mut().zip(["cases", "orders"]) {
        let sql = format!("SELECT CAST(COUNT(*) AS TEXT) FROM {table} WHERE {condition}");
        *count = raw.ask(&sql).await.parse().expect("a number");
    }
    found
}
