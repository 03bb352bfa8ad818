//! What a reading gave is the output of its task (PS3.4 Table CC.2.5-3, Output Information Sequence): the report, whether it or the
//! workstation's COMPLETED comes first; of a corrected report the corrected one; and never a preliminary one after it.

use crate::support::{
    center::{About, Center, oru},
    dcmtk::StoreScp,
    eventually,
    faults::send_head_ct,
    free_port,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    readers::{Reader, performed, said},
};
use neisse::{cli::sample::SampleCase, model::CaseState};
use reqwest::{Method, StatusCode};
use serde_json::Value;

/// Encapsulated PDF Storage.
const PDF: &str = "1.2.840.10008.5.1.4.1.1.104.1";
/// Scheduled Procedure Step Modification Date Time.
const MODIFIED: &str = "00404010";

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_the_output_of_its_task_whichever_came_first() {
    for footing in BOTH {
        let pacs = StoreScp::start_with("RAB_PACS", free_port(), &["--fork"]).await;
        let network = network(footing, pacs.port).await;
        let chemnitz = Reader::of(&network, "chemnitz", "WS1").await;

        // The report, then the workstation.
        let (patient, uid) = claimed(&network, &chemnitz, 1).await;
        report(&network, &patient, "R1", "F").await;
        let task = chemnitz.task(&uid).await;
        assert_eq!(said(&task, "00741000"), "COMPLETED");
        let first = output(&task, &patient).expect("the report");
        let told = chemnitz.move_to(&uid, "COMPLETED", "1.2.3").await;
        assert_eq!(told.status, StatusCode::OK, "it is already: {told:?}");
        assert_eq!(output(&chemnitz.task(&uid).await, &patient).as_ref(), Some(&first));
        report(&network, &patient, "R2", "C").await;
        let corrected = chemnitz.task(&uid).await;
        let second = output(&corrected, &patient).expect("the corrected report");
        assert_ne!(second, first);
        assert!(said(&corrected, MODIFIED) > said(&task, MODIFIED), "{corrected}");
        report(&network, &patient, "R3", "P").await;
        assert_eq!(output(&chemnitz.task(&uid).await, &patient), Some(second), "no preliminary one after it");

        // The workstation, then the report.
        let (patient, uid) = claimed(&network, &chemnitz, 2).await;
        let path = format!("/workitems/{uid}");
        assert_eq!(chemnitz.ask(Method::POST, &path, Some(performed("1.2.3"))).await.status, StatusCode::OK);
        assert_eq!(chemnitz.move_to(&uid, "COMPLETED", "1.2.3").await.status, StatusCode::OK);
        let done = chemnitz.task(&uid).await;
        assert_eq!((said(&done, "00741000").as_str(), output(&done, &patient)), ("COMPLETED", None));
        report(&network, &patient, "R4", "F").await;
        let reported = chemnitz.task(&uid).await;
        let first = output(&reported, &patient).expect("the report");
        assert!(said(&reported, MODIFIED) > said(&done, MODIFIED), "{reported}");
        // What the performer has said of it stays.
        assert_eq!(said(&reported["00741216"]["Value"][0]["00404028"]["Value"][0], "00080100"), "WS1");
        report(&network, &patient, "R5", "C").await;
        assert_ne!(output(&chemnitz.task(&uid).await, &patient).expect("the corrected report"), first);
        network.at_rest().await;
    }
}

/// Rabenstein wants reports as PDF in its archive.
async fn network(footing: Footing, pacs: u16) -> Network {
    let centers = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), centers.0, centers.1, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        let deliver = format!(
            "[dicom]\ndeliver = {{ ae_title = \"RAB_PACS\", host = \"127.0.0.1\", port = {pacs}, associations = 1 }}\n"
        );
        *rabenstein =
            rabenstein.replace("[dicom]\n", &deliver).replace("forms = [\"oru\"]", "forms = [\"oru\", \"pdf\"]");
    })
    .await
}

/// A study whose task the workstation has claimed.
async fn claimed(network: &Network, reader: &Reader, number: u64) -> (SampleCase, String) {
    let (patient, _) = send_head_ct(network, number, 2).await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    let found = reader.tasks(&format!("StudyInstanceUID={}", patient.study())).await;
    let uid = said(&found[0], "00080018");
    assert_eq!(reader.move_to(&uid, "IN PROGRESS", "1.2.3").await.status, StatusCode::OK);
    (patient, uid)
}

async fn report(network: &Network, patient: &SampleCase, control_id: &str, status: &str) {
    let study = patient.study().to_string();
    let about =
        About { patient_id: &patient.patient_id, issuer: "RABENSTEIN", accession: &patient.accession, study: &study };
    let message = oru("KLCHEM", control_id, &about, status, "keine Blutung");
    assert_eq!(network.chemnitz.send_hl7(network.node().hl7, &message, control_id).await.code.as_str(), "AA");
    eventually("its versions are there", SOON, async || {
        let case = network.case(&patient.study(), "the case", |_| true).await;
        matches!(case.state, CaseState::Reported | CaseState::Preliminary)
    })
    .await;
}

/// The one document of its output.
fn output(task: &Value, patient: &SampleCase) -> Option<String> {
    let items = task["00741216"]["Value"][0]["00404033"]["Value"].as_array()?;
    if items.is_empty() {
        return None;
    }
    assert_eq!(items.len(), 1, "{task}");
    assert_eq!(said(&items[0], "0020000D"), patient.study().as_str());
    let references = items[0]["00081199"]["Value"].as_array().expect("references");
    assert_eq!((references.len(), said(&references[0], "00081150").as_str()), (1, PDF), "{task}");
    Some(said(&references[0], "00081155"))
}
