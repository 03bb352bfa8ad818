//! The index and recovery over journals and a database of their own: what is durable is indexed, whatever is away, late
//! or damaged meanwhile.

use super::{
    index::{IndexQueue, Indexer},
    matching::Bells,
    recovery::{Tail, recover},
};
use crate::{
    cli::sample::{SampleCase, SampleInstance, head_ct},
    config,
    dicom::scan::HeaderScanner,
    model::{Clock, Moment, PartnerId, ReceivedInstance, Uid},
    spool::{JournalWriter, RecordMeta, Spool, SpoolSettings},
    store::{CaseRow, Durability, Store},
};
use bytes::Bytes;
use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

struct House {
    store: Store,
    queue: IndexQueue,
    writer: JournalWriter,
    spool: Spool,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
    live: config::Live,
    folder: TempDir,
}

/// An index with room for four instances.
async fn house() -> House {
    let folder = TempDir::new().unwrap();
    let partner = "name = \"R\"\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\nissuer = \"RABENSTEIN\"\n";
    let route = "[[route]]\nname = \"All\"\nfrom = [\"rabenstein\"]\nto = [\"origin\"]\n";
    let files = [("neisse.toml", ""), ("routes.toml", route), ("partners/rabenstein.toml", partner)];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let config = config::load_from(folder.path(), &files.into(), &|_| None).unwrap();
    let store = Store::open(&config.database, folder.path()).await.unwrap();
    let spool = Spool::open(&folder.path().join("journals"), SpoolSettings { reserve_bytes: 0 }).unwrap();
    let (_replacer, live) = config::Live::new(config);
    let (queue, stop, running) = index(&store, &spool, &live);
    House { store, queue, writer: spool.writer(), spool, stop, running, live, folder }
}

fn index(
    store: &Store,
    spool: &Spool,
    live: &config::Live,
) -> (IndexQueue, CancellationToken, tokio::task::JoinHandle<()>) {
    let (clock, bells) = (Clock::system(), Bells::default());
    let (queue, indexer) = Indexer::with_room(4, store.clone(), spool.clone(), live.clone(), clock, bells);
    let stop = CancellationToken::new();
    (queue, stop.clone(), tokio::spawn(indexer.run(stop)))
}

impl House {
    /// As `c_store` does it.
    async fn receive(&mut self, instance: &SampleInstance) {
        let meta = RecordMeta {
            origin: PartnerId::new("rabenstein").unwrap(),
            calling_ae: "RAB_CT1".into(),
            called_ae: "NEISSE".into(),
            sop_class: instance.sop_class.clone(),
            sop_instance: instance.sop_instance.clone(),
            transfer_syntax: instance.transfer_syntax.clone(),
            received: Moment(1),
        };
        self.writer.begin(meta.clone()).await.unwrap();
        self.writer.write(Bytes::copy_from_slice(&instance.data_set)).await.unwrap();
        let place = self.writer.commit().await.unwrap();
        let mut scanner = HeaderScanner::new(&instance.transfer_syntax);
        scanner.push(&instance.data_set).unwrap();
        let header = scanner.finish().unwrap();
        self.queue.push(ReceivedInstance {
            facts: header.facts(None, "RABENSTEIN"),
            own: header.instance_facts(None),
            study: header.study().unwrap(),
            series: header.series().unwrap(),
            origin: meta.origin,
            calling_ae: meta.calling_ae,
            called_ae: meta.called_ae,
            sop_class: meta.sop_class,
            sop_instance: meta.sop_instance,
            transfer_syntax: meta.transfer_syntax,
            place,
            received: meta.received,
        });
    }

