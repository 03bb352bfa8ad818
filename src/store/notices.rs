//! What the operator is told: one notice for each thing that waits for a person, and how far each channel has told it.
//!
//! In: rows that wait, found by the conditions of their partial indexes. Out: notices that are new, have news, or are
//! resolved; and calls, each with all that a channel has to tell at one time. A call is written down before it is made and
//! keeps its id until it has succeeded, so that whoever gets it twice can see that. Nothing here is patient data.

use super::{Sql, Store, StoreError, Tx, on_read, on_tx};
use crate::model::Moment;
use std::time::Duration;
use uuid::Uuid;

/// Separates the reasons for which one case waits.
const BETWEEN: &str = "; ";

/// A way to tell the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeChannel {
    Log,
    Webhook,
    Mail,
}

impl NoticeChannel {
    pub const ALL: [NoticeChannel; 3] = [NoticeChannel::Log, NoticeChannel::Webhook, NoticeChannel::Mail];

    pub fn as_str(self) -> &'static str {
        match self {
            NoticeChannel::Log => "log",
            NoticeChannel::Webhook => "webhook",
            NoticeChannel::Mail => "mail",
        }
    }
}

/// Something that waits for a person and has no notice, or has one that says otherwise.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub kind: &'static str,
    pub subject: String,
    pub partner: String,
    pub reader: String,
    pub reason: String,
    /// The open notice about it, and the reasons in it.
    known: Option<(String, String)>,
}

impl Waiting {
    pub fn is_new(&self) -> bool {
        self.known.is_none()
    }
}

/// A notice as it is told.
#[derive(Clone, Debug)]
pub struct Notice {
    pub id: String,
    /// Of which of [`SOURCES`]: what the subject is the id of.
    pub kind: String,
    pub subject: String,
    /// As they are stored: one that cannot be read must not keep the others from being told.
    pub partner: String,
    pub reader: Option<String>,
    /// What has not been told yet by this channel; all of it when it is a reminder.
    pub reason: String,
    pub is_reminder: bool,
    pub since: Moment,
}

/// All that a channel has to tell at one time.
#[derive(Clone, Debug)]
pub struct NoticeCall {
    pub id: String,
    /// 1 at first; more when the same call has failed before.
    pub attempts: i64,
    /// How many notices it tells of.
    pub total: i64,
    /// The oldest of them.
    pub notices: Vec<Notice>,
}

/// When a channel may tell what.
#[derive(Clone, Copy, Debug)]
pub struct NoticeRhythm {
    pub now: Moment,
    /// What was told before this is told again; `None`: nothing is.
    pub again_before: Option<Moment>,
    /// Notices named one by one in a call, at most.
    pub listed: i64,
}

impl NoticeRhythm {
    fn cut(&self) -> i64 {
        self.again_before.map_or(0, |before| before.0.max(0))
    }
}

/// How a notice was told, for `neisse cases show`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct NoticeTold {
    pub channel: String,
    pub times: i64,
    pub told_us: i64,
    pub open: i64,
}

/// One kind of what waits for a person.
struct Source {
    kind: &'static str,
    changed: &'static str,
    gone: &'static str,
}

/// From one table: its partner, its reader, its reason, and the condition under which a row waits for a person, which
/// should be that of a partial index, word for word.
macro_rules! source {
    ($kind:literal, $table:literal, $partner:literal, $reader:literal, $reason:literal, $waits:literal) => {
        Source {
            kind: $kind,
            changed: concat!(
                "SELECT w.subject, w.partner, w.reader, w.reason, n.id, n.reason FROM (SELECT id AS subject, ",
                $partner,
                " AS partner, ",
                $reader,
                " AS reader, ",
                $reason,
                " AS reason FROM ",
                $table,
                " WHERE ",
                $waits,
                ") w LEFT JOIN notices n ON n.kind = '",
                $kind,
                "' AND n.subject = w.subject AND n.resolved_us IS NULL \
                 WHERE n.id IS NULL OR n.reason <> w.reason OR n.reader <> w.reader LIMIT $1"
            ),
            gone: concat!(
                "SELECT n.id FROM notices n WHERE n.kind = '",
                $kind,
                "' AND n.resolved_us IS NULL AND NOT EXISTS (SELECT 1 FROM ",
                $table,
                " WHERE id = n.subject AND ",
                $waits,
                ") LIMIT $1"
            ),
        }
    };
}

