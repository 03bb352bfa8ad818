//! Tells subscribers what becomes of tasks (PS3.4 CC.2.4).
//!
//! In: events, each written with what it tells. Out: a notice for every subscriber of each event; and N-EVENT-REPORTs over
//! associations of ours, in order, again with pauses while a subscriber is away, for [`KEPT`] at most. Who listens on a
//! WebSocket takes its notices from the store (`web`).

use super::{Tasks, gather::Input};
use crate::{
    config::Config,
    dicom::{
        matching::{MatchOptions, Names, Prepared},
        service::{Asker, MoveDestination},
        ups::{self, EventFacts, EventReport, FILTERED, GLOBAL},
    },
    model::{Moment, Outgoing, PartnerId, TaskEvent, Uid, chain},
    store::{Durability, StoreError, TaskNews, TaskRow, TaskSubscription},
};
use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// Longest sleep between looks: events of other processes ring no bell here.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const BATCH: i64 = 200;
/// Events told over one association.
const TOLD_AT_ONCE: i64 = 100;
/// Subscribers told at the same time.
const RECEIVERS: i64 = 16;
/// One association with all that is told over it; whoever has taken a subscriber is believed to be gone after the lease.
const TELL_WITHIN: Duration = Duration::from_secs(100);
const LEASE: Duration = Duration::from_secs(120);
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(600);
/// Who has no destination may listen on a WebSocket, or get one.
const WITHOUT_DESTINATION: Duration = Duration::from_secs(60);
/// The standard wants no event kept for who is away (CC.2.4.3); a weekend is.
pub const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// Each in a transaction of its own; so many of them before what is to be told has its turn again.
const PURGE_BATCH: i64 = 5_000;
const PURGE_BATCHES: usize = 10;

/// The wire that brings events to a subscriber.
pub trait TellsEvents: Send + Sync + 'static {
    /// Tells them in order over one association, in letters that the partner takes, and ends at `until` with what has been
    /// told by then. How many of them, from the first, were taken.
    fn tell<'a>(
        &'a self,
        partner: &'a PartnerId,
        to: &'a MoveDestination,
        events: &'a [EventReport],
        until: Instant,
    ) -> BoxFuture<'a, usize>;
}

pub struct EventTeller {
    pub tasks: Tasks,
    pub wire: Arc<dyn TellsEvents>,
}

impl EventTeller {
    pub async fn run(self, stop: CancellationToken) {
        let mut telling = JoinSet::new();
        let mut purged = self.tasks.clock.now();
        loop {
            if let Err(error) = self.look(&mut telling, &mut purged).await {
                tracing::error!(error = %chain(&error), "Events of tasks cannot be told now; they wait");
            }
            tokio::select! {
                () = self.tasks.bell.rung() => {}
                Some(_) = telling.join_next() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => break,
            }
        }
        // What is not told now is told after the next start.
        telling.abort_all();
        while telling.join_next().await.is_some() {}
    }

    async fn look(&self, telling: &mut JoinSet<()>, purged: &mut Moment) -> Result<(), StoreError> {
        while self.note().await? {}
        let now = self.tasks.clock.now();
        if now.since(*purged) >= PURGE_EVERY && self.purge(now).await? {
            *purged = now;
        }
        let free = RECEIVERS.saturating_sub(i64::try_from(telling.len()).unwrap_or(i64::MAX));
        for (partner, ae_title, attempts) in self.tasks.store.task_receivers_due(now, free.max(0)).await? {
            let Some(to) = destination(&self.tasks.config.now(), &partner, &ae_title) else {
                self.take(&partner, &ae_title, now, now + WITHOUT_DESTINATION).await?;
                continue;
            };
            if self.take(&partner, &ae_title, now, now + LEASE).await? {
                let telling_one =
                    Telling { tasks: self.tasks.clone(), wire: Arc::clone(&self.wire), partner, to, attempts };
                telling.spawn(telling_one.run());
            }
        }
        Ok(())
    }

