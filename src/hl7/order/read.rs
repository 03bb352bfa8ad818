//! Reading orders: a message in, an [`OrderMessage`] out, or the place of what an order cannot do without.
//!
//! Walks the message once. An ORC begins an order; OBR, TQ1, IPC and ZDS belong to the ORC before them, and what stands
//! before the first ORC to that one. A second OBR under one ORC is refused: which of the two is cancelled by a later CA
//! would be a guess.

use super::{MAX_ORDERS, OrderKind, OrderMessage, OrderRequest};
use crate::hl7::{
    ack::{ErrorCode, Rejected},
    charset::Charset,
    message::{Message, Segment},
    oru::{Coded, Reader, coded, patient_ids, patient_name},
    strict,
};
use crate::model::{IssuedId, OrderControl, OrderStatus, Priority, Uid};
use std::cell::Cell;

/// Studies one order may name.
const MAX_STUDIES: usize = 20;

/// An order as far as it has been read.
#[derive(Default)]
struct Draft {
    sequence: usize,
    control: Option<OrderControl>,
    status: String,
    placer: IssuedId,
    filler: IssuedId,
    has_obr: bool,
    obr_18: IssuedId,
    accession: IssuedId,
    study_uids: Vec<Uid>,
    procedure: Coded,
    /// TQ1-9, OBR-27.6, ORC-7.6, OBR-5.
    priorities: [String; 4],
    modality: String,
}

impl OrderMessage {
    /// Reads an order message whose values are in `charset` (see [`Charset::of_message`]).
    ///
    /// # Errors
    /// When it is none, or lacks MSH-10, a patient id or an order number, or speaks of two patients, or an order control
    /// is not one that an ordering system sends. Says where.
    pub fn parse(message: &Message<'_>, charset: Charset) -> Result<OrderMessage, Rejected> {
        let lossy = Cell::new(false);
        let reader = Reader::new(charset, &lossy);
        let kind = kind_of(&message.header(), &reader)?;
        strict::check(message, &reader)?;
        let mut read = OrderMessage {
            kind,
            patient_ids: Vec::new(),
            patient_name: String::new(),
            birth_date: String::new(),
            sex: String::new(),
            orders: Vec::new(),
            lossy: false,
        };
        let (mut patients, mut drafts) = (0, Vec::new());
        for segment in message.segments() {
            if segment.is("PID") {
                patients += 1;
                patient(&segment, patients, &mut read, &reader)?;
            } else {
                take(&mut drafts, &segment, &reader)?;
            }
        }
        if patients == 0 {
            return Err(refused("PID", 1, 0, ErrorCode::SegmentSequence, "no PID: an order is for a patient"));
        }
        if drafts.first().is_none_or(|first: &Draft| first.sequence == 0) {
            return Err(refused("ORC", 1, 0, ErrorCode::SegmentSequence, "no ORC: nothing is ordered"));
        }
        read.orders = drafts.into_iter().map(finish).collect::<Result<_, _>>()?;
        read.lossy = lossy.get();
        Ok(read)
    }
}

fn refused(segment: &'static str, sequence: usize, field: usize, code: ErrorCode, text: &'static str) -> Rejected {
    Rejected::new(segment, sequence, field, code, text)
}

