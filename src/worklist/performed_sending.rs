//! Sends on what scanners say of their steps (MPPS as SCU, PS3.4 F) to their hospital's own system, `[dicom.mpps_to]`; and which
//! studies are available (PS3.4 R) to those that want to know, `[dicom.availability_to]`.
//!
//! In: N-CREATE and N-SET as they were taken, kept with them; notifications, made by `availability`. Out: these requests over
//! associations of ours: each step's in the order they came, again with pauses while the system is away; taken, they are forgotten. What one is not answered to waits alone:
//! the others do not wait for it. What it refuses, and what it has not taken by `[delivery] give_up`, is put before a person, and what
//! follows a beginning that was refused is left out.
//!
//! Does not change what a scanner said, and does not wait: the scanner has had its answer.

use super::performed_rules::{MAY_NO_LONGER_BE_UPDATED, Status, status};
use crate::{
    config::{Config, DicomDestination, Live, Partner, PartnerDicom},
    dicom::{
        dimse::{Request, Service},
        scu::{Association, Proposal, ScuError, ScuSettings, Target},
        service::DataSet,
    },
    model::{Clock, Moment, PartnerId, Uid, chain},
    store::{Durability, PerformedMessage, Store, StoreError, Telling},
};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Explicit and Implicit VR Little Endian.
const SYNTAXES: [&str; 2] = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"];
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Sent over one association.
const AT_ONCE: i64 = 50;
/// An attempt that has no outcome by then was cut off.
const LEASE: Duration = Duration::from_secs(300);
/// A place that is not configured any more may be again.
const NO_PLACE: Duration = Duration::from_secs(60);
/// A fault that the system itself calls one of processing.
const OWN_ATTEMPTS: i64 = 8;
/// What was given up is shown to a person for so long.
const SHOWN: Duration = Duration::from_secs(7 * 24 * 3600);
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// SOP class, where it goes, and the words for it.
struct Way {
    class: &'static str,
    key: &'static str,
    place: fn(&PartnerDicom) -> Option<&DicomDestination>,
    /// That of whose beginning, that of whose change nobody was told.
    what: (&'static str, &'static str),
    whose: &'static str,
}

const PERFORMED: Way = Way {
    class: "1.2.840.10008.3.1.2.3.3",
    key: "[dicom.mpps_to]",
    place: |dicom| dicom.mpps_to.as_ref(),
    what: ("that a scanner began a step", "what a scanner did"),
    whose: "the hospital's own system",
};
const AVAILABILITY: Way = Way {
    class: "1.2.840.10008.5.1.4.33",
    key: "[dicom.availability_to]",
    place: |dicom| dicom.availability_to.as_ref(),
    what: ("that a study is available", "that a study is available"),
    whose: "the partner's own system",
};

fn way(about: Telling) -> &'static Way {
    match about {
        Telling::Performed => &PERFORMED,
        Telling::Availability => &AVAILABILITY,
    }
}

impl Way {
    fn what(&self, message: &PerformedMessage) -> &'static str {
        if message.begins { self.what.0 } else { self.what.1 }
    }
}

/// Whose system, and of what it is told.
type Line = (Telling, PartnerId);

pub struct PerformedSender {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
}

/// What is under way, and what is known of systems that are away.
struct Round {
    sending: JoinSet<(Line, Reached)>,
    busy: HashSet<Line>,
    /// How often in a row a system could not be reached.
    away: HashMap<Line, i64>,
    forgotten: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    Yes,
    No,
    /// It was not tried.
    Unknown,
}

