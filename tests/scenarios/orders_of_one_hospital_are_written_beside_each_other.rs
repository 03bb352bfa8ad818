//! Orders of one hospital that are nobody's case are written at the same time on PostgreSQL, those with a number in common
//! and those that concern a case one after the other; a message that comes on eight connections at once is done once; and
//! an order that is taken as new is kept whole or not at all.

use crate::support::{
    carrier::partner,
    ledger::{Ledger, NOW, Raw, both, case, rabenstein},
};
use neisse::{
    model::{Discipline, IssuedId, OrderId, OrderState, PartnerId, Priority, Uid},
    store::{Durability, MessageKey, NewOrder, OrderFacts, OrderMessageRow, OrderRow, StoreError},
};
use std::time::Duration;
use tokio::time::timeout;

const AT_ONCE: Duration = Duration::from_secs(20);
const NOT_YET: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_one_hospital_are_written_beside_each_other() {
    for ledger in both().await {
        one_message_is_done_once(&ledger).await;
        Box::pin(what_is_new_is_kept_whole_or_not_at_all(&ledger)).await;
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
            let mut tx = store.begin_beside(Durability::Synced, &key.partner, &["P1"]).await.expect("a share");
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
    let share = async |origin: &PartnerId, numbers: &[&str]| {
        ledger.store.begin_beside(Durability::Process, origin, numbers).await.expect("a share")
    };
    let mut one = share(&rabenstein, &["P1", "F1"]).await;
    let beside = timeout(AT_ONCE, share(&rabenstein, &["P2"])).await.expect("at once");
    assert!(timeout(NOT_YET, share(&rabenstein, &["F1"])).await.is_err(), "a number in common");
    let _elsewhere = timeout(AT_ONCE, share(&lichtenstein, &["P1"])).await.expect("at once");
    let mut alone = ledger.begin().await;
    assert!(timeout(NOT_YET, alone.hold_origin(&rabenstein)).await.is_err(), "images wait for orders");
    drop(alone);
    assert!(matches!(one.case(case.id).await, Err(StoreError::OriginShared)), "no case beside others");
    drop((one, beside));
    // Also of those that were given up while they waited for a lock.
    let mut alone = ledger.begin().await;
    timeout(AT_ONCE, alone.hold_origin(&rabenstein)).await.expect("free").expect("the origin");
    assert_eq!(alone.case(case.id).await.expect("the case").id, case.id);
    assert!(timeout(NOT_YET, share(&rabenstein, &["P3"])).await.is_err(), "orders wait for images");
}

fn new_order(placer: &str, studies: &[&str]) -> OrderRow {
    OrderRow {
        id: OrderId::generate(),
        origin: rabenstein(),
        state: OrderState::Open,
        placer: IssuedId::new(placer, "KIS"),
        filler: IssuedId::default(),
        group: IssuedId::new("G", "KIS"),
        accession: IssuedId::default(),
        studies: studies.iter().map(|uid| Uid::new(uid).expect("a UID")).collect(),
        patient: IssuedId::new("4711", "RABENSTEIN"),
        discipline: Discipline::Radiology,
        modality: "CT".into(),
        priority: Priority::Stat,
        facts: OrderFacts { procedure: "CT Kopf".into(), ..OrderFacts::default() },
        received: NOW,
        changed: NOW,
    }
}

async fn what_is_new_is_kept_whole_or_not_at_all(ledger: &Ledger) {
    let take = async |order: &OrderRow, control_id: &str| {
        let key = MessageKey {
            partner: rabenstein(),
            application: "KIS".into(),
            facility: "DRKRAB".into(),
            control_id: control_id.into(),
            sha256: format!("bb{control_id}"),
        };
        let said =
            OrderMessageRow { received: NOW, sha256: key.sha256.clone(), sequence: 1, control: "NW", answer: "OK" };
        let new = NewOrder { order, said: &said, key: &key, content: b"MSH", answer: control_id.as_bytes() };
        let taken = ledger.store.take_new_order(&new, NOW).await.expect("asked");
        (taken, ledger.store.answer_given(&key).await.expect("asked"))
    };
    let kept = async |order: &OrderRow| {
        let mut tx = ledger.begin().await;
        let row = tx.order_as_it_is(order.id).await.expect("asked");
        (row, tx.order_messages_after(order.id, 0).await.expect("asked"))
    };
    for (order, control_id) in [(new_order("N1", &[]), "1"), (new_order("N2", &["1.2.7.1", "1.2.7.2"]), "2")] {
        assert_eq!(take(&order, control_id).await, (true, Some(control_id.into())), "{}", ledger.name);
        let (row, messages) = kept(&order).await;
        assert_eq!(row, Some(order), "{}", ledger.name);
        let [message] = &messages[..] else { panic!("{}: {messages:?}", ledger.name) };
        assert_eq!((message.number, message.sequence, &message.content[..]), (1, 1, &b"MSH"[..]), "{}", ledger.name);
        assert_eq!((&*message.control, &*message.answer), ("NW", "OK"), "{}", ledger.name);
    }
    // Its number is known; its study has a case; its patient has images; its message has come before.
    let study = ledger.case("1.2.7.3").await.study;
    let mut imaged = case("rabenstein", "1.2.7.4");
    (imaged.facts.patient_id, imaged.last) = (IssuedId::new("4712", "RABENSTEIN"), NOW);
    let mut numbered = case("rabenstein", "1.2.7.5");
    numbered.facts.placer_order_number = "A5".into();
    let mut tx = ledger.begin().await;
    assert!(tx.add_case(&imaged).await.expect("a case") && tx.add_case(&numbered).await.expect("a case"));
    tx.commit().await.expect("a commit");
    let of_imaged = OrderRow { patient: imaged.facts.patient_id.clone(), ..new_order("N3", &[]) };
    let of_numbered = OrderRow { accession: IssuedId::new("A5", "RABENSTEIN"), ..new_order("N4", &[]) };
    let known = [
        (new_order("N1", &[]), "3", None),
        (new_order("N5", &[study.as_str()]), "4", None),
        (of_imaged, "5", None),
        (of_numbered, "6", None),
        (new_order("N6", &["1.2.7.6"]), "1", Some(b"1".to_vec())),
    ];
    for (order, control_id, answer) in known {
        assert_eq!(take(&order, control_id).await, (false, answer), "{}: {control_id}", ledger.name);
        let (row, messages) = kept(&order).await;
        assert!(row.is_none() && messages.is_empty(), "{}: {control_id}", ledger.name);
    }
}
