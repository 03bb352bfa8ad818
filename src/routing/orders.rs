//! Owes the orders of a case to its readers: every message about them, in the order in which they were committed.
//!
//! In: a decided case whose orders came, changed or were taken back. Out: messages in the ledger for each receiver that takes
//! orders (`[orders] deliver`), in its own form and identifiers; for a partner that is no reader of the case any more, one
//! withdrawal. How far each has been told is written in the same transaction. What was refused to the origin (UA, UC, …) is
//! sent to nobody; an order that was taken back before anybody was told of it, neither.

use super::{
    names::{Names, names},
    step::lane,
};
use crate::{
    config::{Config, Hl7Target, Partner},
    hl7::{
        charset::Charset,
        message::new_control_id,
        order::{Forward, ForwardError, Forwarded, forward, identifiers},
        outgoing::relayed,
    },
    model::{CaseState, Disposition, Moment, OrderControl, OrderId, OrderState, PartnerId},
    store::{CaseRow, NewMessage, OrderForward, ReceivedOrderMessage, StoreError, Tx},
};
use std::collections::VecDeque;

/// Who is told, and until when.
struct Telling<'a> {
    config: &'a Config,
    origin: &'a Partner,
    now: Moment,
    give_up: Moment,
}

/// An order of the case, what came about it, and who knows how much.
struct Joined {
    id: OrderId,
    state: OrderState,
    messages: Vec<ReceivedOrderMessage>,
}

/// One received message with those of its orders that go.
struct Pending {
    content: Vec<u8>,
    sequences: Vec<usize>,
}

/// Owes every receiver what it has not been told yet. The case is saved by the caller.
///
/// # Errors
/// When the database fails.
pub async fn owe_orders(
    tx: &mut Tx,
    config: &Config,
    case: &mut CaseRow,
    now: Moment,
    give_up: Moment,
) -> Result<(), StoreError> {
    let forwards = tx.order_forwards(case.id).await?;
    let joined = tx.orders_joined(case.id).await?;
    let is_parted = |forward: &&OrderForward| !forward.withdrawn && !joined.contains(&forward.order);
    let parted: Vec<OrderForward> = forwards.iter().filter(is_parted).cloned().collect();
    let orders = known(tx, &case.origin, &joined).await?;
    if orders.is_empty() && parted.is_empty() {
        return Ok(());
    }
    let Some(origin) = config.partners.get(&case.origin) else {
        case.needs_a_person("its orders are not sent on: the hospital that asked is not in the configuration any more");
        return Ok(());
    };
    let telling = Telling { config, origin, now, give_up };
    // A person has unlinked it.
    for forward in &parted {
        let order = known(tx, &case.origin, &[forward.order]).await?;
        telling.withdraw(tx, case, &forward.partner, &order, std::slice::from_ref(forward)).await?;
    }
    let forwards: Vec<OrderForward> = forwards.into_iter().filter(|forward| joined.contains(&forward.order)).collect();
    let receivers = if case.state == CaseState::Held { Vec::new() } else { takers(config, case) };
    for partner in &receivers {
        telling.tell(tx, case, partner, &orders, &forwards).await?;
    }
    for partner in told(&forwards).into_iter().filter(|partner| !receivers.contains(partner)) {
        if case.state == CaseState::Held {
            telling.tell(tx, case, &partner, &orders, &forwards).await?;
        } else {
            telling.withdraw(tx, case, &partner, &orders, &forwards).await?;
        }
    }
    Ok(())
}

/// The orders with all that has come about them.
async fn known(tx: &mut Tx, origin: &PartnerId, ids: &[OrderId]) -> Result<Vec<Joined>, StoreError> {
    let mut orders = Vec::with_capacity(ids.len());
    for &id in ids {
        // Beside images of another hospital's specimen: that hospital knows its order.
        let Some(order) = tx.order_as_it_is(id).await?.filter(|order| order.origin == *origin) else { continue };
        orders.push(Joined { id, state: order.state, messages: all_messages(tx, id).await? });
    }
    Ok(orders)
}

