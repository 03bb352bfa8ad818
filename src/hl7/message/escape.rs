//! Escape sequences (HL7 v2.5.1 2.7): `\F\ \S\ \T\ \R\ \E\`, `\Xhh..\`, `\.br\`, `\H\ \N\`.
//!
//! In: bytes of a value as received; out: the bytes they stand for. The other way round: text in, text that cannot be
//! mistaken for a delimiter, a segment end or an MLLP frame end out. Sequences we do not know stay as they are.
//! Works before decoding, so that `\XE4\` means a byte of the message's own character set.

use super::Separators;
use memchr::memchr;
use std::borrow::Cow;

/// The bytes a value stands for. Line breaks (`\.br\`) become LF; highlighting (`\H\`, `\N\`) is left out.
/// Linear in the length, whatever is in it.
pub fn unescape(raw: &[u8], separators: Separators) -> Cow<'_, [u8]> {
    let Some(escape) = separators.escape else { return Cow::Borrowed(raw) };
    let Some(first) = memchr(escape, raw) else { return Cow::Borrowed(raw) };
    let mut out = Vec::with_capacity(raw.len());
    out.extend_from_slice(&raw[..first]);
    let mut rest = &raw[first..];
    // `rest` starts with the escape character each time round.
    while let Some(length) = rest.get(1..).and_then(|tail| memchr(escape, tail)) {
        let body = &rest[1..=length];
        let after = &rest[length + 2..];
        if replace(body, separators, &mut out) {
            rest = after;
        } else if is_unknown_sequence(body) {
            out.extend_from_slice(&rest[..length + 2]);
            rest = after;
        } else {
            // A bare escape character in the text (`C:\scan\1`): the next one may open a real sequence.
            out.extend_from_slice(&rest[..=length]);
            rest = &rest[length + 1..];
            continue;
        }
        let Some(next) = memchr(escape, rest) else { break };
        out.extend_from_slice(&rest[..next]);
        rest = &rest[next..];
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Writes what `\body\` stands for. False: not a sequence we know.
fn replace(body: &[u8], separators: Separators, out: &mut Vec<u8>) -> bool {
    let delimiter = match body {
        b"F" => Some(separators.field),
        b"S" => separators.component,
        b"T" => separators.subcomponent,
        b"R" => separators.repetition,
        b"E" => separators.escape,
        b"H" | b"N" => return true,
        _ if body.eq_ignore_ascii_case(b".br") => Some(b'\n'),
        [b'X' | b'x', hex @ ..] => return replace_hex(hex, out),
        _ => None,
    };
    out.extend(delimiter);
    delimiter.is_some()
}

/// The body of the sequence that `raw` begins with, one of those we read or one shaped like it; none for a bare escape
/// character. Looks at values as they stand in the message, so a delimiter ends it.
pub(in crate::hl7) fn sequence(raw: &[u8], separators: Separators) -> Option<&[u8]> {
    let escape = separators.escape?;
    let tail = raw.strip_prefix(&[escape])?;
    let body = &tail[..memchr(escape, tail)?];
    let Separators { field, component, repetition, subcomponent, .. } = separators;
    let ends = |b: &u8| {
        matches!(*b, b'\r' | b'\n') || *b == field || [component, repetition, subcomponent].contains(&Some(*b))
    };
    let is_sequence = || replace(body, separators, &mut Vec::new()) || is_unknown_sequence(body);
    (is_sequence() && !body.iter().any(ends)).then_some(body)
}

fn replace_hex(hex: &[u8], out: &mut Vec<u8>) -> bool {
    let fits = !hex.is_empty() && hex.len().is_multiple_of(2) && hex.iter().all(u8::is_ascii_hexdigit);
    if fits {
        out.extend(hex.chunks_exact(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])));
    }
    fits
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10) & 0x0F,
    }
}

/// Shaped like a sequence of the standard that we do not interpret (`\.sp3\`, `\C2842\`, `\M..\`, `\Z..\`): its closing
/// character opens nothing.
fn is_unknown_sequence(body: &[u8]) -> bool {
    let Some((&kind, tail)) = body.split_first() else { return false };
    body.len() <= 64
        && match kind {
            b'.' => tail.first().is_some_and(u8::is_ascii_alphabetic) && !tail.contains(&b' '),
            b'C' | b'M' => (4..=6).contains(&tail.len()) && tail.iter().all(u8::is_ascii_hexdigit),
            b'Z' => tail.iter().all(u8::is_ascii_alphanumeric),
            _ => false,
        }
}

/// Text for a message with the usual separators. Line breaks of any kind become `\.br\`, other control characters
/// `\Xhh\`: a CR would end the segment and 0x1C the MLLP frame.
pub fn escape(text: &str) -> Cow<'_, str> {
    let needs = |b: u8| matches!(b, b'|' | b'^' | b'&' | b'~' | b'\\') || (b < 0x20 && b != b'\t');
    if !text.bytes().any(needs) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + text.len() / 8 + 16);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '|' => out.push_str(r"\F\"),
            '^' => out.push_str(r"\S\"),
            '&' => out.push_str(r"\T\"),
            '~' => out.push_str(r"\R\"),
            '\\' => out.push_str(r"\E\"),
            '\r' if characters.peek() == Some(&'\n') => {}
            '\r' | '\n' => out.push_str(r"\.br\"),
            '\t' => out.push('\t'),
            c if c < ' ' => out.push_str(&format!("\\X{:02X}\\", u32::from(c))),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(raw: &str) -> String {
        String::from_utf8(unescape(raw.as_bytes(), Separators::STANDARD).into_owned()).expect("UTF-8")
    }

    #[test]
    fn sequences_of_the_standard_are_read() {
        for (raw, expected) in [
            (r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e\f"),
            (r"one\.br\two\.BR\three", "one\ntwo\nthree"),
            (r"\H\bold\N\ plain", "bold plain"),
            (r"\X41\\X4243\", "ABC"),
            (r"\E\F\E\", r"\F\"),
        ] {
            assert_eq!(plain(raw), expected, "{raw}");
        }
    }

    #[test]
    fn what_is_no_sequence_stays_as_it_is() {
        for raw in
            [r"C:\scan\1", r"\", r"a\", r"\\", r"\Z12\", r"\C2842\", r"\.sp3\F", r"\X4\", r"\XGG\", r"\X\", r"5\6 \ 7"]
        {
            assert_eq!(plain(raw), raw, "{raw}");
        }
        assert_eq!(plain(r"C:\scan\F\x"), r"C:\scan|x", "a bare backslash does not hide the sequence after it");
        assert_eq!(plain(r"\Z1\F\S\"), r"\Z1\F^", "the end of an unknown sequence opens nothing");
    }

    #[test]
    fn no_written_text_can_end_a_segment_or_a_frame() {
        assert_eq!(escape("a\r\nb\rc\nd\u{1C}\u{0B}\0"), r"a\.br\b\.br\c\.br\d\X1C\\X0B\\X00\");
        assert!(matches!(escape("Jörg Müßig"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn escaped_text_comes_back(text in "[^\r\n]*") {
            prop_assert_eq!(plain(&escape(&text)), text);
        }

        #[test]
        fn any_bytes_can_be_unescaped(raw in proptest::collection::vec(prop_oneof![Just(b'\\'), any::<u8>()], 0..200)) {
            let out = unescape(&raw, Separators::STANDARD);
            prop_assert!(out.len() <= raw.len());
        }
    }
}
