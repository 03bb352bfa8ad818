//! Takes orders: what a hospital asks for is kept, joined to its studies and answered, in one synced transaction.
//!
//! In: an order message of a known partner. Out: its application response, AA with one ORC for each order (OK, UA, CR, UC,
//! …), after the commit. What each order control does is `model::order`'s table. A message is taken whole or not at all: what
//! cannot be read is refused with its place; an order that cannot be changed as asked is answered so, and kept.
//!
//! Beside it: `orders::request` finds the order a request is about, `orders::effects` sees to the cases of one that has moved,
//! `orders::join` joins orders and cases, `orders::reader` hears what its reader says of it, `orders::later` owes what is
//! heard later.
//!
//! Does not tell the reader: `routing` sends on what concerns a case that has been given to one. Where the reader takes no
//! orders, a person is told to.

mod effects;
mod join;
mod later;
mod reader;
mod request;

pub(super) use effects::hold_with;
pub use join::join_orders;
pub(super) use join::{join_as, take_over, warn};
pub use reader::answers_nothing;

use super::{
    near_misses::{NEAR, propose_to_cases},
    order_case,
    order_match::contradict,
    specimens::{self, Taken},
};
use crate::{
    config::{Config, Live, Partner},
    hl7::{
        ack::{ErrorCode, OrderAnswer, Rejected, Response, acknowledge, may_answer_later, respond},
        charset::Charset,
        message::Message,
        order::{OrderMessage, OrderRequest},
    },
    model::{
        Bell, CaseId, Discipline, IssuedId, Moment, OrderControl, PartnerId, Priority, Progress, SpecimenSaid, order,
    },
    store::{CaseRow, Durability, MessageKey, NewOrder, OrderMessageRow, OrderRow, Store, StoreError, Tx},
};
use bytes::Bytes;
use effects::{TakenBack, end_tasks, is_taken_back, progress, tell};
use join::join;
use request::{add_surviving, differs, find, new_order, same_patient, update, with_issuer};

/// Orders in the field are a few KiB.
const MAX_BYTES: usize = 1 << 20;

#[derive(Clone)]
pub struct OrderTaker {
    pub store: Store,
    pub config: Live,
    /// Rung when a case is concerned: it may be more urgent now.
    pub routing: Bell,
}

impl OrderTaker {
    /// Takes a message of `partner`, known by `key`. Returned after the commit: the bytes to answer.
    ///
    /// # Errors
    /// When the database fails; the sender must then be asked to send it again.
    pub async fn take(
        &self,
        partner: &Partner,
        view: &Message<'_>,
        charset: Charset,
        bytes: &Bytes,
        key: &MessageKey,
        now: Moment,
    ) -> Result<Vec<u8>, StoreError> {
        let parsed = if bytes.len() > MAX_BYTES {
            let text = "an order message of more than 1 MiB";
            Err(Rejected::new("MSH", 1, 0, ErrorCode::DataType, text))
        } else {
            OrderMessage::parse(view, charset)
        };
        let message = match parsed {
            Ok(message) => message,
            Err(problem) => {
                tracing::warn!(site = %partner.id, problem = %problem, "Refused an order of {}: {problem}", partner.id);
                return Ok(acknowledge(view, problem.verdict(), Some(&problem), now));
            }
        };
        let config = self.config.now();
        let work = Work {
            config: &config,
            partner,
            message: &message,
            bytes,
            charset,
            sha256: &key.sha256,
            now,
            meets_something: false,
        };
        let shared = may_share(&message) && !may_answer_later(view);
        let written = match self.write(&work, view, bytes, key, shared).await {
            // It concerns a case: once more, with the origin for itself.
            Err(StoreError::OriginShared) => self.write(&work, view, bytes, key, false).await,
            written => written,
        };
        match written {
            Ok(answer) => Ok(answer),
            // What has been answered once is answered again, whatever has become of the order.
            Err(error) => self.store.answer_given(key).await?.ok_or(error),
        }
    }

