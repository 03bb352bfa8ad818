//! What is told, in words and as JSON. Pure.
//!
//! In: the notices of one call. Out: a line for the log, a subject and a text for a mail, an object for a webhook. Each
//! notice says what waits, whose it is, who reads it, why, since when and what to do; never whose patient.

use crate::{
    config::Config,
    model::{Moment, PartnerId},
    store::Notice,
};
use serde::Serialize;

/// Letters of one reason; `neisse cases show` has the rest.
const MAX_REASON: usize = 500;
const MAX_SUBJECT: usize = 120;

/// All that one call tells.
#[derive(Clone, Debug)]
pub struct Digest {
    /// The same when the same call is made again.
    pub id: String,
    pub node: String,
    pub at: Moment,
    pub is_test: bool,
    pub total: i64,
    pub notices: Vec<Notice>,
}

#[derive(Serialize)]
struct Posted<'a> {
    id: &'a str,
    node: &'a str,
    at: String,
    test: bool,
    text: String,
    total: i64,
    notices: Vec<PostedNotice<'a>>,
}

#[derive(Serialize)]
struct PostedNotice<'a> {
    id: &'a str,
    kind: &'a str,
    subject: &'a str,
    partner: &'a str,
    reader: Option<&'a str>,
    reason: String,
    reminder: bool,
    since: String,
    command: String,
}

impl Digest {
    /// What a webhook is sent.
    pub fn json(&self) -> Vec<u8> {
        let notices = self.notices.iter().map(|notice| PostedNotice {
            id: &notice.id,
            kind: &notice.kind,
            subject: &notice.subject,
            partner: &notice.partner,
            reader: notice.reader.as_deref(),
            reason: short(&notice.reason, MAX_REASON),
            reminder: notice.is_reminder,
            since: notice.since.to_string(),
            command: what_to_do(notice),
        });
        let posted = Posted {
            id: &self.id,
            node: &self.node,
            at: self.at.to_string(),
            test: self.is_test,
            text: self.headline(),
            total: self.total,
            notices: notices.collect(),
        };
        // Texts and numbers only: there is nothing that could not be written.
        serde_json::to_vec(&posted).unwrap_or_default()
    }

    /// One line: the subject of a mail.
    pub fn headline(&self) -> String {
        let what = match (self.is_test, self.notices.as_slice()) {
            (true, _) => "this is a test: nothing waits".to_owned(),
            (false, [one]) if self.total == 1 => format!("{}: {}", name(one), one.reason),
            _ => format!("{} cases and reports wait for a person", self.total),
        };
        short(&format!("[Neisse {}] {what}", self.node), MAX_SUBJECT)
    }

    /// The text of a mail. Times are those of the partner a notice is about.
    pub fn text(&self, config: &Config) -> String {
        if self.is_test {
            return format!(
                "A person tried out whether node {} can tell this address that something waits.\n",
                self.node
            );
        }
        let mut text = String::from("These wait for a person:\n");
        for notice in &self.notices {
            let partner = PartnerId::new(&notice.partner).ok().and_then(|partner| config.partners.get(&partner));
            let zone = partner.map_or(chrono_tz::UTC, |partner| partner.time_zone);
            let since = notice.since.utc().with_timezone(&zone).format("%Y-%m-%d %H:%M %Z");
            let again = if notice.is_reminder { "still: " } else { "" };
            let reason = short(&notice.reason, MAX_REASON);
            let (name, command) = (name(notice), what_to_do(notice));
            text.push_str(&format!("\n{name}\n  ! {again}{reason}\n  since {since}\n  {command}\n"));
        }
        let listed = i64::try_from(self.notices.len()).unwrap_or(i64::MAX);
        if self.total > listed {
            text.push_str(&format!("\nAnd {} more: neisse cases list --attention\n", self.total - listed));
        }
        text.push_str(&format!(
            "\nNode {}. Patients are named by neisse cases show CASE --patient alone.\n",
            self.node
        ));
        text
    }
}

/// `case 01a2… of rabenstein, read by chemnitz`.
pub fn name(notice: &Notice) -> String {
    let reader = notice.reader.as_ref().filter(|reader| **reader != notice.partner);
    let reader = reader.map_or_else(String::new, |reader| format!(", read by {reader}"));
    let of = if notice.kind == "report" { "from" } else { "of" };
    format!("{} {} {of} {}{reader}", notice.kind, notice.subject, notice.partner)
}

fn what_to_do(notice: &Notice) -> String {
    match notice.kind.as_str() {
        "case" => format!("neisse cases show {}", notice.subject),
        "specimen" => "neisse specimen list --late".to_owned(),
        "performed" => format!(
            "see that the hospital's own system knows what its scanner did, then neisse cases dismiss {} --why \"…\"",
            notice.subject
        ),
        "availability" => format!(
            "see that its own system knows which studies are available, then neisse cases dismiss {} --why \"…\"",
            notice.subject
        ),
        "answer" => format!(
            "tell its sender what became of its order, then neisse cases dismiss {} --why \"…\"",
            notice.subject
        ),
        "commitment" => "see [dicom] destinations of the partner, and have it ask again".to_owned(),
        _ => "neisse cases list --attention".to_owned(),
    }
}

pub fn short(text: &str, most: usize) -> String {
    let plain = |letter: char| if letter.is_control() { ' ' } else { letter };
    let mut short: String = text.chars().map(plain).take(most).collect();
    if text.chars().count() > most {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(reason: &str) -> Notice {
        Notice {
            id: "n-1".into(),
            kind: "case".into(),
            subject: "c-1".into(),
            partner: "rabenstein".into(),
            reader: Some("chemnitz".into()),
            reason: reason.into(),
            is_reminder: false,
            since: Moment(0),
        }
    }

    fn digest(total: i64, notices: Vec<Notice>) -> Digest {
        Digest { id: "d-1".into(), node: "n".into(), at: Moment(0), is_test: false, total, notices }
    }

    #[test]
    fn one_is_named_in_the_subject_and_several_are_counted() {
        let one = digest(1, vec![notice("no report\r\nBcc: all@example.org")]).headline();
        assert!(one.contains("case c-1 of rabenstein, read by chemnitz: no report  Bcc"), "{one}");
        assert!(digest(10_000, vec![notice("a"), notice("b")]).headline().contains("10000 cases and reports"));
        assert!(digest(1, vec![notice(&"x".repeat(900))]).headline().chars().count() <= MAX_SUBJECT + 1);
    }

    #[test]
    fn the_object_of_a_webhook_has_the_documented_shape() {
        let posted: serde_json::Value = serde_json::from_slice(&digest(1, vec![notice("late")]).json()).expect("JSON");
        let mut keys: Vec<&str> = posted.as_object().expect("an object").keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["at", "id", "node", "notices", "test", "text", "total"]);
        let first = &posted["notices"][0];
        assert_eq!(first["command"], "neisse cases show c-1");
        assert_eq!(first["since"], "1970-01-01T00:00:00.000Z");
        assert_eq!((&first["reader"], &first["reminder"]), (&"chemnitz".into(), &false.into()));
    }
}
