//! The only SQL. One store over SQLite (default) and PostgreSQL: cases, instances, deliveries, reports, the story.
//!
//! In: values of `model`. Out: rows as values. One SQL text for both databases; the few statements that differ are a
//! [`Sql`] pair. Every change is one transaction, opened with the [`Durability`] its caller needs: what a peer is
//! told to be safe must be [`Durability::Synced`]; what can be rebuilt from the journals or repeated without harm
//! need only survive a crash of the process. Synced changes that come at the same time share one wait for the disk: in
//! SQLite by `sqlite`, PostgreSQL does so itself.
//!
//! Locks are taken in one order, so that no two transactions wait for each other: an HL7 message's key, then the origin
//! (where orders and images of it are joined: `hold_origin`, or `begin_beside` and an order's numbers), its orders, then the
//! case (several by origin and study), then its tasks, then its deliveries, then a partner's pause; what is mapped for a reader comes last of
//! all, kind by kind. Under the origin's lock several orders and cases may be held in any order: whoever else holds several
//! holds that lock too.
//!
//! Does not decide: states move by `model::case::next`, asked by the callers in `intake`, `routing` and `results`.

mod answered_messages;
mod asked_commitments;
mod available;
mod cases;
mod claims;
mod commitments;
mod contents;
mod critical;
mod deliveries;
mod disclosures;
mod due;
mod error;
mod events;
mod identities;
mod instances;
mod lateness;
mod links;
mod locks;
mod messages;
mod modality_worklist;
mod new_orders;
mod notices;
mod order_answers;
mod orders;
mod pages;
mod patients;
mod pauses;
mod performed;
mod performed_messages;
mod postgres;
mod report_forms;
mod report_objects;
mod reports;
mod retention;
mod retrievals;
mod search;
mod shipments;
mod slides;
mod specimen_alarms;
mod specimen_events;
mod specimens;
mod sqlite;
mod task_events;
mod task_notices;
mod task_search;
mod task_subscriptions;
mod tasks;
mod tokens;
mod views;

pub use answered_messages::MessageKey;
pub use asked_commitments::{AskedCommitment, AskedState, Committed};
pub use available::Available;
pub use cases::{CaseRow, CaseSummary, IncompleteCase, ListFilter, MAX_ALIKE, Meant};
pub use claims::{Down, Offer};
pub use commitments::{CommitmentEnd, CommitmentRow, KeptInstance};
pub use critical::{CriticalResult, FormBefore, SentReport};
pub use deliveries::{Claimed, DeliveryRow, DueDelivery, NewDelivery, RefusedInstance, Resent, Settled, Settlement};
pub use disclosures::{DISCLOSURES_PAGE, Disclosed, Disclosure, DisclosurePlace, DisclosureSearch};
pub use due::Late;
pub use error::{StoreError, UnreadableRow};
pub use events::Event;
pub use identities::{SentInstance, SentUnder};
pub use instances::{DeliverableInstance, ImageOfCase, IndexedCase};
pub use lateness::{Wanted, spoken};
pub use links::{OrderFilter, OrderSummary};
pub use messages::{CaseMessage, NewMessage, OrderForward, ReceivedOrderMessage};
pub use modality_worklist::{By, Listed, Look, Place};
pub use new_orders::NewOrder;
pub use notices::{Notice, NoticeCall, NoticeChannel, NoticeRhythm, NoticeTold, Waiting};
pub use order_answers::{NewOrderAnswer, OrderAnswer};
pub use orders::{OrderFacts, OrderMessageRow, OrderOfCase, OrderRow};
pub use pages::{Behind, Page};
pub use patients::{OfPatient, PatientMessage, PatientNewsRow};
pub use pauses::Pause;
pub use performed::{AwaitedStep, PerformedStep, StepNamed};
pub use performed_messages::{PerformedMessage, Telling};
pub use report_forms::{ReportContent, ReportFormRow};
pub use report_objects::ReportObject;
pub use reports::{HeldContent, HeldReport, NewReport, ReportRow};
pub use retention::{JournalUse, PurgeBefore};
pub use retrievals::Retrieval;
pub use search::{
    FoundInstance, FoundSeries, FoundStudy, InstancePage, SearchBy, Searched, Seen, StudyPlace, StudySearch,
};
pub use shipments::ShipmentRow;
pub use specimen_alarms::{About, AlarmKind, SpecimenAlarm};
pub use specimen_events::{SpecimenEventRow, SpecimenNews, Untold};
pub use specimens::SpecimenRow;
pub use task_events::{FirstOf, TaskNews};
pub use task_search::TaskPage;
pub use task_subscriptions::TaskSubscription;
pub use tasks::{NewClaim, TaskRow, Withdrawal};
pub use tokens::TokenRow;
pub use views::name_key;

use crate::config::DatabaseUrl;
use postgres::PgTx;
use sqlite::{SqliteDb, SqliteTx};
use sqlx::{migrate::Migrator, postgres::PgPool};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// How long a statement waits for its turn or a connection before it fails.
const WAIT: Duration = Duration::from_secs(30);
/// Letters of one line of a story, and of all that waits for a person on one case.
const MAX_TEXT: usize = 1000;
/// How long it waits for its answer.
const ANSWER: Duration = Duration::from_secs(60);

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
    assured: Arc<identities::Assured>,
}

