//! Where every HL7 message arrives: who sends it, has it come before, and which stage takes it.
//!
//! In: one message from an MLLP connection. Out: its answer, given by the stage that takes it after its commit. The sender
//! is known by MSH-4 (and MSH-3 and address where configured); a repeated message (MSH-3, MSH-4, MSH-10 and equal content,
//! whenever it was written: MSH-7) gets the same answer and changes nothing. Another one under the same number is taken as what
//! it is, and noted (`control_ids`). A refusal is not kept: the same message is looked at again when its sender,
//! or our configuration, has been mended.

use super::control_ids::ControlIds;
use crate::{
    config::{Config, Hl7Sender, Live, Partner},
    hl7::{
        ack::{Acknowledgement, ErrorCode, Rejected, Verdict, acknowledge, refuse_bytes},
        charset::Charset,
        header,
        listener::Hl7Handler,
        message::Message,
        order::OrderKind,
        specimen::specimens_in,
    },
    intake::{
        orders::{OrderTaker, answers_nothing},
        patients::PatientTaker,
        specimen_messages::{Incoming, SpecimenTaker},
    },
    model::{Clock, Digest, chain},
    results::receive::{ReportReceiver, fallback_charset},
    store::{Durability, MessageKey, Store, StoreError},
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::{net::SocketAddr, sync::Arc};
use tokio::runtime::Handle;

/// Reading a message of this size takes long enough for an association to notice.
const LARGE_BYTES: usize = 1 << 20;

#[derive(Clone)]
pub struct Hl7Desk {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    pub orders: OrderTaker,
    pub patients: PatientTaker,
    pub specimens: SpecimenTaker,
    pub reports: ReportReceiver,
    pub control_ids: ControlIds,
}

impl Hl7Handler for Hl7Desk {
    /// Large messages are read on a thread for long work: the others share theirs with every association.
    async fn receive(&self, peer: SocketAddr, message: Bytes) -> Vec<u8> {
        if message.len() <= LARGE_BYTES {
            return self.answer(peer, &message).await;
        }
        let (this, bytes) = (self.clone(), message.clone());
        let answered = tokio::task::spawn_blocking(move || Handle::current().block_on(this.answer(peer, &bytes)));
        match answered.await {
            Ok(answer) => answer,
            Err(_) => refuse_bytes(&message, &not_stored(), self.clock.now()),
        }
    }
}

fn not_stored() -> Rejected {
    Rejected::new("MSH", 1, 0, ErrorCode::Internal, "cannot be stored now, send again later")
}

impl Hl7Desk {
    async fn answer(&self, peer: SocketAddr, message: &Bytes) -> Vec<u8> {
        let config = self.config.now();
        let now = self.clock.now();
        let view = match Message::parse(message) {
            Ok(view) => view,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "Refused what is no HL7 message");
                let problem = Rejected::new("MSH", 1, 0, ErrorCode::SegmentSequence, "no readable MSH segment");
                return refuse_bytes(message, &problem, now);
            }
        };
        let Some(partner) = recognise(&config, &view, peer) else {
            tracing::warn!(%peer, "Refused an HL7 message: its sending facility and address are no partner's");
            let problem = Rejected::new("MSH", 1, 4, ErrorCode::Internal, "sender not known: MSH-4, MSH-3 or address");
            return acknowledge(&view, Verdict::Reject, Some(&problem), now);
        };
        match self.take(&config, partner, &view, message).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(site = %partner.id, error = %chain(&error), "A message of {} could not be stored; its sender is asked to send it again", partner.id);
                acknowledge(&view, Verdict::Reject, Some(&not_stored()), now)
            }
        }
    }

    /// To the stage that takes messages of this type.
    async fn take(
        &self,
        config: &Arc<Config>,
        partner: &Partner,
        view: &Message<'_>,
        bytes: &Bytes,
    ) -> Result<Vec<u8>, StoreError> {
        let now = self.clock.now();
        if let Err(problem) = header::check(view) {
            tracing::warn!(site = %partner.id, problem = %problem, "Refused a message of {}: {problem}", partner.id);
            return Ok(acknowledge(view, problem.verdict(), Some(&problem), now));
        }
        let key = message_key(partner, view);
        let answer = self.give(config, partner, view, bytes, &key).await?;
        // One that was refused may come mended under the same number.
        if is_taken(&answer) {
            self.control_ids.note(&key);
        }
        Ok(answer)
    }

    async fn give(
        &self,
        config: &Arc<Config>,
        partner: &Partner,
        view: &Message<'_>,
        bytes: &Bytes,
        key: &MessageKey,
    ) -> Result<Vec<u8>, StoreError> {
        let now = self.clock.now();
        let charset = charset_of(partner, view);
        let message_type = view.header().field(9).component(1).raw().trim_ascii();
        // An order that comes again is found when it is written: one look less at the database for every other.
        if let (true, Ok(charset)) = (OrderKind::is_order(message_type), &charset) {
            return self.orders.take(partner, view, *charset, bytes, key, now).await;
        }
        let given = self.store.answer_given(key).await?;
        let charset = match charset {
            Ok(charset) => charset,
            Err(problem) => {
                return Ok(given.unwrap_or_else(|| acknowledge(view, problem.verdict(), Some(&problem), now)));
            }
        };
        if let Some(answer) = given {
            tracing::info!(site = %partner.id, "A message of {} came again and got the same answer", partner.id);
            // It may have been kept, and its sender not answered, before this was noted.
            self.specimens_beside(partner, view, charset, &answer).await?;
            return Ok(answer);
        }
        if message_type == b"ADT" {
            return self.patients.take(partner, view, charset, bytes, key, now).await;
        }
        // What became of what was sent, said later by the receiver's application (v2.5.1 2.9.3): an order, or a report.
        let answers_order = OrderKind::is_response(message_type);
        if answers_order || message_type == b"ACK" {
            if let Some(answer) = self.orders.answered(partner, view, bytes, key, now).await? {
                return Ok(answer);
            }
            if answers_order {
                return Ok(answers_nothing(view, now));
            }
            return self.reports.acknowledged(partner, view, bytes, key).await;
        }
        if message_type == b"SSU" {
            return self.specimens.take(config, &Incoming { partner, view, charset, bytes, key, now }).await;
        }
        let answer = self.reports.take(config, partner, view, charset, bytes, key).await?;
        self.specimens_beside(partner, view, charset, &answer).await?;
        Ok(answer)
    }

    /// What a result that was taken says of its specimens (SPM-18 received, SPM-21 rejected) is noted before the answer
    /// leaves. Noted twice, it changes nothing.
    async fn specimens_beside(
        &self,
        partner: &Partner,
        view: &Message<'_>,
        charset: Charset,
        answer: &[u8],
    ) -> Result<(), StoreError> {
        let is_result = matches!(view.header().field(9).component(1).raw().trim_ascii(), b"ORU" | b"OUL");
        if !is_result || !is_taken(answer) {
            return Ok(());
        }
        let said = specimens_in(view, charset);
        if said.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.begin(Durability::Synced).await?;
        tx.note_specimens_said(&partner.id, &said, self.clock.now()).await?;
        tx.commit().await?;
        self.specimens.watch.ring();
        Ok(())
    }
}

