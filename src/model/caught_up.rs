//! How far the database knows what is durable: up to which moment everything that was in the journals is in it.
//!
//! In: marks of the index. Out: whether what an origin sent before a moment would be known by now. Nothing at start, until all
//! that was left behind has been read.

use super::{Moment, PartnerId};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Clones share all.
#[derive(Clone, Debug, Default)]
pub struct CaughtUp(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    to: Option<Moment>,
    /// Origins of what the database did not take, and is tried again.
    but_of: HashSet<PartnerId>,
}

impl CaughtUp {
    /// Everything that was durable at `to` is known, but of these origins.
    pub fn mark(&self, to: Moment, but_of: HashSet<PartnerId>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Known { to: Some(to), but_of };
    }

    /// Whether everything is known that this origin was told before `at` to be safe.
    pub fn knows(&self, origin: &PartnerId, at: Moment) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.to.is_some_and(|to| at <= to) && !known.but_of.contains(origin)
    }
}
