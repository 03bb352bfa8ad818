//! Takes what a hospital tells of its patients: changed names, and identifiers merged into others, reach its cases and
//! orders, and the readers that have them.
//!
//! In: ADT of a known partner. Out: ACK after the synced commit, with which everything open has been changed. Of a patient with
//! many cases the closed ones are left to `rest`, which goes on from what is written down in the same commit. Only the sender's own patients are looked at, by identifier
//! and issuer. A merged identifier is remembered: images, orders and reports that still carry it belong to the one that
//! stayed. `routing` sends the message on to readers that take orders; for others a person is told.
//!
//! An identifier that very many cases or orders have ([`MOST`], [`MOST_OPEN`]) names nobody (`0`, `UNKNOWN`): to change them all at
//! one message would be a mistake of somebody's. It is refused, and a person is told.

mod change;
pub mod rest;

use crate::{
    config::{Config, Live, Partner},
    hl7::{
        ack::{ErrorCode, Rejected, Verdict, acknowledge},
        adt::{News, PatientNews},
        charset::Charset,
        message::Message,
    },
    model::{Bell, CaseId, IssuedId, Moment, PartnerId},
    store::{Durability, MessageKey, Store, StoreError, Tx},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// News of a patient are a few KiB.
const MAX_BYTES: usize = 1 << 20;
/// Cases or orders that have one identifier, closed ones included.
pub const MOST: usize = 20_000;
/// Open ones: they are changed while the hospital's other messages wait.
pub const MOST_OPEN: usize = 1_000;
/// So many closed ones are changed together with the open ones.
const FEW: usize = 50;

#[derive(Clone)]
pub struct PatientTaker {
    pub store: Store,
    pub config: Live,
    /// Rung when readers are to be told.
    pub routing: Bell,
    /// Rung when closed cases and orders are to be changed.
    pub rest: Bell,
}

/// A message as it came, and which of its patient's identifiers stays.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Told {
    news: PatientNews,
    surviving: IssuedId,
    sha256: String,
    received: Moment,
}

impl Told {
    /// The identifiers that its patient has, or had.
    fn known_by(&self) -> Vec<&IssuedId> {
        self.news.patient_ids.iter().chain(&self.news.merged_ids).collect()
    }
}

/// What a message came to.
enum Applied {
    Changed {
        cases: usize,
        orders: usize,
        /// There are more, which are closed.
        is_rest: bool,
    },
    /// So many have its identifier that it is nobody's: the newest case of them.
    Nobodys(Option<CaseId>),
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
        let surviving = surviving(&news.patient_ids, &partner.issuer);
        let told = Told { news, surviving, sha256: key.sha256.clone(), received: now };
        let (cases, orders, is_rest) = match apply(&mut tx, &config, &partner.id, &told).await? {
            Applied::Changed { cases, orders, is_rest } => (cases, orders, is_rest),
            Applied::Nobodys(newest) => {
                drop(tx);
                self.tell_a_person(partner, newest, now).await?;
                let text = "too many cases or orders go by this identifier, so it names nobody: give the patient one of \
                            their own, and send the news with it";
                return Ok(refuse(&Rejected::new("PID", 1, 3, ErrorCode::UnknownKey, text)));
            }
        };
        if cases > 0 || is_rest {
            tx.keep_patient_content(&key.sha256, now, bytes).await?;
        }
        let answer = acknowledge(view, Verdict::Accept, None, now);
        tx.keep_answer(key, &answer).await?;
        tx.commit().await?;
        let merge = told.news.news == News::Merged;
        tracing::info!(site = %partner.id, merge, cases, orders, is_rest, "News of a patient of {}: {cases} cases and {orders} orders changed", partner.id);
        self.routing.ring();
        if is_rest {
            self.rest.ring();
        }
        Ok(answer)
    }

    /// Where there is a case to tell it at; the log has it in any case.
    async fn tell_a_person(&self, partner: &Partner, case: Option<CaseId>, now: Moment) -> Result<(), StoreError> {
        let id = &partner.id;
        tracing::error!(site = %id, "News of a patient of {id} refused: more than {MOST_OPEN} open or {MOST} cases or orders have the identifier");
        let Some(case) = case else { return Ok(()) };
        let reason = format!(
            "news of its patient refused: more than {MOST_OPEN} open or {MOST} cases or orders of {id} have that identifier"
        );
        let mut tx = self.store.begin(Durability::Synced).await?;
        if tx.mark_for_a_person(case, &reason).await? {
            tx.tell(case, now, "intake", &reason).await?;
        }
        tx.commit().await
    }
}

/// Changes the orders and cases it concerns: what is open, and what is closed where that is not much.
async fn apply(tx: &mut Tx, config: &Config, origin: &PartnerId, told: &Told) -> Result<Applied, StoreError> {
    let news = &told.news;
    if news.news == News::Merged {
        for old in news.merged_ids.iter().filter(|old| **old != told.surviving) {
            tx.merge_patient(origin, old, &told.surviving, told.received).await?;
        }
    }
    let (mut cases, mut orders) = (BTreeSet::new(), BTreeSet::new());
    for id in told.known_by() {
        orders.extend(tx.orders_of_patient(origin, id, "", MOST + 1).await?);
        cases.extend(tx.cases_of_patient(origin, id, "", MOST + 1).await?);
    }
    let open = |are_open: &mut dyn Iterator<Item = bool>| are_open.filter(|is_open| *is_open).count();
    let open_cases = open(&mut cases.iter().map(|case| case.is_open));
    let open_orders = open(&mut orders.iter().map(|order| order.is_open));
    if orders.len().max(cases.len()) > MOST || open_orders.max(open_cases) > MOST_OPEN {
        return Ok(Applied::Nobodys(cases.last().map(|case| case.id)));
    }
    let closed = cases.len() + orders.len() - open_cases - open_orders;
    // News are gone on with in the order they came.
    let is_rest = closed > FEW || tx.next_patient_news(origin).await?.is_some();
    let mut changed = (0, 0);
    for order in orders.iter().filter(|order| order.is_open || !is_rest) {
        changed.1 += usize::from(change::order(tx, order.id, told, false).await?);
    }
    for case in cases.iter().filter(|case| case.is_open || !is_rest) {
        changed.0 += usize::from(change::case(tx, config, case.id, told, false).await?);
    }
    if is_rest {
        tx.keep_patient_news(&rest::begin(origin, told)?).await?;
    }
    Ok(Applied::Changed { cases: changed.0, orders: changed.1, is_rest })
}

/// The hospital's own identifier: it is the one its images carry.
fn surviving(ids: &[IssuedId], issuer: &str) -> IssuedId {
    ids.iter().find(|id| id.issuer == issuer).or(ids.first()).cloned().unwrap_or_default()
}
