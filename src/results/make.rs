//! What the origin gets: the report in the forms it wants, in its own identifiers and character set.
//!
//! In: the incoming report, its case, the origin and the reader. Out: finished bytes with a fixed control id or SOP
//! Instance UID, and warnings for the case. Passed through where the form is the one that came, made from it where
//! not: text becomes a PDF or an SR, a PDF travels inside the HL7 message. Nothing is interpreted. What a form cannot hold a person
//! is told of; a form that could hold nothing at all is not made.

use super::{
    documents::{self, ReportDocument},
    incoming::{Header, Incoming, Object, Piece, is_pdf},
    parts::Answered,
    wording,
};
use crate::{
    config::Partner,
    dicom::documents::{DocumentAbout, MadeInstance, ReferencedInstance, basic_text_sr, encapsulated_pdf},
    hl7::{
        mdm::Document,
        oru::{Coded, ObservationToSend, OruToSend, Part, Shape, ValueToSend},
    },
    model::{
        CaseId, Channel, DeliveryKind, Discipline, IssuedId, Moment, ReportForm, ReportId, ReportStatus, Uid, chain,
    },
    store::{CaseRow, FormBefore, ImageOfCase, ReportFormRow},
};
use bytes::Bytes;

/// What a report is made for.
pub struct Making<'a> {
    pub id: ReportId,
    pub version: i64,
    /// When the version before it came.
    pub replaces: Option<Moment>,
    /// The forms its origin was owed of earlier versions, the last of each.
    pub before: &'a [FormBefore],
    /// The images that were read, as far as they are referred to.
    pub images: &'a [ImageOfCase],
    /// What its parts answer, in the origin's numbers.
    pub answered: &'a Answered,
    /// It is to be acknowledged by the origin in time.
    pub critical: bool,
    pub case: &'a CaseRow,
    pub origin: &'a Partner,
    pub reader_name: &'a str,
    /// Our AE title, MSH-3 of what we send.
    pub node: &'a str,
}

#[derive(Default)]
pub struct Made {
    pub forms: Vec<(DeliveryKind, ReportFormRow)>,
    /// For the case's story and a person; no patient data.
    pub warnings: Vec<String>,
}

impl Made {
    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}

const WITHDRAWN: &str = "its reader has taken back every result: the origin is told in words, see that it knows";

const UNKNOWN_ORDER: &str = "a part of the report names an order or a number that is not known here, or that several orders \
                             have: look under which number it went home, and see that it is filed";

const BREAKS_OFF: &str =
    "a PDF of the report has no end: it was cut off before it was sent, ask its reader for it again";

/// Makes every form the origin wants.
pub fn make(incoming: &Incoming, making: &Making<'_>) -> Made {
    let mut made = Made::default();
    if incoming.lossy {
        made.warn("some letters of the report could not be read in the character set its sender named".into());
    }
    if incoming.pieces.iter().any(breaks_off) {
        made.warn(BREAKS_OFF.into());
    }
    if making.answered.unknown {
        made.warn(UNKNOWN_ORDER.into());
    }
    let in_words;
    let incoming = if incoming.status == ReportStatus::Withdrawn {
        made.warn(WITHDRAWN.into());
        in_words = withdrawn(incoming, making);
        &in_words
    } else {
        incoming
    };
    for form in wanted(incoming, making, &mut made) {
        match form {
            ReportForm::Oru | ReportForm::Oul | ReportForm::Mdm => hl7(incoming, making, form, &mut made),
            ReportForm::Pdf => pdf(incoming, making, &mut made),
            ReportForm::Sr => sr(incoming, making, &mut made),
        }
    }
    made
}

/// A PDF ends with %%EOF (ISO 32000-1 7.5.5); readers look for it in its last 1,024 bytes. One that was cut off in a sender's
/// buffer may still be good Base64. It goes on as it came, for the reader's words are in it; a person asks for the rest.
fn breaks_off(piece: &Piece) -> bool {
    match piece {
        Piece::Document { bytes, .. } if is_pdf(bytes) => !bytes.last(1024).windows(5).any(|window| window == b"%%EOF"),
        _ => false,
    }
}

