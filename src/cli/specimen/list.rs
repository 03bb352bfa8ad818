//! `neisse specimen list`.

use super::{Desk, number};
use crate::model::PartnerId;

impl Desk {
    pub(super) async fn list(&self, partner: Option<PartnerId>, limit: i64) -> anyhow::Result<()> {
        let specimens = self.store.list_specimens(partner.as_ref(), limit).await?;
        if specimens.is_empty() {
            println!("No specimens.");
            return Ok(());
        }
        println!("{:<36}  {:<16}  {:<16}  {:<9}  number", "id", "since", "from", "state");
        for specimen in &specimens {
            let order = if specimen.ordered { "" } else { ", without an order" };
            println!(
                "{}  {}  {:<16}  {:<9}  {}{order}",
                specimen.id,
                self.minute(&specimen.origin, specimen.since),
                specimen.origin.as_str(),
                specimen.state.as_str(),
                number(specimen)
            );
        }
        Ok(())
    }

    /// What waits for a person, oldest first.
    pub(super) async fn late(&self, partner: Option<PartnerId>, limit: i64) -> anyhow::Result<()> {
        let mut alarms = self.store.specimen_alarms(limit).await?;
        alarms.retain(|alarm| partner.as_ref().is_none_or(|partner| alarm.partner == *partner));
        if alarms.is_empty() {
            println!("No specimen waits for a person.");
        }
        for alarm in alarms {
            let since = self.minute(&alarm.partner, alarm.raised);
            println!("{since}  {:<16}  {:<12}  {}", alarm.partner.as_str(), alarm.kind.to_string(), alarm.reason);
            if let Some(id) = alarm.specimen {
                let specimen = self.store.specimen(id).await?;
                println!(
                    "    number {}, {} since {}",
                    number(&specimen),
                    specimen.state,
                    self.minute(&specimen.origin, specimen.since)
                );
            }
            if let Some(case) = alarm.case {
                println!("    case {case}");
            }
        }
        Ok(())
    }
}
