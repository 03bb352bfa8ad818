//! Who is told what becomes of tasks (PS3.4 CC.2.3): of one, of all, of those that fit some keys.
//!
//! Receivers are AE titles that the asker's partner has in its configuration, or, over HTTP, the name of the token. A
//! deletion lock is granted always: no task is deleted here.

use super::{Tasks, action, done, events::Filter, failed, refused, text};
use crate::{
    config::{Config, Partner},
    dicom::{
        matching,
        service::{Asker, DataSet, Done, Refusal, Target},
        ups::{self, FILTERED, GLOBAL},
    },
    model::{CaseId, Moment, Priority, TaskRefusal, TaskState, Uid},
    store::{Durability, FirstOf, StoreError, TaskPage, TaskRow, TaskSubscription, Tx},
};
use dicom_dictionary_std::tags;

/// Subscriptions of one partner.
const MAX_SUBSCRIPTIONS: i64 = 10_000;
/// First events that a global subscription with a lock brings at once.
const MAX_FIRST: i64 = 10_000;
/// Open tasks that a new filter makes its own, and how many are looked at for it.
const MAX_FITTING: usize = 10_000;
const MAX_LOOKED_AT: usize = 50_000;
const PAGE: i64 = 500;
const OPEN: [TaskState; 2] = [TaskState::Scheduled, TaskState::InProgress];
/// Keys of a filtered subscription, as DICOM JSON.
const MAX_KEYS_BYTES: usize = 16 << 10;

/// What is subscribed to.
enum Scope {
    One(Uid, CaseId),
    All,
    Filtered,
}

pub(super) async fn subscribe(
    tasks: &Tasks,
    asker: &Asker,
    target: &Target,
    action_type: u16,
    information: &DataSet,
) -> Result<Done, Refusal> {
    let receiver = text(information, tags::RECEIVING_AE);
    if !is_known(&tasks.config.now(), asker, &receiver) {
        return Err(refused(TaskRefusal::UnknownReceiver));
    }
    let uid = target.instance.clone().ok_or(refused(TaskRefusal::Unknown))?;
    let scope = match uid.as_str() {
        GLOBAL => Scope::All,
        FILTERED => Scope::Filtered,
        _ => {
            let (task, _) = tasks.seen(asker, target).await?;
            Scope::One(uid.clone(), task.case)
        }
    };
    let change = match action_type {
        action::SUBSCRIBE => Change::Subscribe(wanted(tasks, asker, &scope, &receiver, information).await?),
        action::UNSUBSCRIBE => Change::Unsubscribe,
        // Only what is global can be suspended: C314.
        _ if matches!(scope, Scope::One(..)) => return Err(refused(TaskRefusal::ActionNotFitting)),
        _ => Change::Suspend,
    };
    write(tasks, asker, &receiver, &scope, change).await.map_err(|error| failed(&error))?;
    tasks.bell.ring();
    Ok(done(0x0000, uid))
}

enum Change {
    Subscribe(TaskSubscription),
    Unsubscribe,
    Suspend,
}

async fn wanted(
    tasks: &Tasks,
    asker: &Asker,
    scope: &Scope,
    receiver: &str,
    information: &DataSet,
) -> Result<TaskSubscription, Refusal> {
    let lock = match text(information, tags::DELETION_LOCK).to_ascii_uppercase().as_str() {
        "TRUE" => true,
        "FALSE" | "" => false,
        _ => {
            let element = Some(tags::DELETION_LOCK);
            return Err(Refusal { element, ..Refusal::new(0x0115, "Invalid argument value") });
        }
    };
    let count = tasks.store.count_task_subscriptions(&asker.partner).await.map_err(|error| failed(&error))?;
    if count >= MAX_SUBSCRIPTIONS {
        return Err(Refusal::new(0x0213, "Resource limitation: too many subscriptions"));
    }
    let keys = if matches!(scope, Scope::Filtered) { keys_of(information)? } else { String::new() };
    Ok(TaskSubscription {
        partner: asker.partner.clone(),
        ae_title: receiver.to_owned(),
        scope: match scope {
            Scope::One(uid, _) => uid.as_str().to_owned(),
            Scope::All => GLOBAL.to_owned(),
            Scope::Filtered => FILTERED.to_owned(),
        },
        keys,
        deletion_lock: lock,
        excluded: false,
        since: tasks.clock.now(),
        after: 0,
        until: None,
    })
}

