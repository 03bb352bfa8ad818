//! Reading what a peer answered: the bytes of an ACK in, an [`Acknowledgement`] out (HL7 v2.5.1 2.15.8, 2.15.5).
//!
//! Does not check that it answers the message sent: the sender does.

use super::AckCode;
use crate::hl7::charset::Charset;
use crate::hl7::message::{Message, Segment, Value};

/// Texts and codes read from an answer are cut here.
const MAX_TEXT_CHARS: usize = 500;
const MAX_ERRORS: usize = 20;

/// What a peer answered to a message of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    pub code: AckCode,
    /// MSA-2: the control id of the message that is answered.
    pub control_id: String,
    /// MSA-3, ERR-8 or the text of ERR-3. Written by the peer: may hold patient data, so it is not for a log.
    pub text: String,
    /// ERR-3.1 (or the old ERR-1.4.1, MSA-6.1) of each error.
    pub error_codes: Vec<String>,
    /// ORC-1 of each order in an application response that cannot be done: UA, UC, UX, … (table 0119).
    pub unable: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AckError {
    #[error("the answer is not an HL7 message")]
    NotHl7,
    #[error("the answer has no MSA segment")]
    NoMsa,
    #[error("MSA-1 of the answer is none of AA, AE, AR, CA, CE, CR")]
    UnknownCode,
    #[error("MSA-2 of the answer names another message than the one sent")]
    OtherControlId,
}

impl Acknowledgement {
    /// # Errors
    /// When `bytes` are no message, or one without a readable MSA segment.
    pub fn parse(bytes: &[u8]) -> Result<Self, AckError> {
        let message = Message::parse(bytes).map_err(|_| AckError::NotHl7)?;
        let charset = Charset::of_message(&message, Charset::ISO_8859_1).unwrap_or(Charset::ISO_8859_1);
        let read = |value: Value<'_>| -> String {
            let raw = value.text(charset).text;
            raw.trim().chars().take(MAX_TEXT_CHARS).collect()
        };
        let msa = message.first("MSA").ok_or(AckError::NoMsa)?;
        let code = read(msa.field(1)).to_ascii_uppercase();
        let code = AckCode::ALL.into_iter().find(|known| known.as_str() == code).ok_or(AckError::UnknownCode)?;
        let errors: Vec<Segment<'_>> = message.segments().filter(|s| s.is("ERR")).take(MAX_ERRORS).collect();
        let mut codes: Vec<String> = errors
            .iter()
            .flat_map(|err| [err.field(3).component(1), err.field(1).component(4).subcomponent(1)])
            .chain([msa.field(6).component(1)])
            .map(read)
            .filter(|code| !code.is_empty())
            .collect();
        codes.dedup();
        let texts =
            [Some(msa.field(3)), errors.first().map(|e| e.field(8)), errors.first().map(|e| e.field(3).component(2))];
        let text = texts.into_iter().flatten().map(read).find(|text| !text.is_empty()).unwrap_or_default();
        let unable = unable(&message);
        Ok(Self { unable, code, control_id: read(msa.field(2)), text, error_codes: codes })
    }
}

fn unable(message: &Message<'_>) -> Vec<String> {
    let controls = message.segments().filter(|segment| segment.is("ORC")).map(|orc| orc.field(1).component(1).raw());
    let is_refusal = |code: &&[u8]| matches!(code, [b'U', b'A'..=b'Z']);
    let mut codes: Vec<String> =
        controls.filter(is_refusal).take(MAX_ERRORS).map(|code| String::from_utf8_lossy(code).into_owned()).collect();
    codes.sort();
    codes.dedup();
    codes
}
