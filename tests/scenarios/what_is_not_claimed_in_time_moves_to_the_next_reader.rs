//! What is not claimed in time moves to the next reader: its images and its order with it, the first offer withdrawn exactly
//! once, also when it is claimed in the same millisecond. After the last reader a person is told. Who gets copies gets them at
//! once. A claim that nothing is heard of ends, and is offered again.

use crate::support::{
    carrier::partner,
    center::{About, oru},
    eventually,
    faults::send_head_ct,
    hospital::{Scanner, head_ct, send_study},
    network::{BOTH, Network, SOON, checked, wall},
    readers::{Reader, said},
};
use dicom_core::{Tag, VR};
use neisse::{
    cli::sample::SampleInstance,
    config::Live,
    dicom::{
        service::{Asker, DataSet, Services, Target},
        ups,
    },
    model::{Bell, CaseState, Clock, Outgoing, TaskState, Uid},
    routing::claims::{Claims, Done, Why},
    store::{CaseRow, Durability, TaskRow},
};
use reqwest::StatusCode;
use std::{sync::Arc, time::Duration};

const ROUTES: &str = "[[route]]\nname = \"Nights\"\nfrom = [\"rabenstein\"]\nto = [\"chemnitz\", \"leipzig-ukl\"]\n\
    claim_within = \"10m\"\n";
const ROUNDS: u64 = 100;
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_claimed_in_time_moves_to_the_next_reader() {
    for footing in BOTH {
        let network = Network::start(footing, ROUTES, wall("2026-11-24T23:10")).await;
        let chemnitz = Reader::of(&network, "chemnitz", "WS1").await;
        let leipzig = Reader::of(&network, "leipzig-ukl", "WS2").await;
        let (patient, slices) = send_head_ct(&network, 1, 3).await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        let first = said(&open(&chemnitz).await, "00080018");
        assert!(leipzig.tasks("").await.is_empty());

        network.clock.advance(9 * MINUTE);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(said(&chemnitz.task(&first).await, "00741000"), "SCHEDULED", "it has a minute left");
        network.clock.advance(MINUTE);
        let second = said(&open(&leipzig).await, "00080018");
        network.until_delivered(&case, "leipzig-ukl").await;
        let was = chemnitz.task(&first).await;
        assert_eq!(said(&was, "00741000"), "CANCELED");
        assert_eq!(said(&was["00741002"]["Value"][0], "00741238"), "not claimed by chemnitz within 10 min");
        assert_eq!(chemnitz.move_to(&first, "IN PROGRESS", "1.2.3").await.status, StatusCode::CONFLICT);
        network.case_in(&patient.study(), CaseState::Delivered).await;
        assert!(network.leipzig.holds(&uids(&slices)));

        // Leipzig is the last: it keeps it, and a person is told.
        network.clock.advance(11 * MINUTE);
        let told = network.case(&patient.study(), "a person is told", |case| !case.attention.is_empty()).await;
        assert_eq!(told.reader, Some(partner("leipzig-ukl")));
        assert!(told.attention.starts_with("nobody has claimed it: it stays with leipzig-ukl"), "{}", told.attention);
        assert_eq!(leipzig.move_to(&second, "IN PROGRESS", "1.2.3").await.status, StatusCode::OK);
        assert_eq!(network.now(case.id).await.attention, "", "somebody has");
        network.clock.advance(60 * MINUTE);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(network.told(&case, "withdrawn there").await, 1, "{}", network.story(&case).await);
        assert_eq!(network.told(&case, "nobody has claimed it").await, 1);
        let third = abandoned(&network, &leipzig, &case, &second).await;

        let (study, patient_id) = (patient.study().to_string(), patient.patient_id.clone());
        let about =
            About { patient_id: &patient_id, issuer: "RABENSTEIN", accession: &patient.accession, study: &study };
        let message = oru("UKL", "R1", &about, "F", "keine Blutung");
        assert_eq!(network.leipzig.send_hl7(network.node().hl7, &message, "R1").await.code.as_str(), "AA");
        assert_eq!(said(&leipzig.task(&third).await, "00741000"), "COMPLETED");
        network.at_rest().await;
    }
}

/// Its performer looks at it for a while, then is not heard of any more; returns the offer in its place.
async fn abandoned(network: &Network, reader: &Reader, case: &CaseRow, claimed: &str) -> String {
    for _ in 0..2 {
        network.clock.advance(180 * MINUTE);
        assert_eq!(said(&reader.task(claimed).await, "00741000"), "IN PROGRESS", "whoever looks at it is at it");
    }
    network.clock.advance(241 * MINUTE);
    let again = said(&open(reader).await, "00080018");
    assert_ne!(again, claimed);
    assert_eq!(said(&reader.task(claimed).await, "00741000"), "CANCELED");
    assert!(
        network.now(case.id).await.attention.contains("claimed by WS2 (leipzig-ukl) and nothing heard of it since")
    );
    assert_eq!(network.told(case, "offered to leipzig-ukl again").await, 1);
    assert_eq!(network.owed_to(case, "leipzig-ukl").await.len(), 1, "it has its images");
    again
}

