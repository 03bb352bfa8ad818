//! Writing SSU^U03: one event of a specimen, for the other side (HL7 v2.5.1 13.3.3).
//!
//! SAC-8 says what happened twice: by the nearest code of table 0370, and exactly, as alternate code in our own words.
//! The ids are those the receiver knows: the origin's and the laboratory's, each with its issuer. In which set it goes, and
//! what becomes of letters that lacks, is `outgoing`'s.

use crate::{
    hl7::message::{MessageBuilder, SegmentBuilder, escape},
    model::{IssuedId, SpecimenCode, SpecimenEvent, SpecimenSaid},
};
use chrono::{DateTime, FixedOffset};

/// A message about one event.
pub struct SsuToSend<'a> {
    pub sending_facility: &'a str,
    pub receiving_application: &'a str,
    pub receiving_facility: &'a str,
    pub control_id: &'a str,
    /// When the message is made, in the receiver's zone.
    pub at: DateTime<FixedOffset>,
    /// Who told us: EQU-1.
    pub teller: &'a str,
    pub specimen: SpecimenToTell<'a>,
}

pub struct SpecimenToTell<'a> {
    pub said: &'a SpecimenSaid,
    pub event: SpecimenEvent,
    /// When it happened, in the receiver's zone.
    pub happened: DateTime<FixedOffset>,
    /// SPM-21, with a rejection.
    pub reason: Option<SpecimenCode>,
}

/// The nearest code of table 0370, container status.
fn nearest(event: SpecimenEvent) -> (&'static str, &'static str) {
    match event {
        SpecimenEvent::Collected | SpecimenEvent::Received => ("I", "Identified"),
        SpecimenEvent::Shipped => ("L", "Left Equipment"),
        SpecimenEvent::Accepted => ("O", "In Process"),
        SpecimenEvent::Rejected => ("X", "Container Unavailable"),
        SpecimenEvent::Lost => ("M", "Missing"),
    }
}

fn time(at: DateTime<FixedOffset>) -> String {
    at.format("%Y%m%d%H%M%S%z").to_string()
}

/// EI inside a component.
fn entity(id: &IssuedId) -> String {
    if id.issuer.is_empty() {
        escape(&id.value).into_owned()
    } else {
        format!("{}&{}", escape(&id.value), escape(&id.issuer))
    }
}

impl SsuToSend<'_> {
    /// The text of the message; its MSH-18 is set where it is encoded.
    pub fn text(&self) -> String {
        let mut message = MessageBuilder::new();
        message.push(
            SegmentBuilder::new("MSH")
                .field(3, "NEISSE")
                .field(4, self.sending_facility)
                .field(5, self.receiving_application)
                .field(6, self.receiving_facility)
                .field(7, &time(self.at))
                .components(9, &["SSU", "U03", "SSU_U03"])
                .field(10, self.control_id)
                .field(11, "P")
                .field(12, "2.5.1"),
        );
        message.push(SegmentBuilder::new("EQU").field(1, self.teller).field(2, &time(self.specimen.happened)));
        message.push(self.sac());
        message.push(self.spm());
        message.text().to_owned()
    }

    fn sac(&self) -> SegmentBuilder {
        let SpecimenToTell { said, event, .. } = &self.specimen;
        let mut sac = SegmentBuilder::new("SAC");
        if let Some(container) = said.containers.first() {
            sac = sac.components(3, &[&container.value, &container.issuer]);
        }
        let (code, name) = nearest(*event);
        sac.components(8, &[code, name, "HL70370", event.as_str(), event.as_str(), "99NEISSE"])
    }

    /// A time stands where the event belongs; earlier ones are not repeated, so that each is told once.
    fn spm(&self) -> SegmentBuilder {
        let SpecimenToTell { said, event, happened, reason } = &self.specimen;
        let ids = [entity(&said.placer), entity(&said.filler)].join("^");
        let mut spm = SegmentBuilder::new("SPM").field(1, "1").raw(2, ids.trim_end_matches('^').to_owned());
        let kind = &said.kind;
        spm = spm.components(4, &[&kind.code, &kind.text, &kind.system]);
        match event {
            SpecimenEvent::Collected => spm = spm.field(17, &time(*happened)),
            SpecimenEvent::Received => spm = spm.field(18, &time(*happened)),
            SpecimenEvent::Accepted => spm = spm.field(20, "Y"),
            SpecimenEvent::Rejected => {
                let other = SpecimenCode { text: "rejected".into(), ..SpecimenCode::default() };
                let reason = reason.as_ref().filter(|reason| !reason.is_empty()).unwrap_or(&other);
                spm = spm.field(20, "N").components(21, &[&reason.code, &reason.text, &reason.system]);
            }
            SpecimenEvent::Lost => spm = spm.field(20, "N"),
            SpecimenEvent::Shipped => {}
        }
        spm
    }
}
