//! What an order and news of a patient or a specimen may not be, whatever they say. A report with a broken line still has its reader's words, and a person
//! reads them; an order, or a merge of two patients, is carried out by programs, and half a number is another one.
//!
//! In: a message before it is read. Out: nothing, or the place of a line that is no segment, of a number or UID that cannot
//! be one, of a new order that says not what is ordered. Text in comments and results (NTE, OBX) may break its line.

use super::{
    ack::{ErrorCode, Rejected},
    message::{Message, Segment, Value},
    oru::Reader,
};
use crate::model::Uid;
use std::collections::HashMap;

const NOT_A_SEGMENT: &str =
    "what follows it is no segment: a name that is not known, or a line break that was not escaped";
const NO_LETTER: &str = "bytes that are no letters in the message's character set";
const NO_UID: &str = "not a UID: 1 to 64 digits and dots expected";
const NOTHING_ORDERED: &str = "a new order names in OBR what is ordered";

#[derive(Default)]
struct Walk {
    /// Segments of each name so far.
    seen: HashMap<&'static str, usize>,
    /// The last one the standard knows.
    last: Option<&'static str>,
    /// A new order whose OBR has not come yet.
    waits: bool,
}

/// # Errors
/// With the place of what is wrong.
pub(super) fn check(message: &Message<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
    let mut walk = Walk::default();
    for segment in message.segments().filter(|segment| !segment.is_blank()) {
        walk.take(&segment, reader)?;
    }
    walk.has_its_obr()
}

impl Walk {
    fn count(&self, name: &'static str) -> usize {
        self.seen.get(name).copied().unwrap_or(0)
    }

    fn at(&self, name: &'static str, field: usize, code: ErrorCode, text: &'static str) -> Result<(), Rejected> {
        Err(Rejected::new(name, self.count(name).max(1), field, code, text))
    }

    fn take(&mut self, segment: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
        if !segment.is_known() {
            return self.no_segment(segment);
        }
        if segment.is("ZDS") {
            return self.local_study(segment, reader);
        }
        let Some(name) = segment.standard_id() else { return Ok(()) };
        *self.seen.entry(name).or_default() += 1;
        self.last = Some(name);
        let numbers: &[usize] = match name {
            "PID" => &[2, 3],
            "ORC" => &[2, 3],
            "OBR" => &[2, 3, 18],
            "IPC" => &[1, 3],
            "MRG" => &[1],
            "SPM" => &[2],
            "SAC" => &[3],
            _ => &[],
        };
        for &field in numbers {
            if reader.text(segment.field(field)).contains(char::REPLACEMENT_CHARACTER) {
                return self.at(name, field, ErrorCode::DataType, NO_LETTER);
            }
        }
        match name {
            "IPC" if !is_uid(segment.field(3), reader) => self.at(name, 3, ErrorCode::DataType, NO_UID),
            "ORC" => self.order(segment, reader),
            "OBR" => self.ordered(segment),
            _ => Ok(()),
        }
    }

    /// A damaged name may be that of an ORC, which would then be an order that nobody carries out.
    fn no_segment(&self, segment: &Segment<'_>) -> Result<(), Rejected> {
        let id = segment.id();
        let is_named = id.len() == 3 && !id.bytes().any(|byte| byte.is_ascii_lowercase());
        match self.last {
            Some("NTE" | "OBX") if !is_named => Ok(()),
            last => self.at(last.unwrap_or("MSH"), 0, ErrorCode::SegmentSequence, NOT_A_SEGMENT),
        }
    }

    /// ZDS is a local segment, but IHE says what it holds (RAD TF-2 4.4.4.1.2.5): `UID^issuer^Application^DICOM`.
    fn local_study(&self, segment: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
        let field = segment.field(1);
        let is_dicom = field.component(4).raw().trim_ascii().eq_ignore_ascii_case(b"DICOM");
        if is_dicom && !is_uid(field, reader) {
            return Err(Rejected::new("ZDS", 1, 1, ErrorCode::DataType, NO_UID));
        }
        Ok(())
    }

    fn order(&mut self, orc: &Segment<'_>, reader: &Reader<'_>) -> Result<(), Rejected> {
        self.has_its_obr()?;
        let is_new = matches!(reader.text(orc.field(1).component(1)).as_str(), "NW" | "RO");
        // What stands before the first ORC belongs to it.
        let came_before = self.count("ORC") == 1 && self.count("OBR") > 0;
        self.waits = is_new && !came_before;
        Ok(())
    }

    fn ordered(&mut self, obr: &Segment<'_>) -> Result<(), Rejected> {
        if !std::mem::take(&mut self.waits) {
            return Ok(());
        }
        let service = obr.field(4);
        let is_named = [1, 2].into_iter().any(|n| service.component(n).is_valued());
        if is_named { Ok(()) } else { self.at("OBR", 4, ErrorCode::RequiredFieldMissing, NOTHING_ORDERED) }
    }

    fn has_its_obr(&self) -> Result<(), Rejected> {
        if !self.waits {
            return Ok(());
        }
        Err(Rejected::new("OBR", self.count("OBR") + 1, 0, ErrorCode::SegmentSequence, NOTHING_ORDERED))
    }
}

/// Or nothing.
fn is_uid(field: Value<'_>, reader: &Reader<'_>) -> bool {
    let text = reader.text(field.component(1));
    text.is_empty() || Uid::new(&text).is_ok()
}
