//! Writes down how an attempt ended, with all that follows from it, in one transaction.
//!
//! In: the claimed delivery, what the attempt came to, and the verdict on it. Out: the ledger, the partner's pause, the
//! case and its story. Does not decide what follows: `retry` does; only a case that was held or given to another
//! reader meanwhile overrules it.

use super::{
    retry::{Verdict, late},
    worker::Attempted,
};
use crate::{
    model::{CaseState, DeliveryKind, Fault, Moment, Outcome, chain},
    store::{CaseRow, Claimed, DeliveryRow, Durability, RefusedInstance, Settled, Settlement, Store, StoreError, Tx},
};

const UNREADABLE: &str = "it cannot be read: see the log";

/// How an attempt ended.
pub struct Ending<'a> {
    pub attempted: &'a Attempted,
    pub verdict: &'a Verdict,
    /// The receiver is asked whether it keeps what it has taken.
    pub asks_commitment: bool,
    pub now: Moment,
}

impl Ending<'_> {
    /// The images arrived, all that were not refused.
    fn is_to_be_kept(&self, delivery: &Claimed) -> bool {
        let arrived = matches!(self.attempted.outcome, Outcome::Delivered { .. });
        self.asks_commitment && arrived && delivery.kind == DeliveryKind::Images
    }
}

/// May be repeated: what was written the first time is not ours the second.
///
/// # Errors
/// When the database fails, or the case cannot be read.
pub async fn settle(store: &Store, delivery: &Claimed, ending: &Ending<'_>) -> Result<Settled, StoreError> {
    let Ending { attempted, verdict, now, .. } = *ending;
    let mut tx = store.begin(Durability::Process).await?;
    // The case before its deliveries, as everywhere: `cases hold` may be under way with the same two.
    let mut case = tx.case(delivery.case).await?;
    let (mut settled, mut attention) = (verdict.settled, verdict.attention.as_deref());
    if delivery.kind == DeliveryKind::Images && settled != Settled::Delivered && unwanted(&case, delivery) {
        (settled, attention) = (Settled::Withdrawn, None);
        if case.state == CaseState::Held {
            // Owed anew from here when a person releases the case, with what was refused.
            case.routed_to = case.routed_to.min(RefusedInstance::arrived_to(attempted.done_to, &attempted.refused));
        }
    }
    if tx.settle(&settlement(delivery, attempted, settled, now)).await? {
        tx.note_sent(delivery.case, &delivery.partner, &attempted.mapped).await?;
        if ending.is_to_be_kept(delivery) {
            tx.owe_commitment(delivery, attempted.done_to, now).await?;
        }
        let channel = delivery.kind.channel();
        match verdict.pause_until {
            Some(until) => tx.pause(&delivery.partner, channel, now, until, reason(&attempted.outcome)).await?,
            None if matches!(attempted.outcome, Outcome::Delivered { .. }) => {
                tx.unpause(&delivery.partner, channel, now).await?;
            }
            None => {}
        }
        tell(&mut tx, case, delivery, &attempted.outcome, settled, attention, now).await?;
    }
    tx.commit().await?;
    Ok(settled)
}

/// Ends a delivery whose case cannot be read. What has arrived has arrived; anything else waits for a person. That its receiver is to
/// be asked whether it keeps it comes first and by itself: asked twice does no harm, and nothing keeps the delivery from being settled.
pub async fn settle_alone(store: &Store, delivery: &Claimed, ending: &Ending<'_>, error: &StoreError) {
    let Ending { attempted, now, .. } = *ending;
    tracing::error!(case.id = %delivery.case, site = %delivery.partner, error = %chain(error), "Case {} cannot be read: its delivery to {} is settled without it", delivery.case, delivery.partner);
    let arrived = matches!(attempted.outcome, Outcome::Delivered { .. }) && attempted.refused.is_empty();
    let settled = if arrived { Settled::Delivered } else { Settled::Stopped };
    let settling = async {
        let unasked = owe_alone(store, delivery, ending).await?;
        let mut tx = store.begin(Durability::Process).await?;
        tx.mark_for_a_person(delivery.case, UNREADABLE).await?;
        if let Some(reason) = unasked {
            tx.mark_for_a_person(delivery.case, &reason).await?;
        }
        tx.settle(&settlement(delivery, attempted, settled, now)).await?;
        tx.note_sent(delivery.case, &delivery.partner, &attempted.mapped).await?;
        tx.commit().await
    };
    if let Err(error) = settling.await {
        // Its lease runs out, and it is tried again.
        tracing::error!(case.id = %delivery.case, error = %chain(&error), "Nor can its delivery be settled");
    }
}

