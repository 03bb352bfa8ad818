//! A lazy, loss-free view of an HL7 v2 message.
//!
//! In: the bytes of one message, in any character set that keeps ASCII. Out: segments, fields, repetitions, components,
//! found when they are asked for and borrowed from those bytes. Segments end at CR; LF and CR LF are tolerated. Blank
//! lines, unknown and lower-case segments and stray text are kept and can be reached: every byte belongs to a line.
//!
//! Does not know which segments a message should have, and does not decode: [`super::charset`] does, value by value.

mod build;
mod edit;
mod escape;
mod known;
mod separators;
mod value;

pub use build::{MessageBuilder, SegmentBuilder, new_control_id};
pub use edit::{Edit, Readdressed};
pub(in crate::hl7) use escape::sequence;
pub use escape::{escape, unescape};
pub use separators::Separators;
pub use value::Value;

use memchr::{memchr, memchr2_iter};

/// More lines than this are not a message. Keeps the index at 8 MB.
pub const MAX_SEGMENTS: usize = 1_000_000;

/// Blank bytes before MSH that are looked past.
const MAX_LEADING: usize = 256;

/// Some senders write one before MSH. It says nothing that MSH-18 does not.
pub(in crate::hl7) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("not an HL7 v2 message: does not start with MSH")]
    NoHeader,
    #[error("MSH-1 and MSH-2 do not name separators: expected distinct ASCII punctuation")]
    BadSeparators,
    #[error("more than {MAX_SEGMENTS} segments")]
    TooManySegments,
    #[error("message of 4 GiB or more")]
    TooLong,
}

/// One message. Holds 8 bytes a segment beside the borrowed bytes.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    bytes: &'a [u8],
    separators: Separators,
    lines: Vec<Line>,
    /// Index of the MSH line.
    header: usize,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    start: u32,
    end: u32,
}

impl Line {
    fn new(start: usize, end: usize) -> Result<Self, MessageError> {
        let narrow = |at: usize| u32::try_from(at).map_err(|_| MessageError::TooLong);
        Ok(Self { start: narrow(start)?, end: narrow(end)? })
    }
}

impl<'a> Message<'a> {
    /// # Errors
    /// When `bytes` does not start with a readable MSH (blank bytes before it are looked past).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let header = find_header(bytes)?;
        let separators = Separators::of_header(&bytes[header..])?;
        let lines = index(bytes, header, separators)?;
        Ok(Self { bytes, separators, lines, header: usize::from(header > 0) })
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn separators(&self) -> Separators {
        self.separators
    }

    /// The MSH segment.
    pub fn header(&self) -> Segment<'a> {
        self.segment(self.header).unwrap_or_else(|| Segment::over(self.bytes, self.separators))
    }

    /// Where the MSH segment stands in the message's bytes.
    pub(in crate::hl7) fn header_range(&self) -> std::ops::Range<usize> {
        self.lines.get(self.header).map_or(0..0, |line| line.start as usize..line.end as usize)
    }

    /// All but when it was written (MSH-7), and the line ends behind its last segment: an engine that sends again what it got
    /// no answer to may write both anew.
    pub fn without_its_time(&self) -> [&'a [u8]; 2] {
        let header = self.header_range();
        let line = self.bytes.get(header.clone()).unwrap_or_default();
        // MSH-1 is the first separator: MSH-7 stands between the sixth and the seventh.
        let mut ends = line.iter().enumerate().filter(|(_, byte)| **byte == self.separators.field).map(|(at, _)| at);
        let from = ends.nth(5).map_or(line.len(), |at| at + 1);
        let to = ends.next().unwrap_or(line.len());
        let all = self.bytes.len() - self.bytes.iter().rev().take_while(|byte| matches!(**byte, b'\r' | b'\n')).count();
        let part = |from: usize, to: usize| self.bytes.get(from..to).unwrap_or_default();
        [part(0, (header.start + from).min(all)), part((header.start + to).min(all), all)]
    }

    /// Every line of the message in order, blank and stray ones too.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'a>> + '_ {
        (0..self.lines.len()).filter_map(|line| self.segment(line))
    }

    /// How many lines [`Message::segments`] gives.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The line with this number, counted from 0.
    pub fn segment(&self, line: usize) -> Option<Segment<'a>> {
        self.between(line, line)
    }

    /// The first segment with this id, in any letter case.
    pub fn first(&self, id: &str) -> Option<Segment<'a>> {
        self.segments().find(|segment| segment.is(id))
    }

    /// One segment over the lines `first` to `last`: a line break that the sender should have escaped is content again.
    pub fn between(&self, first: usize, last: usize) -> Option<Segment<'a>> {
        let start = self.lines.get(first)?.start as usize;
        let end = self.lines.get(last)?.end as usize;
        Some(Segment::over(self.bytes.get(start..end)?, self.separators))
    }

    /// What ends the line: CR, LF, CR LF, or nothing at the end of the message.
    pub fn terminator(&self, line: usize) -> &'a [u8] {
        let Some(this) = self.lines.get(line) else { return &[] };
        let next = self.lines.get(line + 1).map_or(self.bytes.len(), |next| next.start as usize);
        self.bytes.get(this.end as usize..next).unwrap_or_default()
    }
}

