//! Stage 1: receive, make durable, acknowledge.
//!
//! `c_store` takes instances from associations into the journal and answers when they are durable. `index` reads them
//! into the database in batches, `matching` joins each to its case, `completeness` sees when a study is whole (`performed`:
//! by what its scanner says it made),
//! `recovery` re-reads at start what the database does not know yet, and `retention` takes off the disk what is done
//! with. `orders` takes what hospitals ask for (`scheduled`: what of it is for the scanner), and `order_match` says to which study an order belongs. `order_case` begins the
//! case of a pathology order, and `slides` finds it for the images of its specimens. `specimens` takes what happens to specimens,
//! `specimen_messages` reads it from HL7, `specimen_watch` tells the other side and sees what is late. The stage ends with a
//! commit and a ring of the bell; it never decides who reads.
//!
//! What if power goes here? Before the journal's sync: the sender has no answer and sends again. After it, before the
//! database's commit: `recovery` indexes the record at the next start.

pub mod c_store;
pub mod completeness;
pub mod index;
pub mod link;
pub mod matching;
mod near_misses;
pub mod open_studies;
pub mod order_case;
pub mod order_match;
pub mod orders;
pub mod patients;
mod performed;
pub mod recovery;
pub mod retention;
mod scheduled;
pub mod searchable;
pub mod slides;
pub mod specimen_messages;
mod specimen_strays;
mod specimen_telling;
pub mod specimen_watch;
pub mod specimens;
#[cfg(test)]
mod tests;
