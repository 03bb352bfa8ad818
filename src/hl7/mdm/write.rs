//! Writing MDM: MSH, EVN, PID, PV1, the order (ORC, OBR), TXA, and the document in OBX (HL7 v2.5.1 9.6.2, 9.6.10).
//!
//! The first version is T02, a later one T10 with the number of the one it replaces in TXA-13.

use crate::hl7::message::{MessageBuilder, SegmentBuilder};
use crate::hl7::oru::{Interpreter, OruToSend, Part, entity_parts, timestamp};
use crate::model::ReportStatus;

/// What a document says of itself besides the report in it.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// TXA-12, the same however often this version is sent.
    pub number: &'a str,
    /// TXA-13: the version before, if it went as a document too.
    pub replaces: Option<&'a str>,
    /// TXA-2, table 0270: DI diagnostic imaging, SP surgical pathology.
    pub kind: &'a str,
}

/// The message; its OBX are the report's.
pub(in crate::hl7) fn build(report: &OruToSend<'_>, document: &Document<'_>) -> MessageBuilder {
    let event = if document.replaces.is_some() { "T10" } else { "T02" };
    let mut message = MessageBuilder::new();
    message.push(report.msh(["MDM", event, "MDM_T02"]));
    message.push(SegmentBuilder::new("EVN").field(1, event).field(2, &timestamp(report.reported_at)));
    message.push(report.pid());
    // PV1-2 is required: unknown (table 0004).
    message.push(SegmentBuilder::new("PV1").field(1, "1").field(2, "U"));
    // An order each (9.6.2 repeats ORC and OBR): the document has one text of them all.
    for (index, order) in orders(report).into_iter().enumerate() {
        message.push(report.orc(order));
        message.push(report.obr(index + 1, &Part { order, ..report.whole() }));
    }
    message.push(txa(report, document));
    report.results(&mut message);
    message
}

/// Each order that its parts answer, once; the report's own where they are not told apart.
fn orders(report: &OruToSend<'_>) -> Vec<Option<usize>> {
    let is_first = |index: &usize| {
        let (before, rest) = report.orders.split_at(*index);
        rest.first().is_some_and(|order| !before.contains(order))
    };
    let each: Vec<Option<usize>> = (0..report.orders.len()).filter(is_first).map(Some).collect();
    if each.is_empty() { vec![None] } else { each }
}

fn txa(report: &OruToSend<'_>, document: &Document<'_>) -> SegmentBuilder {
    let at = timestamp(report.reported_at);
    let facility = report.sending_facility;
    let txa = SegmentBuilder::new("TXA")
        .field(1, "1")
        .field(2, document.kind)
        .field(3, "FT")
        .field(4, &at)
        .components(9, &xcn(report.interpreter))
        .components(12, &[document.number, facility])
        .components(14, &entity_parts(report.placer))
        .components(15, &entity_parts(report.filler_or_accession()))
        .field(17, completion(report.status))
        .field(19, if report.status == ReportStatus::Withdrawn { "CA" } else { "AV" });
    match document.replaces {
        Some(number) => txa.components(13, &[number, facility]),
        None => txa,
    }
}

/// Table 0271. A preliminary report may be read and is not signed yet; one that is taken back is not complete any more.
fn completion(status: ReportStatus) -> &'static str {
    match status {
        ReportStatus::Preliminary => "PA",
        ReportStatus::Final | ReportStatus::Corrected => "AU",
        ReportStatus::Withdrawn => "IN",
    }
}

fn xcn(person: &Interpreter) -> [&str; 6] {
    [&person.id, &person.family, &person.given, &person.middle, &person.suffix, &person.prefix]
}
