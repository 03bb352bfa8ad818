//! DCMTK's own findscu, movescu, getscu and storescp, unmodified: a hospital lists what its scanner is to do and what it sent,
//! has it sent to its archive, and fetches it; as it was. By UIDs of another hospital there is nothing, and nothing of it is said.

use crate::support::{
    center::Center,
    dcmtk::{StoreScp, Target, files_in, findscu, getscu, movescu},
    eventually,
    hospital::{Scanner, head_ct},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    orders::{answered, orm},
    service_folder,
};
use neisse::{
    cli::sample::{SampleCase, SampleInstance},
    model::{CaseState, PartnerId},
};
use std::{fs, path::PathBuf, process::Output};

#[tokio::test(flavor = "multi_thread")]
async fn dcmtk_s_own_tools_ask_and_fetch() {
    for footing in BOTH {
        let scene = Scene::start(footing).await;
        scene.the_worklist_is_listed().await;
        scene.studies_are_found().await;
        scene.images_are_moved().await;
        scene.images_are_fetched().await;
        scene.network.at_rest().await;
    }
}

type Study = (SampleCase, Vec<SampleInstance>);

struct Scene {
    network: Network,
    archive: StoreScp,
    /// Of rabenstein.
    own: Study,
    /// Of lichtenstein.
    others: Study,
}

impl Scene {
    async fn start(footing: Footing) -> Self {
        let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
        let archive = StoreScp::start_with("RAB_ARCH", crate::support::free_port(), &["+B"]).await;
        let place = format!("{{ ae_title = \"RAB_ARCH\", host = \"127.0.0.1\", port = {} }}", archive.port);
        let at = wall("2026-11-24T23:10");
        let network = Network::with_centers(footing, ALWAYS_CHEMNITZ, at, chemnitz, leipzig, |files| {
            let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
            *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
            let other = rabenstein
                .replace("Rabenstein", "Lichtenstein")
                .replace("\"RABENSTEIN\"", "\"LICHTENSTEIN\"")
                .replace("RAB_", "LIC_")
                .replace("DRKRAB", "DRKLIC");
            let with_place = format!("charset = \"ISO_IR 100\"\ndestinations = [{place}]\n");
            *rabenstein = rabenstein.replacen("charset = \"ISO_IR 100\"\n", &with_place, 1);
            files.insert("partners/lichtenstein.toml".into(), other);
        })
        .await;
        let scene = Self { network, archive, own: head_ct(7, 3), others: head_ct(8, 2) };
        scene.send().await;
        scene
    }

    /// Images and an order of both hospitals.
    async fn send(&self) {
        let (node, hl7) = (self.network.node(), self.network.node().hl7);
        let (own, others) = (orm("D1", "NW", "P1", &self.planned(), true), self.order_of_others());
        for order in [&own, &others] {
            assert_eq!(answered(hl7, order).await, "OK");
        }
        for (calling, slices) in [("RAB_CT1", &self.own.1), ("LIC_CT1", &self.others.1)] {
            let mut scanner = Scanner::connect_as(calling, node.dicom, &slices[0]).await;
            for slice in slices {
                assert_eq!(scanner.send(slice).await, 0);
            }
            scanner.release().await;
        }
        self.network.case_in(&self.own.0.study(), CaseState::Delivered).await;
        let lichtenstein = PartnerId::new("lichtenstein").expect("an id");
        eventually("the other study is indexed", SOON, async || {
            let found = node.store.find_case(&lichtenstein, &self.others.0.study()).await.expect("the store");
            found.is_some_and(|case| case.instances == 2)
        })
        .await;
    }

    /// Not done yet.
    fn planned(&self) -> SampleCase {
        head_ct(17, 1).0
    }

    fn order_of_others(&self) -> String {
        orm("D2", "NW", "P2", &head_ct(18, 1).0, true).replace("DRKRAB", "DRKLIC")
    }

    fn target(&self) -> Target {
        Target { calling: "RAB_CT1".into(), called: "NEISSE".into(), port: self.network.dicom_port() }
    }

    /// Nothing of the other hospital is in it but the UIDs that were asked by.
    fn without_others(&self, output: &Output) -> String {
        let text = String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned();
        assert!(output.status.success(), "{text}");
        for of_others in [&self.others.0, &head_ct(18, 1).0] {
            for secret in [&of_others.patient_id, &of_others.patient_name, &of_others.accession] {
                assert!(!text.contains(secret), "another hospital's: {text}");
            }
        }
        text
    }

