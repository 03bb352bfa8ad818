//! Takes orders: what a hospital asks for is kept, joined to its studies and answered, in one synced transaction.
//!
//! In: an order message of a known partner. Out: its application response, AA with one ORC for each order (OK, UA, CR, UC,
//! …), after the commit. What each order control does is `model::order`'s table. A message is taken whole or not at all: what
//! cannot be read is refused with its place; an order that cannot be changed as asked is answered so, and kept.
//!
//! Does not tell the reader: `routing` sends on what concerns a case that has been given to one. Where the reader takes no
//! orders, a person is told to.

use super::{
    near_misses::{NEAR, no_more_proposals, propose_to_cases},
    order_case,
    order_match::{Fit, contradict, fits, fits_by_specimen},
    scheduled, slides,
    specimens::{self, Taken},
};
use crate::{
    config::{Config, Live, Partner},
    hl7::{
        ack::{ErrorCode, OrderAnswer, Rejected, Response, acknowledge, respond},
        charset::Charset,
        message::Message,
        order::{OrderMessage, OrderRequest},
    },
    model::{
        Bell, CaseEvent, CaseId, CaseState, Discipline, IssuedId, Moment, OrderControl, OrderId, OrderState, PartnerId,
        Priority, Progress, SpecimenSaid, Unable, order, order_is,
    },
    store::{CaseRow, Durability, MessageKey, NewOrder, OrderFacts, OrderMessageRow, OrderRow, Store, StoreError, Tx},
};
use bytes::Bytes;

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
        let work =
            Work { config: &config, partner, message: &message, sha256: &key.sha256, now, meets_something: false };
        let written = match self.write(&work, view, bytes, key, may_share(&message)).await {
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
        let (mut specimens, mut taken_back) = (Taken::default(), Vec::new());
        for request in &message.orders {
            let (answer, order) = one(&mut tx, work, request, &mut specimens, &mut taken_back).await?;
            answers.push(answer);
            taken.extend(order);
        }
        order_case::place(&mut tx, &partner.id, &taken, now).await?;
        end_tasks(&mut tx, &taken_back, now).await?;
        let answer = respond(&answers);
        if let Some(answer) = tx.keep_answered(key, now, bytes, &answer).await? {
            tracing::info!(site = %partner.id, "An order of {} came again and got the same answer", partner.id);
            return Ok(answer);
        }
        let concerns_a_case = tx.concerns_a_case();
        tx.commit().await?;
        specimens.log();
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
    sha256: &'a str,
    now: Moment,
    /// It has been tried whether its one order could be taken as one of which nothing is known.
    meets_something: bool,
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
    specimens: &mut Taken,
    taken_back: &mut Vec<TakenBack>,
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
            specimens.add(keep_specimens(tx, work, request, &order).await?);
            tell(tx, config, &order, &mut cases, request.control, before, now).await?;
            if before != Some(order.state) && is_taken_back(order.state) {
                taken_back.extend(cases.iter().map(|case| TakenBack { case: case.id, state: order.state }));
            }
            join(tx, &order, now).await?;
            propose_to_cases(tx, &order, now).await?;
            Ok((answer, Some(order)))
        }
        Err(unable) => {
            let answer = answer(false, Some(unable.to_string()));
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

/// The order a request is about: by its placer order number; by the filler's, which those of a group may share, only where
/// the placer's does not contradict.
async fn find(
    tx: &mut Tx,
    partner: &Partner,
    request: &OrderRequest,
) -> Result<Result<Option<OrderRow>, Unable>, StoreError> {
    let issued = |id: &IssuedId| with_issuer(id, &partner.issuer);
    let (placer, filler) = (issued(&request.placer), issued(&request.filler));
    if !placer.is_empty()
        && let Some(order) = tx.order_with_placer(&partner.id, &placer).await?
    {
        let other = !filler.is_empty() && !order.filler.is_empty() && order.filler != filler;
        return Ok(if other { Err(Unable::OtherNumber) } else { Ok(Some(order)) });
    }
    if filler.is_empty() {
        return Ok(Ok(None));
    }
    let mut orders = tx.orders_with_filler(&partner.id, &filler).await?;
    orders.retain(|order| placer.is_empty() || order.placer.is_empty());
    Ok(match orders.len() {
        0 | 1 => Ok(orders.pop()),
        _ => Err(Unable::Ambiguous),
    })
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

/// What the patient's identifiers have been merged into is the same patient's.
async fn add_surviving(tx: &mut Tx, origin: &PartnerId, ids: &mut Vec<IssuedId>) -> Result<(), StoreError> {
    for id in ids.clone() {
        if let Some(surviving) = tx.surviving_patient(origin, &id).await?
            && !ids.contains(&surviving)
        {
            ids.push(surviving);
        }
    }
    Ok(())
}

/// An order does not change hands: a number that comes back with another patient is a mistake somebody must look at.
fn same_patient(known: Option<&OrderRow>, said: &[IssuedId]) -> Result<(), Unable> {
    let Some(known) = known else { return Ok(()) };
    if contradict(&known.facts.patients, said) { Err(Unable::OtherPatient) } else { Ok(()) }
}

fn new_order(partner: &Partner, now: Moment) -> OrderRow {
    OrderRow {
        id: OrderId::generate(),
        origin: partner.id.clone(),
        state: OrderState::Open,
        placer: IssuedId::default(),
        filler: IssuedId::default(),
        group: IssuedId::default(),
        accession: IssuedId::default(),
        studies: Vec::new(),
        patient: IssuedId::default(),
        discipline: Discipline::Radiology,
        modality: String::new(),
        priority: Default::default(),
        facts: OrderFacts::default(),
        received: now,
        changed: now,
    }
}

/// What the message says is taken; what it leaves out stays (an empty field means unchanged, HL7 v2.5.1 2.5.3). Only a new
/// order and a change say anything of what is ordered; numbers that are not known yet are taken from every message.
fn update(
    order: &mut OrderRow,
    is_new: bool,
    message: &OrderMessage,
    request: &OrderRequest,
    partner: &Partner,
    state: OrderState,
) {
    let issuer = &partner.issuer;
    order.state = state;
    let numbers = [
        (&mut order.placer, &request.placer),
        (&mut order.filler, &request.filler),
        (&mut order.group, &request.group),
    ];
    for (known, said) in numbers {
        if known.is_empty() {
            *known = with_issuer(said, issuer);
        }
    }
    if !(is_new || request.control == OrderControl::Change) {
        return;
    }
    if is_new {
        order.facts.patients = message.patient_ids.iter().map(|id| with_issuer(id, issuer)).collect();
        // The hospital's own identifier first: it is the one its images carry.
        let own = order.facts.patients.iter().find(|id| id.issuer == *issuer);
        order.patient = own.or(order.facts.patients.first()).cloned().unwrap_or_default();
    }
    if !request.accession.is_empty() {
        order.accession = with_issuer(&request.accession, issuer);
    }
    scheduled::take_studies(order, &request.study_uids);
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
    order.priority = request.priority.unwrap_or(order.priority);
    if request.discipline == Discipline::Pathology {
        order.discipline = Discipline::Pathology;
    }
    scheduled::take(order, &request.requested, partner);
}

const ON_HOLD: &str = "its order is on hold: nothing has been sent, and nothing is until it is released";

/// Into the story of what the order has become; and a person is told where the reader has images of what is no longer
/// wanted, or was joined to what no longer fits. What has not left yet is held.
async fn tell(
    tx: &mut Tx,
    config: &Config,
    order: &OrderRow,
    cases: &mut [CaseRow],
    control: OrderControl,
    before: Option<OrderState>,
    now: Moment,
) -> Result<(), StoreError> {
    let (state, changed) = (order.state, before != Some(order.state));
    for case in cases.iter() {
        tx.note_order_news(case.id, true).await?;
    }
    for case in cases.iter_mut().filter(|_| changed || control == OrderControl::Change) {
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
        if control == OrderControl::Change && fits(order, case) == Fit::No {
            case.needs_a_person("its order was changed and names another study now: see whether it still belongs here");
        }
        tx.save_case(case).await?;
    }
    Ok(())
}

/// A case that had an order which is not wanted any more.
struct TakenBack {
    case: CaseId,
    state: OrderState,
}

/// Ends the reading of what no order asks for any more. After all orders of the message: the new one may stand in the place
/// of the old (HL7 v2.5.1 ORC-1 RP and RO).
async fn end_tasks(tx: &mut Tx, taken_back: &[TakenBack], now: Moment) -> Result<(), StoreError> {
    for TakenBack { case, state } in taken_back {
        if !order_case::is_asked_for(tx, *case).await? {
            tx.case(*case).await?;
            tx.end_tasks(*case, &order_is(*state), now).await?;
        }
    }
    Ok(())
}

fn is_taken_back(state: OrderState) -> bool {
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
pub(super) fn hold_with(order: &OrderRow, case: &mut CaseRow) -> Result<(), StoreError> {
    if order.state == OrderState::OnHold && progress(case) == Progress::NotSent { hold(case, ON_HOLD) } else { Ok(()) }
}

/// Joins the order to the studies of its origin that are there already.
async fn join(tx: &mut Tx, order: &OrderRow, now: Moment) -> Result<(), StoreError> {
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
pub(super) async fn join_as(
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
pub(super) async fn take_over(tx: &mut Tx, order: &OrderRow, case: &mut CaseRow) -> Result<(), StoreError> {
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
pub(super) async fn warn(tx: &mut Tx, case: &mut CaseRow, reason: &str, now: Moment) -> Result<bool, StoreError> {
    if !case.needs_a_person(reason) {
        return Ok(false);
    }
    tx.tell(case.id, now, "intake", reason).await?;
    tx.save_case(case).await?;
    Ok(true)
}

#[cfg(test)]
#[path = "orders/tests.rs"]
mod tests;
