//! Which OBX belongs to which OBR, and what an OBR with its neighbours says.
//!
//! In: the segments after the header, in any order. Out: one [`OruGroup`] an OBR. What comes before the first OBR
//! belongs to it. An ORC belongs to the OBR after it (ORU), or before it where the message starts with an OBR and
//! ends with an ORC, or is an OUL. A specimen (SPM) belongs to the OBR before it (ORU), or, where the first SPM comes
//! before the first OBR (OUL^R22), to the next one, with what stands between.

use super::observation::{self, Read, coded};
use super::read::Reader;
use super::{
    Coded, ErrorCode, Interpreter, MAX_GROUPS, MAX_OBSERVATIONS, MAX_STRUCTURED, Observation, OruGroup, Rejected,
    ReportKind, Specimen,
};
use crate::hl7::mdm::Notification;
use crate::hl7::message::{Message, Segment};
use crate::model::{IssuedId, ReportStatus, Uid};

/// Numbers and UIDs a group may have.
const MAX_IDS: usize = 50;

#[derive(Default)]
struct Draft {
    /// Which OBR of the message, from 1.
    sequence: usize,
    has_obr: bool,
    placer: IssuedId,
    filler: IssuedId,
    orc_placer: IssuedId,
    orc_filler: IssuedId,
    obr_18: IssuedId,
    accessions: Vec<IssuedId>,
    study_uids: Vec<Uid>,
    specimens: Vec<Specimen>,
    status: String,
    service: Coded,
    observed_at: String,
    reported_at: String,
    interpreter: Interpreter,
    observations: Vec<Observation>,
}

/// The groups of a message, as they are read.
pub(in crate::hl7) struct Groups {
    drafts: Vec<Draft>,
    /// ORC-2 and ORC-3 that wait for their OBR.
    pending_orc: Option<(IssuedId, IssuedId)>,
    /// The message starts with an OBR and no OBR follows its last ORC, so each ORC follows its own.
    orc_follows: bool,
    /// The first SPM comes before the first OBR, so each specimen's results follow it.
    specimen_leads: bool,
    obx_count: usize,
    observation_count: usize,
    structured_count: usize,
}

impl Groups {
    pub(super) fn new(message: &Message<'_>, kind: ReportKind) -> Self {
        let mut first = message.segments().filter(|segment| segment.is("SPM") || segment.is("OBR"));
        let specimen_leads = first.next().is_some_and(|segment| segment.is("SPM"));
        let mut order = message.segments().filter(|segment| segment.is("ORC") || segment.is("OBR"));
        let starts_with_obr = order.next().is_some_and(|segment| segment.is("OBR"));
        let ends_with_orc = order.last().is_some_and(|segment| segment.is("ORC"));
        Self {
            drafts: Vec::new(),
            pending_orc: None,
            orc_follows: starts_with_obr && (ends_with_orc || kind == ReportKind::Oul),
            specimen_leads,
            obx_count: 0,
            observation_count: 0,
            structured_count: 0,
        }
    }

    pub(super) fn take(&mut self, segment: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
        match segment.id().to_ascii_uppercase().as_str() {
            "ORC" => self.orc(segment, reader),
            "OBR" => self.obr(segment, reader)?,
            "OBX" => {
                self.obx_count += 1;
                match observation::obx(segment, self.obx_count, reader)? {
                    Read::StudyUid(uid) => self.study_uid(Some(uid)),
                    Read::Observations(observations) => self.observations(observations)?,
                }
            }
            "NTE" => self.observations(observation::nte(segment, reader))?,
            "ZDS" => self.study_uid(Uid::new(&reader.text(segment.field(1).component(1))).ok()),
            "IPC" => {
                let accession = reader.entity(segment.field(1));
                push_once(&mut self.current().accessions, accession, IssuedId::is_empty);
                self.study_uid(Uid::new(&reader.text(segment.field(3).component(1))).ok());
            }
            "SPM" => self.specimen(Specimen::read(segment, reader))?,
            "SAC" => self.container(reader.entity(segment.field(3))),
            "" if segment.is_stray() => self.observations([observation::stray(segment, reader)])?,
            // Text that begins like a segment, or a segment whose name was damaged: somebody wrote it.
            _ if !(segment.is_known() || segment.is_blank()) => {
                self.observations([observation::stray(segment, reader)])?;
            }
            _ => {}
        }
        Ok(())
    }

