//! Takes orders: what a hospital asks for is kept, joined to its studies and answered, in one synced transaction.
//!
//! In: an order message of a known partner. Out: its application response, AA with one ORC for each order (OK, UA, CR, UC,
//! …), after the commit. What each order control does is `model::order`'s table. A message is taken whole or not at all: what
//! cannot be read is refused with its place; an order that cannot be changed as asked is answered so, and kept.
//!
//! Does not tell the reader yet that an order was changed or taken back: a person is told to.

use super::order_match::{Fit, fits};
use crate::{
    config::Partner,
    hl7::{
        ack::{OrderAnswer, Response, acknowledge, respond},
        charset::Charset,
        message::Message,
        order::{OrderMessage, OrderRequest},
    },
    model::{Bell, CaseEvent, CaseState, IssuedId, Moment, OrderControl, OrderId, OrderState, Progress, Unable, order},
    store::{CaseRow, Durability, MessageKey, OrderFacts, OrderMessageRow, OrderRow, Store, StoreError, Tx},
};
use bytes::Bytes;

#[derive(Clone)]
pub struct OrderTaker {
    pub store: Store,
    /// Rung when an order was joined: its case may be more urgent now.
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
        let message = match OrderMessage::parse(view, charset) {
            Ok(message) => message,
            Err(problem) => {
                tracing::warn!(site = %partner.id, problem = %problem, "Refused an order of {}: {problem}", partner.id);
                return Ok(acknowledge(view, problem.verdict(), Some(&problem), now));
            }
        };
        let mut tx = self.store.begin(Durability::Synced).await?;
        if let Some(answer) = tx.claim_message(key, now).await? {
            tracing::info!(site = %partner.id, "An order of {} came again and got the same answer", partner.id);
            return Ok(answer);
        }
        let mut answers = Vec::with_capacity(message.orders.len());
        for request in &message.orders {
            answers.push(one(&mut tx, partner, &message, request, bytes, &key.sha256, now).await?);
        }
        let (message_type, event) = message.kind.response();
        let answer = respond(view, &Response { message_type, event, orders: &answers }, now);
        tx.keep_answer(key, &answer).await?;
        tx.commit().await?;
        let codes: Vec<&str> = answers.iter().map(|answer| answer.code).collect();
        tracing::info!(site = %partner.id, orders = codes.len(), answers = codes.join(" "), "Orders of {} taken", partner.id);
        metrics::counter!("neisse_orders_received_total", "partner" => partner.id.to_string())
            .increment(codes.len() as u64);
        self.routing.ring();
        Ok(answer)
    }
}

/// One order of the message: what is asked is done or not, written down and answered.
async fn one(
    tx: &mut Tx,
    partner: &Partner,
    message: &OrderMessage,
    request: &OrderRequest,
    bytes: &Bytes,
    sha256: &str,
    now: Moment,
) -> Result<OrderAnswer, StoreError> {
    let issued = |id: &IssuedId| with_issuer(id, &partner.issuer);
    let (placer, filler) = (issued(&request.placer), issued(&request.filler));
    let known = tx.order_with_number(&partner.id, &placer, &filler).await?;
    let mut cases = Vec::new();
    if let Some(order) = &known {
        for id in tx.cases_of_order(order.id).await? {
            cases.push(tx.case(id).await?);
        }
    }
    let progress = cases.iter().map(progress).max().unwrap_or(Progress::NotSent);
    let moved = order::next(known.as_ref().map(|order| order.state), request.control, request.status, progress)
        .and_then(|state| same_patient(known.as_ref(), message, &partner.issuer).map(|()| state));
    let (answer, id) = match moved {
        Ok(state) => {
            let mut order = known.clone().unwrap_or_else(|| new_order(partner, now));
            let before = known.as_ref().map(|order| order.state);
            update(&mut order, message, request, &partner.issuer, state, now);
            tx.save_order(&order).await?;
            tell(tx, &mut cases, request.control, before, state, now).await?;
            join(tx, &order, now).await?;
            (
                OrderAnswer { code: request.control.answer(true), sequence: request.sequence, reason: None },
                Some(order.id),
            )
        }
        Err(unable) => {
            let code = request.control.answer(false);
            let reason = Some(unable.to_string());
            (OrderAnswer { code, sequence: request.sequence, reason }, known.as_ref().map(|order| order.id))
        }
    };
    if let Some(id) = id {
        let kept = OrderMessageRow {
            received: now,
            control: request.control.code(),
            answer: answer.code,
            sha256: sha256.to_owned(),
            content: bytes.clone(),
        };
        tx.keep_order_message(id, &kept).await?;
    }
    Ok(answer)
}

