//! Results that are more than text: numbers, codes, times, with unit, range and flags.
//!
//! In: OBX-5 and its neighbours. Out: the value in parts, to be sent on as it came, and as people read it. Nothing is
//! interpreted: a flag stays the letters of table 0078, a range the words of its sender.

use super::Coded;
use super::observation::coded;
use super::read::Reader;
use crate::hl7::message::{Segment, Value};

/// A longer value is text: no number, code or time is.
const MAX_VALUE_BYTES: usize = 4 * 1024;
/// CWE has nine components (v2.5.1 2.A.13).
const MAX_COMPONENTS: usize = 9;
const MAX_FLAGS: usize = 16;
const MAX_FLAG_CHARS: usize = 20;

/// What a result has beside its text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// OBX-6, OBX-7 and each repetition of OBX-8 (table 0078).
    pub units: Coded,
    pub range: String,
    pub flags: Vec<String>,
    /// Of a number, a code or a time: its value as it is sent on.
    pub structured: Option<Structured>,
}

impl Detail {
    pub(super) fn read(segment: &Segment<'_>, value_type: &str, reader: &Reader<'_>) -> Self {
        Self {
            units: coded(segment.field(6), reader),
            range: reader.text(segment.field(7)),
            flags: flags(segment.field(8), reader),
            structured: Structured::read(value_type, segment.field(5), reader),
        }
    }

    /// `None` where there is nothing.
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    /// A unit as people read it: `mmol/L`.
    pub(super) fn unit(&self) -> &str {
        if self.units.code.is_empty() { &self.units.text } else { &self.units.code }
    }

    /// What stands behind a value for people: reference range and flags, ` [3.5-5.1] HH`.
    pub fn remark(&self) -> String {
        let range = if self.range.is_empty() { String::new() } else { format!(" [{}]", self.range) };
        let flags: String = self.flags.iter().map(|flag| format!(" {flag}")).collect();
        range + &flags
    }
}

/// The value of a result in parts: repetitions of components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structured {
    /// OBX-2: NM, SN, CE, CWE, CNE, DT, TM, TS, DTM.
    pub value_type: &'static str,
    pub repetitions: Vec<Vec<String>>,
}

impl Structured {
    pub(super) fn read(value_type: &str, value: Value<'_>, reader: &Reader<'_>) -> Option<Self> {
        const TYPES: [&str; 9] = ["NM", "SN", "CE", "CWE", "CNE", "DT", "TM", "TS", "DTM"];
        let value_type = TYPES.into_iter().find(|known| *known == value_type)?;
        if !value.is_valued() || value.raw().len() > MAX_VALUE_BYTES {
            return None;
        }
        let components = |repetition: Value<'_>| {
            let mut parts: Vec<String> = (1..=MAX_COMPONENTS).map(|n| reader.text(repetition.component(n))).collect();
            let length = parts.iter().rposition(|part| !part.is_empty()).map_or(0, |last| last + 1);
            parts.truncate(length);
            parts.shrink_to_fit();
            parts
        };
        Some(Self { value_type, repetitions: value.repetitions().map(components).collect() })
    }

    /// What `lines` cannot say by itself: a structured number and a time. `None`: the text as it stands.
    pub(super) fn shown(&self) -> Option<String> {
        let show: fn(&[String]) -> String = match self.value_type {
            "SN" => number,
            "DT" | "TS" | "DTM" => moment,
            "TM" => clock,
            _ => return None,
        };
        Some(self.repetitions.iter().map(|parts| show(parts)).collect::<Vec<_>>().join("\n"))
    }
}

/// SN (v2.5.1 2.A.71): comparator, number, separator, number: `>5`, `1:128`, `2-3`.
fn number(parts: &[String]) -> String {
    parts.concat()
}

/// `YYYYMMDDHHMMSS`, or less of it, with what stands between for people. What is none of them as it came.
fn moment(parts: &[String]) -> String {
    let text = parts.first().map(String::as_str).unwrap_or_default();
    let cut = text.find(['.', '+', '-']).unwrap_or(text.len());
    let (digits, rest) = text.split_at(cut);
    let offset = rest.find(['+', '-']).map(|at| format!(" {}", &rest[at..])).unwrap_or_default();
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return text.to_owned();
    }
    match digits.len() {
        4 => digits.to_owned(),
        6 => format!("{}-{}", &digits[..4], &digits[4..]),
        8 => format!("{}-{}-{}", &digits[..4], &digits[4..6], &digits[6..]),
        12 | 14 => {
            let seconds = if digits.len() == 14 { format!(":{}", &digits[12..]) } else { String::new() };
            let (date, clock) = (&digits[..8], &digits[8..12]);
            let (hours, minutes) = clock.split_at(2);
            format!("{}-{}-{} {hours}:{minutes}{seconds}{offset}", &date[..4], &date[4..6], &date[6..])
        }
        _ => text.to_owned(),
    }
}

/// `HHMM` or `HHMMSS`.
fn clock(parts: &[String]) -> String {
    let text = parts.first().map(String::as_str).unwrap_or_default();
    let digits = &text[..text.bytes().take_while(u8::is_ascii_digit).count()];
    match digits.len() {
        4 => format!("{}:{}", &digits[..2], &digits[2..]),
        6 => format!("{}:{}:{}", &digits[..2], &digits[2..4], &digits[4..]),
        _ => text.to_owned(),
    }
}

/// OBX-8, table 0078. More or longer ones than there are flags are cut off.
fn flags(field: Value<'_>, reader: &Reader<'_>) -> Vec<String> {
    let read = |flag: Value<'_>| reader.text(flag.component(1)).chars().take(MAX_FLAG_CHARS).collect::<String>();
    field.repetitions().take(MAX_FLAGS).map(read).filter(|flag| !flag.is_empty()).collect()
}
