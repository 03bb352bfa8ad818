//! A reader's own system (pynetdicom) is told when a study is whole and delivered: which instances are ONLINE, and where. It is away at
//! first, and the node is started anew; what it refuses is told to the operator; images that come later are told of at once, when no more
//! have come for a while.

use crate::support::{
    center::Center,
    eventually, free_port,
    hospital::{head_ct, send_study},
    ledger::Raw,
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON, wall},
    network_side::NetworkSide,
};
use neisse::model::CaseState;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

const QUIET: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_to_know_is_told_which_studies_are_available() {
    for footing in BOTH {
        let (side, port) = (NetworkSide::start().await, free_port());
        let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
        let at = wall("2026-11-24T23:10");
        let mut network = Network::with_centers(footing, ALWAYS_CHEMNITZ, at, chemnitz, leipzig, |files| {
            let file = files.get_mut("partners/chemnitz.toml").expect("a file");
            let place =
                format!("[dicom.availability_to]\nae_title = \"RIS\"\nhost = \"127.0.0.1\"\nport = {port}\n[hl7]\n");
            *file = file.replacen("[hl7]\n", &place, 1);
            let node = files.get_mut("neisse.toml").expect("a file");
            *node = node.replacen("quiet = \"1s\"", "quiet = \"60s\"", 1);
        })
        .await;
        let (patient, slices) = head_ct(41, 5);
        send_study(network.node().dicom, &slices[..3]).await;
        network.clock.advance(QUIET);
        network.case_in(&patient.study(), CaseState::Delivered).await;
        let raw = Raw::of(&network, footing).await;
        let owed = "SELECT CAST(COUNT(*) AS TEXT) FROM performed_messages";
        eventually("it is owed", SOON, async || raw.ask(owed).await == "1").await;
        network.restart().await;
        // Its first answer: no room.
        let ask = json!({ "do": "ris", "ae_title": "RIS", "port": port, "statuses": [0x0213] });
        assert_eq!(side.ask(ask).await, port);
        let told =
            async || side.ask(json!({ "do": "steps", "ae_title": "RIS" })).await.as_array().expect("a list").clone();
        eventually("it is told", SOON, async || {
            network.clock.advance(Duration::from_secs(300));
            told().await.len() == 2
        })
        .await;
        let said = told().await;
        assert_eq!((&said[0]["status"], &said[1]["status"]), (&json!(0x0213), &json!(0)));
        assert_eq!(said[0]["uid"], said[1]["uid"], "the same again");
        let sent: BTreeSet<&str> = slices[..3].iter().map(|slice| slice.sop_instance.as_str()).collect();
        assert_eq!(said[1]["StudyInstanceUID"], patient.study().as_str());
        assert_eq!(online(&said[1]), sent);
        assert_eq!(said[1]["PatientID"], Value::Null, "nothing of the patient");

        // Two more, one by one, which it refuses to hear of.
        side.ask(json!({ "do": "ris_answers", "ae_title": "RIS", "statuses": [0x0124] })).await;
        let noted = "SELECT CAST(instances * 10 + again * (1 - told) AS TEXT) FROM available_studies";
        for (slice, instances) in [(&slices[3..4], "41"), (&slices[4..], "51")] {
            send_study(network.node().dicom, slice).await;
            eventually("it is delivered", SOON, async || raw.ask(noted).await == instances).await;
            // The teller looks each second.
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            assert_eq!(told().await.len(), 2, "more may come");
        }
        network.clock.advance(QUIET);
        eventually("it is told of all", SOON, async || told().await.len() == 3).await;
        let said = told().await;
        assert_eq!(online(&said[2]), slices.iter().map(|slice| slice.sop_instance.as_str()).collect());
        let notice = "SELECT reason FROM notices WHERE kind = 'availability'";
        eventually("a person is told", SOON, async || !raw.rows(notice).await.is_empty()).await;
        let reason = "that a study is available was refused by the partner's own system (0124)";
        assert_eq!(raw.ask(notice).await, reason);
        network.at_rest().await;
    }
}

/// Instances that are told as ONLINE at this node.
fn online(said: &Value) -> BTreeSet<&str> {
    let series = said["ReferencedSeriesSequence"].as_array().expect("a sequence");
    let items = series.iter().flat_map(|series| series["ReferencedSOPSequence"].as_array().expect("a sequence"));
    items
        .map(|item| {
            assert_eq!((&item["InstanceAvailability"], &item["RetrieveAETitle"]), (&json!("ONLINE"), &json!("NEISSE")));
            item["ReferencedSOPInstanceUID"].as_str().expect("a UID")
        })
        .collect()
}
