//! Reports as the field sends them, and what must not pass. All patients are synthetic.

use super::*;
use crate::hl7::ack::{Acknowledgement, acknowledge};
use crate::hl7::charset::Charset;
use crate::hl7::message::Message;
use crate::model::{Moment, Outgoing};
use bytes::Bytes;
use chrono::DateTime;
use proptest::prelude::*;

const MSH: &str =
    r"MSH|^~\&|RIS^1.2^ISO|CHEMNITZ|NEISSE|N|20261122021000+0100||ORU^R01^ORU_R01|4711|P|2.5.1||||||UNICODE UTF-8";
const PID: &str = "PID|1||900017^^^RABENSTEIN&1.2.3&ISO~77^^^KVNR||Müßig^Jörg^K^jun^Dr.^^L||19610203|M";
const OBR: &str = "OBR|1|P1^RAB|F1^CHE|24627-2^CT Thorax^LN|||202611220155|||||||||||ACC9||||202611220210||CT|F|||||||17&Weiß&Anna&&&Dr. med.";

fn read(lines: &[&str]) -> Result<OruReport, Rejected> {
    read_bytes((lines.join("\r") + "\r").as_bytes())
}

fn read_bytes(bytes: &[u8]) -> Result<OruReport, Rejected> {
    OruReport::read(&Bytes::copy_from_slice(bytes), Charset::ISO_8859_1)
}

fn texts(group: &OruGroup) -> Vec<String> {
    group.observations.iter().map(|o| o.lines().collect::<Vec<_>>().join("/")).collect()
}

fn place(refused: &Rejected) -> (&str, usize, usize, &str) {
    (refused.segment, refused.sequence, refused.field, refused.code.number())
}

#[test]
fn a_report_is_read_whole() {
    let report = read(&[
        MSH,
        PID,
        "PV1||I",
        "ORC|RE|P0|F0",
        OBR,
        r"OBX|1|FT|18748-4^Befund^LN||Keine Blutung.\.br\Zweite Zeile a\T\b||||||F",
        "NTE|1||Tel. durchgegeben",
        "OBX|2|TX|IMP||eins~zwei~~drei||||||F",
        "OBX|3|ED|PDF||^application^pdf^Base64^JVBERi0xLjQ=||||||F",
        "OBX|4|HD|113014^DICOM Study^DCM||1.2.3.4||||||F",
        "OBX|5|NM|D||12.5|mm|||||F",
        "OBX|6|CWE|R||A1^erhöht^L||||||F",
    ])
    .expect("read");
    assert_eq!((report.sending_application.as_str(), report.sending_facility.as_str()), ("RIS", "CHEMNITZ"));
    assert_eq!(
        (report.control_id.as_str(), report.processing_id.as_str(), report.version.as_str()),
        ("4711", "P", "2.5.1")
    );
    assert_eq!(report.patient_ids, [IssuedId::new("900017", "RABENSTEIN"), IssuedId::new("77", "KVNR")]);
    assert_eq!(report.patient_name, "Müßig^Jörg^K^Dr.^jun");
    assert_eq!((report.birth_date.as_str(), report.sex.as_str(), report.lossy), ("19610203", "M", false));
    let group = &report.groups[0];
    assert_eq!((&group.placer, &group.filler), (&IssuedId::new("P1", "RAB"), &IssuedId::new("F1", "CHE")));
    assert_eq!(group.accessions, [IssuedId::new("ACC9", ""), IssuedId::new("F1", "CHE")]);
    assert_eq!(group.study_uids.iter().map(Uid::as_str).collect::<Vec<_>>(), ["1.2.3.4"]);
    assert_eq!((group.status, group.service.text.as_str()), (ReportStatus::Final, "CT Thorax"));
    assert_eq!((group.observed_at.as_str(), group.reported_at.as_str()), ("202611220155", "202611220210"));
    assert_eq!((group.interpreter.display().as_str(), group.interpreter.id.as_str()), ("Dr. med. Anna Weiß", "17"));
    let expected = ["Keine Blutung./Zweite Zeile a&b", "Tel. durchgegeben", "eins/zwei//drei", "", "12.5 mm", "erhöht"];
    assert_eq!(texts(group), expected);
    let document = Content::Document { mime: "application/pdf".into(), bytes: b"%PDF-1.4".to_vec().into() };
    assert_eq!(group.observations[3].content, document);
}

