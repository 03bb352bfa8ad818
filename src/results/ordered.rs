//! A report may name any of its case's orders, and a case shows the numbers of one; or it names specimens alone.
//!
//! In: what a report names, and the cases found for it. Out: those cases, and the ones of the orders it names, each with the
//! numbers of the first of them: it is the one that is answered, so its numbers go home; those of other parts by `parts`. Where it names no number of any case, the
//! cases of its specimens.

use super::correlate::{Candidate, Clues};
use crate::{
    model::{CaseId, IssuedId, OrderNumbers},
    store::{CaseRow, OrderRow, StoreError, Tx},
};
use std::collections::{BTreeMap, BTreeSet};

/// Cases a report is compared with, at most: one that more go by a number of says nothing.
pub const MAX_CANDIDATES: usize = 200;
/// Orders, specimens and their cases that are looked up for one report, at most: its transaction holds others up.
const MAX_LOOKED_UP: usize = 1_000;

/// Adds the cases of the orders that the report names. The first of a case's orders that it names is written into the case,
/// unless it shows those numbers already. False: they are too many.
///
/// # Errors
/// When the database fails.
pub async fn add_cases_of_orders(tx: &mut Tx, clues: &Clues, found: &mut Vec<Candidate>) -> Result<bool, StoreError> {
    let (mut seen, mut looked_up) = (BTreeSet::new(), 0);
    for (part, named) in clues.orders.iter().enumerate() {
        for order in orders_named(tx, named).await? {
            // Parts repeat each other's numbers.
            if !seen.insert(order.id) {
                continue;
            }
            let cases = tx.cases_of_order(order.id).await?;
            looked_up += 1 + cases.len();
            if looked_up > MAX_LOOKED_UP || found.len() > MAX_CANDIDATES {
                return Ok(false);
            }
            for id in cases {
                let place = if let Some(place) = found.iter().position(|known| known.case.id == id) {
                    place
                } else {
                    let case = tx.case_as_it_is(id).await?;
                    // An institute's images of a specimen are joined to the order too; the report is not about those.
                    if case.origin != order.origin {
                        continue;
                    }
                    found.push(Candidate::from(case));
                    found.len() - 1
                };
                let Some(known) = found.get_mut(place).filter(|known| known.case.origin == order.origin) else {
                    continue;
                };
                let is_first = known.orders.is_empty();
                if is_first && !clues.orders.iter().take(part + 1).any(|named| shows(&known.case, named)) {
                    answer(&mut known.case, &order);
                }
                known.orders.push(numbers_of(&order));
            }
        }
    }
    Ok(found.len() <= MAX_CANDIDATES)
}

/// The orders that one part of a report names, by either number.
async fn orders_named(tx: &mut Tx, named: &OrderNumbers) -> Result<Vec<OrderRow>, StoreError> {
    let mut orders: Vec<OrderRow> = Vec::new();
    for said in [&named.placer, &named.filler].into_iter().filter(|said| !said.is_empty()) {
        for order in tx.orders_with_number(&said.value).await? {
            if names(said, &order) && orders.iter().all(|known| known.id != order.id) {
                orders.push(order);
            }
        }
    }
    Ok(orders)
}

pub fn numbers_of(order: &OrderRow) -> OrderNumbers {
    OrderNumbers { placer: order.placer.clone(), filler: order.filler.clone(), accession: order.accession.clone() }
}

/// Specimens of a report that are looked up, at most.
const MAX_SPECIMENS: usize = 50;

/// A case, and the ids that specimens of its orders go by.
type OfSpecimens = (CaseRow, Vec<IssuedId>);

/// The cases whose orders speak of the specimens that the report names. `None`: they are too many.
///
/// # Errors
/// When the database fails.
pub async fn cases_of_specimens(tx: &mut Tx, clues: &Clues) -> Result<Option<Vec<OfSpecimens>>, StoreError> {
    let mut found: BTreeMap<CaseId, OfSpecimens> = BTreeMap::new();
    let (mut seen, mut looked_up) = (BTreeSet::new(), 0);
    for said in clues.specimens.iter().take(MAX_SPECIMENS) {
        for specimen in tx.specimens_with(&said.value).await? {
            if !seen.insert(specimen.id) {
                continue;
            }
            let cases = tx.cases_of_specimen(specimen.id).await?;
            looked_up += 1 + cases.len();
            if looked_up > MAX_LOOKED_UP || found.len() > MAX_CANDIDATES {
                return Ok(None);
            }
            for id in cases {
                let case = tx.case_as_it_is(id).await?;
                // An institute's images of it are joined to the order too; the report is not about those.
                if case.origin == specimen.origin {
                    found.entry(id).or_insert((case, Vec::new())).1.extend(specimen.said.ids().cloned());
                }
            }
        }
    }
    Ok(Some(found.into_values().collect()))
}

/// The numbers of the order that is answered, on the case as it is now. The case is not stored with them.
pub fn as_found(case: &mut CaseRow, found: &CaseRow) {
    let (facts, said) = (&mut case.facts, &found.facts);
    facts.placer_order_number.clone_from(&said.placer_order_number);
    facts.placer_issuer.clone_from(&said.placer_issuer);
    facts.filler_order_number.clone_from(&said.filler_order_number);
    facts.filler_issuer.clone_from(&said.filler_issuer);
    facts.accession.clone_from(&said.accession);
    facts.description.clone_from(&said.description);
}

fn answer(case: &mut CaseRow, order: &OrderRow) {
    let facts = &mut case.facts;
    facts.placer_order_number.clone_from(&order.placer.value);
    facts.placer_issuer.clone_from(&order.placer.issuer);
    facts.filler_order_number.clone_from(&order.filler.value);
    facts.filler_issuer.clone_from(&order.filler.issuer);
    if !order.accession.is_empty() {
        facts.accession.clone_from(&order.accession);
    }
    if !order.facts.procedure.is_empty() {
        facts.description.clone_from(&order.facts.procedure);
    }
}

fn names(said: &IssuedId, order: &OrderRow) -> bool {
    [&order.placer, &order.filler]
        .into_iter()
        .any(|known| known.value == said.value && (said.issuer.is_empty() || said.issuer == known.issuer))
}

/// The case goes by one of these numbers already.
fn shows(case: &CaseRow, named: &OrderNumbers) -> bool {
    let said = [&named.placer.value, &named.filler.value].into_iter().filter(|number| !number.is_empty());
    let shown = [&case.facts.placer_order_number, &case.facts.filler_order_number];
    said.into_iter().any(|number| shown.contains(&number))
}
