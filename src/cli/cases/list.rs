//! `neisse cases list`.

use super::Desk;
use crate::{
    model::{CaseState, PartnerId},
    store::{CaseSummary, ListFilter},
};

impl Desk {
    pub(super) async fn list(
        &self,
        attention: bool,
        state: Option<CaseState>,
        partner: Option<PartnerId>,
        limit: i64,
    ) -> anyhow::Result<()> {
        let cases = self.store.list_cases(&ListFilter { state, partner, attention, limit }).await?;
        if cases.is_empty() {
            println!("No cases{}.", if attention { " wait for a person" } else { "" });
        } else {
            println!(
                "{:<36}  {:<16}  {:<12}  {:<4}  {:<12}  {:<11}  images",
                "case", "last image", "from", "mod", "reader", "state"
            );
        }
        for summary in &cases {
            println!("{}", self.line(summary));
            if !summary.case.attention.is_empty() {
                println!("    ! {}", summary.case.attention);
            }
        }
        self.held_reports().await?;
        for pause in self.store.pauses().await? {
            println!("\n{} takes nothing by {} since {}: {}", pause.partner, pause.channel, pause.since, pause.reason);
        }
        Ok(())
    }

    fn line(&self, summary: &CaseSummary) -> String {
        let case = &summary.case;
        let reader = match &case.reader {
            Some(reader) if *reader == case.origin => "on site",
            Some(reader) => reader.as_str(),
            None => "-",
        };
        let last = case.last.utc().with_timezone(&self.zone(&case.origin)).format("%Y-%m-%d %H:%M");
        let mut line = format!(
            "{}  {last}  {:<12}  {:<4}  {reader:<12}  {:<11}  {}",
            case.id, case.origin, case.facts.modality, case.state, case.instances
        );
        if summary.open > 0 {
            line.push_str(&format!(", {} on the way", summary.open));
        }
        if summary.stopped > 0 {
            line.push_str(&format!(", {} stopped", summary.stopped));
        }
        if summary.reports > 0 {
            line.push_str(&format!(", {} reports", summary.reports));
        }
        line
    }

    async fn held_reports(&self) -> anyhow::Result<()> {
        for report in self.store.held_reports().await? {
            let at = report.received.utc().with_timezone(&self.zone(&report.sender)).format("%Y-%m-%d %H:%M");
            println!(
                "\nheld report {} ({}, {}) from {} at {at}:",
                report.id, report.source, report.status, report.sender
            );
            println!("    ! {}", report.hold_reason);
        }
        Ok(())
    }

    /// Times are shown in the zone of the partner they are about.
    pub(super) fn zone(&self, partner: &PartnerId) -> chrono_tz::Tz {
        self.config.partners.get(partner).map_or(chrono_tz::UTC, |partner| partner.time_zone)
    }
}
