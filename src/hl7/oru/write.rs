//! Writing a report: in the receiver's identifiers in, a v2.5.1 message in the receiver's character set out. As ORU^R01
//! here; OUL and MDM put the same segments in another order (`oul`, `mdm`).
//!
//! Text passes through as it is, as FT with `\.br\`; a document goes as ED in Base64 without line breaks. What becomes of
//! letters that the character set does not have is [`crate::hl7::outgoing`]'s.
//!
//! Study Instance UID goes as the last OBX, value type HD, 113014^DICOM Study^DCM, as the IHE report transactions write
//! it: a receiver that does not know it keeps it as one more result, where a ZDS segment in an ORU is a local
//! agreement. Last, because simple receivers show the first OBX as the report.

use super::{Coded, Encapsulated, Interpreter, Specimen, Structured, names};
use crate::hl7::charset::Charset;
use crate::hl7::message::{MessageBuilder, SegmentBuilder, escape};
use crate::hl7::outgoing::outgoing;
use crate::hl7::{mdm, oul};
use crate::model::{IssuedId, OrderNumbers, Outgoing, Pieces, ReportStatus, Uid};
use chrono::{DateTime, FixedOffset};

/// As which message a report goes.
#[derive(Clone, Copy, Debug, Default)]
pub enum Shape<'a> {
    #[default]
    Oru,
    /// By specimen.
    Oul,
    /// As a document.
    Mdm(mdm::Document<'a>),
}

/// Everything one message with a report says.
#[derive(Clone, Debug)]
pub struct OruToSend<'a> {
    pub shape: Shape<'a>,
    /// MSH-15 and MSH-16 AL: the receiver's application is to acknowledge it in a message of its own (v2.5.1 2.9.3).
    pub application_ack: bool,
    /// MSH-3 to MSH-6.
    pub sending_application: &'a str,
    pub sending_facility: &'a str,
    pub receiving_application: &'a str,
    pub receiving_facility: &'a str,
    /// MSH-10, at most 20 characters: the same for the same report version, so that sending again is harmless.
    pub control_id: &'a str,
    /// MSH-11: P, T or D.
    pub processing_id: &'a str,
    /// MSH-7, in the receiver's local time.
    pub at: DateTime<FixedOffset>,
    /// PID-3, with its issuer in CX-4.
    pub patient_id: &'a IssuedId,
    /// `Family^Given^Middle^Prefix^Suffix`, as in DICOM; becomes PID-5 in the order of HL7.
    pub patient_name: &'a str,
    /// `YYYYMMDD`, or empty.
    pub birth_date: &'a str,
    pub sex: &'a str,
    /// OBR-18, and OBR-3 where there is no filler order number.
    pub accession: &'a IssuedId,
    /// ORC-2, OBR-2.
    pub placer: &'a IssuedId,
    /// ORC-3, OBR-3.
    pub filler: &'a IssuedId,
    /// What its parts answer, where they answer different orders; otherwise empty.
    pub orders: &'a [OrderNumbers],
    pub study_uid: Option<&'a Uid>,
    /// OBR-4.
    pub title: &'a Coded,
    pub status: ReportStatus,
    /// OBR-7, as in HL7; empty if unknown.
    pub observed_at: &'a str,
    /// OBR-22 and OBX-14.
    pub reported_at: DateTime<FixedOffset>,
    /// OBR-32.
    pub interpreter: &'a Interpreter,
    pub observations: &'a [ObservationToSend<'a>],
}

#[derive(Clone, Copy, Debug)]
pub enum ObservationToSend<'a> {
    /// What follows is about another examination or specimen: an OBR of its own.
    Section {
        part: Part<'a>,
        specimens: &'a [Specimen],
    },
    /// Lines are separated by LF, CR or CR LF.
    Text {
        code: &'a Coded,
        text: &'a str,
    },
    Document {
        code: &'a Coded,
        mime: &'a str,
        bytes: &'a Encapsulated,
        flags: &'a [String],
    },
    /// A number, a code, a time, or a text with a flag.
    Value {
        code: &'a Coded,
        value: ValueToSend<'a>,
        units: &'a Coded,
        range: &'a str,
        flags: &'a [String],
    },
    /// This result is taken back: OBX-11 D, or X where nothing of the examination is left. `words` for people, in an NTE.
    Deleted {
        code: &'a Coded,
        words: &'a str,
    },
}