impl PerformedSender {
    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let (sending, busy, away) = (JoinSet::new(), HashSet::new(), HashMap::new());
        let mut round = Round { sending, busy, away, forgotten: this.clock.now() };
        loop {
            if let Err(error) = this.look(&mut round).await {
                tracing::error!(error = %chain(&error), "What partners' systems are to be told cannot be sent now; it waits");
            }
            tokio::select! {
                Some(done) = round.sending.join_next() => match done {
                    Ok((line, reached)) => round.done(line, reached),
                    // Whose it was is not known: all are looked at again, and what is under way is nobody else's.
                    Err(_) => round.busy.clear(),
                },
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => break,
            }
        }
        // What was cut off is sent again after its lease: the system takes a step once.
        round.sending.abort_all();
        while round.sending.join_next().await.is_some() {}
    }

    async fn look(self: &Arc<Self>, round: &mut Round) -> Result<(), StoreError> {
        let now = self.clock.now();
        if now.since(round.forgotten) >= FORGET_EVERY {
            round.forgotten = now;
            let mut tx = self.store.begin(Durability::Process).await?;
            tx.forget_stopped_performed(now - SHOWN).await?;
            tx.commit().await?;
        }
        for line in self.store.performed_due(now).await? {
            if round.busy.insert(line.clone()) {
                let this = Arc::clone(self);
                let away = round.away.get(&line).copied().unwrap_or(0);
                round.sending.spawn(async move {
                    let (about, origin) = &line;
                    let reached = this.send_all(*about, origin, away).await.unwrap_or_else(|error| {
                        tracing::error!(site = %origin, error = %chain(&error), "What the system of {origin} is to be told cannot be sent now");
                        Reached::Unknown
                    });
                    (line, reached)
                });
            }
        }
        Ok(())
    }

    /// One association with all that is due of a partner; its system has been away for so many tries.
    async fn send_all(&self, about: Telling, origin: &PartnerId, away: i64) -> Result<Reached, StoreError> {
        let due = self.store.performed_messages(about, origin, self.clock.now(), AT_ONCE).await?;
        let Some(first) = due.first() else { return Ok(Reached::Unknown) };
        let config = self.config.now();
        let way = way(about);
        let Some((partner, to)) = place(&config, origin, way) else {
            let reason = format!("there is no {} for it any more", way.key);
            self.away(&config, origin, first, &reason, NO_PLACE).await?;
            return Ok(Reached::No);
        };
        if !self.begin(first).await? {
            return Ok(Reached::Unknown);
        }
        let mut association = match open(&config, to, way).await {
            Ok(association) => association,
            Err(reason) => {
                if away == 0 {
                    tracing::warn!(site = %origin, "The system of {origin} cannot be told {}; it waits: {reason}", way.what(first));
                }
                self.away(&config, origin, first, &reason, pause(away)).await?;
                return Ok(Reached::No);
            }
        };
        for (index, message) in due.iter().enumerate() {
            if index > 0 && !self.begin(message).await? {
                continue;
            }
            match say(&mut association, message, partner).await {
                Ok(answer) => self.settle(&config, origin, message, answer).await?,
                Err(Unsaid::Unreadable) => {
                    let reason = format!("{} is kept here so that it cannot be read any more", way.what(message));
                    self.give_up(origin, message, &reason).await?;
                }
                // It takes none at all.
                Err(Unsaid::Lost(error @ ScuError::NotAccepted)) => {
                    self.away(&config, origin, message, &chain(&error), pause(away)).await?;
                    return Ok(Reached::No);
                }
                // The association is gone with it: the others have their turn before this one has its next.
                Err(Unsaid::Lost(error)) => {
                    self.unanswered(&config, origin, message, &chain(&error)).await?;
                    return Ok(Reached::Yes);
                }
            }
        }
        association.release().await;
        Ok(Reached::Yes)
    }

    async fn begin(&self, message: &PerformedMessage) -> Result<bool, StoreError> {
        let mut tx = self.store.begin(Durability::Process).await?;
        let ours = tx.begin_performed(message, self.clock.now() + LEASE).await?;
        tx.commit().await?;
        Ok(ours)
    }

    /// What follows from an answer.
    async fn settle(
        &self,
        config: &Config,
        origin: &PartnerId,
        message: &PerformedMessage,
        answer: Answer,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let is_late = now >= message.created + config.delivery.give_up;
        let attempt = message.attempts + 1;
        match judge(message.begins, attempt, answer) {
            Verdict::Taken => {
                let mut tx = self.store.begin(Durability::Process).await?;
                tx.performed_taken(message).await?;
                tx.commit().await?;
                count(message.about, origin, "taken");
                Ok(())
            }
            Verdict::Again if !is_late => {
                let mut tx = self.store.begin(Durability::Process).await?;
                tx.performed_again(message, attempt, now + pause(message.attempts)).await?;
                tx.commit().await
            }
            Verdict::Again | Verdict::Refused => {
                let (status, way) = (answer.status, way(message.about));
                let mut reason = format!("{} was refused by {} ({status:04X})", way.what(message), way.whose);
                if status == PROCESSING_FAILURE && answer.ends && attempt > 1 {
                    reason.push_str("; it may have taken it before, and its answer was lost: look there");
                }
                self.give_up(origin, message, &reason).await
            }
        }
    }

    /// The system cannot be reached: all that is due of the hospital waits, or this one has waited long enough.
    async fn away(
        &self,
        config: &Config,
        origin: &PartnerId,
        message: &PerformedMessage,
        reason: &str,
        wait: Duration,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        if now >= message.created + config.delivery.give_up {
            return self.give_up(origin, message, &could_not_be_told(message, reason)).await;
        }
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.performed_again(message, message.attempts, now + wait).await?;
        tx.commit().await?;
        // By itself: whoever holds one of them may wait for the one above.
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.pause_performed(message.about, origin, now + wait).await?;
        tx.commit().await
    }

    /// The system was there and this one has no answer: it alone waits.
    async fn unanswered(
        &self,
        config: &Config,
        origin: &PartnerId,
        message: &PerformedMessage,
        reason: &str,
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        if now >= message.created + config.delivery.give_up {
            return self.give_up(origin, message, &could_not_be_told(message, reason)).await;
        }
        tracing::warn!(site = %origin, "The system of {origin} has not answered when told {}: {reason}", way(message.about).what(message));
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.performed_again(message, message.attempts + 1, now + pause(message.attempts)).await?;
        tx.commit().await
    }

    /// `reason` becomes a notice to the operator.
    async fn give_up(&self, origin: &PartnerId, message: &PerformedMessage, reason: &str) -> Result<(), StoreError> {
        let mut tx = self.store.begin(Durability::Synced).await?;
        tx.stop_performed(origin, message, reason, self.clock.now()).await?;
        tx.commit().await?;
        count(message.about, origin, "given_up");
        tracing::error!(site = %origin, "The system of {origin} is not told: {reason}");
        Ok(())
    }
}

