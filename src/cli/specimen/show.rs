//! `neisse specimen show`: one specimen on one screen.

use super::{Desk, One, issued, number};
use crate::{
    model::{IssuedId, Moment, PartnerId, SpecimenCode},
    store::{SpecimenEventRow, SpecimenRow},
};

impl Desk {
    pub(super) async fn show(&self, one: &One) -> anyhow::Result<()> {
        let specimen = self.find_one(one).await?;
        self.head(&specimen);
        for parent in &specimen.said.parents {
            println!("  taken from {}", issued(parent));
        }
        for child in self.store.specimens_taken_from(&specimen).await? {
            println!("  from it    {}  {}  {}", child.id, child.state, number(&child));
        }
        println!("\nStory (times in {})", self.zone(&specimen.origin));
        for event in self.store.specimen_story(specimen.id).await? {
            println!("{}", self.event(&specimen.origin, &event).await?);
        }
        Ok(())
    }

    fn head(&self, specimen: &SpecimenRow) {
        let said = &specimen.said;
        println!(
            "Specimen {}  {} since {}",
            specimen.id,
            specimen.state,
            self.minute(&specimen.origin, specimen.since)
        );
        println!("  from       {}{}", specimen.origin, if specimen.ordered { "" } else { ", without an order" });
        let line = |label: &str, text: String| {
            if !text.is_empty() {
                println!("  {label:<10} {text}");
            }
        };
        let id = |id: &IssuedId| if id.is_empty() { String::new() } else { issued(id) };
        let codes = |codes: &[SpecimenCode]| codes.iter().map(SpecimenCode::display).collect::<Vec<_>>().join(", ");
        line("number", id(&said.placer));
        line("laboratory", id(&said.filler));
        line("container", said.containers.iter().map(issued).collect::<Vec<_>>().join(", "));
        line("type", said.kind.display().to_owned());
        line("site", said.site.display().to_owned());
        line("handling", codes(&said.handling));
        line("risk", codes(&said.risk));
        line("due", specimen.due.map(|due| self.minute(&specimen.origin, due)).unwrap_or_default());
    }

    async fn event(&self, origin: &PartnerId, event: &SpecimenEventRow) -> anyhow::Result<String> {
        let at = |at: Moment| self.minute(origin, at);
        let mut line = format!("  {}  {:<9}", at(event.happened.unwrap_or(event.told)), event.event.as_str());
        line.push_str(&format!(" told by {} {}", event.teller, at(event.told)));
        if !event.who.is_empty() {
            line.push_str(&format!(", {}", event.who));
        }
        if let Some(shipment) = event.shipment {
            line.push_str(&format!(", shipment {}", self.store.shipment(shipment).await?.name()));
        }
        let reason = [event.reason_code.as_str(), event.reason.as_str()];
        let reason: Vec<&str> = reason.into_iter().filter(|text| !text.is_empty()).collect();
        if !reason.is_empty() {
            line.push_str(&format!(", reason: {}", reason.join(" ")));
        }
        if !event.note.is_empty() {
            line.push_str(&format!(" ({})", event.note));
        }
        Ok(line)
    }
}
