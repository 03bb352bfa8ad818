//! Reading tasks, as Unified Procedure Steps (PS3.4 CC): what a reader pulls, claims and finishes.
//!
//! In: what `dicom::service` is asked about workitems, by whichever wire. Out: tasks as data sets, moves of tasks with the
//! standard's status, subscriptions; and events, told to who is subscribed ([`events`]). A task is made by `routing` with the
//! decision and follows its case; none is made by a peer (N-CREATE is refused with 0124).
//!
//! A partner sees tasks it is to read. Tasks of its own cases that others read it sees too, when it asks for one of them
//! (by UID, study, patient or accession number), and may ask that they be canceled; it cannot claim them.

mod act;
mod attributes;
pub mod events;
mod find;
mod gather;
mod subscribe;
pub mod wire;

use gather::Input;

use crate::{
    config::Live,
    dicom::{
        service::{Answers, Asker, DataSet, Done, Find, Refusal, Target},
        ups::put,
    },
    model::{Bell, Clock, Moment, TaskRefusal, Uid, chain},
    store::{Durability, Store, StoreError, TaskRow},
};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

/// Action Type ID, PS3.4 Tables CC.2.1-1, CC.2.2-1, CC.2.3-1.
mod action {
    pub const CHANGE_STATE: u16 = 1;
    pub const REQUEST_CANCEL: u16 = 2;
    pub const SUBSCRIBE: u16 = 3;
    pub const UNSUBSCRIBE: u16 = 4;
    pub const SUSPEND: u16 = 5;
}

/// The part of the desk that answers for tasks.
#[derive(Clone)]
pub struct Tasks {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    /// Rung when there are events to tell.
    pub bell: Bell,
}

/// What a partner is to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Reader,
    /// The case is its own, and somebody else reads it.
    Origin,
}

impl Tasks {
    /// # Errors
    /// The standard's refusal.
    pub async fn find(&self, asker: &Asker, find: Find) -> Result<Answers, Refusal> {
        find::find(self, asker, find).await
    }

    /// What is known of a task; the Transaction UID never is (PS3.4 CC.2.7.3).
    ///
    /// # Errors
    /// The standard's refusal.
    pub async fn get(&self, asker: &Asker, target: &Target, wanted: &[Tag]) -> Result<Done, Refusal> {
        let (task, _) = self.seen(asker, target).await?;
        self.sign_of_life(asker, &task).await.map_err(|error| failed(&error))?;
        let sets = self
            .data_sets(asker, std::slice::from_ref(&task), Input::Instances)
            .await
            .map_err(|error| failed(&error))?;
        let Some((_, set)) = sets.into_iter().next() else { return Err(refused(TaskRefusal::Unknown)) };
        let (reply, all_there) = chosen(set, wanted);
        let status = if all_there { 0x0000 } else { 0x0001 };
        Ok(Done { status, instance: task.uid, reply: Some(reply) })
    }

    /// # Errors
    /// Always: tasks come from orders and images, not from a peer.
    pub fn create(&self) -> Result<Done, Refusal> {
        Err(Refusal::new(0x0124, "Not authorized: tasks are made by this node"))
    }

    /// # Errors
    /// The standard's refusal.
    pub async fn set(&self, asker: &Asker, target: &Target, modifications: DataSet) -> Result<Done, Refusal> {
        act::set(self, asker, target, &modifications).await
    }

    /// # Errors
    /// The standard's refusal; 0123 for an action there is not.
    pub async fn action(
        &self,
        asker: &Asker,
        target: &Target,
        action_type: u16,
        information: &DataSet,
    ) -> Result<Done, Refusal> {
        match action_type {
            action::CHANGE_STATE => act::change_state(self, asker, target, information).await,
            action::REQUEST_CANCEL => act::request_cancel(self, asker, target, information).await,
            action::SUBSCRIBE | action::UNSUBSCRIBE | action::SUSPEND => {
                subscribe::subscribe(self, asker, target, action_type, information).await
            }
            _ => Err(Refusal::new(0x0123, "No such action")),
        }
    }

