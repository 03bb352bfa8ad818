//! Writes down what partners fetch, before it leaves.
//!
//! In: who asked by which service, and the instances meant, case by case. Out: a row of `retrievals` for each case and request.
//! A viewer makes a request for each frame: what one partner asks for of one case over HTTP within [`LOOK`] is one row, which is
//! there before the first answer; how many requests and images it came to is added every few seconds. A power cut may lose the
//! last of these numbers, never that the partner looked.

use super::Shelves;
use crate::{
    dicom::service::Fetch,
    model::{CaseId, Moment, PartnerId, Uid, chain},
    store::{Durability, Retrieval, StoreError},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Requests over HTTP that are one look.
const LOOK: Duration = Duration::from_secs(10 * 60);
const ADD_EVERY: Duration = Duration::from_secs(5);
/// Images told apart, all looks together. Beyond, looks end sooner.
const MOST_MARKS: usize = 1_000_000;

/// Clones share all.
#[derive(Clone, Default)]
pub struct Looks(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    looks: HashMap<(PartnerId, CaseId), Look>,
    marks: usize,
}

struct Look {
    since: Moment,
    /// Its row is in the database.
    is_written: bool,
    seen: HashSet<u64>,
    /// Not added yet.
    requests: i64,
    images: i64,
}

/// Tells instances of one case apart.
pub fn mark(instance: &Uid) -> u64 {
    let mut hasher = DefaultHasher::new();
    instance.as_str().hash(&mut hasher);
    hasher.finish()
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Looks {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more request. What is to be written before it is answered; `None`: its row is there.
    fn at(&self, partner: &PartnerId, case: CaseId, marks: &[u64], now: Moment) -> Option<Retrieval> {
        let mut open = self.open();
        let key = (partner.clone(), case);
        let has_ended = |look: &Look| now.since(look.since) >= LOOK || now < look.since;
        // What is not added yet stays until it has been.
        let is_new = open.looks.get(&key).is_none_or(|look| has_ended(look) && look.requests == 0);
        if is_new {
            let look = Look { since: now, is_written: false, seen: HashSet::new(), requests: 0, images: 0 };
            let before = open.looks.insert(key.clone(), look);
            open.marks -= before.map_or(0, |look| look.seen.len());
        }
        let look = open.looks.get_mut(&key)?;
        let images = marks.iter().filter(|mark| look.seen.insert(**mark)).count();
        let retrieval = if look.is_written {
            look.requests += 1;
            look.images += count(images);
            None
        } else {
            let (by, partner) = (Fetch::Web.as_str(), partner.clone());
            Some(Retrieval { case, partner, by, at: look.since, requests: 1, images: count(images) })
        };
        open.marks += images;
        retrieval
    }

    /// The rows are in the database, or not: then the next request writes one.
    fn written(&self, rows: &[Retrieval], is_so: bool) {
        let mut open = self.open();
        for row in rows {
            let key = (row.partner.clone(), row.case);
            match open.looks.get_mut(&key) {
                Some(look) if is_so && look.since == row.at => look.is_written = true,
                Some(look) if !is_so && !look.is_written => {
                    let seen = look.seen.len();
                    open.looks.remove(&key);
                    open.marks -= seen;
                }
                _ => {}
            }
        }
    }

    /// What is to be added, taken out.
    fn to_add(&self) -> Vec<Retrieval> {
        let mut open = self.open();
        let of_look = |((partner, case), look): (&(PartnerId, CaseId), &mut Look)| {
            let (requests, images) = (std::mem::take(&mut look.requests), std::mem::take(&mut look.images));
            let (case, partner, by) = (*case, partner.clone(), Fetch::Web.as_str());
            (requests > 0).then_some(Retrieval { case, partner, by, at: look.since, requests, images })
        };
        open.looks.iter_mut().filter_map(of_look).collect()
    }

    /// It could not be added.
    fn put_back(&self, rows: Vec<Retrieval>) {
        let mut open = self.open();
        for row in rows {
            if let Some(look) = open.looks.get_mut(&(row.partner, row.case)).filter(|look| look.since == row.at) {
                look.requests += row.requests;
                look.images += row.images;
            }
        }
    }

    /// Lets go of looks that have ended, and of all where they are too many.
    fn forget(&self, now: Moment) {
        let mut open = self.open();
        let is_full = open.marks > MOST_MARKS;
        let has_ended = |look: &Look| is_full || now.since(look.since) >= LOOK || now < look.since;
        open.looks.retain(|_, look| !look.is_written || look.requests > 0 || !has_ended(look));
        open.marks = open.looks.values().map(|look| look.seen.len()).sum();
    }
}

impl Shelves {
    /// Returns when it is on disk that `partner` asked for this.
    ///
    /// # Errors
    /// When the database fails: nothing may leave then.
    pub(super) async fn note_fetched(
        &self,
        partner: &PartnerId,
        by: Fetch,
        of_cases: &BTreeMap<CaseId, Vec<u64>>,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let rows: Vec<Retrieval> = if by == Fetch::Web {
            of_cases.iter().filter_map(|(case, marks)| self.looks.at(partner, *case, marks, now)).collect()
        } else {
            let row = |(case, marks): (&CaseId, &Vec<u64>)| {
                let (partner, by) = (partner.clone(), by.as_str());
                Retrieval { case: *case, partner, by, at: now, requests: 1, images: count(marks.len()) }
            };
            of_cases.iter().map(row).collect()
        };
        if rows.is_empty() {
            return Ok(());
        }
        let noted = self.write(&rows, Durability::Synced).await;
        if by == Fetch::Web {
            self.looks.written(&rows, noted.is_ok());
        }
        noted
    }

    async fn write(&self, rows: &[Retrieval], durability: Durability) -> Result<(), StoreError> {
        let mut tx = self.store.begin(durability).await?;
        tx.note_retrievals(rows).await?;
        tx.commit().await
    }

    async fn add_looks(&self) {
        let rows = self.looks.to_add();
        if !rows.is_empty()
            && let Err(error) = self.write(&rows, Durability::Process).await
        {
            tracing::error!(error = %chain(&error), "How much partners look at cannot be written down now; it waits");
            self.looks.put_back(rows);
        }
        self.looks.forget(self.clock.now());
    }
}

/// Adds what viewers ask for, every few seconds, and once more at the end.
pub async fn run(shelves: Shelves, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(ADD_EVERY)).await.is_some() {
        shelves.add_looks().await;
    }
    shelves.add_looks().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(number: u64) -> Moment {
        Moment(0) + Duration::from_secs(60 * number)
    }

    #[test]
    fn requests_of_one_look_are_one_row_that_is_written_first() {
        let (looks, partner, case) = (Looks::default(), PartnerId::new("chemnitz").expect("an id"), CaseId::generate());
        let at = |marks: &[u64], minutes| looks.at(&partner, case, marks, minute(minutes));
        let first = at(&[1, 2], 0).expect("to be written");
        assert_eq!((first.at, first.requests, first.images), (minute(0), 1, 2));
        let beside = at(&[3], 0).expect("the first is not in the database yet");
        assert_eq!((beside.at, beside.images), (minute(0), 1), "it is added to the same row");
        looks.written(&[first], true);
        assert_eq!(at(&[2, 4], 1), None);
        let [added] = looks.to_add().try_into().expect("one");
        assert_eq!((added.at, added.requests, added.images), (minute(0), 1, 1), "an image counts once");
        looks.put_back(vec![added.clone()]);
        assert_eq!(looks.to_add(), [added]);
        assert!(looks.to_add().is_empty());
        let next = at(&[1], 10).expect("another look");
        assert_eq!((next.at, next.images), (minute(10), 1));
        looks.written(&[next], false);
        assert!(at(&[1], 10).is_some(), "what could not be written is written by the next");
    }

    #[test]
    fn looks_that_have_ended_take_no_memory() {
        let (looks, partner, case) = (Looks::default(), PartnerId::new("chemnitz").expect("an id"), CaseId::generate());
        let row = looks.at(&partner, case, &[1, 2, 3], minute(0)).expect("to be written");
        looks.written(&[row], true);
        looks.forget(minute(9));
        assert_eq!(looks.open().marks, 3);
        looks.forget(minute(10));
        let open = looks.open();
        assert_eq!((open.marks, open.looks.len()), (0, 0));
    }
}
