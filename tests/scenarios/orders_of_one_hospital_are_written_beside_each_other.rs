//! Orders of one hospital that are nobody's case are written at the same time on PostgreSQL, those with a number in common
//! and those that concern a case one after the other; and a message that comes on eight connections at once is done once.

use crate::support::{
    carrier::partner,
    ledger::{Ledger, NOW, Raw, both, rabenstein},
};
use neisse::store::{Durability, MessageKey, StoreError};
use std::time::Duration;
use tokio::time::timeout;

const AT_ONCE: Duration = Duration::from_secs(20);
const NOT_YET: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_one_hospital_are_written_beside_each_other() {
    for ledger in both().await {
        one_message_is_done_once(&ledger).await;
        if matches!(ledger.raw, Raw::Postgres(_)) {
            // SQLite has one writer.
            only_what_has_nothing_in_common_goes_at_once(&ledger).await;
        }
    }
}

async fn one_message_is_done_once(ledger: &Ledger) {
    let key = MessageKey {
        partner: rabenstein(),
        application: "KIS".into(),
        facility: "DRKRAB".into(),
        control_id: "1".into(),
        sha256: "aa".into(),
    };
    let taking = (0..8).map(|number: u8| {
        let (store, key) = (ledger.store.clone(), key.clone());
        tokio::spawn(async move {
            let mut tx = store.begin(Durability::Synced).await.expect("a transaction");
            tx.share_origin(&key.partner, &["P1"]).await.expect("a share");
            let before = tx.keep_answered(&key, NOW, &"MSH".into(), &[number]).await.expect("kept");
            if let Some(answer) = before {
                return (false, answer);
            }
            tx.commit().await.expect("a commit");
            (true, vec![number])
        })
    });
    let mut answers = Vec::new();
    for one in taking.collect::<Vec<_>>() {
        answers.push(one.await.expect("no panic"));
    }
    let first: Vec<&Vec<u8>> = answers.iter().filter(|(first, _)| *first).map(|(_, answer)| answer).collect();
    assert_eq!(first.len(), 1, "{}", ledger.name);
    assert!(answers.iter().all(|(_, answer)| answer == first[0]), "{}: {answers:?}", ledger.name);
    assert_eq!(ledger.store.answer_given(&key).await.expect("asked").as_ref(), Some(first[0]), "{}", ledger.name);
    // Another hospital's message may be equal to the byte, and of the same moment.
    let other = MessageKey { partner: partner("lichtenstein"), ..key };
    let mut tx = ledger.store.begin(Durability::Synced).await.expect("a transaction");
    assert_eq!(tx.keep_answered(&other, NOW, &"MSH".into(), b"x").await.expect("kept"), None, "{}", ledger.name);
    tx.commit().await.expect("a commit");
}

async fn only_what_has_nothing_in_common_goes_at_once(ledger: &Ledger) {
    let case = ledger.case("1.2.3").await;
    let (rabenstein, lichtenstein) = (rabenstein(), partner("lichtenstein"));
    let mut one = ledger.begin().await;
    one.share_origin(&rabenstein, &["P1", "F1"]).await.expect("a share");
    let mut beside = ledger.begin().await;
    timeout(AT_ONCE, beside.share_origin(&rabenstein, &["P2"])).await.expect("at once").expect("a share");
    let mut same = ledger.begin().await;
    assert!(timeout(NOT_YET, same.share_origin(&rabenstein, &["F1"])).await.is_err(), "a number in common");
    drop(same);
    let mut elsewhere = ledger.begin().await;
    timeout(AT_ONCE, elsewhere.share_origin(&lichtenstein, &["P1"])).await.expect("at once").expect("a share");
    let mut alone = ledger.begin().await;
    assert!(timeout(NOT_YET, alone.hold_origin(&rabenstein)).await.is_err(), "images wait for orders");
    drop(alone);
    assert!(matches!(one.case(case.id).await, Err(StoreError::OriginShared)), "no case beside others");
    drop((one, beside));
    let mut alone = ledger.begin().await;
    timeout(AT_ONCE, alone.hold_origin(&rabenstein)).await.expect("free").expect("the origin");
    assert_eq!(alone.case(case.id).await.expect("the case").id, case.id);
    let mut late = ledger.begin().await;
    assert!(timeout(NOT_YET, late.share_origin(&rabenstein, &["P3"])).await.is_err(), "orders wait for images");
}
