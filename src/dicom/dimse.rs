//! DIMSE command sets: bytes in, a named [`Command`] out, and back (PS3.7 9.3, 10.3, Annex E).
//!
//! A command set is always Implicit VR Little Endian and flat, and is refused above [`MAX_COMMAND_BYTES`]. It is walked
//! here and never by dicom-object, which passes over fewer bytes than an element has when its length is no multiple of its
//! VR's, and then takes the memory that the shifted bytes seem to claim: 170 bytes took 4 GiB. C-ECHO and C-STORE, which
//! come by the million, have forms of their own; all others are [`Request`] and [`Response`]. What a command means is the
//! business of `scp` and `scu`.

mod message;
mod set;

pub use message::{Counts, Request, Response, Service};

use crate::model::Uid;
use dicom_core::Tag;
use set::{CommandSet, Element, number, text, uid, us, words, write_command_set};

/// Command sets in the field are under 1 KiB; more than this is not one.
pub const MAX_COMMAND_BYTES: usize = 16 * 1024;

// Command elements, PS3.7 Table E.1-1.
const AFFECTED_SOP_CLASS_UID: Tag = Tag(0x0000, 0x0002);
const REQUESTED_SOP_CLASS_UID: Tag = Tag(0x0000, 0x0003);
const COMMAND_FIELD: Tag = Tag(0x0000, 0x0100);
const MESSAGE_ID: Tag = Tag(0x0000, 0x0110);
const MESSAGE_ID_BEING_RESPONDED_TO: Tag = Tag(0x0000, 0x0120);
const MOVE_DESTINATION: Tag = Tag(0x0000, 0x0600);
const PRIORITY: Tag = Tag(0x0000, 0x0700);
const COMMAND_DATA_SET_TYPE: Tag = Tag(0x0000, 0x0800);
const STATUS: Tag = Tag(0x0000, 0x0900);
const OFFENDING_ELEMENT: Tag = Tag(0x0000, 0x0901);
const ERROR_COMMENT: Tag = Tag(0x0000, 0x0902);
const ERROR_ID: Tag = Tag(0x0000, 0x0903);
const AFFECTED_SOP_INSTANCE_UID: Tag = Tag(0x0000, 0x1000);
const REQUESTED_SOP_INSTANCE_UID: Tag = Tag(0x0000, 0x1001);
const EVENT_TYPE_ID: Tag = Tag(0x0000, 0x1002);
const ATTRIBUTE_IDENTIFIER_LIST: Tag = Tag(0x0000, 0x1005);
const ACTION_TYPE_ID: Tag = Tag(0x0000, 0x1008);
const REMAINING_SUB_OPERATIONS: Tag = Tag(0x0000, 0x1020);
const COMPLETED_SUB_OPERATIONS: Tag = Tag(0x0000, 0x1021);
const FAILED_SUB_OPERATIONS: Tag = Tag(0x0000, 0x1022);
const WARNING_SUB_OPERATIONS: Tag = Tag(0x0000, 0x1023);
const MOVE_ORIGINATOR_AE_TITLE: Tag = Tag(0x0000, 0x1030);
const MOVE_ORIGINATOR_MESSAGE_ID: Tag = Tag(0x0000, 0x1031);

/// Command Data Set Type (0000,0800): no data set follows. Any other value: one does.
const NO_DATA_SET: u16 = 0x0101;
const DATA_SET_FOLLOWS: u16 = 0x0000;

/// Bit 15 of Command Field marks a response (PS3.7 Table E.1-1).
const RESPONSE: u16 = 0x8000;

/// Command Field (0000,0100), PS3.7 Table E.1-1; the others are in [`Service`].
mod field {
    pub const C_STORE_RQ: u16 = 0x0001;
    pub const C_STORE_RSP: u16 = 0x8001;
    pub const C_ECHO_RQ: u16 = 0x0030;
    pub const C_ECHO_RSP: u16 = 0x8030;
    pub const C_CANCEL_RQ: u16 = 0x0FFF;
}

/// A DIMSE message's command set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    EchoRq {
        message_id: u16,
    },
    EchoRsp {
        message_id: u16,
        status: u16,
    },
    /// `sop_class` and `sop_instance` are as the peer wrote them, padding removed: not checked to be UIDs.
    StoreRq {
        message_id: u16,
        sop_class: String,
        sop_instance: String,
        priority: u16,
        originator: Option<Originator>,
    },
    StoreRsp {
        message_id: u16,
        sop_class: String,
        sop_instance: String,
        status: u16,
        comment: Option<String>,
    },
    CancelRq {
        message_id: u16,
    },
    Request(Request),
    Response(Response),
    /// A service we do not speak; answered with 0211 (unrecognized operation), its data set read past.
    Other {
        field: u16,
        message_id: u16,
        sop_class: String,
        has_data_set: bool,
    },
}

