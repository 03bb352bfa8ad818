//! Identifiers given out to readers in their own domains, and what left under them.
//!
//! In: an origin's identifier and how a reader wants it. Out: the one identifier that stands for it there, the same for
//! ever; and back again. Which form it takes is `model::identity`'s; that no two origins' identifiers become one is the
//! table's. Those of one origin are made by one transaction at a time ([`Tx::hold_names`]).

use super::{
    Sql, Store, StoreError, Tx, TxKind,
    cases::{partner, to_json},
    on_read, on_tx,
};
use crate::model::{CaseId, Digest, GivenOut, IdentifierKind, IssuedId, Mapped, Mapping, Moment, PartnerId};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// Forms tried before giving up. Two of 10^15 numbers are hardly ever the same.
const MOST_FORMS: u32 = 16;
/// No identifier given out is longer: what is longer was never given out.
const LONGEST: usize = 64;

/// Fingerprints of what is known to be on this store's disk: it need not be written there each time that an image is looked at.
#[derive(Default)]
pub(super) struct Assured(Mutex<HashSet<[u8; 32]>>);
const MOST_ASSURED: usize = 100_000;

/// An identifier of an origin, and what it is called.
type Named<'a> = (&'a (IdentifierKind, IssuedId), &'a Mapped);

fn fingerprint(mapping: &Mapping, ((kind, id), mapped): Named<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    let (reader, origin, since) = (mapping.reader.as_str(), mapping.origin.as_str(), mapped.since.0.to_string());
    let own = [mapped.id.issuer.as_str(), &mapped.id.value, &since];
    for part in [reader, origin, kind.as_str(), &id.issuer, &id.value].into_iter().chain(own) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// An instance that was sent under a reader's identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentInstance {
    pub seq: i64,
    /// Of the data set as sent.
    pub sha256: Digest,
    /// How many of its identifiers were mapped.
    pub identifiers: u32,
}

/// What one partner got of a case under identifiers of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentUnder {
    pub partner: PartnerId,
    pub instances: i64,
    /// The most that one of them had mapped.
    pub identifiers: i64,
}

const KNOWN: &str =
    "SELECT mapped, made_us FROM identities WHERE reader = $1 AND kind = $2 AND origin = $3 AND digest = $4";
const KNOWN_OF: Sql = Sql {
    sqlite: "SELECT kind, digest, mapped, made_us FROM identities WHERE reader = $1 AND origin = $2 \
             AND kind IN ('patient', 'accession', 'placer', 'filler') AND digest IN (SELECT value FROM json_each($3))",
    postgres: "SELECT kind, digest, mapped, made_us FROM identities WHERE reader = $1 AND origin = $2 \
               AND kind IN ('patient', 'accession', 'placer', 'filler') \
               AND digest IN (SELECT jsonb_array_elements_text($3::jsonb))",
};
const GIVEN_OUT: &str = "SELECT origin, issuer, value FROM identities WHERE reader = $1 AND kind = $2 AND mapped = $3";

const SENT: Sql = Sql {
    sqlite: "INSERT INTO sent_instances (case_id, partner, seq, sha256, identifiers) \
             SELECT $1, $2, value ->> 'seq', value ->> 'sha256', value ->> 'identifiers' FROM json_each($3) WHERE true \
             ON CONFLICT (case_id, partner, seq) DO UPDATE SET sha256 = excluded.sha256, identifiers = excluded.identifiers",
    postgres: "INSERT INTO sent_instances (case_id, partner, seq, sha256, identifiers) \
               SELECT $1, $2, seq, sha256, identifiers \
               FROM jsonb_to_recordset($3::jsonb) AS r (seq bigint, sha256 text, identifiers bigint) \
               ON CONFLICT (case_id, partner, seq) DO UPDATE SET sha256 = excluded.sha256, identifiers = excluded.identifiers",
};

