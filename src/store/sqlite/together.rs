//! New orders of several callers, sent to SQLite as one statement and one transaction.
//!
//! In: the parameters of each caller's order. Out: whether it was kept, told when the disk has it. Each statement is two
//! changes of thread, which cost more than what SQLite does meanwhile; so those that have come while the last transaction
//! was under way are sent with the next, at most [`AT_MOST`].
//!
//! An order that the database refuses takes nobody with it: those of its transaction are then sent one by one, and it alone is told
//! why. Where the disk or the database itself fails, it has failed for all that are left. A caller may be dropped at any point: what is under way goes on, and what has
//! not been sent is left out.

use super::{SqliteDb, Turn, in_time};
use crate::store::{error::is_about_data, new_orders::TAKE};
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection, pool::PoolConnection, query::Query};
use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::{Arc, LazyLock, PoisonError},
};
use tokio::sync::oneshot;

/// Orders of one transaction. Of every power of two up to here there is a statement.
const AT_MOST: usize = 16;
/// Parameters of one order.
const WIDTH: usize = 38;

/// One order's parameters.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Change(Vec<Value>);

#[derive(Clone, Debug)]
pub(in crate::store) enum Value {
    Text(Arc<str>),
    Number(i64),
    Bytes(Arc<Vec<u8>>),
    Nothing,
}

impl Change {
    pub(in crate::store) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.0.push(value.into());
        self
    }

    /// As parameters of a query of either database.
    pub(in crate::store) fn bound<'q, D>(&self, mut query: Query<'q, D, D::Arguments>) -> Query<'q, D, D::Arguments>
    where
        D: sqlx::Database,
        Arc<str>: sqlx::Encode<'q, D> + sqlx::Type<D>,
        Arc<Vec<u8>>: sqlx::Encode<'q, D> + sqlx::Type<D>,
        i64: sqlx::Encode<'q, D> + sqlx::Type<D>,
        Option<String>: sqlx::Encode<'q, D> + sqlx::Type<D>,
    {
        for value in &self.0 {
            query = match value {
                Value::Text(text) => query.bind(Arc::clone(text)),
                Value::Number(number) => query.bind(*number),
                Value::Bytes(bytes) => query.bind(Arc::clone(bytes)),
                Value::Nothing => query.bind(None::<String>),
            };
        }
        query
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.as_str().into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        text.map_or(Self::Nothing, Self::from)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Arc::new(bytes.to_vec()))
    }
}

/// Orders that wait for the next transaction.
#[derive(Default)]
pub(super) struct Waiting {
    orders: VecDeque<Waiter>,
    /// Somebody is there who will take them.
    at_work: bool,
}

/// Should the one at work break down, whoever waits is told so at once, and whoever comes next begins anew.
struct NextOne {
    waiting: Arc<std::sync::Mutex<Waiting>>,
    is_done: bool,
}

impl Drop for NextOne {
    fn drop(&mut self) {
        if !self.is_done {
            *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Waiting::default();
        }
    }
}

struct Waiter {
    change: Change,
    told: oneshot::Sender<Result<bool, sqlx::Error>>,
}

/// A connection in a transaction. Dropped, it is closed: whatever is left of the transaction goes with it.
struct Begun(Option<PoolConnection<Sqlite>>);

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

/// What failed for several, as each is told.
fn for_all(error: &Arc<sqlx::Error>) -> sqlx::Error {
    std::io::Error::other(Arc::clone(error)).into()
}

impl SqliteDb {
    /// Keeps an order with those of others. False: it was not to be kept.
    pub(in crate::store) async fn together(&self, change: Change) -> Result<bool, sqlx::Error> {
        let (told, outcome) = oneshot::channel();
        let begins = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.orders.push_back(Waiter { change, told });
            !std::mem::replace(&mut waiting.at_work, true)
        };
        if begins {
            tokio::spawn(self.clone().keep_waiting_orders());
        }
        // Whoever was at work has broken down, or the runtime ends.
        outcome.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    async fn keep_waiting_orders(self) {
        let mut next = NextOne { waiting: Arc::clone(&self.waiting), is_done: false };
        loop {
            let mut turn = Arc::clone(&self.turn).lock_owned().await;
            let orders = self.next_orders();
            if orders.is_empty() {
                next.is_done = true;
                return;
            }
            turn.settle().await;
            self.keep(&mut turn, orders).await;
        }
    }

