//! A filtered subscription makes tasks its own (PS3.4 CC.2.3.3): whoever asked for what is SCHEDULED hears of its claim and of its end,
//! also of what was there before; with a deletion lock it is told at once how each is. A suspended one has no new tasks and keeps those
//! it had; suspending it leaves the global one alone; who has unsubscribed hears nothing. And only a performer that would hear of it can
//! be asked to cancel. By pynetdicom and over a WebSocket, on both databases.

use crate::support::{
    center::Center,
    faults::send_head_ct,
    free_port,
    network::{ALWAYS_CHEMNITZ, BOTH, Network, wall},
    readers::{Listener, Reader, said},
    workstation::{asked, change, no_more, subscribe_with},
};
use neisse::model::CaseState;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};

const GLOBAL: &str = "1.2.840.10008.5.1.4.34.5";
const FILTERED: &str = "1.2.840.10008.5.1.4.34.5.1";
const SCHEDULED: &str = "ProcedureStepState%3DSCHEDULED";
const QUIET: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn who_filters_hears_of_its_tasks_to_their_end() {
    for footing in BOTH {
        let network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        let reader = Reader::of(&network, "chemnitz", "WS1").await;
        let first = sent(&network, &reader, 1).await;
        subscribed(&reader, FILTERED, &format!("true&filter={SCHEDULED}"), StatusCode::CREATED).await;
        let mut heard = Ear { listener: reader.listen("WS1").await, last: HashMap::new() };
        assert_eq!(heard.next(&first).await, "SCHEDULED", "with a lock it is told how it is");
        claimed(&reader, &first).await;
        assert_eq!(heard.next(&first).await, "IN PROGRESS", "it is its own, whatever becomes of it");
        let second = sent(&network, &reader, 2).await;
        assert_eq!(heard.next(&second).await, "SCHEDULED");
        assert_eq!(reader.move_to(&first, "CANCELED", "1.2.3").await.status, StatusCode::OK);
        assert_eq!(heard.next(&first).await, "CANCELED");

        // Suspended: what it has goes on, and nothing comes to it.
        suspended(&reader, FILTERED, StatusCode::OK).await;
        let third = sent(&network, &reader, 3).await;
        claimed(&reader, &third).await;
        claimed(&reader, &second).await;
        assert_eq!(heard.next(&second).await, "IN PROGRESS");
        // The global one is another subscription.
        subscribed(&reader, GLOBAL, "false", StatusCode::CREATED).await;
        suspended(&reader, FILTERED, StatusCode::OK).await;
        let fourth = sent(&network, &reader, 4).await;
        assert_eq!(heard.next(&fourth).await, "SCHEDULED");
        suspended(&reader, GLOBAL, StatusCode::OK).await;
        let fifth = sent(&network, &reader, 5).await;
        claimed(&reader, &fourth).await;
        assert_eq!(heard.next(&fourth).await, "IN PROGRESS");
        suspended(&reader, &fourth, StatusCode::CONFLICT).await;
        unsubscribed(&reader, GLOBAL).await;
        claimed(&reader, &fifth).await;
        assert!(heard.listener.is_quiet(QUIET).await);

        // What fits no filter is nobody's; what there is to read can be asked for.
        subscribed(&reader, FILTERED, "true&filter=WorklistLabel%3Delsewhere", StatusCode::CREATED).await;
        let sixth = sent(&network, &reader, 6).await;
        assert!(heard.listener.is_quiet(QUIET).await);
        let study = study_of(&reader, &sixth).await;
        let input = format!("false&filter=InputInformationSequence.StudyInstanceUID%3D{study}");
        subscribed(&reader, FILTERED, &input, StatusCode::CREATED).await;
        claimed(&reader, &sixth).await;
        assert_eq!(heard.next(&sixth).await, "IN PROGRESS");
        unsubscribed(&reader, FILTERED).await;
        assert_eq!(reader.move_to(&sixth, "CANCELED", "1.2.3").await.status, StatusCode::OK);
        assert!(heard.listener.is_quiet(QUIET).await);
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workstation_of_others_filters_its_events() {
    for footing in BOTH {
        let port = free_port();
        let centers = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
        let (routes, at) = (ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"));
        let network = Network::with_centers(footing, routes, at, centers.0, centers.1, |files| {
            let file = files.get_mut("partners/chemnitz.toml").expect("the center");
            let place = format!(
                "[dicom]\ndestinations = [{{ ae_title = \"CHE_WS1\", host = \"127.0.0.1\", port = {port} }}]\n\
                 senders = [{{ ae_title = \"CHE_WS1\" }}, "
            );
            *file = file.replacen("[dicom]\nsenders = [", &place, 1);
        })
        .await;
        let reader = Reader::of(&network, "chemnitz", "WS1").await;
        let (first, second) = (sent(&network, &reader, 1).await, sent(&network, &reader, 2).await);
        let study = study_of(&reader, &first).await;
        let of_study = json!({ "0020000D": { "vr": "UI", "Value": [study] } });
        let keys = json!({ "00741000": { "vr": "CS", "Value": ["SCHEDULED"] },
            "00404021": { "vr": "SQ", "Value": [of_study] } });
        let steps = json!([
            { "do": "listen", "port": port },
            subscribe_with(FILTERED, "CHE_WS1", true, keys),
            { "do": "heard", "count": 1 },
            change(&first, "IN PROGRESS", "1.2.3"),
            change(&second, "IN PROGRESS", "1.2.3"),
            { "do": "heard", "count": 2 },
            no_more(5, FILTERED, "CHE_WS1"),
            no_more(5, &first, "CHE_WS1"),
            { "do": "action", "type": 2, "uid": first, "set": {} },
            { "do": "heard", "count": 3 },
            no_more(4, FILTERED, "CHE_WS1"),
            change(&first, "CANCELED", "1.2.3"),
            { "do": "heard", "count": 4, "seconds": 3 },
        ]);
        let told = asked(&network, "CHE_WS1", steps).await;
        let statuses: Vec<u64> =
            [1, 3, 4, 6, 7, 8, 10, 11].map(|nth| told[nth]["status"].as_u64().expect("a status")).to_vec();
        assert_eq!(statuses, [0, 0, 0, 0, 0xC314, 0, 0, 0], "{told}");
        let heard = told[12]["set"].as_array().expect("events");
        let word = |event: &Value| {
            assert_eq!(event["uid"], json!(first), "{told}");
            said(&event["set"], if event["type"] == 1 { "00741000" } else { "00741236" })
        };
        let words: Vec<String> = heard.iter().map(word).collect();
        assert_eq!(words, ["SCHEDULED", "IN PROGRESS", "CHE_WS1"], "{told}");
        network.at_rest().await;
    }
}

/// Another workstation, a filter that does not fit, a subscription that was suspended before: none of them tells the performer.
#[tokio::test(flavor = "multi_thread")]
async fn a_performer_that_would_not_hear_of_it_cannot_be_asked_to_cancel() {
    for footing in BOTH {
        let network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        let (performer, other) =
            (Reader::of(&network, "chemnitz", "WS1").await, Reader::of(&network, "chemnitz", "WS2").await);
        let rabenstein = Reader::of(&network, "rabenstein", "KIS").await;
        subscribed(&performer, GLOBAL, "false", StatusCode::CREATED).await;
        suspended(&performer, GLOBAL, StatusCode::OK).await;
        network.clock.advance(Duration::from_secs(1));
        let task = sent(&network, &performer, 1).await;
        claimed(&performer, &task).await;
        let path = format!("/workitems/{task}/cancelrequest");
        let asks = async || rabenstein.ask(Method::POST, &path, None).await;
        let told = asks().await;
        assert_eq!(told.status, StatusCode::CONFLICT, "suspended before it was made: {told:?}");
        assert!(told.warning.contains("cannot be contacted"), "{told:?}");
        let unfit = "false&filter=WorklistLabel%3Delsewhere";
        subscribed(&performer, FILTERED, unfit, StatusCode::CREATED).await;
        assert_eq!(asks().await.status, StatusCode::CONFLICT, "a filter that does not fit");
        let path = format!("/workitems/{task}/subscribers/WS2?deletionlock=false");
        assert_eq!(other.ask(Method::POST, &path, None).await.status, StatusCode::CREATED);
        assert_eq!(asks().await.status, StatusCode::CONFLICT, "another workstation");
        subscribed(&performer, FILTERED, "false&filter=WorklistLabel%3DAlways", StatusCode::CREATED).await;
        assert_eq!(asks().await.status, StatusCode::ACCEPTED, "it hears");
        let mut heard = performer.listen("WS1").await;
        while said(&heard.event().await, "00001002") != "2" {}
        network.at_rest().await;
    }
}

/// A study that is whole, and its task.
async fn sent(network: &Network, reader: &Reader, number: u64) -> String {
    let (patient, _) = send_head_ct(network, number, 1).await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    said(&reader.tasks(&format!("StudyInstanceUID={}", patient.study())).await[0], "00080018")
}

async fn study_of(reader: &Reader, task: &str) -> String {
    said(&reader.task(task).await, "0020000D")
}

async fn claimed(reader: &Reader, task: &str) {
    assert_eq!(reader.move_to(task, "IN PROGRESS", "1.2.3").await.status, StatusCode::OK);
}

async fn subscribed(reader: &Reader, uid: &str, query: &str, expected: StatusCode) {
    let path = format!("/workitems/{uid}/subscribers/WS1?deletionlock={query}");
    let told = reader.ask(Method::POST, &path, None).await;
    assert_eq!(told.status, expected, "{told:?}");
}

async fn suspended(reader: &Reader, uid: &str, expected: StatusCode) {
    let told = reader.ask(Method::POST, &format!("/workitems/{uid}/subscribers/WS1/suspend"), None).await;
    assert_eq!(told.status, expected, "{told:?}");
}

async fn unsubscribed(reader: &Reader, uid: &str) {
    let told = reader.ask(Method::DELETE, &format!("/workitems/{uid}/subscribers/WS1"), None).await;
    assert_eq!(told.status, StatusCode::OK, "{told:?}");
}

/// What a workstation hears, and which state of each task it has heard last.
struct Ear {
    listener: Listener,
    last: HashMap<String, String>,
}

impl Ear {
    /// The next state that is told: of this task. What tells the same state again (all images are there) is passed over, and so are
    /// events of another kind.
    async fn next(&mut self, task: &str) -> String {
        loop {
            let event = self.listener.event().await;
            let (of, state) = (said(&event, "00001000"), said(&event, "00741000"));
            if said(&event, "00001002") == "1" && self.last.insert(of.clone(), state.clone()).as_ref() != Some(&state) {
                assert_eq!(of, task, "{event}");
                return state;
            }
        }
    }
}
