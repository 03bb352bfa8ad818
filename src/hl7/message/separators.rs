//! The separators of a message: MSH-1 and MSH-2 in, five bytes out (HL7 v2.5.1 2.5.4).
//!
//! Does not accept letters, digits, control characters or a byte twice: such a message could be read in two ways.

use super::MessageError;
use memchr::memchr3;

/// Those that MSH-2 does not name are not used in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Separators {
    pub field: u8,
    pub component: Option<u8>,
    pub repetition: Option<u8>,
    pub escape: Option<u8>,
    pub subcomponent: Option<u8>,
}

impl Separators {
    /// `|^~\&`, as everybody writes them.
    pub const STANDARD: Separators = Separators {
        field: b'|',
        component: Some(b'^'),
        repetition: Some(b'~'),
        escape: Some(b'\\'),
        subcomponent: Some(b'&'),
    };

    /// Reads them from bytes that start with `MSH`.
    pub(super) fn of_header(header: &[u8]) -> Result<Self, MessageError> {
        let field = *header.get(3).filter(|b| b.is_ascii_punctuation()).ok_or(MessageError::BadSeparators)?;
        let rest = &header[4..];
        // The truncation character of v2.7 may follow the four; nothing else may.
        let named = &rest[..memchr3(field, b'\r', b'\n', &rest[..rest.len().min(6)]).unwrap_or(rest.len().min(6))];
        let distinct = named.iter().enumerate().all(|(i, b)| b.is_ascii_punctuation() && !named[..i].contains(b));
        if named.is_empty() || named.len() > 5 || !distinct {
            return Err(MessageError::BadSeparators);
        }
        let nth = |n: usize| named.get(n).copied();
        Ok(Self { field, component: nth(0), repetition: nth(1), escape: nth(2), subcomponent: nth(3) })
    }
}
