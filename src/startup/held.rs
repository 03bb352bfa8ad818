//! What `dicom::scp` and `web` send in a retrieval: instances as they lie in the journals, under the name of this node; toward a
//! partner with `[identity]`, with its identifiers in their headers, as they are delivered to it.
//!
//! Stands here because none of these rooms may know the others.

use crate::{
    config::{Config, Live},
    delivery::identity::{Identities, Outgoing},
    dicom::{
        rewrite::{Patches, Renamed},
        scp::{Held, HeldBytes, OpenInstance},
        scu::{DataSource, ScuSettings},
        service::{HeldInstance, Lies},
    },
    model::{CaseId, Clock, JournalPlace, Moment, PartnerId, chain},
    spool::{PlaceReader, Spool, SpoolError},
    store::{DeliverableInstance, Store},
};
use bytes::BytesMut;
use futures_util::future::BoxFuture;
use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

pub struct JournalsHeld {
    pub spool: Spool,
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    /// Where the database is asked: an association has a runtime of its own.
    pub runtime: Handle,
    /// Of instances that were looked at a moment ago: a viewer comes for one frame after the other.
    pub renamed: Mutex<VecDeque<Looked>>,
}

/// For how long it is believed that a partner's identifiers are still these.
const BELIEVED: Duration = Duration::from_secs(60);
const MOST_LOOKED: usize = 1_000;

pub struct Looked {
    place: JournalPlace,
    case: CaseId,
    toward: PartnerId,
    config: Arc<Config>,
    at: Instant,
    patches: Patches,
}

impl Held for JournalsHeld {
    fn open<'a>(&'a self, instance: &'a HeldInstance) -> BoxFuture<'a, io::Result<OpenInstance>> {
        Box::pin(async move {
            match self.renaming(instance) {
                Some(renaming) => self.under_others(renaming).await,
                None => self.as_received(instance.as_received().map_err(|refusal| io::Error::other(refusal.comment))?),
            }
        })
    }

    fn renamed<'a>(&'a self, instance: &'a HeldInstance) -> BoxFuture<'a, io::Result<Option<Renamed>>> {
        Box::pin(async move {
            let Some(renaming) = self.renaming(instance) else { return Ok(None) };
            if let Some(patches) = self.looked(&renaming) {
                return Ok(Some(Renamed::Patched(patches)));
            }
            let (place, case, toward) = (renaming.instance.place, renaming.case, renaming.toward.clone());
            let config = Arc::clone(&renaming.config);
            let renamed = self.runtime.spawn(async move {
                // First: what has left the disk has no header any more.
                let (spool, place) = (renaming.spool.clone(), renaming.instance.place);
                let there = tokio::task::spawn_blocking(move || spool.ranges(&place).map(drop));
                there.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
                let mut identities = renaming.identities().await?;
                let renamed = identities.renamed(&renaming.spool, &renaming.instance).await;
                renamed.map_err(|error| io::Error::other(chain(&error)))
            });
            let renamed = renamed.await.map_err(io::Error::other)??;
            if let Renamed::Patched(patches) = &renamed {
                self.keep(Looked { place, case, toward, config, at: Instant::now(), patches: patches.clone() });
            }
            Ok(Some(renamed))
        })
    }

    fn outgoing(&self) -> ScuSettings {
        let config = self.config.now();
        ScuSettings {
            calling_ae: config.dicom.ae_title.clone(),
            connect: config.delivery.connect,
            response: config.delivery.response,
        }
    }
}

impl JournalsHeld {
    fn looked(&self, renaming: &Renaming) -> Option<Patches> {
        let mut looked = self.renamed.lock().unwrap_or_else(PoisonError::into_inner);
        looked.retain(|one| one.at.elapsed() < BELIEVED);
        let same = |one: &&Looked| {
            (one.place, one.case, &one.toward) == (renaming.instance.place, renaming.case, &renaming.toward)
                && Arc::ptr_eq(&one.config, &renaming.config)
        };
        looked.iter().find(same).map(|one| one.patches.clone())
    }

    fn keep(&self, one: Looked) {
        let mut looked = self.renamed.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.len() >= MOST_LOOKED {
            looked.pop_front();
        }
        looked.push_back(one);
    }

    fn as_received(&self, place: &JournalPlace) -> io::Result<OpenInstance> {
        let opened = self.spool.reader(place).map_err(|error| match error {
            SpoolError::Missing(_) => io::ErrorKind::NotFound.into(),
            other => io::Error::other(other),
        });
        Ok(OpenInstance { length: place.length, bytes: Box::new(Bytes(opened?)) })
    }

    async fn under_others(&self, renaming: Renaming) -> io::Result<OpenInstance> {
        let outgoing = self.runtime.spawn(async move {
            let mut identities = renaming.identities().await?;
            let rewritten = identities.rewritten(&renaming.spool, &renaming.instance).await;
            rewritten.map_err(|error| io::Error::other(chain(&error)))
        });
        let outgoing = outgoing.await.map_err(io::Error::other)??;
        Ok(OpenInstance { length: outgoing.length, bytes: Box::new(Rewritten(outgoing)) })
    }

    /// `None`: it is sent as it was received.
    fn renaming(&self, instance: &HeldInstance) -> Option<Renaming> {
        let Lies::UnderOthers { place, case, toward } = &instance.lies else { return None };
        let deliverable = DeliverableInstance {
            seq: 0,
            sop_class: instance.sop_class.clone(),
            sop_instance: instance.sop_instance.clone(),
            transfer_syntax: instance.transfer_syntax.clone(),
            place: *place,
            on_disk: true,
        };
        Some(Renaming {
            spool: self.spool.clone(),
            store: self.store.clone(),
            config: self.config.now(),
            case: *case,
            toward: toward.clone(),
            instance: deliverable,
            now: self.clock.now(),
        })
    }
}

/// An instance that is to leave under the identifiers of a partner.
struct Renaming {
    spool: Spool,
    store: Store,
    config: Arc<Config>,
    case: CaseId,
    toward: PartnerId,
    instance: DeliverableInstance,
    now: Moment,
}

impl Renaming {
    async fn identities(&self) -> io::Result<Identities> {
        let case = self.store.case(self.case).await.map_err(io::Error::other)?;
        // Where it takes them as they are by now, the next retrieval has it so.
        Identities::toward(&self.toward, &case, &self.config, &self.store, self.now)
            .ok_or_else(|| io::Error::other("its identifiers are not replaced any more"))
    }
}

struct Bytes(PlaceReader);

impl HeldBytes for Bytes {
    fn read<'a>(&'a mut self, into: &'a mut BytesMut, at_most: usize) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(self.0.read(into, at_most))
    }
}

struct Rewritten(Outgoing);

impl HeldBytes for Rewritten {
    fn read<'a>(&'a mut self, into: &'a mut BytesMut, at_most: usize) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(self.0.read(into, at_most))
    }
}
