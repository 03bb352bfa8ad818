//! A disk in memory that keeps what was written apart from what was made durable. It can fail any call, and a power cut
//! keeps an arbitrary part of what was not yet durable, sector by sector, in any order.

use super::*;
use crate::spool::disk::DiskFile;
use proptest::prelude::*;
use std::collections::HashMap;

const SECTOR: u64 = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    Create,
    Write,
    Sync,
    SyncDir,
}

#[derive(Default)]
struct State {
    files: HashMap<PathBuf, Platter>,
    calls: Vec<Call>,
    /// The next call of this kind fails so, once.
    fail: Option<(Call, io::ErrorKind)>,
    free_bytes: u64,
}

#[derive(Default)]
struct Platter {
    named: bool,
    durable: Vec<u8>,
    cached: Vec<u8>,
}

#[derive(Clone)]
struct FaultyDisk(Arc<Mutex<State>>);

struct FaultyFile(FaultyDisk, PathBuf);

impl FaultyDisk {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State { free_bytes: u64::MAX, ..State::default() })))
    }

    fn call(&self, call: Call) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.0.lock().unwrap();
        state.calls.push(call.clone());
        if let Some((_, kind)) = state.fail.take_if(|(wanted, _)| *wanted == call) {
            return Err(kind.into());
        }
        Ok(state)
    }

    fn fail_next(&self, call: Call, kind: io::ErrorKind) {
        self.0.lock().unwrap().fail = Some((call, kind));
    }

    fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    fn spool(&self, dir: &TempDir, reserve_bytes: u64) -> Spool {
        let settings = SpoolSettings { reserve_bytes };
        Spool::open_on(dir.path(), settings, Limits::default(), Arc::new(self.clone())).unwrap()
    }

    /// What is on the real directory after the power came back: durable bytes, and of the rest what `keep` says.
    fn cut_power(&self, mut keep: impl FnMut() -> bool) {
        let state = self.0.lock().unwrap();
        for (path, file) in state.files.iter().filter(|(_, file)| file.named) {
            let length = if keep() { file.cached.len() } else { file.durable.len() };
            let mut bytes = vec![0; length];
            for (at, sector) in bytes.chunks_mut(SECTOR as usize).enumerate() {
                let from = if keep() { &file.cached } else { &file.durable };
                let there = from.len().saturating_sub(at * SECTOR as usize).min(sector.len());
                if there > 0 {
                    sector[..there].copy_from_slice(&from[at * SECTOR as usize..][..there]);
                }
            }
            fs::write(path, bytes).unwrap();
        }
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.call(Call::Create)?;
        assert!(state.files.insert(path.to_owned(), Platter::default()).is_none(), "no name is used twice");
        Ok(Box::new(FaultyFile(self.clone(), path.to_owned())))
    }

    fn sync_left(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call(Call::Sync)?;
        let file = state.files.get_mut(path).unwrap();
        file.durable = file.cached.clone();
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.call(Call::SyncDir)?.files.values_mut().for_each(|file| file.named = true);
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().free_bytes)
    }
}

