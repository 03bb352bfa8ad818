//! Instances: the index over the journals, written in batches.

use super::{Sql, Store, StoreError, Tx, on_read, on_tx};
use crate::model::{CaseId, Digest, JournalId, JournalPlace, ReceivedInstance, Uid};
use serde::Serialize;
use std::collections::HashMap;

/// What a batch did to one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedCase {
    pub case: CaseId,
    pub created: bool,
    pub added: i64,
}

/// An instance to be delivered: where its bytes lie and what to say of it on the wire.
#[derive(Clone, Debug)]
pub struct DeliverableInstance {
    pub seq: i64,
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub transfer_syntax: Uid,
    pub place: JournalPlace,
    /// False: its bytes have been given up, see `retention`.
    pub on_disk: bool,
}

/// An image that a report may refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageOfCase {
    pub series: Uid,
    pub sop_class: Uid,
    pub sop_instance: Uid,
}

/// References in one report, at most.
const MAX_REFERENCED: i64 = 2_000;

/// The row that goes to the database as JSON: one statement for a batch, on both databases.
#[derive(Serialize)]
struct NewRow<'a> {
    seq: i64,
    sop_class: &'a str,
    sop_uid: &'a str,
    transfer_syntax: &'a str,
    series_uid: &'a str,
    journal: String,
    record_at: u64,
    data_at: u64,
    length: u64,
    sha256: String,
    received_us: i64,
    conflict: i64,
    instance_number: Option<i32>,
}

const KNOWN: Sql = Sql {
    sqlite: "SELECT sop_uid, sha256 FROM instances WHERE case_id = $1 AND sop_uid IN (SELECT value FROM json_each($2))",
    postgres: "SELECT sop_uid, sha256 FROM instances WHERE case_id = $1 \
               AND sop_uid IN (SELECT value FROM jsonb_array_elements_text($2::jsonb))",
};

const INSERT: Sql = Sql {
    sqlite: "INSERT INTO instances (case_id, seq, sop_class, sop_uid, transfer_syntax, series_uid, journal, record_at, \
             data_at, length, sha256, received_us, conflict, instance_number) \
             SELECT $1, value ->> 'seq', value ->> 'sop_class', value ->> 'sop_uid', value ->> 'transfer_syntax', \
             value ->> 'series_uid', value ->> 'journal', value ->> 'record_at', value ->> 'data_at', value ->> 'length', \
             value ->> 'sha256', value ->> 'received_us', value ->> 'conflict', value ->> 'instance_number' FROM json_each($2)",
    postgres: "INSERT INTO instances (case_id, seq, sop_class, sop_uid, transfer_syntax, series_uid, journal, record_at, \
               data_at, length, sha256, received_us, conflict, instance_number) \
               SELECT $1, seq, sop_class, sop_uid, transfer_syntax, series_uid, journal, record_at, data_at, length, sha256, \
               received_us, conflict, instance_number FROM jsonb_to_recordset($2::jsonb) AS r (seq bigint, sop_class text, sop_uid text, \
               transfer_syntax text, series_uid text, journal text, record_at bigint, data_at bigint, length bigint, \
               sha256 text, received_us bigint, conflict bigint, instance_number bigint)",
};

