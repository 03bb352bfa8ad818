//! Asks those who have taken images whether they keep them (Storage Commitment Push as SCU, PS3.4 J), where their
//! `[dicom.deliver] commitment` says so.
//!
//! In: what a delivery that has ended left to be asked. Out: an N-ACTION for each, over associations of ours; again with pauses while
//! the other is away, and again when `[dicom] commitment_within` has passed without an answer, a few times; then a person is told on
//! the case. The answer (`answer`) may come on the same association, which is kept open a moment for it, or later on one that the
//! other opens; each attempt has a Transaction UID of its own, and an answer to any of them is one.
//!
//! Keeps nothing in memory: what is not answered is in the database, and images of its case stay on the disk (`[retention]`).

mod answer;

use crate::{
    config::{Config, DicomTarget, Live},
    dicom::{
        dimse::{Request, Service},
        scu::{Association, Heard, Proposal, ScuError, ScuSettings, Target as Called},
        service::{Asker, DataSet, Done, Refusal, Target},
    },
    model::{Aside, CaseId, Clock, Outgoing, PartnerId, Uid, chain},
    store::{AskedCommitment, AskedState, Durability, Store, StoreError, UnreadableRow},
};
use dicom_core::{DataElement, PrimitiveValue, VR, value::DataSetSequence};
use dicom_dictionary_std::tags;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const MODEL: &str = "1.2.840.10008.1.20.1";
/// The one well-known instance (PS3.4 J.3.5).
const INSTANCE: &str = "1.2.840.10008.1.20.1.1";
/// Explicit and Implicit VR Little Endian.
const SYNTAXES: [&str; 2] = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"];
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Asked over one association.
const AT_ONCE: i64 = 50;
/// An attempt that has no outcome by then was cut off.
const LEASE: Duration = Duration::from_secs(300);
/// An association without questions is kept so long for answers.
const LISTENS: Duration = Duration::from_secs(5);
/// Taken, and not answered in time.
const MOST_ASKS: i64 = 3;
/// What cannot be read may have been mended.
const UNREADABLE: Duration = Duration::from_secs(600);
/// A fault that the other itself calls one of processing.
const OWN_ATTEMPTS: i64 = 8;

/// How a case says that images are missing. Sent again, they are asked for anew.
fn not_kept(partner: &PartnerId, case: CaseId) -> String {
    format!("{partner} has not committed all of its images: see the story, then neisse cases resend {case} --all")
}

fn silent(partner: &PartnerId) -> String {
    format!("{partner} does not say whether it keeps the images: see the story")
}

fn unsettled(partner: &PartnerId) -> String {
    format!("it cannot be settled what {partner} keeps: see the log")
}

fn count(partner: &PartnerId, outcome: &'static str) {
    metrics::counter!("neisse_commitments_asked_total", "partner" => partner.to_string(), "outcome" => outcome)
        .increment(1);
}

#[derive(Clone)]
pub struct CommitmentAsker {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
}

