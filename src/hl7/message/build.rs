//! Writing a message: text in, escaped and delimited; a message as text out; `outgoing` puts it into the receiver's character set.
//!
//! Fields are set by number, in any order; what is not set stays empty. Everything but [`SegmentBuilder::raw`] escapes.
//! Does not check what belongs in which segment.

use super::escape;
use uuid::Uuid;

/// No segment of the standard has more fields than this; a higher number is our own mistake and is left out.
const MAX_FIELD: usize = 255;

/// A segment being written.
#[derive(Clone)]
pub struct SegmentBuilder {
    id: &'static str,
    /// Field 1 at index 0. Of MSH, the first two stay empty: the separators are written in their place.
    fields: Vec<String>,
}

impl SegmentBuilder {
    pub fn new(id: &'static str) -> Self {
        Self { id, fields: Vec::new() }
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

    fn write(&self, out: &mut String) {
        out.push_str(self.id);
        let fields = if self.id == "MSH" {
            out.push_str(r"|^~\&");
            self.fields.get(2..).unwrap_or_default()
        } else {
            &self.fields
        };
        let last = fields.iter().rposition(|field| !field.is_empty()).map_or(0, |index| index + 1);
        for field in &fields[..last] {
            out.push('|');
            out.push_str(field);
        }
        out.push('\r');
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
}

impl MessageBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, segment: SegmentBuilder) {
        segment.write(&mut self.text);
    }

    pub fn text(&self) -> &str {
        &self.text
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
    fn control_ids_have_twenty_characters_and_differ() {
        let ids: std::collections::BTreeSet<String> = (0..1000).map(|_| new_control_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 20));
    }
}
