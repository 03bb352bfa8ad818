//! Journals cut or changed at every place: what lies before is found exactly, nothing is invented, and damage in the
//! middle is said.

use super::*;
use proptest::prelude::*;

struct Journal {
    dir: TempDir,
    id: JournalId,
    bytes: Vec<u8>,
    records: Vec<(RecordMeta, JournalPlace)>,
}

/// A journal as a killed process leaves it: whole records, then what was made ahead or was still arriving.
fn journal(sizes: &[usize], unfinished: usize) -> Journal {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = TempDir::new().unwrap();
        let spool = spool_in(&dir);
        let mut writer = spool.writer();
        let mut records = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            let number = number as u64;
            records.push((meta(number), store(&mut writer, number, &data_set(number, *size)).await.unwrap()));
        }
        writer.begin(meta(99)).await.unwrap();
        writer.write(data_set(99, unfinished)).await.unwrap();
        let id = records[0].1.journal;
        let bytes = fs::read(spool.shared.path(id)).unwrap();
        writer.close().await;
        Journal { dir, id, bytes, records }
    })
}

impl Journal {
    /// Walks `bytes` in the journal's place.
    fn walk(&self, bytes: &[u8]) -> Result<Vec<<Records as Iterator>::Item>, SpoolError> {
        let spool = spool_in(&self.dir);
        fs::write(spool.shared.path(self.id), bytes).unwrap();
        Ok(spool.records(self.id, 0)?.collect())
    }

    /// Records that end at or before `length`.
    fn whole_in(&self, length: usize) -> &[(RecordMeta, JournalPlace)] {
        let whole = self.records.iter().filter(|(_, place)| place.data + place.length <= length as u64).count();
        &self.records[..whole]
    }
}

#[test]
fn a_killed_process_leaves_exactly_what_it_had_committed() {
    for unfinished in [0, 100, 300_000] {
        let journal = journal(&[36 << 10, 5000, 526 << 10, 0, 36 << 10], unfinished);
        let found: Vec<_> = journal.walk(&journal.bytes).unwrap().into_iter().map(Result::unwrap).collect();
        assert_eq!(found, journal.records);
    }
}

#[test]
fn a_journal_cut_at_any_byte_keeps_what_lies_before() {
    let journal = journal(&[700, 0, 5000, 3584], 0);
    let end = journal.records.last().map(|(_, place)| (place.data + place.length) as usize).unwrap();
    let spool = spool_in(&journal.dir);
    let file = spool.shared.open(journal.id, true).unwrap();
    for length in (0..=end).rev() {
        file.set_len(length as u64).unwrap();
        match spool.records(journal.id, 0) {
            Err(SpoolError::NotAJournal(_)) => assert!(length < format::FILE_HEADER, "{length}"),
            Err(error) => panic!("{length}: {error}"),
            Ok(found) => {
                let found: Vec<_> = found.map(Result::unwrap).collect();
                assert_eq!(found, journal.whole_in(length), "cut at {length}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One byte, or a run of them, is not what it was.
    #[test]
    fn damage_loses_the_record_it_hits_says_so_and_invents_nothing(
        sizes in prop::collection::vec(0_usize..20_000, 1..6),
        hits in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..5000, any::<u8>()), 1..3),
    ) {
        let journal = journal(&sizes, 0);
        let mut bytes = journal.bytes.clone();
        for (at, length, value) in &hits {
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + length);
            bytes[at..end].fill(*value);
        }
        let same = |from: u64, to: u64| {
            let range = from as usize..to as usize;
            bytes[range.clone()] == journal.bytes[range]
        };
        let untouched = |place: &JournalPlace| same(place.record, place.data + place.length);
        let Ok(found) = journal.walk(&bytes) else {
            prop_assert_ne!(&bytes[..format::FILE_HEADER], &journal.bytes[..format::FILE_HEADER]);
            return Ok(());
        };
        let whole: Vec<_> = found.iter().flatten().cloned().collect();
        let wanted: Vec<_> = journal.records.iter().filter(|(_, place)| untouched(place)).cloned().collect();
        prop_assert_eq!(&whole, &wanted);
        let said = found.iter().any(Result::is_err);
        let lost_before_whole = journal.records.iter().zip(&wanted).any(|(all, whole)| all != whole);
        prop_assert!(said || !lost_before_whole, "damage with whole records behind it is said");
        // A header behind it is enough to know that something was there.
        let behind = journal.records.iter().rposition(|(_, place)| same(place.record, place.data)).unwrap_or(0);
        let lost_before_header = journal.records[..behind].iter().any(|(_, place)| !untouched(place));
        prop_assert!(!said || lost_before_header, "and a torn end is not");
    }
}
