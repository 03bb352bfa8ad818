//! How one stage wakes the next: a bell, not a call. What there is to do stands in the database; the bell only says
//! "look now", so a lost ring costs a moment, never a case.

use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// Clones ring the same bell. Rings while nobody listens are remembered as one.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    pub fn ring(&self) {
        self.0.notify_one();
    }

    pub async fn rung(&self) {
        self.0.notified().await;
    }

    /// Waits for a ring, but no longer than `most`.
    pub async fn rung_within(&self, most: Duration) {
        // Which of the two it was makes no difference to the listener.
        let _ = tokio::time::timeout(most, self.0.notified()).await;
    }
}
