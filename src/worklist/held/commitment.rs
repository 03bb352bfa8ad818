//! Storage commitment as SCP (PS3.4 J): who sent instances asks whether they are kept, and is told later.
//!
//! In: an N-ACTION with a Transaction UID and instances, which is written down and answered 0000. Out: an N-EVENT-REPORT on an
//! association of our own to the asker's `[dicom] destinations`, once it is known of each instance whether it is kept; again
//! until it is taken. What that means, `[dicom] commit` says: on this node's disk, or with the reader as well. An instance that
//! is durable may not be in the database yet, after a start or while the database is away: what is missing is waited for
//! until everything is known that was received by then and a little later.
//!
//! Commits to nothing but what the asker itself sent. A promise lasts as long as `[retention]` keeps images.

use super::{
    Shelves,
    judging::{Judged, Verdict, Wait, judge},
};
use crate::{
    config::Config,
    dicom::{
        dimse::{Request, Service},
        matching,
        scu::{Association, Proposal, ScuSettings, Target as Called},
        service::{Asker, DataSet, Done, Refusal, Target},
    },
    model::{CaughtUp, Moment, Outgoing, PartnerId, Uid, chain},
    store::{CommitmentEnd, CommitmentRow, Durability, KeptInstance, StoreError, Tx},
};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

const MODEL: &str = "1.2.840.10008.1.20.1";
const INSTANCE: &str = "1.2.840.10008.1.20.1.1";
/// Instances of one transaction.
const MOST: usize = 10_000;
/// Asked of the database at once.
const AT_ONCE: usize = 500;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What comes so long after the question counts, too.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// Until the next look at one that waits for its instances, or their reader: a part of the time it has waited, within these.
const WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
const WAIT_PART: u32 = 16;
/// An attempt is over by the end of its times and this, whatever became of who makes it.
const LEASE: Duration = Duration::from_secs(30);
const BATCH: i64 = 20;
/// No more are begun while so many are being told, and of one partner while so many of its own are.
const AT_MOST: usize = 40;
const AT_MOST_OF_ONE: usize = 4;
/// Attempts to tell, also of what is only known when the time is up.
const ATTEMPTS: i64 = 8;
/// Transactions of one partner that wait for their answer.
const MOST_OPEN: i64 = 1_000;

const GIVEN_UP: &str = "its sender asked for a storage commitment and took no answer: see [dicom] destinations";

fn invalid(comment: &'static str, element: Tag) -> Refusal {
    // PS3.7 C.5.19.
    Refusal { element: Some(element), ..Refusal::new(0x0115, comment) }
}

impl Shelves {
    /// N-ACTION.
    pub async fn commit(
        self,
        asker: &Asker,
        target: Target,
        action_type: u16,
        information: DataSet,
    ) -> Result<Done, Refusal> {
        let instance = target.instance.filter(|instance| instance.as_str() == INSTANCE);
        let instance = instance.ok_or(Refusal::new(0x0112, "no such instance"))?;
        if action_type != 1 {
            return Err(Refusal::new(0x0123, "no such action"));
        }
        let transaction = matching::value(&information, tags::TRANSACTION_UID);
        let transaction =
            Uid::new(&transaction).map_err(|_| invalid("Transaction UID is none", tags::TRANSACTION_UID))?;
        let instances = referenced(&information)?;
        let config = self.config.now();
        let place = config.partners.get(&asker.partner).and_then(|partner| partner.dicom_destination(&asker.ae_title));
        if place.is_none() {
            return Err(Refusal::new(0x0110, "no destination is configured for this AE title"));
        }
        let now = self.clock.now();
        let row = CommitmentRow {
            partner: asker.partner.clone(),
            ae_title: asker.ae_title.clone(),
            transaction: transaction.as_str().to_owned(),
            instances,
            asked: now,
            next: now,
            attempts: 0,
        };
        let written = async {
            let mut tx = self.store.begin(Durability::Synced).await?;
            if tx.open_commitments(&row.partner).await? >= MOST_OPEN {
                return Ok(false);
            }
            tx.ask_commitment(&row).await?;
            tx.commit().await?;
            Ok(true)
        };
        let written = written.await.map_err(|error: StoreError| {
            tracing::error!(error = %chain(&error), "A storage commitment cannot be written down");
            Refusal::new(0x0110, "not written down, try again")
        })?;
        if !written {
            return Err(Refusal::new(0x0213, "1000 transactions wait for their answer to be taken"));
        }
        Ok(Done { status: 0, instance, reply: None })
    }
}

