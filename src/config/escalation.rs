//! `[escalation]` of `neisse.toml`: who is told that something waits for a person.
//!
//! In: the table, and secrets from files or the environment (`NEISSE_WEBHOOK_TOKEN`, `NEISSE_MAIL_CREDENTIALS`). Out: an
//! address to call, a server to mail by, and how often. No secret leaves on a line that others can read: a token or a
//! password goes over TLS, or stays on this machine.

use super::secrets::Secrets;
use super::table::Table;
use super::values::{self as v, Read};
use lettre::message::Mailbox;
use reqwest::Url;
use std::{fmt, path::PathBuf, time::Duration};

/// Whoever is on duty has a few addresses; a list of people belongs to the mail server.
const MOST_RECIPIENTS: usize = 20;
const LONGEST_URL: usize = 2_000;
const LONGEST_ADDRESS: usize = 320;

/// All of it is optional: without it the log and the metrics tell.
#[derive(Clone, Debug, Default)]
pub struct Escalation {
    pub webhook: Option<Webhook>,
    pub mail: Option<Mail>,
    /// What still waits is told again after this; `None`: it is told once.
    pub repeat: Option<Duration>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    pub url: Url,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// PEM of an authority to trust beside the system's.
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    pub server: String,
    pub port: u16,
    pub tls: MailTls,
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
    /// User and password.
    pub user: Option<(String, String)>,
    /// PEM of an authority to trust beside the system's.
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// RFC 3207: in clear at first, then TLS, or nothing is sent.
    StartTls,
    /// RFC 8314 3.3: TLS from the first byte.
    Tls,
    None,
}

pub(super) fn read(table: &mut Table<'_>, secrets: &Secrets<'_>) -> Escalation {
    let webhook = table.table("webhook").and_then(|mut table| read_webhook(&mut table, secrets));
    let mail = table.table("mail").and_then(|mut table| read_mail(&mut table, secrets));
    let repeat = table.parsed("repeat", |text| match text {
        "off" => Ok(None),
        span => v::duration_between(span, "5m", "7d").map(Some).map_err(|problem| format!("{problem}, or \"off\"")),
    });
    Escalation { webhook, mail, repeat: repeat.and_then(|found| found.value) }
}

fn read_webhook(table: &mut Table<'_>, secrets: &Secrets<'_>) -> Option<Webhook> {
    table.needs("url", "where to post to, such as \"https://alerts.example.org/neisse\"");
    let url = table.parsed("url", web_address);
    let token = secrets.secret(table, "token_file", "NEISSE_WEBHOOK_TOKEN");
    let ca_file = secrets.existing(table, "ca_file");
    let url = url?;
    if token.is_some() && url.value.scheme() == "http" && !is_this_machine(url.value.host_str().unwrap_or_default()) {
        table.problem(&url.spot, "found a token with http://, expected https://: others could read it on the way");
    }
    if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
        table.problem(&table.spot(), "the webhook's token holds spaces or other letters than ASCII");
    }
    Some(Webhook { url: url.value, token, ca_file })
}

fn read_mail(table: &mut Table<'_>, secrets: &Secrets<'_>) -> Option<Mail> {
    table.needs("server", "the mail server's name, such as \"smtp.example.org\"");
    table.needs("from", "the address it is sent from, such as \"neisse@example.org\"");
    table.needs("to", "a list of addresses, such as [\"pacs-admin@example.org\"]");
    let server = table.parsed("server", v::host);
    let tls = table.parsed("tls", mail_tls).map_or(MailTls::StartTls, |found| found.value);
    // The registered ports: RFC 6409 3.1, RFC 8314 7.3, RFC 5321 4.5.4.2.
    let usual = match tls {
        MailTls::StartTls => 587,
        MailTls::Tls => 465,
        MailTls::None => 25,
    };
    let port = table.number("port", 1..=65_535).and_then(|port| u16::try_from(port).ok()).unwrap_or(usual);
    let from = table.parsed("from", mailbox);
    let to: Vec<Mailbox> = table.list("to", mailbox).into_iter().map(|found| found.value).collect();
    let credentials = secrets.secret(table, "user_file", "NEISSE_MAIL_CREDENTIALS");
    let ca_file = secrets.existing(table, "ca_file");
    if to.len() > MOST_RECIPIENTS {
        let text = format!("found {} addresses in \"to\", expected at most {MOST_RECIPIENTS}", to.len());
        table.problem(&table.spot(), text);
    }
    if to.is_empty() && table.has("to") {
        table.problem(&table.spot(), "found no address in \"to\", expected at least one");
    }
    let (server, from) = (server?, from?);
    if credentials.is_some() && tls == MailTls::None && !is_this_machine(&server.value) {
        table.problem(&server.spot, "found a password with tls = \"none\", expected \"starttls\" or \"tls\"");
    }
    let user = match credentials.as_deref().map(|text| text.split_once(':')) {
        None => None,
        Some(Some((user, password))) => Some((user.to_owned(), password.to_owned())),
        Some(None) => {
            table.problem(&table.spot(), "the mail user has no colon, expected user:password on one line");
            None
        }
    };
    Some(Mail { server: server.value, port, tls, from: from.value, to, user, ca_file })
}

