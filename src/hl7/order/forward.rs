//! Sending orders on: the bytes of a received order message in, the message for a reader out.
//!
//! What identifies sender, receiver, patient and order is written as the receiver knows it; the orders of other cases are
//! left out; everything else, local segments and all, stays as it was received (unmapped content goes on unchanged). Orders
//! are found as `read` finds them. A withdrawal is the last message again with ORC-1 CA. Where what is written has letters beyond
//! ASCII, the whole goes on in UTF-8: a message is in one set.
//!
//! Does not decide who is told, and does not choose identifiers: the caller does, by [`Forward::named`].

mod places;

use super::OrderMessage;
use crate::{
    hl7::{
        ack::Rejected,
        charset::Charset,
        foreign,
        message::{Edit, Message, MessageError, Readdressed, Segment},
        outgoing::in_utf8,
    },
    model::{IdentifierKind as Identifier, IssuedId, OrderControl},
};
use places::{Lines, Places};

/// What is different in the message that is sent on.
pub struct Forward<'a> {
    /// MSH-3 to MSH-6 and MSH-10.
    pub sending_application: &'a str,
    pub sending_facility: &'a str,
    pub receiving_application: &'a str,
    pub receiving_facility: &'a str,
    pub control_id: &'a str,
    /// MSH-7.
    pub at: &'a str,
    /// Which ORC segments go, counted from 1.
    pub sequences: &'a [usize],
    /// ORC-1 of all of them instead of what was received.
    pub control: Option<OrderControl>,
    /// The issuer of identifiers that name none.
    pub issuer: &'a str,
    /// What the receiver calls an identifier (with its issuer). None: as it is.
    pub named: &'a (dyn Fn(Identifier, &IssuedId) -> Option<IssuedId> + Sync),
    /// It has a domain of its own: what has no name there is left out.
    pub own_domain: bool,
}

/// A message to send on, in the character set it came in, or else in UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    pub bytes: Vec<u8>,
    pub charset: Charset,
    /// `ORM^O01`, …
    pub what: String,
}

/// What was taken once cannot be read any more. A mistake of ours.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("the order message as kept is no HL7 message")]
    NotHl7(#[from] MessageError),
    #[error("the order message as kept cannot be read: {0}")]
    NotAnOrder(Rejected),
    #[error("the order message as kept names no character set that is read")]
    Charset,
}

/// The identifiers in a message as kept, with the issuer of those that name none, so that the caller can look up what the
/// receiver calls them.
///
/// # Errors
/// When the message cannot be read.
pub fn identifiers(
    received: &[u8],
    fallback: Charset,
    issuer: &str,
) -> Result<Vec<(Identifier, IssuedId)>, ForwardError> {
    let (_, _, read) = parse(received, fallback)?;
    let issued = |id: &IssuedId| with_issuer(id, issuer);
    let mut found: Vec<(Identifier, IssuedId)> =
        read.patient_ids.iter().map(|id| (Identifier::Patient, issued(id))).collect();
    for order in &read.orders {
        let numbers = [
            (Identifier::Accession, &order.accession),
            (Identifier::Placer, &order.placer),
            (Identifier::Filler, &order.filler),
        ];
        found.extend(numbers.into_iter().filter(|(_, id)| !id.is_empty()).map(|(which, id)| (which, issued(id))));
    }
    Ok(found)
}

/// Writes the message for a receiver. `fallback` is the sender's character set where MSH-18 is empty.
///
/// # Errors
/// When the message as kept cannot be read any more.
pub fn forward(received: &[u8], fallback: Charset, how: &Forward<'_>) -> Result<Forwarded, ForwardError> {
    let (forwarded, has_letters) = written(received, fallback, how)?;
    if !has_letters || forwarded.charset == Charset::UTF_8 {
        return Ok(forwarded);
    }
    Ok(written(&in_utf8(received, forwarded.charset)?, Charset::UTF_8, how)?.0)
}

/// The message in its own set, and whether anything was written into it that is not ASCII.
fn written(received: &[u8], fallback: Charset, how: &Forward<'_>) -> Result<(Forwarded, bool), ForwardError> {
    let (message, charset, read) = parse(received, fallback)?;
    let mut writer = Writer { edit: Edit::new(&message), message: &message, how };
    writer.header(charset);
    writer.patients(&read.patient_ids);
    let places = Places::of(&message, read.kind);
    for order in &read.orders {
        let Some(place) = order.sequence.checked_sub(1).and_then(|index| places.orders.get(index)) else { continue };
        if how.sequences.contains(&order.sequence) {
            writer.order(place, order);
        } else {
            writer.leave_out(place);
        }
    }
    for group in places.specimens.iter().chain(&places.earlier) {
        if !group.orders.iter().any(|sequence| how.sequences.contains(sequence)) {
            writer.leave_out(&group.lines);
        }
    }
    // Earlier results are known by numbers that have no name in the receiver's domain.
    if how.own_domain {
        places.earlier.iter().for_each(|earlier| writer.leave_out(&earlier.lines));
        foreign::leave_out(&mut writer.edit, &message);
    }
    let what = format!("{}^{}", read.kind.message_type(), read.kind.event());
    Ok((Forwarded { bytes: writer.edit.write(), charset, what }, writer.edit.has_letters()))
}