/// The same report with what has become of it as its first text: an empty one would say that all is well.
fn withdrawn(incoming: &Incoming, making: &Making<'_>) -> Incoming {
    let mut incoming = incoming.clone();
    let text = documents::withdrawn(&making.origin.language, making.replaces.is_some()).to_owned();
    let words = Piece::Text { code: title(&incoming, making), text };
    // A document cannot be marked as what does not hold any more. Texts may say why.
    for piece in &mut incoming.pieces {
        if let Piece::Document { code, .. } = piece {
            *piece = Piece::Deleted { code: std::mem::take(code) };
        }
    }
    let leads = matches!(incoming.pieces.first(), Some(Piece::Section(_)));
    incoming.pieces.insert(usize::from(leads), words);
    incoming
}

/// An SR that stands in the origin's study and names the patient as the origin does goes as it came, with no identifier
/// that was made for its reader: made anew, it would lose its sections, codes, measurements and references. Any other
/// would be filed in the wrong place.
fn as_it_came<'a>(incoming: &'a Incoming, making: &Making<'_>) -> Option<(&'a Object, &'a Bytes)> {
    let (clues, patient) = (&incoming.clues, &making.case.facts.patient_id);
    let is_theirs =
        clues.studies == [making.case.study.clone()] && clues.patients == [patient.clone()] && !patient.is_empty();
    let content = match &incoming.header {
        Header::AsItCame => &incoming.raw,
        Header::Rewritten(bytes) => bytes,
        Header::Foreign => return None,
    };
    incoming.object.as_ref().filter(|_| is_theirs && incoming.source == "sr").map(|object| (object, content))
}

