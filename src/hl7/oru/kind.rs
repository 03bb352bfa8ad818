//! Which message a report came as: MSH-9 in, its kind out, or why it is none.

use super::read::Reader;
use super::{ErrorCode, Rejected};
use crate::hl7::message::Segment;

/// MSH-9.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportKind {
    #[default]
    Oru,
    /// By specimen: SPM before OBR, ORC behind it.
    Oul,
    /// A document: TXA, and perhaps no OBR.
    Mdm,
}

impl ReportKind {
    /// The source of a report in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            ReportKind::Oru => "oru",
            ReportKind::Oul => "oul",
            ReportKind::Mdm => "mdm",
        }
    }

    /// OUL^R21 to R24 differ in the order of their segments only, which is not asked of anybody. Of MDM, what brings the
    /// whole document with it (T02, T04, T08, T10), an addendum to one (T06), and T11, which cancels one. Not the notifications
    /// without content (T01, T03, T05, T07, T09): a report that cannot be read must not count as received.
    pub(super) fn of(header: &Segment<'_>, reader: &Reader<'_>) -> Result<Self, Rejected> {
        let field = header.field(9);
        let [message, event] = [1, 2].map(|n| reader.text(field.component(n)));
        let (kind, is_taken, text) = match message.as_str() {
            // Before v2.3 the event was often left out.
            "ORU" => (ReportKind::Oru, matches!(event.as_str(), "R01" | ""), "event is not R01"),
            "OUL" => {
                let is_taken = matches!(event.as_str(), "R21" | "R22" | "R23" | "R24");
                (ReportKind::Oul, is_taken, "event is none of R21 to R24")
            }
            "MDM" => {
                let is_taken = matches!(event.as_str(), "T02" | "T04" | "T06" | "T08" | "T10" | "T11");
                (ReportKind::Mdm, is_taken, with_content(&event))
            }
            _ => {
                let text = "message type is none of ORU, OUL, MDM";
                return Err(Rejected::new("MSH", 1, 9, ErrorCode::UnsupportedMessageType, text));
            }
        };
        if is_taken { Ok(kind) } else { Err(Rejected::new("MSH", 1, 9, ErrorCode::UnsupportedEvent, text)) }
    }
}

/// What is expected instead of an event that is not taken (v2.5.1 9.6: each notification has one with content).
fn with_content(event: &str) -> &'static str {
    match event {
        "T01" => "event T01 brings no document: expected T02, the same with its content",
        "T03" => "event T03 brings no document: expected T04, the same with its content",
        "T05" => "event T05 brings no document: expected T06, the same with its content",
        "T07" => "event T07 brings no document: expected T08, the same with its content",
        "T09" => "event T09 brings no document: expected T10, the same with its content",
        _ => "event is none of T02, T04, T06, T08, T10, T11",
    }
}
