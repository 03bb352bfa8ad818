//! Watches specimens: tells the other side what has become of them, and puts before a person what is late or nobody's.
//!
//! In: the database and the clock. Out: messages owed, alarms raised once (shipped and not received in time; an order
//! without specimen) and ended when they are no more (an order that came after its specimen); slides joined to the order
//! they came before. Every look is by an index that holds only what there is to look at. Events themselves are taken elsewhere (`specimens`).

use super::{
    slides,
    specimen_messages::SpecimenTaker,
    specimen_strays::Strays,
    specimen_telling,
    specimens::{self, Raising, Taken},
};
use crate::{
    config::{Config, Live},
    model::{Aside, Bell, CaseId, CaseState, Clock, Moment, OrderId, SpecimenId, SpecimenState, chain},
    store::{
        About, AlarmKind, Behind, CaseRow, Durability, SpecimenEventRow, SpecimenNews, Store, StoreError, UnreadableRow,
    },
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looked up at a time.
const BATCH: i64 = 500;
/// Orders that came longer than this ago are not asked for their specimens when the watch is first switched on.
const OLD: Duration = Duration::from_secs(60 * 24 * 3600);

pub struct SpecimenWatch {
    pub store: Store,
    pub config: Live,
    pub clock: Clock,
    /// Rung when an event was taken.
    pub bell: Bell,
    /// Rung when something is owed.
    pub handoff: Bell,
    /// Rung when slides have found their order.
    pub routing: Bell,
}

impl SpecimenWatch {
    pub async fn run(self, stop: CancellationToken) {
        let mut patience = Patience::default();
        loop {
            self.look(&mut patience).await;
            tokio::select! {
                () = self.bell.rung() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Each look stands for itself: what keeps one from succeeding does not keep the others from it.
    async fn look(&self, patience: &mut Patience) {
        let said = |done: Result<(), StoreError>| {
            if let Err(error) = done {
                tracing::error!(error = %chain(&error), "Specimens cannot be looked after now");
            }
        };
        said(self.take_news(patience).await);
        said(self.tell(patience).await);
        said(self.overdue(patience).await);
        said(self.not_ordered(patience).await);
        said(self.without_specimen(patience).await);
        said(self.of_ended_orders(patience).await);
        said(self.waiting_slides(patience).await);
    }

    /// What results said of their specimens.
    async fn take_news(&self, patience: &mut Patience) -> Result<(), StoreError> {
        let taker = SpecimenTaker { store: self.store.clone(), watch: self.bell.clone() };
        let config = self.config.now();
        let mut behind = Some(Behind::nothing());
        while let Some(from) = behind {
            let page = self.store.specimen_news(&from, BATCH).await?;
            behind = page.next;
            for news in page.rows {
                let Some(news) = patience.read(news) else { continue };
                if !patience.waits(&news.id) {
                    patience.unless_about_one(&news.id, self.take_one(&taker, &config, &news).await)?;
                }
            }
        }
        Ok(())
    }

    async fn take_one(&self, taker: &SpecimenTaker, config: &Config, news: &SpecimenNews) -> Result<(), StoreError> {
        if let Some(partner) = config.partners.get(&news.partner) {
            return taker.take_news(config, partner, &news.id, &news.said, news.told).await;
        }
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.specimen_news_taken(&news.id).await?;
        tx.commit().await
    }

    async fn tell(&self, patience: &mut Patience) -> Result<(), StoreError> {
        let mut behind = Some(Behind::nothing());
        while let Some(from) = behind {
            let page = self.store.specimen_events_with_reader(&from, BATCH).await?;
            behind = page.next;
            self.tell_all(page.rows, patience).await?;
        }
        behind = Some(Behind::nothing());
        while let Some(from) = behind {
            let page = self.store.untold_specimen_events(&from, BATCH).await?;
            behind = page.next;
            self.tell_all(page.rows, patience).await?;
        }
        Ok(())
    }

    async fn tell_all(
        &self,
        events: Vec<Result<SpecimenEventRow, UnreadableRow>>,
        patience: &mut Patience,
    ) -> Result<(), StoreError> {
        let mut owed = 0;
        for event in events {
            let Some(event) = patience.read(event) else { continue };
            if patience.waits(&event.id) {
                continue;
            }
            let done = self.tell_one(&event).await.map(|messages| owed += messages);
            patience.unless_about_one(&event.id, done)?;
        }
        if owed > 0 {
            self.handoff.ring();
        }
        Ok(())
    }

    async fn tell_one(&self, event: &SpecimenEventRow) -> Result<usize, StoreError> {
        let origin = self.store.specimen(event.specimen).await?.origin;
        let mut tx = self.store.begin(Durability::Process).await?;
        // Before the specimen and its cases, as whoever takes orders does.
        tx.hold_origin(&origin).await?;
        let owed = specimen_telling::tell(&mut tx, &self.config.now(), event, self.clock.now()).await?;
        tx.commit().await?;
        Ok(owed)
    }

    async fn overdue(&self, patience: &mut Patience) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut behind = Some(Behind::nothing());
        while let Some(from) = behind {
            let page = self.store.specimens_overdue(now, &from, BATCH).await?;
            behind = page.next;
            for id in page.rows {
                let Some(id) = patience.read(id) else { continue };
                let row = format!("{id}, overdue");
                if !patience.waits(&row) {
                    patience.unless_about_one(&row, self.late(id, now).await)?;
                }
            }
        }
        Ok(())
    }

    /// Shipped, and its time has passed.
    async fn late(&self, id: SpecimenId, now: Moment) -> Result<(), StoreError> {
        let origin = self.store.specimen(id).await?.origin;
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.hold_origin(&origin).await?;
        let mut specimen = tx.specimen(id).await?;
        if specimen.state != SpecimenState::Shipped || specimen.due.is_none_or(|due| due > now) {
            return Ok(());
        }
        specimen.due = None;
        tx.save_specimen(&specimen).await?;
        let mut cases = specimens::cases_of(&mut tx, id).await?;
        let reason = format!("specimen {id}: shipped and not received in time");
        let raising = Raising { kind: AlarmKind::NotReceived, about: About::Specimen(id), reason: &reason };
        let mut taken = Taken::default();
        specimens::raise(&mut tx, &raising, &specimen.origin, &mut cases, now, &mut taken).await?;
        tx.commit().await?;
        taken.log();
        Ok(())
    }

    /// Specimens that lay in a laboratory before their order came. One whose number only looks like that of another is
    /// looked at less and less often.
    async fn not_ordered(&self, patience: &mut Patience) -> Result<(), StoreError> {
        let strays = Strays { store: &self.store, config: &self.config.now(), clock: &self.clock, bell: &self.bell };
        let mut after = String::new();
        loop {
            let page = self.store.specimens_not_ordered(&after, BATCH).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after.clone_from(last);
            for (row, specimen) in page {
                let Some(specimen) = patience.read(specimen) else { continue };
                let row = format!("{row}, without order");
                if patience.waits(&row) {
                    continue;
                }
                match strays.find_its_order(&specimen).await {
                    Ok(false) => patience.later(&row),
                    other => patience.unless_about_one(&row, other.map(drop))?,
                }
            }
        }
    }

    /// Orders for which nothing was collected or received in the time their hospital gave.
    async fn without_specimen(&self, patience: &mut Patience) -> Result<(), StoreError> {
        let (config, now) = (self.config.now(), self.clock.now());
        for partner in config.partners.values() {
            let Some(within) = partner.specimens.expected_within else { continue };
            let mut behind = Some(Behind::nothing());
            while let Some(from) = behind {
                let page = self.store.orders_to_look_for_specimens(&partner.id, now - within, &from, BATCH).await?;
                behind = page.next;
                for order in page.rows {
                    let Some(order) = patience.read(order) else { continue };
                    let row = format!("{order}, without specimen");
                    if !patience.waits(&row) {
                        patience.unless_about_one(&row, self.look_for_specimens(order, now, within).await)?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn look_for_specimens(&self, id: OrderId, now: Moment, within: Duration) -> Result<(), StoreError> {
        let mut tx = self.store.begin(Durability::Process).await?;
        let Some((origin, received)) = tx.note_specimens_looked(id).await? else { return Ok(()) };
        let there = tx.specimens_of_order(id).await?;
        let is_there = there.iter().any(|specimen| specimen.state != SpecimenState::Expected);
        let mut cases: Vec<CaseRow> = Vec::new();
        for case in tx.cases_of_order(id).await? {
            cases.push(tx.case(case).await?);
        }
        let is_done = !cases.is_empty() && cases.iter().all(|case| case.state == CaseState::Reported);
        let mut taken = Taken::default();
        if !is_there && !is_done && now.since(received) < within + OLD {
            let reason = format!("order {id}: no specimen of it was collected or received in time");
            let raising = Raising { kind: AlarmKind::NoSpecimen, about: About::Order(id), reason: &reason };
            specimens::raise(&mut tx, &raising, &origin, &mut cases, now, &mut taken).await?;
        }
        tx.commit().await?;
        taken.log();
        Ok(())
    }

    /// Nothing is expected any more of an order that was cancelled, replaced or is done.
    async fn of_ended_orders(&self, patience: &mut Patience) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut behind = Some(Behind::nothing());
        while let Some(from) = behind {
            let page = self.store.alarms_of_ended_orders(&from, BATCH).await?;
            behind = page.next;
            for order in page.rows {
                let Some(order) = patience.read(order) else { continue };
                let row = format!("{order}, ended");
                if !patience.waits(&row) {
                    patience.unless_about_one(&row, self.nothing_is_expected(order, now).await)?;
                }
            }
        }
        Ok(())
    }

    /// Slides of a laboratory that came before the order of their specimen. Those that only look like it are looked at less and
    /// less often.
    async fn waiting_slides(&self, patience: &mut Patience) -> Result<(), StoreError> {
        let mut behind = Some(Behind::nothing());
        while let Some(from) = behind {
            let page = self.store.waiting_slides(&from, BATCH).await?;
            behind = page.next;
            for case in page.rows {
                let Some(case) = patience.read(case) else { continue };
                let row = format!("case {case}, slides");
                if patience.waits(&row) {
                    continue;
                }
                match self.find_what_was_asked(case).await {
                    Ok(false) => patience.later(&row),
                    other => patience.unless_about_one(&row, other.map(drop))?,
                }
            }
        }
        Ok(())
    }

    /// True when the order is found. Where they go now, `routing` says.
    async fn find_what_was_asked(&self, id: CaseId) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let origin = self.store.case(id).await?.origin;
        let mut tx = self.store.begin(Durability::Process).await?;
        tx.hold_origin(&origin).await?;
        let mut case = tx.case(id).await?;
        let is_found = slides::join_waiting(&mut tx, &mut case, now).await?;
        tx.commit().await?;
        if is_found {
            self.routing.ring();
        }
        Ok(is_found)
    }

    async fn nothing_is_expected(&self, order: OrderId, now: Moment) -> Result<(), StoreError> {
        let mut tx = self.store.begin(Durability::Process).await?;
        let mut cases = Vec::new();
        for case in tx.cases_of_order(order).await? {
            cases.push(tx.case(case).await?);
        }
        for alarm in tx.specimen_alarms_of(About::Order(order)).await? {
            specimens::end(&mut tx, &alarm, "its order has ended", &mut cases, now).await?;
        }
        tx.commit().await
    }
}

/// What waits its time: rows that could not be read or looked after, and what is not there yet. By our own ids.
#[derive(Default)]
struct Patience(Aside<String>);

impl Patience {
    fn waits(&self, row: &String) -> bool {
        self.0.waits(row)
    }

    fn later(&mut self, row: &str) {
        self.0.failed(row.to_owned());
    }

    /// What cannot be read is said and passed over.
    fn read<T>(&mut self, read: Result<T, UnreadableRow>) -> Option<T> {
        let unreadable = match read {
            Ok(read) => return Some(read),
            Err(unreadable) => unreadable,
        };
        if !self.waits(&unreadable.row) {
            tracing::error!(error = %chain(&unreadable), "What waits about a specimen (row {}) cannot be read: a person is needed; the others go on", unreadable.row);
            self.later(&unreadable.row);
        }
        None
    }

    /// What cannot be looked after does not keep the others from it.
    fn unless_about_one(&mut self, row: &String, done: Result<(), StoreError>) -> Result<(), StoreError> {
        match done {
            Err(error) if error.is_about_one() => {
                tracing::error!(error = %chain(&error), "A specimen cannot be looked after ({row})");
                self.later(row);
                Ok(())
            }
            Ok(()) => {
                self.0.done(row);
                Ok(())
            }
            done => done,
        }
    }
}
