//! What the origin gets of reports that a form cannot show whole.

use super::*;
use crate::{
    config,
    hl7::{charset::Charset, oru::OruReport},
    model::{CaseId, CaseState, Discipline, PartnerId, Priority, StudyFacts},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

const PDF: &[u8] = b"%PDF-1.4 a page\n%%EOF\n";

/// What is made of these OBX for rabenstein, which speaks this language.
fn made(language: &str, obr_25: &str, results: &[&str]) -> Made {
    made_as("[\"oru\", \"pdf\", \"sr\"]", language, obr_25, results)
}

fn made_as(forms: &str, language: &str, obr_25: &str, results: &[&str]) -> Made {
    let partner = format!(
        "name = \"R\"\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\nissuer = \"RAB\"\nlanguage = \"{language}\"\n\
         [dicom.deliver]\nae_title = \"R\"\nhost = \"127.0.0.1\"\nport = 104\n\
         [hl7]\ncharset = \"UNICODE UTF-8\"\n\
         [hl7.deliver]\nhost = \"127.0.0.1\"\nport = 2575\napplication = \"A\"\nfacility = \"F\"\n\
         [reports]\nforms = {forms}\n"
    );
    let route = "[[route]]\nname = \"All\"\nfrom = [\"rabenstein\"]\nto = [\"origin\"]\n";
    let files = [("neisse.toml", ""), ("routes.toml", route), ("partners/rabenstein.toml", partner.as_str())];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let config = config::load_from(std::path::Path::new("/nowhere"), &files.into(), &|_| None).unwrap();
    let rabenstein = PartnerId::new("rabenstein").unwrap();
    let case = case(&rabenstein);
    let incoming = incoming(obr_25, results);
    let answered = crate::results::parts::answered(&incoming.clues, &case.facts, &[]);
    let uid = |text| Uid::new(text).unwrap();
    let images = [ImageOfCase {
        series: uid("1.2.3.4"),
        sop_class: uid("1.2.840.10008.5.1.4.1.1.2"),
        sop_instance: uid("1.2.3.4.5"),
    }];
    let making = Making {
        id: ReportId::generate(),
        version: 2,
        replaces: Some(Moment(0)),
        before: &[],
        images: &images,
        answered: &answered,
        critical: false,
        case: &case,
        origin: &config.partners[&rabenstein],
        reader_name: "Chemnitz",
        node: "NEISSE",
    };
    make(&incoming, &making)
}

fn incoming(obr_25: &str, results: &[&str]) -> Incoming {
    let head = "MSH|^~\\&|RIS|KC|NEISSE|N|20261125021500||ORU^R01|1|P|2.5.1||||||8859/2\rPID|1||77^^^RAB||X^Y\r";
    let message = format!("{head}OBR|1||||||||||||||||||||||||{obr_25}\r{}\r", results.join("\r"));
    let report = OruReport::read(&message.clone().into(), Charset::UTF_8).unwrap();
    Incoming::from_oru(report, PartnerId::new("chemnitz").unwrap(), Moment(0), Bytes::from(message)).unwrap()
}

fn case(origin: &PartnerId) -> CaseRow {
    CaseRow {
        id: CaseId::generate(),
        origin: origin.clone(),
        study: Uid::new("1.2.3").unwrap(),
        state: CaseState::Routed,
        discipline: Discipline::Radiology,
        priority: Priority::Routine,
        calling_ae: String::new(),
        called_ae: String::new(),
        facts: StudyFacts { patient_id: IssuedId::new("77", "RAB"), ..StudyFacts::default() },
        instances: 1,
        bytes: 1,
        routed_to: 1,
        first: Moment(0),
        last: Moment(0),
        whole: None,
        decision: None,
        reader: None,
        attention: String::new(),
        has_study: true,
        report_due: None,
        waits_until: None,
    }
}

fn document(kind: &str, bytes: &[u8]) -> String {
    format!("OBX|1|ED|CT^Befund^L||^{kind}^Base64^{}||||||F", STANDARD.encode(bytes))
}

const TEXT: &str = "OBX|1|FT|CT^Befund^L||Keine Blutung||||||F";

fn forms(made: &Made) -> Vec<&'static str> {
    made.forms.iter().map(|(_, row)| row.form).collect()
}

fn holds(made: &Made, form: DeliveryKind, words: &str) -> bool {
    let (_, row) = made.forms.iter().find(|(kind, _)| *kind == form).unwrap();
    row.content.whole().windows(words.len()).any(|bytes| bytes == words.as_bytes())
}

#[test]
fn what_no_form_but_hl7_can_hold_goes_as_hl7_and_a_person_is_told() {
    for kind in ["image^jpeg", "application^rtf", "text^html"] {
        let made = made("de", "F", &[&document(kind, b"something")]);
        assert_eq!(forms(&made), [DeliveryKind::ReportOru.as_str()], "{kind}");
        let told = [
            "not sent as PDF: the report came without text and without a PDF",
            "not sent as SR: the report came without text and without a PDF",
        ];
        assert_eq!(made.warnings, told, "{kind}");
    }
}

