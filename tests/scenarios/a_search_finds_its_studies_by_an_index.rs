//! Among 20,000 studies of two hospitals, each key that names few finds its page by an index that begins with the partner, on
//! both databases, and in a few milliseconds. What a partner may not see, it does not find by any of them.

use crate::support::{
    carrier::partner,
    ledger::{Ledger, NOW, Raw, both, rabenstein, received},
    statements::heard,
};
use neisse::{
    intake::matching::join,
    store::{SearchBy, StudySearch},
};
use std::time::{Duration, Instant};

const STUDIES: usize = 20_000;
const LIMIT: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

/// What to look by, the index it goes by, and how many of the page of 50 it finds.
fn looks() -> Vec<(SearchBy, &'static str, usize)> {
    let uid = |number: usize| vec![format!("1.2.3.{number}")];
    vec![
        (SearchBy::Studies(uid(7777)), "study_views_by_study", 1),
        (SearchBy::Series(vec!["1.2.3.7777.1".into()]), "series_by_uid", 1),
        (SearchBy::Instances(vec!["1.2.3.7777.1.1".into()]), "instances_by_sop", 1),
        (SearchBy::Accession(vec!["A7777".into()]), "study_views_by_accession", 1),
        (SearchBy::Patient(vec!["P7777".into()]), "study_views_by_patient", 1),
        (SearchBy::StudyId("S7777".into()), "study_views_by_study_id", 1),
        (SearchBy::AccessionBegins("A777".into()), "study_views_by_accession", 11),
        (SearchBy::PatientBegins("P777".into()), "study_views_by_patient", 11),
        (SearchBy::Name("name7777".into()), "study_views_by_name", 1),
        (SearchBy::Name("nobody".into()), "study_views_by_name", 0),
        (SearchBy::Referrer("ref7777".into()), "study_views_by_referrer", 1),
        (SearchBy::Description("Head 7777".into()), "study_views_by_description", 1),
        (SearchBy::Modality("MR".into()), "modalit", 50),
        (SearchBy::Modality("XA".into()), "modalit", 0),
        (SearchBy::Time, "study_views_by_time", 50),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_its_studies_by_an_index() {
    for ledger in both().await {
        fill(&ledger).await;
        for (by, index, expected) in looks() {
            // The hospital that sent them, and the center that reads them.
            // Of the studies whose numbers begin so, six are odd.
            let half = if expected == 11 { 6 } else { expected };
            for (searches, expected) in [("hospital-1", half), ("chemnitz", expected), ("leipzig-ukl", 0)] {
                let search = StudySearch { partner: partner(searches), by: by.clone(), from: None, to: None };
                let (found, statements) =
                    heard(Box::pin(async { ledger.store.search_studies(&search, None, 50).await.expect("found") }))
                        .await;
                assert_eq!(found.len(), expected, "{}: {searches} by {by:?}", ledger.name);
                goes_by(&ledger, &statements.into_keys().collect::<Vec<_>>(), index).await;
            }
            let slowest = slowest(&ledger, &by).await;
            println!("{}: {by:?} {slowest:?}", ledger.name);
            assert!(slowest < LIMIT, "{}: {by:?} takes {slowest:?}", ledger.name);
        }
        pages_follow_each_other(&ledger).await;
    }
}

/// Of a time before there was a search, and added to before it had been made searchable.
#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_case_that_was_added_to_is_counted_whole() {
    for ledger in both().await {
        let all: Vec<_> = (1..=4).map(|number| received("1.2.3", number, number)).collect();
        let mut case = None;
        for batch in [&all[..3], &all[3..]] {
            let mut tx = ledger.begin().await;
            let done = join(&mut tx, None, &rabenstein(), &batch[0].study, batch, NOW).await.expect("joined");
            tx.commit().await.expect("a commit");
            if case.is_none() {
                ledger.raw.run("DELETE FROM series; UPDATE cases SET searchable = 0").await;
            }
            case = done.map(|done| done.case);
        }
        let case = ledger.store.case(case.expect("a case")).await.expect("the case");
        let mut tx = ledger.begin().await;
        tx.make_searchable(&case).await.expect("made");
        tx.commit().await.expect("a commit");
        let by = SearchBy::Studies(vec!["1.2.3".into()]);
        let search = StudySearch { partner: rabenstein(), by, from: None, to: None };
        let found = ledger.store.search_studies(&search, None, 10).await.expect("found");
        assert_eq!(found.iter().map(|study| study.instances).collect::<Vec<_>>(), [4], "{}", ledger.name);
    }
}

/// Searches of other scenarios are heard, too: one of those that were sent meanwhile is ours.
async fn goes_by(ledger: &Ledger, statements: &[String], index: &str) {
    const WHOLE: [&str; 6] =
        ["SCAN v", "SCAN c", "SCAN d", "Seq Scan on study_views", "Seq Scan on cases", "Seq Scan on deliveries"];
    let mut plans = Vec::new();
    for sql in statements.iter().filter(|sql| sql.contains("c.purged_us")) {
        let plan = ledger.raw.plan(sql).await.join("\n");
        if plan.contains(index) && !WHOLE.iter().any(|step| plan.contains(step)) {
            return;
        }
        plans.push(format!("{plan}\n{sql}"));
    }
    panic!("{}: expected {index}: {}", ledger.name, plans.join("\n\n"));
}

/// The 99th percentile, of the round that the machine has disturbed least.
async fn slowest(ledger: &Ledger, by: &SearchBy) -> Duration {
    let (since, mut best) = (Instant::now(), Duration::MAX);
    let search = StudySearch { partner: partner("chemnitz"), by: by.clone(), from: None, to: None };
    while best == Duration::MAX || best >= LIMIT && since.elapsed() < PATIENCE {
        let mut took = Vec::with_capacity(100);
        for _ in 0..100 {
            let began = Instant::now();
            ledger.store.search_studies(&search, None, 50).await.expect("found");
            took.push(began.elapsed());
        }
        took.sort_unstable();
        best = best.min(took[98]);
    }
    best
}

async fn pages_follow_each_other(ledger: &Ledger) {
    let days = StudySearch {
        partner: partner("hospital-1"),
        by: SearchBy::Time,
        from: Some("20260105".into()),
        to: Some("20260106".into()),
    };
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = ledger.store.search_studies(&days, after.as_ref(), 300).await.expect("found");
        seen.extend(page.iter().map(|study| (study.facts.study_date.clone(), study.study.as_str().to_owned())));
        let Some(last) = page.last() else { break };
        after = Some(last.place.clone());
    }
    let mut each = seen.clone();
    each.sort();
    each.dedup();
    assert_eq!(each.len(), seen.len(), "each once");
    assert_eq!(seen.len(), STUDIES / 2 / 28 * 2, "of two days of 28");
    assert!(seen.iter().all(|(day, _)| day == "20260105" || day == "20260106"));
    assert!(seen.is_sorted_by(|a, b| a.0 >= b.0), "the newest first");
}