/// Everything that has come about an order, read page by page.
async fn all_messages(tx: &mut Tx, order: OrderId) -> Result<Vec<ReceivedOrderMessage>, StoreError> {
    let mut messages: Vec<ReceivedOrderMessage> = Vec::new();
    loop {
        let page = tx.order_messages_after(order, messages.last().map_or(0, |last| last.number)).await?;
        if page.is_empty() {
            return Ok(messages);
        }
        messages.extend(page);
    }
}

/// The receivers of the case that take orders.
pub fn takers(config: &Config, case: &CaseRow) -> Vec<PartnerId> {
    let takes = |id: &PartnerId| config.partners.get(id).is_some_and(|partner| partner.orders_delivered);
    case.receivers().into_iter().filter(takes).collect()
}

/// Who has been told of any of the orders and not been told that it is over.
fn told(forwards: &[OrderForward]) -> Vec<PartnerId> {
    let mut partners: Vec<PartnerId> = forwards.iter().filter(|f| !f.withdrawn).map(|f| f.partner.clone()).collect();
    partners.sort();
    partners.dedup();
    partners
}

/// How far the partner knows an order: none, or told that it is over, begins anew.
fn known_to(forwards: &[OrderForward], order: OrderId, partner: &PartnerId) -> i64 {
    let known = forwards.iter().find(|forward| forward.order == order && forward.partner == *partner);
    known.filter(|forward| !forward.withdrawn).map_or(0, |forward| forward.sent_to)
}

/// The messages of several orders, each once with all its orders there, and each order's in the sequence of its numbers: a
/// message goes when it is the next of every order it speaks of.
fn in_sequence(mut lines: Vec<VecDeque<&ReceivedOrderMessage>>) -> Vec<Pending> {
    let is_same =
        |a: &ReceivedOrderMessage, b: &ReceivedOrderMessage| a.received == b.received && a.content == b.content;
    let mut pending = Vec::new();
    loop {
        let heads: Vec<&ReceivedOrderMessage> = lines.iter().filter_map(|line| line.front().copied()).collect();
        let is_next = |head: &&&ReceivedOrderMessage| {
            !lines.iter().any(|line| line.iter().skip(1).any(|later| is_same(later, head)))
        };
        // Two nodes could have numbered crosswise; then the older one goes first.
        let next = heads.iter().filter(is_next).min_by_key(|head| head.received);
        let Some(next) = next.or(heads.iter().min_by_key(|head| head.received)).copied() else { return pending };
        let mut sequences = Vec::new();
        for line in &mut lines {
            while line.front().is_some_and(|head| is_same(head, next)) {
                sequences.extend(line.pop_front().map(|message| message.sequence));
            }
        }
        pending.push(Pending { content: next.content.clone(), sequences });
    }
}

/// Whether a message moved its order: what was answered UA, UC, … did not.
fn was_done(message: &ReceivedOrderMessage) -> bool {
    OrderControl::of_code(&message.control).is_some_and(|control| control.answer(true) == message.answer)
}