/// A number without an issuer is the sender's own.
fn with_issuer(id: &IssuedId, issuer: &str) -> IssuedId {
    let issuer = if id.issuer.is_empty() && !id.is_empty() { issuer } else { &id.issuer };
    IssuedId::new(id.value.clone(), issuer)
}

/// How far what the order has become has come.
fn progress(case: &CaseRow) -> Progress {
    match case.state {
        CaseState::New | CaseState::Held if case.routed_to == 0 => Progress::NotSent,
        CaseState::Reported => Progress::Reported,
        _ => Progress::Sent,
    }
}

/// An order does not change hands: a number that comes back with another patient is a mistake somebody must look at.
fn same_patient(known: Option<&OrderRow>, message: &OrderMessage, issuer: &str) -> Result<(), Unable> {
    let Some(known) = known else { return Ok(()) };
    let ids: Vec<IssuedId> = message.patient_ids.iter().map(|id| with_issuer(id, issuer)).collect();
    let comparable = ids.iter().any(|id| id.issuer == known.patient.issuer);
    if comparable && !ids.contains(&known.patient) { Err(Unable::OtherPatient) } else { Ok(()) }
}

fn new_order(partner: &Partner, now: Moment) -> OrderRow {
    OrderRow {
        id: OrderId::generate(),
        origin: partner.id.clone(),
        state: OrderState::Open,
        placer: IssuedId::default(),
        filler: IssuedId::default(),
        accession: IssuedId::default(),
        studies: Vec::new(),
        patient: IssuedId::default(),
        modality: String::new(),
        priority: Default::default(),
        facts: OrderFacts::default(),
        received: now,
        changed: now,
    }
}

/// What the message says is taken; what it leaves out stays (an empty field means unchanged, HL7 v2.5.1 2.5.3).
fn update(
    order: &mut OrderRow,
    message: &OrderMessage,
    request: &OrderRequest,
    issuer: &str,
    state: OrderState,
    now: Moment,
) {
    let keep = |known: &mut IssuedId, said: &IssuedId| {
        if !said.is_empty() {
            *known = with_issuer(said, issuer);
        }
    };
    keep(&mut order.placer, &request.placer);
    keep(&mut order.filler, &request.filler);
    keep(&mut order.accession, &request.accession);
    if order.patient.is_empty()
        && let Some(first) = message.patient_ids.first()
    {
        order.patient = with_issuer(first, issuer);
    }
    for study in &request.study_uids {
        if !order.studies.contains(study) {
            order.studies.push(study.clone());
        }
    }
    let text = |known: &mut String, said: &str| {
        if !said.is_empty() {
            said.clone_into(known);
        }
    };
    text(&mut order.modality, &request.modality);
    text(&mut order.facts.patient_name, &message.patient_name);
    text(&mut order.facts.birth_date, &message.birth_date);
    text(&mut order.facts.sex, &message.sex);
    text(&mut order.facts.procedure_code, &request.procedure.code);
    text(&mut order.facts.procedure, &request.procedure.text);
    // A cancellation or a new status says nothing of the priority.
    if matches!(request.control, OrderControl::New | OrderControl::Change | OrderControl::Replacement) {
        order.priority = request.priority;
    }
    order.state = state;
    order.changed = now;
}