/// What a filtered subscription matches by: all but what is about the subscription itself.
fn keys_of(information: &DataSet) -> Result<String, Refusal> {
    let mut keys = information.clone();
    for tag in [tags::RECEIVING_AE, tags::DELETION_LOCK] {
        keys.remove_element(tag);
    }
    matching::check(&keys)
        .map_err(|tag| Refusal { element: Some(tag), ..Refusal::new(0x0115, "A key cannot be matched on") })?;
    let json = ups::json(&keys);
    if json.len() > MAX_KEYS_BYTES {
        return Err(Refusal::new(0x0213, "Resource limitation: too long keys"));
    }
    Ok(json)
}

async fn write(tasks: &Tasks, asker: &Asker, receiver: &str, scope: &Scope, change: Change) -> Result<(), StoreError> {
    let now = tasks.clock.now();
    let mut tx = tasks.store.begin(Durability::Synced).await?;
    match change {
        Change::Subscribe(wanted) => {
            // Whoever changes the task holds its case: it has done so, or will find the subscription.
            if let Scope::One(uid, case) = scope {
                tx.case(*case).await?;
                tx.save_task_subscription(&wanted).await?;
                tx.add_first_task_event(uid, &wanted.partner, &wanted.ae_title, now).await?;
                return tx.commit().await;
            }
            tx.save_task_subscription(&wanted).await?;
            tx.commit().await?;
            if matches!(scope, Scope::Filtered) {
                fit_what_there_is(tasks, &wanted, now).await?;
            }
            if wanted.deletion_lock {
                let of = if matches!(scope, Scope::All) { FirstOf::All } else { FirstOf::Fitting };
                first_events(tasks, &wanted, of, now).await?;
            }
            return Ok(());
        }
        Change::Unsubscribe => unsubscribe(&mut tx, asker, receiver, scope, now).await?,
        Change::Suspend => {
            // Each by its own UID; one task alone was refused before.
            let scope = if matches!(scope, Scope::Filtered) { FILTERED } else { GLOBAL };
            tx.suspend_task_subscription(&asker.partner, receiver, scope, now).await?;
        }
    }
    tx.commit().await
}

/// Who subscribes to all with a lock is told at once how things are (PS3.4 Table CC.2.3-2), as who subscribes to one is. After the
/// subscription is committed: what has changed before is in what is read here, what changes later finds the subscription.
async fn first_events(tasks: &Tasks, wanted: &TaskSubscription, of: FirstOf, now: Moment) -> Result<(), StoreError> {
    let mut tx = tasks.store.begin(Durability::Synced).await?;
    let left = tx.add_first_task_events((&wanted.partner, &wanted.ae_title), of, MAX_FIRST, now).await?;
    tx.commit().await?;
    tell_first(tasks, wanted, left, now).await
}

