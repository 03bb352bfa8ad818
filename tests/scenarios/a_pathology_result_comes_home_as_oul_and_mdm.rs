//! A laboratory reports on two specimens of a slide's case as OUL^R22, and corrects by MDM^T10; the hospital gets both
//! versions as OUL^R22 and as MDM^T02 and T10, each result with its specimen, unit, range and code. What fits no case is
//! held, and attached by a person as an ORU would be.

use crate::support::{
    eventually,
    hospital::send_study,
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON},
    reports::{Oru, exchange},
};
use chrono::Utc;
use neisse::{
    cli::sample::{self, SampleCase},
    model::{CaseState, Moment, ReportStatus},
    store::CaseRow,
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_pathology_result_comes_home_as_oul_and_mdm() {
    for footing in BOTH {
        // The command has no other clock than the machine's.
        let network = Network::example(footing, Moment::from_utc(Utc::now()), |example| {
            example.rules(ALWAYS_CHEMNITZ);
            example.wants("rabenstein", &["oul", "mdm"]);
        })
        .await;
        let patient = SampleCase::numbered(7);
        send_study(network.node().dicom, &[sample::slide(1, 1, "S26-1", &patient)]).await;
        network.decided("rabenstein", &patient.study()).await;
        network.clock.advance(Duration::from_secs(31));
        network.case_in(&patient.study(), CaseState::Delivered).await;

        by_specimen(&network, &patient).await;
        let case = network.case_in(&patient.study(), CaseState::Reported).await;
        corrected_as_a_document(&network, &patient).await;
        added_to(&network, &patient).await;
        held_and_attached(&network, &case).await;
        added_to_nobody_knows_what(&network, &patient).await;
        refused(&network, &patient).await;
        let stored = network.node().store.reports(case.id).await.expect("the store");
        let stored: Vec<_> = stored.iter().map(|report| (report.source.as_str(), report.status)).collect();
        assert_eq!(
            stored,
            [
                ("oul", ReportStatus::Final),
                ("mdm", ReportStatus::Corrected),
                ("mdm", ReportStatus::Corrected),
                ("oul", ReportStatus::Final)
            ]
        );
        network.at_rest().await;
    }
}

fn oul(patient: &SampleCase, control_id: &str, accession: &str) -> String {
    let order = |number: usize, code: &str| {
        format!(
            "OBR|{number}||{accession}^RABENSTEIN|{code}|||||||||||||||||||||F|||||||&Beispiel&Ruth\rORC|RE||{accession}^RABENSTEIN\r"
        )
    };
    format!(
        "MSH|^~\\&|LIS|KCHEMNITZ|NEISSE|NEISSE|20261124231500||OUL^R22^OUL_R22|{control_id}|P|2.5.1||||||UNICODE UTF-8\r\
         PID|1||{}^^^RABENSTEIN||X^Y\r\
         SPM|1|A1&RABENSTEIN||BX^Biopsie^L\rSAC|||C1^RABENSTEIN\r{}\
         OBX|1|FT|D^Diagnose^L||Tubuläres Adenom||||||F\rOBX|2|NM|KI^Ki-67^L||20|%^^UCUM|0-5|H|||F\r\
         SPM|2|A2&RABENSTEIN||BX^Biopsie^L\r{}\
         OBX|1|CWE|D^Diagnose^L||M-00100^Kein Befund^SCT||||||F\r",
        patient.patient_id,
        order(1, "H^Histologie^L"),
        order(2, "H2^Histologie 2^L"),
    )
}

async fn accepted(network: &Network, message: &str) {
    let answer = exchange(network.node().hl7, message.as_bytes()).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.contains("MSA|AA|"), "{answer}");
}

/// What the hospital has got as this kind of message.
fn received(network: &Network, kind: &str) -> Vec<(String, Oru)> {
    let read = |message: &bytes::Bytes| {
        let fields = Oru::read(message);
        let is_one = fields.field("MSH", 9).starts_with(kind);
        is_one.then(|| (String::from_utf8(message.to_vec()).expect("ASCII or UTF-8"), fields))
    };
    network.hospital.reports().iter().filter_map(read).collect()
}

async fn by_specimen(network: &Network, patient: &SampleCase) {
    accepted(network, &oul(patient, "L1", &patient.accession)).await;
    eventually("both forms are back", SOON, async || network.hospital.reports().len() == 2).await;
    let oul = received(network, "OUL^R22^OUL_R22");
    let [(text, _)] = &oul[..] else { panic!("{} OUL", oul.len()) };
    let order: Vec<&str> = text.split('\r').filter_map(|line| line.get(..3)).collect();
    let expected = "MSH PID SPM SAC OBR ORC OBX OBX SPM OBR ORC OBX OBX";
    assert_eq!(order.join(" "), expected, "each specimen with its results, and the study at the end: {text}");
    for whole in [
        "SPM|1|A1&RABENSTEIN||BX^Biopsie^L\r",
        "SAC|||C1^RABENSTEIN\r",
        "OBX|3|NM|KI^Ki-67^L|3|20|%^^UCUM|0-5|H|||F|||",
        "SPM|2|A2&RABENSTEIN||BX^Biopsie^L\r",
        "|H2^Histologie 2^L|",
        "OBX|5|CWE|D^Diagnose^L|5|M-00100^Kein Befund^SCT||||||F|||",
    ] {
        assert!(text.contains(whole), "{whole} in {text}");
    }
    let mdm = received(network, "MDM^T02^MDM_T02");
    let [(_, document)] = &mdm[..] else { panic!("{} MDM", mdm.len()) };
    assert_eq!((document.field("TXA", 2), document.field("TXA", 13), document.field("TXA", 17)), ("SP", "", "AU"));
    let told = document.values("FT").join("\n");
    for words in ["Histologie:", "Material: A1 (Biopsie)", "Ki-67: 20 % [0-5] H", "Histologie 2:", "Kein Befund"] {
        assert!(told.contains(words), "{words} in {told}");
    }
}

