//! Rows that several write at the same moment are taken by all in one order: notices that are written down while channels
//! gather and settle their calls, and names that two passes give the same patients for two readers, out of several messages.
//! On PostgreSQL a circle of those who wait would be broken by an error; here is none to break.

use crate::support::{
    carrier::partner,
    ledger::{Ledger, NOW, both, rabenstein},
};
use neisse::{
    model::{IdentifierKind, Identifiers, IssuedId, Mapping, Uid},
    store::{Durability, NoticeChannel, NoticeRhythm, Store},
};
use std::time::Duration;

fn mapping(reader: &str) -> Mapping {
    Mapping {
        reader: partner(reader),
        reader_issuer: reader.to_uppercase(),
        identifiers: Identifiers::Prefix,
        origin: rabenstein(),
        origin_issuer: "RABENSTEIN".into(),
        prefix: "RAB-".into(),
    }
}

/// One pass: the patients of two messages for each reader.
async fn names(store: Store, readers: [&'static str; 2], patients: [String; 2]) {
    let mut tx = store.begin(Durability::Process).await.expect("a transaction");
    for reader in readers {
        for patient in &patients {
            let id = IssuedId::new(patient.as_str(), "RABENSTEIN");
            tx.mapped(&mapping(reader), IdentifierKind::Patient, &id, NOW).await.expect("a name");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    tx.commit().await.expect("a commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_passes_name_the_same_patients_for_two_readers() {
    for ledger in both().await {
        for round in 0..10 {
            let [one, two] = [1, 2].map(|n| format!("{round}-{n}"));
            let first = names(ledger.store.clone(), ["chemnitz", "leipzig"], [one.clone(), two.clone()]);
            let second = names(ledger.store.clone(), ["leipzig", "chemnitz"], [two, one]);
            let (first, second) = (tokio::spawn(first), tokio::spawn(second));
            first.await.expect(ledger.name);
            second.await.expect(ledger.name);
        }
    }
}

/// Writes down what waits, as often as there is news.
async fn note(store: Store, rounds: usize) {
    for _ in 0..rounds {
        let mut waiting = store.waiting_for_a_person(500).await.expect("what waits");
        waiting.reverse();
        let mut tx = store.begin(Durability::Process).await.expect("a transaction");
        tx.hold_notices().await.expect("held");
        for one in &waiting {
            tx.note_waiting(one, NOW).await.expect("noted");
        }
        for id in store.notices_to_resolve(500).await.expect("what is gone") {
            tx.resolve_notice(&id, NOW).await.expect("resolved");
        }
        tx.commit().await.expect("a commit");
    }
}

async fn tell(store: Store, channel: NoticeChannel, rounds: usize) {
    let rhythm = NoticeRhythm { now: NOW, again_before: Some(NOW), listed: 10 };
    for _ in 0..rounds {
        let mut tx = store.begin(Durability::Process).await.expect("a transaction");
        let call = tx.begin_notice_call(channel, &rhythm, |_| Duration::ZERO).await.expect("a call");
        tx.commit().await.expect("a commit");
        if let Some(call) = call {
            let mut tx = store.begin(Durability::Process).await.expect("a transaction");
            tx.notice_call_told(channel, &call.id, NOW, NOW).await.expect("told");
            tx.commit().await.expect("a commit");
        }
    }
}

/// New reasons for half of the cases, none for the others.
async fn change(ledger: &Ledger, cases: &[neisse::model::CaseId], round: usize) {
    let mut tx = ledger.begin().await;
    for (n, id) in cases.iter().enumerate() {
        let mut case = tx.case(*id).await.expect("the case");
        case.attention = if (n + round).is_multiple_of(2) { format!("reason {round}") } else { String::new() };
        tx.save_case(&case).await.expect("saved");
    }
    tx.commit().await.expect("a commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_are_written_down_while_they_are_told() {
    for ledger in both().await {
        let mut cases = Vec::new();
        for _ in 0..100 {
            cases.push(ledger.case(&Uid::generate().to_string()).await.id);
        }
        for round in 0..8 {
            change(&ledger, &cases, round).await;
            let mut doing =
                vec![tokio::spawn(note(ledger.store.clone(), 2)), tokio::spawn(note(ledger.store.clone(), 2))];
            for channel in NoticeChannel::ALL {
                doing.push(tokio::spawn(tell(ledger.store.clone(), channel, 6)));
            }
            for one in doing {
                one.await.expect(ledger.name);
            }
        }
        assert!(ledger.store.count_open_notices().await.expect("a count") <= 50, "{}", ledger.name);
    }
}
