//! The TXA of a document: how far it is, what it replaces, whose order it answers, who stands for it.
//!
//! In: TXA, and the groups that were read beside it. Out: the same groups with what TXA says of them.

use crate::hl7::message::{Message, Segment, Value};
use crate::hl7::oru::{ErrorCode, Groups, Interpreter, OruReport, Reader, Rejected};
use crate::model::{IssuedId, ReportStatus};

/// What a TXA says.
#[derive(Default)]
pub(in crate::hl7) struct Notification {
    is_there: bool,
    completion: String,
    is_unavailable: bool,
    replaces_another: bool,
    document: IssuedId,
    parent: IssuedId,
    pub(in crate::hl7) placer: IssuedId,
    pub(in crate::hl7) filler: IssuedId,
    pub(in crate::hl7) at: String,
    pub(in crate::hl7) interpreter: Interpreter,
    /// `None`: as OBR-25 and OBX-11 say.
    pub(in crate::hl7) status: Option<ReportStatus>,
}

impl Notification {
    pub(in crate::hl7) fn take(&mut self, txa: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
        if self.is_there {
            let text = "a second document in one message: expected one";
            return Err(Rejected::new("TXA", 2, 0, ErrorCode::SegmentSequence, text));
        }
        self.is_there = true;
        self.completion = reader.text(txa.field(17).component(1)).to_ascii_uppercase();
        // Table 0273: CA, deleted.
        self.is_unavailable = reader.text(txa.field(19).component(1)).eq_ignore_ascii_case("CA");
        (self.document, self.parent) = (reader.entity(txa.field(12)), reader.entity(txa.field(13)));
        self.replaces_another = txa.field(13).is_valued();
        (self.placer, self.filler) = (reader.entity(txa.field(14)), reader.entity(txa.field(15)));
        self.at = reader.text(txa.field(4).component(1));
        // Who authenticated it (PPN), who was to (XCN), who wrote it (XCN): equal up to the prefix.
        let who = [22, 10, 9].map(|n| txa.field(n)).into_iter().find(Value::is_valued);
        self.interpreter = who.map(|field| person(field, reader)).unwrap_or_default();
        Ok(())
    }

    /// The report's groups, with what the document says of itself.
    pub(in crate::hl7) fn finish(
        mut self,
        message: &Message<'_>,
        groups: Groups,
        report: &mut OruReport,
    ) -> Result<(), Rejected> {
        if !self.is_there {
            let text = "no TXA: a document says how far it is";
            return Err(Rejected::new("TXA", 1, 0, ErrorCode::SegmentSequence, text));
        }
        let event = message.header().field(9).component(2);
        let event = event.raw().trim_ascii();
        report.cancelled = event == b"T11" || self.is_unavailable;
        report.is_addendum = event == b"T06";
        (report.document, report.parent) = (std::mem::take(&mut self.document), std::mem::take(&mut self.parent));
        self.status = if report.cancelled { Some(ReportStatus::Withdrawn) } else { self.completed()? };
        let is_replacement = matches!(event, b"T06" | b"T08" | b"T10") || self.replaces_another;
        report.groups = groups.of_document(self)?;
        for group in report.groups.iter_mut().filter(|group| is_replacement && group.status == ReportStatus::Final) {
            group.status = ReportStatus::Corrected;
        }
        Ok(())
    }

    /// TXA-17, table 0271: authenticated, and legally so, is final; dictated, documented, in progress, incomplete and
    /// pre-authenticated is not.
    fn completed(&self) -> Result<Option<ReportStatus>, Rejected> {
        match self.completion.as_str() {
            "AU" | "LA" => Ok(Some(ReportStatus::Final)),
            "DI" | "DO" | "IP" | "IN" | "PA" => Ok(Some(ReportStatus::Preliminary)),
            "" => Ok(None),
            _ => {
                let text = "completion status not known: expected AU, LA, DI, DO, IP, IN or PA (table 0271)";
                Err(Rejected::new("TXA", 1, 17, ErrorCode::TableValueNotFound, text))
            }
        }
    }
}

fn person(field: Value<'_>, reader: &Reader<'_>) -> Interpreter {
    let [id, family, given, middle, suffix, prefix] =
        [1, 2, 3, 4, 5, 6].map(|n| reader.text(field.component(n).subcomponent(1)));
    Interpreter { id, family, given, middle, suffix, prefix }
}
