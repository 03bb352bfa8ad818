//! What partners' own systems are still to be told: of their scanners' performed procedure steps, and of studies that are available.
//!
//! In: what a scanner said, in the transaction that keeps it; a notification, with the end of what it was made of. Out: what is due,
//! in order within each step, what was tried least often first; an attempt is written down before it is made, and only one attempt
//! can be. What was taken is deleted; what was given up stays without its content for
//! a while, so that a person is told.

use super::{Sql, Store, StoreError, Tx, cases::partner, on_read, on_tx};
use crate::model::{Moment, PartnerId, Uid};
use uuid::Uuid;

/// What a message is about, which says of which SOP class it is and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Telling {
    /// A scanner's step: MPPS, PS3.4 F.
    Performed,
    /// Instance availability, PS3.4 R.
    Availability,
}

impl Telling {
    fn as_str(self) -> &'static str {
        match self {
            Telling::Performed => "performed",
            Telling::Availability => "availability",
        }
    }

    fn parse(word: &str) -> Result<Self, StoreError> {
        let known = [Telling::Performed, Telling::Availability];
        let found = known.into_iter().find(|about| about.as_str() == word);
        found.ok_or(StoreError::Unreadable { what: "kind of message" })
    }
}

/// One that is owed. Holds patient data: never into a log.
#[derive(Clone, Debug)]
pub struct PerformedMessage {
    pub about: Telling,
    pub number: i64,
    pub uid: Uid,
    /// N-CREATE, or else N-SET.
    pub begins: bool,
    /// DICOM JSON.
    pub attributes: String,
    pub created: Moment,
    /// Made so far.
    pub attempts: i64,
}

macro_rules! due_of {
    ($locks:literal) => {
        concat!(
            "SELECT number FROM performed_messages WHERE origin = $1 AND kind = $3 AND stopped = '' AND next_us < $2 \
             ORDER BY number",
            $locks
        )
    };
}

impl Tx {
    /// Owes what a scanner said to its hospital's own system; unless that has refused the beginning of the step, and so does not
    /// know it. Or a notification, as one that begins.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn owe_telling(
        &mut self,
        about: Telling,
        origin: &PartnerId,
        uid: &Uid,
        begins: bool,
        attributes: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO performed_messages (id, origin, uid, begins, attributes, created_us, attempts, next_us, \
             stopped, kind) SELECT $1, $2, $3, $4, $5, $6, 0, $6, '', $7 WHERE NOT EXISTS (SELECT 1 FROM performed_messages \
             WHERE origin = $2 AND uid = $3 AND begins = 1 AND stopped <> '')";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(Uuid::now_v7().to_string())
            .bind(origin.as_str())
            .bind(uid.as_str())
            .bind(i64::from(begins))
            .bind(attributes)
            .bind(now.0)
            .bind(about.as_str())
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Writes an attempt down; until `lease` it is nobody else's. False: somebody else makes it, or it is not owed any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_performed(&mut self, message: &PerformedMessage, lease: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE performed_messages SET attempts = attempts + 1, next_us = $3 \
             WHERE number = $1 AND attempts = $2 AND stopped = ''";
        let rows = on_tx!(self, |c| sqlx::query(SQL)
            .bind(message.number)
            .bind(message.attempts)
            .bind(lease.0)
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(rows == 1)
    }

