//! The main job on a database with 50,000 cases behind it: every statement the node runs for it finds its rows by an
//! index, on both databases.
//!
//! The statements are those the node really sends, heard where the database driver logs them.

use crate::support::{
    center::{About, oru},
    eventually,
    faults::send_head_ct,
    hospital::send_study,
    ledger::Raw,
    network::{BOTH, Footing, Network, SOON},
    statements::heard,
};
use neisse::{model::CaseState, store::ListFilter};

const CASES: i64 = 50_000;

/// Filled here; a table that stays small may well be read whole.
const BIG: [&str; 5] = ["cases", "instances", "deliveries", "events", "messages"];

/// Holds only what is unfinished, so that reading all of it is reading little.
const SMALL_INDEXES: [&str; 11] = [
    "cases_to_route",
    "cases_to_complete",
    "cases_waiting",
    "deliveries_due",
    "deliveries_open",
    "deliveries_late",
    "deliveries_leased",
    "specimen_alarms_open",
    "specimen_events_untold",
    "specimen_events_waiting",
    "task_events_to_note",
];

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_cases_slow_nothing_down() {
    for footing in BOTH {
        let network = Network::night(footing, "2026-11-24T23:10").await;
        let raw = fill(&network, footing).await;
        let ((), heard) = heard(the_main_job(&network)).await;
        let ours: Vec<String> = heard.into_keys().filter(|sql| is_looked_up(sql, footing)).collect();
        assert!(ours.len() > 30, "{footing:?}: only {} statements were heard", ours.len());
        let mut slow = Vec::new();
        for sql in &ours {
            let plan = raw.plan(sql).await;
            if let Some(step) = plan.iter().find(|step| reads_a_big_table(step)) {
                slow.push(format!("{step}\n    in {sql}"));
            }
        }
        assert!(slow.is_empty(), "{footing:?}:\n{}", slow.join("\n"));
        // The check itself: what no index helps with is seen.
        for whole in ["SELECT id FROM cases WHERE called_ae = $1", "SELECT id FROM deliveries WHERE lane = $1"] {
            assert!(raw.plan(whole).await.iter().any(|step| reads_a_big_table(step)), "{footing:?}: {whole}");
        }
        network.at_rest().await;
    }
}

/// In, decided, out, reported, returned, a late slice, and a look at the lists.
async fn the_main_job(network: &Network) {
    let (patient, slices) = send_head_ct(network, 1, 5).await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    let study = patient.study().to_string();
    let about =
        About { patient_id: &patient.patient_id, issuer: "RABENSTEIN", accession: &patient.accession, study: &study };
    let message = oru("KLCHEM", "R1", &about, "F", "keine Blutung");
    let answer = network.chemnitz.send_hl7(network.node().hl7, &message, "R1").await;
    assert_eq!(answer.code.as_str(), "AA");
    eventually("the report is back", SOON, async || network.hospital.reports().len() == 1).await;
    send_study(network.node().dicom, &slices).await;
    let store = &network.node().store;
    let attention = ListFilter { attention: true, limit: 30, ..ListFilter::default() };
    assert!(store.list_cases(&attention).await.expect("the list").is_empty());
    assert!(!store.list_cases(&ListFilter { limit: 30, ..ListFilter::default() }).await.expect("the list").is_empty());
    store.count_deliveries().await.expect("counted");
    let case = network.case_in(&patient.study(), CaseState::Reported).await;
    store.ledger(case.id).await.expect("the ledger");
    store.story(case.id).await.expect("the story");
}

