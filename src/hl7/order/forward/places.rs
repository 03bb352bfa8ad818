//! Which lines of an order message belong to which of its orders.
//!
//! In: the message. Out: lines by ORC; by specimen and container where those stand before their orders (O33, O35); and earlier
//! results, which go with the order before them. What is about the patient belongs to all.

use super::super::OrderKind;
use crate::hl7::message::{Message, Segment};

/// Lines of the message, by number.
pub(super) type Lines = Vec<usize>;

#[derive(Default)]
pub(super) struct Places {
    /// One an ORC, in order: the ORC and what follows it.
    pub orders: Vec<Lines>,
    /// Specimens and containers that stand before their orders, each with the numbers of its orders.
    pub specimens: Vec<(Lines, Vec<usize>)>,
    /// Of the first order, until its ORC comes.
    before: Lines,
    /// Earlier results (ORC-1 PR), with the number of the order they go with.
    pub earlier: Vec<(Lines, Vec<usize>)>,
}

/// Indexes into [`Places::specimens`] of those whose orders follow, and whether one has.
#[derive(Default)]
struct Open {
    indexes: Vec<usize>,
    have_orders: bool,
}

impl Open {
    fn begin(&mut self, index: usize) {
        if std::mem::replace(&mut self.have_orders, false) {
            self.indexes.clear();
        }
        self.indexes.push(index);
    }
}

/// Where a line goes that begins nothing.
enum Within {
    Nothing,
    Order,
    Specimen,
    Earlier,
}

impl Places {
    pub(super) fn of(message: &Message<'_>, kind: OrderKind) -> Self {
        let mut places = Places::default();
        let (mut specimens, mut containers, mut within) = (Open::default(), Open::default(), Within::Nothing);
        let mut last_order = 0;
        for (line, segment) in message.segments().enumerate() {
            if segment.is("ORC") && segment.field(1).component(1).raw().trim_ascii() == b"PR" {
                // Counted like any other, so that the numbers stay those of `read`.
                places.orders.push(Vec::new());
                places.earlier.push((vec![line], vec![last_order]));
                within = Within::Earlier;
            } else if segment.is("ORC") {
                // What stands before the first order is that order's, as it is read.
                let before = std::mem::take(&mut places.before);
                places.orders.push(before.into_iter().chain([line]).collect());
                last_order = places.orders.len();
                for index in specimens.indexes.iter().chain(&containers.indexes) {
                    places.specimens[*index].1.push(last_order);
                }
                (specimens.have_orders, containers.have_orders) = (true, true);
                within = Within::Order;
            } else if kind.specimens_come_first() && segment.is("SPM") {
                specimens.begin(places.begin(line));
                containers = Open::default();
                within = Within::Specimen;
            } else if kind == OrderKind::OmlOfContainer && segment.is("SAC") {
                containers.begin(places.begin(line));
                within = Within::Specimen;
            } else if !(is_about_the_patient(&segment) || is_of_the_message(&segment, &within)) {
                places.add(line, &within);
            }
        }
        places
    }

    fn begin(&mut self, line: usize) -> usize {
        self.specimens.push((vec![line], Vec::new()));
        self.specimens.len() - 1
    }

    fn add(&mut self, line: usize, within: &Within) {
        let lines = match within {
            Within::Nothing => Some(&mut self.before),
            Within::Order => self.orders.last_mut(),
            Within::Specimen => self.specimens.last_mut().map(|(lines, _)| lines),
            Within::Earlier => self.earlier.last_mut().map(|(lines, _)| lines),
        };
        lines.into_iter().for_each(|lines| lines.push(line));
    }
}

/// Header, and notes and local segments before any order.
fn is_of_the_message(segment: &Segment<'_>, within: &Within) -> bool {
    let is_order_s = ["OBR", "OBX", "IPC", "TQ1", "TQ2", "ZDS", "SPM", "SAC"].iter().any(|id| segment.is(id));
    matches!(within, Within::Nothing) && !is_order_s
}

/// The same PID may be written before every order: it stays, whichever orders go.
fn is_about_the_patient(segment: &Segment<'_>) -> bool {
    ["PID", "PD1", "PV1", "PV2", "NK1", "IN1", "IN2", "IN3", "GT1", "AL1"].iter().any(|id| segment.is(id))
}
