//! What the sender of an order hears later, or not at all (enhanced mode, HL7 v2.5.1 2.9.3).
//!
//! In: the answer to each order of a message, in its transaction, and the cases of those that were refused. Out: where MSH-16 asks
//! for it, the application response, owed to the sender's `[hl7.deliver]`; where no message can tell a refusal, it is put before a
//! person, on the order's cases or by itself.
//!
//! Does nothing where the answer itself says it all, which is the usual way.

use super::Work;
use crate::{
    hl7::{
        ack::{Answering, OrderAnswer, Response, answering, respond_later},
        message::{Message, new_control_id},
    },
    model::CaseId,
    store::{NewOrderAnswer, StoreError, Tx},
};

/// Owes what is to be heard later. `refused`: the cases of the orders that were refused.
///
/// # Errors
/// When the database fails.
pub(super) async fn owe(
    tx: &mut Tx,
    work: &Work<'_>,
    view: &Message<'_>,
    response: &Response<'_>,
    refused: &[CaseId],
) -> Result<(), StoreError> {
    let answering = answering(view, response);
    let (partner, now) = (work.partner, work.now);
    let codes = codes(response.orders);
    let target = partner.hl7.as_ref().and_then(|hl7| hl7.deliver.as_ref());
    if answering == Answering::Later && target.is_some() {
        let control_id = new_control_id();
        let content = respond_later(view, response, &control_id, now);
        let new = NewOrderAnswer {
            partner: &partner.id,
            control_id: &control_id,
            content: &content,
            refused: &codes,
            stopped: "",
            now,
        };
        return tx.owe_order_answer(&new).await;
    }
    if answering == Answering::Now || codes.is_empty() {
        return Ok(());
    }
    let why = if answering == Answering::Later {
        "no [hl7] deliver is configured for it"
    } else {
        "its message asked for no answer"
    };
    let told = format!(
        "what {} asked of its order was refused ({codes}), and it has not heard so ({why}): call them",
        partner.id
    );
    for case in refused {
        let mut case = tx.case(*case).await?;
        if case.needs_a_person(&told) {
            tx.tell(case.id, now, "intake", &told).await?;
            tx.save_case(&case).await?;
        }
    }
    if !refused.is_empty() {
        return Ok(());
    }
    let new =
        NewOrderAnswer { partner: &partner.id, control_id: "", content: &[], refused: &codes, stopped: &told, now };
    tx.owe_order_answer(&new).await
}

/// ORC-1 of what was refused, each once.
fn codes(orders: &[OrderAnswer]) -> String {
    let mut codes: Vec<&str> = orders.iter().filter(|order| order.is_refusal()).map(|order| order.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes.join(" ")
}