/// Whose C-MOVE a C-STORE is part of (PS3.7 9.1.1.1.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Originator {
    pub ae_title: String,
    pub message_id: u16,
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("command set of {0} bytes: at most {MAX_COMMAND_BYTES} expected")]
    TooLong(usize),
    #[error("command set without {0} (PS3.7 Annex E)")]
    Missing(&'static str),
}

impl Command {
    /// # Errors
    /// When `bytes` is no command set, or lacks Command Field or the message id.
    pub fn parse(bytes: &[u8]) -> Result<Self, CommandError> {
        if bytes.len() > MAX_COMMAND_BYTES {
            return Err(CommandError::TooLong(bytes.len()));
        }
        let set = CommandSet::read(bytes)?;
        let field = number(&set, COMMAND_FIELD).ok_or(CommandError::Missing("Command Field (0000,0100)"))?;
        Ok(match field {
            field::C_ECHO_RQ => Command::EchoRq { message_id: request_id(&set)? },
            field::C_ECHO_RSP => Command::EchoRsp { message_id: response_id(&set)?, status: status(&set)? },
            field::C_STORE_RQ => Command::StoreRq {
                message_id: request_id(&set)?,
                sop_class: text(&set, AFFECTED_SOP_CLASS_UID),
                sop_instance: text(&set, AFFECTED_SOP_INSTANCE_UID),
                priority: number(&set, PRIORITY).unwrap_or(0),
                originator: number(&set, MOVE_ORIGINATOR_MESSAGE_ID)
                    .map(|message_id| Originator { ae_title: text(&set, MOVE_ORIGINATOR_AE_TITLE), message_id }),
            },
            field::C_STORE_RSP => Command::StoreRsp {
                message_id: response_id(&set)?,
                sop_class: text(&set, AFFECTED_SOP_CLASS_UID),
                sop_instance: text(&set, AFFECTED_SOP_INSTANCE_UID),
                status: status(&set)?,
                comment: comment(&set),
            },
            field::C_CANCEL_RQ => Command::CancelRq { message_id: response_id(&set)? },
            field => match Service::of_field(field & !RESPONSE) {
                Some(service) if field & RESPONSE == 0 => Command::Request(Request::read(service, &set)?),
                Some(service) => Command::Response(Response::read(service, &set)?),
                None => Command::Other {
                    field,
                    message_id: number(&set, MESSAGE_ID).or(response_id(&set).ok()).unwrap_or(0),
                    sop_class: text(&set, AFFECTED_SOP_CLASS_UID),
                    has_data_set: has_data_set(&set),
                },
            },
        })
    }

    /// Whether a data set comes behind it.
    pub fn has_data_set(&self) -> bool {
        match self {
            Command::StoreRq { .. } => true,
            Command::Request(Request { has_data_set, .. })
            | Command::Response(Response { has_data_set, .. })
            | Command::Other { has_data_set, .. } => *has_data_set,
            Command::EchoRq { .. } | Command::EchoRsp { .. } | Command::StoreRsp { .. } | Command::CancelRq { .. } => {
                false
            }
        }
    }

    /// The command set's bytes, group length (0000,0000) included.
    pub fn encode(&self) -> Vec<u8> {
        let elements = match self {
            Command::EchoRq { message_id } => vec![
                uid(AFFECTED_SOP_CLASS_UID, "1.2.840.10008.1.1"),
                us(COMMAND_FIELD, field::C_ECHO_RQ),
                us(MESSAGE_ID, *message_id),
                data_set_type(false),
            ],
            Command::EchoRsp { message_id, status } => vec![
                uid(AFFECTED_SOP_CLASS_UID, "1.2.840.10008.1.1"),
                us(COMMAND_FIELD, field::C_ECHO_RSP),
                us(MESSAGE_ID_BEING_RESPONDED_TO, *message_id),
                data_set_type(false),
                us(STATUS, *status),
            ],
            Command::StoreRq { message_id, sop_class, sop_instance, priority, originator } => {
                store_request(*message_id, sop_class, sop_instance, *priority, originator.as_ref())
            }
            Command::StoreRsp { message_id, sop_class, sop_instance, status, comment } => {
                store_response(*message_id, sop_class, sop_instance, *status, comment.as_deref())
            }
            Command::CancelRq { message_id } => vec![
                us(COMMAND_FIELD, field::C_CANCEL_RQ),
                us(MESSAGE_ID_BEING_RESPONDED_TO, *message_id),
                data_set_type(false),
            ],
            Command::Request(request) => request.elements(),
            Command::Response(response) => response.elements(),
            Command::Other { field, message_id, sop_class, has_data_set } => vec![
                uid(AFFECTED_SOP_CLASS_UID, sop_class),
                us(COMMAND_FIELD, *field),
                us(MESSAGE_ID, *message_id),
                data_set_type(*has_data_set),
            ],
        };
        write_command_set(elements)
    }

