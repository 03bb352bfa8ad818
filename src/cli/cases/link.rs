//! `neisse cases link`, `unlink`: a person says which order a case belongs to.

use super::Desk;
use crate::{
    intake::link,
    model::{CaseId, Moment, OrderId},
};
use chrono::Utc;

impl Desk {
    pub(super) async fn link(&self, case: CaseId, order: OrderId, why: &str) -> anyhow::Result<()> {
        link::link(&self.store, case, order, why, now()).await?;
        println!("Case {case} is joined to order {order}.");
        Ok(())
    }

    pub(super) async fn unlink(&self, case: CaseId, order: OrderId, why: &str) -> anyhow::Result<()> {
        link::unlink(&self.store, case, order, why, now()).await?;
        println!("Case {case} and order {order} are parted; nothing joins them again but neisse cases link.");
        Ok(())
    }
}

fn now() -> Moment {
    Moment::from_utc(Utc::now())
}
