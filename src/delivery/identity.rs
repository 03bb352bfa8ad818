//! Images toward a reader that wants identifiers of its own domain.
//!
//! In: an instance in the journal, and how its origin's identifiers are called toward the reader. Out: a source of the
//! same bytes with the identifiers in its header replaced while they stream, and the digest of what left. Every
//! identifier is in the database before the first byte leaves, so that it is the same each time and finds back. Memory
//! is the header's; a deflated data set is rewritten whole, up to a bound. What cannot be rewritten is not sent as it is:
//! a number of another domain would stand in the reader's. One that is found only behind Pixel Data breaks off the transfer
//! before it has left.

use crate::dicom::charset::SenderCharset;
use crate::{
    config::Config,
    dicom::{
        rewrite::{
            HeaderReader, MAX_INFLATED_BYTES, Modification, Patcher, Patches, Renamed, Rest, RewriteError, Said,
            identifiers_of, rewrite_whole,
        },
        scan::is_deflated,
        scu::DataSource,
    },
    model::{Digest, IdentifierKind, IssuedId, Mapped, Mapping, Moment, PartnerId},
    spool::{PlaceReader, Spool, SpoolError},
    store::{CaseRow, DeliverableInstance, Durability, SentInstance, Store, StoreError},
};
use bytes::BytesMut;
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, io, mem, sync::Arc};
use tokio::sync::Semaphore;

/// Deflated data sets that are rewritten at once: each takes its inflated size several times.
static IN_MEMORY: Semaphore = Semaphore::const_new(2);
/// Bytes read at once.
const PIECE_BYTES: usize = 256 << 10;
/// Of a header that is longer than this the beginning is read twice rather than kept.
const MAX_HEAD_BYTES: usize = 1 << 20;

