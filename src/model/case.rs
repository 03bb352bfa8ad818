//! The case: the unit that is routed and read. One table says every move it can make.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CaseState {
    /// Known, not decided yet. `routing::step` moves it.
    New,
    /// A person decides: no rule matched, or someone held it.
    Held,
    /// Decided; images are on their way to the reader, or still arriving.
    Routed,
    /// Whole, and everything owed to the reader has arrived. Waits for the report.
    Delivered,
    /// A preliminary report has been returned; the final one is to come.
    Preliminary,
    /// A final report has been received. A correction or a late instance may still follow.
    Reported,
}

impl CaseState {
    pub const ALL: [CaseState; 6] = [
        CaseState::New,
        CaseState::Held,
        CaseState::Routed,
        CaseState::Delivered,
        CaseState::Preliminary,
        CaseState::Reported,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            CaseState::New => "new",
            CaseState::Held => "held",
            CaseState::Routed => "routed",
            CaseState::Delivered => "delivered",
            CaseState::Preliminary => "preliminary",
            CaseState::Reported => "reported",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for CaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CaseEvent {
    /// A rule named a reader.
    Decided,
    /// No rule matched, or a person said hold.
    Hold,
    /// Whole, and all that was owed has arrived.
    AllDelivered,
    /// An instance came after everything had been delivered.
    LateInstance,
    /// Its reader has not claimed it in time, or is down: the next one is offered it.
    MovedOn,
    PreliminaryReport,
    /// Final or corrected.
    FinalReport,
    /// Its reader has taken back what it reported: the case waits for a report again.
    ReportWithdrawn,
}

impl CaseEvent {
    pub const ALL: [CaseEvent; 8] = [
        CaseEvent::Decided,
        CaseEvent::Hold,
        CaseEvent::AllDelivered,
        CaseEvent::LateInstance,
        CaseEvent::MovedOn,
        CaseEvent::PreliminaryReport,
        CaseEvent::FinalReport,
        CaseEvent::ReportWithdrawn,
    ];
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a {state} case cannot take the event {event:?}")]
pub struct IllegalMove {
    pub state: CaseState,
    pub event: CaseEvent,
}

/// Every move a case can make; whatever is not here is refused.
///
/// # Errors
/// [`IllegalMove`] for a pair that is not in the table.
pub fn next(state: CaseState, event: CaseEvent) -> Result<CaseState, IllegalMove> {
    use CaseEvent as E;
    use CaseState as S;
    Ok(match (state, event) {
        (S::New | S::Held, E::Decided) => S::Routed,
        (S::New | S::Held | S::Routed | S::Delivered, E::Hold) => S::Held,
        (S::Routed | S::Delivered, E::AllDelivered) => S::Delivered,
        // What has been read stays read; the late instance is delivered as an amendment.
        (S::Preliminary, E::AllDelivered | E::LateInstance) => S::Preliminary,
        (S::Reported, E::AllDelivered | E::LateInstance) => S::Reported,
        (S::Routed | S::Delivered, E::LateInstance | E::MovedOn) => S::Routed,
        // A reader may report from the first slices, before the last has been delivered.
        (S::Routed | S::Delivered | S::Preliminary, E::PreliminaryReport) => S::Preliminary,
        (S::Routed | S::Delivered | S::Preliminary | S::Reported, E::FinalReport) => S::Reported,
        // Overtaken on the way: kept as a version, changes nothing.
        (S::Reported, E::PreliminaryReport) => S::Reported,
        // Offered, then held by a person, and reported all the same: a report is never turned away.
        (S::Held, E::PreliminaryReport) => S::Preliminary,
        (S::Held, E::FinalReport) => S::Reported,
        (S::Held, E::LateInstance) => S::Held,
        // Who has everything is asked anew: then it is delivered again.
        (S::Preliminary | S::Reported, E::ReportWithdrawn) => S::Routed,
        // There was nothing to take back: it will not be read, and a person is told.
        (state @ (S::Held | S::Routed | S::Delivered), E::ReportWithdrawn) => state,
        (state, event) => return Err(IllegalMove { state, event }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as a reviewer reads it: one row a state, one column an event, `-` for what is refused.
    #[test]
    fn every_move_is_in_the_table_and_no_other() {
        let expected = [
            //            decided   hold    all-delivered  late          moved on  preliminary    final       withdrawn
            ("new", ["routed", "held", "-", "-", "-", "-", "-", "-"]),
            ("held", ["routed", "held", "-", "held", "-", "preliminary", "reported", "held"]),
            ("routed", ["-", "held", "delivered", "routed", "routed", "preliminary", "reported", "routed"]),
            ("delivered", ["-", "held", "delivered", "routed", "routed", "preliminary", "reported", "delivered"]),
            ("preliminary", ["-", "-", "preliminary", "preliminary", "-", "preliminary", "reported", "routed"]),
            ("reported", ["-", "-", "reported", "reported", "-", "reported", "reported", "routed"]),
        ];
        for (state, row) in expected {
            let state = CaseState::parse(state).expect("a state of the table");
            for (event, wanted) in CaseEvent::ALL.into_iter().zip(row) {
                let found = next(state, event).map_or("-", CaseState::as_str);
                assert_eq!(found, wanted, "{state} + {event:?}");
            }
        }
    }
}
