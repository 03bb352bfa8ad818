//! A reading task: a Unified Procedure Step (PS3.4 CC). One table says every move it can make, and with what status anything
//! else is refused.
//!
//! Pure: knows no wire, no store. Who may see a task at all is decided before it is asked here.

use super::OrderState;
use std::fmt;

/// Procedure Step State (0074,1000), PS3.4 Table CC.1.1-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskState {
    Scheduled,
    /// One performer holds the lock, its Transaction UID.
    InProgress,
    Completed,
    Canceled,
}

impl TaskState {
    pub const ALL: [TaskState; 4] =
        [TaskState::Scheduled, TaskState::InProgress, TaskState::Completed, TaskState::Canceled];

    /// The standard's word, on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskState::Scheduled => "SCHEDULED",
            TaskState::InProgress => "IN PROGRESS",
            TaskState::Completed => "COMPLETED",
            TaskState::Canceled => "CANCELED",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Nothing of it changes any more.
    pub fn is_final(self) -> bool {
        matches!(self, TaskState::Completed | TaskState::Canceled)
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a task is canceled whose case's orders have been taken back: `state` is what has become of the last of them.
pub fn order_is(state: OrderState) -> String {
    format!("{ORDER_IS}{state}")
}

/// Whether a task was canceled because its order was; then another order may bring it back.
pub fn is_for_its_order(reason: &str) -> bool {
    reason.starts_with(ORDER_IS)
}

const ORDER_IS: &str = "its order is ";

/// Why a task is withdrawn whose reader is down; `since` as it is said.
pub fn has_taken_nothing(reader: &str, since: &str) -> String {
    format!("{reader}{IS_DOWN}{since}")
}

/// Whether a task was withdrawn because its reader was down: then the reader may be offered the case again.
pub fn is_for_being_down(reason: &str) -> bool {
    reason.contains(IS_DOWN)
}

const IS_DOWN: &str = " has taken nothing since ";

/// The Transaction UID (0008,1195) of a request, beside the one the task is locked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKey {
    Missing,
    /// Equal to the recorded one; or none is recorded, so that any is as right as another.
    Right,
    Wrong,
}

impl TaskKey {
    pub const ALL: [TaskKey; 3] = [TaskKey::Missing, TaskKey::Right, TaskKey::Wrong];

    /// `recorded` empty: nobody has claimed the task.
    pub fn of(given: &str, recorded: &str) -> Self {
        if given.is_empty() {
            TaskKey::Missing
        } else if recorded.is_empty() || given == recorded {
            TaskKey::Right
        } else {
            TaskKey::Wrong
        }
    }
}

/// What a request does to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskMove {
    To(TaskState),
    /// It is in that state already: a warning, and nothing changes.
    Already(TaskState),
}

impl TaskMove {
    /// B304, B306: PS3.4 Table CC.2.1-2.
    pub fn status(self) -> u16 {
        match self {
            TaskMove::Already(TaskState::Canceled) => 0xB304,
            TaskMove::Already(_) => 0xB306,
            TaskMove::To(_) => 0x0000,
        }
    }
}

/// Why a request is refused; PS3.4 Tables CC.2.1-2, CC.2.2-2, CC.2.3-3, CC.2.6-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskRefusal {
    NoLongerUpdated,
    WrongTransaction,
    AlreadyInProgress,
    OnlyCreatedScheduled,
    FinalStateNotMet,
    Unknown,
    UnknownReceiver,
    NotInProgress,
    AlreadyCompleted,
    PerformerOutOfReach,
    ActionNotFitting,
}

impl TaskRefusal {
    pub fn status(self) -> u16 {
        match self {
            TaskRefusal::NoLongerUpdated => 0xC300,
            TaskRefusal::WrongTransaction => 0xC301,
            TaskRefusal::AlreadyInProgress => 0xC302,
            TaskRefusal::OnlyCreatedScheduled => 0xC303,
            TaskRefusal::FinalStateNotMet => 0xC304,
            TaskRefusal::Unknown => 0xC307,
            TaskRefusal::UnknownReceiver => 0xC308,
            TaskRefusal::NotInProgress => 0xC310,
            TaskRefusal::AlreadyCompleted => 0xC311,
            TaskRefusal::PerformerOutOfReach => 0xC312,
            TaskRefusal::ActionNotFitting => 0xC314,
        }
    }

