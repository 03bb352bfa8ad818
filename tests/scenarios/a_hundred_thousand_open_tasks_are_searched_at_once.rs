//! A reader with 100,000 open tasks finds the fifty most urgent, those of one rule, of one station, of tonight, of one patient,
//! in 30 ms at the 99th percentile, on both databases: every statement about tasks finds its rows by an index, in order.

use crate::support::{
    carrier::partner,
    ledger::{Ledger, NOW, Raw, both},
    network::{ALWAYS_CHEMNITZ, Footing, checked, files},
    statements::heard,
};
use dicom_core::{Tag, VR};
use futures_util::StreamExt;
use neisse::{
    config::Live,
    dicom::{
        service::{Asker, DataSet, Find, FindModel},
        ups::{SUPPORTED, put, put_items},
    },
    model::{Bell, Clock, Outgoing},
    worklist::tasks::Tasks,
};
use std::time::{Duration, Instant};

const OPEN: usize = 100_000;
const SEARCHES: usize = 100;
/// As many rounds as it takes: other work on the machine disturbs them.
const PATIENCE: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_millis(30);

const STATE: Tag = Tag(0x0074, 0x1000);
const PRIORITY: Tag = Tag(0x0074, 0x1200);
const LABEL: Tag = Tag(0x0074, 0x1202);
const STATION: Tag = Tag(0x0040, 0x4025);
const START: Tag = Tag(0x0040, 0x4005);
const PATIENT: Tag = Tag(0x0010, 0x0020);
const NAME: Tag = Tag(0x0010, 0x0010);

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_open_tasks_are_searched_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = files(Footing::Embedded, ALWAYS_CHEMNITZ, 1, 2, 3).await;
    let config = checked(folder.path(), &files);
    for ledger in both().await {
        fill(&ledger).await;
        let (_replacer, live) = Live::new(config.clone());
        let tasks =
            Tasks { store: ledger.store.clone(), config: live, clock: Clock::starting_at(NOW), bell: Bell::default() };
        for (name, keys, least) in searches() {
            let (found, statements) = heard(Box::pin(search(&tasks, &keys))).await;
            assert!(found >= least, "{}: {name}: {found}", ledger.name);
            let mut looks = 0;
            for sql in statements.keys().filter(|sql| is_ours(sql, &ledger.raw)) {
                let plan = ledger.raw.plan(sql).await;
                assert!(!reads_on_and_on(&plan), "{}: {name}: {plan:#?}\n{sql}", ledger.name);
                looks += 1;
            }
            assert!(looks > 0, "{}: {name}: nothing was heard", ledger.name);
            let (began, mut best) = (Instant::now(), Duration::MAX);
            while best >= LIMIT && began.elapsed() < PATIENCE {
                let mut took = Vec::with_capacity(SEARCHES);
                for _ in 0..SEARCHES {
                    let since = Instant::now();
                    let found = search(&tasks, &keys).await;
                    took.push(since.elapsed());
                    assert!(found >= least, "{}: {name}: {found}", ledger.name);
                }
                took.sort_unstable();
                best = best.min(took[SEARCHES * 99 / 100 - 1]);
            }
            println!("{}: {name}: 99th percentile {best:?}", ledger.name);
            assert!(best < LIMIT, "{}: {name}: {best:?}", ledger.name);
        }
        // No index serves a wild card that leads: all of them are looked at, and how many is bounded (`MAX_IN_VAIN`).
        let since = Instant::now();
        let mut keys = DataSet::new_empty();
        put(&mut keys, NAME, VR::PN, "*N77777^*");
        assert_eq!(search(&tasks, &keys).await, 1, "{}", ledger.name);
        println!("{}: a leading wild card: {:?}", ledger.name, since.elapsed());
    }
}

/// Other scenarios are heard too, on the other database among others.
fn is_ours(sql: &str, raw: &Raw) -> bool {
    let foreign = match raw {
        Raw::Sqlite(_) => "jsonb",
        Raw::Postgres(_) => "json_each(",
    };
    sql.starts_with("SELECT uid, case_id, reader") && sql.contains("scheduled_us") && !sql.contains(foreign)
}

/// All tasks of a reader, or all there are, are read or sorted; those of a few cases may be.
fn reads_on_and_on(plan: &[String]) -> bool {
    let is_of_cases = plan.iter().any(|step| step.contains("case_id"));
    plan.iter().any(|step| {
        let step = step.trim_start_matches([' ', '-', '>']);
        let is_sorted = step.starts_with("USE TEMP B-TREE") || step.starts_with("Sort");
        let is_read = step.starts_with("SCAN tasks") || step.contains("Seq Scan on tasks");
        is_read || is_sorted && !is_of_cases || step.starts_with("MULTI-INDEX OR")
    })
}

