//! Text values and Specific Character Set (0008,0005): bytes in, text and whether any of it was lost out; and back.
//!
//! Decodes single-valued sets and ISO 2022 code extensions (PS3.3 C.12.1.1.2, PS3.5 6.1.2.5). A byte the named set
//! does not define becomes U+FFFD and is reported as lost, never guessed; but UTF-8 that nobody announced cannot be anything
//! else, and is read. What a certain sender means by its names is [`SenderCharset`]. Padding stays; splitting at `\`, `^` and `=`
//! is the caller's, after decoding: in several sets those bytes are halves of characters.

mod iso2022;
mod repertoire;
mod sender;
#[cfg(test)]
mod tests;

pub use sender::SenderCharset;

use repertoire::Set;
use std::borrow::Cow;

const LOST: char = char::REPLACEMENT_CHARACTER;

/// A character that a character set lacks. The character is not repeated: it may be of a patient's name.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unmappable {
    #[error("character {position} of the text is not in the character set")]
    Character { position: usize },
    #[error("unknown Specific Character Set (PS3.3 C.12.1.1.2)")]
    UnknownSet,
}

/// What the value is, which says where value 1 of Specific Character Set is in force again (PS3.5 6.1.2.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PN: after `\`, `^` and `=`.
    Name,
    /// SH, LO, UC: after `\`. Else `T = 37 °C` would lose its degrees.
    Values,
    /// ST, LT, UT: only after control characters; a backslash is a letter there.
    Text,
}

/// Decodes a name as [`decode_as`] does.
pub fn decode(value: &[u8], charset: &str) -> (String, bool) {
    decode_as(Kind::Name, value, charset)
}

/// Decodes a value by `charset`, the text of Specific Character Set: one or more terms, separated by `\`; empty for the
/// default repertoire. True when something could not be decoded.
pub fn decode_as(kind: Kind, value: &[u8], charset: &str) -> (String, bool) {
    let sets = Sets::parse(charset);
    if matches!(sets.first, None | Some(Set::Ascii))
        && !value.contains(&0x1B)
        && let Ok(text) = std::str::from_utf8(value)
    {
        return (text.to_owned(), sets.has_unknown && !value.is_ascii());
    }
    let (text, lossy) = match sets.first {
        // An unknown set may put anything above ASCII, and even there something else. Plain ASCII reads as what it is.
        None => iso2022::decode(value, Set::Ascii, kind),
        Some(Set::Utf8) => whole(encoding_rs::UTF_8, value),
        Some(Set::Gb18030) => whole(encoding_rs::GB18030, value),
        Some(Set::Gbk) => whole(encoding_rs::GBK, value),
        Some(set) => iso2022::decode(value, set, kind),
    };
    (text, lossy || (sets.has_unknown && !value.is_ascii()))
}

/// Encodes `text` by the first term of `charset`; no code extensions are written.
///
/// # Errors
/// [`Unmappable`] at the first character that the set does not have.
pub fn encode(text: &str, charset: &str) -> Result<Vec<u8>, Unmappable> {
    let set = Sets::parse(charset).first.ok_or(Unmappable::UnknownSet)?;
    let whole = |encoding: &'static encoding_rs::Encoding| -> Result<Vec<u8>, Unmappable> {
        let mut bytes = Vec::with_capacity(text.len());
        for (position, c) in text.chars().enumerate() {
            let mut utf8 = [0; 4];
            let (encoded, _, unmappable) = encoding.encode(c.encode_utf8(&mut utf8));
            if unmappable || c == LOST {
                return Err(Unmappable::Character { position });
            }
            bytes.extend_from_slice(&encoded);
        }
        Ok(bytes)
    };
    match set {
        Set::Utf8 => Ok(text.as_bytes().to_vec()),
        Set::Gb18030 => whole(encoding_rs::GB18030),
        Set::Gbk => whole(encoding_rs::GBK),
        set => text
            .chars()
            .enumerate()
            .map(|(position, c)| set.byte_of(c).ok_or(Unmappable::Character { position }))
            .collect(),
    }
}

/// True when every term of `charset` is one of the standard's, or a known misspelling of one.
pub fn is_known(charset: &str) -> bool {
    !Sets::parse(charset).has_unknown
}

struct Sets {
    /// Value 1, which is in force at the start and after each reset; absent, the default repertoire. None: unknown.
    first: Option<Set>,
    has_unknown: bool,
}

impl Sets {
    fn parse(charset: &str) -> Self {
        // Terms beyond the first only announce escape sequences, which name their sets themselves.
        let mut terms = charset.split('\\').take(16).map(|term| {
            let term = term.trim_matches([' ', '\0']);
            if term.is_empty() { Some(Set::Ascii) } else { repertoire::by_term(&normal(term)) }
        });
        let first = terms.next().flatten();
        Self { first, has_unknown: first.is_none() || terms.any(|set| set.is_none()) }
    }
}

/// `ISO-IR 100`, `ISO IR 100`, `iso_ir_100` all occur: one spelling for all.
fn normal(term: &str) -> Cow<'_, str> {
    let is_plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    if term.bytes().all(is_plain) {
        return Cow::Borrowed(term);
    }
    let kept = term.chars().filter(|c| !matches!(c, ' ' | '_' | '-'));
    Cow::Owned(kept.map(|c| c.to_ascii_uppercase()).collect())
}

fn whole(encoding: &'static encoding_rs::Encoding, value: &[u8]) -> (String, bool) {
    let (text, lossy) = encoding.decode_without_bom_handling(value);
    (text.into_owned(), lossy)
}
