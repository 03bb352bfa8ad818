//! Reading SSU^U03: a message in, a [`SpecimenStatus`] out, or the place of what it cannot do without.
//!
//! Walks the message once. A SAC begins a container, the SPM after it are what is in it; an SPM before any SAC stands for
//! itself. A container without SPM stands for whatever is in it.

use super::{SpecimenStatus, Status, ToldSpecimen, segments};
use crate::{
    hl7::{
        ack::{ErrorCode, Rejected},
        charset::Charset,
        message::{Message, Segment},
        oru::Reader,
        strict,
    },
    model::{IssuedId, SpecimenSaid, TimeSaid, specimen::MAX_SPECIMENS},
};
use std::cell::Cell;

/// The container the walk stands in.
#[derive(Default)]
struct Container {
    sac: usize,
    id: IssuedId,
    status: Status,
    has_specimen: bool,
}

impl SpecimenStatus {
    /// Reads an SSU^U03 whose values are in `charset` (see [`Charset::of_message`]).
    ///
    /// # Errors
    /// When it is none, or names no specimen, or one without any id, or more than [`MAX_SPECIMENS`]. Says where.
    pub fn parse(message: &Message<'_>, charset: Charset) -> Result<SpecimenStatus, Rejected> {
        let lossy = Cell::new(false);
        let reader = Reader::new(charset, &lossy);
        let header = message.header();
        check(&header, &reader)?;
        strict::check(message, &reader)?;
        let time = |segment: &Segment<'_>, n| {
            let text = reader.text(segment.field(n).component(1));
            TimeSaid(text.chars().take(TimeSaid::MAX).collect())
        };
        let mut at = time(&header, 7);
        let (mut specimens, mut container, mut spms) = (Vec::new(), Container::default(), 0);
        for segment in message.segments() {
            if segment.is("EQU") && segment.field(2).is_valued() {
                at = time(&segment, 2);
            } else if segment.is("SAC") {
                close(&mut specimens, &container)?;
                container = open(&segment, container.sac + 1, &reader)?;
            } else if segment.is("SPM") {
                spms += 1;
                container.has_specimen = true;
                specimens.push(specimen(&segment, spms, &container, &reader)?);
            }
            if specimens.len() > MAX_SPECIMENS {
                let text = "more than 200 specimens in one message";
                return Err(Rejected::new("SPM", spms.max(1), 0, ErrorCode::DataType, text));
            }
        }
        close(&mut specimens, &container)?;
        if specimens.is_empty() {
            let text = "no SAC and no SPM: nothing is said of any specimen";
            return Err(Rejected::new("SAC", 1, 0, ErrorCode::SegmentSequence, text));
        }
        Ok(SpecimenStatus { at, specimens, lossy: lossy.get() })
    }
}

/// What the SPM of any message say beside, each with the SAC after it (as in OUL^R22). Leniently: what has no readable id is
/// passed over, and the message itself is its own reader's to judge.
pub fn specimens_in(message: &Message<'_>, charset: Charset) -> Vec<SpecimenSaid> {
    let lossy = Cell::new(false);
    let reader = Reader::new(charset, &lossy);
    let mut specimens: Vec<SpecimenSaid> = Vec::new();
    for segment in message.segments() {
        if segment.is("SPM") && specimens.len() < MAX_SPECIMENS {
            specimens.push(segments::spm(&segment, &reader));
        } else if segment.is("SAC")
            && let Some(said) = specimens.last_mut()
        {
            segments::put_into(said, &segments::container(&segment, &reader));
        }
    }
    specimens.retain(|said| said.id().is_some() && said.ids().all(segments::is_id));
    specimens
}

fn check(header: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
    let msh = |field, code, text: &'static str| Err(Rejected::new("MSH", 1, field, code, text));
    if reader.text(header.field(9).component(1)) != "SSU" {
        return msh(9, ErrorCode::UnsupportedMessageType, "message type is not SSU");
    }
    if !matches!(reader.text(header.field(9).component(2)).as_str(), "U03" | "") {
        return msh(9, ErrorCode::UnsupportedEvent, "event is not U03");
    }
    if reader.text(header.field(10)).is_empty() {
        return msh(10, ErrorCode::RequiredFieldMissing, "MSH-10 is empty: a message control id is expected");
    }
    if !matches!(reader.text(header.field(11).component(1)).as_str(), "P" | "") {
        return msh(11, ErrorCode::UnsupportedProcessingId, "MSH-11 is not P: only production messages are taken");
    }
    let version = reader.text(header.field(12).component(1));
    if !(version.is_empty() || version == "2" || version.starts_with("2.")) {
        return msh(12, ErrorCode::UnsupportedVersion, "MSH-12 is no version 2");
    }
    Ok(())
}

fn too_long(segment: &'static str, sequence: usize, field: usize) -> Rejected {
    let text = "longer than 199 characters, or with control characters";
    Rejected::new(segment, sequence, field, ErrorCode::DataType, text)
}

fn open(segment: &Segment<'_>, sac: usize, reader: &Reader<'_>) -> Result<Container, Rejected> {
    let id = segments::container(segment, reader);
    if !segments::is_id(&id) {
        return Err(too_long("SAC", sac, 3));
    }
    Ok(Container { sac, id, status: segments::status(segment, reader), has_specimen: false })
}

/// A container that held no SPM stands for what is in it, and must then be named.
fn close(specimens: &mut Vec<ToldSpecimen>, container: &Container) -> Result<(), Rejected> {
    if container.sac == 0 || container.has_specimen {
        return Ok(());
    }
    if container.id.is_empty() {
        let text = "SAC-3 is empty, and no SPM follows: a container or specimen identifier is expected";
        return Err(Rejected::new("SAC", container.sac, 3, ErrorCode::RequiredFieldMissing, text));
    }
    let said = SpecimenSaid { containers: vec![container.id.clone()], ..SpecimenSaid::default() };
    specimens.push(ToldSpecimen { said, status: container.status, sac: container.sac });
    Ok(())
}

fn specimen(
    segment: &Segment<'_>,
    sequence: usize,
    container: &Container,
    reader: &Reader<'_>,
) -> Result<ToldSpecimen, Rejected> {
    let mut said = segments::spm(segment, reader);
    if ![&said.placer, &said.filler].iter().all(|id| segments::is_id(id)) {
        return Err(too_long("SPM", sequence, 2));
    }
    segments::put_into(&mut said, &container.id);
    if said.id().is_none() {
        let text = "SPM-2 is empty, and so is SAC-3 before it: a specimen or container identifier is expected";
        return Err(Rejected::new("SPM", sequence, 2, ErrorCode::RequiredFieldMissing, text));
    }
    Ok(ToldSpecimen { said, status: container.status, sac: container.sac.max(1) })
}
