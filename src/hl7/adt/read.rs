//! Reading ADT: a message in, a [`PatientNews`] out, or the place of what it cannot do without.

use super::{News, PatientNews};
use crate::{
    hl7::{
        ack::{ErrorCode, Rejected},
        charset::Charset,
        message::{Message, Segment},
        oru::{Reader, patient_ids, patient_name},
        strict,
    },
    model::IssuedId,
};
use std::cell::Cell;

impl PatientNews {
    /// Reads a message whose values are in `charset` (see [`Charset::of_message`]).
    ///
    /// # Errors
    /// When it is no news of one patient, or lacks MSH-10 or an identifier. Says where.
    pub fn parse(message: &Message<'_>, charset: Charset) -> Result<PatientNews, Rejected> {
        let lossy = Cell::new(false);
        let reader = Reader::new(charset, &lossy);
        let news = news(&message.header(), &reader)?;
        strict::check(message, &reader)?;
        let pid = one(message, "PID", true)?;
        let mrg = one(message, "MRG", news == News::Merged)?;
        let Some(pid) = pid else {
            return Err(refused("PID", 0, ErrorCode::SegmentSequence, "no PID: news are about a patient"));
        };
        let mut ids = patient_ids(pid.field(3), &reader);
        if ids.is_empty() {
            ids = patient_ids(pid.field(2), &reader);
        }
        // Changed data are one patient's, whatever stands beside them.
        let merged = mrg.filter(|_| news == News::Merged);
        let merged = merged.map(|mrg| patient_ids(mrg.field(1), &reader)).unwrap_or_default();
        fit("PID", 3, &ids)?;
        if news == News::Merged {
            fit("MRG", 1, &merged)?;
        }
        let birth = reader.text(pid.field(7).component(1));
        let day: String = birth.chars().take(8).take_while(char::is_ascii_digit).collect();
        Ok(PatientNews {
            news,
            patient_ids: ids,
            merged_ids: merged,
            patient_name: patient_name(pid.field(5), &reader),
            birth_date: if day.len() == 8 { day } else { String::new() },
            sex: reader.text(pid.field(8).component(1)),
        })
    }
}

fn refused(segment: &'static str, field: usize, code: ErrorCode, text: &'static str) -> Rejected {
    Rejected::new(segment, 1, field, code, text)
}

fn news(header: &Segment<'_>, reader: &Reader<'_>) -> Result<News, Rejected> {
    let msh = |field, code, text: &'static str| Err(refused("MSH", field, code, text));
    if reader.text(header.field(9).component(1)) != "ADT" {
        return msh(9, ErrorCode::UnsupportedMessageType, "message type is not ADT");
    }
    let news = match reader.text(header.field(9).component(2)).as_str() {
        "A08" | "A31" => News::Changed,
        "A40" | "A34" => News::Merged,
        _ => return msh(9, ErrorCode::UnsupportedEvent, "event is none of A08, A31, A34, A40"),
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
    Ok(news)
}

/// The one segment with this id: several would be news of several patients (A40 allows that; nobody sends it to us safely,
/// for one that cannot be done would take the others with it).
fn one<'a>(message: &Message<'a>, id: &'static str, needed: bool) -> Result<Option<Segment<'a>>, Rejected> {
    let mut found = message.segments().filter(|segment| segment.is(id));
    let first = found.next();
    if found.next().is_some() {
        let text = "a second patient in one message: expected one";
        return Err(Rejected::new(id, 2, 0, ErrorCode::SegmentSequence, text));
    }
    if needed && first.is_none() {
        return Err(refused(id, 0, ErrorCode::SegmentSequence, "the segment is missing"));
    }
    Ok(first)
}

fn fit(segment: &'static str, field: usize, ids: &[IssuedId]) -> Result<(), Rejected> {
    if ids.is_empty() {
        let text = "empty: a patient identifier is expected";
        return Err(refused(segment, field, ErrorCode::RequiredFieldMissing, text));
    }
    let fits = |text: &String| text.chars().count() <= 199 && !text.chars().any(char::is_control);
    if !ids.iter().all(|id| fits(&id.value) && fits(&id.issuer)) {
        let text = "longer than 199 characters, or with control characters";
        return Err(refused(segment, field, ErrorCode::DataType, text));
    }
    Ok(())
}