    /// Those of the next transaction, longest waiting first. None: whoever comes now has to see to it.
    fn next_orders(&self) -> Vec<Waiter> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.orders.retain(|order| !order.told.is_closed());
        let count = waiting.orders.len().min(AT_MOST);
        waiting.at_work = count > 0;
        let count = if count == 0 { 0 } else { 1 << count.ilog2() };
        waiting.orders.drain(..count).collect()
    }

    async fn keep(&self, turn: &mut Turn, orders: Vec<Waiter>) {
        let changes: Vec<&Change> = orders.iter().map(|order| &order.change).collect();
        let kept = match self.transaction(turn, &changes).await {
            Ok(kept) => kept.into_iter().map(Ok).collect(),
            Err(error) if orders.len() == 1 => vec![Err(error)],
            Err(error) if is_about_data(&error) => self.one_by_one(turn, &changes).await,
            Err(error) => {
                let error = Arc::new(error);
                orders.iter().map(|_| Err(for_all(&error))).collect()
            }
        };
        for (order, kept) in orders.into_iter().zip(kept) {
            // Who has not waited is not told.
            let _ = order.told.send(kept);
        }
    }

    /// Each by itself, until one fails that is not to blame for it.
    async fn one_by_one(&self, turn: &mut Turn, changes: &[&Change]) -> Vec<Result<bool, sqlx::Error>> {
        let mut each = Vec::with_capacity(changes.len());
        for change in changes {
            match self.transaction(turn, &[change]).await {
                Err(error) if !is_about_data(&error) => {
                    let error = Arc::new(error);
                    each.resize_with(changes.len(), || Err(for_all(&error)));
                    break;
                }
                kept => each.push(kept.map(|kept| kept == [true])),
            }
        }
        each
    }

    async fn transaction(&self, turn: &mut Turn, changes: &[&Change]) -> Result<Vec<bool>, sqlx::Error> {
        let connection = match turn.idle.take() {
            Some(connection) => connection,
            None => self.synced.acquire().await?,
        };
        let mut begun = Begun(Some(connection));
        let Some(connection) = &mut begun.0 else { return Err(sqlx::Error::PoolClosed) };
        let kept = in_time(send(connection, changes)).await?;
        turn.idle = begun.0.take();
        Ok(kept)
    }
}

/// BEGIN, each order, COMMIT: one statement.
async fn send(connection: &mut SqliteConnection, changes: &[&Change]) -> Result<Vec<bool>, sqlx::Error> {
    static SQL: LazyLock<Vec<Arc<str>>> =
        LazyLock::new(|| (0..=AT_MOST.ilog2()).map(|power| of_so_many(1 << power)).collect());
    let sql = changes.len().checked_ilog2().and_then(|power| SQL.get(power as usize)).cloned().unwrap_or_default();
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for (number, change) in changes.iter().enumerate() {
        query = change.bound(query).bind(i64::try_from(number).unwrap_or(i64::MAX));
    }
    let rows = query.fetch_all(connection).await?;
    let mut kept = vec![false; changes.len()];
    for row in rows {
        let number: i64 = sqlx::Row::try_get(&row, 0)?;
        if let Some(kept) = usize::try_from(number).ok().and_then(|number| kept.get_mut(number)) {
            *kept = true;
        }
    }
    Ok(kept)
}

