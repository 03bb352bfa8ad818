//! The networks' nights as tables: who reads when.

use super::*;
use crate::config;
use crate::model::{Discipline, Priority, ReadingMode};
use std::path::Path;

/// The example installation itself, so that it stays true.
fn example() -> Rules {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let config = config::load(&folder).unwrap_or_else(|problems| panic!("{problems}"));
    Rules::compile(&config).expect("rules")
}

fn case(from: &str, modality: &str) -> CaseFacts {
    CaseFacts {
        origin: PartnerId::new(from).expect("an id"),
        discipline: Discipline::of_modality(modality),
        modality: modality.to_owned(),
        priority: Priority::Routine,
        body_part: String::new(),
        description: String::new(),
        calling_ae: String::new(),
        called_ae: "NEISSE".to_owned(),
        age_years: Some(55),
    }
}

fn at(text: &str) -> Moment {
    Moment::from_utc(text.parse().expect("an instant"))
}

fn reader(rules: &Rules, facts: &CaseFacts, when: &str) -> String {
    match decide(facts, rules, at(when)).disposition {
        Disposition::Read(reading) => reading.reader().map_or(String::new(), ToString::to_string),
        Disposition::Hold { .. } => "held".to_owned(),
    }
}

#[test]
fn chemnitz_nights_to_the_minute() {
    let rules = example();
    let table = [
        ("2026-11-24T10:00:00Z", "rabenstein", "an ordinary Tuesday"),
        ("2026-11-24T16:59:59Z", "rabenstein", "the last second of the day"),
        ("2026-11-24T17:00:00Z", "chemnitz", "six in the evening"),
        ("2026-11-25T05:59:50Z", "chemnitz", "06:59:50"),
        ("2026-11-25T06:00:00Z", "rabenstein", "seven in the morning"),
        ("2026-11-22T23:00:00Z", "chemnitz", "Monday 00:00"),
        ("2026-11-23T05:59:59Z", "chemnitz", "Monday 06:59:59"),
        ("2026-11-18T11:00:00Z", "chemnitz", "Buß- und Bettag"),
        ("2025-10-31T11:00:00Z", "chemnitz", "Reformationstag, a Friday"),
        ("2026-10-03T11:00:00Z", "chemnitz", "the Day of German Unity"),
        ("2027-03-28T00:59:00Z", "chemnitz", "before the clock is put forward"),
        ("2027-03-28T01:00:00Z", "chemnitz", "after it"),
        ("2026-10-25T00:30:00Z", "chemnitz", "the first 02:30"),
        ("2026-10-25T01:30:00Z", "chemnitz", "the second 02:30"),
        ("2026-10-26T05:59:00Z", "chemnitz", "Monday 06:59 after the clocks changed"),
        ("2026-10-26T06:00:00Z", "rabenstein", "Monday 07:00"),
    ];
    for (when, wanted, what) in table {
        assert_eq!(reader(&rules, &case("rabenstein", "CT"), when), wanted, "{what}");
    }
    assert_eq!(reader(&rules, &case("rabenstein", "US"), "2026-11-24T23:00:00Z"), "rabenstein", "never transferred");
}

#[test]
fn a_decision_says_everything_about_itself() {
    let rules = example();
    let decision = decide(&case("lichtenstein", "CT"), &rules, at("2026-12-24T22:10:00Z"));
    let Disposition::Read(reading) = &decision.disposition else { panic!("{decision:?}") };
    assert_eq!(reading.rule, "DRK hospitals by night");
    assert_eq!(joined(&reading.readers), "chemnitz, then leipzig-ukl");
    assert_eq!(reading.reading_mode, ReadingMode::Teleradiology);
    assert_eq!(reading.window_ends, Some(at("2026-12-28T06:00:00Z")));
    assert_eq!(reading.claim_within, Some(std::time::Duration::from_secs(600)));
    assert_eq!(decision.reasons.len(), 4, "one for each rule looked at: {:?}", decision.reasons);
    assert!(decision.reasons[0].contains("no, from is lichtenstein, the rule asks for harz"));
    assert!(decision.reasons[3].starts_with("4. \"DRK hospitals by night\": yes"));
    assert_eq!(decision.rules_version, rules.version());
    let day = decide(&case("lichtenstein", "CT"), &rules, at("2026-11-24T10:00:00Z"));
    let Disposition::Read(reading) = &day.disposition else { panic!("{day:?}") };
    assert_eq!(reading.reading_mode, ReadingMode::OnSite, "the default where the origin reads");
}

