//! New orders: whether anything is known that they could be about, and one that meets nothing, written in one statement.
//!
//! In: the order, and the message it came with. Out: both kept, or nothing done. Most orders come first of all that they
//! will be joined to; each statement is a round to the database, and their number is what the rate of orders depends on.
//!
//! On SQLite, which has one writer, several such orders are one statement and share a commit (`sqlite::together`).
//!
//! Does not join: what meets anything is for `intake` to look at whole.

use super::{
    Db, Durability, MessageKey, OrderMessageRow, OrderRow, Sql, Store, StoreError, Tx,
    cases::{has_number, key, to_json, to_word},
    modality_worklist::save_steps,
    on_tx,
    orders::{bind_order, order_columns, order_texts, order_values, uids},
    sqlite::together::Change,
    statement,
};
use crate::model::Moment;
use std::time::Instant;

/// A new order that is the only one of its message, and what the message is kept and answered with.
#[derive(Clone, Copy, Debug)]
pub struct NewOrder<'a> {
    pub order: &'a OrderRow,
    pub said: &'a OrderMessageRow,
    pub key: &'a MessageKey,
    pub content: &'a [u8],
    pub answer: &'a [u8],
}

/// Whether there is anything an order could be about, or belong to: the order itself, its study, images of its patient.
/// By the numbers and not by the origin, as in `cases`: hence `origin || ''`, which no index has. Each number by itself:
/// PostgreSQL, which plans for any numbers, would take three of them for many and read every case.
macro_rules! anything_of {
    ($studies:literal, $origin:literal, $placer:literal, $filler:literal, $accession:literal,
     $placer_number:literal, $filler_number:literal, $patient:literal, $since:literal) => {
        concat!(
            "(EXISTS (SELECT 1 FROM orders WHERE origin = ",
            $origin,
            " AND (placer, placer_issuer) = (",
            $placer,
            ") AND placer <> '') OR EXISTS (SELECT 1 FROM orders WHERE origin = ",
            $origin,
            " AND (filler, filler_issuer) = (",
            $filler,
            ") AND filler <> '') OR EXISTS (SELECT 1 FROM cases WHERE origin = ",
            $origin,
            " AND study_uid ",
            $studies,
            ") OR EXISTS (SELECT 1 FROM cases WHERE origin || '' = ",
            $origin,
            " AND ",
            has_number!($accession),
            ") OR EXISTS (SELECT 1 FROM cases WHERE origin || '' = ",
            $origin,
            " AND ",
            has_number!($placer_number),
            ") OR EXISTS (SELECT 1 FROM cases WHERE origin || '' = ",
            $origin,
            " AND ",
            has_number!($filler_number),
            ") OR EXISTS (SELECT 1 FROM cases WHERE origin = ",
            $origin,
            " AND (patient_id, patient_issuer) = (",
            $patient,
            ") AND last_us >= ",
            $since,
            "))"
        )
    };
}
macro_rules! look {
    ($studies:literal) => {
        concat!(
            "SELECT CASE WHEN ",
            anything_of!($studies, "$1", "$2, $3", "$4, $5", "$7", "$8", "$9", "$10, $11", "$12"),
            " THEN 1 ELSE 0 END"
        )
    };
}
/// As an array: PostgreSQL takes a list of rows for a hundred, and rather reads every study of the origin.
const ANYTHING_OF: Sql = Sql {
    sqlite: look!("IN (SELECT value FROM json_each($6))"),
    postgres: look!("= ANY (ARRAY(SELECT jsonb_array_elements_text($6::jsonb)))"),
};

/// The message first: if there is anything, or it has come before, it is not kept, and then nothing else is.
macro_rules! message_unless {
    ($studies:literal) => {
        concat!(
            "INSERT INTO messages (partner, application, facility, control_id, sha256, received_us, answer) \
             SELECT $2, $27, $28, $29, $20, $19, $30 WHERE NOT ",
            anything_of!($studies, "$2", "$4, $5", "$6, $7", "$31", "$32", "$33", "$34, $35", "$36"),
            " ON CONFLICT (partner, application, facility, control_id, sha256) DO NOTHING"
        )
    };
}
macro_rules! order_if {
    ($kept:literal) => {
        concat!("INSERT INTO ", order_columns!(), " SELECT ", order_values!(), " ", $kept)
    };
}
macro_rules! said_if {
    ($kept:literal) => {
        concat!(
            "INSERT INTO order_messages (order_id, received_us, sha256, sequence, control, answer, number) \
             SELECT $1, $19, $20, $21, $22, $23, 1 ",
            $kept
        )
    };
}
/// The content of what one hospital sends at one moment under two names is one row.
macro_rules! content_if {
    ($kept:literal) => {
        concat!(
            "INSERT INTO order_contents (sha256, received_us, content) SELECT $20, $19, $37 ",
            $kept,
            " ON CONFLICT (sha256, received_us) DO UPDATE SET content = excluded.content"
        )
    };
}
macro_rules! studies_if {
    ($kept:literal) => {
        concat!(
            "INSERT INTO order_studies (order_id, origin, study_uid) SELECT $1, $2, value FROM ",
            $kept,
            " ON CONFLICT (order_id, study_uid) DO NOTHING"
        )
    };
}

