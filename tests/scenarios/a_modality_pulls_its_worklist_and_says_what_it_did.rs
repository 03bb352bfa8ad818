//! A scanner of Rabenstein pulls its worklist with DCMTK and pynetdicom, sees the orders of its own hospital in its own
//! character set, makes the images under the UID it was given, and says what it did: the study is whole at once, and what is
//! done leaves the list. Another hospital's scanner sees and moves none of it.

use crate::support::{
    center::Center,
    dcmtk::{Target, findscu},
    eventually,
    hospital::{head_ct, send_study},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    network_side::NetworkSide,
    orders::{answered, orm},
};
use neisse::{
    cli::sample::{SampleCase, SampleInstance},
    model::CaseState,
};
use serde_json::{Value, json};
use std::time::Duration;

async fn network(footing: Footing) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
        let node = files.get_mut("neisse.toml").expect("the node");
        // Only what the scanner says can make a study whole.
        *node = node.replace("quiet = \"1s\"", "quiet = \"1h\"");
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
        let other = rabenstein
            .replace("Rabenstein", "Lichtenstein")
            .replace("\"RABENSTEIN\"", "\"LICHTENSTEIN\"")
            .replace("RAB_", "LIC_")
            .replace("DRKRAB", "DRKLIC");
        files.insert("partners/lichtenstein.toml".into(), other);
    })
    .await
}

/// A new order that says by OBR-24 which kind of scanner it is for.
fn ct(control_id: &str, placer: &str, patient: &SampleCase, zds: bool) -> String {
    orm(control_id, "NW", placer, patient, zds).replace("|||||||||^^^^^S", "||||||CT|||^^^^^S")
}

/// What a scanner asks for.
fn keys(name: &str) -> Value {
    json!({
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": name, "PatientID": "", "AccessionNumber": "", "StudyInstanceUID": "", "RequestedProcedureID": "",
        "RequestedProcedurePriority": "",
        "ScheduledProcedureStepSequence": [{
            "Modality": "CT", "ScheduledStationAETitle": "", "ScheduledProcedureStepStartDate": "20261124",
            "ScheduledProcedureStepStartTime": "", "ScheduledProcedureStepID": "", "ScheduledProcedureStepStatus": "",
        }],
    })
}

async fn listed(side: &NetworkSide, network: &Network, calling: &str, name: &str) -> Vec<Value> {
    let command = json!({ "do": "worklist", "port": network.dicom_port(), "calling": calling, "keys": keys(name) });
    let answer = side.ask(command).await;
    assert_eq!(answer["status"], 0, "{answer}");
    answer["items"].as_array().expect("a list").clone()
}

async fn says(
    side: &NetworkSide,
    network: &Network,
    calling: &str,
    uid: &str,
    begins: bool,
    attributes: Value,
) -> Value {
    let port = network.dicom_port();
    let command = json!({ "do": "performed", "port": port, "calling": calling, "uid": uid, "begins": begins, "attributes": attributes });
    side.ask(command).await
}

fn begun(item: &Value) -> Value {
    json!({
        "ScheduledStepAttributesSequence": [{
            "StudyInstanceUID": item["StudyInstanceUID"], "AccessionNumber": item["AccessionNumber"],
            "ScheduledProcedureStepID": item["step"]["ScheduledProcedureStepID"],
        }],
        "PatientName": "Doe^J", "PatientID": item["PatientID"], "PerformedProcedureStepID": "PPS1",
        "PerformedStationAETitle": "RAB_CT1", "PerformedProcedureStepStartDate": "20261124",
        "PerformedProcedureStepStartTime": "231500", "PerformedProcedureStepStatus": "IN PROGRESS", "Modality": "CT",
    })
}

