//! Orders as HL7 v2: ORM^O01 (with ZDS), OMG^O19, OMI^O23 and OML^O21, O33 and O35 with their specimens in (HL7 v2.5.1
//! 4.4; IHE RAD-2, RAD-4, RAD-13, LAB-1).
//!
//! In: a [`Message`](super::message::Message). Out: an [`OrderMessage`] with one [`OrderRequest`] for each order it speaks
//! of. Segments out of order, local segments and old versions are tolerated; what an order cannot do without is refused
//! with its place, and nothing of the message is then taken.
//!
//! Does not say what becomes of an order: `model::order` does.

mod forward;
mod fuzz;
mod read;
mod schedule;
mod specimen;

pub use forward::{Forward, ForwardError, Forwarded, forward, identifiers};
pub use fuzz::fuzz_order;

use super::oru::Coded;
use crate::model::{Discipline, IssuedId, OrderControl, OrderStatus, Priority, Requested, SpecimenSaid, Uid};

/// More orders than this in one message are not a request of a hospital.
pub const MAX_ORDERS: usize = 200;

/// Which message it is; decides the name of the application response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// ORM^O01, v2.2 to v2.5: the field's reality.
    Orm,
    /// OMG^O19: general clinical order.
    Omg,
    /// OMI^O23: imaging order, with IPC.
    Omi,
    /// OML^O21: laboratory order, each order with its specimens.
    Oml,
    /// OML^O33: each specimen with its orders.
    OmlOfSpecimen,
    /// OML^O35: each specimen with its containers, each container with its orders.
    OmlOfContainer,
}

impl OrderKind {
    pub const ALL: [OrderKind; 6] = [
        OrderKind::Orm,
        OrderKind::Omg,
        OrderKind::Omi,
        OrderKind::Oml,
        OrderKind::OmlOfSpecimen,
        OrderKind::OmlOfContainer,
    ];

    /// Whether MSH-9.1 is that of an order.
    pub fn is_order(message_type: &[u8]) -> bool {
        Self::ALL.iter().any(|kind| kind.message_type().as_bytes() == message_type)
    }

    /// Whether MSH-9.1 is that of an application response to an order.
    pub fn is_response(message_type: &[u8]) -> bool {
        Self::ALL.iter().any(|kind| kind.response().0.as_bytes() == message_type)
    }

    /// MSH-9.1.
    pub fn message_type(self) -> &'static str {
        match self {
            OrderKind::Orm => "ORM",
            OrderKind::Omg => "OMG",
            OrderKind::Omi => "OMI",
            OrderKind::Oml | OrderKind::OmlOfSpecimen | OrderKind::OmlOfContainer => "OML",
        }
    }

    /// MSH-9.2 of the order.
    pub fn event(self) -> &'static str {
        match self {
            OrderKind::Orm => "O01",
            OrderKind::Omg => "O19",
            OrderKind::Omi => "O23",
            OrderKind::Oml => "O21",
            OrderKind::OmlOfSpecimen => "O33",
            OrderKind::OmlOfContainer => "O35",
        }
    }

    /// MSH-9 of its application response.
    pub fn response(self) -> (&'static str, &'static str) {
        match self {
            OrderKind::Orm => ("ORR", "O02"),
            OrderKind::Omg => ("ORG", "O20"),
            OrderKind::Omi => ("ORI", "O24"),
            OrderKind::Oml => ("ORL", "O22"),
            OrderKind::OmlOfSpecimen => ("ORL", "O34"),
            OrderKind::OmlOfContainer => ("ORL", "O36"),
        }
    }

    /// Whether specimens stand before their orders, and not behind them.
    pub fn specimens_come_first(self) -> bool {
        matches!(self, OrderKind::OmlOfSpecimen | OrderKind::OmlOfContainer)
    }

    /// Whether it is a laboratory order.
    pub fn is_laboratory(self) -> bool {
        self.message_type() == "OML"
    }
}

/// An order message as received. Holds patient data: goes to the store and to partners, never to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderMessage {
    pub kind: OrderKind,
    /// PID-3, each with CX-4.1 as its issuer; PID-2 where PID-3 is empty. At least one.
    pub patient_ids: Vec<IssuedId>,
    /// PID-5 in the order of DICOM: `Family^Given^Middle^Prefix^Suffix` (PS3.5 6.2.1.1).
    pub patient_name: String,
    /// PID-7, `YYYYMMDD`; empty unless the sender names a day.
    pub birth_date: String,
    /// PID-8.
    pub sex: String,
    /// At least one.
    pub orders: Vec<OrderRequest>,
    /// What the message says of specimens, in its order; ids may lack their issuer. One that has no id, not even that of a
    /// container, is not among them: it could not be told from another.
    pub specimens: Vec<SpecimenSaid>,
    /// Bytes that mean nothing in the message's character set became U+FFFD somewhere in it.
    pub lossy: bool,
}

/// One ORC and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRequest {
    /// Which ORC of the message, from 1.
    pub sequence: usize,
    /// ORC-1.
    pub control: OrderControl,
    /// ORC-5.
    pub status: OrderStatus,
    /// The same in words.
    pub status_word: &'static str,
    /// ORC-2, or OBR-2. One of the two numbers is there.
    pub placer: IssuedId,
    /// ORC-3, or OBR-3.
    pub filler: IssuedId,
    /// ORC-4: what one request of the placer has in common. May be empty.
    pub group: IssuedId,
    /// IPC-1, or OBR-18 (where ORM carries it). May be empty.
    pub accession: IssuedId,
    /// The accession number is emptied (`""`, HL7 v2.5.1 2.5.3): the order has none any more.
    pub empties_accession: bool,
    /// IPC-3, ZDS-1; each once.
    pub study_uids: Vec<Uid>,
    /// So are its Study Instance UIDs.
    pub empties_studies: bool,
    /// OBR-4.
    pub procedure: Coded,
    /// TQ1-9, OBR-27.6, ORC-7.6, OBR-5, the first that says something; None where none does.
    pub priority: Option<Priority>,
    /// IPC-5, OBR-24 where it is a modality (CT, MR, …); at most 16 printable characters (CS).
    pub modality: String,
    /// OML, or the diagnostic service section (OBR-24) is one of pathology, or the modality is.
    pub discipline: Discipline,
    /// Which of the message's specimens it is about.
    pub specimens: Vec<usize>,
    /// What it says for the scanner's worklist.
    pub requested: Requested,
}

#[cfg(test)]
mod tests;
