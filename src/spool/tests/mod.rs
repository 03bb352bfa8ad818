//! The spool as its callers see it, on a real directory. `faults` fails the disk and cuts the power; `torn` damages
//! files.

mod faults;
mod torn;

use super::*;
use bytes::{Bytes, BytesMut};
use sha2::Digest as _;
use tempfile::TempDir;

/// Sizes around every edge: nothing, one byte, a header, a block of the file system, one and two blocks of ours.
const SIZES: [usize; 10] =
    [0, 1, 511, 3584, 3585, 36 << 10, (256 << 10) - 512, (256 << 10) - 511, 526 << 10, (1 << 20) + 17];

pub(super) fn meta(number: u64) -> RecordMeta {
    RecordMeta {
        origin: PartnerId::new("rabenstein").unwrap(),
        calling_ae: "RAB_CT1".into(),
        called_ae: "NEISSE".into(),
        sop_class: Uid::new("1.2.840.10008.5.1.4.1.1.2").unwrap(),
        sop_instance: Uid::new(&format!("1.2.3.{number}")).unwrap(),
        transfer_syntax: Uid::new("1.2.840.10008.1.2.1").unwrap(),
        received: Moment(1_700_000_000_000_000 + i64::try_from(number).unwrap()),
    }
}

/// Bytes that differ between instances and along one.
pub(super) fn data_set(number: u64, length: usize) -> Bytes {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

pub(super) async fn store(writer: &mut JournalWriter, number: u64, data: &Bytes) -> Result<JournalPlace, SpoolError> {
    writer.begin(meta(number)).await?;
    for piece in data.chunks(10_000) {
        writer.write(Bytes::copy_from_slice(piece)).await?;
    }
    writer.commit().await
}

async fn read_all(mut reader: PlaceReader) -> io::Result<BytesMut> {
    let mut found = BytesMut::new();
    while reader.read(&mut found, 100_000).await? > 0 {}
    assert_eq!(reader.verified(), Verified::Matches);
    Ok(found)
}

fn spool_in(dir: &TempDir) -> Spool {
    Spool::open(dir.path(), SpoolSettings { reserve_bytes: 0 }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_instance_reads_back_as_received_and_is_found_again() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut writer = spool.writer();
    let mut stored = Vec::new();
    for (number, size) in SIZES.into_iter().enumerate() {
        let data = data_set(number as u64, size);
        let place = store(&mut writer, number as u64, &data).await.unwrap();
        assert_eq!((place.length, place.sha256.0), (size as u64, sha2::Sha256::digest(&data).into()));
        stored.push((meta(number as u64), place, data));
    }
    for (_, place, data) in &stored {
        assert_eq!(read_all(spool.reader(place).unwrap()).await.unwrap(), data);
    }
    let journal = stored[0].1.journal;
    // While the journal is open, and from any record on.
    let all: Vec<_> = spool.records(journal, 0).unwrap().map(Result::unwrap).collect();
    assert_eq!(all, stored.iter().map(|(meta, place, _)| (meta.clone(), *place)).collect::<Vec<_>>());
    let from = stored[3].1.data + stored[3].1.length;
    assert_eq!(spool.records(journal, from).unwrap().map(Result::unwrap).collect::<Vec<_>>(), all[4..]);
    writer.close().await;
    assert_eq!(spool.records(journal, 0).unwrap().map(Result::unwrap).collect::<Vec<_>>(), all);
    assert_eq!(spool.journals().unwrap(), [journal]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_instance_leaves_nothing_whatever_it_held() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut writer = spool.writer();
    let first = store(&mut writer, 1, &data_set(1, 5000)).await.unwrap();
    // A peer that has somehow seen a header sends it back, at every place a record might start.
    let file = std::fs::read(spool.shared.path(first.journal)).unwrap();
    let header = &file[first.record as usize..][..format::ALIGN as usize];
    for size in [100_usize, 700_000] {
        writer.begin(meta(2)).await.unwrap();
        let forged: Vec<u8> = std::iter::repeat_n(0, 4096 - 512).chain(header.repeat(size / 4096)).collect();
        writer.write(forged.into()).await.unwrap();
        writer.discard().await;
    }
    let second = store(&mut writer, 3, &data_set(3, 900)).await.unwrap();
    writer.begin(meta(4)).await.unwrap();
    writer.write(data_set(4, 300_000)).await.unwrap();
    drop(writer);
    let found: Vec<_> = spool.records(first.journal, 0).unwrap().map(|found| found.unwrap().1).collect();
    assert_eq!(found, [first, second]);
    assert_eq!(second.record, format::align_up(first.data + first.length), "the next instance overwrites it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_received_nothing_leaves_no_file() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut writer = spool.writer();
    assert!(matches!(writer.commit().await, Err(SpoolError::NoInstance)));
    assert!(matches!(writer.write(Bytes::from_static(b"x")).await, Err(SpoolError::NoInstance)));
    writer.begin(meta(1)).await.unwrap();
    writer.write(data_set(1, 600_000)).await.unwrap();
    writer.close().await;
    assert_eq!(spool.journals().unwrap(), []);
    assert_eq!(spool.stats().unwrap().open_journals, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_nobody_waits_for_does_not_spoil_the_next() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut writer = spool.writer();
    let mut kept = Vec::new();
    for number in 0..20 {
        writer.begin(meta(number)).await.unwrap();
        writer.write(data_set(number, 300_000)).await.unwrap();
        // Polled once, then dropped, as by a timeout around it.
        let _ = futures_util::FutureExt::now_or_never(writer.commit());
        kept.push(store(&mut writer, 100 + number, &data_set(100 + number, 40_000)).await.unwrap());
    }
    for (number, place) in kept.iter().enumerate() {
        let number = 100 + number as u64;
        assert_eq!(read_all(spool.reader(place).unwrap()).await.unwrap(), data_set(number, 40_000));
    }
    let found: Vec<_> = spool.records(kept[0].journal, 0).unwrap().map(|found| found.unwrap().1).collect();
    assert!(kept.iter().all(|place| found.contains(place)));
}

/// An association has a runtime of one thread to itself, and then everything is done on that thread.
#[tokio::test(flavor = "current_thread")]
async fn a_writer_on_a_thread_of_its_own_keeps_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut writer = spool.writer();
    let mut kept = Vec::new();
    for (number, length) in [(1, 100), (2, 36_000), (3, 700_000), (4, 1 << 20), (5, 1)] {
        kept.push((number, length, store(&mut writer, number, &data_set(number, length)).await.unwrap()));
    }
    writer.begin(meta(6)).await.unwrap();
    writer.write(data_set(6, 600_000)).await.unwrap();
    writer.discard().await;
    kept.push((7, 40_000, store(&mut writer, 7, &data_set(7, 40_000)).await.unwrap()));
    writer.close().await;
    for (number, length, place) in &kept {
        assert_eq!(read_all(spool.reader(place).unwrap()).await.unwrap(), data_set(*number, *length));
    }
    let places: Vec<_> = spool.records(kept[0].2.journal, 0).unwrap().map(|found| found.unwrap().1).collect();
    assert_eq!(places, kept.iter().map(|(_, _, place)| *place).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_dropped_half_way_ends_the_instance() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut writer = spool.writer();
    writer.begin(meta(1)).await.unwrap();
    // More than may be under way at once, so that it has to wait.
    let waits = futures_util::FutureExt::now_or_never(writer.write(data_set(1, 4 << 20)));
    assert!(waits.is_none());
    assert!(matches!(writer.write(Bytes::from_static(b"more")).await, Err(SpoolError::NoInstance)));
    assert!(matches!(writer.commit().await, Err(SpoolError::NoInstance)));
    let place = store(&mut writer, 2, &data_set(2, 700_000)).await.unwrap();
    assert_eq!(read_all(spool.reader(&place).unwrap()).await.unwrap(), data_set(2, 700_000));
    assert!(spool.records(place.journal, 0).unwrap().map(|found| found.unwrap().1).eq([place]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_gives_way_to_the_next_between_two_instances() {
    let dir = TempDir::new().unwrap();
    let limits = Limits { rotate_above_bytes: 100_000 };
    let settings = SpoolSettings { reserve_bytes: 0 };
    let spool = Spool::open_on(dir.path(), settings, limits, Arc::new(RealDisk)).unwrap();
    let mut writer = spool.writer();
    let mut places = Vec::new();
    for number in 0..6 {
        places.push(store(&mut writer, number, &data_set(number, 60_000)).await.unwrap());
    }
    assert_eq!(spool.journals().unwrap(), [places[0].journal, places[2].journal, places[4].journal]);
    for (number, place) in places.iter().enumerate() {
        assert_eq!(read_all(spool.reader(place).unwrap()).await.unwrap(), data_set(number as u64, 60_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused_and_a_later_one_goes_on() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path().join("made/on/the/way");
    let settings = SpoolSettings { reserve_bytes: 0 };
    let spool = Spool::open(&dir, settings).unwrap();
    assert!(matches!(Spool::open(&dir, settings), Err(SpoolError::Locked)));
    let mut writer = spool.writer();
    let place = store(&mut writer, 1, &data_set(1, 10)).await.unwrap();
    writer.close().await;
    drop(spool);
    let spool = Spool::open(&dir, settings).unwrap();
    assert_eq!(read_all(spool.reader(&place).unwrap()).await.unwrap(), data_set(1, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purged_instance_is_gone_and_its_neighbours_are_not() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut writer = spool.writer();
    let mut places = Vec::new();
    for number in 0..3 {
        places.push(store(&mut writer, number, &data_set(number, 400_000)).await.unwrap());
    }
    let journal = places[0].journal;
    assert!(matches!(spool.unlink(journal), Err(SpoolError::InUse(_))));
    spool.punch(places[1].journal, &places[1..=1]).unwrap();
    let after = store(&mut writer, 3, &data_set(3, 1000)).await.unwrap();
    writer.close().await;

    let before = spool.stats().unwrap().bytes_on_disk;
    spool.punch(places[0].journal, &places[0..=0]).unwrap();
    assert!(spool.stats().unwrap().bytes_on_disk <= before - 390_000, "blocks are given back");
    spool.punch(places[0].journal, &places[0..=0]).unwrap();
    assert_eq!(read_all(spool.reader(&places[1]).unwrap()).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert_eq!(read_all(spool.reader(&places[2]).unwrap()).await.unwrap(), data_set(2, 400_000));
    let found: Vec<_> = spool.records(journal, 0).unwrap().map(|found| found.unwrap().1).collect();
    assert_eq!(found, [places[2], after]);
    let bytes = std::fs::read(spool.shared.path(journal)).unwrap();
    let purged = &bytes[places[1].record as usize..places[2].record as usize];
    assert!(purged[96..].iter().all(|byte| *byte == 0), "neither UIDs nor a byte of the data set stay behind");

    let wrong = JournalPlace { length: places[2].length - 1, ..places[2] };
    assert!(matches!(spool.punch(wrong.journal, &[wrong]), Err(SpoolError::NoSuchRecord { .. })));
    let nowhere = JournalPlace { record: 1 << 40, ..places[2] };
    assert!(matches!(spool.punch(nowhere.journal, &[nowhere]), Err(SpoolError::NoSuchRecord { .. })));
    spool.unlink(journal).unwrap();
    spool.unlink(journal).unwrap();
    assert_eq!(spool.stats().unwrap().journals, 0);
    assert!(matches!(spool.reader(&after), Err(SpoolError::Missing(_))));
    assert!(matches!(spool.records(journal, 0), Err(SpoolError::Missing(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_journal_is_known_by_its_headers_and_not_when_it_is_damaged() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut writer = spool.writer();
    let mut places = Vec::new();
    for number in 0..3 {
        places.push(store(&mut writer, number, &data_set(number, 5000)).await.unwrap());
    }
    let journal = places[0].journal;
    assert_eq!(spool.end_of(journal).unwrap(), places[2].end());
    spool.punch(journal, &places[2..]).unwrap();
    assert_eq!(spool.end_of(journal).unwrap(), places[2].end(), "a purged record has been one");
    // A torn tail is no record.
    writer.begin(meta(9)).await.unwrap();
    writer.write(data_set(9, 700_000)).await.unwrap();
    writer.discard().await;
    assert_eq!(spool.end_of(journal).unwrap(), places[2].end());
    let file = spool.shared.open(journal, true).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"?", places[1].record + 40).unwrap();
    assert!(matches!(spool.end_of(journal), Err(SpoolError::Damaged { .. })));
    let nothing = JournalId::generate();
    std::fs::write(spool.shared.path(nothing), b"NEISSEJ1").unwrap();
    assert_eq!(spool.end_of(nothing).unwrap(), 0, "killed before its first record");
}

#[tokio::test(flavor = "multi_thread")]
async fn room_that_a_killed_process_reserved_ahead_is_given_back() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut writer = spool.writer();
    let place = store(&mut writer, 1, &data_set(1, 600_000)).await.unwrap();
    let ahead = spool.stats().unwrap().bytes_on_disk;
    assert!(ahead > 8 << 20, "a large instance reserves {ahead}");
    // Killed: the writer never closes its journal.
    std::mem::forget(writer);
    drop(spool);
    let copy = TempDir::new().unwrap();
    std::fs::rename(
        dir.path().join(format!("{}.journal", place.journal)),
        copy.path().join(format!("{}.journal", place.journal)),
    )
    .unwrap();
    let spool = spool_in(&copy);
    assert!(spool.stats().unwrap().bytes_on_disk < 2 << 20);
    assert_eq!(read_all(spool.reader(&place).unwrap()).await.unwrap(), data_set(1, 600_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_reserve_holds_from_the_next_instance_on() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut writer = spool.writer();
    store(&mut writer, 1, &data_set(1, 10)).await.unwrap();
    spool.set_reserve(u64::MAX);
    assert!(matches!(writer.begin(meta(2)).await, Err(SpoolError::BelowReserve { .. })));
    spool.set_reserve(0);
    store(&mut writer, 2, &data_set(2, 10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_bytes_are_never_handed_out_to_the_end() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut writer = spool.writer();
    for size in [1_usize, 36 << 10, 900_000] {
        let place = store(&mut writer, 1, &data_set(1, size)).await.unwrap();
        let file = spool.shared.open(place.journal, true).unwrap();
        let flipped = data_set(1, size)[size / 2] ^ 1;
        std::os::unix::fs::FileExt::write_all_at(&file, &[flipped], place.data + size as u64 / 2).unwrap();
        for mut reader in [spool.reader(&place).unwrap(), spool.reader_by_crc(&place).unwrap()] {
            let mut into = BytesMut::new();
            let error = loop {
                match reader.read(&mut into, usize::MAX).await {
                    Ok(0) => panic!("read to the end"),
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(into.len() < size);
            assert_eq!(reader.verified(), Verified::Differs);
            assert!(reader.read(&mut into, 1).await.is_err(), "and not by asking again");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compared_by_its_crc_is_read_whole_and_not_when_it_has_left_the_disk() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut writer = spool.writer();
    let place = store(&mut writer, 1, &data_set(1, 900_000)).await.unwrap();
    store(&mut writer, 2, &data_set(2, 10)).await.unwrap();
    assert_eq!(read_all(spool.reader_by_crc(&place).unwrap()).await.unwrap(), data_set(1, 900_000));
    writer.close().await;
    spool.punch(place.journal, &[place]).unwrap();
    assert!(matches!(spool.reader_by_crc(&place), Err(SpoolError::NoSuchRecord { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meta_that_does_not_fit_is_refused() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut writer = spool.writer();
    let too_long = RecordMeta { calling_ae: "A".repeat(65), ..meta(1) };
    assert!(matches!(writer.begin(too_long).await, Err(SpoolError::MetaTooLong("calling AE title"))));
    let longest = Uid::new(&"1".repeat(64)).unwrap();
    let long = RecordMeta {
        origin: PartnerId::new(&"p".repeat(32)).unwrap(),
        calling_ae: "A".repeat(64),
        called_ae: "B".repeat(64),
        sop_class: longest.clone(),
        sop_instance: longest.clone(),
        transfer_syntax: longest,
        received: Moment(-1),
    };
    writer.begin(long.clone()).await.unwrap();
    let place = writer.commit().await.unwrap();
    assert_eq!(spool.records(place.journal, 0).unwrap().next().unwrap().unwrap(), (long, place));
}

#[tokio::test(flavor = "multi_thread")]
async fn associations_one_after_another_share_a_journal_and_those_at_one_time_do_not() {
    let dir = TempDir::new().unwrap();
    let spool = spool_in(&dir);
    let mut places = Vec::new();
    for number in 0..5 {
        let mut writer = spool.writer();
        places.push(store(&mut writer, number, &data_set(number, 3000)).await.unwrap());
        // One that received half an instance more leaves no trace of it.
        writer.begin(meta(99)).await.unwrap();
        writer.write(data_set(99, 2_000_000)).await.unwrap();
        writer.close().await;
    }
    let journal = places[0].journal;
    assert!(places.iter().all(|place| place.journal == journal));
    let (mut one, mut other) = (spool.writer(), spool.writer());
    let first = store(&mut one, 5, &data_set(5, 3000)).await.unwrap();
    let second = store(&mut other, 6, &data_set(6, 3000)).await.unwrap();
    assert!(first.journal == journal && second.journal != journal);
    assert!(matches!(spool.retire(journal), Err(SpoolError::InUse(_))));
    one.close().await;
    assert_eq!(spool.stats().unwrap().open_journals, 1);
    // Retired, it is not taken up any more, and can go.
    spool.retire(journal).unwrap();
    let mut next = spool.writer();
    assert_ne!(store(&mut next, 7, &data_set(7, 10)).await.unwrap().journal, journal);
    places.push(first);
    let found: Vec<_> = spool.records(journal, 0).unwrap().map(|found| found.unwrap().1).collect();
    assert_eq!(found, places);
    spool.unlink(journal).unwrap();
    assert!(matches!(spool.reader(&first), Err(SpoolError::Missing(_))));
}
