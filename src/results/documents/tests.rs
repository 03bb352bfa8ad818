//! The document as people and programs read it: through `pdftotext`, without which these tests fail.

use super::*;
use chrono::{TimeZone, Utc};
use std::{io::Write, process::Command};

pub fn sample(language: &str, name: &str, body: &str) -> ReportDocument {
    ReportDocument {
        status: ReportStatus::Final,
        version: 1,
        language: language.to_owned(),
        reading_institution: "Klinikum Chemnitz, Institut für diagnostische Radiologie".to_owned(),
        origin_name: "DRK-Krankenhaus Chemnitz-Rabenstein".to_owned(),
        patient_name: name.to_owned(),
        patient_id: IssuedId::new("4711", "RABENSTEIN"),
        birth_date: "19510203".to_owned(),
        sex: "F".to_owned(),
        accession: IssuedId::new("A-2026-0815", "RABENSTEIN"),
        examination: "CT Schädel nativ".to_owned(),
        study_date: "20261224".to_owned(),
        study_time: "231005".to_owned(),
        reported: Moment::from_utc(Utc.with_ymd_and_hms(2026, 12, 24, 22, 41, 7).unwrap()),
        time_zone: chrono_tz::Europe::Berlin,
        replaces: None,
        author: Some("Beispiel^Ruth^^Dr. med.".to_owned()),
        body: body.to_owned(),
        case: "0193f0a2-7c1e-7d53-9c55-2f1f6f0a1b2c".parse().unwrap(),
    }
}

fn text_of(bytes: &[u8]) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let output = Command::new("pdftotext").arg("-layout").arg(file.path()).arg("-").output();
    let output = output.expect("pdftotext (poppler-utils) must be installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().replace('\u{a0}', " ")
}

const GERMAN_BODY: &str = "Klinische Angaben:\nSturz auf den Hinterkopf, Marcumar. Fragestellung: Blutung?\n\n\
    Befund:\nKeine intrakranielle Blutung, keine Fraktur.\n- Liquorräume altersentsprechend, Mittellinie mittelständig\n\
    - Sinus maxillaris links: Schleimhautschwellung ≥ 4 mm\n\nBeurteilung: Kein Nachweis einer Blutung.\n";

#[test]
fn the_names_of_three_countries_come_out_as_they_went_in() {
    for (language, name, said) in [
        ("de", "Müßig^Jörg", "Jörg Müßig"),
        ("pl", "Świątek^Łucja", "Łucja Świątek"),
        ("cs", "Dvořák^Jiří", "Jiří Dvořák"),
    ] {
        let made = pdf(&sample(language, name, GERMAN_BODY)).unwrap();
        assert_eq!(made.missing, Vec::<char>::new());
        let text = text_of(&made.bytes);
        for expected in [
            said,
            "4711 (RABENSTEIN)",
            "A-2026-0815 (RABENSTEIN)",
            "Keine intrakranielle Blutung, keine Fraktur.",
            "Schleimhautschwellung ≥ 4 mm",
            "Dr. med. Ruth Beispiel",
            "0193f0a2-7c1e-7d53-9c55-2f1f6f0a1b2c",
        ] {
            assert!(text.contains(expected), "{language}: {expected:?} is not in\n{text}");
        }
    }
}

#[test]
fn the_report_is_in_the_hospital_s_language_and_time() {
    let mut report = sample("de", "Müßig^Jörg", GERMAN_BODY);
    let text = text_of(&pdf(&report).unwrap().bytes);
    for expected in ["ENDGÜLTIG", "24.12.2026, 23:41 Uhr (MEZ)", "03.02.1951", "weiblich", "Seite 1/1"] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    report.language = "cs".to_owned();
    let text = text_of(&pdf(&report).unwrap().bytes);
    assert!(text.contains("KONEČNÝ") && text.contains("24. 12. 2026, 23:41 (SEČ)"), "{text}");
}

#[test]
fn a_corrected_report_says_which_one_it_replaces() {
    let mut report = sample("pl", "Świątek^Łucja", "OPIS\nBez zmian ogniskowych.");
    report.status = ReportStatus::Corrected;
    report.version = 3;
    report.replaces = Some(Moment::from_utc(Utc.with_ymd_and_hms(2026, 12, 24, 1, 5, 0).unwrap()));
    let text = text_of(&pdf(&report).unwrap().bytes);
    for expected in ["SKORYGOWANY", "Wersja 3", "Zastępuje wynik z dnia 24.12.2026, 02:05 (CET)."] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
}

#[test]
fn every_word_of_a_long_report_is_there_in_order_and_every_page_names_the_patient() {
    let words: Vec<String> = (0..1800).map(|n| format!("slovo{n}{}", if n % 14 == 13 { ".\n" } else { "" })).collect();
    let body = words.join(" ").replace("\n ", "\n");
    let made = pdf(&sample("cs", "Dvořák^Jiří", &body)).unwrap();
    let text = text_of(&made.bytes);
    let found: Vec<&str> = text.split_whitespace().filter(|word| word.starts_with("slovo")).collect();
    let sent: Vec<&str> = body.split_whitespace().collect();
    assert_eq!(found, sent);
    let pages: Vec<&str> = text.split('\u{c}').filter(|page| !page.trim().is_empty()).collect();
    assert!(pages.len() >= 3);
    for (at, page) in pages.iter().enumerate() {
        assert!(page.contains("Jiří Dvořák") && page.contains("4711 (RABENSTEIN)"), "page {}", at + 1);
        assert!(page.contains(&format!("Strana {}/{}", at + 1, pages.len())));
    }
}

#[test]
fn characters_without_a_glyph_are_named_and_their_place_is_marked() {
    let made = pdf(&sample("en", "Yamada^Tarou=山田^太郎", "Finding 山 and \u{7} and 山.")).unwrap();
    assert_eq!(made.missing, vec!['\u{7}', '太', '山', '田', '郎']);
    let text = text_of(&made.bytes);
    assert!(text.contains("U+0007, U+592A, U+5C71"), "{text}");
}

#[test]
fn equal_reports_make_equal_bytes() {
    let report = sample("de", "Müßig^Jörg", GERMAN_BODY);
    assert_eq!(pdf(&report).unwrap().bytes, pdf(&report).unwrap().bytes);
}

#[test]
fn what_is_too_long_is_refused_and_never_cut() {
    let mut report = sample("de", "Müßig^Jörg", &"x".repeat(MAX_BODY_BYTES + 1));
    assert_eq!(pdf(&report).err(), Some(DocumentError::BodyTooLong(MAX_BODY_BYTES + 1)));
    for lines in [90_000, 46_000] {
        report.body = "a\n".repeat(lines);
        assert!(matches!(pdf(&report).err(), Some(DocumentError::TooManyPages(_))), "{lines}");
    }
    report.body = String::new();
    report.examination = "x ".repeat(500);
    report.reading_institution = "x ".repeat(500);
    report.patient_id.value = "x ".repeat(500);
    assert_eq!(pdf(&report).err(), Some(DocumentError::HeadTooTall));
    report.examination = "x".repeat(2000);
    assert_eq!(pdf(&report).err(), Some(DocumentError::FieldTooLong { field: "examination", found: 2000 }));
}

#[test]
fn a_report_without_text_or_facts_still_makes_a_page() {
    let mut report = sample("de", "", "");
    report.author = None;
    report.patient_id = IssuedId::default();
    report.birth_date = String::new();
    let text = text_of(&pdf(&report).unwrap().bytes);
    assert!(text.contains("nicht angegeben"), "{text}");
}