/// Everything that waits for a person. Whoever puts something else before one adds it here.
const SOURCES: [Source; 7] = [
    // A held case without a reason has been seen by a person.
    source!(
        "case",
        "cases",
        "origin",
        "COALESCE(reader, '')",
        "attention",
        "(attention <> '' OR state = 'held') AND attention <> ''"
    ),
    source!("report", "reports", "sender", "''", "hold_reason", "case_id IS NULL AND dismissed_us IS NULL"),
    // Of what has a case the case says it.
    source!(
        "specimen",
        "specimen_alarms",
        "partner",
        "''",
        "reason",
        "ended_us IS NULL \
         AND NOT EXISTS (SELECT 1 FROM order_cases oc WHERE oc.order_id = specimen_alarms.order_id) \
         AND NOT EXISTS (SELECT 1 FROM specimen_orders so JOIN order_cases oc ON oc.order_id = so.order_id \
           WHERE so.specimen_id = specimen_alarms.specimen_id)"
    ),
    source!(
        "performed",
        "performed_messages",
        "origin",
        "''",
        "stopped",
        "stopped <> '' AND kind = 'performed' AND dismissed_us IS NULL"
    ),
    source!(
        "availability",
        "performed_messages",
        "origin",
        "''",
        "stopped",
        "stopped <> '' AND kind = 'availability' AND dismissed_us IS NULL"
    ),
    source!("answer", "order_answers", "partner", "''", "stopped", "stopped <> '' AND dismissed_us IS NULL"),
    // Of what has a case the case says it.
    source!("commitment", "commitments", "partner", "''", "stopped", "stopped <> ''"),
];

/// Every channel is held before any notice is written: whoever writes notices down, and whoever gathers those that a channel
/// has not told, would otherwise take their rows in different orders.
const CHANNELS: Sql = Sql {
    sqlite: "SELECT channel FROM notice_channels ORDER BY channel",
    postgres: "SELECT channel FROM notice_channels ORDER BY channel FOR UPDATE",
};
const CHANNEL: Sql = Sql {
    sqlite: "SELECT call_id, attempts, next_us FROM notice_channels WHERE channel = $1",
    postgres: "SELECT call_id, attempts, next_us FROM notice_channels WHERE channel = $1 FOR UPDATE",
};

