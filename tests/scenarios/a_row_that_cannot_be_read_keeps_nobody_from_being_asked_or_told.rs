//! Of storage commitments to ask for and studies to tell of, on both databases: a row that cannot be read is passed over, put off and
//! shown to a person, whatever stands behind it has its turn; and what is told again is what has grown, or has a new receiver.

use crate::support::{
    carrier::partner,
    ledger::{Ledger, NOW, both, case, images, received},
};
use neisse::{
    delivery::{
        retry::Verdict,
        settle::{self, Ending},
        worker::Attempted,
    },
    intake::matching::join,
    model::{CaseId, CaseState, Decision, DeliveryState, Disposition, Lane, Moment, Outcome, Reading, ReadingMode},
    store::{AskedCommitment, CaseRow, NewDelivery, Settled, UnreadableRow},
};
use std::time::Duration;

const LATER: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_keeps_nobody_from_being_asked() {
    for ledger in both().await {
        let case = of_four_images(&ledger).await;
        owe(&ledger, &case, (1, 2)).await;
        ledger.raw.run("UPDATE asked_commitments SET runs = 'nonsense'").await;
        owe(&ledger, &case, (3, 4)).await;
        owe(&ledger, &case, (3, 4)).await;
        // Two that cannot be read are due first.
        let spoilt = format!(
            "INSERT INTO asked_commitments (id, case_id, partner, runs, skipped, items, state, asks, attempts, created_us, since_us, \
             next_us, ended_us) VALUES ('no id', '{}', 'chemnitz', '[]', '[]', 1, 'owed', 0, 0, 1, 1, 1, NULL), \
             ('00000000-0000-7000-8000-000000000001', '{}', 'No Partner', '[]', '[]', 1, 'owed', 0, 0, 1, 1, 1, NULL)",
            case.id, case.id
        );
        ledger.raw.run(&spoilt).await;
        let now = NOW + LATER;
        let partners = ledger.store.to_be_asked(now).await.expect("the store");
        let readable: Vec<_> = partners.iter().filter_map(|partner| partner.as_ref().ok()).collect();
        assert_eq!((partners.len(), readable), (2, vec![&partner("chemnitz")]), "{}", ledger.name);
        let mut met = 0;
        let row = loop {
            match due(&ledger, now, 1).await.into_iter().next().expect("one is due") {
                Ok(row) => break row,
                Err(unreadable) => {
                    met += 1;
                    let mut tx = ledger.begin().await;
                    tx.put_off_asking(&unreadable, "it cannot be read", now + LATER).await.expect("put off");
                    tx.commit().await.expect("a commit");
                }
            }
        };
        assert_eq!((met, row.items, row.case), (2, 2, case.id), "{}", ledger.name);
        let attention = ledger.store.case(case.id).await.expect("the case").attention;
        assert_eq!(attention, "it cannot be read", "{}", ledger.name);
        assert_eq!(due(&ledger, now + LATER, 9).await.len(), 3, "{}: they come again", ledger.name);
    }
}

/// What has arrived has arrived, though its case cannot be read; and though its receiver cannot be asked whether it keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_settled_though_its_case_cannot_be_read_and_its_receiver_not_be_asked() {
    for ledger in both().await {
        let case = of_four_images(&ledger).await;
        ledger.raw.run("UPDATE cases SET facts = 'nonsense'").await;
        settle(&ledger, &case, (1, 2)).await;
        assert_eq!(due(&ledger, NOW + LATER, 9).await.len(), 1, "{}", ledger.name);
        let unread = "it cannot be read: see the log";
        assert_eq!(ledger.raw.ask("SELECT attention FROM cases").await, unread, "{}", ledger.name);
        // A second question about it is one that the database does not take.
        ledger.raw.run("UPDATE asked_commitments SET items = 2000").await;
        ledger.raw.run("CREATE UNIQUE INDEX spoilt ON asked_commitments (partner)").await;
        settle(&ledger, &case, (3, 4)).await;
        let unasked = "chemnitz is not asked whether it keeps the images: see the log";
        let attention = ledger.raw.ask("SELECT attention FROM cases").await;
        assert_eq!(attention, format!("{unread}; {unasked}"), "{}", ledger.name);
    }
}

