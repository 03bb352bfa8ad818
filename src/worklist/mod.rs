//! What readers and modalities pull: reading tasks.
//!
//! [`Desk`] is the one handler of `dicom::service`: it knows who asks and passes the question to the part that answers it;
//! what a partner may see is decided there.

pub mod tasks;

use crate::{
    dicom::{
        scp::{AssociationRequest, Rejection},
        service::{
            Answers, Asker, DataSet, Done, Find, FindModel, HeldInstance, MoveDestination, Refusal, Services, Target,
        },
        ups,
    },
    model::Uid,
};
use dicom_core::Tag;
use futures_util::future::{BoxFuture, FutureExt, ready};
use tasks::Tasks;

/// Answers for every association and every request of HTTP.
#[derive(Clone)]
pub struct Desk {
    pub tasks: Tasks,
}

const NO_SUCH_CLASS: Refusal = Refusal::new(0x0118, "No such SOP class");

/// Every UPS SOP class: a request names Push, or the one it was negotiated by (PS3.4 CC.3.1).
fn is_task(class: &Uid) -> bool {
    class.as_str().strip_prefix(ups::GLOBAL).is_some() || class.as_str().starts_with("1.2.840.10008.5.1.4.34.6.")
}

impl Services for Desk {
    /// Who calls is known by the listener; nobody is turned away for what it asks.
    fn asker(&self, _: &AssociationRequest) -> Result<Asker, Rejection> {
        Err(Rejection::CallingAeNotRecognized)
    }

    fn find<'a>(&'a self, asker: &'a Asker, find: Find) -> BoxFuture<'a, Result<Answers, Refusal>> {
        match find.model {
            FindModel::Workitems => self.tasks.find(asker, find).boxed(),
            _ => ready(Err(Refusal::new(0x0122, "SOP class not supported"))).boxed(),
        }
    }

    fn retrieve<'a>(&'a self, _: &'a Asker, _: DataSet) -> BoxFuture<'a, Result<Vec<HeldInstance>, Refusal>> {
        ready(Err(Refusal::new(0x0122, "SOP class not supported"))).boxed()
    }

    fn destination(&self, _: &Asker, _: &str) -> Result<MoveDestination, Refusal> {
        Err(Refusal::new(0xA801, "Move destination unknown"))
    }

    fn create<'a>(&'a self, _: &'a Asker, target: Target, _: DataSet) -> BoxFuture<'a, Result<Done, Refusal>> {
        let refused = if is_task(&target.class) { self.tasks.create() } else { Err(NO_SUCH_CLASS) };
        ready(refused).boxed()
    }

    fn set<'a>(
        &'a self,
        asker: &'a Asker,
        target: Target,
        modifications: DataSet,
    ) -> BoxFuture<'a, Result<Done, Refusal>> {
        async move {
            if !is_task(&target.class) {
                return Err(NO_SUCH_CLASS);
            }
            self.tasks.set(asker, &target, modifications).await
        }
        .boxed()
    }

    fn get<'a>(
        &'a self,
        asker: &'a Asker,
        target: Target,
        attributes: Vec<Tag>,
    ) -> BoxFuture<'a, Result<Done, Refusal>> {
        async move {
            if !is_task(&target.class) {
                return Err(NO_SUCH_CLASS);
            }
            self.tasks.get(asker, &target, &attributes).await
        }
        .boxed()
    }

    fn action<'a>(
        &'a self,
        asker: &'a Asker,
        target: Target,
        action_type: u16,
        information: DataSet,
    ) -> BoxFuture<'a, Result<Done, Refusal>> {
        async move {
            if !is_task(&target.class) {
                return Err(NO_SUCH_CLASS);
            }
            self.tasks.action(asker, &target, action_type, &information).await
        }
        .boxed()
    }
}