impl Telling<'_> {
    async fn tell(
        &self,
        tx: &mut Tx,
        case: &mut CaseRow,
        partner: &PartnerId,
        orders: &[Joined],
        forwards: &[OrderForward],
    ) -> Result<(), StoreError> {
        // One message may speak of several orders: it goes once.
        let mut lines: Vec<VecDeque<&ReceivedOrderMessage>> = Vec::new();
        for order in orders {
            let (known, last) = (known_to(forwards, order.id, partner), order.messages.last().map_or(0, |m| m.number));
            if last <= known {
                continue;
            }
            let is_over = matches!(order.state, OrderState::Cancelled | OrderState::Replaced);
            let goes = |message: &&ReceivedOrderMessage| {
                message.number > known && was_done(message) && !(is_over && known == 0)
            };
            lines.push(order.messages.iter().filter(goes).collect());
            let forward = OrderForward { order: order.id, partner: partner.clone(), sent_to: last, withdrawn: false };
            // Nothing was sent of what was over before: should it be withdrawn, there is nobody to tell.
            let forward = OrderForward { withdrawn: is_over && known == 0, ..forward };
            tx.save_order_forward(case.id, &forward).await?;
        }
        for pending in in_sequence(lines) {
            self.send(tx, case, partner, &pending, None).await?;
        }
        Ok(())
    }

    /// The case has gone to somebody else: what was sent last of each order that still stands is sent again as cancelled.
    async fn withdraw(
        &self,
        tx: &mut Tx,
        case: &mut CaseRow,
        partner: &PartnerId,
        orders: &[Joined],
        forwards: &[OrderForward],
    ) -> Result<(), StoreError> {
        for forward in forwards.iter().filter(|forward| forward.partner == *partner && !forward.withdrawn) {
            let order = orders.iter().find(|order| order.id == forward.order);
            let known = |message: &&ReceivedOrderMessage| message.number <= forward.sent_to && was_done(message);
            let last = order.and_then(|order| order.messages.iter().rfind(known));
            if let Some(last) = last.filter(|last| !matches!(last.control.as_str(), "CA" | "DC" | "RP")) {
                let again = Pending { content: last.content.clone(), sequences: vec![last.sequence] };
                self.send(tx, case, partner, &again, Some(OrderControl::Cancel)).await?;
            }
            tx.save_order_forward(case.id, &OrderForward { withdrawn: true, ..forward.clone() }).await?;
        }
        Ok(())
    }

    async fn send(
        &self,
        tx: &mut Tx,
        case: &mut CaseRow,
        partner: &PartnerId,
        pending: &Pending,
        control: Option<OrderControl>,
    ) -> Result<(), StoreError> {
        let Some((receiver, target)) = self.receiver(partner) else {
            let reason = format!("its order cannot be sent to {partner}: no [hl7] deliver is configured for it");
            return self.not_sent(tx, case, &reason).await;
        };
        let control_id = new_control_id();
        let fallback = charset_of(self.config, &self.origin.id);
        let found = identifiers(&pending.content, fallback, &self.origin.issuer).unwrap_or_default();
        let names = names(tx, self.config, case, partner, found, self.now).await?;
        let made = self.made(target, pending, control, &control_id, &names);
        let Ok(forwarded) = made else {
            let reason = format!("its order cannot be sent to {partner}: what was received cannot be read any more");
            return self.not_sent(tx, case, &reason).await;
        };
        let (content, warnings) = encoded(forwarded.bytes, forwarded.charset, receiver);
        tell_warnings(tx, case, partner, &warnings, self.now).await?;
        tx.owe_message(&NewMessage {
            case: case.id,
            partner: partner.clone(),
            lane: lane(case.priority),
            what: forwarded.what.clone(),
            control_id,
            content,
            deadline: deadline(case),
            give_up: self.give_up,
            now: self.now,
        })
        .await?;
        let as_cancelled = if control.is_some() { " as cancelled: it is not theirs any more" } else { "" };
        let what = format!("its order goes to {partner} ({}){as_cancelled}", forwarded.what);
        tx.tell(case.id, self.now, "routing", &what).await
    }

    async fn not_sent(&self, tx: &mut Tx, case: &mut CaseRow, reason: &str) -> Result<(), StoreError> {
        tracing::error!(case.id = %case.id, "Case {}: {reason}", case.id);
        case.needs_a_person(reason);
        tx.tell(case.id, self.now, "routing", reason).await
    }

    fn receiver(&self, partner: &PartnerId) -> Option<(&Partner, &Hl7Target)> {
        let partner = self.config.partners.get(partner)?;
        Some((partner, partner.hl7.as_ref()?.deliver.as_ref()?))
    }

    fn made(
        &self,
        target: &Hl7Target,
        pending: &Pending,
        control: Option<OrderControl>,
        control_id: &str,
        names: &Names,
    ) -> Result<Forwarded, ForwardError> {
        let at = self.now.utc().with_timezone(&self.origin.time_zone).format("%Y%m%d%H%M%S%z").to_string();
        let how = Forward {
            sending_application: "NEISSE",
            sending_facility: &self.config.node.name,
            receiving_application: &target.application,
            receiving_facility: &target.facility,
            control_id,
            at: &at,
            sequences: &pending.sequences,
            control,
            issuer: &self.origin.issuer,
            named: &|kind, id| names.of(kind, id),
            own_domain: names.has_own(),
        };
        forward(&pending.content, charset_of(self.config, &self.origin.id), &how)
    }
}