    /// Does what the message asks, in one transaction. `shared`: beside others of this origin, if no case is concerned.
    async fn write(
        &self,
        work: &Work<'_>,
        view: &Message<'_>,
        bytes: &Bytes,
        key: &MessageKey,
        shared: bool,
    ) -> Result<Vec<u8>, StoreError> {
        let Work { partner, message, now, .. } = *work;
        let (message_type, event) = message.kind.response();
        let respond = |orders: &[OrderAnswer]| respond(view, &Response { message_type, event, orders }, now);
        let new = if shared { alone(work) } else { None };
        if let Some((order, said)) = &new {
            let answers = [OrderAnswer { code: said.answer, sequence: said.sequence, reason: None }];
            let answer = respond(&answers);
            let new = NewOrder { order, said, key, content: bytes, answer: &answer };
            if self.store.take_new_order(&new, now - NEAR).await? {
                log(&partner.id, &answers);
                return Ok(answer);
            }
        }
        let work = &Work { meets_something: new.is_some(), ..*work };
        let mut tx = self.begin(work, shared).await?;
        let (mut answers, mut taken) = (Vec::with_capacity(message.orders.len()), Vec::new());
        let mut found = Found::default();
        for request in &message.orders {
            let (answer, order) = one(&mut tx, work, request, &mut found).await?;
            answers.push(answer);
            taken.extend(order);
        }
        order_case::place(&mut tx, &partner.id, &taken, now).await?;
        end_tasks(&mut tx, &found.taken_back, now).await?;
        let answer = respond(&answers);
        if let Some(answer) = tx.keep_answered(key, now, bytes, &answer).await? {
            tracing::info!(site = %partner.id, "An order of {} came again and got the same answer", partner.id);
            return Ok(answer);
        }
        let response = Response { message_type, event, orders: &answers };
        later::owe(&mut tx, work, view, &response, &found.refused).await?;
        let concerns_a_case = tx.concerns_a_case();
        tx.commit().await?;
        found.specimens.log();
        log(&partner.id, &answers);
        if concerns_a_case {
            self.routing.ring();
        }
        Ok(answer)
    }

    async fn begin(&self, work: &Work<'_>, shared: bool) -> Result<Tx, StoreError> {
        let origin = &work.partner.id;
        if !shared {
            let mut tx = self.store.begin(Durability::Synced).await?;
            tx.hold_origin(origin).await?;
            return Ok(tx);
        }
        let numbers = work.message.orders.iter().flat_map(|order| [&order.placer, &order.filler]);
        let numbers: Vec<&str> =
            numbers.filter(|number| !number.is_empty()).map(|number| number.value.as_str()).collect();
        self.store.begin_beside(Durability::Synced, origin, &numbers).await
    }
}

/// To be called after the commit.
fn log(partner: &PartnerId, answers: &[OrderAnswer]) {
    let codes: Vec<&str> = answers.iter().map(|answer| answer.code).collect();
    tracing::info!(site = %partner, orders = codes.len(), answers = codes.join(" "), "Orders of {partner} taken");
    metrics::counter!("neisse_orders_received_total", "partner" => partner.to_string()).increment(codes.len() as u64);
}

/// Several orders are joined one after the other, and those of pathology find or begin their case.
fn may_share(message: &OrderMessage) -> bool {
    matches!(message.orders.as_slice(), [order] if order.discipline != Discipline::Pathology && order.specimens.is_empty())
}

/// What every order of a message is looked at with.
#[derive(Clone, Copy)]
struct Work<'a> {
    config: &'a Config,
    partner: &'a Partner,
    message: &'a OrderMessage,
    bytes: &'a Bytes,
    charset: Charset,
    sha256: &'a str,
    now: Moment,
    /// It has been tried whether its one order could be taken as one of which nothing is known.
    meets_something: bool,
}

/// What the orders of a message have come to, for what follows from all of them.
#[derive(Default)]
struct Found {
    specimens: Taken,
    /// Cases whose orders are not wanted any more.
    taken_back: Vec<TakenBack>,
    /// Cases of orders that were refused what was asked.
    refused: Vec<CaseId>,
}

/// What a message asked of an order, as it is kept.
fn said(work: &Work<'_>, request: &OrderRequest, answer: &'static str) -> OrderMessageRow {
    OrderMessageRow {
        received: work.now,
        sha256: work.sha256.to_owned(),
        sequence: request.sequence,
        control: request.control.code(),
        answer,
    }
}

/// The order of a message that has no other, if nothing is known of it.
fn alone(work: &Work<'_>) -> Option<(OrderRow, OrderMessageRow)> {
    let [request] = work.message.orders.as_slice() else { return None };
    let order = as_new(work, request)?;
    Some((order, said(work, request, request.control.answer(true))))
}

