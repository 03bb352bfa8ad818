//! The order: what a hospital asked for. One table says what each order control does to it and how it is answered.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderState {
    /// Accepted; waits for its images, or goes with them.
    Open,
    /// The origin has asked to wait.
    OnHold,
    /// Taken back by the origin before it was read.
    Cancelled,
    /// Broken off: what has been done stays done.
    Discontinued,
    /// Another order has taken its place.
    Replaced,
    /// The origin says that it is done.
    Completed,
}

impl OrderState {
    pub const ALL: [OrderState; 6] = [
        OrderState::Open,
        OrderState::OnHold,
        OrderState::Cancelled,
        OrderState::Discontinued,
        OrderState::Replaced,
        OrderState::Completed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            OrderState::Open => "open",
            OrderState::OnHold => "on_hold",
            OrderState::Cancelled => "cancelled",
            OrderState::Discontinued => "discontinued",
            OrderState::Replaced => "replaced",
            OrderState::Completed => "completed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// May still be changed, held or taken back.
    pub fn is_live(self) -> bool {
        matches!(self, OrderState::Open | OrderState::OnHold)
    }
}

impl fmt::Display for OrderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OrderState::OnHold => "on hold",
            state => state.as_str(),
        })
    }
}

/// How far the order's case has come, which decides what can no longer be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Progress {
    /// No image, or nothing of it has been sent to a reader.
    NotSent,
    /// Images are queued for a reader or have reached one; it may have been claimed.
    Sent,
    /// A preliminary report has come and been acted upon: a final one must follow.
    Preliminary,
    /// A final report has come.
    Reported,
}

impl Progress {
    pub const ALL: [Progress; 4] = [Progress::NotSent, Progress::Sent, Progress::Preliminary, Progress::Reported];
}

/// ORC-1 of what an ordering system sends (HL7 v2.5.1 4.5.1.1, table 0119).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OrderControl {
    /// NW.
    New,
    /// CA.
    Cancel,
    /// XO.
    Change,
    /// SC; what the status is now stands in ORC-5.
    StatusChanged,
    /// DC.
    Discontinue,
    /// RP; the replacement follows as RO.
    Replace,
    /// RO.
    Replacement,
    /// HD.
    Hold,
    /// RL.
    Release,
    /// SN: the sender asks for a number.
    SendNumber,
    /// NA: the other side's number is given.
    NumberAssigned,
}

impl OrderControl {
    pub const ALL: [OrderControl; 11] = [
        OrderControl::New,
        OrderControl::Cancel,
        OrderControl::Change,
        OrderControl::StatusChanged,
        OrderControl::Discontinue,
        OrderControl::Replace,
        OrderControl::Replacement,
        OrderControl::Hold,
        OrderControl::Release,
        OrderControl::SendNumber,
        OrderControl::NumberAssigned,
    ];

    /// The code in ORC-1.
    pub fn code(self) -> &'static str {
        match self {
            OrderControl::New => "NW",
            OrderControl::Cancel => "CA",
            OrderControl::Change => "XO",
            OrderControl::StatusChanged => "SC",
            OrderControl::Discontinue => "DC",
            OrderControl::Replace => "RP",
            OrderControl::Replacement => "RO",
            OrderControl::Hold => "HD",
            OrderControl::Release => "RL",
            OrderControl::SendNumber => "SN",
            OrderControl::NumberAssigned => "NA",
        }
    }

    /// None for a code that no ordering system sends, or that we do not take.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|control| control.code() == code)
    }

    /// Whether what the message says of the order is taken over: an order is announced step by step (IHE SWF: OMG^O19 first,
    /// then OMI^O23 with NW or SC), and changed by XO.
    pub fn says_what_is_ordered(self) -> bool {
        matches!(
            self,
            OrderControl::New | OrderControl::Replacement | OrderControl::Change | OrderControl::StatusChanged
        )
    }

    /// The code in ORC-1 of the application response (table 0119).
    pub fn answer(self, done: bool) -> &'static str {
        match (self, done) {
            (OrderControl::New | OrderControl::Replacement | OrderControl::StatusChanged, true) => "OK",
            (OrderControl::NumberAssigned, true) => "OK",
            (OrderControl::SendNumber, true) => "NA",
            (OrderControl::Cancel, true) => "CR",
            (OrderControl::Change, true) => "XR",
            (OrderControl::Discontinue, true) => "DR",
            (OrderControl::Replace, true) => "RQ",
            (OrderControl::Hold, true) => "HR",
            (OrderControl::Release, true) => "OR",
            (OrderControl::Cancel, false) => "UC",
            (OrderControl::Change, false) => "UX",
            (OrderControl::Discontinue, false) => "UD",
            (OrderControl::Replace, false) => "UM",
            (OrderControl::Hold, false) => "UH",
            (OrderControl::Release, false) => "UR",
            (_, false) => "UA",
        }
    }
}

