//! A value inside a segment: a field, and the repetitions, components and subcomponents in it.
//!
//! In: borrowed bytes. Out: borrowed bytes, or text in the character set that is asked for. Splitting comes before
//! unescaping, so an escaped delimiter never splits.

use super::{Separators, unescape};
use crate::hl7::charset::{Charset, Decoded, decode_value};
use memchr::memchr_iter;
use std::borrow::Cow;

/// Absent, empty (unchanged), `""` (null: delete what you have) or valued (v2.5.1 2.5.3).
#[derive(Clone, Copy)]
pub struct Value<'a> {
    raw: &'a [u8],
    separators: Separators,
}

// No content in `{:?}`: it would be patient data.
impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Value({} bytes)", self.raw.len())
    }
}

impl<'a> Value<'a> {
    pub(super) fn new(raw: &'a [u8], separators: Separators) -> Self {
        Self { raw, separators }
    }

    /// MSH-1 and MSH-2: separators mean nothing in them.
    pub(super) fn opaque(raw: &'a [u8]) -> Self {
        let none = Separators { field: b'|', component: None, repetition: None, escape: None, subcomponent: None };
        Self { raw, separators: none }
    }

    /// As received.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// `""`: the sender says there is none.
    pub fn is_null(&self) -> bool {
        self.raw == b"\"\""
    }

    /// Says something: not absent, not blank, not null.
    pub fn is_valued(&self) -> bool {
        !self.is_null() && !self.raw.trim_ascii().is_empty()
    }

    /// Of a field: its repetitions; at least one, perhaps empty.
    pub fn repetitions(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let separators = self.separators;
        split(self.raw, separators.repetition).map(move |raw| Value { raw, separators })
    }

    /// Of a field: its first repetition.
    pub fn first(&self) -> Value<'a> {
        Value { raw: part(self.raw, self.separators.repetition, 1), ..*self }
    }

    /// Component `n`, from 1, of the first repetition. Empty when absent; component 1 of a value without components is
    /// the value itself (v2.5.1 2.8.2).
    pub fn component(&self, n: usize) -> Value<'a> {
        Value { raw: part(self.first().raw, self.separators.component, n), ..*self }
    }

    /// Of a component: its subcomponent `n`, from 1.
    pub fn subcomponent(&self, n: usize) -> Value<'a> {
        Value { raw: part(self.raw, self.separators.subcomponent, n), ..*self }
    }

    /// Whether a delimiter of the next level down is in it.
    pub fn has_subcomponents(&self) -> bool {
        self.separators.subcomponent.is_some_and(|s| self.raw.contains(&s))
    }

    /// The bytes it stands for. Null stands for none.
    pub fn unescaped(&self) -> Cow<'a, [u8]> {
        if self.is_null() { Cow::Borrowed(&[]) } else { unescape(self.raw, self.separators) }
    }

    /// The text it stands for. Null stands for none.
    pub fn text(&self, charset: Charset) -> Decoded {
        if self.is_null() {
            return Decoded { text: String::new(), lossy: false };
        }
        decode_value(self.raw, self.separators, charset)
    }
}

fn split(raw: &[u8], separator: Option<u8>) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    let cuts = separator.map(|s| memchr_iter(s, raw)).into_iter().flatten();
    cuts.chain(std::iter::once(raw.len())).map(move |cut| {
        let piece = &raw[start..cut];
        start = cut + 1;
        piece
    })
}

/// Part `n`, from 1, of `raw`; empty when absent. Looks no further than the end of that part.
pub(super) fn part(raw: &[u8], separator: Option<u8>, n: usize) -> &[u8] {
    match n.checked_sub(1) {
        Some(before) => split(raw, separator).nth(before).unwrap_or_default(),
        None => &[],
    }
}