async fn fill(network: &Network, footing: Footing) -> Raw {
    let raw = Raw::of(network, footing).await;
    let (padded, bytes) = match footing {
        Footing::Embedded => ("printf('%012d', i)", "BLOB"),
        Footing::Services => ("lpad(i::text, 12, '0')", "BYTEA"),
    };
    let id = format!("'00000000-0000-7000-8000-' || {padded}");
    let decision = r#"{"disposition":{"hold":{"reason":""}},"reasons":[],"rules_version":"","decided_at":0}"#;
    let fill = |columns: &str, values: &str| {
        format!(
            "INSERT INTO {columns} WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {CASES}) \
             SELECT {values} FROM n"
        )
    };
    raw.run(&fill(
        "cases (id, origin, study_uid, state, discipline, priority, calling_ae, called_ae, facts, patient_id, \
         patient_issuer, accession, accession_issuer, placer_order, filler_order, instances, bytes, \
         routed_to, first_us, last_us, whole_us, decision, reader, attention)",
        &format!(
            "{id}, 'rabenstein', '1.2.3.' || i, 'reported', 'radiology', 'routine', 'A', 'B', '{{}}', 'P' || i, 'R', \
             'A' || i, 'R', 'O' || i, 'F' || i, 1, 1, 1, i, i, i, '{decision}', 'chemnitz', ''"
        ),
    ))
    .await;
    raw.run(&fill(
        "instances (case_id, seq, sop_class, sop_uid, transfer_syntax, series_uid, journal, record_at, data_at, length, \
         sha256, received_us, conflict)",
        &format!("{id}, 1, '1.2', '1.2.3.4.' || i, '1.2', '1.2', '', 0, 0, 1, '', i, 0"),
    ))
    .await;
    raw.run(&fill(
        "deliveries (id, case_id, partner, lane, kind, first_seq, last_seq, done_to, refused, report_id, version, items, \
         bytes, state, attempts, next_us, lease_us, owner, deadline_us, give_up_us, created_us, finished_us, last_outcome)",
        &format!(
            "{id}, {id}, 'chemnitz', 'routine', 'images', 1, 1, 1, '[]', NULL, 0, 1, 1, 'delivered', 1, i, NULL, 'test', \
             i, i, i, i, ''"
        ),
    ))
    .await;
    raw.run(&fill("events (case_id, at_us, actor, what)", &format!("{id}, i, 'test', 'filled'"))).await;
    raw.run(&fill(
        "messages (partner, application, facility, control_id, sha256, received_us, answer)",
        &format!("'chemnitz', 'RIS', 'KLCHEM', 'F' || i, 'aa', i, CAST('' AS {bytes})"),
    ))
    .await;
    if footing == Footing::Services {
        // As its autovacuum would within the minute.
        raw.run("ANALYZE").await;
    }
    raw
}

/// Scenarios that run beside this one are heard too, on the other database among others.
fn is_looked_up(sql: &str, footing: Footing) -> bool {
    let words = ["SELECT", "UPDATE", "DELETE", "WITH", "INSERT"];
    let foreign: &[&str] = match footing {
        Footing::Embedded => &["jsonb", "FOR UPDATE", "::", "lpad", "AS (INSERT"],
        Footing::Services => &["json_each", "printf", "; INSERT"],
    };
    words.iter().any(|word| sql.starts_with(word))
        && BIG.iter().any(|table| sql.contains(table))
        && !foreign.iter().any(|word| sql.contains(word))
        // Every state of every case, for /metrics: another node's scrape may be heard here.
        && !sql.contains("GROUP BY state")
}

/// `SCAN cases` (SQLite), `Seq Scan on cases` (PostgreSQL). In the order of an index up to a limit is no such thing.
fn reads_a_big_table(step: &str) -> bool {
    let step = step.trim_start_matches([' ', '-', '>']);
    let scanned = step.strip_prefix("SCAN ").or_else(|| step.split_once("Seq Scan on ").map(|(_, scanned)| scanned));
    let Some(scanned) = scanned else { return false };
    let table = scanned.split(' ').next().unwrap_or_default();
    // The ledger's statements call it d and e.
    let is_big = BIG.contains(&table) || ["d", "e"].contains(&table);
    let in_order = SMALL_INDEXES.iter().any(|index| scanned.contains(index)) || scanned.contains("cases_by_last");
    is_big && !in_order
}