/// ORC-5 with SC (table 0038), as far as it moves an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderStatus {
    /// CA.
    Cancelled,
    /// CM.
    Completed,
    /// DC.
    Discontinued,
    /// HD.
    OnHold,
    /// Any other: scheduled, in progress, …
    Other,
}

impl OrderStatus {
    pub const ALL: [OrderStatus; 5] = [
        OrderStatus::Cancelled,
        OrderStatus::Completed,
        OrderStatus::Discontinued,
        OrderStatus::OnHold,
        OrderStatus::Other,
    ];

    pub fn of_code(code: &str) -> Self {
        match code {
            "CA" => OrderStatus::Cancelled,
            "CM" => OrderStatus::Completed,
            "DC" => OrderStatus::Discontinued,
            "HD" => OrderStatus::OnHold,
            _ => OrderStatus::Other,
        }
    }

    /// Whoever was to do it says that it does not.
    pub fn is_not_done(self) -> bool {
        matches!(self, OrderStatus::Cancelled | OrderStatus::Discontinued | OrderStatus::OnHold)
    }
}

/// ORC-5 in words (table 0038). What a sender has written otherwise is not repeated.
pub fn order_status_word(code: &str) -> &'static str {
    match code {
        "A" => "done in part",
        "CA" => "cancelled",
        "CM" => "completed",
        "DC" => "discontinued",
        "ER" => "in error",
        "HD" => "on hold",
        "IP" => "in process",
        "RP" => "replaced",
        "SC" => "scheduled",
        _ => "of another status",
    }
}

/// Why an order control cannot be carried out. Goes to the sender (ORC-16) and into the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unable {
    #[error("no order with this number from this sender")]
    Unknown,
    #[error("the order has been cancelled, replaced or completed already")]
    NotLive,
    #[error("the order has been read and reported")]
    Reported,
    #[error(
        "a preliminary report has been given, a final one must follow: discontinue it if nothing more is to be done"
    )]
    Preliminary,
    #[error("the order is not on hold")]
    NotOnHold,
    #[error("the order is for another patient")]
    OtherPatient,
    #[error("the order with this placer number has another filler number")]
    OtherNumber,
    #[error("several orders have this filler number, and no placer number says which")]
    Ambiguous,
    #[error("numbers are given by the department that does the work, not here")]
    NoNumbersHere,
}

