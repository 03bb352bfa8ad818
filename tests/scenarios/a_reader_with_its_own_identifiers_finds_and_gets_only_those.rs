//! Chemnitz wants identifiers of its own domain. It searches by them and not by the hospital's, is answered in them, and what
//! it fetches by C-GET and C-MOVE has them in its header, as what was delivered. No number of the hospital's reaches it.

use crate::support::{
    center::Center,
    hospital::{Scanner, head_ct},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, wall},
    network_side::NetworkSide,
};
use neisse::model::CaseState;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_with_its_own_identifiers_finds_and_gets_only_those() {
    let side = NetworkSide::start().await;
    for footing in BOTH {
        it_knows_only_its_own(footing, &side).await;
    }
}

async fn it_knows_only_its_own(footing: Footing, side: &NetworkSide) {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let at = wall("2026-11-24T23:10");
    let network = Network::with_centers(footing, ALWAYS_CHEMNITZ, at, chemnitz, leipzig, |files| {
        let chemnitz = files.get_mut("partners/chemnitz.toml").expect("a file");
        chemnitz.push_str("[identity]\nidentifiers = \"prefix\"\n");
    })
    .await;
    let (patient, slices) = head_ct(7, 2);
    let mut scanner = Scanner::connect_as("RAB_CT1", network.node().dicom, &slices[0]).await;
    for slice in &slices {
        assert_eq!(scanner.send(slice).await, 0);
    }
    scanner.release().await;
    network.case_in(&patient.study(), CaseState::Delivered).await;
    let port = network.dicom_port();
    let find = async |calling: &str, key: &str, value: &str| -> Value {
        let mut keys = json!({ "QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", "PatientID": "", "AccessionNumber": "",
                               "IssuerOfPatientID": "", "StudyID": "" });
        keys[key] = json!(value);
        side.ask(json!({ "do": "find", "port": port, "calling": calling, "keys": keys })).await
    };
    let theirs = format!("RABENSTEIN-{}", patient.patient_id);
    let found = find("CHEMNITZ", "PatientID", &theirs).await;
    assert_eq!(found["matches"].as_array().map(Vec::len), Some(1), "{found}");
    let found = &found["matches"][0];
    assert_eq!((&found["PatientID"], &found["IssuerOfPatientID"]), (&json!(theirs), &json!("CHEMNITZ")));
    let accession = found["AccessionNumber"].as_str().expect("a number").to_owned();
    assert_ne!(accession, patient.accession);
    assert_eq!(find("CHEMNITZ", "AccessionNumber", &accession).await["matches"].as_array().map(Vec::len), Some(1));
    for (key, value) in
        [("PatientID", patient.patient_id.as_str()), ("AccessionNumber", &patient.accession), ("PatientID", "SYN*")]
    {
        let found = find("CHEMNITZ", key, value).await;
        assert_eq!(found["matches"], json!([]), "{key} is the hospital's: {found}");
        assert_eq!(find("RAB_CT1", key, value).await["matches"].as_array().map(Vec::len), Some(1), "{key}");
    }
    assert_eq!(find("RAB_CT1", "PatientID", &theirs).await["matches"], json!([]), "and this is not the hospital's");

    let keys = json!({ "QueryRetrieveLevel": "STUDY", "StudyInstanceUID": patient.study().as_str() });
    let retrieve = async |calling: &str, to: Option<&str>| -> Value {
        side.ask(json!({ "do": "retrieve", "port": port, "calling": calling, "keys": keys, "to": to })).await
    };
    let got = retrieve("CHEMNITZ", None).await;
    let own = retrieve("RAB_CT1", None).await;
    assert_eq!((&got["status"], &got["completed"]), (&json!(0), &json!(2)), "{got}");
    for (theirs_, ours) in got["got"].as_array().expect("a list").iter().zip(own["got"].as_array().expect("a list")) {
        assert_eq!((&theirs_["PatientID"], &theirs_["AccessionNumber"]), (&json!(theirs), &json!(accession)));
        assert_eq!(
            (&ours["PatientID"], &ours["AccessionNumber"]),
            (&json!(patient.patient_id), &json!(patient.accession))
        );
        assert_eq!(theirs_["pixels"], ours["pixels"]);
    }
    let delivered = network.chemnitz.arrivals();
    assert_eq!(retrieve("CHEMNITZ", Some("CHEMNITZ")).await["completed"], 2);
    network.chemnitz.arrivals_of(delivered.len() + 2).await;
    let all = network.chemnitz.arrivals();
    for moved in &all[delivered.len()..] {
        let same = delivered.iter().find(|one| one.offer.sop_instance == moved.offer.sop_instance).expect("delivered");
        assert_eq!(moved.data_set, same.data_set, "the same bytes as were delivered");
    }
    network.at_rest().await;
}