/// SQLite's `changes()` is what the statement before has added: 0 if that has added nothing. Studies and steps come last,
/// because there may be none. PostgreSQL checks references when all of it is done. SQLite returns `$38` if it has kept the
/// order.
pub(super) const TAKE: Sql = Sql {
    sqlite: concat!(
        message_unless!("IN (SELECT value FROM json_each($18))"),
        " RETURNING $38; ",
        order_if!("WHERE changes() = 1"),
        "; ",
        said_if!("WHERE changes() = 1"),
        "; ",
        content_if!("WHERE changes() = 1"),
        "; ",
        studies_if!("json_each($18) WHERE changes() = 1"),
        "; ",
        save_steps!("json_each($26) WHERE EXISTS (SELECT 1 FROM orders WHERE id = $1)", "value ->> '$.")
    ),
    postgres: concat!(
        "WITH kept AS (",
        message_unless!("= ANY (ARRAY(SELECT jsonb_array_elements_text($18::jsonb)))"),
        " RETURNING 1), ordered AS (",
        order_if!("FROM kept"),
        "), named AS (",
        studies_if!("kept, jsonb_array_elements_text($18::jsonb)"),
        "), scheduled AS (",
        save_steps!("kept, jsonb_array_elements($26::jsonb) AS step (value) WHERE true", "value ->> '"),
        "), said AS (",
        said_if!("FROM kept"),
        ") ",
        content_if!("FROM kept")
    ),
};

/// As they are looked up among the cases' numbers.
fn number_keys(order: &OrderRow) -> [Option<String>; 3] {
    [&order.accession, &order.placer, &order.filler]
        .map(|number| Some(key(&number.value)).filter(|key| !key.is_empty()))
}

impl Tx {
    /// Whether there is anything that a new order could be joined to or taken for: an order with one of its numbers, a study
    /// that it names, or that has one of its numbers, or images of its patient since `since`. One look instead of four. The
    /// origin must be held, or shared with these numbers.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn knows_anything_of(&mut self, order: &OrderRow, since: Moment) -> Result<bool, StoreError> {
        let sql = self.pick(ANYTHING_OF);
        let studies = to_json(&uids(&order.studies), "list of studies")?;
        let [accession, placer, filler] = number_keys(order);
        let (found,): (i32,) = on_tx!(self, |c| sqlx::query_as(sql)
            .bind(order.origin.as_str())
            .bind(&order.placer.value)
            .bind(&order.placer.issuer)
            .bind(&order.filler.value)
            .bind(&order.filler.issuer)
            .bind(&studies)
            .bind(&accession)
            .bind(&placer)
            .bind(&filler)
            .bind(key(&order.patient.value))
            .bind(key(&order.patient.issuer))
            .bind(since.0)
            .fetch_one(&mut **c)
            .await)?;
        Ok(found != 0)
    }
}

impl Store {
    /// Keeps a new order of which nothing is known ([`Tx::knows_anything_of`]), with its message and the answer to it, and
    /// returns when the disk has them. False: something is known, or the message has come before; nothing has been done then.
    ///
    /// # Errors
    /// When the database fails. Whether the order was kept is then unknown.
    pub async fn take_new_order(&self, new: &NewOrder<'_>, since: Moment) -> Result<bool, StoreError> {
        let began = Instant::now();
        let values = parameters(new, since)?;
        let kept = match &self.db {
            Db::Sqlite(db) => statement(db.together(values)).await?,
            Db::Postgres(_) => self.take_beside(new, values).await?,
        };
        metrics::histogram!("neisse_store_commit_seconds").record(began.elapsed().as_secs_f64());
        Ok(kept)
    }

    /// Beside others of its origin, and alone with its numbers.
    async fn take_beside(&self, new: &NewOrder<'_>, values: Change) -> Result<bool, StoreError> {
        let order = new.order;
        let numbers = [&order.placer, &order.filler].map(|number| number.value.as_str());
        let numbers: Vec<&str> = numbers.into_iter().filter(|number| !number.is_empty()).collect();
        let mut tx = self.begin_beside(Durability::Synced, &order.origin, &numbers).await?;
        let sql = tx.pick(TAKE);
        let kept =
            on_tx!(tx, |c| values.bound(sqlx::query(sql)).execute(&mut **c).await.map(|done| done.rows_affected()))?;
        if kept > 0 {
            tx.commit().await?;
        }
        Ok(kept > 0)
    }
}

/// `$1` to `$37` of [`TAKE`].
fn parameters(new: &NewOrder<'_>, since: Moment) -> Result<Change, StoreError> {
    let NewOrder { order, said, key: message, content, answer } = *new;
    let texts = order_texts(order)?;
    let [accession, placer, filler] = number_keys(order);
    Ok(bind_order!(Change::default(), order, said, texts)
        .bind(&message.application)
        .bind(&message.facility)
        .bind(&message.control_id)
        .bind(answer)
        .bind(accession)
        .bind(placer)
        .bind(filler)
        .bind(key(&order.patient.value))
        .bind(key(&order.patient.issuer))
        .bind(since.0)
        .bind(content))
}