/// [`TAKE`] for so many orders, the parameters of each after those of the one before.
fn of_so_many(orders: usize) -> Arc<str> {
    let mut sql = String::from("BEGIN IMMEDIATE; ");
    for order in 0..orders {
        let mut parts = TAKE.sqlite.split('$');
        sql.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = part.split_at(digits);
            sql.push('$');
            // A path into JSON has one without a number.
            if let Ok(number) = number.parse::<usize>() {
                let _ = write!(sql, "{}", order * WIDTH + number);
            }
            sql.push_str(rest);
        }
        sql.push_str("; ");
    }
    sql.push_str("COMMIT");
    sql.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{SQLITE, StoreError};
    use std::collections::BTreeSet;

    #[test]
    fn each_order_has_parameters_of_its_own() {
        let sql = of_so_many(2);
        let numbers: BTreeSet<usize> = sql
            .split('$')
            .skip(1)
            .filter_map(|part| part.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok())
            .collect();
        assert_eq!(numbers, (1..=2 * WIDTH).collect());
        assert!(sql.starts_with("BEGIN IMMEDIATE; INSERT INTO messages") && sql.ends_with("; COMMIT"));
    }

    /// An order, of whose texts the placer order number is `number` and the message's answer `answer`.
    fn order(number: usize, answer: Value) -> Change {
        let text = |text: &str| Value::from(text);
        let mut values = vec![text(""); WIDTH - 1];
        for (at, value) in [
            (1, Value::from(format!("order-{number}"))),
            (2, text("rabenstein")),
            (3, text("open")),
            (4, Value::from(format!("P{number}"))),
            (13, text("routine")),
            (14, text("{}")),
            (15, Value::Number(1)),
            (16, Value::Number(1)),
            (17, text("radiology")),
            (18, text("[]")),
            (19, Value::Number(1)),
            (20, Value::from(format!("digest-{number}"))),
            (21, Value::Number(1)),
            (22, text("NW")),
            (23, text("OK")),
            (26, text("[]")),
            (29, Value::from(format!("control-{number}"))),
            (30, answer),
            (31, Value::Nothing),
            (32, Value::from(format!("P{number}"))),
            (33, Value::Nothing),
            (36, Value::Number(0)),
            (37, Value::from(&b"MSH"[..])),
        ] {
            values[at - 1] = value;
        }
        Change(values)
    }

    async fn opened() -> (SqliteDb, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (SqliteDb::open(&folder.path().join("test.sqlite"), &SQLITE).await.unwrap(), folder)
    }

    #[tokio::test]
    async fn orders_that_come_together_are_kept_each_once_and_each_is_told_of_its_own() {
        let (db, _folder) = opened().await;
        let good = |number| db.together(order(number, Value::from(&b"AA"[..])));
        // The second of two with one number meets the first.
        let numbers = (0..40).chain([7]);
        let kept = futures_util::future::join_all(numbers.map(good)).await;
        let kept: Vec<bool> = kept.into_iter().map(Result::unwrap).collect();
        assert_eq!(kept.iter().filter(|kept| **kept).count(), 40);
        assert!(!kept[40]);
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM order_contents").fetch_one(&db.read).await.unwrap();
        assert_eq!(count, 40);
    }

    fn accepted(number: usize) -> Change {
        order(number, Value::from(&b"AA"[..]))
    }

    /// An order with another value among its parameters.
    fn with(number: usize, parameter: usize, value: Value) -> Change {
        let Change(mut values) = accepted(number);
        values[parameter - 1] = value;
        Change(values)
    }

    #[tokio::test]
    async fn one_that_the_database_refuses_takes_no_other_with_it_and_is_told_that_it_is_its_own() {
        let (db, _folder) = opened().await;
        // A message must have an answer; a time is no text, nor a text a BLOB.
        let refused =
            [order(71, Value::Nothing), with(72, 19, Value::from("yesterday")), with(73, 4, Value::from(&b"P"[..]))];
        for (number, bad) in refused.into_iter().enumerate() {
            let changes = (0..6).map(|at| if at == 3 { bad.clone() } else { accepted(10 * number + at) });
            let kept = futures_util::future::join_all(changes.map(|change| db.together(change))).await;
            let outcomes: Vec<Option<bool>> = kept.iter().map(|kept| kept.as_ref().ok().copied()).collect();
            assert_eq!(outcomes, [Some(true), Some(true), Some(true), None, Some(true), Some(true)], "{number}");
            let own = kept.into_iter().find_map(Result::err).map(StoreError::from);
            assert!(matches!(own, Some(StoreError::Data { .. })), "{number}: {own:?}");
            let alone = db.together(bad).await.map_err(StoreError::from);
            assert!(matches!(alone, Err(StoreError::Data { .. })), "{number}: {alone:?}");
        }
        assert!(db.together(accepted(99)).await.unwrap(), "and it goes on");
        let mut tx = db.begin(crate::store::Durability::Synced).await.unwrap();
        sqlx::query("SELECT 1").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    #[tokio::test]
    async fn where_the_database_fails_those_that_are_left_are_not_tried() {
        let (db, _folder) = opened().await;
        let mut turn = Arc::clone(&db.turn).lock_owned().await;
        db.synced.close().await;
        let orders = [accepted(1), accepted(2), accepted(3)];
        let each = db.one_by_one(&mut turn, &orders.iter().collect::<Vec<_>>()).await;
        // What failed once is told to all: had each been tried, each would say that the pool is closed.
        assert_eq!(each.len(), 3);
        assert!(each.iter().all(|kept| matches!(kept, Err(sqlx::Error::Io(_)))), "{each:?}");
    }

    #[tokio::test]
    async fn who_waits_for_one_that_has_broken_down_is_told_so_at_once() {
        let (db, _folder) = opened().await;
        let (told, outcome) = oneshot::channel();
        {
            let mut waiting = db.waiting.lock().unwrap();
            waiting.orders.push_back(Waiter { change: accepted(1), told });
            waiting.at_work = true;
        }
        let waiting = Arc::clone(&db.waiting);
        let at_work = tokio::spawn(async move {
            let _next = NextOne { waiting, is_done: false };
            tokio::task::yield_now().await;
            panic!("as if it had broken down");
        });
        assert!(at_work.await.unwrap_err().is_panic());
        assert!(outcome.await.is_err(), "not left waiting");
        assert!(db.together(accepted(1)).await.unwrap(), "and it goes on");
    }

    #[tokio::test]
    async fn a_transaction_that_is_left_open_goes_with_its_connection() {
        let (db, _folder) = opened().await;
        let mut connection = db.synced.acquire().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await.unwrap();
        drop(Begun(Some(connection)));
        assert!(db.together(accepted(1)).await.unwrap());
    }
}
