//! What happens to a specimen on its way, and where it then stands: one table says every move.
//!
//! Tellers are late, forget and repeat themselves, so an event is only refused where it contradicts what is known:
//! whatever comes late or skips something is taken, with a note for the story. Times are the tellers' own.

use std::fmt;

/// Where a specimen stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpecimenState {
    /// An order speaks of it; nobody has said that it was taken.
    Expected,
    Collected,
    /// It has left for the laboratory.
    Shipped,
    Received,
    /// The laboratory works on it.
    Accepted,
    /// The laboratory will not work on it.
    Rejected,
    /// It has left and cannot be found.
    Lost,
}

impl SpecimenState {
    pub const ALL: [SpecimenState; 7] = [
        SpecimenState::Expected,
        SpecimenState::Collected,
        SpecimenState::Shipped,
        SpecimenState::Received,
        SpecimenState::Accepted,
        SpecimenState::Rejected,
        SpecimenState::Lost,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            SpecimenState::Expected => "expected",
            SpecimenState::Collected => "collected",
            SpecimenState::Shipped => "shipped",
            SpecimenState::Received => "received",
            SpecimenState::Accepted => "accepted",
            SpecimenState::Rejected => "rejected",
            SpecimenState::Lost => "lost",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// How far along the way; what ends it stands at its end.
    fn rank(self) -> u8 {
        match self {
            SpecimenState::Expected => 0,
            SpecimenState::Collected => 1,
            SpecimenState::Shipped => 2,
            SpecimenState::Received => 3,
            SpecimenState::Accepted | SpecimenState::Rejected | SpecimenState::Lost => 4,
        }
    }
}

impl fmt::Display for SpecimenState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What somebody says has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpecimenEvent {
    Collected,
    Shipped,
    Received,
    Accepted,
    Rejected,
    Lost,
}

impl SpecimenEvent {
    pub const ALL: [SpecimenEvent; 6] = [
        SpecimenEvent::Collected,
        SpecimenEvent::Shipped,
        SpecimenEvent::Received,
        SpecimenEvent::Accepted,
        SpecimenEvent::Rejected,
        SpecimenEvent::Lost,
    ];

    /// The word for it, which is that of the state it leads to.
    pub fn as_str(self) -> &'static str {
        self.leads_to().as_str()
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == text)
    }

    pub fn leads_to(self) -> SpecimenState {
        match self {
            SpecimenEvent::Collected => SpecimenState::Collected,
            SpecimenEvent::Shipped => SpecimenState::Shipped,
            SpecimenEvent::Received => SpecimenState::Received,
            SpecimenEvent::Accepted => SpecimenState::Accepted,
            SpecimenEvent::Rejected => SpecimenState::Rejected,
            SpecimenEvent::Lost => SpecimenState::Lost,
        }
    }

    /// Only the laboratory can say so.
    pub fn is_at_the_laboratory(self) -> bool {
        matches!(self, SpecimenEvent::Received | SpecimenEvent::Accepted | SpecimenEvent::Rejected)
    }
}

impl fmt::Display for SpecimenEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to be said of an event besides that it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// As expected.
    Plain,
    /// Known already.
    Again,
    /// It happened before what is known: the state stays.
    Late,
    /// Nobody had said before that it was shipped, or received.
    Skipped(SpecimenState),
    /// A replacement for what was rejected or lost, or what was lost has been found.
    Anew,
}

/// Where an event leads, and what is to be noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Moved {
    pub state: SpecimenState,
    pub note: Note,
}

/// Why an event cannot have happened as things are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Contradiction {
    #[error("nobody has said that it was collected or shipped: it cannot be lost")]
    NeverThere,
    #[error("it has been rejected: it cannot be accepted unless it, or another in its place, is received after that")]
    WasRejected,
    #[error("it has been received and rejected: it cannot be lost")]
    WasReceived,
}