#[derive(Clone)]
enum Db {
    Sqlite(SqliteDb),
    Postgres(PgPool),
}

/// An open transaction. Dropped without [`Tx::commit`], it is rolled back.
pub struct Tx {
    kind: TxKind,
    /// Others work on the same origin: no case may be held for change (`begin_beside`).
    shares_origin: bool,
    concerns_a_case: bool,
}

enum TxKind {
    Sqlite(SqliteTx),
    Postgres(PgTx),
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
        $crate::store::statement(async {
            match &mut $tx.kind {
                $crate::store::TxKind::Sqlite($c) => $e,
                $crate::store::TxKind::Postgres($c) => $e,
            }
        })
        .await
    };
}

/// Runs the same expression on a pool fit for reading.
macro_rules! on_read {
    ($store:expr, |$p:ident| $e:expr) => {
        $crate::store::statement(async {
            match &$store.db {
                $crate::store::Db::Sqlite(db) => {
                    let $p = &db.read;
                    $e
                }
                $crate::store::Db::Postgres($p) => $e,
            }
        })
        .await
    };
}
use {on_read, on_tx};

/// One round to the database.
async fn statement<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    #[cfg(test)]
    STATEMENTS.set(STATEMENTS.get() + 1);
    in_time(asked).await
}

#[cfg(test)]
thread_local! {
    /// Between begin and commit, of the test that runs on this thread: what a message costs is held by a test.
    pub(crate) static STATEMENTS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// A server that is gone without a word (power, a cut line) leaves its connections open; without this a stage would
/// wait for it for ever, however soon another one took its place.
async fn in_time<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time");
    tokio::time::timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(late().into()))
}

/// A line of text for people: no control characters (PostgreSQL takes no NUL), and an end to it.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(MAX_TEXT).collect()
}

impl Store {
    /// Opens the database and brings its schema up to date. `data_dir` is where SQLite's one file lives.
    ///
    /// # Errors
    /// When the database cannot be reached, or its schema is newer than this program.
    pub async fn open(url: &DatabaseUrl, data_dir: &Path) -> Result<Self, StoreError> {
        let db = match url {
            DatabaseUrl::Sqlite => Db::Sqlite(SqliteDb::open(&data_dir.join("neisse.sqlite"), &SQLITE).await?),
            DatabaseUrl::Postgres(url) => Db::Postgres(postgres::open(url, &POSTGRES).await?),
        };
        Ok(Self { db, assured: Arc::default() })
    }

    /// Begins a change.
    ///
    /// # Errors
    /// When the database cannot be reached within 30 s.
    pub async fn begin(&self, durability: Durability) -> Result<Tx, StoreError> {
        self.begin_with(durability, "").await
    }

    /// `locks`: what PostgreSQL does after BEGIN.
    async fn begin_with(&self, durability: Durability, locks: &str) -> Result<Tx, StoreError> {
        let since = Instant::now();
        let tx = in_time(self.open_tx(durability, locks)).await?;
        metrics::histogram!("neisse_store_wait_seconds").record(since.elapsed().as_secs_f64());
        Ok(tx)
    }

    async fn open_tx(&self, durability: Durability, locks: &str) -> Result<Tx, sqlx::Error> {
        let kind = match &self.db {
            Db::Sqlite(db) => TxKind::Sqlite(db.begin(durability).await?),
            // Synced always: a server of its own may crash while this process goes on, and would take back what nobody
            // repeats. SQLite's file can lose its last moments only together with us.
            Db::Postgres(pool) => TxKind::Postgres(PgTx::begin(pool, locks).await?),
        };
        Ok(Tx { kind, shares_origin: false, concerns_a_case: false })
    }

    /// Asks the database for nothing, to see whether it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        on_read!(self, |p| sqlx::query("SELECT 1").execute(p).await.map(drop))?;
        Ok(())
    }

    fn pick(&self, sql: Sql) -> &'static str {
        match &self.db {
            Db::Sqlite(_) => sql.sqlite,
            Db::Postgres(_) => sql.postgres,
        }
    }

    pub async fn close(&self) {
        match &self.db {
            Db::Sqlite(db) => db.close().await,
            Db::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    /// A case has been held for change, or added: there may be something to do for it.
    pub fn concerns_a_case(&self) -> bool {
        self.concerns_a_case
    }

    /// # Errors
    /// When the database did not confirm. Whether the change was made is then unknown.
    pub async fn commit(self) -> Result<(), StoreError> {
        let since = Instant::now();
        in_time(async {
            match self.kind {
                TxKind::Sqlite(tx) => tx.commit().await,
                TxKind::Postgres(tx) => tx.commit().await,
            }
        })
        .await?;
        metrics::histogram!("neisse_store_commit_seconds").record(since.elapsed().as_secs_f64());
        Ok(())
    }

    fn pick(&self, sql: Sql) -> &'static str {
        match &self.kind {
            TxKind::Sqlite(_) => sql.sqlite,
            TxKind::Postgres(_) => sql.postgres,
        }
    }
}
