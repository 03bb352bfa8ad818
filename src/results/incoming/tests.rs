//! What is read from messages that no reader's system would send.

use super::*;
use crate::hl7::charset::Charset;
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

fn incoming(message: &str) -> Result<Incoming, (Box<Incoming>, &'static str)> {
    let report = OruReport::read(&Bytes::copy_from_slice(message.as_bytes()), Charset::UTF_8).unwrap();
    let sender = PartnerId::new("chemnitz").unwrap();
    Incoming::from_oru(report, sender, Moment(0), Bytes::copy_from_slice(message.as_bytes()))
}

const HEAD: &str =
    "MSH|^~\\&|RIS|KC|NEISSE|N|20261125021500||ORU^R01|1|P|2.5.1||||||UNICODE UTF-8\rPID|1||77^^^RAB||X^Y\r";

#[test]
fn thousands_of_groups_with_dozens_of_numbers_are_held_at_once() {
    let mut message = HEAD.to_owned();
    for group in 0..5_000 {
        message.push_str("OBR|1||||||||||||||||||||||||F\r");
        for number in 0..50 {
            write!(message, "IPC|{group}-{number}||1.2.{group}.{number}\r").unwrap();
        }
    }
    let report = OruReport::read(&Bytes::copy_from_slice(message.as_bytes()), Charset::UTF_8).unwrap();
    let begun = Instant::now();
    let sender = PartnerId::new("chemnitz").unwrap();
    let (held, reason) = Incoming::from_oru(report, sender, Moment(0), Bytes::new()).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(reason, TOO_MANY);
    assert!(held.clues.studies.len() <= MAX_NAMED && held.clues.accessions.len() <= MAX_NAMED);
}

#[test]
fn as_many_numbers_as_can_be_looked_up_are_read_and_each_once() {
    let groups = |numbers: usize| {
        let group = |number: usize| format!("OBR|1||||||||||||||||||||||||F\rIPC|A{number}||1.2.3\r");
        HEAD.to_owned() + &(0..numbers).chain([0]).map(group).collect::<String>()
    };
    let most = incoming(&groups(MAX_NAMED)).unwrap();
    assert_eq!((most.clues.accessions.len(), most.clues.studies.len()), (MAX_NAMED, 1));
    assert_eq!(incoming(&groups(MAX_NAMED + 1)).unwrap_err().1, TOO_MANY);
}

/// A person may say whose it is all the same: each part then goes home under the numbers of its own order.
#[test]
fn orders_beyond_those_that_are_looked_up_are_still_told_apart() {
    let group = |number: usize| format!("OBR|1|P{number}|||||||||||||||||||||||F\r");
    let message = HEAD.to_owned() + &(0..MAX_NAMED + 2).map(group).collect::<String>();
    let (held, reason) =
        incoming(&message.replace("|||||||||||||||||||||||F", "||CT|||||||||||||||||||||F")).unwrap_err();
    assert_eq!((reason, held.clues.orders.len(), held.clues.more_orders.len()), (TOO_MANY, MAX_NAMED, 2));
    assert_eq!(held.clues.more_orders[1].placer.value, format!("P{}", MAX_NAMED + 1));
    let orders = held.pieces.iter().filter_map(|piece| match piece {
        Piece::Section(section) => Some(section.order),
        _ => None,
    });
    assert!(orders.eq((0..MAX_NAMED + 2).map(Some)));
}

/// OBR-25 by the OBX-11 of two results: what becomes of the report.
#[test]
fn the_status_of_a_report_follows_from_the_order_and_its_results() {
    use ReportStatus as S;
    let table = [
        //      OBR-25   F F            F P             C F           F D           D W           X X           F U
        ("", [S::Final, S::Preliminary, S::Corrected, S::Final, S::Withdrawn, S::Withdrawn, S::Final]),
        (
            "P",
            [
                S::Preliminary,
                S::Preliminary,
                S::Preliminary,
                S::Preliminary,
                S::Withdrawn,
                S::Withdrawn,
                S::Preliminary,
            ],
        ),
        (
            "A",
            [
                S::Preliminary,
                S::Preliminary,
                S::Preliminary,
                S::Preliminary,
                S::Withdrawn,
                S::Withdrawn,
                S::Preliminary,
            ],
        ),
        ("F", [S::Final, S::Final, S::Final, S::Final, S::Withdrawn, S::Withdrawn, S::Final]),
        ("C", [S::Corrected, S::Corrected, S::Corrected, S::Corrected, S::Withdrawn, S::Withdrawn, S::Corrected]),
        ("X", [S::Withdrawn; 7]),
    ];
    for (obr, row) in table {
        for (obx, expected) in ["FF", "FP", "CF", "FD", "DW", "XX", "FU"].into_iter().zip(row) {
            let obx: String = obx.chars().map(|status| format!("OBX|1|TX|a||text||||||{status}\r")).collect();
            let message = format!("{HEAD}OBR|1||||||||||||||||||||||||{obr}\r{obx}");
            assert_eq!(incoming(&message).unwrap().status, expected, "OBR-25 {obr}, {obx}");
        }
    }
    // One examination of two was cancelled: the other one is the report, and says so.
    let message = format!(
        "{HEAD}OBR|1|||CT^CT Kopf^L|||||||||||||||||||||F\rOBX|1|TX|a||text||||||F\rOBR|2|||MR^MR Kopf^L|||||||||||||||||||||X\r"
    );
    let report = incoming(&message).unwrap();
    assert_eq!(report.status, S::Final);
    assert_eq!(report.text("de", &[]), "CT Kopf:\ntext\n\nMR Kopf:\nZurückgezogen, gilt nicht mehr: MR Kopf");
}