/// What the OBR of one examination says of it.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// OBR-4.
    pub title: &'a Coded,
    /// Which of the orders it answers. `None`: the report's.
    pub order: Option<usize>,
    /// OBR-25, and OBX-11 of its results.
    pub status: ReportStatus,
    /// OBR-32.
    pub interpreter: &'a Interpreter,
}

#[derive(Clone, Copy, Debug)]
pub enum ValueToSend<'a> {
    Text(&'a str),
    Structured(&'a Structured),
}

/// A report ready to be sent. Its documents are those that came, in their memory.
#[derive(Clone, Debug)]
pub struct SentReport {
    pub content: Pieces,
    /// What it is in, and what MSH-18 says.
    pub charset: Charset,
    /// For the case's story and a person; no patient data.
    pub warnings: Vec<String>,
}

impl OruToSend<'_> {
    /// The message as its receiver takes it, which MSH-18 says.
    pub fn outgoing(&self, policy: &Outgoing) -> SentReport {
        let message = self.build();
        let sent = outgoing(message.text(), policy);
        SentReport { content: message.put_in(sent.bytes), charset: sent.charset, warnings: sent.warnings }
    }

    fn build(&self) -> MessageBuilder {
        match &self.shape {
            Shape::Oru => self.oru(),
            Shape::Oul => oul::build(self),
            Shape::Mdm(document) => mdm::build(self, document),
        }
    }

    fn oru(&self) -> MessageBuilder {
        let mut message = MessageBuilder::new();
        message.push(self.msh(["ORU", "R01", "ORU_R01"]));
        message.push(self.pid());
        let leads = matches!(self.observations.first(), Some(ObservationToSend::Section { .. }));
        let mut obr = 0;
        let mut current = self.whole();
        if !leads {
            obr += 1;
            message.push(self.orc(None));
            message.push(self.obr(obr, &current));
        }
        // SPM stands behind the results (7.3.1).
        let mut waiting: &[Specimen] = &[];
        for (index, observation) in self.observations.iter().enumerate() {
            match observation {
                ObservationToSend::Section { part, specimens } => {
                    oul::specimens(&mut message, waiting);
                    (waiting, current) = (specimens, *part);
                    obr += 1;
                    message.push(self.orc(part.order));
                    message.push(self.obr(obr, part));
                }
                _ => self.result(&mut message, index + 1, observation, current.status),
            }
        }
        self.study(&mut message);
        oul::specimens(&mut message, waiting);
        message
    }

    /// Every result, and the study it is about.
    pub(in crate::hl7) fn results(&self, message: &mut MessageBuilder) {
        for (index, observation) in self.observations.iter().enumerate() {
            self.result(message, index + 1, observation, self.status);
        }
        self.study(message);
    }

    /// The report as one examination.
    pub(in crate::hl7) fn whole(&self) -> Part<'_> {
        Part { title: self.title, order: None, status: self.status, interpreter: self.interpreter }
    }

    /// One result, of an examination in this state.
    pub(in crate::hl7) fn result(
        &self,
        message: &mut MessageBuilder,
        set_id: usize,
        one: &ObservationToSend<'_>,
        status: ReportStatus,
    ) {
        if let Some(obx) = self.obx(set_id, one, status) {
            message.push(obx);
        }
        if let ObservationToSend::Deleted { words, .. } = one {
            message.push(SegmentBuilder::new("NTE").field(1, "1").field(3, words));
        }
    }

    pub(in crate::hl7) fn study(&self, message: &mut MessageBuilder) {
        if let Some(uid) = self.study_uid {
            let study =
                SegmentBuilder::new("OBX").components(3, &["113014", "DICOM Study", "DCM"]).field(5, uid.as_str());
            message.push(self.obx_frame(self.observations.len() + 1, "HD", self.status.hl7(), study));
        }
    }

    /// The numbers of what a part answers; the report's own where it names none of its orders.
    fn answered(&self, order: Option<usize>) -> (&IssuedId, &IssuedId, &IssuedId) {
        let (placer, filler, accession) = match order.and_then(|order| self.orders.get(order)) {
            Some(order) => (&order.placer, &order.filler, &order.accession),
            None => (self.placer, self.filler, self.accession),
        };
        (placer, if filler.is_empty() { accession } else { filler }, accession)
    }

    pub(in crate::hl7) fn orc(&self, order: Option<usize>) -> SegmentBuilder {
        let (placer, filler, _) = self.answered(order);
        SegmentBuilder::new("ORC").field(1, "RE").components(2, &entity(placer)).components(3, &entity(filler))
    }

    pub(in crate::hl7) fn msh(&self, message_type: [&str; 3]) -> SegmentBuilder {
        let always = if self.application_ack { "AL" } else { "" };
        SegmentBuilder::new("MSH")
            .field(3, self.sending_application)
            .field(4, self.sending_facility)
            .field(5, self.receiving_application)
            .field(6, self.receiving_facility)
            .field(7, &timestamp(self.at))
            .components(9, &message_type)
            .field(10, self.control_id)
            .field(11, self.processing_id)
            .field(12, "2.5.1")
            .field(15, always)
            .field(16, always)
    }

    pub(in crate::hl7) fn pid(&self) -> SegmentBuilder {
        SegmentBuilder::new("PID")
            .field(1, "1")
            .components(3, &[&self.patient_id.value, "", "", &self.patient_id.issuer])
            .components(5, &names::xpn(self.patient_name))
            .field(7, self.birth_date)
            .field(8, self.sex)
    }

    pub(in crate::hl7) fn obr(&self, set_id: usize, part: &Part<'_>) -> SegmentBuilder {
        let (placer, filler, accession) = self.answered(part.order);
        SegmentBuilder::new("OBR")
            .field(1, &set_id.to_string())
            .components(2, &entity(placer))
            .components(3, &entity(filler))
            .components(4, &coded(part.title))
            .field(7, self.observed_at)
            .field(18, &accession.value)
            .field(22, &timestamp(self.reported_at))
            .field(25, part.status.hl7())
            .subcomponents(32, &part.interpreter.parts())
    }

    /// `None`: nothing that a receiver could tell by its code.
    fn obx(&self, set_id: usize, one: &ObservationToSend<'_>, of: ReportStatus) -> Option<SegmentBuilder> {
        let status = of.hl7();
        let named = |code: &Coded| SegmentBuilder::new("OBX").components(3, &coded(code));
        Some(match one {
            ObservationToSend::Section { .. } => return None,
            ObservationToSend::Text { code, text } => {
                self.obx_frame(set_id, "FT", status, named(code).raw(5, escape(text).into_owned()))
            }
            ObservationToSend::Document { code, mime, bytes, flags } => {
                let (kind, subtype) = mime.split_once('/').unwrap_or(("application", "octet-stream"));
                let value = format!("^{}^{}^Base64^", escape(kind), escape(subtype));
                let obx = named(code).raw(5, value).followed_by(5, bytes.base64());
                self.obx_frame(set_id, "ED", status, obx.repetitions(8, &texts(flags)))
            }
            ObservationToSend::Value { code, value, units, range, flags } => {
                let (value_type, value) = match value {
                    ValueToSend::Text(text) => ("FT", escape(text).into_owned()),
                    ValueToSend::Structured(value) => (value.value_type, structured(value)),
                };
                let obx = named(code).raw(5, value).components(6, &coded(units)).field(7, range);
                self.obx_frame(set_id, value_type, status, obx.repetitions(8, &texts(flags)))
            }
            ObservationToSend::Deleted { code, .. } => {
                if code.code.is_empty() && code.text.is_empty() {
                    return None;
                }
                let status = if of == ReportStatus::Withdrawn { status } else { "D" };
                self.obx_frame(set_id, "FT", status, named(code))
            }
        })
    }

    /// What every OBX of this report has. OBX-4 tells results with equal OBX-3 apart, and is the same in the next
    /// version.
    fn obx_frame(&self, set_id: usize, value_type: &str, status: &str, obx: SegmentBuilder) -> SegmentBuilder {
        let number = set_id.to_string();
        obx.field(1, &number)
            .field(2, value_type)
            .field(4, &number)
            .field(11, status)
            .field(14, &timestamp(self.reported_at))
    }

    pub(in crate::hl7) fn filler_or_accession(&self) -> &IssuedId {
        self.answered(None).1
    }
}

fn texts(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn structured(value: &Structured) -> String {
    let escaped = |parts: &Vec<String>| parts.iter().map(|part| escape(part)).collect::<Vec<_>>().join("^");
    value.repetitions.iter().map(escaped).collect::<Vec<_>>().join("~")
}

pub(in crate::hl7) fn entity(id: &IssuedId) -> [&str; 2] {
    if id.is_empty() { ["", ""] } else { [&id.value, &id.issuer] }
}

pub(in crate::hl7) fn coded(code: &Coded) -> [&str; 3] {
    [&code.code, &code.text, &code.system]
}

/// TS to the second, with the offset from UTC (v2.5.1 2.A.22).
pub(in crate::hl7) fn timestamp(at: DateTime<FixedOffset>) -> String {
    at.format("%Y%m%d%H%M%S%z").to_string()
}