impl Round {
    fn done(&mut self, line: Line, reached: Reached) {
        self.busy.remove(&line);
        match reached {
            Reached::Yes => drop(self.away.remove(&line)),
            Reached::No => *self.away.entry(line).or_insert(0) += 1,
            Reached::Unknown => {}
        }
    }
}

fn could_not_be_told(message: &PerformedMessage, reason: &str) -> String {
    let way = way(message.about);
    format!("{} could not be told to {}: {reason}", way.what(message), way.whose)
}

fn place<'a>(config: &'a Config, origin: &PartnerId, way: &Way) -> Option<(&'a Partner, &'a DicomDestination)> {
    let partner = config.partners.get(origin)?;
    Some((partner, (way.place)(partner.dicom.as_ref()?)?))
}

async fn open(config: &Config, to: &DicomDestination, way: &Way) -> Result<Association, String> {
    let settings = ScuSettings {
        calling_ae: config.dicom.ae_title.clone(),
        connect: config.delivery.connect,
        response: config.delivery.response,
    };
    let target = Target { host: to.host.clone(), port: to.port, called_ae: to.ae_title.clone() };
    let proposal =
        |syntax: &str| Some(Proposal { sop_class: Uid::new(way.class).ok()?, transfer_syntax: Uid::new(syntax).ok()? });
    let proposals: Vec<Proposal> = SYNTAXES.iter().filter_map(|syntax| proposal(syntax)).collect();
    Association::open(&settings, &target, &proposals).await.map_err(|error| chain(&error))
}

/// What it was answered with.
#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    status: u16,
    error_id: Option<u16>,
    /// What was said ends the step.
    ends: bool,
}

/// Why there is no answer.
enum Unsaid {
    /// Nothing was sent: it cannot be read, or not be written.
    Unreadable,
    Lost(ScuError),
}