async fn tell_first(
    tasks: &Tasks,
    wanted: &TaskSubscription,
    of: Vec<(CaseId, Uid)>,
    now: Moment,
) -> Result<(), StoreError> {
    for (case, task) in of {
        let mut tx = tasks.store.begin(Durability::Synced).await?;
        tx.case(case).await?;
        tx.add_first_task_event(&task, &wanted.partner, &wanted.ae_title, now).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Open tasks that fit the filter now are its own, whatever becomes of them (PS3.4 CC.2.3.3): the oldest of them, if there are more
/// than [`MAX_FIRST`]. What has changed between the look and the commit was told to nobody, and is told as it is then.
async fn fit_what_there_is(tasks: &Tasks, wanted: &TaskSubscription, now: Moment) -> Result<(), StoreError> {
    let Some(filter) = Filter::of(tasks, wanted) else { return Ok(()) };
    let mut found: Vec<TaskRow> = Vec::new();
    let mut looked_at = 0;
    for is_origin in [false, true] {
        for (state, priority) in OPEN.into_iter().flat_map(|state| Priority::ALL.map(|priority| (state, priority))) {
            let mut after = None;
            while looked_at < MAX_LOOKED_AT && found.len() < MAX_FITTING {
                let (partner, label) = (&wanted.partner, None);
                let page =
                    TaskPage { partner, is_origin, state, priority, label, from: None, to: None, after, limit: PAGE };
                let rows = tasks.store.task_page(&page).await?;
                found.extend(filter.fitting(tasks, &rows).await?);
                looked_at += rows.len();
                after = rows.last().map(|last| (last.scheduled, last.uid.clone()));
                if after.is_none() {
                    break;
                }
            }
        }
    }
    found.truncate(MAX_FITTING);
    let receiver = |task: &TaskRow| (task.uid.clone(), wanted.partner.clone(), wanted.ae_title.clone());
    let mut tx = tasks.store.begin(Durability::Synced).await?;
    tx.add_task_fits(&found.iter().map(receiver).collect::<Vec<_>>()).await?;
    tx.commit().await?;
    let mut changed = Vec::new();
    for task in found {
        let is = tasks.store.find_task(&task.uid).await?;
        if is.is_some_and(|is| (is.state, is.is_ready, is.updated) != (task.state, task.is_ready, task.updated)) {
            changed.push((task.case, task.uid));
        }
    }
    tell_first(tasks, wanted, changed, now).await
}

/// From all: from each one, too. From one: also where a global subscription would have it.
async fn unsubscribe(tx: &mut Tx, asker: &Asker, receiver: &str, scope: &Scope, now: Moment) -> Result<(), StoreError> {
    match scope {
        Scope::All | Scope::Filtered => {
            let only = matches!(scope, Scope::Filtered).then_some(FILTERED);
            tx.drop_task_fits(&asker.partner, receiver).await?;
            tx.drop_task_subscriptions(&asker.partner, receiver, only).await
        }
        Scope::One(uid, _) => {
            if !tx.is_task_subscriber(&asker.partner, receiver, [GLOBAL, FILTERED]).await? {
                return tx.drop_task_subscriptions(&asker.partner, receiver, Some(uid.as_str())).await;
            }
            let not_this = TaskSubscription {
                partner: asker.partner.clone(),
                ae_title: receiver.to_owned(),
                scope: uid.as_str().to_owned(),
                keys: String::new(),
                deletion_lock: false,
                excluded: true,
                since: now,
                after: 0,
                until: None,
            };
            tx.save_task_subscription(&not_this).await
        }
    }
}

/// C308 for a stranger: nobody is told of tasks but the partner whose business they are.
fn is_known(config: &Config, asker: &Asker, receiver: &str) -> bool {
    let fits = |text: &str| (1..=64).contains(&text.len()) && !text.chars().any(char::is_control);
    let Some(partner) = config.partners.get(&asker.partner) else { return false };
    fits(receiver) && (receiver == asker.ae_title || ae_titles(partner).any(|title| title == receiver))
}

fn ae_titles(partner: &Partner) -> impl Iterator<Item = &str> {
    let dicom = partner.dicom.as_ref();
    let senders = dicom.into_iter().flat_map(|dicom| dicom.senders.iter().map(|sender| sender.ae_title.as_str()));
    let listed = dicom.into_iter().flat_map(|dicom| dicom.destinations.iter().map(|to| to.ae_title.as_str()));
    let deliver = dicom.and_then(|dicom| dicom.deliver.as_ref()).map(|target| target.ae_title.as_str());
    senders.chain(listed).chain(deliver)
}
