//! What is known of an instance whose sender wants it kept, on both databases: one that the reader refused is not with it,
//! those beside it are; one that came again with other bytes is marked. What has ended keeps no instances and is forgotten; what
//! nobody took, and no case tells of, waits for a person.

use crate::support::{
    carrier::partner,
    ledger::{Ledger, NOW, both, images, rabenstein, received},
};
use neisse::{
    intake::matching::join,
    model::Lane,
    store::{CommitmentEnd, CommitmentRow, NewDelivery},
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_commitment_looks_at_each_instance_by_itself() {
    for ledger in both().await {
        each_is_known_by_itself(&ledger).await;
        what_has_ended_is_forgotten(&ledger).await;
    }
}

async fn each_is_known_by_itself(ledger: &Ledger) {
    let mut batch: Vec<_> = (1..=4).map(|number| received("1.2.3", number, number)).collect();
    batch.push(received("1.2.3", 4, 99));
    let mut tx = ledger.begin().await;
    let done = join(&mut tx, None, &rabenstein(), &batch[0].study, &batch, NOW).await.expect("joined");
    tx.commit().await.expect("a commit");
    let case = ledger.store.case(done.expect("a case").case).await.expect("the case");
    let owed = NewDelivery { first_seq: 1, last_seq: 5, ..images(&case, "chemnitz", Lane::Routine) };
    let id = ledger.owe(&owed).await;
    ledger
        .raw
        .run(&format!(
            "UPDATE deliveries SET done_to = 3, refused = '[{{\"seq\":2,\"status\":49152}}]' WHERE id = '{id}'; \
             UPDATE cases SET reader = 'chemnitz' WHERE id = '{}'",
            case.id
        ))
        .await;
    let kept = ledger.store.kept_of(&rabenstein(), &["1.2.3.1", "1.2.3.2", "1.2.3.3", "1.2.3.4"]).await.expect("known");
    let mut said: Vec<(&str, bool, bool)> = kept
        .iter()
        .map(|kept| (kept.sop_instance.rsplit('.').next().unwrap_or_default(), kept.is_with_reader, kept.is_conflict))
        .collect();
    said.sort_unstable();
    let expected =
        [("1", true, false), ("2", false, false), ("3", true, false), ("4", false, false), ("4", false, true)];
    assert_eq!(said, expected, "{}", ledger.name);
    assert!(ledger.store.kept_of(&partner("chemnitz"), &["1.2.3.1"]).await.expect("known").is_empty());
}

async fn what_has_ended_is_forgotten(ledger: &Ledger) {
    let row = |transaction: &str| CommitmentRow {
        partner: rabenstein(),
        ae_title: "RAB_PACS".into(),
        transaction: transaction.into(),
        instances: vec![("1.2".into(), "1.2.3.1".into())],
        asked: NOW,
        next: NOW,
        attempts: 0,
    };
    let mut tx = ledger.begin().await;
    for transaction in ["1", "2", "3"] {
        tx.ask_commitment(&row(transaction)).await.expect("asked");
    }
    tx.end_commitment(&row("1"), CommitmentEnd::Told).await.expect("ended");
    tx.end_commitment(&row("2"), CommitmentEnd::GivenUp { notice: Some("nobody took it") }).await.expect("ended");
    tx.commit().await.expect("a commit");
    assert_eq!(ledger.raw.ask("SELECT MAX(instances) FROM commitments WHERE state <> 'asked'").await, "[]");
    let waiting = ledger.store.waiting_for_a_person(10).await.expect("asked");
    let ours: Vec<_> = waiting.iter().filter(|waiting| waiting.kind == "commitment").collect();
    let [notice] = ours.as_slice() else { panic!("{}: {waiting:?}", ledger.name) };
    assert_eq!((notice.reason.as_str(), notice.partner.as_str()), ("nobody took it", "rabenstein"));
    // Asked again, it waits for nobody.
    let mut tx = ledger.begin().await;
    tx.ask_commitment(&row("2")).await.expect("asked");
    tx.forget_ended_commitments(NOW + Duration::from_secs(1)).await.expect("forgotten");
    tx.commit().await.expect("a commit");
    assert!(ledger.store.waiting_for_a_person(10).await.expect("asked").iter().all(|waits| waits.kind != "commitment"));
    let mut left: Vec<_> = ledger.raw.rows("SELECT transaction_uid FROM commitments").await.concat();
    left.sort_unstable();
    assert_eq!(left, ["2", "3"], "{}", ledger.name);
}
