//! Answers reports by HL7: AA only after the report, its case and what is owed for it are committed and synced.
//!
//! In: an ORU^R01 of a known partner. Out: its acknowledgement, which is kept with it.

use super::{
    addendum,
    identity::own_again,
    incoming::Incoming,
    settle::{Joined, hold, prepare, settle},
};
use crate::{
    config::{Config, Live, Partner},
    hl7::{
        ack::{Verdict, acknowledge},
        charset::Charset,
        message::Message,
        oru::OruReport,
    },
    model::{Bell, Clock, PartnerId},
    store::{Durability, MessageKey, Store, StoreError},
};
use bytes::Bytes;
use std::sync::Arc;

/// Of messages where neither MSH-18 nor the configuration says.
const DEFAULT_CHARSET: &str = "8859/1";

#[derive(Clone)]
pub struct ReportReceiver {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    pub handoff: Bell,
}

impl ReportReceiver {
    /// Takes a message of a known partner: stored with all that follows from it, then answered.
    ///
    /// # Errors
    /// When the database fails; the sender must then be asked to send it again.
    pub async fn take(
        &self,
        config: &Arc<Config>,
        partner: &Partner,
        view: &Message<'_>,
        charset: Charset,
        bytes: &Bytes,
        key: &MessageKey,
    ) -> Result<Vec<u8>, StoreError> {
        let now = self.clock.now();
        let report = match OruReport::parse(view, charset, Some(bytes)) {
            Ok(report) => report,
            Err(problem) => {
                tracing::warn!(site = %partner.id, problem = %problem, "Refused a message of {}: {problem}", partner.id);
                return Ok(acknowledge(view, problem.verdict(), Some(&problem), now));
            }
        };
        let (mut incoming, mut several) = match Incoming::from_oru(report, partner.id.clone(), now, bytes.clone()) {
            Ok(incoming) => (incoming, None),
            Err((incoming, reason)) => (*incoming, Some(reason)),
        };
        // What is held unread is looked up where a person reads it.
        if several.is_none() {
            own_again(&self.store, &mut incoming).await?;
            if incoming.is_addendum {
                several = addendum::complete(&self.store, config, &mut incoming).await?.err();
            }
        }
        let incoming = Arc::new(incoming);
        let prepared = match several {
            None => prepare(&self.store, config, &incoming).await?,
            Some(_) => None,
        };
        let mut tx = self.store.begin(Durability::Synced).await?;
        if let Some(answer) = tx.claim_message(key, now).await? {
            return Ok(again(partner, answer));
        }
        let joined = match several {
            None => settle(&mut tx, config, &incoming, prepared, now).await?,
            Some(reason) => hold(&mut tx, &incoming, reason).await?,
        };
        let answer = acknowledge(view, Verdict::Accept, None, now);
        tx.keep_answer(key, &answer).await?;
        tx.commit().await?;
        log(&partner.id, &joined);
        self.handoff.ring();
        Ok(answer)
    }
}

fn again(partner: &Partner, answer: Vec<u8>) -> Vec<u8> {
    tracing::info!(site = %partner.id, "A message of {} came again and got the same answer", partner.id);
    answer
}

/// What a partner's messages are in where MSH-18 is empty.
pub fn fallback_charset(partner: &Partner) -> Charset {
    let configured = partner.hl7.as_ref().and_then(|hl7| hl7.charset.as_deref());
    configured.and_then(|name| Charset::named(name).ok()).unwrap_or_else(unnamed_charset)
}

/// The same for a partner whose configuration names none.
pub(super) fn unnamed_charset() -> Charset {
    Charset::named(DEFAULT_CHARSET).unwrap_or(Charset::UTF_8)
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
