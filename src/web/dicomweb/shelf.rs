//! Instances that are being looked into: their headers and where their frames lie, kept while a viewer scrolls.
//!
//! What is kept is bounded in bytes; how many are taken apart at once, too: a header may take 16 MiB.

use super::{
    super::{Problem, Site},
    unreadable,
};
use crate::{
    dicom::{
        instance::{FrameIndex, Head, InstanceError, ReadAt, inflated},
        rewrite::{Patches, Renamed, RewriteError, check_order},
        scan::is_deflated,
        scp::Held,
        service::{HeldInstance, Lies},
    },
    model::{JournalPlace, PartnerId, Uid},
    spool::{RangeReader, Spool, SpoolError},
};
use dicom_dictionary_std::uids;
use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Of headers and offsets that are kept.
const MAX_KEPT_BYTES: usize = 64 << 20;
const MAX_KEPT: usize = 256;
/// Of a deflated instance that is looked into; a longer one is only retrieved as a whole.
const MAX_INFLATED_BYTES: usize = 32 << 20;
/// Taken apart at once, all callers together.
const AT_ONCE: usize = 8;
/// Made into pictures at once: each takes a core and a frame's memory several times over.
const RENDERED_AT_ONCE: usize = 2;
/// Written as JSON at once: as a tree, a header takes many times its bytes.
const WRITTEN_AT_ONCE: usize = 2;
/// Requests that store metadata in JSON at once, of which one a partner, and how long the next one waits.
const STORED_AT_ONCE: usize = 4;
const STORED_WITHIN: Duration = Duration::from_secs(60);

/// An open instance.
pub struct Source {
    origin: PartnerId,
    bytes: Lying,
}

enum Lying {
    Journal(RangeReader),
    /// Toward a caller that has identifiers of its own.
    Patched(RangeReader, Patches),
    /// A deflated one, whose parts lie nowhere in the journal.
    Memory(Vec<u8>),
}

impl Source {
    /// Who sent it: how texts are read that name no character set.
    pub fn origin(&self) -> &PartnerId {
        &self.origin
    }

    fn patches(&self) -> Option<&Patches> {
        if let Lying::Patched(_, patches) = &self.bytes { Some(patches) } else { None }
    }
}

impl ReadAt for Source {
    fn read_exact_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let all = match &self.bytes {
            Lying::Journal(journal) => return journal.read_exact_at(into, offset),
            Lying::Patched(journal, patches) => {
                return patches.read_exact_at(into, offset, |into, at| journal.read_exact_at(into, at));
            }
            Lying::Memory(all) => all,
        };
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let found = from.checked_add(into.len()).and_then(|to| all.get(from..to));
        into.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn length(&self) -> u64 {
        match &self.bytes {
            Lying::Journal(journal) => journal.length(),
            Lying::Patched(journal, patches) => patches.length(journal.length()),
            Lying::Memory(all) => all.len() as u64,
        }
    }
}

/// What is known of one instance.
pub struct Opened {
    pub source: Arc<Source>,
    pub head: Head,
    /// `None`: it has no frames that can be told apart.
    pub frames: Option<FrameIndex>,
    place: JournalPlace,
    weight: usize,
}

pub struct Shelf {
    /// The least recently used first.
    kept: Mutex<VecDeque<Arc<Opened>>>,
    at_once: Arc<Semaphore>,
    rendering: Arc<Semaphore>,
    writing: Arc<Semaphore>,
    storing: Arc<Semaphore>,
    /// Of each partner that has done so: there are not many.
    storing_of: Mutex<HashMap<PartnerId, Arc<Semaphore>>>,
}

/// A place among those that work at once. It goes into the work itself, which does not end with the request that began it.
pub type Turn = OwnedSemaphorePermit;

impl Default for Shelf {
    fn default() -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self {
            kept: Mutex::default(),
            at_once: places(AT_ONCE),
            rendering: places(RENDERED_AT_ONCE),
            writing: places(WRITTEN_AT_ONCE),
            storing: places(STORED_AT_ONCE),
            storing_of: Mutex::default(),
        }
    }
}

