//! A reader takes back one result of several, then everything: the hospital is told which, in its language and in HL7's
//! codes, as HL7, PDF and SR; the case waits for a report again, and a person knows. A preliminary report that comes after
//! the final one never takes its place.

use crate::support::{
    data_set::{encapsulated, text},
    dcmtk::StoreScp,
    eventually, free_port,
    hospital::{head_ct, send_study},
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON, wall},
    reports::{Oru, dcmdump, exchange, pdf_text},
};
use dicom_dictionary_std::tags;
use neisse::{
    cli::sample::SampleCase,
    model::{CaseState, ReportStatus},
};
use std::{path::PathBuf, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_result_is_told_in_words_and_codes() {
    for footing in BOTH {
        let pacs = StoreScp::start_with("RAB_PACS", free_port(), &["--fork"]).await;
        let network = Network::example(footing, wall("2026-11-25T02:00"), |example| {
            example.takes_images_at("rabenstein", pacs.port);
            example.wants("rabenstein", &["oru", "pdf", "sr"]);
            example.rules(ALWAYS_CHEMNITZ);
        })
        .await;
        let (patient, slices) = head_ct(1, 3);
        send_study(network.node().dicom, &slices).await;
        network.decided("rabenstein", &patient.study()).await;
        network.clock.advance(Duration::from_secs(31));
        network.case_in(&patient.study(), CaseState::Delivered).await;

        let version = |number: usize, obr_25: &'static str, obx_11: [&'static str; 2]| {
            reported(&network, &pacs, &patient, number, obr_25, obx_11)
        };
        // Some results, not all: preliminary.
        let (first, _) = version(1, "A", ["F", "I"]).await;
        assert_eq!(first.field("OBR", 25), "P");
        network.case_in(&patient.study(), CaseState::Preliminary).await;
        version(2, "F", ["F", "F"]).await;
        network.case_in(&patient.study(), CaseState::Reported).await;

        // One of two.
        let (message, objects) = version(3, "C", ["F", "D"]).await;
        assert_eq!((message.field("OBR", 25), message.values("FT")), ("C", vec!["Befund 3", ""]));
        let words = "Zurückgezogen, gilt nicht mehr: Messung";
        assert_eq!(message.field("NTE", 3), words);
        assert!(objects.pdf.contains(words) && objects.pdf.contains("Befund 3"), "{}", objects.pdf);
        assert!(objects.sr.contains(words), "{}", objects.sr);
        assert!(objects.sr.contains("PredecessorDocumentsSequence"), "it names the one it replaces: {}", objects.sr);
        assert!(objects.sr.contains("[COMPLETE]"), "{}", objects.sr);
        let case = network.case_in(&patient.study(), CaseState::Reported).await;
        assert_eq!(case.attention, "");

        // Everything.
        let (message, objects) = version(4, "X", ["X", "W"]).await;
        assert_eq!(message.field("OBR", 25), "X");
        assert_eq!(message.results(11), ["X"; 4], "no result is left, and none is shown");
        let words = "Der frühere Befund wurde von der befundenden Stelle zurückgezogen";
        assert!(message.values("FT")[0].contains(words), "{:?}", message.values("FT"));
        assert!(objects.pdf.contains(words) && !objects.pdf.contains("Befund 4"), "{}", objects.pdf);
        assert!(objects.pdf.contains("ZURÜCKGEZOGEN"), "{}", objects.pdf);
        assert!(objects.sr.contains("[PARTIAL]") && objects.sr.contains("[UNVERIFIED]"), "{}", objects.sr);
        let case = network.case_in(&patient.study(), CaseState::Delivered).await;
        assert!(case.attention.contains("its reader has taken back every result"), "{}", case.attention);

        // A new one, and then an old preliminary one: the origin keeps the final.
        version(5, "F", ["F", "F"]).await;
        let late = oru(&patient, 6, "P", ["P", "P"]);
        let answer = exchange(network.node().hl7, late.as_bytes()).await;
        assert!(String::from_utf8_lossy(&answer).contains("MSA|AA|W6"));
        let case = network.case_in(&patient.study(), CaseState::Reported).await;
        assert!(case.attention.contains("a preliminary one after the final one; ask chemnitz"), "{}", case.attention);
        let stored = network.node().store.reports(case.id).await.expect("the store");
        use ReportStatus::{Corrected, Final, Preliminary, Withdrawn};
        let statuses: Vec<_> = stored.iter().map(|report| report.status).collect();
        assert_eq!(statuses, [Preliminary, Final, Corrected, Withdrawn, Final, Preliminary], "all are kept");
        let hospital = network.hospital.reports();
        assert_eq!(hospital.len(), 5, "the old one has not left");
        network.at_rest().await;
    }
}

fn oru(patient: &SampleCase, number: usize, obr_25: &str, obx_11: [&str; 2]) -> String {
    let (id, accession, study) = (&patient.patient_id, &patient.accession, patient.study());
    let [first, second] = obx_11;
    format!(
        "MSH|^~\\&|RIS|KCHEMNITZ|NEISSE|NEISSE|20261125021500+0100||ORU^R01^ORU_R01|W{number}|P|2.5.1||||||UNICODE UTF-8\r\
         PID|1||{id}^^^RABENSTEIN||X^Y\r\
         OBR|1||{accession}^RABENSTEIN|CT^CT Schädel^L|||20261125012500||||||||||||||||||{obr_25}|||||||&Beispiel&Ruth\r\
         OBX|1|FT|CT^Befund^L||Befund {number}||||||{first}\r\
         OBX|2|NM|M^Messung^L||4.{number}|mm|||||{second}\r\
         OBX|3|HD|113014^DICOM Study^DCM||{study}||||||F\r"
    )
}

/// What came of a version beside HL7.
struct Objects {
    pdf: String,
    /// As `dcmdump` shows it.
    sr: String,
}

async fn reported(
    network: &Network,
    pacs: &StoreScp,
    patient: &SampleCase,
    number: usize,
    obr_25: &str,
    obx_11: [&str; 2],
) -> (Oru, Objects) {
    let message = oru(patient, number, obr_25, obx_11);
    let answer = exchange(network.node().hl7, message.as_bytes()).await;
    assert!(String::from_utf8_lossy(&answer).contains(&format!("MSA|AA|W{number}")));
    let objects = || -> Vec<PathBuf> {
        let of_version = |file: &PathBuf| text(file, tags::INSTANCE_NUMBER) == number.to_string();
        let is_report = |file: &PathBuf| ["SR", "DOC"].contains(&text(file, tags::MODALITY).as_str());
        pacs.received().into_iter().filter(|file| is_report(file) && of_version(file)).collect()
    };
    eventually(&format!("version {number} is back in three forms"), SOON, async || {
        network.hospital.reports().len() == number && objects().len() == 2
    })
    .await;
    let of = |modality: &str| {
        objects().into_iter().find(|file| text(file, tags::MODALITY) == modality).expect("an object of it")
    };
    let pdf = pdf_text(&encapsulated(&of("DOC"))).await;
    let sr = dcmdump(&of("SR")).await;
    (Oru::read(&network.hospital.reports()[number - 1]), Objects { pdf, sr })
}
