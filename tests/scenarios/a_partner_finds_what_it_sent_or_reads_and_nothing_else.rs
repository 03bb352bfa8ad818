//! Two hospitals send studies, one of them is read in Chemnitz. pynetdicom asks for what is held, at every level:
//! each hospital finds its own, the center finds what it is to read, and the rest is for them as if it were not there.

use crate::support::{
    center::Center,
    hospital::{Scanner, head_ct},
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, wall},
    network_side::NetworkSide,
};
use neisse::{
    cli::sample::{SampleCase, SampleInstance},
    model::CaseState,
};
use serde_json::{Value, json};

const LICHTENSTEIN: &str = "name = \"Lichtenstein\"\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\nlanguage = \"de\"\n\
     issuer = \"LICHTENSTEIN\"\n[dicom]\nsenders = [{ ae_title = \"LIC_CT1\" }]\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_finds_what_it_sent_or_reads_and_nothing_else() {
    let side = NetworkSide::start().await;
    for footing in BOTH {
        everyone_finds_its_own(footing, &side).await;
    }
}

struct Scene<'a> {
    network: Network,
    side: &'a NetworkSide,
    /// Of rabenstein, read in Chemnitz.
    read: (SampleCase, Vec<SampleInstance>),
    /// Of lichtenstein, held for want of a rule.
    held: (SampleCase, Vec<SampleInstance>),
}

async fn everyone_finds_its_own(footing: Footing, side: &NetworkSide) {
    let scene = Scene::start(footing, side).await;
    hospitals_and_center_find_studies(&scene).await;
    every_level_is_answered(&scene).await;
    instances_come_back_as_they_were(&scene).await;
    scene.network.at_rest().await;
}

impl<'a> Scene<'a> {
    async fn start(footing: Footing, side: &'a NetworkSide) -> Self {
        let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
        let at = wall("2026-11-24T23:10");
        let network = Network::with_centers(footing, ALWAYS_CHEMNITZ, at, chemnitz, leipzig, |files| {
            files.insert("partners/lichtenstein.toml".into(), LICHTENSTEIN.into());
        })
        .await;
        let (read, held) = (head_ct(7, 3), head_ct(8, 2));
        for (ae_title, slices) in [("RAB_CT1", &read.1), ("LIC_CT1", &held.1)] {
            let mut scanner = Scanner::connect_as(ae_title, network.node().dicom, &slices[0]).await;
            for slice in slices {
                assert_eq!(scanner.send(slice).await, 0);
            }
            scanner.release().await;
        }
        network.case_in(&read.0.study(), CaseState::Delivered).await;
        let lichtenstein = neisse::model::PartnerId::new("lichtenstein").expect("an id");
        crate::support::eventually("the other is indexed", crate::support::network::SOON, async || {
            let found = network.node().store.find_case(&lichtenstein, &held.0.study()).await.expect("the store");
            found.is_some_and(|case| case.instances == 2)
        })
        .await;
        Self { network, side, read, held }
    }

    async fn find(&self, calling: &str, model: &str, keys: Value) -> Value {
        let port = self.network.dicom_port();
        self.side.ask(json!({ "do": "find", "port": port, "calling": calling, "model": model, "keys": keys })).await
    }

    /// What was found of one attribute; the answer must be a good one.
    async fn found(&self, calling: &str, keys: Value, of: &str) -> Vec<String> {
        let answer = self.find(calling, "Study", keys).await;
        assert_eq!(answer["status"], 0, "{answer}");
        let matches = answer["matches"].as_array().expect("a list").clone();
        matches.iter().map(|found| found[of].as_str().unwrap_or_default().to_owned()).collect()
    }

    async fn retrieve(&self, calling: &str, keys: Value, to: Option<&str>) -> Value {
        let port = self.network.dicom_port();
        self.side.ask(json!({ "do": "retrieve", "port": port, "calling": calling, "keys": keys, "to": to })).await
    }

    fn study(&self) -> String {
        self.read.0.study().as_str().to_owned()
    }

