//! Watches specimens: tells the other side what has become of them, and puts before a person what is late or nobody's.
//!
//! In: the database and the clock. Out: messages owed, alarms raised once (shipped and not received in time; an order
//! without specimen) and ended when they are no more (an order that came after its specimen). Every look is by an index
//! that holds only what there is to look at. Events themselves are taken elsewhere (`specimens`).

use super::{
    specimen_messages::SpecimenTaker,
    specimen_telling,
    specimens::{self, Raising, Taken},
};
use crate::{
    config::{Config, Live},
    model::{Aside, Bell, CaseState, Clock, Moment, OrderId, SpecimenId, SpecimenState, chain},
    store::{About, AlarmKind, CaseRow, Durability, SpecimenEventRow, SpecimenRow, Store, StoreError, Tx},
};
use std::{collections::BTreeSet, time::Duration};
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most looked at a time; the next look goes on.
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
}

impl SpecimenWatch {
    pub async fn run(self, stop: CancellationToken) {
        let mut aside = Aside::default();
        loop {
            self.look(&mut aside).await;
            tokio::select! {
                () = self.bell.rung() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Each look stands for itself: what keeps one from succeeding does not keep the others from it.
    async fn look(&self, aside: &mut Aside<SpecimenId>) {
        let said = |done: Result<(), StoreError>| {
            if let Err(error) = done {
                tracing::error!(error = %chain(&error), "Specimens cannot be looked after now");
            }
        };
        said(self.take_news().await);
        said(self.tell().await);
        said(self.overdue().await);
        said(self.not_ordered(aside).await);
        said(self.without_specimen().await);
        said(self.of_ended_orders().await);
    }

    /// What results said of their specimens.
    async fn take_news(&self) -> Result<(), StoreError> {
        let taker = SpecimenTaker { store: self.store.clone(), watch: self.bell.clone() };
        let config = self.config.now();
        for news in self.store.specimen_news(BATCH).await? {
            match config.partners.get(&news.partner) {
                Some(partner) => {
                    unless_about_one(taker.take_news(&config, partner, &news.id, &news.said, news.told).await)?;
                }
                None => {
                    let mut tx = self.store.begin(Durability::Process).await?;
                    tx.specimen_news_taken(&news.id).await?;
                    tx.commit().await?;
                }
            }
        }
        Ok(())
    }

    async fn tell(&self) -> Result<(), StoreError> {
        let mut owed = 0;
        for event in self.store.untold_specimen_events(BATCH).await? {
            match self.tell_one(&event).await {
                Ok(messages) => owed += messages,
                other => unless_about_one(other.map(drop))?,
            }
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

    async fn overdue(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for id in self.store.specimens_overdue(now, BATCH).await? {
            unless_about_one(self.late(id, now).await)?;
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
    async fn not_ordered(&self, aside: &mut Aside<SpecimenId>) -> Result<(), StoreError> {
        let config = self.config.now();
        for specimen in self.store.specimens_not_ordered(BATCH).await? {
            if aside.waits(&specimen.id) {
                continue;
            }
            match self.find_its_order(&config, &specimen).await {
                Ok(true) => aside.done(&specimen.id),
                other => {
                    aside.failed(specimen.id);
                    unless_about_one(other.map(drop))?;
                }
            }
        }
        Ok(())
    }

    /// True when it was found.
    async fn find_its_order(&self, config: &Config, stray: &SpecimenRow) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut origins = BTreeSet::from([stray.origin.clone()]);
        for id in stray.said.ids() {
            origins.extend(self.store.specimens_with(&id.value).await?.into_iter().map(|found| found.origin));
        }
        let mut tx = self.store.begin(Durability::Process).await?;
        for origin in &origins {
            tx.hold_origin(origin).await?;
        }
        let stray = tx.specimen(stray.id).await?;
        if stray.ordered {
            specimens::now_ordered(&mut tx, &stray, now).await?;
            tx.commit().await?;
            return Ok(true);
        }
        let Some(meant) = self.meant(&mut tx, &stray).await? else { return Ok(false) };
        self.merge(&mut tx, config, &stray, meant, now).await?;
        tx.commit().await?;
        self.bell.ring();
        Ok(true)
    }

    /// The one ordered specimen that goes by an id of this one, with its issuer, and that its teller reads.
    async fn meant(&self, tx: &mut Tx, stray: &SpecimenRow) -> Result<Option<SpecimenId>, StoreError> {
        let mut meant: Vec<SpecimenId> = Vec::new();
        for id in stray.said.ids() {
            for specimen in tx.specimens_with(&id.value).await? {
                let is_same = specimen
                    .said
                    .ids()
                    .any(|known| known == id || (known.value == id.value && self.is_own_issuer(stray, &id.issuer)));
                if specimen.ordered && is_same && reads(tx, stray, &specimen).await? && !meant.contains(&specimen.id) {
                    meant.push(specimen.id);
                }
            }
        }
        Ok(if let [one] = meant.as_slice() { Some(*one) } else { None })
    }

    /// Its teller left the issuer out, so that it was taken for its own.
    fn is_own_issuer(&self, stray: &SpecimenRow, issuer: &str) -> bool {
        self.config.now().partners.get(&stray.origin).is_some_and(|teller| teller.issuer == issuer)
    }

    /// What was told of the one without order happened to the one that was ordered.
    async fn merge(
        &self,
        tx: &mut Tx,
        config: &Config,
        stray: &SpecimenRow,
        into: SpecimenId,
        now: Moment,
    ) -> Result<(), StoreError> {
        let mut meant = tx.specimen(into).await?;
        let mut cases = specimens::cases_of(tx, into).await?;
        for alarm in tx.specimen_alarms_of(About::Specimen(stray.id)).await? {
            specimens::end(tx, &alarm, "its order has come", &mut cases, now).await?;
        }
        for event in self.store.specimen_story(stray.id).await? {
            let told = specimens::Told {
                event: event.event,
                teller: event.teller,
                who: event.who,
                happened: event.happened.or(Some(event.told)),
                reason: crate::model::SpecimenCode {
                    code: event.reason_code,
                    text: event.reason,
                    system: String::new(),
                },
                shipment: event.shipment,
                due: None,
            };
            match specimens::take(tx, config, &mut meant, &told, now).await? {
                Ok(taken) => taken.log(),
                Err(contradiction) => {
                    let what =
                        format!("specimen {into}: {} was told before its order came: {contradiction}", told.event);
                    for case in &cases {
                        tx.tell(case.id, now, "intake", &what).await?;
                    }
                }
            }
        }
        tx.forget_specimen(stray.id, into).await
    }

    /// Orders for which nothing was collected or received in the time their hospital gave.
    async fn without_specimen(&self) -> Result<(), StoreError> {
        let (config, now) = (self.config.now(), self.clock.now());
        for partner in config.partners.values() {
            let Some(within) = partner.specimens.expected_within else { continue };
            for order in self.store.orders_to_look_for_specimens(&partner.id, now - within, BATCH).await? {
                unless_about_one(self.look_for_specimens(order, now, within).await)?;
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
    async fn of_ended_orders(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        for order in self.store.alarms_of_ended_orders(BATCH).await? {
            let mut tx = self.store.begin(Durability::Process).await?;
            let mut cases = Vec::new();
            for case in tx.cases_of_order(order).await? {
                cases.push(tx.case(case).await?);
            }
            for alarm in tx.specimen_alarms_of(About::Order(order)).await? {
                specimens::end(&mut tx, &alarm, "its order has ended", &mut cases, now).await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }
}

/// Whether who told of one specimen reads a case of another.
async fn reads(tx: &mut Tx, stray: &SpecimenRow, specimen: &SpecimenRow) -> Result<bool, StoreError> {
    for case in tx.cases_of_specimen(specimen.id).await? {
        let case = tx.case_as_it_is(case).await?;
        if case.reader.as_ref() == Some(&stray.origin) || case.receivers().contains(&stray.origin) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One that cannot be read does not keep the others from it.
fn unless_about_one(done: Result<(), StoreError>) -> Result<(), StoreError> {
    match done {
        Err(error) if error.is_about_one() => {
            tracing::error!(error = %chain(&error), "A specimen cannot be looked after");
            Ok(())
        }
        done => done,
    }
}
