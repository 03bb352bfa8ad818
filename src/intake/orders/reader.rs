//! What a reader says of an order of the hospital it reads for: how far it has come, or the number it has given it; and its
//! answer to an order it was sent, where that comes as a message of its own (enhanced mode, HL7 v2.5.1 2.9.3).
//!
//! In: SC or NA of a partner that reads a case of the order with that placer order number and issuer, or ORR, ORG, ORI, ORL
//! and ACK of one that was sent the order. Out: a sentence in the case's story; a person is told where the reader cannot or
//! will not do it; and what the hospital is to hear is owed to it, where it takes messages about orders (`[orders] deliver`).
//!
//! Does not move the order: it is the hospital's.

use super::{OrderTaker, Work};
use crate::{
    config::{Hl7Target, Partner},
    hl7::{
        ack::{Acknowledgement, ErrorCode, Rejected, Verdict, acknowledge},
        message::{Message, new_control_id},
        order::{Forward, OrderRequest, forward},
        outgoing::relayed,
    },
    intake::order_match::contradict,
    model::{CaseId, IdentifierKind, IssuedId, Lane, Moment, OrderControl, PartnerId, Priority},
    store::{CaseRow, Durability, MessageKey, NewMessage, OrderRow, StoreError, Tx},
};
use bytes::Bytes;

/// What a reader's message is about.
struct Read {
    order: OrderRow,
    cases: Vec<CaseRow>,
    /// What the reader was given of its own domain, and what it stands for.
    own: Vec<(IdentifierKind, String, IssuedId)>,
}

/// Notes what a reader says of an order it reads for another. False: it says nothing of that kind, or of no such order.
///
/// # Errors
/// When the database fails.
pub(super) async fn told(tx: &mut Tx, work: &Work<'_>, request: &OrderRequest) -> Result<bool, StoreError> {
    if !matches!(request.control, OrderControl::StatusChanged | OrderControl::NumberAssigned) {
        return Ok(false);
    }
    let Some(mut read) = find(tx, work, request).await? else { return Ok(false) };
    let reader = &work.partner.id;
    let what = match request.control {
        OrderControl::NumberAssigned => format!("{reader} has given its order a number of its own"),
        _ => format!("{reader} says that its order is {}", request.status_word),
    };
    for case in &mut read.cases {
        tx.tell(case.id, work.now, "intake", &what).await?;
        if request.control == OrderControl::StatusChanged && request.status.is_not_done() {
            case.needs_a_person(&format!("{what}: speak with them"));
        }
        tx.save_case(case).await?;
    }
    if let Some(case) = read.cases.first() {
        pass_on(tx, work, request, &read, case).await?;
    }
    Ok(true)
}

/// The one order with this placer order number of which this partner reads a case. A bare number counts only together with the
/// patient.
async fn find(tx: &mut Tx, work: &Work<'_>, request: &OrderRequest) -> Result<Option<Read>, StoreError> {
    let Work { partner, message, .. } = *work;
    if request.placer.is_empty() {
        return Ok(None);
    }
    let (mut own, mut said) = (Vec::new(), Vec::new());
    let placer = own_again(tx, partner, IdentifierKind::Placer, &request.placer, &mut own).await?;
    own_again(tx, partner, IdentifierKind::Accession, &request.accession, &mut own).await?;
    for id in &message.patient_ids {
        said.push(own_again(tx, partner, IdentifierKind::Patient, id, &mut own).await?);
    }
    let mut found = Vec::new();
    for order in tx.orders_with_number(&placer.value).await? {
        let is_patient = |id: &IssuedId| order.facts.patients.iter().any(|known| known.value == id.value);
        let is_it = order.placer.value == placer.value
            && (order.placer.issuer == placer.issuer || (placer.issuer.is_empty() && said.iter().any(is_patient)));
        if order.origin == partner.id || !is_it || contradict(&order.facts.patients, &said) {
            continue;
        }
        let cases = cases_read_by(tx, &order, &partner.id).await?;
        if !cases.is_empty() {
            found.push((order, cases));
        }
    }
    // Of two nobody knows which is meant.
    let one = if found.len() == 1 { found.pop() } else { None };
    Ok(one.map(|(order, cases)| Read { order, cases, own }))
}

/// An identifier as the hospital knows it, noted where the reader knows it by another.
async fn own_again(
    tx: &mut Tx,
    reader: &Partner,
    kind: IdentifierKind,
    id: &IssuedId,
    own: &mut Vec<(IdentifierKind, String, IssuedId)>,
) -> Result<IssuedId, StoreError> {
    let Some(given) = tx.unmapped(&reader.id, kind, &id.value).await? else { return Ok(id.clone()) };
    own.push((kind, id.value.clone(), given.id.clone()));
    Ok(given.id)
}

/// The order's cases that this partner reads or has a copy of, or was sent the order for; held for change.
async fn cases_read_by(tx: &mut Tx, order: &OrderRow, reader: &PartnerId) -> Result<Vec<CaseRow>, StoreError> {
    let mut cases = Vec::new();
    for id in tx.cases_of_order(order.id).await? {
        let reads = tx.case_as_it_is(id).await?.receivers().contains(reader);
        if reads || was_sent(tx, id, order, reader).await? {
            cases.push(tx.case(id).await?);
        }
    }
    Ok(cases)
}

