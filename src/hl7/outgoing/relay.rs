//! A received message in another set: bytes in, the same message in the receiver's set out.
//!
//! Every set keeps ASCII, so separators, line ends and lines that are no segments stay where they are. What depends on the
//! set goes with it: hexadecimal escapes (`\XE4\`) are bytes of the message's set and become letters; what switches sets
//! inside a value (`\C2D42\`) has no meaning after it and is left out.

use super::{Outgoing, Sent, named, reserved, says, sent, spelled};
use crate::hl7::charset::{Charset, Runs, step, switches};
use crate::hl7::message::{BYTE_ORDER_MARK, Message, MessageError, Separators, sequence};
use crate::model::letters::Speller;
use memchr::memchr;

/// For the case; the letters themselves are not known.
const LOSSY: &str = "some letters of the message could not be read in the character set its sender named";

pub(super) fn relayed(raw: &[u8], charset: Charset, policy: &Outgoing) -> Result<Sent, MessageError> {
    let message = Message::parse(raw)?;
    let separators = message.separators();
    if charset == policy.charset && !switches(raw, separators) {
        let bytes = if says(&message, charset) { raw.to_vec() } else { named(raw.to_vec(), charset) };
        return Ok(Sent { bytes, charset, warnings: Vec::new() });
    }
    let read = read(raw, charset, separators);
    let reserved = reserved(separators);
    let mut speller = Speller::new(policy, &reserved);
    let spelled = spelled(&Message::parse(read.text.as_bytes())?, &mut speller);
    let mut sent = sent(policy, &speller, &read.text, spelled);
    if read.lossy {
        sent.warnings.insert(0, LOSSY.into());
    }
    Ok(sent)
}

struct Read {
    text: String,
    lossy: bool,
}

/// The whole message as text, escapes as they are.
fn read(raw: &[u8], charset: Charset, separators: Separators) -> Read {
    let mut read = Read { text: String::with_capacity(raw.len() + raw.len() / 16), lossy: false };
    // A byte order mark says what MSH-18 will say.
    let raw = raw.strip_prefix(BYTE_ORDER_MARK).unwrap_or(raw);
    for run in Runs::new(raw, separators, charset) {
        read.lossy |= run.unreadable;
        with_escapes(run.bytes, separators, run.charset, &mut read);
    }
    read
}

fn push(bytes: &[u8], charset: Charset, read: &mut Read) {
    let decoded = charset.decode(bytes);
    read.lossy |= decoded.lossy;
    read.text.push_str(&decoded.text);
}

/// Bytes of one set; the letters in hexadecimal escapes are letters afterwards.
fn with_escapes(bytes: &[u8], separators: Separators, charset: Charset, read: &mut Read) {
    let Some(escape) = separators.escape else { return push(bytes, charset, read) };
    let mut rest = bytes;
    let mut searched = 0;
    while let Some(at) = memchr(escape, &rest[searched..]).map(|at| searched + at) {
        let (hidden, length) = hexadecimal(&rest[at..], separators);
        let decoded = charset.decode(&hidden);
        if hidden.is_ascii() || decoded.lossy {
            read.lossy |= decoded.lossy;
            searched = at + if length > 0 { length } else { step(&rest[at..], separators) };
            continue;
        }
        push(&rest[..at], charset, read);
        for c in decoded.text.chars() {
            if c.is_ascii() {
                let escape = char::from(escape);
                read.text.push_str(&format!("{escape}X{:02X}{escape}", u32::from(c)));
            } else {
                read.text.push(c);
            }
        }
        rest = &rest[at + length..];
        searched = 0;
    }
    push(rest, charset, read);
}

/// The bytes of all `\Xhh..\` that follow each other here (a letter of UTF-8 may be spread over several), and the length.
fn hexadecimal(bytes: &[u8], separators: Separators) -> (Vec<u8>, usize) {
    let (mut hidden, mut length) = (Vec::new(), 0);
    while let Some([b'X' | b'x', digits @ ..]) = sequence(&bytes[length..], separators) {
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or_default();
        hidden.extend(digits.chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])));
        length += digits.len() + 3;
    }
    (hidden, length)
}
