//! A case was given to Chemnitz in part and then to Leipzig; what Chemnitz was given it still finds, counted by itself, and
//! neither the rest nor what comes later. Leipzig, while it is the reader, and whoever was given everything find all of it.

use crate::support::{
    carrier::partner,
    ledger::{Ledger, NOW, both, images, rabenstein, received},
};
use neisse::{
    intake::matching::join,
    model::{CaseId, Lane, ReceivedInstance, Uid},
    store::{FoundStudy, NewDelivery, SearchBy, Searched, StudySearch},
};

const STUDY: &str = "1.2.3";

#[tokio::test(flavor = "multi_thread")]
async fn a_former_reader_finds_what_it_was_given() {
    for ledger in both().await {
        // Six of a first series, four of a second.
        let all: Vec<ReceivedInstance> = (1..=10).map(of_its_series).collect();
        let case = arrive(&ledger, &all).await;
        for (to, first_seq, last_seq) in
            [("chemnitz", 2, 3), ("chemnitz", 4, 4), ("chemnitz", 8, 8), ("copy", 6, 10), ("copy", 1, 5)]
        {
            give(&ledger, case, to, first_seq, last_seq).await;
        }
        // Withdrawn before it left.
        let gone = give(&ledger, case, "chemnitz", 5, 6).await;
        ledger
            .raw
            .run(&format!("UPDATE deliveries SET state = 'withdrawn', finished_us = 1 WHERE id = '{gone}'"))
            .await;
        is_read_by(&ledger, case, "leipzig-ukl").await;

        assert_eq!(seen(&ledger, "chemnitz").await, (vec![2, 3, 4, 8], 2, 4), "{}", ledger.name);
        for whole in ["rabenstein", "leipzig-ukl", "copy"] {
            assert_eq!(seen(&ledger, whole).await, ((1..=10).collect(), 2, 10), "{}: {whole}", ledger.name);
        }
        series_are_counted_as_they_are_seen(&ledger).await;

        // More comes, owed to nobody yet. The case is held: nobody reads it.
        arrive(&ledger, &[of_its_series(11)]).await;
        assert_eq!(seen(&ledger, "leipzig-ukl").await.2, 11);
        ledger.raw.run("UPDATE cases SET state = 'held'").await;
        assert_eq!(seen(&ledger, "chemnitz").await, (vec![2, 3, 4, 8], 2, 4));
        assert_eq!(seen(&ledger, "copy").await, ((1..=10).collect(), 2, 10));
        assert_eq!(seen(&ledger, "rabenstein").await.2, 11);
        assert!(study(&ledger, "leipzig-ukl").await.is_none(), "it was given nothing yet");
    }
}

fn of_its_series(number: u8) -> ReceivedInstance {
    let series = format!("{STUDY}.0.{}", if number <= 6 { 1 } else { 2 });
    ReceivedInstance { series: Uid::new(&series).expect("a UID"), ..received(STUDY, number, number) }
}

async fn arrive(ledger: &Ledger, batch: &[ReceivedInstance]) -> CaseId {
    let mut tx = ledger.begin().await;
    let done = join(&mut tx, None, &rabenstein(), &batch[0].study, batch, NOW).await.expect("joined");
    tx.commit().await.expect("a commit");
    done.expect("a case").case
}

async fn give(ledger: &Ledger, case: CaseId, to: &str, first_seq: i64, last_seq: i64) -> neisse::model::DeliveryId {
    let whole = ledger.store.case(case).await.expect("the case");
    let owed = NewDelivery { first_seq, last_seq, ..images(&whole, to, Lane::Routine) };
    ledger.owe(&owed).await
}

async fn is_read_by(ledger: &Ledger, case: CaseId, reader: &str) {
    ledger.raw.run(&format!("UPDATE cases SET reader = '{reader}', searchable = 1 WHERE id = '{case}'")).await;
    let row = ledger.store.case(case).await.expect("the case");
    let mut tx = ledger.begin().await;
    // As the first delivery to it does.
    let owed = NewDelivery { first_seq: 1, last_seq: 1, ..images(&row, reader, Lane::Routine) };
    let id = tx.owe(&owed).await.expect("owed");
    tx.commit().await.expect("a commit");
    ledger.raw.run(&format!("UPDATE deliveries SET state = 'withdrawn', finished_us = 1 WHERE id = '{id}'")).await;
}

async fn study(ledger: &Ledger, searches: &str) -> Option<FoundStudy> {
    let by = SearchBy::Studies(vec![STUDY.into()]);
    let search = StudySearch { partner: partner(searches), by, from: None, to: None };
    ledger.store.search_studies(&search, None, 10).await.expect("searched").pop()
}

/// Numbers of the instances it finds, in pages of three; and how many series and instances its answer counts.
async fn seen(ledger: &Ledger, searches: &str) -> (Vec<i64>, i64, i64) {
    let study = study(ledger, searches).await.expect("its study");
    let (mut found, mut after) = (Vec::new(), Some(0));
    while let Some(behind) = after {
        let page = ledger.store.instances_of(&study, &Searched::default(), behind, 3).await.expect("instances");
        found.extend(page.instances.iter().map(|instance| instance.seq));
        after = page.next;
    }
    (found, study.series, study.instances)
}

async fn series_are_counted_as_they_are_seen(ledger: &Ledger) {
    for (searches, expected) in [("chemnitz", [("1", 3), ("2", 1)]), ("leipzig-ukl", [("1", 6), ("2", 4)])] {
        let study = study(ledger, searches).await.expect("its study");
        assert_eq!(study.modalities, ["CT"]);
        let series = ledger.store.series_of(&study, "", 10).await.expect("series");
        let counts: Vec<(&str, i64)> = series
            .iter()
            .map(|series| (series.series_uid.rsplit('.').next().unwrap_or_default(), series.instances))
            .collect();
        assert_eq!(counts, expected, "{}: {searches}", ledger.name);
        let second = Uid::new(&format!("{STUDY}.0.2")).expect("a UID");
        let second = ledger.store.one_series(&study, &second).await.expect("looked up");
        assert_eq!(second.map(|series| series.instances), Some(expected[1].1));
        let unseen = Searched { instances: vec![format!("{STUDY}.5")], series: Vec::new() };
        let page = ledger.store.instances_of(&study, &unseen, 0, 10).await.expect("instances");
        assert_eq!(page.instances.len(), usize::from(searches != "chemnitz"), "{searches}");
    }
}
