//! What `dicom::scp` sends in a retrieval: instances as they lie in the journals, under the name of this node; toward a
//! partner with `[identity]`, with its identifiers in their headers, as they are delivered to it.
//!
//! Stands here because none of these rooms may know the others.

use crate::{
    config::Live,
    delivery::identity::{Identities, Outgoing},
    dicom::{
        scp::{Held, HeldBytes, OpenInstance},
        scu::{DataSource, ScuSettings},
        service::{HeldInstance, Lies},
    },
    model::{CaseId, Clock, JournalPlace, PartnerId, chain},
    spool::{PlaceReader, Spool, SpoolError},
    store::{DeliverableInstance, Store},
};
use bytes::BytesMut;
use futures_util::future::BoxFuture;
use std::io;
use tokio::runtime::Handle;

pub struct JournalsHeld {
    pub spool: Spool,
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    /// Where the database is asked: an association has a runtime of its own.
    pub runtime: Handle,
}

impl Held for JournalsHeld {
    fn open<'a>(&'a self, instance: &'a HeldInstance) -> BoxFuture<'a, io::Result<OpenInstance>> {
        Box::pin(async move {
            match &instance.lies {
                Lies::AsReceived(place) => self.as_received(place),
                Lies::UnderOthers { place, case, toward } => self.under_others(instance, *place, *case, toward).await,
            }
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
    fn as_received(&self, place: &JournalPlace) -> io::Result<OpenInstance> {
        let opened = self.spool.reader(place).map_err(|error| match error {
            SpoolError::Missing(_) => io::ErrorKind::NotFound.into(),
            other => io::Error::other(other),
        });
        Ok(OpenInstance { length: place.length, bytes: Box::new(Bytes(opened?)) })
    }

    async fn under_others(
        &self,
        instance: &HeldInstance,
        place: JournalPlace,
        case: CaseId,
        toward: &PartnerId,
    ) -> io::Result<OpenInstance> {
        let deliverable = DeliverableInstance {
            seq: 0,
            sop_class: instance.sop_class.clone(),
            sop_instance: instance.sop_instance.clone(),
            transfer_syntax: instance.transfer_syntax.clone(),
            place,
            on_disk: true,
        };
        let (spool, store, config) = (self.spool.clone(), self.store.clone(), self.config.now());
        let (toward, now) = (toward.clone(), self.clock.now());
        let rewriting = self.runtime.spawn(async move {
            let case = store.case(case).await.map_err(io::Error::other)?;
            let identities = Identities::toward(&toward, &case, &config, &store, now);
            // It takes them as they are by now: the next retrieval has it so.
            let mut identities =
                identities.ok_or_else(|| io::Error::other("its identifiers are not replaced any more"))?;
            identities.rewritten(&spool, &deliverable).await.map_err(|error| io::Error::other(chain(&error)))
        });
        let outgoing = rewriting.await.map_err(io::Error::other)??;
        Ok(OpenInstance { length: outgoing.length, bytes: Box::new(Rewritten(outgoing)) })
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