    async fn take(&self, partner: &PartnerId, ae: &str, now: Moment, until: Moment) -> Result<bool, StoreError> {
        let mut tx = self.tasks.store.begin(Durability::Process).await?;
        let taken = tx.take_task_receiver(partner, ae, now, until).await?;
        tx.commit().await?;
        Ok(taken)
    }

    /// False: there is more.
    async fn purge(&self, now: Moment) -> Result<bool, StoreError> {
        let (mut dropped, mut is_done) = (0, false);
        for _ in 0..PURGE_BATCHES {
            let mut tx = self.tasks.store.begin(Durability::Process).await?;
            let (some, is_full) = tx.purge_task_events(now - KEPT, PURGE_BATCH).await?;
            tx.commit().await?;
            dropped += some;
            is_done = !is_full;
            if is_done {
                break;
            }
        }
        if dropped > 0 {
            metrics::counter!("neisse_task_events_dropped_total").increment(dropped);
            tracing::warn!("{dropped} events of tasks were given up: their subscribers have been away for too long");
        }
        Ok(is_done)
    }

    /// Writes notices for the next events. True: there may be more. Who is to be told is asked before the transaction, which
    /// is short so and takes no second connection.
    async fn note(&self) -> Result<bool, StoreError> {
        let events = self.tasks.store.task_events_to_note(BATCH).await?;
        if events.is_empty() {
            return Ok(false);
        }
        let (mut told, mut fitted) = (Vec::with_capacity(events.len()), Vec::new());
        for event in &events {
            let Told { to, fits } = match receivers(&self.tasks, event, &fitted).await {
                Ok(told) => told,
                Err(error) if error.is_about_one() => {
                    tracing::error!(task = %event.task, error = %chain(&error), "An event of a task cannot be told to anybody");
                    Told::default()
                }
                Err(error) => return Err(error),
            };
            fitted.extend(fits.into_iter().map(|(partner, ae)| (event.task.clone(), partner, ae)));
            told.push((event.id, to));
        }
        let ended = events.iter().filter(|event| event.state.is_final()).map(|event| event.task.as_str());
        let ended: Vec<&str> = ended.collect();
        let mut tx = self.tasks.store.begin(Durability::Process).await?;
        let noted = tx.note_task_events(&told).await?;
        tx.add_task_fits(&fitted).await?;
        tx.drop_fits_of_tasks(&ended).await?;
        tx.commit().await?;
        // None: another node is at them.
        Ok(noted > 0 && events.len() >= usize::try_from(BATCH).unwrap_or(usize::MAX))
    }
}

/// Who is told of an event; and for whom its task fits a filter from now on.
#[derive(Debug, Default)]
struct Told {
    to: Vec<(PartnerId, String)>,
    fits: Vec<(PartnerId, String)>,
}

/// Each receiver once. A filter makes tasks its own: one that has fitted is told of, whatever becomes of it (PS3.4 CC.2.3.3).
/// `fitted`: those that are not stored yet.
async fn receivers(tasks: &Tasks, event: &TaskNews, fitted: &[(Uid, PartnerId, String)]) -> Result<Told, StoreError> {
    if let Some(only) = &event.only {
        return Ok(Told { to: vec![only.clone()], fits: Vec::new() });
    }
    let all = tasks.store.task_subscriptions([event.task.as_str(), GLOBAL, FILTERED]).await?;
    let mut known = Vec::new();
    if all.iter().any(|subscription| subscription.scope == FILTERED) {
        known = tasks.store.task_fits(&event.task).await?;
        let here = fitted.iter().filter(|(task, ..)| *task == event.task);
        known.extend(here.map(|(_, partner, ae)| (partner.clone(), ae.clone())));
    }
    let mut told = Told::default();
    for subscription in &all {
        let whom = (subscription.partner.clone(), subscription.ae_title.clone());
        let is_excluded = |s: &TaskSubscription| s.excluded && (&s.partner, &s.ae_title) == (&whom.0, &whom.1);
        if all.iter().any(is_excluded) || !concerns(subscription, event) {
            continue;
        }
        if subscription.scope == FILTERED && !known.contains(&whom) {
            // Suspended: what fits only now is not its own any more.
            if subscription.until.is_some() || !fits(tasks, subscription, event).await? {
                continue;
            }
            told.fits.push(whom.clone());
        }
        if !told.to.contains(&whom) {
            told.to.push(whom);
        }
    }
    Ok(told)
}

