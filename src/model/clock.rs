//! Time. Stored as UTC microseconds; decided in a partner's own zone; always passed in, never read by what decides.

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use serde::{Deserialize, Serialize};
use std::{fmt, ops, sync::Arc, time::Duration};
use tokio::sync::watch;

/// An instant: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub i64);

impl Moment {
    pub fn from_utc(at: DateTime<Utc>) -> Self {
        Self(at.timestamp_micros())
    }

    /// The same instant for calendar arithmetic. Instants outside chrono's range (262,000 years) become the epoch.
    pub fn utc(self) -> DateTime<Utc> {
        Utc.timestamp_micros(self.0).single().unwrap_or_default()
    }

    pub fn micros(self) -> i64 {
        self.0
    }

    /// How long from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl ops::Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl ops::Sub<Duration> for Moment {
    type Output = Moment;
    fn sub(self, span: Duration) -> Moment {
        Moment(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.utc().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The wall clock, or one that a test sets and moves. Clones share the same hands.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Microseconds added to the system's clock. A test that moves it wakes every sleeper.
    offset: Arc<watch::Sender<i64>>,
}

impl Clock {
    pub fn system() -> Self {
        Self { offset: Arc::new(watch::Sender::new(0)) }
    }

    /// A clock that shows `at` now and runs on from there.
    pub fn starting_at(at: Moment) -> Self {
        Self { offset: Arc::new(watch::Sender::new(at.0 - system_now().0)) }
    }

    pub fn now(&self) -> Moment {
        Moment(system_now().0 + *self.offset.borrow())
    }

    /// Moves the hands forward.
    pub fn advance(&self, span: Duration) {
        self.offset.send_modify(|offset| *offset += i64::try_from(span.as_micros()).unwrap_or(i64::MAX));
    }

    /// Moves the hands to `at`, forward or back.
    pub fn set(&self, at: Moment) {
        self.offset.send_modify(|offset| *offset = at.0 - system_now().0);
    }

    /// Waits until this clock shows `at`, however it gets there.
    pub async fn sleep_until(&self, at: Moment) {
        let mut moved = self.offset.subscribe();
        loop {
            let now = self.now();
            if now >= at {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(at.since(now)) => {}
                _ = moved.changed() => {}
            }
        }
    }

    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.now() + span).await;
    }
}

fn system_now() -> Moment {
    Moment::from_utc(Utc::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_hands_are_moved() {
        let clock = Clock::starting_at(Moment(0));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(3600)).await }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(3601));
        tokio::time::timeout(Duration::from_secs(5), sleeper).await.expect("woken").expect("slept");
    }
}
