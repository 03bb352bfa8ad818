//! DIMSE command sets: bytes in, a named [`Command`] out, and back (PS3.7 9.3, Annex E).
//!
//! A command set is always Implicit VR Little Endian and flat, and is refused above [`MAX_COMMAND_BYTES`]. It is walked
//! here and never by dicom-object, which passes over fewer bytes than an element has when its length is no multiple of its
//! VR's, and then takes the memory that the shifted bytes seem to claim: 170 bytes took 4 GiB. What a command means is the
//! business of `scp` and `scu`.

use crate::model::Uid;
use dicom_core::Tag;

/// Command sets in the field are under 1 KiB; more than this is not one.
pub const MAX_COMMAND_BYTES: usize = 16 * 1024;

// Command elements, PS3.7 Table E.1-1.
const AFFECTED_SOP_CLASS_UID: Tag = Tag(0x0000, 0x0002);
const COMMAND_FIELD: Tag = Tag(0x0000, 0x0100);
const MESSAGE_ID: Tag = Tag(0x0000, 0x0110);
const MESSAGE_ID_BEING_RESPONDED_TO: Tag = Tag(0x0000, 0x0120);
const PRIORITY: Tag = Tag(0x0000, 0x0700);
const COMMAND_DATA_SET_TYPE: Tag = Tag(0x0000, 0x0800);
const STATUS: Tag = Tag(0x0000, 0x0900);
const ERROR_COMMENT: Tag = Tag(0x0000, 0x0902);
const AFFECTED_SOP_INSTANCE_UID: Tag = Tag(0x0000, 0x1000);

/// Command Data Set Type (0000,0800): no data set follows. Any other value: one does.
const NO_DATA_SET: u16 = 0x0101;
const DATA_SET_FOLLOWS: u16 = 0x0000;

/// Command Field (0000,0100), PS3.7 Table E.1-1.
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
    /// A service we do not speak; answered with 0211 (unrecognized operation), its data set read past.
    Other {
        field: u16,
        message_id: u16,
        sop_class: String,
        has_data_set: bool,
    },
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
        let request_id = number(&set, MESSAGE_ID);
        let response_id = number(&set, MESSAGE_ID_BEING_RESPONDED_TO);
        let request = || request_id.ok_or(CommandError::Missing("Message ID (0000,0110)"));
        let response = || response_id.ok_or(CommandError::Missing("Message ID Being Responded To (0000,0120)"));
        let status = || number(&set, STATUS).ok_or(CommandError::Missing("Status (0000,0900)"));
        Ok(match field {
            field::C_ECHO_RQ => Command::EchoRq { message_id: request()? },
            field::C_ECHO_RSP => Command::EchoRsp { message_id: response()?, status: status()? },
            field::C_STORE_RQ => Command::StoreRq {
                message_id: request()?,
                sop_class: text(&set, AFFECTED_SOP_CLASS_UID),
                sop_instance: text(&set, AFFECTED_SOP_INSTANCE_UID),
                priority: number(&set, PRIORITY).unwrap_or(0),
            },
            field::C_STORE_RSP => Command::StoreRsp {
                message_id: response()?,
                sop_class: text(&set, AFFECTED_SOP_CLASS_UID),
                sop_instance: text(&set, AFFECTED_SOP_INSTANCE_UID),
                status: status()?,
                comment: Some(text(&set, ERROR_COMMENT)).filter(|comment| !comment.is_empty()),
            },
            field::C_CANCEL_RQ => Command::CancelRq { message_id: response()? },
            field => Command::Other {
                field,
                message_id: request_id.or(response_id).unwrap_or(0),
                sop_class: text(&set, AFFECTED_SOP_CLASS_UID),
                has_data_set: number(&set, COMMAND_DATA_SET_TYPE).is_some_and(|kind| kind != NO_DATA_SET),
            },
        })
    }

    /// The command set's bytes, group length (0000,0000) included.
    pub fn encode(&self) -> Vec<u8> {
        let elements = match self {
            Command::EchoRq { message_id } => vec![
                uid(AFFECTED_SOP_CLASS_UID, "1.2.840.10008.1.1"),
                us(COMMAND_FIELD, field::C_ECHO_RQ),
                us(MESSAGE_ID, *message_id),
                us(COMMAND_DATA_SET_TYPE, NO_DATA_SET),
            ],
            Command::EchoRsp { message_id, status } => vec![
                uid(AFFECTED_SOP_CLASS_UID, "1.2.840.10008.1.1"),
                us(COMMAND_FIELD, field::C_ECHO_RSP),
                us(MESSAGE_ID_BEING_RESPONDED_TO, *message_id),
                us(COMMAND_DATA_SET_TYPE, NO_DATA_SET),
                us(STATUS, *status),
            ],
            Command::StoreRq { message_id, sop_class, sop_instance, priority } => vec![
                uid(AFFECTED_SOP_CLASS_UID, sop_class),
                us(COMMAND_FIELD, field::C_STORE_RQ),
                us(MESSAGE_ID, *message_id),
                us(PRIORITY, *priority),
                us(COMMAND_DATA_SET_TYPE, DATA_SET_FOLLOWS),
                uid(AFFECTED_SOP_INSTANCE_UID, sop_instance),
            ],
            Command::StoreRsp { message_id, sop_class, sop_instance, status, comment } => {
                store_response(*message_id, sop_class, sop_instance, *status, comment.as_deref())
            }
            Command::CancelRq { message_id } => vec![
                us(COMMAND_FIELD, field::C_CANCEL_RQ),
                us(MESSAGE_ID_BEING_RESPONDED_TO, *message_id),
                us(COMMAND_DATA_SET_TYPE, NO_DATA_SET),
            ],
            Command::Other { field, message_id, sop_class, has_data_set } => vec![
                uid(AFFECTED_SOP_CLASS_UID, sop_class),
                us(COMMAND_FIELD, *field),
                us(MESSAGE_ID, *message_id),
                us(COMMAND_DATA_SET_TYPE, if *has_data_set { DATA_SET_FOLLOWS } else { NO_DATA_SET }),
            ],
        };
        write_command_set(elements)
    }

    /// The answer to a request of a service we do not speak: 0211, unrecognized operation (PS3.7 Annex C.5.23).
    pub fn unrecognized_operation(field: u16, message_id: u16) -> Vec<u8> {
        write_command_set(vec![
            us(COMMAND_FIELD, field | 0x8000),
            us(MESSAGE_ID_BEING_RESPONDED_TO, message_id),
            us(COMMAND_DATA_SET_TYPE, NO_DATA_SET),
            us(STATUS, 0x0211),
        ])
    }
}

