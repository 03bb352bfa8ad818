//! One way to tell the operator that something is late or stuck.
//!
//! In: the database, where every stage writes what waits for a person, and the clock. Out: a notice for each, told once by
//! the log and by the webhook and the mail server of the configuration, and again only as `repeat` says; and a case marked
//! when its report is late. A notice ends by itself when its reason is gone. Does not mend anything, and knows no patient.

mod lateness;
mod mail;
mod tell;
mod watch;
mod webhook;
mod words;

pub use tell::{Way, try_out};

use crate::{
    config::Live,
    model::Clock,
    store::{NoticeChannel, Store},
};
use std::sync::atomic::AtomicBool;
use tokio_util::sync::CancellationToken;

/// Looks for what waits, and tells it.
#[derive(Clone)]
pub struct Escalation {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
}

impl Escalation {
    /// A channel that is slow or away holds up neither the others nor the watch.
    pub async fn run(self, stop: CancellationToken) {
        // Thousands that are found at one time are told by one call, not by as many as it takes batches to find them.
        let finding = AtomicBool::new(false);
        tokio::join!(
            watch::run(&self, &finding, &stop),
            tell::run(&self, NoticeChannel::Log, &finding, &stop),
            tell::run(&self, NoticeChannel::Webhook, &finding, &stop),
            tell::run(&self, NoticeChannel::Mail, &finding, &stop),
        );
    }
}
