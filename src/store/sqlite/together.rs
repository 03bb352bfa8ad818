//! New orders of several callers, sent to SQLite as one statement and one transaction.
//!
//! In: the parameters of each caller's order. Out: whether it was kept, told when the disk has it. Each statement is two
//! changes of thread, which cost more than what SQLite does meanwhile; so those that have come while the last transaction
//! was under way are sent with the next, at most [`AT_MOST`].
//!
//! An order that the database refuses takes nobody with it: those of its transaction are then sent one by one. Where the disk or
//! the database itself fails, it has failed for all. A caller may be dropped at any point: what is under way goes on, and what has
//! not been sent is left out.

use super::{SqliteDb, Turn, in_time};
use crate::store::new_orders::TAKE;
use sqlx::{AssertSqlSafe, SqliteConnection, error::ErrorKind, query::Query};
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

/// Should the one at work break down, whoever comes next begins anew.
struct NextOne(Arc<std::sync::Mutex<Waiting>>);

impl Drop for NextOne {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).at_work = false;
        }
    }
}

struct Waiter {
    change: Change,
    told: oneshot::Sender<Result<bool, Arc<sqlx::Error>>>,
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
        match outcome.await {
            Ok(outcome) => outcome.map_err(|error| std::io::Error::other(error).into()),
            // The runtime ends.
            Err(_) => Err(sqlx::Error::WorkerCrashed),
        }
    }

    async fn keep_waiting_orders(self) {
        let _next = NextOne(Arc::clone(&self.waiting));
        loop {
            let mut turn = Arc::clone(&self.turn).lock_owned().await;
            let orders = self.next_orders();
            if orders.is_empty() {
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
            Err(error) if orders.len() == 1 || !is_about_what_was_sent(&error) => {
                let error = Arc::new(error);
                orders.iter().map(|_| Err(Arc::clone(&error))).collect()
            }
            Err(_) => {
                let mut each = Vec::with_capacity(orders.len());
                for change in changes {
                    each.push(self.transaction(turn, &[change]).await.map(|kept| kept == [true]).map_err(Arc::new));
                }
                each
            }
        };
        for (order, kept) in orders.into_iter().zip(kept) {
            // Who has not waited is not told.
            let _ = order.told.send(kept);
        }
    }

    async fn transaction(&self, turn: &mut Turn, changes: &[&Change]) -> Result<Vec<bool>, sqlx::Error> {
        let mut connection = match turn.idle.take() {
            Some(connection) => connection,
            None => self.synced.acquire().await?,
        };
        match in_time(send(&mut connection, changes)).await {
            Ok(kept) => {
                turn.idle = Some(connection);
                Ok(kept)
            }
            Err(error) => {
                // Whatever is left of the transaction goes with it.
                connection.close_on_drop();
                Err(error)
            }
        }
    }
}

/// A row that may not be as it is; not a disk that is full or does not answer.
fn is_about_what_was_sent(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| !matches!(error.kind(), ErrorKind::Other))
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
    use crate::store::SQLITE;
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

    #[tokio::test]
    async fn one_that_the_database_refuses_takes_no_other_with_it() {
        let (db, _folder) = opened().await;
        // A message must have an answer.
        let answer = |number| if number == 3 { Value::Nothing } else { Value::from(&b"AA"[..]) };
        let kept =
            futures_util::future::join_all((0..6).map(|number| db.together(order(number, answer(number))))).await;
        let outcomes: Vec<Option<bool>> = kept.into_iter().map(Result::ok).collect();
        assert_eq!(outcomes, [Some(true), Some(true), Some(true), None, Some(true), Some(true)]);
        assert!(db.together(order(9, answer(9))).await.unwrap(), "and it goes on");
        let mut tx = db.begin(crate::store::Durability::Synced).await.unwrap();
        sqlx::query("SELECT 1").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}