fn searches() -> Vec<(&'static str, DataSet, usize)> {
    let with = |keys: &[(Tag, VR, &str)]| {
        let mut set = DataSet::new_empty();
        put(&mut set, STATE, VR::CS, "SCHEDULED");
        for (tag, vr, text) in keys {
            put(&mut set, *tag, *vr, text);
        }
        set
    };
    let mut station = with(&[]);
    let mut code = DataSet::new_empty();
    put(&mut code, Tag(0x0008, 0x0100), VR::SH, "chemnitz");
    put_items(&mut station, STATION, vec![code]);
    vec![
        ("the most urgent", with(&[]), 50),
        ("of one priority", with(&[(PRIORITY, VR::CS, "MEDIUM")]), 50),
        ("of one rule", with(&[(LABEL, VR::LO, "rule 7")]), 50),
        ("of one station", station, 50),
        ("of one hour", with(&[(START, VR::DT, "20261224230000-20261224235959")]), 50),
        ("of one patient", with(&[(PATIENT, VR::LO, "P77777")]), 1),
        ("of names by a wild card", with(&[(NAME, VR::PN, "TESTN*")]), 50),
    ]
}

async fn search(tasks: &Tasks, keys: &DataSet) -> usize {
    let asker = Asker { partner: partner("chemnitz"), ae_title: "WS1".into(), letters: Outgoing::default() };
    let mut identifier = keys.clone();
    for tag in SUPPORTED.into_iter().filter(|tag| *tag != Tag(0x0040, 0x4021)) {
        if identifier.get(tag).is_none() {
            put(&mut identifier, tag, VR::LO, "");
        }
    }
    let find = Find { model: FindModel::Workitems, identifier, skip: 0, limit: Some(50), is_fuzzy: false };
    let answers = tasks.find(&asker, find).await.expect("answers");
    answers.matches.filter(|found| std::future::ready(found.is_ok())).count().await
}

/// One a minute, of three priorities and twenty rules.
async fn fill(ledger: &Ledger) {
    let (series, id, text) = match &ledger.raw {
        Raw::Sqlite(_) => (
            format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {OPEN}) "),
            "printf('00000000-0000-7000-8000-%012d', i)",
            "i",
        ),
        Raw::Postgres(_) => (
            format!("WITH n(i) AS (SELECT generate_series(1::bigint, {OPEN})) "),
            "'00000000-0000-7000-8000-' || lpad(i::text, 12, '0')",
            "i::text",
        ),
    };
    let now = NOW.0;
    ledger
        .raw
        .run(&format!(
            "{series}INSERT INTO cases (id, origin, study_uid, state, discipline, priority, calling_ae, called_ae, facts, \
             patient_id, patient_issuer, accession, accession_issuer, placer_order, filler_order, instances, bytes, routed_to, \
             first_us, last_us, attention, reader) SELECT {id}, 'rabenstein', '1.2.3.' || {text}, 'preliminary', 'radiology', \
             'routine', 'RAB_CT1', 'NEISSE', '{{\"patient_id\":{{\"value\":\"P' || {text} || '\",\"issuer\":\"RABENSTEIN\"}},\
             \"patient_name\":\"TestN' || {text} || '^Patient\",\"modality\":\"CT\"}}', 'P' || {text}, 'RABENSTEIN', 'A' || {text}, 'RABENSTEIN', \
             '', '', 1, 1, 1, {now}, {now}, '', 'chemnitz' FROM n"
        ))
        .await;
    ledger
        .raw
        .run(&format!(
            "{series}INSERT INTO tasks (uid, case_id, reader, origin, round, state, transaction_uid, claimed_by, rank, label, \
             scheduled_us, created_us, updated_us, ready, attributes, report_id, reason, replaces) SELECT '2.25.' || {text}, {id}, \
             'chemnitz', 'rabenstein', 1, 'SCHEDULED', '', '', 1 + i % 3, 'rule ' || (i % 20), {now} + i * 10000000, {now}, {now}, \
             1, '{{}}', '', '', '' FROM n"
        ))
        .await;
    if matches!(ledger.raw, Raw::Postgres(_)) {
        // As its autovacuum would within the minute; SQLite never counts.
        ledger.raw.run("ANALYZE").await;
    }
}
