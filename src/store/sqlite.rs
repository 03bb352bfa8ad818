//! SQLite's one writer: whose turn it is, and one wait for the disk for several callers.
//!
//! In: who wants to change something, and what the change must survive. Out: a connection for as long as it is the
//! caller's turn. Turns are served in order, and nothing fails with SQLITE_BUSY.
//!
//! [`Durability::Synced`] changes share a transaction, a *group*: each caller works in a savepoint, which is released
//! when the caller commits and rolled back when it does not; the turn goes on, and who waited meanwhile joins. Then the
//! group is committed, with one `fsync`, and only then everybody in it is told: until that commit nobody else sees what
//! the group has done, and if it fails, it has failed for all of them. [`Durability::Process`] changes have a
//! transaction each, on a connection that does not sync; a group that is open then is committed first, so that they see
//! what it has done.
//!
//! New orders take a shorter way: [`together`].
//!
//! A caller may be dropped at any point. What must not be left half done (opening a group, releasing a savepoint,
//! committing) runs as a task of its own; what a dropped caller has done in its savepoint is rolled back by whoever has
//! the next turn. While a group is open its savepoint is, so that this can always be done, and twice.

pub(super) mod together;

use super::{Durability, WAIT, in_time};
use sqlx::{
    Sqlite, SqliteConnection, Transaction,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    ops::{Deref, DerefMut},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Mutex, Notify, OwnedMappedMutexGuard, OwnedMutexGuard, oneshot},
    task::JoinError,
};

/// Callers that share one wait for the disk; and how old a group may be that takes one more. The first in it waits for
/// them all: on a slow disk the time of two syncs.
const GROUP_MAX: usize = 64;
const GROUP_AGE: Duration = Duration::from_millis(25);

const OPEN: &str = "BEGIN IMMEDIATE; SAVEPOINT caller";
const RELEASE: &str = "RELEASE caller; SAVEPOINT caller";
const UNDO: &str = "ROLLBACK TO caller";
/// The savepoint is named so that a transaction that SQLite has rolled back by itself (disk full, I/O error) is noticed:
/// there is none then.
const COMMIT: &str = "RELEASE caller; COMMIT";
const ABANDON: &str = "ROLLBACK";

/// What everybody in a group is told.
type Told = Result<(), Arc<sqlx::Error>>;

#[derive(Clone)]
pub(super) struct SqliteDb {
    pub read: SqlitePool,
    /// One connection each, `synchronous` FULL and NORMAL.
    synced: SqlitePool,
    process: SqlitePool,
    turn: Arc<Mutex<Turn>>,
    waiting: Arc<std::sync::Mutex<together::Waiting>>,
}

#[derive(Default)]
pub(super) struct Turn {
    group: Option<Group>,
    /// The synced connection between two groups: asking the pool for it costs as much as two statements.
    idle: Option<PoolConnection<Sqlite>>,
}

struct Group {
    connection: PoolConnection<Sqlite>,
    since: Instant,
    /// Those who have committed, and wait for the disk.
    waiting: Vec<oneshot::Sender<Told>>,
    /// A caller was dropped: what is in the savepoint is to be rolled back.
    undo: bool,
    /// The database would not do what must not fail: nobody in the group is to believe that it was done.
    lost: bool,
    /// Somebody has had a turn: the group may be ended when those who wait now have had theirs.
    left: Arc<Notify>,
}

/// An open transaction. Dropped without [`SqliteTx::commit`], it is rolled back.
pub(super) enum SqliteTx {
    Shared(Member),
    /// The turn is held until the transaction ends.
    Own(Transaction<'static, Sqlite>, OwnedMutexGuard<Turn>),
}

/// One caller's turn in a group.
pub(super) struct Member {
    group: OwnedMappedMutexGuard<Turn, Group>,
    released: bool,
}

impl SqliteDb {
    pub(super) async fn open(file: &Path, schema: &sqlx::migrate::Migrator) -> Result<Self, super::StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(WAIT)
            .foreign_keys(true)
            // Pages: what many changes touch is written back once for all of them. 16 MiB.
            .pragma("wal_autocheckpoint", "4000")
            .pragma("journal_size_limit", "67108864");
        let pool = |options: SqliteConnectOptions, connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(WAIT)
                // A file on this machine: there is nobody who could have gone away meanwhile.
                .test_before_acquire(false)
                .connect_with(options)
        };
        // What a savepoint would roll back to is kept in memory: in a temporary file it would cost as much as the log.
        let full = options.clone().synchronous(SqliteSynchronous::Full).pragma("temp_store", "MEMORY");
        let synced = pool(full, 1).await?;
        schema.run(&synced).await?;
        let options = options.synchronous(SqliteSynchronous::Normal);
        let process = pool(options.clone(), 1).await?;
        let read = pool(options, 4).await?;
        Ok(Self { read, synced, process, turn: Arc::default(), waiting: Arc::default() })
    }

    pub(super) async fn begin(&self, durability: Durability) -> Result<SqliteTx, sqlx::Error> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let joins = |group: &Group| durability == Durability::Synced && group.takes_one_more() && !group.undo;
        if turn.group.as_ref().is_some_and(joins) {
            return Member::of(turn).map(SqliteTx::Shared);
        }
        tokio::spawn(self.clone().prepare(turn, durability)).await.map_err(ended)?
    }

    /// Ends the group there is if nobody can join it, and opens what was asked for.
    async fn prepare(self, mut turn: OwnedMutexGuard<Turn>, durability: Durability) -> Result<SqliteTx, sqlx::Error> {
        if durability == Durability::Process {
            turn.settle().await;
            return Ok(SqliteTx::Own(self.process.begin_with("BEGIN IMMEDIATE").await?, turn));
        }
        if let Some(group) = &mut turn.group {
            group.undo().await;
        }
        if !turn.group.as_ref().is_some_and(Group::takes_one_more) {
            turn.settle().await;
            self.open_group(&mut turn).await?;
        }
        Member::of(turn).map(SqliteTx::Shared)
    }

    async fn open_group(&self, turn: &mut Turn) -> Result<(), sqlx::Error> {
        let mut connection = match turn.idle.take() {
            Some(connection) => connection,
            None => self.synced.acquire().await?,
        };
        if let Err(error) = run(&mut connection, OPEN).await {
            connection.close_on_drop();
            return Err(error);
        }
        let left = Arc::new(Notify::new());
        tokio::spawn(end_in_turn(Arc::clone(&self.turn), Arc::clone(&left)));
        let (waiting, since) = (Vec::new(), Instant::now());
        turn.group = Some(Group { connection, since, waiting, undo: false, lost: false, left });
        Ok(())
    }

    pub(super) async fn close(&self) {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let closed = tokio::spawn(async move {
            let mut turn = turn;
            turn.settle().await;
            turn.idle = None;
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "The last changes could not be committed");
        }
        self.read.close().await;
        self.process.close().await;
        self.synced.close().await;
    }
}

