//! News of a patient with many cases reach those that are closed: page by page, after the sender has been answered.
//!
//! In: what `patients` has written down. Out: a page of changed orders and cases and how far it has come, in one transaction,
//! so that whoever starts after a crash goes on there. News of one hospital are gone through in the order they came. A row that cannot be
//! read is passed by.

use super::{Told, change};
use crate::{
    config::Live,
    hl7::adt::News,
    model::{Bell, CaseId, IssuedId, OrderId, PartnerId, chain},
    store::{Durability, PatientNewsRow, Store, StoreError, Tx},
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Orders or cases of one transaction: the hospital's messages wait for it.
const PAGE: usize = 50;
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Between two pages: others want the database, too.
const PAUSE: Duration = Duration::from_millis(20);

pub struct PatientNewsRest {
    pub store: Store,
    pub config: Live,
    pub bell: Bell,
    /// Rung when readers are to be told.
    pub routing: Bell,
}

/// To be gone on with from its beginning.
pub(super) fn begin(origin: &PartnerId, told: &Told) -> Result<PatientNewsRow, StoreError> {
    let news = serde_json::to_string(told).map_err(|_| StoreError::Unreadable { what: "news of a patient" })?;
    Ok(PatientNewsRow {
        id: Uuid::now_v7().to_string(),
        origin: origin.clone(),
        received: told.received,
        sha256: told.sha256.clone(),
        news,
        list: 0,
        after: String::new(),
    })
}

/// One of the lists that news go through: of each identifier its orders, then its cases.
enum Page {
    Orders(Vec<OrderId>),
    Cases(Vec<CaseId>),
}

impl Page {
    async fn read(
        tx: &mut Tx,
        origin: &PartnerId,
        id: &IssuedId,
        row: &PatientNewsRow,
        most: usize,
    ) -> Result<Self, StoreError> {
        if row.list.is_multiple_of(2) {
            let found = tx.orders_of_patient(origin, id, &row.after, most).await?;
            return Ok(Self::Orders(found.into_iter().map(|order| order.id).collect()));
        }
        let found = tx.cases_of_patient(origin, id, &row.after, most).await?;
        Ok(Self::Cases(found.into_iter().map(|case| case.id).collect()))
    }

    fn len(&self) -> usize {
        match self {
            Self::Orders(orders) => orders.len(),
            Self::Cases(cases) => cases.len(),
        }
    }

    fn last(&self) -> Option<String> {
        match self {
            Self::Orders(orders) => orders.last().map(ToString::to_string),
            Self::Cases(cases) => cases.last().map(ToString::to_string),
        }
    }
}

impl PatientNewsRest {
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let wait = match self.look().await {
                Ok(true) => PAUSE,
                Ok(false) => LOOK_EVERY,
                Err(error) => {
                    tracing::error!(error = %chain(&error), "News of patients cannot reach closed cases now; they wait");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.bell.rung(), if wait > PAUSE => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// A page for each hospital. False: nothing is left.
    async fn look(&self) -> Result<bool, StoreError> {
        let origins = self.store.origins_with_patient_news().await?;
        for origin in &origins {
            match self.page(origin, PAGE, false).await {
                Err(error) if error.is_about_one() => self.one_by_one(origin).await?,
                done => done?,
            }
        }
        Ok(!origins.is_empty())
    }

    /// One of the page cannot be read or changed: the others are.
    async fn one_by_one(&self, origin: &PartnerId) -> Result<(), StoreError> {
        for _ in 0..PAGE {
            match self.page(origin, 1, false).await {
                Err(error) if error.is_about_one() => {
                    tracing::error!(site = %origin, error = %chain(&error), "News of a patient of {origin} do not reach one of its cases or orders; the others go on");
                    self.page(origin, 1, true).await?;
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// `passes_by`: what is on it stays as it is.
    async fn page(&self, origin: &PartnerId, most: usize, passes_by: bool) -> Result<(), StoreError> {
        let config = self.config.now();
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.hold_origin(origin).await?;
        let Some(mut row) = tx.next_patient_news(origin).await? else { return Ok(()) };
        let told: Option<Told> = serde_json::from_str(&row.news).ok();
        let Some((told, id)) = told.as_ref().and_then(|told| Some((told, *told.known_by().get(row.list / 2)?))) else {
            if told.is_none() {
                tracing::error!(site = %origin, "News of a patient of {origin} cannot be read; they end");
            }
            tx.end_patient_news(&row.id).await?;
            return tx.commit().await;
        };
        let page = Page::read(&mut tx, origin, id, &row, most).await?;
        let mut changed = 0;
        match &page {
            _ if passes_by => {}
            Page::Orders(orders) => {
                for id in orders {
                    change::order(&mut tx, *id, told, true).await?;
                }
            }
            Page::Cases(cases) => {
                for id in cases {
                    changed += usize::from(change::case(&mut tx, &config, *id, told, true).await?);
                }
            }
        }
        let is_last = page.len() < most;
        row.after = page.last().filter(|_| !is_last).unwrap_or_default();
        row.list += usize::from(is_last);
        tx.keep_patient_news(&row).await?;
        tx.commit().await?;
        if changed > 0 {
            let merge = told.news.news == News::Merged;
            tracing::info!(site = %origin, merge, cases = changed, "News of a patient of {origin}: {changed} closed cases changed");
            self.routing.ring();
        }
        Ok(())
    }
}