/// What a partner's messages are in where MSH-18 is empty.
pub(super) fn charset_of(config: &Config, partner: &PartnerId) -> Charset {
    let hl7 = config.partners.get(partner).and_then(|partner| partner.hl7.as_ref());
    let named = hl7.and_then(|hl7| hl7.charset.as_deref());
    named.and_then(|name| Charset::named(name).ok()).unwrap_or(Charset::ISO_8859_1)
}

/// In the receiver's character set, which MSH-18 then says, and what a person must know of letters that it lacks.
pub(super) fn encoded(bytes: Vec<u8>, from: Charset, receiver: &Partner) -> (Vec<u8>, Vec<String>) {
    match relayed(&bytes, from, &receiver.hl7_outgoing()) {
        Ok(sent) => (sent.bytes, sent.warnings),
        // We have just written it.
        Err(_) => (bytes, Vec::new()),
    }
}

/// Letters that did not go as they came are named on the case.
pub(super) async fn tell_warnings(
    tx: &mut Tx,
    case: &mut CaseRow,
    partner: &PartnerId,
    warnings: &[String],
    now: Moment,
) -> Result<(), StoreError> {
    for warning in warnings {
        let warning = format!("order to {partner}: {warning}");
        if case.needs_a_person(&warning) {
            tx.tell(case.id, now, "routing", &warning).await?;
        }
    }
    Ok(())
}

/// When what is sent for a case is to have arrived: when its report is due, which a release counts anew; once nobody waits
/// for one, as its rule had it from the start. None for a case held by the rules, and reported all the same.
pub(super) fn deadline(case: &CaseRow) -> Option<Moment> {
    match case.decision.as_ref().map(|decision| &decision.disposition) {
        Some(Disposition::Read(reading)) => {
            reading.report_within.map(|within| case.report_due.unwrap_or(case.first + within))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CaseId, Decision, Discipline, Priority, Reading, ReadingMode, StudyFacts, Uid};
    use std::time::Duration;

    #[test]
    fn what_is_sent_after_a_release_has_as_long_as_its_report() {
        let within = Duration::from_secs(3600);
        let reading = Reading {
            rule: "Nights".into(),
            readers: Vec::new(),
            also_to: Vec::new(),
            reading_mode: ReadingMode::Consultation,
            claim_within: None,
            report_within: Some(within),
            window_ends: None,
        };
        let decision = Decision {
            disposition: Disposition::Read(reading),
            reasons: Vec::new(),
            rules_version: String::new(),
            decided_at: Moment(0),
        };
        let mut case = CaseRow {
            id: CaseId::generate(),
            origin: PartnerId::new("rabenstein").unwrap(),
            study: Uid::new("1.2.3").unwrap(),
            state: CaseState::Routed,
            discipline: Discipline::Radiology,
            priority: Priority::Routine,
            calling_ae: String::new(),
            called_ae: String::new(),
            facts: StudyFacts::default(),
            instances: 1,
            bytes: 1,
            routed_to: 0,
            first: Moment(0),
            last: Moment(0),
            whole: None,
            decision: Some(decision),
            reader: None,
            attention: String::new(),
            has_study: true,
            report_due: None,
            waits_until: None,
        };
        assert_eq!(deadline(&case), Some(Moment(0) + within), "nobody waits for its report");
        let released = Moment(0) + Duration::from_secs(86_400);
        case.await_report(released);
        assert_eq!(deadline(&case), Some(released + within));
        case.report_came();
        assert_eq!(deadline(&case), Some(Moment(0) + within));
        case.decision = None;
        assert_eq!(deadline(&case), None);
    }
}
