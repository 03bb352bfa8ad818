//! The tables of acknowledgement: codes (0008, 0357), what they mean for us, and a refusal with its place.
//!
//! Values only.

use crate::hl7::charset::UnknownCharset;
use crate::hl7::message::MessageError;
use std::{borrow::Cow, fmt};

/// What became of a message received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Durable.
    Accept,
    /// Its content is wrong: sending it again unchanged will not help.
    Error,
    /// Not a matter of its content, or not a message we take: may be sent again unchanged.
    Reject,
}

/// MSA-1, table 0008.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckCode {
    AA,
    AE,
    AR,
    CA,
    CE,
    CR,
}

impl AckCode {
    pub const ALL: [AckCode; 6] = [AckCode::AA, AckCode::AE, AckCode::AR, AckCode::CA, AckCode::CE, AckCode::CR];

    pub fn as_str(self) -> &'static str {
        match self {
            AckCode::AA => "AA",
            AckCode::AE => "AE",
            AckCode::AR => "AR",
            AckCode::CA => "CA",
            AckCode::CE => "CE",
            AckCode::CR => "CR",
        }
    }

    /// What the peer says of our message.
    pub fn verdict(self) -> Verdict {
        match self {
            AckCode::AA | AckCode::CA => Verdict::Accept,
            AckCode::AE | AckCode::CE => Verdict::Error,
            AckCode::AR | AckCode::CR => Verdict::Reject,
        }
    }
}

/// ERR-3, table 0357.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    SegmentSequence,
    RequiredFieldMissing,
    DataType,
    TableValueNotFound,
    UnsupportedMessageType,
    UnsupportedEvent,
    UnsupportedProcessingId,
    UnsupportedVersion,
    UnknownKey,
    DuplicateKey,
    RecordLocked,
    Internal,
}

impl ErrorCode {
    pub fn number(self) -> &'static str {
        self.row().0
    }

    pub fn name(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (&'static str, &'static str) {
        match self {
            ErrorCode::SegmentSequence => ("100", "Segment sequence error"),
            ErrorCode::RequiredFieldMissing => ("101", "Required field missing"),
            ErrorCode::DataType => ("102", "Data type error"),
            ErrorCode::TableValueNotFound => ("103", "Table value not found"),
            ErrorCode::UnsupportedMessageType => ("200", "Unsupported message type"),
            ErrorCode::UnsupportedEvent => ("201", "Unsupported event code"),
            ErrorCode::UnsupportedProcessingId => ("202", "Unsupported processing id"),
            ErrorCode::UnsupportedVersion => ("203", "Unsupported version id"),
            ErrorCode::UnknownKey => ("204", "Unknown key identifier"),
            ErrorCode::DuplicateKey => ("205", "Duplicate key identifier"),
            ErrorCode::RecordLocked => ("206", "Application record locked"),
            ErrorCode::Internal => ("207", "Application internal error"),
        }
    }

    /// AR is for what we do not take at all or cannot take now, AE for content (v2.5.1 2.9.2.2).
    pub fn verdict(self) -> Verdict {
        match self {
            ErrorCode::UnsupportedMessageType
            | ErrorCode::UnsupportedEvent
            | ErrorCode::UnsupportedProcessingId
            | ErrorCode::UnsupportedVersion
            | ErrorCode::RecordLocked
            | ErrorCode::Internal => Verdict::Reject,
            _ => Verdict::Error,
        }
    }
}

/// Why a message is not taken, and where in it. Holds nothing of the message's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub segment: &'static str,
    /// Which segment of that id, from 1 (ERR-2.2).
    pub sequence: usize,
    /// 0: the segment as a whole.
    pub field: usize,
    pub code: ErrorCode,
    /// For the sender and for the log: what was found, what was expected. ASCII.
    pub text: Cow<'static, str>,
}

impl Rejected {
    pub fn new(
        segment: &'static str,
        sequence: usize,
        field: usize,
        code: ErrorCode,
        text: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { segment, sequence, field, code, text: text.into() }
    }

    pub fn verdict(&self) -> Verdict {
        self.code.verdict()
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            0 => write!(f, "{}[{}]: {}", self.segment, self.sequence, self.text),
            field => write!(f, "{}[{}]-{field}: {}", self.segment, self.sequence, self.text),
        }
    }
}

impl std::error::Error for Rejected {}

impl From<MessageError> for Rejected {
    fn from(error: MessageError) -> Self {
        Rejected::new("MSH", 1, 0, ErrorCode::SegmentSequence, error.to_string())
    }
}

impl From<UnknownCharset> for Rejected {
    fn from(error: UnknownCharset) -> Self {
        Rejected::new("MSH", 1, 18, ErrorCode::TableValueNotFound, error.to_string())
    }
}
