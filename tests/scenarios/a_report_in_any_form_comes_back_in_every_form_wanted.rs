//! A reader reports as HL7 text, as HL7 with a PDF, as DICOM SR or as DICOM PDF, by its own tools; a hospital gets it as
//! HL7, as PDF, as SR or as all three, as it wants, readable by its own tools, nothing altered on the way. An SR that
//! names study and patient as the hospital does is not made anew.

use crate::support::{
    center::About,
    data_set::{Part10, encapsulated, text},
    dcmtk::StoreScp,
    free_port,
    hospital::{Scanner, head_ct, write_files},
    network::{Footing, Network, SOON, wall},
    reports::{Oru, dcmdump, dsrdump, folder, pdf_text, pdf2dcm, send_files, set, small_pdf, sr_as_xml, xml2dsr},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use dicom_dictionary_std::tags;
use neisse::{
    cli::sample::SampleCase,
    model::{CaseState, DeliveryKind, DeliveryState},
    store::CaseRow,
};
use std::{path::Path, time::Duration};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    OruText,
    OruPdf,
    /// Without the issuer of the patient's identifier.
    Sr,
    /// Of another class, and as the hospital would write it.
    SrOfTheirs,
    Pdf,
}

const FORMS: [Form; 5] = [Form::OruText, Form::OruPdf, Form::Sr, Form::SrOfTheirs, Form::Pdf];

impl Form {
    fn has_text(self) -> bool {
        matches!(self, Form::OruText | Form::Sr | Form::SrOfTheirs)
    }
}

const FINDING: &str = "Keine Blutung, Größe 4 mm & mehr; Łódź ist Ort der Voraufnahme";
const PAGE: &str = "No haemorrhage on this page";
const NO_TEXT: &str = "the report came without text, so it goes as PDF instead of SR";

#[tokio::test(flavor = "multi_thread")]
async fn a_report_in_any_form_comes_back_in_every_form_wanted() {
    for (footing, wanted) in [
        (Footing::Services, vec!["oru", "pdf", "sr"]),
        (Footing::Embedded, vec!["oru"]),
        (Footing::Embedded, vec!["pdf"]),
        (Footing::Embedded, vec!["sr"]),
        (Footing::Embedded, vec!["sr", "oru"]),
    ] {
        let pacs = StoreScp::start_with("RAB_PACS", free_port(), &["--fork"]).await;
        let network = Network::example(footing, wall("2026-11-25T01:20:00"), |example| {
            example.takes_images_at("rabenstein", pacs.port);
            example.wants("rabenstein", &wanted);
            example.edit_partner("rabenstein", |partner| {
                // All of FINDING's letters, so that no message goes as UTF-8 for want of them.
                partner["hl7"].as_table_mut().expect("[hl7]").insert("charset".into(), "8859/2".into());
            });
        })
        .await;
        for (number, form) in (1..).zip(FORMS) {
            let (patient, _) = head_ct(number, 1);
            let (case, sent) = reported(&network, number, &patient, form).await;
            returned(&network, &case, form, &wanted, &pacs).await;
            if form == Form::SrOfTheirs && wanted.contains(&"sr") {
                let (sent, got) = (sent.expect("an object"), Part10::open(&only(&pacs, &case, "SR", "as it came")));
                assert_eq!(got.elements(), sent.elements(), "nothing of it is altered");
                assert_eq!(got.transfer_syntax(), sent.transfer_syntax());
            }
        }
        network.at_rest().await;
    }
}

