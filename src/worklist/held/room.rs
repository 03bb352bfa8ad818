//! How many instances retrievals may have in hand at once, those of a partner and those of all together: about 300 bytes each are
//! kept until they have left.
//!
//! In: one more of a retrieval. Out: whether there is room for it. Counts instances, not retrievals: a viewer asks for one frame
//! of one instance many times beside each other, and takes nearly nothing.

use crate::model::PartnerId;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Two of the largest retrievals.
const MOST_OF_ONE: usize = 200_000;
/// About 180 MB.
const MOST_OF_ALL: usize = 600_000;

/// Clones share all.
#[derive(Clone, Default)]
pub struct Rooms(Arc<Hands>);

#[derive(Default)]
struct Hands {
    of_all: Arc<AtomicUsize>,
    of_each: Mutex<HashMap<PartnerId, Arc<AtomicUsize>>>,
}

/// What one retrieval has, until it is dropped.
pub struct Taken {
    of_partner: Arc<AtomicUsize>,
    of_all: Arc<AtomicUsize>,
    own: AtomicUsize,
}

impl Rooms {
    pub fn of(&self, partner: &PartnerId) -> Taken {
        let mut of_each = self.0.of_each.lock().unwrap_or_else(PoisonError::into_inner);
        let of_partner = of_each.entry(partner.clone()).or_default().clone();
        Taken { of_partner, of_all: self.0.of_all.clone(), own: AtomicUsize::new(0) }
    }
}

impl Taken {
    /// False: the partner has as many as it may have, or all together have.
    pub fn one_more(&self) -> bool {
        if !is_room(&self.of_partner, MOST_OF_ONE) {
            return false;
        }
        if !is_room(&self.of_all, MOST_OF_ALL) {
            self.of_partner.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.own.fetch_add(1, Ordering::Relaxed);
        true
    }
}

/// Takes one, if there are fewer than `most`.
fn is_room(taken: &AtomicUsize, most: usize) -> bool {
    let is_room = taken.fetch_add(1, Ordering::Relaxed) < most;
    if !is_room {
        taken.fetch_sub(1, Ordering::Relaxed);
    }
    is_room
}

impl Drop for Taken {
    fn drop(&mut self) {
        let own = *self.own.get_mut();
        self.of_partner.fetch_sub(own, Ordering::Relaxed);
        self.of_all.fetch_sub(own, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_gives_its_room_back() {
        let (rooms, partner) = (Rooms::default(), PartnerId::new("chemnitz").expect("an id"));
        let first = rooms.of(&partner);
        assert!((0..MOST_OF_ONE).all(|_| first.one_more()));
        let second = rooms.of(&partner);
        assert!(!second.one_more() && !second.one_more());
        let other = rooms.of(&PartnerId::new("leipzig-ukl").expect("an id"));
        assert!(other.one_more(), "each has its own");
        drop(first);
        assert!(second.one_more());
    }

    #[test]
    fn all_together_have_a_bound_below_the_sum_of_each() {
        let rooms = Rooms::default();
        let of = |number: usize| rooms.of(&PartnerId::new(&format!("site-{number}")).expect("an id"));
        let mut all: Vec<Taken> = (0..MOST_OF_ALL / MOST_OF_ONE).map(of).collect();
        assert!(all.iter().all(|taken| (0..MOST_OF_ONE).all(|_| taken.one_more())));
        let late = of(all.len());
        assert!(!late.one_more() && !late.one_more());
        all.pop();
        assert!((0..MOST_OF_ONE).all(|_| late.one_more()), "a refusal has taken nothing of its own");
        assert!(!of(9).one_more());
    }
}
