//! The reading task of a case: offered with the decision, and again when an order comes in the place of one taken back.
//!
//! In: a case held for change, decided. Out: its task in the store, or none where nothing is to be read. What is read on site
//! is offered too: its reader is the hospital itself.

use super::slides;
use crate::{
    model::{CaseState, Disposition, Moment, TaskState, is_for_its_order},
    store::{CaseRow, StoreError, Tx},
};

/// Offers the case to its reader, if somebody is to read it.
///
/// # Errors
/// When the database fails.
pub async fn offer(tx: &mut Tx, case: &CaseRow, now: Moment) -> Result<(), StoreError> {
    if is_to_be_read(case) {
        tx.offer_task(case, now).await?;
    }
    Ok(())
}

/// Offers it anew where its task ended with its order, and another order asks for it now. What ended for another reason, was
/// done, or is open stays as it is.
///
/// # Errors
/// When the database fails.
pub async fn offer_again(tx: &mut Tx, case: &CaseRow, now: Moment) -> Result<(), StoreError> {
    let is_open = matches!(case.state, CaseState::Routed | CaseState::Delivered | CaseState::Preliminary);
    let Some(reader) = case.reader.as_ref().filter(|_| is_open && is_to_be_read(case)) else { return Ok(()) };
    let last = tx.last_task(case.id, reader).await?;
    let is_gone = |state, reason: &str| state == TaskState::Canceled && is_for_its_order(reason);
    if last.is_some_and(|task| is_gone(task.state, &task.reason)) && is_asked_for(tx, case).await? {
        tx.offer_task(case, now).await?;
        tx.tell(case.id, now, "routing", "its reading is offered again: another order asks for it").await?;
    }
    Ok(())
}

/// Slides that go home to the hospital that asked are read nowhere: they go with a report that is made elsewhere.
fn is_to_be_read(case: &CaseRow) -> bool {
    match case.decision.as_ref().map(|decision| &decision.disposition) {
        Some(Disposition::Read(reading)) => reading.rule != slides::RULE,
        _ => true,
    }
}

async fn is_asked_for(tx: &mut Tx, case: &CaseRow) -> Result<bool, StoreError> {
    for order in tx.orders_joined(case.id).await? {
        if tx.order_state(order).await?.is_some_and(|state| state.is_live()) {
            return Ok(true);
        }
    }
    Ok(false)
}