impl CommitmentAsker {
    /// N-EVENT-REPORT on an association that the caller opened.
    pub(super) async fn told(
        self,
        asker: &Asker,
        target: Target,
        event_type: u16,
        information: DataSet,
    ) -> Result<Done, Refusal> {
        let instance = target.instance.ok_or(Refusal::new(0x0112, "no such instance"))?;
        answer::check_named(target.class.as_str(), instance.as_str())?;
        answer::take(&self.store, &self.clock, &asker.partner, event_type, &information).await?;
        Ok(Done { status: 0, instance, reply: None })
    }

    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let (mut asking, mut busy, mut aside) = (JoinSet::new(), HashSet::new(), Aside::default());
        loop {
            if let Err(error) = this.look(&mut asking, &mut busy, &mut aside).await {
                tracing::error!(error = %chain(&error), "Storage commitments cannot be asked for now; they wait");
            }
            tokio::select! {
                Some(done) = asking.join_next() => match done {
                    Ok(partner) => drop(busy.remove(&partner)),
                    // Whose it was is not known: all are looked at again, and what is under way is nobody else's.
                    Err(_) => busy.clear(),
                },
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => break,
            }
        }
        // What was cut off is asked again after its lease.
        asking.abort_all();
        while asking.join_next().await.is_some() {}
    }

    async fn look(
        self: &Arc<Self>,
        asking: &mut JoinSet<PartnerId>,
        busy: &mut HashSet<PartnerId>,
        aside: &mut Aside<String>,
    ) -> Result<(), StoreError> {
        for partner in self.store.to_be_asked(self.clock.now()).await? {
            let partner = match partner {
                Ok(partner) => partner,
                Err(error) => {
                    if !aside.waits(&error.row) {
                        tracing::error!(error = %chain(&error), "Who is to be asked for storage commitments cannot be read; the others go on");
                        aside.failed(error.row);
                    }
                    continue;
                }
            };
            if busy.insert(partner.clone()) {
                let this = Arc::clone(self);
                asking.spawn(async move {
                    if let Err(error) = this.ask_all(&partner).await {
                        tracing::error!(site = %partner, error = %chain(&error), "{partner} cannot be asked for its storage commitments now");
                    }
                    partner
                });
            }
        }
        Ok(())
    }

    /// One association with all that is due of one.
    async fn ask_all(&self, partner: &PartnerId) -> Result<(), StoreError> {
        let config = self.config.now();
        let due = self.due(partner).await?;
        let Some(target) = place(&config, partner) else {
            for row in &due {
                let what = format!("{partner} is not asked any more whether it keeps {} images", row.items);
                self.end(row, AskedState::Dropped, &what).await?;
            }
            return Ok(());
        };
        let mut line = Line::default();
        let mut last = None;
        for row in due {
            if row.state == AskedState::Asked && row.asks >= MOST_ASKS {
                let what =
                    format!("{partner} was asked {MOST_ASKS} times to commit {} images, and did not answer", row.items);
                self.end(&row, AskedState::GivenUp, &what).await?;
                continue;
            }
            if !self.begin(&row).await? {
                continue;
            }
            match self.ask(&mut line, &config, target, &row).await {
                Ok(Ok(status)) => self.settle(&config, &row, status).await?,
                Ok(Err(reason)) => {
                    self.away(&config, &row, &reason).await?;
                    break;
                }
                Err(error) if error.is_about_one() => {
                    self.put_off(&row, &error).await?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            last = Some(row);
            self.listen(&mut line, partner, Duration::ZERO, None).await;
        }
        if let Some(last) = last {
            self.listen(&mut line, partner, LISTENS, Some(&last)).await;
        }
        if let Some(association) = line.0 {
            association.release().await;
        }
        Ok(())
    }

    /// What is due of one. What cannot be read waits, and keeps no other from being asked.
    async fn due(&self, partner: &PartnerId) -> Result<Vec<AskedCommitment>, StoreError> {
        let mut due = Vec::new();
        for row in self.store.commitments_to_ask(partner, self.clock.now(), AT_ONCE).await? {
            match row {
                Ok(row) => due.push(row),
                Err(unreadable) => self.pass_over(partner, &unreadable).await?,
            }
        }
        Ok(due)
    }

    async fn pass_over(&self, partner: &PartnerId, unreadable: &UnreadableRow) -> Result<(), StoreError> {
        tracing::error!(site = %partner, error = %chain(unreadable), "A storage commitment that {partner} is to be asked for cannot be read; the others go on");
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.put_off_asking(unreadable, &unsettled(partner), self.clock.now() + UNREADABLE).await?;
        tx.commit().await
    }

    async fn begin(&self, row: &AskedCommitment) -> Result<bool, StoreError> {
        let mut tx = self.store.begin(Durability::Process).await?;
        let ours = tx.begin_asking(row, self.clock.now() + LEASE).await?;
        tx.commit().await?;
        Ok(ours)
    }

    /// The status it was answered with, or why there was no answer, in words of ours.
    async fn ask(
        &self,
        line: &mut Line,
        config: &Config,
        target: &DicomTarget,
        row: &AskedCommitment,
    ) -> Result<Result<u16, String>, StoreError> {
        let instances = self.store.instances_asked_for(row).await?;
        let information = question(&AskedCommitment::transaction(row.id, row.attempts + 1), &instances);
        let association = match line.open(config, target).await {
            Ok(association) => association,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut request = Request::new(Service::Action, MODEL, INSTANCE);
        request.type_id = Some(1);
        let Ok(class) = Uid::new(MODEL) else { return Ok(Err("its SOP class is no UID".to_owned())) };
        let said = association.operate(&class, request, Some(&information), &Outgoing::default()).await;
        Ok(match said {
            Ok((response, _)) => Ok(response.status),
            // PS3.7 C.5.6: as if it had said so itself.
            Err(ScuError::NotAccepted) => Ok(0x0122),
            Err(error) => Err(chain(&error)),
        })
    }

    /// What follows from the answer to the question.
    async fn settle(&self, config: &Config, row: &AskedCommitment, status: u16) -> Result<(), StoreError> {
        let now = self.clock.now();
        let is_late = now >= row.since + config.delivery.give_up;
        match judge(row.attempts - row.asks + 1, status) {
            Verdict::Taken => {
                let mut tx = self.store.begin(Durability::Process).await?;
                tx.asked(row, now, now + config.dicom.commitment_within).await?;
                tx.commit().await?;
                count(&row.partner, "asked");
                Ok(())
            }
            Verdict::Again if !is_late => {
                let mut tx = self.store.begin(Durability::Process).await?;
                tx.ask_again(row, now + pause(config, row)).await?;
                tx.commit().await
            }
            Verdict::Again | Verdict::Refused => {
                let what = format!(
                    "{} would not take the question whether it keeps {} images ({status:04X})",
                    row.partner, row.items
                );
                self.end(row, AskedState::GivenUp, &what).await
            }
        }
    }

    /// There was no answer: all that is due waits with the one that was tried, or that one has waited long enough.
    async fn away(&self, config: &Config, row: &AskedCommitment, reason: &str) -> Result<(), StoreError> {
        let (now, partner) = (self.clock.now(), &row.partner);
        if now >= row.since + config.delivery.give_up {
            let what = format!("{partner} could not be asked whether it keeps {} images: {reason}", row.items);
            return self.end(row, AskedState::GivenUp, &what).await;
        }
        let next = now + pause(config, row);
        tracing::warn!(site = %partner, attempt = row.attempts + 1, next_attempt_at = %next, "{partner} cannot be asked whether it keeps its images: {reason}; next attempt {next}");
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.ask_again(row, next).await?;
        tx.commit().await?;
        // By itself: whoever holds one of them may wait for the one above.
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.pause_asking(partner, now, next).await?;
        tx.commit().await
    }

    /// It is not asked again. Where its case cannot be read it waits, and keeps no other from being asked.
    async fn end(&self, row: &AskedCommitment, state: AskedState, what: &str) -> Result<(), StoreError> {
        match self.try_to_end(row, state, what).await {
            Err(error) if error.is_about_one() => self.put_off(row, &error).await,
            ended => ended,
        }
    }

    /// It, its images or its case cannot be read.
    async fn put_off(&self, row: &AskedCommitment, error: &StoreError) -> Result<(), StoreError> {
        tracing::error!(case.id = %row.case, error = %chain(error), "What {} has committed of case {} cannot be settled; the others go on", row.partner, row.case);
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.mark_for_a_person(row.case, &unsettled(&row.partner)).await?;
        tx.ask_again(row, self.clock.now() + UNREADABLE).await?;
        tx.commit().await
    }

    async fn try_to_end(&self, row: &AskedCommitment, state: AskedState, what: &str) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut tx = self.store.begin(Durability::Synced).await?;
        let mut case = tx.case(row.case).await?;
        if !tx.end_asking(row.id, state, now).await? {
            return Ok(());
        }
        tx.tell(row.case, now, "worklist", what).await?;
        if tx.committed(row.case, &row.partner).await?.open == 0 {
            case.needs_nobody_for(&unsettled(&row.partner));
        }
        if state == AskedState::GivenUp {
            tracing::error!(case.id = %row.case, site = %row.partner, "Case {}: {what}", row.case);
            answer::needs_a_person(&mut case, row, &silent(&row.partner));
            count(&row.partner, "given_up");
        }
        tx.save_case(&case).await?;
        tx.commit().await
    }

    /// Takes what is answered on this association, for so long after the last word. `until`: nothing more is waited for when this
    /// one has been answered, wherever that came.
    async fn listen(&self, line: &mut Line, partner: &PartnerId, silence: Duration, until: Option<&AskedCommitment>) {
        let Some(association) = &mut line.0 else { return };
        let mut silent_for = Duration::ZERO;
        loop {
            match association.hear(silence.min(LOOK_EVERY)).await {
                Ok(Some(heard)) => {
                    silent_for = Duration::ZERO;
                    if self.hear(association, partner, &heard).await.is_err() {
                        break;
                    }
                    continue;
                }
                Ok(None) => silent_for += LOOK_EVERY,
                // It answers on an association of its own, or not at all.
                Err(_) => break,
            }
            let is_answered = match until {
                Some(row) => {
                    let now = self.store.asked_commitment(row.id).await;
                    now.is_ok_and(|row| row.is_none_or(|row| row.state != AskedState::Asked))
                }
                None => false,
            };
            if silent_for >= silence || is_answered {
                return;
            }
        }
        line.0 = None;
    }

    async fn hear(&self, association: &mut Association, partner: &PartnerId, heard: &Heard) -> Result<(), ScuError> {
        let request = &heard.request;
        let taken = async {
            answer::check_named(&request.sop_class, &request.sop_instance)?;
            let information = heard.information.as_ref();
            let information = information.ok_or(Refusal::new(0x0110, "data set cannot be read"))?;
            let event_type = request.type_id.ok_or(Refusal::new(0x0113, "no type is given"))?;
            answer::take(&self.store, &self.clock, partner, event_type, information).await
        };
        let mut response = request.answer(0);
        if let Err(refusal) = taken.await {
            tracing::info!(site = %partner, status = format_args!("{:04X}", refusal.status), comment = refusal.comment, "event refused");
            response.status = refusal.status;
            response.comment = Some(refusal.comment.to_owned());
            response.element = refusal.element;
        }
        association.answer(heard, response).await
    }
}

/// The association to one, opened when there is something to ask.
#[derive(Default)]
struct Line(Option<Association>);

impl Line {
    async fn open(&mut self, config: &Config, target: &DicomTarget) -> Result<&mut Association, String> {
        let opened = match self.0.take().filter(Association::is_open) {
            Some(association) => association,
            None => open(config, target).await?,
        };
        Ok(self.0.insert(opened))
    }
}

async fn open(config: &Config, to: &DicomTarget) -> Result<Association, String> {
    let settings = ScuSettings {
        calling_ae: config.dicom.ae_title.clone(),
        connect: config.delivery.connect,
        response: config.delivery.response,
    };
    let target = Called { host: to.host.clone(), port: to.port, called_ae: to.ae_title.clone() };
    let proposal =
        |syntax: &str| Some(Proposal { sop_class: Uid::new(MODEL).ok()?, transfer_syntax: Uid::new(syntax).ok()? });
    let proposals: Vec<Proposal> = SYNTAXES.iter().filter_map(|syntax| proposal(syntax)).collect();
    Association::open(&settings, &target, &proposals).await.map_err(|error| chain(&error))
}

fn place<'a>(config: &'a Config, partner: &PartnerId) -> Option<&'a DicomTarget> {
    let dicom = config.partners.get(partner)?.dicom.as_ref()?;
    dicom.deliver.as_ref().filter(|target| target.commitment)
}