/// Chemnitz goes dark and Leipzig has its case; Chemnitz is back, Leipzig goes dark: it is Chemnitz's again. When both are dark a person
/// is told, once; and whoever is back first has it.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_down_is_offered_it_again_when_the_next_is_down() {
    let routes = ROUTES.replace("claim_within = \"10m\"\n", "");
    for footing in BOTH {
        let mut network = Network::start(footing, &routes, wall("2026-11-24T23:10")).await;
        let (patient, slices) = head_ct(1, 5);
        send_study(network.node().dicom, &slices[..2]).await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        let mut late = slices[2..].iter();
        let moved = async |network: &Network, to: &str| {
            network.case(&case.study, &format!("{to} has it"), |case| case.reader == Some(partner(to))).await
        };

        network.chemnitz.go_away().await;
        goes_dark(&network, "chemnitz", late.next().expect("a slice")).await;
        moved(&network, "leipzig-ukl").await;
        eventually("Leipzig has all of it", SOON, async || network.leipzig.holds(&uids(&slices[..3]))).await;
        network.chemnitz.come_back().await;
        network.probe_until_back("chemnitz").await;

        network.leipzig.go_away().await;
        goes_dark(&network, "leipzig-ukl", late.next().expect("a slice")).await;
        moved(&network, "chemnitz").await;
        eventually("Chemnitz has all of it", SOON, async || network.chemnitz.holds(&uids(&slices[..4]))).await;
        assert_eq!(network.now(case.id).await.attention, "");

        network.chemnitz.go_away().await;
        goes_dark(&network, "chemnitz", late.next().expect("a slice")).await;
        let told = network.case(&case.study, "a person is told", |case| !case.attention.is_empty()).await;
        let expected = "nobody has claimed it: it stays with chemnitz, chemnitz has taken nothing since ";
        assert!(told.attention.starts_with(expected), "{}", told.attention);
        assert!(told.attention.ends_with(", and the others are down"), "{}", told.attention);
        // A person has seen it: it is not told again.
        let mut tx = network.node().store.begin(Durability::Synced).await.expect("the store");
        let mut seen = tx.case(case.id).await.expect("the case");
        seen.attention.clear();
        tx.save_case(&seen).await.expect("saved");
        tx.commit().await.expect("a commit");
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(network.told(&case, "nobody has claimed it").await, 1, "{}", network.story(&case).await);
        assert_eq!(network.now(case.id).await.attention, "");

        network.leipzig.come_back().await;
        network.probe_until_back("leipzig-ukl").await;
        moved(&network, "leipzig-ukl").await;
        eventually("Leipzig has all of it", SOON, async || network.leipzig.holds(&uids(&slices))).await;
        assert_eq!(network.told(&case, "withdrawn there").await, 3, "{}", network.story(&case).await);
        let open: Vec<_> = tasks(&network, &case).await.into_iter().filter(|task| !task.state.is_final()).collect();
        assert_eq!(open.len(), 1, "one reader: {open:?}");
        assert_eq!(open[0].reader, partner("leipzig-ukl"));
        network.at_rest().await;
    }
}

/// What comes for it now does not arrive, until it counts as down.
async fn goes_dark(network: &Network, who: &str, slice: &SampleInstance) {
    let mut scanner = Scanner::connect(network.node().dicom, slice).await;
    assert_eq!(scanner.send(slice).await, 0x0000);
    scanner.release().await;
    network.until_paused(who).await;
    network.clock.advance(11 * MINUTE);
}