/// What an event does. `earlier`: its teller says that it happened before what made the present state. Every pair is here.
///
/// # Errors
/// [`Contradiction`], for whoever told it; nothing changes then.
pub fn next(state: SpecimenState, event: SpecimenEvent, earlier: bool) -> Result<Moved, Contradiction> {
    use SpecimenEvent as E;
    use SpecimenState as S;
    let to = event.leads_to();
    let moved = |state, note| Ok(Moved { state, note });
    if to == state {
        return moved(state, Note::Again);
    }
    match (state, event) {
        (S::Expected, E::Lost) => Err(Contradiction::NeverThere),
        (S::Rejected, E::Accepted) => Err(Contradiction::WasRejected),
        (S::Rejected, E::Lost) => Err(Contradiction::WasReceived),
        (S::Rejected | S::Lost, E::Collected | E::Shipped) | (S::Rejected, E::Received) if earlier => {
            moved(state, Note::Late)
        }
        // What has been found is there, whenever it came.
        (S::Rejected | S::Lost, _) => moved(to, Note::Anew),
        // A laboratory may find out on the table that it cannot use what it took.
        (S::Accepted, E::Rejected | E::Lost) => moved(to, Note::Plain),
        _ if to.rank() < state.rank() => moved(state, Note::Late),
        (S::Expected | S::Collected, E::Received) => moved(to, Note::Skipped(S::Shipped)),
        (S::Expected | S::Collected | S::Shipped, E::Accepted | E::Rejected) => moved(to, Note::Skipped(S::Received)),
        _ => moved(to, Note::Plain),
    }
}

/// Names of table 0490, specimen reject reason (HL7 v2.5.1 7.4.3.21). None for a code that is not in it.
pub fn reject_reason(code: &str) -> Option<&'static str> {
    Some(match code {
        "EX" => "expired",
        "QS" => "quantity not sufficient",
        "RA" => "missing patient ID number",
        "RB" => "broken container",
        "RC" => "clotting",
        "RD" => "missing collection date",
        "RE" => "missing patient name",
        "RH" => "hemolysis",
        "RI" => "identification problem",
        "RM" => "labeling",
        "RN" => "contamination",
        "RP" => "missing phlebotomist ID",
        "RR" => "improper storage",
        "RS" => "name misspelling",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as a reviewer reads it. Columns: expected, collected, shipped, received, accepted, rejected, lost; each
    /// cell the new state and its note, `=` for unchanged, `no` for refused.
    #[test]
    fn every_event_has_an_effect_in_every_state() {
        use SpecimenEvent as E;
        let later = [
            (E::Collected, ["collected", "= again", "= late", "= late", "= late", "collected anew", "collected anew"]),
            (E::Shipped, ["shipped", "shipped", "= again", "= late", "= late", "shipped anew", "shipped anew"]),
            (
                E::Received,
                [
                    "received -shipped",
                    "received -shipped",
                    "received",
                    "= again",
                    "= late",
                    "received anew",
                    "received anew",
                ],
            ),
            (
                E::Accepted,
                [
                    "accepted -received",
                    "accepted -received",
                    "accepted -received",
                    "accepted",
                    "= again",
                    "no",
                    "accepted anew",
                ],
            ),
            (
                E::Rejected,
                [
                    "rejected -received",
                    "rejected -received",
                    "rejected -received",
                    "rejected",
                    "rejected",
                    "= again",
                    "rejected anew",
                ],
            ),
            (E::Lost, ["no", "lost", "lost", "lost", "lost", "no", "= again"]),
        ];
        for (event, row) in later {
            for (state, wanted) in SpecimenState::ALL.into_iter().zip(row) {
                assert_eq!(cell(state, event, false), wanted, "{state} {event}");
            }
        }
    }

    /// What is told late of the time before a rejection or a loss does not bring the specimen back.
    #[test]
    fn only_an_ended_way_asks_when_something_happened() {
        for state in SpecimenState::ALL {
            for event in SpecimenEvent::ALL {
                let stays = matches!(
                    (state, event),
                    (SpecimenState::Rejected | SpecimenState::Lost, SpecimenEvent::Collected | SpecimenEvent::Shipped)
                        | (SpecimenState::Rejected, SpecimenEvent::Received)
                );
                let wanted = if stays { "= late".to_owned() } else { cell(state, event, false) };
                assert_eq!(cell(state, event, true), wanted, "{state} {event}");
            }
        }
    }

    fn cell(state: SpecimenState, event: SpecimenEvent, earlier: bool) -> String {
        let Ok(moved) = next(state, event, earlier) else { return "no".to_owned() };
        let to = if moved.state == state { "=" } else { moved.state.as_str() };
        match moved.note {
            Note::Plain => to.to_owned(),
            Note::Again => format!("{to} again"),
            Note::Late => format!("{to} late"),
            Note::Anew => format!("{to} anew"),
            Note::Skipped(skipped) => format!("{to} -{skipped}"),
        }
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for state in SpecimenState::ALL {
            assert_eq!(SpecimenState::parse(state.as_str()), Some(state));
        }
        for event in SpecimenEvent::ALL {
            assert_eq!(SpecimenEvent::parse(event.as_str()), Some(event));
        }
        assert_eq!(SpecimenEvent::parse("expected"), None);
        assert_eq!(reject_reason("RM"), Some("labeling"));
    }
}