impl Shelf {
    /// Its header, and its frames where it has some: under the caller's identifiers where it has its own.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn open(&self, site: &Site, held: &HeldInstance) -> Result<Arc<Opened>, Problem> {
        let (Lies::AsReceived(place) | Lies::UnderOthers { place, .. }) = held.lies;
        let (renamed, turn) = self.renamed(&*site.held, held).await?;
        // The caller's identifiers may be others than the last time; what was deflated has been inflated with them.
        let may_be_kept = !matches!(renamed, Some(Renamed::Whole(_)));
        let patches = if let Some(Renamed::Patched(patches)) = &renamed { Some(patches) } else { None };
        if let Some(opened) = self.kept(place, patches).filter(|_| may_be_kept) {
            return Ok(opened);
        }
        let turn = match turn {
            Some(turn) => turn,
            None => self.looking().await?,
        };
        let (spool, syntax) = (site.watched.spool.clone(), held.transfer_syntax.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            open(&spool, place, renamed, &syntax)
        })
        .await;
        let opened = opened.map_err(|error| unreadable("reading its header was given up", &error))?;
        let opened = Arc::new(opened.map_err(|error| unreadable("its header", &error))?);
        if may_be_kept {
            self.keep(opened.clone());
        }
        Ok(opened)
    }

    /// What is to be changed in it. Where that is not known its header is read, and what was deflated is in memory, as long as the
    /// place is held; a viewer that scrolls needs none.
    async fn renamed(&self, all: &dyn Held, held: &HeldInstance) -> Result<(Option<Renamed>, Option<Turn>), Problem> {
        if matches!(held.lies, Lies::AsReceived(_)) {
            return Ok((None, None));
        }
        if let Some(patches) = all.looked(held) {
            return Ok((Some(Renamed::Patched(patches)), None));
        }
        let renamed = all.renamed(held, self.looking().await?).await;
        let (renamed, turn) = renamed.map_err(|error| unreadable("its identifiers", &error))?;
        Ok((renamed, Some(turn)))
    }

    /// For looking into an instance.
    ///
    /// # Errors
    /// When the node stops.
    pub async fn looking(&self) -> Result<Turn, Problem> {
        turn(&self.at_once).await
    }

    /// # Errors
    /// When the node stops.
    pub async fn rendering(&self) -> Result<Turn, Problem> {
        turn(&self.rendering).await
    }

    /// For a header as JSON.
    ///
    /// # Errors
    /// When the node stops.
    pub async fn writing(&self) -> Result<Turn, Problem> {
        turn(&self.writing).await
    }

    /// For a request that stores metadata in JSON: one place of the partner's own, and one among all.
    ///
    /// # Errors
    /// 503 when its own or others take too long.
    pub async fn storing(&self, partner: &PartnerId) -> Result<[Turn; 2], Problem> {
        let own = {
            let mut all = self.storing_of.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(partner.clone()).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
        // Its own first: whoever waits for itself takes nothing from others.
        let waited = timeout(STORED_WITHIN, async { Ok([turn(&own).await?, turn(&self.storing).await?]) }).await;
        waited.unwrap_or(Err(Problem::unavailable("metadata in JSON are being stored: try again later")))
    }

    fn kept(&self, place: JournalPlace, patches: Option<&Patches>) -> Option<Arc<Opened>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|opened| opened.place == place && opened.source.patches() == patches)?;
        let opened = kept.remove(at)?;
        kept.push_back(opened.clone());
        Some(opened)
    }

    fn keep(&self, opened: Arc<Opened>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Two may have looked into it at once.
        kept.retain(|one| one.place != opened.place || one.source.patches() != opened.source.patches());
        kept.push_back(opened);
        let mut bytes: usize = kept.iter().map(|opened| opened.weight).sum();
        while bytes > MAX_KEPT_BYTES || kept.len() > MAX_KEPT {
            let Some(gone) = kept.pop_front() else { return };
            bytes -= gone.weight;
        }
    }
}

async fn turn(semaphore: &Arc<Semaphore>) -> Result<Turn, Problem> {
    semaphore.clone().acquire_owned().await.map_err(|_| Problem::unavailable("the node stops"))
}

