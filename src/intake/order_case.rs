//! Cases that begin with their order: pathology is asked for before there is anything to see.
//!
//! In: the orders one message has brought, in its transaction. Out: each live pathology order that no case answers yet is
//! joined to the case it belongs to (one of its specimens or its group is known there, and the patient is the same), and
//! what is left of the message begins a case of its own: one request, one patient. Images that come later are taken in by
//! `slides`.

use super::{
    order_match::{contradict, known_as},
    slides,
};
use crate::{
    model::{CaseId, CaseState, Discipline, IssuedId, Moment, OrderId, PartnerId, StudyFacts, Uid},
    store::{CaseRow, OrderRow, StoreError, Tx},
};
use std::collections::BTreeMap;

/// Orders that one case may answer: a request that is added to without end becomes a second case.
const MAX_ORDERS: usize = 300;

const OTHER_PATIENT: &str = "its order names a specimen of another patient: ask the sender which is right";

/// The cases of the order's own hospital that answer it, held for change. (A laboratory's slides are joined to it too.)
///
/// # Errors
/// When the database fails.
pub async fn cases_of(tx: &mut Tx, order: &OrderRow) -> Result<Vec<CaseRow>, StoreError> {
    let mut cases = Vec::new();
    for id in tx.cases_of_order(order.id).await? {
        if tx.case_as_it_is(id).await?.origin == order.origin {
            cases.push(tx.case(id).await?);
        }
    }
    Ok(cases)
}