async fn corrected_as_a_document(network: &Network, patient: &SampleCase) {
    let (id, accession) = (&patient.patient_id, &patient.accession);
    let message = format!(
        "MSH|^~\\&|DOC|KCHEMNITZ|NEISSE|NEISSE|20261125081500||MDM^T10^MDM_T02|D2|P|2.5.1||||||UNICODE UTF-8\r\
         EVN|T10|20261125081500\rPID|1||{id}^^^RABENSTEIN||X^Y\rPV1|1|U\r\
         TXA|1|SP|FT|20261125081500||||||||DOC2^LIS|DOC1^LIS||{accession}^RABENSTEIN||LA||AV|||4711^Beispiel^Ruth\r\
         OBX|1|FT|D^Diagnose^L||Serratiertes Adenom||||||F\r"
    );
    accepted(network, &message).await;
    eventually("the correction is back in both forms", SOON, async || network.hospital.reports().len() == 4).await;
    let oul = received(network, "OUL");
    let (text, second) = &oul[1];
    assert_eq!((second.field("OBR", 25), second.values("FT")), ("C", vec!["Serratiertes Adenom"]), "{text}");
    assert_eq!(second.field("SPM", 4), "\"\"", "the document named no specimen: {text}");
    let (first, second) = (received(network, "MDM^T02"), received(network, "MDM^T10^MDM_T02"));
    assert_eq!(second[0].1.field("TXA", 13), first[0].1.field("TXA", 12), "it replaces the first");
    assert_ne!(second[0].1.field("TXA", 12), first[0].1.field("TXA", 12));
    assert!(second[0].1.field("TXA", 9).contains("Beispiel^Ruth"));
}

async fn held_and_attached(network: &Network, case: &CaseRow) {
    accepted(network, &oul(&SampleCase::numbered(7), "L3", "UNKNOWN")).await;
    let store = &network.node().store;
    let held = store.held_reports().await.expect("the store");
    assert_eq!((held.len(), held[0].source.as_str()), (1, "oul"));
    let (report, id) = (held[0].id.to_string(), case.id.to_string());
    let said = network.cases_screen(&["attach", &report, &id, "--why", "the laboratory told me"]).await;
    assert!(said.contains("version 4") && said.contains("2 forms owed"), "{said}");
    eventually("it is back in both forms", SOON, async || network.hospital.reports().len() == 8).await;
}

fn addendum(patient: &SampleCase) -> String {
    let (id, accession) = (&patient.patient_id, &patient.accession);
    format!(
        "MSH|^~\\&|DOC|KCHEMNITZ|NEISSE|NEISSE|20261125091500||MDM^T06^MDM_T02|D3|P|2.5.1||||||UNICODE UTF-8\r\
         EVN|T06|20261125091500\rPID|1||{id}^^^RABENSTEIN||X^Y\rPV1|1|U\r\
         TXA|1|SP|FT|20261125091500||||||||DOC3^LIS|DOC2^LIS||{accession}^RABENSTEIN||LA||AV|||4711^Beispiel^Ruth\r\
         OBX|1|FT|D^Diagnose^L||Zweite Meinung eingeholt||||||F\r"
    )
}

/// An addendum brings nothing but what is added: the hospital gets the whole.
async fn added_to(network: &Network, patient: &SampleCase) {
    accepted(network, &addendum(patient)).await;
    eventually("the whole is back in both forms", SOON, async || network.hospital.reports().len() == 6).await;
    for (kind, count) in [("OUL", 3), ("MDM", 3)] {
        let all = received(network, kind);
        let (text, _) = &all[count - 1];
        for words in ["Serratiertes Adenom", "Addendum", "Zweite Meinung eingeholt"] {
            assert!(text.contains(words), "{words} in {text}");
        }
    }
}

/// It names a document that a report of another number came after, and a person has joined that.
async fn added_to_nobody_knows_what(network: &Network, patient: &SampleCase) {
    let accession = &patient.accession;
    let again = addendum(patient).replace("|D3|", "|D5|").replace("DOC3^", "DOC5^");
    // To a case of which its reader has said nothing, it is the whole of nothing.
    let alone = again.replace("|D5|", "|D4|").replace(&format!("{accession}^"), "NOBODYS^");
    for (message, reason) in [(again, "which report of its case"), (alone, "no case")] {
        let before = network.node().store.held_reports().await.expect("the store").len();
        accepted(network, &message).await;
        let held = network.node().store.held_reports().await.expect("the store");
        assert_eq!((held.len(), held[0].source.as_str()), (before + 1, "mdm"));
        assert!(held[0].hold_reason.contains(reason), "{}", held[0].hold_reason);
    }
}

async fn refused(network: &Network, patient: &SampleCase) {
    let good = oul(patient, "L4", &patient.accession);
    for (message, place) in [
        (good.replace("OUL^R22", "OUL^R01"), "ERR||MSH^1^9|201^"),
        (good.replace("OUL^R22^OUL_R22", "MDM^T02"), "ERR||TXA^1|100^"),
        (good.replace("OUL^R22^OUL_R22", "MDM^T05"), "ERR||MSH^1^9|201^"),
        (good.replace("|F|", "|O|"), "ERR||OBR^1^25|103^"),
    ] {
        let answer = exchange(network.node().hl7, message.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains(place), "{answer}");
    }
}
