//! Stage 5: a report comes in, is joined to its case, and is owed to the origin in the forms it wants.
//!
//! `receive` answers HL7 messages, `objects` reads SR and PDF objects that came by C-STORE; both hand an `incoming`
//! report to `settle` (after `identity` has given it the origin's identifiers back), which asks `correlate` whose it is and `make` for what is to be sent, all in one transaction.
//! `ordered` finds it by any order of its case, `parts` says which of them each part answers. `addendum` puts the former words before what is only added
//! to them. A report that fits no case is held; `attach` is for a person who knows whose
//! it is.
//! The stage ends with a commit; the acknowledgement follows it. Then `handoff` and `delivery` carry it the other way round.
//!
//! What if power goes here? Before the commit the reader has no answer and sends again; after it the same message gets
//! the same answer, and the ledger owes the return.

pub mod acknowledged;
mod addendum;
pub mod attach;
pub mod correlate;
pub mod critical;
pub mod documents;
pub mod identity;
pub mod incoming;
pub mod make;
pub mod objects;
mod ordered;
mod parts;
pub mod receive;
pub mod settle;
mod wording;
