//! Character sets in a message: which one MSH-18 names, and values that change it on the way.
//!
//! In: a message, or the bytes of a value as received. Out: the set; text. Values may switch among the single-byte sets of
//! ISO 8859 by `\C2D42\` (v2.5.1 2.7.2) or by the bytes of ISO 2022 themselves (MSH-20 `ISO 2022-1994`), whether MSH-18
//! announces it by repetitions or not; each delimiter puts back the message's set. Two-byte sets (`\M2442\`) are not read:
//! such a value is reported as lossy.

use super::message::{Message, Separators, sequence, unescape};
use memchr::memchr2;

pub use crate::model::charset::{Charset, Decoded, MAX_NAMED, UnknownCharset, Unmappable};

const ESC: u8 = 0x1B;

impl Charset {
    /// MSH-18 (first repetition), or `fallback` where it is empty.
    ///
    /// # Errors
    /// When MSH-18 names a set we do not read.
    pub fn of_message(message: &Message<'_>, fallback: Charset) -> Result<Self, UnknownCharset> {
        let named = message.header().field(18).first();
        if !named.is_valued() {
            return Ok(fallback);
        }
        std::str::from_utf8(named.raw()).map_err(|_| UnknownCharset).and_then(Self::named)
    }
}

/// The text of a value as it was received.
pub fn decode_value(raw: &[u8], separators: Separators, charset: Charset) -> Decoded {
    if !switches(raw, separators) {
        return charset.decode(&unescape(raw, separators));
    }
    let mut whole = Decoded { text: String::new(), lossy: false };
    for run in Runs::new(raw, separators, charset) {
        let part = run.charset.decode(&unescape(run.bytes, separators));
        whole.text.push_str(&part.text);
        whole.lossy |= part.lossy || run.unreadable;
    }
    whole
}

/// Whether `raw` leaves the message's set anywhere.
pub(super) fn switches(raw: &[u8], separators: Separators) -> bool {
    let mut rest = raw;
    while let Some(at) = memchr2(separators.escape.unwrap_or(ESC), ESC, rest) {
        if switch(&rest[at..], separators).is_some() {
            return true;
        }
        rest = &rest[at + step(&rest[at..], separators)..];
    }
    false
}

/// How far to go on from an escape character that switches nothing: the character that closes a sequence opens none.
pub(super) fn step(bytes: &[u8], separators: Separators) -> usize {
    sequence(bytes, separators).map_or(1, |body| body.len() + 2)
}

/// Bytes in one set.
pub(super) struct Run<'a> {
    pub bytes: &'a [u8],
    pub charset: Charset,
    /// The sender changed to a set that we do not read; as ASCII, nothing of it is taken for something else.
    pub unreadable: bool,
}

/// Walks bytes of a message from one set to the next; what changes the set is left out.
pub(super) struct Runs<'a> {
    rest: &'a [u8],
    separators: Separators,
    usual: Charset,
    now: Target,
}

#[derive(Clone, Copy)]
enum Target {
    Usual,
    Set(Charset),
    Unreadable,
}

impl<'a> Runs<'a> {
    pub fn new(raw: &'a [u8], separators: Separators, usual: Charset) -> Self {
        Self { rest: raw, separators, usual, now: Target::Usual }
    }

    /// Up to where the set may change: a switch, or a delimiter where another set is in force.
    fn end(&self) -> usize {
        let Separators { field, component, repetition, escape, subcomponent } = self.separators;
        let away = !matches!(self.now, Target::Usual);
        let is_delimiter = |b: u8| {
            matches!(b, b'\r' | b'\n') || b == field || [component, repetition, subcomponent].contains(&Some(b))
        };
        let mut at = 0;
        while at < self.rest.len() {
            let b = self.rest[at];
            if away && is_delimiter(b) {
                return at;
            }
            let changes = Some(b) == escape || b == ESC;
            if changes && switch(&self.rest[at..], self.separators).is_some() {
                return at;
            }
            at += if changes { step(&self.rest[at..], self.separators) } else { 1 };
        }
        at
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    fn next(&mut self) -> Option<Run<'a>> {
        while !self.rest.is_empty() {
            if let Some((to, length)) = switch(self.rest, self.separators) {
                self.now = to;
                self.rest = &self.rest[length..];
                continue;
            }
            let end = self.end();
            if end == 0 {
                // A delimiter.
                self.now = Target::Usual;
                continue;
            }
            let (bytes, rest) = self.rest.split_at(end);
            self.rest = rest;
            let (charset, unreadable) = match self.now {
                Target::Usual => (self.usual, false),
                Target::Set(charset) => (charset, false),
                Target::Unreadable => (Charset::ASCII, true),
            };
            return Some(Run { bytes, charset, unreadable });
        }
        None
    }
}