    async fn the_worklist_is_listed(&self) {
        let keys = ["-v", "-W", "-k", "0010,0020", "-k", "0008,0050", "-k", "0040,0100[0].0008,0060"];
        let text = self.without_others(&findscu(&self.target(), &keys).await);
        assert!(text.contains(&self.planned().accession), "{text}");
        let foreign = format!("0020,000d={}", head_ct(18, 1).0.study());
        let keys = ["-v", "-W", "-k", "0010,0020", "-k", "0008,0050", "-k", &foreign];
        let text = self.without_others(&findscu(&self.target(), &keys).await);
        assert_eq!(answers(&text), 0, "{text}");
    }

    async fn studies_are_found(&self) {
        let uid = |slice: &SampleInstance| slice.sop_instance.as_str().to_owned();
        let (own, others) = (self.own.0.study().to_string(), self.others.0.study().to_string());
        let by_study = |uid: &str| format!("StudyInstanceUID={uid}");
        let by_instance = |uid: &str| format!("SOPInstanceUID={uid}");
        let (first_own, first_other) = (uid(&self.own.1[0]), uid(&self.others.1[0]));
        for (level, keys, expected) in [
            ("STUDY", vec!["StudyInstanceUID".to_owned()], 1),
            ("STUDY", vec![by_study(&own)], 1),
            ("STUDY", vec![by_study(&others)], 0),
            ("SERIES", vec![by_study(&own), "SeriesInstanceUID".into()], 1),
            ("SERIES", vec![by_study(&others), "SeriesInstanceUID".into()], 0),
            ("IMAGE", vec![by_study(&own), "SOPInstanceUID".into()], 3),
            ("IMAGE", vec![by_study(&others), "SOPInstanceUID".into()], 0),
            ("IMAGE", vec![by_instance(&first_own)], 1),
            ("IMAGE", vec![by_instance(&first_other)], 0),
        ] {
            let level = format!("QueryRetrieveLevel={level}");
            let mut options =
                vec!["-v", "-S", "-k", &level, "-k", "PatientID", "-k", "PatientName", "-k", "AccessionNumber"];
            keys.iter().for_each(|key| options.extend(["-k", key]));
            let text = self.without_others(&findscu(&self.target(), &options).await);
            assert_eq!(answers(&text), expected, "{keys:?}: {text}");
            assert_eq!(text.contains(&self.own.0.patient_id), expected > 0, "{keys:?}: {text}");
        }
    }

    async fn images_are_moved(&self) {
        for (level, key) in self.foreign_keys() {
            let output = movescu(&self.target(), "RAB_ARCH", &["-v", "-S", "-k", &level, "-k", &key]).await;
            self.without_others(&output);
            assert_eq!(self.archive.received().len(), 0, "{key}");
        }
        let study = format!("StudyInstanceUID={}", self.own.0.study());
        let keys = ["-v", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", &study];
        let elsewhere = movescu(&self.target(), "UKL", &keys).await;
        let said = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
        assert!(said.contains("MoveDestinationUnknown") || said.contains("a801"), "another's destination: {said}");
        self.without_others(&movescu(&self.target(), "RAB_ARCH", &keys).await);
        eventually("the archive has them", SOON, async || self.archive.received().len() == 3).await;
        self.are_as_they_were(&self.archive.received());
    }

    async fn images_are_fetched(&self) {
        for (level, key) in self.foreign_keys() {
            let folder = service_folder("getscu-");
            let output = getscu(&self.target(), folder.path(), &["-v", "-S", "-k", &level, "-k", &key]).await;
            self.without_others(&output);
            assert_eq!(files_in(folder.path()).len(), 0, "{key}");
        }
        let (folder, study) = (service_folder("getscu-"), format!("StudyInstanceUID={}", self.own.0.study()));
        let keys = ["-v", "-S", "+B", "-k", "QueryRetrieveLevel=STUDY", "-k", &study];
        self.without_others(&getscu(&self.target(), folder.path(), &keys).await);
        self.are_as_they_were(&files_in(folder.path()));
    }

    fn foreign_keys(&self) -> Vec<(String, String)> {
        let instance = self.others.1[0].sop_instance.as_str();
        [
            ("STUDY", format!("StudyInstanceUID={}", self.others.0.study())),
            ("IMAGE", format!("SOPInstanceUID={instance}")),
        ]
        .map(|(level, key)| (format!("QueryRetrieveLevel={level}"), key))
        .to_vec()
    }

    /// Each slice in one file, byte for byte behind the file's own header.
    fn are_as_they_were(&self, files: &[PathBuf]) {
        let files: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("a file")).collect();
        assert_eq!(files.len(), self.own.1.len());
        for slice in &self.own.1 {
            assert!(files.iter().any(|file| file.ends_with(&slice.data_set)), "{}", slice.sop_instance);
        }
    }
}

/// How many findscu says it got.
fn answers(text: &str) -> usize {
    text.lines().filter(|line| line.contains("Find Response:") && line.contains("(Pending)")).count()
}
