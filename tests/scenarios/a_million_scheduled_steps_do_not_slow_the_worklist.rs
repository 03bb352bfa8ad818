//! A scanner's list comes within 50 ms, at the 99th percentile, though 1,000,000 steps are scheduled in 20 hospitals: by scanner
//! and day, by modality and day, by patient, by accession number, by the beginning of a name; and what a scanner says it has begun
//! or done is taken as fast. On both databases; each in the round that other work on the machine has disturbed least.

use crate::support::{
    carrier::partner,
    ledger::{Ledger, NOW, Raw, both},
    statements::heard,
};
use neisse::{
    model::{IssuedId, StepState, Uid},
    store::{By, Look, PerformedStep, Place, StepNamed},
};
use std::time::{Duration, Instant};

/// What the round of this number looks by.
type LookedBy = fn(usize) -> By;

const STEPS: usize = 1_000_000;
const HOSPITALS: usize = 20;
const ROUNDS: usize = 100;
const LIMIT: Duration = Duration::from_millis(50);
/// For more rounds, on a busy machine. A look that reads everything takes longer each time.
const PATIENCE: Duration = Duration::from_secs(30);
/// A scanner's first page.
const PAGE: i64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn a_million_scheduled_steps_do_not_slow_the_worklist() {
    for ledger in both().await {
        ledger.raw.schedule(STEPS, &format!("'hospital-' || (i % {HOSPITALS})")).await;
        let looks: [(&str, LookedBy); 7] = [
            ("scanner and day", |n| By::Station(format!("CT{}", n % 5))),
            ("modality and day", |_| By::Modality("CT".into())),
            ("day", |_| By::Start),
            ("patient", |n| By::Patient(format!("P{n}"))),
            ("accession number", |n| By::Accession(format!("A{n}"))),
            ("study", |n| By::Study(format!("1.2.{n}"))),
            ("beginning of a name", |n| By::Name(format!("name{n}"))),
        ];
        let once = async {
            for (_, look) in looks {
                page(&ledger, 1, look).await;
            }
            performed(&ledger, 1).await;
        };
        let (_, heard) = heard(Box::pin(once)).await;
        let ours: Vec<&String> = heard.keys().filter(|sql| is_ours(sql, &ledger.raw)).collect();
        assert!(ours.len() >= looks.len() + 3, "{}: {ours:#?}", ledger.name);
        for sql in ours {
            let plan = ledger.raw.plan(sql).await;
            assert!(!reads_everything(&plan), "{}: {plan:#?}\n{sql}", ledger.name);
        }
        assert!(reads_everything(&ledger.raw.plan("SELECT number FROM scheduled_steps WHERE step_id = $1").await));
        for (what, look) in looks {
            within(what, &ledger, async |number| page(&ledger, number, look).await).await;
        }
        within("performed step", &ledger, async |number| performed(&ledger, number).await).await;
    }
}

async fn within(what: &str, ledger: &Ledger, one: impl AsyncFn(usize) -> Duration) {
    let (since, mut best) = (Instant::now(), Duration::MAX);
    while best >= LIMIT && since.elapsed() < PATIENCE {
        let mut took = Vec::with_capacity(ROUNDS);
        for round in 0..ROUNDS {
            took.push(one(1 + round * 7919 % STEPS).await);
        }
        best = best.min(percentile(took));
    }
    println!("{}: {what}: 99th percentile {best:?}", ledger.name);
    assert!(best < LIMIT, "{}: {what}: {best:?}", ledger.name);
}

async fn page(ledger: &Ledger, number: usize, by: LookedBy) -> Duration {
    let day = Some("20261124".to_owned()).filter(|_| !is_one(by(number)));
    let look = Look { origin: hospital(number), by: by(number), from: day.clone(), to: day };
    let began = Instant::now();
    let found = ledger.store.scheduled_steps(&look, &Place::default(), PAGE).await.expect("a page");
    let took = began.elapsed();
    assert!(!found.is_empty(), "{}: {look:?}", ledger.name);
    took
}

/// As `worklist` does it: a step that names its scheduled one by its accession number is begun, and is done.
async fn performed(ledger: &Ledger, number: usize) -> Duration {
    let uid = |root: &str| Uid::new(&format!("{root}.{number}")).expect("a UID");
    let step = PerformedStep {
        origin: hospital(number),
        uid: uid("1.2.9"),
        state: "IN PROGRESS".into(),
        instances: vec![uid("1.2.8")],
        attributes: "{}".into(),
        created: NOW,
        changed: NOW,
        awaited: false,
    };
    let named = StepNamed {
        study: "1.2.7".into(),
        accession: IssuedId::new(format!("A{number}"), "R"),
        patient: format!("P{number}"),
        step: format!("S{number}"),
    };
    let mut tx = ledger.begin().await;
    let began = Instant::now();
    tx.hold_origin(&step.origin).await.expect("the origin");
    assert!(tx.add_performed_step(&step).await.expect("the step"));
    tx.add_performed_study(&step, &uid("1.2")).await.expect("its study");
    for scheduled in tx.steps_named(&step.origin, &named).await.expect("asked") {
        tx.link_performed(&step.origin, &step.uid, &scheduled).await.expect("linked");
    }
    for state in [StepState::Started, StepState::Done] {
        assert_eq!(tx.move_steps_of(&step.origin, &step.uid, state).await.expect("moved"), 1, "{}", ledger.name);
    }
    // And it is taken back, for the next.
    began.elapsed()
}

fn hospital(number: usize) -> neisse::model::PartnerId {
    partner(&format!("hospital-{}", number % HOSPITALS))
}

/// What other scenarios ask of the worklist meanwhile may be in the other database's words.
fn is_ours(sql: &str, raw: &Raw) -> bool {
    sql.contains("scheduled_steps") && !sql.contains("listed'") && sql.contains("INDEXED BY") == is_by_index(sql, raw)
}

/// SQLite is told which index.
fn is_by_index(sql: &str, raw: &Raw) -> bool {
    matches!(raw, Raw::Sqlite(_)) && sql.contains("found_key")
}

fn reads_everything(plan: &[String]) -> bool {
    let plain =
        |step: &str| step.trim().trim_start_matches("->").trim_start().trim_start_matches("Parallel ").to_owned();
    plan.iter().map(|step| plain(step)).any(|step| {
        ["SCAN scheduled_steps", "SCAN orders", "Seq Scan on scheduled_steps", "Seq Scan on orders"]
            .iter()
            .any(|whole| step.starts_with(whole))
    })
}

/// Looked for by something that names one or few, whenever it is.
fn is_one(by: By) -> bool {
    matches!(by, By::Patient(_) | By::Accession(_) | By::Study(_) | By::Name(_))
}

fn percentile(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() * 99 / 100 - 1]
}
