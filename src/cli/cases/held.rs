//! Held reports: listed, and what a person decides about one: `neisse cases attach`, `dismiss`. What could not be told to a hospital's
//! own system (MPPS) is dismissed in the same way.

use super::{Desk, counted, now};
use crate::{
    model::{CaseId, ReportId},
    results::{attach::attach, settle::Joined},
    store::Durability,
};
use anyhow::bail;

impl Desk {
    pub(super) async fn held_reports(&self) -> anyhow::Result<()> {
        let held = self.store.held_reports().await?;
        if held.is_empty() {
            return Ok(());
        }
        let all = self.store.count_held_reports().await?;
        let shown = i64::try_from(held.len()).unwrap_or(i64::MAX);
        let newest = if all > shown { format!(" (the newest {shown} are shown)") } else { String::new() };
        println!("\n{} of no known case{newest}. Nobody has got them:", counted(all, "report", "reports"));
        println!("neisse cases attach REPORT CASE --why \"…\"; or have it sent again with the identifiers of the");
        println!("hospital that asked, then neisse cases dismiss REPORT --why \"…\"");
        for report in held {
            let at = self.minute(&report.sender, report.received);
            println!("{}  {at}  {:<12}  {} {}", report.id, report.sender.as_str(), report.source, report.status);
            println!("    ! {}", report.hold_reason);
        }
        Ok(())
    }

    pub(super) async fn attach(&self, report: ReportId, case: CaseId, why: &str) -> anyhow::Result<()> {
        let attached = attach(&self.store, &self.config, report, case, why, now()).await?;
        if let Joined::To { version, forms, .. } = attached.joined {
            let forms = counted(forms as u64, "form", "forms");
            println!("Report {report} is version {version} of case {case}; {forms} owed to its origin.");
        }
        if attached.is_of_another_patient {
            println!(
                "! It names another patient identifier than the case. If that is an error, call the hospital now."
            );
        }
        Ok(())
    }

    pub(super) async fn dismiss(&self, report: ReportId, why: &str) -> anyhow::Result<()> {
        let mut tx = self.store.begin(Durability::Synced).await?;
        if !tx.dismiss_report(report, why, now()).await? {
            // Notices give the same kind of id to what a partner's system was not told.
            let id = report.to_string();
            let is_told =
                tx.dismiss_performed(&id, why, now()).await? || tx.dismiss_order_answer(&id, why, now()).await?;
            if !is_told {
                bail!("report {report} is not held: it does not exist, or somebody has attached or dismissed it");
            }
            tx.commit().await?;
            println!("What was not told ({report}) no longer waits for a person.");
            return Ok(());
        }
        tx.commit().await?;
        println!("Report {report} no longer waits for a person. It is kept.");
        Ok(())
    }
}