/// Ends a group when it has been somebody's turn and then everybody's who waited at that time.
async fn end_in_turn(turn: Arc<Mutex<Turn>>, left: Arc<Notify>) {
    left.notified().await;
    let mut turn = turn.lock_owned().await;
    // It may have been ended meanwhile, and another one opened.
    if turn.group.as_ref().is_some_and(|group| Arc::ptr_eq(&group.left, &left)) {
        turn.settle().await;
    }
}

impl Turn {
    /// Ends the group, if there is one, and tells everybody in it. Runs to its end: only to be called from a task of ours.
    async fn settle(&mut self) {
        let Some(mut group) = self.group.take() else { return };
        let ended = group.end().await.map_err(Arc::new);
        match ended {
            Ok(()) => self.idle = Some(group.connection),
            // It may have an open transaction, or be of no use at all: the next group gets another one.
            Err(_) => group.connection.close_on_drop(),
        }
        for caller in group.waiting {
            // Who has not waited is not told.
            let _ = caller.send(ended.clone());
        }
    }
}

impl Group {
    fn takes_one_more(&self) -> bool {
        !self.lost && self.waiting.len() < GROUP_MAX && self.since.elapsed() < GROUP_AGE
    }

    /// Takes back what a dropped caller has done.
    async fn undo(&mut self) {
        if self.undo {
            self.lost |= run(&mut self.connection, UNDO).await.is_err();
            self.undo = false;
        }
    }

    async fn end(&mut self) -> Result<(), sqlx::Error> {
        self.undo().await;
        if self.lost {
            return Err(std::io::Error::other("the transaction was rolled back by the database").into());
        }
        run(&mut self.connection, if self.waiting.is_empty() { ABANDON } else { COMMIT }).await
    }
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), sqlx::Error> {
    in_time(async { sqlx::query(sql).execute(connection).await.map(drop) }).await
}

impl Member {
    fn of(turn: OwnedMutexGuard<Turn>) -> Result<Self, sqlx::Error> {
        let group = OwnedMutexGuard::try_map(turn, |turn| turn.group.as_mut()).map_err(|_| sqlx::Error::PoolClosed)?;
        Ok(Self { group, released: false })
    }

    /// Gives the turn back, and leaves word where to tell that the group has been committed.
    async fn release(mut self, told: oneshot::Sender<Told>) {
        match run(&mut self.group.connection, RELEASE).await {
            Ok(()) => {
                self.released = true;
                self.group.waiting.push(told);
            }
            Err(error) => {
                self.group.lost = true;
                let _ = told.send(Err(Arc::new(error)));
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.group.undo |= !self.released;
        self.group.left.notify_one();
    }
}

impl SqliteTx {
    /// Returns when the change is where its durability asks for.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        let member = match self {
            Self::Shared(member) => member,
            Self::Own(transaction, _turn) => return transaction.commit().await,
        };
        let (tell, told) = oneshot::channel();
        tokio::spawn(member.release(tell));
        match told.await {
            Ok(told) => told.map_err(|error| std::io::Error::other(error).into()),
            // The runtime ends.
            Err(_) => Err(sqlx::Error::WorkerCrashed),
        }
    }
}

impl Deref for SqliteTx {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        match self {
            Self::Shared(member) => &member.group.connection,
            Self::Own(transaction, _) => transaction,
        }
    }
}

impl DerefMut for SqliteTx {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        match self {
            Self::Shared(member) => &mut member.group.connection,
            Self::Own(transaction, _) => transaction,
        }
    }
}

fn ended(error: JoinError) -> sqlx::Error {
    std::io::Error::other(error).into()
}

#[cfg(test)]
#[path = "sqlite/tests.rs"]
mod tests;