#[test]
fn a_report_without_anything_goes_nowhere_and_a_person_is_told() {
    for results in [&[] as &[&str], &["OBX|1|FT|CT^Befund^L||||||||F"]] {
        let made = made("de", "F", results);
        assert!(made.forms.is_empty() && made.warnings.len() == 3, "{:?}", made.warnings);
    }
}

#[test]
fn a_plain_text_document_is_text() {
    // UTF-8, and the message's own 8859-2.
    for bytes in ["Łódź: keine Blutung\r\n".as_bytes(), b"\xa3\xf3d\xbc: keine Blutung\r\n"] {
        let made = made("de", "F", &[&document("text^plain", bytes)]);
        assert_eq!((made.forms.len(), made.warnings.len()), (3, 0), "{:?}", made.warnings);
        for form in [DeliveryKind::ReportOru, DeliveryKind::ReportSr] {
            assert!(holds(&made, form, "Łódź: keine Blutung"), "{form}");
        }
    }
}

#[test]
fn what_a_form_leaves_out_is_named() {
    let pdf = document("application^pdf", PDF);
    let objects = "[\"pdf\", \"sr\"]";
    let two = made_as(objects, "de", "F", &[&pdf, &pdf]);
    let told = [
        "the report came without text, so it goes as PDF instead of SR",
        "the PDF does not hold all of the report: without 1 document",
    ];
    assert_eq!(two.warnings, told);
    let all = [TEXT, &pdf, &document("image^jpeg", b"\xff\xd8\xff")];
    let told = [
        "the PDF does not hold all of the report: without its text and 1 document",
        "the SR does not hold all of the report: without 2 documents",
    ];
    assert_eq!(made_as(objects, "de", "F", &all).warnings, told);
    assert!(made("de", "F", &all).warnings.is_empty(), "the ORU beside them holds all of it");
    assert!(made("de", "F", &[TEXT]).warnings.is_empty());
}

/// Half of a PDF may be good Base64. What there is goes home, and somebody asks for the rest.
#[test]
fn a_pdf_without_its_end_comes_before_a_person() {
    let whole = made("de", "F", &[&document("application^pdf", PDF)]);
    let half = made("de", "F", &[&document("application^pdf", &PDF[..12])]);
    let told = |made: &Made| made.warnings.iter().any(|warning| warning == BREAKS_OFF);
    assert!(!told(&whole) && told(&half));
    assert_eq!(forms(&half), forms(&whole));
}

#[test]
fn a_report_that_is_taken_back_is_said_to_be_in_the_origin_s_language() {
    for (language, words) in [
        ("de", "Der frühere Befund wurde"),
        ("pl", "Wcześniejszy wynik został wycofany"),
        ("cs", "Dřívější nález byl"),
        ("en", "The earlier report has been withdrawn"),
    ] {
        for obr_25 in ["C", "F"] {
            let taken_back = ["W", "X", "D"].map(|status| TEXT.replace("||||||F", &format!("||||||{status}")));
            let made = made(language, obr_25, &taken_back.each_ref().map(String::as_str));
            assert_eq!((made.forms.len(), made.warnings.as_slice()), (3, [WITHDRAWN.to_owned()].as_slice()));
            for form in [DeliveryKind::ReportOru, DeliveryKind::ReportSr] {
                assert!(holds(&made, form, words) && !holds(&made, form, "Keine Blutung"), "{language} {form}");
            }
            let (_, row) = &made.forms[0];
            let message = row.content.whole();
            let message = String::from_utf8_lossy(&message);
            let status = |line: &str| {
                let field = if line.starts_with("OBR") { 25 } else { 11 };
                line.split('|').nth(field).unwrap_or_default().to_owned()
            };
            let results = message.split('\r').filter(|line| line.starts_with("OBR") || line.starts_with("OBX"));
            let statuses: Vec<String> = results.map(status).collect();
            assert_eq!(statuses, ["X"; 6], "in codes too: {message}");
        }
    }
    // One that is left is the report.
    assert!(made("de", "C", &[&TEXT.replace("||||||F", "||||||W"), TEXT]).warnings.is_empty());
}

#[test]
fn a_document_that_does_not_hold_any_more_goes_nowhere() {
    let why = TEXT.replace("Keine Blutung", "Verwechslung");
    let made = made("de", "X", &[&document("application^pdf", PDF), &why]);
    assert_eq!(forms(&made), ["report_oru", "report_pdf", "report_sr"]);
    for form in [DeliveryKind::ReportOru, DeliveryKind::ReportSr] {
        assert!(holds(&made, form, "Der frühere Befund wurde") && holds(&made, form, "Verwechslung"), "{form}");
    }
    let (_, pdf) = &made.forms[1];
    assert!(!pdf.content.whole().windows(PDF.len()).any(|bytes| bytes == PDF), "the PDF says so instead");
    assert!(!holds(&made, DeliveryKind::ReportOru, &STANDARD.encode(PDF)));
}

