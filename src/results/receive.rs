//! Answers HL7 messages: AA only after the report, its case and what is owed for it are committed and synced.
//!
//! In: one message from an MLLP connection. Out: its acknowledgement. The sender is known by MSH-4 (and MSH-3 and address
//! where configured); a repeated message (MSH-3, MSH-4, MSH-10 and equal bytes) gets the same answer and changes
//! nothing.

use super::{
    incoming::Incoming,
    settle::{Joined, hold, prepare, settle, sha256},
};
use crate::{
    config::{Config, Hl7Sender, Live, Partner},
    hl7::{
        ack::{ErrorCode, Rejected, Verdict, acknowledge, refuse_bytes},
        charset::Charset,
        listener::Hl7Handler,
        message::{Message, Segment},
        oru::OruReport,
    },
    model::{Bell, Clock, PartnerId, chain},
    store::{Durability, MessageKey, Store, StoreError},
};
use bytes::Bytes;
use std::{net::SocketAddr, sync::Arc};
use tokio::runtime::Handle;

/// What is stored as `[hl7] charset` when a partner has none.
const DEFAULT_CHARSET: &str = "8859/1";
/// Reading a message of this size takes long enough for an association to notice.
const LARGE_BYTES: usize = 1 << 20;

#[derive(Clone)]
pub struct ReportReceiver {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    pub handoff: Bell,
}

impl Hl7Handler for ReportReceiver {
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

impl ReportReceiver {
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
        let Some(partner) = recognise(&config, &view.header(), peer) else {
            tracing::warn!("Refused an HL7 message: its sending facility and address are no partner's");
            let problem = Rejected::new("MSH", 1, 4, ErrorCode::Internal, "sender not known: MSH-4, MSH-3 or address");
            return acknowledge(&view, Verdict::Reject, Some(&problem), now);
        };
        match self.take(&config, partner, &view, message).await {
            Ok(answer) => {
                self.handoff.ring();
                answer
            }
            Err(error) => {
                tracing::error!(site = %partner.id, error = %chain(&error), "A message of {} could not be stored; its sender is asked to send it again", partner.id);
                acknowledge(&view, Verdict::Reject, Some(&not_stored()), now)
            }
        }
    }
}

/// By sending facility, and by application and address where the configuration gives them.
fn recognise<'a>(config: &'a Config, header: &Segment<'_>, peer: SocketAddr) -> Option<&'a Partner> {
    let first = |n| String::from_utf8_lossy(header.field(n).component(1).raw()).trim().to_owned();
    let (application, facility, address) = (first(3), first(4), peer.ip().to_canonical());
    let sends = |sender: &Hl7Sender| {
        sender.facility == facility
            && sender.application.as_ref().is_none_or(|allowed| *allowed == application)
            && sender.address.is_none_or(|allowed| allowed == address)
    };
    config.partners.values().find(|partner| partner.hl7.iter().any(|hl7| hl7.senders.iter().any(sends)))
}

impl ReportReceiver {
    /// Takes a message of a known partner: stored with all that follows from it, then answered. A refusal is not kept:
    /// the same message is looked at again when its sender, or our configuration, has been mended.
    async fn take(
        &self,
        config: &Arc<Config>,
        partner: &Partner,
        view: &Message<'_>,
        bytes: &Bytes,
    ) -> Result<Vec<u8>, StoreError> {
        let now = self.clock.now();
        let key = message_key(partner, &view.header(), bytes);
        if let Some(answer) = self.store.answer_given(&key).await? {
            return Ok(again(partner, answer));
        }
        let report = match read(partner, view) {
            Ok(report) => report,
            Err(problem) => {
                tracing::warn!(site = %partner.id, problem = %problem, "Refused a message of {}: {problem}", partner.id);
                return Ok(acknowledge(view, problem.verdict(), Some(&problem), now));
            }
        };
        let (incoming, several) = match Incoming::from_oru(report, partner.id.clone(), now, bytes.clone()) {
            Ok(incoming) => (Arc::new(incoming), None),
            Err((incoming, reason)) => (Arc::from(incoming), Some(reason)),
        };
        let prepared = match several {
            None => prepare(&self.store, config, &incoming).await?,
            Some(_) => None,
        };
        let mut tx = self.store.begin(Durability::Synced).await?;
        if let Some(answer) = tx.claim_message(&key, now).await? {
            return Ok(again(partner, answer));
        }
        let joined = match several {
            None => settle(&mut tx, config, &incoming, prepared, now).await?,
            Some(reason) => hold(&mut tx, &incoming, reason).await?,
        };
        let answer = acknowledge(view, Verdict::Accept, None, now);
        tx.keep_answer(&key, &answer).await?;
        tx.commit().await?;
        log(&partner.id, &joined);
        Ok(answer)
    }
}

fn again(partner: &Partner, answer: Vec<u8>) -> Vec<u8> {
    tracing::info!(site = %partner.id, "A message of {} came again and got the same answer", partner.id);
    answer
}

fn message_key(partner: &Partner, header: &Segment<'_>, bytes: &Bytes) -> MessageKey {
    let text = |n| String::from_utf8_lossy(header.field(n).component(1).raw()).into_owned();
    let part = |n| text(n).trim().chars().filter(|letter| !letter.is_control()).take(100).collect();
    MessageKey {
        partner: partner.id.clone(),
        application: part(3),
        facility: part(4),
        control_id: part(10),
        sha256: sha256(bytes),
    }
}

/// The report in a message of this partner.
fn read(partner: &Partner, view: &Message<'_>) -> Result<OruReport, Rejected> {
    let configured = partner.hl7.as_ref().and_then(|hl7| hl7.charset.as_deref()).unwrap_or(DEFAULT_CHARSET);
    let fallback = Charset::named(configured).unwrap_or(Charset::UTF_8);
    let charset = Charset::of_message(view, fallback).map_err(|_| {
        Rejected::new(
            "MSH",
            1,
            18,
            ErrorCode::TableValueNotFound,
            "character set not known, expected one of table 0211",
        )
    })?;
    OruReport::parse(view, charset)
}

pub(super) fn log(sender: &PartnerId, joined: &Joined) {
    match joined {
        Joined::To { case, version, forms } => {
            tracing::info!(case.id = %case, site = %sender, version, forms, "Case {case}: report version {version} received from {sender}");
        }
        Joined::Held { reason } => {
            tracing::error!(site = %sender, "A report from {sender} fits no case and waits for a person: {reason}");
        }
    }
}
