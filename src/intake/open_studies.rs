//! Which studies have an association open that sent some of them, or had until a moment ago: those are not whole yet.
//!
//! The moment is for the index: an instance that came just before the release is durable and acknowledged, but may not
//! be joined to its case yet, and a case looked at in between would be whole without it.

use crate::model::{PartnerId, Uid};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What the index is given to catch up with an association that has ended. By the system's time and not the node's
/// clock, for it is about work that is being done.
const SETTLE: Duration = Duration::from_secs(1);

/// Known to this process only: after a restart no association is open, and another node's associations are covered by
/// the quiet time.
#[derive(Clone, Debug, Default)]
pub struct OpenStudies(Arc<Mutex<HashMap<(PartnerId, Uid), Entry>>>);

#[derive(Debug, Default)]
struct Entry {
    associations: usize,
    closed: Option<Instant>,
}

impl Entry {
    fn is_open(&self) -> bool {
        self.associations > 0 || self.closed.is_some_and(|closed| closed.elapsed() < SETTLE)
    }
}

impl OpenStudies {
    pub fn open(&self, origin: &PartnerId, study: &Uid) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry((origin.clone(), study.clone())).or_default().associations += 1;
    }

    pub fn close(&self, origin: &PartnerId, study: &Uid) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = open.get_mut(&(origin.clone(), study.clone())) {
            entry.associations = entry.associations.saturating_sub(1);
            entry.closed = Some(Instant::now());
        }
        // Those that have settled: nobody asks about most of them again.
        open.retain(|_, entry| entry.is_open());
    }

    pub fn is_open(&self, origin: &PartnerId, study: &Uid) -> bool {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&(origin.clone(), study.clone())).is_some_and(Entry::is_open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_study_is_open_until_its_last_association_has_ended_and_the_index_had_its_moment() {
        let (open, origin) = (OpenStudies::default(), PartnerId::new("rabenstein").unwrap());
        let study = Uid::new("1.2.3").unwrap();
        assert!(!open.is_open(&origin, &study));
        open.open(&origin, &study);
        open.open(&origin, &study);
        open.close(&origin, &study);
        std::thread::sleep(SETTLE);
        assert!(open.is_open(&origin, &study), "the other association is still there");
        open.close(&origin, &study);
        assert!(open.is_open(&origin, &study), "what it sent last is not indexed yet");
        std::thread::sleep(SETTLE);
        assert!(!open.is_open(&origin, &study));
    }
}
