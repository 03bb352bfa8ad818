//! A workstation that is not ours (pynetdicom, unmodified) finds its reading task over DIMSE, claims it before forty-nine
//! others, is told each status that PS3.4 CC.2 has for what it does wrong, and completes it.

use crate::support::{
    center::Center,
    faults::{send_head_ct, set},
    free_port,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, wall},
    readers::{performed, said},
    workstation::{asked, change, subscribe},
};
use neisse::model::CaseState;
use serde_json::{Value, json};

const CLAIMS: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn a_workstation_of_others_claims_and_finishes_its_task() {
    for footing in BOTH {
        let network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        let (patient, _) = send_head_ct(&network, 1, 2).await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        let keys = json!({
            "00741000": { "vr": "CS", "Value": ["SCHEDULED"] },
            "00080018": { "vr": "UI" },
            "00100010": { "vr": "PN" },
            "00404021": { "vr": "SQ", "Value": [{ "0020000D": { "vr": "UI", "Value": [patient.study().as_str()] } }] },
        });
        let found = asked(&network, "CHEMNITZ", json!([{ "do": "find", "set": keys }])).await;
        assert_eq!(found[0]["status"], 0x0000, "{found}");
        assert_eq!(found[0]["set"].as_array().map(Vec::len), Some(1), "{found}");
        let uid = said(&found[0]["set"][0], "00080018");
        assert!(!found[0]["set"][0]["00100010"]["Value"][0].is_null(), "{found}");

        let claims: Vec<Value> = (1..=CLAIMS).map(|n| change(&uid, "IN PROGRESS", &format!("1.2.3.{n}"))).collect();
        let told = asked(&network, "CHEMNITZ", json!([claims])).await;
        let statuses: Vec<u64> = told[0]
            .as_array()
            .expect("answers")
            .iter()
            .map(|told| told["status"].as_u64().expect("a status"))
            .collect();
        assert_eq!(statuses.iter().filter(|status| **status == 0x0000).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 0xC302).count(), CLAIMS - 1, "{statuses:?}");
        let won = statuses.iter().position(|status| *status == 0x0000).expect("one won") + 1;

        let lock = format!("1.2.3.{won}");
        let unknown = "2.25.404";
        let steps = [
            (
                json!({ "do": "create", "uid": "2.25.405", "set": { "00741000": { "vr": "CS", "Value": ["SCHEDULED"] } } }),
                0x0124,
            ),
            (change(unknown, "IN PROGRESS", "1.2.9"), 0xC307),
            (change(&uid, "SCHEDULED", &lock), 0xC303),
            (change(&uid, "COMPLETED", "1.2.9"), 0xC301),
            (change(&uid, "COMPLETED", &lock), 0xC304),
            (json!({ "do": "set", "uid": uid, "set": performed("1.2.9") }), 0xC301),
            (json!({ "do": "action", "type": 2, "uid": uid, "set": {} }), 0xC312),
            (json!({ "do": "action", "type": 9, "uid": uid, "set": {} }), 0x0123),
            (subscribe(&uid, "STRANGER"), 0xC308),
            (subscribe(&uid, "CHEMNITZ"), 0x0000),
            (subscribe(unknown, "CHEMNITZ"), 0xC307),
            (json!({ "do": "set", "uid": uid, "set": performed(&lock) }), 0x0000),
            (json!({ "do": "get", "uid": uid }), 0x0000),
            (change(&uid, "COMPLETED", &lock), 0x0000),
            (change(&uid, "COMPLETED", &lock), 0xB306),
            (change(&uid, "CANCELED", &lock), 0xC300),
            (json!({ "do": "set", "uid": uid, "set": performed(&lock) }), 0xC300),
            (json!({ "do": "action", "type": 2, "uid": uid, "set": {} }), 0xC311),
        ];
        let asks: Vec<Value> = steps.iter().map(|(step, _)| step.clone()).collect();
        let told = asked(&network, "CHEMNITZ", Value::Array(asks)).await;
        for (nth, (step, expected)) in steps.iter().enumerate() {
            assert_eq!(told[nth]["status"], *expected, "{footing:?} step {nth}: {step} {}", told[nth]);
        }
        let seen = &told[12]["set"];
        assert_eq!(said(seen, "00741000"), "IN PROGRESS");
        assert!(seen.get("00081195").is_none(), "the lock is nobody's to see: {seen}");
        // Others: it is not there.
        let stranger =
            asked(&network, "UKL", json!([{ "do": "get", "uid": uid }, change(&uid, "IN PROGRESS", "1.2.9")])).await;
        assert_eq!((&stranger[0]["status"], &stranger[1]["status"]), (&json!(0xC307), &json!(0xC307)));
        let story = network.story(&case).await;
        assert!(story.contains("its reading was completed by CHEMNITZ (chemnitz)"), "{story}");
        network.at_rest().await;
    }
}

