//! Every kind of matching as a table, the forbidden cells too; properties of wild cards and ranges.

use super::*;
use dicom_core::{DataElement, PrimitiveValue, value::DataSetSequence};
use proptest::prelude::*;

fn set(elements: &[(Tag, VR, &str)]) -> DataSet {
    let mut set = DataSet::new_empty();
    for (tag, vr, text) in elements {
        let value = if text.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(*text) };
        set.put(DataElement::new(*tag, *vr, value));
    }
    set
}

/// Sequences of undefined length are never equal in dicom-core.
fn said(set: &DataSet) -> String {
    format!("{set:?}")
}

fn within(tag: Tag, items: Vec<DataSet>) -> DataSet {
    let mut set = DataSet::new_empty();
    set.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
    set
}

fn fits(tag: Tag, vr: VR, key: &str, known: &str, options: MatchOptions) -> bool {
    matches(&set(&[(tag, vr, key)]), &set(&[(tag, vr, known)]), options)
}

fn all(cells: &[(Tag, VR, &str, &str, bool)], options: MatchOptions) {
    for (tag, vr, key, known, expected) in cells {
        assert_eq!(fits(*tag, *vr, key, known, options), *expected, "{vr:?} {key:?} on {known:?}");
    }
}

#[test]
fn texts_are_matched_as_they_are_and_by_wild_cards() {
    let (id, modality, station) = (tags::PATIENT_ID, tags::MODALITY, tags::SCHEDULED_STATION_AE_TITLE);
    all(
        &[
            (id, VR::LO, "", "77-12", true),
            (id, VR::LO, "*", "77-12", true),
            (id, VR::LO, "77-12 ", "77-12", true),
            (id, VR::LO, "77", "77-12", false),
            (id, VR::LO, "77*", "77-12", true),
            (id, VR::LO, "77*1?", "77-12", true),
            (id, VR::LO, "77?12?", "77-12", false),
            (id, VR::LO, "ab", "AB", false),
            (id, VR::LO, "\u{e4}", "\u{e4}", true),
            (modality, VR::CS, "CT", "CT", true),
            (modality, VR::CS, "CT\\MR", "MR", true),
            (modality, VR::CS, "C?", "CT", true),
            (modality, VR::CS, "ct", "CT", false),
            (station, VR::AE, " RAB_CT1 ", "RAB_CT1", true),
            (tags::PATIENT_COMMENTS, VR::LT, "a\\b", "a\\b", true),
            (tags::PATIENT_COMMENTS, VR::LT, "b", "a\\b", false),
        ],
        MatchOptions::default(),
    );
}

