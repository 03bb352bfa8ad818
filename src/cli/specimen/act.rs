//! `neisse specimen collected`, `shipped`, `received`, …: what a person tells, taken as a message would be; and `seen`.

use super::{ACTOR, Desk, EventArgs, now, number};
use crate::{
    intake::specimens::{self, Taken, Told},
    model::{IssuedId, OrderId, PartnerId, SpecimenCode, SpecimenEvent, SpecimenSaid, specimen_event::reject_reason},
    store::{About, Durability, ShipmentRow, SpecimenRow, Tx},
};
use anyhow::{Context, bail};
use std::collections::BTreeSet;

/// Specimens told of in one command.
const MOST: usize = 1000;

impl Desk {
    pub(super) async fn tell(&self, event: SpecimenEvent, args: &EventArgs) -> anyhow::Result<()> {
        if event == SpecimenEvent::Rejected && args.reason.as_deref().is_none_or(str::is_empty) {
            bail!("a rejection needs its --reason: the hospital has to know what to do better");
        }
        let partner = self.partner(args.partner.as_deref())?;
        let shipment = match &args.shipment {
            Some(name) => Some(self.shipment(name).await?),
            None => None,
        };
        let (known, unknown) = self.named(args, partner.as_ref(), shipment.as_ref()).await?;
        let teller = known.first().map(|specimen| &specimen.origin).or(partner.as_ref());
        let teller = teller.context("no specimens: name them, or their shipment with --shipment")?;
        let happened = self.moment(args.at.as_deref(), teller)?;
        let told = Told {
            who: args.by.clone(),
            reason: args.reason.as_deref().map(reason).unwrap_or_default(),
            shipment: shipment.as_ref().map(|shipment| shipment.id),
            ..Told::new(event, ACTOR, Some(happened))
        };
        let mut tx = self.store.begin(Durability::Synced).await?;
        let origins: BTreeSet<&PartnerId> = known.iter().map(|specimen| &specimen.origin).chain(&partner).collect();
        for origin in origins {
            tx.hold_origin(origin).await?;
        }
        let mut specimens = known;
        for id in unknown {
            let Some(partner) = &partner else { continue };
            let said = self.unheard_of(partner, id);
            specimens.push(tx.save_said(partner, &said, now()).await?);
        }
        let taken = self.take_all(&mut tx, &specimens, &told).await?;
        tx.commit().await?;
        for reason in taken.raised() {
            println!("! {reason}");
        }
        Ok(())
    }

    /// Those that are known, and the numbers of those that are not.
    async fn named<'a>(
        &self,
        args: &'a EventArgs,
        partner: Option<&PartnerId>,
        shipment: Option<&ShipmentRow>,
    ) -> anyhow::Result<(Vec<SpecimenRow>, Vec<&'a str>)> {
        let (mut known, mut unknown): (Vec<SpecimenRow>, Vec<&str>) = Default::default();
        if args.ids.is_empty()
            && let Some(shipment) = shipment
        {
            for id in self.store.specimens_of_shipment(shipment.id).await? {
                known.push(self.store.specimen(id).await?);
            }
        }
        for id in &args.ids {
            let found = self.find(id, partner.or(shipment.map(|shipment| &shipment.from))).await?;
            if found.is_empty() {
                if partner.is_none() {
                    bail!("no specimen goes by {id}; if it lies there without an order, say where with --partner");
                }
                unknown.push(id);
            }
            known.extend(found);
        }
        if known.len() + unknown.len() > MOST {
            bail!("more than {MOST} specimens in one command");
        }
        Ok((known, unknown))
    }

    fn unheard_of(&self, partner: &PartnerId, number: &str) -> SpecimenSaid {
        let issuer = self.config.partners.get(partner).map(|partner| partner.issuer.as_str()).unwrap_or_default();
        let number: String = number.chars().filter(|c| !c.is_control()).take(199).collect();
        let mut said = SpecimenSaid { placer: IssuedId::new(number, ""), ..SpecimenSaid::default() };
        // Whose number stands on the tube nobody has said.
        said.issued_by(issuer);
        said
    }

    /// All or none: what contradicts what is known stops the whole command.
    pub(super) async fn take_all(&self, tx: &mut Tx, specimens: &[SpecimenRow], told: &Told) -> anyhow::Result<Taken> {
        let mut taken = Taken::default();
        for specimen in specimens {
            let mut held = tx.specimen(specimen.id).await?;
            let more = specimens::take(tx, &self.config, &mut held, told, now()).await?.with_context(|| {
                format!("{} cannot be told as {}: nothing was changed", number(specimen), told.event)
            })?;
            let news = if more.count() == 0 { ", as was known" } else { "" };
            let order = if held.ordered { "" } else { "; without an order" };
            println!("{}  {}{news}{order}", number(&held), held.state);
            taken.add(more);
        }
        Ok(taken)
    }

    /// By what its list says.
    pub(super) async fn shipment(&self, name: &str) -> anyhow::Result<ShipmentRow> {
        let expected = "expected a shipment as its list says it, such as RABENSTEIN-000017";
        let (from, count) = name.trim().rsplit_once('-').with_context(|| format!("{name}: {expected}"))?;
        let from = PartnerId::new(&from.to_lowercase()).with_context(|| format!("{name}: {expected}"))?;
        let count: i64 = count.parse().with_context(|| format!("{name}: {expected}"))?;
        self.store.shipment_named(&from, count).await?.with_context(|| format!("there is no shipment {name}"))
    }

    /// Someone has looked at what waited.
    pub(super) async fn seen(&self, id: &str, why: &str, partner: Option<&str>) -> anyhow::Result<()> {
        let partner = self.partner(partner)?;
        let about = match id.parse::<OrderId>() {
            Ok(order) if self.store.specimen(crate::model::SpecimenId(order.0)).await.is_err() => {
                vec![About::Order(order)]
            }
            _ => self.find(id, partner.as_ref()).await?.iter().map(|found| About::Specimen(found.id)).collect(),
        };
        let mut tx = self.store.begin(Durability::Synced).await?;
        let mut ended = 0;
        for about in about {
            ended += specimens::seen(&mut tx, about, why, now()).await?;
        }
        if ended == 0 {
            bail!("{id} waits for nobody");
        }
        tx.commit().await?;
        println!("{id} no longer waits for a person.");
        Ok(())
    }
}

/// A code of table 0490, or words.
fn reason(text: &str) -> SpecimenCode {
    let (code, system) = (text.trim().to_ascii_uppercase(), "HL70490".to_owned());
    match reject_reason(&code) {
        Some(name) => SpecimenCode { code, text: name.to_owned(), system },
        None => SpecimenCode { text: text.trim().to_owned(), ..SpecimenCode::default() },
    }
}
