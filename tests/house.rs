//! The house rules that the compiler does not know: who may import whom, and what is only done in one place.
//!
//! main → cli → startup → stages (intake routing handoff delivery results escalation worklist) and web → dicom hl7 queue store
//! spool paper config → model. Stages never import each other; SQL only in store; nothing prints but the command line.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Each room with what it may import besides itself. A room that is not here may not exist.
const ROOMS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    // Commands look at the store, take what a person tells of specimens, explain routing, join held reports and make
    // DICOM files and printed lists; the demonstration also plays
    // both ends of the wire.
    (
        "cli",
        &[
            "startup",
            "shutdown",
            "intake",
            "routing",
            "results",
            "escalation",
            "store",
            "hl7",
            "dicom",
            "paper",
            "config",
            "model",
        ],
    ),
    // Wires everything, and so may name everything but the command line.
    (
        "startup",
        &[
            "shutdown",
            "intake",
            "routing",
            "handoff",
            "delivery",
            "results",
            "escalation",
            "worklist",
            "web",
            "dicom",
            "hl7",
            "queue",
            "store",
            "spool",
            "paper",
            "config",
            "model",
        ],
    ),
    ("shutdown", &["model"]),
    ("intake", STAGE),
    ("routing", STAGE),
    ("handoff", STAGE),
    ("delivery", STAGE),
    ("results", STAGE),
    ("escalation", STAGE),
    ("worklist", STAGE),
    ("web", STAGE),
    ("dicom", WIRE),
    ("hl7", WIRE),
    ("queue", WIRE),
    ("store", WIRE),
    ("spool", WIRE),
    // What is printed: no case, no stage, no wire.
    ("paper", &["model"]),
    ("config", &["model"]),
    ("model", &[]),
];

/// What a stage may use; never another stage.
const STAGE: &[&str] = &["dicom", "hl7", "queue", "store", "spool", "paper", "config", "model", "shutdown"];

/// Wire, store and spool know no case and no stage; each other neither.
const WIRE: &[&str] = &["config", "model"];

const SENTENCE: &str = "main → cli → startup → stages (intake routing handoff delivery results escalation worklist) and web → \
                        dicom hl7 queue store spool paper config → model; stages never import each other";

/// A file of `src`, the room it stands in, and its text without comments and tests.
struct Source {
    path: PathBuf,
    room: String,
    text: String,
}

#[test]
fn rooms_import_only_what_the_house_allows() {
    let mut wrong = Vec::new();
    for source in sources() {
        let allowed = ROOMS.iter().find(|(room, _)| *room == source.room).map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            wrong.push(format!("{}: {} is no room of the house", source.path.display(), source.room));
            continue;
        };
        for import in imports(&source.text) {
            if import != source.room && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{}: {} may not import {import}", source.path.display(), source.room));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n\n{SENTENCE}", wrong.join("\n"));
}

#[test]
fn sql_is_only_in_the_store() {
    let sql = |source: &Source| source.room != "store" && mentions(&source.text, "sqlx");
    assert_none("sqlx is for the store alone", sql);
}

#[test]
fn nothing_prints_but_the_command_line() {
    let prints = |source: &Source| {
        let macros = ["println!", "print!", "eprintln!", "eprint!"];
        !["cli", "main"].contains(&source.room.as_str()) && macros.iter().any(|print| mentions(&source.text, print))
    };
    assert_none("only the command line prints; everything else logs", prints);
}

#[test]
fn every_file_opens_by_saying_what_it_is() {
    let silent = |path: &Path| !fs::read_to_string(path).expect("a source file").starts_with("//!");
    let silent: Vec<_> = files(&root()).into_iter().filter(|path| silent(path)).collect();
    assert!(silent.is_empty(), "these do not open with //!: {silent:?}");
}

/// The reader of imports itself: without it a rule could pass by never seeing anything.
#[test]
fn imports_are_found_however_they_are_written() {
    let text = code_of(
        "use crate::model::{PartnerId, Lane};\n\
         use crate::{config::Amqp, store::{self, Store}, spool};\n\
         pub use crate::queue;\n\
         // use crate::comment::Only;\n\
         fn f() { let at = crate::hl7::now(); let text = \"//\"; crate::web::x() }\n\
         use neisse::cli::run;\n\
         /* crate::block */\n\
         #[cfg(test)]\nmod tests { use crate::intake::Fake; }\n",
    );
    let expected = ["cli", "config", "hl7", "model", "queue", "spool", "store", "web"];
    assert_eq!(imports(&text), expected.map(String::from).into());
    assert!(mentions("x sqlx::query(", "sqlx") && !mentions("my_sqlx_thing", "sqlx"));
}

fn assert_none(rule: &str, is_wrong: impl Fn(&Source) -> bool) {
    let wrong: Vec<_> = sources().into_iter().filter(|source| is_wrong(source)).map(|source| source.path).collect();
    assert!(wrong.is_empty(), "{rule}: {wrong:?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file but `lib.rs`, which names the rooms and nothing else.
fn sources() -> Vec<Source> {
    let root = root();
    let found: Vec<_> = files(&root)
        .into_iter()
        .filter(|path| path != &root.join("lib.rs"))
        .filter(|path| !is_tests(path.strip_prefix(&root).unwrap_or(path)))
        .map(|path| {
            let inside = path.strip_prefix(&root).expect("inside src");
            let first = inside.components().next().expect("a name");
            let room = Path::new(first.as_os_str()).with_extension("").display().to_string();
            let text = code_of(&fs::read_to_string(&path).expect("a source file"));
            Source { room, text, path: inside.to_path_buf() }
        })
        .collect();
    assert!(found.len() > 20, "only {} files found below {}", found.len(), root.display());
    found
}

/// Tests in a file or folder of their own may build on what they like, as those at the end of a file.
fn is_tests(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Without comments, and without the tests at the end: tests may build on what they like.
fn code_of(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text);
    let mut code = String::new();
    for (number, part) in text.split("/*").enumerate() {
        let kept = if number == 0 { part } else { part.split_once("*/").map_or("", |(_, after)| after) };
        code.push_str(kept);
    }
    code.lines().map(without_comment).collect::<Vec<_>>().join("\n")
}

fn without_comment(line: &str) -> String {
    let mut inside_text = false;
    let mut escaped = false;
    for (at, letter) in line.char_indices() {
        match letter {
            '"' if !escaped => inside_text = !inside_text,
            '/' if !inside_text && line[at..].starts_with("//") => return line[..at].to_string(),
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
    }
    line.to_string()
}

/// Rooms named as `crate::room`, `crate::{room::…, room}` or `neisse::room`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for root in ["crate::", "neisse::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == '$') {
                continue;
            }
            let after = &code[at + root.len()..];
            match after.strip_prefix('{') {
                Some(group) => found.extend(first_names(group)),
                None => found.extend(name_at(after)),
            }
        }
    }
    found
}

/// The first name of each branch of `{a::b, c::{d, e}, f}`, given what follows the first brace.
fn first_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.extend(name_at(group[start..at].trim_start()));
                return names;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.extend(name_at(group[start..at].trim_start()));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

/// A room's name; types and macros at the root are no rooms.
fn name_at(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    let is_room = name.starts_with(|letter: char| letter.is_ascii_lowercase()) && name != "self";
    is_room.then_some(name)
}

/// `word` as a word of its own.
fn mentions(code: &str, word: &str) -> bool {
    let part_of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}
