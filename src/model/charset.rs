//! Character sets by name: bytes in, text out, and text back into bytes without one lost letter.
//!
//! In: names of HL7 table 0211 as they are written in the field, `Windows-1250`/`Windows-1252`, or a defined term of
//! DICOM's Specific Character Set (0008,0005). Out: text, with a word on whether letters were lost; bytes, or the
//! characters that the set cannot hold. Never writes `?` for a letter.
//!
//! Does not switch sets inside a text: that is the wire rooms'. Every set here keeps ASCII as it is, so a message can be
//! taken apart before it is decoded.

use encoding_rs::{EncoderResult, Encoding};
use std::fmt;

/// A character set by its HL7 name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Charset {
    name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ascii,
    Utf8,
    /// ISO 8859-1 byte for byte. What encoding_rs calls latin1 is windows-1252, which differs at 0x80-0x9F.
    Latin1,
    /// ISO 8859-9: Latin-1 with six Turkish letters. encoding_rs has windows-1254 in its place.
    Latin5,
    Table(&'static Encoding),
}

/// The six places where ISO 8859-9 differs from ISO 8859-1.
const LATIN5: [(u8, char); 6] = [(0xD0, 'Ğ'), (0xDD, 'İ'), (0xDE, 'Ş'), (0xF0, 'ğ'), (0xFD, 'ı'), (0xFE, 'ş')];

/// HL7 name, further names in the field (upper case, letters and digits only).
const NAMES: [(Charset, &[&str]); 14] = [
    (Charset::ASCII, &["ASCII", "USASCII", "ISO646", "7BIT"]),
    (Charset::UTF_8, &["UNICODEUTF8", "UTF8", "UNICODE"]),
    (Charset::ISO_8859_1, &["88591", "LATIN1"]),
    (table("8859/2", encoding_rs::ISO_8859_2), &["88592", "LATIN2"]),
    (table("8859/3", encoding_rs::ISO_8859_3), &["88593"]),
    (table("8859/4", encoding_rs::ISO_8859_4), &["88594"]),
    (table("8859/5", encoding_rs::ISO_8859_5), &["88595"]),
    (table("8859/6", encoding_rs::ISO_8859_6), &["88596"]),
    (table("8859/7", encoding_rs::ISO_8859_7), &["88597"]),
    (table("8859/8", encoding_rs::ISO_8859_8), &["88598"]),
    (Charset { name: "8859/9", kind: Kind::Latin5 }, &["88599"]),
    (table("8859/15", encoding_rs::ISO_8859_15), &["885915", "LATIN9"]),
    (table("Windows-1250", encoding_rs::WINDOWS_1250), &["WINDOWS1250", "CP1250"]),
    (table("Windows-1252", encoding_rs::WINDOWS_1252), &["WINDOWS1252", "CP1252"]),
];

/// Terms of (0008,0005) with the HL7 name of the same set.
const DICOM_TERMS: [(&str, &str); 12] = [
    ("ISO_IR 192", "UNICODE UTF-8"),
    ("ISO_IR 6", "ASCII"),
    ("ISO_IR 100", "8859/1"),
    ("ISO_IR 101", "8859/2"),
    ("ISO_IR 109", "8859/3"),
    ("ISO_IR 110", "8859/4"),
    ("ISO_IR 144", "8859/5"),
    ("ISO_IR 127", "8859/6"),
    ("ISO_IR 126", "8859/7"),
    ("ISO_IR 138", "8859/8"),
    ("ISO_IR 148", "8859/9"),
    ("ISO_IR 203", "8859/15"),
];

const fn table(name: &'static str, encoding: &'static Encoding) -> Charset {
    Charset { name, kind: Kind::Table(encoding) }
}

/// The name is not repeated: in a shifted header it may be anything.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "character set is not one we read: expected ASCII, 8859/1 to 8859/9, 8859/15, UNICODE UTF-8, Windows-1250 or -1252"
)]
pub struct UnknownCharset;

/// Letters a character set does not have, each once and in code point order, so that no name can be read from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmappable {
    pub charset: &'static str,
    /// At most [`MAX_NAMED`].
    pub characters: Vec<char>,
}

/// More missing letters than this are another alphabet; naming them all helps nobody.
pub const MAX_NAMED: usize = 32;

impl fmt::Display for Unmappable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not have", self.charset)?;
        self.characters.iter().try_for_each(|&c| write!(f, " {c} (U+{:04X})", u32::from(c)))
    }
}

impl std::error::Error for Unmappable {}

/// Text, and whether every byte was a letter of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub text: String,
    /// Bytes that mean nothing in the set became U+FFFD.
    pub lossy: bool,
}

impl Charset {
    pub const ASCII: Charset = Charset { name: "ASCII", kind: Kind::Ascii };
    pub const UTF_8: Charset = Charset { name: "UNICODE UTF-8", kind: Kind::Utf8 };
    pub const ISO_8859_1: Charset = Charset { name: "8859/1", kind: Kind::Latin1 };

