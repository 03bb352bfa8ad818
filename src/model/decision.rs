//! Who reads, by which rule, until when, and why.

use super::{Moment, PartnerId, ReadingMode};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The outcome of `routing::decide`, stored with the case as it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub disposition: Disposition,
    /// Each rule looked at, in file order, with why it matched or did not. The last line is the one that decided.
    pub reasons: Vec<String>,
    /// A digest of the rules and calendars this was decided by.
    pub rules_version: String,
    pub decided_at: Moment,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disposition {
    Read(Reading),
    /// Nobody reads this by the rules: a person decides. Never discarded.
    Hold {
        reason: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The route's `name`.
    pub rule: String,
    /// In order; the first is offered first. Holds the origin's own id where the rule says `origin`.
    pub readers: Vec<PartnerId>,
    /// Also get the images, whoever reads.
    pub also_to: Vec<PartnerId>,
    pub reading_mode: ReadingMode,
    /// Unclaimed after this, the case moves to the next reader.
    pub claim_within: Option<Duration>,
    pub report_within: Option<Duration>,
    /// When the rule's window closes; nothing that has been decided changes then.
    pub window_ends: Option<Moment>,
}

/// Why a case is held whose order has not come in time.
pub const WITHOUT_ITS_ORDER: &str = "its order has not come in time: link it (neisse orders list), or release the case";
/// What a person says who holds a case begins so.
pub const HELD_BY_A_PERSON: &str = "held by a person";

/// What stands in the place of a rule's name where a person named the reader.
pub const BY_HAND: &str = "released by hand";

impl Reading {
    /// The partner it is offered to now.
    pub fn reader(&self) -> Option<&PartnerId> {
        self.readers.first()
    }
}