/// Why an instance is not sent.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    #[error("its header cannot be given the reader's identifiers")]
    Header(#[from] RewriteError),
    #[error("journal not readable")]
    Journal(#[from] SpoolError),
    #[error("journal not readable")]
    Read(#[from] io::Error),
    #[error("its identifiers cannot be looked up")]
    Store(#[from] StoreError),
}

/// The identifiers of one case toward one reader, as they are needed.
pub struct Identities {
    store: Store,
    mapping: Mapping,
    /// What the case knows; it may know an issuer that a data set does not name.
    known: Vec<(IdentifierKind, IssuedId)>,
    /// Of data sets that name no Specific Character Set.
    charset: SenderCharset,
    /// Modifying System (0400,0563).
    node: String,
    now: Moment,
    given: HashMap<Said, Mapped>,
}

impl Identities {
    /// `None`: the reader takes identifiers as they are.
    pub fn toward(reader: &PartnerId, case: &CaseRow, config: &Config, store: &Store, now: Moment) -> Option<Self> {
        let mapping = config.mapping(reader, &case.origin)?;
        Some(Self {
            store: store.clone(),
            mapping,
            known: case.facts.identifiers(),
            charset: SenderCharset::of(config.partners.get(&case.origin)),
            node: config.node.name.clone(),
            now,
            given: HashMap::new(),
        })
    }

    /// The instance as it is to leave.
    ///
    /// # Errors
    /// [`NotSent`].
    pub async fn rewritten(&mut self, spool: &Spool, instance: &DeliverableInstance) -> Result<Outgoing, NotSent> {
        let rewritten = self.try_rewritten(spool, instance).await;
        if let Err(NotSent::Header(_)) = &rewritten {
            // A header that our own disk has spoilt is not its sender's fault.
            verify(spool, instance).await?;
        }
        rewritten
    }

    async fn try_rewritten(&mut self, spool: &Spool, instance: &DeliverableInstance) -> Result<Outgoing, NotSent> {
        if is_deflated(&instance.transfer_syntax) {
            let (bytes, identifiers) = self.rewritten_in_memory(spool, instance).await?;
            return Ok(Outgoing::whole(instance, bytes, identifiers));
        }
        let Begun { patches, mut reader, head, rest } = self.patches(spool, instance).await?;
        let head = match head {
            Some(head) => head,
            None => {
                reader = spool.reader(&instance.place)?;
                BytesMut::new()
            }
        };
        Ok(Outgoing::streamed(instance, reader, head, patches, rest))
    }

    /// What is to be changed where parts of an instance are read. What stands behind its Pixel Data is not looked at.
    ///
    /// # Errors
    /// [`NotSent`].
    pub async fn renamed(&mut self, spool: &Spool, instance: &DeliverableInstance) -> Result<Renamed, NotSent> {
        if is_deflated(&instance.transfer_syntax) {
            return Ok(Renamed::Whole(self.rewritten_in_memory(spool, instance).await?.0));
        }
        Ok(Renamed::Patched(self.patches(spool, instance).await?.patches))
    }

    async fn patches(&mut self, spool: &Spool, instance: &DeliverableInstance) -> Result<Begun, NotSent> {
        let (mut reader, mut head) = (spool.reader(&instance.place)?, Some(BytesMut::new()));
        let mut header = HeaderReader::new(&instance.transfer_syntax);
        let mut piece = BytesMut::new();
        while reader.read(&mut piece, PIECE_BYTES).await? > 0 {
            let more = header.push(&piece)?;
            head = head.filter(|head| head.len() + piece.len() <= MAX_HEAD_BYTES);
            if let Some(head) = &mut head {
                head.extend_from_slice(&piece);
            }
            piece.clear();
            if !more {
                break;
            }
        }
        let header = header.finish()?;
        let said = header.identifiers(&self.charset)?;
        self.give(&said).await?;
        let noted = Some(self.noted(&said));
        let patches = header.patches(&self.charset, &|said| self.becomes(said), noted)?;
        Ok(Begun { patches, reader, head, rest: header.rest() })
    }

    async fn rewritten_in_memory(
        &mut self,
        spool: &Spool,
        instance: &DeliverableInstance,
    ) -> Result<(Vec<u8>, u32), NotSent> {
        let _place = IN_MEMORY.acquire().await.map_err(io::Error::other)?;
        let data: Arc<[u8]> = read_whole(spool, instance).await?.into();
        let said = {
            let (data, syntax, charset) = (Arc::clone(&data), instance.transfer_syntax.clone(), self.charset.clone());
            apart(move || identifiers_of(&syntax, &data, &charset)).await?
        };
        self.give(&said).await?;
        let at = self.noted(&said).at;
        let own: HashMap<Said, Option<IssuedId>> =
            said.into_iter().map(|said| (said.clone(), self.becomes(&said))).collect();
        let (syntax, charset) = (instance.transfer_syntax.clone(), self.charset.clone());
        let (node, origin) = (self.node.clone(), self.mapping.origin.clone());
        apart(move || {
            let noted = Some(Modification { at, system: &node, source: origin.as_str() });
            rewrite_whole(&syntax, &data, &charset, &|said| own.get(said).cloned().flatten(), noted)
        })
        .await
    }

    /// Finds out, or gives, what each identifier is called toward the reader.
    async fn give(&mut self, said: &[Said]) -> Result<(), StoreError> {
        let is_named = |said: &&Said| !self.given.contains_key(said) && self.mapping.names(&self.issued(said));
        let mut said: Vec<Said> = said.iter().filter(is_named).cloned().collect();
        if said.is_empty() {
            return Ok(());
        }
        // In one order everywhere, so that two that name the same do not wait for each other.
        said.sort_by(|a, b| (a.kind, &a.id.value, &a.id.issuer).cmp(&(b.kind, &b.id.value, &b.id.issuer)));
        let wanted: Vec<(IdentifierKind, IssuedId)> = said.iter().map(|said| (said.kind, self.issued(said))).collect();
        let known = self.store.known_mapped(&self.mapping, &wanted).await?;
        let found: Vec<&Mapped> = known.iter().flatten().collect();
        let is_found = found.len() == wanted.len();
        if is_found && self.store.has_assured(&self.mapping, wanted.iter().zip(found)) {
            self.given.extend(said.into_iter().zip(known.into_iter().flatten()));
            return Ok(());
        }
        // Synced: what the reader has seen must find back, whoever has made it, and as durably as that was.
        let mut tx = self.store.begin(Durability::Synced).await?;
        if let Some(((kind, id), _)) = wanted.iter().zip(&known).find(|(_, known)| known.is_some()) {
            tx.assure_mapped(&self.mapping, *kind, id).await?;
        }
        let mut given = Vec::new();
        for ((said, (kind, id)), known) in said.into_iter().zip(&wanted).zip(known) {
            let mapped = match known {
                Some(mapped) => mapped,
                None => tx.mapped(&self.mapping, *kind, id, self.now).await?,
            };
            given.push((said, mapped));
        }
        tx.commit().await?;
        self.store.note_assured(&self.mapping, wanted.iter().zip(given.iter().map(|(_, mapped)| mapped)));
        self.given.extend(given);
        Ok(())
    }

    /// With the issuer that the data set names, or the case knows, or the origin's.
    fn issued(&self, said: &Said) -> IssuedId {
        let same = |(kind, known): &&(IdentifierKind, IssuedId)| *kind == said.kind && known.value == said.id.value;
        match self.known.iter().find(same) {
            Some((_, known)) if said.id.issuer.is_empty() => self.mapping.issued(known),
            _ => self.mapping.issued(&said.id),
        }
    }

    fn becomes(&self, said: &Said) -> Option<IssuedId> {
        self.given.get(said).map(|mapped| mapped.id.clone())
    }

    /// The moment is that of the instance's youngest identifier, not of the attempt: the same bytes leave each time.
    fn noted(&self, said: &[Said]) -> Modification<'_> {
        let at = said.iter().filter_map(|said| self.given.get(said)).map(|mapped| mapped.since).max();
        let at = at.unwrap_or(self.now);
        Modification { at, system: &self.node, source: self.mapping.origin.as_str() }
    }
}

/// An instance of which the header has been read.
struct Begun {
    patches: Patches,
    reader: PlaceReader,
    /// What has been read; `None` where that was too long to be kept.
    head: Option<BytesMut>,
    rest: Rest,
}

/// Inflating and deflating takes seconds at worst: on a thread for long work.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RewriteError> + Send + 'static,
) -> Result<T, NotSent> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??)
}