/// The elements of a command set, borrowed from its bytes.
struct CommandSet<'a>(Vec<(u16, &'a [u8])>);

impl<'a> CommandSet<'a> {
    /// Every element must belong to group 0000 and end inside the set.
    fn read(bytes: &'a [u8]) -> Result<Self, CommandError> {
        let (mut elements, mut rest) = (Vec::with_capacity(16), bytes);
        while !rest.is_empty() {
            let header = rest.get(..8).ok_or(CommandError::Missing("a whole element header"))?;
            if header[..2] != [0, 0] {
                return Err(CommandError::Missing("only group 0000"));
            }
            let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
            let end = length.checked_add(8).filter(|end| *end <= rest.len());
            let end = end.ok_or(CommandError::Missing("all bytes an element claims"))?;
            elements.push((u16::from_le_bytes([header[2], header[3]]), &rest[8..end]));
            rest = &rest[end..];
        }
        Ok(Self(elements))
    }

    /// The last one written counts, should there be several.
    fn value(&self, tag: Tag) -> Option<&'a [u8]> {
        self.0.iter().rev().find(|(element, _)| *element == tag.element()).map(|(_, value)| *value)
    }
}

/// An element to be written: its tag and its value, of even length.
type Element = (Tag, Vec<u8>);

fn write_command_set(mut elements: Vec<Element>) -> Vec<u8> {
    elements.sort_by_key(|(tag, _)| *tag);
    let mut bytes = Vec::with_capacity(256);
    // Group length (0000,0000): what follows it.
    let length: usize = elements.iter().map(|(_, value)| 8 + value.len()).sum();
    write_element(&mut bytes, Tag(0, 0), &length32(length));
    for (tag, value) in &elements {
        write_element(&mut bytes, *tag, value);
    }
    bytes
}

fn write_element(bytes: &mut Vec<u8>, tag: Tag, value: &[u8]) {
    bytes.extend_from_slice(&tag.group().to_le_bytes());
    bytes.extend_from_slice(&tag.element().to_le_bytes());
    bytes.extend_from_slice(&length32(value.len()));
    bytes.extend_from_slice(value);
}

