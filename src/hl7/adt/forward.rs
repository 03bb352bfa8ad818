//! Sending news of a patient on: who sends and receives it and what the patient is called there is written, all else stays.
//! Where what is written has letters beyond ASCII, the whole goes on in UTF-8: a message is in one set.

use super::PatientNews;
use crate::{
    hl7::{
        ack::Rejected,
        charset::Charset,
        foreign,
        message::{Edit, Message, MessageError, Readdressed},
        outgoing::in_utf8,
    },
    model::IssuedId,
};

/// What is different in the message that is sent on.
pub struct AdtForward<'a> {
    /// MSH-3 to MSH-6, MSH-7 and MSH-10.
    pub sending_application: &'a str,
    pub sending_facility: &'a str,
    pub receiving_application: &'a str,
    pub receiving_facility: &'a str,
    pub at: &'a str,
    pub control_id: &'a str,
    /// The issuer of identifiers that name none.
    pub issuer: &'a str,
    /// What the receiver calls the patient. None: as received.
    pub named: &'a (dyn Fn(&IssuedId) -> Option<IssuedId> + Sync),
    /// It has a domain of its own: what has no name there is left out.
    pub own_domain: bool,
}

/// What was taken once cannot be read any more. A mistake of ours.
#[derive(Debug, thiserror::Error)]
pub enum AdtError {
    #[error("the message as kept is no HL7 message")]
    NotHl7(#[from] MessageError),
    #[error("the message as kept cannot be read: {0}")]
    NotAdt(Rejected),
    #[error("the message as kept names no character set that is read")]
    Charset,
}

/// The patient's identifiers in a message as kept, and those merged into them, with the issuer of those that name none.
///
/// # Errors
/// When the message as kept cannot be read any more.
pub fn identifiers(
    received: &[u8],
    fallback: Charset,
    issuer: &str,
) -> Result<(Vec<IssuedId>, Vec<IssuedId>), AdtError> {
    let message = Message::parse(received)?;
    let charset = Charset::of_message(&message, fallback).map_err(|_| AdtError::Charset)?;
    let read = PatientNews::parse(&message, charset).map_err(AdtError::NotAdt)?;
    let issued = |ids: &[IssuedId]| ids.iter().map(|id| with_issuer(id, issuer)).collect();
    Ok((issued(&read.patient_ids), issued(&read.merged_ids)))
}

fn with_issuer(id: &IssuedId, issuer: &str) -> IssuedId {
    IssuedId::new(id.value.clone(), if id.issuer.is_empty() { issuer } else { &id.issuer })
}

/// The message for a receiver in the character set it came in, or else in UTF-8, and MSH-9 of it. `fallback` is the sender's character set where
/// MSH-18 is empty.
///
/// # Errors
/// When the message as kept cannot be read any more.
pub fn forward(
    received: &[u8],
    fallback: Charset,
    how: &AdtForward<'_>,
) -> Result<(Vec<u8>, Charset, String), AdtError> {
    let (forwarded, has_letters) = written(received, fallback, how)?;
    if !has_letters || forwarded.1 == Charset::UTF_8 {
        return Ok(forwarded);
    }
    Ok(written(&in_utf8(received, forwarded.1)?, Charset::UTF_8, how)?.0)
}

type Forwarded = (Vec<u8>, Charset, String);

/// The message in its own set, and whether anything was written into it that is not ASCII.
fn written(received: &[u8], fallback: Charset, how: &AdtForward<'_>) -> Result<(Forwarded, bool), AdtError> {
    let message = Message::parse(received)?;
    let charset = Charset::of_message(&message, fallback).map_err(|_| AdtError::Charset)?;
    let read = PatientNews::parse(&message, charset).map_err(AdtError::NotAdt)?;
    let mut edit = Edit::new(&message);
    let mut what = String::from("ADT");
    for (line, segment) in message.segments().enumerate() {
        if segment.is("MSH") {
            what = format!("ADT^{}", charset.decode(segment.field(9).component(2).raw()).text.trim());
            let readdressed = Readdressed {
                from_to: [
                    how.sending_application,
                    how.sending_facility,
                    how.receiving_application,
                    how.receiving_facility,
                ],
                at: how.at,
                control_id: how.control_id,
                charset: charset.name(),
            };
            edit.readdress(line, &readdressed);
        } else if segment.is("PID") {
            identify(&mut edit, line, 3, &read.patient_ids, how);
        } else if segment.is("MRG") {
            identify(&mut edit, line, 1, &read.merged_ids, how);
        }
    }
    if how.own_domain {
        foreign::leave_out(&mut edit, &message);
    }
    Ok(((edit.write(), charset, what), edit.has_letters()))
}

/// In the receiver's own number, or with the issuer that is meant.
fn identify(edit: &mut Edit<'_, '_>, line: usize, field: usize, ids: &[IssuedId], how: &AdtForward<'_>) {
    if let Some(named) = ids.iter().find_map(|id| (how.named)(&with_issuer(id, how.issuer))) {
        edit.set_field(line, field, &edit.value(&[&named.value, "", "", &named.issuer]));
    } else if ids.iter().any(|id| id.issuer.is_empty()) {
        // A bare number is anybody's. PID-2 is where an identifier stands that PID-3 has not.
        let fields: &[usize] = if field == 3 { &[3, 2] } else { &[field] };
        let issuer = edit.value(&[how.issuer]);
        fields.iter().for_each(|field| edit.complete_component(line, *field, 4, &issuer));
    }
}
