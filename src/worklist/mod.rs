//! Beside the stages: what partners ask besides storing: worklists, performed steps, reading tasks, what is held here.
//!
//! [`Desk`] is the one handler of [`Services`]: it says who asks, and hands each question to the file of its SOP class. In:
//! questions of `dicom::scp` and `web`. Out: answers from the store, each durable before it is given. A partner sees what
//! it sent or is to read; everything else is for it as if it were not there. `modality`: what a scanner is to do; `performed`:
//! what it says it did, `performed_sending`: and who else is told that; `availability`: what is whole and delivered. `held::commitment`: what we promise to keep;
//! `commitments`: what we have promised to us.

pub mod availability;
pub mod commitments;
mod modality;
mod performed;
mod performed_rules;
pub mod performed_sending;
mod step_item;
#[cfg(test)]
mod tests;

pub mod tasks;

pub mod held;

use crate::{
    config::{Config, Live, Partner},
    dicom::{
        charset::SenderCharset,
        scp::{AssociationRequest, Rejection},
        service::{
            Answers, Asker, DataSet, Done, Fetch, Find, FindModel, HeldInstance, MoveDestination, Refusal, Services,
            Target,
        },
    },
    model::{Bell, Clock},
    store::Store,
};
use dicom_core::Tag;
use futures_util::future::BoxFuture;
use tasks::Tasks;

/// PS3.4 CC.2: every workitem is of the Push class.
const UPS_ROOT: &str = "1.2.840.10008.5.1.4.34.6.";
const PERFORMED_STEP: &str = "1.2.840.10008.3.1.2.3.3";
const PERFORMED_STEP_RETRIEVE: &str = "1.2.840.10008.3.1.2.3.4";
const STORAGE_COMMITMENT: &str = "1.2.840.10008.1.20.1";

/// Answers everything; clones share all.
#[derive(Clone)]
pub struct Desk {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    pub tasks: Tasks,
    /// Rung when a scanner says that it is done: its study may be whole.
    pub completeness: Bell,
    /// What retrievals may have in hand.
    pub rooms: held::Rooms,
    /// Who looks at which case just now.
    pub looks: held::Looks,
}

/// Whose file a question of an N-service is for.
enum Room {
    Tasks,
    Performed,
    Commitment,
}

impl Room {
    fn of(target: &Target) -> Option<Self> {
        match target.class.as_str() {
            PERFORMED_STEP | PERFORMED_STEP_RETRIEVE => Some(Room::Performed),
            STORAGE_COMMITMENT => Some(Room::Commitment),
            class if class.starts_with(UPS_ROOT) => Some(Room::Tasks),
            _ => None,
        }
    }
}

impl Desk {
    /// The partner as it is configured now: the asker's own copy may be older.
    fn partner<'a>(&self, config: &'a Config, asker: &Asker) -> Option<&'a Partner> {
        config.partners.get(&asker.partner)
    }

    /// The same, to keep. One that is no partner any more sees nothing.
    fn asking(&self, asker: &Asker) -> Result<Partner, Refusal> {
        self.partner(&self.config.now(), asker).cloned().ok_or(NO_PARTNER)
    }

    async fn worklist(&self, asker: &Asker, find: Find) -> Result<Answers, Refusal> {
        modality::find(&self.store, &self.asking(asker)?, asker, find)
    }

    async fn performed_changed(&self, asker: &Asker, target: Target, said: DataSet) -> Result<Done, Refusal> {
        let done = performed::set(&self.store, &self.asking(asker)?, target, said, self.clock.now()).await?;
        self.completeness.ring();
        Ok(done)
    }

    async fn performed_begun(&self, asker: &Asker, target: Target, said: DataSet) -> Result<Done, Refusal> {
        performed::create(&self.store, &self.asking(asker)?, target, said, self.clock.now()).await
    }

    async fn performed_known(&self, asker: &Asker, target: Target, wanted: Vec<Tag>) -> Result<Done, Refusal> {
        performed::get(&self.store, &self.asking(asker)?, target, wanted).await
    }

    /// What is held, as everybody asks it.
    pub fn held(&self) -> held::Shelves {
        let (store, config, clock) = (self.store.clone(), self.config.clone(), self.clock.clone());
        held::Shelves { store, config, clock, rooms: self.rooms.clone(), looks: self.looks.clone() }
    }

    fn commitments(&self) -> commitments::CommitmentAsker {
        let (store, config, clock) = (self.store.clone(), self.config.clone(), self.clock.clone());
        commitments::CommitmentAsker { store, config, clock }
    }
}

