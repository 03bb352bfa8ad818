//! What an order that has moved does to its cases: their stories, what is held, whose reading ends.
//!
//! In: the order as it is now, and its cases, held for change. Out: the cases saved; held where nothing has left yet, put
//! before a person where a reader has images already and takes no orders.
//!
//! Does not move the order, and does not send it on: `routing` does.

use crate::{
    config::{Config, Partner},
    intake::{
        order_case,
        order_match::{Fit, fits},
    },
    model::{CaseEvent, CaseId, CaseState, IssuedId, Moment, OrderState, Progress, TaskState, Uid, order_is},
    store::{CaseRow, OrderRow, StoreError, Tx},
};
use std::collections::BTreeSet;

const ON_HOLD: &str = "its order is on hold: nothing has been sent, and nothing is until it is released";

/// How far what the order has become has come.
pub(super) fn progress(case: &CaseRow) -> Progress {
    match case.state {
        CaseState::New | CaseState::Held if case.routed_to == 0 => Progress::NotSent,
        CaseState::Preliminary => Progress::Preliminary,
        CaseState::Reported => Progress::Reported,
        _ => Progress::Sent,
    }
}

/// Into the story of what the order has become; and a person is told where the reader has images of what is no longer
/// wanted, or was joined to what no longer fits. What has not left yet is held. `says_more`: what is ordered has changed.
pub(super) async fn tell(
    tx: &mut Tx,
    config: &Config,
    order: &OrderRow,
    cases: &mut [CaseRow],
    known: Option<&OrderRow>,
    says_more: bool,
    now: Moment,
) -> Result<(), StoreError> {
    let before = known.map(|known| known.state);
    let (state, changed) = (order.state, before != Some(order.state));
    let names_other = known.is_some_and(|known| numbers(known) != numbers(order));
    for case in cases.iter() {
        tx.note_order_news(case.id, true).await?;
    }
    for case in cases.iter_mut().filter(|_| changed || says_more) {
        let what = if changed { format!("its order is {state}") } else { "its order was changed".to_owned() };
        tx.tell(case.id, now, "intake", &what).await?;
        let reader = case.reader.as_ref().map_or_else(|| "nobody yet".to_owned(), ToString::to_string);
        match state {
            _ if progress(case) > Progress::NotSent && all_take_orders(config, case) => {}
            _ if progress(case) > Progress::NotSent => {
                case.needs_a_person(&format!("{what} after it was given to a reader ({reader}): tell them"));
            }
            // Its other orders go on without this one.
            OrderState::OnHold | OrderState::Cancelled | OrderState::Replaced
                if order_case::others_live(tx, case.id, order.id).await? => {}
            OrderState::OnHold => hold(case, ON_HOLD)?,
            OrderState::Cancelled | OrderState::Replaced => {
                let reason =
                    format!("its order is {state}: nothing has been sent, and nothing is until it is released");
                hold(case, &reason)?;
            }
            OrderState::Open if before == Some(OrderState::OnHold) => {
                case.needs_nobody_for(ON_HOLD);
                case.needs_a_person("its order is no longer on hold: release the case");
            }
            _ => {}
        }
        if names_other && fits(order, case) == Fit::No {
            case.needs_a_person("its order was changed and names another study now: see whether it still belongs here");
        }
        tx.save_case(case).await?;
    }
    Ok(())
}

/// What says which study an order means.
fn numbers(order: &OrderRow) -> (&IssuedId, BTreeSet<&Uid>) {
    (&order.accession, order.studies.iter().collect())
}

/// A case that had an order which is not wanted any more.
pub(super) struct TakenBack {
    pub(super) case: CaseId,
    pub(super) state: OrderState,
}

/// Ends the reading of what no order asks for any more. After all orders of the message: the new one may stand in the place
/// of the old (HL7 v2.5.1 ORC-1 RP and RO). What somebody has open is canceled too, for nobody wants it any more; its events say
/// so to who listens, and a person sees to it that whoever has it open knows.
pub(super) async fn end_tasks(tx: &mut Tx, taken_back: &[TakenBack], now: Moment) -> Result<(), StoreError> {
    for TakenBack { case, state } in taken_back {
        if !order_case::is_asked_for(tx, *case).await? {
            let mut case = tx.case(*case).await?;
            let open = tx.open_tasks(case.id).await?;
            for task in open.iter().filter(|task| task.state == TaskState::InProgress) {
                let told =
                    format!("{} had claimed it when {}: tell whoever has it open", task.reader, order_is(*state));
                if case.needs_a_person(&told) {
                    tx.tell(case.id, now, "intake", &told).await?;
                    tx.save_case(&case).await?;
                }
            }
            tx.end_tasks(case.id, &order_is(*state), now).await?;
        }
    }
    Ok(())
}

pub(super) fn is_taken_back(state: OrderState) -> bool {
    matches!(state, OrderState::Cancelled | OrderState::Replaced)
}

/// Everybody who has the case is told by a message.
fn all_take_orders(config: &Config, case: &CaseRow) -> bool {
    let receivers = case.receivers();
    let takes = |id| config.partners.get(id).is_some_and(|partner: &Partner| partner.orders_delivered);
    !receivers.is_empty() && receivers.iter().all(takes)
}

/// Nothing of the case leaves before a person has looked.
fn hold(case: &mut CaseRow, reason: &str) -> Result<(), StoreError> {
    if case.state == CaseState::New {
        case.take(CaseEvent::Hold)?;
    }
    case.needs_a_person(reason);
    Ok(())
}

/// A case that is joined to an order on hold waits with it, as long as nothing has been sent.
///
/// # Errors
/// When the table of states forbids it.
pub(in crate::intake) fn hold_with(order: &OrderRow, case: &mut CaseRow) -> Result<(), StoreError> {
    if order.state == OrderState::OnHold && progress(case) == Progress::NotSent { hold(case, ON_HOLD) } else { Ok(()) }
}