impl Store {
    /// What waits for a person and has no notice yet, or has changed since.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting_for_a_person(&self, limit: i64) -> Result<Vec<Waiting>, StoreError> {
        type Row = (String, String, String, String, Option<String>, Option<String>);
        let mut found = Vec::new();
        for source in &SOURCES {
            let rows: Vec<Row> = on_read!(self, |p| sqlx::query_as(source.changed).bind(limit).fetch_all(p).await)?;
            found.extend(rows.into_iter().map(|(subject, partner, reader, reason, id, before)| Waiting {
                kind: source.kind,
                subject,
                partner,
                reader,
                reason,
                known: id.zip(before),
            }));
        }
        Ok(found)
    }

    /// Open notices about what no longer waits for a person.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn notices_to_resolve(&self, limit: i64) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        for source in &SOURCES {
            let rows: Vec<(String,)> = on_read!(self, |p| sqlx::query_as(source.gone).bind(limit).fetch_all(p).await)?;
            found.extend(rows.into_iter().map(|(id,)| id));
        }
        Ok(found)
    }

    /// Whether the channel has something to tell, and may.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_notices_to_tell(&self, channel: NoticeChannel, rhythm: &NoticeRhythm) -> Result<bool, StoreError> {
        const DUE: &str =
            "SELECT notice_id FROM notice_tellings WHERE channel = $1 AND open = 1 AND told_us <= $2 LIMIT 1";
        const NEXT: &str = "SELECT next_us FROM notice_channels WHERE channel = $1";
        let name = channel.as_str();
        let due: Option<(String,)> =
            on_read!(self, |p| sqlx::query_as(DUE).bind(name).bind(rhythm.cut()).fetch_optional(p).await)?;
        if due.is_none() {
            return Ok(false);
        }
        let next: Option<(i64,)> = on_read!(self, |p| sqlx::query_as(NEXT).bind(name).fetch_optional(p).await)?;
        Ok(next.is_none_or(|(next,)| may(next, rhythm.now)))
    }

    /// How many notices are open.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_open_notices(&self) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM notices WHERE resolved_us IS NULL";
        let (count,): (i64,) = on_read!(self, |p| sqlx::query_as(SQL).fetch_one(p).await)?;
        Ok(count)
    }

    /// By which channels, when last and how often somebody was told of this case or report; newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn notices_told(&self, subject: &str) -> Result<Vec<NoticeTold>, StoreError> {
        const SQL: &str = "SELECT t.channel, t.times, t.told_us, t.open FROM notices n JOIN notice_tellings t \
             ON t.notice_id = n.id WHERE n.subject = $1 AND t.told_us > 0 ORDER BY t.told_us DESC, t.channel LIMIT 20";
        Ok(on_read!(self, |p| sqlx::query_as(SQL).bind(subject).fetch_all(p).await)?)
    }
}

/// A clock that was set back must not silence a channel for longer than the longest wait there is.
fn may(next: i64, now: Moment) -> bool {
    const LONGEST: Duration = Duration::from_secs(3600);
    next <= now.0 || next > (now + LONGEST).0
}

