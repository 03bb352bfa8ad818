//! Gaps, dead rules and clock changes, found in small installations; and a large one within its time.

use super::*;
use crate::config;
use crate::model::Moment;
use std::collections::BTreeMap;
use std::path::Path;

const NODE: &str = "[node]\nname = \"neisse-1\"\n";

fn partner(ae: &str) -> String {
    let net = "country = \"DE\"\ntime_zone = \"Europe/Berlin\"\nissuer = \"X\"\n[dicom]\n";
    let deliver = "deliver = { ae_title = \"PACS\", host = \"10.0.0.1\", port = 104 }\n";
    format!("name = \"{ae}\"\n{net}senders = [{{ ae_title = \"{ae}\" }}]\n{deliver}")
}

fn installation(calendars: &str, routes: &str, senders: &[&str]) -> (Config, Rules) {
    let mut files = BTreeMap::from([
        ("neisse.toml".to_owned(), NODE.to_owned()),
        ("calendars.toml".to_owned(), calendars.to_owned()),
        ("routes.toml".to_owned(), routes.to_owned()),
    ]);
    for sender in senders {
        files.insert(format!("partners/{sender}.toml"), partner(&sender.to_uppercase()));
    }
    let config = config::load_from(Path::new("."), &files, &|_| None).unwrap_or_else(|problems| panic!("{problems}"));
    let rules = Rules::compile(&config).expect("rules");
    (config, rules)
}

fn year() -> Interval {
    let at = |text: &str| Moment::from_utc(text.parse().expect("an instant"));
    Interval { start: at("2026-11-22T00:00:00Z"), end: at("2027-11-22T00:00:00Z") }
}

fn walk(calendars: &str, routes: &str, senders: &[&str]) -> Coverage {
    let (config, rules) = installation(calendars, routes, senders);
    coverage(&config, &rules, year())
}

fn calendar(name: &str, hours: &str) -> String {
    format!("[{name}]\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\nhours = \"{hours}\"\n")
}

fn day_and_night(weekend_until: &str) -> (String, String) {
    let night = format!("Mo-Fr 18:00-07:00; Sa,Su,PH 00:00-{weekend_until}");
    let calendars = format!("{}{}", calendar("night", &night), calendar("day", "Mo-Fr 07:00-18:00; PH off"));
    let route = |name: &str, to: &str| {
        format!("[[route]]\nname = \"{name}\"\nfrom = [\"rab\", \"lic\"]\nduring = \"{name}\"\nto = [\"{to}\"]\n")
    };
    (calendars, format!("{}{}", route("day", "origin"), route("night", "chemnitz")))
}

#[test]
fn the_monday_night_that_people_forget_is_named() {
    let (calendars, routes) = day_and_night("24:00");
    let found = walk(&calendars, &routes, &["rab", "lic", "chemnitz"]);
    let text: Vec<String> = found.gaps.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 1, "{text:?}");
    assert!(text[0].contains("lic, rab"), "{}", text[0]);
    assert!(text[0].contains("no reader Mo 00:00-07:00, first 2026-11-23T00:00 Europe/Berlin"), "{}", text[0]);
    assert_eq!(found.gaps[0].holes.len(), 51, "53 Mondays, of which Easter and Whit Monday are holidays");
}

#[test]
fn the_same_with_31_hours_is_whole() {
    let (calendars, routes) = day_and_night("31:00");
    let found = walk(&calendars, &routes, &["rab", "lic", "chemnitz"]);
    assert!(found.is_complete(), "{found:?}");
    assert_eq!(found.sources, 2, "chemnitz only reads");
    assert!(found.notes.iter().any(|note| note.contains("chemnitz: taken as readers only")), "{:?}", found.notes);
}

#[test]
fn every_hole_is_held_and_every_other_minute_is_read() {
    use super::super::decide::{CaseFacts, decide};
    use crate::model::{Disposition, Priority};
    let (calendars, routes) = day_and_night("24:00");
    let (config, rules) = installation(&calendars, &routes, &["rab", "lic", "chemnitz"]);
    let holes = coverage(&config, &rules, year()).gaps.remove(0).holes;
    let facts = CaseFacts {
        origin: PartnerId::new("rab").expect("an id"),
        discipline: Discipline::Radiology,
        modality: "CT".to_owned(),
        priority: Priority::Routine,
        body_part: String::new(),
        description: String::new(),
        calling_ae: "RAB".to_owned(),
        called_ae: "NEISSE".to_owned(),
        age_years: None,
    };
    let mut at = year().start;
    while at < year().end {
        let in_hole = holes.iter().any(|hole| hole.start <= at && at < hole.end);
        let held = matches!(decide(&facts, &rules, at).disposition, Disposition::Hold { .. });
        assert_eq!(held, in_hole, "{at}");
        at = at + Duration::from_secs(37 * 60);
    }
}

#[test]
fn a_discipline_or_priority_without_a_rule_is_a_gap() {
    let routes = "[[route]]\nname = \"ct\"\nmodality = \"CT\"\nnot_priority = \"stat\"\nto = [\"origin\"]\n\
                  [[route]]\nname = \"other\"\ndiscipline = \"radiology\"\nnot_modality = \"CT\"\nto = [\"origin\"]\n";
    let found = walk("", routes, &["rab"]);
    let text: Vec<String> = found.gaps.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["rab: radiology CT, stat\n    no reader at any time"]);
    assert!(found.notes.iter().any(|note| note.contains("no rule is for pathology")), "{:?}", found.notes);
}

