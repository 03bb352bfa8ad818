//! A scanner's list comes within 50 ms, at the 99th percentile, though a million steps are scheduled in 20 hospitals: by scanner
//! and day, by modality and day, by patient, by accession number, by the beginning of a name. On both databases.

use crate::support::{
    carrier::partner,
    ledger::{Ledger, Raw, both},
};
use neisse::store::{By, Look, Place};
use std::time::{Duration, Instant};

const STEPS: usize = 1_000_000;
const HOSPITALS: usize = 20;
const ROUNDS: usize = 100;
const LIMIT: Duration = Duration::from_millis(50);
/// A scanner's first page.
const PAGE: i64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn a_million_scheduled_steps_do_not_slow_the_worklist() {
    for ledger in both().await {
        fill(&ledger).await;
        for (what, look) in [
            ("scanner and day", (|n| By::Station(format!("CT{}", n % 5))) as fn(usize) -> By),
            ("modality and day", |_| By::Modality("CT".into())),
            ("day", |_| By::Start),
            ("patient", |n| By::Patient(format!("P{n}"))),
            ("accession number", |n| By::Accession(format!("A{n}"))),
            ("study", |n| By::Study(format!("1.2.{n}"))),
            ("beginning of a name", |n| By::Name(format!("name{n}"))),
        ] {
            let took = percentile(rounds(&ledger, look).await);
            println!("{}: {what}: 99th percentile {took:?}", ledger.name);
            assert!(took < LIMIT, "{}: {what}: {took:?}", ledger.name);
        }
    }
}

async fn rounds(ledger: &Ledger, by: fn(usize) -> By) -> Vec<Duration> {
    let mut took = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let number = 1 + round * 7919;
        let look = Look {
            origin: partner(&format!("hospital-{}", number % HOSPITALS)),
            by: by(number),
            from: Some("20261124".into()).filter(|_| !is_one(by(number))),
            to: Some("20261124".into()).filter(|_| !is_one(by(number))),
        };
        let began = Instant::now();
        let found = ledger.store.scheduled_steps(&look, &Place::default(), PAGE).await.expect("a page");
        took.push(began.elapsed());
        assert!(!found.is_empty(), "{}: {look:?}", ledger.name);
    }
    took
}

/// Looked for by something that names one or few, whenever it is.
fn is_one(by: By) -> bool {
    matches!(by, By::Patient(_) | By::Accession(_) | By::Study(_) | By::Name(_))
}

fn percentile(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100 - 1]
}

async fn fill(ledger: &Ledger) {
    let padded = match ledger.raw {
        Raw::Sqlite(_) => "printf('%012d', i)",
        Raw::Postgres(_) => "lpad(i::text, 12, '0')",
    };
    let id = format!("'00000000-0000-7000-8000-' || {padded}");
    let origin = format!("'hospital-' || (i % {HOSPITALS})");
    let fill = async |columns: &str, values: String| {
        let sql = format!(
            "INSERT INTO {columns} WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {STEPS}) \
             SELECT {values} FROM n"
        );
        ledger.raw.run(&sql).await;
    };
    let facts =
        "'{\"patient_name\":\"Name' || i || '\",\"requested\":{\"steps\":[{\"id\":\"S1\",\"modality\":\"CT\"}]}}'";
    fill(
        "orders (id, origin, state, placer, placer_issuer, filler, filler_issuer, accession, accession_issuer, patient_id, \
         patient_issuer, modality, priority, facts, received_us, changed_us)",
        format!(
            "{id}, {origin}, 'open', 'O' || i, 'R', '', '', 'A' || i, 'R', 'P' || i, 'R', 'CT', 'routine', {facts}, i, i"
        ),
    )
    .await;
    fill(
        "scheduled_steps (order_id, number, origin, state, listed, patient_id, accession, name_key, modality, station, \
         start_at, study_uid, step_id)",
        format!(
            "{id}, 1, {origin}, 'scheduled', 1, 'P' || i, 'A' || i, 'name' || i, \
             CASE i % 3 WHEN 0 THEN 'MR' ELSE 'CT' END, CASE i % 7 WHEN 0 THEN '' ELSE 'CT' || (i % 5) END, \
             '202611' || (10 + (i / 20) % 20) || '0830' || (10 + i % 50), '1.2.' || i, 'S' || i"
        ),
    )
    .await;
    if matches!(ledger.raw, Raw::Postgres(_)) {
        // As its autovacuum would within the minute.
        ledger.raw.run("ANALYZE").await;
    }
}
