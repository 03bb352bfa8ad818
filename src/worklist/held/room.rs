//! How many instances a partner's retrievals may have in hand at once: about 300 bytes each are kept until they have left.
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

/// Clones share all.
#[derive(Clone, Default)]
pub struct Rooms(Arc<Mutex<HashMap<PartnerId, Arc<AtomicUsize>>>>);

/// What one retrieval has, until it is dropped.
pub struct Taken {
    of_partner: Arc<AtomicUsize>,
    own: AtomicUsize,
}

impl Rooms {
    pub fn of(&self, partner: &PartnerId) -> Taken {
        let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_partner = rooms.entry(partner.clone()).or_default().clone();
        Taken { of_partner, own: AtomicUsize::new(0) }
    }
}

impl Taken {
    /// False: the partner has as many as it may have.
    pub fn one_more(&self) -> bool {
        if self.of_partner.fetch_add(1, Ordering::Relaxed) >= MOST_OF_ONE {
            self.of_partner.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.own.fetch_add(1, Ordering::Relaxed);
        true
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.of_partner.fetch_sub(*self.own.get_mut(), Ordering::Relaxed);
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
}
