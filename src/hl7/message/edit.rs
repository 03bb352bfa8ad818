//! Changing a message: fields replaced, segments left out or added; every other byte stays as it was received.
//!
//! In: a [`Message`] and what is to be different. Out: bytes, in the separators and the character set of the message.
//! Does not know what belongs in which segment, and does not encode: values are given as bytes of the message's set. Whether
//! any was written that is more than ASCII, and so has to be in that set, it says.

use super::{Message, Separators, Value};
use std::cell::Cell;

/// A line as it will be written.
enum Line {
    AsReceived,
    Gone,
    Changed(Vec<u8>),
}

/// Who sends a message on, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Readdressed<'a> {
    /// MSH-3 to MSH-6.
    pub from_to: [&'a str; 4],
    /// MSH-7.
    pub at: &'a str,
    /// MSH-10.
    pub control_id: &'a str,
    /// MSH-18.
    pub charset: &'a str,
}

/// A message being changed.
pub struct Edit<'m, 'a> {
    message: &'m Message<'a>,
    lines: Vec<Line>,
    /// Segments to follow a line, each without its end.
    after: Vec<(usize, Vec<u8>)>,
    /// See [`Edit::has_letters`].
    letters: Cell<bool>,
}

impl<'m, 'a> Edit<'m, 'a> {
    pub fn new(message: &'m Message<'a>) -> Self {
        let lines = (0..message.len()).map(|_| Line::AsReceived).collect();
        Self { message, lines, after: Vec::new(), letters: Cell::new(false) }
    }

    pub fn separators(&self) -> Separators {
        self.message.separators()
    }

    /// Components as one value of this message, what would be taken for a separator escaped.
    pub fn value(&self, parts: &[&str]) -> Vec<u8> {
        self.letters.set(self.letters.get() || !parts.iter().all(|part| part.is_ascii()));
        components(self.separators(), parts)
    }

    /// Whether a [`value`](Self::value) was asked for that is UTF-8 and not ASCII: it stands right in a message of that set alone.
    pub fn has_letters(&self) -> bool {
        self.letters.get()
    }

    /// Leaves a line out.
    pub fn leave_out(&mut self, line: usize) {
        if let Some(line) = self.lines.get_mut(line) {
            *line = Line::Gone;
        }
    }

    /// Adds a segment behind a line, in the order of the calls.
    pub fn add_after(&mut self, line: usize, segment: Vec<u8>) {
        self.after.push((line, segment));
    }

    /// Field `n` of a line as it stands now.
    pub fn field(&self, line: usize, n: usize) -> &[u8] {
        let separator = self.message.separators().field;
        let at = self.index_of(line, n);
        self.now(line).split(|byte| *byte == separator).nth(at).unwrap_or_default()
    }

    /// Replaces field `n` of a line, counted as the standard does. MSH-1 and MSH-2 cannot be replaced.
    pub fn set_field(&mut self, line: usize, n: usize, value: &[u8]) {
        let at = self.index_of(line, n);
        if at == 0 || (self.is_header(line) && n <= 2) || line >= self.lines.len() {
            return;
        }
        let separator = self.message.separators().field;
        let mut fields: Vec<&[u8]> = self.now(line).split(|byte| *byte == separator).collect();
        if fields.len() <= at {
            fields.resize(at + 1, &[]);
        }
        fields[at] = value;
        let changed = fields.join(&separator);
        self.lines[line] = Line::Changed(changed);
    }

    /// Replaces component `n`, from 1, of the first repetition of a field; the rest of the field stays.
    pub fn set_component(&mut self, line: usize, field: usize, n: usize, value: &[u8]) {
        let mut is_first = true;
        self.set_component_where(line, field, n, value, |_| std::mem::take(&mut is_first));
    }

    /// Component `n` of every repetition that says something and nothing in its component `n`; the rest of the field stays.
    pub fn complete_component(&mut self, line: usize, field: usize, n: usize, value: &[u8]) {
        self.set_component_where(line, field, n, value, |repetition| {
            let there = repetition.component(n);
            let says = |part: usize| there.subcomponent(part).is_valued();
            repetition.component(1).is_valued() && !(says(1) || says(2))
        });
    }

    fn set_component_where(
        &mut self,
        line: usize,
        field: usize,
        n: usize,
        value: &[u8],
        mut is_meant: impl FnMut(Value<'_>) -> bool,
    ) {
        let separators = self.message.separators();
        let (Some(component), true) = (separators.component, n > 0) else { return };
        let changed = |repetition: Value<'_>| {
            let mut components: Vec<&[u8]> = repetition.raw().split(|byte| *byte == component).collect();
            components.resize(components.len().max(n), &[]);
            components[n - 1] = value;
            components.join(&component)
        };
        let field_now = Value::new(self.field(line, field), separators);
        let repetitions: Vec<Vec<u8>> = field_now
            .repetitions()
            .map(|repetition| if is_meant(repetition) { changed(repetition) } else { repetition.raw().to_vec() })
            .collect();
        let joined = repetitions.join(&separators.repetition.unwrap_or(b'~'));
        self.set_field(line, field, &joined);
    }