fn referenced(information: &DataSet) -> Result<Vec<(String, String)>, Refusal> {
    let unfit = |comment| invalid(comment, tags::REFERENCED_SOP_SEQUENCE);
    let items = information.get(tags::REFERENCED_SOP_SEQUENCE).and_then(|sequence| sequence.items());
    let items = items.filter(|items| !items.is_empty()).ok_or(unfit("no instance is named"))?;
    if items.len() > MOST {
        return Err(Refusal::new(0x0213, "more than 10000 instances at once"));
    }
    let uid = |item: &DataSet, tag| Uid::new(&matching::value(item, tag)).map(|uid| uid.as_str().to_owned());
    let read = |item: &DataSet| {
        let class = uid(item, tags::REFERENCED_SOP_CLASS_UID).map_err(|_| unfit("an instance without a class"))?;
        let instance = uid(item, tags::REFERENCED_SOP_INSTANCE_UID).map_err(|_| unfit("an instance without a UID"))?;
        Ok((class, instance))
    };
    items.iter().map(read).collect()
}

/// Who asked, and under which Transaction UID.
type Named = (PartnerId, String, String);

/// Transactions that are being told.
#[derive(Clone, Default)]
struct InHand(Arc<Mutex<HashSet<Named>>>);

/// One of them, until it is dropped: however it ends.
struct Taken(InHand, Named);

impl Drop for Taken {
    fn drop(&mut self) {
        let mut named = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        named.remove(&self.1);
    }
}

impl InHand {
    /// `None`: it is in hand, or as many of its partner's as may be.
    fn take(&self, row: &CommitmentRow) -> Option<Taken> {
        let mut named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_partner = named.iter().filter(|(partner, ..)| *partner == row.partner).count();
        let name = (row.partner.clone(), row.ae_title.clone(), row.transaction.clone());
        if of_partner >= AT_MOST_OF_ONE || !named.insert(name.clone()) {
            return None;
        }
        Some(Taken(self.clone(), name))
    }

    /// Partners that have as many as one may have.
    fn busy(&self) -> Vec<PartnerId> {
        let named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts: HashMap<&PartnerId, usize> = HashMap::new();
        named.iter().for_each(|(partner, ..)| *counts.entry(partner).or_default() += 1);
        counts.into_iter().filter(|(_, count)| *count >= AT_MOST_OF_ONE).map(|(partner, _)| partner.clone()).collect()
    }
}

/// Tells what is due, until `stop`. What `caught_up` does not cover is not called unknown.
pub async fn run(shelves: Shelves, caught_up: CaughtUp, stop: CancellationToken) {
    // At once, and few of one partner: a destination that does not answer holds up no other.
    let (hand, mut telling) = (InHand::default(), JoinSet::new());
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {
                if let Err(error) = begin_due(&shelves, &caught_up, &hand, &mut telling).await {
                    tracing::error!(error = %chain(&error), "Storage commitments cannot be answered now; they wait");
                }
            }
            Some(told) = telling.join_next() => if let Ok(Err(error)) = told {
                tracing::error!(error = %chain(&error), "A storage commitment cannot be answered now; it waits");
            },
            () = stop.cancelled() => return,
        }
    }
}

/// Whoever has a batch of its own due holds up no other: those that are busy are left out, as long as there is room.
async fn begin_due(
    shelves: &Shelves,
    caught_up: &CaughtUp,
    hand: &InHand,
    telling: &mut JoinSet<Result<(), StoreError>>,
) -> Result<(), StoreError> {
    while telling.len() < AT_MOST {
        let busy = hand.busy();
        let busy: Vec<&str> = busy.iter().map(PartnerId::as_str).collect();
        let due = shelves.store.due_commitments(shelves.clock.now(), &busy, BATCH).await?;
        let is_full = i64::try_from(due.len()).is_ok_and(|count| count == BATCH);
        let mut begun = 0;
        for row in due {
            if telling.len() >= AT_MOST {
                return Ok(());
            }
            let Some(taken) = hand.take(&row) else { continue };
            begun += 1;
            let (shelves, caught_up) = (shelves.clone(), caught_up.clone());
            telling.spawn(async move {
                let _taken = taken;
                tell(&shelves, &caught_up, &row).await
            });
        }
        if !is_full || begun == 0 {
            break;
        }
    }
    Ok(())
}