impl Tx {
    /// Names for identifiers of one origin are given by one transaction after the other: two that need the same ones, for several
    /// readers and out of several messages, never wait for each other's. To be taken before any case by whoever then gives
    /// names while it holds other rows; held until the transaction ends.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hold_names(&mut self, origin: &PartnerId) -> Result<(), StoreError> {
        // Of two keys, as the numbers of `share_origin`, and apart from them.
        const SQL: &str = "SELECT pg_advisory_xact_lock(2, hashtext($1))";
        // SQLite has only one writer.
        if let TxKind::Postgres(c) = &mut self.kind {
            super::in_time(sqlx::query(SQL).bind(origin.as_str()).execute(&mut **c)).await?;
        }
        Ok(())
    }

    /// What this identifier of the mapping's origin is called toward its reader: found, or made now. An empty one is
    /// nobody's and stays empty. May be asked any number of times, on several nodes at once: the answer is the same.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mapped(
        &mut self,
        mapping: &Mapping,
        kind: IdentifierKind,
        id: &IssuedId,
        now: Moment,
    ) -> Result<Mapped, StoreError> {
        const SQL: &str = "INSERT INTO identities (reader, kind, origin, digest, issuer, value, mapped, made_us) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";
        if id.is_empty() {
            return Ok(Mapped { id: id.clone(), since: now });
        }
        let id = mapping.issued(id);
        let digest = digest(&id);
        if let Some(known) = self.known(mapping, kind, &digest).await? {
            return Ok(known);
        }
        self.hold_names(&mapping.origin).await?;
        for nth in 0..MOST_FORMS {
            if let Some(known) = self.known(mapping, kind, &digest).await? {
                return Ok(known);
            }
            let form = mapping.form(kind, &id, nth);
            let made = on_tx!(self, |c| sqlx::query(SQL)
                .bind(mapping.reader.as_str())
                .bind(kind.as_str())
                .bind(mapping.origin.as_str())
                .bind(&digest)
                .bind(super::plain(&id.issuer))
                .bind(super::plain(&id.value))
                .bind(&form.value)
                .bind(now.0)
                .execute(&mut **c)
                .await
                .map(|done| done.rows_affected()))?;
            if made == 1 {
                return Ok(Mapped { id: form, since: now });
            }
            // Another transaction has just made it, or the form stands for another identifier already.
        }
        match self.known(mapping, kind, &digest).await? {
            Some(known) => Ok(known),
            None => Err(StoreError::Data { code: "no form is free".into(), constraint: None }),
        }
    }

    async fn known(
        &mut self,
        mapping: &Mapping,
        kind: IdentifierKind,
        digest: &str,
    ) -> Result<Option<Mapped>, StoreError> {
        let row: Option<(String, i64)> = on_tx!(self, |c| sqlx::query_as(KNOWN)
            .bind(mapping.reader.as_str())
            .bind(kind.as_str())
            .bind(mapping.origin.as_str())
            .bind(digest)
            .fetch_optional(&mut **c)
            .await)?;
        Ok(row.map(|row| read_mapped(mapping, row)))
    }

    /// Makes what was found of this origin as durable as the transaction itself: who made it may not have waited for the
    /// disk. Whatever a synced change of the database's one log follows is synced with it, so one row stands for all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn assure_mapped(
        &mut self,
        mapping: &Mapping,
        kind: IdentifierKind,
        id: &IssuedId,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE identities SET made_us = made_us \
             WHERE reader = $1 AND kind = $2 AND origin = $3 AND digest = $4";
        let digest = digest(&mapping.issued(id));
        on_tx!(self, |c| sqlx::query(SQL)
            .bind(mapping.reader.as_str())
            .bind(kind.as_str())
            .bind(mapping.origin.as_str())
            .bind(&digest)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }

    /// What an identifier of a reader's domain stands for. `None`: it was never given out, so it is the reader's own.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unmapped(
        &mut self,
        reader: &PartnerId,
        kind: IdentifierKind,
        value: &str,
    ) -> Result<Option<GivenOut>, StoreError> {
        if !may_be_given_out(value) {
            return Ok(None);
        }
        let row: Option<(String, String, String)> = on_tx!(self, |c| sqlx::query_as(GIVEN_OUT)
            .bind(reader.as_str())
            .bind(kind.as_str())
            .bind(value)
            .fetch_optional(&mut **c)
            .await)?;
        row.map(|row| read_given(kind, row)).transpose()
    }

    /// Writes down what was sent to a partner under its own identifiers. Written twice, the newer counts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_sent(
        &mut self,
        case: CaseId,
        partner: &PartnerId,
        sent: &[SentInstance],
    ) -> Result<(), StoreError> {
        #[derive(Serialize)]
        struct Row {
            seq: i64,
            sha256: String,
            identifiers: u32,
        }
        if sent.is_empty() {
            return Ok(());
        }
        let row =
            |one: &SentInstance| Row { seq: one.seq, sha256: one.sha256.to_string(), identifiers: one.identifiers };
        let rows = to_json(&sent.iter().map(row).collect::<Vec<_>>(), "list of what was sent")?;
        let sql = self.pick(SENT);
        on_tx!(self, |c| sqlx::query(sql)
            .bind(case.to_string())
            .bind(partner.as_str())
            .bind(rows)
            .execute(&mut **c)
            .await
            .map(drop))?;
        Ok(())
    }
}