#[test]
fn results_are_told_under_their_names_with_unit_range_and_flag() {
    let obx = "OBX|1|TX|M^Makroskopie^L||zwei\\.br\\Teile||||||F\rOBX|2|TX|M^Makroskopie^L||grau||||||F\r\
               OBX|3|TX|D^Diagnose^L||Adenom|||A|||F\rOBX|4|NM|KI^Ki-67^L||20|%|0-5|HH|||F\rNTE|1||geprüft\r\
               OBX|5|ST|W^Weg^L||weg||||||D\rOBX|6|ST|U^Gleich^L||||||||U\r";
    let report = incoming(&format!("{HEAD}OBR|1||||||||||||||||||||||||F\r{obx}")).unwrap();
    let expected = "Makroskopie:\nzwei\nTeile\ngrau\n\nDiagnose:\nAdenom A\nKi-67: 20 % [0-5] HH\ngeprüft\n\
                    Zurückgezogen, gilt nicht mehr: Weg\nEndgültig, Wert unverändert: Gleich";
    assert_eq!(report.text("de", &[]), expected);
    assert_eq!(report.flags, ["A", "HH"]);
    assert!(report.is_critical(&[]));
    let one = incoming(&format!("{HEAD}OBR|1||||||||||||||||||||||||F\rOBX|1|TX|M^Befund^L||eins||||||F\r")).unwrap();
    assert_eq!((one.text("de", &[]).as_str(), one.is_critical(&[])), ("eins", false));
}

/// Table 0078: what must be known at once, and what a reader has agreed to write. What is taken back is not.
#[test]
fn a_result_is_critical_by_its_flag() {
    for (flag, status, critical) in [
        ("AA", "F", true),
        ("HH", "P", true),
        ("N~LL", "F", true),
        ("LL", "W", false),
        ("A", "F", false),
        ("H", "F", false),
        ("KRIT", "F", true),
        ("", "F", false),
    ] {
        let obx = format!("OBX|1|TX|a||text|||{flag}|||{status}\rOBX|2|TX|a||text||||||F\r");
        let report = incoming(&format!("{HEAD}OBR|1||||||||||||||||||||||||F\r{obx}")).unwrap();
        assert_eq!(report.is_critical(&["KRIT".to_owned()]), critical, "{flag}");
    }
}

#[test]
fn specimens_are_clues() {
    let message = HEAD.replace("ORU^R01", "OUL^R22")
        + "SPM|1|A1&RAB^L1&PATH||BX^Biopsie^L\rSAC|||C1\rOBR|1|||H^Histologie^L|||||||||||||||||||||F\r\
           OBX|1|FT|D^Diagnose^L||Adenom||||||F\r";
    let report = incoming(&message).unwrap();
    assert_eq!(report.source, "oul");
    assert_eq!(
        report.clues.specimens,
        [IssuedId::new("A1", "RAB"), IssuedId::new("L1", "PATH"), IssuedId::new("C1", "")]
    );
    assert_eq!(report.text("de", &[]), "Histologie:\nMaterial: A1 (Biopsie)\nAdenom");
}

#[test]
fn what_a_cancelled_document_held_is_not_shown() {
    let message = HEAD.replace("ORU^R01", "MDM^T10")
        + "TXA|1|DI|FT|||||||||D2|D1||A1||AU||CA\rOBX|1|FT|CT^Befund^L||Keine Blutung||||||F\rNTE|1||Verwechslung\r";
    let report = incoming(&message).unwrap();
    assert_eq!((report.source, report.status), ("mdm", ReportStatus::Withdrawn));
    assert_eq!(report.text("de", &[]), "Zurückgezogen, gilt nicht mehr: Befund\nVerwechslung");
}