async fn tell(shelves: &Shelves, caught_up: &CaughtUp, row: &CommitmentRow) -> Result<(), StoreError> {
    let (config, now) = (shelves.config.now(), shelves.clock.now());
    let give_up = row.asked + config.delivery.give_up;
    // Before what is known is looked up.
    let is_settled = caught_up.knows(&row.partner, row.asked + SETTLES_WITHIN);
    let known = known(shelves, row).await?;
    let mut by_uid: HashMap<&str, Vec<&KeptInstance>> = HashMap::new();
    known.iter().for_each(|kept| by_uid.entry(kept.sop_instance.as_str()).or_default().push(kept));
    let partner = config.partners.get(&row.partner);
    let commit = partner.and_then(|partner| partner.dicom.as_ref()).map(|dicom| dicom.commit).unwrap_or_default();
    let verdict = match judge(row, &by_uid, commit, Wait { is_settled, is_over: give_up <= now }) {
        Judged::NotYet => {
            let mut tx = shelves.store.begin(Durability::Process).await?;
            tx.take_commitment(row, now + wait(row, now), false).await?;
            return tx.commit().await;
        }
        Judged::Now(verdict) => verdict,
    };
    // Written down before it is made.
    let taken =
        CommitmentRow { next: now + (telling_within(&config) + LEASE), attempts: row.attempts + 1, ..row.clone() };
    let mut tx = shelves.store.begin(Durability::Process).await?;
    if !tx.take_commitment(row, taken.next, true).await? {
        return Ok(());
    }
    tx.commit().await?;
    let told = tokio::time::timeout(telling_within(&config), report(&config, row, &verdict)).await;
    let outcome = told.unwrap_or_else(|_| Err("it was not taken in time".to_owned()));
    let now = shelves.clock.now();
    let mut tx = shelves.store.begin(Durability::Process).await?;
    match outcome {
        Ok(()) => {
            let (kept, failed) = (verdict.kept.len(), verdict.failed.len());
            tracing::info!(site = %row.partner, kept, failed, "{} has been told of {kept} instances that are kept and {failed} that are not", row.partner);
            tx.end_commitment(row, CommitmentEnd::Told).await?;
        }
        Err(reason) if now < give_up || taken.attempts < ATTEMPTS => {
            let wait = pause(&config, taken.attempts);
            tracing::warn!(site = %row.partner, attempt = taken.attempts, reason, "{} takes no answer to its storage commitment; next try in {wait:?}", row.partner);
            tx.take_commitment(&taken, now + wait, false).await?;
        }
        Err(reason) => {
            tracing::error!(site = %row.partner, attempt = taken.attempts, reason, "{} took no answer to its storage commitment: given up", row.partner);
            put_before_a_person(&mut tx, row, &known, now).await?;
        }
    }
    tx.commit().await
}

/// Longer the longer it has waited.
fn wait(row: &CommitmentRow, now: Moment) -> Duration {
    (now.since(row.asked) / WAIT_PART).clamp(WAIT, LONGEST_WAIT)
}

async fn known(shelves: &Shelves, row: &CommitmentRow) -> Result<Vec<KeptInstance>, StoreError> {
    let mut known = Vec::new();
    for some in row.instances.chunks(AT_ONCE) {
        let uids: Vec<&str> = some.iter().map(|(_, instance)| instance.as_str()).collect();
        known.extend(shelves.store.kept_of(&row.partner, &uids).await?);
    }
    Ok(known)
}