impl Tx {
    /// To be called before notices are opened, added to or resolved: one transaction does so at a time, and none while a
    /// channel gathers or settles its calls.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hold_notices(&mut self) -> Result<(), StoreError> {
        let sql = self.pick(CHANNELS);
        let _held: Vec<(String,)> = on_tx!(self, |c| sqlx::query_as(sql).fetch_all(&mut **c).await)?;
        Ok(())
    }

    /// Opens a notice, or adds to it what is new. The caller has called [`Tx::hold_notices`]. Returns false if nothing of it has to be told.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_waiting(&mut self, waiting: &Waiting, now: Moment) -> Result<bool, StoreError> {
        match &waiting.known {
            None => self.open_notice(waiting, now).await,
            Some((id, before)) => self.add_news(id, before, waiting).await,
        }
    }

    async fn open_notice(&mut self, waiting: &Waiting, now: Moment) -> Result<bool, StoreError> {
        const OPEN: &str = "INSERT INTO notices (id, kind, subject, partner, reader, reason, first_us) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (kind, subject) WHERE resolved_us IS NULL DO NOTHING";
        const TELL: &str = "INSERT INTO notice_tellings (notice_id, channel, open, news, told_us, times, call_id) \
             VALUES ($1, $2, 1, $3, 0, 0, '')";
        let id = Uuid::now_v7().to_string();
        let opened = on_tx!(self, |c| sqlx::query(OPEN)
            .bind(&id)
            .bind(waiting.kind)
            .bind(&waiting.subject)
            .bind(&waiting.partner)
            .bind(&waiting.reader)
            .bind(&waiting.reason)
            .bind(now.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        if opened == 0 {
            return Ok(false);
        }
        for channel in NoticeChannel::ALL {
            on_tx!(self, |c| sqlx::query(TELL)
                .bind(&id)
                .bind(channel.as_str())
                .bind(&waiting.reason)
                .execute(&mut **c)
                .await
                .map(drop))?;
        }
        Ok(true)
    }

    async fn add_news(&mut self, id: &str, before: &str, waiting: &Waiting) -> Result<bool, StoreError> {
        const SEEN: &str = "UPDATE notices SET reason = $2, reader = $3 WHERE id = $1";
        // What has not been told yet stays news, beside what is new.
        const NEWS: &str = "UPDATE notice_tellings SET news = CASE WHEN told_us = 0 AND news <> '' THEN news || '; ' || $2 \
             ELSE $2 END, told_us = 0, call_id = '' WHERE notice_id = $1";
        on_tx!(self, |c| sqlx::query(SEEN)
            .bind(id)
            .bind(&waiting.reason)
            .bind(&waiting.reader)
            .execute(&mut **c)
            .await
            .map(drop))?;
        let news = without(&waiting.reason, before);
        if news.is_empty() {
            return Ok(false);
        }
        on_tx!(self, |c| sqlx::query(NEWS).bind(id).bind(&news).execute(&mut **c).await.map(drop))?;
        Ok(true)
    }

    /// The reason of a notice is gone: nobody is told of it any more. The caller has called [`Tx::hold_notices`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn resolve_notice(&mut self, id: &str, now: Moment) -> Result<(), StoreError> {
        const RESOLVE: &str = "UPDATE notices SET resolved_us = $2 WHERE id = $1 AND resolved_us IS NULL";
        const CLOSE: &str = "UPDATE notice_tellings SET open = 0, call_id = '' WHERE notice_id = $1";
        on_tx!(self, |c| sqlx::query(RESOLVE).bind(id).bind(now.0).execute(&mut **c).await.map(drop))?;
        on_tx!(self, |c| sqlx::query(CLOSE).bind(id).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// Writes down that a call is about to be made: the one that failed before, as far as it still tells of something,
    /// or a new one with all that is due. `wait` says how long after the attempt of this number the next one is made,
    /// should it fail. `None`: there is nothing to tell now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_notice_call(
        &mut self,
        channel: NoticeChannel,
        rhythm: &NoticeRhythm,
        wait: impl Fn(i64) -> Duration,
    ) -> Result<Option<NoticeCall>, StoreError> {
        const SAVE: &str = "UPDATE notice_channels SET call_id = $2, attempts = $3, next_us = $4, outcome = 'under way' \
             WHERE channel = $1";
        let (name, sql) = (channel.as_str(), self.pick(CHANNEL));
        let row: Option<(String, i64, i64)> =
            on_tx!(self, |c| sqlx::query_as(sql).bind(name).fetch_optional(&mut **c).await)?;
        let Some((before, attempts, next)) = row else {
            return Err(StoreError::NotFound { what: "notice channel", id: name.to_owned() });
        };
        if !may(next, rhythm.now) {
            return Ok(None);
        }
        let (mut id, mut attempts, mut total) = (before, attempts + 1, 0);
        if !id.is_empty() {
            total = self.notices_in_call(channel, &id).await?;
        }
        if total == 0 {
            (id, attempts) = (Uuid::now_v7().to_string(), 1);
            total = self.gather_notices(channel, rhythm, &id).await?;
        }
        if total == 0 {
            return Ok(None);
        }
        let next = rhythm.now + wait(attempts);
        on_tx!(self, |c| sqlx::query(SAVE)
            .bind(name)
            .bind(&id)
            .bind(attempts)
            .bind(next.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        let notices = self.list_notices(channel, &id, rhythm.listed).await?;
        Ok(Some(NoticeCall { id, attempts, total, notices }))
    }

    async fn notices_in_call(&mut self, channel: NoticeChannel, call: &str) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM notice_tellings WHERE call_id <> '' AND call_id = $1 AND channel = $2";
        let (count,): (i64,) =
            on_tx!(self, |c| sqlx::query_as(SQL).bind(call).bind(channel.as_str()).fetch_one(&mut **c).await)?;
        Ok(count)
    }

    async fn gather_notices(
        &mut self,
        channel: NoticeChannel,
        rhythm: &NoticeRhythm,
        call: &str,
    ) -> Result<i64, StoreError> {
        const SQL: &str = "UPDATE notice_tellings SET call_id = $3 WHERE channel = $1 AND open = 1 AND told_us <= $2";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(channel.as_str())
            .bind(rhythm.cut())
            .bind(call)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(i64::try_from(done).unwrap_or(i64::MAX))
    }

    async fn list_notices(
        &mut self,
        channel: NoticeChannel,
        call: &str,
        limit: i64,
    ) -> Result<Vec<Notice>, StoreError> {
        const SQL: &str = "SELECT n.id, n.kind, n.subject, n.partner, n.reader, n.reason, n.first_us, t.news \
             FROM notice_tellings t JOIN notices n ON n.id = t.notice_id \
             WHERE t.call_id <> '' AND t.call_id = $1 AND t.channel = $2 ORDER BY n.first_us, n.id LIMIT $3";
        type Row = (String, String, String, String, String, String, i64, String);
        let rows: Vec<Row> = on_tx!(self, |c| sqlx::query_as(SQL)
            .bind(call)
            .bind(channel.as_str())
            .bind(limit)
            .fetch_all(&mut **c)
            .await)?;
        let listed = rows.into_iter().map(|(id, kind, subject, partner, reader, reason, first, news)| {
            // What has gone away meanwhile is no news.
            let gone = without(&news, &reason);
            let news = without(&news, &gone);
            Notice {
                id,
                kind,
                subject,
                partner,
                reader: (!reader.is_empty()).then_some(reader),
                is_reminder: news.is_empty(),
                reason: if news.is_empty() { reason } else { news },
                since: Moment(first),
            }
        });
        Ok(listed.collect())
    }

    /// The call has been answered: all that it carried has been told, and the channel is quiet until `next`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn notice_call_told(
        &mut self,
        channel: NoticeChannel,
        call: &str,
        now: Moment,
        next: Moment,
    ) -> Result<(), StoreError> {
        const TOLD: &str = "UPDATE notice_tellings SET told_us = $3, times = times + 1, news = '', call_id = '' \
             WHERE call_id <> '' AND call_id = $1 AND channel = $2";
        const DONE: &str = "UPDATE notice_channels SET call_id = '', attempts = 0, next_us = $3, outcome = 'told' \
             WHERE channel = $1 AND call_id = $2";
        let (name, held) = (channel.as_str(), self.pick(CHANNEL));
        let _held: Option<(String, i64, i64)> =
            on_tx!(self, |c| sqlx::query_as(held).bind(name).fetch_optional(&mut **c).await)?;
        on_tx!(self, |c| sqlx::query(TOLD).bind(call).bind(name).bind(now.0).execute(&mut **c).await.map(drop))?;
        on_tx!(self, |c| sqlx::query(DONE).bind(name).bind(call).bind(next.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// The call has failed; when it is made again was written down before it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn notice_call_failed(
        &mut self,
        channel: NoticeChannel,
        call: &str,
        why: &str,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE notice_channels SET outcome = $3 WHERE channel = $1 AND call_id = $2";
        let (name, why) = (channel.as_str(), super::plain(why));
        on_tx!(self, |c| sqlx::query(SQL).bind(name).bind(call).bind(&why).execute(&mut **c).await.map(drop))?;
        Ok(())
    }
}

/// The reasons of `all` that are not among `known`.
fn without(all: &str, known: &str) -> String {
    let known: Vec<&str> = known.split(BETWEEN).collect();
    let fresh: Vec<&str> = all.split(BETWEEN).filter(|reason| !known.contains(reason)).collect();
    fresh.join(BETWEEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reasons_that_are_new_are_news() {
        assert_eq!(without("a; b; c", "b"), "a; c");
        assert_eq!(without("b", "a; b"), "");
        assert_eq!(without("", ""), "");
        assert_eq!(without("late; late again", "late again"), "late");
    }

    #[test]
    fn a_clock_that_was_set_back_silences_nobody() {
        let now = Moment(10_000_000_000_000);
        assert!(may(now.0, now) && !may((now + Duration::from_secs(60)).0, now));
        assert!(may((now + Duration::from_secs(86_400)).0, now));
    }
}