#[test]
fn what_a_report_cannot_do_without_is_refused_with_its_place() {
    let obx = "OBX|1|TX|a||text||||||F";
    let broken_pdf = "OBX|2|ED|PDF||^AP^PDF^Base64^%%%||||||F";
    for (lines, expected) in [
        (vec![&*MSH.replace("4711", ""), PID, OBR, obx], ("MSH", 1, 10, "101")),
        (vec![&*MSH.replace("ORU^R01", "ADT^A08"), PID, OBR, obx], ("MSH", 1, 9, "200")),
        (vec![&*MSH.replace("ORU^R01", "ORU^R30"), PID, OBR, obx], ("MSH", 1, 9, "201")),
        (vec![&*MSH.replace("|P|", "|X|"), PID, OBR, obx], ("MSH", 1, 11, "202")),
        (vec![&*MSH.replace("2.5.1", "3.0"), PID, OBR, obx], ("MSH", 1, 12, "203")),
        (vec![&*MSH.replace("UNICODE UTF-8", "ISO IR87"), PID, OBR, obx], ("MSH", 1, 18, "103")),
        (vec![PID, OBR, obx], ("MSH", 1, 0, "100")),
        (vec![MSH, OBR, obx], ("PID", 1, 0, "100")),
        (vec![MSH, PID, obx], ("OBR", 1, 0, "100")),
        (vec![MSH, PID, OBR, obx, &*OBR.replace("|F|", "|O|")], ("OBR", 2, 25, "103")),
        (vec![MSH, PID, &*OBR.replace("|F|", "||"), "OBX|1|TX|a||text"], ("OBR", 1, 25, "101")),
        (vec![MSH, PID, OBR, obx, broken_pdf], ("OBX", 2, 5, "102")),
        (vec![MSH, PID, OBR, obx, &*PID.replace("900017", "900018"), OBR], ("PID", 2, 0, "100")),
    ] {
        let refused = read(&lines).expect_err("refused");
        assert_eq!(place(&refused), expected, "{refused}");
        assert!(refused.text.is_ascii());
    }
}

#[test]
fn segments_out_of_order_find_their_group() {
    let obr2 = OBR.replace("P1^RAB", "P2").replace("ACC9", "ACC10").replace("F1^CHE", "");
    let report = read(&[
        MSH,
        "OBX|1|TX|a||early||||||F",
        OBR,
        PID,
        "ZDS|1.2.3^App^App^DICOM",
        "ORC|RE|P2|F2",
        &obr2,
        "obx|1|TX|a||late",
    ])
    .expect("read");
    assert_eq!(report.groups.len(), 2);
    assert_eq!(texts(&report.groups[0]), ["early"]);
    assert_eq!(report.groups[0].study_uids[0].as_str(), "1.2.3");
    assert_eq!(texts(&report.groups[1]), ["late"], "a lower-case segment is one");
    assert_eq!(
        (&*report.groups[1].placer.value, &*report.groups[1].filler.value),
        ("P2", "F2"),
        "ORC fills what OBR leaves out"
    );
    let after = read(&[MSH, PID, &obr2, "ORC|RE||FA", &obr2, "ORC|RE||FB"]).expect("read");
    assert_eq!(after.groups.iter().map(|g| &*g.filler.value).collect::<Vec<_>>(), ["FA", "FB"]);
    let contradicting = read(&[MSH, PID, &obr2, "ORC|RE|OTHER|FA"]).expect("read");
    assert!(contradicting.groups[0].filler.is_empty(), "the filler number of another order is not taken over");
    let repeated = read(&[MSH, PID, OBR, PID, &obr2]).expect("the same patient twice is one patient");
    assert_eq!(repeated.groups.len(), 2);
}

