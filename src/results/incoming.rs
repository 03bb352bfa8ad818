//! A report as it came, whatever it came as: HL7 message, SR or PDF object.

use super::correlate::Clues;
use crate::dicom::charset::SenderCharset;
use crate::{
    dicom::documents::{ReadReport, ReportContent},
    hl7::{
        charset::Charset,
        message::Message,
        oru::{Coded, Content, Detail, Encapsulated, Interpreter, Observation, OruGroup, OruReport, Specimen},
    },
    model::{CaseId, IssuedId, Moment, OrderNumbers, PartnerId, ReportStatus, Uid},
};
use bytes::Bytes;
use std::cell::LazyCell;

/// Accession numbers a report may name, studies, and orders. A report is about one examination or a few.
pub(super) const MAX_NAMED: usize = 64;
const TOO_MANY: &str = "it names too many studies or orders";

/// Holds patient data: goes to the store and to partners, never to a log.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub sender: PartnerId,
    /// `oru`, `oul`, `mdm`, `sr` or `pdf`.
    pub source: &'static str,
    pub status: ReportStatus,
    pub clues: Clues,
    pub title: Coded,
    /// In the order received, nothing left out that can be shown.
    pub pieces: Vec<Piece>,
    pub interpreter: Interpreter,
    pub received: Moment,
    /// As received.
    pub raw: Bytes,
    /// Some letters could not be read in the character set the sender named.
    pub lossy: bool,
    /// Every flag (OBX-8, table 0078) of a result that counts, each once.
    pub flags: Vec<String>,
    /// What `raw` is, where it came by DICOM.
    pub object: Option<Object>,
    pub header: Header,
    /// It adds to the report before it (MDM^T06).
    pub is_addendum: bool,
    /// Of an MDM, the number of the document (TXA-12) and of the one it replaces or adds to (TXA-13). May be empty.
    pub document: IssuedId,
    pub parent: IssuedId,
    /// An addendum that has become the whole report again: the case and the version whose words it begins with.
    pub completes: Option<(CaseId, i64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub transfer_syntax: Uid,
    /// Where it names no Specific Character Set.
    pub charset: SenderCharset,
}