    /// It was taken.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn performed_taken(&mut self, message: &PerformedMessage) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM performed_messages WHERE number = $1";
        on_tx!(self, |c| sqlx::query(SQL).bind(message.number).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// It is tried again at `next`; or, where `attempts` says that nothing was sent, as if it had not been tried.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn performed_again(
        &mut self,
        message: &PerformedMessage,
        attempts: i64,
        next: Moment,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE performed_messages SET attempts = $2, next_us = $3 WHERE number = $1";
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(message.number)
            .bind(attempts)
            .bind(next.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// Nothing is tried there before `next`: it is away.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pause_performed(
        &mut self,
        about: Telling,
        origin: &PartnerId,
        next: Moment,
    ) -> Result<(), StoreError> {
        // In one order, so that no two wait for each other.
        const HELD: Sql = Sql { sqlite: due_of!(""), postgres: due_of!(" FOR UPDATE") };
        const SQL: &str = "UPDATE performed_messages SET next_us = $2 WHERE origin = $1 AND kind = $3 AND stopped = '' \
             AND next_us < $2";
        for sql in [self.pick(HELD), SQL] {
            on_tx!(self, |c| sqlx::query(sql)
                .bind(origin.as_str())
                .bind(next.0)
                .bind(about.as_str())
                .execute(&mut **c)
                .await
                .map(drop))?;
        }
        Ok(())
    }

    /// It is given up, for a reason without patient data; and with the beginning of a step all that follows it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stop_performed(
        &mut self,
        origin: &PartnerId,
        message: &PerformedMessage,
        reason: &str,
        now: Moment,
    ) -> Result<(), StoreError> {
        const STOP: &str =
            "UPDATE performed_messages SET stopped = $2, stopped_us = $3, attributes = '' WHERE number = $1";
        const REST: &str =
            "DELETE FROM performed_messages WHERE origin = $1 AND uid = $2 AND number > $3 AND stopped = ''";
        on_tx!(self, |c| sqlx::query(STOP)
            .bind(message.number)
            .bind(reason)
            .bind(now.0)
            .execute(&mut **c)
            .await
            .map(drop))?;
        if message.begins {
            on_tx!(self, |c| sqlx::query(REST)
                .bind(origin.as_str())
                .bind(message.uid.as_str())
                .bind(message.number)
                .execute(&mut **c)
                .await
                .map(drop))?;
        }
        Ok(())
    }

    /// A person has seen to what was given up: it is listed no more. False: there is no such thing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn dismiss_performed(&mut self, id: &str, why: &str, now: Moment) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE performed_messages SET dismissed_us = $2, decided_why = $3 \
             WHERE id = $1 AND stopped <> '' AND dismissed_us IS NULL";
        let done = on_tx!(self, |c| sqlx::query(SQL)
            .bind(id)
            .bind(now.0)
            .bind(super::plain(why))
            .execute(&mut **c)
            .await
            .map(|done| done.rows_affected()))?;
        Ok(done == 1)
    }

    /// Forgets what was given up before this.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_stopped_performed(&mut self, before: Moment) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM performed_messages WHERE stopped <> '' AND stopped_us < $1";
        on_tx!(self, |c| sqlx::query(SQL).bind(before.0).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// Forgets the performed steps of a case, held by this transaction, that belong to no other study.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn forget_performed_of(&mut self, case: &str) -> Result<(), StoreError> {
        const NAMED: &str = "SELECT s.origin, s.uid FROM performed_studies s \
             JOIN cases c ON c.origin = s.origin AND c.study_uid = s.study_uid WHERE c.id = $1";
        const STUDY: &str = "DELETE FROM performed_studies WHERE EXISTS (SELECT 1 FROM cases c WHERE c.id = $1 \
             AND c.origin = performed_studies.origin AND c.study_uid = performed_studies.study_uid)";
        let steps: Vec<(String, String)> =
            on_tx!(self, |c| sqlx::query_as(NAMED).bind(case).fetch_all(&mut **c).await)?;
        if steps.is_empty() {
            return Ok(());
        }
        on_tx!(self, |c| sqlx::query(STUDY).bind(case).execute(&mut **c).await.map(drop))?;
        self.forget_performed(&steps).await
    }

    /// Forgets steps that nothing has happened to since `before` and that no case has. How many it looked at.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_performed_without_case(&mut self, before: Moment, limit: i64) -> Result<usize, StoreError> {
        const OLD: &str = "SELECT p.origin, p.uid FROM performed_steps p WHERE p.changed_us < $1 \
             AND NOT EXISTS (SELECT 1 FROM performed_studies s JOIN cases c ON c.origin = s.origin \
               AND c.study_uid = s.study_uid WHERE s.origin = p.origin AND s.uid = p.uid) ORDER BY p.changed_us LIMIT $2";
        const STUDIES: &str = "DELETE FROM performed_studies WHERE origin = $1 AND uid = $2";
        let steps: Vec<(String, String)> =
            on_tx!(self, |c| sqlx::query_as(OLD).bind(before.0).bind(limit).fetch_all(&mut **c).await)?;
        for (origin, uid) in &steps {
            on_tx!(self, |c| sqlx::query(STUDIES).bind(origin).bind(uid).execute(&mut **c).await.map(drop))?;
        }
        self.forget_performed(&steps).await?;
        Ok(steps.len())
    }

    /// What is still owed of them goes too: it would tell of a patient whose data has left.
    async fn forget_performed(&mut self, steps: &[(String, String)]) -> Result<(), StoreError> {
        const FORGET: [&str; 3] = [
            "DELETE FROM performed_orders WHERE origin = $1 AND uid = $2 AND NOT EXISTS \
             (SELECT 1 FROM performed_studies s WHERE s.origin = $1 AND s.uid = $2)",
            "DELETE FROM performed_messages WHERE origin = $1 AND uid = $2 AND NOT EXISTS \
             (SELECT 1 FROM performed_studies s WHERE s.origin = $1 AND s.uid = $2)",
            "DELETE FROM performed_steps WHERE origin = $1 AND uid = $2 AND NOT EXISTS \
             (SELECT 1 FROM performed_studies s WHERE s.origin = $1 AND s.uid = $2)",
        ];
        for (origin, uid) in steps {
            for sql in FORGET {
                on_tx!(self, |c| sqlx::query(sql).bind(origin).bind(uid).execute(&mut **c).await.map(drop))?;
            }
        }
        Ok(())
    }
}

