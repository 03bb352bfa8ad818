//! A report as it came, whatever it came as: HL7 message, SR or PDF object.

use super::correlate::Clues;
use crate::dicom::charset::SenderCharset;
use crate::{
    dicom::documents::{ReadReport, ReportContent},
    hl7::{
        charset::Charset,
        message::Message,
        oru::{Coded, Content, Interpreter, Observation, OruReport},
    },
    model::{IssuedId, Moment, PartnerId, ReportStatus, Uid},
};
use bytes::Bytes;
use std::cell::LazyCell;

/// Accession numbers a report may name, and studies. A report is about one examination or a few.
pub(super) const MAX_NAMED: usize = 64;
const TOO_MANY: &str = "it names too many studies";

/// Holds patient data: goes to the store and to partners, never to a log.
#[derive(Clone, Debug)]
pub struct Incoming {
    pub sender: PartnerId,
    /// `oru`, `sr` or `pdf`.
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
    /// It had results, and its sender takes all of them back (OBX-11 D, W, X).
    pub withdrawn: bool,
    /// What `raw` is, where it came by DICOM.
    pub object: Option<Object>,
    pub header: Header,
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
    Text { code: Coded, text: String },
    Document { code: Coded, mime: String, bytes: Vec<u8> },
}

impl Incoming {
    /// # Errors
    /// The report all the same, and why a person must look: the message is about several orders at once, or names more
    /// studies or accession numbers than can be looked up.
    pub fn from_oru(
        report: OruReport,
        sender: PartnerId,
        received: Moment,
        raw: Bytes,
    ) -> Result<Self, (Box<Self>, &'static str)> {
        let withdrawn = is_withdrawn(&report);
        let said = report.groups.iter().map(|group| group.status).min().unwrap_or(ReportStatus::Preliminary);
        let mut incoming = Self {
            sender,
            source: "oru",
            // Whatever it says of itself: the report before it does not count any more.
            status: if withdrawn { ReportStatus::Corrected } else { said },
            clues: Clues { patients: report.patient_ids, ..Clues::default() },
            title: Coded::default(),
            pieces: Vec::new(),
            interpreter: Interpreter::default(),
            received,
            raw: raw.clone(),
            lossy: report.lossy,
            withdrawn,
            object: None,
            header: Header::AsItCame,
        };
        // ASCII where MSH-18 is empty: then only what is UTF-8 can be told to be text.
        let named = || Charset::of_message(&Message::parse(&raw).ok()?, Charset::ASCII).ok();
        let named = LazyCell::new(|| named().unwrap_or(Charset::ASCII));
        let (mut too_many, mut several) = (None, None);
        for group in report.groups {
            let clues = &mut incoming.clues;
            too_many = too_many.or(add_all(&mut clues.studies, group.study_uids).err());
            too_many = too_many.or(add_all(&mut clues.accessions, group.accessions).err());
            several = several.or(same_or_first(&mut clues.placer, group.placer).err());
            several = several.or(same_or_first(&mut clues.filler, group.filler).err());
            if incoming.title == Coded::default() {
                incoming.title = group.service;
            }
            if incoming.interpreter == Interpreter::default() {
                incoming.interpreter = group.interpreter;
            }
            incoming.pieces.extend(group.observations.into_iter().filter_map(|shown| piece(shown, || *named)));
        }
        match too_many.or(several) {
            None => Ok(incoming),
            Some(reason) => Err((Box::new(incoming), reason)),
        }
    }

    pub fn from_object(object: ReadReport, it: Object, sender: PartnerId, received: Moment, raw: Bytes) -> Self {
        let mut accessions = vec![object.accession];
        let (mut placer, mut filler) = (IssuedId::default(), IssuedId::default());
        for request in object.requests {
            if !accessions.contains(&request.accession) {
                accessions.push(request.accession);
            }
            placer.value = request.placer_order_number;
            filler.value = request.filler_order_number;
        }
        let title = Coded { code: String::new(), text: object.title, system: String::new() };
        let code = title.clone();
        let (source, piece) = match object.content {
            ReportContent::Text(text) => ("sr", Piece::Text { code, text }),
            ReportContent::Pdf(bytes) => ("pdf", Piece::Document { code, mime: "application/pdf".into(), bytes }),
        };
        Self {
            sender,
            source,
            // An object that does not say is taken at its word of being a report: final.
            status: object.status.unwrap_or(ReportStatus::Final),
            clues: Clues {
                studies: vec![object.study],
                accessions: accessions.into_iter().filter(|id| !id.is_empty()).collect(),
                placer,
                filler,
                patients: vec![object.patient_id],
            },
            title,
            pieces: vec![piece],
            interpreter: Interpreter::of_person_name(&object.author.unwrap_or_default()),
            received,
            raw,
            lossy: object.lossy,
            withdrawn: false,
            object: Some(it),
            header: Header::AsItCame,
        }
    }

    /// All text, for a reader's eyes.
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self
            .pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Text { text, .. } => Some(text.as_str()),
                Piece::Document { .. } => None,
            })
            .collect();
        texts.join("\n")
    }

    /// How many documents it came with that are not text.
    pub fn documents(&self) -> usize {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Document { .. })).count()
    }

    /// The first PDF it came with.
    pub fn pdf(&self) -> Option<&[u8]> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Document { mime, bytes, .. } if mime == "application/pdf" || bytes.starts_with(b"%PDF-") => {
                Some(bytes.as_slice())
            }
            _ => None,
        })
    }
}

/// Notes are no results.
fn is_withdrawn(report: &OruReport) -> bool {
    let observations = report.groups.iter().flat_map(|group| &group.observations);
    let mut results = observations.filter(|observation| observation.value_type != "NTE").peekable();
    results.peek().is_some() && results.all(Observation::is_withdrawn)
}

fn piece(observation: Observation, charset: impl Fn() -> Charset) -> Option<Piece> {
    if observation.is_withdrawn() {
        return None;
    }
    let code = observation.code;
    Some(match observation.content {
        Content::Text(text) => Piece::Text { code, text },
        Content::Document { mime, bytes } => match plain_text(&mime, &bytes, charset) {
            Some(text) => Piece::Text { code, text },
            None => Piece::Document { code, mime, bytes },
        },
        Content::Pointer { address, .. } => Piece::Text { code, text: address },
    })
}

/// A document that is plain text, in UTF-8 or the message's character set. One in neither stays a document.
fn plain_text(mime: &str, bytes: &[u8], charset: impl Fn() -> Charset) -> Option<String> {
    if mime != "text/plain" {
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}').to_owned(),
        Err(_) => Some(charset().decode(bytes)).filter(|decoded| !decoded.lossy)?.text,
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

fn same_or_first(known: &mut IssuedId, said: IssuedId) -> Result<(), &'static str> {
    if known.is_empty() {
        *known = said;
        return Ok(());
    }
    if said.is_empty() || *known == said { Ok(()) } else { Err("it reports on several orders at once") }
}

#[cfg(test)]
mod tests;
