//! The character sets themselves: defined terms, and bytes to characters.
//!
//! Single-byte sets come from encoding_rs, held to what ISO defines where WHATWG's encoding is a Windows superset:
//! bytes 80 to 9F are control characters no DICOM text may hold (PS3.5 6.1.3), so signs of Windows may be read there.

use super::LOST;
use encoding_rs::Encoding;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// ISO-IR 6, the default repertoire.
    Ascii,
    /// ISO-IR 100, Latin 1.
    Latin1,
    /// ISO-IR 101, Latin 2.
    Latin2,
    /// ISO-IR 109, Latin 3.
    Latin3,
    /// ISO-IR 110, Latin 4.
    Latin4,
    /// ISO-IR 144, Cyrillic.
    Cyrillic,
    /// ISO-IR 127, Arabic.
    Arabic,
    /// ISO-IR 126, Greek.
    Greek,
    /// ISO-IR 138, Hebrew.
    Hebrew,
    /// ISO-IR 148, Latin 5.
    Latin5,
    /// ISO-IR 203, Latin 9.
    Latin9,
    /// ISO-IR 166, Thai (TIS 620-2533).
    Thai,
    /// ISO-IR 13 in G1 and ISO-IR 14 in G0: JIS X 0201 katakana and romaji.
    Katakana,
    /// ISO-IR 87, JIS X 0208, two bytes in G0.
    JisX0208,
    /// ISO-IR 159, JIS X 0212, two bytes in G0.
    JisX0212,
    /// ISO-IR 149, KS X 1001, two bytes in G1.
    KsX1001,
    /// ISO-IR 58, GB 2312, two bytes in G1.
    Gb2312,
    Utf8,
    Gb18030,
    Gbk,
    /// Not sets of the standard: what old systems write without saying so.
    Windows1250,
    Windows1252,
}

/// PS3.3 Tables C.12-2 to C.12-5, spelled without blanks, `_` and `-`.
pub(super) fn by_term(term: &str) -> Option<Set> {
    if let Some(number) = term.strip_prefix("ISOIR").or_else(|| term.strip_prefix("ISO2022IR")) {
        return by_registration(number);
    }
    Some(match term {
        "GB18030" => Set::Gb18030,
        "GBK" => Set::Gbk,
        // Not terms of the standard, but met in the field and without another meaning.
        "UTF8" => Set::Utf8,
        "ISO88591" | "88591" | "LATIN1" => Set::Latin1,
        "ISO88592" | "88592" | "LATIN2" => Set::Latin2,
        "ISO885915" | "885915" | "LATIN9" => Set::Latin9,
        "ASCII" => Set::Ascii,
        "WINDOWS1250" | "CP1250" => Set::Windows1250,
        "WINDOWS1252" | "CP1252" => Set::Windows1252,
        _ => return None,
    })
}

fn by_registration(number: &str) -> Option<Set> {
    Some(match number {
        "6" => Set::Ascii,
        "100" => Set::Latin1,
        "101" => Set::Latin2,
        "109" => Set::Latin3,
        "110" => Set::Latin4,
        "144" => Set::Cyrillic,
        "127" => Set::Arabic,
        "126" => Set::Greek,
        "138" => Set::Hebrew,
        "148" => Set::Latin5,
        "203" => Set::Latin9,
        "166" => Set::Thai,
        "13" => Set::Katakana,
        "87" => Set::JisX0208,
        "159" => Set::JisX0212,
        "149" => Set::KsX1001,
        "58" => Set::Gb2312,
        "192" => Set::Utf8,
        _ => return None,
    })
}