#[test]
fn status_comes_from_the_results_where_the_obr_has_none() {
    let obr = OBR.replace("|F|", "||");
    let obx = |status: &str| format!("OBX|1|TX|a||text||||||{status}");
    for (statuses, expected) in [
        (vec!["F", "F"], ReportStatus::Final),
        (vec!["F", "C"], ReportStatus::Corrected),
        (vec!["C", "P", "F"], ReportStatus::Preliminary),
        (vec!["F", "D"], ReportStatus::Final),
        (vec!["F", "I"], ReportStatus::Preliminary),
        (vec!["F", "N", "O"], ReportStatus::Final),
        (vec!["U"], ReportStatus::Final),
        (vec!["X", "W"], ReportStatus::Withdrawn),
    ] {
        let results = statuses.iter().map(|s| obx(s)).collect::<Vec<_>>().join("\r");
        assert_eq!(read(&[MSH, PID, &obr, &results]).expect("read").groups[0].status, expected, "{statuses:?}");
    }
    let refused = read(&[MSH, PID, &obr, &obx("I")]).expect_err("no result");
    assert_eq!(place(&refused), ("OBR", 1, 25, "103"));
    let taken_back = read(&[MSH, PID, OBR, &obx("D")]).expect("read");
    assert!(taken_back.groups[0].observations[0].is_withdrawn());
}

/// Nothing a reader wrote may vanish because a sender did not escape.
#[test]
fn unescaped_text_is_kept() {
    let report = read(&[
        MSH,
        PID,
        OBR,
        "OBX|1|TX|a||first line\rsecond line\r\rCT|| with a table||||||F",
        "OBX|2|TX|b||a^b & c||||||F",
        "text after it all",
        "OBX|3|ED|PDF||^AP^PDF^Base64^JVBE\r\nRi0=||||||F",
        "NTE|1||note\rgoes on",
    ])
    .expect("read");
    let all = texts(&report.groups[0]).join("\n");
    for kept in ["first line", "second line", "CT|| with a table", "a^b & c", "text after it all", "note/goes on"] {
        assert!(all.contains(kept), "{kept} in {all}");
    }
    let document = Content::Document { mime: "application/pdf".into(), bytes: b"%PDF-".to_vec().into() };
    assert!(report.groups[0].observations.iter().any(|o| o.content == document), "Base64 with line breaks");
}

/// Its sender's buffer was too small: half of a result is not the result.
#[test]
fn a_report_that_breaks_off_is_refused_where_it_ends() {
    let whole = [MSH, PID, OBR, "OBX|1|TX|a||first", "OBX|2|FT|b||no bleeding, but\rsecond line||||||F"].join("\r");
    assert!(read_bytes(whole.as_bytes()).is_ok(), "without a CR behind its last segment");
    for cut in ["but", "second", "||||||"] {
        let end = whole.rfind(cut).expect("there") + cut.len();
        assert_eq!(place(&read_bytes(&whole.as_bytes()[..end]).expect_err(cut)), ("OBX", 2, 11, "101"), "{cut}");
        assert!(read(&[&whole[..end]]).is_ok(), "with its end: {cut}");
    }
}

#[test]
fn a_segment_whose_name_was_damaged_is_text_and_a_document_is_never() {
    let report = read(&[MSH, PID, OBR, "OQX|1|FT|a||no bleeding||||||F", "zbx|local", "NTE|1||note"]).expect("read");
    let all = texts(&report.groups[0]).join("\n");
    assert!(all.contains("no bleeding") && all.contains("note") && !all.contains("local"), "{all}");
    let broken = read(&[MSH, PID, OBR, "O X|1|FT|a||no bleeding||||||F"]).expect("read");
    assert!(texts(&broken.groups[0]).join("\n").contains("no bleeding"), "no part of the OBR before it");
    for value_type in ["", "FT", "?"] {
        let obx = format!("OBX|1|{value_type}|a||^AP^PDF^Base64^JVBERi0=||||||F");
        assert_eq!(place(&read(&[MSH, PID, OBR, &obx]).expect_err("refused")), ("OBX", 1, 2, "102"));
    }
}

