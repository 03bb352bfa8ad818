//! Reading orders: a message in, an [`OrderMessage`] out, or the place of what an order cannot do without.
//!
//! Walks the message once. An ORC begins an order; OBR, TQ1, IPC and ZDS belong to the ORC before them, and what stands
//! before the first ORC to that one. A second OBR under one ORC is refused: which of the two is cancelled by a later CA
//! would be a guess. Earlier results that go along (ORC-1 PR) are passed over. Specimens belong to the order before them; in
//! O33 and O35 to the orders behind them.

use super::{MAX_ORDERS, OrderKind, OrderMessage, OrderRequest, schedule, specimen};
use crate::hl7::{
    ack::{ErrorCode, Rejected},
    charset::Charset,
    message::{Message, Segment, Value},
    oru::{Coded, Reader, coded, patient_ids, patient_name},
    strict,
};
use crate::model::{
    Discipline, IssuedId, OrderControl, OrderStatus, Priority, Requested, SpecimenSaid, Step, Uid, order_status_word,
    specimen::MAX_SPECIMENS,
};
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
    group: IssuedId,
    has_obr: bool,
    obr_18: IssuedId,
    accession: IssuedId,
    /// IPC-1 or OBR-18, and IPC-3 or ZDS-1, are `""`.
    empties: (bool, bool),
    study_uids: Vec<Uid>,
    procedure: Coded,
    /// TQ1-9, OBR-27.6, ORC-7.6, OBR-5.
    priorities: [String; 4],
    modality: String,
    is_pathology: bool,
    /// Numbers in [`Walk::specimens`].
    specimens: Vec<usize>,
    requested: Requested,
    /// What holds for each of its steps.
    all_steps: Step,
}

/// A message as far as it has been read.
struct Walk {
    kind: OrderKind,
    drafts: Vec<Draft>,
    specimens: Vec<SpecimenSaid>,
    /// ORC, SPM and SAC seen so far.
    orcs: usize,
    spms: usize,
    sacs: usize,
    /// Specimens whose orders follow (O33, O35), and whether one has.
    group: Vec<usize>,
    group_has_orders: bool,
    /// Inside of earlier results.
    passing_over: bool,
    /// Said of the patient, and so with every order.
    visit: Requested,
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
            specimens: Vec::new(),
            lossy: false,
        };
        let (mut patients, mut walk) = (0, Walk::new(kind));
        for segment in message.segments() {
            if segment.is("PID") {
                patients += 1;
                patient(&segment, patients, &mut read, &reader)?;
                schedule::account(&segment, &mut walk.visit, &reader);
            } else {
                walk.take(&segment, &reader)?;
            }
        }
        if patients == 0 {
            return Err(refused("PID", 1, 0, ErrorCode::SegmentSequence, "no PID: an order is for a patient"));
        }
        if walk.drafts.first().is_none_or(|first: &Draft| first.sequence == 0) {
            return Err(refused("ORC", 1, 0, ErrorCode::SegmentSequence, "no ORC: nothing is ordered"));
        }
        (read.orders, read.specimens) = walk.finish()?;
        read.lossy = lossy.get();
        Ok(read)
    }
}

pub(super) fn refused(
    segment: &'static str,
    sequence: usize,
    field: usize,
    code: ErrorCode,
    text: &'static str,
) -> Rejected {
    Rejected::new(segment, sequence, field, code, text)
}

