//! Reports by specimen as laboratories send them, and as they are sent on. All patients are synthetic.

use crate::hl7::{
    charset::Charset,
    oru::{Coded, Interpreter, ObservationToSend, OruReport, OruToSend, Part, Rejected, ReportKind, Shape, Specimen},
};
use crate::model::{IssuedId, ReportStatus};
use chrono::DateTime;

const MSH: &str = r"MSH|^~\&|LIS|PATH|NEISSE|N|20261122021000||OUL^R22^OUL_R22|1|P|2.5.1||||||UNICODE UTF-8";
const PID: &str = "PID|1||77^^^RAB||X^Y";

fn read(lines: &[&str]) -> Result<OruReport, Rejected> {
    OruReport::read(&[&[MSH, PID], lines].concat().join("\r").into(), Charset::UTF_8)
}

fn ids(specimens: &[Specimen]) -> Vec<String> {
    specimens.iter().flat_map(Specimen::ids).map(|id| format!("{}^{}", id.value, id.issuer)).collect()
}

#[test]
fn each_specimen_has_the_results_that_follow_it() {
    let report = read(&[
        "SPM|1|A1&RAB^L7&PATH||BX^Biopsie^L",
        "OBX|1|ST|S^Schnitt^L||eingebettet||||||F",
        "SAC|||C9^RAB",
        "OBR|1|P1^RAB|F1^PATH|H^Histologie^L|||||||||||||||||||||F",
        "ORC|RE|P1^RAB|F1^PATH",
        "OBX|1|FT|D^Diagnose^L||Adenom||||||F",
        "OBR|2|P1^RAB|F1^PATH|I^Immunhistologie^L|||||||||||||||||||||F",
        "SPM|2|A2&RAB||BX^Biopsie^L",
        "OBR|3||F1^PATH|H^Histologie^L|||||||||||||||||||||F",
        "ORC|RE|P1^RAB|F1^PATH",
        "OBX|1|FT|D^Diagnose^L||Kein Befund||||||F",
    ])
    .expect("read");
    assert_eq!(report.kind, ReportKind::Oul);
    let found: Vec<_> = report.groups.iter().map(|group| (ids(&group.specimens), group.observations.len())).collect();
    let first = ["A1^RAB", "L7^PATH", "C9^RAB"].map(str::to_owned).to_vec();
    assert_eq!(found, [(first, 2), (vec![], 0), (vec!["A2^RAB".to_owned()], 1)]);
    assert!(report.groups.iter().all(|group| group.placer == IssuedId::new("P1", "RAB")), "each ORC is its OBR's");
    assert_eq!(report.groups[0].specimens[0].kind.text, "Biopsie");
    assert_eq!(report.groups[0].specimens[0].display(), "A1 (Biopsie)");
}

#[test]
fn what_no_order_follows_stays_with_the_report_before_it() {
    let obr = "OBR|1|P1^RAB|F1^PATH|H^Histologie^L|||||||||||||||||||||F";
    let report = read(&["SPM|1|A1", obr, "SPM|2|A2", "OBX|1|TX|S||verworfen||||||F"]).expect("read");
    assert_eq!(ids(&report.groups[0].specimens), ["A1^", "A2^"]);
    assert_eq!(report.groups[0].observations.len(), 1);
    let refused = read(&["SPM|1|A1", "OBX|1|TX|S||x||||||F"]).expect_err("no OBR");
    assert_eq!((refused.segment, refused.code.number()), ("OBR", "100"));
    let other = MSH.replace("OUL^R22^OUL_R22", "OUL^R01");
    let refused = OruReport::read(&[&other, PID, obr].join("\r").into(), Charset::UTF_8).expect_err("not taken");
    assert_eq!((refused.segment, refused.field, refused.code.number()), ("MSH", 9, "201"));
}

fn sent(shape: Shape<'_>, observations: &[ObservationToSend<'_>]) -> Vec<String> {
    let at = DateTime::parse_from_rfc3339("2026-11-22T02:10:00+01:00").expect("a time");
    let title = Coded { code: "H".into(), text: "Histologie".into(), system: "L".into() };
    let (id, interpreter) = (IssuedId::new("P1", "RAB"), Interpreter::default());
    let report = OruToSend {
        shape,
        application_ack: false,
        sending_application: "NEISSE",
        sending_facility: "N",
        receiving_application: "KIS",
        receiving_facility: "R",
        control_id: "C1",
        processing_id: "P",
        at,
        patient_id: &id,
        patient_name: "X^Y",
        birth_date: "",
        sex: "",
        accession: &id,
        placer: &id,
        filler: &IssuedId::default(),
        orders: &[],
        study_uid: None,
        title: &title,
        status: ReportStatus::Final,
        observed_at: "",
        reported_at: at,
        interpreter: &interpreter,
        observations,
    };
    let text =
        String::from_utf8(report.outgoing(&crate::model::Outgoing::default()).content.whole().to_vec()).expect("UTF-8");
    text.trim_end().split('\r').skip(2).map(|line| line.split("|||").next().unwrap_or(line).to_owned()).collect()
}

#[test]
fn specimens_lead_in_an_oul_and_follow_in_an_oru() {
    let code = |text: &str| Coded { code: text.into(), ..Coded::default() };
    let (biopsy, d, i) = (code("BX"), code("D"), code("I"));
    let specimen = |number: &str| Specimen {
        placer: IssuedId::new(number, "RAB"),
        kind: biopsy.clone(),
        containers: vec![IssuedId::new("C9", "RAB")],
        ..Specimen::default()
    };
    let two = [specimen("A1"), specimen("A2")];
    let nobody = Interpreter::default();
    let [first, second] =
        [&d, &i].map(|title| Part { title, order: None, status: ReportStatus::Final, interpreter: &nobody });
    let observations = [
        ObservationToSend::Section { part: first, specimens: &two },
        ObservationToSend::Text { code: &d, text: "eins" },
        ObservationToSend::Section { part: second, specimens: &[] },
        ObservationToSend::Text { code: &i, text: "zwei" },
    ];
    let obr = |number, code| format!("OBR|{number}|P1^RAB|P1^RAB|{code}");
    let obx = |number, code: &str, text: &str| format!("OBX|{number}|FT|{code}|{number}|{text}");
    let orc = "ORC|RE|P1^RAB|P1^RAB".to_owned();
    let spm = |number: &str, set: usize| format!("SPM|{set}|{number}&RAB||BX");
    let sac = || "SAC".to_owned();
    assert_eq!(
        sent(Shape::Oul, &observations),
        [
            spm("A1", 1),
            sac(),
            obr(1, "D"),
            orc.clone(),
            spm("A2", 2),
            sac(),
            obr(2, "D"),
            orc.clone(),
            obx(2, "D", "eins"),
            obr(3, "I"),
            orc.clone(),
            obx(4, "I", "zwei"),
        ]
    );
    assert_eq!(
        sent(Shape::Oru, &observations),
        [
            orc.clone(),
            obr(1, "D"),
            obx(2, "D", "eins"),
            spm("A1", 1),
            sac(),
            spm("A2", 2),
            sac(),
            orc.clone(),
            obr(2, "I"),
            obx(4, "I", "zwei"),
        ]
    );
    let plain = sent(Shape::Oul, &observations[1..2]);
    assert_eq!(
        plain[..2],
        ["SPM|1".to_owned(), "OBR|1|P1^RAB|P1^RAB|H^Histologie^L".to_owned()],
        "one it has no number of"
    );
}