/// Whose identifiers the header of an object says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// None that were given out to its sender.
    #[default]
    AsItCame,
    /// Its sender's; here it is with the origin's.
    Rewritten(Bytes),
    /// Its sender's, and it cannot be rewritten.
    Foreign,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text {
        code: Coded,
        text: String,
    },
    Document {
        code: Coded,
        mime: String,
        bytes: Encapsulated,
        flags: Vec<String>,
    },
    /// A number, a code, a time; or a text with a unit, a range or a flag.
    Value(Box<ValuePiece>),
    /// A result that is taken back (OBX-11 D, W, X): what it was is not kept, only which.
    Deleted {
        code: Coded,
    },
    /// A result that is final as it was sent before (OBX-11 U, without a value).
    Unchanged {
        code: Coded,
    },
    /// What follows is about another examination or specimen.
    Section(Box<Section>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub title: Coded,
    pub specimens: Vec<Specimen>,
    /// Which of the clues' orders it answers, counted on into those that are not looked up. `None`: it names none.
    pub order: Option<usize>,
    /// Its own: of two examinations one may be final and the other cancelled.
    pub status: ReportStatus,
    /// Who interpreted it; nobody where its OBR names nobody.
    pub interpreter: Interpreter,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValuePiece {
    pub code: Coded,
    /// With its unit, for people.
    pub text: String,
    /// What is sent on as it came, where there is such a thing; and range and flags.
    pub detail: Detail,
}

impl Incoming {
    /// # Errors
    /// The report all the same, and why a person must look: the message names more studies, orders or accession numbers
    /// than can be looked up.
    pub fn from_oru(
        report: OruReport,
        sender: PartnerId,
        received: Moment,
        raw: Bytes,
    ) -> Result<Self, (Box<Self>, &'static str)> {
        let mut incoming = Self {
            sender,
            source: report.kind.as_str(),
            status: status(&report),
            clues: Clues { patients: report.patient_ids, ..Clues::default() },
            title: Coded::default(),
            pieces: Vec::new(),
            interpreter: Interpreter::default(),
            received,
            raw: raw.clone(),
            lossy: report.lossy,
            flags: Vec::new(),
            object: None,
            header: Header::AsItCame,
            is_addendum: report.is_addendum,
            document: report.document,
            parent: report.parent,
            completes: None,
        };
        // ASCII where MSH-18 is empty: then only what is UTF-8 can be told to be text.
        let named = || Charset::of_message(&Message::parse(&raw).ok()?, Charset::ASCII).ok();
        let named = LazyCell::new(|| named().unwrap_or(Charset::ASCII));
        let mut too_many = None;
        let sections = report.groups.len() > 1;
        let (gone, cancelled) = (incoming.status == ReportStatus::Withdrawn, report.cancelled);
        for mut group in report.groups {
            let order = incoming.clues.answer(&group);
            if !incoming.clues.more_orders.is_empty() {
                too_many = Some(TOO_MANY);
            }
            let status = if gone || is_withdrawn([&group]) { ReportStatus::Withdrawn } else { group.status };
            if sections || !group.specimens.is_empty() {
                incoming.section(&mut group, order, status);
            }
            let clues = &mut incoming.clues;
            too_many = too_many.or(add_all(&mut clues.studies, group.study_uids).err());
            too_many = too_many.or(add_all(&mut clues.accessions, group.accessions).err());
            if group.status == ReportStatus::Withdrawn && !gone {
                incoming.pieces.push(Piece::Deleted { code: group.service.clone() });
            }
            if incoming.title == Coded::default() {
                incoming.title = group.service;
            }
            if incoming.interpreter == Interpreter::default() {
                incoming.interpreter = group.interpreter;
            }
            for observation in group.observations {
                if status != ReportStatus::Withdrawn {
                    incoming.note_flags(&observation);
                }
                // What a cancelled document holds is what is cancelled; of a cancelled examination the texts may say why.
                let is_document = matches!(observation.content, Content::Document { .. });
                let is_gone = cancelled && observation.value_type != "NTE"
                    || observation.is_withdrawn()
                    || group.status == ReportStatus::Withdrawn && !gone && is_document;
                incoming.pieces.push(if is_gone {
                    Piece::Deleted { code: observation.code }
                } else {
                    piece(observation, || *named)
                });
            }
        }
        match too_many {
            None => Ok(incoming),
            Some(reason) => Err((Box::new(incoming), reason)),
        }
    }

    pub fn from_object(object: ReadReport, it: Object, sender: PartnerId, received: Moment, raw: Bytes) -> Self {
        let mut accessions = vec![object.accession];
        let mut orders: Vec<OrderNumbers> = Vec::new();
        for request in object.requests {
            if !accessions.contains(&request.accession) {
                accessions.push(request.accession.clone());
            }
            // DICOM names no issuer of order numbers.
            let [placer, filler] =
                [request.placer_order_number, request.filler_order_number].map(|number| IssuedId::new(number, ""));
            let order = OrderNumbers { placer, filler, accession: request.accession };
            if !order.is_empty() && orders.len() < MAX_NAMED && !orders.contains(&order) {
                orders.push(order);
            }
        }
        let title = Coded { code: String::new(), text: object.title, system: String::new() };
        let code = title.clone();
        let (source, piece) = match object.content {
            ReportContent::Text(text) => ("sr", Piece::Text { code, text }),
            ReportContent::Pdf(bytes) => (
                "pdf",
                Piece::Document { code, mime: "application/pdf".into(), bytes: bytes.into(), flags: Vec::new() },
            ),
        };
        Self {
            sender,
            source,
            // An object that does not say is taken at its word of being a report: final.
            status: object.status.unwrap_or(ReportStatus::Final),
            clues: Clues {
                studies: vec![object.study],
                accessions: accessions.into_iter().filter(|id| !id.is_empty()).collect(),
                orders,
                patients: vec![object.patient_id],
                ..Clues::default()
            },
            title,
            pieces: vec![piece],
            interpreter: Interpreter::of_person_name(&object.author.unwrap_or_default()),
            received,
            raw,
            lossy: object.lossy,
            flags: Vec::new(),
            object: Some(it),
            header: Header::AsItCame,
            is_addendum: false,
            document: IssuedId::default(),
            parent: IssuedId::default(),
            completes: None,
        }
    }

    /// What follows is a section of its own; its specimens are clues too.
    fn section(&mut self, group: &mut OruGroup, order: Option<usize>, status: ReportStatus) {
        let specimens = std::mem::take(&mut group.specimens);
        for id in specimens.iter().flat_map(Specimen::ids) {
            // A report of more specimens is not looked up by them.
            if self.clues.specimens.len() < MAX_NAMED && !self.clues.specimens.contains(id) {
                self.clues.specimens.push(id.clone());
            }
        }
        let (title, interpreter) = (group.service.clone(), group.interpreter.clone());
        self.pieces.push(Piece::Section(Box::new(Section { title, specimens, order, status, interpreter })));
    }

    fn note_flags(&mut self, observation: &Observation) {
        if observation.is_withdrawn() {
            return;
        }
        for flag in observation.flags() {
            if self.flags.len() < MAX_NAMED && !self.flags.contains(flag) {
                self.flags.push(flag.clone());
            }
        }
    }

    /// Its reader flags a result so that somebody has to be told at once: table 0078 AA, HH, LL, or what this reader has
    /// agreed to write.
    pub fn is_critical(&self, agreed: &[String]) -> bool {
        self.flags.iter().any(|flag| matches!(flag.as_str(), "AA" | "HH" | "LL") || agreed.contains(flag))
    }

    /// How many documents it came with that are not text.
    pub fn documents(&self) -> usize {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Document { .. })).count()
    }

    /// The first PDF it came with.
    pub fn pdf(&self) -> Option<&Encapsulated> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Document { mime, bytes, .. } if mime == "application/pdf" || is_pdf(bytes) => Some(bytes),
            _ => None,
        })
    }
}

