//! Which studies have an association open that sent some of them: those are not whole yet.

use crate::model::{PartnerId, Uid};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Known to this process only: after a restart no association is open, and another node's associations are covered by
/// the quiet time.
#[derive(Clone, Debug, Default)]
pub struct OpenStudies(Arc<Mutex<HashMap<(PartnerId, Uid), usize>>>);

impl OpenStudies {
    pub fn open(&self, origin: &PartnerId, study: &Uid) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *open.entry((origin.clone(), study.clone())).or_default() += 1;
    }

    pub fn close(&self, origin: &PartnerId, study: &Uid) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (origin.clone(), study.clone());
        if let Some(count) = open.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&key);
            }
        }
    }

    pub fn is_open(&self, origin: &PartnerId, study: &Uid) -> bool {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.contains_key(&(origin.clone(), study.clone()))
    }
}
