//! A hospital corrects a patient's name and merges one identifier into another (ADT^A08, A40): open cases, orders and the reader
//! that has them are told, once; a report that still carries the old identifier comes home under the one that stayed; and the
//! equal identifier of another hospital is another patient.

use crate::support::{
    center::{About, Center, oru},
    eventually,
    hospital::{Hospital, Scanner},
    ledger,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    orders::{answered, ask, orm},
};
use neisse::{
    cli::sample::{self, SampleCase, SampleInstance},
    model::{CaseState, IssuedId, Uid},
    store::Durability,
};

async fn network(footing: Footing, ris: &Hospital) -> Network {
    let centers = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    Network::with_centers(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10"), centers.0, centers.1, |files| {
        let rabenstein = files.get_mut("partners/rabenstein.toml").expect("the hospital");
        *rabenstein = rabenstein.replace("[hl7]\n", "[hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n");
        let other = rabenstein
            .replace("Rabenstein", "Lichtenstein")
            .replace("\"RABENSTEIN\"", "\"LICHTENSTEIN\"")
            .replace("RAB_", "LIC_")
            .replace("DRKRAB", "DRKLIC");
        files.insert("partners/lichtenstein.toml".into(), other);
        let chemnitz = files.get_mut("partners/chemnitz.toml").expect("the center");
        chemnitz.push_str(&format!(
            "deliver = {{ host = \"127.0.0.1\", port = {}, application = \"RIS\", facility = \"KLCHEM\" }}\n\
             [orders]\ndeliver = true\n",
            ris.port
        ));
    })
    .await
}

fn adt(event: &str, control_id: &str, facility: &str, id: &str, name: &str, merged: Option<&str>) -> String {
    let merged = merged.map(|old| format!("MRG|{old}\r")).unwrap_or_default();
    format!(
        "MSH|^~\\&|KIS|{facility}|NEISSE|NEISSE|20261124230000||ADT^{event}|{control_id}|P|2.5||||||8859/1\r\
         EVN||20261124230000\rPID|1||{id}||{name}\r{merged}"
    )
}

async fn told(network: &Network, message: &str) {
    let answer = ask(network.node().hl7, message).await;
    assert!(answer[1].starts_with("MSA|AA|"), "{answer:?}");
}

async fn send(network: &Network, slices: &[SampleInstance]) {
    let mut scanner = Scanner::connect(network.node().dicom, &slices[0]).await;
    for slice in slices {
        assert_eq!(scanner.send(slice).await, 0x0000);
    }
    scanner.release().await;
}

