//! Text values of received reports, from bytes.
//!
//! In: bytes and the values of Specific Character Set (0008,0005). Out: text, and whether bytes had to be replaced.
//! Single-valued sets, and code extensions (PS3.3 C.12.1.1.2, values beginning with `ISO 2022`) among the single-byte
//! sets. The one place to change where another decoder is to be used.

use encoding_rs::{Encoding, GB18030, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6, ISO_8859_7};
use encoding_rs::{ISO_8859_8, ISO_8859_15, SHIFT_JIS, UTF_8, WINDOWS_874, WINDOWS_1252, WINDOWS_1254};

/// `charset` as it stands in the data set, values separated by `\`. Trailing padding is removed.
pub fn decode(bytes: &[u8], charset: &str) -> (String, bool) {
    let end = bytes.iter().rposition(|b| !matches!(b, 0 | b' ')).map_or(0, |last| last + 1);
    let bytes = &bytes[..end];
    let first = charset.split('\\').next().unwrap_or_default().trim();
    if !bytes.contains(&0x1B) {
        return decode_part(bytes, of_term(first));
    }
    let mut text = String::with_capacity(bytes.len());
    let mut lossy = false;
    let mut encoding = of_term(first);
    for (at, part) in bytes.split(|b| *b == 0x1B).enumerate() {
        let rest = if at == 0 {
            part
        } else {
            let (switched, length) = of_escape(part);
            lossy |= switched.is_none() && length == 0;
            encoding = switched.or(encoding);
            &part[length..]
        };
        // PS3.5 6.1.2.5.3: a new line, and in names a delimiter, goes back to the first set.
        for piece in rest.split_inclusive(|b| matches!(b, b'\n' | b'\r' | b'^' | b'=' | b'\\')) {
            let (decoded, replaced) = decode_part(piece, encoding);
            text.push_str(&decoded);
            lossy |= replaced;
            if piece.ends_with(b"\n") || piece.ends_with(b"\r") || matches!(piece.last(), Some(b'^' | b'=' | b'\\')) {
                encoding = of_term(first);
            }
        }
    }
    (text, lossy)
}

fn decode_part(bytes: &[u8], encoding: Option<&'static Encoding>) -> (String, bool) {
    match encoding {
        Some(encoding) => {
            let (text, replaced) = encoding.decode_without_bom_handling(bytes);
            (text.into_owned(), replaced)
        }
        // ISO-IR 6, or nothing named, or a name we do not know. UTF-8 that is not declared is common and cannot be
        // taken for anything else; other bytes are not guessed at.
        None => match std::str::from_utf8(bytes) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (bytes.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '\u{fffd}' }).collect(), true),
        },
    }
}

/// PS3.3 Tables C.12-2 and C.12-3. Latin-1 and Latin-5 are read by their Windows supersets, which differ only where
/// the sets have control characters.
fn of_term(term: &str) -> Option<&'static Encoding> {
    let number = term.trim_start_matches("ISO_IR ").trim_start_matches("ISO 2022 IR ");
    Some(match number {
        "100" => WINDOWS_1252,
        "101" => ISO_8859_2,
        "109" => ISO_8859_3,
        "110" => ISO_8859_4,
        "144" => ISO_8859_5,
        "127" => ISO_8859_6,
        "126" => ISO_8859_7,
        "138" => ISO_8859_8,
        "148" => WINDOWS_1254,
        "203" => ISO_8859_15,
        "166" => WINDOWS_874,
        "13" => SHIFT_JIS,
        "192" => UTF_8,
        "GB18030" | "GBK" => GB18030,
        _ => return None,
    })
}

/// The set an escape sequence switches to (PS3.3 Table C.12-3), and its length after ESC; None and 0 where unknown.
fn of_escape(part: &[u8]) -> (Option<&'static Encoding>, usize) {
    let encoding = match part.get(..2) {
        Some(b"(B") => return (None, 2),
        Some(b"-A") => WINDOWS_1252,
        Some(b"-B") => ISO_8859_2,
        Some(b"-C") => ISO_8859_3,
        Some(b"-D") => ISO_8859_4,
        Some(b"-L") => ISO_8859_5,
        Some(b"-G") => ISO_8859_6,
        Some(b"-F") => ISO_8859_7,
        Some(b"-H") => ISO_8859_8,
        Some(b"-M") => WINDOWS_1254,
        Some(b"-b") => ISO_8859_15,
        Some(b"-T") => WINDOWS_874,
        _ => return (None, 0),
    };
    (Some(encoding), 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_of_three_countries_are_read() {
        assert_eq!(decode(b"M\xFC\xDFig^J\xF6rg ", "ISO_IR 100"), ("Müßig^Jörg".to_owned(), false));
        assert_eq!(decode(b"\xA6wi\xB1tek^\xA3ucja", "ISO_IR 101"), ("Świątek^Łucja".to_owned(), false));
        assert_eq!(decode("Dvořák^Jiří\0".as_bytes(), "ISO_IR 192"), ("Dvořák^Jiří".to_owned(), false));
        assert_eq!(decode(b"Dvo\xF8\xE1k", ""), ("Dvo\u{fffd}\u{fffd}k".to_owned(), true));
    }

    #[test]
    fn an_escape_switches_and_a_delimiter_switches_back() {
        let charset = "\\ISO 2022 IR 101\\ISO 2022 IR 100";
        assert_eq!(decode(b"\x1B-BDvo\xF8\xE1k^\x1B-AJ\xF6rg", charset), ("Dvořák^Jörg".to_owned(), false));
        assert!(decode(b"\x1B-BDvo\xF8\xE1k^\xF8", charset).1);
        assert!(decode(b"\x1B$)C\xB1\xE8", "\\ISO 2022 IR 149").1);
    }
}