async fn was_sent(tx: &mut Tx, case: CaseId, order: &OrderRow, reader: &PartnerId) -> Result<bool, StoreError> {
    let forwards = tx.order_forwards(case).await?;
    Ok(forwards.iter().any(|forward| forward.order == order.id && forward.partner == *reader))
}

/// Owes the message to the hospital, in the numbers it knows.
async fn pass_on(
    tx: &mut Tx,
    work: &Work<'_>,
    request: &OrderRequest,
    read: &Read,
    case: &CaseRow,
) -> Result<(), StoreError> {
    let Work { config, now, .. } = *work;
    let origin = config.partners.get(&read.order.origin).filter(|origin| origin.orders_delivered);
    let target = origin.and_then(|origin| Some((origin, origin.hl7.as_ref()?.deliver.as_ref()?)));
    let Some((origin, target)) = target else { return Ok(()) };
    let control_id = new_control_id();
    let Some((what, content)) = written(work, request, read, (origin, target), &control_id) else {
        let told = format!("what {} says of its order cannot be sent on: tell {}", work.partner.id, origin.id);
        return tx.tell(case.id, now, "intake", &told).await;
    };
    tx.owe_message(&NewMessage {
        case: case.id,
        partner: origin.id.clone(),
        lane: if case.priority == Priority::Stat { Lane::Stat } else { Lane::Routine },
        what: what.clone(),
        control_id,
        content,
        deadline: None,
        give_up: now + config.delivery.give_up,
        now,
    })
    .await?;
    tx.tell(case.id, now, "intake", &format!("{} is told so ({what})", origin.id)).await
}

fn written(
    work: &Work<'_>,
    request: &OrderRequest,
    read: &Read,
    (origin, target): (&Partner, &Hl7Target),
    control_id: &str,
) -> Option<(String, Vec<u8>)> {
    let at = work.now.utc().with_timezone(&origin.time_zone).format("%Y%m%d%H%M%S%z").to_string();
    let own = |kind: IdentifierKind, id: &IssuedId| {
        if kind == IdentifierKind::Placer {
            return Some(read.order.placer.clone());
        }
        let is_it = |(of, theirs, _): &&(IdentifierKind, String, IssuedId)| *of == kind && *theirs == id.value;
        read.own.iter().find(is_it).map(|(.., own)| own.clone())
    };
    let how = Forward {
        sending_application: "NEISSE",
        sending_facility: &work.config.node.name,
        receiving_application: &target.application,
        receiving_facility: &target.facility,
        control_id,
        at: &at,
        sequences: &[request.sequence],
        control: None,
        issuer: &work.partner.issuer,
        named: &own,
        // Home again: what it says there is the hospital's.
        own_domain: false,
    };
    let forwarded = forward(work.bytes, work.charset, &how).ok()?;
    let sent = relayed(&forwarded.bytes, forwarded.charset, &origin.hl7_outgoing()).ok()?;
    Some((forwarded.what, sent.bytes))
}

impl OrderTaker {
    /// Takes a reader's answer to an order it was sent. `None`: the message it answers was none of ours about an order.
    ///
    /// # Errors
    /// When the database fails; the sender must then be asked to send it again.
    pub async fn answered(
        &self,
        partner: &Partner,
        view: &Message<'_>,
        bytes: &Bytes,
        key: &MessageKey,
        now: Moment,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Ok(said) = Acknowledgement::parse(bytes) else { return Ok(None) };
        let mut tx = self.store.begin(Durability::Synced).await?;
        if let Some(answer) = tx.claim_message(key, now).await? {
            return Ok(Some(answer));
        }
        let Some((case, what)) = tx.message_sent_as(&partner.id, &said.control_id).await? else { return Ok(None) };
        let mut case = tx.case(case).await?;
        let (reader, code) = (&partner.id, said.code.as_str());
        let told = match said.code.verdict() {
            // As where the same stands in its first answer.
            Verdict::Accept if !said.unable.is_empty() => {
                Err(format!("{reader} cannot do what was ordered ({}): speak with them", said.unable.join(" ")))
            }
            Verdict::Accept => Ok(format!("{reader} has answered {what} ({code})")),
            _ => Err(format!("{reader} did not take over {what} ({code}): call them")),
        };
        match told {
            Ok(told) => tx.tell(case.id, now, "intake", &told).await?,
            Err(told) => {
                tracing::error!(case.id = %case.id, site = %reader, "Case {}: {told}", case.id);
                case.needs_a_person(&told);
                tx.tell(case.id, now, "intake", &told).await?;
            }
        }
        tx.save_case(&case).await?;
        let answer = acknowledge(view, Verdict::Accept, None, now);
        tx.keep_answer(key, &answer).await?;
        tx.commit().await?;
        Ok(Some(answer))
    }
}

/// The answer to an answer to nothing.
pub fn answers_nothing(view: &Message<'_>, now: Moment) -> Vec<u8> {
    let text = "MSA-2 names no order that was sent to this partner";
    let problem = Rejected::new("MSA", 1, 2, ErrorCode::UnknownKey, text);
    acknowledge(view, problem.verdict(), Some(&problem), now)
}