/// An SR cannot be made from a PDF: the PDF goes instead.
fn wanted(incoming: &Incoming, making: &Making<'_>, made: &mut Made) -> Vec<ReportForm> {
    let only_pdf = !has_text(incoming) && incoming.pdf().is_some();
    let mut forms = Vec::new();
    for form in &making.origin.report_forms {
        let form = if *form == ReportForm::Sr && only_pdf {
            made.warn("the report came without text, so it goes as PDF instead of SR".into());
            ReportForm::Pdf
        } else {
            *form
        };
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    // First what holds everything: what the others leave out is then nobody's loss.
    forms.sort_by_key(|form| !form.is_hl7());
    forms
}

fn has_text(incoming: &Incoming) -> bool {
    incoming.pieces.iter().any(|piece| match piece {
        Piece::Text { text, .. } => !text.trim().is_empty(),
        Piece::Value(_) | Piece::Deleted { .. } | Piece::Unchanged { .. } => true,
        Piece::Document { .. } | Piece::Section(_) => false,
    })
}

/// What of the report a form does not hold, for a person; nobody is called where HL7 beside it holds all of it.
fn goes_without(made: &mut Made, form: &str, text: bool, documents: usize) {
    if made.forms.iter().any(|(kind, _)| kind.channel() == Channel::Hl7) {
        return;
    }
    let mut without = Vec::new();
    if text {
        without.push("its text".to_owned());
    }
    match documents {
        0 => {}
        1 => without.push("1 document".to_owned()),
        more => without.push(format!("{more} documents")),
    }
    if !without.is_empty() {
        made.warn(format!("the {form} does not hold all of the report: without {}", without.join(" and ")));
    }
}

fn hl7(incoming: &Incoming, making: &Making<'_>, form: ReportForm, made: &mut Made) {
    let name = form.as_str().to_uppercase();
    if !has_text(incoming) && incoming.documents() == 0 {
        return made.warn(format!("not sent as {name}: the report came without text and without documents"));
    }
    let Some(target) = making.origin.hl7.as_ref().and_then(|hl7| hl7.deliver.as_ref()) else {
        return made.warn(format!("the origin wants {name} but has no [hl7] deliver"));
    };
    let facts = &making.case.facts;
    let issuer = &facts.accession.issuer;
    let at = incoming.received.utc().with_timezone(&making.origin.time_zone).fixed_offset();
    let said = Said::of(incoming, making, form);
    let observations = said.observations();
    let control_id = control_id(making.id, form);
    let number = document_number(making.case.id, making.version);
    let replaces = before(making, form.kind()).map(|before| document_number(making.case.id, before.version));
    let kind = if making.case.discipline == Discipline::Pathology { "SP" } else { "DI" };
    let message = OruToSend {
        shape: match form {
            ReportForm::Oul => Shape::Oul,
            ReportForm::Mdm => Shape::Mdm(Document { number: &number, replaces: replaces.as_deref(), kind }),
            _ => Shape::Oru,
        },
        application_ack: making.critical && target.application_ack,
        sending_application: "NEISSE",
        sending_facility: making.node,
        receiving_application: &target.application,
        receiving_facility: &target.facility,
        control_id: &control_id,
        processing_id: "P",
        at,
        patient_id: &facts.patient_id,
        patient_name: &facts.patient_name,
        birth_date: &facts.birth_date,
        sex: &facts.sex,
        accession: &facts.accession,
        placer: &numbered(&facts.placer_order_number, &facts.placer_issuer, issuer),
        filler: &numbered(&facts.filler_order_number, &facts.filler_issuer, issuer),
        // Of a case that an order began it means nothing outside.
        orders: &making.answered.orders,
        study_uid: Some(&making.case.study).filter(|_| making.case.has_study),
        title: &title(incoming, making),
        status: incoming.status,
        observed_at: &format!("{}{}", facts.study_date, facts.study_time.split('.').next().unwrap_or("")),
        reported_at: at,
        interpreter: &incoming.interpreter,
        observations: &observations,
    };
    let sent = message.outgoing(&making.origin.hl7_outgoing());
    made.warnings.extend(sent.warnings);
    let (sop_class, sop_uid, transfer_syntax) = Default::default();
    let form = form.kind();
    let row =
        ReportFormRow { form: form.as_str(), control_id, sop_class, sop_uid, transfer_syntax, content: sent.content };
    made.forms.push((form, row));
}

/// An order number with who gave it: as its order said, or the origin itself.
fn numbered(number: &str, said: &str, origin: &str) -> IssuedId {
    IssuedId::new(number, if said.is_empty() { origin } else { said })
}

/// What an HL7 message says of the report: its pieces, with words for those that have none.
struct Said<'a> {
    pieces: Vec<(&'a Piece, String)>,
    /// A document is told as one text, its examinations and specimens as headings.
    text: Option<(Coded, String)>,
}

impl<'a> Said<'a> {
    fn of(incoming: &'a Incoming, making: &Making<'_>, form: ReportForm) -> Self {
        let language = &making.origin.language;
        let whole = form == ReportForm::Mdm;
        let is_told = |piece: &&Piece| !whole || matches!(piece, Piece::Document { .. });
        let words = |piece: &Piece| match piece {
            Piece::Deleted { code } => wording::deleted(language, code),
            Piece::Unchanged { code } => wording::unchanged(language, code),
            _ => String::new(),
        };
        let pieces = incoming.pieces.iter().filter(is_told).map(|piece| (piece, words(piece))).collect();
        let text = (whole && has_text(incoming))
            .then(|| (title(incoming, making), incoming.text(language, &making.answered.orders)));
        Self { pieces, text }
    }

    fn observations(&self) -> Vec<ObservationToSend<'_>> {
        let text = self.text.iter().map(|(code, text)| ObservationToSend::Text { code, text });
        text.chain(self.pieces.iter().map(|(piece, words)| observation(piece, words))).collect()
    }
}

