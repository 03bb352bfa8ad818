//! Writing ORU^R01: a report in the receiver's identifiers in, a v2.5.1 message in the receiver's character set out.
//!
//! Text passes through as it is, as FT with `\.br\`; a document goes as ED in Base64 without line breaks. What becomes of
//! letters that the character set does not have is [`crate::hl7::outgoing`]'s.
//!
//! Study Instance UID goes as the last OBX, value type HD, 113014^DICOM Study^DCM, as the IHE report transactions write
//! it: a receiver that does not know it keeps it as one more result, where a ZDS segment in an ORU is a local
//! agreement. Last, because simple receivers show the first OBX as the report.

use super::{Coded, Interpreter, names};
use crate::hl7::message::{MessageBuilder, SegmentBuilder, escape};
use crate::hl7::outgoing::{Sent, outgoing};
use crate::model::{IssuedId, Outgoing, ReportStatus, Uid};
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, FixedOffset};

/// Everything one ORU^R01 says.
#[derive(Clone, Debug)]
pub struct OruToSend<'a> {
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
    /// Lines are separated by LF, CR or CR LF.
    Text {
        code: &'a Coded,
        text: &'a str,
    },
    Document {
        code: &'a Coded,
        mime: &'a str,
        bytes: &'a [u8],
    },
}

impl OruToSend<'_> {
    /// The message as its receiver takes it, which MSH-18 says.
    pub fn outgoing(&self, policy: &Outgoing) -> Sent {
        outgoing(self.build().text(), policy)
    }

    fn build(&self) -> MessageBuilder {
        let mut message = MessageBuilder::new();
        message.push(self.msh());
        message.push(self.pid());
        message.push(
            SegmentBuilder::new("ORC")
                .field(1, "RE")
                .components(2, &entity(self.placer))
                .components(3, &entity(self.filler_or_accession())),
        );
        message.push(self.obr());
        for (index, observation) in self.observations.iter().enumerate() {
            message.push(self.obx(index + 1, observation));
        }
        if let Some(uid) = self.study_uid {
            let study =
                SegmentBuilder::new("OBX").components(3, &["113014", "DICOM Study", "DCM"]).field(5, uid.as_str());
            message.push(self.obx_frame(self.observations.len() + 1, "HD", study));
        }
        message
    }

    fn msh(&self) -> SegmentBuilder {
        SegmentBuilder::new("MSH")
            .field(3, self.sending_application)
            .field(4, self.sending_facility)
            .field(5, self.receiving_application)
            .field(6, self.receiving_facility)
            .field(7, &timestamp(self.at))
            .components(9, &["ORU", "R01", "ORU_R01"])
            .field(10, self.control_id)
            .field(11, self.processing_id)
            .field(12, "2.5.1")
    }

    fn pid(&self) -> SegmentBuilder {
        SegmentBuilder::new("PID")
            .field(1, "1")
            .components(3, &[&self.patient_id.value, "", "", &self.patient_id.issuer])
            .components(5, &names::xpn(self.patient_name))
            .field(7, self.birth_date)
            .field(8, self.sex)
    }

    fn obr(&self) -> SegmentBuilder {
        SegmentBuilder::new("OBR")
            .field(1, "1")
            .components(2, &entity(self.placer))
            .components(3, &entity(self.filler_or_accession()))
            .components(4, &coded(self.title))
            .field(7, self.observed_at)
            .field(18, &self.accession.value)
            .field(22, &timestamp(self.reported_at))
            .field(25, self.status.hl7())
            .subcomponents(32, &self.interpreter.parts())
    }

    fn obx(&self, set_id: usize, observation: &ObservationToSend<'_>) -> SegmentBuilder {
        match observation {
            ObservationToSend::Text { code, text } => {
                let text = escape(text).into_owned();
                self.obx_frame(set_id, "FT", SegmentBuilder::new("OBX").components(3, &coded(code)).raw(5, text))
            }
            ObservationToSend::Document { code, mime, bytes } => {
                let (kind, subtype) = mime.split_once('/').unwrap_or(("application", "octet-stream"));
                let mut value = format!("^{}^{}^Base64^", escape(kind), escape(subtype));
                STANDARD.encode_string(bytes, &mut value);
                self.obx_frame(set_id, "ED", SegmentBuilder::new("OBX").components(3, &coded(code)).raw(5, value))
            }
        }
    }

    /// What every OBX of this report has. OBX-4 tells results with equal OBX-3 apart, and is the same in the next
    /// version.
    fn obx_frame(&self, set_id: usize, value_type: &str, obx: SegmentBuilder) -> SegmentBuilder {
        let number = set_id.to_string();
        obx.field(1, &number)
            .field(2, value_type)
            .field(4, &number)
            .field(11, self.status.hl7())
            .field(14, &timestamp(self.reported_at))
    }

    fn filler_or_accession(&self) -> &IssuedId {
        if self.filler.is_empty() { self.accession } else { self.filler }
    }
}

fn entity(id: &IssuedId) -> [&str; 2] {
    if id.is_empty() { ["", ""] } else { [&id.value, &id.issuer] }
}

fn coded(code: &Coded) -> [&str; 3] {
    [&code.code, &code.text, &code.system]
}

/// TS to the second, with the offset from UTC (v2.5.1 2.A.22).
fn timestamp(at: DateTime<FixedOffset>) -> String {
    at.format("%Y%m%d%H%M%S%z").to_string()
}
