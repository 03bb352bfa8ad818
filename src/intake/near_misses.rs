//! Proposes orders and studies that may belong together to a person: the same patient of the same hospital and the same
//! modality, but no number that says so. A mistyped accession number looks like this; so do two examinations of one day. That
//! is why nothing is joined here.
//!
//! In: a study that is whole and has no order, or an order that has just come and found no study. Out: on the case, the
//! order it may be, for `neisse cases link`.

use crate::{
    model::{IssuedId, Moment, OrderId},
    store::{CaseRow, OrderRow, StoreError, Tx},
};
use std::time::Duration;

/// An order older than this, or a study, is of another visit.
pub(super) const NEAR: Duration = Duration::from_secs(7 * 24 * 3600);
/// More candidates than this say nothing.
const FEW: usize = 3;
const MAYBE: &str = "perhaps its order";

/// Proposes orders for a case that has none. The caller saves the case.
///
/// # Errors
/// When the database fails.
pub async fn propose_orders(tx: &mut Tx, case: &mut CaseRow, now: Moment) -> Result<(), StoreError> {
    let patient = &case.facts.patient_id;
    if !is_known(patient) || !tx.orders_joined(case.id).await?.is_empty() {
        return Ok(());
    }
    let orders = tx.waiting_orders_of_patient(&case.origin, patient, now - NEAR).await?;
    let alike: Vec<OrderId> = orders.iter().filter(|order| resemble(order, case)).map(|order| order.id).collect();
    if alike.is_empty() || alike.len() > FEW {
        return Ok(());
    }
    for order in alike {
        if !tx.is_unlinked(order, case.id).await? {
            propose(tx, case, order, now).await?;
        }
    }
    Ok(())
}

/// Proposes an order that has found no study to studies without an order.
///
/// # Errors
/// When the database fails.
pub async fn propose_to_cases(tx: &mut Tx, order: &OrderRow, now: Moment) -> Result<(), StoreError> {
    if !is_known(&order.patient) || !order.state.is_live() {
        return Ok(());
    }
    let ids = tx.cases_of_patient_without_order(order, now - NEAR).await?;
    if ids.len() > FEW {
        return Ok(());
    }
    for id in ids {
        let mut case = tx.case(id).await?;
        if case.whole.is_some() && resemble(order, &case) && !tx.is_unlinked(order.id, id).await? {
            propose(tx, &mut case, order.id, now).await?;
            tx.save_case(&case).await?;
        }
    }
    Ok(())
}

/// They have been joined, or it has been said that they do not belong together: nobody needs to look any more.
pub fn no_more_proposals(case: &mut CaseRow) {
    let proposals: Vec<String> =
        case.attention.split("; ").filter(|reason| reason.starts_with(MAYBE)).map(str::to_owned).collect();
    proposals.iter().for_each(|reason| case.needs_nobody_for(reason));
}

async fn propose(tx: &mut Tx, case: &mut CaseRow, order: OrderId, now: Moment) -> Result<(), StoreError> {
    let reason = format!("{MAYBE} (same patient, no number in common): neisse cases link {} {order}", case.id);
    if case.needs_a_person(&reason) {
        tx.tell(case.id, now, "intake", &reason).await?;
    }
    Ok(())
}

/// Without an issuer it may be anybody's.
fn is_known(patient: &IssuedId) -> bool {
    !patient.is_empty() && !patient.issuer.is_empty()
}

fn resemble(order: &OrderRow, case: &CaseRow) -> bool {
    let (ordered, made) = (&order.modality, &case.facts.modality);
    order.discipline == case.discipline && (ordered.is_empty() || made.is_empty() || ordered == made)
}