/// Into the story of what the order has become; and a person is told where the reader has images of what is no longer
/// wanted. What has not left yet is held.
async fn tell(
    tx: &mut Tx,
    cases: &mut [CaseRow],
    control: OrderControl,
    before: Option<OrderState>,
    state: OrderState,
    now: Moment,
) -> Result<(), StoreError> {
    for case in cases {
        let changed = before != Some(state);
        if !changed && control != OrderControl::Change {
            continue;
        }
        let what = if changed { format!("its order is {state}") } else { "its order was changed".to_owned() };
        tx.tell(case.id, now, "intake", &what).await?;
        let taken_back = matches!(
            state,
            OrderState::Cancelled | OrderState::Discontinued | OrderState::Replaced | OrderState::OnHold
        );
        if changed && taken_back && state != OrderState::Discontinued && case.state == CaseState::New {
            case.take(CaseEvent::Hold)?;
            case.needs_a_person(&format!("{what}: nothing has been sent, and nothing is until it is released"));
        } else if (taken_back || control == OrderControl::Change) && progress(case) > Progress::NotSent {
            let reader = case.reader.as_ref().map_or_else(|| "nobody yet".to_owned(), ToString::to_string);
            case.needs_a_person(&format!("{what} after it was given to a reader ({reader}): tell them"));
        }
        tx.save_case(case).await?;
    }
    Ok(())
}

/// Joins the order to the studies of its origin that are there already.
async fn join(tx: &mut Tx, order: &OrderRow, now: Moment) -> Result<(), StoreError> {
    if !order.state.is_live() {
        return Ok(());
    }
    let mut candidates: Vec<CaseRow> = Vec::new();
    for study in &order.studies {
        candidates.extend(tx.case_of_study(&order.origin, study).await?);
    }
    for number in [&order.accession, &order.placer, &order.filler] {
        if !number.is_empty() {
            candidates.extend(tx.cases_with_number(&number.value).await?);
        }
    }
    candidates.sort_by_key(|case| case.id);
    candidates.dedup_by_key(|case| case.id);
    for case in candidates.into_iter().filter(|case| case.origin == order.origin) {
        // Held for change: it was read without.
        let mut case = tx.case(case.id).await?;
        join_one(tx, order, &mut case, now).await?;
    }
    Ok(())
}

/// Joins a case to the orders of its origin that are there already. The case must be held for change; it is saved when
/// something was joined.
///
/// An order and a study that are written in the same moment on two nodes do not see each other: whoever indexes the next
/// images of the study, or sees that it is whole, looks again.
///
/// # Errors
/// When the database fails.
pub async fn join_orders(tx: &mut Tx, case: &mut CaseRow, now: Moment) -> Result<(), StoreError> {
    for order in tx.orders_for_case(case).await? {
        join_one(tx, &order, case, now).await?;
    }
    Ok(())
}

/// Joins an order and a case, if they fit and have not been joined; what the order says and the images do not is taken
/// over. The case must be held for change. True when it was saved.
///
/// # Errors
/// When the database fails.
async fn join_one(tx: &mut Tx, order: &OrderRow, case: &mut CaseRow, now: Moment) -> Result<bool, StoreError> {
    match fits(order, case) {
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
        Fit::NotWanted(by) => {
            warn(tx, case, &format!("images came for an order ({by}) that is {}: ask the sender", order.state), now)
                .await
        }
        Fit::By(by) => {
            if !tx.join_order(order.id, case.id, by, now).await? {
                return Ok(false);
            }
            case.priority = case.priority.max(order.priority);
            let take = |known: &mut String, said: &str| {
                if known.is_empty() {
                    said.clone_into(known);
                }
            };
            let facts = &mut case.facts;
            for (known, issuer, said) in [
                (&mut facts.placer_order_number, &mut facts.placer_issuer, &order.placer),
                (&mut facts.filler_order_number, &mut facts.filler_issuer, &order.filler),
            ] {
                take(known, &said.value);
                if *known == said.value {
                    take(issuer, &said.issuer);
                }
            }
            if facts.accession.is_empty() {
                facts.accession = order.accession.clone();
            }
            take(&mut facts.description, &order.facts.procedure);
            tx.save_facts(case).await?;
            tx.tell(case.id, now, "intake", &format!("joined to its order ({by})")).await?;
            tx.save_case(case).await?;
            Ok(true)
        }
    }
}

/// Puts the case before a person, once for each reason. True when that is new.
async fn warn(tx: &mut Tx, case: &mut CaseRow, reason: &str, now: Moment) -> Result<bool, StoreError> {
    if !case.needs_a_person(reason) {
        return Ok(false);
    }
    tx.tell(case.id, now, "intake", reason).await?;
    tx.save_case(case).await?;
    Ok(true)
}