/// On the first of its cases: one is enough to be seen. Without a case by a notice of its own.
async fn put_before_a_person(
    tx: &mut Tx,
    row: &CommitmentRow,
    known: &[KeptInstance],
    now: Moment,
) -> Result<(), StoreError> {
    let Some(id) = known.iter().find_map(|kept| kept.case) else {
        return tx.end_commitment(row, CommitmentEnd::GivenUp { notice: Some(GIVEN_UP) }).await;
    };
    let mut case = tx.case(id).await?;
    if case.needs_a_person(GIVEN_UP) {
        tx.tell(id, now, "worklist", GIVEN_UP).await?;
        tx.save_case(&case).await?;
    }
    tx.end_commitment(row, CommitmentEnd::GivenUp { notice: None }).await
}

/// The association, the report and its answer.
fn telling_within(config: &Config) -> Duration {
    config.delivery.connect + config.delivery.response.saturating_mul(2)
}

fn pause(config: &Config, attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    config.delivery.retry_min.saturating_mul(1 << doublings).min(config.delivery.retry_max)
}

/// The error's text is our own.
async fn report(config: &Config, row: &CommitmentRow, verdict: &Verdict) -> Result<(), String> {
    let place = config.partners.get(&row.partner).and_then(|partner| partner.dicom_destination(&row.ae_title));
    let place = place.ok_or_else(|| "no destination is configured for its AE title any more".to_owned())?;
    let settings = ScuSettings {
        calling_ae: config.dicom.ae_title.clone(),
        connect: config.delivery.connect,
        response: config.delivery.response,
    };
    let called = Called { host: place.host, port: place.port, called_ae: place.ae_title };
    let class = Uid::new(MODEL).map_err(|error| chain(&error))?;
    let syntaxes = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"].into_iter().filter_map(|syntax| Uid::new(syntax).ok());
    let proposals: Vec<Proposal> =
        syntaxes.map(|syntax| Proposal { sop_class: class.clone(), transfer_syntax: syntax }).collect();
    let opened = Association::open_to_report(&settings, &called, &proposals).await;
    let mut association = opened.map_err(|error| chain(&error))?;
    let mut request = Request::new(Service::EventReport, MODEL, INSTANCE);
    request.type_id = Some(verdict.event_type());
    let information = verdict.information(&row.transaction);
    let answer = association.operate(&class, request, Some(&information), &Outgoing::default()).await;
    let status = match answer {
        Ok((response, _)) => response.status,
        Err(error) => return Err(chain(&error)),
    };
    association.release().await;
    if status == 0 { Ok(()) } else { Err(format!("answered {status:04X}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Moment = Moment(1_000_000_000);

    fn row() -> CommitmentRow {
        CommitmentRow {
            partner: PartnerId::new("rabenstein").expect("an id"),
            ae_title: "RAB_PACS".into(),
            transaction: "1.2".into(),
            instances: vec![("CT".into(), "1".into()), ("CT".into(), "2".into())],
            asked: ASKED,
            next: ASKED,
            attempts: 0,
        }
    }

    #[test]
    fn whoever_waits_long_is_looked_at_less_often() {
        let after = |secs| wait(&row(), ASKED + Duration::from_secs(secs)).as_secs();
        assert_eq!((after(0), after(30), after(160), after(3600), after(86_400)), (2, 2, 10, 225, 300));
    }

    #[test]
    fn one_in_hand_is_free_again_however_it_ends() {
        let hand = InHand::default();
        let row_of = |number: usize| CommitmentRow { transaction: number.to_string(), ..row() };
        let mut taken: Vec<Taken> = (0..AT_MOST_OF_ONE).filter_map(|number| hand.take(&row_of(number))).collect();
        assert!(hand.take(&row_of(0)).is_none() && hand.take(&row_of(9)).is_none());
        assert_eq!(hand.busy(), [row().partner]);
        let last = taken.pop();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _last = last;
            panic!("on purpose");
        }));
        assert!(panicked.is_err() && hand.busy().is_empty() && hand.take(&row_of(9)).is_some());
    }

    #[test]
    fn the_pause_doubles_up_to_its_end() {
        let config = crate::config::load(std::path::Path::new("config")).expect("the example");
        let (least, most) = (config.delivery.retry_min, config.delivery.retry_max);
        assert_eq!((pause(&config, 1), pause(&config, 2)), (least, least * 2));
        assert_eq!(pause(&config, i64::MAX), most);
    }
}
