//! The store's promises, one suite on SQLite and PostgreSQL: one case a study, each instance once, fair and ordered
//! taking of what is owed, one claimer, one answer to one message, and no stored value in an error.

use crate::support::{
    carrier::partner,
    ledger::{Ledger, NOW, both, case, images, rabenstein, received},
};
use neisse::{
    config::DeliveryTimes,
    delivery::{
        retry::verdict,
        settle::{Ending, settle},
        worker::Attempted,
    },
    intake::matching::{join, keep_report},
    model::{
        CaseEvent, Channel, DeliveryId, DeliveryKind, DeliveryState, Fault, IssuedId, Lane, Moment, Outcome,
        ReceivedInstance, ReportId, ReportStatus, chain,
    },
    store::{
        Durability, MAX_ALIKE, MessageKey, NewDelivery, NewReport, RefusedInstance, ReportFormRow, Resent, Settled,
        Settlement, StoreError,
    },
};
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(60);
const DELIVERY: DeliveryTimes = DeliveryTimes {
    connect: Duration::from_secs(10),
    response: Duration::from_secs(60),
    retry_min: Duration::from_secs(5),
    retry_max: Duration::from_secs(600),
    give_up: Duration::from_secs(86_400),
    down_after: Duration::from_secs(600),
};

/// What is due for the queue now, and taken.
async fn take(ledger: &Ledger, now: Moment, a_line: i64) -> Vec<neisse::store::DueDelivery> {
    let mut tx = ledger.begin().await;
    let due = tx.take_due(now, now + LEASE, "one", a_line, |_, _| true).await.expect("due");
    tx.commit().await.expect("a commit");
    due
}