fn messages(ris: &Hospital) -> Vec<String> {
    ris.reports().iter().map(|message| String::from_utf8(message.to_vec()).expect("UTF-8")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_patient_is_one_patient_everywhere() {
    for footing in BOTH {
        let ris = Hospital::start().await;
        let network = network(footing, &ris).await;
        let hl7 = network.node().hl7;
        let patient = SampleCase { placer_order: String::new(), ..SampleCase::numbered(1) };
        let slices: Vec<SampleInstance> = sample::head_ct(3, 64, &patient).collect();
        let old = patient.patient_id.as_str();
        assert_eq!(answered(hl7, &orm("M1", "NW", "P1", &patient, true)).await, "OK");
        send(&network, &slices).await;
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        eventually("the order", SOON, async || messages(&ris).len() == 1).await;

        // Equal identifiers of another hospital, and of a patient that nobody knows: nothing happens.
        told(&network, &adt("A40", "A1", "DRKLIC", "999", "Doe^J", Some(old))).await;
        told(&network, &adt("A08", "A2", "DRKRAB", "123456", "Roe^R", None)).await;
        // The ward has changed, not the patient.
        let unchanged = &case.facts.patient_name;
        told(&network, &adt("A08", "A3", "DRKRAB", old, unchanged, None)).await;

        told(&network, &adt("A08", "A4", "DRKRAB", old, "Dvořák^Jiří".replace(['ř', 'á', 'í'], "a").as_str(), None))
            .await;
        told(&network, &adt("A40", "A5", "DRKRAB", "999", "", Some(old))).await;
        told(&network, &adt("A40", "A5", "DRKRAB", "999", "", Some(old))).await;
        eventually("the reader is told", SOON, async || messages(&ris).len() == 3).await;
        let got = messages(&ris);
        assert!(got[1].contains("ADT^A08") && got[1].contains(&format!("{old}^^^RABENSTEIN||Dvoaak")), "{}", got[1]);
        assert!(
            got[2].contains("|999^^^RABENSTEIN|") && got[2].contains(&format!("MRG|{old}^^^RABENSTEIN")),
            "{}",
            got[2]
        );

        // The reader's images still carry the old identifier, and so does its report.
        let study = patient.study().to_string();
        let about = About { patient_id: old, issuer: "RABENSTEIN", accession: &patient.accession, study: &study };
        let report = oru("KLCHEM", "R1", &about, "F", "fine");
        assert_eq!(network.chemnitz.send_hl7(hl7, &report, "R1").await.code.as_str(), "AA");
        eventually("the report is back", SOON, async || network.hospital.reports().len() == 1).await;
        let report = String::from_utf8_lossy(&network.hospital.reports()[0]).into_owned();
        assert!(report.contains("|999^^^RABENSTEIN|") && report.contains("Dvoaak"), "{report}");

        // So do images that come later: the same case, and a new one of the same patient.
        let late: Vec<SampleInstance> = sample::head_ct(4, 64, &patient).collect();
        send(&network, &late[3..]).await;
        network.case(&patient.study(), "the late slice", |case| case.instances == 4).await;
        let next = SampleCase { patient_id: old.to_owned(), placer_order: String::new(), ..SampleCase::numbered(2) };
        send(&network, &sample::head_ct(2, 64, &next).collect::<Vec<_>>()).await;
        let next = network.case_in(&next.study(), CaseState::Delivered).await;
        assert_eq!(next.facts.patient_id.value, "999");
        // A study that came under the identifier that stayed, with a slice under the old one.
        let third = SampleCase { patient_id: "999".into(), placer_order: String::new(), ..SampleCase::numbered(3) };
        send(&network, &sample::head_ct(2, 64, &third).collect::<Vec<_>>()).await;
        network.case_in(&third.study(), CaseState::Delivered).await;
        let third = SampleCase { patient_id: old.to_owned(), ..third };
        send(&network, &sample::head_ct(3, 64, &third).skip(2).collect::<Vec<_>>()).await;
        let third = network.case(&third.study(), "the late slice", |case| case.instances == 3).await;
        assert_eq!((third.attention.as_str(), third.facts.patient_id.value.as_str()), ("", "999"));
        let case = network.node().store.case(case.id).await.expect("the case");
        assert_eq!((case.attention.as_str(), next.attention.as_str()), ("", ""));
        network.at_rest().await;
        assert_eq!(messages(&ris).len(), 3, "each once");
    }
}

/// However many cases a patient has; and an identifier that begins like another one is another one.
#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_a_patient_is_told_and_none_of_another() {
    for footing in BOTH {
        let ris = Hospital::start().await;
        let network = network(footing, &ris).await;
        let store = &network.node().store;
        let long = "7".repeat(128);
        let (mut tx, mut theirs) = (store.begin(Durability::Process).await.expect("a transaction"), Vec::new());
        for n in 0..903 {
            let mut case = ledger::case("rabenstein", &Uid::generate().to_string());
            (case.reader, case.state) = (None, CaseState::Held);
            let value = if n < 901 { "777".to_owned() } else { format!("{long}{n}") };
            case.facts.patient_id = IssuedId::new(value, "RABENSTEIN");
            assert!(tx.add_case(&case).await.expect("added"));
            theirs.push(case.id);
        }
        tx.commit().await.expect("a commit");
        told(&network, &adt("A08", "A1", "DRKRAB", "777", "Roe^R", None)).await;
        told(&network, &adt("A08", "A2", "DRKRAB", &format!("{long}901"), "Poe^E", None)).await;
        let mut names = Vec::new();
        for id in &theirs {
            names.push(store.case(*id).await.expect("the case").facts.patient_name);
        }
        assert!(names[..901].iter().all(|name| name == "Roe^R"), "each of them");
        assert_eq!(names[901..], ["Poe^E", ""]);
    }
}