    /// Writes who sends it on, and to whom, into the header at `line`. What stands before the header goes: a byte order mark
    /// would be letters in another character set.
    pub fn readdress(&mut self, line: usize, to: &Readdressed<'_>) {
        (0..line).for_each(|before| self.leave_out(before));
        let [sending_application, sending_facility, receiving_application, receiving_facility] = to.from_to;
        for (n, text) in [
            (3, sending_application),
            (4, sending_facility),
            (5, receiving_application),
            (6, receiving_facility),
            (7, to.at),
            // A password or routing token of the sender's own (MSH-8), sequence numbers and how it wants to be
            // acknowledged (MSH-13 to MSH-16) are between it and us.
            (8, ""),
            (10, to.control_id),
            (13, ""),
            (14, ""),
            (15, ""),
            (16, ""),
            (18, to.charset),
        ] {
            if !(text.is_empty() && self.field(line, n).is_empty()) {
                self.set_field(line, n, &self.value(&[text]));
            }
        }
    }

    /// The message as it is now.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.message.bytes().len() + 256);
        for line in 0..self.lines.len() {
            if !matches!(self.lines[line], Line::Gone) {
                out.extend_from_slice(self.now(line));
                out.extend_from_slice(self.message.terminator(line));
            }
            for (_, segment) in self.after.iter().filter(|(after, _)| *after == line) {
                if !matches!(out.last(), None | Some(b'\r' | b'\n')) {
                    out.push(b'\r');
                }
                out.extend_from_slice(segment);
                out.push(b'\r');
            }
        }
        out
    }

    fn now(&self, line: usize) -> &[u8] {
        match self.lines.get(line) {
            Some(Line::Changed(bytes)) => bytes,
            Some(Line::AsReceived) => self.message.segment(line).map_or(&[], |segment| segment.raw()),
            Some(Line::Gone) | None => &[],
        }
    }

    /// Where field `n` stands between the separators: MSH-1 is the first of them.
    fn index_of(&self, line: usize, n: usize) -> usize {
        if self.is_header(line) { n.saturating_sub(1) } else { n }
    }

    fn is_header(&self, line: usize) -> bool {
        self.message.segment(line).is_some_and(|segment| segment.is("MSH"))
    }
}

/// Components as one value, what would be taken for a separator escaped.
fn components(separators: Separators, parts: &[&str]) -> Vec<u8> {
    let last = parts.iter().rposition(|part| !part.is_empty()).map_or(0, |index| index + 1);
    let joined: Vec<Vec<u8>> = parts[..last].iter().map(|part| escaped(separators, part.as_bytes())).collect();
    joined.join(&separators.component.unwrap_or(b'^'))
}

/// A value in which nothing can be taken for a separator, nor for the end of a segment. Where the sender named no escape
/// character, what would need one becomes a space.
fn escaped(separators: Separators, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for byte in value {
        let name = match Some(*byte) {
            Some(b) if b == separators.field => b'F',
            b if b == separators.component => b'S',
            b if b == separators.subcomponent => b'T',
            b if b == separators.repetition => b'R',
            b if b == separators.escape => b'E',
            Some(b) if b < 0x20 => {
                out.push(b' ');
                continue;
            }
            _ => {
                out.push(*byte);
                continue;
            }
        };
        match separators.escape {
            Some(escape) => out.extend_from_slice(&[escape, name, escape]),
            None => out.push(b' '),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORDER: &[u8] =
        b"MSH|^~\\&|KIS|DRKRAB|||||ORM^O01|1|P|2.3\rPID|1||77^^^RAB~12^^^GKV||M\xFCller\rORC|NW|P1\rZXY|kept";

    #[test]
    fn only_what_is_said_changes() {
        let message = Message::parse(ORDER).unwrap();
        let mut edit = Edit::new(&message);
        edit.set_field(0, 3, b"NEISSE");
        edit.set_field(0, 18, b"8859/1");
        edit.set_component(1, 3, 1, b"RAB-77");
        edit.set_component(2, 2, 2, b"KIS");
        edit.leave_out(3);
        edit.add_after(2, b"NTE|1".to_vec());
        let expected: &[u8] =
            b"MSH|^~\\&|NEISSE|DRKRAB|||||ORM^O01|1|P|2.3||||||8859/1\rPID|1||RAB-77^^^RAB~12^^^GKV||M\xFCller\r\
            ORC|NW|P1^KIS\rNTE|1\r";
        assert_eq!(String::from_utf8_lossy(&edit.write()), String::from_utf8_lossy(expected));
    }

    #[test]
    fn separators_in_a_value_are_escaped() {
        let separators = Message::parse(ORDER).unwrap().separators();
        assert_eq!(components(separators, &["A|1", "", "x^y\r", ""]), b"A\\F\\1^^x\\S\\y ");
    }

    proptest! {
        #[test]
        fn what_is_not_changed_is_the_same_to_the_byte(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
            let bytes = [ORDER, &tail[..]].concat();
            let message = Message::parse(&bytes).unwrap();
            prop_assert_eq!(Edit::new(&message).write(), bytes.clone());
            let mut edit = Edit::new(&message);
            edit.set_field(1, 5, b"changed");
            let changed = edit.write();
            let again = Message::parse(&changed).unwrap();
            prop_assert_eq!(again.segment(1).unwrap().field(5).raw(), b"changed");
            prop_assert_eq!(again.len(), message.len());
        }
    }
}