fn observation<'a>(piece: &'a Piece, words: &'a str) -> ObservationToSend<'a> {
    match piece {
        Piece::Text { code, text } => ObservationToSend::Text { code, text },
        Piece::Document { code, mime, bytes, flags } => ObservationToSend::Document { code, mime, bytes, flags },
        Piece::Value(value) => ObservationToSend::Value {
            code: &value.code,
            value: value.detail.structured.as_ref().map_or(ValueToSend::Text(&value.text), ValueToSend::Structured),
            units: &value.detail.units,
            range: &value.detail.range,
            flags: &value.detail.flags,
        },
        Piece::Deleted { code } => ObservationToSend::Deleted { code, words },
        Piece::Unchanged { code } => ObservationToSend::Text { code, text: words },
        Piece::Section(section) => ObservationToSend::Section {
            part: Part {
                title: &section.title,
                order: section.order,
                status: section.status,
                interpreter: &section.interpreter,
            },
            specimens: &section.specimens,
        },
    }
}

/// TXA-12: the same for the same version of a case's report.
fn document_number(case: CaseId, version: i64) -> String {
    format!("{case}-{version}")
}

/// The last earlier version that went in this form.
fn before<'a>(making: &Making<'a>, form: DeliveryKind) -> Option<&'a FormBefore> {
    making.before.iter().find(|before| before.form == form.as_str())
}

/// OBR-4: what the reader called it, or what the study is called.
fn title(incoming: &Incoming, making: &Making<'_>) -> Coded {
    if !incoming.title.text.is_empty() || !incoming.title.code.is_empty() {
        return incoming.title.clone();
    }
    Coded { code: String::new(), text: making.case.facts.description.clone(), system: String::new() }
}

fn examination(incoming: &Incoming, making: &Making<'_>) -> String {
    let description = &making.case.facts.description;
    if description.is_empty() { title(incoming, making).text } else { description.clone() }
}

fn pdf(incoming: &Incoming, making: &Making<'_>, made: &mut Made) {
    let (text, documents) = (has_text(incoming), incoming.documents());
    let bytes = match incoming.pdf() {
        Some(bytes) => {
            goes_without(made, "PDF", text, documents - 1);
            bytes.bytes().into_owned()
        }
        None if !text => return made.warn("not sent as PDF: the report came without text and without a PDF".into()),
        None => match documents::pdf(&document(incoming, making)) {
            Ok(document) => {
                if !document.missing.is_empty() {
                    made.warn(format!("the PDF's font does not hold {}", letters(&document.missing)));
                }
                goes_without(made, "PDF", false, documents);
                document.bytes
            }
            Err(error) => return made.warn(format!("no PDF could be made: {}", chain(&error))),
        },
    };
    let about = about(incoming, making, ReportForm::Pdf);
    add_instance(made, DeliveryKind::ReportPdf, encapsulated_pdf(&about, bytes).map_err(|error| chain(&error)));
}

fn sr(incoming: &Incoming, making: &Making<'_>, made: &mut Made) {
    if let Some((object, content)) = as_it_came(incoming, making) {
        let form = DeliveryKind::ReportSr;
        let row = ReportFormRow {
            form: form.as_str(),
            control_id: String::new(),
            sop_class: object.sop_class.to_string(),
            sop_uid: object.sop_instance.to_string(),
            transfer_syntax: object.transfer_syntax.to_string(),
            content: content.clone().into(),
        };
        return made.forms.push((form, row));
    }
    if !has_text(incoming) {
        return made.warn("not sent as SR: the report came without text and without a PDF".into());
    }
    goes_without(made, "SR", false, incoming.documents());
    let about = about(incoming, making, ReportForm::Sr);
    add_instance(
        made,
        DeliveryKind::ReportSr,
        basic_text_sr(&about, &incoming.text(&making.origin.language, &making.answered.orders))
            .map_err(|error| chain(&error)),
    );
}

fn add_instance(made: &mut Made, form: DeliveryKind, instance: Result<MadeInstance, String>) {
    match instance {
        Ok(instance) => {
            let object = if form == DeliveryKind::ReportSr { "SR" } else { "PDF" };
            made.warnings.extend(instance.warnings.into_iter().map(|warning| format!("in the {object}, {warning}")));
            let row = ReportFormRow {
                form: form.as_str(),
                control_id: String::new(),
                sop_class: instance.sop_class.to_string(),
                sop_uid: instance.sop_instance.to_string(),
                transfer_syntax: instance.transfer_syntax.to_string(),
                content: instance.data_set.into(),
            };
            made.forms.push((form, row));
        }
        Err(reason) => made.warn(format!("{form} could not be made: {reason}")),
    }
}

