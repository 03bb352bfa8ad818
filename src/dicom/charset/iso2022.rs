//! Code extension by ISO 2022 escapes (PS3.5 6.1.2.5): which set stands in G0 (bytes 21 to 7E) and in G1 (A1 to FE).
//!
//! Control characters other than ESC, and the value's delimiters, put back the sets of value 1. A delimiter's
//! byte inside a two-byte character of G0 is half of that character: the standard makes the writer go back to a
//! single-byte set first.

use super::{Kind, LOST, repertoire::Set};

const ESC: u8 = 0x1B;

/// What stands in each half of the code table.
#[derive(Clone, Copy)]
struct Active {
    g0: Set,
    g1: Option<Set>,
}

impl Active {
    /// The sets in force by value 1 alone.
    fn initial(first: Set) -> Self {
        match first {
            Set::Ascii => Self { g0: Set::Ascii, g1: None },
            Set::Katakana => Self { g0: Set::Katakana, g1: Some(Set::Katakana) },
            // Not allowed as value 1 (PS3.3 C.12.1.1.2), but sent: ASCII until its escape comes.
            Set::JisX0208 | Set::JisX0212 => Self { g0: Set::Ascii, g1: None },
            set => Self { g0: Set::Ascii, g1: Some(set) },
        }
    }
}

pub(super) fn decode(value: &[u8], first: Set, kind: Kind) -> (String, bool) {
    let mut text = String::with_capacity(value.len());
    let mut lossy = false;
    let mut active = Active::initial(first);
    let mut rest = value;
    while let [byte, after @ ..] = rest {
        let (char, after) = match *byte {
            ESC => match escape(after, active) {
                Some((now, after)) => {
                    active = now;
                    rest = after;
                    continue;
                }
                None => (None, after),
            },
            0x00..=0x1F | 0x7F => {
                active = Active::initial(first);
                (Some(char::from(*byte)), after)
            }
            0x20 => (Some(' '), after),
            byte @ 0x21..=0x7E => lower(byte, after, &mut active, (first, kind)),
            byte => upper(byte, after, active),
        };
        lossy |= char.is_none();
        text.push(char.unwrap_or(LOST));
        rest = after;
    }
    (text, lossy)
}

fn lower<'a>(byte: u8, after: &'a [u8], active: &mut Active, (first, kind): (Set, Kind)) -> (Option<char>, &'a [u8]) {
    if matches!(active.g0, Set::JisX0208 | Set::JisX0212) {
        return match after {
            [second @ 0x21..=0x7E, after @ ..] => (active.g0.double(byte | 0x80, second | 0x80), after),
            _ => (None, after),
        };
    }
    let char = active.g0.lower(byte);
    let delimits = match kind {
        Kind::Name => matches!(byte, b'\\' | b'^' | b'='),
        Kind::Values => byte == b'\\',
        Kind::Text => false,
    };
    if delimits {
        *active = Active::initial(first);
    }
    (Some(char), after)
}

fn upper(byte: u8, after: &[u8], active: Active) -> (Option<char>, &[u8]) {
    let Some(set) = active.g1 else { return (None, after) };
    if !set.is_double_in_g1() {
        return (set.upper(byte), after);
    }
    match after {
        [second @ 0xA1..=0xFE, after @ ..] => (set.double(byte, *second), after),
        _ => (None, after),
    }
}

/// Reads what follows an ESC: PS3.3 Tables C.12-3 and C.12-4. None when it is no escape sequence of DICOM.
fn escape(after: &[u8], active: Active) -> Option<(Active, &[u8])> {
    let g0 = |set| Active { g0: set, ..active };
    let g1 = |set| Active { g1: Some(set), ..active };
    let (now, length) = match after {
        [b'(', b'B', ..] => (g0(Set::Ascii), 2),
        [b'(', b'J', ..] => (g0(Set::Katakana), 2),
        [b')', b'I', ..] => (g1(Set::Katakana), 2),
        [b'$', b'B', ..] => (g0(Set::JisX0208), 2),
        [b'$', b'(', b'D', ..] => (g0(Set::JisX0212), 3),
        [b'$', b')', b'C', ..] => (g1(Set::KsX1001), 3),
        [b'$', b')', b'A', ..] => (g1(Set::Gb2312), 3),
        [b'-', last, ..] => (g1(latin_of(*last)?), 2),
        _ => return None,
    };
    Some((now, after.get(length..)?))
}

/// 96-character sets, designated to G1 by ESC 02/13.
fn latin_of(last: u8) -> Option<Set> {
    Some(match last {
        b'A' => Set::Latin1,
        b'B' => Set::Latin2,
        b'C' => Set::Latin3,
        b'D' => Set::Latin4,
        b'L' => Set::Cyrillic,
        b'G' => Set::Arabic,
        b'F' => Set::Greek,
        b'H' => Set::Hebrew,
        b'M' => Set::Latin5,
        b'T' => Set::Thai,
        b'b' => Set::Latin9,
        _ => return None,
    })
}
