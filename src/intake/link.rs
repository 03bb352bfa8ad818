//! A person says that an order and a case belong together, or do not: `neisse cases link`, `unlink`.
//!
//! Only within one hospital, and never against the patient: what a person sees as a typing error in an accession number may
//! be, a patient identifier that differs is not. What a case took over from an order is given back when they are parted.

use super::{
    near_misses::no_more_proposals,
    order_match::{contradict, known_as},
    orders::{hold_with, take_over},
};
use crate::{
    model::{CaseId, CaseState, Moment, OrderId},
    store::{CaseRow, Durability, Store, StoreError, Tx},
};

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("there is no order {0}; `neisse orders list` shows them")]
    NoOrder(OrderId),
    #[error("the order is of {order} and the case of {case}: two hospitals never share an order")]
    OtherHospital { order: String, case: String },
    #[error(
        "the order is for another patient than the case: ask the hospital which is right, and have it send that again"
    )]
    OtherPatient,
    #[error("they are joined already")]
    AlreadyLinked,
    #[error("they are not joined")]
    NotLinked,
    #[error("the database failed")]
    Store(#[from] StoreError),
}

/// Joins them, as if a number had said so.
///
/// # Errors
/// When they cannot belong together, or the database fails; nothing has been changed then.
pub async fn link(store: &Store, case: CaseId, order: OrderId, why: &str, now: Moment) -> Result<(), LinkError> {
    let origin = store.case(case).await?.origin;
    let mut tx = store.begin(Durability::Synced).await?;
    tx.hold_origin(&origin).await?;
    let ordered = tx.order(order).await?.ok_or(LinkError::NoOrder(order))?;
    let mut case = tx.case(case).await?;
    if ordered.origin != case.origin {
        return Err(LinkError::OtherHospital { order: ordered.origin.to_string(), case: case.origin.to_string() });
    }
    if contradict(&ordered.facts.patients, &known_as(&case).cloned().collect::<Vec<_>>()) {
        return Err(LinkError::OtherPatient);
    }
    if !tx.join_order(order, case.id, "a person", now).await? {
        return Err(LinkError::AlreadyLinked);
    }
    tx.forget_unlink(order, case.id).await?;
    case.waits_until = None;
    case.priority = case.priority.max(ordered.priority);
    hold_with(&ordered, &mut case)?;
    take_over(&mut tx, &ordered, &mut case).await?;
    no_more_proposals(&mut case);
    finish(tx, &case, &format!("linked to its order by a person: {why}"), now).await
}

/// Parts them; nothing joins them again by itself.
///
/// # Errors
/// When they are not joined, or the database fails.
pub async fn unlink(store: &Store, case: CaseId, order: OrderId, why: &str, now: Moment) -> Result<(), LinkError> {
    let origin = store.case(case).await?.origin;
    let mut tx = store.begin(Durability::Synced).await?;
    tx.hold_origin(&origin).await?;
    let mut case = tx.case(case).await?;
    let taken = tx.unlink_order(order, case.id, why, now).await?.ok_or(LinkError::NotLinked)?;
    give_back(&mut case, &taken);
    tx.save_facts(&case).await?;
    if matches!(case.state, CaseState::Preliminary | CaseState::Reported) {
        case.needs_a_person(
            "unlinked from its order after it was reported: see that the hospital knows whose report it is",
        );
    }
    finish(tx, &case, &format!("unlinked from its order by a person: {why}"), now).await
}

fn give_back(case: &mut CaseRow, taken: &[String]) {
    let facts = &mut case.facts;
    for what in taken {
        match what.as_str() {
            "placer" => (facts.placer_order_number, facts.placer_issuer) = Default::default(),
            "filler" => (facts.filler_order_number, facts.filler_issuer) = Default::default(),
            "accession" => facts.accession.value.clear(),
            "description" => facts.description.clear(),
            _ => {}
        }
    }
}

async fn finish(mut tx: Tx, case: &CaseRow, what: &str, now: Moment) -> Result<(), LinkError> {
    tx.note_order_news(case.id, true).await?;
    tx.tell(case.id, now, "operator", what).await?;
    tx.save_case(case).await?;
    tx.commit().await?;
    Ok(())
}
