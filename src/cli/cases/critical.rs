//! `neisse cases acknowledge`: a person notes who has a critical result; and what `neisse cases show` says of it.

use super::{Desk, counted};
use crate::{
    model::{CaseId, Moment},
    results::critical::acknowledge,
    store::{CaseRow, CriticalResult, Durability},
};
use anyhow::bail;
use chrono::Utc;

impl Desk {
    pub(super) async fn acknowledge(&self, id: CaseId, by: &str) -> anyhow::Result<()> {
        let by = by.trim();
        if by.is_empty() {
            bail!("--by is empty: say who has the result");
        }
        let now = Moment::from_utc(Utc::now());
        let mut tx = self.store.begin(Durability::Synced).await?;
        let mut case = tx.case(id).await?;
        let acknowledged = acknowledge(&mut tx, &mut case, i64::MAX, ("operator", by), now).await?;
        if acknowledged == 0 {
            bail!("no critical result of case {id} waits to be acknowledged");
        }
        tx.save_case(&case).await?;
        tx.commit().await?;
        println!(
            "{} of case {id} acknowledged by {by}.",
            counted(acknowledged as u64, "critical result", "critical results")
        );
        Ok(())
    }

    /// The line below the report it is about.
    pub(super) fn critical(&self, case: &CaseRow, critical: &CriticalResult) {
        match &critical.acknowledged {
            Some((at, by)) => println!("    critical, acknowledged {} by {by}", self.wall(&case.origin, *at)),
            None => {
                let due = self.wall(&case.origin, critical.due);
                println!(
                    "    ! critical, to be acknowledged by {due}: neisse cases acknowledge {} --by \"…\"",
                    case.id
                );
            }
        }
    }
}
