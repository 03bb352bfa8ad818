//! Callers that share a commit: each is whole or nothing, none hears of it before the disk has it, whoever is dropped.

use super::*;
use crate::store::SQLITE;
use std::{
    sync::atomic::{AtomicU32, Ordering},
    task::Poll,
};
use tempfile::TempDir;

async fn opened() -> (SqliteDb, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let db = SqliteDb::open(&folder.path().join("test.sqlite"), &SQLITE).await.unwrap();
    (db, folder)
}

/// One of the two rows that each caller writes.
async fn put(tx: &mut SqliteTx, caller: u32, half: &str) -> Result<(), sqlx::Error> {
    const SQL: &str = "INSERT INTO messages (partner, application, facility, control_id, sha256, received_us, answer) \
         VALUES ('p', '', '', $1, $2, 0, x'00')";
    sqlx::query(SQL).bind(caller.to_string()).bind(half).execute(&mut **tx).await.map(drop)
}

async fn write(db: &SqliteDb, caller: u32, durability: Durability) -> Result<(), sqlx::Error> {
    let mut tx = db.begin(durability).await?;
    put(&mut tx, caller, "a").await?;
    tokio::task::yield_now().await;
    put(&mut tx, caller, "b").await?;
    tx.commit().await
}

/// How many of its rows a caller has in the database, as others see it.
async fn rows(db: &SqliteDb, caller: u32) -> i64 {
    const SQL: &str = "SELECT COUNT(*) FROM messages WHERE control_id = $1";
    sqlx::query_scalar(SQL).bind(caller.to_string()).fetch_one(&db.read).await.unwrap()
}

async fn waiting(db: &SqliteDb) -> usize {
    db.turn.lock().await.group.as_ref().map_or(0, |group| group.waiting.len())
}

/// A caller that has committed, as far as it can while somebody else has the turn: the task that waits for the disk.
async fn committing(db: &SqliteDb, caller: u32) -> tokio::task::JoinHandle<Result<(), sqlx::Error>> {
    let mut tx = db.begin(Durability::Synced).await.unwrap();
    put(&mut tx, caller, "a").await.unwrap();
    put(&mut tx, caller, "b").await.unwrap();
    tokio::spawn(tx.commit())
}

#[tokio::test]
async fn nobody_is_told_and_nothing_is_seen_before_the_commit() {
    let (db, _folder) = opened().await;
    let mut first = db.begin(Durability::Synced).await.unwrap();
    let second = tokio::spawn({
        let db = db.clone();
        async move { db.begin(Durability::Synced).await.unwrap() }
    });
    tokio::task::yield_now().await;
    put(&mut first, 1, "a").await.unwrap();
    let told = tokio::spawn(first.commit());
    // The second waited, and so has its turn before the group is committed.
    let mut second = second.await.unwrap();
    put(&mut second, 2, "a").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!told.is_finished());
    assert_eq!(rows(&db, 1).await, 0);
    drop(second);
    told.await.unwrap().unwrap();
    assert_eq!((rows(&db, 1).await, rows(&db, 2).await), (1, 0));
}

