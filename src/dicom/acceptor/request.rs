//! The A-ASSOCIATE-RQ: its bytes in, an [`AssociateRequest`] out (PS3.8 9.3.2, PS3.7 Annex D).
//!
//! Every length is checked against what is there. Items of unknown type are skipped, as PS3.8 9.3.1 wants. Judges
//! nothing: an unknown application context or AE title is the business of whoever answers.

/// An A-ASSOCIATE-RQ as the peer wrote it, padding removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociateRequest {
    pub protocol_version: u16,
    pub called_ae: String,
    pub calling_ae: String,
    /// Empty if the request has none.
    pub application_context: String,
    pub contexts: Vec<ProposedContext>,
    /// Largest P-DATA-TF the peer takes, bytes; 0 is no limit (PS3.8 D.1).
    pub max_pdu_bytes: u32,
    pub roles: Vec<RoleSelection>,
    /// Bytes 11 to 74 of the PDU: the AE titles and a reserved field, which the A-ASSOCIATE-AC repeats (PS3.8 9.3.3).
    pub repeated: [u8; REPEATED_BYTES],
}

pub const REPEATED_BYTES: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposedContext {
    /// Odd, and given to one context only.
    pub id: u8,
    pub abstract_syntax: String,
    pub transfer_syntaxes: Vec<String>,
}

/// SCP/SCU Role Selection, PS3.7 D.3.3.4: the roles the requestor would take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSelection {
    pub sop_class: String,
    pub scu: bool,
    pub scp: bool,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    #[error("{0} reaches beyond what contains it")]
    Truncated(&'static str),
    #[error("presentation context id {0}: an odd one expected (PS3.8 9.3.2.2)")]
    EvenContextId(u8),
    #[error("presentation context id {0} is given twice")]
    RepeatedContextId(u8),
    #[error("presentation context without exactly one abstract syntax and at least one transfer syntax")]
    IncompleteContext,
    #[error("no presentation context proposed")]
    NoContext,
}

// Item types, PS3.8 9.3.2 and PS3.7 Annex D.
const APPLICATION_CONTEXT: u8 = 0x10;
const PRESENTATION_CONTEXT: u8 = 0x20;
const ABSTRACT_SYNTAX: u8 = 0x30;
const TRANSFER_SYNTAX: u8 = 0x40;
const USER_INFORMATION: u8 = 0x50;
const MAXIMUM_LENGTH: u8 = 0x51;
const ROLE_SELECTION: u8 = 0x54;

/// What follows the six bytes of the PDU header.
///
/// # Errors
/// [`RequestError`]
pub fn parse(body: &[u8]) -> Result<AssociateRequest, RequestError> {
    let (fixed, items) = body.split_first_chunk::<68>().ok_or(RequestError::Truncated("the fixed part"))?;
    let mut repeated = [0; REPEATED_BYTES];
    repeated.copy_from_slice(&fixed[4..]);
    let mut request = AssociateRequest {
        protocol_version: u16::from_be_bytes([fixed[0], fixed[1]]),
        called_ae: ae_title(&fixed[4..20]),
        calling_ae: ae_title(&fixed[20..36]),
        application_context: String::new(),
        contexts: Vec::new(),
        max_pdu_bytes: 0,
        roles: Vec::new(),
        repeated,
    };
    for item in Items(items) {
        match item? {
            (APPLICATION_CONTEXT, value) => request.application_context = uid_text(value),
            (PRESENTATION_CONTEXT, value) => {
                let context = presentation_context(value)?;
                if request.contexts.iter().any(|earlier| earlier.id == context.id) {
                    return Err(RequestError::RepeatedContextId(context.id));
                }
                request.contexts.push(context);
            }
            (USER_INFORMATION, value) => user_information(value, &mut request)?,
            _ => {}
        }
    }
    if request.contexts.is_empty() {
        return Err(RequestError::NoContext);
    }
    Ok(request)
}

fn presentation_context(value: &[u8]) -> Result<ProposedContext, RequestError> {
    let (fixed, items) = value.split_first_chunk::<4>().ok_or(RequestError::Truncated("a presentation context"))?;
    let id = fixed[0];
    if id % 2 == 0 {
        return Err(RequestError::EvenContextId(id));
    }
    let (mut abstract_syntax, mut transfer_syntaxes) = (None, Vec::new());
    for item in Items(items) {
        match item? {
            (ABSTRACT_SYNTAX, value) if abstract_syntax.is_none() => abstract_syntax = Some(uid_text(value)),
            (ABSTRACT_SYNTAX, _) => return Err(RequestError::IncompleteContext),
            (TRANSFER_SYNTAX, value) => transfer_syntaxes.push(uid_text(value)),
            _ => {}
        }
    }
    match abstract_syntax {
        Some(abstract_syntax) if !transfer_syntaxes.is_empty() => {
            Ok(ProposedContext { id, abstract_syntax, transfer_syntaxes })
        }
        _ => Err(RequestError::IncompleteContext),
    }
}

fn user_information(value: &[u8], request: &mut AssociateRequest) -> Result<(), RequestError> {
    for item in Items(value) {
        match item? {
            (MAXIMUM_LENGTH, value) => {
                let bytes = value.first_chunk().ok_or(RequestError::Truncated("the maximum length"))?;
                request.max_pdu_bytes = u32::from_be_bytes(*bytes);
            }
            (ROLE_SELECTION, value) => request.roles.push(role_selection(value)?),
            _ => {}
        }
    }
    Ok(())
}

fn role_selection(value: &[u8]) -> Result<RoleSelection, RequestError> {
    const ERROR: RequestError = RequestError::Truncated("a role selection");
    let (length, rest) = value.split_first_chunk::<2>().ok_or(ERROR)?;
    let (sop_class, roles) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(ERROR)?;
    let &[scu, scp] = roles.first_chunk().ok_or(ERROR)?;
    Ok(RoleSelection { sop_class: uid_text(sop_class), scu: scu == 1, scp: scp == 1 })
}

/// Items and sub-items all have the same header: type, a reserved byte, length.
struct Items<'a>(&'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = Result<(u8, &'a [u8]), RequestError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = self.0.split_first_chunk::<4>().and_then(|(header, rest)| {
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let (value, rest) = rest.split_at_checked(length)?;
            Some((header[0], value, rest))
        });
        let Some((kind, value, rest)) = split else {
            self.0 = &[];
            return Some(Err(RequestError::Truncated("an item")));
        };
        self.0 = rest;
        Some(Ok((kind, value)))
    }
}

/// Leading and trailing spaces carry no meaning (PS3.5 6.2, AE); NUL padding is forbidden, but found. A byte outside
/// the default repertoire becomes a character that no configured AE title holds.
fn ae_title(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|&byte| printable(byte)).collect();
    text.trim_matches([' ', '\0']).to_owned()
}

/// A UID item, PS3.8 Annex F: not padded there, but often padded in the field.
fn uid_text(bytes: &[u8]) -> String {
    let text: String = bytes.iter().map(|&byte| printable(byte)).collect();
    text.trim_matches([' ', '\0']).to_owned()
}

fn printable(byte: u8) -> char {
    match byte {
        0 | 0x20..=0x7E => char::from(byte),
        _ => char::REPLACEMENT_CHARACTER,
    }
}