/// As a C-FIND with the same keys would have had it when the event arose (PS3.4 CC.2.3.3.1).
async fn fits(tasks: &Tasks, subscription: &TaskSubscription, event: &TaskNews) -> Result<bool, StoreError> {
    let Some(filter) = Filter::of(tasks, subscription) else { return Ok(false) };
    let Some(task) = tasks.store.find_task(&event.task).await? else { return Ok(false) };
    let then = TaskRow { state: event.state, is_ready: event.is_ready, ..task };
    Ok(!filter.fitting(tasks, &[then]).await?.is_empty())
}

/// The keys of a filtered subscription.
pub(super) struct Filter {
    asker: Asker,
    keys: Prepared,
    input: Input,
}

impl Filter {
    /// `None`: its keys cannot be read.
    pub(super) fn of(tasks: &Tasks, subscription: &TaskSubscription) -> Option<Self> {
        let keys = ups::parse(&subscription.keys)?;
        let asker = Asker {
            partner: subscription.partner.clone(),
            ae_title: subscription.ae_title.clone(),
            letters: Outgoing::default(),
        };
        let options = MatchOptions {
            names: Names::Folded,
            combined_datetime: true,
            time_zone: tasks.config.now().partners.get(&asker.partner).map(|partner| partner.time_zone),
            ..MatchOptions::default()
        };
        Some(Self { asker, input: Input::wanted(&keys), keys: Prepared::new(&keys, options) })
    }

    /// Those that fit.
    pub(super) async fn fitting(&self, tasks: &Tasks, rows: &[TaskRow]) -> Result<Vec<TaskRow>, StoreError> {
        let sets = tasks.data_sets(&self.asker, rows, self.input).await?;
        Ok(sets.into_iter().filter(|(_, set)| self.keys.fits(set)).map(|(task, _)| task).collect())
    }
}

/// Whether the one who has claimed the task would be told that somebody asks to cancel it: by a subscription of its own that has this
/// event. Another workstation of its hospital does not perform it.
pub(super) async fn performer_hears(tasks: &Tasks, task: &TaskRow, now: Moment) -> Result<bool, StoreError> {
    let event = TaskNews {
        id: i64::MAX,
        task: task.uid.clone(),
        event: TaskEvent::CancelRequested,
        state: task.state,
        is_ready: task.is_ready,
        content: String::new(),
        at: now,
        only: None,
        reader: task.reader.clone(),
        origin: task.origin.clone(),
        created: task.scheduled,
    };
    let told = receivers(tasks, &event, &[]).await?;
    Ok(told.to.iter().any(|(partner, ae_title)| *partner == task.reader && *ae_title == task.claimed_by))
}

/// Whose business it is, and of a task made while the subscription held.
fn concerns(subscription: &TaskSubscription, event: &TaskNews) -> bool {
    let is_seen = subscription.partner == event.reader || subscription.partner == event.origin;
    is_seen
        && event.id > subscription.after
        && !subscription.excluded
        && subscription.until.is_none_or(|until| event.created <= until)
}

/// Where a subscriber of this AE title is told.
fn destination(config: &Config, partner: &PartnerId, ae_title: &str) -> Option<MoveDestination> {
    let found = config.partners.get(partner)?.dicom_destination(ae_title)?;
    Some(MoveDestination { ae_title: found.ae_title, host: found.host, port: found.port })
}

/// One subscriber, told what waits for it.
struct Telling {
    tasks: Tasks,
    wire: Arc<dyn TellsEvents>,
    partner: PartnerId,
    to: MoveDestination,
    attempts: i64,
}