#[tokio::test]
async fn callers_that_wait_share_a_commit_and_one_that_gives_up_hurts_nobody() {
    let (db, _folder) = opened().await;
    let turn = db.begin(Durability::Synced).await.unwrap();
    let callers: Vec<_> = (0..30)
        .map(|caller| {
            let db = db.clone();
            tokio::spawn(async move {
                if caller % 3 > 0 {
                    return write(&db, caller, Durability::Synced).await;
                }
                let mut tx = db.begin(Durability::Synced).await?;
                put(&mut tx, caller, "a").await
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let most = Arc::new(AtomicU32::new(0));
    drop(turn);
    for caller in callers {
        most.fetch_max(u32::try_from(waiting(&db).await).unwrap(), Ordering::Relaxed);
        caller.await.unwrap().unwrap();
    }
    assert!(most.load(Ordering::Relaxed) > 1, "no two shared a commit");
    for caller in 0..30 {
        assert_eq!(rows(&db, caller).await, if caller % 3 > 0 { 2 } else { 0 }, "{caller}");
    }
}

#[tokio::test]
async fn a_process_transaction_sees_what_an_open_group_has_done() {
    let (db, _folder) = opened().await;
    let told = committing(&db, 1).await;
    let mut tx = db.begin(Durability::Process).await.unwrap();
    let seen: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM messages").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(seen, 2);
    told.await.unwrap().unwrap();
    put(&mut tx, 2, "a").await.unwrap();
    drop(tx);
    write(&db, 3, Durability::Process).await.unwrap();
    assert_eq!((rows(&db, 2).await, rows(&db, 3).await), (0, 2));
}

/// The turn, so that everybody who commits meanwhile is in one group.
async fn group_of_two(db: &SqliteDb, spoil: &'static str) -> Vec<Result<(), sqlx::Error>> {
    let first = db.begin(Durability::Synced).await.unwrap();
    let second = tokio::spawn({
        let db = db.clone();
        async move {
            let mut tx = db.begin(Durability::Synced).await.unwrap();
            put(&mut tx, 2, "a").await.unwrap();
            let spoilt = sqlx::query(spoil).execute(&mut *tx).await;
            assert!(spoilt.is_ok(), "{spoilt:?}");
            tx.commit().await
        }
    });
    tokio::task::yield_now().await;
    let mut first = first;
    put(&mut first, 1, "a").await.unwrap();
    vec![first.commit().await, second.await.unwrap()]
}

#[tokio::test]
async fn a_commit_that_fails_has_failed_for_all_and_the_next_succeeds() {
    let (db, _folder) = opened().await;
    // A promise that the commit finds broken: no such case.
    let broken = "PRAGMA defer_foreign_keys = 1; \
         INSERT INTO events (case_id, at_us, actor, what) VALUES ('none', 0, '', '')";
    for told in group_of_two(&db, broken).await {
        assert!(matches!(told, Err(sqlx::Error::Io(_))), "{told:?}");
    }
    assert_eq!((rows(&db, 1).await, rows(&db, 2).await), (0, 0));
    write(&db, 3, Durability::Synced).await.unwrap();
    assert_eq!(rows(&db, 3).await, 2);
}

#[tokio::test]
async fn nobody_is_told_that_it_was_done_when_the_database_rolls_back_by_itself() {
    let (db, _folder) = opened().await;
    for told in group_of_two(&db, "ROLLBACK").await {
        assert!(told.is_err());
    }
    assert_eq!((rows(&db, 1).await, rows(&db, 2).await), (0, 0));
    write(&db, 3, Durability::Synced).await.unwrap();
    assert_eq!(rows(&db, 3).await, 2);
}

#[tokio::test]
async fn a_caller_dropped_in_the_middle_of_a_statement_leaves_nothing() {
    let (db, _folder) = opened().await;
    const LONG: &str = "INSERT INTO messages (partner, application, facility, control_id, sha256, received_us, answer) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000) \
         SELECT 'p', '', '', '1', i, 0, x'00' FROM n";
    for durability in [Durability::Synced, Durability::Process] {
        let mut tx = db.begin(durability).await.unwrap();
        put(&mut tx, 1, "a").await.unwrap();
        let statement = sqlx::query(LONG).execute(&mut *tx);
        assert!(tokio::time::timeout(Duration::from_millis(2), statement).await.is_err());
        drop(tx);
        write(&db, 2, durability).await.unwrap();
        assert_eq!((rows(&db, 1).await, rows(&db, 2).await), (0, 2));
        let mut tx = db.begin(durability).await.unwrap();
        sqlx::query("DELETE FROM messages").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }
}

/// `None` when it had to wait more often than `times`, and was dropped there.
async fn dropped_after<T>(times: u64, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (std::pin::pin!(work), times);
    std::future::poll_fn(move |context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Each caller is dropped at one of the points where it waits, or not: wherever that is, what was said to be done is done,
/// and nothing by half.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_dropped_wherever_nothing_is_done_by_half() {
    const CALLERS: u32 = 2000;
    let (db, _folder) = opened().await;
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let (mut done, mut undone) = (0, 0);
    for crowd in (0..CALLERS).collect::<Vec<_>>().chunks(25) {
        let callers: Vec<_> = crowd
            .iter()
            .map(|&caller| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let (process, times) = (random.is_multiple_of(7), (random >> 32) % 16);
                let durability = if process { Durability::Process } else { Durability::Synced };
                let db = db.clone();
                tokio::spawn(async move { dropped_after(times, write(&db, caller, durability)).await })
            })
            .collect();
        for (&caller, handle) in crowd.iter().zip(callers) {
            let told = handle.await.unwrap();
            // The commit of who was dropped may still be on its way; a turn later it is over.
            drop(db.begin(Durability::Process).await.unwrap());
            let rows = rows(&db, caller).await;
            match told {
                Some(told) => {
                    told.unwrap();
                    assert_eq!(rows, 2, "{caller}");
                    done += 1;
                }
                None => {
                    assert!(rows == 0 || rows == 2, "{caller}: {rows} rows");
                    undone += 1;
                }
            }
        }
    }
    assert!(done > CALLERS / 10 && undone > CALLERS / 10, "{done} done, {undone} dropped");
    write(&db, CALLERS, Durability::Synced).await.unwrap();
    assert_eq!(rows(&db, CALLERS).await, 2);
}

#[tokio::test]
async fn what_is_on_its_way_when_the_store_closes_is_committed() {
    let (db, folder) = opened().await;
    let told = committing(&db, 1).await;
    db.close().await;
    told.await.unwrap().unwrap();
    assert!(db.begin(Durability::Synced).await.is_err());
    let again = SqliteDb::open(&folder.path().join("test.sqlite"), &SQLITE).await.unwrap();
    assert_eq!(rows(&again, 1).await, 2);
}
