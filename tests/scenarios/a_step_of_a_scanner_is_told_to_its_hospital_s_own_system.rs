//! What a scanner says of its steps (MPPS) is sent on to the hospital's own system, played by pynetdicom: each step's in order, though
//! the system is away at first or cannot for a moment; once. What it refuses is told to the operator, and what follows a beginning
//! that it refused is left out. One that it breaks down at keeps no other from it. When the images leave the disk the steps leave the database.

use crate::support::{
    center::Center,
    eventually,
    hospital::{head_ct, send_study},
    ledger::Raw,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    network_side::NetworkSide,
};
use neisse::{cli::sample::SampleInstance, model::CaseState};
use serde_json::{Value, json};
use std::time::Duration;

/// A port where nobody listens yet.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

async fn network(footing: Footing, port: u16) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        let ris = format!("[dicom.mpps_to]\nae_title = \"RIS\"\nhost = \"127.0.0.1\"\nport = {port}\n\n[hl7]\n");
        *rabenstein = rabenstein.replacen("[hl7]\n", &ris, 1);
        let node = files.get_mut("neisse.toml").expect("the node");
        node.push_str("[retention]\nkeep = \"14d\"\nkeep_unreported = \"60d\"\n");
    })
    .await
}

async fn says(side: &NetworkSide, network: &Network, uid: &str, begins: bool, attributes: Value) {
    let port = network.dicom_port();
    let command = json!({ "do": "performed", "port": port, "calling": "RAB_CT1", "uid": uid, "begins": begins, "attributes": attributes });
    assert_eq!(side.ask(command).await, 0);
}

fn begun(study: &str) -> Value {
    json!({
        "SpecificCharacterSet": "ISO_IR 192",
        "ScheduledStepAttributesSequence": [{ "StudyInstanceUID": study, "AccessionNumber": "" }],
        "PatientName": "Müller^Jörg", "PatientID": "77", "PerformedProcedureStepID": "PPS1",
        "PerformedStationAETitle": "RAB_CT1", "PerformedProcedureStepStartDate": "20261124",
        "PerformedProcedureStepStartTime": "231500", "PerformedProcedureStepStatus": "IN PROGRESS", "Modality": "CT",
    })
}

fn ended(slices: &[SampleInstance]) -> Value {
    let reference = |slice: &SampleInstance| json!({ "ReferencedSOPClassUID": slice.sop_class, "ReferencedSOPInstanceUID": slice.sop_instance });
    json!({
        "PerformedProcedureStepStatus": "COMPLETED", "PerformedProcedureStepEndDate": "20261124",
        "PerformedProcedureStepEndTime": "232000",
        "PerformedSeriesSequence": [{
            "SeriesInstanceUID": "1.2.3.4", "ProtocolName": "Head",
            "ReferencedImageSequence": slices.iter().map(reference).collect::<Vec<_>>(),
        }],
    })
}

async fn told(side: &NetworkSide, ae_title: &str) -> Vec<Value> {
    side.ask(json!({ "do": "steps", "ae_title": ae_title })).await.as_array().expect("a list").clone()
}

fn kinds(told: &[Value], uid: &str) -> Vec<String> {
    let of = told.iter().filter(|said| said["uid"] == uid);
    of.map(|said| format!("{} {:04X}", said["kind"].as_str().unwrap_or("?"), said["status"].as_u64().unwrap_or(9)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_a_scanner_is_told_to_its_hospital_s_own_system() {
    for footing in BOTH {
        let side = NetworkSide::start().await;
        let port = free_port();
        let network = network(footing, port).await;
        let (patient, slices) = head_ct(1, 2);
        let study = patient.study().to_string();
        says(&side, &network, "1.2.9.1", true, begun(&study)).await;
        says(&side, &network, "1.2.9.1", false, json!({ "CommentsOnThePerformedProcedureStep": "goes on" })).await;
        send_study(network.node().dicom, &slices).await;
        says(&side, &network, "1.2.9.1", false, ended(&slices)).await;
        says(&side, &network, "1.2.9.2", true, begun("1.2.3.99")).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        // It is there again, and has no room for the very first that it is told; the second it does not want.
        let ask = json!({ "do": "ris", "ae_title": "RIS", "port": port, "statuses": [0x0213, 0x0106], "aborts": ["1.2.9.3"] });
        assert_eq!(side.ask(ask).await, port);
        network.clock.advance(Duration::from_secs(6));
        eventually("it is told of both", SOON, async || told(&side, "RIS").await.len() == 2).await;
        says(&side, &network, "1.2.9.2", false, ended(&slices)).await;
        network.clock.advance(Duration::from_secs(30));
        eventually("it is told all of the first", SOON, async || told(&side, "RIS").await.len() == 5).await;
        let all = told(&side, "RIS").await;
        assert_eq!(kinds(&all, "1.2.9.1"), ["create 0213", "create 0000", "set 0000", "set 0000"]);
        assert_eq!(kinds(&all, "1.2.9.2"), ["create 0106"], "it does not know the step");
        assert_eq!(all[0]["PatientName"], "Müller^Jörg");
        let last = all.last().expect("the end");
        assert_eq!(last["PerformedProcedureStepStatus"], "COMPLETED", "{last}");
        says(&side, &network, "1.2.9.3", true, begun("1.2.3.98")).await;
        says(&side, &network, "1.2.9.4", true, begun("1.2.3.98")).await;
        eventually("the other is told", SOON, async || told(&side, "RIS").await.len() == 6).await;
        assert_eq!(kinds(&told(&side, "RIS").await, "1.2.9.4"), ["create 0000"]);
        let raw = Raw::of(&network, footing).await;
        let notice = "SELECT reason FROM notices WHERE kind = 'performed'";
        eventually("a person is told", SOON, async || !raw.rows(notice).await.is_empty()).await;
        let reason = raw.ask(notice).await;
        assert_eq!(reason, "that a scanner began a step was refused by the hospital's own system (0106)");
        let id = raw.ask("SELECT id FROM performed_messages WHERE stopped <> ''").await;
        let said = network.cases_screen(&["dismiss", &id, "--why", "entered there by hand"]).await;
        assert!(said.contains("no longer waits for a person"), "{said}");
        let open = "SELECT id FROM notices WHERE kind = 'performed' AND resolved_us IS NULL";
        eventually("the notice ends", SOON, async || raw.rows(open).await.is_empty()).await;
        // What has been taken is owed no more; the steps themselves go with the images.
        let count = |table: &str| format!("SELECT CAST(COUNT(*) AS TEXT) FROM {table}");
        assert_eq!(raw.ask(&count("performed_messages")).await, "2", "what was given up, and what has no answer");
        assert_eq!(raw.ask("SELECT attributes FROM performed_messages WHERE stopped <> ''").await, "");
        network.case_in(&patient.study(), CaseState::Delivered).await;
        network.clock.advance(Duration::from_secs(61 * 86_400));
        for table in ["performed_steps", "performed_studies", "performed_messages"] {
            eventually("it is gone", SOON, async || raw.ask(&count(table)).await == "0").await;
        }
        network.at_rest().await;
    }
}