    /// The answer to a request of a service we do not speak: 0211, unrecognized operation (PS3.7 Annex C.5.23).
    pub fn unrecognized_operation(field: u16, message_id: u16) -> Vec<u8> {
        write_command_set(vec![
            us(COMMAND_FIELD, field | RESPONSE),
            us(MESSAGE_ID_BEING_RESPONDED_TO, message_id),
            data_set_type(false),
            us(STATUS, 0x0211),
        ])
    }
}

fn store_request(
    id: u16,
    sop_class: &str,
    sop_instance: &str,
    priority: u16,
    originator: Option<&Originator>,
) -> Vec<Element> {
    let mut elements = vec![
        uid(AFFECTED_SOP_CLASS_UID, sop_class),
        us(COMMAND_FIELD, field::C_STORE_RQ),
        us(MESSAGE_ID, id),
        us(PRIORITY, priority),
        data_set_type(true),
        uid(AFFECTED_SOP_INSTANCE_UID, sop_instance),
    ];
    if let Some(originator) = originator {
        elements.push(words(MOVE_ORIGINATOR_AE_TITLE, &originator.ae_title));
        elements.push(us(MOVE_ORIGINATOR_MESSAGE_ID, originator.message_id));
    }
    elements
}

fn store_response(id: u16, sop_class: &str, sop_instance: &str, status: u16, comment: Option<&str>) -> Vec<Element> {
    let mut elements = vec![
        uid(AFFECTED_SOP_CLASS_UID, sop_class),
        us(COMMAND_FIELD, field::C_STORE_RSP),
        us(MESSAGE_ID_BEING_RESPONDED_TO, id),
        data_set_type(false),
        us(STATUS, status),
        uid(AFFECTED_SOP_INSTANCE_UID, sop_instance),
    ];
    if let Some(comment) = comment {
        elements.push(words(ERROR_COMMENT, comment));
    }
    elements
}

fn data_set_type(follows: bool) -> Element {
    us(COMMAND_DATA_SET_TYPE, if follows { DATA_SET_FOLLOWS } else { NO_DATA_SET })
}

fn has_data_set(set: &CommandSet<'_>) -> bool {
    number(set, COMMAND_DATA_SET_TYPE).is_some_and(|kind| kind != NO_DATA_SET)
}

fn request_id(set: &CommandSet<'_>) -> Result<u16, CommandError> {
    number(set, MESSAGE_ID).ok_or(CommandError::Missing("Message ID (0000,0110)"))
}

fn response_id(set: &CommandSet<'_>) -> Result<u16, CommandError> {
    let id = number(set, MESSAGE_ID_BEING_RESPONDED_TO);
    id.ok_or(CommandError::Missing("Message ID Being Responded To (0000,0120)"))
}

fn status(set: &CommandSet<'_>) -> Result<u16, CommandError> {
    number(set, STATUS).ok_or(CommandError::Missing("Status (0000,0900)"))
}

fn comment(set: &CommandSet<'_>) -> Option<String> {
    Some(text(set, ERROR_COMMENT)).filter(|comment| !comment.is_empty())
}

/// A checked pair of UIDs of a C-STORE-RQ.
///
/// # Errors
/// Which of the two is no UID.
pub fn checked_uids(sop_class: &str, sop_instance: &str) -> Result<(Uid, Uid), &'static str> {
    let class = Uid::new(sop_class).map_err(|_| "Affected SOP Class UID is not a UID")?;
    let instance = Uid::new(sop_instance).map_err(|_| "Affected SOP Instance UID is not a UID")?;
    Ok((class, instance))
}

/// For fuzzing: whatever the bytes, they are a command or an error, and what was understood can be written and read.
pub fn fuzz_command(bytes: &[u8]) {
    let Ok(command) = Command::parse(bytes) else { return };
    assert!(Command::parse(&command.encode()).is_ok(), "a command that was read cannot be written");
}

#[cfg(test)]
mod tests;