#[derive(Debug, thiserror::Error)]
enum NotOpened {
    #[error("journal not readable")]
    Journal(#[from] SpoolError),
    #[error("header not readable")]
    Header(#[from] InstanceError),
    #[error("its identifiers cannot be replaced")]
    Identifiers(#[from] RewriteError),
}

fn open(spool: &Spool, place: JournalPlace, renamed: Option<Renamed>, stored: &Uid) -> Result<Opened, NotOpened> {
    let journal = spool.ranges(&place)?;
    let origin = journal.origin().clone();
    let bytes = match renamed {
        None => Lying::Journal(journal),
        Some(Renamed::Patched(patches)) => Lying::Patched(journal, patches),
        Some(Renamed::Whole(all)) => Lying::Memory(all),
    };
    let mut source = Source { origin, bytes };
    let mut syntax = stored.clone();
    if is_deflated(&syntax)
        && let Some(bytes) = inflated(&source, MAX_INFLATED_BYTES)?
        && let Ok(explicit) = Uid::new(uids::EXPLICIT_VR_LITTLE_ENDIAN)
    {
        (source.bytes, syntax) = (Lying::Memory(bytes), explicit);
    }
    let mut head = Head::read(&source, &syntax)?;
    if matches!(source.bytes, Lying::Patched(..)) {
        // What stands out of order the patches have passed by.
        check_order(&syntax, head.bytes())?;
    }
    head.transfer_syntax = stored.clone();
    // Frames of what is too long to be inflated as a whole lie nowhere.
    let frames = if head.is_deflated { None } else { FrameIndex::read(&source, &head).ok() };
    let beside = match &source.bytes {
        Lying::Journal(_) => 0,
        Lying::Patched(_, patches) => patches.weight(),
        Lying::Memory(all) => all.len(),
    };
    let kept = head.bytes().len() + beside;
    let weight = 1024 + kept + frames.as_ref().map_or(0, FrameIndex::weight);
    Ok(Opened { source: Arc::new(source), head, frames, place, weight })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dicom::{scp::OpenInstance, scu::ScuSettings, service::Room},
        model::{CaseId, Digest, JournalId},
    };
    use futures_util::{FutureExt as _, future::BoxFuture};

    /// What has been looked into is known; of anything else the header is still being read.
    struct Reading {
        is_known: bool,
    }

    impl Held for Reading {
        fn open<'a>(&'a self, _: &'a HeldInstance) -> BoxFuture<'a, io::Result<OpenInstance>> {
            Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
        }

        fn looked(&self, _: &HeldInstance) -> Option<Patches> {
            self.is_known.then(Patches::default)
        }

        fn renamed<'a>(
            &'a self,
            _: &'a HeldInstance,
            place: Turn,
        ) -> BoxFuture<'a, io::Result<(Option<Renamed>, Turn)>> {
            Box::pin(async {
                std::future::pending::<()>().await;
                Ok((None, place))
            })
        }

        fn outgoing(&self) -> ScuSettings {
            ScuSettings { calling_ae: "NEISSE".into(), connect: STORED_WITHIN, response: STORED_WITHIN }
        }
    }

    #[tokio::test]
    async fn who_scrolls_waits_for_no_other_s_header() {
        let shelf = Shelf::default();
        let uid = || Uid::new("1.2.3").unwrap();
        let journal = JournalId::generate();
        let place = JournalPlace { journal, record: 0, data: 64, length: 100, sha256: Digest([0; 32]) };
        let toward = PartnerId::new("chemnitz").unwrap();
        let instance = HeldInstance {
            study: uid(),
            series: uid(),
            sop_class: uid(),
            sop_instance: uid(),
            transfer_syntax: uid(),
            lies: Lies::UnderOthers { place, case: CaseId::generate(), toward },
            room: Room::default(),
        };
        let (reading, known) = (Reading { is_known: false }, Reading { is_known: true });
        let mut others: Vec<_> = (0..=AT_ONCE).map(|_| Box::pin(shelf.renamed(&reading, &instance))).collect();
        for other in &mut others {
            assert!(other.now_or_never().is_none());
        }
        assert_eq!(shelf.at_once.available_permits(), 0);
        let found = shelf.renamed(&known, &instance).now_or_never();
        assert!(matches!(found, Some(Ok((Some(Renamed::Patched(_)), None)))));
    }
}
