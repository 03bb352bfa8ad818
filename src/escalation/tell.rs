//! Tells what waits, by one channel.
//!
//! In: notices that the channel has not told yet, or is to repeat. Out: a call that carries all of them, at most one a
//! minute, written down before it is made; tried again after growing waits until it is taken. A call whose end is not known
//! is made again under the same id: nobody is left out, and who gets it twice can see that.

use super::{
    Escalation, mail, webhook,
    words::{self, Digest},
};
use crate::{
    config::{Config, Mail, Webhook},
    model::{Clock, Moment, chain},
    store::{Durability, NoticeCall, NoticeChannel, NoticeRhythm, StoreError},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two calls: what comes meanwhile is told together.
const APART: Duration = Duration::from_secs(60);
/// After a failure; doubles.
const FIRST_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// How a channel is reached, as configured now.
#[derive(Clone, Debug)]
pub enum Way {
    Log,
    Webhook(Webhook),
    Mail(Mail),
}

impl Way {
    /// `None`: this channel is not configured.
    pub fn of(config: &Config, channel: NoticeChannel) -> Option<Self> {
        match channel {
            NoticeChannel::Log => Some(Way::Log),
            NoticeChannel::Webhook => config.escalation.webhook.clone().map(Way::Webhook),
            NoticeChannel::Mail => config.escalation.mail.clone().map(Way::Mail),
        }
    }

    /// How many are named one by one.
    fn listed(&self) -> i64 {
        match self {
            Way::Log => 1_000,
            Way::Webhook(_) => 200,
            Way::Mail(_) => 50,
        }
    }

    /// A log is read line by line; a person's telephone is not to ring for each.
    fn apart(&self) -> Duration {
        match self {
            Way::Log => Duration::ZERO,
            Way::Webhook(_) | Way::Mail(_) => APART,
        }
    }

    async fn tell(&self, config: &Config, digest: &Digest) -> Result<(), String> {
        match self {
            Way::Log => {
                log(digest);
                Ok(())
            }
            Way::Webhook(webhook) => webhook::post(webhook, digest).await,
            Way::Mail(mail) => mail::send(mail, digest, digest.text(config)).await,
        }
    }
}

/// Tells that nothing waits, so that an administrator sees whether it arrives.
///
/// # Errors
/// Why it did not.
pub async fn try_out(config: &Config, way: &Way) -> Result<(), String> {
    let digest = Digest {
        id: Uuid::now_v7().to_string(),
        node: config.node.name.clone(),
        at: Clock::system().now(),
        is_test: true,
        total: 0,
        notices: Vec::new(),
    };
    way.tell(config, &digest).await
}

pub(super) async fn run(desk: &Escalation, channel: NoticeChannel, finding: &AtomicBool, stop: &CancellationToken) {
    // A call that was taken, should the database not take that at once: without it, it would be made again.
    let mut taken = None;
    loop {
        if !finding.load(Ordering::Relaxed)
            && let Err(error) = look(desk, channel, &mut taken).await
        {
            tracing::error!(channel = channel.as_str(), error = %chain(&error), "Notices cannot be told by {}", channel.as_str());
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

struct Taken {
    call: String,
    at: Moment,
    next: Moment,
}

async fn look(desk: &Escalation, channel: NoticeChannel, taken: &mut Option<Taken>) -> Result<(), StoreError> {
    write_down(desk, channel, taken).await?;
    let config = desk.config.now();
    let Some(way) = Way::of(&config, channel) else { return Ok(()) };
    let now = desk.clock.now();
    let again_before = config.escalation.repeat.map(|repeat| now - repeat);
    let rhythm = NoticeRhythm { now, again_before, listed: way.listed() };
    if !desk.store.has_notices_to_tell(channel, &rhythm).await? {
        return Ok(());
    }
    let mut tx = desk.store.begin(Durability::Process).await?;
    let Some(call) = tx.begin_notice_call(channel, &rhythm, wait).await? else { return Ok(()) };
    tx.commit().await?;
    let told = way.tell(&config, &digest(&config, &call, now)).await;
    let outcome = if told.is_ok() { "told" } else { "failed" };
    metrics::counter!("neisse_notice_calls_total", "channel" => channel.as_str(), "outcome" => outcome).increment(1);
    match told {
        Ok(()) => {
            *taken = Some(Taken { call: call.id, at: now, next: now + way.apart() });
            write_down(desk, channel, taken).await
        }
        Err(why) => failed(desk, channel, &call, &why).await,
    }
}

async fn write_down(desk: &Escalation, channel: NoticeChannel, taken: &mut Option<Taken>) -> Result<(), StoreError> {
    let Some(done) = taken.as_ref() else { return Ok(()) };
    // Synced: a power cut is no reason to wake somebody again.
    let mut tx = desk.store.begin(Durability::Synced).await?;
    tx.notice_call_told(channel, &done.call, done.at, done.next).await?;
    tx.commit().await?;
    *taken = None;
    Ok(())
}

async fn failed(desk: &Escalation, channel: NoticeChannel, call: &NoticeCall, why: &str) -> Result<(), StoreError> {
    let (name, wait) = (channel.as_str(), wait(call.attempts).as_secs());
    tracing::error!(
        channel = name,
        attempt = call.attempts,
        error = why,
        "{} wait for a person and cannot be told by {name}: {why}; next attempt in {wait} s",
        call.total
    );
    let mut tx = desk.store.begin(Durability::Process).await?;
    tx.notice_call_failed(channel, &call.id, why).await?;
    tx.commit().await
}

/// After the attempt of this number, from 1.
fn wait(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1).clamp(0, 20)).unwrap_or(20);
    FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT)
}

fn digest(config: &Arc<Config>, call: &NoticeCall, now: Moment) -> Digest {
    Digest {
        id: call.id.clone(),
        node: config.node.name.clone(),
        at: now,
        is_test: false,
        total: call.total,
        notices: call.notices.clone(),
    }
}

fn log(digest: &Digest) {
    for notice in &digest.notices {
        let still = if notice.is_reminder { "still " } else { "" };
        let (name, reason) = (words::name(notice), &notice.reason);
        tracing::error!(kind = notice.kind, subject = notice.subject, site = %notice.partner, "A person is needed: {name} {still}waits: {reason}");
    }
    let listed = i64::try_from(digest.notices.len()).unwrap_or(i64::MAX);
    if digest.total > listed {
        let more = digest.total - listed;
        tracing::error!(more, "A person is needed: {more} more wait; neisse cases list --attention");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_grow_to_ten_minutes_and_never_end() {
        assert_eq!([1, 2, 3].map(|attempt| wait(attempt).as_secs()), [10, 20, 40]);
        assert_eq!([8, 1_000, i64::MAX].map(|attempt| wait(attempt).as_secs()), [600, 600, 600]);
    }
}