/// Who is subscribed is told over an association of ours, in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_workstation_of_others_is_told_what_becomes_of_its_task() {
    let port = free_port();
    let network = with_workstations(&[("CHE_WS1", port)]).await;
    let uid = offered(&network).await;
    let steps = json!([
        { "do": "listen", "port": port },
        subscribe(&uid, "CHE_WS1"),
        { "do": "heard", "count": 1 },
        change(&uid, "IN PROGRESS", "1.2.3"),
        { "do": "action", "type": 2, "uid": uid, "set": { "00741238": { "vr": "LT", "Value": ["wrong side"] } } },
        change(&uid, "CANCELED", "1.2.3"),
        { "do": "heard", "count": 4 },
    ]);
    let told = asked(&network, "CHE_WS1", steps).await;
    for nth in [1, 3, 4, 5] {
        assert_eq!(told[nth]["status"], 0x0000, "step {nth}: {told}");
    }
    let heard = told[6]["set"].as_array().expect("events");
    let heard: Vec<(u64, String)> = heard
        .iter()
        .map(|event| {
            assert_eq!(event["uid"], json!(uid));
            let what = if event["type"] == 1 { "00741000" } else { "00741236" };
            (event["type"].as_u64().expect("a type"), said(&event["set"], what))
        })
        .collect();
    let expected = [(1, "SCHEDULED"), (1, "IN PROGRESS"), (2, "CHE_WS1"), (1, "CANCELED")];
    assert_eq!(heard, expected.map(|(kind, text)| (kind, text.to_owned())));
    network.at_rest().await;
}

/// It takes the association and the event, and says nothing; another one is told everything while it is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_workstation_that_never_answers_holds_up_no_other() {
    let (mute, other) = (free_port(), free_port());
    let network = with_workstations(&[("CHE_WS1", mute), ("CHE_WS2", other)]).await;
    let uid = offered(&network).await;
    let steps = json!([
        { "do": "listen", "title": "CHE_WS1", "port": mute, "mute": true },
        { "do": "listen", "title": "CHE_WS2", "port": other },
        subscribe(&uid, "CHE_WS1"),
        { "do": "heard", "title": "CHE_WS1", "count": 1 },
        subscribe(&uid, "CHE_WS2"),
        change(&uid, "IN PROGRESS", "1.2.3"),
        change(&uid, "CANCELED", "1.2.3"),
        { "do": "heard", "title": "CHE_WS2", "count": 3 },
        { "do": "heard", "title": "CHE_WS1", "count": 1 },
    ]);
    let told = asked(&network, "CHE_WS1", steps).await;
    let states = |nth: usize| -> Vec<String> {
        let events = told[nth]["set"].as_array().expect("events");
        events.iter().map(|event| said(&event["set"], "00741000")).collect()
    };
    assert_eq!(states(7), ["SCHEDULED", "IN PROGRESS", "CANCELED"], "{told}");
    assert_eq!(states(8), ["SCHEDULED"], "it is still waited for, and not told the same again meanwhile: {told}");
    network.at_rest().await;
}

/// Chemnitz has these workstations; whom nobody answers, the node waits for longer than a scenario does.
async fn with_workstations(all: &[(&str, u16)]) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let at = wall("2026-11-24T23:10");
    Network::with_centers(Footing::Embedded, ALWAYS_CHEMNITZ, at, chemnitz, leipzig, |files| {
        set(files, "neisse.toml", "response", "\"60s\"");
        let places =
            all.iter().map(|(ae, port)| format!("{{ ae_title = \"{ae}\", host = \"127.0.0.1\", port = {port} }}"));
        let senders = all.iter().map(|(ae, _)| format!("{{ ae_title = \"{ae}\" }}, "));
        let places = places.collect::<Vec<_>>().join(", ");
        let wanted = format!("[dicom]\ndestinations = [{places}]\nsenders = [{}", senders.collect::<String>());
        let file = files.get_mut("partners/chemnitz.toml").expect("the center");
        *file = file.replacen("[dicom]\nsenders = [", &wanted, 1);
    })
    .await
}

/// A head CT has come; its task.
async fn offered(network: &Network) -> String {
    let (patient, _) = send_head_ct(network, 1, 2).await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    let keys = json!({ "00741000": { "vr": "CS", "Value": ["SCHEDULED"] }, "00080018": { "vr": "UI" } });
    let found = asked(network, "CHE_WS1", json!([{ "do": "find", "set": keys }])).await;
    said(&found[0]["set"][0], "00080018")
}
