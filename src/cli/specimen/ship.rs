//! `neisse specimen ship` and `print`: specimens that travel together, and the list that travels with them.

use super::{ACTOR, Desk, issued, now};
use crate::{
    config,
    intake::specimens::Told,
    model::{Moment, PartnerId, ShipmentId, SpecimenEvent},
    paper::shipment::{self, MAX_LINES, ShipmentLine, ShipmentList},
    store::{Durability, ShipmentRow, SpecimenRow},
};
use anyhow::{Context, bail};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(Debug, clap::Args)]
pub(super) struct ShipArgs {
    /// Who sends: a partner's id.
    #[arg(long)]
    from: String,
    /// Where they go: a partner's id.
    #[arg(long)]
    to: String,
    /// Numbers, as the labels of specimens or containers say them, or ids here.
    #[arg(long, num_args = 1.., required = true)]
    specimens: Vec<String>,
    /// They should be received after this (90m, 4h, 2d). [specimens] within of the sender, if left out.
    #[arg(long, value_parser = config::duration)]
    due: Option<Duration>,
    /// Write the list to print here.
    #[arg(long)]
    pdf: PathBuf,
    /// Who hands them over. No patient data.
    #[arg(long, default_value = "")]
    by: String,
    /// Who carries them.
    #[arg(long, default_value = "")]
    courier: String,
    /// Put the patients' names on the list. The list travels with the box: left out otherwise.
    #[arg(long)]
    with_names: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct PrintArgs {
    /// The shipment, as its list says it (RABENSTEIN-000017).
    shipment: String,
    /// Write the list to print here.
    #[arg(long)]
    pdf: PathBuf,
    /// Put the patients' names on the list. The list travels with the box: left out otherwise.
    #[arg(long)]
    with_names: bool,
}

impl Desk {
    pub(super) async fn ship(&self, args: &ShipArgs) -> anyhow::Result<()> {
        let (from, to) = (self.partner(Some(&args.from))?, self.partner(Some(&args.to))?);
        let (from, to) = from.zip(to).context("a shipment goes from one partner to another")?;
        let specimens = self.to_ship(&from, &args.specimens).await?;
        let within = self.config.partners.get(&from).map(|partner| partner.specimens.within);
        let made = now();
        let due = made + args.due.or(within).unwrap_or(Duration::from_secs(24 * 3600));
        let mut shipment = ShipmentRow {
            id: ShipmentId::generate(),
            from: from.clone(),
            number: 0,
            to,
            made,
            made_by: args.by.clone(),
            courier: args.courier.clone(),
            due,
        };
        let mut tx = self.store.begin(Durability::Synced).await?;
        tx.hold_origin(&from).await?;
        let ids: Vec<_> = specimens.iter().map(|specimen| specimen.id).collect();
        shipment.number = tx.add_shipment(&shipment, &ids).await?;
        let told = Told {
            who: args.by.clone(),
            shipment: Some(shipment.id),
            due: Some(due),
            ..Told::new(SpecimenEvent::Shipped, ACTOR, Some(made))
        };
        self.take_all(&mut tx, &specimens, &told).await?;
        tx.commit().await?;
        println!("Shipment {}: expected by {} ({})", shipment.name(), self.minute(&from, due), self.zone(&from));
        self.write_list(&shipment, &args.pdf, args.with_names).await.with_context(|| {
            let name = shipment.name();
            format!("the shipment is made; its list is not: neisse specimen print {name} --pdf FILE prints it")
        })
    }

    /// Known, of this partner, each once.
    async fn to_ship(&self, from: &PartnerId, numbers: &[String]) -> anyhow::Result<Vec<SpecimenRow>> {
        let mut specimens: Vec<SpecimenRow> = Vec::new();
        for number in numbers {
            let found = self.find(number, Some(from)).await?;
            if found.is_empty() {
                bail!(
                    "no specimen of {from} goes by {number}: it needs an order, or `neisse specimen collected {number} --partner {from}`"
                );
            }
            for specimen in found {
                if specimen.origin != *from {
                    bail!("{number} is a specimen of {}, not of {from}", specimen.origin);
                }
                if !specimens.iter().any(|known| known.id == specimen.id) {
                    specimens.push(specimen);
                }
            }
        }
        if specimens.len() > MAX_LINES {
            bail!("{} specimens: a shipment has at most {MAX_LINES}", specimens.len());
        }
        Ok(specimens)
    }

    pub(super) async fn print(&self, args: &PrintArgs) -> anyhow::Result<()> {
        let shipment = self.shipment(&args.shipment).await?;
        self.write_list(&shipment, &args.pdf, args.with_names).await
    }

    async fn write_list(&self, shipment: &ShipmentRow, file: &Path, with_names: bool) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for id in self.store.specimens_of_shipment(shipment.id).await? {
            let specimen = self.store.specimen(id).await?;
            let patient = if with_names { self.patient(&specimen).await? } else { None };
            lines.push(line(&specimen, patient));
        }
        let pdf = shipment::pdf(&self.list_of(shipment, lines))?;
        std::fs::write(file, pdf).with_context(|| format!("writing {}", file.display()))?;
        println!("List to print: {}", file.display());
        Ok(())
    }

    fn list_of(&self, shipment: &ShipmentRow, lines: Vec<ShipmentLine>) -> ShipmentList {
        let partner = |id: &PartnerId| self.config.partners.get(id);
        let name = |id: &PartnerId| partner(id).map_or_else(|| id.to_string(), |partner| partner.name.clone());
        let zone = self.zone(&shipment.from);
        let local = |at: Moment| at.utc().with_timezone(&zone).format("%Y-%m-%d %H:%M %Z").to_string();
        ShipmentList {
            number: shipment.name(),
            from: name(&shipment.from),
            to: name(&shipment.to),
            courier: shipment.courier.clone(),
            made: local(shipment.made),
            due: local(shipment.due),
            language: partner(&shipment.from).map(|partner| partner.language.clone()).unwrap_or_default(),
            lines,
        }
    }

    /// Who it was taken from, as one of its cases says.
    async fn patient(&self, specimen: &SpecimenRow) -> anyhow::Result<Option<String>> {
        let mut tx = self.store.begin(Durability::Process).await?;
        let Some(case) = tx.cases_of_specimen(specimen.id).await?.into_iter().next() else { return Ok(None) };
        let facts = tx.case_as_it_is(case).await?.facts;
        let name = facts.patient_name.replace('^', " ");
        let text = [name.trim(), facts.birth_date.trim()].join(" ");
        Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
    }
}

fn line(specimen: &SpecimenRow, patient: Option<String>) -> ShipmentLine {
    let said = &specimen.said;
    let id = said.id().cloned().unwrap_or_default();
    ShipmentLine {
        containers: said.containers.iter().filter(|one| **one != id).map(issued).collect::<Vec<_>>().join(", "),
        number: id.value,
        issuer: id.issuer,
        kind: said.kind.display().to_owned(),
        patient,
    }
}
