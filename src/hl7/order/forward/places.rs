//! Which lines of an order message belong to which of its orders.
//!
//! In: the message. Out: lines by ORC; by specimen and container where those stand before their orders (O33, O35); and earlier
//! results, which go with the order before them. What is about the patient belongs to all.

use super::super::OrderKind;
use crate::hl7::message::{Message, Segment};

/// Lines of the message, by number.
pub(super) type Lines = Vec<usize>;

/// Lines that go with some of the orders: each line is in one of them, and each order in two at most, so that all of them
/// together are no longer than the message.
#[derive(Default)]
pub(super) struct Group {
    pub lines: Lines,
    /// The numbers of its orders.
    pub orders: Vec<usize>,
}

#[derive(Default)]
pub(super) struct Places {
    /// One an ORC, in order: the ORC and what follows it.
    pub orders: Vec<Lines>,
    /// Specimens and containers that stand before their orders.
    pub specimens: Vec<Group>,
    /// Of the first order, until its ORC comes.
    before: Lines,
    /// Earlier results (ORC-1 PR), with the order they go with.
    pub earlier: Vec<Group>,
}

/// The specimens, or the containers of one, whose orders follow, as index into [`Places::specimens`]; and whether one has.
#[derive(Default)]
struct Open {
    group: Option<usize>,
    has_orders: bool,
}

/// Where a line goes that begins nothing.
enum Within {
    Nothing,
    Order,
    Specimen(usize),
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
                places.begin_earlier(line, last_order);
                within = Within::Earlier;
            } else if segment.is("ORC") {
                // What stands before the first order is that order's, as it is read.
                let before = std::mem::take(&mut places.before);
                places.orders.push(before.into_iter().chain([line]).collect());
                last_order = places.orders.len();
                for open in [&mut specimens, &mut containers] {
                    places.give_order(open, last_order);
                }
                within = Within::Order;
            } else if kind.specimens_come_first() && segment.is("SPM") {
                within = Within::Specimen(places.begin(&mut specimens, line));
                containers = Open::default();
            } else if kind == OrderKind::OmlOfContainer && segment.is("SAC") {
                within = Within::Specimen(places.begin(&mut containers, line));
            } else if !(is_about_the_patient(&segment) || is_of_the_message(&segment, &within)) {
                places.add(line, &within);
            }
        }
        places
    }

    /// Those that stand together have the same orders.
    fn begin(&mut self, open: &mut Open, line: usize) -> usize {
        let group = open.group.filter(|_| !open.has_orders).unwrap_or_else(|| {
            self.specimens.push(Group::default());
            self.specimens.len() - 1
        });
        *open = Open { group: Some(group), has_orders: false };
        self.specimens[group].lines.push(line);
        group
    }

    fn give_order(&mut self, open: &mut Open, order: usize) {
        open.has_orders = true;
        if let Some(group) = open.group.and_then(|group| self.specimens.get_mut(group)) {
            group.orders.push(order);
        }
    }

    fn begin_earlier(&mut self, line: usize, order: usize) {
        match self.earlier.last_mut().filter(|last| last.orders == [order]) {
            Some(last) => last.lines.push(line),
            None => self.earlier.push(Group { lines: vec![line], orders: vec![order] }),
        }
    }

    fn add(&mut self, line: usize, within: &Within) {
        let lines = match within {
            Within::Nothing => Some(&mut self.before),
            Within::Order => self.orders.last_mut(),
            Within::Specimen(group) => self.specimens.get_mut(*group).map(|group| &mut group.lines),
            Within::Earlier => self.earlier.last_mut().map(|group| &mut group.lines),
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