/// As a worker does it.
async fn settle(ledger: &Ledger, case: &CaseRow, (first_seq, last_seq): (i64, i64)) {
    let id = ledger.owe(&NewDelivery { first_seq, last_seq, ..images(case, "chemnitz", Lane::Routine) }).await;
    let mut tx = ledger.begin().await;
    assert!(tx.take_due(NOW, NOW + LATER, "one", 9, |_, _| true).await.expect("taken").iter().any(|due| due.id == id));
    let claimed = tx.claim(id, NOW, NOW + LATER, "one").await.expect("asked").expect("claimed");
    tx.commit().await.expect("a commit");
    let outcome = Outcome::Delivered { warning: None };
    let attempted = Attempted { done_to: last_seq, ..Attempted::ended(&claimed, outcome) };
    let verdict = Verdict { settled: Settled::Delivered, pause_until: None, attention: None };
    let ending = Ending { attempted: &attempted, verdict: &verdict, asks_commitment: true, now: NOW };
    let error = settle::settle(&ledger.store, &claimed, &ending).await.expect_err("its case cannot be read");
    assert!(error.is_about_one(), "{}: {error}", ledger.name);
    settle::settle_alone(&ledger.store, &claimed, &ending, &error).await;
    let rows = ledger.store.ledger(case.id).await.expect("the ledger");
    let settled = rows.iter().find(|row| row.id == id).map(|row| row.state);
    assert_eq!(settled, Some(DeliveryState::Delivered), "{}", ledger.name);
}

async fn due(ledger: &Ledger, now: Moment, most: i64) -> Vec<Result<AskedCommitment, UnreadableRow>> {
    ledger.store.commitments_to_ask(&partner("chemnitz"), now, most).await.expect("the store")
}

async fn of_four_images(ledger: &Ledger) -> CaseRow {
    let batch: Vec<_> = (1..=4).map(|number| received("1.2.3", number, number)).collect();
    let mut tx = ledger.begin().await;
    let joined = join(&mut tx, None, &partner("rabenstein"), &batch[0].study, &batch, NOW).await.expect("joined");
    tx.commit().await.expect("a commit");
    ledger.store.case(joined.expect("a case").case).await.expect("the case")
}

