//! A reading task that is open says of its patient and its urgency what its case says now: after a correction, after a merge, after a
//! more urgent order; and whoever listens is told that it has become more urgent. By HTTP and by DIMSE, on both databases.

use crate::support::{
    center::Center,
    faults::send_head_ct,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, wall},
    orders::{answered, ask, orm},
    readers::{Reader, said},
    workstation::asked,
};
use neisse::{cli::sample::SampleCase, model::CaseState};
use reqwest::{Method, StatusCode};
use serde_json::json;

/// Scheduled Procedure Step Priority, and when the task was last changed.
const PRIORITY: &str = "00741200";
const MODIFIED: &str = "00404010";

#[tokio::test(flavor = "multi_thread")]
async fn a_task_says_what_has_become_of_its_case() {
    for footing in BOTH {
        let network = network(footing).await;
        let chemnitz = Reader::of(&network, "chemnitz", "WS1").await;
        let (patient, uid) = sent(&network, &chemnitz, 1).await;
        for (event, rest) in [("A08", "SYN-000001||Umbenannt^Ute\r"), ("A40", "NEU-7||Umbenannt^Ute\rMRG|SYN-000001\r")]
        {
            let message = format!(
                "MSH|^~\\&|KIS|DRKRAB|NEISSE|NEISSE|20261124230000||ADT^{event}|{event}|P|2.5||||||8859/1\r\
                 EVN||20261124230000\rPID|1||{rest}"
            );
            let answer = ask(network.node().hl7, &message).await;
            assert!(answer[1].starts_with("MSA|AA|"), "{answer:?}");
            let task = chemnitz.task(&uid).await;
            assert_eq!(task["00100010"]["Value"][0]["Alphabetic"], "Umbenannt^Ute", "{event}: {task}");
            assert_eq!(said(&task, "00100020"), if event == "A40" { "NEU-7" } else { &patient.patient_id });
        }
        let keys = json!({ "00100020": { "vr": "LO", "Value": ["NEU-7"] }, "00080018": { "vr": "UI" } });
        let found = asked(&network, "CHEMNITZ", json!([{ "do": "find", "set": keys }])).await;
        assert_eq!(said(&found[0]["set"][0], "00080018"), uid, "{found}");
        assert!(chemnitz.tasks(&format!("PatientID={}", patient.patient_id)).await.is_empty());

        becomes_urgent(&network, &chemnitz).await;
        network.at_rest().await;
    }
}

async fn becomes_urgent(network: &Network, chemnitz: &Reader) {
    let (patient, uid) = sent(network, chemnitz, 2).await;
    let subscribe = format!("/workitems/{uid}/subscribers/WS1?deletionlock=false");
    assert_eq!(chemnitz.ask(Method::POST, &subscribe, None).await.status, StatusCode::CREATED);
    let mut heard = chemnitz.listen("WS1").await;
    assert_eq!(said(&heard.event().await, "00741000"), "SCHEDULED");
    while !heard.is_quiet(std::time::Duration::from_secs(1)).await {}
    let before = chemnitz.task(&uid).await;
    assert_eq!(said(&before, PRIORITY), "LOW");
    network.clock.advance(std::time::Duration::from_secs(1));

    let patient = SampleCase { placer_order: String::new(), ..patient };
    assert_eq!(answered(network.node().hl7, &orm("M1", "NW", "P1", &patient, true)).await, "OK");
    let event = heard.event().await;
    assert_eq!((said(&event, "00001002").as_str(), said(&event, "00001000")), ("1", uid.clone()), "{event}");
    let after = chemnitz.task(&uid).await;
    assert_eq!(said(&after, PRIORITY), "HIGH", "{after}");
    assert!(said(&after, MODIFIED) > said(&before, MODIFIED), "{after}");
    // Another order, no more urgent: nothing to tell.
    assert_eq!(answered(network.node().hl7, &orm("M2", "NW", "P2", &patient, true)).await, "OK");
    assert!(heard.is_quiet(std::time::Duration::from_secs(3)).await);
    assert_eq!(
        said(&chemnitz.tasks("ProcedureStepState=SCHEDULED").await[0], "00080018"),
        uid,
        "the most urgent first"
    );
}

async fn network(footing: Footing) -> Network {
    let centers = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), centers.0, centers.1, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
    })
    .await
}

async fn sent(network: &Network, reader: &Reader, number: u64) -> (SampleCase, String) {
    let (patient, _) = send_head_ct(network, number, 2).await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    let found = reader.tasks(&format!("StudyInstanceUID={}", patient.study())).await;
    (patient, said(&found[0], "00080018"))
}