impl Store {
    /// The partners whose own system may be told something now, and of what.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn performed_due(&self, now: Moment) -> Result<Vec<(Telling, PartnerId)>, StoreError> {
        const SQL: &str = "SELECT DISTINCT kind, origin FROM performed_messages WHERE stopped = '' AND next_us <= $1";
        let rows: Vec<(String, String)> = on_read!(self, |p| sqlx::query_as(SQL).bind(now.0).fetch_all(p).await)?;
        rows.iter().map(|(about, origin)| Ok((Telling::parse(about)?, partner(origin)?))).collect()
    }

    /// What is due of one partner: the first of each step that is owed, what was tried least often before the others, and of
    /// those the oldest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn performed_messages(
        &self,
        about: Telling,
        origin: &PartnerId,
        now: Moment,
        limit: i64,
    ) -> Result<Vec<PerformedMessage>, StoreError> {
        const SQL: &str = "SELECT m.number, m.uid, m.begins, m.attributes, m.created_us, m.attempts FROM performed_messages m \
             WHERE m.origin = $1 AND m.kind = $4 AND m.stopped = '' AND m.next_us <= $2 AND NOT EXISTS (SELECT 1 FROM performed_messages e \
               WHERE e.origin = m.origin AND e.uid = m.uid AND e.number < m.number AND e.stopped = '') \
             ORDER BY m.attempts, m.number LIMIT $3";
        type Row = (i64, String, i64, String, i64, i64);
        let rows: Vec<Row> = on_read!(self, |p| sqlx::query_as(SQL)
            .bind(origin.as_str())
            .bind(now.0)
            .bind(limit)
            .bind(about.as_str())
            .fetch_all(p)
            .await)?;
        rows.into_iter()
            .map(|(number, uid, begins, attributes, created, attempts)| {
                let uid = Uid::new(&uid).map_err(|_| StoreError::Unreadable { what: "UID" })?;
                Ok(PerformedMessage {
                    about,
                    number,
                    uid,
                    begins: begins != 0,
                    attributes,
                    created: Moment(created),
                    attempts,
                })
            })
            .collect()
    }
}
