//! A document inside a message: as plain bytes, or as the Base64 it came in.
//!
//! In: Base64 without blanks, checked once, or bytes. Out: the document, its beginning or its end; and Base64 for another
//! message, which is the one that came. It shares the memory of the message it came in: a scanned PDF of tens of megabytes
//! is decoded only where a form needs it.

use crate::model::Pieces;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use std::borrow::Cow;

/// With or without padding, as the field writes it.
const END: GeneralPurpose = decoder(DecodePaddingMode::Indifferent);
/// Before the end there is none.
const INSIDE: GeneralPurpose = decoder(DecodePaddingMode::RequireNone);

/// Letters that are checked at once; a multiple of four.
const BLOCK: usize = 32 * 1024;

const fn decoder(padding: DecodePaddingMode) -> GeneralPurpose {
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(padding))
}

#[derive(Clone)]
pub struct Encapsulated(Data);

#[derive(Clone)]
enum Data {
    Plain(Bytes),
    Base64 {
        /// Can be decoded.
        text: Bytes,
        /// Of what it stands for.
        length: usize,
    },
}

// No content in `{:?}`: it would be patient data.
impl std::fmt::Debug for Encapsulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encapsulated({} bytes)", self.len())
    }
}

/// The same document, whatever it came in.
impl PartialEq for Encapsulated {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Encapsulated {}

impl From<Bytes> for Encapsulated {
    fn from(bytes: Bytes) -> Self {
        Self(Data::Plain(bytes))
    }
}

impl From<Vec<u8>> for Encapsulated {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl Encapsulated {
    /// `None`: it is not Base64.
    pub(super) fn from_base64(text: Bytes) -> Option<Self> {
        let mut room = vec![0; BLOCK / 4 * 3];
        let mut length = 0;
        let mut blocks = text.chunks(BLOCK).peekable();
        while let Some(block) = blocks.next() {
            let engine = if blocks.peek().is_some() { &INSIDE } else { &END };
            length += engine.decode_slice(block, &mut room).ok()?;
        }
        Some(Self(Data::Base64 { text, length }))
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Data::Plain(bytes) => bytes.len(),
            Data::Base64 { length, .. } => *length,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole document.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.0 {
            Data::Plain(bytes) => Cow::Borrowed(bytes),
            Data::Base64 { text, .. } => Cow::Owned(decoded(text)),
        }
    }

    /// Its first bytes, at most so many.
    pub fn first(&self, most: usize) -> Cow<'_, [u8]> {
        match &self.0 {
            Data::Plain(bytes) => Cow::Borrowed(&bytes[..most.min(bytes.len())]),
            Data::Base64 { text, .. } => {
                let letters = most.div_ceil(3).saturating_mul(4).min(text.len());
                let mut bytes = decoded(&text[..letters]);
                bytes.truncate(most);
                Cow::Owned(bytes)
            }
        }
    }

    /// Its last bytes, at most so many.
    pub fn last(&self, most: usize) -> Cow<'_, [u8]> {
        let from_end = |bytes: &[u8]| bytes.len().saturating_sub(most);
        match &self.0 {
            Data::Plain(bytes) => Cow::Borrowed(&bytes[from_end(bytes)..]),
            Data::Base64 { text, .. } => {
                // Four letters are three bytes; the last four may be as few as one.
                let fours = most.div_ceil(3).saturating_add(1);
                let bytes = decoded(&text[text.len().div_ceil(4).saturating_sub(fours) * 4..]);
                Cow::Owned(bytes[from_end(&bytes)..].to_vec())
            }
        }
    }

    /// With padding, without blanks.
    pub fn base64(&self) -> Pieces {
        match &self.0 {
            Data::Plain(bytes) => STANDARD.encode(bytes).into_bytes().into(),
            Data::Base64 { text, .. } => {
                let mut pieces = Pieces::from(text.clone());
                let padding: &[u8] = match text.len() % 4 {
                    2 => b"==",
                    3 => b"=",
                    _ => b"",
                };
                pieces.push(Bytes::from_static(padding));
                pieces
            }
        }
    }
}

/// Of Base64 that has been checked.
fn decoded(text: &[u8]) -> Vec<u8> {
    END.decode(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<Encapsulated> {
        Encapsulated::from_base64(Bytes::from(text.to_owned()))
    }

    proptest! {
        #[test]
        fn what_came_as_base64_is_the_same_document(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), most in 0..250_usize, padded in any::<bool>()
        ) {
            let padding = |text: String| if padded { text } else { text.trim_end_matches('=').to_owned() };
            let (plain, came) = (Encapsulated::from(bytes.clone()), read(&padding(STANDARD.encode(&bytes))).unwrap());
            prop_assert_eq!(came.len(), bytes.len());
            prop_assert_eq!(&came, &plain);
            prop_assert_eq!(came.first(most), plain.first(most));
            prop_assert_eq!(came.last(most), plain.last(most));
            prop_assert_eq!(came.base64().whole(), plain.base64().whole());
        }
    }

    #[test]
    fn padding_ends_it_wherever_it_is_cut_for_checking() {
        let whole = "A".repeat(BLOCK);
        assert_eq!(read(&format!("{whole}AAAA")).map(|it| it.len()), Some(BLOCK / 4 * 3 + 3));
        assert_eq!(read(&format!("{whole}AA==")).map(|it| it.len()), Some(BLOCK / 4 * 3 + 1));
        let ends_inside = format!("{}AA==", &whole[4..]);
        assert!(read(&ends_inside).is_some());
        for refused in [format!("{ends_inside}AAAA"), format!("{whole}A"), format!("{whole}==")] {
            assert!(read(&refused).is_none());
        }
    }
}
