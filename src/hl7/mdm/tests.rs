//! Documents as dictation systems send them, and what becomes of their states. All patients are synthetic.

use crate::hl7::{
    charset::Charset,
    oru::{OruReport, Rejected, ReportKind},
};
use crate::model::{IssuedId, ReportStatus};

fn read(event: &str, txa: &str, more: &[&str]) -> Result<OruReport, Rejected> {
    let msh = format!(r"MSH|^~\&|DICTATE|KC|NEISSE|N|20261122021000||MDM^{event}^MDM_T02|1|P|2.5.1||||||UNICODE UTF-8");
    let lines = [&[&msh, "EVN||20261122", "PID|1||77^^^RAB||X^Y", "PV1|1|I"], more, &[txa, OBX]].concat();
    OruReport::read(&lines.join("\r").into(), Charset::UTF_8)
}

const OBX: &str = "OBX|1|FT|CT^Befund^L||Keine Blutung||||||F";

/// TXA up to TXA-22, which of its fields are set.
fn txa(parent: &str, completion: &str, available: &str) -> String {
    format!(
        "TXA|1|DI|FT|202611220155|||||9^Autor^A||3^Schreibt^B|D7^KC|{parent}|P1^RAB|F1^KC||{completion}||{available}|||17^Weiß^Anna^^^Dr."
    )
}

/// Table 0271 by event, TXA-13 and TXA-19.
#[test]
fn a_document_is_as_final_as_it_says() {
    use ReportStatus as S;
    for (event, parent, completion, available, expected) in [
        ("T02", "", "AU", "AV", S::Final),
        ("T02", "", "LA", "", S::Final),
        ("T02", "", "DI", "", S::Preliminary),
        ("T02", "", "DO", "", S::Preliminary),
        ("T02", "", "IP", "", S::Preliminary),
        ("T02", "", "IN", "", S::Preliminary),
        ("T02", "", "PA", "", S::Preliminary),
        ("T02", "D6", "AU", "", S::Corrected),
        ("T02", "D6", "PA", "", S::Preliminary),
        ("T04", "", "AU", "", S::Final),
        ("T08", "", "AU", "", S::Corrected),
        ("T10", "", "LA", "", S::Corrected),
        ("T10", "D6", "DI", "", S::Preliminary),
        ("T11", "", "AU", "", S::Withdrawn),
        ("T10", "D6", "AU", "CA", S::Withdrawn),
        ("T06", "D6", "AU", "AV", S::Corrected),
        ("T06", "D6", "DI", "AV", S::Preliminary),
        ("T10", "", "", "", S::Corrected),
        // As its results say.
        ("T02", "", "", "", S::Final),
    ] {
        let report = read(event, &txa(parent, completion, available), &[]).expect("read");
        let found = (report.kind, report.groups[0].status, report.cancelled);
        assert_eq!(found, (ReportKind::Mdm, expected, expected == S::Withdrawn), "{event} {parent} {completion}");
        assert_eq!(report.is_addendum, event == "T06");
    }
}

#[test]
fn whose_it_is_stands_in_its_txa_or_in_its_order() {
    let alone = read("T02", &txa("", "AU", ""), &[]).expect("read");
    let group = &alone.groups[0];
    assert_eq!((&group.placer, &group.filler), (&IssuedId::new("P1", "RAB"), &IssuedId::new("F1", "KC")));
    assert_eq!((group.interpreter.display().as_str(), group.observed_at.as_str()), ("Dr. Anna Weiß", "202611220155"));
    assert_eq!(group.observations.len(), 1);
    let order = ["ORC|RE|P9^RAB", "OBR|1|P9^RAB|A9^RAB|CT^CT Kopf^L||||||||||||||||||||||||||||5&Beispiel&Ruth"];
    let report = read("T02", &txa("", "AU", ""), &order).expect("read");
    let group = &report.groups[0];
    assert_eq!((group.placer.value.as_str(), group.filler.value.as_str()), ("P9", "A9"));
    assert_eq!((group.service.text.as_str(), group.interpreter.family.as_str()), ("CT Kopf", "Beispiel"));
    assert_eq!((report.groups.len(), group.observations.len()), (1, 1));
}

#[test]
fn what_a_document_cannot_do_without_is_refused_with_its_place() {
    let good = txa("", "AU", "");
    for (event, txa, expected) in [
        ("T01", good.as_str(), ("MSH", 1, 9, "201")),
        ("T05", &good, ("MSH", 1, 9, "201")),
        ("T02", "NTE|1||no document", ("TXA", 1, 0, "100")),
        ("T02", &format!("{good}\r{good}"), ("TXA", 2, 0, "100")),
        ("T02", &good.replace("|AU|", "|ZZ|"), ("TXA", 1, 17, "103")),
    ] {
        let refused = read(event, txa, &[]).expect_err("refused");
        let found = (refused.segment, refused.sequence, refused.field, refused.code.number());
        assert_eq!(found, expected, "{refused}");
    }
    let without = read("T02", &txa("", "", ""), &["OBR|1||A9"]).expect("its results say");
    assert_eq!(without.groups[0].status, ReportStatus::Final);
}

/// A notification without its document is answered with the event that brings it.
#[test]
fn an_event_without_content_is_answered_with_the_one_that_has_it() {
    for (event, instead) in [("T01", "T02"), ("T03", "T04"), ("T05", "T06"), ("T07", "T08"), ("T09", "T10")] {
        let refused = read(event, &txa("", "AU", ""), &[]).expect_err("refused");
        assert!(refused.text.contains(instead) && refused.verdict() == crate::hl7::ack::Verdict::Reject, "{refused}");
    }
}
