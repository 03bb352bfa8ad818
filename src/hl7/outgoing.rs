//! A message in its receiver's character set: text, or a message as received, in; bytes and what was done about letters
//! the set lacks, out.
//!
//! A message is wholly in one set, and MSH-18 says which. Identifiers (the table [`IDENTIFIERS`]) are never spelled
//! otherwise than by code point: see [`crate::model::letters`]. Separators stay what they are: no spelling brings one in.
//!
//! Does not know who the receiver is, and does not change what a message says: a message whose set is the receiver's
//! already goes byte for byte as it came, but for an MSH-18 that named none.

mod relay;
#[cfg(test)]
mod tests;

use super::charset::Charset;
use super::message::{Message, MessageError, Segment, Separators};
use crate::model::{Outgoing, letters::Speller};

/// A message ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub bytes: Vec<u8>,
    /// What they are in, and what MSH-18 says.
    pub charset: Charset,
    /// For the case's story and a person; no patient data.
    pub warnings: Vec<String>,
}

/// What is known by these fields must stay what it is: message control id, patients, visits, orders, specimens,
/// documents (v2.5.1 chapters 2 to 4, 7 and 9).
const IDENTIFIERS: &[(&str, &[usize])] = &[
    ("MSH", &[10]),
    ("PID", &[2, 3, 4, 18]),
    ("MRG", &[1, 2, 3, 4, 5, 6]),
    ("PV1", &[19]),
    ("ORC", &[2, 3, 4]),
    ("OBR", &[2, 3, 18, 19, 20, 21]),
    ("IPC", &[1, 2, 3, 4]),
    ("SPM", &[2, 3]),
    ("SAC", &[2, 3, 4]),
    ("TXA", &[12, 13, 14, 15]),
    ("MSA", &[2]),
];

/// A message that was written as text, in its receiver's set. Its MSH-18 is set here.
pub fn outgoing(text: &str, policy: &Outgoing) -> Sent {
    let Ok(message) = Message::parse(text.as_bytes()) else {
        // We wrote it, so this does not happen; without a header nothing has a separator or a field.
        let mut speller = Speller::new(policy, &[]);
        let spelled = speller.text(text).into_owned();
        return sent(policy, &speller, text, spelled);
    };
    let reserved = reserved(message.separators());
    let mut speller = Speller::new(policy, &reserved);
    let spelled = spelled(&message, &mut speller);
    sent(policy, &speller, text, spelled)
}

/// A message as it was received, in `charset`, for a receiver of another set.
///
/// # Errors
/// When it is no message.
pub fn relayed(raw: &[u8], charset: Charset, policy: &Outgoing) -> Result<Sent, MessageError> {
    relay::relayed(raw, charset, policy)
}

/// A message as it was received, in UTF-8, before anything is written into it.
///
/// # Errors
/// When it is no message.
pub fn in_utf8(raw: &[u8], charset: Charset) -> Result<Vec<u8>, MessageError> {
    relay::relayed(raw, charset, &Outgoing::default()).map(|sent| sent.bytes)
}

/// The letters in one set, and MSH-18.
fn sent(policy: &Outgoing, speller: &Speller<'_>, original: &str, spelled: String) -> Sent {
    let charset = policy.set_for(&speller.changes);
    let text = if charset == policy.charset { spelled } else { original.to_owned() };
    // The speller leaves nothing that the set does not hold; if it did, UTF-8 would lose less than any other set.
    let (charset, bytes) = match charset.encode(text) {
        Ok(bytes) => (charset, bytes),
        Err(_) => (Charset::UTF_8, original.as_bytes().to_vec()),
    };
    Sent { bytes: named(bytes, charset), charset, warnings: speller.changes.warnings(policy) }
}

/// Every byte that means something in the message.
fn reserved(separators: Separators) -> Vec<u8> {
    let Separators { field, component, repetition, escape, subcomponent } = separators;
    [Some(field), component, repetition, escape, subcomponent, Some(b'\r'), Some(b'\n')].into_iter().flatten().collect()
}

/// The whole message in letters that the set holds.
fn spelled(message: &Message<'_>, speller: &mut Speller<'_>) -> String {
    let mut out = String::with_capacity(message.bytes().len() + 64);
    for (line, segment) in message.segments().enumerate() {
        let raw = text(segment.raw());
        let known = IDENTIFIERS.iter().find(|(id, _)| segment.is(id));
        match known {
            Some((_, fields)) if !raw.is_ascii() => {
                identifiers(&segment, fields, message.separators(), speller, &mut out)
            }
            _ => out.push_str(&speller.text(raw)),
        }
        out.push_str(text(message.terminator(line)));
    }
    out
}

fn identifiers(
    segment: &Segment<'_>,
    fields: &[usize],
    separators: Separators,
    speller: &mut Speller<'_>,
    out: &mut String,
) {
    // MSH-1 is the separator itself, so in MSH the first piece after the id is field 2.
    let first = if segment.is("MSH") { 1 } else { 0 };
    let field = char::from(separators.field);
    for (n, value) in text(segment.raw()).split(field).enumerate() {
        if n > 0 {
            out.push(field);
        }
        if fields.contains(&(n + first)) {
            out.push_str(&speller.identifier(value));
        } else {
            out.push_str(&speller.text(value));
        }
    }
}

/// The lines of a text are text: separators are ASCII, and so is every line end.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The message with this set in MSH-18, which is one name then. What it says already is left as it is written.
fn named(bytes: Vec<u8>, charset: Charset) -> Vec<u8> {
    let Ok(message) = Message::parse(&bytes) else { return bytes };
    if says(&message, charset) {
        return bytes;
    }
    let header = message.header_range();
    let line = with_field_18(message.header().raw(), message.separators().field, charset.name());
    let mut out = bytes;
    out.splice(header, line);
    out
}

/// Whether MSH-18 names this set and no other.
fn says(message: &Message<'_>, charset: Charset) -> bool {
    let field = message.header().field(18);
    let name = std::str::from_utf8(field.raw()).unwrap_or_default();
    field.is_valued() && Charset::named(name).is_ok_and(|named| named == charset)
}

/// The header's line with MSH-18 set, and MSH-20 (the scheme by which sets are switched) empty: nothing is switched.
fn with_field_18(line: &[u8], separator: u8, name: &str) -> Vec<u8> {
    let mut fields: Vec<&[u8]> = line.split(|b| *b == separator).collect();
    // `MSH` is the first piece, MSH-2 the second.
    if fields.len() < 18 {
        fields.resize(18, &[]);
    }
    fields[17] = name.as_bytes();
    if let Some(scheme) = fields.get_mut(19) {
        *scheme = &[];
    }
    fields.join(&separator)
}