    /// For Error Comment (0000,0902), which holds 64 characters.
    pub fn comment(self) -> &'static str {
        match self {
            TaskRefusal::NoLongerUpdated => "The UPS may no longer be updated",
            TaskRefusal::WrongTransaction => "The correct Transaction UID was not provided",
            TaskRefusal::AlreadyInProgress => "The UPS is already IN PROGRESS",
            TaskRefusal::OnlyCreatedScheduled => "The UPS may only become SCHEDULED via N-CREATE",
            TaskRefusal::FinalStateNotMet => "The UPS has not met final state requirements",
            TaskRefusal::Unknown => "No such UPS",
            TaskRefusal::UnknownReceiver => "Receiving AE-TITLE is unknown",
            TaskRefusal::NotInProgress => "The UPS is not IN PROGRESS",
            TaskRefusal::AlreadyCompleted => "The UPS is already COMPLETED",
            TaskRefusal::PerformerOutOfReach => "The performer cannot be contacted",
            TaskRefusal::ActionNotFitting => "Action not appropriate for this instance",
        }
    }
}

/// N-ACTION type 1, PS3.4 Table CC.1.1-2.
///
/// Who claims brings a UID of its own making (CC.2.1.2), so for a claim any is right: whoever comes second is told that
/// the task is IN PROGRESS, not that its UID is wrong.
///
/// # Errors
/// The standard's refusal of that cell.
pub fn change_state(
    state: TaskState,
    wanted: TaskState,
    key: TaskKey,
    final_state_met: bool,
) -> Result<TaskMove, TaskRefusal> {
    use TaskState as S;
    match (wanted, key) {
        (S::Scheduled, _) => Err(TaskRefusal::OnlyCreatedScheduled),
        (_, TaskKey::Missing) => Err(TaskRefusal::WrongTransaction),
        (S::InProgress, _) => match state {
            S::Scheduled => Ok(TaskMove::To(S::InProgress)),
            S::InProgress => Err(TaskRefusal::AlreadyInProgress),
            S::Completed | S::Canceled => Err(TaskRefusal::NoLongerUpdated),
        },
        (S::Completed | S::Canceled, TaskKey::Wrong) => Err(TaskRefusal::WrongTransaction),
        (S::Completed | S::Canceled, TaskKey::Right) => match state {
            S::Scheduled => Err(TaskRefusal::NotInProgress),
            S::InProgress if final_state_met => Ok(TaskMove::To(wanted)),
            S::InProgress => Err(TaskRefusal::FinalStateNotMet),
            _ if state == wanted => Ok(TaskMove::Already(state)),
            S::Completed | S::Canceled => Err(TaskRefusal::NoLongerUpdated),
        },
    }
}

/// N-SET, PS3.4 CC.2.6.
///
/// # Errors
/// The standard's refusal of that cell.
pub fn update(state: TaskState, key: TaskKey) -> Result<(), TaskRefusal> {
    match (state, key) {
        (TaskState::Scheduled, TaskKey::Missing) | (TaskState::InProgress, TaskKey::Right) => Ok(()),
        // CC.2.6.2: for a SCHEDULED one the Transaction UID shall not be present.
        (TaskState::Scheduled, _) => Err(TaskRefusal::NotInProgress),
        (TaskState::InProgress, _) => Err(TaskRefusal::WrongTransaction),
        (TaskState::Completed | TaskState::Canceled, _) => Err(TaskRefusal::NoLongerUpdated),
    }
}

/// What follows from a request to cancel by somebody who does not hold the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelRequest {
    /// Nobody has begun: it goes to IN PROGRESS and on to CANCELED, by us.
    Cancel,
    /// Its performer is asked, and decides.
    AskPerformer,
    /// It is CANCELED already: B304.
    Already,
}

/// N-ACTION type 2, PS3.4 CC.2.2.3. `performer_hears`: somebody is subscribed to the task's events.
///
/// # Errors
/// The standard's refusal of that cell.
pub fn request_cancel(state: TaskState, performer_hears: bool) -> Result<CancelRequest, TaskRefusal> {
    match state {
        TaskState::Scheduled => Ok(CancelRequest::Cancel),
        TaskState::InProgress if performer_hears => Ok(CancelRequest::AskPerformer),
        TaskState::InProgress => Err(TaskRefusal::PerformerOutOfReach),
        TaskState::Completed => Err(TaskRefusal::AlreadyCompleted),
        TaskState::Canceled => Ok(CancelRequest::Already),
    }
}

/// Event Type ID, PS3.4 Table CC.2.4-1. SCP Status Change (4) is about no task and not stored with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEvent {
    StateReport,
    CancelRequested,
    Progress,
    Assigned,
}

impl TaskEvent {
    pub const ALL: [TaskEvent; 4] =
        [TaskEvent::StateReport, TaskEvent::CancelRequested, TaskEvent::Progress, TaskEvent::Assigned];

    pub fn id(self) -> u16 {
        match self {
            TaskEvent::StateReport => 1,
            TaskEvent::CancelRequested => 2,
            TaskEvent::Progress => 3,
            TaskEvent::Assigned => 5,
        }
    }

