//! Joins orders and cases of one origin that belong together, whichever came first.
//!
//! In: an order and the cases that may be its, or a case and the orders that may be; `order_match` says whether they fit. Out:
//! the case saved, with what the order says and the images do not; or put before a person where the two contradict.
//!
//! Does not link what only resembles: `near_misses` proposes that, and a person links it (`link`).

use super::{
    effects::{hold_with, is_taken_back},
    request::add_surviving,
};
use crate::{
    intake::{
        near_misses::no_more_proposals,
        order_match::{Fit, fits, fits_by_specimen},
        slides,
    },
    model::Moment,
    store::{CaseRow, OrderRow, StoreError, Tx},
};

/// Joins the order to the studies of its origin that are there already.
pub(super) async fn join(tx: &mut Tx, order: &OrderRow, now: Moment) -> Result<(), StoreError> {
    if is_taken_back(order.state) {
        return Ok(());
    }
    let numbers = [&order.accession, &order.placer, &order.filler].map(|number| number.value.as_str());
    let candidates = tx.cases_of_origin_with(&order.origin, &order.studies, numbers).await?;
    for id in candidates {
        let mut case = tx.case(id).await?;
        join_one(tx, order, &mut case, now).await?;
    }
    Ok(())
}

/// Joins a case to the orders of its origin that are there already. The case must be held for change; it is saved when
/// something was joined.
///
/// # Errors
/// When the database fails.
pub async fn join_orders(tx: &mut Tx, case: &mut CaseRow, now: Moment) -> Result<(), StoreError> {
    let mut joined = Vec::new();
    for order in tx.orders_for_case(case).await? {
        if matches!(fits(&order, case), Fit::By(_)) {
            joined.push(order.id);
        }
        join_one(tx, &order, case, now).await?;
    }
    let named = case.facts.specimens.clone();
    for order in slides::orders_of(tx, &case.origin, &named).await? {
        if !joined.contains(&order.id) {
            let fit = fits_by_specimen(&order, case);
            join_as(tx, &order, case, fit, now).await?;
        }
    }
    Ok(())
}

/// Joins an order and a case, if they fit and have not been joined; what the order says and the images do not is taken
/// over. The case must be held for change. True when it was saved.
///
/// # Errors
/// When the database fails.
async fn join_one(tx: &mut Tx, order: &OrderRow, case: &mut CaseRow, now: Moment) -> Result<bool, StoreError> {
    let fit = fits(order, case);
    if matches!(fit, Fit::OtherPatient(_)) {
        // One of the two may still go by an identifier that has been merged.
        let mut known = order.clone();
        add_surviving(tx, &order.origin, &mut known.facts.patients).await?;
        let fit = fits(&known, case);
        return join_as(tx, &known, case, fit, now).await;
    }
    join_as(tx, order, case, fit, now).await
}

/// The same, as it has been found to fit.
///
/// # Errors
/// When the database fails.
pub(in crate::intake) async fn join_as(
    tx: &mut Tx,
    order: &OrderRow,
    case: &mut CaseRow,
    fit: Fit,
    now: Moment,
) -> Result<bool, StoreError> {
    match fit {
        Fit::No => Ok(false),
        Fit::OtherPatient(by) => {
            warn(
                tx,
                case,
                &format!("an order with the same {by} is for another patient: ask the sender which is right"),
                now,
            )
            .await
        }
        Fit::NoPatient(by) => {
            let reason = format!("its images name a {by} of an order, but no patient the order names: ask the sender");
            warn(tx, case, &reason, now).await
        }
        Fit::NotWanted(by) => {
            warn(tx, case, &format!("images came for an order ({by}) that is {}: ask the sender", order.state), now)
                .await
        }
        Fit::By(_) if tx.is_unlinked(order.id, case.id).await? => Ok(false),
        Fit::By(by) => {
            let more_urgent = order.priority > case.priority;
            case.priority = case.priority.max(order.priority);
            if !tx.join_order(order.id, case.id, by, now).await? {
                if more_urgent {
                    tx.save_case(case).await?;
                }
                return Ok(more_urgent);
            }
            hold_with(order, case)?;
            take_over(tx, order, case).await?;
            no_more_proposals(case);
            case.waits_until = None;
            tx.note_order_news(case.id, true).await?;
            tx.tell(case.id, now, "intake", &format!("joined to its order ({by})")).await?;
            tx.save_case(case).await?;
            Ok(true)
        }
    }
}

/// What the order says and the images do not is taken over, and noted, so that it can be given back.
///
/// # Errors
/// When the database fails.
pub(in crate::intake) async fn take_over(tx: &mut Tx, order: &OrderRow, case: &mut CaseRow) -> Result<(), StoreError> {
    let mut taken = Vec::new();
    let mut take = |name: &'static str, known: &mut String, said: &str| {
        if known.is_empty() && !said.is_empty() {
            said.clone_into(known);
            taken.push(name);
        }
    };
    let facts = &mut case.facts;
    for (name, known, issuer, said) in [
        ("placer", &mut facts.placer_order_number, &mut facts.placer_issuer, &order.placer),
        ("filler", &mut facts.filler_order_number, &mut facts.filler_issuer, &order.filler),
    ] {
        take(name, known, &said.value);
        if *known == said.value && issuer.is_empty() {
            issuer.clone_from(&said.issuer);
        }
    }
    take("description", &mut facts.description, &order.facts.procedure);
    if facts.accession.is_empty() && !order.accession.is_empty() {
        facts.accession = order.accession.clone();
        taken.push("accession");
    }
    tx.save_facts(case).await?;
    tx.note_taken(order.id, case.id, &taken).await
}

/// Puts the case before a person, once for each reason. True when that is new.
pub(in crate::intake) async fn warn(
    tx: &mut Tx,
    case: &mut CaseRow,
    reason: &str,
    now: Moment,
) -> Result<bool, StoreError> {
    if !case.needs_a_person(reason) {
        return Ok(false);
    }
    tx.tell(case.id, now, "intake", reason).await?;
    tx.save_case(case).await?;
    Ok(true)
}
