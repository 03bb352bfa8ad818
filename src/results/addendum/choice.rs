//! Chooses among its reader's former reports those that an addendum stands on. Pure.
//!
//! In: the addendum and the case's orders; then its reader's versions, the newest first. Out: the addenda before it, down to the
//! report they add to; or that there is none, or that a person must say which.
//!
//! Where nothing can be compared, the newest is meant, as long as nothing says that its reader has reported on more than one order.

use super::{
    super::incoming::Incoming,
    NOTHING_BEFORE, WHICH,
    bearing::{About, Bearing, Family},
};
use crate::model::OrderNumbers;

pub(super) struct Choice {
    addendum: About,
    known: Vec<OrderNumbers>,
    family: Family,
    /// Newest first, down to the first that is no addendum itself.
    formers: Vec<Incoming>,
    /// What each of `formers` is about.
    chosen: Vec<About>,
    /// Newer than the last of `formers`, and about something else.
    others: Vec<About>,
    /// Of those that are or may be meant, some only may.
    unclear: bool,
    is_complete: bool,
    /// Older than the report that is meant; they are looked at only where that is unclear.
    older: Vec<About>,
}

impl Choice {
    pub(super) fn new(addendum: &Incoming, known: Vec<OrderNumbers>) -> Self {
        let addendum = About::of(addendum);
        let family = Family::of(&addendum);
        let (formers, chosen, others, older) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { addendum, known, family, formers, chosen, others, unclear: false, is_complete: false, older }
    }

    /// Whether the next older version is kept.
    pub(super) fn weigh(&mut self, former: Incoming) -> bool {
        let about = About::of(&former);
        let bearing = self.family.bearing(&self.addendum, &about, &self.known);
        if self.is_complete {
            self.unclear |= bearing == Bearing::Unclear;
            self.older.push(about);
            return false;
        }
        if bearing == Bearing::Other {
            self.others.push(about);
            return false;
        }
        self.unclear |= bearing == Bearing::Unclear;
        self.is_complete = !former.is_addendum;
        self.formers.push(former);
        self.chosen.push(about);
        true
    }

    /// Nothing older can change it.
    pub(super) fn is_made(&self) -> bool {
        self.is_complete && !self.unclear
    }

    /// # Errors
    /// Why a person must look.
    pub(super) fn outcome(self) -> Result<Vec<Incoming>, &'static str> {
        // One that a person joined though nothing was before it is the beginning, too.
        let is_meant = if self.unclear { self.all_are_one() } else { !self.is_overtaken() };
        match is_meant {
            _ if self.chosen.is_empty() && self.others.is_empty() => Err(NOTHING_BEFORE),
            true if !self.chosen.is_empty() => Ok(self.formers),
            _ => Err(WHICH),
        }
    }

    /// One of several orders that a newer report speaks of, too: with the words of the older one it would go home as it was.
    fn is_overtaken(&self) -> bool {
        let overlaps =
            |other: &About| self.chosen.iter().any(|chosen| chosen.orders_with(other, &self.known) == Bearing::Same);
        self.others.iter().any(overlaps)
    }

    /// Its reader has spoken of one thing only.
    fn all_are_one(&self) -> bool {
        let mut all = self.chosen.iter().chain(&self.older);
        let Some(first) = all.next() else { return false };
        let is_one = |other: &About| {
            first.names_nothing() && other.names_nothing() || first.orders_with(other, &self.known) == Bearing::Same
        };
        self.others.is_empty() && all.all(is_one)
    }
}
