//! The program as a person types it: the demonstration from scan to report, what `check` finds in a whole installation
//! and in a broken one, and why `route` names the reader it names.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

fn neisse(arguments: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(env!("CARGO_BIN_EXE_neisse")).args(arguments).current_dir(root).output().expect("the program")
}

/// Its standard output, and how it ended.
fn said(arguments: &[&str]) -> (String, i32) {
    let output = neisse(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().unwrap_or_else(|| panic!("{arguments:?} ended by a signal: {complaint}"));
    // Lines are broken to fit a terminal.
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    (text.split_whitespace().collect::<Vec<_>>().join(" "), code)
}

/// A copy of the example installation to break.
fn example() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    fs::create_dir(folder.path().join("partners")).expect("a folder");
    for inside in [".", "partners"] {
        for entry in fs::read_dir(from.join(inside)).expect("the example").flatten() {
            if entry.path().is_file() {
                fs::copy(entry.path(), folder.path().join(inside).join(entry.file_name())).expect("a copy");
            }
        }
    }
    folder
}

fn rewrite(folder: &TempDir, file: &str, change: impl Fn(String) -> String) {
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).expect("a file");
    let changed = change(text.clone());
    assert_ne!(text, changed, "{file} has been changed");
    fs::write(path, changed).expect("a file");
}

#[test]
fn the_demonstration_goes_from_the_scanner_to_the_report_and_ends() {
    let output = neisse(&["demo", "--once"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    for wanted in [
        "first instance of a CT study from rabenstein",
        "read by chemnitz",
        "study whole: 120 instances",
        "report (HL7 ORU) version 1 delivered to rabenstein",
        "PID|1||SYN-",
        "OBX|1|",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
}

#[test]
fn the_example_installation_has_a_reader_at_every_minute() {
    let (text, code) = said(&["check", "--config", "config", "--year", "2027"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("OK: every case has a reader at every minute of this year."), "{text}");
    assert!(text.contains("Su 2027-03-28, the clock goes from 02:00 to 03:00"), "{text}");
}

#[test]
fn a_night_that_ends_at_midnight_is_a_gap_with_an_instant() {
    let folder = example();
    // The mistake everyone makes: Sunday's window ends at 24:00, and Monday's begins in the evening.
    rewrite(&folder, "calendars.toml", |text| text.replace("00:00-31:00", "00:00-24:00"));
    let (text, code) = said(&["check", "--config", &folder.path().to_string_lossy(), "--year", "2027"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("Gaps") && text.contains("00:00") && text.contains("Mo"), "{text}");
}

#[test]
fn every_problem_of_a_broken_installation_is_named_at_once_with_its_place() {
    let folder = example();
    rewrite(&folder, "neisse.toml", |text| text.replacen("[dicom]", "[dicom]\nae_titel = \"NEISSE\"", 1));
    rewrite(&folder, "partners/harz.toml", |text| {
        text.replacen("time_zone = \"Europe/Berlin\"", "time_zone = \"Europe/Harz\"", 1)
    });
    rewrite(&folder, "routes.toml", |text| text.replacen("\"magdeburg\"", "\"magdburg\"", 1));
    let (text, code) = said(&["check", "--config", &folder.path().to_string_lossy()]);
    assert_eq!(code, 1, "{text}");
    for wanted in ["neisse.toml", "ae_titel", "harz.toml", "Europe/Harz", "routes.toml", "magdburg", "magdeburg"] {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
}

#[test]
fn route_says_why_each_rule_did_or_did_not_match() {
    let call =
        ["route", "--config", "config", "--from", "rabenstein", "--modality", "CT", "--priority", "stat", "--at"];
    let at = |instant| said(&[&call[..], &[instant]].concat());
    let (night, code) = at("2026-12-24T23:10");
    assert_eq!(code, 0, "{night}");
    assert!(night.contains("no, from is rabenstein, the rule asks for harz"), "{night}");
    assert!(night.contains("read by chemnitz") && night.contains("teleradiology"), "{night}");
    assert!(night.contains("report within 45 min, by 23:55"), "{night}");
    let (day, code) = at("2026-11-25T10:00");
    assert_eq!(code, 0, "{day}");
    assert!(day.contains("on site"), "{day}");
    let (unknown, code) = said(&["route", "--config", "config", "--from", "rabenstien", "--modality", "CT"]);
    assert_ne!(code, 0, "{unknown}");
}