#[test]
fn strokes_go_to_radiologist_and_neurologist_at_any_hour() {
    let rules = example();
    let mut stroke = case("harz", "CT");
    stroke.priority = Priority::Stat;
    stroke.body_part = "HEAD".to_owned();
    for when in ["2026-11-24T10:00:00Z", "2026-11-25T02:00:00Z", "2026-12-25T12:00:00Z"] {
        let Disposition::Read(reading) = decide(&stroke, &rules, at(when)).disposition else { panic!("held {when}") };
        assert_eq!(joined(&reading.readers), "magdeburg");
        assert_eq!(joined(&reading.also_to), "magdeburg-neurology");
    }
    stroke.body_part = " knee ".to_owned();
    assert_eq!(reader(&rules, &stroke, "2026-11-25T02:00:00Z"), "harz", "padding and case of a code mean nothing");
}

#[test]
fn children_words_and_ages_are_told_apart() {
    let rules = example();
    let mut child = case("leipzig-georg", "CR");
    child.age_years = Some(17);
    assert_eq!(reader(&rules, &child, "2026-11-24T10:00:00Z"), "leipzig-ukl");
    child.age_years = Some(18);
    assert_eq!(reader(&rules, &child, "2026-11-24T10:00:00Z"), "leipzig-georg");
    child.age_years = None;
    assert_eq!(reader(&rules, &child, "2026-11-24T10:00:00Z"), "leipzig-georg", "an unknown age matches no age");
    child.description = "CT Thorax STAGING bei Müller".to_owned();
    let decision = decide(&child, &rules, at("2026-11-24T10:00:00Z"));
    let Disposition::Read(reading) = &decision.disposition else { panic!("{decision:?}") };
    assert_eq!(reading.reading_mode, ReadingMode::Consultation);
    assert!(!decision.reasons.join(" ").contains("Müller"), "the description stays with the case");
}

#[test]
fn three_countries_keep_their_own_holidays() {
    let rules = example();
    let noon = |date: &str| format!("{date}T11:00:00Z");
    for (date, poland, czechia) in [
        ("2026-11-11", "goerlitz", "liberec"),
        ("2026-11-17", "zgorzelec", "goerlitz"),
        ("2026-10-28", "zgorzelec", "goerlitz"),
        ("2026-12-01", "zgorzelec", "liberec"),
    ] {
        assert_eq!(reader(&rules, &case("zgorzelec", "CT"), &noon(date)), poland, "{date}");
        assert_eq!(reader(&rules, &case("liberec", "CT"), &noon(date)), czechia, "{date}");
    }
}

#[test]
fn what_no_rule_fits_is_held_with_a_reason() {
    let rules = example();
    let decision = decide(&case("chemnitz", "CT"), &rules, at("2026-11-24T10:00:00Z"));
    let Disposition::Hold { reason } = &decision.disposition else { panic!("{decision:?}") };
    assert!(reason.contains("a person must say who reads this"), "{reason}");
    assert_eq!(decision.reasons.len(), rules.routes.len() + 1);
    assert!(decision.reasons.last().is_some_and(|last| last.starts_with("held: ")));
}

proptest::proptest! {
    #[test]
    fn deciding_never_panics_and_is_repeatable(
        modality in ".{0,20}", body_part in ".{0,20}", description in ".{0,40}", age in proptest::option::of(0u32..200),
        micros in -5_000_000_000_000_000i64..5_000_000_000_000_000,
    ) {
        use std::sync::LazyLock;
        static RULES: LazyLock<Rules> = LazyLock::new(example);
        let facts = CaseFacts { modality, body_part, description, age_years: age, ..case("leipzig-georg", "CT") };
        let once = decide(&facts, &RULES, Moment(micros));
        proptest::prop_assert_eq!(&once, &decide(&facts, &RULES, Moment(micros)));
        proptest::prop_assert!(!once.reasons.is_empty());
    }
}