async fn say(association: &mut Association, message: &PerformedMessage, partner: &Partner) -> Result<Answer, Unsaid> {
    let class = Uid::new(way(message.about).class).map_err(|_| Unsaid::Unreadable)?;
    let set: DataSet = dicom_json::from_str(&message.attributes).map_err(|_| Unsaid::Unreadable)?;
    let ends = message.about == Telling::Performed
        && !message.begins
        && status(&set).is_ok_and(|status| status != Status::InProgress);
    let service = if message.begins { Service::Create } else { Service::Set };
    let request = Request::new(service, class.as_str(), message.uid.as_str());
    match association.operate(&class, request, Some(&set), &partner.dicom_answers()).await {
        Ok((response, _)) => Ok(Answer { status: response.status, error_id: response.error_id, ends }),
        Err(ScuError::Source(error)) if error.kind() == std::io::ErrorKind::InvalidData => Err(Unsaid::Unreadable),
        Err(error) => Err(Unsaid::Lost(error)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Taken,
    Again,
    Refused,
}

/// PS3.7 Annex C.
const PROCESSING_FAILURE: u16 = 0x0110;

/// PS3.7 Annex C, PS3.4 F.7.2, R.3.2.
fn judge(begins: bool, attempt: i64, answer: Answer) -> Verdict {
    match answer.status {
        // Success, and warnings: attribute list error, attribute value out of range, B...
        0x0000 | 0x0001 | 0x0107 | 0x0116 | 0xB000..=0xBFFF => Verdict::Taken,
        // It has the step: an attempt before this one had no answer, or the scanner tells it too.
        0x0111 if begins => Verdict::Taken,
        // The step has ended there. By what was said now, where an attempt before this one had no answer; else by others, and
        // what was said is not known there.
        PROCESSING_FAILURE if answer.error_id == Some(MAY_NO_LONGER_BE_UPDATED) => {
            if answer.ends && attempt > 1 {
                Verdict::Taken
            } else {
                Verdict::Refused
            }
        }
        // Of the moment, or "may no longer be updated" in words of its own.
        PROCESSING_FAILURE if attempt < OWN_ATTEMPTS => Verdict::Again,
        // Duplicate invocation, resource limitation.
        0x0210 | 0x0213 => Verdict::Again,
        _ => Verdict::Refused,
    }
}

/// Doubles from 5 s to 10 min.
fn pause(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.clamp(0, 10)).unwrap_or(10);
    Duration::from_secs(5).saturating_mul(1 << doublings).min(Duration::from_secs(600))
}

fn count(about: Telling, origin: &PartnerId, outcome: &'static str) {
    let partner = origin.to_string();
    let counter = match about {
        Telling::Performed => {
            metrics::counter!("neisse_performed_steps_sent_total", "partner" => partner, "outcome" => outcome)
        }
        Telling::Availability => {
            metrics::counter!("neisse_availability_told_total", "partner" => partner, "outcome" => outcome)
        }
    };
    counter.increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every status that PS3.4 F.7.2 and PS3.7 Annex C know of N-CREATE and N-SET.
    #[test]
    fn each_answer_is_read_for_what_is_to_be_done() {
        use Verdict as V;
        for (begins, attempt, status, expected) in [
            (true, 1, 0x0000, V::Taken),
            (false, 1, 0x0000, V::Taken),
            (true, 1, 0x0107, V::Taken),
            (false, 1, 0x0116, V::Taken),
            (false, 1, 0xB300, V::Taken),
            (true, 1, 0x0111, V::Taken),
            (false, 1, 0x0111, V::Refused),
            (false, 7, 0x0110, V::Again),
            (false, 8, 0x0110, V::Refused),
            (true, 99, 0x0213, V::Again),
            (true, 1, 0x0210, V::Again),
            (true, 1, 0x0105, V::Refused),
            (true, 1, 0x0106, V::Refused),
            (false, 1, 0x0112, V::Refused),
            (true, 1, 0x0118, V::Refused),
            (true, 1, 0x0120, V::Refused),
            (true, 1, 0x0124, V::Refused),
            (true, 1, 0x0211, V::Refused),
        ] {
            let answer = Answer { status, ..Answer::default() };
            assert_eq!(judge(begins, attempt, answer), expected, "{status:04X}");
        }
        // "May no longer be updated": to what has been said before, and to what never was.
        for (attempt, ends, expected) in [
            (1, true, V::Refused),
            (2, true, V::Taken),
            (9, true, V::Taken),
            (1, false, V::Refused),
            (2, false, V::Refused),
        ] {
            let answer = Answer { status: PROCESSING_FAILURE, error_id: Some(MAY_NO_LONGER_BE_UPDATED), ends };
            assert_eq!(judge(false, attempt, answer), expected, "{attempt} {ends}");
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!([0, 1, 2, 6, 7, 90].map(|n| pause(n).as_secs()), [5, 10, 20, 320, 600, 600]);
    }
}
