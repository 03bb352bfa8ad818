//! Writing a message: text in, escaped and delimited; a message as text out; `outgoing` puts it into the receiver's character set.
//!
//! Fields are set by number, in any order; what is not set stays empty. Everything but [`SegmentBuilder::raw`] escapes.
//! A document of tens of megabytes stays apart from the text, which has a mark in its place, until the text is in its set.
//! Does not check what belongs in which segment.

use super::escape;
use crate::model::Pieces;
use bytes::Bytes;
use memchr::memchr_iter;
use uuid::Uuid;

/// No segment of the standard has more fields than this; a higher number is our own mistake and is left out.
const MAX_FIELD: usize = 255;

/// Stands in the text for what is kept apart. In no message that can be framed, for it would begin the frame's end: text has it
/// escaped.
const MARK: u8 = 0x1C;

/// A segment being written.
#[derive(Clone)]
pub struct SegmentBuilder {
    id: &'static str,
    /// Field 1 at index 0. Of MSH, the first two stay empty: the separators are written in their place.
    fields: Vec<String>,
    /// What comes behind the value of a field.
    apart: Option<(usize, Pieces)>,
}

impl SegmentBuilder {
    pub fn new(id: &'static str) -> Self {
        Self { id, fields: Vec::new(), apart: None }
    }

    /// Field `n`: one value, escaped.
    #[must_use]
    pub fn field(self, n: usize, text: &str) -> Self {
        self.raw(n, escape(text).into_owned())
    }

    /// Field `n`: components, each escaped; empty ones at the end are left out.
    #[must_use]
    pub fn components(self, n: usize, texts: &[&str]) -> Self {
        self.raw(n, joined(texts, '^'))
    }

    /// Field `n`: one component of subcomponents, each escaped.
    #[must_use]
    pub fn subcomponents(self, n: usize, texts: &[&str]) -> Self {
        self.raw(n, joined(texts, '&'))
    }

    /// Field `n`: repetitions, each one value, escaped.
    #[must_use]
    pub fn repetitions(self, n: usize, texts: &[&str]) -> Self {
        self.raw(n, joined(texts, '~'))
    }

    /// Field `n` as it stands: the caller has escaped it, or knows that there is nothing to escape.
    #[must_use]
    pub fn raw(mut self, n: usize, value: String) -> Self {
        debug_assert!((1..=MAX_FIELD).contains(&n), "field number {n}");
        if let Some(index) = n.checked_sub(1).filter(|index| *index < MAX_FIELD) {
            if self.fields.len() <= index {
                self.fields.resize(index + 1, String::new());
            }
            self.fields[index] = value;
        }
        self
    }

    /// Behind the value of field `n`, which is not empty: letters of ASCII that need no escaping, Base64 for example. Of one
    /// field in a segment.
    #[must_use]
    pub fn followed_by(mut self, n: usize, letters: Pieces) -> Self {
        self.apart = Some((n, letters));
        self
    }

    /// What was kept apart, if its mark has been written.
    fn write(self, out: &mut String) -> Option<Pieces> {
        out.push_str(self.id);
        let first = if self.id == "MSH" { 3 } else { 1 };
        let mut apart = None;
        let fields = if self.id == "MSH" {
            out.push_str(r"|^~\&");
            self.fields.get(2..).unwrap_or_default()
        } else {
            &self.fields
        };
        let last = fields.iter().rposition(|field| !field.is_empty()).map_or(0, |index| index + 1);
        for (n, field) in (first..).zip(&fields[..last]) {
            out.push('|');
            out.push_str(field);
            if let Some((_, letters)) = self.apart.as_ref().filter(|(after, _)| *after == n) {
                out.push(char::from(MARK));
                apart = Some(letters.clone());
            }
        }
        out.push('\r');
        apart
    }
}

fn joined(texts: &[&str], delimiter: char) -> String {
    let last = texts.iter().rposition(|text| !text.is_empty()).map_or(0, |index| index + 1);
    let mut out = String::new();
    for (i, text) in texts[..last].iter().enumerate() {
        if i > 0 {
            out.push(delimiter);
        }
        out.push_str(&escape(text));
    }
    out
}

/// A message being written, with the separators `|^~\&`.
#[derive(Clone, Default)]
pub struct MessageBuilder {
    text: String,
    /// One for each mark.
    apart: Vec<Pieces>,
}

impl MessageBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, segment: SegmentBuilder) {
        self.apart.extend(segment.write(&mut self.text));
    }

    /// With a mark for what was kept apart.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, spelled and encoded, with what was kept apart in the place of its marks.
    pub fn put_in(self, text: Vec<u8>) -> Pieces {
        let text = Bytes::from(text);
        let mut whole = Pieces::default();
        let mut begin = 0;
        for (mark, letters) in memchr_iter(MARK, &text).zip(self.apart) {
            whole.push(text.slice(begin..mark));
            whole.append(letters);
            begin = mark + 1;
        }
        whole.push(text.slice(begin..));
        whole
    }
}

/// A fresh message control id (MSH-10): 20 characters, the most that v2.5.1 allows, in the order of the time they are
/// made.
pub fn new_control_id() -> String {
    let number = Uuid::now_v7().as_u128() >> 28;
    (0..20)
        .rev()
        .map(|place| char::from(b"0123456789ABCDEFGHIJKLMNOPQRSTUV"[(number >> (place * 5) & 31) as usize]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_text_are_escaped_and_empty_ends_left_out() {
        let mut message = MessageBuilder::new();
        message.push(SegmentBuilder::new("MSH").field(3, "NEISSE").field(10, "1").field(20, ""));
        message.push(SegmentBuilder::new("PID").components(5, &["Mü^ller", "A|B", ""]).field(3, "7"));
        message.push(SegmentBuilder::new("OBR").subcomponents(32, &["", "Weiß", "Anna"]));
        message.push(SegmentBuilder::new("NTE").repetitions(3, &["a", "b~c"]));
        let expected = [
            r"MSH|^~\&|NEISSE|||||||1",
            r"PID|||7||Mü\S\ller^A\F\B",
            &format!("OBR{}&Weiß&Anna", "|".repeat(32)),
            r"NTE|||a~b\R\c",
            "",
        ];
        assert_eq!(message.text(), expected.join("\r"));
    }

    #[test]
    fn what_was_kept_apart_comes_in_its_place() {
        let mut message = MessageBuilder::new();
        let letters = |letters: &'static str| Pieces::from(Bytes::from_static(letters.as_bytes()));
        message.push(SegmentBuilder::new("OBX").raw(5, "^a^".into()).field(11, "F").followed_by(5, letters("AAA=")));
        message.push(SegmentBuilder::new("NTE").field(3, "a\u{1c}b"));
        message.push(SegmentBuilder::new("OBX").followed_by(5, letters("BBBB")).raw(5, "^b^".into()));
        let text = message.text().as_bytes().to_vec();
        let expected = "OBX|||||^a^AAA=||||||F\rNTE|||a\\X1C\\b\rOBX|||||^b^BBBB\r";
        assert_eq!(message.put_in(text).whole(), expected.as_bytes());
    }

    #[test]
    fn control_ids_have_twenty_characters_and_differ() {
        let ids: std::collections::BTreeSet<String> = (0..1000).map(|_| new_control_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 20));
    }
}