/// All of an instance in memory.
async fn read_whole(spool: &Spool, instance: &DeliverableInstance) -> Result<Vec<u8>, NotSent> {
    if instance.place.length > MAX_INFLATED_BYTES as u64 {
        return Err(RewriteError::Deflated.into());
    }
    let (mut reader, mut bytes) = (spool.reader(&instance.place)?, BytesMut::new());
    while reader.read(&mut bytes, PIECE_BYTES).await? > 0 {}
    Ok(bytes.to_vec())
}

/// Whether the journal still holds what was received.
pub async fn verify(spool: &Spool, instance: &DeliverableInstance) -> Result<(), NotSent> {
    let (mut reader, mut piece) = (spool.reader(&instance.place)?, BytesMut::new());
    while reader.read(&mut piece, PIECE_BYTES).await? > 0 {
        piece.clear();
    }
    Ok(())
}

/// An instance on its way out under the reader's identifiers.
pub struct Outgoing {
    seq: i64,
    /// Bytes of the data set as it leaves.
    pub length: u64,
    identifiers: u32,
    source: Source,
    /// It turned out on the way that it must not leave.
    unfit: Option<RewriteError>,
    /// Ready to leave.
    ready: BytesMut,
    hash: Sha256,
}

enum Source {
    /// The journal hands out the last block only when the digest is the one of the receipt.
    Journal { head: BytesMut, reader: Box<PlaceReader>, patcher: Patcher, rest: Box<Rest>, piece: BytesMut },
    /// Nothing follows what is ready.
    Nowhere,
}

impl Outgoing {
    fn streamed(
        instance: &DeliverableInstance,
        reader: PlaceReader,
        head: BytesMut,
        patches: Patches,
        rest: Rest,
    ) -> Self {
        let (length, identifiers) = (patches.length(instance.place.length), patches.identifiers());
        let (patcher, piece) = (Patcher::new(patches), BytesMut::new());
        let source = Source::Journal { head, reader: Box::new(reader), patcher, rest: Box::new(rest), piece };
        Self {
            seq: instance.seq,
            length,
            identifiers,
            source,
            unfit: None,
            ready: BytesMut::new(),
            hash: Sha256::new(),
        }
    }

    fn whole(instance: &DeliverableInstance, bytes: Vec<u8>, identifiers: u32) -> Self {
        let (length, hash) = (bytes.len() as u64, Sha256::new_with_prefix(&bytes));
        let ready = BytesMut::from(bytes.as_slice());
        Self { seq: instance.seq, length, identifiers, source: Source::Nowhere, unfit: None, ready, hash }
    }

    /// Why it must not leave, where that was seen only while it did.
    pub fn unfit(&mut self) -> Option<RewriteError> {
        self.unfit.take()
    }

    /// What was sent, once all of it has been read.
    pub fn sent(self) -> SentInstance {
        SentInstance { seq: self.seq, sha256: Digest(self.hash.finalize().into()), identifiers: self.identifiers }
    }

    async fn fill(&mut self) -> io::Result<()> {
        while self.ready.is_empty() {
            let Source::Journal { head, reader, patcher, rest, piece } = &mut self.source else { return Ok(()) };
            if head.is_empty() {
                piece.clear();
                reader.read(piece, PIECE_BYTES).await?;
            } else {
                *piece = mem::take(head);
            }
            if piece.is_empty() {
                patcher.finish(&mut self.ready);
                self.source = Source::Nowhere;
            } else {
                if let Err(unfit) = rest.push(piece) {
                    self.unfit = Some(unfit);
                    self.source = Source::Nowhere;
                    return Err(io::Error::other("an identifier stands behind its header"));
                }
                patcher.push(piece, &mut self.ready);
            }
            self.hash.update(&self.ready);
        }
        Ok(())
    }
}

impl DataSource for Outgoing {
    async fn read(&mut self, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
        self.fill().await?;
        let taken = at_most.min(self.ready.len());
        into.extend_from_slice(&self.ready.split_to(taken));
        Ok(taken)
    }
}
