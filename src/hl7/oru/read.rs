//! Reading ORU, OUL and MDM: a message in, an [`OruReport`] out, or the place of what a report cannot do without.
//!
//! Walks the message once. Segments that carry nothing of a report are passed over; the caller keeps the message
//! itself.

use super::group::Groups;
use super::{ErrorCode, OruReport, Rejected, ReportKind, cut, names};
use crate::hl7::charset::Charset;
use crate::hl7::mdm;
use crate::hl7::message::{Message, Segment, Value};
use crate::model::IssuedId;
use bytes::Bytes;
use std::borrow::Cow;
use std::cell::Cell;

/// Identifiers a patient may have.
const MAX_PATIENT_IDS: usize = 100;

/// Decodes values, and remembers whether letters were lost.
pub(in crate::hl7) struct Reader<'a> {
    charset: Charset,
    lossy: &'a Cell<bool>,
    /// The message, where parts of it may be kept without a copy.
    message: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    pub(in crate::hl7) fn new(charset: Charset, lossy: &'a Cell<bool>) -> Self {
        Self { charset, lossy, message: None }
    }

    /// These bytes to keep. A part of the message is not copied.
    pub(super) fn shared(&self, bytes: Cow<'_, [u8]>) -> Bytes {
        match bytes {
            Cow::Owned(bytes) => bytes.into(),
            Cow::Borrowed(part) => {
                let shared = self.message.and_then(|message| part_of(message, part));
                shared.unwrap_or_else(|| Bytes::copy_from_slice(part))
            }
        }
    }

    /// A value's text, without blanks around it.
    pub(in crate::hl7) fn text(&self, value: Value<'_>) -> String {
        let text = self.whole(value);
        let trimmed = text.trim();
        if trimmed.len() == text.len() { text } else { trimmed.to_owned() }
    }

    /// A value's text, blanks and all.
    pub(super) fn whole(&self, value: Value<'_>) -> String {
        let decoded = value.text(self.charset);
        self.lossy.set(self.lossy.get() | decoded.lossy);
        decoded.text
    }

    pub(super) fn decode(&self, bytes: &[u8]) -> String {
        let decoded = self.charset.decode(bytes);
        self.lossy.set(self.lossy.get() | decoded.lossy);
        decoded.text
    }

    /// EI (v2.5.1 2.A.28): the number, and its namespace or else universal id as issuer.
    pub(in crate::hl7) fn entity(&self, field: Value<'_>) -> IssuedId {
        let namespace = [2, 3].into_iter().map(|n| field.component(n)).find(Value::is_valued);
        IssuedId::new(self.text(field.component(1)), namespace.map(|n| self.text(n)).unwrap_or_default())
    }
}

impl OruReport {
    /// Reads the bytes of a message; `fallback` is the sender's character set where MSH-18 is empty.
    ///
    /// # Errors
    /// As [`OruReport::parse`], and when it is no message or MSH-18 names a set we do not read.
    pub fn read(bytes: &Bytes, fallback: Charset) -> Result<OruReport, Rejected> {
        let message = Message::parse(bytes)?;
        let charset = Charset::of_message(&message, fallback)?;
        Self::parse(&message, charset, Some(bytes))
    }

    /// Reads an ORU^R01, OUL^R22 or MDM^T02 (and its kin, see [`ReportKind`]) whose values are in `charset` (see [`Charset::of_message`]).
    /// Documents share the memory of `bytes`, if those are what `message` is a view of.
    ///
    /// # Errors
    /// When it is none of them, or lacks MSH-10, PID or OBR (MDM: TXA), or speaks of two patients, or a report's status or document
    /// cannot be read. Says where.
    pub fn parse(message: &Message<'_>, charset: Charset, bytes: Option<&Bytes>) -> Result<OruReport, Rejected> {
        let lossy = Cell::new(false);
        let reader = Reader { message: bytes, ..Reader::new(charset, &lossy) };
        let mut report = read_header(&message.header(), &reader)?;
        cut::is_whole(message)?;
        let mut groups = Groups::new(message, report.kind);
        let mut document = mdm::Notification::default();
        let mut patients = 0;
        let mut line = 0;
        while let Some((segment, next)) = whole_segment(message, line) {
            line = next;
            if segment.is("PID") {
                patients += 1;
                read_patient(&segment, patients, &mut report, &reader)?;
            } else if report.kind == ReportKind::Mdm && segment.is("TXA") {
                document.take(&segment, &reader)?;
            } else {
                groups.take(&segment, &reader)?;
            }
        }
        if patients == 0 {
            return Err(Rejected::new("PID", 1, 0, ErrorCode::SegmentSequence, "no PID: a report is about a patient"));
        }
        if report.kind == ReportKind::Mdm {
            document.finish(message, groups, &mut report)?;
        } else {
            report.groups = groups.finish()?;
        }
        report.lossy = lossy.get();
        Ok(report)
    }
}