fn ended(status: &str, slices: &[SampleInstance]) -> Value {
    let reference = |slice: &SampleInstance| json!({ "ReferencedSOPClassUID": slice.sop_class, "ReferencedSOPInstanceUID": slice.sop_instance });
    json!({
        "PerformedProcedureStepStatus": status, "PerformedProcedureStepEndDate": "20261124",
        "PerformedProcedureStepEndTime": "232000",
        "PerformedSeriesSequence": [{
            "SeriesInstanceUID": "1.2.3.4", "ProtocolName": "Head",
            "ReferencedImageSequence": slices.iter().map(reference).collect::<Vec<_>>(),
        }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modality_pulls_its_worklist_and_says_what_it_did() {
    let side = NetworkSide::start().await;
    for footing in BOTH {
        let network = network(footing).await;
        let hl7 = network.node().hl7;
        let (patient, slices) = head_ct(1, 3);
        let german = ct("M1", "P1", &patient, true);
        assert_eq!(answered(hl7, &german).await, "OK");
        // Names of two more alphabets, and an order that names no study.
        let (polish, _) = head_ct(2, 1);
        let other = ct("M2", "P2", &polish, false).replace("8859/1", "UNICODE UTF-8").replace("Doe^J", "Świątek^Łucja");
        assert_eq!(answered(hl7, &other).await, "OK");
        let (elsewhere, _) = head_ct(3, 1);
        let foreign = ct("M3", "P3", &elsewhere, true).replace("DRKRAB", "DRKLIC");
        assert_eq!(answered(hl7, &foreign).await, "OK");

        // DCMTK, with nothing but keys.
        let target = Target { calling: "RAB_CT1".into(), called: "NEISSE".into(), port: network.dicom_port() };
        let asked = ["-v", "-W", "-k", "0010,0010=DOE*", "-k", "0008,0050", "-k", "0040,0100[0].0008,0060=CT"];
        let found = findscu(&target, &asked).await;
        let text = String::from_utf8_lossy(&[found.stdout, found.stderr].concat()).into_owned();
        assert!(found.status.success() && text.contains(&patient.accession), "{text}");
        assert!(!text.contains(&elsewhere.accession), "another hospital's: {text}");

        let all = listed(&side, &network, "RAB_CT1", "").await;
        assert_eq!(all.len(), 2, "{all:?}");
        let first = &all[0];
        assert_eq!(first["StudyInstanceUID"], patient.study().to_string());
        assert_eq!(
            (&first["RequestedProcedureID"], &first["RequestedProcedurePriority"]),
            (&json!("P1"), &json!("STAT"))
        );
        assert_eq!(first["step"]["ScheduledStationAETitle"], "RAB_CT1", "whichever scanner asks");
        let second = &listed(&side, &network, "RAB_CT1", "swiatek*").await[0];
        assert_eq!((&second["PatientName"], &second["charset"]), (&json!("Świątek^Łucja"), &json!("ISO_IR 192")));
        let assigned = second["StudyInstanceUID"].as_str().expect("a UID");
        assert!(assigned.starts_with("2.25."), "{assigned}");
        assert_eq!(listed(&side, &network, "RAB_CT1", "swiatek*").await[0]["StudyInstanceUID"], assigned, "it stays");

        // It begins; another hospital's scanner cannot say anything of it.
        let rab = "RAB_CT1";
        assert_eq!(says(&side, &network, rab, "1.2.9.1", true, ended("COMPLETED", &slices)).await, 0x0120);
        assert_eq!(says(&side, &network, rab, "1.2.9.1", true, begun(first)).await, 0);
        assert_eq!(says(&side, &network, rab, "1.2.9.1", true, begun(first)).await, 0x0111);
        assert_eq!(says(&side, &network, "LIC_CT1", "1.2.9.1", false, ended("COMPLETED", &slices)).await, 0x0112);
        assert_eq!(listed(&side, &network, rab, "doe*").await[0]["step"]["ScheduledProcedureStepStatus"], "STARTED");
        send_study(network.node().dicom, &slices).await;
        let case = network.case(&patient.study(), "all there", |case| case.instances == 3).await;
        assert!(case.whole.is_none(), "nothing says so yet");
        assert_eq!(says(&side, &network, rab, "1.2.9.1", false, ended("COMPLETED", &slices)).await, 0);
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        let story = network.story(&case).await;
        assert!(story.contains("(all 3 its scanner says it made)"), "{story}");
        assert_eq!(says(&side, &network, rab, "1.2.9.1", false, ended("COMPLETED", &slices)).await, 0x0110);
        eventually("done leaves the list", SOON, async || listed(&side, &network, rab, "doe*").await.is_empty()).await;
        assert_eq!(listed(&side, &network, rab, "").await.len(), 1);
        assert_eq!(listed(&side, &network, "LIC_CT1", "").await.len(), 1);
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_told_of_images_that_do_not_come_and_of_what_was_broken_off() {
    let side = NetworkSide::start().await;
    for footing in BOTH {
        let network = network(footing).await;
        for (number, status, told) in [
            (1, "COMPLETED", "its scanner says it made 3 images, 1 of them have not come: ask the sender"),
            (2, "DISCONTINUED", "its scanner says that the examination was broken off"),
        ] {
            let (patient, slices) = head_ct(number, 3);
            let uid = format!("1.2.9.{number}");
            let unscheduled =
                json!({ "StudyInstanceUID": patient.study().to_string(), "step": {}, "AccessionNumber": "" });
            assert_eq!(says(&side, &network, "RAB_CT1", &uid, true, begun(&unscheduled)).await, 0);
            send_study(network.node().dicom, &slices[1..]).await;
            let case = network.case(&patient.study(), "two of three", |case| case.instances == 2).await;
            assert_eq!(says(&side, &network, "RAB_CT1", &uid, false, ended(status, &slices)).await, 0);
            assert!(!case.attention.contains("its scanner"), "{}", case.attention);
            if status == "COMPLETED" {
                network.clock.advance(Duration::from_secs(3601));
            }
            network.case(&patient.study(), told, |case| case.attention.contains(told)).await;
        }
        network.at_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_names_no_image_waits_and_one_of_two_studies_completes_both() {
    let side = NetworkSide::start().await;
    let rab = "RAB_CT1";
    for footing in BOTH {
        let network = network(footing).await;
        let unscheduled = |study: String| json!({ "StudyInstanceUID": study, "step": {}, "AccessionNumber": "" });
        // Some scanners name no image: the first that comes is not all.
        let (silent, slices) = head_ct(4, 3);
        let begin = begun(&unscheduled(silent.study().to_string()));
        assert_eq!(says(&side, &network, rab, "1.2.9.4", true, begin).await, 0);
        assert_eq!(says(&side, &network, rab, "1.2.9.4", false, ended("COMPLETED", &[])).await, 0);
        send_study(network.node().dicom, &slices[..1]).await;
        network.case(&silent.study(), "one of three", |case| case.instances == 1).await;

        let ((one, of_one), (other, of_other)) = (head_ct(5, 2), head_ct(6, 2));
        let mut begin = begun(&unscheduled(one.study().to_string()));
        let second = begun(&unscheduled(other.study().to_string()));
        let items = begin["ScheduledStepAttributesSequence"].as_array_mut().expect("items");
        items.extend(second["ScheduledStepAttributesSequence"].as_array().expect("items").clone());
        assert_eq!(says(&side, &network, rab, "1.2.9.5", true, begin).await, 0);
        send_study(network.node().dicom, &of_one).await;
        let both = [of_one, of_other.clone()].concat();
        assert_eq!(says(&side, &network, rab, "1.2.9.5", false, ended("COMPLETED", &both)).await, 0);
        send_study(network.node().dicom, &of_other).await;
        for patient in [&one, &other] {
            let case = network.case_in(&patient.study(), CaseState::Delivered).await;
            let story = network.story(&case).await;
            assert!(story.contains("(all 4 its scanner says it made)"), "{story}");
            assert!(case.attention.is_empty(), "{}", case.attention);
        }
        let case = network.case(&silent.study(), "still one", |case| case.instances == 1).await;
        assert!(case.whole.is_none(), "the quiet time decides");
        send_study(network.node().dicom, &slices[1..]).await;
        network.case(&silent.study(), "three", |case| case.instances == 3).await;
        network.clock.advance(Duration::from_secs(3601));
        network.case_in(&silent.study(), CaseState::Delivered).await;
        network.at_rest().await;
    }
}