/// The radiologist and the stroke neurologist.
#[tokio::test(flavor = "multi_thread")]
async fn who_gets_copies_gets_them_at_once_and_keeps_them_when_the_case_moves() {
    let routes = "[[route]]\nname = \"Stroke\"\nfrom = [\"rabenstein\"]\nto = [\"chemnitz\", \"origin\"]\n\
        also_to = [\"leipzig-ukl\"]\nclaim_within = \"10m\"\n";
    for footing in BOTH {
        let network = Network::start(footing, routes, wall("2026-11-24T23:10")).await;
        let leipzig = Reader::of(&network, "leipzig-ukl", "WS2").await;
        let (patient, slices) = send_head_ct(&network, 1, 5).await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        for center in [&network.chemnitz, &network.leipzig] {
            assert!(center.holds(&uids(&slices)));
        }
        assert!(leipzig.tasks("").await.is_empty(), "a copy is not to be read");
        network.clock.advance(11 * MINUTE);
        let moved =
            network.case(&patient.study(), "read on site", |case| case.reader == Some(partner("rabenstein"))).await;
        assert_eq!(moved.state, CaseState::Delivered, "nothing is transferred");
        let copies = network.owed_to(&case, "leipzig-ukl").await;
        assert_eq!(copies.iter().map(|row| row.items).sum::<i64>(), 5, "sent once: {copies:?}");
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_in_the_millisecond_of_the_withdrawal_wins_or_comes_too_late() {
    for footing in BOTH {
        let network = Network::start(footing, ROUTES, wall("2026-11-24T23:10")).await;
        let offered = offers(&network).await;
        let later = Clock::starting_at(network.clock.now() + 11 * MINUTE);
        let (_replacer, config) = Live::new(checked(network.folder.path(), &network.files));
        let claims = Arc::new(Claims {
            store: network.node().store.clone(),
            config,
            clock: later,
            handoff: Bell::default(),
            tasks: Bell::default(),
        });
        let desk = Arc::new(network.node().desk.clone());
        let mut claimed = 0;
        for (nth, (case, task)) in offered.iter().enumerate() {
            // Both at once; which of them the machine lets begin a little earlier changes.
            let (claims, id, uid) = (Arc::clone(&claims), case.id, task.uid.clone());
            let ahead = Duration::from_micros(u64::try_from(nth % 20).expect("small") * 200);
            let moving = tokio::spawn(async move {
                tokio::time::sleep(ahead).await;
                claims.move_on(id, &uid, Why::Unclaimed).await.expect("the store")
            });
            let (desk, uid) = (Arc::clone(&desk), task.uid.clone());
            let claiming = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(1000)).await;
                claim(&*desk, &uid).await
            });
            let (moved, status) = (moving.await.expect("no panic"), claiming.await.expect("no panic"));
            claimed += usize::from(one_of_both(&network, case, task, moved, status).await);
        }
        println!("{footing:?}: {claimed} of {ROUNDS} claimed, the others moved");
        assert!(claimed > 0 && claimed < offered.len(), "{footing:?}: both happen, {claimed} of {ROUNDS}");
        // What was owed at that clock's time is due at this one's.
        network.clock.advance(11 * MINUTE);
        network.at_rest().await;
    }
}

/// As many cases, each offered to Chemnitz.
async fn offers(network: &Network) -> Vec<(CaseRow, TaskRow)> {
    let mut offered = Vec::new();
    let mut studies = Vec::new();
    for number in 1..=ROUNDS {
        studies.push(send_head_ct(network, number, 1).await.0.study());
    }
    for study in studies {
        let case = network.case(&study, "offered", |case| case.reader.is_some()).await;
        let task = tasks(network, &case).await.remove(0);
        offered.push((case, task));
    }
    offered
}

async fn tasks(network: &Network, case: &CaseRow) -> Vec<TaskRow> {
    let store = &network.node().store;
    let mut tasks = store.tasks_of_cases(&[case.id], &partner("chemnitz")).await.expect("the store");
    tasks.extend(store.tasks_of_cases(&[case.id], &partner("leipzig-ukl")).await.expect("the store"));
    tasks
}

/// Exactly one of: claimed by the first, moved to the second. True: claimed.
async fn one_of_both(network: &Network, case: &CaseRow, task: &TaskRow, moved: Done, status: u16) -> bool {
    let tasks = tasks(network, case).await;
    let of = |name: &str| tasks.iter().find(|task| task.reader.as_str() == name).map(|task| task.state);
    let (reader, withdrawn) = (network.now(case.id).await.reader, network.told(case, "withdrawn there").await);
    match moved {
        Done::Moved => {
            assert_ne!(status, 0x0000, "not both");
            assert_eq!((of("chemnitz"), of("leipzig-ukl")), (Some(TaskState::Canceled), Some(TaskState::Scheduled)));
            assert_eq!((reader, withdrawn), (Some(partner("leipzig-ukl")), 1));
            false
        }
        Done::InOrder | Done::NotNow => {
            assert_eq!(status, 0x0000, "one of both: {}", task.uid);
            assert_eq!((of("chemnitz"), of("leipzig-ukl")), (Some(TaskState::InProgress), None));
            assert_eq!((reader, withdrawn), (Some(partner("chemnitz")), 0));
            true
        }
    }
}

async fn claim(desk: &impl Services, task: &Uid) -> u16 {
    let asker = Asker { partner: partner("chemnitz"), ae_title: "WS1".into(), letters: Outgoing::default() };
    let target = Target { class: Uid::new(ups::PUSH).expect("a UID"), instance: Some(task.clone()) };
    let mut information = DataSet::new_empty();
    ups::put(&mut information, Tag(0x0008, 0x1195), VR::UI, "1.2.4.1");
    ups::put(&mut information, Tag(0x0074, 0x1000), VR::CS, "IN PROGRESS");
    let done = desk.action(&asker, target, 1, information).await;
    done.map_or_else(|refusal| refusal.status, |done| done.status)
}

fn uids(slices: &[SampleInstance]) -> Vec<Uid> {
    slices.iter().map(|slice| slice.sop_instance.clone()).collect()
}

/// The one task that is offered.
async fn open(reader: &Reader) -> serde_json::Value {
    let mut found = Vec::new();
    eventually("a task to read", SOON, async || {
        found = reader.tasks("ProcedureStepState=SCHEDULED&includefield=all").await;
        found.len() == 1
    })
    .await;
    found.remove(0)
}