#[test]
fn documents_are_read_in_the_forms_of_the_field() {
    for (value_type, value, mime) in [
        ("ED", "^AP^PDF^Base64^JVBERi0=", "application/pdf"),
        ("ED", "RIS^application/pdf^^BASE64^JVBERi0", "application/pdf"),
        ("ED", "^^PDF^^JVBERi0=", "application/pdf"),
        ("ED", "^AP^Octet-stream^Hex^255044462D", "application/pdf"),
        ("ED", "^TEXT^plain^A^%PDF-", "application/pdf"),
    ] {
        let report = read(&[MSH, PID, OBR, &format!("OBX|1|{value_type}|a||{value}||||||F")]).expect("read");
        let expected = Content::Document { mime: mime.into(), bytes: b"%PDF-".to_vec().into() };
        assert_eq!(report.groups[0].observations[0].content, expected, "{value}");
    }
    let report = read(&[MSH, PID, OBR, r"OBX|1|RP|a||https://ris.example/r?a=1\T\b=2^RIS^application^pdf||||||F"])
        .expect("read");
    let pointer = Content::Pointer { address: "https://ris.example/r?a=1&b=2".into(), mime: "application/pdf".into() };
    assert_eq!(report.groups[0].observations[0].content, pointer);
}

#[test]
fn a_small_message_cannot_ask_for_much_memory() {
    let long = "x".repeat(70_000);
    let refused = read(&[MSH, PID, OBR, &format!("OBX|1|TX|{long}||text||||||F")]).expect_err("refused");
    assert_eq!(place(&refused), ("OBX", 1, 0, "102"));
    let many = vec!["^^^^QQ=="; 101].join("~");
    let refused = read(&[MSH, PID, OBR, &format!("OBX|1|ED|a||{many}||||||F")]).expect_err("refused");
    assert_eq!(place(&refused), ("OBX", 1, 5, "102"));
}

#[test]
fn a_dicom_person_name_is_the_same_interpreter_there_and_back() {
    let weiss = Interpreter::of_person_name("Weiß^Anna^^Dr. med.^MBA=ignored");
    assert_eq!(weiss.display(), "Dr. med. Anna Weiß MBA");
    assert_eq!(weiss.person_name(), "Weiß^Anna^^Dr. med.^MBA");
    assert_eq!(Interpreter::of_person_name(&weiss.person_name()), weiss);
    let unstructured = Interpreter { family: "Weiß\\Anna ^ Dr.".into(), ..Interpreter::default() };
    assert_eq!(unstructured.person_name(), "Weiß Anna   Dr.");
    assert_eq!(Interpreter { id: "17".into(), ..Interpreter::default() }.person_name(), "17");
}

#[test]
fn interpreters_are_read_as_ndl_and_as_xcn() {
    for (field, name) in [
        ("17&Weiß&Anna&&&Dr.", "Dr. Anna Weiß"),
        ("17^Weiß^Anna^^^Dr.", "Dr. Anna Weiß"),
        ("Weiß, Anna", "Weiß, Anna"),
        ("17&Weiß&Anna^202611220210", "Anna Weiß"),
        ("", ""),
    ] {
        let obr = format!("{}|{field}", OBR.rsplit_once('|').expect("a field").0);
        assert_eq!(read(&[MSH, PID, &obr]).expect("read").groups[0].interpreter.display(), name, "{field}");
    }
}

#[test]
fn letters_lost_are_reported() {
    let bytes =
        [MSH.as_bytes(), b"\r", PID.as_bytes(), b"\r", OBR.as_bytes(), b"\rOBX|1|TX|a||gr\xFCn||||||F"].concat();
    assert!(read_bytes(&bytes).expect("read").lossy);
}

struct Sent {
    id: IssuedId,
    number: IssuedId,
    uid: Uid,
    title: Coded,
    interpreter: Interpreter,
}

impl Sent {
    fn new() -> Self {
        let coded = |code: &str, text: &str| Coded { code: code.into(), text: text.into(), system: "LN".into() };
        Self {
            id: IssuedId::new("900017", "RABENSTEIN"),
            number: IssuedId::new("A|1", "RAB"),
            uid: Uid::new("1.2.3.4").expect("a UID"),
            title: coded("24627-2", "CT Thorax"),
            interpreter: Interpreter {
                family: "Weiß".into(),
                given: "Anna".into(),
                prefix: "Dr.".into(),
                ..Interpreter::default()
            },
        }
    }