/// By how it begins (ISO 32000-1 7.5.2).
pub(super) fn is_pdf(document: &Encapsulated) -> bool {
    *document.first(5) == *b"%PDF-"
}

/// What it says of itself, and withdrawn where nothing of it is left: OBR-25 X, a cancelled document, or every result
/// taken back whatever OBR-25 says. An examination that was cancelled beside others that were not makes the whole a
/// report of the others. The least certain one counts for all.
fn status(report: &OruReport) -> ReportStatus {
    if report.cancelled || is_withdrawn(&report.groups) {
        return ReportStatus::Withdrawn;
    }
    let said = report.groups.iter().map(|group| group.status);
    said.min().unwrap_or(ReportStatus::Preliminary)
}

/// Notes are no results.
fn is_withdrawn<'a>(groups: impl IntoIterator<Item = &'a OruGroup>) -> bool {
    let observations = groups.into_iter().flat_map(|group| &group.observations);
    let mut results = observations.filter(|observation| observation.value_type != "NTE").peekable();
    results.peek().is_some() && results.all(Observation::is_withdrawn)
}

fn piece(observation: Observation, charset: impl Fn() -> Charset) -> Piece {
    let code = observation.code;
    match observation.content {
        Content::Text(text) if text.is_empty() && observation.status == "U" => Piece::Unchanged { code },
        Content::Text(text) => in_words(code, text, observation.detail),
        Content::Document { mime, bytes } => match plain_text(&mime, &bytes, charset) {
            Some(text) => in_words(code, text, observation.detail),
            None => Piece::Document {
                code,
                mime,
                bytes,
                flags: observation.detail.map(|detail| detail.flags).unwrap_or_default(),
            },
        },
        Content::Pointer { address, .. } => Piece::Text { code, text: address },
    }
}

fn in_words(code: Coded, text: String, detail: Option<Box<Detail>>) -> Piece {
    match detail {
        None => Piece::Text { code, text },
        Some(detail) => Piece::Value(Box::new(ValuePiece { code, text, detail: *detail })),
    }
}

/// A document that is plain text, in UTF-8 or the message's character set. One in neither stays a document.
fn plain_text(mime: &str, document: &Encapsulated, charset: impl Fn() -> Charset) -> Option<String> {
    if mime != "text/plain" {
        return None;
    }
    let bytes = document.bytes();
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}').to_owned(),
        Err(_) => Some(charset().decode(&bytes)).filter(|decoded| !decoded.lossy)?.text,
    };
    Some(text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// Each once. Thousands of groups may each name dozens of others: more than can be looked up are not kept.
fn add_all<T: PartialEq>(known: &mut Vec<T>, more: Vec<T>) -> Result<(), &'static str> {
    for one in more {
        if known.contains(&one) {
            continue;
        }
        if known.len() == MAX_NAMED {
            return Err(TOO_MANY);
        }
        known.push(one);
    }
    Ok(())
}

impl Clues {
    /// Notes what a group answers, each order once as far as they are looked up; which of them it is, if it names one.
    fn answer(&mut self, group: &OruGroup) -> Option<usize> {
        let accession = group.accessions.first().cloned().unwrap_or_default();
        let order = OrderNumbers { placer: group.placer.clone(), filler: group.filler.clone(), accession };
        if order.is_empty() {
            return None;
        }
        if let Some(known) = self.orders.iter().position(|known| *known == order) {
            return Some(known);
        }
        if self.orders.len() == MAX_NAMED {
            // One after the other: thousands are not compared with each other.
            if self.more_orders.last() != Some(&order) {
                self.more_orders.push(order);
            }
        } else {
            self.orders.push(order);
        }
        Some(self.orders.len() + self.more_orders.len() - 1)
    }
}

#[cfg(test)]
mod tests;
