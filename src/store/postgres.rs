//! PostgreSQL: the connections to it, and a transaction on one of them.
//!
//! In: the address; what a transaction begins with. Out: a connection for as long as the transaction is open; dropped
//! without [`PgTx::commit`], it is rolled back, and the connection is free for others only after that.
//!
//! The driver's own transaction sends BEGIN by itself and waits for the answer. What every transaction of a kind begins
//! with (its locks) goes with BEGIN here: one round to the server instead of two. Whatever becomes of such a beginning
//! (refused, or its caller dropped in the middle), its locks are given back.

use super::{WAIT, in_time};
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPool, PgPoolOptions},
};
use std::{
    ops::{Deref, DerefMut},
    str::FromStr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, OwnedMutexGuard},
};

/// For as many HL7 senders at once as a network has, and the stages beside them. PostgreSQL allows 100 by default, for
/// several nodes.
const CONNECTIONS: u32 = 24;
/// A connection that has just been used is there.
const FRESH: Duration = Duration::from_secs(1);

pub(super) async fn open(url: &str, schema: &sqlx::migrate::Migrator) -> Result<PgPool, super::StoreError> {
    // Whatever the server's default is: the store's statements rely on seeing what others have committed meanwhile.
    let options = PgConnectOptions::from_str(url)?
        .application_name("neisse")
        .options([("default_transaction_isolation", "read committed")]);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(WAIT)
        // Asking is one more round to the server: only where the answer may have changed.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for >= FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(options)
        .await?;
    schema.run(&pool).await?;
    Ok(pool)
}

pub(super) struct PgTx {
    connection: OwnedMutexGuard<PoolConnection<Postgres>>,
    /// Where the connection is found when it is to be rolled back.
    home: Arc<Mutex<PoolConnection<Postgres>>>,
    open: bool,
}

impl PgTx {
    /// `locks`: statements after BEGIN, each of which sees what has been committed when the one before it was granted. They
    /// take no parameters: numbers of ours, never a text from outside.
    pub(super) async fn begin(pool: &PgPool, locks: &str) -> Result<Self, sqlx::Error> {
        let mut others = CONNECTIONS;
        loop {
            match Self::begin_on(pool.acquire().await?, locks).await {
                // The server may have been started anew since: nothing has been done yet, and another connection is made.
                Err(error) if others > 0 && is_gone(&error) => others -= 1,
                begun => return begun,
            }
        }
    }

    async fn begin_on(connection: PoolConnection<Postgres>, locks: &str) -> Result<Self, sqlx::Error> {
        let home = Arc::new(Mutex::new(connection));
        let connection = Arc::clone(&home).lock_owned().await;
        let mut tx = Self { connection, home, open: true };
        sqlx::raw_sql(AssertSqlSafe(format!("BEGIN{locks}"))).execute(&mut *tx).await?;
        Ok(tx)
    }

    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("COMMIT").execute(&mut *self).await?;
        self.open = false;
        Ok(())
    }
}

impl Drop for PgTx {
    fn drop(&mut self) {
        match Handle::try_current() {
            Ok(runtime) if self.open => drop(runtime.spawn(roll_back(Arc::clone(&self.home)))),
            Err(_) if self.open => self.connection.close_on_drop(),
            _ => {}
        }
    }
}

/// The connection has ended, and not for what was asked of it. Class 57P: an operator or a crash ended it.
fn is_gone(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P")),
        _ => false,
    }
}

/// Also where BEGIN has not been answered: the driver reads that answer first.
async fn roll_back(home: Arc<Mutex<PoolConnection<Postgres>>>) {
    let mut connection = home.lock_owned().await;
    if in_time(sqlx::raw_sql("ROLLBACK").execute(&mut **connection)).await.is_err() {
        connection.close_on_drop();
    }
}

impl Deref for PgTx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for PgTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