    /// How long a claim holds from now on without a sign of life.
    fn lease(&self, now: Moment) -> Moment {
        now + self.config.now().tasks.claim_lease
    }

    /// Whoever has claimed it and looks at it is at it.
    async fn sign_of_life(&self, asker: &Asker, task: &TaskRow) -> Result<(), StoreError> {
        let now = self.clock.now();
        // Not written with each look: there may be many.
        let is_fresh = task.lease.is_none_or(|lease| lease > now + self.config.now().tasks.claim_lease / 2);
        if is_fresh || task.claimed_by != asker.ae_title || task.reader != asker.partner {
            return Ok(());
        }
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.case(task.case).await?;
        if tx.task(&task.uid).await?.is_some_and(|is| is.lease.is_some() && is.transaction == task.transaction) {
            tx.keep_claim(&task.uid, Some(self.lease(now))).await?;
        }
        tx.commit().await
    }

    /// The task, if it is the asker's business.
    async fn seen(&self, asker: &Asker, target: &Target) -> Result<(TaskRow, Role), Refusal> {
        let uid = target.instance.as_ref().ok_or(refused(TaskRefusal::Unknown))?;
        let task = self.store.find_task(uid).await.map_err(|error| failed(&error))?;
        task.and_then(|task| role(asker, &task).map(|role| (task, role))).ok_or(refused(TaskRefusal::Unknown))
    }

    /// The task of a reader that would move it.
    async fn to_read(&self, asker: &Asker, target: &Target) -> Result<TaskRow, Refusal> {
        match self.seen(asker, target).await? {
            (task, Role::Reader) => Ok(task),
            (_, Role::Origin) => Err(Refusal::new(0x0124, "Not authorized: another partner reads it")),
        }
    }
}

fn role(asker: &Asker, task: &TaskRow) -> Option<Role> {
    if task.reader == asker.partner {
        Some(Role::Reader)
    } else if task.origin == asker.partner {
        Some(Role::Origin)
    } else {
        None
    }
}

/// The attributes that were asked for, and whether all of them are supported.
fn chosen(mut set: DataSet, wanted: &[Tag]) -> (DataSet, bool) {
    if wanted.is_empty() {
        return (set, true);
    }
    // The wire writes the one; the other is the lock.
    let not_looked_for = [tags::SPECIFIC_CHARACTER_SET, tags::TRANSACTION_UID];
    let mut reply = DataSet::new_empty();
    let mut all_there = true;
    for tag in wanted {
        match set.take(*tag) {
            Some(element) => drop(reply.put(element)),
            None => all_there &= not_looked_for.contains(tag) || reply.get(*tag).is_some(),
        }
    }
    (reply, all_there)
}

fn refused(why: TaskRefusal) -> Refusal {
    Refusal::new(why.status(), why.comment())
}

fn failed(error: &StoreError) -> Refusal {
    tracing::error!(error = %chain(error), "A question about tasks could not be answered");
    Refusal::new(0x0110, "Processing failure")
}

fn done(status: u16, instance: Uid) -> Done {
    Done { status, instance, reply: None }
}

/// The first value of an element as text, without padding; empty where there is none.
fn text(set: &DataSet, tag: Tag) -> String {
    crate::dicom::matching::value(set, tag)
}

/// Copies elements that are there.
fn copied(from: &DataSet, wanted: &[Tag]) -> DataSet {
    let mut to = DataSet::new_empty();
    for element in wanted.iter().filter_map(|tag| from.get(*tag)) {
        to.put(element.clone());
    }
    to
}

/// What a cancel request brings along (PS3.4 Table CC.2.2-1), with who asks.
fn request_said(information: &DataSet, ae_title: &str) -> DataSet {
    let wanted = [
        tags::REASON_FOR_CANCELLATION,
        tags::PROCEDURE_STEP_DISCONTINUATION_REASON_CODE_SEQUENCE,
        tags::CONTACT_URI,
        tags::CONTACT_DISPLAY_NAME,
    ];
    let mut said = copied(information, &wanted);
    put(&mut said, tags::REQUESTING_AE, VR::AE, ae_title);
    said
}
