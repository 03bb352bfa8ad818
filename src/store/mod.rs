//! The only SQL. One store over SQLite (default) and PostgreSQL: cases, instances, deliveries, reports, the story.
//!
//! In: values of `model`. Out: rows as values. One SQL text for both databases; the few statements that differ are a
//! [`Sql`] pair. Every change is one transaction, opened with the [`Durability`] its caller needs: what a peer is
//! told to be safe must be [`Durability::Synced`]; what can be rebuilt from the journals or repeated without harm
//! need only survive a crash of the process.
//!
//! Does not decide: states move by `model::case::next`, asked by the callers in `intake`, `routing` and `results`.

mod cases;
mod deliveries;
mod due;
mod events;
mod instances;
mod pauses;
mod reports;
mod retention;

pub use cases::{CaseRow, CaseSummary, ListFilter};
pub use deliveries::{Claimed, DeliveryRow, DueDelivery, NewDelivery, RefusedInstance, Settled, Settlement};
pub use events::Event;
pub use instances::{DeliverableInstance, IndexedCase};
pub use pauses::Pause;
pub use reports::{
    AnsweredMessage, HeldReport, MessageKey, NewReport, ReportContent, ReportFormRow, ReportObject, ReportRow,
};

pub use retention::{JournalUse, PurgeBefore};

use crate::config::DatabaseUrl;
use sqlx::{
    Postgres, Sqlite, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, str::FromStr, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a statement waits for its turn or a connection before it fails.
const WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database")]
    Database(#[from] sqlx::Error),
    #[error("database schema")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("a stored {what} is not readable: the database is newer than this program, or damaged")]
    Unreadable { what: &'static str },
    #[error("{what} {id} does not exist")]
    NotFound { what: &'static str, id: String },
    #[error(transparent)]
    IllegalMove(#[from] crate::model::IllegalMove),
}

/// What a transaction's commit must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: the commit waits for the disk.
    Synced,
    /// A killed process. A power cut, which ends this process too, may take the last moments back; at the next start
    /// they are rebuilt from the journals or repeated.
    Process,
}

#[derive(Clone)]
pub struct Store {
    db: Db,
}

#[derive(Clone)]
enum Db {
    Sqlite {
        read: SqlitePool,
        /// One connection each, `synchronous` FULL and NORMAL. SQLite has one writer, so both wait for `turn`:
        /// that never fails with SQLITE_BUSY and is served in order.
        synced: SqlitePool,
        process: SqlitePool,
        turn: Arc<Semaphore>,
    },
    Postgres(PgPool),
}

/// An open transaction. Dropped without [`Tx::commit`], it is rolled back.
pub struct Tx(TxKind);

enum TxKind {
    /// The permit is held until the transaction ends.
    Sqlite(Transaction<'static, Sqlite>, OwnedSemaphorePermit),
    Postgres(Transaction<'static, Postgres>),
}

/// A statement that differs between the two databases.
#[derive(Clone, Copy)]
struct Sql {
    sqlite: &'static str,
    postgres: &'static str,
}

/// Runs the same expression, typed for the open transaction's database.
macro_rules! on_tx {
    ($tx:expr, |$c:ident| $e:expr) => {
        match &mut $tx.0 {
            $crate::store::TxKind::Sqlite($c, _) => $e,
            $crate::store::TxKind::Postgres($c) => $e,
        }
    };
}

/// Runs the same expression on a pool fit for reading.
macro_rules! on_read {
    ($store:expr, |$p:ident| $e:expr) => {
        match &$store.db {
            $crate::store::Db::Sqlite { read: $p, .. } => $e,
            $crate::store::Db::Postgres($p) => $e,
        }
    };
}
use {on_read, on_tx};

impl Store {
    /// Opens the database and brings its schema up to date. `data_dir` is where SQLite's one file lives.
    ///
    /// # Errors
    /// When the database cannot be reached, or its schema is newer than this program.
    pub async fn open(url: &DatabaseUrl, data_dir: &Path) -> Result<Self, StoreError> {
        let db = match url {
            DatabaseUrl::Sqlite => open_sqlite(&data_dir.join("neisse.sqlite")).await?,
            DatabaseUrl::Postgres(url) => open_postgres(url).await?,
        };
        Ok(Self { db })
    }

    /// Begins a change.
    ///
    /// # Errors
    /// When the database cannot be reached within 30 s.
    pub async fn begin(&self, durability: Durability) -> Result<Tx, StoreError> {
        match &self.db {
            Db::Sqlite { synced, process, turn, .. } => {
                let permit = Arc::clone(turn).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
                let pool = if durability == Durability::Synced { synced } else { process };
                Ok(Tx(TxKind::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?, permit)))
            }
            // Synced always: a server of its own may crash while this process goes on, and would take back what nobody
            // repeats. SQLite's file can lose its last moments only together with us.
            Db::Postgres(pool) => Ok(Tx(TxKind::Postgres(pool.begin().await?))),
        }
    }

    /// Asks the database for nothing, to see whether it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on_read!(self, |p| sqlx::query("SELECT 1").execute(p).await.map(drop))?;
        Ok(())
    }

    pub async fn close(&self) {
        match &self.db {
            Db::Sqlite { read, synced, process, .. } => {
                read.close().await;
                process.close().await;
                synced.close().await;
            }
            Db::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    /// # Errors
    /// When the database did not confirm. Whether the change was made is then unknown.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.0 {
            TxKind::Sqlite(tx, _turn) => tx.commit().await?,
            TxKind::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }

    fn pick(&self, sql: Sql) -> &'static str {
        match &self.0 {
            TxKind::Sqlite(..) => sql.sqlite,
            TxKind::Postgres(_) => sql.postgres,
        }
    }
}

async fn open_sqlite(file: &Path) -> Result<Db, StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(WAIT)
        .foreign_keys(true)
        .pragma("journal_size_limit", "67108864");
    let pool = |synchronous, connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(WAIT)
            .connect_with(options.clone().synchronous(synchronous))
    };
    let synced = pool(SqliteSynchronous::Full, 1).await?;
    SQLITE.run(&synced).await?;
    let process = pool(SqliteSynchronous::Normal, 1).await?;
    let read = pool(SqliteSynchronous::Normal, 4).await?;
    Ok(Db::Sqlite { read, synced, process, turn: Arc::new(Semaphore::new(1)) })
}

async fn open_postgres(url: &str) -> Result<Db, StoreError> {
    let options = PgConnectOptions::from_str(url)?.application_name("neisse");
    let pool = PgPoolOptions::new().max_connections(12).acquire_timeout(WAIT).connect_with(options).await?;
    POSTGRES.run(&pool).await?;
    Ok(Db::Postgres(pool))
}
