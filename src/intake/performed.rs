//! Looks for the images that a scanner says it made (PS3.4 F): when all are there, the study is whole at once.
//!
//! In: performed steps that have ended, as `worklist` keeps them, and what has come of their studies. Out: a whole study; or,
//! when the time for its images has passed, a person who is told how many have not come; or who is told that the examination
//! was broken off. A step of whose study nothing has come tells nobody: most of what a hospital examines it reads itself.

use super::completeness::{Completeness, finish};
use crate::{
    model::{Aside, CaseId, Moment, chain},
    store::{AwaitedStep, CaseRow, Durability, StoreError, Tx},
};

const BATCH: i64 = 500;
const BROKEN_OFF: &str =
    "its scanner says that the examination was broken off: ask the sender whether it is to be read";

impl Completeness {
    /// One look at every step whose images may be there, or should be. True: some may be whole any moment.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn look_for_images(&self, aside: &mut Aside<CaseId>) -> Result<bool, StoreError> {
        let mut is_soon = false;
        let overdue = self.clock.now() - self.config.now().dicom.images_within;
        for step in self.store.awaited_steps(overdue, BATCH).await? {
            let is_due = step.changed <= overdue || !step.is_completed || step.instances >= step.named;
            if !is_due || step.case.is_some_and(|id| aside.waits(&id)) {
                continue;
            }
            match self.look_for(&step).await {
                Err(error) if error.is_about_one() && step.case.is_some() => {
                    if let Some(id) = step.case {
                        aside.failed(id);
                        tracing::error!(case.id = %id, error = %chain(&error), "The images of case {id} cannot be looked for now; the others go on");
                    }
                }
                looked => is_soon |= !looked?,
            }
        }
        Ok(is_soon)
    }

    /// False: its images are waited for still.
    async fn look_for(&self, step: &AwaitedStep) -> Result<bool, StoreError> {
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.hold_origin(&step.origin).await?;
        // One that names nothing, as some scanners have it, says nothing of what is to come: the quiet time decides.
        let says_something = !step.is_completed || step.named > 0;
        if let Some(id) = step.case.filter(|_| says_something)
            && !self.look_into(&mut tx, step, id).await?
        {
            return Ok(false);
        }
        tx.await_no_more(step).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn look_into(&self, tx: &mut Tx, step: &AwaitedStep, id: CaseId) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut case = tx.case(id).await?;
        let missing = tx.missing_instances(step).await?;
        if !step.is_completed {
            tell(tx, &mut case, BROKEN_OFF, now).await?;
        } else if missing > 0 {
            // They may be on their way by the hospital's archive.
            if step.changed > now - self.config.now().dicom.images_within {
                return Ok(false);
            }
            let reason = format!(
                "its scanner says it made {} images, {missing} of them have not come: ask the sender",
                step.named
            );
            tell(tx, &mut case, &reason, now).await?;
        } else if case.whole.is_none() {
            // It may have made more than one step of it, and who sends may have more than the scanner made.
            if self.open.is_open(&case.origin, &case.study) || tx.is_being_performed(&case.origin, &case.study).await? {
                return Ok(false);
            }
            finish(tx, &mut case, &format!("all {} its scanner says it made", step.named), now).await?;
        }
        Ok(true)
    }
}

async fn tell(tx: &mut Tx, case: &mut CaseRow, reason: &str, now: Moment) -> Result<(), StoreError> {
    if case.needs_a_person(reason) {
        tx.tell(case.id, now, "intake", reason).await?;
        tx.save_case(case).await?;
    }
    Ok(())
}
