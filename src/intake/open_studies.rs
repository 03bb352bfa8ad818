//! Which studies have an association open that sent some of them lately, or had until a moment ago: those are not whole
//! yet. Lately, because some senders never end their association: of each, the last studies count.
//!
//! The moment is for the index: an instance that came just before the release is durable and acknowledged, but may not
//! be joined to its case yet, and a case looked at in between would be whole without it.

use crate::model::{PartnerId, Uid};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What the index is given to catch up with an association that has ended. By the system's time and not the node's
/// clock, for it is about work that is being done.
const SETTLE: Duration = Duration::from_secs(1);
/// Studies that one association has open, at most: a PACS that sends several at a time sends no more than these.
const OPEN_AT_ONCE: usize = 16;

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

/// The studies that one association has open, most recent last; closed when it is dropped.
#[derive(Debug)]
pub struct Sending {
    open: OpenStudies,
    origin: PartnerId,
    studies: VecDeque<Uid>,
}

impl Sending {
    /// Some of this study comes: it is open until the association ends or sends of sixteen others.
    pub fn some_of(&mut self, study: &Uid) {
        if let Some(at) = self.studies.iter().position(|known| known == study) {
            // Where it is already but for the senders that mix studies.
            if at + 1 < self.studies.len() {
                self.studies.remove(at);
                self.studies.push_back(study.clone());
            }
            return;
        }
        self.open.open(&self.origin, study);
        self.studies.push_back(study.clone());
        if self.studies.len() > OPEN_AT_ONCE {
            let oldest = self.studies.pop_front();
            self.open.close(&self.origin, oldest.iter());
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.open.close(&self.origin, self.studies.iter());
    }
}

impl OpenStudies {
    /// For a new association.
    pub fn sending(&self, origin: &PartnerId) -> Sending {
        Sending { open: self.clone(), origin: origin.clone(), studies: VecDeque::new() }
    }

    fn open(&self, origin: &PartnerId, study: &Uid) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry((origin.clone(), study.clone())).or_default().associations += 1;
    }

    fn close<'a>(&self, origin: &PartnerId, studies: impl Iterator<Item = &'a Uid>) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for study in studies {
            if let Some(entry) = open.get_mut(&(origin.clone(), study.clone())) {
                entry.associations = entry.associations.saturating_sub(1);
                entry.closed = Some(Instant::now());
            }
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
        let (mut one, mut other) = (open.sending(&origin), open.sending(&origin));
        one.some_of(&study);
        one.some_of(&study);
        other.some_of(&study);
        drop(one);
        std::thread::sleep(SETTLE);
        assert!(open.is_open(&origin, &study), "the other association is still there");
        drop(other);
        assert!(open.is_open(&origin, &study), "what it sent last is not indexed yet");
        std::thread::sleep(SETTLE);
        assert!(!open.is_open(&origin, &study));
    }

    #[test]
    fn an_association_that_never_ends_keeps_its_last_studies_open_and_not_all() {
        let (open, origin) = (OpenStudies::default(), PartnerId::new("rabenstein").unwrap());
        let study = |number: usize| Uid::new(&format!("1.2.{number}")).unwrap();
        let mut sending = open.sending(&origin);
        for number in 0..OPEN_AT_ONCE {
            sending.some_of(&study(number));
        }
        // The first again, so that the second is now the oldest.
        sending.some_of(&study(0));
        sending.some_of(&study(OPEN_AT_ONCE));
        std::thread::sleep(SETTLE);
        let still: Vec<_> = (0..=OPEN_AT_ONCE).filter(|number| open.is_open(&origin, &study(*number))).collect();
        assert_eq!(still, (0..=OPEN_AT_ONCE).filter(|number| *number != 1).collect::<Vec<_>>());
        sending.some_of(&study(1));
        assert!(open.is_open(&origin, &study(1)), "more of it came");
        // Gone without an end, as by a panic.
        let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _sending = sending;
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(gone.is_err());
        std::thread::sleep(SETTLE);
        assert!((0..=OPEN_AT_ONCE).all(|number| !open.is_open(&origin, &study(number))));
    }
}
