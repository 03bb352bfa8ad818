//! OBX and NTE: one segment in, its observations out.
//!
//! Text keeps everything that was sent: delimiters that a sender should have escaped stay in the text, repetitions are
//! lines, a value type we do not know is text as it stands. Does not interpret results.

use super::read::Reader;
use super::{Coded, Content, Detail, ErrorCode, Observation, Rejected, Structured, document};
use crate::hl7::message::{Segment, Value};
use crate::model::Uid;

/// An OBX without its value. It is kept for each document in OBX-5, so both numbers bound what that can cost.
const MAX_FRAME_BYTES: usize = 64 * 1024;
const MAX_DOCUMENTS: usize = 100;

/// What one OBX says.
pub(super) enum Read {
    /// One for each document; one for all lines of a text.
    Observations(Vec<Observation>),
    /// The study this report is about, which is no result.
    StudyUid(Uid),
}

pub(super) fn obx(segment: &Segment<'_>, sequence: usize, reader: &Reader<'_>) -> Result<Read, Rejected> {
    let value = segment.field(5);
    let refused = |text: &'static str| Rejected::new("OBX", sequence, 5, ErrorCode::DataType, text);
    if segment.raw().len() - value.raw().len() > MAX_FRAME_BYTES {
        let text = "more than 64 KiB beside the value in OBX-5";
        return Err(Rejected::new("OBX", sequence, 0, ErrorCode::DataType, text));
    }
    let code = coded(segment.field(3), reader);
    let value_type = reader.text(segment.field(2)).to_ascii_uppercase();
    if !matches!(value_type.as_str(), "ED" | "RP") && document::is_encapsulated(value) {
        let text = "OBX-5 holds encoded data: ED expected in OBX-2";
        return Err(Rejected::new("OBX", sequence, 2, ErrorCode::DataType, text));
    }
    if let Some(uid) = names_study(&code).then(|| Uid::new(&reader.text(value.component(1)))).and_then(Result::ok) {
        return Ok(Read::StudyUid(uid));
    }
    let detail = Detail::read(segment, &value_type, reader);
    let observation = |content: Content| Observation {
        set_id: reader.text(segment.field(1)),
        value_type: value_type.clone(),
        code: code.clone(),
        status: reader.text(segment.field(11).first()).to_ascii_uppercase(),
        detail: detail.clone().boxed(),
        content,
    };
    let observations = match value_type.as_str() {
        "ED" if value.repetitions().nth(MAX_DOCUMENTS).is_some() => return Err(refused("more than 100 documents")),
        "ED" if value.is_valued() => value
            .repetitions()
            .map(|document| document::encapsulated(document, reader).map(&observation).map_err(refused))
            .collect::<Result<_, _>>()?,
        "RP" if value.component(1).is_valued() => vec![observation(document::pointer(value, reader))],
        _ => {
            let mut text = detail
                .structured
                .as_ref()
                .and_then(Structured::shown)
                .unwrap_or_else(|| lines(value, &value_type, reader));
            // A number without its unit is another number.
            let unit = detail.unit();
            if !unit.is_empty() && !text.is_empty() {
                text.push(' ');
                text.push_str(unit);
            }
            vec![observation(Content::Text(text))]
        }
    };
    Ok(Read::Observations(observations))
}

/// NTE-3, a comment: part of what the reader wrote.
pub(super) fn nte(segment: &Segment<'_>, reader: &Reader<'_>) -> Option<Observation> {
    let text = lines(segment.field(3), "NTE", reader);
    (!text.trim().is_empty()).then(|| note(text))
}

/// Text outside any field. A person wrote it, so a person shall see it.
pub(super) fn stray(segment: &Segment<'_>, reader: &Reader<'_>) -> Observation {
    note(reader.decode(segment.raw()))
}

fn note(text: String) -> Observation {
    let code = Coded::default();
    Observation {
        set_id: String::new(),
        value_type: "NTE".into(),
        code,
        status: String::new(),
        detail: None,
        content: Content::Text(text),
    }
}

/// All repetitions, one a line, in one piece of memory: 64 MB of `~` would be gigabytes as a list of lines.
fn lines(value: Value<'_>, value_type: &str, reader: &Reader<'_>) -> String {
    let is_coded = matches!(value_type, "CE" | "CWE" | "CNE" | "CF" | "IS" | "ID");
    let mut text = String::with_capacity(value.raw().len());
    for (i, repetition) in value.repetitions().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        let shown = if is_coded { shown(repetition) } else { repetition };
        text.push_str(&reader.whole(shown));
    }
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n") } else { text }
}

/// Of a coded value its text, the alternate text, the original text or the code (CWE-2, 5, 9, 1).
fn shown(coded: Value<'_>) -> Value<'_> {
    let parts = [2, 5, 9, 1].map(|n| coded.component(n));
    parts.into_iter().find(Value::is_valued).unwrap_or(coded)
}

pub(in crate::hl7) fn coded(field: Value<'_>, reader: &Reader<'_>) -> Coded {
    let [code, text, system] = [1, 2, 3].map(|n| reader.text(field.component(n)));
    Coded { code, text, system }
}

/// The OBX that carries Study Instance UID: 113014 (DICOM Study) or 110180 (Study Instance UID) of coding scheme DCM
/// (PS3.16 Annex D), or its plain name.
fn names_study(code: &Coded) -> bool {
    let by_code = matches!(code.code.as_str(), "113014" | "110180") && matches!(code.system.as_str(), "DCM" | "");
    by_code || [&code.code, &code.text].into_iter().any(|name| name.eq_ignore_ascii_case("Study Instance UID"))
}