fn kind_of(header: &Segment<'_>, reader: &Reader<'_>) -> Result<OrderKind, Rejected> {
    let msh = |field, code, text: &'static str| Err(refused("MSH", 1, field, code, text));
    let message_type = header.field(9).component(1).raw().trim_ascii();
    if !OrderKind::is_order(message_type) {
        return msh(9, ErrorCode::UnsupportedMessageType, "message type is none of ORM, OMG, OMI, OML");
    }
    let event = reader.text(header.field(9).component(2));
    let is_it = |kind: &&OrderKind| {
        // Before v2.3 the event was often left out.
        let is_event = event == kind.event() || (event.is_empty() && **kind == OrderKind::Orm);
        is_event && kind.message_type().as_bytes() == message_type
    };
    let Some(&kind) = OrderKind::ALL.iter().find(is_it) else {
        let text = "event is not the order: O01 of ORM, O19 of OMG, O23 of OMI, O21, O33 or O35 of OML expected";
        return msh(9, ErrorCode::UnsupportedEvent, text);
    };
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
        return Err(refused("PID", sequence, 3, ErrorCode::DataType, NO_NUMBER));
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

impl Walk {
    fn new(kind: OrderKind) -> Self {
        Self {
            kind,
            drafts: Vec::new(),
            specimens: Vec::new(),
            orcs: 0,
            spms: 0,
            sacs: 0,
            group: Vec::new(),
            group_has_orders: false,
            passing_over: false,
            visit: Requested::default(),
        }
    }

    fn take(&mut self, segment: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
        let id = segment.id().to_ascii_uppercase();
        if self.passing_over && !self.ends_earlier_results(&id) {
            return Ok(());
        }
        match id.as_str() {
            "ORC" => self.orc(segment, reader),
            "OBR" => {
                self.scheduled(segment, reader);
                obr(self.current(), segment, reader)
            }
            "OBX" => {
                self.scheduled(segment, reader);
                Ok(())
            }
            "PV1" | "AL1" => {
                schedule::patient(segment, &mut self.visit, reader);
                Ok(())
            }
            "SPM" => self.spm(segment, reader),
            "SAC" => self.sac(segment, reader),
            "TQ1" => {
                let priority = reader.text(segment.field(9).component(1));
                set(&mut self.current().priorities[0], priority);
                self.scheduled(segment, reader);
                Ok(())
            }
            "IPC" => {
                let draft = self.current();
                if draft.accession.is_empty() {
                    draft.accession = reader.entity(segment.field(1));
                }
                set(&mut draft.modality, reader.text(segment.field(5).component(1)));
                draft.empties.0 |= segment.field(1).is_null();
                study(draft, segment.field(3), reader);
                self.scheduled(segment, reader);
                Ok(())
            }
            "ZDS" => {
                study(self.current(), segment.field(1), reader);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A new order; and what stands before the orders it is for: the next specimen (O33, O35) or its next container (O35).
    fn ends_earlier_results(&self, id: &str) -> bool {
        match id {
            "ORC" => true,
            "SPM" => self.kind.specimens_come_first(),
            "SAC" => self.kind == OrderKind::OmlOfContainer,
            _ => false,
        }
    }

    /// The order that is being read; where no ORC has come yet, one that waits for it.
    fn current(&mut self) -> &mut Draft {
        if self.drafts.is_empty() {
            self.drafts.push(Draft::default());
        }
        let last = self.drafts.len() - 1;
        &mut self.drafts[last]
    }

    fn scheduled(&mut self, segment: &Segment<'_>, reader: &Reader<'_>) {
        let draft = self.current();
        schedule::of_order(segment, &mut draft.requested, &mut draft.all_steps, reader);
    }

    fn orc(&mut self, segment: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
        self.orcs += 1;
        let control = reader.text(segment.field(1).component(1));
        // Previous results with a new order (table 0119): nothing is asked by them.
        self.passing_over = control == "PR";
        if self.passing_over {
            return Ok(());
        }
        if self.drafts.last().is_none_or(|last| last.sequence > 0) {
            self.drafts.push(Draft::default());
        }
        let (sequence, group) = (self.orcs, self.group.clone());
        self.group_has_orders = true;
        let draft = self.current();
        draft.sequence = sequence;
        draft.specimens.extend(group);
        orc(draft, &control, segment, reader)?;
        self.scheduled(segment, reader);
        Ok(())
    }

    fn spm(&mut self, segment: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
        self.passing_over = false;
        self.spms += 1;
        let sequence = self.spms;
        let said = specimen::spm(segment, sequence, reader)?;
        if said.kind.is_empty() && self.kind.is_laboratory() {
            let text = "SPM-4 is empty: a specimen type is expected";
            return Err(refused("SPM", sequence, 4, ErrorCode::RequiredFieldMissing, text));
        }
        if self.specimens.len() >= MAX_SPECIMENS {
            let text = "more than 200 specimens in one message";
            return Err(refused("SPM", sequence, 0, ErrorCode::SegmentSequence, text));
        }
        let index = self.specimens.len();
        self.specimens.push(said);
        if !self.kind.specimens_come_first() {
            self.current().specimens.push(index);
        } else {
            if std::mem::replace(&mut self.group_has_orders, false) {
                self.group.clear();
            }
            self.group.push(index);
        }
        Ok(())
    }

    /// A container without a specimen before it says nothing of any.
    fn sac(&mut self, segment: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
        self.passing_over = false;
        self.sacs += 1;
        let sequence = self.sacs;
        self.specimens.last_mut().map_or(Ok(()), |last| specimen::sac(segment, sequence, last, reader))
    }

    /// Without the specimens that have no id: what is left is numbered anew.
    fn finish(self) -> Result<(Vec<OrderRequest>, Vec<SpecimenSaid>), Rejected> {
        let (mut kept, mut numbers) = (Vec::new(), Vec::new());
        for said in self.specimens {
            numbers.push(said.id().is_some().then_some(kept.len()));
            if said.id().is_some() {
                kept.push(said);
            }
        }
        let is_laboratory = self.kind.is_laboratory();
        let finish = |mut draft: Draft| {
            draft.specimens = draft.specimens.iter().filter_map(|old| numbers.get(*old).copied().flatten()).collect();
            draft.is_pathology |= is_laboratory;
            let steps = std::mem::take(&mut draft.all_steps);
            schedule::finish(&mut draft.requested, steps, &self.visit);
            finish(draft)
        };
        let orders = self.drafts.into_iter().map(finish).collect::<Result<_, _>>()?;
        Ok((orders, kept))
    }
}

fn set(known: &mut String, said: String) {
    if known.is_empty() {
        *known = said;
    }
}

fn study(draft: &mut Draft, field: Value<'_>, reader: &Reader<'_>) {
    draft.empties.1 |= field.is_null();
    if let Ok(uid) = Uid::new(&reader.text(field.component(1)))
        && draft.study_uids.len() < MAX_STUDIES
        && !draft.study_uids.contains(&uid)
    {
        draft.study_uids.push(uid);
    }
}

fn orc(draft: &mut Draft, control: &str, segment: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
    let at = |field, code, text| Err(refused("ORC", draft.sequence, field, code, text));
    if draft.sequence > MAX_ORDERS {
        return at(0, ErrorCode::SegmentSequence, "more than 200 orders in one message");
    }
    if control.is_empty() {
        return at(1, ErrorCode::RequiredFieldMissing, "ORC-1 is empty: an order control is expected");
    }
    let Some(control) = OrderControl::of_code(control) else {
        let text = "ORC-1 is none of NW, CA, XO, SC, DC, RP, RO, HD, RL, SN, NA";
        return at(1, ErrorCode::TableValueNotFound, text);
    };
    draft.control = Some(control);
    draft.status = reader.text(segment.field(5).component(1));
    draft.priorities[2] = reader.text(segment.field(7).component(6));
    draft.group = group(segment.field(4), reader);
    let sequence = draft.sequence;
    let same = number(&mut draft.placer, reader.entity(segment.field(2)));
    if !(same && number(&mut draft.filler, reader.entity(segment.field(3)))) {
        return Err(refused("ORC", sequence, 2, ErrorCode::DataType, "ORC and OBR name different order numbers"));
    }
    Ok(())
}

/// ORC-4: EI (v2.5.1), but EIP from v2.7 on: then in subcomponents.
fn group(field: Value<'_>, reader: &Reader<'_>) -> IssuedId {
    let first = field.component(1);
    if !first.has_subcomponents() {
        return reader.entity(field);
    }
    let issuer = [2, 3].into_iter().map(|n| first.subcomponent(n)).find(Value::is_valued);
    IssuedId::new(reader.text(first.subcomponent(1)), issuer.map(|n| reader.text(n)).unwrap_or_default())
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
    draft.empties.0 |= segment.field(18).is_null();
    let section = reader.text(segment.field(24).component(1));
    if is_modality(&section) {
        set(&mut draft.modality, section);
    } else {
        draft.is_pathology |= is_pathology(&section);
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

/// Diagnostic service sections of pathology (table 0074): PAT pathology, SP surgical pathology, CP cytopathology. CT is
/// the scanner.
fn is_pathology(code: &str) -> bool {
    matches!(code, "PAT" | "SP" | "CP")
}

pub(super) const NO_NUMBER: &str = "longer than 199 characters, or with control characters";

/// EI.1 and CX.1 have at most 199 characters (v2.7), 50 before. Control characters are no part of a number.
pub(super) fn is_number(id: &IssuedId) -> bool {
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
            return Err(refused(segment, sequence, field, ErrorCode::DataType, NO_NUMBER));
        }
    }
    let priority = draft.priorities.iter().find(|code| !code.is_empty()).map(|code| Priority::of_hl7(code));
    let modality: String = draft.modality.chars().filter(|c| !c.is_control()).take(16).collect();
    let of_modality = Discipline::of_modality(&modality);
    let accession = if draft.accession.is_empty() { draft.obr_18 } else { draft.accession };
    Ok(OrderRequest {
        sequence,
        control,
        status: OrderStatus::of_code(&draft.status),
        status_word: order_status_word(&draft.status),
        placer: draft.placer,
        filler: draft.filler,
        // Only what holds together: one that is no number holds nothing.
        group: if is_number(&draft.group) { draft.group } else { IssuedId::default() },
        empties_accession: draft.empties.0 && accession.is_empty(),
        accession,
        empties_studies: draft.empties.1,
        study_uids: draft.study_uids,
        procedure: draft.procedure,
        priority,
        modality,
        discipline: if draft.is_pathology { Discipline::Pathology } else { of_modality },
        specimens: draft.specimens,
        requested: draft.requested,
    })
}
