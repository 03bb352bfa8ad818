//! The vocabulary every room shares: identifiers, time, partners, studies, cases, decisions, deliveries, reports,
//! character sets and what becomes of letters that a receiver's set lacks.
//!
//! Values only. No I/O, no SQL, no wire format, and nothing here imports another room.

pub mod aside;
pub mod bell;
pub mod case;
pub mod caught_up;
pub mod chain;
pub mod charset;
pub mod clock;
pub mod decision;
pub mod delivery;
pub mod folding;
pub mod identity;
pub mod ids;
pub mod letters;
pub mod order;
pub mod partner;
pub mod pieces;
pub mod report;
pub mod scheduled;
pub mod specimen;
pub mod specimen_event;
pub mod study;
pub mod task;
pub mod token;

pub use aside::Aside;
pub use bell::Bell;
pub use case::{CaseEvent, CaseState, IllegalMove};
pub use caught_up::CaughtUp;
pub use chain::chain;
pub use charset::{Charset, Decoded, UnknownCharset, Unmappable};
pub use clock::{Clock, Moment};
pub use decision::{BY_HAND, Decision, Disposition, HELD_BY_A_PERSON, Reading, WITHOUT_ITS_ORDER};
pub use delivery::{Channel, DeliveryKind, DeliveryState, Fault, Lane, Outcome};
pub use folding::fold;
pub use identity::{GivenOut, IdentifierKind, Identifiers, Mapped, Mapping};
pub use ids::{
    CaseId, DeliveryId, Digest, InvalidUid, IssuedId, JournalId, OrderId, PartnerId, ReportId, ShipmentId, SpecimenId,
    Uid,
};
pub use letters::{Changes, Outgoing};
pub use order::{OrderControl, OrderState, OrderStatus, Progress, Unable, order_status_word};
pub use partner::{Discipline, Priority, ReadingMode};
pub use pieces::Pieces;
pub use report::{OrderNumbers, ReportForm, ReportStatus};
pub use scheduled::{Requested, Step, StepState};
pub use specimen::{SpecimenCode, SpecimenSaid, TimeSaid};
pub use specimen_event::{Contradiction, Note, SpecimenEvent, SpecimenState};
pub use study::{InstanceFacts, JournalPlace, ReceivedInstance, StudyFacts};
pub use task::{TaskEvent, TaskKey, TaskMove, TaskRefusal, TaskState, is_for_its_order, order_is};
pub use token::{Token, TokenId, same_digest};
