//! `neisse cases show`: one case on one screen.

use super::Desk;
use crate::{
    model::{CaseId, DeliveryKind, DeliveryState, Disposition, Moment, Outcome, PartnerId},
    store::{CaseRow, DeliveryRow},
};
use std::collections::BTreeMap;

impl Desk {
    pub(super) async fn show(&self, id: CaseId, patient: bool) -> anyhow::Result<()> {
        let case = self.store.case(id).await?;
        self.head(&case, patient);
        self.decision(&case);
        println!("\nStory (times in {})", self.zone(&case.origin));
        for event in self.store.story(id).await? {
            println!("  {}  {:<10} {}", self.wall(&case.origin, event.at), event.actor, event.what);
        }
        self.deliveries(&case, &self.store.ledger(id).await?);
        let reports = self.store.reports(id).await?;
        if !reports.is_empty() {
            println!("\nReports");
        }
        for report in reports {
            let at = self.wall(&case.origin, report.received);
            println!(
                "  {at}  version {} {:<11} {} from {}, by {}",
                report.version, report.status, report.source, report.sender, report.correlated_by
            );
        }
        Ok(())
    }

    fn head(&self, case: &CaseRow, patient: bool) {
        println!("Case {}  {}", case.id, case.state);
        if !case.attention.is_empty() {
            println!("  ! {}", case.attention);
        }
        let facts = &case.facts;
        println!("  from       {} by {} to {}", case.origin, case.calling_ae, case.called_ae);
        println!("  study      {} {}, {} priority", facts.modality, facts.study_date, case.priority);
        println!("  images     {} ({:.1} MB)", case.instances, megabytes(case.bytes));
        if patient {
            println!("  patient    {} {} ({})", facts.patient_name, facts.patient_id.value, facts.patient_id.issuer);
            println!("  accession  {} ({})", facts.accession.value, facts.accession.issuer);
            println!("  study UID  {}", case.study);
            println!("  procedure  {}", facts.description);
        }
    }

    fn decision(&self, case: &CaseRow) {
        let Some(decision) = &case.decision else { return println!("\nNot decided yet") };
        println!("\nDecision of {} (rules {})", self.wall(&case.origin, decision.decided_at), decision.rules_version);
        match &decision.disposition {
            Disposition::Read(reading) => {
                let readers: Vec<&str> = reading.readers.iter().map(PartnerId::as_str).collect();
                println!("  read by {}, {}", readers.join(", then "), reading.reading_mode);
            }
            Disposition::Hold { reason } => println!("  held: {reason}"),
        }
        for reason in &decision.reasons {
            println!("  - {reason}");
        }
    }

    /// Image batches that went well are one line a partner; everything else is a line of its own.
    fn deliveries(&self, case: &CaseRow, ledger: &[DeliveryRow]) {
        if ledger.is_empty() {
            return;
        }
        println!("\nDeliveries");
        let mut arrived: BTreeMap<&PartnerId, (usize, i64, i64, Moment)> = BTreeMap::new();
        for delivery in ledger {
            if delivery.kind == DeliveryKind::Images && delivery.state == DeliveryState::Delivered {
                let entry = arrived.entry(&delivery.partner).or_insert((0, 0, 0, Moment(0)));
                let last = entry.3.max(delivery.finished.unwrap_or(delivery.created));
                *entry = (entry.0 + 1, entry.1 + delivery.items, entry.2 + delivery.attempts, last);
            } else {
                println!("  {}", self.delivery(case, delivery));
            }
        }
        for (partner, (batches, images, attempts, last)) in arrived {
            let at = self.wall(&case.origin, last);
            println!("  {at}  {images} images arrived at {partner} in {batches} batches, {attempts} attempts");
        }
    }

    fn delivery(&self, case: &CaseRow, delivery: &DeliveryRow) -> String {
        let at = delivery.finished.unwrap_or(delivery.next);
        let mut line =
            format!("{}  {} to {}: {}", self.wall(&case.origin, at), delivery.kind, delivery.partner, delivery.state);
        if delivery.kind == DeliveryKind::Images {
            line.push_str(&format!(", images {} to {}", delivery.first_seq, delivery.last_seq));
        } else {
            line.push_str(&format!(", version {}", delivery.version));
        }
        line.push_str(&format!(", {} attempts", delivery.attempts));
        if let Some(
            Outcome::TryAgain { reason, .. } | Outcome::Refused { reason, .. } | Outcome::NotYet { reason, .. },
        ) = &delivery.last_outcome
        {
            line.push_str(&format!(", last: {reason}"));
        }
        for refused in &delivery.refused {
            line.push_str(&format!("; image {} not stored ({})", refused.seq, refused.why()));
        }
        line
    }

    fn wall(&self, partner: &PartnerId, at: Moment) -> String {
        at.utc().with_timezone(&self.zone(partner)).format("%Y-%m-%d %H:%M:%S%.3f").to_string()
    }
}

#[expect(clippy::cast_precision_loss, reason = "one decimal of a size for people")]
fn megabytes(bytes: i64) -> f64 {
    bytes as f64 / 1e6
}
