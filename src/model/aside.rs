//! What cannot be done now, put aside so that the rest goes on, and tried again after growing waits.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// More than these are not remembered: they are simply tried each time.
const MOST: usize = 10_000;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// One stage's own memory, lost at a restart: then everything is tried again.
#[derive(Debug)]
pub struct Aside<K>(HashMap<K, (u32, Instant)>);

impl<K> Default for Aside<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Aside<K> {
    /// True while it is not its time yet.
    pub fn waits(&self, key: &K) -> bool {
        self.waits_at(key, Instant::now())
    }

    /// It failed (again). Returns how often by now.
    pub fn failed(&mut self, key: K) -> u32 {
        self.failed_at(key, Instant::now())
    }

    /// It went well, or is no longer there.
    pub fn done(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// Nothing is put aside any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn waits_at(&self, key: &K, now: Instant) -> bool {
        self.0.get(key).is_some_and(|(_, until)| *until > now)
    }

    fn failed_at(&mut self, key: K, now: Instant) -> u32 {
        if self.0.len() >= MOST && !self.0.contains_key(&key) {
            return 1;
        }
        let (times, until) = self.0.entry(key).or_insert((0, now));
        *until = now + FIRST_WAIT.saturating_mul(1 << (*times).min(16)).min(LONGEST_WAIT);
        *times += 1;
        *times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_grow_to_a_bound_and_end_with_success() {
        let (mut aside, start) = (Aside::default(), Instant::now());
        assert!(!aside.waits_at(&1, start));
        assert_eq!(aside.failed_at(1, start), 1);
        assert!(aside.waits_at(&1, start) && !aside.waits_at(&2, start));
        assert!(!aside.waits_at(&1, start + FIRST_WAIT), "the first wait is short");
        for _ in 0..30 {
            aside.failed_at(1, start);
        }
        assert!(aside.waits_at(&1, start + LONGEST_WAIT / 2) && !aside.waits_at(&1, start + LONGEST_WAIT));
        aside.done(&1);
        assert_eq!(aside.failed_at(1, start), 1);
    }
}