fn parse(received: &[u8], fallback: Charset) -> Result<(Message<'_>, Charset, OrderMessage), ForwardError> {
    let message = Message::parse(received)?;
    let charset = Charset::of_message(&message, fallback).map_err(|_| ForwardError::Charset)?;
    let read = OrderMessage::parse(&message, charset).map_err(ForwardError::NotAnOrder)?;
    Ok((message, charset, read))
}

fn with_issuer(id: &IssuedId, issuer: &str) -> IssuedId {
    let issuer = if id.issuer.is_empty() { issuer } else { &id.issuer };
    IssuedId::new(id.value.clone(), issuer)
}

struct Writer<'m, 'a> {
    edit: Edit<'m, 'a>,
    message: &'m Message<'a>,
    how: &'m Forward<'m>,
}

impl Writer<'_, '_> {
    fn lines_of(&self, id: &str) -> Vec<usize> {
        let is = |(line, segment): (usize, Segment<'_>)| segment.is(id).then_some(line);
        self.message.segments().enumerate().filter_map(is).collect()
    }

    fn header(&mut self, charset: Charset) {
        let Some(line) = self.lines_of("MSH").first().copied() else { return };
        let how = self.how;
        let readdressed = Readdressed {
            from_to: [how.sending_application, how.sending_facility, how.receiving_application, how.receiving_facility],
            at: how.at,
            control_id: how.control_id,
            charset: charset.name(),
        };
        self.edit.readdress(line, &readdressed);
    }

    /// PID-3: in the receiver's numbers where it has some of its own, else as received with the issuer that is meant.
    fn patients(&mut self, ids: &[IssuedId]) {
        let named: Vec<IssuedId> = ids.iter().filter_map(|id| self.named(Identifier::Patient, id)).collect();
        for line in self.lines_of("PID") {
            if let Some(first) = named.first() {
                self.edit.set_field(line, 3, &self.edit.value(&[&first.value, "", "", &first.issuer]));
            } else if ids.iter().any(|id| id.issuer.is_empty()) {
                self.issuers(line);
            }
        }
    }

    /// Each identifier that names no issuer gets the one that is meant: a bare number is anybody's.
    fn issuers(&mut self, line: usize) {
        let Some(pid) = self.message.segment(line) else { return };
        // As they are read: PID-2 where PID-3 has none.
        let is_in_3 = pid.field(3).repetitions().any(|id| id.component(1).is_valued());
        let issuer = self.edit.value(&[self.how.issuer]);
        self.edit.complete_component(line, if is_in_3 { 3 } else { 2 }, 4, &issuer);
    }

    fn named(&self, which: Identifier, id: &IssuedId) -> Option<IssuedId> {
        if id.is_empty() { None } else { (self.how.named)(which, &with_issuer(id, self.how.issuer)) }
    }

    fn order(&mut self, place: &Lines, order: &super::OrderRequest) {
        for &line in place {
            let Some(segment) = self.message.segment(line) else { continue };
            if segment.is("ORC") {
                if let Some(control) = self.how.control {
                    self.edit.set_field(line, 1, control.code().as_bytes());
                }
            } else if segment.is("IPC") {
                self.number(line, 1, Identifier::Accession, &order.accession);
            }
            if segment.is("ORC") || segment.is("OBR") {
                self.number(line, 2, Identifier::Placer, &order.placer);
                self.number(line, 3, Identifier::Filler, &order.filler);
            }
            if segment.is("OBR") && !self.edit.field(line, 18).is_empty() {
                self.number(line, 18, Identifier::Accession, &order.accession);
            }
        }
    }

    /// An order number (EI) as the receiver knows it; one without an issuer gets the one that is meant.
    fn number(&mut self, line: usize, field: usize, which: Identifier, id: &IssuedId) {
        if id.is_empty() || self.edit.field(line, field).is_empty() {
            return;
        }
        match self.named(which, id) {
            // OBR-18 is a string without a place for an issuer.
            Some(named) if field == 18 => self.edit.set_field(line, field, &self.edit.value(&[&named.value])),
            Some(named) => {
                self.edit.set_field(line, field, &self.edit.value(&[&named.value, &named.issuer]));
            }
            None if id.issuer.is_empty() && field != 18 => {
                self.edit.set_component(line, field, 2, &self.edit.value(&[self.how.issuer]));
            }
            None => {}
        }
    }

    fn leave_out(&mut self, place: &Lines) {
        place.iter().for_each(|line| self.edit.leave_out(*line));
    }
}

#[cfg(test)]
mod tests;