fn kind_of(header: &Segment<'_>, reader: &Reader<'_>) -> Result<OrderKind, Rejected> {
    let msh = |field, code, text: &'static str| Err(refused("MSH", 1, field, code, text));
    let Some(kind) = OrderKind::of_type(header.field(9).component(1).raw().trim_ascii()) else {
        return msh(9, ErrorCode::UnsupportedMessageType, "message type is none of ORM, OMG, OMI");
    };
    let event = reader.text(header.field(9).component(2));
    // Before v2.3 the event was often left out.
    if event != kind.event() && !(event.is_empty() && kind == OrderKind::Orm) {
        return msh(
            9,
            ErrorCode::UnsupportedEvent,
            "event is not the order: O01 of ORM, O19 of OMG, O23 of OMI expected",
        );
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
    Ok(kind)
}

/// The same PID may be written before every order; another patient may not.
fn patient(pid: &Segment<'_>, sequence: usize, read: &mut OrderMessage, reader: &Reader<'_>) -> Result<(), Rejected> {
    let mut ids = patient_ids(pid.field(3), reader);
    if ids.is_empty() {
        ids = patient_ids(pid.field(2), reader);
    }
    if ids.is_empty() {
        let text = "PID-3 is empty: a patient identifier is expected";
        return Err(refused("PID", sequence, 3, ErrorCode::RequiredFieldMissing, text));
    }
    if !ids.iter().all(is_number) {
        let text = "longer than 199 characters, or with control characters";
        return Err(refused("PID", sequence, 3, ErrorCode::DataType, text));
    }
    if sequence > 1 {
        let text = "a second patient in one message: expected one";
        let is_same = ids == read.patient_ids;
        return if is_same { Ok(()) } else { Err(refused("PID", sequence, 3, ErrorCode::SegmentSequence, text)) };
    }
    read.patient_ids = ids;
    read.patient_name = patient_name(pid.field(5), reader);
    let birth = reader.text(pid.field(7).component(1));
    let day: String = birth.chars().take(8).take_while(char::is_ascii_digit).collect();
    read.birth_date = if day.len() == 8 { day } else { String::new() };
    read.sex = reader.text(pid.field(8).component(1));
    Ok(())
}

fn take(drafts: &mut Vec<Draft>, segment: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
    match segment.id().to_ascii_uppercase().as_str() {
        "ORC" => orc(drafts, segment, reader),
        "OBR" => obr(current(drafts), segment, reader),
        "TQ1" => {
            let priority = reader.text(segment.field(9).component(1));
            set(&mut current(drafts).priorities[0], priority);
            Ok(())
        }
        "IPC" => {
            let draft = current(drafts);
            if draft.accession.is_empty() {
                draft.accession = reader.entity(segment.field(1));
            }
            set(&mut draft.modality, reader.text(segment.field(5).component(1)));
            study(draft, &reader.text(segment.field(3).component(1)));
            Ok(())
        }
        "ZDS" => {
            study(current(drafts), &reader.text(segment.field(1).component(1)));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The order that is being read; where no ORC has come yet, one that waits for it.
fn current(drafts: &mut Vec<Draft>) -> &mut Draft {
    if drafts.is_empty() {
        drafts.push(Draft::default());
    }
    let last = drafts.len() - 1;
    &mut drafts[last]
}

fn set(known: &mut String, said: String) {
    if known.is_empty() {
        *known = said;
    }
}

fn study(draft: &mut Draft, text: &str) {
    if let Ok(uid) = Uid::new(text)
        && draft.study_uids.len() < MAX_STUDIES
        && !draft.study_uids.contains(&uid)
    {
        draft.study_uids.push(uid);
    }
}

fn orc(drafts: &mut Vec<Draft>, segment: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
    let sequence = drafts.last().map_or(0, |last| last.sequence) + 1;
    let at = |field, code, text| Err(refused("ORC", sequence, field, code, text));
    if sequence > MAX_ORDERS {
        return at(0, ErrorCode::SegmentSequence, "more than 200 orders in one message");
    }
    let control = reader.text(segment.field(1).component(1));
    if control.is_empty() {
        return at(1, ErrorCode::RequiredFieldMissing, "ORC-1 is empty: an order control is expected");
    }
    let Some(control) = OrderControl::of_code(&control) else {
        let text = "ORC-1 is none of NW, CA, XO, SC, DC, RP, RO, HD, RL, SN, NA";
        return at(1, ErrorCode::TableValueNotFound, text);
    };
    if drafts.last().is_none_or(|last| last.sequence > 0) {
        drafts.push(Draft::default());
    }
    let draft = current(drafts);
    draft.sequence = sequence;
    draft.control = Some(control);
    draft.status = reader.text(segment.field(5).component(1));
    draft.priorities[2] = reader.text(segment.field(7).component(6));
    let same = number(&mut draft.placer, reader.entity(segment.field(2)));
    if !(same && number(&mut draft.filler, reader.entity(segment.field(3)))) {
        return at(2, ErrorCode::DataType, "ORC and OBR name different order numbers");
    }
    Ok(())
}

fn obr(draft: &mut Draft, segment: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
    let sequence = draft.sequence.max(1);
    let at = |field, code, text| Err(refused("OBR", sequence, field, code, text));
    if std::mem::replace(&mut draft.has_obr, true) {
        return at(0, ErrorCode::SegmentSequence, "a second OBR under one ORC: an ORC for each order is expected");
    }
    if !number(&mut draft.placer, reader.entity(segment.field(2))) {
        return at(2, ErrorCode::DataType, "OBR-2 names another order than ORC-2");
    }
    if !number(&mut draft.filler, reader.entity(segment.field(3))) {
        return at(3, ErrorCode::DataType, "OBR-3 names another order than ORC-3");
    }
    draft.procedure = coded(segment.field(4), reader);
    draft.priorities[1] = reader.text(segment.field(27).component(6));
    draft.priorities[3] = reader.text(segment.field(5).component(1));
    draft.obr_18 = reader.entity(segment.field(18));
    let section = reader.text(segment.field(24).component(1));
    if is_modality(&section) {
        set(&mut draft.modality, section);
    }
    Ok(())
}

/// False when the two contradict each other. An issuer that only one of them names is kept.
fn number(known: &mut IssuedId, said: IssuedId) -> bool {
    if said.is_empty() {
        return true;
    }
    if known.is_empty() || (known.value == said.value && known.issuer.is_empty()) {
        *known = said;
        return true;
    }
    known.value == said.value && (said.issuer.is_empty() || known.issuer == said.issuer)
}

/// Diagnostic service section ids (OBR-24) that are DICOM modalities; others (RAD, LAB, …) are departments.
fn is_modality(code: &str) -> bool {
    matches!(code, "CR" | "CT" | "DX" | "MG" | "MR" | "NM" | "OT" | "PT" | "RF" | "SM" | "US" | "XA")
}

/// EI.1 and CX.1 have at most 199 characters (v2.7), 50 before. Control characters are no part of a number.
fn is_number(id: &IssuedId) -> bool {
    [&id.value, &id.issuer].iter().all(|text| text.chars().count() <= 199 && !text.chars().any(char::is_control))
}

fn finish(draft: Draft) -> Result<OrderRequest, Rejected> {
    let sequence = draft.sequence;
    let Some(control) = draft.control else {
        return Err(refused("ORC", 1, 0, ErrorCode::SegmentSequence, "no ORC: nothing is ordered"));
    };
    if draft.placer.is_empty() && draft.filler.is_empty() {
        let text = "ORC-2 and ORC-3 are empty: a placer or filler order number is expected";
        return Err(refused("ORC", sequence, 2, ErrorCode::RequiredFieldMissing, text));
    }
    for (id, segment, field) in
        [(&draft.placer, "ORC", 2), (&draft.filler, "ORC", 3), (&draft.accession, "IPC", 1), (&draft.obr_18, "OBR", 18)]
    {
        if !is_number(id) {
            let text = "longer than 199 characters, or with control characters";
            return Err(refused(segment, sequence, field, ErrorCode::DataType, text));
        }
    }
    let priority = draft.priorities.iter().find(|code| !code.is_empty()).map(|code| Priority::of_hl7(code));
    Ok(OrderRequest {
        sequence,
        control,
        status: OrderStatus::of_code(&draft.status),
        placer: draft.placer,
        filler: draft.filler,
        accession: if draft.accession.is_empty() { draft.obr_18 } else { draft.accession },
        study_uids: draft.study_uids,
        procedure: draft.procedure,
        priority,
        modality: draft.modality.chars().filter(|c| !c.is_control()).take(16).collect(),
    })
}
