//! What becomes of letters that a receiver's character set does not have.
//!
//! In: text, and what the receiver takes: its set, whether UTF-8 too, its own spellings. Out: text that its set holds,
//! and each letter that had to be written otherwise. The order of means: the set itself; UTF-8 where the receiver takes
//! it; the receiver's table; the built-in table ([`builtin`]), which knows names by ICAO Doc 9303 and ISO 843; the code
//! point spelled out (`U+4E2D`). Never `?`, and nothing is left out without a word.
//!
//! An identifier is never spelled by a table: `Ł12` written as `L12` may be somebody else. There the code point is.
//! Letters are named in code point order, so that no name can be read from a warning.

mod builtin;
#[cfg(test)]
mod tests;

use super::charset::Charset;
use std::{borrow::Cow, collections::BTreeMap, fmt};
use unicode_normalization::UnicodeNormalization;

/// How many letters a warning names.
const MAX_NAMED: usize = 10;
/// How many are remembered for it: more are another alphabet.
const MAX_KEPT: usize = 256;

/// What a receiver takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub charset: Charset,
    /// It takes UTF-8 as well.
    pub utf8: bool,
    /// How it wants letters spelled that its set does not have.
    pub table: BTreeMap<char, String>,
}

impl Outgoing {
    pub fn new(charset: Charset) -> Self {
        Self { charset, utf8: true, table: BTreeMap::new() }
    }

    /// The set a text with these letters is written in as a whole.
    pub fn set_for(&self, changes: &Changes) -> Charset {
        if changes.is_empty() || !self.utf8 { self.charset } else { Charset::UTF_8 }
    }
}

/// UTF-8, which lacks nothing.
impl Default for Outgoing {
    fn default() -> Self {
        Self::new(Charset::UTF_8)
    }
}

/// The letters that a set does not have, and how they are written instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    letters: BTreeMap<char, String>,
    in_identifier: bool,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    fn add(&mut self, c: char, written: &str) {
        if self.letters.len() < MAX_KEPT && !self.letters.contains_key(&c) {
            self.letters.insert(c, written.to_owned());
        }
    }

    /// For the case's story and a person: what was done about the letters, without patient data. Empty where nothing was.
    pub fn warnings(&self, outgoing: &Outgoing) -> Vec<String> {
        let set = outgoing.charset.name();
        if self.is_empty() {
            return Vec::new();
        }
        if outgoing.utf8 {
            return vec![format!("sent as UTF-8: {set} does not hold {}", self.named(|_, _| Ok(())))];
        }
        let spelled = self.named(|written, f| match written {
            "" => f.write_str(" as nothing"),
            written => write!(f, " as {written}"),
        });
        let mut warnings = vec![format!("letters replaced: {set} does not hold {spelled}")];
        if self.in_identifier {
            warnings
                .push(format!("an identifier has letters that {set} does not hold: see that its receiver knows it"));
        }
        warnings
    }

    /// Letters by name, so that the warning itself can be read anywhere: `ł (U+0142)`.
    fn named(&self, then: impl Fn(&str, &mut fmt::Formatter<'_>) -> fmt::Result) -> String {
        struct Named<'a, F>(&'a Changes, F);
        impl<F: Fn(&str, &mut fmt::Formatter<'_>) -> fmt::Result> fmt::Display for Named<'_, F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (index, (c, written)) in self.0.letters.iter().take(MAX_NAMED).enumerate() {
                    f.write_str(if index > 0 { ", " } else { "" })?;
                    if is_seen(*c) {
                        write!(f, "{c} ")?;
                    }
                    write!(f, "(U+{:04X})", u32::from(*c))?;
                    (self.1)(written, f)?;
                }
                if self.0.letters.len() > MAX_NAMED { f.write_str(" and others") } else { Ok(()) }
            }
        }
        Named(self, then).to_string()
    }
}

/// False: a control character, a mark without its letter, or what turns the direction of a line would harm the line it
/// stands in.
fn is_seen(c: char) -> bool {
    let formats = matches!(c, '\u{AD}' | '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}');
    !formats && !c.is_control() && !c.is_whitespace() && !unicode_normalization::char::is_combining_mark(c)
}

