//! `neisse cases list`.

use super::{Desk, counted};
use crate::{
    model::{CaseState, Moment, PartnerId},
    store::{CaseSummary, ListFilter},
};

/// A deadline this near is pointed out.
const NEAR_MINUTES: u64 = 30;

impl Desk {
    pub(super) async fn list(
        &self,
        attention: bool,
        state: Option<CaseState>,
        partner: Option<PartnerId>,
        limit: i64,
    ) -> anyhow::Result<()> {
        let filtered = state.is_some() || partner.is_some();
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
        if !filtered {
            self.held_reports().await?;
        }
        for pause in self.store.pauses().await? {
            let since = self.minute(&pause.partner, pause.since);
            println!("\n{} takes nothing by {} since {since}: {}", pause.partner, pause.channel, pause.reason);
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
        let mut line = format!(
            "{}  {}  {:<12}  {:<4}  {reader:<12}  {:<11}  {}",
            case.id,
            self.minute(&case.origin, case.last),
            case.origin.as_str(),
            if case.facts.modality.is_empty() { "-" } else { &case.facts.modality },
            case.state.as_str(),
            case.instances
        );
        if summary.open > 0 {
            line.push_str(&format!(", {} on the way", summary.open));
        }
        if summary.stopped > 0 {
            line.push_str(&format!(", {} stopped", summary.stopped));
        }
        if summary.reports > 0 {
            line.push_str(&format!(", {}", counted(summary.reports, "report", "reports")));
        }
        if let Some((_, due)) = case.report_awaited() {
            line.push_str(&format!(", report due {}", self.due(&case.origin, due, super::now())));
        }
        line
    }

    pub(super) fn minute(&self, partner: &PartnerId, at: Moment) -> String {
        at.utc().with_timezone(&self.zone(partner)).format("%Y-%m-%d %H:%M").to_string()
    }

    /// `23:55`, with the day where it is another, and how near it is; on the partner's clock.
    pub(super) fn due(&self, partner: &PartnerId, due: Moment, now: Moment) -> String {
        let local = |at: Moment| at.utc().with_timezone(&self.zone(partner));
        let same_day = local(due).date_naive() == local(now).date_naive();
        let at = local(due).format(if same_day { "%H:%M" } else { "%Y-%m-%d %H:%M" });
        match due.since(now).as_secs().div_ceil(60) {
            0 => format!("{at} (past)"),
            minutes if minutes <= NEAR_MINUTES => format!("{at} (in {minutes} min)"),
            _ => at.to_string(),
        }
    }

    /// Times are shown in the zone of the partner they are about.
    pub(super) fn zone(&self, partner: &PartnerId) -> chrono_tz::Tz {
        self.config.partners.get(partner).map_or(chrono_tz::UTC, |partner| partner.time_zone)
    }
}
