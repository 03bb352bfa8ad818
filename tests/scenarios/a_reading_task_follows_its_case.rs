//! A reading task follows its case, whatever becomes of it: offered with the decision, ready when the study is whole, canceled
//! when a person holds the case, offered to the next reader, completed by the report. Its performer is held to the
//! standard's order of things; others see what is their business, and nothing else. Who is subscribed hears all of it.

use crate::support::{
    center::{About, oru},
    eventually,
    faults::send_head_ct,
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON, wall},
    readers::{Listener, Reader, performed, said},
};
use neisse::model::CaseState;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const GLOBAL: &str = "1.2.840.10008.5.1.4.34.5";

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_task_follows_its_case() {
    for footing in BOTH {
        let network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        let chemnitz = Reader::of(&network, "chemnitz", "WS1").await;
        let leipzig = Reader::of(&network, "leipzig-ukl", "WS2").await;
        let rabenstein = Reader::of(&network, "rabenstein", "KIS").await;
        let path = format!("/workitems/{GLOBAL}/subscribers/WS1?deletionlock=false");
        assert_eq!(chemnitz.ask(Method::POST, &path, None).await.status, StatusCode::CREATED);
        let mut heard = chemnitz.listen("WS1").await;

        let (patient, _) = send_head_ct(&network, 1, 3).await;
        let task = ready(&chemnitz).await;
        let uid = said(&task, "00080018");
        assert_eq!(said(&task, "00741202"), "Always", "the rule");
        assert_eq!(said(&task, "00100020"), patient.patient_id);
        assert_eq!(said(&task, "0020000D"), patient.study().as_str());
        let named = |task: &Value| task["00404021"]["Value"][0]["00081199"]["Value"].as_array().map(Vec::len);
        let got = chemnitz.task(&uid).await;
        assert_eq!(
            (named(&task), named(&got)),
            (Some(0), Some(3)),
            "a list names series, the task its instances: {got}"
        );
        // Others: for Leipzig it is not there, Rabenstein sees it when it asks for it, and cannot claim it.
        assert!(leipzig.tasks("").await.is_empty());
        assert_eq!(leipzig.ask(Method::GET, &format!("/workitems/{uid}"), None).await.status, StatusCode::NOT_FOUND);
        assert_eq!(leipzig.move_to(&uid, "IN PROGRESS", "1.2.9").await.status, StatusCode::NOT_FOUND);
        assert!(rabenstein.tasks("ProcedureStepState=SCHEDULED").await.is_empty(), "not to be read there");
        assert_eq!(rabenstein.tasks(&format!("StudyInstanceUID={}", patient.study())).await.len(), 1);
        assert_eq!(rabenstein.move_to(&uid, "IN PROGRESS", "1.2.9").await.status, StatusCode::FORBIDDEN);

        work(&chemnitz, &uid).await;
        // A person holds it, though it is being read; then another reads it.
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        let id = case.id.to_string();
        network.cases_screen(&["hold", &id, "--why", "wrong side"]).await;
        let held = chemnitz.task(&uid).await;
        assert_eq!(said(&held, "00741000"), "CANCELED");
        assert_eq!(said(&held["00741002"]["Value"][0], "00741238"), "its case is held");
        assert_eq!(chemnitz.move_to(&uid, "COMPLETED", "1.2.3").await.status, StatusCode::CONFLICT);
        assert_eq!(chemnitz.move_to(&uid, "CANCELED", "1.2.3").await.status, StatusCode::OK, "it is already");
        network.cases_screen(&["release", &id, "--to", "leipzig-ukl"]).await;
        assert!(chemnitz.tasks("ProcedureStepState=SCHEDULED").await.is_empty(), "no offer of it is left");
        let next = said(&ready(&leipzig).await, "00080018");
        assert_ne!(next, uid);
        hears(&mut heard, &uid, &["SCHEDULED", "IN PROGRESS", "CANCELED"]).await;

        // The report completes it, though nobody in Leipzig has ever claimed it.
        let study = patient.study().to_string();
        let about = About {
            patient_id: &patient.patient_id,
            issuer: "RABENSTEIN",
            accession: &patient.accession,
            study: &study,
        };
        let message = oru("UKL", "R1", &about, "F", "keine Blutung");
        assert_eq!(network.leipzig.send_hl7(network.node().hl7, &message, "R1").await.code.as_str(), "AA");
        let read = leipzig.task(&next).await;
        assert_eq!(said(&read, "00741000"), "COMPLETED", "{read}");
        assert!(!said(&read["00741216"]["Value"][0], "00404051").is_empty(), "{read}");
        let late = rabenstein.ask(Method::POST, &format!("/workitems/{next}/cancelrequest"), None).await;
        assert_eq!(late.status, StatusCode::CONFLICT);
        assert!(late.warning.contains("already COMPLETED"), "{late:?}");
        network.at_rest().await;
    }
}

