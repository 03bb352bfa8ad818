//! From the scanner's worklist to the completed task, with programs of other people only: DCMTK pulls the worklist and sends the
//! CT of the sample set, a radiologist claims the task, scrolls through the slices with the published OHIF viewer in a
//! browser, straight from this node, and reports; the task is completed. A viewer without a token, or with another
//! center's, shows nothing.

use crate::support::{
    blocking,
    center::{About, Center, oru},
    data_set::text,
    dcmtk::{Target, files_in, findscu, storescu},
    eventually, handed_over,
    network::{ALWAYS_CHEMNITZ, Footing, Network, SOON, wall},
    orders::{answered, orm},
    readers::{Reader, performed, said},
};
use dicom_dictionary_std::tags;
use neisse::{
    cli::sample::SampleCase,
    model::{CaseState, Uid},
};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::path::{Path, PathBuf};

const KEPT: &str = "target/tmp/viewer";

#[tokio::test(flavor = "multi_thread")]
async fn a_radiologist_reads_a_ct_in_an_unmodified_viewer() {
    let network = network().await;
    let files = files_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-dicom/head-ct"));
    let patient = SampleCase::numbered(1);
    let of_set = |tag| text(&files[0], tag);
    let study = of_set(tags::STUDY_INSTANCE_UID);
    assert_eq!(
        (of_set(tags::PATIENT_ID), of_set(tags::ACCESSION_NUMBER)),
        (patient.patient_id.clone(), patient.accession.clone())
    );

    // The scanner: what is to be done, then the images.
    let order = orm("M1", "NW", "P1", &patient, true).replace("|||||||||^^^^^S", "||||||CT|||^^^^^S");
    let order = order.replace(patient.study().as_str(), &study);
    assert_eq!(answered(network.node().hl7, &order).await, "OK");
    let target = Target { calling: "RAB_CT1".into(), called: "NEISSE".into(), port: network.dicom_port() };
    let keys = ["-v", "-W", "-k", "0020,000D", "-k", "0040,0100[0].0008,0060=CT"];
    let listed = findscu(&target, &keys).await;
    let listed = String::from_utf8_lossy(&[listed.stdout, listed.stderr].concat()).into_owned();
    assert!(listed.contains(&study), "{listed}");
    assert!(storescu(&target, &["-xe", "-R"], &files).await.status.success());

    // The radiologist.
    let reader = Reader::of(&network, "chemnitz", "WS1").await;
    let mut found = Vec::new();
    eventually("a task that is ready", SOON, async || {
        found = reader.tasks("ProcedureStepState=SCHEDULED&InputReadinessState=READY&includefield=all").await;
        !found.is_empty()
    })
    .await;
    let task = said(&found[0], "00080018");
    assert_eq!(said(&found[0], "0020000D"), study);
    assert_eq!(reader.move_to(&task, "IN PROGRESS", "1.2.3").await.status, StatusCode::OK);

    let folder = kept();
    let seen = look(&network, &reader.token, &study, &folder, "an image").await;
    let unloaded = asked(&seen, |status, path| status >= 400 && path.starts_with("/dicom-web"));
    assert!(unloaded.is_empty(), "{unloaded:?}");
    let frames = asked(&seen, |status, path| status == 200 && path.contains("/frames/"));
    assert!(frames.len() >= 12, "{} frames were loaded: {seen}", frames.len());
    assert!(seen["bright"].as_u64() > Some(1000), "an image is shown: {seen}");
    assert!(seen["pictures"].as_u64() >= Some(6), "scrolling shows other slices: {seen}");

    // Whoever may not see the study sees none of it.
    let others = Reader::of(&network, "leipzig-ukl", "WS2").await;
    for token in [others.token.as_str(), "nse_0123456789abcdef_none"] {
        let seen = look(&network, token, &study, &folder.join("refused"), "nothing").await;
        assert!(asked(&seen, |status, path| status == 200 && path.contains("/frames/")).is_empty(), "{seen}");
        assert!(!asked(&seen, |_, path| path.starts_with("/dicom-web")).is_empty(), "it asked: {seen}");
        assert_eq!(seen["bright"], 0, "{seen}");
    }

    // The report, and the end of the task.
    let about =
        About { patient_id: &patient.patient_id, issuer: "RABENSTEIN", accession: &patient.accession, study: &study };
    let message = oru("KLCHEM", "R1", &about, "F", "keine Blutung");
    assert_eq!(network.chemnitz.send_hl7(network.node().hl7, &message, "R1").await.code.as_str(), "AA");
    let path = format!("/workitems/{task}");
    let told = reader.ask(Method::POST, &path, Some(performed("1.2.3"))).await.status;
    let completed = said(&reader.task(&task).await, "00741000") == "COMPLETED";
    assert!(told == StatusCode::OK || completed, "the report may have completed it: {told}");
    if !completed {
        assert_eq!(reader.move_to(&task, "COMPLETED", "1.2.3").await.status, StatusCode::OK);
    }
    assert_eq!(said(&reader.task(&task).await, "00741000"), "COMPLETED");
    network.case_in(&Uid::new(&study).expect("a UID"), CaseState::Reported).await;
    eventually("the report is at the hospital", SOON, async || network.hospital.reports().len() == 1).await;
    network.at_rest().await;
}

async fn network() -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(Footing::Embedded, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
        let viewer = Path::new(&handed_over("NEISSE_TEST_BROWSER")).join("viewer");
        let node = files.get_mut("neisse.toml").expect("the node");
        let listen = "[http]\nlisten = \"127.0.0.1:0\"\n";
        *node = node.replace(listen, &format!("{listen}viewer = \"{}\"\n", viewer.display()));
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
    })
    .await
}

/// Where the pictures stay, for people to look at.
fn kept() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(KEPT);
    std::fs::create_dir_all(folder.join("refused")).expect("a folder for pictures");
    folder
}

/// Opens the study in the viewer; what `tests/support/browser/look.mjs` tells of it.
async fn look(network: &Network, token: &str, study: &str, folder: &Path, awaited: &'static str) -> Value {
    let url = format!("http://{}/viewer?StudyInstanceUIDs={study}&token={token}", network.node().http);
    let browser = PathBuf::from(handed_over("NEISSE_TEST_BROWSER"));
    let folder = folder.to_owned();
    let output = blocking(move || {
        std::process::Command::new("node").arg(browser.join("look.mjs")).arg(url).arg(folder).arg(awaited).output()
    })
    .await
    .expect("node");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    told.trim().parse().unwrap_or_else(|_| panic!("{told} {}", String::from_utf8_lossy(&output.stderr)))
}

/// Requests that the browser made and that are `so`.
fn asked(seen: &Value, so: impl Fn(u64, &str) -> bool) -> Vec<String> {
    let all = seen["asked"].as_array().expect("a list");
    let pair = |one: &Value| Some((one[0].as_u64()?, one[1].as_str()?.to_owned()));
    all.iter().filter_map(pair).filter(|(status, path)| so(*status, path)).map(|(_, path)| path).collect()
}
