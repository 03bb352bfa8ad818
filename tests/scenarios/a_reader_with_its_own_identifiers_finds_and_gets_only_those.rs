//! Chemnitz wants identifiers of its own domain. It searches by them and not by the hospital's, is answered in them, and what
//! it fetches by C-GET, C-MOVE and WADO-RS has them in its header, as what was delivered. No number of the hospital's reaches it.

use crate::support::{
    center::{Arrived, Center},
    hospital::{Scanner, head_ct},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, wall},
    network_side::NetworkSide,
    readers::{Reader, said},
};
use neisse::{
    cli::sample::{SampleCase, SampleInstance},
    model::CaseState,
};
use reqwest::{Method, StatusCode};
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
    over_the_web(&network, &patient, &slices, &delivered, &theirs).await;
    network.at_rest().await;
}

/// WADO-RS: files as they were delivered, their headers as JSON, and the frames as they were received.
async fn over_the_web(
    network: &Network,
    patient: &SampleCase,
    slices: &[SampleInstance],
    delivered: &[Arrived],
    theirs: &str,
) {
    const FILES: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
    const FRAMES: &str = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*";
    let reader = Reader::of(network, "chemnitz", "WS1").await;
    let hospital = Reader::of(network, "rabenstein", "PACS").await;
    let study = format!("/dicom-web/studies/{}", patient.study());
    let holds = |all: &[u8], part: &[u8]| all.windows(part.len()).any(|window| window == part);
    let (status, files) = reader.get(&study, FILES).await;
    assert_eq!(status, StatusCode::OK);
    assert!(delivered.iter().all(|arrival| holds(&files, &arrival.data_set)), "the same bytes as were delivered");
    let (_, own) = hospital.get(&study, FILES).await;
    assert!(slices.iter().all(|slice| holds(&own, &slice.data_set)), "and the hospital's as it sent them");
    let metadata = reader.ask(Method::GET, &format!("{study}/metadata"), None).await;
    let objects = metadata.body.as_array().expect("a list");
    assert_eq!(objects.len(), slices.len());
    for object in objects {
        assert_eq!((said(object, "00100020"), said(object, "00100021")), (theirs.to_owned(), "CHEMNITZ".to_owned()));
        let (series, instance) = (said(object, "0020000E"), said(object, "00080018"));
        let frame = format!("{study}/series/{series}/instances/{instance}/frames/1");
        let ((status, theirs), (_, ours)) = (reader.get(&frame, FRAMES).await, hospital.get(&frame, FRAMES).await);
        assert_eq!(status, StatusCode::OK);
        let pixels = pixels(&ours);
        assert!(pixels.len() > 1_000, "{} bytes", pixels.len());
        assert!(holds(&theirs, pixels), "the same pixels");
        let picture = format!("{study}/series/{series}/instances/{instance}/rendered");
        assert_eq!(reader.get(&picture, "image/png").await, hospital.get(&picture, "image/png").await);
    }
}

/// The one part of an answer.
fn pixels(answer: &[u8]) -> &[u8] {
    let begin = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a part") + 4;
    let end = answer.windows(4).rposition(|window| window == b"\r\n--").expect("an end");
    &answer[begin..end]
}
