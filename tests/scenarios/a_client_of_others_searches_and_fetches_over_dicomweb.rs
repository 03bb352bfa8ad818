//! `dicomweb-client`, unmodified, on the reading center's side: it finds studies, series and instances (QIDO-RS), page by page and
//! by names that are nearly right, and fetches them (WADO-RS) whole, as headers, as frames, as bulk data and as pictures. For a
//! center that reads none of them they are what never was.

use crate::support::{
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON, wall},
    network_side::{NetworkSide, store},
};
use neisse::{cli::sample::SampleCase, model::Uid};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
/// Multi-frame Grayscale Byte Secondary Capture.
const FRAMES: &str = "1.2.840.10008.5.1.4.1.1.7.2";
const NEVER: &str = "2.25.404";
/// Patients, each with a study; what their images are gray of.
const PATIENTS: [(&str, u8); 3] = [("Müller^Jürgen", 40), ("Świątek^Łucja", 90), ("Schmidt-Müller^Anna^Maria", 140)];

/// Names that are asked for, who is found when it may be nearly right, and who is found otherwise.
const NAMES: [(&str, &[usize], &[usize]); 9] = [
    ("muller", &[0, 2], &[]),
    ("Müller", &[0, 2], &[]),
    ("Jürgen Müller", &[0], &[]),
    ("SWIATEK lucja", &[1], &[]),
    ("Łucja Świątek", &[1], &[]),
    ("maria anna", &[2], &[]),
    ("uller", &[], &[]),
    ("Müller^Jürgen", &[0], &[0]),
    ("swi*", &[1], &[1]),
];

struct Scene<'a> {
    network: Network,
    side: &'a NetworkSide,
    /// Of chemnitz, which reads them all, and of leipzig-ukl, which reads none.
    tokens: [String; 2],
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_others_searches_and_fetches_over_dicomweb() {
    // It has been installed before where another scenario was first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let side = NetworkSide::start().await;
    for footing in BOTH {
        let network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        let mut tokens = [String::new(), String::new()];
        for (token, partner) in tokens.iter_mut().zip(["chemnitz", "leipzig-ukl"]) {
            let made = network.screen("token", &["create", "--partner", partner, "--name", "WEB"]).await;
            *token = made.trim().to_owned();
        }
        let scene = Scene { network, side: &side, tokens };
        scene.images_come().await;
        scene.studies_series_and_instances_are_found().await;
        scene.names_are_nearly_right().await;
        scene.pages_follow_each_other().await;
        scene.everything_is_fetched().await;
        scene.for_others_it_never_was().await;
        scene.network.at_rest().await;
    }
}