    /// Reads a name of table 0211, and the spellings seen in its place (`UTF-8`, `ISO-8859-1`, `CP1250`).
    ///
    /// # Errors
    /// When it is none of those: UTF-16 and the code-switching sets are not read.
    pub fn named(name: &str) -> Result<Self, UnknownCharset> {
        if name.len() > 40 {
            return Err(UnknownCharset);
        }
        let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
        // `ISO IR6` is one of table 0211; some write the other registrations in the same way, as DICOM does.
        if let Some(number) = letters.strip_prefix("ISOIR") {
            return Self::of_dicom(&format!("ISO_IR {number}")).ok_or(UnknownCharset);
        }
        let plain = letters.strip_prefix("ISO").filter(|rest| rest.starts_with("8859")).unwrap_or(&letters);
        let known = NAMES.iter().find(|(_, names)| names.contains(&plain));
        known.map(|(charset, _)| *charset).ok_or(UnknownCharset)
    }

    /// The set of a defined term that stands alone in (0008,0005), PS3.3 Tables C.12-2 and C.12-5: those that objects are
    /// written in.
    pub fn of_dicom(term: &str) -> Option<Self> {
        DICOM_TERMS.iter().find(|(known, _)| *known == term).and_then(|(_, name)| Self::named(name).ok())
    }

    /// The defined term of (0008,0005). None where DICOM has none: for the Windows sets.
    pub fn dicom(self) -> Option<&'static str> {
        DICOM_TERMS.iter().find(|(_, name)| *name == self.name).map(|(term, _)| *term)
    }

    /// Whether `c` is in the set.
    pub fn holds(self, c: char) -> bool {
        match self.kind {
            _ if c.is_ascii() => true,
            Kind::Ascii => false,
            Kind::Utf8 => true,
            Kind::Latin1 => u8::try_from(c).is_ok(),
            Kind::Latin5 => latin5_byte(c).is_some(),
            Kind::Table(encoding) => !encoding.encode(c.encode_utf8(&mut [0; 4])).2,
        }
    }

    /// The name for MSH-18.
    pub fn name(self) -> &'static str {
        self.name
    }

    pub fn decode(self, bytes: &[u8]) -> Decoded {
        if let (true, Ok(text)) = (bytes.is_ascii(), std::str::from_utf8(bytes)) {
            return Decoded { text: text.to_owned(), lossy: false };
        }
        match self.kind {
            Kind::Ascii => {
                Decoded { text: by_byte(bytes, |b| if b < 0x80 { char::from(b) } else { '\u{FFFD}' }), lossy: true }
            }
            Kind::Latin1 => Decoded { text: by_byte(bytes, char::from), lossy: false },
            Kind::Latin5 => Decoded { text: by_byte(bytes, latin5), lossy: false },
            Kind::Utf8 => match std::str::from_utf8(bytes) {
                Ok(text) => Decoded { text: text.to_owned(), lossy: false },
                Err(_) => Decoded { text: String::from_utf8_lossy(bytes).into_owned(), lossy: true },
            },
            Kind::Table(encoding) => {
                let (text, lossy) = encoding.decode_without_bom_handling(bytes);
                Decoded { text: text.into_owned(), lossy }
            }
        }
    }

    /// Every letter, or the letters that do not fit.
    ///
    /// # Errors
    /// [`Unmappable`] names the characters this set does not have.
    pub fn encode(self, text: String) -> Result<Vec<u8>, Unmappable> {
        if text.is_ascii() {
            return Ok(text.into_bytes());
        }
        match self.kind {
            Kind::Utf8 => Ok(text.into_bytes()),
            Kind::Ascii => self.by_char(&text, |c| u8::try_from(c).ok().filter(u8::is_ascii)),
            Kind::Latin1 => self.by_char(&text, |c| u8::try_from(c).ok()),
            Kind::Latin5 => self.by_char(&text, latin5_byte),
            Kind::Table(encoding) => self.by_table(&text, encoding),
        }
    }

    fn by_char(self, text: &str, byte: impl Fn(char) -> Option<u8>) -> Result<Vec<u8>, Unmappable> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut missing = Vec::new();
        for c in text.chars() {
            match byte(c) {
                Some(b) => bytes.push(b),
                None => note(&mut missing, c),
            }
        }
        self.unless_missing(bytes, missing)
    }

    fn by_table(self, text: &str, encoding: &'static Encoding) -> Result<Vec<u8>, Unmappable> {
        let mut encoder = encoding.new_encoder();
        let mut bytes = Vec::with_capacity(text.len() + 16);
        let mut missing = Vec::new();
        let mut rest = text;
        loop {
            let (result, read) = encoder.encode_from_utf8_to_vec_without_replacement(rest, &mut bytes, true);
            rest = &rest[read..];
            match result {
                EncoderResult::InputEmpty => return self.unless_missing(bytes, missing),
                EncoderResult::OutputFull => bytes.reserve(rest.len() + 16),
                EncoderResult::Unmappable(c) => note(&mut missing, c),
            }
        }
    }

    fn unless_missing(self, bytes: Vec<u8>, mut missing: Vec<char>) -> Result<Vec<u8>, Unmappable> {
        if missing.is_empty() {
            return Ok(bytes);
        }
        missing.sort_unstable();
        Err(Unmappable { charset: self.name, characters: missing })
    }
}

