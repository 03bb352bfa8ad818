//! Notices senders that give different messages the same number (MSH-3, MSH-4, MSH-10).
//!
//! In: the key of each message that was taken. Out: a warning, once for each partner and start, and a count. Such messages are
//! taken, each for itself; only somebody who looks for one by its number should know that there are several.
//!
//! Remembers in memory, and not for ever: asking the database would be a round for each message.

use crate::{model::PartnerId, store::MessageKey};
use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
};

/// Numbers that are remembered at least; twice as many at most.
const REMEMBERED: usize = 50_000;

/// Clones share all.
#[derive(Clone, Default)]
pub struct ControlIds(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// Digests of the number, and of what came under it last.
    newest: HashMap<u64, u64>,
    older: HashMap<u64, u64>,
    told: HashSet<PartnerId>,
}

fn digest(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl ControlIds {
    pub fn note(&self, key: &MessageKey) {
        let Some(is_first) = self.is_used_again(key) else { return };
        metrics::counter!("neisse_hl7_control_ids_reused_total", "partner" => key.partner.to_string()).increment(1);
        if is_first {
            tracing::warn!(site = %key.partner, "{} gives different messages the same number (MSH-10); each is taken for itself", key.partner);
        }
    }

    /// Whether another message came under this number before; and whether it is the first time that its sender does so.
    fn is_used_again(&self, key: &MessageKey) -> Option<bool> {
        let number = digest((&key.partner, &key.application, &key.facility, &key.control_id));
        let content = digest(&key.sha256);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.newest.len() >= REMEMBERED {
            known.older = std::mem::take(&mut known.newest);
        }
        let before = known.newest.insert(number, content).or_else(|| known.older.get(&number).copied());
        let is_other = before.is_some_and(|before| before != content);
        is_other.then(|| known.told.insert(key.partner.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partner: &str, control_id: &str, content: &str) -> MessageKey {
        MessageKey {
            partner: PartnerId::new(partner).expect("an id"),
            application: "KIS".into(),
            facility: "F".into(),
            control_id: control_id.into(),
            sha256: content.into(),
        }
    }

    #[test]
    fn another_message_under_a_known_number_is_noted_and_its_sender_told_of_once() {
        let ids = ControlIds::default();
        assert_eq!(ids.is_used_again(&key("rabenstein", "1", "a")), None);
        assert_eq!(ids.is_used_again(&key("rabenstein", "1", "a")), None, "the same message again");
        assert_eq!(ids.is_used_again(&key("rabenstein", "2", "b")), None);
        assert_eq!(ids.is_used_again(&key("harz", "1", "c")), None, "another sender counts for itself");
        assert_eq!(ids.is_used_again(&key("rabenstein", "1", "d")), Some(true));
        assert_eq!(ids.is_used_again(&key("rabenstein", "2", "e")), Some(false));
        assert_eq!(ids.is_used_again(&key("harz", "1", "f")), Some(true));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let ids = ControlIds::default();
        for number in 0..REMEMBERED * 3 {
            assert_eq!(ids.is_used_again(&key("rabenstein", &number.to_string(), "a")), None);
        }
        let known = ids.0.lock().expect("a lock");
        assert!(known.newest.len() + known.older.len() <= 2 * REMEMBERED);
        drop(known);
        let last = (REMEMBERED * 3 - 1).to_string();
        assert_eq!(ids.is_used_again(&key("rabenstein", &last, "b")), Some(true));
    }
}