/// One order of the message: what is asked is done or not, written down and answered. With the order, where it was done.
async fn one(
    tx: &mut Tx,
    work: &Work<'_>,
    request: &OrderRequest,
    all: &mut Found,
) -> Result<(OrderAnswer, Option<OrderRow>), StoreError> {
    let Work { config, partner, message, now, .. } = *work;
    let kept = |answer| said(work, request, answer);
    if !work.meets_something
        && let Some(order) = as_new(work, request)
        && !tx.knows_anything_of(&order, now - NEAR).await?
    {
        let code = request.control.answer(true);
        tx.save_order(&order, true, &kept(code)).await?;
        return Ok((OrderAnswer { code, sequence: request.sequence, reason: None }, Some(order)));
    }
    let found = find(tx, partner, request).await?;
    let known = found.as_ref().ok().and_then(Option::as_ref);
    if matches!(found, Ok(None)) && reader::told(tx, work, request).await? {
        let code = request.control.answer(true);
        return Ok((OrderAnswer { code, sequence: request.sequence, reason: None }, None));
    }
    let mut cases: Vec<CaseRow> = Vec::new();
    if let Some(order) = known {
        cases = order_case::cases_of(tx, order).await?;
    }
    let mut patients: Vec<IssuedId> = message.patient_ids.iter().map(|id| with_issuer(id, &partner.issuer)).collect();
    if known.is_some_and(|known| contradict(&known.facts.patients, &patients)) {
        add_surviving(tx, &partner.id, &mut patients).await?;
    }
    let moved = found.as_ref().map_err(|unable| *unable).and_then(|known| {
        let progress = cases.iter().map(progress).max().unwrap_or(Progress::NotSent);
        let state = order::next(known.as_ref().map(|order| order.state), request.control, request.status, progress)?;
        same_patient(known.as_ref(), &patients)?;
        Ok(state)
    });
    let answer = |done: bool, reason: Option<String>| OrderAnswer {
        code: request.control.answer(done),
        sequence: request.sequence,
        reason,
    };
    match moved {
        Ok(state) => {
            let mut order = known.cloned().unwrap_or_else(|| new_order(partner, now));
            let before = known.map(|order| order.state);
            update(&mut order, before.is_none(), message, request, partner, state);
            if order.discipline == Discipline::Pathology && partner.orders_frozen.contains(&order.facts.procedure_code)
            {
                order.priority = Priority::Stat;
            }
            order.changed = now;
            let answer = answer(true, None);
            tx.save_order(&order, before.is_none(), &kept(answer.code)).await?;
            all.specimens.add(keep_specimens(tx, work, request, &order).await?);
            let says_more =
                request.control == OrderControl::Change || known.is_some_and(|known| differs(known, &order));
            tell(tx, config, &order, &mut cases, known, says_more, now).await?;
            if before != Some(order.state) && is_taken_back(order.state) {
                all.taken_back.extend(cases.iter().map(|case| TakenBack { case: case.id, state: order.state }));
            }
            join(tx, &order, now).await?;
            propose_to_cases(tx, &order, now).await?;
            Ok((answer, Some(order)))
        }
        Err(unable) => {
            let answer = answer(false, Some(unable.to_string()));
            all.refused.extend(cases.iter().map(|case| case.id));
            if let Some(order) = known {
                tx.keep_order_message(order.id, &kept(answer.code)).await?;
            }
            Ok((answer, None))
        }
    }
}

/// What the message says of the order's specimens adds to what is known of them.
async fn keep_specimens(
    tx: &mut Tx,
    work: &Work<'_>,
    request: &OrderRequest,
    order: &OrderRow,
) -> Result<Taken, StoreError> {
    if !order.state.is_live() {
        return Ok(Taken::default());
    }
    let named = request.specimens.iter().filter_map(|index| work.message.specimens.get(*index));
    let said: Vec<SpecimenSaid> = named.cloned().collect();
    specimens::ordered(tx, work.config, work.partner, order.id, &said, work.now).await
}

/// The order as it is if nothing is known of it. `None`: then nothing can be asked of it.
fn as_new(work: &Work<'_>, request: &OrderRequest) -> Option<OrderRow> {
    let state = order::next(None, request.control, request.status, Progress::NotSent).ok()?;
    let mut order = new_order(work.partner, work.now);
    update(&mut order, true, work.message, request, work.partner, state);
    // One with specimens, or that is a case by itself, is looked at whole.
    let is_plain = order.discipline != Discipline::Pathology && request.specimens.is_empty();
    is_plain.then_some(order)
}

#[cfg(test)]
#[path = "orders/tests.rs"]
mod tests;