impl FaultyFile {
    fn with<T>(&self, state: &mut State, work: impl FnOnce(&mut Platter) -> T) -> T {
        work(state.files.get_mut(&self.1).unwrap())
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.0.call(Call::Write)?;
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        self.with(&mut state, |file| {
            file.cached.resize(file.cached.len().max(end), 0);
            file.cached[start..end].copy_from_slice(bytes);
        });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.call(Call::Sync)?;
        self.with(&mut state, |file| file.durable = file.cached.clone());
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        self.with(&mut state, |file| file.cached.resize(length as usize, 0));
        Ok(())
    }

    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_returns_after_the_sync_and_not_before() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new();
    let spool = disk.spool(&dir, 0);
    let mut writer = spool.writer();
    store(&mut writer, 1, &data_set(1, 36 << 10)).await.unwrap();
    assert_eq!(disk.calls(), [Call::Create, Call::Write, Call::Write, Call::Write, Call::Sync, Call::SyncDir]);
    store(&mut writer, 2, &data_set(2, 526 << 10)).await.unwrap();
    let calls = disk.calls();
    assert_eq!(calls.last(), Some(&Call::Sync), "nothing is written after the sync: {calls:?}");
    assert_eq!(calls.iter().filter(|call| **call == Call::Sync).count(), 1);
    let state = disk.0.lock().unwrap();
    assert!(state.files.values().all(|file| file.durable == file.cached && file.named));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_refuses_the_instance_and_ends_the_journal() {
    for call in [Call::Sync, Call::SyncDir] {
        let dir = TempDir::new().unwrap();
        let disk = FaultyDisk::new();
        let spool = disk.spool(&dir, 0);
        let mut writer = spool.writer();
        let mut kept = Vec::new();
        if call == Call::Sync {
            kept.push(store(&mut writer, 1, &data_set(1, 5000)).await.unwrap());
        }
        disk.fail_next(call.clone(), io::ErrorKind::Other);
        disk.calls();
        let refused = store(&mut writer, 2, &data_set(2, 300_000)).await;
        assert!(matches!(refused, Err(SpoolError::Sync(_))), "{refused:?}");
        let calls = disk.calls();
        assert_eq!(calls.iter().filter(|found| **found == Call::Sync).count(), 1, "never synced again: {calls:?}");
        let next = store(&mut writer, 3, &data_set(3, 5000)).await.unwrap();
        assert!(kept.iter().all(|place| place.journal != next.journal));
        kept.push(next);
        drop(writer);
        disk.cut_power(|| true);
        let found: Vec<_> = kept
            .iter()
            .flat_map(|place| spool.records(place.journal, 0).unwrap())
            .map(|found| found.unwrap().1)
            .collect();
        assert_eq!(found, kept, "what was refused is not found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_one_instance_and_keeps_the_journal() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new();
    let spool = disk.spool(&dir, 0);
    let mut writer = spool.writer();
    let first = store(&mut writer, 1, &data_set(1, 5000)).await.unwrap();
    disk.fail_next(Call::Write, io::ErrorKind::StorageFull);
    assert!(matches!(store(&mut writer, 2, &data_set(2, 900_000)).await, Err(SpoolError::Write(_))));
    assert!(matches!(writer.commit().await, Err(SpoolError::NoInstance)), "it does not come back to life");
    let third = store(&mut writer, 3, &data_set(3, 5000)).await.unwrap();
    assert_eq!(first.journal, third.journal);
    disk.cut_power(|| true);
    let found: Vec<_> = spool.records(first.journal, 0).unwrap().map(|found| found.unwrap().1).collect();
    assert_eq!(found, [first, third]);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_refused_before_the_disk_is_full() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new();
    disk.0.lock().unwrap().free_bytes = 10_000_000;
    let spool = disk.spool(&dir, 9_000_000);
    let mut writer = spool.writer();
    store(&mut writer, 1, &data_set(1, 600_000)).await.unwrap();
    // The figure is still fresh: what has been written since counts.
    let refused = store(&mut writer, 2, &data_set(2, 600_000)).await;
    assert!(matches!(refused, Err(SpoolError::BelowReserve { reserve_bytes: 9_000_000, .. })), "{refused:?}");
    let refused = writer.begin(meta(3)).await;
    assert!(matches!(refused, Err(SpoolError::BelowReserve { .. })), "{refused:?}");
    disk.0.lock().unwrap().free_bytes = 20_000_000;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    store(&mut writer, 4, &data_set(4, 600_000)).await.unwrap();
    assert!(spool.free_bytes().unwrap() < 20_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_had_only_written_survives_the_next_power_cut_once_it_is_made_durable() {
    let dir = TempDir::new().unwrap();
    let disk = FaultyDisk::new();
    let spool = disk.spool(&dir, 0);
    let mut writer = spool.writer();
    let first = store(&mut writer, 1, &data_set(1, 5000)).await.unwrap();
    let second = store(&mut writer, 2, &data_set(2, 5000)).await.unwrap();
    // Killed before the second sync: written, and in the page cache only.
    let path = spool.shared.path(first.journal);
    disk.0.lock().unwrap().files.get_mut(&path).unwrap().durable.truncate(second.record as usize);
    disk.cut_power(|| false);
    assert_eq!(spool.records(first.journal, 0).unwrap().count(), 1);
    disk.calls();
    spool.make_durable(first.journal).unwrap();
    assert_eq!(disk.calls(), [Call::Sync, Call::SyncDir]);
    disk.cut_power(|| false);
    assert!(spool.records(first.journal, 0).unwrap().map(|found| found.unwrap().1).eq([first, second]));
    for call in [Call::Sync, Call::SyncDir] {
        disk.fail_next(call, io::ErrorKind::Other);
        assert!(matches!(spool.make_durable(first.journal), Err(SpoolError::Sync(_))));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Store(usize),
    Discard(usize),
    Fail(usize, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![0_usize..9000, 250_000_usize..800_000];
    let step = prop_oneof![
        4 => size.clone().prop_map(Step::Store),
        1 => size.clone().prop_map(Step::Discard),
        1 => (size, any::<bool>()).prop_map(|(size, sync)| Step::Fail(size, sync)),
    ];
    prop::collection::vec(step, 1..8)
}

/// Does the steps, the last one up to the cut; gives the places that were acknowledged.
async fn live(disk: &FaultyDisk, spool: &Spool, steps: &[Step], cut_before_last_sync: bool) -> Vec<JournalPlace> {
    let mut writer = spool.writer();
    let mut acknowledged = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let number = number as u64;
        match step {
            Step::Store(size) => acknowledged.push(store(&mut writer, number, &data_set(number, *size)).await.unwrap()),
            Step::Discard(size) => {
                writer.begin(meta(number)).await.unwrap();
                writer.write(data_set(number, *size)).await.unwrap();
                writer.discard().await;
            }
            Step::Fail(size, sync) => {
                let call = if *sync { Call::Sync } else { Call::Write };
                disk.fail_next(call, io::ErrorKind::Other);
                assert!(store(&mut writer, number, &data_set(number, *size)).await.is_err());
            }
        }
    }
    if cut_before_last_sync {
        // An instance in the middle of its sync: all written, the sync not done.
        disk.fail_next(Call::Sync, io::ErrorKind::Other);
        assert!(store(&mut writer, 99, &data_set(99, 300_000)).await.is_err());
    }
    // Gone without a word, as the process is: nothing is cut to size.
    std::mem::forget(writer);
    acknowledged
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_power_cut_takes_nothing_acknowledged_and_invents_nothing(
        steps in steps(), in_sync in any::<bool>(), seed in any::<u64>(),
    ) {
        let dir = TempDir::new().unwrap();
        let disk = FaultyDisk::new();
        let spool = disk.spool(&dir, 0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let acknowledged = runtime.block_on(live(&disk, &spool, &steps, in_sync));
        let mut coins = data_set(seed, 1 << 16).to_vec().into_iter().cycle();
        disk.cut_power(|| coins.next().unwrap() & 1 == 1);
        let mut found = Vec::new();
        for journal in spool.journals().unwrap() {
            match spool.records(journal, 0) {
                Ok(records) => for record in records {
                    let (meta, place) = record.unwrap();
                    let number = meta.sop_instance.as_str().rsplit('.').next().unwrap().parse::<u64>().unwrap();
                    let size = place.length as usize;
                    prop_assert_eq!(place.sha256.0, <[u8; 32]>::from(sha2::Sha256::digest(data_set(number, size))));
                    found.push(place);
                },
                Err(SpoolError::NotAJournal(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        // More may be found than was acknowledged (a sync that was cut), but never less.
        for place in &acknowledged {
            prop_assert!(found.contains(place));
        }
        prop_assert!(found.len() <= steps.len() + 1);
    }
}