#[test]
fn a_rule_that_can_never_match_is_named_with_the_reason() {
    let routes = "[[route]]\nname = \"all\"\nto = [\"origin\"]\n\
                  [[route]]\nname = \"late\"\nmodality = \"CT\"\nto = [\"chemnitz\"]\n";
    let found = walk("", routes, &["rab", "chemnitz"]);
    let dead: Vec<_> = found.dead.iter().map(|rule| (rule.number, rule.why.as_str())).collect();
    assert_eq!(dead, [(2, "every case it asks for is taken earlier, by 1. \"all\"")]);
    let impossible = "[[route]]\nname = \"odd\"\ndiscipline = \"pathology\"\nmodality = \"CT\"\nto = [\"origin\"]\n\
                      [[route]]\nname = \"all\"\nto = [\"origin\"]\n";
    let found = walk("", impossible, &["rab"]);
    assert_eq!(found.dead.first().map(|rule| rule.why.as_str()), Some("no case can meet its conditions together"));
    let never = "\
                 [[route]]\nname = \"once\"\nduring = \"past\"\nto = [\"origin\"]\n\
                 [[route]]\nname = \"all\"\nto = [\"origin\"]\n";
    let found = walk(&calendar("past", "2020 Jan 01 10:00-12:00"), never, &["rab"]);
    assert_eq!(found.dead.first().map(|rule| rule.why.as_str()), Some("its calendar \"past\" is not open once"));
}

#[test]
fn rules_that_complete_each_other_leave_no_gap_and_others_do() {
    let both = "[[route]]\nname = \"heads\"\nbody_part = \"HEAD\"\nto = [\"origin\"]\n\
                [[route]]\nname = \"rest\"\nnot_body_part = \"HEAD\"\nto = [\"origin\"]\n";
    assert!(walk("", both, &["rab"]).is_complete());
    let ages = "[[route]]\nname = \"young\"\nage_max = 17\nto = [\"origin\"]\n\
                [[route]]\nname = \"old\"\nage_min = 19\nto = [\"origin\"]\n";
    let found = walk("", ages, &["rab"]);
    let text = found.gaps.iter().map(ToString::to_string).collect::<String>();
    assert!(text.contains("(age not known, and 1 like it)"), "{text}");
}

#[test]
fn windows_that_the_clocks_touch_are_named() {
    let calendars = format!("{}{}", calendar("early", "02:15-02:45"), calendar("night", "18:00-07:00"));
    let routes = "[[route]]\nname = \"a\"\nduring = \"early\"\nto = [\"origin\"]\n\
                  [[route]]\nname = \"b\"\nduring = \"night\"\nto = [\"origin\"]\n\
                  [[route]]\nname = \"c\"\nto = [\"origin\"]\n";
    let lines = walk(&calendars, routes, &["rab"]).clock_changes;
    let expected = [
        "early: Su 2027-03-28, the clock goes from 02:00 to 03:00: 02:15-02:45 does not come, so it does not open",
        "early: Su 2027-10-31, the clock goes from 03:00 to 02:00: 02:15-02:45 comes twice, so it opens twice",
        "night: Su 2027-03-28, the clock goes from 02:00 to 03:00: the open window lasts 1 h less",
        "night: Su 2027-10-31, the clock goes from 03:00 to 02:00: the open window lasts 1 h more",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn the_example_installation_is_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let config = config::load(&folder).unwrap_or_else(|problems| panic!("{problems}"));
    let rules = Rules::compile(&config).expect("rules");
    let found = coverage(&config, &rules, year());
    assert!(found.is_complete(), "{:?} {:?}", found.gaps, found.dead);
}

/// 200 partners, 1,000 rules, 200 calendars in three zones.
fn network() -> (Config, Rules) {
    let ids: Vec<String> = (0..200).map(|n| format!("site-{n:03}")).collect();
    let modalities = ["CT", "MR", "CR", "DX", "US", "MG", "XA", "NM", "PT", "RF", "SM", "ES"];
    let (mut calendars, mut routes) = (String::new(), String::new());
    for (n, id) in ids.iter().enumerate() {
        let zone = ["Europe/Berlin", "Europe/Warsaw", "Europe/Prague"][n % 3];
        let hours = format!("Mo-Fr {:02}:{:02}-07:00; Sa,Su,PH 00:00-31:00", 16 + n % 5, n % 60);
        calendars.push_str(&format!("[c{n}]\ncountry = \"DE\"\ntime_zone = \"{zone}\"\nhours = \"{hours}\"\n"));
        let reader = &ids[(n + 1) % ids.len()];
        for rule in 0..4 {
            let modality = modalities[(n + rule) % modalities.len()];
            routes.push_str(&format!(
                "[[route]]\nname = \"r{n}-{rule}\"\nfrom = [\"{id}\"]\nmodality = \"{modality}\"\nduring = \"c{n}\"\n\
                 body_part = [\"HEAD\", \"CHEST\"]\nto = [\"{reader}\"]\n"
            ));
        }
        routes.push_str(&format!("[[route]]\nname = \"r{n}\"\nfrom = [\"{id}\"]\nto = [\"origin\"]\n"));
    }
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    installation(&calendars, &routes, &names)
}

#[test]
fn two_hundred_partners_and_a_thousand_rules_are_walked_in_seconds() {
    let started = std::time::Instant::now();
    let (config, rules) = network();
    let loaded = started.elapsed();
    let found = coverage(&config, &rules, year());
    println!("loaded in {loaded:?}, walked in {:?}", started.elapsed() - loaded);
    assert_eq!((config.partners.len(), config.routes.len()), (200, 1_000));
    assert!(found.is_complete(), "{} gaps, {} dead", found.gaps.len(), found.dead.len());
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}