/// One line of a message.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    bytes: &'a [u8],
    separators: Separators,
}

// No content in `{:?}`: it would be patient data.
impl std::fmt::Debug for Segment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({} bytes)", self.bytes.len())
    }
}

impl<'a> Segment<'a> {
    fn over(bytes: &'a [u8], separators: Separators) -> Self {
        Self { bytes, separators }
    }

    /// The line as received, without its end.
    pub fn raw(&self) -> &'a [u8] {
        self.bytes
    }

    /// `MSH`, `PID`, `Z1`, …, as written. Empty for blank lines and stray text.
    pub fn id(&self) -> &'a str {
        let end = memchr(self.separators.field, &self.bytes[..self.bytes.len().min(9)]);
        let id = &self.bytes[..end.unwrap_or(self.bytes.len().min(9))];
        let is_id = if end.is_some() { names_segment(id) } else { id.len() == self.bytes.len() && stands_alone(id) };
        if is_id { std::str::from_utf8(id).unwrap_or_default() } else { "" }
    }

    /// Whether this is the segment `id`. Senders that write `obx` are tolerated.
    pub fn is(&self, id: &str) -> bool {
        self.id().eq_ignore_ascii_case(id)
    }

    /// Text that belongs to no segment: usually a line break that the sender did not escape.
    pub fn is_stray(&self) -> bool {
        self.id().is_empty() && !self.is_blank()
    }

    /// A segment of the standard or a local one. What has another name may be a line of text that begins like a segment
    /// (`CT|normal`), or a segment whose name was damaged.
    pub fn is_known(&self) -> bool {
        known::is_known(self.id())
    }

    /// Its name as the standard writes it; none of local segments and of what is no segment.
    pub fn standard_id(&self) -> Option<&'static str> {
        known::of_the_standard(self.id())
    }

    pub fn is_blank(&self) -> bool {
        self.bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(self.bytes).trim_ascii().is_empty()
    }

    /// Field `n` as the standard counts, from 1; MSH-1 is the field separator itself (v2.5.1 2.15.9.1). Empty when
    /// absent.
    pub fn field(&self, n: usize) -> Value<'a> {
        if self.is_header() {
            return match n {
                0 => Value::new(&[], self.separators),
                1 => Value::opaque(self.bytes.get(3..4).unwrap_or_default()),
                2 => Value::opaque(value::part(self.bytes, Some(self.separators.field), 2)),
                _ => Value::new(value::part(self.bytes, Some(self.separators.field), n), self.separators),
            };
        }
        if n == 0 {
            return Value::new(&[], self.separators);
        }
        Value::new(value::part(self.bytes, Some(self.separators.field), n.saturating_add(1)), self.separators)
    }

    /// How many fields are written, empty ones included.
    pub fn field_count(&self) -> usize {
        let separators = memchr::memchr_iter(self.separators.field, self.bytes).count();
        if self.is_header() { separators + 1 } else { separators }
    }

    /// MSH, FHS and BHS carry the separators in their first two fields.
    fn is_header(&self) -> bool {
        matches!(self.bytes.get(..3), Some(b"MSH" | b"FHS" | b"BHS"))
            && self.bytes.get(3) == Some(&self.separators.field)
    }
}

