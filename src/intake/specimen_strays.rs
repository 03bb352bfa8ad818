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
                if is_new
                    && is_same(&stray.said, &specimen.said, self.issuer_of(stray))
                    && reads(tx, stray, &specimen).await?
                {
                    meant.push(specimen.id);
                }
            }
        }
        Ok(if let [one] = meant.as_slice() { Some(*one) } else { None })
    }

    /// What its teller's own numbers are issued by.
    fn issuer_of(&self, stray: &SpecimenRow) -> &str {
        self.config.partners.get(&stray.origin).map_or("", |teller| teller.issuer.as_str())
    }

    /// What was told of the one without order happened to the one that was ordered.
    async fn merge(&self, tx: &mut Tx, stray: &SpecimenRow, into: SpecimenId, now: Moment) -> Result<(), StoreError> {
        let mut meant = tx.specimen(into).await?;
        let mut cases = specimens::cases_of(tx, into).await?;
        for alarm in tx.specimen_alarms_of(About::Specimen(stray.id)).await? {
            specimens::end(tx, &alarm, "its order has come", &mut cases, now).await?;
        }
        if meant.said.filler.is_empty()
            && let Some(number) = number_of_its_teller(&stray.said, &meant.said, self.issuer_of(stray))
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

/// By the same name, and with no other number of the same house. Names of one kind only are compared: the two houses count
/// apart. A name that came without its issuer may be either house's; one that came with it is that house's alone.
fn is_same(stray: &SpecimenSaid, ordered: &SpecimenSaid, of_teller: &str) -> bool {
    // The hospital that leaves out the issuer of the laboratory's number means the laboratory.
    let mut filler = ordered.filler.clone();
    if ordered.bare.filler {
        of_teller.clone_into(&mut filler.issuer);
    }
    let same = |a: &IssuedId, is_bare: bool, b: &IssuedId| {
        !a.is_empty() && a.value == b.value && (is_bare || a.issuer == b.issuer)
    };
    let differ =
        |a: &IssuedId, b: &IssuedId| !a.is_empty() && !b.is_empty() && a.issuer == b.issuer && a.value != b.value;
    let in_one = stray.containers.iter().any(|container| {
        let is_bare = stray.bare.containers.contains(container);
        ordered.containers.iter().any(|known| same(container, is_bare, known))
    });
    let is_same = same(&stray.placer, stray.bare.placer, &ordered.placer)
        || same(&stray.filler, stray.bare.filler, &filler)
        || in_one;
    is_same && !differ(&stray.placer, &ordered.placer) && !differ(&stray.filler, &filler)
}

/// What the laboratory calls the one it had without an order: SPM-2.2, or a number of its own that it gave as SPM-2.1.
fn number_of_its_teller<'a>(stray: &'a SpecimenSaid, ordered: &SpecimenSaid, of_teller: &str) -> Option<&'a IssuedId> {
    let placer = &stray.placer;
    let is_the_hospitals = stray.bare.placer && placer.value == ordered.placer.value;
    let is_own = !placer.is_empty() && placer.issuer == of_teller && !is_the_hospitals;
    Some(&stray.filler).filter(|id| !id.is_empty()).or(Some(placer).filter(|_| is_own))
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

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: &str = "CHEMNITZ";

    fn id(value: &str, issuer: &str) -> IssuedId {
        IssuedId::new(value, issuer)
    }

    /// As `teller` says it.
    fn said(teller: &str, placer: IssuedId, filler: IssuedId, container: IssuedId) -> SpecimenSaid {
        let containers = Some(container).filter(|id| !id.is_empty()).into_iter().collect();
        let mut said = SpecimenSaid { placer, filler, containers, ..SpecimenSaid::default() };
        said.issued_by(teller);
        said
    }

    #[test]
    fn only_a_number_without_an_issuer_may_be_the_other_house_s() {
        let none = IssuedId::default;
        let placer = |issuer: &str| said(LAB, id("1001", issuer), none(), none());
        let filler = |issuer: &str| said(LAB, none(), id("E1", issuer), none());
        let container = |issuer: &str| said(LAB, none(), none(), id("C1", issuer));
        let ordered = |issuer: &str, of_filler: &str| {
            said("RABENSTEIN", id("1001", issuer), id("E1", of_filler), id("C1", issuer))
        };
        for (stray, joins) in [
            (placer(""), true),
            (placer("RABENSTEIN"), true),
            (placer(LAB), false),
            (container(""), true),
            (container("RABENSTEIN"), true),
            (container(LAB), false),
        ] {
            for order in [ordered("", LAB), ordered("RABENSTEIN", LAB)] {
                assert_eq!(is_same(&stray, &order, LAB), joins, "{stray:?}");
            }
        }
        for (stray, order, joins) in [
            (filler(""), ordered("", LAB), true),
            (filler(LAB), ordered("", LAB), true),
            (filler(""), ordered("", "RABENSTEIN"), true),
            // The hospital has no numbers of the laboratory's kind: what it leaves out is the laboratory.
            (filler(LAB), ordered("", ""), true),
            (filler(LAB), ordered("", "RABENSTEIN"), false),
        ] {
            assert_eq!(is_same(&stray, &order, LAB), joins, "{stray:?} {order:?}");
        }
    }

    #[test]
    fn another_number_of_the_same_house_is_another_specimen() {
        let pot = || id("C1", "RABENSTEIN");
        let ordered = said("RABENSTEIN", id("1001", ""), id("E1", ""), pot());
        let of_hospital = said(LAB, id("1002", "RABENSTEIN"), IssuedId::default(), pot());
        let of_laboratory = said(LAB, IssuedId::default(), id("E2", ""), pot());
        assert!(!is_same(&of_hospital, &ordered, LAB) && !is_same(&of_laboratory, &ordered, LAB));
        assert!(is_same(&said(LAB, id("9", LAB), IssuedId::default(), pot()), &ordered, LAB), "it counts apart");
    }

    #[test]
    fn the_laboratory_s_number_is_its_second_or_one_that_is_not_the_hospital_s() {
        let ordered = said("RABENSTEIN", id("1001", ""), IssuedId::default(), id("C1", ""));
        let number = |placer: IssuedId, filler: IssuedId| {
            number_of_its_teller(&said(LAB, placer, filler, IssuedId::default()), &ordered, LAB).cloned()
        };
        assert_eq!(number(id("1001", ""), id("E1", "")), Some(id("E1", LAB)));
        assert_eq!(number(id("1001", ""), IssuedId::default()), None);
        assert_eq!(number(id("1002", ""), IssuedId::default()), Some(id("1002", LAB)));
        assert_eq!(number(id("1001", LAB), IssuedId::default()), Some(id("1001", LAB)), "equal by chance");
        assert_eq!(number(id("1001", "RABENSTEIN"), IssuedId::default()), None);
    }
}