    fn specimen(&mut self, specimen: Specimen) -> Result<(), Rejected> {
        if self.specimen_leads && self.drafts.last().is_some_and(|draft| draft.has_obr) {
            self.begin()?;
        }
        push_once(&mut self.current().specimens, specimen, |_| false);
        Ok(())
    }

    /// A SAC without an SPM says which container was looked at.
    fn container(&mut self, id: IssuedId) {
        let specimens = &mut self.current().specimens;
        if specimens.is_empty() {
            specimens.push(Specimen::default());
        }
        if let Some(specimen) = specimens.last_mut() {
            push_once(&mut specimen.containers, id, IssuedId::is_empty);
        }
    }

    fn begin(&mut self) -> Result<(), Rejected> {
        if self.drafts.len() >= MAX_GROUPS {
            let text = format!("more than {MAX_GROUPS} OBR");
            return Err(Rejected::new("OBR", self.drafts.len() + 1, 0, ErrorCode::Internal, text));
        }
        self.drafts.push(Draft::default());
        Ok(())
    }

    /// The group that segments belong to now: the first one before there is an OBR.
    fn current(&mut self) -> &mut Draft {
        if self.drafts.is_empty() {
            self.drafts.push(Draft::default());
        }
        let last = self.drafts.len() - 1;
        &mut self.drafts[last]
    }

    fn orc(&mut self, orc: &Segment<'_>, reader: &Reader<'_>) {
        let numbers = (reader.entity(orc.field(2)), reader.entity(orc.field(3)));
        if self.orc_follows {
            let draft = self.current();
            (draft.orc_placer, draft.orc_filler) = numbers;
        } else {
            self.pending_orc = Some(numbers);
        }
    }

    fn obr(&mut self, obr: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
        let is_new = self.drafts.last().is_none_or(|draft| draft.has_obr);
        if is_new {
            self.begin()?;
        }
        let sequence = self.drafts.len();
        let orc = self.pending_orc.take();
        let draft = self.current();
        (draft.has_obr, draft.sequence) = (true, sequence);
        (draft.orc_placer, draft.orc_filler) = orc.unwrap_or_default();
        draft.placer = reader.entity(obr.field(2));
        draft.filler = reader.entity(obr.field(3));
        draft.obr_18 = IssuedId::new(reader.text(obr.field(18).component(1)), "");
        draft.service = coded(obr.field(4), reader);
        draft.observed_at = reader.text(obr.field(7).component(1));
        draft.reported_at = reader.text(obr.field(22).component(1));
        draft.status = reader.text(obr.field(25).first()).to_ascii_uppercase();
        draft.interpreter = Interpreter::read(obr.field(32), reader);
        Ok(())
    }

    fn study_uid(&mut self, uid: Option<Uid>) {
        if let Some(uid) = uid {
            push_once(&mut self.current().study_uids, uid, |_| false);
        }
    }

