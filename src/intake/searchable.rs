//! Makes cases searchable that came before there was a search. At start, in the background, until there are none.
//!
//! In: cases with a study and no row to find it by. Out: those rows. What comes now is made so by `matching` with its batch.

use crate::{
    model::{CaseId, chain},
    store::{Durability, Store, StoreError},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const BATCH: i64 = 100;
const AGAIN_AFTER: Duration = Duration::from_secs(30);

pub async fn run(store: Store, stop: CancellationToken) {
    let (mut after, mut made) = (None, 0_usize);
    loop {
        if stop.is_cancelled() {
            return;
        }
        match batch(&store, after).await {
            Ok(Some((last, count))) => {
                after = Some(last);
                made += count;
            }
            Ok(None) => break,
            Err(error) => {
                tracing::error!(error = %chain(&error), "Earlier cases cannot be made searchable yet");
                tokio::select! {
                    () = tokio::time::sleep(AGAIN_AFTER) => {}
                    () = stop.cancelled() => return,
                }
            }
        }
    }
    if made > 0 {
        tracing::info!(cases = made, "{made} earlier cases can be searched now");
    }
}

/// The last of a batch, and how many it had; `None`: there are no more. One that cannot be read is left as it is.
async fn batch(store: &Store, after: Option<CaseId>) -> Result<Option<(CaseId, usize)>, StoreError> {
    let cases = store.cases_to_make_searchable(after, BATCH).await?;
    let Some(last) = cases.last().copied() else { return Ok(None) };
    for id in &cases {
        match one(store, *id).await {
            Err(error) if error.is_about_one() => {
                tracing::error!(case.id = %id, error = %chain(&error), "Case {id} cannot be made searchable; the others go on");
            }
            made => made?,
        }
    }
    Ok(Some((last, cases.len())))
}

async fn one(store: &Store, id: CaseId) -> Result<(), StoreError> {
    let mut tx = store.begin(Durability::Process).await?;
    let case = tx.case(id).await?;
    tx.make_searchable(&case).await?;
    tx.commit().await
}