/// What nobody has begun is canceled on the origin's word, and a person is told that nobody reads it now.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_cancel_ends_what_nobody_has_begun() {
    for footing in BOTH {
        let network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        let chemnitz = Reader::of(&network, "chemnitz", "WS1").await;
        let rabenstein = Reader::of(&network, "rabenstein", "KIS").await;
        let (patient, _) = send_head_ct(&network, 1, 2).await;
        let (other, _) = send_head_ct(&network, 2, 2).await;
        network.case(&other.study(), "whole", |case| case.whole.is_some()).await;
        let uid_of = async |study: &neisse::model::Uid| {
            let tasks = chemnitz.tasks(&format!("StudyInstanceUID={study}")).await;
            said(&tasks[0], "00080018")
        };
        network.case(&patient.study(), "routed", |case| case.reader.is_some()).await;
        let (uid, claimed) = (uid_of(&patient.study()).await, uid_of(&other.study()).await);
        let reason = json!({ "00741238": { "vr": "LT", "Value": ["wrong patient"] } });
        let path = |uid: &str| format!("/workitems/{uid}/cancelrequest");
        let told = rabenstein.ask(Method::POST, &path(&uid), Some(reason)).await;
        assert_eq!(told.status, StatusCode::ACCEPTED, "{told:?}");
        assert_eq!(said(&chemnitz.task(&uid).await, "00741000"), "CANCELED");
        let case = network.case(&patient.study(), "a person is told", |case| !case.attention.is_empty()).await;
        assert!(case.attention.contains("has canceled its reading"), "{}", case.attention);
        let again = rabenstein.ask(Method::POST, &path(&uid), None).await;
        assert_eq!(again.status, StatusCode::CONFLICT);
        // Who has begun is asked, if it listens.
        assert_eq!(chemnitz.move_to(&claimed, "IN PROGRESS", "1.2.3").await.status, StatusCode::OK);
        assert_eq!(rabenstein.ask(Method::POST, &path(&claimed), None).await.status, StatusCode::CONFLICT);
        let subscribe = format!("/workitems/{claimed}/subscribers/WS1?deletionlock=true");
        assert_eq!(chemnitz.ask(Method::POST, &subscribe, None).await.status, StatusCode::CREATED);
        assert_eq!(rabenstein.ask(Method::POST, &path(&claimed), None).await.status, StatusCode::ACCEPTED);
        let mut heard = chemnitz.listen("WS1").await;
        assert_eq!(said(&heard.event().await, "00741000"), "IN PROGRESS", "as it is");
        // Its claim may be told once more, if the subscription came before that had been noted.
        let mut asked = heard.event().await;
        while said(&asked, "00001002") == "1" {
            assert_eq!(said(&asked, "00741000"), "IN PROGRESS", "{asked}");
            asked = heard.event().await;
        }
        assert_eq!((said(&asked, "00001002").as_str(), said(&asked, "00741236").as_str()), ("2", "KIS"));
        assert_eq!(said(&chemnitz.task(&claimed).await, "00741000"), "IN PROGRESS", "its performer decides");
        network.at_rest().await;
    }
}

/// The one task to read, when all images are there.
async fn ready(reader: &Reader) -> serde_json::Value {
    let mut found = Vec::new();
    eventually("a task that is ready", SOON, async || {
        found = reader.tasks("ProcedureStepState=SCHEDULED&InputReadinessState=READY&includefield=all").await;
        !found.is_empty()
    })
    .await;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// Claims it, and does what is allowed and what is not.
async fn work(reader: &Reader, uid: &str) {
    let path = format!("/workitems/{uid}");
    assert_eq!(reader.move_to(uid, "COMPLETED", "1.2.3").await.status, StatusCode::CONFLICT, "not claimed yet");
    let told = reader.move_to(uid, "IN PROGRESS", "").await;
    assert_eq!(told.status, StatusCode::BAD_REQUEST, "{told:?}");
    assert_eq!(reader.move_to(uid, "IN PROGRESS", "1.2.3").await.status, StatusCode::OK);
    let seen = reader.task(uid).await;
    assert_eq!(said(&seen, "00741000"), "IN PROGRESS");
    assert!(seen.get("00081195").is_none(), "the lock is nobody's to see");
    assert_eq!(reader.move_to(uid, "COMPLETED", "1.2.3").await.status, StatusCode::CONFLICT, "nothing performed");
    let wrong = reader.ask(Method::POST, &path, Some(performed("1.2.4"))).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.warning.contains("incorrect"), "{wrong:?}");
    let progress = json!({ "00741002": { "vr": "SQ", "Value": [{ "00741004": { "vr": "DS", "Value": [50] } }] } });
    let told = reader.ask(Method::POST, &format!("{path}?transaction-uid=1.2.3"), Some(progress)).await;
    assert_eq!(told.status, StatusCode::OK, "{told:?}");
    let seen = reader.task(uid).await;
    assert!(seen["00741002"]["Value"][0]["00741004"].is_object(), "{seen}");
    assert_eq!(reader.ask(Method::POST, &path, Some(performed("1.2.3"))).await.status, StatusCode::OK);
}

/// The states of a task, as they are told; other events between them.
async fn hears(listener: &mut Listener, uid: &str, states: &[&str]) {
    let mut heard: Vec<String> = Vec::new();
    while heard.len() < states.len() {
        let event = listener.event().await;
        let is_state = said(&event, "00001002") == "1" && said(&event, "00001000") == uid;
        if is_state && heard.last().is_none_or(|last| *last != said(&event, "00741000")) {
            heard.push(said(&event, "00741000"));
        }
    }
    assert_eq!(heard, states);
}