/// Sends a CT and the report on it in this form; with the object, where it is an SR.
async fn reported(network: &Network, number: u64, patient: &SampleCase, form: Form) -> (CaseRow, Option<Part10>) {
    let (_, slices) = head_ct(number, 1);
    let mut scanner = Scanner::connect(network.node().dicom, &slices[0]).await;
    assert_eq!(scanner.send(&slices[0]).await, 0x0000);
    scanner.release().await;
    network.decided("rabenstein", &patient.study()).await;
    network.clock.advance(Duration::from_secs(31));
    network.case_in(&patient.study(), CaseState::Delivered).await;
    let (folder, mut sent) = (folder(), None);
    match form {
        Form::OruText => {
            hl7(network, number, patient, &format!("FT|CT^Befund^L||{}", FINDING.replace('&', "\\T\\"))).await
        }
        Form::OruPdf => {
            let document = STANDARD.encode(small_pdf(PAGE));
            hl7(network, number, patient, &format!("ED|CT^Befund^L||^application^pdf^Base64^{document}")).await;
        }
        Form::Sr | Form::SrOfTheirs => {
            let study = patient.study().to_string();
            let (patient_id, accession) = (&patient.patient_id, &patient.accession);
            let xml = sr_as_xml(&About { patient_id, issuer: "", accession, study: &study }, FINDING);
            let file = if form == Form::Sr {
                xml2dsr(folder.path(), &xml).await
            } else {
                let file = xml2dsr(folder.path(), &as_enhanced(&xml)).await;
                set(&file, "(0010,0021)=RABENSTEIN").await;
                file
            };
            sent = Some(Part10::open(&file));
            send_files("KC_PACS", network.dicom_port(), &[file]).await;
        }
        Form::Pdf => {
            let image = &write_files(folder.path(), &slices)[0];
            let file = pdf2dcm(folder.path(), &small_pdf(PAGE), image, "CT head").await;
            send_files("KC_PACS", network.dicom_port(), &[file]).await;
        }
    }
    (network.case_in(&patient.study(), CaseState::Reported).await, sent)
}

async fn hl7(network: &Network, number: u64, patient: &SampleCase, value: &str) {
    let (patient_id, accession, study) = (&patient.patient_id, &patient.accession, patient.study());
    let message = format!(
        "MSH|^~\\&|RIS|KCHEMNITZ|NEISSE|NEISSE|20261125021500+0100||ORU^R01^ORU_R01|F{number}|P|2.5.1||||||UNICODE UTF-8\r\
         PID|1||{patient_id}^^^RABENSTEIN||X^Y\r\
         OBR|1||{accession}^RABENSTEIN|CT^CT Schädel^L|||20261125012500||||||||||||||||||F|||||||&Beispiel&Ruth\r\
         OBX|1|{value}||||||F\r\
         OBX|2|HD|113014^DICOM Study^DCM||{study}||||||F\r"
    );
    let answer = network.chemnitz.send_hl7(network.node().hl7, message.as_bytes(), &format!("F{number}")).await;
    assert_eq!(answer.code.as_str(), "AA", "{answer:?}");
}

async fn returned(network: &Network, case: &CaseRow, form: Form, wanted: &[&str], pacs: &StoreScp) {
    let what = format!("{form:?} to a hospital that wants {wanted:?}: {}", network.story(case).await);
    let mut ledger = Vec::new();
    crate::support::eventually(&what, SOON, async || {
        ledger = network.ledger(case).await;
        ledger.retain(|delivery| delivery.kind != DeliveryKind::Images);
        !ledger.is_empty() && ledger.iter().all(|delivery| delivery.state == DeliveryState::Delivered)
    })
    .await;
    let has_text = form.has_text();
    let mut kinds: Vec<DeliveryKind> = wanted
        .iter()
        .map(|wanted| match *wanted {
            "oru" => DeliveryKind::ReportOru,
            "sr" if has_text => DeliveryKind::ReportSr,
            _ => DeliveryKind::ReportPdf,
        })
        .collect();
    kinds.sort_by_key(|kind| kind.as_str());
    kinds.dedup();
    let mut sent: Vec<DeliveryKind> = ledger.iter().map(|delivery| delivery.kind).collect();
    sent.sort_by_key(|kind| kind.as_str());
    assert_eq!(sent, kinds, "{what}");
    let told = if wanted.contains(&"sr") && !has_text { NO_TEXT } else { "" };
    assert_eq!(case.attention, told, "{what}");
    for kind in kinds {
        match kind {
            DeliveryKind::ReportOru => is_there_as_oru(network, case, form, &what).await,
            DeliveryKind::ReportPdf => is_there_as_pdf(case, form, pacs, &what).await,
            _ => is_there_as_sr(case, form, pacs, &what).await,
        }
    }
}