/// What `bytes` begin with, if that changes the set: to what, and its length. `\C2D42\`, or ESC 02/13 04/02.
fn switch(bytes: &[u8], separators: Separators) -> Option<(Target, usize)> {
    let escape = separators.escape;
    let (&first, rest) = bytes.split_first()?;
    if first == ESC {
        let designator = rest.get(..2)?.try_into().ok()?;
        return designated(designator).map(|to| (to, 3));
    }
    if Some(first) != escape {
        return None;
    }
    let length = rest.iter().take(8).position(|b| Some(*b) == escape)?;
    let (kind, hex) = rest.get(..length)?.split_first()?;
    let mut digits = hex.iter().map(|b| char::from(*b).to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    let mut byte = || Some(digits.next()?? << 4 | digits.next()??);
    match (kind, hex.len()) {
        (b'C', 4) => designated([byte()?, byte()?]).map(|to| (to, length + 2)),
        (b'M', 4 | 6) => (byte()? == b'$').then_some((Target::Unreadable, length + 2)),
        _ => None,
    }
}

/// The last two bytes of an escape sequence of ISO 2022, as v2.5.1 2.7.2 lists them.
fn designated(designator: [u8; 2]) -> Option<Target> {
    let name = match &designator {
        // ASCII in the lower half, where it always is here; the upper half has no letters then.
        b"(B" => return Some(Target::Usual),
        b"-A" => "8859/1",
        b"-B" => "8859/2",
        b"-C" => "8859/3",
        b"-D" => "8859/4",
        b"-L" => "8859/5",
        b"-G" => "8859/6",
        b"-F" => "8859/7",
        b"-H" => "8859/8",
        b"-M" => "8859/9",
        b"-b" => "8859/15",
        // Romaji and katakana.
        b"(J" | b")I" => return Some(Target::Unreadable),
        _ => return None,
    };
    Charset::named(name).ok().map(Target::Set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(raw: &[u8], charset: Charset) -> (String, bool) {
        let decoded = decode_value(raw, Separators::STANDARD, charset);
        (decoded.text, decoded.lossy)
    }

    #[test]
    fn a_value_may_switch_sets_and_a_delimiter_switches_back() {
        let latin1 = Charset::ISO_8859_1;
        for (raw, expected) in [
            (&b"M\xFC\xDFig \\C2D42\\\xA6wi\xB1tek"[..], "Müßig Świątek"),
            (b"\\C2D42\\\xA3ucja^J\xF6rg", "Łucja^Jörg"),
            (b"\\C2D46\\\xC5\xEB\xDD\xED\xE7\\C2D41\\ J\xF6rg", "Ελένη Jörg"),
            (b"\\C2D4C\\\xB4\xDC\xD8\xE2\xE0\xD8\xD9\\C2842\\ \\S\\ J\xF6rg", "Дмитрий ^ Jörg"),
            (b"\x1B-B\xA3ucja&J\xF6rg", "Łucja&Jörg"),
            (b"\\C2D42\\\\XA3\\ucja", "Łucja"),
            (b"\\E\\C2D42\\", "\\C2D42\\"),
        ] {
            assert_eq!(text(raw, latin1), (expected.to_owned(), false));
        }
        assert_eq!(text(b"\\C9999\\ \\C2\\ \x1B9", latin1), ("\\C9999\\ \\C2\\ \x1B9".to_owned(), false));
    }

    #[test]
    fn a_set_of_two_bytes_is_reported_not_guessed() {
        assert!(text(b"Yamada \\M2442\\;3ED", Charset::ASCII).1);
        assert!(!text(b"Yamada \\M99\\", Charset::ASCII).1);
    }

    proptest! {
        #[test]
        fn any_bytes_end_and_keep_what_switches_nothing(raw in prop::collection::vec(prop_oneof![
            Just(b'\\'), Just(b'C'), Just(ESC), Just(b'2'), Just(b'D'), Just(b'^'), Just(b'-'), Just(b'B'), any::<u8>(),
        ], 0..200)) {
            let decoded = text(&raw, Charset::ISO_8859_1);
            if !switches(&raw, Separators::STANDARD) {
                prop_assert_eq!(decoded.0, Charset::ISO_8859_1.decode(&unescape(&raw, Separators::STANDARD)).text);
            }
        }
    }
}