/// Why it is not to be asked after all, for a person.
async fn owe_alone(store: &Store, delivery: &Claimed, ending: &Ending<'_>) -> Result<Option<String>, StoreError> {
    if !ending.is_to_be_kept(delivery) {
        return Ok(None);
    }
    let owing = async {
        let mut tx = store.begin(Durability::Process).await?;
        // It is held, whether it can be read or not.
        match tx.case(delivery.case).await {
            Err(error) if !error.is_about_one() => return Err(error),
            _ => {}
        }
        tx.owe_commitment(delivery, ending.attempted.done_to, ending.now).await?;
        tx.commit().await
    };
    match owing.await {
        Err(error) if error.is_about_one() => {
            let (case, site) = (delivery.case, &delivery.partner);
            tracing::error!(case.id = %case, %site, error = %chain(&error), "Case {case}: {site} cannot be asked whether it keeps the images");
            Ok(Some(format!("{site} is not asked whether it keeps the images: see the log")))
        }
        owed => owed.map(|()| None),
    }
}

fn settlement(delivery: &Claimed, attempted: &Attempted, settled: Settled, now: Moment) -> Settlement {
    Settlement {
        id: delivery.id,
        attempt: delivery.attempts,
        now,
        done_to: attempted.done_to,
        refused: attempted.refused.clone(),
        outcome: attempted.outcome.clone(),
        settled,
    }
}

/// A person has held the case, or given it to another reader, since the delivery was owed.
pub fn unwanted(case: &CaseRow, delivery: &DeliveryRow) -> bool {
    case.state == CaseState::Held || !case.receivers().contains(&delivery.partner)
}

/// Writes into the case and its story what an ended attempt means for it.
async fn tell(
    tx: &mut Tx,
    mut case: CaseRow,
    delivery: &Claimed,
    outcome: &Outcome,
    settled: Settled,
    attention: Option<&str>,
    now: Moment,
) -> Result<(), StoreError> {
    let ended = !matches!(settled, Settled::Again { .. });
    if !ended && attention.is_none() {
        return Ok(());
    }
    // What ends is told each time it ends; what goes on, once.
    if let Some(reason) = attention
        && (case.needs_a_person(reason) || ended)
    {
        tx.tell(case.id, now, "delivery", reason).await?;
    }
    if settled == Settled::Delivered {
        if !case.attention.is_empty() && !tx.is_late(case.id, &delivery.partner, delivery.kind, now).await? {
            // It was late, a person was told, and now all of it is there.
            case.needs_nobody_for(&late(delivery.kind, &delivery.partner));
        }
        if delivery.kind != DeliveryKind::Images {
            let which = if delivery.kind == DeliveryKind::Message { "message" } else { "version" };
            let what = format!("{} {which} {} delivered to {}", delivery.kind, delivery.version, delivery.partner);
            tx.tell(case.id, now, "delivery", &what).await?;
        }
        if let Outcome::Delivered { warning: Some(warning) } = outcome
            && delivery.kind != DeliveryKind::Message
        {
            let what = format!("{} stored with warning {warning}", delivery.partner);
            tx.tell(case.id, now, "delivery", &what).await?;
        }
    }
    // Of a case that has its report, it is the images that came late.
    let is_reported = matches!(case.state, CaseState::Preliminary | CaseState::Reported);
    if ended && (case.state == CaseState::Routed || is_reported && delivery.kind == DeliveryKind::Images) {
        tx.note_if_all_delivered(&mut case, now).await?;
    }
    tx.save_case(&case).await
}

/// The words of an outcome; none for what arrived.
pub(super) fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Delivered { .. } => "",
        Outcome::TryAgain { reason, .. } | Outcome::Refused { reason, .. } | Outcome::NotYet { reason, .. } => reason,
    }
}

pub fn log(delivery: &Claimed, outcome: &Outcome, settled: Settled) {
    let word = match outcome {
        Outcome::Delivered { .. } => "delivered",
        Outcome::TryAgain { .. } => "try_again",
        Outcome::Refused { .. } => "refused",
        Outcome::NotYet { .. } => "not_yet",
    };
    metrics::counter!("neisse_attempts_total", "partner" => delivery.partner.to_string(), "outcome" => word)
        .increment(1);
    let (case, site, attempt) = (delivery.case, &delivery.partner, delivery.attempts);
    match (outcome, settled) {
        (Outcome::Delivered { .. }, Settled::Delivered) => {
            tracing::info!(case.id = %case, %site, attempt, kind = delivery.kind.as_str(), items = delivery.items, "Case {case}: {} delivered to {site}", delivery.kind);
        }
        (_, Settled::Again { at, .. }) => {
            let fault = match outcome {
                Outcome::TryAgain { fault: Fault::Ours, .. } => "ours",
                Outcome::TryAgain { fault: Fault::Partner | Fault::Agreement, .. } => "partner",
                _ => "case",
            };
            tracing::warn!(case.id = %case, %site, attempt, fault, next_attempt_at = %at, "Case {case}: {} not delivered to {site}: {}; next attempt {at}", delivery.kind, reason(outcome));
        }
        (_, Settled::Withdrawn) => {
            tracing::info!(case.id = %case, %site, attempt, "Case {case}: {} not sent on to {site}: the case is held or goes to another reader", delivery.kind);
        }
        _ => {
            tracing::error!(case.id = %case, %site, attempt, "Case {case}: {} for {site} stopped and waits for a person: {}", delivery.kind, reason(outcome));
        }
    }
}