    fn oru<'a>(&'a self, name: &'a str, observations: &'a [ObservationToSend<'a>]) -> OruToSend<'a> {
        let at = DateTime::parse_from_rfc3339("2026-11-22T02:10:00+01:00").expect("a time");
        OruToSend {
            shape: Shape::Oru,
            application_ack: false,
            sending_application: "NEISSE",
            sending_facility: "N",
            receiving_application: "KIS",
            receiving_facility: "DRKRAB",
            control_id: "C1",
            processing_id: "P",
            at,
            patient_id: &self.id,
            patient_name: name,
            birth_date: "19610203",
            sex: "F",
            accession: &self.number,
            placer: &self.number,
            filler: &self.id,
            orders: &[],
            study_uid: Some(&self.uid),
            title: &self.title,
            status: ReportStatus::Preliminary,
            observed_at: "202611220155",
            reported_at: at,
            interpreter: &self.interpreter,
            observations,
        }
    }
}

#[test]
fn what_is_written_is_read_again() {
    let sent = Sent::new();
    let text = "Kein Nachweis | einer & Blutung^~\\\nZweite Zeile";
    let pdf = Encapsulated::from((0..=255).collect::<Vec<u8>>());
    let observations = [
        ObservationToSend::Text { code: &sent.title, text },
        ObservationToSend::Document { code: &sent.title, mime: "application/pdf", bytes: &pdf, flags: &[] },
    ];
    for set in ["8859/2", "Windows-1250", "UNICODE UTF-8"] {
        let charset = Charset::named(set).expect("known");
        let bytes = sent.oru("Świątek^Łucja^^Dr.^jun", &observations).outgoing(&Outgoing::new(charset)).content.whole();
        let report = read_bytes(&bytes).expect("read");
        assert_eq!((report.patient_name.as_str(), report.control_id.as_str()), ("Świątek^Łucja^^Dr.^jun", "C1"));
        assert_eq!(report.patient_ids, std::slice::from_ref(&sent.id));
        let group = &report.groups[0];
        assert_eq!((&group.placer, &group.filler), (&sent.number, &sent.id));
        assert_eq!(group.accessions[0].value, "A|1");
        assert_eq!(
            (group.status, &group.interpreter, &group.service),
            (ReportStatus::Preliminary, &sent.interpreter, &sent.title)
        );
        assert_eq!(group.study_uids, std::slice::from_ref(&sent.uid));
        assert_eq!(group.observations[0].lines().collect::<Vec<_>>().join("\n"), text);
        let document = Content::Document { mime: "application/pdf".into(), bytes: pdf.clone() };
        assert_eq!(group.observations[1].content, document);
    }
}

#[test]
fn a_letter_the_receiver_cannot_read_is_named_and_sent_as_utf_8() {
    let sent = Sent::new();
    let latin1 = Outgoing::new(Charset::ISO_8859_1);
    let message = sent.oru("Świątek^Łucja", &[]).outgoing(&latin1);
    assert_eq!(message.warnings, ["sent as UTF-8: 8859/1 does not hold ą (U+0105), Ł (U+0141), Ś (U+015A)"]);
    assert_eq!(read_bytes(&message.content.whole()).expect("read").patient_name, "Świątek^Łucja");
    assert!(String::from_utf8(message.content.whole().to_vec()).expect("UTF-8").contains("|UNICODE UTF-8\r"));
    assert!(sent.oru("Müßig^Jörg", &[]).outgoing(&latin1).warnings.is_empty());
}

#[test]
fn the_message_sent_has_the_form_of_v2_5_1() {
    let sent = Sent::new();
    let observations = [ObservationToSend::Text { code: &sent.title, text: "a\nb" }];
    let bytes = sent.oru("Müßig^Jörg", &observations).outgoing(&Outgoing::new(Charset::ISO_8859_1)).content.whole();
    let text = Charset::ISO_8859_1.decode(&bytes).text;
    let expected = [
        r"MSH|^~\&|NEISSE|N|KIS|DRKRAB|20261122021000+0100||ORU^R01^ORU_R01|C1|P|2.5.1||||||8859/1",
        "PID|1||900017^^^RABENSTEIN||Müßig^Jörg^^^^^L||19610203|F",
        r"ORC|RE|A\F\1^RAB|900017^RABENSTEIN",
        r"OBR|1|A\F\1^RAB|900017^RABENSTEIN|24627-2^CT Thorax^LN|||202611220155|||||||||||A\F\1||||20261122021000+0100|||P|||||||&Weiß&Anna&&&Dr.",
        r"OBX|1|FT|24627-2^CT Thorax^LN|1|a\.br\b||||||P|||20261122021000+0100",
        "OBX|2|HD|113014^DICOM Study^DCM|2|1.2.3.4||||||P|||20261122021000+0100",
        "",
    ];
    assert_eq!(text.split('\r').collect::<Vec<_>>(), expected);
}

/// Every value type as people read it, with unit, range and flags, and in parts to be sent on.
#[test]
fn results_are_read_with_all_that_belongs_to_them() {
    for (obx, shown, remark, parts) in [
        ("NM|K^Kalium^L||6.9|mmol/L^^UCUM|3.5-5.1|HH", "6.9 mmol/L", " [3.5-5.1] HH", "6.9"),
        ("NM|K||1~2|mm", "1\n2 mm", "", "1~2"),
        ("SN|T||>^5|mg||H~A", ">5 mg", " H A", ">/5"),
        ("SN|T||^1^:^128", "1:128", "", "/1/:/128"),
        ("CWE|R||A1^erhöht^L^B2^high^LN||", "erhöht", "", "A1/erhöht/L/B2/high/LN"),
        ("CE|R||A1", "A1", "", "A1"),
        ("DT|D||20261122", "2026-11-22", "", "20261122"),
        ("TS|D||20261122021059.12+0100", "2026-11-22 02:10:59 +0100", "", "20261122021059.12+0100"),
        ("TS|D||202611220210", "2026-11-22 02:10", "", "202611220210"),
        ("TM|D||0210", "02:10", "", "0210"),
        ("DT|D||gestern", "gestern", "", "gestern"),
        ("ST|S||Colon||<3 cm", "Colon", " [<3 cm]", ""),
        ("TX|S||Pneumothorax|||AA", "Pneumothorax", " AA", ""),
    ] {
        let report = read(&[MSH, PID, OBR, &format!("OBX|1|{obx}")]).expect("read");
        let observation = &report.groups[0].observations[0];
        let joined = |repetition: &Vec<String>| repetition.join("/");
        let detail = observation.detail.clone().unwrap_or_default();
        let found = detail.structured.as_ref();
        let found = found.map(|value| value.repetitions.iter().map(joined).collect::<Vec<_>>().join("~"));
        assert_eq!(observation.content, Content::Text(shown.into()), "{obx}");
        assert_eq!((detail.remark().as_str(), found.unwrap_or_default().as_str()), (remark, parts), "{obx}");
    }
}

/// Numbers, codes and flags go on as they came; what is taken back goes as D, with words for people.
#[test]
fn a_result_is_sent_on_in_parts_and_a_deleted_one_as_such() {
    let sent = Sent::new();
    let structured = |value_type, parts: &[&str]| Structured {
        value_type,
        repetitions: vec![parts.iter().map(|part| (*part).to_owned()).collect()],
    };
    let (number, coded) = (structured("NM", &["6.9"]), structured("CWE", &["A1", "a|b", "L"]));
    let units = Coded { code: "mmol/L".into(), ..Coded::default() };
    let flags = ["HH".to_owned(), "A".to_owned()];
    let value =
        |value, flags| ObservationToSend::Value { code: &sent.title, value, units: &units, range: "3-5", flags };
    let nothing = Coded::default();
    let observations = [
        value(ValueToSend::Structured(&number), &flags[..]),
        value(ValueToSend::Structured(&coded), &[]),
        value(ValueToSend::Text("frei"), &flags[..1]),
        ObservationToSend::Deleted { code: &sent.title, words: "zurück" },
        ObservationToSend::Deleted { code: &nothing, words: "namenlos" },
    ];
    let bytes = sent.oru("X^Y", &observations).outgoing(&Outgoing::default()).content.whole().to_vec();
    let text = String::from_utf8(bytes).expect("UTF-8");
    let at = "20261122021000+0100";
    let code = "24627-2^CT Thorax^LN";
    let expected = [
        format!("OBX|1|NM|{code}|1|6.9|mmol/L|3-5|HH~A|||P|||{at}"),
        format!(r"OBX|2|CWE|{code}|2|A1^a\F\b^L|mmol/L|3-5||||P|||{at}"),
        format!("OBX|3|FT|{code}|3|frei|mmol/L|3-5|HH|||P|||{at}"),
        format!("OBX|4|FT|{code}|4|||||||D|||{at}"),
        "NTE|1||zurück".into(),
        "NTE|1||namenlos".into(),
    ];
    let found: Vec<&str> = text.split('\r').filter(|line| line.starts_with("OBX") || line.starts_with("NTE")).collect();
    assert_eq!(found[..6], expected);
    let mut taken_back = sent.oru("X^Y", &observations[3..4]);
    taken_back.status = ReportStatus::Withdrawn;
    taken_back.application_ack = true;
    let text = String::from_utf8(taken_back.outgoing(&Outgoing::default()).content.whole().to_vec()).expect("UTF-8");
    assert!(text.contains(&format!("OBX|1|FT|{code}|1|||||||X|||{at}")), "{text}");
    assert!(text.contains("|C1|P|2.5.1|||AL|AL||UNICODE UTF-8\r"), "{text}");
}

/// Run with `--ignored --nocapture`, in release, for the figures.
#[test]
#[ignore = "a measurement"]
fn measure_large_reports() {
    let status = || std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = || status().lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default().to_owned();
    let head = [MSH, PID, OBR].join("\r");
    for (name, kind, start, fill) in [
        ("text", "TX", "", "x"),
        ("Base64", "ED", "^AP^PDF^Base64^", "AAAA"),
        ("escapes", "FT", "", "\\F\\"),
        ("repetitions", "TX", "", "~"),
    ] {
        let mut bytes = format!("{head}\rOBX|1|{kind}|a||{start}").into_bytes();
        bytes.reserve_exact((32 << 20) + 64);
        (0..(32 << 20) / fill.len()).for_each(|_| bytes.extend_from_slice(fill.as_bytes()));
        bytes.extend_from_slice(b"||||||F\r");
        let started = std::time::Instant::now();
        let report = read_bytes(&bytes).expect("read");
        println!("32 MB {name}: {:?}, {} groups, {}", started.elapsed(), report.groups.len(), peak());
    }
    let mut many = head.into_bytes();
    for i in 0..200_000 {
        many.extend_from_slice(format!("\rOBX|{i}|TX|1^x||line {i}||||||F").as_bytes());
    }
    let started = std::time::Instant::now();
    let report = read_bytes(&many).expect("read");
    println!("200k OBX read: {:?}, {}, {}", started.elapsed(), report.groups[0].observations.len(), peak());
}

proptest! {
    /// Damage anywhere in a good report is answered, never a panic; and an answer to a refusal says no.
    #[test]
    fn damage_in_any_segment_is_answered(
        places in proptest::collection::vec((0usize..1000, any::<u8>(), 0usize..4), 1..6)
    ) {
        let obx = "OBX|1|ED|PDF||^AP^PDF^Base64^JVBERi0=||||||F";
        let mut bytes = [MSH, PID, "ORC|RE|P0", OBR, obx, "ZDS|1.2.3", "NTE|1||x"].join("\r").into_bytes();
        for (at, byte, kind) in places {
            let at = at % bytes.len();
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => { bytes.remove(at); }
                _ => bytes.truncate(at.max(20)),
            }
        }
        crate::hl7::fuzz_message(&bytes);
        if let Ok(message) = Message::parse(&bytes)
            && let Err(refused) = OruReport::parse(&message, Charset::UTF_8, None)
        {
            let answer = acknowledge(&message, refused.verdict(), Some(&refused), Moment(0));
            let no = answer.is_empty() || Acknowledgement::parse(&answer).unwrap().code.verdict() == refused.verdict();
            prop_assert!(no);
        }
    }
}
