//! Answers orders later, where their sender wants it so (enhanced mode, HL7 v2.5.1 2.9.3): the application response goes to its
//! `[hl7.deliver]` as a message of its own.
//!
//! In: responses as they were made with the orders. Out: each sent, in the order they became owed; again with pauses while the
//! partner's listener is away; taken, they are forgotten. What it refuses, and what it has not taken by `[delivery] give_up`, is
//! put before a person.

use crate::{
    config::{Config, Hl7Target, Live},
    hl7::{
        ack::Verdict,
        sender::{Hl7Sender, SendError, SenderSettings},
    },
    model::{Clock, Moment, PartnerId, chain},
    store::{Durability, OrderAnswer, Store, StoreError},
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Sent over one connection.
const AT_ONCE: i64 = 50;
/// An attempt that has no outcome by then was cut off.
const LEASE: Duration = Duration::from_secs(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Of what the partner rejects though nothing is wrong with it.
const MOST_REJECTED: i64 = 8;
/// What was given up is shown to a person for so long.
const SHOWN: Duration = Duration::from_secs(7 * 24 * 3600);
const FORGET_EVERY: Duration = Duration::from_secs(3600);

pub struct OrderAnswerer {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
}

/// What follows from an attempt.
enum Ended {
    Taken,
    /// Nothing more is sent there for now.
    Again(String),
    GivenUp(String),
}

impl OrderAnswerer {
    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let (mut sending, mut busy) = (JoinSet::new(), HashSet::new());
        let mut forgotten = this.clock.now();
        loop {
            if let Err(error) = this.look(&mut sending, &mut busy, &mut forgotten).await {
                tracing::error!(error = %chain(&error), "Answers to orders cannot be sent now; they wait");
            }
            tokio::select! {
                Some(done) = sending.join_next() => match done {
                    Ok(partner) => drop(busy.remove(&partner)),
                    // Whose it was is not known: all are looked at again, and what is under way is nobody else's.
                    Err(_) => busy.clear(),
                },
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => break,
            }
        }
        // What was cut off is sent again after its lease, under the same control id.
        sending.abort_all();
        while sending.join_next().await.is_some() {}
    }

    async fn look(
        self: &Arc<Self>,
        sending: &mut JoinSet<PartnerId>,
        busy: &mut HashSet<PartnerId>,
        forgotten: &mut Moment,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        if now.since(*forgotten) >= FORGET_EVERY {
            *forgotten = now;
            let mut tx = self.store.begin(Durability::Process).await?;
            tx.forget_stopped_order_answers(now - SHOWN).await?;
            tx.commit().await?;
        }
        for partner in self.store.order_answers_due(now).await? {
            if !busy.insert(partner.clone()) {
                continue;
            }
            let this = Arc::clone(self);
            sending.spawn(async move {
                if let Err(error) = this.send_all(&partner).await {
                    tracing::error!(site = %partner, error = %chain(&error), "Answers to orders of {partner} cannot be sent now; they wait");
                }
                partner
            });
        }
        Ok(())
    }

    /// One connection with all that is due of a partner.
    async fn send_all(&self, partner: &PartnerId) -> Result<(), StoreError> {
        let config = self.config.now();
        let mut line: Option<Hl7Sender> = None;
        for answer in self.store.order_answers(partner, self.clock.now(), AT_ONCE).await? {
            if !self.begin(&answer).await? {
                return Ok(());
            }
            let ended = match target(&config, partner) {
                None => Ended::Again("no [hl7] deliver is configured for it any more".to_owned()),
                Some(target) => {
                    let settings =
                        SenderSettings { connect: config.delivery.connect, response: config.delivery.response };
                    let line = line.get_or_insert_with(|| Hl7Sender::new(&target.host, target.port, settings));
                    sent(line, &answer).await
                }
            };
            if !self.settle(&config, partner, &answer, ended).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn begin(&self, answer: &OrderAnswer) -> Result<bool, StoreError> {
        let mut tx = self.store.begin(Durability::Process).await?;
        let ours = tx.begin_order_answer(answer, self.clock.now() + LEASE).await?;
        tx.commit().await?;
        Ok(ours)
    }

    /// False: nothing more is sent there now.
    async fn settle(
        &self,
        config: &Config,
        partner: &PartnerId,
        answer: &OrderAnswer,
        ended: Ended,
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let (goes_on, reason) = match ended {
            Ended::Taken => {
                let mut tx = self.store.begin(Durability::Process).await?;
                tx.order_answer_taken(answer).await?;
                tx.commit().await?;
                tracing::info!(site = %partner, "An order of {partner} was answered by a message of its own");
                return Ok(true);
            }
            Ended::Again(reason) if now < answer.created + config.delivery.give_up => {
                let wait = pause(answer.attempts, config);
                tracing::warn!(site = %partner, "{partner} cannot be answered what became of its order; next attempt in {wait:?}: {reason}");
                let mut tx = self.store.begin(Durability::Process).await?;
                tx.order_answers_wait(partner, now + wait).await?;
                tx.commit().await?;
                return Ok(false);
            }
            Ended::Again(reason) => (false, reason),
            Ended::GivenUp(reason) => (true, reason),
        };
        let what = match answer.refused.as_str() {
            "" => "that its order was taken".to_owned(),
            refused => format!("that its order was not carried out ({refused})"),
        };
        let told = format!("{partner} could not be told {what}: {reason}");
        tracing::error!(site = %partner, "{told}");
        let mut tx = self.store.begin(Durability::Synced).await?;
        tx.stop_order_answer(answer, &told, now).await?;
        tx.commit().await?;
        Ok(goes_on)
    }
}

fn target<'a>(config: &'a Config, partner: &PartnerId) -> Option<&'a Hl7Target> {
    config.partners.get(partner)?.hl7.as_ref()?.deliver.as_ref()
}

async fn sent(line: &mut Hl7Sender, answer: &OrderAnswer) -> Ended {
    match line.send(&answer.content, &answer.control_id).await {
        Ok(said) => match said.code.verdict() {
            Verdict::Accept => Ended::Taken,
            Verdict::Reject if answer.attempts + 1 < MOST_REJECTED => {
                Ended::Again(format!("message rejected ({})", said.code.as_str()))
            }
            _ => Ended::GivenUp(format!("message refused ({})", said.code.as_str())),
        },
        Err(error @ SendError::CannotBeFramed(_)) => Ended::GivenUp(chain(&error)),
        Err(error) => Ended::Again(chain(&error)),
    }
}

/// The next attempt waits twice as long as the last, as of every delivery.
fn pause(attempts: i64, config: &Config) -> Duration {
    let doubled = u32::try_from(attempts.clamp(0, 16)).unwrap_or(16);
    config.delivery.retry_min.saturating_mul(1 << doubled).min(config.delivery.retry_max).min(LONGEST_PAUSE)
}
