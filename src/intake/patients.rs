//! Takes what a hospital tells of its patients: changed names, and identifiers merged into others, reach its open cases and
//! orders, and the readers that have them.
//!
//! In: ADT of a known partner. Out: ACK after the synced commit. Only the sender's own patients are looked at, by identifier
//! and issuer. A merged identifier is remembered: images, orders and reports that still carry it belong to the one that
//! stayed. `routing` sends the message on to readers that take orders; for others a person is told.

use crate::{
    config::{Config, Live, Partner},
    hl7::{
        ack::{ErrorCode, Rejected, Verdict, acknowledge},
        adt::{News, PatientNews},
        charset::Charset,
        message::Message,
    },
    model::{Bell, CaseState, IssuedId, Moment, OrderId},
    store::{CaseRow, Durability, MessageKey, OrderFacts, Store, StoreError, Tx},
};
use bytes::Bytes;
use std::collections::BTreeSet;

/// News of a patient are a few KiB.
const MAX_BYTES: usize = 1 << 20;
/// Cases or orders of one patient. An identifier that more have names nobody (`0`, `UNKNOWN`): to change them all at one
/// message would be a mistake of somebody's, and would hold up the hospital's other messages for as long as it takes.
const MOST: usize = 1_000;

#[derive(Clone)]
pub struct PatientTaker {
    pub store: Store,
    pub config: Live,
    /// Rung when readers are to be told.
    pub routing: Bell,
}

/// A message as it came.
struct Told<'a> {
    news: PatientNews,
    sha256: &'a str,
    now: Moment,
}

impl PatientTaker {
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
        let refuse = |problem: &Rejected| {
            tracing::warn!(site = %partner.id, problem = %problem, "Refused news of a patient of {}: {problem}", partner.id);
            acknowledge(view, problem.verdict(), Some(problem), now)
        };
        let parsed = if bytes.len() > MAX_BYTES {
            Err(Rejected::new("MSH", 1, 0, ErrorCode::DataType, "news of a patient of more than 1 MiB"))
        } else {
            PatientNews::parse(view, charset)
        };
        let mut news = match parsed {
            Ok(news) => news,
            Err(problem) => return Ok(refuse(&problem)),
        };
        for id in news.patient_ids.iter_mut().chain(&mut news.merged_ids).filter(|id| id.issuer.is_empty()) {
            id.issuer.clone_from(&partner.issuer);
        }
        let config = self.config.now();
        let mut tx = self.store.begin(Durability::Synced).await?;
        if let Some(answer) = tx.claim_message(key, now).await? {
            tracing::info!(site = %partner.id, "News of a patient of {} came again and got the same answer", partner.id);
            return Ok(answer);
        }
        tx.hold_origin(&partner.id).await?;
        let told = Told { news, sha256: &key.sha256, now };
        let Some((cases, orders)) = apply(&mut tx, &config, partner, &told).await? else {
            let text = "more than 1000 cases or orders go by this identifier, so it names nobody: give the patient one of \
                        their own, and send the news with it";
            return Ok(refuse(&Rejected::new("PID", 1, 3, ErrorCode::UnknownKey, text)));
        };
        if cases > 0 {
            tx.keep_patient_content(&key.sha256, now, bytes).await?;
        }
        let answer = acknowledge(view, Verdict::Accept, None, now);
        tx.keep_answer(key, &answer).await?;
        tx.commit().await?;
        let merge = told.news.news == News::Merged;
        tracing::info!(site = %partner.id, merge, cases, orders, "News of a patient of {}: {cases} cases and {orders} orders changed", partner.id);
        self.routing.ring();
        Ok(answer)
    }
}

