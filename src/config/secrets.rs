//! Passwords: from files of their own or from the environment, never from the configuration itself, which is copied,
//! mailed and put under version control.
//!
//! In: `[database]` and `[queue]` with `password_file` and `credentials_file`, `NEISSE_DATABASE_PASSWORD` and
//! `NEISSE_QUEUE_CREDENTIALS` (the environment wins). Out: URLs with the secret folded in. No problem text contains a
//! secret or the URL it stood in. The secrets of `[escalation]` are read by the same rules in [`super::escalation`].

use super::table::{Found, Table};
use super::values as v;
use super::{Amqp, DatabaseUrl, QueueUrl};
use std::path::{Path, PathBuf};

/// A password file holds one line.
const LONGEST_SECRET: u64 = 4_096;

pub(super) struct Secrets<'e> {
    pub folder: &'e Path,
    pub environment: &'e dyn Fn(&str) -> Option<String>,
}

impl Secrets<'_> {
    pub fn database(&self, table: &mut Table<'_>) -> DatabaseUrl {
        let url = table.parsed("url", |text| Ok(text.to_owned()));
        let password = self.secret(table, "password_file", "NEISSE_DATABASE_PASSWORD");
        let Some(url) = url.filter(|url| url.value != "sqlite") else {
            return DatabaseUrl::Sqlite;
        };
        let Some((scheme, rest)) = split_scheme(&url.value, &["postgres", "postgresql"]) else {
            let found =
                if url.value.contains('@') { "a URL".to_owned() } else { format!("\"{}\"", v::shorten(&url.value)) };
            table.problem(
                &url.spot,
                format!("found {found}, expected \"sqlite\" or \"postgres://user@host:5432/database\""),
            );
            return DatabaseUrl::Sqlite;
        };
        if refuse_literal(
            table,
            &url,
            rest,
            "password_file (a file with the password alone) or NEISSE_DATABASE_PASSWORD",
        ) {
            return DatabaseUrl::Sqlite;
        }
        let Some(password) = password else {
            return DatabaseUrl::Postgres(url.value.clone());
        };
        let Some((user, host)) = rest.split_once('@').filter(|(user, _)| !user.is_empty()) else {
            table.problem(&url.spot, "names no user for the password, expected \"postgres://user@host:5432/database\"");
            return DatabaseUrl::Sqlite;
        };
        DatabaseUrl::Postgres(format!("{scheme}://{user}:{}@{host}", escaped(&password)))
    }

    pub fn queue(&self, table: &mut Table<'_>) -> QueueUrl {
        let url = table.parsed("url", |text| Ok(text.to_owned()));
        let credentials = self.secret(table, "credentials_file", "NEISSE_QUEUE_CREDENTIALS");
        let ca_file = self.existing(table, "ca_file");
        let cert_file = self.existing(table, "cert_file");
        let key_file = self.existing(table, "key_file");
        if table.has("cert_file") != table.has("key_file") {
            table.problem(&table.spot(), "found one of cert_file and key_file, expected both or neither");
        }
        let Some(url) = url.filter(|url| url.value != "memory") else {
            return QueueUrl::Memory;
        };
        let Some((scheme, rest)) = split_scheme(&url.value, &["amqp", "amqps"]) else {
            let found =
                if url.value.contains('@') { "a URL".to_owned() } else { format!("\"{}\"", v::shorten(&url.value)) };
            let expected = "\"memory\", \"amqp://host:5672/%2f\" or \"amqps://host:5671/%2f\"";
            table.problem(&url.spot, format!("found {found}, expected {expected}"));
            return QueueUrl::Memory;
        };
        if refuse_literal(table, &url, rest, "credentials_file (a file with user:password) or NEISSE_QUEUE_CREDENTIALS")
        {
            return QueueUrl::Memory;
        }
        if scheme == "amqp" && (table.has("ca_file") || table.has("cert_file")) {
            table.problem(&url.spot, "found certificates with amqp://, expected amqps:// (port 5671)");
        }
        let folded = match credentials.as_deref().map(|text| text.split_once(':')) {
            None => url.value.clone(),
            Some(Some((user, password))) => {
                let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
                format!("{scheme}://{}:{}@{host}", escaped(user), escaped(password))
            }
            Some(None) => {
                table.problem(
                    &table.spot(),
                    "the queue's credentials have no colon, expected user:password on one line",
                );
                return QueueUrl::Memory;
            }
        };
        QueueUrl::Amqp(Amqp { url: folded, ca_file, cert_file, key_file })
    }

    /// The environment first, so that one container image serves several installations.
    pub fn secret(&self, table: &mut Table<'_>, key: &'static str, variable: &str) -> Option<String> {
        let file = table.parsed(key, v::words);
        if let Some(secret) = (self.environment)(variable).filter(|secret| !secret.is_empty()) {
            return Some(secret);
        }
        let file = file?;
        let path = self.folder.join(&file.value);
        let fits = std::fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= LONGEST_SECRET);
        let text = if fits { std::fs::read_to_string(&path).ok() } else { None };
        let secret = text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned()).filter(|text| !text.is_empty());
        if secret.is_none() {
            let shown = v::shorten(&file.value);
            table.problem(&file.spot, format!("cannot read a secret from \"{shown}\", expected a file of one line"));
        }
        secret
    }

    pub fn existing(&self, table: &mut Table<'_>, key: &'static str) -> Option<PathBuf> {
        let file = table.parsed(key, v::words)?;
        let path = self.folder.join(&file.value);
        if !path.is_file() {
            let shown = v::shorten(&file.value);
            table.problem(&file.spot, format!("found \"{shown}\", which is no file, expected a PEM file"));
        }
        Some(path)
    }
}

fn split_scheme<'u>(url: &'u str, schemes: &[&str]) -> Option<(&'u str, &'u str)> {
    url.split_once("://").filter(|(scheme, rest)| schemes.contains(scheme) && !rest.is_empty())
}

/// A password in the URL is refused. The URL is not repeated: the problem list is mailed around too.
fn refuse_literal(table: &Table<'_>, url: &Found<String>, rest: &str, instead: &str) -> bool {
    let user = rest.rsplit_once('@').map_or("", |(user, _)| user);
    let literal = user.contains(':') || rest.contains("password=");
    if literal {
        table.problem(&url.spot, format!("found a password in the URL; take it out and use {instead}"));
    }
    literal
}

/// RFC 3986 2.1: whatever is not unreserved is percent-encoded.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