impl fmt::Debug for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

fn note(missing: &mut Vec<char>, c: char) {
    if missing.len() < MAX_NAMED && !missing.contains(&c) {
        missing.push(c);
    }
}

fn by_byte(bytes: &[u8], letter: impl Fn(u8) -> char) -> String {
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 16);
    text.extend(bytes.iter().map(|&b| letter(b)));
    text
}

fn latin5(byte: u8) -> char {
    LATIN5.iter().find(|(b, _)| *b == byte).map_or(char::from(byte), |(_, c)| *c)
}

fn latin5_byte(c: char) -> Option<u8> {
    match LATIN5.iter().find(|(_, turkish)| *turkish == c) {
        Some((byte, _)) => Some(*byte),
        None => u8::try_from(c).ok().filter(|byte| LATIN5.iter().all(|(b, _)| b != byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str) -> Charset {
        Charset::named(name).expect("a known set")
    }

    #[test]
    fn names_of_table_0211_and_of_the_field_are_known() {
        for (name, expected) in [
            ("8859/1", "8859/1"),
            ("ISO-8859-1", "8859/1"),
            ("ISO 8859/15", "8859/15"),
            ("UNICODE UTF-8", "UNICODE UTF-8"),
            ("utf-8", "UNICODE UTF-8"),
            ("Windows-1250", "Windows-1250"),
            ("cp1252", "Windows-1252"),
            ("ASCII", "ASCII"),
            ("ISO IR6", "ASCII"),
            ("ISO_IR 101", "8859/2"),
        ] {
            assert_eq!(set(name).name(), expected, "{name}");
        }
        for name in ["", "UNICODE UTF-16", "ISO IR87", "8859/11", &"8".repeat(100)] {
            assert_eq!(Charset::named(name), Err(UnknownCharset), "{name}");
        }
    }

    #[test]
    fn three_alphabets_survive_the_sets_that_hold_them() {
        for (name, text) in [
            ("8859/2", "Łucja Świątek Jiří Dvořák Jörg Müßig"),
            ("Windows-1250", "Łucja Świątek Jiří Dvořák Jörg Müßig „Befund“"),
            ("8859/1", "Jörg Müßig"),
            ("8859/15", "Jörg Müßig €"),
            ("8859/9", "Gülşen Işık Ğ"),
            ("UNICODE UTF-8", "Łucja Jiří Müßig"),
        ] {
            let bytes = set(name).encode(text.to_owned()).expect("encoded");
            assert_eq!(set(name).decode(&bytes), Decoded { text: text.to_owned(), lossy: false }, "{name}");
        }
    }

    #[test]
    fn letters_a_set_does_not_have_are_named_once_and_never_replaced() {
        let missing = set("8859/1").encode("Łucja Świątek Ł".into()).expect_err("not in Latin-1");
        assert_eq!(missing.characters, ['ą', 'Ł', 'Ś']);
        assert_eq!(missing.to_string(), "8859/1 does not have ą (U+0105) Ł (U+0141) Ś (U+015A)");
        assert_eq!(set("8859/2").encode("€".into()).expect_err("not in Latin-2").characters, ['€']);
        assert_eq!(set("8859/9").encode("ð".into()).expect_err("not in Latin-5").characters, ['ð']);
        assert_eq!(set("ASCII").encode("ü".into()).expect_err("not in ASCII").characters, ['ü']);
    }

    /// Windows-1252 has a dash at 0x96, ISO 8859-1 a control character: mixing them up changes text without a word.
    #[test]
    fn latin_1_is_exact_where_windows_1252_differs() {
        let all: Vec<u8> = (0..=255).collect();
        let text = Charset::ISO_8859_1.decode(&all).text;
        assert!(text.chars().enumerate().all(|(i, c)| u32::from(c) as usize == i));
        assert_eq!(Charset::ISO_8859_1.encode(text).expect("encoded"), all);
        assert_eq!(set("Windows-1252").decode(b"\x96").text, "–");
    }

    #[test]
    fn a_set_holds_what_it_can_encode() {
        for (charset, _) in NAMES {
            for c in (0..0x3000).filter_map(char::from_u32) {
                assert_eq!(charset.holds(c), charset.encode(c.to_string()).is_ok(), "{charset:?} {c:?}");
            }
        }
    }

    #[test]
    fn terms_of_dicom_and_names_of_hl7_belong_together() {
        for (term, name) in DICOM_TERMS {
            assert_eq!(Charset::of_dicom(term), Charset::named(name).ok(), "{term}");
            assert_eq!(set(name).dicom(), Some(term));
        }
        assert_eq!(Charset::of_dicom("ISO 2022 IR 100"), None, "needs escapes, which are not written");
        assert_eq!(set("Windows-1250").dicom(), None);
    }

    #[test]
    fn bytes_outside_the_set_are_reported() {
        assert!(Charset::UTF_8.decode(b"M\xFCller").lossy);
        assert!(Charset::ASCII.decode(b"M\xFCller").lossy);
        assert!(!Charset::ISO_8859_1.decode(b"M\xFCller").lossy);
    }
}
