//! A reading task says whether all images are there (Input Readiness State, PS3.4 CC.2.4.3): INCOMPLETE while the scanner sends, READY when
//! the study is whole; INCOMPLETE again while more comes late, and READY when that is all. Found so over both wires, and told.

use crate::support::{
    eventually,
    hospital::{Scanner, head_ct},
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON, wall},
    readers::{Listener, Reader, said},
    workstation::asked,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const GLOBAL: &str = "1.2.840.10008.5.1.4.34.5";

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_ready_when_all_images_are_there() {
    for footing in BOTH {
        let network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        let reader = Reader::of(&network, "chemnitz", "WS1").await;
        let path = format!("/workitems/{GLOBAL}/subscribers/WS1?deletionlock=false");
        assert_eq!(reader.ask(Method::POST, &path, None).await.status, StatusCode::CREATED);
        let mut heard = reader.listen("WS1").await;
        let (_, slices) = head_ct(1, 4);

        for (sent, expected) in [(&slices[..2], 2), (&slices[2..], 4)] {
            let mut scanner = Scanner::connect(network.node().dicom, &sent[0]).await;
            for slice in sent {
                assert_eq!(scanner.send(slice).await, 0x0000);
            }
            let task = found(&reader, "INCOMPLETE", expected).await;
            assert_eq!(told(&mut heard).await, "INCOMPLETE");
            by_dimse(&network, &task, "INCOMPLETE").await;
            // Longer than the quiet time: its association is open.
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            found(&reader, "INCOMPLETE", expected).await;
            scanner.release().await;
            let task = found(&reader, "READY", expected).await;
            assert_eq!(told(&mut heard).await, "READY");
            by_dimse(&network, &task, "READY").await;
        }
        assert!(heard.is_quiet(std::time::Duration::from_secs(2)).await, "each once");
        network.at_rest().await;
    }
}

/// The one task that is so, with so many images.
async fn found(reader: &Reader, readiness: &str, instances: usize) -> String {
    let mut uid = String::new();
    eventually(&format!("{instances} images, {readiness}"), SOON, async || {
        let tasks = reader.tasks(&format!("ProcedureStepState=SCHEDULED&InputReadinessState={readiness}")).await;
        let Some(task) = tasks.first() else { return false };
        uid = said(task, "00080018");
        let task = reader.task(&uid).await;
        task["00404021"]["Value"][0]["00081199"]["Value"].as_array().is_some_and(|named| named.len() == instances)
    })
    .await;
    uid
}

/// Found and retrieved.
async fn by_dimse(network: &Network, uid: &str, readiness: &str) {
    let keys = json!({ "00404041": { "vr": "CS", "Value": [readiness] }, "00080018": { "vr": "UI" } });
    let answers = asked(network, "CHEMNITZ", json!([{ "do": "find", "set": keys }, { "do": "get", "uid": uid }])).await;
    assert_eq!(said(&answers[0]["set"][0], "00080018"), uid, "{answers}");
    assert_eq!(said(&answers[1]["set"], "00404041"), readiness, "{answers}");
}

/// The readiness that the next state report tells.
async fn told(heard: &mut Listener) -> String {
    loop {
        let event: Value = heard.event().await;
        if said(&event, "00001002") == "1" {
            return said(&event, "00404041");
        }
    }
}