/// Command sets are a few hundred bytes long.
fn length32(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

fn store_response(id: u16, sop_class: &str, sop_instance: &str, status: u16, comment: Option<&str>) -> Vec<Element> {
    let mut elements = vec![
        uid(AFFECTED_SOP_CLASS_UID, sop_class),
        us(COMMAND_FIELD, field::C_STORE_RSP),
        us(MESSAGE_ID_BEING_RESPONDED_TO, id),
        us(COMMAND_DATA_SET_TYPE, NO_DATA_SET),
        us(STATUS, status),
        uid(AFFECTED_SOP_INSTANCE_UID, sop_instance),
    ];
    if let Some(comment) = comment {
        // LO: at most 64 characters, padded with a space.
        let comment: String = comment.chars().take(64).collect();
        elements.push((ERROR_COMMENT, padded(comment.into_bytes(), b' ')));
    }
    elements
}

fn us(tag: Tag, value: u16) -> Element {
    (tag, value.to_le_bytes().to_vec())
}

/// UI is padded with NUL (PS3.5 9.1).
fn uid(tag: Tag, value: &str) -> Element {
    (tag, padded(value.as_bytes().to_vec(), 0))
}

fn padded(mut value: Vec<u8>, with: u8) -> Vec<u8> {
    if value.len() % 2 == 1 {
        value.push(with);
    }
    value
}

fn number(set: &CommandSet<'_>, tag: Tag) -> Option<u16> {
    set.value(tag)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

fn text(set: &CommandSet<'_>, tag: Tag) -> String {
    let value = set.value(tag).unwrap_or_default();
    String::from_utf8_lossy(value).trim_end_matches(['\0', ' ']).to_owned()
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_damaged_command_is_read_or_refused(at in any::<prop::sample::Index>(), to in any::<u8>(), more in any::<Vec<u8>>()) {
            let (sop_class, sop_instance) = ("1.2.840.10008.5.1.4.1.1.2".into(), "1.2.3".into());
            let mut bytes = Command::StoreRq { message_id: 7, sop_class, sop_instance, priority: 1 }.encode();
            let at = at.index(bytes.len());
            bytes[at] = to;
            fuzz_command(&bytes);
            bytes.extend(&more);
            fuzz_command(&bytes);
            fuzz_command(&more);
        }
    }

    #[test]
    fn commands_survive_the_wire() {
        for command in [
            Command::EchoRq { message_id: 7 },
            Command::EchoRsp { message_id: 7, status: 0 },
            Command::StoreRq {
                message_id: 65535,
                sop_class: "1.2.840.10008.5.1.4.1.1.2".into(),
                sop_instance: "1.2.3".into(),
                priority: 1,
            },
            Command::StoreRsp {
                message_id: 1,
                sop_class: "1.2".into(),
                sop_instance: "1.2.3".into(),
                status: 0xA700,
                comment: Some("disk below its reserve".into()),
            },
            Command::CancelRq { message_id: 3 },
            Command::Other { field: 0x0020, message_id: 5, sop_class: "1.2".into(), has_data_set: true },
        ] {
            assert_eq!(Command::parse(&command.encode()).expect("parsed"), command);
        }
    }

    /// What a fuzzer found: it took dicom-object to 4 GiB.
    #[test]
    fn a_number_of_one_byte_does_not_shift_what_follows_it() {
        let bytes = b"\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\
            \x00\x00\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\
            \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00}\x00\x00\xfb\xff\xff\xff\x00\x00\x00\x00\x00\
            \x00\x00\x00\x00\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00WWWWWWWWWWWWWWWWWWWWWWWWWWWW\
            WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW\x00\x00\x00\x00\x01\x00\x00\x00\x00";
        for end in 0..=bytes.len() {
            fuzz_command(&bytes[..end]);
        }
    }

    /// Byte for byte what PS3.7 9.3.1 and PS3.5 A.1 ask for.
    #[test]
    fn a_response_is_written_as_the_standard_says() {
        let echo = Command::EchoRsp { message_id: 7, status: 0 }.encode();
        let expected: [&[u8]; 6] = [
            &[0, 0, 0, 0, 4, 0, 0, 0, 66, 0, 0, 0],
            b"\0\0\x02\0\x12\0\0\x001.2.840.10008.1.1\0",
            &[0, 0, 0x00, 0x01, 2, 0, 0, 0, 0x30, 0x80],
            &[0, 0, 0x20, 0x01, 2, 0, 0, 0, 7, 0],
            &[0, 0, 0x00, 0x08, 2, 0, 0, 0, 0x01, 0x01],
            &[0, 0, 0x00, 0x09, 2, 0, 0, 0, 0, 0],
        ];
        assert_eq!(echo, expected.concat());
    }

    #[test]
    fn lying_lengths_and_foreign_groups_never_reach_the_parser() {
        let mut bytes = Command::EchoRq { message_id: 7 }.encode();
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Command::parse(&bytes).is_err());
        assert!(Command::parse(&[0x10, 0, 0x10, 0, 0, 0, 0, 0]).is_err());
        assert!(Command::parse(&[0; 7]).is_err());
        assert!(Command::parse(&vec![0; MAX_COMMAND_BYTES + 1]).is_err());
    }
}
