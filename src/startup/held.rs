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
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};

pub struct JournalsHeld {
    pub spool: Spool,
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    /// Where the database is asked: an association has a runtime of its own.
    pub runtime: Handle,
    /// Of instances that were looked at a moment ago: a viewer comes for one frame after the other.
    pub looked: Mutex<VecDeque<Looked>>,
}

/// For how long it is believed that a partner's identifiers are still these.
const BELIEVED: Duration = Duration::from_secs(60);
const MOST_LOOKED: usize = 1_000;
/// Of what is to be changed in them, all together.
const MOST_LOOKED_BYTES: usize = 64 << 20;

pub struct Looked {
    place: JournalPlace,
    case: CaseId,
    toward: PartnerId,
    config: Arc<Config>,
    at: Instant,
    patches: Patches,
    weight: usize,
}

impl Looked {
    fn is_of(&self, renaming: &Renaming) -> bool {
        (self.place, self.case, &self.toward) == (renaming.instance.place, renaming.case, &renaming.toward)
            && Arc::ptr_eq(&self.config, &renaming.config)
    }
}

/// The oldest first, and they go first. Two may have looked into the same at once.
fn keep(looked: &mut VecDeque<Looked>, new: Looked) {
    looked.retain(|one| (one.place, one.case, &one.toward) != (new.place, new.case, &new.toward));
    looked.push_back(new);
    let mut bytes: usize = looked.iter().map(|one| one.weight).sum();
    while looked.len() > MOST_LOOKED || bytes > MOST_LOOKED_BYTES {
        let Some(gone) = looked.pop_front() else { return };
        bytes -= gone.weight;
    }
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

    fn looked(&self, instance: &HeldInstance) -> Option<Patches> {
        self.known(&self.renaming(instance)?)
    }

    fn renamed<'a>(
        &'a self,
        instance: &'a HeldInstance,
        turn: OwnedSemaphorePermit,
    ) -> BoxFuture<'a, io::Result<(Option<Renamed>, OwnedSemaphorePermit)>> {
        Box::pin(async move {
            let Some(renaming) = self.renaming(instance) else { return Ok((None, turn)) };
            // While a place was waited for, another may have looked.
            if let Some(patches) = self.known(&renaming) {
                return Ok((Some(Renamed::Patched(patches)), turn));
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
                renamed.map(|renamed| (renamed, turn)).map_err(|error| io::Error::other(chain(&error)))
            });
            let (renamed, turn) = renamed.await.map_err(io::Error::other)??;
            if let Renamed::Patched(patches) = &renamed {
                let (patches, weight) = (patches.clone(), size_of::<Looked>() + patches.weight());
                let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
                keep(&mut looked, Looked { place, case, toward, config, at: Instant::now(), patches, weight });
            }
            Ok((Some(renamed), turn))
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
    fn known(&self, renaming: &Renaming) -> Option<Patches> {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        looked.retain(|one| one.at.elapsed() < BELIEVED);
        looked.iter().find(|one| one.is_of(renaming)).map(|one| one.patches.clone())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        dicom::service::Room,
        model::{Digest, JournalId, Uid},
        spool::SpoolSettings,
    };
    use futures_util::FutureExt as _;
    use tokio::sync::Semaphore;

    fn place(record: u64) -> JournalPlace {
        JournalPlace { journal: JournalId::generate(), record, data: 64, length: 100, sha256: Digest([0; 32]) }
    }

    fn checked(folder: &std::path::Path) -> Config {
        let partner = "name = \"R\"\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\nissuer = \"RABENSTEIN\"\n";
        let route = "[[route]]\nname = \"All\"\nfrom = [\"rabenstein\"]\nto = [\"origin\"]\n";
        let files = [("neisse.toml", ""), ("routes.toml", route), ("partners/rabenstein.toml", partner)];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        config::load_from(folder, &files.into(), &|_| None).unwrap()
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_its_place_to_the_work_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let config = checked(folder.path());
        let store = Store::open(&config.database, folder.path()).await.unwrap();
        let spool = Spool::open(&folder.path().join("journals"), SpoolSettings { reserve_bytes: 0 }).unwrap();
        let (_replacer, config) = Live::new(config);
        let (runtime, looked) = (Handle::current(), Mutex::default());
        let held = JournalsHeld { spool, store, config, clock: Clock::system(), runtime, looked };
        let uid = || Uid::new("1.2.3").unwrap();
        let toward = PartnerId::new("rabenstein").unwrap();
        let instance = HeldInstance {
            study: uid(),
            series: uid(),
            sop_class: uid(),
            sop_instance: uid(),
            transfer_syntax: uid(),
            lies: Lies::UnderOthers { place: place(0), case: CaseId::generate(), toward },
            room: Room::default(),
        };
        assert!(held.looked(&instance).is_none());
        let places = Arc::new(Semaphore::new(1));
        let turn = Arc::clone(&places).try_acquire_owned().unwrap();
        // Asked once and given up: the work has begun and not run yet.
        assert!(held.renamed(&instance, turn).now_or_never().is_none());
        assert_eq!(places.available_permits(), 0);
        let free = tokio::time::timeout(Duration::from_secs(20), places.acquire()).await;
        assert!(free.unwrap().is_ok(), "given back at the end of the work");
    }

    #[tokio::test]
    async fn what_was_looked_at_is_kept_once_and_within_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let config = Arc::new(checked(folder.path()));
        let case = CaseId::generate();
        let one = |place: JournalPlace, weight| Looked {
            place,
            case,
            toward: PartnerId::new("rabenstein").unwrap(),
            config: Arc::clone(&config),
            at: Instant::now(),
            patches: Patches::default(),
            weight,
        };
        let (mut looked, same) = (VecDeque::new(), place(1));
        for _ in 0..2 {
            keep(&mut looked, one(same, 1));
        }
        assert_eq!(looked.len(), 1);
        for number in 0..100 {
            keep(&mut looked, one(place(number), 2 << 20));
        }
        assert_eq!(looked.len(), 32);
        for number in 0..2_000 {
            keep(&mut looked, one(place(number), 1));
        }
        assert_eq!(looked.len(), MOST_LOOKED);
    }
}