/// What an order control does to an order: `None`, no such order is known. Every pair is here.
///
/// # Errors
/// [`Unable`], which answers the sender; nothing changes then.
pub fn next(
    state: Option<OrderState>,
    control: OrderControl,
    status: OrderStatus,
    progress: Progress,
) -> Result<OrderState, Unable> {
    use OrderControl as C;
    use OrderState as S;
    if control == C::SendNumber {
        return Err(Unable::NoNumbersHere);
    }
    let Some(state) = state else {
        return match control {
            C::New | C::Replacement => Ok(S::Open),
            // Systems that schedule elsewhere announce an order as a change (RAD-13). What is asked for is there all the same.
            C::Change => Ok(S::Open),
            // A status is no request: whoever tells one of an order that is not known here asks for nothing.
            _ => Err(Unable::Unknown),
        };
    };
    match control {
        // The same order announced again, perhaps with more than before, unless it has ended.
        C::New | C::Replacement if state.is_live() => Ok(state),
        C::New | C::Replacement => Err(Unable::NotLive),
        C::NumberAssigned => Ok(state),
        // Asked again: it is so already.
        C::Cancel if state == S::Cancelled => Ok(S::Cancelled),
        C::Discontinue if matches!(state, S::Discontinued | S::Cancelled) => Ok(state),
        C::Replace if state == S::Replaced => Ok(S::Replaced),
        C::Cancel | C::Discontinue | C::Replace | C::Change | C::Hold | C::Release if !state.is_live() => {
            Err(Unable::NotLive)
        }
        C::Cancel | C::Replace | C::Change | C::Hold if progress == Progress::Reported => Err(Unable::Reported),
        C::Cancel | C::Hold if progress == Progress::Preliminary => Err(Unable::Preliminary),
        C::Cancel => Ok(S::Cancelled),
        C::Discontinue => Ok(S::Discontinued),
        C::Replace => Ok(S::Replaced),
        C::Change => Ok(state),
        C::Hold => Ok(S::OnHold),
        C::Release if state == S::OnHold => Ok(S::Open),
        C::Release => Err(Unable::NotOnHold),
        C::StatusChanged => status_changed(state, status, progress),
        C::SendNumber => Err(Unable::NoNumbersHere),
    }
}

