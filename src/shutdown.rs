//! One way to stop: listeners first, then the stages, each given time to finish what it is doing.

use std::time::Duration;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a phase may take before the next begins. What is cut off is durable or repeated: nothing is lost by it.
const PHASE: Duration = Duration::from_secs(20);

/// A group of tasks that stop together.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    pub stop: CancellationToken,
    tracker: TaskTracker,
}

impl Phase {
    /// Runs a task that watches `stop`.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Asks every task to stop and waits for them, but no longer than [`PHASE`]. False: some had to be left.
    pub async fn end(&self) -> bool {
        self.stop.cancel();
        self.tracker.close();
        tokio::time::timeout(PHASE, self.tracker.wait()).await.is_ok()
    }
}
