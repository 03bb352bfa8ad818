//! Finds what waits for a person and writes the notices.
//!
//! In: what the stages have put before a person. Out: a row for each thing that waits, once; its news when more reasons
//! come; its end when the reason is gone. Bounded batches, each a transaction.

use super::{Escalation, lateness};
use crate::{
    model::{Aside, CaseId, chain},
    store::{Durability, StoreError},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A look takes 0.2 s where ten thousand cases wait: then it is looked less often, for a twentieth of one core at most.
const SHARE: u32 = 20;
const LOOK_AT_LEAST: Duration = Duration::from_secs(20);
const BATCH: i64 = 500;

pub(super) async fn run(desk: &Escalation, finding: &AtomicBool, stop: &CancellationToken) {
    let mut aside = Aside::default();
    loop {
        let began = Instant::now();
        let looked = look(desk, finding, &mut aside).await;
        finding.store(false, Ordering::Relaxed);
        if let Err(error) = looked {
            tracing::error!(error = %chain(&error), "What waits for a person cannot be looked up");
        }
        let pause = began.elapsed().saturating_mul(SHARE).clamp(LOOK_EVERY, LOOK_AT_LEAST);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn look(desk: &Escalation, finding: &AtomicBool, aside: &mut Aside<CaseId>) -> Result<(), StoreError> {
    if let Err(error) = lateness::look(desk, aside).await {
        tracing::error!(error = %chain(&error), "Late reports cannot be looked up");
    }
    while note(desk, finding).await? {}
    while resolve(desk).await? {}
    Ok(())
}

/// True if there may be more.
async fn note(desk: &Escalation, finding: &AtomicBool) -> Result<bool, StoreError> {
    let waiting = desk.store.waiting_for_a_person(BATCH).await?;
    if waiting.is_empty() {
        return Ok(false);
    }
    finding.store(true, Ordering::Relaxed);
    let now = desk.clock.now();
    let mut tx = desk.store.begin(Durability::Process).await?;
    tx.hold_notices().await?;
    let mut opened = Vec::new();
    for one in &waiting {
        if tx.note_waiting(one, now).await? {
            opened.push(one.kind);
        }
    }
    tx.commit().await?;
    for kind in opened {
        metrics::counter!("neisse_notices_total", "kind" => kind).increment(1);
    }
    Ok(waiting.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX))
}

async fn resolve(desk: &Escalation) -> Result<bool, StoreError> {
    let gone = desk.store.notices_to_resolve(BATCH).await?;
    if gone.is_empty() {
        return Ok(false);
    }
    let now = desk.clock.now();
    let mut tx = desk.store.begin(Durability::Process).await?;
    tx.hold_notices().await?;
    for id in &gone {
        tx.resolve_notice(id, now).await?;
    }
    tx.commit().await?;
    Ok(gone.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX))
}