impl Store {
    /// Whether each is known to be on the disk, called as it is now.
    pub fn has_assured<'a>(&self, mapping: &Mapping, named: impl IntoIterator<Item = Named<'a>>) -> bool {
        let assured = self.assured.0.lock().unwrap_or_else(PoisonError::into_inner);
        named.into_iter().all(|one| assured.contains(&fingerprint(mapping, one)))
    }

    /// These are on the disk: a synced transaction that made or assured them has been committed.
    pub fn note_assured<'a>(&self, mapping: &Mapping, named: impl IntoIterator<Item = Named<'a>>) {
        let mut assured = self.assured.0.lock().unwrap_or_else(PoisonError::into_inner);
        if assured.len() > MOST_ASSURED {
            assured.clear();
        }
        assured.extend(named.into_iter().map(|one| fingerprint(mapping, one)));
    }

    /// What each of these is called toward the mapping's reader, in their order; `None`: it has not been mapped.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn known_mapped(
        &self,
        mapping: &Mapping,
        wanted: &[(IdentifierKind, IssuedId)],
    ) -> Result<Vec<Option<Mapped>>, StoreError> {
        let digests: Vec<String> = wanted.iter().map(|(_, id)| digest(&mapping.issued(id))).collect();
        let list = to_json(&digests, "list of identifiers")?;
        let sql = self.pick(KNOWN_OF);
        let rows: Vec<(String, String, String, i64)> = on_read!(self, |p| sqlx::query_as(sql)
            .bind(mapping.reader.as_str())
            .bind(mapping.origin.as_str())
            .bind(list)
            .fetch_all(p)
            .await)?;
        let known = |((kind, _), digest): (&(IdentifierKind, IssuedId), &String)| {
            let row = rows.iter().find(|(of, is, ..)| of == kind.as_str() && is == digest)?;
            Some(read_mapped(mapping, (row.2.clone(), row.3)))
        };
        Ok(wanted.iter().zip(&digests).map(known).collect())
    }

    /// The same as [`Tx::unmapped`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unmapped(
        &self,
        reader: &PartnerId,
        kind: IdentifierKind,
        value: &str,
    ) -> Result<Option<GivenOut>, StoreError> {
        if !may_be_given_out(value) {
            return Ok(None);
        }
        let row: Option<(String, String, String)> = on_read!(self, |p| sqlx::query_as(GIVEN_OUT)
            .bind(reader.as_str())
            .bind(kind.as_str())
            .bind(value)
            .fetch_optional(p)
            .await)?;
        row.map(|row| read_given(kind, row)).transpose()
    }

    /// What partners got of a case under identifiers of their own.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sent_under(&self, case: CaseId) -> Result<Vec<SentUnder>, StoreError> {
        const SQL: &str = "SELECT partner, COUNT(*), MAX(identifiers) FROM sent_instances WHERE case_id = $1 \
             GROUP BY partner ORDER BY partner";
        let id = case.to_string();
        let rows: Vec<(String, i64, i64)> = on_read!(self, |p| sqlx::query_as(SQL).bind(id).fetch_all(p).await)?;
        let read = |(name, instances, identifiers): (String, i64, i64)| {
            Ok(SentUnder { partner: partner(&name)?, instances, identifiers })
        };
        rows.into_iter().map(read).collect()
    }

    /// What was sent of a case to a partner under its own identifiers, in the order received.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sent_instances(&self, case: CaseId, to: &PartnerId) -> Result<Vec<SentInstance>, StoreError> {
        const SQL: &str =
            "SELECT seq, sha256, identifiers FROM sent_instances WHERE case_id = $1 AND partner = $2 ORDER BY seq";
        let id = case.to_string();
        let rows: Vec<(i64, String, i64)> =
            on_read!(self, |p| sqlx::query_as(SQL).bind(id).bind(to.as_str()).fetch_all(p).await)?;
        let read = |(seq, sha256, identifiers): (i64, String, i64)| {
            let sha256 = super::instances::parse_digest(&sha256).ok_or(StoreError::Unreadable { what: "digest" })?;
            Ok(SentInstance { seq, sha256, identifiers: u32::try_from(identifiers).unwrap_or(0) })
        };
        rows.into_iter().map(read).collect()
    }
}