impl Scene<'_> {
    /// Each patient has three slices of CT in a series, and three frames of one instance in another.
    async fn images_come(&self) {
        let mut files = Vec::new();
        for (patient, (name, gray)) in PATIENTS.into_iter().enumerate() {
            for number in 1..=4 {
                let (class, series, frames) = if number == 4 { (FRAMES, 2, 3) } else { (CT, 1, 1) };
                let file = format!("{patient}-{number}.dcm");
                let image = json!({
                    "do": "image", "file": file, "gray": gray,
                    "elements": {
                        "SpecificCharacterSet": "ISO_IR 192", "SOPClassUID": class, "StudyInstanceUID": study(patient),
                        "SeriesInstanceUID": format!("{}.{series}", study(patient)),
                        "SOPInstanceUID": instance(patient, number), "Modality": if series == 1 { "CT" } else { "OT" },
                        "PatientName": name, "PatientID": format!("SYN-{patient}"), "PatientSex": "O",
                        "AccessionNumber": format!("ACC{patient}"), "StudyDate": "20261124", "StudyTime": "230000",
                        "StudyDescription": "CT Kopf", "StudyID": "1", "SeriesNumber": series, "InstanceNumber": number,
                        "NumberOfFrames": frames,
                    },
                });
                self.side.ask(image).await;
                files.push(self.side.folder.path().join(file).to_string_lossy().into_owned());
            }
        }
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let statuses = self.side.ask(store(self.network.node().dicom, "RAB_CT1", &files)).await;
        assert_eq!(statuses, json!(vec![0; files.len()]));
        for patient in 0..PATIENTS.len() {
            let study = Uid::new(&study(patient)).expect("a UID");
            self.network.case(&study, "all four are there", |case| case.instances == 4 && case.reader.is_some()).await;
        }
        crate::support::eventually("all are found", SOON, async || {
            self.ask("search_for_instances", json!({})).await.as_array().is_some_and(|found| found.len() == 12)
        })
        .await;
    }

    async fn call(&self, token: &str, call: &str, arguments: Value) -> Value {
        let port = self.network.node().http.port();
        self.side
            .ask(json!({ "do": "dicomweb", "port": port, "token": token, "call": call, "arguments": arguments }))
            .await
    }

    /// As the center that reads them.
    async fn ask(&self, call: &str, arguments: Value) -> Value {
        self.call(&self.tokens[0], call, arguments).await
    }

    /// One attribute of all that is found.
    async fn found(&self, call: &str, arguments: Value, tag: &str) -> BTreeSet<String> {
        let found = self.ask(call, arguments.clone()).await;
        let all = found.as_array().unwrap_or_else(|| panic!("{call} {arguments}: {found}"));
        let values: BTreeSet<String> = all.iter().map(|one| said(one, tag)).collect();
        assert_eq!(values.len(), all.len(), "{call} {arguments}: each once");
        values
    }

    async fn studies_series_and_instances_are_found(&self) {
        let studies = |patients: &[usize]| patients.iter().map(|patient| study(*patient)).collect::<BTreeSet<_>>();
        let searches: [(Value, &[usize]); 8] = [
            (json!({}), &[0, 1, 2]),
            (json!({ "PatientID": "SYN-1" }), &[1]),
            (json!({ "00080050": "ACC2" }), &[2]),
            (json!({ "ModalitiesInStudy": "CT" }), &[0, 1, 2]),
            (json!({ "ModalitiesInStudy": "MR" }), &[]),
            (json!({ "StudyDate": "20261124-20261125" }), &[0, 1, 2]),
            (json!({ "StudyDate": "-20261123" }), &[]),
            (json!({ "StudyInstanceUID": study(1) }), &[1]),
        ];
        for (filters, expected) in searches {
            let found = self.found("search_for_studies", json!({ "search_filters": filters }), "0020000D").await;
            assert_eq!(found, studies(expected), "{filters}");
        }
        let with_fields = self
            .ask("search_for_studies", json!({ "fields": ["00081030"], "search_filters": { "PatientID": "SYN-0" } }))
            .await;
        assert_eq!(said(&with_fields[0], "00081030"), "CT Kopf");
        assert_eq!(with_fields[0]["00100010"]["Value"][0]["Alphabetic"], "Müller^Jürgen");

        let series = self.found("search_for_series", json!({ "study_instance_uid": study(0) }), "0020000E").await;
        assert_eq!(series, BTreeSet::from([1, 2].map(|series| format!("{}.{series}", study(0)))));
        let all = self.found("search_for_series", json!({ "search_filters": { "Modality": "OT" } }), "0020000E").await;
        assert_eq!(all, BTreeSet::from([0, 1, 2].map(|patient| format!("{}.2", study(patient)))));
        let of_study = json!({ "study_instance_uid": study(0) });
        let of_series = json!({ "study_instance_uid": study(0), "series_instance_uid": format!("{}.1", study(0)) });
        let first = |count: usize| (1..=count).map(|number| instance(0, number)).collect::<BTreeSet<_>>();
        assert_eq!(self.found("search_for_instances", of_study, "00080018").await, first(4));
        assert_eq!(self.found("search_for_instances", of_series, "00080018").await, first(3));
        let one = json!({ "search_filters": { "SOPInstanceUID": instance(2, 4) } });
        assert_eq!(self.found("search_for_instances", one, "00080018").await, BTreeSet::from([instance(2, 4)]));
    }

    async fn names_are_nearly_right(&self) {
        for (name, fuzzy, otherwise) in NAMES {
            for (is_fuzzy, expected) in [(json!(true), fuzzy), (json!(false), otherwise), (Value::Null, otherwise)] {
                let asked = json!({ "fuzzymatching": is_fuzzy, "search_filters": { "PatientName": name } });
                let expected: BTreeSet<String> = expected.iter().map(|patient| study(*patient)).collect();
                assert_eq!(self.found("search_for_studies", asked, "0020000D").await, expected, "{name} {is_fuzzy}");
            }
            // Fuzzy matching has to be negotiated there, and is not.
            let keys = json!({ "QueryRetrieveLevel": "STUDY", "PatientName": name, "StudyInstanceUID": "", "SpecificCharacterSet": "ISO_IR 192" });
            let port = self.network.dicom_port();
            let found = self.side.ask(json!({ "do": "find", "port": port, "calling": "CHEMNITZ", "keys": keys })).await;
            assert_eq!(found["matches"].as_array().map(Vec::len), Some(otherwise.len()), "{name}: {found}");
        }
    }

    async fn pages_follow_each_other(&self) {
        for (call, tag, all) in [
            ("search_for_studies", "0020000D", 3),
            ("search_for_series", "0020000E", 6),
            ("search_for_instances", "00080018", 12),
        ] {
            let mut seen = BTreeSet::new();
            for offset in (0..all).step_by(2) {
                let page = self.found(call, json!({ "limit": 2, "offset": offset }), tag).await;
                assert_eq!(page.len(), 2_usize.min(all - offset), "{call} from {offset}");
                seen.extend(page);
            }
            assert_eq!(seen.len(), all, "{call}: no page repeats another");
            assert!(self.found(call, json!({ "limit": 2, "offset": all }), tag).await.is_empty(), "{call}");
            let remaining = self.found(call, json!({ "limit": 2, "get_remaining": true }), tag).await;
            assert_eq!(remaining, seen, "{call}: as the client turns pages by itself");
        }
    }

    async fn everything_is_fetched(&self) {
        for (patient, (name, gray)) in PATIENTS.into_iter().enumerate() {
            let (study, series) = (study(patient), format!("{}.1", study(patient)));
            let (of_study, of_series) = (
                json!({ "study_instance_uid": study }),
                json!({ "study_instance_uid": study, "series_instance_uid": series }),
            );
            let slice = json!({ "study_instance_uid": study, "series_instance_uid": series, "sop_instance_uid": instance(patient, 2) });
            for (call, arguments, instances) in [
                ("retrieve_study", &of_study, vec![1, 2, 3, 4]),
                ("retrieve_series", &of_series, vec![1, 2, 3]),
                ("retrieve_instance", &slice, vec![2]),
                ("retrieve_study_metadata", &of_study, vec![1, 2, 3, 4]),
                ("retrieve_series_metadata", &of_series, vec![1, 2, 3]),
                ("retrieve_instance_metadata", &slice, vec![2]),
            ] {
                let got = match self.ask(call, arguments.clone()).await {
                    Value::Array(all) => all,
                    one => vec![one],
                };
                let named: BTreeSet<String> = got.iter().map(|one| said(one, "00080018")).collect();
                let expected: BTreeSet<String> = instances.iter().map(|number| instance(patient, *number)).collect();
                assert_eq!(named, expected, "{call}");
                for one in &got {
                    assert_eq!(one["00100010"]["Value"][0]["Alphabetic"], name, "{call}");
                    let frames = if said(one, "00080016") == FRAMES { 3 } else { 1 };
                    if call.ends_with("_metadata") {
                        let at = one["7FE00010"]["BulkDataURI"].as_str().expect("a link");
                        let bulk = self.ask("retrieve_bulkdata", json!({ "url": at })).await;
                        assert_eq!(bulk[0]["sha256"], pixels(gray, frames), "{call}: {bulk}");
                    } else {
                        assert_eq!(one["pixels"], pixels(gray, frames), "{call}");
                    }
                }
            }
            let frames = json!({ "study_instance_uid": study, "series_instance_uid": format!("{study}.2"), "sop_instance_uid": instance(patient, 4), "frame_numbers": [1, 3] });
            let got = self.ask("retrieve_instance_frames", frames.clone()).await;
            let got: Vec<&Value> = got.as_array().expect("frames").iter().map(|frame| &frame["sha256"]).collect();
            assert_eq!(got, [&json!(pixels(gray, 1)), &json!(pixels(gray, 1))]);
            for (media, begins) in [("image/png", "89504e47"), ("image/jpeg", "ffd8ff")] {
                let mut asked = slice.clone();
                asked["media_types"] = json!([media]);
                let picture = self.ask("retrieve_instance_rendered", asked).await;
                assert!(
                    picture["begins"].as_str().is_some_and(|found| found.starts_with(begins)),
                    "{media}: {picture}"
                );
            }
            let mut frame = frames;
            frame["frame_numbers"] = json!([2]);
            frame["media_types"] = json!(["image/png"]);
            assert_eq!(self.ask("retrieve_instance_frames_rendered", frame).await["begins"], "89504e47");
        }
    }

    /// To the letter as what never was.
    async fn for_others_it_never_was(&self) {
        for call in ["search_for_studies", "search_for_series", "search_for_instances"] {
            assert_eq!(self.call(&self.tokens[1], call, json!({})).await, json!([]), "{call}");
        }
        let series = format!("{}.1", study(0));
        let bulk = self.ask("retrieve_instance_metadata", json!({ "study_instance_uid": study(0), "series_instance_uid": series, "sop_instance_uid": instance(0, 1) })).await;
        let bulk = bulk["7FE00010"]["BulkDataURI"].as_str().expect("a link").to_owned();
        let theirs = (study(0), series, instance(0, 1), bulk.clone());
        let never = (NEVER.to_owned(), format!("{NEVER}.1"), format!("{NEVER}.2"), bulk.replace(&study(0), NEVER));
        for (token, (study, series, instance, bulk)) in
            [(&self.tokens[1], theirs), (&self.tokens[1], never.clone()), (&self.tokens[0], never)]
        {
            let of_study = json!({ "study_instance_uid": study });
            let of_series = json!({ "study_instance_uid": study, "series_instance_uid": series });
            let of_instance =
                json!({ "study_instance_uid": study, "series_instance_uid": series, "sop_instance_uid": instance });
            let mut frames = of_instance.clone();
            frames["frame_numbers"] = json!([1]);
            for (call, arguments) in [
                ("retrieve_study", &of_study),
                ("retrieve_study_metadata", &of_study),
                ("retrieve_series", &of_series),
                ("retrieve_series_metadata", &of_series),
                ("retrieve_instance", &of_instance),
                ("retrieve_instance_metadata", &of_instance),
                ("retrieve_instance_rendered", &of_instance),
                ("retrieve_instance_frames", &frames),
                ("retrieve_bulkdata", &json!({ "url": bulk })),
            ] {
                let refused = self.call(token, call, arguments.clone()).await;
                assert_eq!(refused, json!({ "refused": 404 }), "{call} {arguments}");
            }
        }
    }
}

fn study(patient: usize) -> String {
    SampleCase::numbered(8_100 + patient as u64).study().to_string()
}

fn instance(patient: usize, number: usize) -> String {
    format!("{}.9.{number}", study(patient))
}

/// The one value of an attribute.
fn said(object: &Value, tag: &str) -> String {
    object[tag]["Value"][0].as_str().unwrap_or_default().to_owned()
}

/// SHA-256 of so many frames of this gray.
fn pixels(gray: u8, frames: usize) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(vec![gray; 256 * frames]).iter().map(|byte| format!("{byte:02x}")).collect()
}