async fn fill(ledger: &Ledger) {
    let (padded, day) = match ledger.raw {
        Raw::Sqlite(_) => ("printf('%012d', i)", "printf('202601%02d', i / 2 % 28 + 1)"),
        Raw::Postgres(_) => ("lpad(i::text, 12, '0')", "'202601' || lpad((i / 2 % 28 + 1)::text, 2, '0')"),
    };
    let id = format!("'00000000-0000-7000-8000-' || {padded}");
    let delivery = format!("'00000000-0000-7000-9000-' || {padded}");
    let origin = "'hospital-' || (i % 2)";
    let modality = "CASE WHEN i % 4 = 1 THEN 'MR' ELSE 'CT' END";
    let decision = r#"{"disposition":{"hold":{"reason":""}},"reasons":[],"rules_version":"","decided_at":0}"#;
    let fill = async |columns: &str, values: String| {
        let sql = format!(
            "INSERT INTO {columns} WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {STUDIES}) \
             SELECT {values} FROM n"
        );
        ledger.raw.run(&sql).await;
    };
    fill(
        "cases (id, origin, study_uid, state, discipline, priority, calling_ae, called_ae, facts, patient_id, \
         patient_issuer, accession, accession_issuer, placer_order, filler_order, instances, bytes, \
         routed_to, first_us, last_us, whole_us, decision, reader, attention, searchable)",
        format!(
            "{id}, {origin}, '1.2.3.' || i, 'delivered', 'radiology', 'routine', 'A', 'B', \
             '{{\"patient_name\":\"NAME' || i || '^X\",\"study_date\":\"' || {day} || '\"}}', 'P' || i, 'R', \
             'A' || i, 'R', '', '', 1, 1, 1, i, i, i, '{decision}', 'chemnitz', '', 1"
        ),
    )
    .await;
    for sees in [origin, "'chemnitz'"] {
        fill(
            "study_views (partner, case_id, study_uid, study_at, name_key, patient_id, accession, study_id, referrer_key, \
             description_key)",
            format!(
                "{sees}, {id}, '1.2.3.' || i, {day} || '120000', 'name' || i || '^x', 'P' || i, 'A' || i, 'S' || i, \
                 'ref' || i, 'Head ' || i"
            ),
        )
        .await;
        fill(
            "study_modalities (partner, modality, study_at, case_id)",
            format!("{sees}, {modality}, {day} || '120000', {id}"),
        )
        .await;
    }
    fill(
        "series (case_id, series_uid, modality, number, description, body_part, started_on, started_at, instances)",
        format!("{id}, '1.2.3.' || i || '.1', {modality}, 1, '', '', '', '', 1"),
    )
    .await;
    fill(
        "instances (case_id, seq, sop_class, sop_uid, transfer_syntax, series_uid, journal, record_at, data_at, length, sha256, \
         received_us, conflict)",
        format!(
            "{id}, 1, '1.2.840.10008.5.1.4.1.1.2', '1.2.3.' || i || '.1.1', '1.2.840.10008.1.2.1', '1.2.3.' || i || '.1', \
             {id}, 0, 64, 1000, 'x', i, 0"
        ),
    )
    .await;
    fill(
        "deliveries (id, case_id, partner, lane, kind, first_seq, last_seq, done_to, refused, version, items, bytes, state, \
         attempts, next_us, owner, give_up_us, created_us, finished_us, last_outcome)",
        format!("{delivery}, {id}, 'chemnitz', 'routine', 'images', 1, 1, 1, '[]', 0, 1, 1, 'delivered', 1, i, '', i, i, i, ''"),
    )
    .await;
    // As PostgreSQL's autovacuum would within the minute.
    if matches!(ledger.raw, Raw::Postgres(_)) {
        ledger.raw.run("ANALYZE").await;
    }
}