impl Services for Desk {
    fn asker(&self, request: &AssociationRequest) -> Result<Asker, Rejection> {
        let config = self.config.now();
        let partner = config.dicom_caller(request.peer.ip(), &request.calling_ae, &request.called_ae)?;
        let (ae_title, letters) = (request.calling_ae.clone(), partner.dicom_answers());
        Ok(Asker { partner: partner.id.clone(), ae_title, letters })
    }

    fn charset(&self, asker: &Asker) -> SenderCharset {
        SenderCharset::of(self.partner(&self.config.now(), asker))
    }

    fn find<'a>(&'a self, asker: &'a Asker, find: Find) -> BoxFuture<'a, Result<Answers, Refusal>> {
        match find.model {
            FindModel::Workitems => Box::pin(self.tasks.find(asker, find)),
            FindModel::ModalityWorklist => Box::pin(self.worklist(asker, find)),
            FindModel::StudyRoot | FindModel::PatientRoot => Box::pin(async move {
                self.asking(asker)?;
                self.held().find(asker, find).await
            }),
        }
    }

    fn retrieve<'a>(
        &'a self,
        asker: &'a Asker,
        by: Fetch,
        identifier: DataSet,
    ) -> BoxFuture<'a, Result<Vec<HeldInstance>, Refusal>> {
        Box::pin(async move {
            self.asking(asker)?;
            self.held().retrieve(asker, by, identifier).await
        })
    }

    fn destination(&self, asker: &Asker, ae_title: &str) -> Result<MoveDestination, Refusal> {
        let config = self.config.now();
        let found = self.partner(&config, asker).and_then(|partner| partner.dicom_destination(ae_title));
        let found = found.ok_or(Refusal::new(0xA801, "move destination unknown"))?;
        Ok(MoveDestination { ae_title: found.ae_title, host: found.host, port: found.port })
    }

    fn create<'a>(
        &'a self,
        asker: &'a Asker,
        target: Target,
        attributes: DataSet,
    ) -> BoxFuture<'a, Result<Done, Refusal>> {
        match Room::of(&target) {
            Some(Room::Tasks) => Box::pin(async move { self.tasks.create() }),
            Some(Room::Performed) => Box::pin(self.performed_begun(asker, target, attributes)),
            Some(Room::Commitment) | None => refused(NO_SUCH_CLASS),
        }
    }

    fn set<'a>(
        &'a self,
        asker: &'a Asker,
        target: Target,
        modifications: DataSet,
    ) -> BoxFuture<'a, Result<Done, Refusal>> {
        match Room::of(&target) {
            Some(Room::Tasks) => Box::pin(async move { self.tasks.set(asker, &target, modifications).await }),
            Some(Room::Performed) => Box::pin(self.performed_changed(asker, target, modifications)),
            Some(Room::Commitment) | None => refused(NO_SUCH_CLASS),
        }
    }

    fn get<'a>(
        &'a self,
        asker: &'a Asker,
        target: Target,
        attributes: Vec<Tag>,
    ) -> BoxFuture<'a, Result<Done, Refusal>> {
        match Room::of(&target) {
            Some(Room::Tasks) => Box::pin(async move { self.tasks.get(asker, &target, &attributes).await }),
            Some(Room::Performed) => Box::pin(self.performed_known(asker, target, attributes)),
            Some(Room::Commitment) | None => refused(NO_SUCH_CLASS),
        }
    }

    fn action<'a>(
        &'a self,
        asker: &'a Asker,
        target: Target,
        action_type: u16,
        information: DataSet,
    ) -> BoxFuture<'a, Result<Done, Refusal>> {
        match Room::of(&target) {
            Some(Room::Tasks) => {
                Box::pin(async move { self.tasks.action(asker, &target, action_type, &information).await })
            }
            Some(Room::Commitment) => Box::pin(self.held().commit(asker, target, action_type, information)),
            Some(Room::Performed) | None => refused(NO_SUCH_CLASS),
        }
    }

    fn event<'a>(
        &'a self,
        asker: &'a Asker,
        target: Target,
        event_type: u16,
        information: DataSet,
    ) -> BoxFuture<'a, Result<Done, Refusal>> {
        match Room::of(&target) {
            Some(Room::Commitment) => Box::pin(self.commitments().told(asker, target, event_type, information)),
            Some(Room::Tasks | Room::Performed) | None => refused(NO_SUCH_CLASS),
        }
    }
}

/// PS3.7 Annex C.
const NO_PARTNER: Refusal = Refusal::new(0x0124, "not a partner any more");
const NO_SUCH_CLASS: Refusal = Refusal::new(0x0118, "not provided here");

fn refused<'a, T: Send + 'a>(why: Refusal) -> BoxFuture<'a, Result<T, Refusal>> {
    Box::pin(async move { Err(why) })
}