impl Telling {
    async fn run(self) {
        if let Err(error) = self.tell().await {
            tracing::error!(site = %self.partner, error = %chain(&error), "Events of tasks cannot be told to {}", self.partner);
        }
    }

    async fn tell(&self) -> Result<(), StoreError> {
        let store = &self.tasks.store;
        let news = store.task_news(&self.partner, &self.to.ae_title, TOLD_AT_ONCE).await?;
        let config = self.tasks.config.now();
        let reports: Vec<EventReport> = news.iter().map(|news| report(&config, news)).collect();
        let until = Instant::now() + TELL_WITHIN;
        let taken = self.wire.tell(&self.partner, &self.to, &reports, until).await.min(news.len());
        let told: Vec<i64> = news.iter().take(taken).map(|news| news.id).collect();
        let failed = taken < news.len();
        let now = self.tasks.clock.now();
        let next = if failed && taken == 0 { now + pause(self.attempts) } else { now };
        let mut tx = store.begin(Durability::Process).await?;
        tx.task_receiver_told(&self.partner, &self.to.ae_title, &told, failed && taken == 0, next).await?;
        tx.commit().await?;
        metrics::counter!("neisse_task_events_told_total").increment(told.len().try_into().unwrap_or(0));
        if taken == 0 && failed && self.attempts == 0 {
            tracing::warn!(site = %self.partner, "Events of tasks do not reach {} ({}); they wait", self.to.ae_title, self.partner);
        }
        self.tasks.bell.ring();
        Ok(())
    }
}

/// Doubles from [`RETRY_MIN`] to [`RETRY_MAX`].
fn pause(attempts: i64) -> Duration {
    let doublings = u32::try_from(attempts.clamp(0, 10)).unwrap_or(10);
    RETRY_MIN.saturating_mul(1 << doublings).min(RETRY_MAX)
}

fn report(config: &Config, news: &TaskNews) -> EventReport {
    let name = config.partners.get(&news.reader).map_or("", |reader| reader.name.as_str());
    let facts = EventFacts {
        event: news.event,
        state: news.state,
        is_ready: news.is_ready,
        content: &news.content,
        reader: (news.reader.as_str(), name),
    };
    EventReport { id: news.id, task: news.task.clone(), event: news.event, information: ups::information(&facts) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TaskState;

    fn partner(name: &str) -> PartnerId {
        PartnerId::new(name).expect("a partner")
    }

    fn news() -> TaskNews {
        TaskNews {
            id: 1,
            task: Uid::new("2.25.1").expect("a UID"),
            event: TaskEvent::StateReport,
            state: TaskState::Scheduled,
            is_ready: false,
            content: "{}".into(),
            at: Moment(10),
            only: None,
            reader: partner("chemnitz"),
            origin: partner("rabenstein"),
            created: Moment(10),
        }
    }

    fn global(of: &str, until: Option<Moment>) -> TaskSubscription {
        TaskSubscription {
            partner: partner(of),
            ae_title: "WS1".into(),
            scope: GLOBAL.into(),
            keys: String::new(),
            deletion_lock: false,
            excluded: false,
            since: Moment(0),
            after: 0,
            until,
        }
    }

    #[test]
    fn an_event_concerns_who_reads_and_who_asked_and_nobody_else() {
        assert!(concerns(&global("chemnitz", None), &news()));
        assert!(concerns(&global("rabenstein", None), &news()));
        assert!(!concerns(&global("liberec", None), &news()));
        assert!(!concerns(&TaskSubscription { after: news().id, ..global("chemnitz", None) }, &news()), "told already");
        assert!(!concerns(&TaskSubscription { excluded: true, ..global("chemnitz", None) }, &news()));
    }

    #[test]
    fn a_suspended_subscription_goes_on_for_what_it_had() {
        assert!(concerns(&global("chemnitz", Some(Moment(10))), &news()));
        assert!(!concerns(&global("chemnitz", Some(Moment(9))), &news()));
    }

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!([0, 1, 2, 7, 90].map(|n| pause(n).as_secs()), [5, 10, 20, 600, 600]);
    }
}