    fn others(&self) -> String {
        self.held.0.study().as_str().to_owned()
    }
}

async fn hospitals_and_center_find_studies(scene: &Scene<'_>) {
    let all =
        json!({ "QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", "PatientName": "", "ModalitiesInStudy": "" });
    for (calling, studies) in [
        ("RAB_CT1", vec![scene.study()]),
        ("RAB_PACS", vec![scene.study()]),
        ("CHEMNITZ", vec![scene.study()]),
        ("LIC_CT1", vec![scene.others()]),
        ("UKL", vec![]),
    ] {
        assert_eq!(scene.found(calling, all.clone(), "StudyInstanceUID").await, studies, "{calling}");
    }
    let patient = &scene.read.0;
    let name = patient.patient_name.to_lowercase();
    let family = name.split('^').next().expect("a family name");
    let day = &scene
        .find("CHEMNITZ", "Study", json!({ "QueryRetrieveLevel": "STUDY", "StudyDate": "", "StudyTime": "" }))
        .await;
    let day = day["matches"][0]["StudyDate"].as_str().expect("a date").to_owned();
    for (key, value, fits) in [
        ("StudyInstanceUID", scene.study(), true),
        ("StudyInstanceUID", format!("{}\\1.2.3", scene.study()), true),
        ("StudyInstanceUID", scene.others(), false),
        ("PatientID", patient.patient_id.clone(), true),
        ("PatientID", "SYN*".to_owned(), true),
        ("PatientID", scene.held.0.patient_id.clone(), false),
        ("AccessionNumber", patient.accession.clone(), true),
        ("AccessionNumber", "NONE".to_owned(), false),
        ("PatientName", format!("{family}*"), true),
        ("PatientName", format!("*{}", &name[2..]), true),
        ("PatientName", "nobody*".to_owned(), false),
        ("StudyDate", day.clone(), true),
        ("StudyDate", format!("{day}-"), true),
        ("StudyDate", "19000101-19001231".to_owned(), false),
        ("ModalitiesInStudy", "CT".to_owned(), true),
        ("ModalitiesInStudy", "MR".to_owned(), false),
        ("ModalitiesInStudy", "MR\\CT".to_owned(), true),
        ("StudyDescription", "*".to_owned(), true),
        ("StudyDescription", "No such study*".to_owned(), false),
    ] {
        let mut keys = json!({ "QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "" });
        let value = if value.contains('\\') { json!(value.split('\\').collect::<Vec<_>>()) } else { json!(value) };
        keys[key] = value.clone();
        let expected = if fits { vec![scene.study()] } else { vec![] };
        assert_eq!(scene.found("CHEMNITZ", keys, "StudyInstanceUID").await, expected, "{key} = {value}");
    }
    let refused = scene.find("CHEMNITZ", "Study", json!({ "QueryRetrieveLevel": "PATIENT", "PatientID": "" })).await;
    assert_eq!(refused["status"], 0xA900, "{refused}");
    let refused = scene.find("CHEMNITZ", "Study", json!({ "QueryRetrieveLevel": "STUDY", "StudyDate": "today" })).await;
    assert_eq!(refused["status"], 0xA900, "{refused}");
}

async fn every_level_is_answered(scene: &Scene<'_>) {
    let patients = scene
        .find("CHEMNITZ", "Patient", json!({ "QueryRetrieveLevel": "PATIENT", "PatientID": "", "PatientName": "" }))
        .await;
    assert_eq!(patients["matches"].as_array().map(Vec::len), Some(1), "{patients}");
    assert_eq!(patients["matches"][0]["PatientID"], json!(scene.read.0.patient_id));
    let study = scene.find(
        "RAB_CT1",
        "Study",
        json!({ "QueryRetrieveLevel": "STUDY", "StudyInstanceUID": scene.study(), "NumberOfStudyRelatedSeries": "",
                "NumberOfStudyRelatedInstances": "", "ModalitiesInStudy": "", "RetrieveAETitle": "", "InstanceAvailability": "" }),
    );
    let study = study.await;
    assert_eq!(study["pending"], json!([0xFF00]), "every key is supported: {study}");
    let found = &study["matches"][0];
    assert_eq!(found["NumberOfStudyRelatedSeries"], "1", "{study}");
    assert_eq!(found["NumberOfStudyRelatedInstances"], "3", "{study}");
    assert_eq!(found["ModalitiesInStudy"], "CT");
    assert_eq!((&found["RetrieveAETitle"], &found["InstanceAvailability"]), (&json!("NEISSE"), &json!("ONLINE")));
    let series = json!({ "QueryRetrieveLevel": "SERIES", "StudyInstanceUID": scene.study(), "SeriesInstanceUID": "",
                         "Modality": "CT", "NumberOfSeriesRelatedInstances": "", "SeriesNumber": "" });
    let series = scene.find("CHEMNITZ", "Study", series).await;
    assert_eq!(series["matches"].as_array().map(Vec::len), Some(1), "{series}");
    assert_eq!(series["matches"][0]["NumberOfSeriesRelatedInstances"], "3", "{series}");
    let images = json!({ "QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": scene.study(), "SeriesInstanceUID": "",
                         "SOPInstanceUID": "", "InstanceNumber": "", "SOPClassUID": "" });
    let mut found = scene.found("CHEMNITZ", images.clone(), "SOPInstanceUID").await;
    let mut sent: Vec<String> = scene.read.1.iter().map(|slice| slice.sop_instance.as_str().to_owned()).collect();
    found.sort();
    sent.sort();
    assert_eq!(found, sent);
    let mut one = images.clone();
    one["SOPInstanceUID"] = json!(sent[1]);
    assert_eq!(scene.found("CHEMNITZ", one.clone(), "SOPInstanceUID").await, [sent[1].clone()]);
    assert_eq!(scene.found("LIC_CT1", one, "SOPInstanceUID").await, Vec::<String>::new());
    let unsupported = json!({ "QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", "InstitutionName": "" });
    let unsupported = scene.find("RAB_CT1", "Study", unsupported).await;
    assert_eq!(unsupported["pending"], json!([0xFF01]), "{unsupported}");
}

async fn instances_come_back_as_they_were(scene: &Scene<'_>) {
    let keys = json!({ "QueryRetrieveLevel": "STUDY", "StudyInstanceUID": scene.study() });
    for calling in ["RAB_CT1", "CHEMNITZ"] {
        let got = scene.retrieve(calling, keys.clone(), None).await;
        assert_eq!((&got["status"], &got["completed"]), (&json!(0), &json!(3)), "{calling}: {got}");
        assert_eq!(got["got"][0]["PatientID"], json!(scene.read.0.patient_id));
    }
    for calling in ["LIC_CT1", "UKL"] {
        let got = scene.retrieve(calling, keys.clone(), None).await;
        assert_eq!(got["got"], json!([]), "as if it did not exist: {got}");
        assert_eq!(got["status"], 0, "{got}");
    }
    let one = json!({ "QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": scene.study(),
                      "SOPInstanceUID": scene.read.1[2].sop_instance.as_str() });
    assert_eq!(scene.retrieve("CHEMNITZ", one, None).await["completed"], 1);
    let wild = json!({ "QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.2.*" });
    assert_eq!(scene.retrieve("CHEMNITZ", wild, None).await["status"], 0xA900);
    let all = json!({ "QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "" });
    assert_eq!(scene.retrieve("CHEMNITZ", all, None).await["status"], 0xA900);
    let before = scene.network.chemnitz.arrivals().len();
    let moved = scene.retrieve("CHEMNITZ", keys.clone(), Some("CHEMNITZ")).await;
    assert_eq!((&moved["status"], &moved["completed"]), (&json!(0), &json!(3)), "{moved}");
    scene.network.chemnitz.arrivals_of(before + 3).await;
    let elsewhere = scene.retrieve("CHEMNITZ", keys, Some("UKL")).await;
    assert_eq!(elsewhere["status"], 0xA801, "another's destination is not ours to send to: {elsewhere}");
}