/// The same report in every form by HL7: each under a control id of its own, a document with a number of its own.
#[test]
fn every_hl7_form_has_its_own_control_id() {
    let made = made_as("[\"oru\", \"oul\", \"mdm\"]", "de", "F", &[TEXT, &document("application^pdf", PDF)]);
    assert_eq!(forms(&made), ["report_oru", "report_oul", "report_mdm"]);
    let ids: std::collections::BTreeSet<&str> = made.forms.iter().map(|(_, row)| row.control_id.as_str()).collect();
    assert_eq!(ids.len(), 3);
    for (kind, row) in &made.forms {
        assert!(row.control_id.len() == 20 && holds(&made, *kind, &row.control_id), "{kind}");
        assert!(holds(&made, *kind, "Keine Blutung") && holds(&made, *kind, &STANDARD.encode(PDF)), "{kind}");
    }
}

/// An order that is not known here keeps its number, and is shown to a person.
#[test]
fn every_form_names_the_order_of_each_part() {
    let results = |issuer: &str| {
        let part = |n: u8| format!("OBR|{n}|P{n}^{issuer}||CT{n}^Teil {n}^L|||||||||||||||||||||F");
        [part(2), TEXT.to_owned(), part(3), TEXT.to_owned()]
    };
    for issuer in ["RAB", "KC"] {
        let results = results(issuer);
        let made = made("de", "F", &results.each_ref().map(String::as_str));
        assert_eq!(made.warnings, [UNKNOWN_ORDER]);
        for number in ["P2", "P3"] {
            assert!(holds(&made, DeliveryKind::ReportOru, &format!("|{number}^{issuer}|")), "{number}");
            assert!(holds(&made, DeliveryKind::ReportSr, &format!("Auftrag: {number}")), "in its text: {number}");
            // Referenced Request Sequence: (0040,2016) with two letters.
            let element = format!("\x40\0\x16\x20LO\x02\0{number}");
            for form in [DeliveryKind::ReportSr, DeliveryKind::ReportPdf] {
                assert!(holds(&made, form, &element), "{form} {number}");
            }
        }
    }
}

/// P1 is final, P2 cancelled, P3 preliminary, of P4 every result is taken back: each says so, and who read it.
#[test]
fn every_part_keeps_its_own_status_and_interpreter() {
    let part = |n: u8, status: &str, who: &str| {
        format!("OBR|{n}|P{n}^RAB||CT{n}^Teil {n}^L|||||||||||||||||||||{status}|||||||{who}")
    };
    let (first, pdf) = (part(1, "F", "17&Weber&Anna"), document("application^pdf", PDF));
    let (second, third, fourth) = (part(2, "X", "18&Schwarz&Max"), part(3, "P", ""), part(4, "F", "17&Weber&Anna"));
    let gone = TEXT.replace("||||||F", "||||||W");
    let results = [&first, TEXT, &second, TEXT, &pdf, &third, TEXT, &fourth, &gone];
    let made = made_as("[\"oru\", \"oul\"]", "de", "F", &results);
    let field = |line: &str, n: usize| line.split('|').nth(n).unwrap_or_default().to_owned();
    for (form, row) in &made.forms {
        let message = row.content.whole();
        let message = String::from_utf8_lossy(&message);
        let parts: Vec<(String, String, String)> = message
            .split("\rOBR|")
            .skip(1)
            .filter(|part| field(part, 1).starts_with('P'))
            .map(|part| {
                let results = part.split('\r').filter(|line| line.starts_with("OBX") && !line.contains("|HD|"));
                let statuses: Vec<String> = results.map(|line| field(line, 11)).collect();
                let obr = part.split('\r').next().unwrap();
                (field(obr, 24), field(obr, 31), statuses.join(" "))
            })
            .collect();
        let expected = [
            ("F", "17&Weber&Anna", "F"),
            ("X", "18&Schwarz&Max", "X X X"),
            ("P", "", "P"),
            ("X", "17&Weber&Anna", "X"),
        ]
        .map(|(status, who, results)| (status.to_owned(), who.to_owned(), results.to_owned()));
        assert_eq!(parts, expected, "{form}: {message}");
        assert!(!message.contains(&STANDARD.encode(PDF)), "{form}: what was cancelled holds no document");
    }
    assert_eq!(made.forms.len(), 2);
}

/// Current Requested Procedure Evidence Sequence (0040,A375): the images that were read.
#[test]
fn an_sr_refers_to_the_images_that_were_read() {
    let made = made("de", "F", &[TEXT]);
    for words in [b"\x40\0\x75\xA3SQ".as_slice(), b"1.2.3.4.5"] {
        let (_, row) = made.forms.iter().find(|(kind, _)| *kind == DeliveryKind::ReportSr).unwrap();
        assert!(row.content.whole().windows(words.len()).any(|bytes| bytes == words), "{words:?}");
    }
}