/// Before a field separator: two or three letters or digits; longer only for the local `Z` segments of the field.
fn names_segment(id: &[u8]) -> bool {
    let longest = if matches!(id.first(), Some(b'Z' | b'z')) { 8 } else { 3 };
    (2..=longest).contains(&id.len()) && id[0].is_ascii_alphabetic() && id.iter().all(u8::is_ascii_alphanumeric)
}

/// Without any field: only what is known to be a segment, since a line of text may well be three letters.
fn stands_alone(id: &[u8]) -> bool {
    const BARE: [&[u8]; 20] = [
        b"MSH", b"EVN", b"PID", b"PD1", b"PV1", b"PV2", b"ORC", b"OBR", b"OBX", b"NTE", b"SPM", b"SAC", b"TQ1", b"TXA",
        b"DSC", b"BTS", b"FTS", b"MSA", b"ERR", b"SFT",
    ];
    BARE.contains(&id)
        || (id.len() == 3 && id[0] == b'Z' && names_segment(id) && !id.iter().any(u8::is_ascii_lowercase))
}

fn find_header(bytes: &[u8]) -> Result<usize, MessageError> {
    let mark = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let blank = bytes[mark..].iter().take(MAX_LEADING).take_while(|b| b.is_ascii_whitespace()).count();
    let header = mark + blank;
    if bytes[header..].starts_with(b"MSH") { Ok(header) } else { Err(MessageError::NoHeader) }
}

/// Where each line starts and ends.
///
/// CR ends a segment (v2.5.1 2.5.1), a LF after it goes with it. What a LF alone means follows the header: if that ends
/// in LF, so do all; otherwise it is text that the sender did not escape, unless a segment starts right after it. The header
/// ends where a segment or a blank line follows: a LF inside of it would else take MSH-11 and MSH-18 away.
fn index(bytes: &[u8], header: usize, separators: Separators) -> Result<Vec<Line>, MessageError> {
    let mut lines = Vec::new();
    if header > 0 {
        lines.push(Line::new(0, header)?);
    }
    let mut start = header;
    let mut line_feeds = None;
    for at in memchr2_iter(b'\r', b'\n', &bytes[header..]).map(|at| at + header) {
        if at < start {
            continue; // the LF of a CR LF
        }
        let feed = bytes[at] == b'\n';
        let next = if !feed && bytes.get(at + 1) == Some(&b'\n') { at + 2 } else { at + 1 };
        let rest = &bytes[next..];
        let ends =
            if line_feeds.is_none() { follows_header(rest, separators) } else { starts_segment(rest, separators) };
        if feed && line_feeds != Some(true) && !ends {
            continue;
        }
        line_feeds.get_or_insert(feed);
        if lines.len() >= MAX_SEGMENTS {
            return Err(MessageError::TooManySegments);
        }
        lines.push(Line::new(start, at)?);
        start = next;
    }
    if start < bytes.len() {
        lines.push(Line::new(start, bytes.len())?);
    }
    Ok(lines)
}

fn follows_header(bytes: &[u8], separators: Separators) -> bool {
    let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    line.trim_ascii().is_empty() || Segment::over(line, separators).is_known()
}

fn starts_segment(bytes: &[u8], separators: Separators) -> bool {
    match bytes.get(..4) {
        Some(&[a, b, c, end]) => {
            a.is_ascii_uppercase()
                && [b, c].iter().all(|x| x.is_ascii_uppercase() || x.is_ascii_digit())
                && end == separators.field
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
