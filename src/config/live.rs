//! The configuration in force, which a reload replaces while associations go on with the one they began with.

use super::Config;
use std::sync::Arc;
use tokio::sync::watch;

/// A view of the configuration in force.
#[derive(Clone, Debug)]
pub struct Live(watch::Receiver<Arc<Config>>);

/// The one who may replace it.
#[derive(Debug)]
pub struct Replacer(watch::Sender<Arc<Config>>);

impl Live {
    pub fn new(config: Config) -> (Replacer, Live) {
        let (sender, receiver) = watch::channel(Arc::new(config));
        (Replacer(sender), Live(receiver))
    }

    /// The configuration now. Take it once for one decision, so that the decision is made by one version.
    pub fn now(&self) -> Arc<Config> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits until it has been replaced.
    pub async fn replaced(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody can replace it any more.
            std::future::pending::<()>().await;
        }
    }
}

impl Replacer {
    pub fn replace(&self, config: Config) {
        self.0.send_replace(Arc::new(config));
    }
}