fn web_address(text: &str) -> Read<Url> {
    let expected = "expected a URL such as \"https://alerts.example.org/neisse\"";
    // It may hold a secret in its path, as many services do it: it is not repeated.
    let url = match Url::parse(text) {
        Ok(url) if text.len() <= LONGEST_URL && ["http", "https"].contains(&url.scheme()) && url.has_host() => url,
        _ => return Err(format!("found something else, {expected}")),
    };
    if url.password().is_some() || !url.username().is_empty() {
        return Err("found credentials in the URL; take them out and use token_file (a file with the token alone) or \
                    NEISSE_WEBHOOK_TOKEN"
            .into());
    }
    Ok(url)
}

fn mailbox(text: &str) -> Read<Mailbox> {
    let fits = text.len() <= LONGEST_ADDRESS && !text.chars().any(char::is_control);
    let read = if fits { text.parse::<Mailbox>().ok() } else { None };
    read.ok_or_else(|| {
        format!("found \"{}\", expected an address such as \"pacs-admin@example.org\"", v::shorten(text))
    })
}

fn mail_tls(text: &str) -> Read<MailTls> {
    match text {
        "starttls" => Ok(MailTls::StartTls),
        "tls" => Ok(MailTls::Tls),
        "none" => Ok(MailTls::None),
        other => Err(format!("found \"{}\", expected \"starttls\", \"tls\" or \"none\"", v::shorten(other))),
    }
}

impl Webhook {
    /// On this machine, so that no proxy is asked for it.
    pub fn is_local(&self) -> bool {
        is_this_machine(self.url.host_str().unwrap_or_default())
    }
}

fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

// Secrets never reach a log through `{:?}`.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/…", self.url.scheme(), self.url.host_str().unwrap_or_default())
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({:?})", self.server, self.port, self.tls)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, load_from};
    use super::*;
    use std::{collections::BTreeMap, path::Path};

    fn checked(escalation: &str, secret: Option<&str>) -> Result<Config, String> {
        let partner = "name = \"Harz\"\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\nissuer = \"HARZ\"\n";
        let files = [
            ("neisse.toml", format!("[escalation]\n{escalation}\n")),
            ("routes.toml", "[[route]]\nname = \"All\"\nto = [\"origin\"]\n".to_owned()),
            ("partners/harz.toml", partner.to_owned()),
        ];
        let files: BTreeMap<_, _> = files.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        let variable =
            |name: &str| secret.filter(|_| name.starts_with("NEISSE_WEBHOOK") || name.starts_with("NEISSE_MAIL"));
        load_from(Path::new("."), &files, &|name| variable(name).map(str::to_owned)).map_err(|found| found.to_string())
    }

    #[test]
    fn a_webhook_and_a_mail_server_are_read_with_their_secrets() {
        let text = "repeat = \"4h\"\nwebhook = { url = \"https://alerts.example.org/x\" }\n\
             mail = { server = \"smtp.example.org\", from = \"Neisse <neisse@example.org>\", to = [\"a@example.org\"] }";
        let found = checked(text, Some("user:secret")).expect("a configuration").escalation;
        assert_eq!(found.repeat, Some(Duration::from_secs(4 * 3600)));
        let (webhook, mail) = (found.webhook.expect("a webhook"), found.mail.expect("mail"));
        assert_eq!(webhook.token.as_deref(), Some("user:secret"));
        assert_eq!((mail.port, mail.tls), (587, MailTls::StartTls));
        assert_eq!(mail.user, Some(("user".into(), "secret".into())));
        let shown = format!("{webhook:?} {mail:?}");
        assert!(!shown.contains("secret") && !shown.contains("/x"), "{shown}");
        let none = checked("", None).expect("a configuration").escalation;
        assert!(none.webhook.is_none() && none.mail.is_none() && none.repeat.is_none());
    }

    #[test]
    fn what_would_tell_nobody_or_give_a_secret_away_is_a_problem() {
        for (text, words) in [
            ("repeat = \"1m\"", "or \"off\""),
            ("webhook = { }", "\"url\" is missing"),
            ("webhook = { url = \"ftp://example.org/topsecret\" }", "expected a URL"),
            ("webhook = { url = \"https://me:topsecret@example.org/\" }", "token_file"),
            ("webhook = { url = \"http://example.org/topsecret\" }", "found a token with http://"),
            ("mail = { server = \"s\", from = \"x\", to = [\"a@example.org\"] }", "expected an address"),
            ("mail = { server = \"s\", from = \"a@example.org\", to = [] }", "at least one"),
            ("mail = { server = \"s\", from = \"a@b.de\", to = \"a@b.de\", tls = \"ssl\" }", "starttls"),
            ("mail = { server = \"s\", from = \"a@b.de\", to = \"a@b.de\", tls = \"none\" }", "found a password"),
            ("mail = { server = \"s\", from = \"a@b.de\", to = \"a@b.de\", port = 0 }", "1 to 65535"),
        ] {
            let problems = checked(text, Some("u:topsecret")).expect_err(text);
            assert!(problems.contains(words) && !problems.contains("topsecret"), "{text}: {problems}");
        }
        assert!(checked("webhook = { url = \"http://127.0.0.1:9/\" }", Some("u:p")).is_ok(), "on this machine");
    }
}
