//! Watches what cannot leave: a deadline or the last moment passes while nobody attempts anything.
//!
//! In: the ledger and the clock. Out: a person told, once, of what has not arrived at its deadline; and what is owed
//! beyond its time to a partner that takes nothing, or that no way is configured to any more, ended in front of a
//! person. Neither costs attempts, so that no attempt's outcome can say either. Does not end what may still leave, such as behind a broker that is away:
//! it is told of at its deadline, and sent when there is a way.

use super::retry::{late, not_delivered};
use crate::{
    delivery::worker::Delivering,
    model::{Fault, Moment, Outcome, chain},
    store::{DeliveryRow, Durability, Late, StoreError},
};
use std::{collections::HashSet, time::Duration};
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most looked at a time: cases and partners, not instances.
const BATCH: i64 = 10_000;

pub async fn run(delivering: Delivering, stop: CancellationToken) {
    let mut known = HashSet::new();
    loop {
        if let Err(error) = look(&delivering, &mut known).await {
            tracing::error!(error = %chain(&error), "What is overdue cannot be looked up");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// `known`: what is late and has been told, so that the database is not asked about it every time.
async fn look(delivering: &Delivering, known: &mut HashSet<Late>) -> Result<(), StoreError> {
    let now = delivering.clock.now();
    let overdue: HashSet<Late> = delivering.store.late(now, BATCH).await?.into_iter().collect();
    known.retain(|entry| overdue.contains(entry));
    for entry in overdue {
        if !known.contains(&entry) {
            unless_about_one(tell_late(delivering, &entry, now).await)?;
            known.insert(entry);
        }
    }
    let spent = delivering.store.spent(now, BATCH).await?;
    if spent.is_empty() {
        return Ok(());
    }
    let pauses = delivering.store.pauses().await?;
    for delivery in spent {
        let pause = pauses
            .iter()
            .find(|pause| pause.partner == delivery.partner && pause.channel == delivery.kind.channel())
            .map(|pause| pause.reason.as_str());
        let no_way = delivering.config.now().no_way_to(&delivery.partner, delivery.kind.channel());
        if let Some(reason) = no_way.or(pause) {
            unless_about_one(give_up(delivering, &delivery, reason, now).await)?;
        }
    }
    Ok(())
}

/// One case that cannot be told does not keep the others from it.
fn unless_about_one(done: Result<(), StoreError>) -> Result<(), StoreError> {
    match done {
        Err(error) if error.is_about_one() => {
            tracing::error!(error = %chain(&error), "A case that is overdue cannot be read");
            Ok(())
        }
        done => done,
    }
}

async fn tell_late(delivering: &Delivering, (case, partner, kind): &Late, now: Moment) -> Result<(), StoreError> {
    let reason = late(*kind, partner);
    let mut tx = delivering.store.begin(Durability::Process).await?;
    let mut case = tx.case(*case).await?;
    // It may have arrived since the look: then nobody needs to be told, and nothing would take the reason away again.
    if !tx.is_late(case.id, partner, *kind, now).await? || tx.was_told(case.id, &reason).await? {
        return Ok(());
    }
    case.needs_a_person(&reason);
    tx.tell(case.id, now, "delivery", &reason).await?;
    tx.save_case(&case).await?;
    tx.commit().await?;
    tracing::error!(case.id = %case.id, site = %partner, "Case {}: {reason}", case.id);
    Ok(())
}

async fn give_up(delivering: &Delivering, delivery: &DeliveryRow, reason: &str, now: Moment) -> Result<(), StoreError> {
    let outcome = Outcome::TryAgain { reason: reason.to_owned(), fault: Fault::Partner };
    let mut tx = delivering.store.begin(Durability::Process).await?;
    // The case before its deliveries, as everywhere.
    let mut case = tx.case(delivery.case).await?;
    if !tx.stop_owed(delivery.id, &outcome, now).await? {
        return Ok(());
    }
    let told = not_delivered(delivery, reason);
    case.needs_a_person(&told);
    tx.tell(case.id, now, "delivery", &told).await?;
    tx.save_case(&case).await?;
    tx.commit().await?;
    tracing::error!(case.id = %case.id, site = %delivery.partner, "Case {}: {told}", case.id);
    delivering.handoff.ring();
    Ok(())
}