fn document(incoming: &Incoming, making: &Making<'_>) -> ReportDocument {
    let facts = &making.case.facts;
    let author = incoming.interpreter.display();
    ReportDocument {
        status: incoming.status,
        version: u32::try_from(making.version).unwrap_or(1),
        language: making.origin.language.clone(),
        reading_institution: making.reader_name.to_owned(),
        origin_name: making.origin.name.clone(),
        patient_name: facts.patient_name.clone(),
        patient_id: facts.patient_id.clone(),
        birth_date: facts.birth_date.clone(),
        sex: facts.sex.clone(),
        accession: facts.accession.clone(),
        examination: examination(incoming, making),
        study_date: facts.study_date.clone(),
        study_time: facts.study_time.clone(),
        reported: incoming.received,
        time_zone: making.origin.time_zone,
        replaces: making.replaces,
        author: Some(author).filter(|author| !author.is_empty()),
        body: incoming.text(&making.origin.language, &making.answered.orders),
        case: making.case.id,
    }
}

/// The made object belongs to the original study; its UIDs are the same however often it is made.
fn about<'a>(incoming: &Incoming, making: &Making<'a>, form: ReportForm) -> DocumentAbout<'a> {
    let author = incoming.interpreter.person_name();
    DocumentAbout {
        study: making.case.study.clone(),
        series: series(making, form),
        sop_instance: instance(making.id, form),
        facts: &making.case.facts,
        orders: &making.answered.orders,
        status: incoming.status,
        title: examination(incoming, making),
        language: making.origin.language.clone(),
        content: incoming.received,
        time_zone: making.origin.time_zone,
        institution: making.reader_name.to_owned(),
        author: Some(author).filter(|author| !author.is_empty()),
        evidence: making.images.iter().map(referenced).collect(),
        version: u32::try_from(making.version).unwrap_or(1),
        predecessor: predecessor(making, form),
        outgoing: making.origin.dicom_outgoing(),
    }
}

fn referenced(image: &ImageOfCase) -> ReferencedInstance {
    ReferencedInstance {
        sop_class: image.sop_class.clone(),
        sop_instance: image.sop_instance.clone(),
        series: image.series.clone(),
    }
}

fn series(making: &Making<'_>, form: ReportForm) -> Uid {
    Uid::derived(&["report series", &making.case.id.to_string(), form.as_str()])
}

fn instance(id: ReportId, form: ReportForm) -> Uid {
    Uid::derived(&["report", &id.to_string(), form.as_str()])
}

/// The version before it, where it was made here: an SR that went as it came stands in a series of its reader's.
fn predecessor(making: &Making<'_>, form: ReportForm) -> Option<ReferencedInstance> {
    let before = before(making, form.kind())?;
    let sop_instance = instance(before.report, form);
    (before.sop_uid == sop_instance.as_str()).then_some(())?;
    Some(ReferencedInstance {
        sop_class: Uid::new(&before.sop_class).ok()?,
        sop_instance,
        series: series(making, form),
    })
}

/// MSH-10, at most 20 characters (HL7 v2.5.1 2.14.9.10): the last 76 bits of the report's id, behind a letter for each
/// form, for one receiver may want several.
fn control_id(id: ReportId, form: ReportForm) -> String {
    let hex = id.0.simple().to_string();
    let letter = match form {
        ReportForm::Oul => 'S',
        ReportForm::Mdm => 'D',
        _ => 'N',
    };
    format!("{letter}{}", &hex[hex.len() - 19..])
}

/// Letters by name, so that the warning itself can be read anywhere: `ł (U+0142)`.
fn letters(missing: &[char]) -> String {
    let named: Vec<String> = missing.iter().take(10).map(|c| format!("{c} (U+{:04X})", u32::from(*c))).collect();
    named.join(", ")
}

#[cfg(test)]
mod tests;
