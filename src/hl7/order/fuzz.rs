//! What must hold of every order that is taken, whatever else is in its message: it can be sent on, and the reader reads in
//! it the numbers that were meant. For fuzzing and property tests.

use super::{Forward, OrderMessage, forward, identifiers};
use crate::{
    hl7::{charset::Charset, message::Message},
    model::{IdentifierKind, IssuedId, OrderControl},
};

const ISSUER: &str = "RABENSTEIN";

/// Whatever the bytes: no panic; and what is an order is the same order for the reader it is sent on to.
pub fn fuzz_order(bytes: &[u8]) {
    let fallback = Charset::ISO_8859_1;
    let Ok(message) = Message::parse(bytes) else { return };
    let Ok(charset) = Charset::of_message(&message, fallback) else { return };
    let Ok(order) = OrderMessage::parse(&message, charset) else { return };
    let all: Vec<usize> = order.orders.iter().map(|order| order.sequence).collect();
    let same = sent_on(bytes, &all, &|_, _| None, false);
    assert!(same.is_some(), "an order that was taken cannot be sent on, or not be read by the reader");
    let Some(same) = same else { return };
    assert_eq!(same.orders.len(), order.orders.len(), "orders were lost or made");
    let patients: Vec<IssuedId> = order.patient_ids.iter().map(meant).collect();
    assert_eq!(same.patient_ids.iter().map(meant).collect::<Vec<_>>(), patients, "another patient");
    for (sent, order) in same.orders.iter().zip(&order.orders) {
        assert_eq!(meant(&sent.placer), meant(&order.placer), "another placer order number");
        assert_eq!(meant(&sent.filler), meant(&order.filler), "another filler order number");
        assert_eq!(sent.accession.value, order.accession.value, "another accession number");
        assert_eq!(sent.study_uids, order.study_uids, "another study");
        assert_eq!(sent.control, OrderControl::Cancel, "another order control");
    }
    let named = sent_on(bytes, &all[..1], &|which, _| Some(IssuedId::new(format!("{which:?}"), "READER")), true);
    assert!(named.is_some(), "an order that was taken cannot be sent on in the reader's numbers");
    let Some(named) = named else { return };
    assert_eq!(named.orders.len(), 1, "an order of another case");
    assert_eq!(named.patient_ids, [IssuedId::new("Patient", "READER")], "the hospital's own identifier");
    for (number, which) in [(&named.orders[0].placer, "Placer"), (&named.orders[0].filler, "Filler")] {
        assert!(number.is_empty() || *number == IssuedId::new(which, "READER"), "the hospital's own number");
    }
    assert!(identifiers(bytes, fallback, ISSUER).is_ok_and(|found| !found.is_empty()), "no identifier");
}

fn meant(id: &IssuedId) -> IssuedId {
    let issuer = if id.issuer.is_empty() && !id.is_empty() { ISSUER } else { &id.issuer };
    IssuedId::new(id.value.clone(), issuer)
}

fn sent_on(
    bytes: &[u8],
    sequences: &[usize],
    named: &(dyn Fn(IdentifierKind, &IssuedId) -> Option<IssuedId> + Sync),
    own_domain: bool,
) -> Option<OrderMessage> {
    let how = Forward {
        sending_application: "NEISSE",
        sending_facility: "neisse-1",
        receiving_application: "RIS",
        receiving_facility: "READER",
        control_id: "N1",
        at: "20261124231000+0100",
        sequences,
        control: Some(OrderControl::Cancel),
        issuer: ISSUER,
        named,
        own_domain,
    };
    let sent = forward(bytes, Charset::ISO_8859_1, &how).ok()?;
    let message = Message::parse(&sent.bytes).ok()?;
    OrderMessage::parse(&message, sent.charset).ok()
}
