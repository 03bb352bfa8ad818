//! Reports as documents: MDM in from readers, MDM^T02 and T10 out to origins (HL7 v2.5.1 9.6).
//!
//! In: the TXA of a message beside what an ORU would hold too; or what is to be sent. Out: one shape for all reports
//! (`oru`), or segments. A document is told as a whole: what came as results goes as text.
//!
//! Does not keep documents apart by their numbers: the case says whose they are, its versions which is the last.

mod read;
mod write;

pub(super) use read::Notification;
pub use write::Document;
pub(super) use write::build;

#[cfg(test)]
mod tests;
