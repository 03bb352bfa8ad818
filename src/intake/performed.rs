//! Looks for the images that a scanner says it made (PS3.4 F): when all are there, the study is whole at once.
//!
//! In: performed steps that have ended, as `worklist` keeps them, and what has come of their studies. Out: a whole study; or,
//! when the time for its images has passed, a person who is told how many have not come; or who is told that the examination
//! was broken off. A step of whose study nothing has come tells nobody: most of what a hospital examines it reads itself.

use super::completeness::{Completeness, finish};
use crate::{
    model::{Aside, CaseId, chain},
    store::{AwaitedStep, Durability, StoreError},
};
use std::time::Duration;

/// How long images may be on their way by the hospital's archive.
const IMAGES_WITHIN: Duration = Duration::from_secs(3600);
const BATCH: i64 = 500;
const BROKEN_OFF: &str =
    "its scanner says that the examination was broken off: ask the sender whether it is to be read";

impl Completeness {
    /// One look at every step whose images may be there, or should be.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn look_for_images(&self, aside: &mut Aside<CaseId>) -> Result<(), StoreError> {
        let overdue = self.clock.now() - IMAGES_WITHIN;
        for step in self.store.awaited_steps(overdue, BATCH).await? {
            let case = step.case.map(|(id, _)| id);
            let may_be_there = step.case.is_some_and(|(_, instances)| instances >= step.named);
            let is_due = step.changed <= overdue || !step.is_completed || may_be_there;
            if !is_due || case.is_some_and(|id| aside.waits(&id)) {
                continue;
            }
            match self.look_for(&step).await {
                Err(error) if error.is_about_one() && case.is_some() => {
                    if let Some(id) = case {
                        aside.failed(id);
                        tracing::error!(case.id = %id, error = %chain(&error), "The images of case {id} cannot be looked for now; the others go on");
                    }
                }
                looked => looked?,
            }
        }
        Ok(())
    }

    async fn look_for(&self, step: &AwaitedStep) -> Result<(), StoreError> {
        let now = self.clock.now();
        let overdue = step.changed <= now - IMAGES_WITHIN;
        let mut tx = self.store.begin(Durability::Process).await?;
        if let Some((id, _)) = step.case {
            let mut case = tx.case(id).await?;
            let missing = tx.missing_instances(step, id).await?;
            if !step.is_completed {
                if case.needs_a_person(BROKEN_OFF) {
                    tx.tell(id, now, "intake", BROKEN_OFF).await?;
                    tx.save_case(&case).await?;
                }
            } else if missing > 0 {
                if !overdue {
                    return Ok(());
                }
                let reason = format!(
                    "its scanner says it made {} images, {missing} of them have not come: ask the sender",
                    step.named
                );
                if case.needs_a_person(&reason) {
                    tx.tell(id, now, "intake", &reason).await?;
                    tx.save_case(&case).await?;
                }
            } else if case.whole.is_none() {
                // It may have made more than one step of it.
                if tx.is_being_performed(&case.origin, &case.study).await? {
                    return Ok(());
                }
                finish(&mut tx, &mut case, &format!("all {} its scanner says it made", step.named), now).await?;
            }
        }
        tx.await_no_more(step).await?;
        tx.commit().await
    }
}