impl Tx {
    /// The digests already stored under these SOP Instance UIDs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_instances<'a>(
        &mut self,
        case: CaseId,
        uids: impl Iterator<Item = &'a Uid>,
    ) -> Result<HashMap<String, Vec<String>>, StoreError> {
        let sql = self.pick(KNOWN);
        let uids = super::cases::to_json(&uids.map(Uid::as_str).collect::<Vec<_>>(), "UID list")?;
        let id = case.to_string();
        let rows: Vec<(String, String)> =
            on_tx!(self, |c| sqlx::query_as(sql).bind(id).bind(uids).fetch_all(&mut **c).await)?;
        let mut known: HashMap<String, Vec<String>> = HashMap::new();
        for (uid, digest) in rows {
            known.entry(uid).or_default().push(digest);
        }
        Ok(known)
    }

    /// Adds instances to a case, numbered from `first_seq` in the order given. `true` marks a conflicting duplicate.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn add_instances(
        &mut self,
        case: CaseId,
        first_seq: i64,
        instances: &[(&ReceivedInstance, bool)],
    ) -> Result<(), StoreError> {
        if instances.is_empty() {
            return Ok(());
        }
        let rows: Vec<NewRow<'_>> = instances
            .iter()
            .zip(first_seq..)
            .map(|((instance, conflict), seq)| row(instance, seq, *conflict))
            .collect();
        let rows = super::cases::to_json(&rows, "instance list")?;
        let sql = self.pick(INSERT);
        on_tx!(self, |c| sqlx::query(sql).bind(case.to_string()).bind(rows).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// How many different instances a case has: conflicting duplicates are no more than their first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn distinct_instances(&mut self, case: CaseId) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM instances WHERE case_id = $1 AND conflict = 0";
        let (count,): (i64,) = on_tx!(self, |c| sqlx::query_as(SQL).bind(case.to_string()).fetch_one(&mut **c).await)?;
        Ok(count)
    }

    /// Records how far a journal has been read into the index.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn journal_indexed(&mut self, journal: JournalId, to: u64) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO journals (id, indexed_to) VALUES ($1, $2) \
             ON CONFLICT (id) DO UPDATE SET indexed_to = excluded.indexed_to WHERE journals.indexed_to < excluded.indexed_to";
        let to = i64::try_from(to).unwrap_or(i64::MAX);
        on_tx!(self, |c| sqlx::query(SQL).bind(journal.to_string()).bind(to).execute(&mut **c).await.map(drop))?;
        Ok(())
    }

    /// What a report of the case may refer to: its images, of a study of more than 2,000 the first of each series. One that
    /// came twice with different bytes is one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn images_of(&mut self, case: CaseId) -> Result<Vec<ImageOfCase>, StoreError> {
        const ALL: &str = "SELECT series_uid, sop_class, sop_uid FROM instances WHERE case_id = $1 AND conflict = 0 \
             ORDER BY seq LIMIT $2";
        const FIRST: &str = "SELECT series_uid, sop_class, sop_uid FROM instances WHERE case_id = $1 AND seq IN \
             (SELECT MIN(seq) FROM instances WHERE case_id = $1 AND conflict = 0 GROUP BY series_uid) ORDER BY seq LIMIT $2";
        let all = self.images(case, ALL, MAX_REFERENCED + 1).await?;
        if all.len() as u64 <= MAX_REFERENCED.unsigned_abs() {
            Ok(all)
        } else {
            self.images(case, FIRST, MAX_REFERENCED).await
        }
    }

    async fn images(&mut self, case: CaseId, sql: &'static str, most: i64) -> Result<Vec<ImageOfCase>, StoreError> {
        let rows: Vec<(String, String, String)> =
            on_tx!(self, |c| sqlx::query_as(sql).bind(case.to_string()).bind(most).fetch_all(&mut **c).await)?;
        let uid = |text: &str| Uid::new(text).map_err(|_| StoreError::Unreadable { what: "UID of an image" });
        let read = |(series, class, instance): &(String, String, String)| {
            Ok(ImageOfCase { series: uid(series)?, sop_class: uid(class)?, sop_instance: uid(instance)? })
        };
        rows.iter().map(read).collect()
    }

    /// Number and length of the instances `from..=to` of a case that are to be delivered: conflicting duplicates are not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lengths(&mut self, case: CaseId, from: i64, to: i64) -> Result<Vec<(i64, i64)>, StoreError> {
        const SQL: &str = "SELECT seq, length FROM instances WHERE case_id = $1 AND seq BETWEEN $2 AND $3 AND conflict = 0 ORDER BY seq";
        Ok(on_tx!(self, |c| sqlx::query_as(SQL).bind(case.to_string()).bind(from).bind(to).fetch_all(&mut **c).await)?)
    }
}

