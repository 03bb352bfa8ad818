//! Answers HL7 messages: AA only after the report, its case and what is owed for it are committed and synced.
//!
//! In: one message from an MLLP connection. Out: its acknowledgement. The sender is known by MSH-4 (and MSH-3 and address
//! where configured); a repeated message (MSH-3, MSH-4, MSH-10 and equal bytes) gets the same answer and changes
//! nothing.

use super::{
    incoming::Incoming,
    settle::{Joined, hold, settle, sha256},
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

/// What is stored as `[hl7] charset` when a partner has none.
const DEFAULT_CHARSET: &str = "8859/1";

#[derive(Clone)]
pub struct ReportReceiver {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    pub handoff: Bell,
}

impl Hl7Handler for ReportReceiver {
    async fn receive(&self, peer: SocketAddr, message: Bytes) -> Vec<u8> {
        let config = self.config.now();
        let now = self.clock.now();
        let view = match Message::parse(&message) {
            Ok(view) => view,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "Refused what is no HL7 message");
                let problem = Rejected::new("MSH", 1, 0, ErrorCode::SegmentSequence, "no readable MSH segment");
                return refuse_bytes(&message, &problem, now);
            }
        };
        let Some(partner) = recognise(&config, &view.header(), peer) else {
            tracing::warn!("Refused an HL7 message: its sending facility and address are no partner's");
            let problem = Rejected::new("MSH", 1, 4, ErrorCode::Internal, "sender not known: MSH-4, MSH-3 or address");
            return acknowledge(&view, Verdict::Reject, Some(&problem), now);
        };
        match self.take(&config, partner, &view, &message).await {
            Ok(answer) => {
                self.handoff.ring();
                answer
            }
            Err(error) => {
                tracing::error!(site = %partner.id, error = %chain(&error), "A message of {} could not be stored; its sender is asked to send it again", partner.id);
                let problem = Rejected::new("MSH", 1, 0, ErrorCode::Internal, "cannot be stored now, send again later");
                acknowledge(&view, Verdict::Reject, Some(&problem), now)
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
    /// Takes a message of a known partner: stored with all that follows from it, then answered.
    async fn take(
        &self,
        config: &Arc<Config>,
        partner: &Partner,
        view: &Message<'_>,
        bytes: &Bytes,
    ) -> Result<Vec<u8>, StoreError> {
        let now = self.clock.now();
        let header = view.header();
        let raw = |n| String::from_utf8_lossy(header.field(n).component(1).raw()).trim().chars().take(200).collect();
        let key =
            MessageKey { partner: partner.id.clone(), application: raw(3), facility: raw(4), control_id: raw(10) };
        let digest = sha256(bytes);
        let mut tx = self.store.begin(Durability::Synced).await?;
        if let Some(before) = tx.claim_message(&key, &digest, now).await? {
            tracing::info!(site = %partner.id, "A message of {} came again and got the same answer", partner.id);
            return Ok(before.answer);
        }
        let answer = match read(partner, view) {
            Ok(report) => {
                let incoming = Incoming::from_oru(report, partner.id.clone(), now, bytes.clone());
                let joined = match incoming {
                    Ok(incoming) => settle(&mut tx, config, &incoming, now).await?,
                    Err((incoming, reason)) => hold(&mut tx, &incoming, reason).await?,
                };
                log(&partner.id, &joined);
                acknowledge(view, Verdict::Accept, None, now)
            }
            Err(problem) => {
                tracing::warn!(site = %partner.id, problem = %problem, "Refused a message of {}: {problem}", partner.id);
                acknowledge(view, problem.verdict(), Some(&problem), now)
            }
        };
        tx.keep_answer(&key, &answer).await?;
        tx.commit().await?;
        Ok(answer)
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