/// The origin tells what has become of it. It is not a request, so only what contradicts what is known is refused.
fn status_changed(state: OrderState, status: OrderStatus, progress: Progress) -> Result<OrderState, Unable> {
    let wanted = match status {
        OrderStatus::Cancelled => OrderState::Cancelled,
        OrderStatus::Completed => OrderState::Completed,
        OrderStatus::Discontinued => OrderState::Discontinued,
        OrderStatus::OnHold => OrderState::OnHold,
        OrderStatus::Other => return Ok(state),
    };
    match wanted {
        wanted if wanted == state => Ok(state),
        _ if !state.is_live() => Err(Unable::NotLive),
        OrderState::Cancelled | OrderState::OnHold if progress == Progress::Reported => Err(Unable::Reported),
        OrderState::Cancelled | OrderState::OnHold if progress == Progress::Preliminary => Err(Unable::Preliminary),
        wanted => Ok(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table as a reviewer reads it. Columns: not known, open, on hold, cancelled, discontinued, replaced, completed;
    /// each cell `answer new-state`, `=` for unchanged. Before a report has come.
    #[test]
    fn every_order_control_has_an_answer_in_every_state() {
        let states = [None].into_iter().chain(OrderState::ALL.into_iter().map(Some));
        let states: Vec<Option<OrderState>> = states.collect();
        let expected = [
            (OrderControl::New, ["OK open", "OK =", "OK =", "UA", "UA", "UA", "UA"]),
            (OrderControl::Cancel, ["UC", "CR cancelled", "CR cancelled", "CR =", "UC", "UC", "UC"]),
            (OrderControl::Change, ["XR open", "XR =", "XR =", "UX", "UX", "UX", "UX"]),
            (OrderControl::StatusChanged, ["UA", "OK =", "OK =", "OK =", "OK =", "OK =", "OK ="]),
            (OrderControl::Discontinue, ["UD", "DR discontinued", "DR discontinued", "DR =", "DR =", "UD", "UD"]),
            (OrderControl::Replace, ["UM", "RQ replaced", "RQ replaced", "UM", "UM", "RQ =", "UM"]),
            (OrderControl::Replacement, ["OK open", "OK =", "OK =", "UA", "UA", "UA", "UA"]),
            (OrderControl::Hold, ["UH", "HR on_hold", "HR =", "UH", "UH", "UH", "UH"]),
            (OrderControl::Release, ["UR", "UR", "OR open", "UR", "UR", "UR", "UR"]),
            (OrderControl::SendNumber, ["UA", "UA", "UA", "UA", "UA", "UA", "UA"]),
            (OrderControl::NumberAssigned, ["UA", "OK =", "OK =", "OK =", "OK =", "OK =", "OK ="]),
        ];
        for progress in [Progress::NotSent, Progress::Sent] {
            for (control, row) in expected {
                for (state, wanted) in states.iter().zip(row) {
                    assert_eq!(cell(*state, control, OrderStatus::Other, progress), wanted, "{control:?} {state:?}");
                }
            }
        }
    }

    /// What has been reported can be changed, held or taken back no more; what the origin says of it is heard.
    #[test]
    fn what_has_been_reported_is_not_taken_back() {
        let open = Some(OrderState::Open);
        for (control, wanted) in [
            (OrderControl::New, "OK ="),
            (OrderControl::Cancel, "UC"),
            (OrderControl::Change, "UX"),
            (OrderControl::StatusChanged, "OK ="),
            (OrderControl::Discontinue, "DR discontinued"),
            (OrderControl::Replace, "UM"),
            (OrderControl::Replacement, "OK ="),
            (OrderControl::Hold, "UH"),
            (OrderControl::Release, "UR"),
            (OrderControl::SendNumber, "UA"),
            (OrderControl::NumberAssigned, "OK ="),
        ] {
            assert_eq!(cell(open, control, OrderStatus::Other, Progress::Reported), wanted, "{control:?}");
        }
    }

    /// What was acted upon by night is not left without its final report by a clerk in the morning.
    #[test]
    fn what_has_a_preliminary_report_is_broken_off_or_replaced_and_not_cancelled() {
        let open = Some(OrderState::Open);
        for (control, wanted) in [
            (OrderControl::New, "OK ="),
            (OrderControl::Cancel, "UC"),
            (OrderControl::Change, "XR ="),
            (OrderControl::Discontinue, "DR discontinued"),
            (OrderControl::Replace, "RQ replaced"),
            (OrderControl::Hold, "UH"),
        ] {
            assert_eq!(cell(open, control, OrderStatus::Other, Progress::Preliminary), wanted, "{control:?}");
        }
        for (status, wanted) in
            [(OrderStatus::Cancelled, "UA"), (OrderStatus::OnHold, "UA"), (OrderStatus::Completed, "OK completed")]
        {
            assert_eq!(cell(open, OrderControl::StatusChanged, status, Progress::Preliminary), wanted, "{status:?}");
        }
    }

    #[test]
    fn a_status_that_is_told_moves_a_live_order() {
        let told = |state, status, progress| cell(Some(state), OrderControl::StatusChanged, status, progress);
        use OrderState as S;
        use OrderStatus as T;
        for (status, wanted) in [
            (T::Cancelled, "OK cancelled"),
            (T::Completed, "OK completed"),
            (T::Discontinued, "OK discontinued"),
            (T::OnHold, "OK on_hold"),
            (T::Other, "OK ="),
        ] {
            assert_eq!(told(S::Open, status, Progress::Sent), wanted, "{status:?}");
        }
        assert_eq!(told(S::Cancelled, T::Completed, Progress::NotSent), "UA");
        assert_eq!(told(S::Completed, T::Completed, Progress::Reported), "OK =");
        assert_eq!(told(S::Open, T::Cancelled, Progress::Reported), "UA");
        assert_eq!(told(S::Open, T::Completed, Progress::Reported), "OK completed");
        for status in T::ALL {
            assert_eq!(
                cell(None, OrderControl::StatusChanged, status, Progress::NotSent),
                "UA",
                "no order of a status"
            );
        }
    }

    fn cell(state: Option<OrderState>, control: OrderControl, status: OrderStatus, progress: Progress) -> String {
        match next(state, control, status, progress) {
            Ok(new) if Some(new) == state => format!("{} =", control.answer(true)),
            Ok(new) => format!("{} {}", control.answer(true), new.as_str()),
            Err(_) => control.answer(false).to_owned(),
        }
    }

    #[test]
    fn codes_are_read_as_they_are_written() {
        for control in OrderControl::ALL {
            assert_eq!(OrderControl::of_code(control.code()), Some(control));
        }
        for state in OrderState::ALL {
            assert_eq!(OrderState::parse(state.as_str()), Some(state));
        }
        assert_eq!(OrderControl::of_code("RE"), None);
    }
}