/// By sending facility, and by application and address where the configuration gives them. Names are in the character
/// set of the message, which may depend on whose it is.
fn recognise<'a>(config: &'a Config, view: &Message<'_>, peer: SocketAddr) -> Option<&'a Partner> {
    let (header, address) = (view.header(), peer.ip().to_canonical());
    let is_from = |partner: &&Partner| {
        let fallback = fallback_charset(partner);
        // A set we do not read is told to the sender once it is known.
        let charset = Charset::of_message(view, fallback).unwrap_or(fallback);
        let is = |n, allowed: &str| header.field(n).component(1).text(charset).text.trim() == allowed;
        let sends = |sender: &Hl7Sender| {
            sender.address.is_none_or(|allowed| allowed == address)
                && is(4, &sender.facility)
                && sender.application.as_ref().is_none_or(|allowed| is(3, allowed))
        };
        partner.hl7.iter().any(|hl7| hl7.senders.iter().any(sends))
    };
    config.partners.values().find(is_from)
}

/// No answer was wanted: then it was not refused either.
fn is_taken(answer: &[u8]) -> bool {
    answer.is_empty() || Acknowledgement::parse(answer).is_ok_and(|ack| ack.code.verdict() == Verdict::Accept)
}

fn message_key(partner: &Partner, view: &Message<'_>) -> MessageKey {
    let header = view.header();
    let text = |n| String::from_utf8_lossy(header.field(n).component(1).raw()).into_owned();
    let part = |n| text(n).trim().chars().filter(|letter| !letter.is_control()).take(100).collect();
    let digest = view.without_its_time().iter().fold(Sha256::new(), |digest, part| digest.chain_update(part));
    MessageKey {
        partner: partner.id.clone(),
        application: part(3),
        facility: part(4),
        control_id: part(10),
        sha256: Digest(digest.finalize().into()).to_string(),
    }
}

/// MSH-18, or the partner's own where it is empty.
fn charset_of(partner: &Partner, view: &Message<'_>) -> Result<Charset, Rejected> {
    Charset::of_message(view, fallback_charset(partner)).map_err(|_| {
        let text = "character set not known, expected one of table 0211";
        Rejected::new("MSH", 1, 18, ErrorCode::TableValueNotFound, text)
    })
}