/// Only where the VR allows them: elsewhere a star is no wild card (PS3.4 C.2.2.2.4).
#[test]
fn numbers_and_uids_have_no_wild_cards() {
    all(
        &[
            (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3", "1.2.3", true),
            (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3\\1.2.4", "1.2.4", true),
            (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.*", "1.2.3", false),
            (tags::STUDY_INSTANCE_UID, VR::UI, "1.2", "1.2.3", false),
            (tags::STUDY_DATE, VR::DA, "2026*", "20261124", false),
            (tags::SERIES_NUMBER, VR::IS, "1", "1", true),
            (tags::SERIES_NUMBER, VR::IS, "+1", "01", true),
            (tags::SERIES_NUMBER, VR::IS, "1*", "12", false),
            (tags::PATIENT_WEIGHT, VR::DS, "70", "70.0", true),
            (tags::PATIENT_WEIGHT, VR::DS, "70-80", "75", false),
        ],
        MatchOptions::default(),
    );
}

#[test]
fn dates_and_times_are_matched_by_what_they_mean() {
    let (da, tm, dt) = (tags::STUDY_DATE, tags::STUDY_TIME, tags::SCHEDULED_PROCEDURE_STEP_START_DATE_TIME);
    all(
        &[
            (da, VR::DA, "20261124", "20261124", true),
            (da, VR::DA, "2026.11.24", "20261124", true),
            (da, VR::DA, "20261123", "20261124", false),
            (da, VR::DA, "20261101-20261130", "20261124", true),
            (da, VR::DA, "20261124 - 20261124", "20261124", true),
            (da, VR::DA, "-20261124", "20261124", true),
            (da, VR::DA, "-20261123", "20261124", false),
            (da, VR::DA, "20261124-", "20261124", true),
            (da, VR::DA, "20261125-", "20261124", false),
            (da, VR::DA, "20261130-20261101", "20261124", false),
            (da, VR::DA, "-", "20261124", false),
            (da, VR::DA, "20261332", "20261124", false),
            (tm, VR::TM, "2230", "223000", true),
            (tm, VR::TM, "22:30", "223000", true),
            (tm, VR::TM, "223000", "2230", true),
            (tm, VR::TM, "2231", "223000", false),
            (tm, VR::TM, "1000-1800", "1800", true),
            (tm, VR::TM, "1000-1759", "1800", false),
            (tm, VR::TM, "2200-0600", "2330", true),
            (tm, VR::TM, "2200-0600", "0530", true),
            (tm, VR::TM, "2200-0600", "1200", false),
            (tm, VR::TM, "-0600", "2330", false),
            (tm, VR::TM, "2500", "2330", false),
            (dt, VR::DT, "19980128103000.0000", "19980128103000", true),
            (dt, VR::DT, "2026", "20261124103000", true),
            (dt, VR::DT, "202610", "20261124103000", false),
            (dt, VR::DT, "20261124-20261125", "20261125235959", true),
            (dt, VR::DT, "-20261124", "20261124235959", true),
            (dt, VR::DT, "20261124103000+0100", "20261124093000+0000", true),
            (dt, VR::DT, "20261124103000-0500", "20261124153000+0000", true),
            (dt, VR::DT, "20261124103000-0500-", "20261124153000+0000", true),
            (dt, VR::DT, "20261124103000-0500-20261124104000-0500", "20261124153500+0000", true),
            (dt, VR::DT, "20261124103000-0500-20261124104000-0500", "20261124103500+0000", false),
        ],
        MatchOptions::default(),
    );
}

#[test]
fn a_moment_without_an_offset_is_in_the_time_zone() {
    let (dt, berlin) = (tags::SCHEDULED_PROCEDURE_STEP_START_DATE_TIME, Some(chrono_tz::Europe::Berlin));
    let options = MatchOptions { time_zone: berlin, ..MatchOptions::default() };
    all(
        &[
            (dt, VR::DT, "20261124103000", "20261124093000+0000", true),
            (dt, VR::DT, "20260724103000", "20260724083000+0000", true),
            // The hour that comes twice, and the one that never comes.
            (dt, VR::DT, "202610250230", "20261025003000+0000", true),
            (dt, VR::DT, "202610250230", "20261025013000+0000", true),
            (dt, VR::DT, "202603290230", "20260329013000+0000", true),
        ],
        options,
    );
}

/// PS3.4 Table K.6-1: July 5 to July 7, 10am to 6pm, is one time.
#[test]
fn ranges_of_date_and_time_are_one_range_where_combined() {
    let (da, tm) = (tags::SCHEDULED_PROCEDURE_STEP_START_DATE, tags::SCHEDULED_PROCEDURE_STEP_START_TIME);
    let asked = |dates: &str, times: &str| set(&[(da, VR::DA, dates), (tm, VR::TM, times)]);
    let combined = MatchOptions { combined_datetime: true, ..MatchOptions::default() };
    for (dates, times, date, time, together, apart) in [
        ("20060705-20060707", "1000-1800", "20060706", "2000", true, false),
        ("20060705-20060707", "1000-1800", "20060705", "0900", false, false),
        ("20060705-20060707", "1000-1800", "20060707", "1801", false, false),
        ("20060705-20060707", "1000-1800", "20060706", "1200", true, true),
        ("20060705-20060706", "2200-0600", "20060706", "0300", true, true),
        ("20060705-20060706", "2200-0600", "20060705", "0300", false, true),
        ("20060705-", "1000-", "20060706", "0900", true, false),
        ("-20060707", "-1000", "20060706", "1100", true, false),
        // Not of the same form, or no ranges: each by itself.
        ("20060705-", "-1000", "20060706", "1100", false, false),
        ("20060706", "1000-1800", "20060706", "2000", false, false),
        ("20060705-20060707", "", "20060706", "2000", true, true),
        ("20060705-20060707", "1000-1800", "20060706", "", true, false),
        ("20060705-20060707", "1000-1800", "", "1200", false, false),
    ] {
        let known = asked(date, time);
        assert_eq!(matches(&asked(dates, times), &known, combined), together, "{dates} {times} on {date} {time}");
        assert_eq!(matches(&asked(dates, times), &known, MatchOptions::default()), apart, "{dates} {times} apart");
    }
}

#[test]
fn names_are_matched_without_case_and_accents_unless_told_otherwise() {
    let name = tags::PATIENT_NAME;
    let with = |names| MatchOptions { names, ..MatchOptions::default() };
    for (key, known, exact, folded, fuzzy) in [
        ("Müller^Jürgen", "Müller^Jürgen", true, true, true),
        ("MULLER^JURGEN", "Müller^Jürgen", false, true, true),
        ("muller*", "Müller^Jürgen", false, true, true),
        ("Müller", "Müller^Jürgen", false, false, true),
        ("Müller*", "Müller^Jürgen", true, true, true),
        ("*^Jü*", "Müller^Jürgen", true, true, false),
        ("Müller^Jürgen^^^", "Müller^Jürgen", true, true, true),
        ("jur mul", "Müller^Jürgen", false, false, true),
        ("Swiatek^L?cja", "Świątek^Łucja", false, true, true),
        ("Meier", "Müller^Jürgen", false, false, false),
        ("王^小東", "Wang^XiaoDong=王^小東=", true, true, true),
        ("Wang^XiaoDong", "Wang^XiaoDong=王^小東", true, true, true),
        ("=王^*", "Wang^XiaoDong=王^小東", true, true, false),
        ("=李^*", "Wang^XiaoDong=王^小東", false, false, false),
        ("Wang^XiaoDong=王^小東", "Wang^XiaoDong", false, false, false),
    ] {
        for (how, expected) in [(Names::Exact, exact), (Names::Folded, folded)] {
            assert_eq!(fits(name, VR::PN, key, known, with(how)), expected, "{how:?} {key} on {known}");
        }
        if !key.contains('*') || !key.contains('^') {
            assert_eq!(fits(name, VR::PN, key, known, with(Names::Fuzzy)), fuzzy, "fuzzy {key} on {known}");
        }
    }
}

#[test]
fn an_unknown_value_fits_none_in_a_worklist_and_all_in_what_is_held() {
    for unknown_matches in [false, true] {
        let options = MatchOptions { unknown_matches, ..MatchOptions::default() };
        assert_eq!(fits(tags::PATIENT_ID, VR::LO, "77", "", options), unknown_matches);
        assert_eq!(fits(tags::STUDY_DATE, VR::DA, "20261124", "", options), unknown_matches);
        assert!(fits(tags::PATIENT_ID, VR::LO, "", "", options));
        assert!(fits(tags::PATIENT_ID, VR::LO, "*", "", options));
        assert!(fits(tags::PATIENT_ID, VR::LO, "\"\"", "", options));
        assert!(!fits(tags::PATIENT_ID, VR::LO, "\"\"", "77", options));
    }
}

#[test]
fn a_key_that_the_candidate_does_not_have_is_not_supported() {
    let keys = set(&[(tags::PATIENT_ID, VR::LO, "77"), (tags::OCCUPATION, VR::SH, "Miner")]);
    let candidate = set(&[(tags::PATIENT_ID, VR::LO, "77"), (tags::PATIENT_SEX, VR::CS, "F")]);
    assert!(matches(&keys, &candidate, MatchOptions::default()));
    assert!(!supports_all(&keys, &candidate));
    assert!(supports_all(&set(&[(tags::PATIENT_ID, VR::LO, "77")]), &candidate));
    assert_eq!(returned(&keys, &candidate), set(&[(tags::PATIENT_ID, VR::LO, "77")]));
}

#[test]
fn one_item_of_a_sequence_has_to_fit_all_its_keys() {
    let sequence = tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE;
    let item = |modality: &str, station: &str| {
        set(&[(tags::MODALITY, VR::CS, modality), (tags::SCHEDULED_STATION_AE_TITLE, VR::AE, station)])
    };
    let candidate = within(sequence, vec![item("CT", "CT1"), item("MR", "MR1")]);
    let options = MatchOptions::default();
    for (keys, expected) in [
        (vec![], true),
        (vec![DataSet::new_empty()], true),
        (vec![item("", "")], true),
        (vec![item("CT", "")], true),
        (vec![item("CT", "CT1")], true),
        (vec![item("CT", "MR1")], false),
        (vec![item("US", "")], false),
    ] {
        assert_eq!(matches(&within(sequence, keys.clone()), &candidate, options), expected, "{keys:?}");
    }
    let nothing = within(sequence, vec![]);
    assert!(matches(&within(sequence, vec![item("", "")]), &nothing, options));
    assert!(!matches(&within(sequence, vec![item("CT", "")]), &nothing, options));
    let asked = within(sequence, vec![set(&[(tags::MODALITY, VR::CS, "MR")])]);
    let answer = within(sequence, vec![set(&[(tags::MODALITY, VR::CS, "MR")])]);
    assert_eq!(said(&returned(&asked, &candidate)), said(&answer), "only the item that matches, with what is asked");
    assert_eq!(said(&returned(&within(sequence, vec![]), &candidate)), said(&candidate));
    assert_eq!(said(&returned(&within(sequence, vec![DataSet::new_empty()]), &candidate)), said(&candidate));
}

#[test]
fn what_cannot_be_matched_on_is_named() {
    let sequence = tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE;
    for (keys, refused) in [
        (set(&[(tags::STUDY_DATE, VR::DA, "yesterday")]), Some(tags::STUDY_DATE)),
        (set(&[(tags::STUDY_DATE, VR::DA, "20261101-20261130")]), None),
        (set(&[(tags::STUDY_DATE, VR::DA, "*")]), None),
        (set(&[(tags::STUDY_TIME, VR::TM, "10-")]), None),
        (set(&[(tags::STUDY_TIME, VR::TM, "1000-2500")]), Some(tags::STUDY_TIME)),
        (set(&[(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3\\../x")]), Some(tags::STUDY_INSTANCE_UID)),
        (set(&[(tags::PATIENT_NAME, VR::PN, &"*a".repeat(600))]), Some(tags::PATIENT_NAME)),
        // Each value is tried on every candidate; UIDs are looked up.
        (set(&[(tags::MODALITY, VR::CS, &["CT"; 16].join("\\"))]), None),
        (set(&[(tags::MODALITY, VR::CS, &["CT"; 17].join("\\"))]), Some(tags::MODALITY)),
        (set(&[(tags::STUDY_INSTANCE_UID, VR::UI, &["1.2.3"; 10_000].join("\\"))]), None),
        (set(&[(tags::STUDY_INSTANCE_UID, VR::UI, &["1.2.3"; 10_001].join("\\"))]), Some(tags::STUDY_INSTANCE_UID)),
        (set(&[(tags::PATIENT_NAME, VR::PN, &["*abc"; 16].join("\\"))]), None),
        (set(&[(tags::PATIENT_NAME, VR::PN, &["*a".repeat(200).as_str(); 16].join("\\"))]), Some(tags::PATIENT_NAME)),
        (within(sequence, vec![DataSet::new_empty(); 2]), Some(sequence)),
        (within(sequence, vec![set(&[(tags::STUDY_DATE, VR::DA, "x")])]), Some(tags::STUDY_DATE)),
    ] {
        assert_eq!(check(&keys).err(), refused);
    }
    let mut deep = DataSet::new_empty();
    for _ in 0..20 {
        deep = within(sequence, vec![deep]);
    }
    assert_eq!(check(&deep), Err(sequence));
    assert!(matches(&deep, &deep, MatchOptions::default()) || check(&deep).is_err());
}

/// What a pattern means, by trying everything.
fn slowly(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), _) => (0..=text.len()).any(|skipped| slowly(rest, &text[skipped..])),
        (Some((wanted, pattern)), Some((letter, text))) => {
            (*wanted == '?' || wanted == letter) && slowly(pattern, text)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn wild_cards_mean_what_trying_everything_finds(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(text::wild(&pattern, &text), slowly(&letters(&pattern), &letters(&text)));
    }

    #[test]
    fn a_day_is_in_a_range_when_it_is_between_its_ends(from in 0..3000_i64, length in 0..300_i64, at in 0..3500_i64) {
        let day = |number: i64| (chrono::NaiveDate::from_ymd_opt(2020, 1, 1)
            .expect("a day") + chrono::Duration::days(number)).format("%Y%m%d").to_string();
        let key = format!("{}-{}", day(from), day(from + length));
        let expected = at >= from && at <= from + length;
        prop_assert_eq!(fits(tags::STUDY_DATE, VR::DA, &key, &day(at), MatchOptions::default()), expected);
    }

    #[test]
    fn whatever_is_asked_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz_matching(&bytes);
    }

    #[test]
    fn dates_and_times_of_any_kind_are_answered(how in any::<u16>(), key in "[0-9.:+*-]{0,24}", known in "[0-9.:+-]{0,20}") {
        let mut bytes = how.to_be_bytes().to_vec();
        bytes.extend(format!("{key}\n{known}").bytes());
        fuzz_matching(&bytes);
    }
}

/// The worst pattern there may be, on the longest text: well below a second even unoptimised.
#[test]
fn a_hostile_pattern_takes_no_time() {
    let started = std::time::Instant::now();
    assert!(!text::wild(&"*a".repeat(512), &"a".repeat(511)));
    assert!(!text::wild(&format!("*{}b", "a".repeat(1000)), &"a".repeat(10_000)));
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

/// The longest list of UIDs, and the worst keys that pass, on many candidates: read once, not for each.
#[test]
fn hostile_keys_take_no_time_on_many_candidates() {
    let uids: Vec<String> = (0..10_000).map(|number| format!("1.2.826.0.1.3680043.8.498.{number}")).collect();
    let dashes = "-".repeat(1000);
    let keys = set(&[(tags::STUDY_INSTANCE_UID, VR::UI, &uids.join("\\")), (tags::STUDY_DATE, VR::DA, &dashes)]);
    let known = set(&[(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3"), (tags::STUDY_DATE, VR::DA, "20261124")]);
    let prepared = Prepared::new(&keys, MatchOptions::default());
    let started = std::time::Instant::now();
    assert!((0..10_000).all(|_| !prepared.fits(&known)));
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
}