    fn observations(&mut self, observations: impl IntoIterator<Item = Observation>) -> Result<(), Rejected> {
        for mut observation in observations {
            self.observation_count += 1;
            if let Some(detail) = observation.detail.as_mut().filter(|detail| detail.structured.is_some()) {
                self.structured_count += 1;
                if self.structured_count > MAX_STRUCTURED {
                    detail.structured = None;
                }
            }
            if self.observation_count > MAX_OBSERVATIONS {
                let text = format!("more than {MAX_OBSERVATIONS} OBX and NTE");
                return Err(Rejected::new("OBX", self.obx_count.max(1), 0, ErrorCode::Internal, text));
            }
            self.current().observations.push(observation);
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<OruGroup>, Rejected> {
        if !self.drafts.iter().any(|draft| draft.has_obr) {
            let text = "no OBR: a report names what was examined";
            return Err(Rejected::new("OBR", 1, 0, ErrorCode::SegmentSequence, text));
        }
        // A last specimen that no OBR follows: what stands there belongs to the report before it.
        if let Some(stray) = self.drafts.pop_if(|draft| !draft.has_obr)
            && let Some(last) = self.drafts.last_mut()
        {
            last.specimens.extend(stray.specimens);
            last.observations.extend(stray.observations);
        }
        // A last ORC that no OBR follows can only belong to the OBR before it.
        if let (Some(orc), Some(last)) = (self.pending_orc.take(), self.drafts.last_mut())
            && last.orc_placer.is_empty()
            && last.orc_filler.is_empty()
        {
            (last.orc_placer, last.orc_filler) = orc;
        }
        self.drafts.into_iter().map(Draft::finish).collect()
    }

    /// The groups of a document: there may be no OBR, and what the document says of itself counts for all of them.
    pub(in crate::hl7) fn of_document(mut self, about: Notification) -> Result<Vec<OruGroup>, Rejected> {
        if let Some((placer, filler)) = self.pending_orc.take() {
            let draft = self.current();
            (draft.orc_placer, draft.orc_filler) = (placer, filler);
        }
        let only = self.drafts.len() <= 1;
        let draft = self.current();
        if only && draft.placer.is_empty() && draft.orc_placer.is_empty() {
            draft.placer = about.placer;
        }
        if only && draft.filler.is_empty() && draft.orc_filler.is_empty() {
            draft.filler = about.filler;
        }
        if draft.observed_at.is_empty() {
            draft.observed_at = about.at;
        }
        for draft in &mut self.drafts {
            if let Some(status) = about.status {
                status.hl7().clone_into(&mut draft.status);
            }
            if draft.interpreter == Interpreter::default() {
                draft.interpreter = about.interpreter.clone();
            }
        }
        self.drafts.into_iter().map(Draft::finish).collect()
    }
}

impl Draft {
    fn finish(mut self) -> Result<OruGroup, Rejected> {
        let status = self.report_status()?;
        // An ORC that contradicts the OBR in one number is another order's, and says nothing about the other number.
        let differs = |a: &IssuedId, b: &IssuedId| !a.is_empty() && !b.is_empty() && a.value != b.value;
        if differs(&self.placer, &self.orc_placer) || differs(&self.filler, &self.orc_filler) {
            (self.orc_placer, self.orc_filler) = Default::default();
        }
        let placer = if self.placer.is_empty() { self.orc_placer } else { self.placer };
        let filler = if self.filler.is_empty() { self.orc_filler } else { self.filler };
        let named = std::mem::take(&mut self.accessions);
        let mut accessions = Vec::new();
        for accession in [self.obr_18, filler.clone()].into_iter().chain(named) {
            push_once(&mut accessions, accession, IssuedId::is_empty);
        }
        Ok(OruGroup {
            placer,
            filler,
            accessions,
            study_uids: self.study_uids,
            specimens: self.specimens,
            status,
            service: self.service,
            observed_at: self.observed_at,
            reported_at: self.reported_at,
            interpreter: self.interpreter,
            observations: self.observations,
        })
    }

    /// OBR-25. Where it is empty, the OBX-11 together: one that is preliminary or pending makes the report so, else one
    /// correction does.
    fn report_status(&self) -> Result<ReportStatus, Rejected> {
        let refused = |code, text: &'static str| Err(Rejected::new("OBR", self.sequence, 25, code, text));
        if !self.status.is_empty() && self.status != "\"\"" {
            return match ReportStatus::of_obr(&self.status) {
                Some(status) => Ok(status),
                None => refused(
                    ErrorCode::TableValueNotFound,
                    "result status carries no result: expected P, R, S, A, F, C or X",
                ),
            };
        }
        let has_results =
            self.observations.iter().any(|o| o.status != "I" && ReportStatus::of_obx(&o.status).is_some());
        let of_parts: Vec<Option<ReportStatus>> = self
            .observations
            .iter()
            .filter(|o| !o.status.is_empty())
            .map(|o| ReportStatus::of_obx(&o.status).filter(|_| o.status != "I" || has_results))
            .collect();
        if of_parts.is_empty() {
            return refused(ErrorCode::RequiredFieldMissing, "no result status in OBR-25 or OBX-11");
        }
        // Taken back counts last: what is left is the report.
        let by_weight =
            [ReportStatus::Preliminary, ReportStatus::Corrected, ReportStatus::Final, ReportStatus::Withdrawn];
        for status in by_weight {
            if of_parts.contains(&Some(status)) {
                return Ok(status);
            }
        }
        refused(ErrorCode::TableValueNotFound, "no OBX-11 carries a result: expected P, R, S, F, C, D, W or X")
    }
}

fn push_once<T: PartialEq>(list: &mut Vec<T>, item: T, is_nothing: impl Fn(&T) -> bool) {
    if !is_nothing(&item) && list.len() < MAX_IDS && !list.contains(&item) {
        list.push(item);
    }
}