/// Changes the orders and cases it concerns. Returned: how many of each; none where they are so many that it is nobody's.
async fn apply(
    tx: &mut Tx,
    config: &Config,
    partner: &Partner,
    told: &Told<'_>,
) -> Result<Option<(usize, usize)>, StoreError> {
    let news = &told.news;
    let surviving = surviving(&news.patient_ids, &partner.issuer);
    if news.news == News::Merged {
        for old in news.merged_ids.iter().filter(|old| **old != surviving) {
            tx.merge_patient(&partner.id, old, &surviving, told.now).await?;
        }
    }
    let known_by: Vec<&IssuedId> = news.patient_ids.iter().chain(&news.merged_ids).collect();
    let (mut cases, mut orders) = (BTreeSet::new(), BTreeSet::new());
    for id in &known_by {
        orders.extend(tx.orders_of_patient(&partner.id, id, MOST + 1).await?);
        cases.extend(tx.cases_of_patient(&partner.id, id, MOST + 1).await?);
    }
    if orders.len() > MOST || cases.len() > MOST {
        return Ok(None);
    }
    let mut changed_orders = 0;
    for id in orders {
        changed_orders += usize::from(change_order(tx, id, news, &surviving, told.now).await?);
    }
    let mut changed_cases = 0;
    for id in cases {
        let mut case = tx.case(id).await?;
        // They were looked up by the beginning of the identifier.
        if !known_by.contains(&&case.facts.patient_id) {
            continue;
        }
        if change_case(tx, config, &mut case, told, &surviving).await? {
            changed_cases += 1;
        }
    }
    Ok(Some((changed_cases, changed_orders)))
}

/// The hospital's own identifier: it is the one its images carry.
fn surviving(ids: &[IssuedId], issuer: &str) -> IssuedId {
    ids.iter().find(|id| id.issuer == issuer).or(ids.first()).cloned().unwrap_or_default()
}

async fn change_order(
    tx: &mut Tx,
    id: OrderId,
    news: &PatientNews,
    surviving: &IssuedId,
    now: Moment,
) -> Result<bool, StoreError> {
    let Some(mut order) = tx.order(id).await? else { return Ok(false) };
    let before = (order.patient.clone(), order.facts.clone());
    if news.news == News::Merged && news.merged_ids.contains(&order.patient) {
        order.patient = surviving.clone();
    }
    // Known by the old ones as well: images may come with either.
    for id in news.patient_ids.iter().chain(&news.merged_ids) {
        if !order.facts.patients.contains(id) {
            order.facts.patients.push(id.clone());
        }
    }
    let OrderFacts { patient_name, birth_date, sex, .. } = &mut order.facts;
    take_over(news, patient_name, birth_date, sex);
    let is_changed = before != (order.patient.clone(), order.facts.clone());
    if is_changed {
        order.changed = now;
        tx.save_patient_of_order(&order).await?;
    }
    Ok(is_changed)
}

/// What the message says is taken; what it leaves out stays. True when something changed.
fn take_over(news: &PatientNews, name: &mut String, birth_date: &mut String, sex: &mut String) -> bool {
    let mut is_changed = false;
    for (known, said) in [(name, &news.patient_name), (birth_date, &news.birth_date), (sex, &news.sex)] {
        if !said.is_empty() && known != said {
            known.clone_from(said);
            is_changed = true;
        }
    }
    is_changed
}

async fn change_case(
    tx: &mut Tx,
    config: &Config,
    case: &mut CaseRow,
    told: &Told<'_>,
    surviving: &IssuedId,
) -> Result<bool, StoreError> {
    let news = &told.news;
    let facts = &mut case.facts;
    let mut what = Vec::new();
    if news.news == News::Merged && news.merged_ids.contains(&facts.patient_id) {
        let former = std::mem::replace(&mut facts.patient_id, surviving.clone());
        facts.former_patient_ids.retain(|id| id != surviving);
        if !facts.former_patient_ids.contains(&former) {
            facts.former_patient_ids.push(former);
        }
        what.push("its patient's identifier was merged into another one");
    }
    if take_over(news, &mut facts.patient_name, &mut facts.birth_date, &mut facts.sex) {
        what.push("its patient's name, birth date or sex was corrected");
    }
    if what.is_empty() {
        return Ok(false);
    }
    let what = format!("{} by {}", what.join(", "), case.origin);
    tx.save_facts(case).await?;
    tx.tell(case.id, told.now, "intake", &what).await?;
    tx.add_patient_message(case.id, told.now, told.sha256, news.news == News::Merged).await?;
    let unaware = unaware(config, case);
    if !unaware.is_empty() {
        case.needs_a_person(&format!("{what} after it was given to {}: tell them", unaware.join(", ")));
        tx.save_case(case).await?;
    }
    Ok(true)
}

/// Who has the case, has not reported on it, and is not told by a message.
fn unaware(config: &Config, case: &CaseRow) -> Vec<String> {
    if !matches!(case.state, CaseState::Routed | CaseState::Delivered | CaseState::Preliminary) {
        return Vec::new();
    }
    let takes = |id| config.partners.get(id).is_some_and(|partner: &Partner| partner.orders_delivered);
    case.receivers().iter().filter(|id| !takes(id)).map(ToString::to_string).collect()
}