async fn owe(ledger: &Ledger, case: &CaseRow, (first_seq, last_seq): (i64, i64)) {
    let id = ledger.owe(&NewDelivery { first_seq, last_seq, ..images(case, "chemnitz", Lane::Routine) }).await;
    let rows = ledger.store.ledger(case.id).await.expect("the ledger");
    let delivery = rows.into_iter().find(|row| row.id == id).expect("the delivery");
    let mut tx = ledger.begin().await;
    tx.case(case.id).await.expect("the case");
    tx.owe_commitment(&delivery, last_seq, NOW).await.expect("owed");
    tx.commit().await.expect("a commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_is_told_again_when_it_has_grown_or_has_a_new_receiver() {
    for ledger in both().await {
        let mut study = delivered(&ledger, "1.2.3", &["chemnitz", "leipzig-ukl"]).await;
        assert_eq!(available(&ledger, NOW).await, [study.id], "{}", ledger.name);
        told(&ledger, study.id, NOW).await;
        for (others, is_news) in [
            (&["leipzig-ukl", "chemnitz"][..], false),
            (&["chemnitz"], false),
            (&["chemnitz", "leipzig-ukl"], false),
            (&["chemnitz", "leipzig-ukl", "goerlitz"], true),
        ] {
            study.decision = Some(to(others));
            note(&ledger, &mut study, NOW + LATER).await;
            let expected: &[CaseId] = if is_news { &[study.id] } else { &[] };
            assert_eq!(available(&ledger, NOW).await, expected, "{}: {others:?}", ledger.name);
        }
        told(&ledger, study.id, NOW + LATER).await;
        // One more image: told when nothing has come for a while.
        (study.instances, study.routed_to, study.last) = (2, 2, NOW + LATER);
        note(&ledger, &mut study, NOW + LATER * 2).await;
        assert!(available(&ledger, NOW + LATER / 2).await.is_empty(), "{}", ledger.name);
        assert_eq!(available(&ledger, NOW + LATER).await, [study.id], "{}", ledger.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_cannot_be_told_keeps_no_other_from_being_told() {
    for ledger in both().await {
        let first = delivered(&ledger, "1.2.3", &["chemnitz"]).await;
        let second = delivered(&ledger, "1.2.4", &["chemnitz"]).await;
        let columns = "origin, state, discipline, priority, calling_ae, called_ae, facts, patient_id, patient_issuer, accession, \
                       accession_issuer, placer_order, filler_order, instances, bytes, routed_to, first_us, last_us, whole_us, decision, \
                       reader, attention";
        ledger
            .raw
            .run(&format!(
                "INSERT INTO cases (id, study_uid, {columns}) SELECT '0 is no id', '1.2.5', {columns} FROM cases WHERE id = '{}'; \
                 INSERT INTO available_studies (case_id, noted_us, instances, receivers) VALUES ('0 is no id', 1, 1, '[]')",
                first.id
            ))
            .await;
        let (mut found, mut after, mut unreadable) = (Vec::new(), None, 0);
        while let Some((place, case)) =
            ledger.store.available_studies(NOW, after.as_ref(), 1).await.expect("the store").pop()
        {
            after = Some(place);
            match case {
                Ok(case) => found.push(case),
                Err(_) => unreadable += 1,
            }
        }
        found.sort();
        let mut both = [first.id, second.id];
        both.sort();
        assert_eq!((found.as_slice(), unreadable), (&both[..], 1), "{}", ledger.name);
    }
}

async fn available(ledger: &Ledger, quiet_since: Moment) -> Vec<CaseId> {
    let found = ledger.store.available_studies(quiet_since, None, 10).await.expect("the store");
    found.into_iter().map(|(_, case)| case.expect("a case's id")).collect()
}

async fn told(ledger: &Ledger, case: CaseId, noted: Moment) {
    let mut tx = ledger.begin().await;
    assert!(tx.take_available(case, noted).await.expect("taken"), "{}", ledger.name);
    tx.commit().await.expect("a commit");
}

fn to(others: &[&str]) -> Decision {
    let reading = Reading {
        rule: "Nights".into(),
        readers: vec![partner(others[0])],
        also_to: others[1..].iter().map(|name| partner(name)).collect(),
        reading_mode: ReadingMode::RemoteReading,
        claim_within: None,
        report_within: None,
        window_ends: None,
    };
    let disposition = Disposition::Read(reading);
    Decision { disposition, reasons: Vec::new(), rules_version: String::new(), decided_at: NOW }
}

/// A study of one image that is whole and with everybody.
async fn delivered(ledger: &Ledger, study: &str, others: &[&str]) -> CaseRow {
    let mut study = CaseRow {
        instances: 1,
        routed_to: 1,
        whole: Some(NOW),
        decision: Some(to(others)),
        ..case("rabenstein", study)
    };
    let mut tx = ledger.begin().await;
    assert!(tx.add_case(&study).await.expect("the case"));
    tx.commit().await.expect("a commit");
    note(ledger, &mut study, NOW).await;
    study
}

async fn note(ledger: &Ledger, study: &mut CaseRow, now: Moment) {
    study.state = CaseState::Routed;
    study.reader = study.decision.as_ref().and_then(|decision| match &decision.disposition {
        Disposition::Read(reading) => reading.readers.first().cloned(),
        _ => None,
    });
    let mut tx = ledger.begin().await;
    tx.case(study.id).await.expect("the case");
    assert!(tx.note_if_all_delivered(study, now).await.expect("noted"), "{}", ledger.name);
    tx.save_case(study).await.expect("saved");
    tx.commit().await.expect("a commit");
}
