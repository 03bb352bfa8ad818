//! Reads and checks the folder: `neisse.toml`, `calendars.toml`, `routes.toml`, `partners/<id>.toml`.
//!
//! In: a folder, or its files as texts. Out: a [`Config`], or every problem of every file at once. Reads nothing else
//! but the secrets' own files; starts nothing and decides nothing.

use super::partner_file::{self, PartnerFile};
use super::route_file;
use super::secrets::Secrets;
use super::table::Source;
use super::{Config, checks, node_file, values};
use crate::model::PartnerId;
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fs, path::Path};

pub use super::problems::{Problem, Problems};

const NODE: &str = "neisse.toml";
const CALENDARS: &str = "calendars.toml";
const ROUTES: &str = "routes.toml";
const PARTNERS: &str = "partners/";
/// The largest networks count a few hundred partners.
const MOST_FILES: usize = 5_000;
const LARGEST_FILE_BYTES: u64 = 8 << 20;

/// Reads the folder; secrets may come from the environment.
///
/// # Errors
/// Every problem found, at once.
pub fn load(folder: &Path) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    let mut files = BTreeMap::new();
    collect(folder, "", &mut files, &mut problems);
    let partners = folder.join("partners");
    if partners.is_dir() {
        collect(&partners, PARTNERS, &mut files, &mut problems);
    }
    if !problems.0.is_empty() {
        return Err(problems);
    }
    load_from(folder, &files, &|name| std::env::var(name).ok())
}

/// Reads the `.toml` files of one folder. Others, such as a README or an editor's backup, are not ours.
fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>, problems: &mut Problems) {
    let shown = folder.display().to_string();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            return problems.of_file(&shown, format!("cannot be read ({error}); expected a folder"));
        }
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if path.extension().is_none_or(|extension| extension != "toml") || name.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{name}");
        if files.len() >= MOST_FILES {
            return problems.of_file(&shown, format!("holds too many files; expected at most {MOST_FILES}"));
        }
        let small = fs::metadata(&path).is_ok_and(|meta| meta.len() <= LARGEST_FILE_BYTES);
        match fs::read_to_string(&path) {
            Ok(text) if small => _ = files.insert(name, text),
            Ok(_) => problems.of_file(&name, format!("is larger than {LARGEST_FILE_BYTES} bytes")),
            Err(error) => problems.of_file(&name, format!("cannot be read ({error}); expected text in UTF-8")),
        }
    }
}

/// Checks files given as texts, by their path in the folder (`partners/harz.toml`). Relative paths in them are relative
/// to `folder`; `environment` answers for `NEISSE_DATABASE_PASSWORD` and `NEISSE_QUEUE_CREDENTIALS`.
///
/// # Errors
/// Every problem found, at once.
pub fn load_from(
    folder: &Path,
    files: &BTreeMap<String, String>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    check_file_names(files, &mut problems);
    let secrets = Secrets { folder, environment };
    let text = |name: &str| files.get(name).map_or("", String::as_str);
    let node = Source::walk(NODE, text(NODE), &mut problems, |top| node_file::read(top, folder, &secrets));
    let calendars = Source::walk(CALENDARS, text(CALENDARS), &mut problems, route_file::read_calendars);
    let (partners, broken) = read_partners(files, &mut problems);
    let routes = Source::walk(ROUTES, text(ROUTES), &mut problems, route_file::read_routes);
    let mut across = Problems::default();
    checks::check(&partners, calendars.as_ref(), routes.as_deref().unwrap_or_default(), &broken, &mut across);
    problems.0.append(&mut across.0);
    problems.0.sort();
    let (Some(node), Some(calendars), Some(routes), true) = (node, calendars, routes, problems.0.is_empty()) else {
        return Err(problems);
    };
    Ok(Config {
        node: node.node,
        database: node.database,
        queue: node.queue,
        dicom: node.dicom,
        hl7: node.hl7,
        http: node.http,
        delivery: node.delivery,
        tasks: node.tasks,
        retention: node.retention,
        escalation: node.escalation,
        partners: partners.into_iter().map(|file| (file.partner.id.clone(), file.partner)).collect(),
        calendars,
        routes: routes.into_iter().map(|file| file.route).collect(),
        rules_version: rules_version(files),
    })
}

fn check_file_names(files: &BTreeMap<String, String>, problems: &mut Problems) {
    for required in [NODE, ROUTES] {
        if !files.contains_key(required) {
            problems.of_file(required, "is missing; expected this file in the configuration folder");
        }
    }
    if !files.keys().any(|name| name.starts_with(PARTNERS)) {
        problems.of_file(PARTNERS, "holds no partner; expected one file for each, such as partners/harz.toml");
    }
    for name in files.keys().filter(|name| !name.starts_with(PARTNERS)) {
        if ![NODE, CALENDARS, ROUTES].contains(&name.as_str()) {
            let hint = values::nearest(name, [NODE, CALENDARS, ROUTES].into_iter());
            problems.of_file(name, format!("is not a file known here: {NODE}, {CALENDARS}, {ROUTES}{hint}"));
        }
    }
}

/// The partners that could be read, and the ids of those that could not.
fn read_partners(files: &BTreeMap<String, String>, problems: &mut Problems) -> (Vec<PartnerFile>, Vec<PartnerId>) {
    let (mut partners, mut broken) = (Vec::new(), Vec::new());
    for (name, text) in files {
        let Some(stem) = name.strip_prefix(PARTNERS).and_then(|file| file.strip_suffix(".toml")) else {
            continue;
        };
        let id = match PartnerId::new(stem) {
            Ok(id) if stem != "origin" => id,
            Ok(_) => {
                problems.of_file(name, "\"origin\" means the hospital that asked; expected another name for this file");
                continue;
            }
            Err(error) => {
                problems.of_file(name, format!("{error}; rename the file"));
                continue;
            }
        };
        match Source::walk(name, text, problems, |top| partner_file::read(top, id.clone())) {
            Some(partner) => partners.push(partner),
            None => broken.push(id),
        }
    }
    (partners, broken)
}

/// SHA-256 over the names and texts of what decides, so that every decision says by which rules it was made.
fn rules_version(files: &BTreeMap<String, String>) -> String {
    let mut hasher = Sha256::new();
    for (name, text) in files.iter().filter(|(name, _)| name.as_str() != NODE) {
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update(text.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