/// `part` as a part of `whole`, if it lies there.
fn part_of(whole: &Bytes, part: &[u8]) -> Option<Bytes> {
    let at = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = at.checked_add(part.len()).filter(|end| *end <= whole.len())?;
    Some(whole.slice(at..end))
}

/// The segment at `line`, with the lines after it that an unescaped line break cut off, and the line to go on with.
fn whole_segment<'a>(message: &Message<'a>, line: usize) -> Option<(Segment<'a>, usize)> {
    let segment = message.segment(line)?;
    // Complete as far as we read it: what follows is text outside any field.
    let is_complete = match segment.id() {
        "" => true,
        id if id.eq_ignore_ascii_case("OBX") => segment.field_count() > 5,
        id if id.eq_ignore_ascii_case("NTE") => segment.field_count() > 3,
        // An OBX whose name was damaged may be what follows; taken for a part of OBR it would vanish.
        id if id.eq_ignore_ascii_case("OBR") => segment.field_count() >= 25,
        _ => false,
    };
    if is_complete {
        return Some((segment, line + 1));
    }
    let mut last = line;
    let mut next = line + 1;
    while let Some(following) = message.segment(next).filter(|s| s.is_stray() || s.is_blank()) {
        if following.is_stray() {
            last = next;
        }
        next += 1;
    }
    Some((message.between(line, last)?, next))
}

fn read_header(header: &Segment<'_>, reader: &Reader<'_>) -> Result<OruReport, Rejected> {
    let refused = |field, code, text: &'static str| Err(Rejected::new("MSH", 1, field, code, text));
    let kind = ReportKind::of(header, reader)?;
    let report = OruReport {
        kind,
        sending_application: reader.text(header.field(3).component(1)),
        sending_facility: reader.text(header.field(4).component(1)),
        receiving_application: reader.text(header.field(5).component(1)),
        receiving_facility: reader.text(header.field(6).component(1)),
        control_id: reader.text(header.field(10)),
        processing_id: reader.text(header.field(11).component(1)),
        version: reader.text(header.field(12).component(1)),
        ..OruReport::default()
    };
    if report.control_id.is_empty() {
        return refused(10, ErrorCode::RequiredFieldMissing, "MSH-10 is empty: a message control id is expected");
    }
    // A test or training message (T, D) with a real accession number would end in a real chart.
    if !matches!(report.processing_id.as_str(), "P" | "") {
        return refused(11, ErrorCode::UnsupportedProcessingId, "MSH-11 is not P: only production messages are taken");
    }
    if !(report.version.is_empty() || report.version == "2" || report.version.starts_with("2.")) {
        return refused(12, ErrorCode::UnsupportedVersion, "MSH-12 is no version 2");
    }
    Ok(report)
}

/// The same PID may be written before every group; another patient may not (one report, one patient).
fn read_patient(
    pid: &Segment<'_>,
    sequence: usize,
    report: &mut OruReport,
    reader: &Reader<'_>,
) -> Result<(), Rejected> {
    let mut ids = patient_ids(pid.field(3), reader);
    if ids.is_empty() {
        ids = patient_ids(pid.field(2), reader);
    }
    let name = names::patient_name(pid.field(5), reader);
    let birth = reader.text(pid.field(7).component(1));
    let day: String = birth.chars().take(8).take_while(char::is_ascii_digit).collect();
    let birth_date = if day.len() == 8 { day } else { String::new() };
    if sequence > 1 {
        let is_same = ids == report.patient_ids && name == report.patient_name && birth_date == report.birth_date;
        let text = "a second patient in one message: expected one";
        return if is_same { Ok(()) } else { Err(Rejected::new("PID", sequence, 0, ErrorCode::SegmentSequence, text)) };
    }
    (report.patient_ids, report.patient_name, report.birth_date) = (ids, name, birth_date);
    report.sex = reader.text(pid.field(8).component(1));
    Ok(())
}

/// CX (v2.5.1 2.A.14): the id, and the assigning authority's namespace (CX-4.1) or else universal id (CX-4.2).
pub(in crate::hl7) fn patient_ids(field: Value<'_>, reader: &Reader<'_>) -> Vec<IssuedId> {
    let read = |id: Value<'_>| {
        let authority = id.component(4);
        let issuer = [1, 2].map(|n| authority.subcomponent(n)).into_iter().find(Value::is_valued);
        IssuedId::new(reader.text(id.component(1)), issuer.map(|i| reader.text(i)).unwrap_or_default())
    };
    field.repetitions().take(MAX_PATIENT_IDS).map(read).filter(|id| !id.is_empty()).collect()
}
