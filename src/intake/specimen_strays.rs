//! Specimens that lay in a laboratory before their order came: which ordered one is meant, and what was told of them is told
//! of that one.
//!
//! In: a specimen without order, and those that have one by now. Out: one specimen with the story of both, and the
//! laboratory's number; or nothing, where none or several are meant: then it waits. Who looks, and when, is
//! `specimen_watch`'s.

use super::specimens;
use crate::{
    config::Config,
    model::{Bell, Clock, IssuedId, Moment, PartnerId, SpecimenCode, SpecimenId, SpecimenSaid},
    store::{About, Durability, SpecimenEventRow, SpecimenRow, Store, StoreError, Tx},
};
use std::collections::BTreeSet;

pub(super) struct Strays<'a> {
    pub store: &'a Store,
    pub config: &'a Config,
    pub clock: &'a Clock,
    /// Rung when one was found: there is something to tell.
    pub bell: &'a Bell,
}

impl Strays<'_> {
    /// True when it was found.
    pub(super) async fn find_its_order(&self, stray: &SpecimenRow) -> Result<bool, StoreError> {
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
        let Some(meant) = self.meant(&mut tx, &stray, &origins).await? else { return Ok(false) };
        self.merge(&mut tx, &stray, meant, now).await?;
        tx.commit().await?;
        self.bell.ring();
        Ok(true)
    }

    /// The one ordered specimen that goes by a name of this one, with its issuer, and that its teller reads: of origins
    /// that are held. Another's that has come in between is looked at when the stray is looked at again.
    async fn meant(
        &self,
        tx: &mut Tx,
        stray: &SpecimenRow,
        origins: &BTreeSet<PartnerId>,
    ) -> Result<Option<SpecimenId>, StoreError> {
        let mut meant: Vec<SpecimenId> = Vec::new();
        for id in stray.said.ids() {
            for specimen in tx.specimens_with(&id.value).await? {
                let is_new = specimen.ordered && origins.contains(&specimen.origin) && !meant.contains(&specimen.id);
                if is_new && self.is_same(stray, &specimen.said) && reads(tx, stray, &specimen).await? {
                    meant.push(specimen.id);
                }
            }
        }
        Ok(if let [one] = meant.as_slice() { Some(*one) } else { None })
    }

    /// By the same name, and with no other number of the same house. Names of one kind only are compared: the two houses
    /// count apart.
    fn is_same(&self, stray: &SpecimenRow, ordered: &SpecimenSaid) -> bool {
        let said = &stray.said;
        let own = |id: &IssuedId| self.is_own_issuer(stray, &id.issuer);
        let same = |a: &IssuedId, b: &IssuedId| !a.is_empty() && a.value == b.value && (a.issuer == b.issuer || own(a));
        let differ =
            |a: &IssuedId, b: &IssuedId| !a.is_empty() && !b.is_empty() && a.issuer == b.issuer && a.value != b.value;
        let in_one = said.containers.iter().any(|a| ordered.containers.iter().any(|b| same(a, b)));
        let is_same = same(&said.placer, &ordered.placer) || same(&said.filler, &ordered.filler) || in_one;
        is_same && !differ(&said.placer, &ordered.placer) && !differ(&said.filler, &ordered.filler)
    }

    /// Its teller left the issuer out, so that it was taken for its own.
    fn is_own_issuer(&self, stray: &SpecimenRow, issuer: &str) -> bool {
        self.config.partners.get(&stray.origin).is_some_and(|teller| teller.issuer == issuer)
    }

    /// What the laboratory calls the one it had without an order: SPM-2.2, or a number of its own that it gave as SPM-2.1.
    fn number_of_its_teller<'a>(&self, stray: &'a SpecimenRow, ordered: &SpecimenSaid) -> Option<&'a IssuedId> {
        let (placer, filler) = (&stray.said.placer, &stray.said.filler);
        let is_own =
            !placer.is_empty() && placer.value != ordered.placer.value && self.is_own_issuer(stray, &placer.issuer);
        Some(filler).filter(|id| !id.is_empty()).or(Some(placer).filter(|_| is_own))
    }

    /// What was told of the one without order happened to the one that was ordered.
    async fn merge(&self, tx: &mut Tx, stray: &SpecimenRow, into: SpecimenId, now: Moment) -> Result<(), StoreError> {
        let mut meant = tx.specimen(into).await?;
        let mut cases = specimens::cases_of(tx, into).await?;
        for alarm in tx.specimen_alarms_of(About::Specimen(stray.id)).await? {
            specimens::end(tx, &alarm, "its order has come", &mut cases, now).await?;
        }
        if meant.said.filler.is_empty()
            && let Some(number) = self.number_of_its_teller(stray, &meant.said)
        {
            meant.said.filler = number.clone();
            tx.save_specimen(&meant).await?;
        }
        for event in tx.whole_specimen_story(stray.id).await? {
            let told = told_before(event);
            match specimens::take(tx, self.config, &mut meant, &told, now).await? {
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
}

/// As it was told of a specimen without order.
fn told_before(event: SpecimenEventRow) -> specimens::Told {
    let reason = SpecimenCode { code: event.reason_code, text: event.reason, system: event.reason_system };
    specimens::Told {
        event: event.event,
        teller: event.teller,
        who: event.who,
        happened: event.happened.or(Some(event.told)),
        reason,
        shipment: event.shipment,
        due: None,
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
