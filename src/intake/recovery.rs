//! Re-reads from the journals what the database does not know: after a crash, a power cut, or an hour without database.
//!
//! In: every journal's records behind what is indexed. Out: instances in the index's channel, in order. What is indexed
//! twice all the same changes nothing: equal bytes under a known UID are passed over.

use super::index::IndexQueue;
use crate::{
    config::Live,
    dicom::scan::{HeaderScanner, Progress},
    model::{JournalId, JournalPlace, ReceivedInstance, chain},
    spool::{RecordMeta, Spool, SpoolError},
    store::{Store, StoreError},
};
use bytes::BytesMut;

#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error("journals cannot be read")]
    Spool(#[from] SpoolError),
    #[error("index cannot be read")]
    Store(#[from] StoreError),
    #[error("journal reader stopped")]
    Stopped(#[from] tokio::task::JoinError),
}

/// Feeds everything that is durable but not indexed to the index. Returns how many instances that were.
///
/// # Errors
/// When the journals or the database cannot be read. A single damaged record is logged and passed over.
pub async fn recover(store: &Store, spool: &Spool, config: &Live, index: &IndexQueue) -> Result<usize, RecoveryError> {
    let mut recovered = 0;
    let indexed = store.indexed_journals().await?;
    for journal in spool.journals()? {
        let from = indexed.get(&journal).copied().unwrap_or(0);
        for instance in read_journal(spool, config, journal, from).await? {
            recovered += 1;
            index.push_in_order(instance).await;
        }
    }
    Ok(recovered)
}

/// What of a journal is not indexed.
pub struct Behind {
    pub instances: Vec<ReceivedInstance>,
    /// How far the journal is known once they are indexed: to the end of its last whole record.
    pub to: u64,
}

/// The instances of one journal that are not indexed.
///
/// # Errors
/// When the journal or the database cannot be read.
pub async fn read_behind(
    store: &Store,
    spool: &Spool,
    config: &Live,
    journal: JournalId,
) -> Result<Behind, RecoveryError> {
    let from = store.indexed_journals().await?.get(&journal).copied().unwrap_or(0);
    let instances = read_journal(spool, config, journal, from).await?;
    let to = instances.last().map_or(from, |last| last.place.end());
    Ok(Behind { instances, to })
}

async fn read_journal(
    spool: &Spool,
    config: &Live,
    journal: JournalId,
    from: u64,
) -> Result<Vec<ReceivedInstance>, RecoveryError> {
    let records = {
        let spool = spool.clone();
        tokio::task::spawn_blocking(move || spool.records(journal, from).map(Iterator::collect::<Vec<_>>)).await??
    };
    let mut instances = Vec::with_capacity(records.len());
    for record in records {
        let (meta, place) = match record {
            Ok(record) => record,
            Err(damaged) => {
                metrics::counter!("neisse_journal_records_damaged_total").increment(1);
                tracing::error!(%journal, error = %chain(&damaged), "Journal {journal} holds a damaged record: an acknowledged instance may be lost; ask its sender to send the study again");
                continue;
            }
        };
        match reread(spool, config, meta, place).await {
            Ok(instance) => instances.push(instance),
            Err(reason) => {
                tracing::error!(%journal, record = place.record, reason, "A record of journal {journal} is durable but not readable: {reason}");
            }
        }
    }
    Ok(instances)
}

async fn reread(
    spool: &Spool,
    config: &Live,
    meta: RecordMeta,
    place: JournalPlace,
) -> Result<ReceivedInstance, String> {
    let mut scanner = HeaderScanner::new(&meta.transfer_syntax);
    let mut reader = spool.reader(&place).map_err(|error| chain(&error))?;
    let mut block = BytesMut::new();
    loop {
        let read = reader.read(&mut block, 256 * 1024).await.map_err(|error| chain(&error))?;
        let progress = scanner.push(&block).map_err(|error| chain(&error))?;
        block.clear();
        if read == 0 || matches!(progress, Progress::Done) {
            break;
        }
    }
    let header = scanner.finish().map_err(|error| chain(&error))?;
    let config = config.now();
    // A partner that has been taken out of the configuration since leaves its identifiers without a default issuer.
    let partner = config.partners.get(&meta.origin);
    let charset = partner.and_then(|partner| partner.dicom.as_ref()).and_then(|dicom| dicom.charset.as_deref());
    let issuer = partner.map_or("", |partner| partner.issuer.as_str());
    Ok(ReceivedInstance {
        facts: header.facts(charset, issuer),
        study: header.study().ok_or("no Study Instance UID")?,
        series: header.series().ok_or("no Series Instance UID")?,
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