    async fn stop_indexing(&mut self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), &mut self.running).await.expect("it stops").unwrap();
    }

    fn journal(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("journals/{name}.journal"))
    }

    async fn case(&self, study: &Uid) -> Option<CaseRow> {
        self.store.find_case(&PartnerId::new("rabenstein").unwrap(), study).await.unwrap()
    }

    async fn until_indexed(&self, study: &Uid, count: i64) {
        let since = Instant::now();
        while self.case(study).await.is_none_or(|case| case.instances < count) {
            assert!(since.elapsed() < Duration::from_secs(30), "not indexed: {:?}", self.case(study).await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn instances_that_overrun_the_index_while_the_database_is_away_are_indexed_afterwards() {
    let mut house = house().await;
    let case = SampleCase::numbered(1);
    let slices: Vec<_> = head_ct(30, 16, &case).collect();
    // Whoever holds the only write transaction keeps the database from everybody else.
    let away = house.store.begin(Durability::Process).await.unwrap();
    for slice in &slices[..25] {
        house.receive(slice).await;
    }
    assert!(!house.queue.backlog.all().is_empty(), "the channel holds four");
    drop(away);
    house.until_indexed(&case.study(), 25).await;
    let since = Instant::now();
    while !house.queue.backlog.all().is_empty() {
        assert!(since.elapsed() < Duration::from_secs(30), "the journal goes back to the fast way");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for slice in &slices[25..] {
        house.receive(slice).await;
    }
    house.until_indexed(&case.study(), 30).await;
    assert_eq!(house.case(&case.study()).await.unwrap().instances, 30, "each once");
}

#[tokio::test]
async fn told_to_stop_while_the_database_is_away_it_leaves_the_rest_to_the_next_start() {
    let mut house = house().await;
    house.store.close().await;
    let case = SampleCase::numbered(2);
    for slice in head_ct(3, 16, &case) {
        house.receive(&slice).await;
    }
    house.stop_indexing().await;
    let journal = house.spool.journals().unwrap()[0];
    let left = house.spool.records(journal, 0).unwrap().filter(Result::is_ok).count();
    assert_eq!(left, 3, "in the journal, for the next start");
}

#[tokio::test]
async fn a_journal_without_a_header_keeps_no_other_from_being_indexed() {
    let mut house = house().await;
    house.stop_indexing().await;
    let case = SampleCase::numbered(3);
    for slice in head_ct(3, 16, &case) {
        house.receive(&slice).await;
    }
    // Both sort before it.
    fs::write(house.journal("00000000-0000-7000-8000-000000000001"), [0; 8192]).unwrap();
    fs::write(house.journal("00000000-0000-7000-8000-000000000002"), b"NEISSEJ1").unwrap();
    let (queue, _stop, _running) = index(&house.store, &house.spool, &house.live);
    let found = recover(&house.store, &house.spool, &house.live, &queue).await.expect("the others");
    assert_eq!(found, 3);
    house.until_indexed(&case.study(), 3).await;
}

#[tokio::test]
async fn a_record_that_cannot_be_read_for_a_moment_is_not_passed_over() {
    let mut house = house().await;
    house.stop_indexing().await;
    for slice in head_ct(3, 16, &SampleCase::numbered(4)) {
        house.receive(&slice).await;
    }
    let journal = house.spool.journals().unwrap()[0];
    let path = house.journal(&journal.to_string());
    let mut tail = Tail::open(&house.spool, &house.live, journal, 0).await.unwrap();
    fs::rename(&path, path.with_extension("away")).unwrap();
    assert!(tail.next().await.is_err(), "the walk holds the file open, but no instance can be read");
    fs::rename(path.with_extension("away"), &path).unwrap();
    let mut tail = Tail::open(&house.spool, &house.live, journal, 0).await.unwrap();
    assert_eq!(tail.next().await.unwrap().len(), 3);
    assert!(tail.next().await.unwrap().is_empty());
    assert_eq!(tail.to(), house.spool.end_of(journal).unwrap());
}

#[tokio::test]
async fn a_long_journal_is_read_in_pieces() {
    let mut house = house().await;
    house.stop_indexing().await;
    for slice in head_ct(515, 16, &SampleCase::numbered(5)) {
        house.receive(&slice).await;
    }
    let journal = house.spool.journals().unwrap()[0];
    let mut tail = Tail::open(&house.spool, &house.live, journal, 0).await.unwrap();
    let mut pieces = Vec::new();
    while let piece @ 1.. = tail.next().await.unwrap().len() {
        pieces.push(piece);
    }
    assert_eq!(pieces, [512, 3]);
}

#[tokio::test]
async fn what_is_durable_and_not_indexed_is_not_called_unknown() {
    let mut house = house().await;
    let rabenstein = PartnerId::new("rabenstein").unwrap();
    let now = || Clock::system().now();
    let knows = async |queue: &IndexQueue, at: Moment| {
        let since = Instant::now();
        while !queue.caught_up.knows(&rabenstein, at) {
            assert!(since.elapsed() < Duration::from_secs(30), "never known");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!house.queue.caught_up.knows(&rabenstein, Moment(0)), "what the last run has left may not have been read");
    house.queue.recovered();
    knows(&house.queue, now()).await;
    let case = SampleCase::numbered(9);
    let away = house.store.begin(Durability::Process).await.unwrap();
    for slice in head_ct(25, 16, &case) {
        house.receive(&slice).await;
    }
    let received = now();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!house.queue.caught_up.knows(&rabenstein, received), "the database is away");
    drop(away);
    knows(&house.queue, received).await;
    assert_eq!(house.case(&case.study()).await.unwrap().instances, 25, "then all of it is");
}