/// Whether another order of the case may still be carried out.
///
/// # Errors
/// When the database fails.
pub async fn others_live(tx: &mut Tx, case: CaseId, except: OrderId) -> Result<bool, StoreError> {
    for id in tx.orders_joined(case).await? {
        if id != except && tx.order_state(id).await?.is_some_and(|state| state.is_live()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether any order of the case may still be carried out.
///
/// # Errors
/// When the database fails.
pub async fn is_asked_for(tx: &mut Tx, case: CaseId) -> Result<bool, StoreError> {
    for id in tx.orders_joined(case).await? {
        if tx.order_state(id).await?.is_some_and(|state| state.is_live()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Finds or begins the case of every order that has none. To be called under `hold_origin`, the orders saved.
///
/// # Errors
/// When the database fails.
pub async fn place(tx: &mut Tx, origin: &PartnerId, orders: &[OrderRow], now: Moment) -> Result<(), StoreError> {
    let mut alone: Vec<&OrderRow> = Vec::new();
    for order in orders.iter().filter(|order| order.discipline == Discipline::Pathology && order.state.is_live()) {
        let cases = cases_of(tx, order).await?;
        if cases.is_empty() && !alone.iter().any(|known| known.id == order.id) {
            alone.push(order);
        }
        for mut case in cases {
            hurry(tx, order, &mut case, now).await?;
        }
    }
    let Some(first) = alone.first() else { return Ok(()) };
    tx.alone_with_origin()?;
    let found = find(tx, origin, &alone).await?;
    let (mut case, by) = match found.case {
        Some((case, by)) => (case, Some(by)),
        None => (begin(tx, first, alone.len(), now).await?, None),
    };
    for order in &alone {
        tx.join_order(order.id, case.id, by.unwrap_or("it began the case"), now).await?;
        case.priority = case.priority.max(order.priority);
        if let Some(by) = by {
            tx.tell(case.id, now, "intake", &format!("joined to its order ({by})")).await?;
        }
    }
    if found.other_patient && case.needs_a_person(OTHER_PATIENT) {
        tx.tell(case.id, now, "intake", OTHER_PATIENT).await?;
    }
    tx.note_order_news(case.id, true).await?;
    tx.save_case(&case).await
}

/// A case is as urgent as the most urgent of its orders.
async fn hurry(tx: &mut Tx, order: &OrderRow, case: &mut CaseRow, now: Moment) -> Result<(), StoreError> {
    if order.priority <= case.priority {
        return Ok(());
    }
    case.priority = order.priority;
    tx.tell(case.id, now, "intake", &format!("{} now, as its order is", order.priority)).await?;
    tx.save_case(case).await
}

#[derive(Default)]
struct Found {
    case: Option<(CaseRow, &'static str)>,
    /// One of the specimens is known for somebody else.
    other_patient: bool,
}

/// The case these orders belong to: the oldest of their patient that is open and knows their group or a specimen.
async fn find(tx: &mut Tx, origin: &PartnerId, alone: &[&OrderRow]) -> Result<Found, StoreError> {
    let mut candidates: BTreeMap<CaseId, &'static str> = BTreeMap::new();
    for order in alone {
        for other in tx.orders_of_group(origin, &order.group).await? {
            for id in tx.cases_of_order(other.id).await? {
                candidates.entry(id).or_insert("group number");
            }
        }
        let named = names(tx, order.id).await?;
        for other in slides::orders_of(tx, origin, &named).await? {
            for id in tx.cases_of_order(other.id).await? {
                candidates.entry(id).or_insert("specimen");
            }
        }
        for id in &named {
            for id in tx.cases_that_name(origin, id).await? {
                candidates.entry(id).or_insert("specimen");
            }
        }
    }
    let mut found = Found::default();
    for (id, by) in candidates {
        if tx.case_as_it_is(id).await?.origin != *origin {
            continue;
        }
        let case = tx.case(id).await?;
        let patient: Vec<IssuedId> = known_as(&case).cloned().collect();
        if alone.iter().any(|order| contradict(&order.facts.patients, &patient)) {
            found.other_patient |= by == "specimen";
        } else if found.case.is_none() && takes(tx, &case, alone).await? {
            found.case = Some((case, by));
        }
    }
    Ok(found)
}

/// What an order names of specimens: their ids, their containers', and what they were taken from.
async fn names(tx: &mut Tx, order: OrderId) -> Result<Vec<IssuedId>, StoreError> {
    let specimens = tx.specimens_of_order(order).await?;
    let ids = specimens.iter().flat_map(|specimen| specimen.said.ids().chain(&specimen.said.parents));
    Ok(ids.cloned().collect())
}

/// Whether the case may answer further orders: it is of pathology, of this patient, and not over.
async fn takes(tx: &mut Tx, case: &CaseRow, alone: &[&OrderRow]) -> Result<bool, StoreError> {
    let is_of = |order: &&OrderRow| known_as(case).any(|id| order.facts.patients.contains(id));
    let same_patient = alone.iter().all(is_of);
    if case.discipline != Discipline::Pathology || case.state == CaseState::Reported || !same_patient {
        return Ok(false);
    }
    for order in alone {
        if tx.is_unlinked(order.id, case.id).await? {
            return Ok(false);
        }
    }
    let joined = tx.orders_joined(case.id).await?;
    if joined.len() + alone.len() > MAX_ORDERS {
        return Ok(false);
    }
    // All that was asked of it has been taken back: what is asked now is another request.
    let Some(first) = alone.first() else { return Ok(false) };
    Ok(case.has_study || others_live(tx, case.id, first.id).await?)
}

async fn begin(tx: &mut Tx, order: &OrderRow, orders: usize, now: Moment) -> Result<CaseRow, StoreError> {
    let id = CaseId::generate();
    let case = CaseRow {
        id,
        origin: order.origin.clone(),
        study: Uid::derived(&["case of order", &order.id.to_string(), &id.to_string()]),
        state: CaseState::New,
        discipline: order.discipline,
        priority: order.priority,
        calling_ae: String::new(),
        called_ae: String::new(),
        facts: facts(order),
        instances: 0,
        bytes: 0,
        routed_to: 0,
        first: now,
        last: now,
        // Nothing more is to come before it can be read.
        whole: Some(now),
        decision: None,
        reader: None,
        attention: String::new(),
        has_study: false,
        report_due: None,
        waits_until: None,
    };
    if !tx.add_case(&case).await? {
        return Err(StoreError::NotFound { what: "case of order", id: id.to_string() });
    }
    let many = if orders == 1 { "its order".to_owned() } else { format!("its {orders} orders") };
    let what = format!("begun by {many} from {}, {} priority, no images yet", case.origin, case.priority);
    tx.tell(case.id, now, "intake", &what).await?;
    Ok(case)
}

/// What is known before there are images.
fn facts(order: &OrderRow) -> StudyFacts {
    StudyFacts {
        patient_id: order.patient.clone(),
        patient_name: order.facts.patient_name.clone(),
        birth_date: order.facts.birth_date.clone(),
        sex: order.facts.sex.clone(),
        accession: order.accession.clone(),
        placer_order_number: order.placer.value.clone(),
        placer_issuer: order.placer.issuer.clone(),
        filler_order_number: order.filler.value.clone(),
        filler_issuer: order.filler.issuer.clone(),
        description: order.facts.procedure.clone(),
        priority: order.priority,
        ..StudyFacts::default()
    }
}
