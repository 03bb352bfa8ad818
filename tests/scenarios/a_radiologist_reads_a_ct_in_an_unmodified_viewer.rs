//! From the scanner's worklist to the completed task, with programs of other people only, but for the order itself: DCMTK pulls
//! the worklist and sends the CT of the sample set, a radiologist's workstation (pynetdicom) claims the task, the slices
//! are scrolled through with the published OHIF viewer in a browser, straight from this node, each as the phantom has it; the
//! workstation completes the task, and DCMTK stores the report, an SR. A viewer without a token, or with another center's, shows
//! nothing. On the second footing the browser stays closed.

use crate::support::{
    blocking,
    center::{About, Center},
    data_set::{Part10, text},
    dcmtk::{Target, files_in, findscu, storescu},
    eventually, handed_over,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    orders::{answered, orm},
    readers::{Reader, performed, said},
    reports::{folder, send_files, sr_as_xml, xml2dsr},
    workstation::{asked, change},
};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use neisse::{
    cli::sample::SampleCase,
    model::{CaseState, Uid},
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const KEPT: &str = "target/tmp/viewer";
/// As `tests/support/browser/look.mjs` lays its grid: fields in a row.
const FIELDS: usize = 32;
/// Gray levels, of 255, by which the fields of a picture may differ from the phantom's on average: it is drawn larger than it is.
const DRAWN: f64 = 3.0;
/// A bright pixel is bone or brain; without an image there is none.
const IMAGE: u64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_radiologist_reads_a_ct_in_an_unmodified_viewer() {
    let files = files_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sample-dicom/head-ct"));
    let patient = SampleCase::numbered(1);
    let study = text(&files[0], tags::STUDY_INSTANCE_UID);
    let identifiers = [tags::PATIENT_ID, tags::ACCESSION_NUMBER].map(|tag| text(&files[0], tag));
    assert_eq!(identifiers, [patient.patient_id.clone(), patient.accession.clone()]);
    for footing in BOTH {
        let network = network(footing).await;
        scanned(&network, &files, &patient, &study).await;

        // The workstation finds and claims the task.
        let keys = json!({
            "00741000": { "vr": "CS", "Value": ["SCHEDULED"] }, "00404041": { "vr": "CS", "Value": ["READY"] },
            "00080018": { "vr": "UI" }, "0020000D": { "vr": "UI" },
        });
        let mut found = Value::Null;
        eventually("a task that is ready", SOON, async || {
            found = asked(&network, "CHEMNITZ", json!([{ "do": "find", "set": keys }])).await[0]["set"].take();
            found.as_array().is_some_and(|found| found.len() == 1)
        })
        .await;
        let task = said(&found[0], "00080018");
        assert_eq!(said(&found[0], "0020000D"), study);
        let claimed = asked(&network, "CHEMNITZ", json!([change(&task, "IN PROGRESS", "1.2.3")])).await;
        assert_eq!(claimed[0]["status"], 0, "{claimed}");

        if footing == Footing::Embedded {
            the_slices_are_looked_at(&network, &study, &files).await;
            nobody_else_sees_any(&network, &study).await;
        }

        // The end of the task, and the report.
        let steps = json!([
            { "do": "set", "uid": task, "set": performed("1.2.3") },
            change(&task, "COMPLETED", "1.2.3"),
            { "do": "get", "uid": task },
        ]);
        let told = asked(&network, "CHEMNITZ", steps).await;
        assert_eq!([&told[0]["status"], &told[1]["status"]], [0, 0], "{told}");
        assert_eq!(said(&told[2]["set"], "00741000"), "COMPLETED");
        let (patient_id, accession) = (&patient.patient_id, &patient.accession);
        let about = About { patient_id, issuer: "RABENSTEIN", accession, study: &study };
        let folder = folder();
        let report = xml2dsr(folder.path(), &sr_as_xml(&about, "Keine Blutung, kein Infarkt.")).await;
        send_files("CHEMNITZ", network.dicom_port(), &[report]).await;
        network.case_in(&Uid::new(&study).expect("a UID"), CaseState::Reported).await;
        eventually("the report is at the hospital", SOON, async || network.hospital.reports().len() == 1).await;
        let arrived = String::from_utf8_lossy(&network.hospital.reports()[0]).into_owned();
        assert!(arrived.contains("Keine Blutung, kein Infarkt."), "{arrived}");
        network.at_rest().await;
    }
}

/// The scanner: what is to be done, then the images.
async fn scanned(network: &Network, files: &[PathBuf], patient: &SampleCase, study: &str) {
    let order = orm("M1", "NW", "P1", patient, true).replace("|||||||||^^^^^S", "||||||CT|||^^^^^S");
    let order = order.replace(patient.study().as_str(), study);
    assert_eq!(answered(network.node().hl7, &order).await, "OK");
    let target = Target { calling: "RAB_CT1".into(), called: "NEISSE".into(), port: network.dicom_port() };
    let keys = ["-v", "-W", "-k", "0020,000D", "-k", "0040,0100[0].0008,0060=CT"];
    let listed = findscu(&target, &keys).await;
    let listed = String::from_utf8_lossy(&[listed.stdout, listed.stderr].concat()).into_owned();
    assert!(listed.contains(study), "{listed}");
    assert!(storescu(&target, &["-xe", "-R"], files).await.status.success());
}

/// The radiologist: every picture is a slice of the phantom, and each notch shows the next.
async fn the_slices_are_looked_at(network: &Network, study: &str, files: &[PathBuf]) {
    let reader = Reader::of(network, "chemnitz", "WS1").await;
    let seen = look(network, &reader.token, study, &kept(), "an image").await;
    let unloaded = requested(&seen, |status, path| status >= 400 && path.starts_with("/dicom-web"));
    assert!(unloaded.is_empty(), "{unloaded:?}");
    let frames = requested(&seen, |status, path| status == 200 && path.contains("/frames/"));
    assert!(frames.len() >= 12, "{} frames were loaded: {seen}", frames.len());

    let phantom: Vec<Vec<f64>> = files.iter().map(|file| fields(&Part10::open(file))).collect();
    let shown = seen["shown"].as_array().expect("pictures");
    let mut slices = Vec::new();
    for (notch, picture) in shown.iter().enumerate() {
        assert!(picture["bright"].as_u64() > Some(IMAGE), "an image is shown after notch {notch}");
        let grid: Vec<f64> = picture["grid"].as_array().expect("a grid").iter().filter_map(Value::as_f64).collect();
        let apart =
            |slice: &[f64]| slice.iter().zip(&grid).map(|(a, b)| (a - b).abs()).sum::<f64>() / grid.len() as f64;
        let by_slice: Vec<f64> = phantom.iter().map(|slice| apart(slice)).collect();
        let nearest = (0..by_slice.len()).min_by(|a, b| by_slice[*a].total_cmp(&by_slice[*b])).expect("slices");
        assert!(by_slice[nearest] < DRAWN, "notch {notch}: no slice of the phantom: {by_slice:?}");
        slices.push(nearest);
    }
    assert_eq!(slices.len(), 13, "the first and twelve notches");
    // OHIF begins at the top of the head.
    assert!(slices.windows(2).all(|pair| pair[0] == pair[1] + 1), "each notch shows the next slice: {slices:?}");
}

/// Whoever may not see the study sees none of it.
async fn nobody_else_sees_any(network: &Network, study: &str) {
    let others = Reader::of(network, "leipzig-ukl", "WS2").await;
    for token in [others.token.as_str(), "nse_0123456789abcdef_none"] {
        let seen = look(network, token, study, &kept().join("refused"), "nothing").await;
        assert!(requested(&seen, |status, path| status == 200 && path.contains("/frames/")).is_empty(), "{seen}");
        assert!(!requested(&seen, |_, path| path.starts_with("/dicom-web")).is_empty(), "it asked: {seen}");
        assert_eq!((&seen["bright"], &seen["shown"]), (&json!(0), &json!([])), "{seen}");
    }
}

/// The mean gray of each field of a slice, with the window of its header (PS3.3 C.11.2.1.2.1).
fn fields(slice: &Part10) -> Vec<f64> {
    let object = slice.object();
    let number = |tag: Tag| object.element(tag).expect("an element").to_float64().expect("a number");
    let (center, width) = (number(tags::WINDOW_CENTER), number(tags::WINDOW_WIDTH));
    let (slope, intercept) = (number(tags::RESCALE_SLOPE), number(tags::RESCALE_INTERCEPT));
    let gray = |stored: u16| {
        let value = f64::from(stored) * slope + intercept;
        (((value - (center - 0.5)) / (width - 1.0) + 0.5) * 255.0).clamp(0.0, 255.0)
    };
    let edge = object.element(tags::ROWS).expect("rows").to_int::<usize>().expect("a number");
    let pixels = object.element(tags::PIXEL_DATA).expect("pixels").to_multi_int::<u16>().expect("words");
    let (field, mut sums) = (edge / FIELDS, vec![0.0; FIELDS * FIELDS]);
    for (at, stored) in pixels.into_iter().enumerate() {
        sums[at / edge / field * FIELDS + at % edge / field] += gray(stored);
    }
    sums.into_iter().map(|sum| sum / (field * field) as f64).collect()
}

async fn network(footing: Footing) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), chemnitz, leipzig, |files| {
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
fn requested(seen: &Value, so: impl Fn(u64, &str) -> bool) -> Vec<String> {
    let all = seen["asked"].as_array().expect("a list");
    let pair = |one: &Value| Some((one[0].as_u64()?, one[1].as_str()?.to_owned()));
    all.iter().filter_map(pair).filter(|(status, path)| so(*status, path)).map(|(_, path)| path).collect()
}