async fn is_there_as_oru(network: &Network, case: &CaseRow, form: Form, what: &str) {
    let messages = network.hospital.reports();
    let messages = messages.iter().map(|message| Oru::read(message));
    let ours: Vec<Oru> = messages.filter(|message| message.values("HD") == [case.study.as_str()]).collect();
    let [message] = &ours[..] else { panic!("{} messages: {what}", ours.len()) };
    assert_eq!((message.charset.as_str(), message.field("OBR", 25)), ("8859/2", "F"), "{what}");
    match form {
        Form::OruText | Form::Sr | Form::SrOfTheirs => {
            let text = message.values("FT").join("\n");
            assert!(text.contains(&FINDING.replace('&', "\\T\\")), "{text:?}: {what}");
            assert!(message.field("OBR", 32).contains("Beispiel&Ruth"), "who answers for it: {what}");
        }
        Form::OruPdf | Form::Pdf => assert!(message.documents() == [small_pdf(PAGE)], "byte for byte: {what}"),
    }
}

async fn is_there_as_pdf(case: &CaseRow, form: Form, pacs: &StoreScp, what: &str) {
    let file = only(pacs, case, "DOC", what);
    let (pdf, dump) = (encapsulated(&file), dcmdump(&file).await);
    assert!(dump.contains("=EncapsulatedPDFStorage") && dump.contains("[application/pdf]"), "{dump}");
    if matches!(form, Form::OruPdf | Form::Pdf) {
        assert!(pdf == small_pdf(PAGE), "byte for byte: {what}");
    }
    let page = pdf_text(&pdf).await;
    let words = if form.has_text() { FINDING } else { PAGE };
    assert!(page.contains(words), "{page}: {what}");
}

async fn is_there_as_sr(case: &CaseRow, form: Form, pacs: &StoreScp, what: &str) {
    let file = only(pacs, case, "SR", what);
    let dump = dsrdump(&file).await;
    let class = if form == Form::SrOfTheirs { "Enhanced SR Document" } else { "Basic Text SR Document" };
    assert!(dump.contains(class) && dump.contains(FINDING), "{form:?}: {dump}");
    assert!(dump.contains("VERIFIED"), "{form:?}: {dump}");
    assert!(dcmdump(&file).await.contains("[Beispiel^Ruth]"), "who answers for it, as a person's name: {what}");
}

/// The one object of this modality that the hospital's PACS has got in the case's study.
fn only(pacs: &StoreScp, case: &CaseRow, modality: &str, what: &str) -> std::path::PathBuf {
    let is_ours = |file: &Path| {
        text(file, tags::STUDY_INSTANCE_UID) == case.study.as_str() && text(file, tags::MODALITY) == modality
    };
    let files: Vec<_> = pacs.received().into_iter().filter(|file| is_ours(file)).collect();
    let [file] = &files[..] else { panic!("{} objects: {what}", files.len()) };
    assert_eq!(text(file, tags::PATIENT_ID), case.facts.patient_id.value, "{what}");
    assert_eq!(text(file, tags::ISSUER_OF_PATIENT_ID), "RABENSTEIN", "{what}");
    file.clone()
}

fn as_enhanced(basic: &str) -> String {
    let class = "1.2.840.10008.5.1.4.1.1.88.22\">EnhancedSRStorage";
    let basic = basic.replace("1.2.840.10008.5.1.4.1.1.88.11\">BasicTextSRStorage", class);
    basic.replace("type=\"Basic Text SR\"", "type=\"Enhanced SR\"")
}
