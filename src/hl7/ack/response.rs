//! The application response to an order message: what was done with each order, behind the acknowledgement.
//!
//! In: what was answered to each order. Out: segments in the bytes of the message received: ORC with the order's numbers as
//! they were sent; in ORL the patient before them, and in its specimen forms (O34, O36) each specimen before its orders,
//! which those messages cannot do without (HL7 v2.5.1 4.4.7, 4.4.9, 4.4.11).

use super::{Verdict, Writer, kept};
use crate::hl7::message::{Message, Segment, Value};

/// What is answered to each order of a message.
pub struct Response<'a> {
    /// MSH-9: `ORR` and `O02`, `ORG` and `O20`, `ORI` and `O24`, `ORL` and `O22`, `O34`, `O36`.
    pub message_type: &'static str,
    pub event: &'static str,
    pub orders: &'a [OrderAnswer],
}

/// The answer to one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderAnswer {
    /// ORC-1, table 0119: OK, UA, CR, UC, …
    pub code: &'static str,
    /// Which ORC of the message it answers, from 1: its numbers are given back as they were sent.
    pub sequence: usize,
    /// ORC-16: why not.
    pub reason: Option<String>,
}

impl OrderAnswer {
    /// UA, UC, UX, …: it was not done.
    pub fn is_refusal(&self) -> bool {
        self.code.starts_with('U')
    }
}

impl Response<'_> {
    /// For MSH-16: any order that was refused makes it an error (table 0155 ER).
    pub(super) fn verdict(&self) -> Verdict {
        if self.orders.iter().any(OrderAnswer::is_refusal) { Verdict::Error } else { Verdict::Accept }
    }
}

/// What a response gives back of the message it answers.
pub(super) struct Asked<'a> {
    patient: Option<Segment<'a>>,
    /// One an ORC, in order.
    orders: Vec<AskedOrder<'a>>,
}

struct AskedOrder<'a> {
    /// SPM and SAC that stand between the ORC before and this one.
    before: Vec<Segment<'a>>,
    orc: Segment<'a>,
    obr: Option<Segment<'a>>,
}

impl<'a> Asked<'a> {
    pub(super) fn of(received: &Message<'a>) -> Self {
        let mut asked = Asked { patient: None, orders: Vec::new() };
        let mut before = Vec::new();
        for segment in received.segments() {
            match segment.id().to_ascii_uppercase().as_str() {
                "PID" => asked.patient = asked.patient.or(Some(segment)),
                "SPM" | "SAC" => before.push(segment),
                "ORC" => asked.orders.push(AskedOrder { before: std::mem::take(&mut before), orc: segment, obr: None }),
                "OBR" => {
                    if let Some(order) = asked.orders.last_mut() {
                        order.obr.get_or_insert(segment);
                    }
                }
                _ => {}
            }
        }
        asked
    }
}

impl Writer<'_> {
    pub(super) fn response(&mut self) {
        let Some(response) = self.response else { return };
        if response.message_type == "ORL"
            && let Some(pid) = self.asked.patient
        {
            // PID-3 and PID-5 are required.
            self.given_back("PID", &pid, &[3, 5]);
        }
        for answer in response.orders {
            let index = answer.sequence.checked_sub(1).filter(|index| *index < self.asked.orders.len());
            if let Some(index) = index
                && matches!(response.event, "O34" | "O36")
            {
                for segment in std::mem::take(&mut self.asked.orders[index].before) {
                    match segment.id().to_ascii_uppercase().as_str() {
                        // The number within the message, the specimen's ids, its type.
                        "SPM" => self.given_back("SPM", &segment, &[1, 2, 4]),
                        _ => self.given_back("SAC", &segment, &[3]),
                    }
                }
            }
            self.orc(answer, index);
        }
    }

    /// ORC-1, the order's numbers as they were sent, and why not (ORC-16).
    fn orc(&mut self, answer: &OrderAnswer, index: Option<usize>) {
        self.out.extend_from_slice(b"ORC");
        self.text(answer.code);
        let received = index.map(|index| (self.asked.orders[index].orc, self.asked.orders[index].obr));
        for n in [2, 3] {
            self.out.push(self.field);
            // A number that stands in OBR only is given back all the same: without it nobody knows what was answered.
            let number = received.and_then(|(orc, obr)| {
                [Some(orc), obr].into_iter().flatten().map(|segment| segment.field(n)).find(Value::is_valued)
            });
            self.out.extend(number.into_iter().flat_map(|number| kept(number.raw())));
        }
        if let Some(reason) = &answer.reason {
            for _ in 4..16 {
                self.text("");
            }
            self.out.push(self.field);
            // CE: the text is its second component.
            self.joined(&["", &plain(reason)]);
        }
        self.out.push(b'\r');
    }

    /// Some fields of a segment, in rising order, as they were sent.
    fn given_back(&mut self, id: &str, segment: &Segment<'_>, fields: &[usize]) {
        self.out.extend_from_slice(id.as_bytes());
        for n in 1..=fields.last().copied().unwrap_or(0) {
            self.out.push(self.field);
            if fields.contains(&n) {
                self.out.extend_from_slice(&kept(segment.field(n).raw()));
            }
        }
        self.out.push(b'\r');
    }

    pub(super) fn response_type(&mut self, response: &Response<'_>) {
        self.text(response.message_type);
        self.out.push(self.component);
        self.out.extend_from_slice(response.event.as_bytes());
        if super::version(&self.header) >= (2, 4) {
            self.out.push(self.component);
            self.out.extend_from_slice(format!("{}_{}", response.message_type, response.event).as_bytes());
        }
    }
}

/// Our own words without anything that could be a delimiter.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || " .,-".contains(c) { c } else { ' ' }).collect()
}