fn ids(due: &[neisse::store::DueDelivery]) -> Vec<DeliveryId> {
    due.iter().map(|delivery| delivery.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_is_one_case_and_an_instance_counts_once() {
    for ledger in both().await {
        let store = &ledger.store;
        // The same study on eight connections at once, each with the same ten instances.
        let joining = (0..8).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let batch: Vec<_> = (1..=10).map(|number| received("1.2.3", number, number)).collect();
                let mut tx = store.begin(Durability::Process).await.expect("a transaction");
                let done = join(&mut tx, None, &rabenstein(), &batch[0].study, &batch, NOW).await.expect("joined");
                tx.commit().await.expect("a commit");
                done.expect("a case")
            })
        });
        let mut done = Vec::new();
        for one in joining.collect::<Vec<_>>() {
            done.push(one.await.expect("no panic"));
        }
        let id = done[0].case;
        assert!(done.iter().all(|one| one.case == id), "{}: one case", ledger.name);
        assert_eq!(done.iter().map(|one| one.added).sum::<i64>(), 10, "{}: each instance once", ledger.name);
        assert_eq!(done.iter().filter(|one| one.created).count(), 1, "{}", ledger.name);

        // The same UID with other bytes is kept, flagged, and not delivered.
        let mut tx = ledger.begin().await;
        let other = [received("1.2.3", 4, 99)];
        join(&mut tx, None, &rabenstein(), &other[0].study, &other, NOW).await.expect("joined");
        tx.commit().await.expect("a commit");
        let case = store.case(id).await.expect("the case");
        assert_eq!(case.instances, 11);
        assert!(case.attention.contains("twice"), "{}", case.attention);
        let deliverable = store.deliverable(id, 1, 11).await.expect("instances");
        assert_eq!(deliverable.iter().map(|instance| instance.seq).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());

        // A report refers to what is delivered.
        let mut tx = ledger.begin().await;
        assert_eq!(tx.images_of(id).await.expect("images").len(), 10, "{}", ledger.name);
        drop(tx);

        // Another hospital's study of the same UID is another case.
        let mut tx = ledger.begin().await;
        assert!(tx.add_case(&case_of_lichtenstein()).await.expect("a case"));
        assert!(!tx.add_case(&case_of_lichtenstein()).await.expect("asked again"), "not twice");
        tx.commit().await.expect("a commit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_is_where_its_newest_copy_lies() {
    for ledger in both().await {
        let (old, new) = (received("1.2.3", 1, 1), received("1.2.3", 1, 1));
        let live = async |of: &ReceivedInstance| ledger.store.journal_use(of.place.journal).await.expect("asked").live;
        let id = joined(&ledger, &old).await;
        joined(&ledger, &new).await;
        let found = ledger.store.deliverable(id, 1, 9).await.expect("instances");
        assert_eq!(found.iter().map(|found| found.place).collect::<Vec<_>>(), [new.place], "{}", ledger.name);
        assert!(!live(&old).await && live(&new).await, "{}: the older copy may leave the disk", ledger.name);
        assert!(ledger.store.story(id).await.expect("the story").iter().all(|event| !event.what.contains("on disk")));

        // Given up, and the same record read again: still given up.
        ledger.raw.run("UPDATE instances SET on_disk = 2").await;
        joined(&ledger, &new).await;
        assert!(!ledger.store.deliverable(id, 1, 9).await.expect("instances")[0].on_disk, "{}", ledger.name);
        // Both copies in one batch, and each time it is told that the images are there again.
        let mut tx = ledger.begin().await;
        join(&mut tx, None, &rabenstein(), &old.study, &[new.clone(), old.clone()], NOW).await.expect("joined");
        tx.commit().await.expect("a commit");
        let found = ledger.store.deliverable(id, 1, 9).await.expect("instances");
        assert!(found[0].on_disk && found[0].place == old.place, "{}", ledger.name);
        let story = ledger.store.story(id).await.expect("the story");
        assert_eq!(story.iter().filter(|event| event.what.contains("on disk again")).count(), 1, "{}", ledger.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_patients_in_one_study_are_put_before_a_person() {
    for ledger in both().await {
        let of = |number: u8, value: &str, issuer: &str| {
            let mut instance = received("1.2.3", number, number);
            instance.facts.patient_id = IssuedId::new(value, issuer);
            instance
        };
        let id = joined(&ledger, &of(1, "", "")).await;
        for instance in [of(2, "4711", "RAB"), of(3, "4711", "RAB"), of(4, "", ""), of(5, "4711", "")] {
            joined(&ledger, &instance).await;
        }
        let case = ledger.store.case(id).await.expect("the case");
        assert_eq!(case.facts.patient_id, IssuedId::new("4711", "RAB"), "{}: of the first that has one", ledger.name);
        assert_eq!(case.attention, "", "{}", ledger.name);
        for instance in [of(6, "4712", "RAB"), of(7, "4711", "LIC"), of(8, "4712", "RAB")] {
            joined(&ledger, &instance).await;
        }
        let case = ledger.store.case(id).await.expect("the case");
        assert_eq!(case.instances, 8, "{}: all the same", ledger.name);
        let name = "its images name different patients: ask the sender which is right";
        assert_eq!(case.attention, name, "{}", ledger.name);
        let story = ledger.store.story(id).await.expect("the story");
        assert_eq!(story.iter().filter(|event| event.what == name).count(), 1, "{}: told once", ledger.name);
        assert_eq!(ledger.raw.ask(&format!("SELECT patient_id FROM cases WHERE id = '{id}'")).await, "4711");
    }
}

async fn joined(ledger: &Ledger, instance: &ReceivedInstance) -> neisse::model::CaseId {
    let mut tx = ledger.begin().await;
    let batch = std::slice::from_ref(instance);
    let done = join(&mut tx, None, &rabenstein(), &instance.study, batch, NOW).await.expect("joined");
    tx.commit().await.expect("a commit");
    done.expect("a case").case
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_object_that_could_not_be_read_is_read_where_it_lies_now() {
    for ledger in both().await {
        let keep = async |instance: &ReceivedInstance| {
            let mut tx = ledger.begin().await;
            keep_report(&mut tx, instance).await.expect("kept");
            tx.commit().await.expect("a commit");
            ledger.store.waiting_report_objects(0, 9).await.expect("objects")
        };
        let copies: Vec<_> = (0..3).map(|_| received("1.2.3", 1, 1)).collect();
        let waiting = keep(&copies[0]).await;
        // Held as one that its journal would not give.
        let mut tx = ledger.begin().await;
        assert!(tx.report_object_done(&waiting[0]).await.expect("done"));
        tx.add_report(&report(None, 0, ReportStatus::Final)).await.expect("held");
        tx.commit().await.expect("a commit");
        assert!(keep(&copies[0]).await.is_empty(), "{}: the same record read again", ledger.name);
        let waiting = keep(&copies[1]).await;
        assert_eq!(waiting[0].place, copies[1].place, "{}", ledger.name);
        // Read this time.
        let mut tx = ledger.begin().await;
        assert!(tx.report_object_done(&waiting[0]).await.expect("done"));
        let read = report(None, 0, ReportStatus::Final);
        tx.add_report(&NewReport { sha256: copies[1].place.sha256.to_string(), ..read }).await.expect("held");
        tx.commit().await.expect("a commit");
        assert!(keep(&copies[2]).await.is_empty(), "{}: not a second time", ledger.name);
        let last = ledger.store.journal_use(copies[2].place.journal).await.expect("asked");
        assert!(last.live, "{}: its newest copy is kept", ledger.name);
    }
}

fn case_of_lichtenstein() -> neisse::store::CaseRow {
    case("lichtenstein", "1.2.3")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absurd_identifier_is_stored_and_found_and_a_common_one_names_nobody() {
    for ledger in both().await {
        // 4 KB that no index takes and no compression shrinks, in a field of 16 letters.
        let absurd: String = (0..4000_u32)
            .map(|n| char::from(33 + u8::try_from(n.wrapping_mul(2_654_435_761) >> 16 & 63).expect("6 bits")))
            .collect();
        let mut odd = case("rabenstein", "1.2.3");
        odd.facts.accession = IssuedId::new(absurd.clone(), "RAB");
        odd.facts.patient_id = IssuedId::new(absurd.clone(), "RAB");
        let mut tx = ledger.begin().await;
        assert!(tx.add_case(&odd).await.expect(ledger.name));
        let found = tx.cases_with_number(&absurd).await.expect("looked up");
        assert_eq!(found.len(), 1, "{}", ledger.name);
        assert_eq!(found[0].facts.accession.value, absurd, "kept whole");
        assert!(tx.cases_with_number("nul\0inside").await.expect("no error").is_empty());
        for number in 0..=MAX_ALIKE {
            let mut alike = case("rabenstein", &format!("1.2.4.{number}"));
            alike.facts.accession = IssuedId::new("NONE", "RAB");
            tx.add_case(&alike).await.expect("a case");
        }
        // One more than may be alike: the caller sees that the number says nothing.
        assert!(tx.cases_with_number("NONE").await.expect("looked up").len() > MAX_ALIKE);
        tx.commit().await.expect("a commit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_taken_fairly_and_in_order() {
    for ledger in both().await {
        let of = ledger.case("1.2.3").await;
        // Three thousand things owed to one partner for long, and one urgent thing to another since now.
        let mut tx = ledger.begin().await;
        for number in 0..3_000 {
            let now = Moment(NOW.0 - 1_000_000 + number);
            tx.owe(&NewDelivery { now, ..images(&of, "chemnitz", Lane::Routine) }).await.expect("owed");
        }
        let bulk = tx.owe(&images(&of, "leipzig-ukl", Lane::Bulk)).await.expect("owed");
        let stat = tx.owe(&images(&of, "leipzig-ukl", Lane::Stat)).await.expect("owed");
        tx.commit().await.expect("a commit");

        let first = take(&ledger, NOW, 200).await;
        assert_eq!(first[0].id, stat, "{}: the urgent lane first", ledger.name);
        assert_eq!(first[201].id, bulk, "{}: a backlog of one partner does not keep another waiting", ledger.name);
        let line: Vec<Moment> = first[1..201].iter().map(|delivery| delivery.next).collect();
        assert!(line.is_sorted() && line[0] == Moment(NOW.0 - 1_000_000), "{}: longest due first", ledger.name);

        let mut queued = first.len();
        loop {
            let more = take(&ledger, NOW, 200).await;
            if more.is_empty() {
                break;
            }
            queued += more.len();
        }
        assert_eq!(queued, 2_002, "{}: the rest waits in the ledger until there is room", ledger.name);
        // What is due and cannot be taken is no reason to look again; only the leases are.
        assert_eq!(ledger.store.next_due(NOW).await.expect("asked"), Some(NOW + LEASE), "{}", ledger.name);

        let mut tx = ledger.begin().await;
        assert_eq!(tx.expire_leases(NOW + LEASE).await.expect("expired"), 2_002, "{}", ledger.name);
        tx.commit().await.expect("a commit");
        let again = take(&ledger, NOW + LEASE, 200).await;
        assert!(again.iter().any(|delivery| delivery.id == stat), "{}: seen by nobody, queued again", ledger.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_partner_is_left_alone_and_the_other_way_to_it_is_not() {
    for ledger in both().await {
        let of = ledger.case("1.2.3").await;
        let pictures = ledger.owe(&images(&of, "chemnitz", Lane::Routine)).await;
        let report = |version| NewDelivery {
            kind: DeliveryKind::ReportOru,
            version,
            first_seq: 0,
            last_seq: 0,
            ..images(&of, "chemnitz", Lane::Routine)
        };
        let (second, first) = (ledger.owe(&report(2)).await, ledger.owe(&report(1)).await);
        let (chemnitz, until) = (partner("chemnitz"), NOW + LEASE);
        let mut tx = ledger.begin().await;
        tx.pause(&chemnitz, Channel::Dicom, NOW, until, "away\0").await.expect("paused");
        tx.commit().await.expect("a commit");
        assert_eq!(ids(&take(&ledger, NOW, 200).await), [first], "{}: the first version by HL7 only", ledger.name);
        assert!(take(&ledger, NOW, 200).await.is_empty(), "{}: the second waits for the first", ledger.name);

        let delivered = claim_and_settle(&ledger, first, Settled::Delivered).await;
        assert!(delivered, "{}", ledger.name);
        assert_eq!(ids(&take(&ledger, NOW, 200).await), [second], "{}", ledger.name);

        // Owed for later, but the partner is back now.
        let mut tx = ledger.begin().await;
        tx.not_published(second, NOW + LEASE).await.expect("given back");
        assert!(tx.unpause(&chemnitz, Channel::Dicom, NOW).await.expect("unpaused"));
        assert!(!tx.unpause(&chemnitz, Channel::Dicom, NOW).await.expect("asked again"), "not twice");
        tx.commit().await.expect("a commit");
        assert_eq!(ids(&take(&ledger, NOW, 200).await), [pictures], "{}: by that way", ledger.name);
        assert_eq!(ledger.store.next_due(NOW).await.expect("asked"), Some(NOW + LEASE), "{}", ledger.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_is_due_when_its_partner_is_back_and_keeps_its_wait_if_it_was_not_away() {
    for ledger in both().await {
        let of = ledger.case("1.2.3").await;
        let id = ledger.owe(&images(&of, "chemnitz", Lane::Routine)).await;
        let (chemnitz, later) = (partner("chemnitz"), NOW + LEASE);
        assert_eq!(ids(&take(&ledger, NOW, 200).await), [id], "{}", ledger.name);
        assert!(claim_and_settle(&ledger, id, Settled::Again { at: later, count: true }).await);
        for (failures, due) in [(1, later), (2, NOW)] {
            let mut tx = ledger.begin().await;
            for _ in 0..failures {
                tx.pause(&chemnitz, Channel::Dicom, NOW, NOW, "away").await.expect("paused");
            }
            assert!(tx.unpause(&chemnitz, Channel::Dicom, NOW).await.expect("unpaused"));
            tx.commit().await.expect("a commit");
            assert_eq!(ledger.store.ledger(of.id).await.expect("the ledger")[0].next, due, "{}", ledger.name);
        }
    }
}

async fn claim_and_settle(ledger: &Ledger, id: DeliveryId, settled: Settled) -> bool {
    let mut tx = ledger.begin().await;
    let claimed = tx.claim(id, NOW, NOW + LEASE, "one").await.expect("asked").expect("claimed");
    let ours = tx.settle(&settlement(id, claimed.attempts, settled)).await.expect("settled");
    tx.commit().await.expect("a commit");
    ours
}

fn settlement(id: DeliveryId, attempt: i64, settled: Settled) -> Settlement {
    let outcome = Outcome::TryAgain { reason: "as the scenario wants it".into(), fault: Fault::Partner };
    Settlement { id, attempt, now: NOW, done_to: 5, refused: vec![], outcome, settled }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_who_claim_a_delivery_one_gets_it() {
    for ledger in both().await {
        let of = ledger.case("1.2.3").await;
        let id = ledger.owe(&images(&of, "chemnitz", Lane::Stat)).await;
        for attempt in 1..=3 {
            assert_eq!(ids(&take(&ledger, NOW, 200).await), [id]);
            let claiming = (0..8).map(|_| {
                let store = ledger.store.clone();
                tokio::spawn(async move {
                    let mut tx = store.begin(Durability::Process).await.expect("a transaction");
                    let claimed = tx.claim(id, NOW, NOW + LEASE, "one").await.expect("asked");
                    tx.commit().await.expect("a commit");
                    claimed.map(|delivery| delivery.attempts)
                })
            });
            let mut claimed = Vec::new();
            for one in claiming.collect::<Vec<_>>() {
                claimed.extend(one.await.expect("no panic"));
            }
            assert_eq!(claimed, [attempt], "{}", ledger.name);
            let mut tx = ledger.begin().await;
            // An attempt that was taken for dead finds that it is no longer the one.
            assert!(!tx.settle(&settlement(id, attempt - 1, Settled::Delivered)).await.expect("asked"));
            assert!(!tx.progress(id, attempt - 1, 3, NOW + LEASE).await.expect("asked"));
            assert!(tx.progress(id, attempt, 3, NOW + LEASE).await.expect("asked"));
            let again = Settled::Again { at: NOW, count: true };
            assert!(tx.settle(&settlement(id, attempt, again)).await.expect("settled"), "{}", ledger.name);
            tx.commit().await.expect("a commit");
        }
        let row = &ledger.store.ledger(of.id).await.expect("the ledger")[0];
        assert_eq!((row.state, row.attempts, row.done_to), (DeliveryState::Owed, 3, 5), "{}", ledger.name);

        // Held by a person while it waits: taken back, and nobody can claim it.
        assert_eq!(ids(&take(&ledger, NOW, 200).await), [id]);
        let mut tx = ledger.begin().await;
        assert_eq!(tx.withdraw_images(of.id, NOW).await.expect("withdrawn"), Some(6), "{}", ledger.name);
        assert!(tx.claim(id, NOW, NOW + LEASE, "one").await.expect("asked").is_none(), "{}", ledger.name);
        tx.commit().await.expect("a commit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_sent_again_is_followed_by_its_later_versions() {
    for ledger in both().await {
        let of = ledger.case("1.2.3").await;
        let report = |version| NewDelivery {
            kind: DeliveryKind::ReportOru,
            version,
            first_seq: 0,
            last_seq: 0,
            ..images(&of, "rabenstein", Lane::Routine)
        };
        let mut versions = Vec::new();
        for (version, ended) in [(1, Settled::Delivered), (2, Settled::Stopped), (3, Settled::Delivered)] {
            versions.push(ledger.owe(&report(version)).await);
            assert_eq!(ids(&take(&ledger, NOW, 200).await), versions[versions.len() - 1..]);
            assert!(claim_and_settle(&ledger, versions[versions.len() - 1], ended).await, "{}", ledger.name);
        }
        // The fourth is on its way while a person has the second sent again.
        versions.push(ledger.owe(&report(4)).await);
        take(&ledger, NOW, 200).await;
        let mut tx = ledger.begin().await;
        let under_way = tx.claim(versions[3], NOW, NOW + LEASE, "one").await.expect("asked").expect("claimed");
        tx.commit().await.expect("a commit");
        let mut tx = ledger.begin().await;
        let resent = tx.resend(of.id, false, NOW, NOW + LEASE).await.expect("sent again");
        assert_eq!(resent, Resent { again: 1, later: 2 }, "{}", ledger.name);
        let end = settlement(under_way.id, under_way.attempts, Settled::Delivered);
        assert!(!tx.settle(&end).await.expect("asked"), "{}: it comes once more", ledger.name);
        tx.commit().await.expect("a commit");
        for id in &versions[1..] {
            assert_eq!(ids(&take(&ledger, NOW, 200).await), [*id], "{}: one after the other", ledger.name);
            assert!(claim_and_settle(&ledger, *id, Settled::Delivered).await, "{}", ledger.name);
        }
        assert!(take(&ledger, NOW, 200).await.is_empty(), "{}: the first stays where it is", ledger.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_reader_refused_before_a_case_was_held_is_owed_again() {
    for ledger in both().await {
        let of = ledger.case("1.2.3").await;
        let refused = vec![RefusedInstance { seq: 3, status: 0xC000 }];
        // Between two attempts when the case is held.
        let waiting = ledger.owe(&images(&of, "chemnitz", Lane::Stat)).await;
        take(&ledger, NOW, 200).await;
        let mut tx = ledger.begin().await;
        tx.claim(waiting, NOW, NOW + LEASE, "one").await.expect("asked").expect("claimed");
        let again = settlement(waiting, 1, Settled::Again { at: NOW, count: true });
        assert!(tx.settle(&Settlement { refused: refused.clone(), ..again }).await.expect("settled"));
        assert_eq!(tx.withdraw_images(of.id, NOW).await.expect("withdrawn"), Some(3), "{}", ledger.name);
        tx.commit().await.expect("a commit");

        // Under way when the case is held, and all else arrives.
        let mut of = ledger.case("1.2.4").await;
        let under_way = ledger.owe(&images(&of, "chemnitz", Lane::Stat)).await;
        take(&ledger, NOW, 200).await;
        let mut tx = ledger.begin().await;
        let mut claimed = tx.claim(under_way, NOW, NOW + LEASE, "one").await.expect("asked").expect("claimed");
        of.take(CaseEvent::Hold).expect("a move");
        (of.instances, of.routed_to) = (10, 10);
        tx.save_case(&of).await.expect("saved");
        tx.commit().await.expect("a commit");
        claimed.refused.clone_from(&refused);
        let outcome = Outcome::Delivered { warning: None };
        let attempted = Attempted { done_to: 10, refused, ..Attempted::ended(&claimed, outcome) };
        let verdict = verdict(&claimed, &attempted, &DELIVERY, NOW);
        let ending = Ending { attempted: &attempted, verdict: &verdict, asks_commitment: false, now: NOW };
        let settled = settle(&ledger.store, &claimed, &ending).await.expect("settled");
        assert_eq!(settled, Settled::Withdrawn, "{}", ledger.name);
        let of = ledger.store.case(of.id).await.expect("the case");
        assert_eq!((of.routed_to, of.attention.as_str()), (2, ""), "{}", ledger.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_on_eight_connections_is_taken_once() {
    for ledger in both().await {
        let key = |sha256: &str| MessageKey {
            partner: partner("chemnitz"),
            application: "RIS".into(),
            facility: "KLCHEM".into(),
            control_id: "1".into(),
            sha256: sha256.into(),
        };
        let taking = (0..8).map(|number: u8| {
            let (store, key) = (ledger.store.clone(), key("aa"));
            tokio::spawn(async move {
                let mut tx = store.begin(Durability::Synced).await.expect("a transaction");
                if let Some(answer) = tx.claim_message(&key, NOW).await.expect("asked") {
                    return (false, answer);
                }
                // The others wait for the answer meanwhile.
                tokio::time::sleep(Duration::from_millis(50)).await;
                tx.keep_answer(&key, &[number]).await.expect("kept");
                tx.commit().await.expect("a commit");
                (true, vec![number])
            })
        });
        let mut answers = Vec::new();
        for one in taking.collect::<Vec<_>>() {
            answers.push(one.await.expect("no panic"));
        }
        assert_eq!(answers.iter().filter(|(first, _)| *first).count(), 1, "{}", ledger.name);
        assert!(answers.iter().all(|(_, answer)| *answer == answers[0].1), "{}: the same answer", ledger.name);

        // Another message under the same control id is another message, and does not make the first one new again.
        let mut tx = ledger.begin().await;
        assert!(tx.claim_message(&key("bb"), NOW).await.expect("asked").is_none(), "{}", ledger.name);
        tx.keep_answer(&key("bb"), b"other").await.expect("kept");
        tx.commit().await.expect("a commit");
        assert_eq!(ledger.store.answer_given(&key("aa")).await.expect("asked"), Some(answers[0].1.clone()));
        // Not committed is not taken.
        let mut tx = ledger.begin().await;
        assert!(tx.claim_message(&key("cc"), NOW).await.expect("asked").is_none());
        drop(tx);
        assert_eq!(ledger.store.answer_given(&key("cc")).await.expect("asked"), None, "{}", ledger.name);
    }
}

fn report(case: Option<neisse::model::CaseId>, version: i64, status: ReportStatus) -> NewReport {
    NewReport {
        id: ReportId::generate(),
        case,
        sender: partner("chemnitz"),
        source: "oru",
        status,
        version,
        received: Moment(NOW.0 + version),
        correlated_by: "accession number".into(),
        hold_reason: String::new(),
        sha256: "aa".into(),
        content: b"MSH|".to_vec().into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_versions_of_their_case_or_held() {
    for ledger in both().await {
        let of = ledger.case("1.2.3").await;
        let mut tx = ledger.begin().await;
        for (version, status) in [(1, ReportStatus::Preliminary), (2, ReportStatus::Final)] {
            assert_eq!(tx.next_version(of.id).await.expect("asked").0, version, "{}", ledger.name);
            tx.add_report(&report(Some(of.id), version, status)).await.expect("kept");
        }
        assert_eq!(tx.next_version(of.id).await.expect("asked"), (3, Some(Moment(NOW.0 + 2))));
        tx.add_report(&report(None, 0, ReportStatus::Final)).await.expect("held");
        tx.tell(of.id, NOW, "results", "a line with a \0 and a \n in it").await.expect("told");
        tx.commit().await.expect("a commit");
        let versions = ledger.store.reports(of.id).await.expect("reports");
        let statuses: Vec<_> = versions.iter().map(|version| version.status).collect();
        assert_eq!(statuses, [ReportStatus::Preliminary, ReportStatus::Final], "{}", ledger.name);
        assert_eq!(ledger.store.count_held_reports().await.expect("counted"), 1, "{}", ledger.name);
        assert_eq!(ledger.store.held_reports().await.expect("held").len(), 1, "{}", ledger.name);
        let story = ledger.store.story(of.id).await.expect("the story");
        assert_eq!(story[0].what, "a line with a   and a   in it", "{}", ledger.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_reports_are_kept_in_pieces_and_read_as_they_were() {
    const MIB: usize = 1 << 20;
    for ledger in both().await {
        // A digit a byte: no piece looks like its neighbour.
        let content = |size: usize| (0..size).map(|at| b'0' + (at / 997 % 10) as u8).collect::<Vec<u8>>();
        for size in [1, MIB, MIB + 1, 3 * MIB, 3 * MIB + 5] {
            let what = format!("{size} bytes on {}", ledger.name);
            let bytes = content(size);
            let held = NewReport { content: bytes.clone().into(), ..report(None, 0, ReportStatus::Final) };
            let form = ReportFormRow {
                form: "oru",
                control_id: "N1".into(),
                sop_class: String::new(),
                sop_uid: String::new(),
                transfer_syntax: String::new(),
                content: bytes.clone().into(),
            };
            let mut tx = ledger.begin().await;
            tx.add_report(&held).await.expect("kept");
            tx.add_report_form(held.id, &form).await.expect("kept");
            tx.commit().await.expect("a commit");
            let again = ledger.store.held_report(held.id).await.expect("read").expect("it is held");
            assert!(again.content == bytes, "{what}: as received");
            let read = ledger.store.report_content(held.id, "oru").await.expect("read");
            let (mut all, mut pieces) = (read.in_row.to_vec(), 0);
            while let Some(piece) = ledger.store.report_piece(held.id, "oru", pieces).await.expect("read") {
                assert!(piece.len() <= MIB, "{what}");
                all.extend_from_slice(&piece);
                pieces += 1;
            }
            assert!(all == bytes && read.length == size as u64, "{what}: to be sent");
            // Half of a report is none, nor is nothing.
            let of_it = format!("DELETE FROM report_contents WHERE report_id = '{}'", held.id);
            let unreadable = |error: &StoreError| matches!(error, StoreError::Unreadable { .. });
            if pieces > 1 {
                ledger.raw.run(&format!("{of_it} AND form = '' AND seq = {}", pieces - 2)).await;
                let error = ledger.store.held_report(held.id).await.expect_err("a piece is missing");
                assert!(unreadable(&error), "{what}: {error}");
                ledger.raw.run(&format!("{of_it} AND form = ''")).await;
                let error = ledger.store.held_report(held.id).await.expect_err("nothing is there");
                assert!(unreadable(&error), "{what}: {error}");
            }
            // One that was kept whole before there were pieces.
            let whole = "UPDATE report_forms SET content = (SELECT bytes FROM report_contents c WHERE c.form = report_forms.form \
                         AND c.report_id = report_forms.report_id AND seq = 0)";
            if pieces > 0 {
                ledger.raw.run(&format!("{whole} WHERE report_id = '{}'", held.id)).await;
                let read = ledger.store.report_content(held.id, "oru").await.expect("read");
                assert!(read.in_row == bytes[..MIB] && read.length == MIB as u64, "{what}: a whole one");
                let emptied = "UPDATE report_forms SET content = substr(content, 1, 0)";
                ledger.raw.run(&format!("{emptied} WHERE report_id = '{}'", held.id)).await;
                ledger.raw.run(&of_it).await;
                let error = ledger.store.report_content(held.id, "oru").await.expect_err("nothing is there");
                assert!(unreadable(&error), "{what}: {error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_keeps_no_other_from_leaving() {
    for ledger in both().await {
        let (of, other) = (ledger.case("1.2.3").await, ledger.case("1.2.4").await);
        let spoilt = ledger.owe(&images(&of, "chemnitz", Lane::Stat)).await;
        let sound = ledger.owe(&images(&other, "chemnitz", Lane::Stat)).await;
        ledger.raw.run(&format!("UPDATE deliveries SET last_outcome = '{{nonsense' WHERE id = '{spoilt}'")).await;
        assert_eq!(ids(&take(&ledger, NOW, 200).await), [sound], "{}", ledger.name);
        assert!(take(&ledger, NOW, 200).await.is_empty(), "{}: it is not tried for ever", ledger.name);
        assert!(ledger.store.case(of.id).await.expect("the case").attention.contains("cannot be read"));
        assert_eq!(ledger.store.case(other.id).await.expect("the case").attention, "", "{}", ledger.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_database_quotes_nothing_that_is_stored() {
    for ledger in both().await {
        let of = ledger.case("1.2.3").await;
        let kept = report(Some(of.id), 1, ReportStatus::Final);
        let form = ReportFormRow {
            form: "Müßig^Jörg",
            control_id: String::new(),
            sop_class: String::new(),
            sop_uid: String::new(),
            transfer_syntax: String::new(),
            content: Vec::new().into(),
        };
        let mut tx = ledger.begin().await;
        tx.add_report(&kept).await.expect("kept");
        tx.add_report_form(kept.id, &form).await.expect("kept");
        let twice = tx.add_report_form(kept.id, &form).await.expect_err("the key is taken");
        assert!(twice.is_about_one() && matches!(twice, StoreError::Data { .. }), "{}: {twice:?}", ledger.name);
        let said = format!("{} {twice:?}", chain(&twice));
        assert!(!said.contains("Müßig") && !said.contains(&kept.id.to_string()), "{}: {said}", ledger.name);
        drop(tx);
        let mut wrong = of.clone();
        wrong.take(CaseEvent::Decided).expect("a move");
        let mut tx = ledger.begin().await;
        let unfounded = tx.save_case(&wrong).await.expect_err("routed without a decision");
        assert!(matches!(unfounded, StoreError::Data { .. }), "{}: {unfounded:?}", ledger.name);
    }
}