fn row<'a>(instance: &'a ReceivedInstance, seq: i64, conflict: bool) -> NewRow<'a> {
    NewRow {
        seq,
        sop_class: instance.sop_class.as_str(),
        sop_uid: instance.sop_instance.as_str(),
        transfer_syntax: instance.transfer_syntax.as_str(),
        series_uid: instance.series.as_str(),
        journal: instance.place.journal.to_string(),
        record_at: instance.place.record,
        data_at: instance.place.data,
        length: instance.place.length,
        sha256: instance.place.sha256.to_string(),
        received_us: instance.received.0,
        conflict: i64::from(conflict),
        instance_number: instance.own.number,
    }
}

#[derive(sqlx::FromRow)]
struct Raw {
    seq: i64,
    sop_class: String,
    sop_uid: String,
    transfer_syntax: String,
    journal: String,
    record_at: i64,
    data_at: i64,
    length: i64,
    sha256: String,
    on_disk: i64,
}

impl Store {
    /// The instances `from..=to` of a case, conflicting duplicates left out, in the order they were received.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliverable(&self, case: CaseId, from: i64, to: i64) -> Result<Vec<DeliverableInstance>, StoreError> {
        const SQL: &str = "SELECT seq, sop_class, sop_uid, transfer_syntax, journal, record_at, data_at, length, sha256, \
             on_disk FROM instances WHERE case_id = $1 AND seq BETWEEN $2 AND $3 AND conflict = 0 ORDER BY seq";
        let id = case.to_string();
        let raws: Vec<Raw> = on_read!(self, |p| sqlx::query_as(SQL).bind(id).bind(from).bind(to).fetch_all(p).await)?;
        raws.into_iter().map(Raw::read).collect()
    }

    /// How far each journal has been indexed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn indexed_journals(&self) -> Result<HashMap<JournalId, u64>, StoreError> {
        let rows: Vec<(String, i64)> =
            on_read!(self, |p| sqlx::query_as("SELECT id, indexed_to FROM journals").fetch_all(p).await)?;
        rows.into_iter()
            .map(|(id, to)| {
                let id = id.parse().map_err(|_| StoreError::Unreadable { what: "journal id" })?;
                Ok((id, u64::try_from(to).unwrap_or(0)))
            })
            .collect()
    }
}

impl Raw {
    fn read(self) -> Result<DeliverableInstance, StoreError> {
        let unreadable = |what| StoreError::Unreadable { what };
        Ok(DeliverableInstance {
            seq: self.seq,
            sop_class: Uid::new(&self.sop_class).map_err(|_| unreadable("SOP class"))?,
            sop_instance: Uid::new(&self.sop_uid).map_err(|_| unreadable("SOP instance"))?,
            transfer_syntax: Uid::new(&self.transfer_syntax).map_err(|_| unreadable("transfer syntax"))?,
            place: place(&self.journal, self.record_at, self.data_at, self.length, &self.sha256)?,
            on_disk: self.on_disk == 1,
        })
    }
}

/// A journal place from its columns.
pub(super) fn place(
    journal: &str,
    record: i64,
    data: i64,
    length: i64,
    sha256: &str,
) -> Result<JournalPlace, StoreError> {
    let unreadable = |what| StoreError::Unreadable { what };
    Ok(JournalPlace {
        journal: journal.parse().map_err(|_| unreadable("journal id"))?,
        record: u64::try_from(record).map_err(|_| unreadable("journal offset"))?,
        data: u64::try_from(data).map_err(|_| unreadable("journal offset"))?,
        length: u64::try_from(length).map_err(|_| unreadable("instance length"))?,
        sha256: parse_digest(sha256).ok_or(unreadable("digest"))?,
    })
}

pub(super) fn parse_digest(hex: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
    }
    Some(Digest(digest))
}