    pub fn of(id: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|event| i64::from(event.id()) == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(outcome: Result<TaskMove, TaskRefusal>) -> String {
        match outcome {
            Ok(TaskMove::To(state)) => state.to_string(),
            Ok(warning) => format!("{:04X}", warning.status()),
            Err(refusal) => format!("{:04X}", refusal.status()),
        }
    }

    /// PS3.4 Table CC.1.1-2 as a reviewer reads it: a row a request, a column a state.
    #[test]
    fn every_move_of_the_standard_is_in_the_table_and_no_other() {
        use TaskKey as K;
        use TaskState as S;
        let expected = [
            // wanted, key, final state met          scheduled       in progress   completed canceled
            (S::Scheduled, K::Right, true, ["C303", "C303", "C303", "C303"]),
            (S::Scheduled, K::Wrong, true, ["C303", "C303", "C303", "C303"]),
            (S::Scheduled, K::Missing, true, ["C303", "C303", "C303", "C303"]),
            (S::InProgress, K::Right, true, ["IN PROGRESS", "C302", "C300", "C300"]),
            (S::InProgress, K::Wrong, true, ["IN PROGRESS", "C302", "C300", "C300"]),
            (S::InProgress, K::Missing, true, ["C301", "C301", "C301", "C301"]),
            (S::Completed, K::Right, true, ["C310", "COMPLETED", "B306", "C300"]),
            (S::Completed, K::Right, false, ["C310", "C304", "B306", "C300"]),
            (S::Completed, K::Wrong, true, ["C301", "C301", "C301", "C301"]),
            (S::Completed, K::Missing, true, ["C301", "C301", "C301", "C301"]),
            (S::Canceled, K::Right, true, ["C310", "CANCELED", "C300", "B304"]),
            (S::Canceled, K::Right, false, ["C310", "C304", "C300", "B304"]),
            (S::Canceled, K::Wrong, true, ["C301", "C301", "C301", "C301"]),
            (S::Canceled, K::Missing, true, ["C301", "C301", "C301", "C301"]),
        ];
        for (wanted, key, met, row) in expected {
            for (state, cell_wanted) in S::ALL.into_iter().zip(row) {
                let found = cell(change_state(state, wanted, key, met));
                assert_eq!(found, cell_wanted, "{state} asked for {wanted} with {key:?}, final state met: {met}");
            }
        }
    }

    #[test]
    fn only_the_performer_changes_what_is_in_progress() {
        let expected = [
            // key                 scheduled in progress completed canceled
            (TaskKey::Missing, ["ok", "C301", "C300", "C300"]),
            (TaskKey::Right, ["C310", "ok", "C300", "C300"]),
            (TaskKey::Wrong, ["C310", "C301", "C300", "C300"]),
        ];
        for (key, row) in expected {
            for (state, wanted) in TaskState::ALL.into_iter().zip(row) {
                let found = update(state, key).map_or_else(|no| format!("{:04X}", no.status()), |()| "ok".into());
                assert_eq!(found, wanted, "{state} with {key:?}");
            }
        }
    }

    #[test]
    fn a_request_to_cancel_ends_what_nobody_has_begun_and_asks_who_has() {
        use CancelRequest as C;
        use TaskRefusal as R;
        let heard: Vec<_> = TaskState::ALL.map(|state| request_cancel(state, true)).to_vec();
        assert_eq!(heard, [Ok(C::Cancel), Ok(C::AskPerformer), Err(R::AlreadyCompleted), Ok(C::Already)]);
        let unheard: Vec<_> = TaskState::ALL.map(|state| request_cancel(state, false)).to_vec();
        assert_eq!(unheard, [Ok(C::Cancel), Err(R::PerformerOutOfReach), Err(R::AlreadyCompleted), Ok(C::Already)]);
    }

    #[test]
    fn a_comment_fits_its_element() {
        let all = [
            TaskRefusal::NoLongerUpdated,
            TaskRefusal::WrongTransaction,
            TaskRefusal::OnlyCreatedScheduled,
            TaskRefusal::FinalStateNotMet,
            TaskRefusal::PerformerOutOfReach,
            TaskRefusal::ActionNotFitting,
        ];
        assert!(all.iter().all(|refusal| refusal.comment().len() <= 64));
    }

    #[test]
    fn a_key_is_right_where_none_is_recorded() {
        assert_eq!(TaskKey::of("", "1.2"), TaskKey::Missing);
        assert_eq!(TaskKey::of("1.2", ""), TaskKey::Right);
        assert_eq!(TaskKey::of("1.2", "1.2"), TaskKey::Right);
        assert_eq!(TaskKey::of("1.3", "1.2"), TaskKey::Wrong);
    }
}
