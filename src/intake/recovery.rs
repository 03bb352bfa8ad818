//! Re-reads from the journals what the database does not know: after a crash, a power cut, or an hour without database.
//!
//! In: every journal's records behind what is indexed. Out: instances in the index's channel, in order. What is indexed
//! twice all the same changes nothing: equal bytes under a known UID are passed over.

use super::index::IndexQueue;
use crate::{
    config::Live,
    dicom::{
        charset::SenderCharset,
        scan::{HeaderScanner, Progress},
    },
    model::{JournalId, JournalPlace, ReceivedInstance, chain},
    spool::{RecordMeta, Records, Spool, SpoolError},
    store::{Store, StoreError},
};
use bytes::BytesMut;
use std::io;

#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error("journals cannot be read")]
    Spool(#[from] SpoolError),
    #[error("index cannot be read")]
    Store(#[from] StoreError),
    #[error("journal reader stopped")]
    Stopped(#[from] tokio::task::JoinError),
}

/// Records of one journal that are read at once: it may hold a night of instances.
const CHUNK: usize = 512;

/// Feeds everything that is durable but not indexed to the index. Returns how many instances that were.
///
/// # Errors
/// When the database cannot be read, or a journal cannot be read now; the others have been by then. What will not be
/// better later, a damaged record or a journal without a header, is logged and passed over.
pub async fn recover(store: &Store, spool: &Spool, config: &Live, index: &IndexQueue) -> Result<usize, RecoveryError> {
    let (mut recovered, mut failed) = (0, None);
    let indexed = store.indexed_journals().await?;
    for journal in spool.journals()? {
        let from = indexed.get(&journal).copied().unwrap_or(0);
        match recover_journal(spool, config, index, journal, from).await {
            Ok(found) => recovered += found,
            Err(RecoveryError::Spool(error @ SpoolError::NotAJournal(_))) => report_headless(spool, journal, &error),
            Err(error) => {
                tracing::error!(%journal, error = %chain(&error), "Journal {journal} cannot be read back yet; the others go on");
                failed = Some(error);
            }
        }
    }
    failed.map_or(Ok(recovered), Err)
}

async fn recover_journal(
    spool: &Spool,
    config: &Live,
    index: &IndexQueue,
    journal: JournalId,
    from: u64,
) -> Result<usize, RecoveryError> {
    let (mut tail, mut found) = (Tail::open(spool, config, journal, from).await?, 0);
    loop {
        let instances = tail.next().await?;
        if instances.is_empty() {
            return Ok(found);
        }
        if found == 0 {
            // What a killed process had written and not synced is in the page cache only, however whole it reads.
            let spool = spool.clone();
            tokio::task::spawn_blocking(move || spool.make_durable(journal)).await??;
        }
        found += instances.len();
        for instance in instances {
            index.push_in_order(instance).await;
        }
    }
}

/// A journal whose header cannot be read keeps no other from being indexed. One that is shorter than a header was made
/// just before the process was killed, and never committed to.
fn report_headless(spool: &Spool, journal: JournalId, error: &SpoolError) {
    if !matches!(spool.end_of(journal), Ok(0)) {
        metrics::counter!("neisse_journal_records_damaged_total").increment(1);
        tracing::error!(%journal, error = %chain(error), "Journal {journal} is damaged: acknowledged instances may be lost; ask its senders to send the studies of that time again");
    }
}

/// What of a journal is not indexed, read in pieces.
pub struct Tail {
    spool: Spool,
    config: Live,
    journal: JournalId,
    /// Absent while a thread has it.
    records: Option<Records>,
    to: u64,
}

impl Tail {
    /// # Errors
    /// When the journal cannot be read.
    pub async fn open(spool: &Spool, config: &Live, journal: JournalId, from: u64) -> Result<Self, RecoveryError> {
        let opening = spool.clone();
        let records = tokio::task::spawn_blocking(move || opening.records(journal, from)).await??;
        Ok(Self { spool: spool.clone(), config: config.clone(), journal, records: Some(records), to: from })
    }

    /// What the index does not know of a journal.
    ///
    /// # Errors
    /// When the journal or the database cannot be read.
    pub async fn behind(
        store: &Store,
        spool: &Spool,
        config: &Live,
        journal: JournalId,
    ) -> Result<Self, RecoveryError> {
        let from = store.indexed_journals().await?.get(&journal).copied().unwrap_or(0);
        Self::open(spool, config, journal, from).await
    }

    /// The byte behind the last whole record that has been read.
    pub fn to(&self) -> u64 {
        self.to
    }

    /// The next instances; none at the end.
    ///
    /// # Errors
    /// When the journal cannot be read now. Those of this call are then to be read again, from what is indexed on.
    pub async fn next(&mut self) -> Result<Vec<ReceivedInstance>, RecoveryError> {
        loop {
            let Some(mut records) = self.records.take() else { return Ok(Vec::new()) };
            let walk = tokio::task::spawn_blocking(move || {
                let found = records.by_ref().take(CHUNK).collect::<Vec<_>>();
                (records, found)
            });
            let (records, found) = walk.await?;
            if found.is_empty() {
                return Ok(Vec::new());
            }
            let instances = self.read(found).await?;
            self.records = Some(records);
            if !instances.is_empty() {
                return Ok(instances);
            }
        }
    }

    async fn read(
        &mut self,
        found: Vec<Result<(RecordMeta, JournalPlace), SpoolError>>,
    ) -> Result<Vec<ReceivedInstance>, RecoveryError> {
        let (journal, mut instances) = (self.journal, Vec::with_capacity(found.len()));
        for record in found {
            let (meta, place) = match record {
                Ok(record) => record,
                Err(damaged @ SpoolError::Damaged { .. }) => {
                    metrics::counter!("neisse_journal_records_damaged_total").increment(1);
                    tracing::error!(%journal, error = %chain(&damaged), "Journal {journal} holds a damaged record: an acknowledged instance may be lost; ask its sender to send the study again");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match reread(&self.spool, &self.config, meta, place).await {
                Ok(instance) => instances.push(instance),
                Err(Unread::Now(error)) => return Err(error.into()),
                Err(Unread::Ever(reason)) => {
                    tracing::error!(%journal, record = place.record, reason, "A record of journal {journal} is durable but not readable: {reason}");
                }
            }
            self.to = place.end();
        }
        Ok(instances)
    }
}

/// Why a record could not be read.
enum Unread {
    /// The disk's trouble or ours (too many open files), which may pass: a record that were skipped for it would be
    /// skipped for ever.
    Now(SpoolError),
    /// It will not be better later.
    Ever(String),
}

impl Unread {
    fn ever(error: impl std::error::Error) -> Self {
        Unread::Ever(chain(&error))
    }

    fn by(journal: JournalId, error: io::Error) -> Self {
        match error.kind() {
            // Other bytes than were received, or fewer.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Unread::ever(error),
            _ => Unread::Now(SpoolError::Read(journal, error)),
        }
    }
}

async fn reread(
    spool: &Spool,
    config: &Live,
    meta: RecordMeta,
    place: JournalPlace,
) -> Result<ReceivedInstance, Unread> {
    let mut scanner = HeaderScanner::new(&meta.transfer_syntax);
    let mut reader = spool.reader(&place).map_err(Unread::Now)?;
    let mut block = BytesMut::new();
    loop {
        let read = reader.read(&mut block, 256 * 1024).await.map_err(|error| Unread::by(place.journal, error))?;
        let progress = scanner.push(&block).map_err(Unread::ever)?;
        block.clear();
        if read == 0 || matches!(progress, Progress::Done) {
            break;
        }
    }
    let header = scanner.finish().map_err(Unread::ever)?;
    let config = config.now();
    // A partner that has been taken out of the configuration since leaves its identifiers without a default issuer.
    let partner = config.partners.get(&meta.origin);
    let issuer = partner.map_or("", |partner| partner.issuer.as_str());
    Ok(ReceivedInstance {
        facts: header.facts(SenderCharset::of(partner), issuer),
        own: header.instance_facts(SenderCharset::of(partner)),
        study: header.study().ok_or_else(|| Unread::Ever("no Study Instance UID".into()))?,
        series: header.series().ok_or_else(|| Unread::Ever("no Series Instance UID".into()))?,
        origin: meta.origin,
        calling_ae: meta.calling_ae,
        called_ae: meta.called_ae,
        sop_class: meta.sop_class,
        sop_instance: meta.sop_instance,
        transfer_syntax: meta.transfer_syntax,
        place,
        received: meta.received,
    })
}