/// Of issuer and value as they are; the columns beside it are for the way back.
fn digest(id: &IssuedId) -> String {
    let mut hash = Sha256::new();
    hash.update((id.issuer.len() as u64).to_be_bytes());
    hash.update(id.issuer.as_bytes());
    hash.update(id.value.as_bytes());
    Digest(hash.finalize().into()).to_string()
}

fn may_be_given_out(value: &str) -> bool {
    (1..=LONGEST).contains(&value.len()) && value.is_ascii() && !value.contains(|c: char| c.is_ascii_control())
}

fn read_mapped(mapping: &Mapping, (mapped, made): (String, i64)) -> Mapped {
    Mapped { id: IssuedId::new(mapped, mapping.reader_issuer.as_str()), since: Moment(made) }
}

fn read_given(kind: IdentifierKind, (origin, issuer, value): (String, String, String)) -> Result<GivenOut, StoreError> {
    Ok(GivenOut { origin: partner(&origin)?, kind, id: IssuedId::new(value, issuer) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::DatabaseUrl, model::Identifiers, store::Durability};

    fn mapping(identifiers: Identifiers, origin: &str, issuer: &str, prefix: &str) -> Mapping {
        Mapping {
            reader: PartnerId::new("chemnitz").unwrap(),
            reader_issuer: "KCHEMNITZ".into(),
            identifiers,
            origin: PartnerId::new(origin).unwrap(),
            origin_issuer: issuer.into(),
            prefix: prefix.into(),
        }
    }

    #[tokio::test]
    async fn an_identifier_is_mapped_once_and_finds_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&DatabaseUrl::Sqlite, folder.path()).await.unwrap();
        let rab = mapping(Identifiers::Prefix, "rabenstein", "RAB", "RAB-");
        let lic = mapping(Identifiers::Prefix, "lichtenstein", "LIC", "LIC-");
        let id = IssuedId::new("77", "");
        let mut tx = store.begin(Durability::Process).await.unwrap();
        let of_rab = tx.mapped(&rab, IdentifierKind::Patient, &id, Moment(5)).await.unwrap();
        let of_lic = tx.mapped(&lic, IdentifierKind::Patient, &id, Moment(6)).await.unwrap();
        assert_eq!((of_rab.id.value.as_str(), of_lic.id.value.as_str()), ("RAB-77", "LIC-77"));
        assert_eq!(tx.mapped(&rab, IdentifierKind::Patient, &id, Moment(9)).await.unwrap(), of_rab, "as before");
        // The reader has changed its mind: what was given stays given.
        let assigned = Mapping { identifiers: Identifiers::Assigned, ..rab.clone() };
        assert_eq!(tx.mapped(&assigned, IdentifierKind::Patient, &id, Moment(9)).await.unwrap(), of_rab);
        tx.assure_mapped(&rab, IdentifierKind::Patient, &id).await.unwrap();
        tx.commit().await.unwrap();
        // Several with one statement; the same value as another kind of identifier is another.
        let wanted = [(IdentifierKind::Filler, id.clone()), (IdentifierKind::Patient, id.clone())];
        assert_eq!(store.known_mapped(&rab, &wanted).await.unwrap(), [None, Some(of_rab)]);
        let back = store.unmapped(&rab.reader, IdentifierKind::Patient, "LIC-77").await.unwrap().unwrap();
        assert_eq!((back.origin.as_str(), back.id), ("lichtenstein", IssuedId::new("77", "LIC")));
        for own in ["77", "", "RAB-78", &"7".repeat(200), "RAB-77\0"] {
            assert_eq!(store.unmapped(&rab.reader, IdentifierKind::Patient, own).await.unwrap(), None, "{own}");
        }
        assert_eq!(store.unmapped(&rab.reader, IdentifierKind::Placer, "RAB-77").await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_on_the_disk_of_one_store_is_not_on_that_of_another() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let store = Store::open(&DatabaseUrl::Sqlite, folders[0].path()).await.unwrap();
        let other = Store::open(&DatabaseUrl::Sqlite, folders[1].path()).await.unwrap();
        let rab = mapping(Identifiers::Prefix, "rabenstein", "RAB", "RAB-");
        let id = (IdentifierKind::Patient, IssuedId::new("77", ""));
        let called = |value: &str, since| Mapped { id: IssuedId::new(value, "KCHEMNITZ"), since: Moment(since) };
        let given = called("RAB-77", 5);
        assert!(!store.has_assured(&rab, [(&id, &given)]));
        store.note_assured(&rab, [(&id, &given)]);
        assert!(store.has_assured(&rab, [(&id, &given)]));
        assert!(!other.has_assured(&rab, [(&id, &given)]));
        for anew in [called("RAB-78", 5), called("RAB-77", 6)] {
            assert!(!store.has_assured(&rab, [(&id, &given), (&id, &anew)]), "given anew");
        }
        let placer = (IdentifierKind::Placer, IssuedId::new("77", ""));
        assert!(!store.has_assured(&rab, [(&placer, &given)]));
    }

    #[tokio::test]
    async fn two_origins_with_one_prefix_never_meet() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&DatabaseUrl::Sqlite, folder.path()).await.unwrap();
        let one = mapping(Identifiers::Prefix, "rabenstein", "DRK", "DRK-");
        let other = mapping(Identifiers::Prefix, "lichtenstein", "DRK", "DRK-");
        let id = IssuedId::new("77", "DRK");
        let mut tx = store.begin(Durability::Process).await.unwrap();
        let first = tx.mapped(&one, IdentifierKind::Patient, &id, Moment(1)).await.unwrap();
        let second = tx.mapped(&other, IdentifierKind::Patient, &id, Moment(1)).await.unwrap();
        assert_eq!(first.id.value, "DRK-77");
        assert_ne!(first.id, second.id);
        let back = tx.unmapped(&other.reader, IdentifierKind::Patient, &second.id.value).await.unwrap().unwrap();
        assert_eq!((back.origin.as_str(), back.id), ("lichtenstein", id));
    }
}