/// Writes text with the letters of one set, keeping note of what it changed.
pub struct Speller<'a> {
    outgoing: &'a Outgoing,
    /// Characters that mean something in the message: no spelling may bring one in.
    pub reserved: &'a [u8],
    pub changes: Changes,
}

impl<'a> Speller<'a> {
    pub fn new(outgoing: &'a Outgoing, reserved: &'a [u8]) -> Self {
        Self { outgoing, reserved, changes: Changes::default() }
    }

    /// A text, or what is between its delimiters.
    pub fn text<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        self.spell(text, false)
    }

    /// What somebody is known by: letters the set lacks are spelled by their code point, which can be nobody else's.
    pub fn identifier<'t>(&mut self, text: &'t str) -> Cow<'t, str> {
        self.spell(text, true)
    }

    fn spell<'t>(&mut self, text: &'t str, exact: bool) -> Cow<'t, str> {
        if text.is_ascii() || text.chars().all(|c| self.outgoing.charset.holds(c)) {
            return Cow::Borrowed(text);
        }
        // A letter and its mark may be one letter that the set has (e and U+0301): canonically the same text.
        let letters: Vec<char> = text.nfc().collect();
        let mut out = Out { text: String::with_capacity(text.len() + 16), code_point: false };
        for (at, &c) in letters.iter().enumerate() {
            if self.outgoing.charset.holds(c) {
                out.push(c);
                continue;
            }
            let around =
                Around { before: at.checked_sub(1).map(|at| letters[at]), after: letters.get(at + 1).copied() };
            match self.replacement(c, around).filter(|_| !exact) {
                Some(written) => {
                    self.changes.add(c, &written);
                    out.spelled(c, around, &written);
                }
                None => {
                    let written = self.code_point(c);
                    self.changes.add(c, &written);
                    self.changes.in_identifier |= exact;
                    out.code_point(&written);
                }
            }
        }
        Cow::Owned(out.text)
    }

    fn replacement(&self, c: char, around: Around) -> Option<String> {
        let fits = |text: &String| text.chars().all(|c| self.may_write(c));
        let own = self.outgoing.table.get(&c).cloned().filter(fits);
        own.or_else(|| builtin::spelling(c, around, |c| self.may_write(c)).filter(fits))
    }

    fn may_write(&self, c: char) -> bool {
        let is_reserved = c.is_ascii() && u8::try_from(c).is_ok_and(|b| self.reserved.contains(&b));
        self.outgoing.charset.holds(c) && !is_reserved
    }

    fn code_point(&self, c: char) -> String {
        format!("U+{:04X}", u32::from(c)).chars().filter(|c| self.may_write(*c)).collect()
    }
}

/// The letters beside one.
#[derive(Clone, Copy)]
struct Around {
    before: Option<char>,
    after: Option<char>,
}

/// Text being written, which keeps apart what must not run together.
struct Out {
    text: String,
    /// A code point stands at the end: a hexadecimal digit after it would be read as its own.
    code_point: bool,
}

impl Out {
    fn push(&mut self, c: char) {
        if std::mem::take(&mut self.code_point) && c.is_ascii_alphanumeric() {
            self.text.push(' ');
        }
        self.text.push(c);
    }

    /// `10⁶` is not 106, nor `1½` 11/2.
    fn spelled(&mut self, c: char, around: Around, written: &str) {
        let meets =
            written.starts_with(|c: char| c.is_ascii_digit()) && self.text.ends_with(|c: char| c.is_ascii_digit());
        if meets && !builtin::is_plain_digit(c) {
            match (builtin::is_superscript(c), around.before.is_some_and(builtin::is_superscript)) {
                (true, true) => {}
                (true, false) => self.text.push_str("**"),
                (false, _) => self.text.push(' '),
            }
        }
        for c in written.chars() {
            self.push(c);
        }
    }

    fn code_point(&mut self, written: &str) {
        if self.text.ends_with(|c: char| c.is_ascii_alphanumeric()) {
            self.text.push(' ');
        }
        self.text.push_str(written);
        self.code_point = true;
    }
}