/// PS3.4 Table J.3-1.
fn question(transaction: &str, instances: &[(Uid, Uid)]) -> DataSet {
    let uid = |tag, text: &str| DataElement::new(tag, VR::UI, PrimitiveValue::from(text));
    let item = |(class, instance): &(Uid, Uid)| {
        let mut item = DataSet::new_empty();
        item.put(uid(tags::REFERENCED_SOP_CLASS_UID, class.as_str()));
        item.put(uid(tags::REFERENCED_SOP_INSTANCE_UID, instance.as_str()));
        item
    };
    let items: Vec<DataSet> = instances.iter().map(item).collect();
    let mut set = DataSet::new_empty();
    set.put(uid(tags::TRANSACTION_UID, transaction));
    set.put(DataElement::new(tags::REFERENCED_SOP_SEQUENCE, VR::SQ, DataSetSequence::from(items)));
    set
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Taken,
    Again,
    Refused,
}

/// PS3.7 C, 10.1.4.1.10; PS3.4 J.3.2.
fn judge(attempt: i64, status: u16) -> Verdict {
    match status {
        // Success, and warnings.
        0x0000 | 0x0001 | 0x0107 | 0x0116 | 0xB000..=0xBFFF => Verdict::Taken,
        // Processing failure.
        0x0110 if attempt < OWN_ATTEMPTS => Verdict::Again,
        // Duplicate invocation, resource limitation.
        0x0210 | 0x0213 => Verdict::Again,
        _ => Verdict::Refused,
    }
}

/// Doubles between the bounds of `[delivery]`, with each attempt since it was last taken.
fn pause(config: &Config, row: &AskedCommitment) -> Duration {
    let doublings = u32::try_from((row.attempts - row.asks).clamp(0, 16)).unwrap_or(16);
    config.delivery.retry_min.saturating_mul(1 << doublings).min(config.delivery.retry_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_to_the_question_is_read_for_what_is_to_be_done() {
        use Verdict as V;
        for (attempt, status, expected) in [
            (1, 0x0000, V::Taken),
            (1, 0xB000, V::Taken),
            (7, 0x0110, V::Again),
            (8, 0x0110, V::Refused),
            (99, 0x0213, V::Again),
            (1, 0x0210, V::Again),
            (1, 0x0112, V::Refused),
            (1, 0x0115, V::Refused),
            (1, 0x0122, V::Refused),
            (1, 0x0123, V::Refused),
            (1, 0x0124, V::Refused),
            (1, 0x0211, V::Refused),
        ] {
            assert_eq!(judge(attempt, status), expected, "{status:04X}");
        }
    }
}