impl Set {
    fn single_byte(self) -> Option<&'static Encoding> {
        Some(match self {
            Set::Latin2 => encoding_rs::ISO_8859_2,
            Set::Latin3 => encoding_rs::ISO_8859_3,
            Set::Latin4 => encoding_rs::ISO_8859_4,
            Set::Cyrillic => encoding_rs::ISO_8859_5,
            Set::Arabic => encoding_rs::ISO_8859_6,
            Set::Greek => encoding_rs::ISO_8859_7,
            Set::Hebrew => encoding_rs::ISO_8859_8,
            Set::Latin5 => encoding_rs::WINDOWS_1254,
            Set::Latin9 => encoding_rs::ISO_8859_15,
            Set::Thai => encoding_rs::WINDOWS_874,
            Set::Windows1250 => encoding_rs::WINDOWS_1250,
            Set::Windows1252 => encoding_rs::WINDOWS_1252,
            _ => return None,
        })
    }

    /// Two bytes a character in G1.
    pub(super) fn is_double_in_g1(self) -> bool {
        matches!(self, Set::KsX1001 | Set::Gb2312)
    }

    /// The character of a byte 80 to FF of this set in G1; none where it defines none.
    pub(super) fn upper(self, byte: u8) -> Option<char> {
        match (self, byte) {
            (Set::Windows1250, byte) => only_char(encoding_rs::WINDOWS_1250, &[byte]),
            (Set::Windows1252, byte) => only_char(encoding_rs::WINDOWS_1252, &[byte]),
            (Set::Latin1 | Set::Latin2 | Set::Latin9, 0x80..=0x9F) => windows_sign(byte),
            (_, 0..=0x9F) => None,
            (Set::Latin1, byte) => Some(char::from(byte)),
            // JIS X 0201: half-width katakana from U+FF61 on.
            (Set::Katakana, 0xA1..=0xDF) => char::from_u32(0xFF61 + u32::from(byte) - 0xA1),
            // TIS 620 leaves A0 free, where windows-874 has a no-break space.
            (Set::Thai, 0xA0) => None,
            (set, byte) => set.single_byte().and_then(|encoding| only_char(encoding, &[byte])),
        }
    }

    /// The character of a byte 20 to 7E in G0 where this set stands there.
    pub(super) fn lower(self, byte: u8) -> char {
        match (self, byte) {
            // JIS X 0201 has an overline for the tilde. Its yen sign stands where `\` does, which in DICOM is the
            // separator of values, so that reading wins.
            (Set::Katakana, 0x7E) => '\u{203E}',
            _ => char::from(byte),
        }
    }

    /// The character of two bytes, each given with its high bit set.
    pub(super) fn double(self, first: u8, second: u8) -> Option<char> {
        if first < 0xA1 || second < 0xA1 {
            return None;
        }
        match self {
            Set::JisX0208 => only_char(encoding_rs::EUC_JP, &[first, second]),
            Set::JisX0212 => only_char(encoding_rs::EUC_JP, &[0x8F, first, second]),
            Set::KsX1001 => only_char(encoding_rs::EUC_KR, &[first, second]),
            // GBK adds to GB 2312 in rows A8 to A9 and from F8 on; a sender that uses those means GBK.
            Set::Gb2312 => only_char(encoding_rs::GBK, &[first, second]),
            _ => None,
        }
    }

    /// The byte that stands for `c` where this set is value 1 of Specific Character Set.
    pub(super) fn byte_of(self, c: char) -> Option<u8> {
        if c == LOST {
            return None;
        }
        if let Ok(byte @ 0..=0x7F) = u8::try_from(c) {
            return (byte < 0x20 || byte == 0x7F || self.lower(byte) == c).then_some(byte);
        }
        let first = if matches!(self, Set::Windows1250 | Set::Windows1252) { 0x80 } else { 0xA0 };
        (first..=0xFF)
            .find(|byte| self.upper(*byte) == Some(c))
            .or_else(|| (0x21..=0x7E).find(|byte| self.lower(*byte) == c))
    }
}

/// Dashes and quotation marks of systems that say Latin and write Windows: the same in all Windows sets that they may have
/// meant. Letters differ between those, and are not guessed.
fn windows_sign(byte: u8) -> Option<char> {
    let [east, west] = [encoding_rs::WINDOWS_1250, encoding_rs::WINDOWS_1252].map(|set| only_char(set, &[byte]));
    east.filter(|sign| east == west && !sign.is_alphabetic())
}

/// The one character that `bytes` mean, if they mean exactly one.
fn only_char(encoding: &'static Encoding, bytes: &[u8]) -> Option<char> {
    let text = encoding.decode_without_bom_handling_and_without_replacement(bytes)?;
    let mut chars = text.chars();
    let only = chars.next()?;
    // Windows encodings fill gaps with control and private-use characters.
    let is_text = !only.is_control() && !('\u{E000}'..='\u{F8FF}').contains(&only);
    (chars.next().is_none() && is_text).then_some(only)
}
