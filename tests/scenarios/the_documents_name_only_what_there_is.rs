//! What people read is so: commands, options, files, links, metrics and configuration keys are the ones there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const DOCUMENTS: [&str; 12] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/configuration.md",
    "docs/conformance.md",
    "docs/hl7.md",
    "docs/http.md",
    "docs/operations.md",
    "docs/orders.md",
    "docs/specimens.md",
    "docs/tasks.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// Every ```` ```sh ```` line and every `inline` of a document that begins with a call of the program.
fn calls(document: &str) -> Vec<Vec<String>> {
    let text = text(document);
    let (mut calls, mut in_code) = (Vec::new(), false);
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = line == "```sh";
        } else if in_code {
            calls.extend(call_in(line));
        } else {
            calls.extend(line.split('`').skip(1).step_by(2).filter_map(call_in));
        }
    }
    calls
}

/// The words after `neisse` or `cargo run --release --`, up to a redirection.
fn call_in(line: &str) -> Option<Vec<String>> {
    let line = line.trim().trim_start_matches("sudo -u neisse ");
    let line = line.replace("cargo run --release -- ", "neisse ").replace("cargo run -- ", "neisse ");
    let rest = line.strip_prefix("neisse ").or(line.strip_prefix("/usr/local/bin/neisse "))?;
    let words = rest.split_whitespace().take_while(|word| !word.starts_with(['2', '&', '|', '>', '$', '"']));
    Some(words.map(str::to_owned).collect::<Vec<_>>()).filter(|words| !words.is_empty())
}

#[test]
fn every_command_and_option_that_is_written_down_exists() {
    let mut seen = 0;
    for document in DOCUMENTS {
        for call in calls(document) {
            let is_command = |word: &&String| word.bytes().all(|b| b.is_ascii_lowercase());
            // `cases --config FOLDER list` is `cases list`.
            let folder = call.iter().position(|word| word == "--config").map_or(usize::MAX, |at| at + 1);
            let words = call.iter().enumerate().filter(|(at, word)| *at != folder && *word != "--config");
            let mut commands: Vec<&String> = words.map(|(_, word)| word).take(2).take_while(is_command).collect();
            if commands.first().is_some_and(|command| *command == "deliver") {
                // Named only to say that it is not there.
                assert!(text(document).contains("(`neisse deliver`) are not there"), "{document}");
                continue;
            }
            if commands
                .first()
                .is_none_or(|command| !["cases", "partners", "specimen", "token"].contains(&command.as_str()))
            {
                commands.truncate(1);
            }
            let output =
                Command::new(env!("CARGO_BIN_EXE_neisse")).args(&commands).arg("--help").output().expect("neisse");
            assert!(output.status.success(), "{document}: neisse {} is no command", call.join(" "));
            let help = String::from_utf8(output.stdout).expect("help in UTF-8");
            for option in call.iter().filter(|word| word.starts_with("--")) {
                let name = option.split('=').next().unwrap_or(option);
                let mut words = help.split(|c: char| !(c.is_alphanumeric() || c == '-'));
                assert!(words.any(|word| word == name), "{document}: neisse {} has no {name}", call.join(" "));
            }
            seen += 1;
        }
    }
    assert!(seen > 25, "only {seen} calls found: is the reader of documents broken?");
}

#[test]
fn every_file_and_link_that_is_written_down_exists() {
    let mut seen = 0;
    for document in DOCUMENTS {
        let text = text(document);
        let here = root().join(document).parent().expect("a folder").to_path_buf();
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split(')').next().unwrap_or_default();
            if link.is_empty() || link.starts_with("https://") || link.starts_with('#') {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            assert!(here.join(file).exists(), "{document}: {link} is not there");
            if !heading.is_empty() {
                let target = fs::read_to_string(here.join(file)).expect("a document");
                let anchors: Vec<String> = target.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
                assert!(anchors.contains(&heading.to_owned()), "{document}: {link} has no such heading");
            }
            seen += 1;
        }
        for name in text
            .split('`')
            .filter(|name| ["src/", "tests/", "benches/", "migrations/"].iter().any(|f| name.starts_with(f)))
        {
            let path: PathBuf = root().join(name.split_whitespace().next().unwrap_or(name));
            assert!(path.exists(), "{document}: {name} is not there");
            seen += 1;
        }
    }
    assert!(seen > 60, "only {seen} files found");
}

fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    words.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect()
}

#[test]
fn the_metrics_of_the_operations_page_are_those_of_the_program() {
    let mut found = BTreeSet::new();
    for file in sources(&root().join("src")) {
        let code = fs::read_to_string(file).expect("a source file");
        for part in code.split("!(").skip(1) {
            let name = part.trim_start().strip_prefix("\"neisse_").and_then(|rest| rest.split('"').next());
            found.extend(name.map(|name| format!("neisse_{name}")));
        }
    }
    let page = text("docs/operations.md");
    let described: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `neisse_"))
        .filter_map(|rest| rest.split('`').next())
        .map(|name| format!("neisse_{name}"))
        .collect();
    assert!(found.len() > 15, "{found:?}");
    assert_eq!(described, found);
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = folders.iter().flat_map(|folder| sources(folder));
    files.into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "rs")).chain(below).collect()
}

/// A key that no table knows, so that the program names those it does know.
const UNKNOWN: &str = "qqqqqqqqqqqqqqqqqqqqqqqq = 1";

#[test]
fn every_configuration_key_is_described_and_every_described_key_is_known() {
    let described = described_keys(&text("docs/configuration.md"));
    let mut known = BTreeMap::new();
    let mut know = |heading: &str, file: &str, text: String| known.insert(heading.to_owned(), known_keys(file, &text));

    for table in known_keys("neisse.toml", UNKNOWN) {
        know(&format!("neisse.toml [{table}]"), "neisse.toml", format!("[{table}]\n{UNKNOWN}"));
    }
    for table in ["[escalation.webhook]", "[escalation.mail]"] {
        know(&format!("neisse.toml {table}"), "neisse.toml", format!("{table}\n{UNKNOWN}"));
    }
    know("calendars.toml [name]", "calendars.toml", format!("[name]\n{UNKNOWN}"));
    know("routes.toml [[route]]", "routes.toml", format!("[[route]]\n{UNKNOWN}"));
    let partner = "partners/harz.toml";
    let tables = ["dicom", "hl7", "orders", "specimens", "reports", "identity"];
    let top: BTreeSet<String> = known_keys(partner, UNKNOWN);
    assert!(tables.iter().all(|table| top.contains(*table)), "{top:?}");
    for table in [
        "[dicom]",
        "[[dicom.senders]]",
        "[dicom.deliver]",
        "[[dicom.destinations]]",
        "[dicom.mpps_to]",
        "[dicom.availability_to]",
        "[hl7]",
        "[[hl7.senders]]",
        "[hl7.deliver]",
        "[orders]",
        "[specimens]",
        "[reports]",
        "[identity]",
    ] {
        know(&format!("partners/<id>.toml {table}"), partner, format!("{table}\n{UNKNOWN}"));
    }
    let plain: BTreeSet<String> = top.into_iter().filter(|key| !tables.contains(&key.as_str())).collect();
    known.insert("partners/<id>.toml Top of the file".to_owned(), plain);
    assert_eq!(described, known);
}

/// The keys that the program says it knows where it finds [`UNKNOWN`].
fn known_keys(file: &str, text: &str) -> BTreeSet<String> {
    let files = BTreeMap::from([(file.to_owned(), text.to_owned())]);
    let problems = neisse::config::load_from(root(), &files, &|_| None).expect_err("an unknown key");
    let said = problems.to_string();
    let line = said.lines().find(|line| line.contains("qqqq")).unwrap_or_else(|| panic!("{file}: {said}"));
    let (_, keys) = line.split_once("known here: ").unwrap_or_else(|| panic!("{line}"));
    keys.split(", ").map(|key| key.trim().to_owned()).collect()
}

/// Keys by `file [table]`: the first column of each table of the page.
fn described_keys(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let (mut found, mut file, mut heading) = (BTreeMap::<String, BTreeSet<String>>::new(), "", String::new());
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            file = name.trim_matches('`');
        } else if let Some(name) = line.strip_prefix("### ") {
            heading = format!("{file} {}", name.trim_matches('`'));
        } else if let Some(key) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next()) {
            found.entry(heading.clone()).or_default().insert(key.to_owned());
        }
    }
    found
}
