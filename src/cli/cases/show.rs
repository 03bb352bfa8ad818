//! `neisse cases show`: one case on one screen.

use super::{Desk, counted, size};
use crate::{
    model::{CaseId, DeliveryKind, DeliveryState, Disposition, Moment, Outcome, PartnerId},
    store::{CaseRow, DeliveryRow},
};
use std::collections::BTreeMap;

impl Desk {
    pub(super) async fn show(&self, id: CaseId, patient: bool) -> anyhow::Result<()> {
        let case = self.store.case(id).await?;
        self.head(&case, patient);
        self.told(&case).await?;
        self.decision(&case);
        let orders = self.store.orders_of_case(id).await?;
        if !orders.is_empty() {
            println!("\nOrders");
        }
        for order in orders {
            let at = self.wall(&case.origin, order.joined);
            println!("  {at}  {}  {}, joined by {}", order.id, order.state, order.joined_by);
        }
        let specimens = self.store.specimens_of_case(id).await?;
        if !specimens.is_empty() {
            println!("\nSpecimens");
        }
        for specimen in specimens {
            println!("  {}  {:<9}  {}", self.wall(&case.origin, specimen.since), specimen.state.as_str(), specimen.id);
        }
        println!("\nStory (times in {})", self.zone(&case.origin));
        for event in self.store.story(id).await? {
            println!("  {}  {:<10} {}", self.wall(&case.origin, event.at), event.actor, event.what);
        }
        self.deliveries(&case, &self.store.ledger(id).await?);
        for sent in self.store.sent_under(id).await? {
            let images = counted(sent.instances, "image", "images");
            let identifiers = counted(sent.identifiers, "identifier", "identifiers");
            println!("  {images} sent to {} with {identifiers} of its own domain", sent.partner);
        }
        let reports = self.store.reports(id).await?;
        if !reports.is_empty() {
            println!("\nReports");
        }
        let critical = self.store.critical_results(id).await?;
        for report in reports {
            let at = self.wall(&case.origin, report.received);
            println!(
                "  {at}  version {} {:<11} {} from {}, by {}",
                report.version, report.status, report.source, report.sender, report.correlated_by
            );
            for critical in critical.iter().filter(|critical| critical.report == report.id) {
                self.critical(&case, critical);
            }
        }
        Ok(())
    }

    fn head(&self, case: &CaseRow, patient: bool) {
        println!("Case {}  {}", case.id, case.state);
        if !case.attention.is_empty() {
            println!("  ! {}", case.attention);
        }
        let facts = &case.facts;
        if case.calling_ae.is_empty() {
            println!("  from       {}", case.origin);
        } else {
            println!("  from       {} by {} to {}", case.origin, case.calling_ae, case.called_ae);
        }
        if case.has_study {
            println!("  study      {} of {}, {} priority", facts.modality, date(&facts.study_date), case.priority);
        } else {
            println!("  order      {}, no study yet, {} priority", case.discipline, case.priority);
        }
        println!("  images     {} ({})", case.instances, size(case.bytes));
        if let Some((reader, due)) = case.report_awaited() {
            let at = self.due(&case.origin, due, super::now());
            println!("  report     due from {reader} by {at} in {}", self.zone(&case.origin));
        }
        if patient {
            println!("  patient    {} {} ({})", facts.patient_name, facts.patient_id.value, facts.patient_id.issuer);
            println!("  accession  {} ({})", facts.accession.value, facts.accession.issuer);
            if case.has_study {
                println!("  study UID  {}", case.study);
            }
            println!("  procedure  {}", facts.description);
        }
    }

    /// Who has been told that it waits, for whoever asks later.
    async fn told(&self, case: &CaseRow) -> anyhow::Result<()> {
        for told in self.store.notices_told(&case.id.to_string()).await? {
            let (at, times) = (self.wall(&case.origin, Moment(told.told_us)), counted(told.times, "time", "times"));
            let still = if told.open == 1 { "" } else { ", no longer needed" };
            println!("  told       by {} {at}, {times}{still}", told.channel);
        }
        Ok(())
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

    /// In order of time. Image batches that went well are one line a partner; everything else is a line of its own.
    fn deliveries(&self, case: &CaseRow, ledger: &[DeliveryRow]) {
        if ledger.is_empty() {
            return;
        }
        let mut lines: Vec<(Moment, String)> = Vec::new();
        let mut arrived: BTreeMap<&PartnerId, (usize, i64, i64, Moment)> = BTreeMap::new();
        for delivery in ledger {
            let at = delivery.finished.unwrap_or(delivery.next);
            if delivery.kind == DeliveryKind::Images && delivery.state == DeliveryState::Delivered {
                let entry = arrived.entry(&delivery.partner).or_insert((0, 0, 0, Moment(0)));
                *entry = (entry.0 + 1, entry.1 + delivery.items, entry.2 + delivery.attempts, entry.3.max(at));
            } else {
                lines.push((at, self.delivery(delivery)));
            }
        }
        for (partner, (batches, images, attempts, last)) in arrived {
            let (images, attempts) = (counted(images, "image", "images"), counted(attempts, "attempt", "attempts"));
            let batches = counted(batches as u64, "batch", "batches");
            lines.push((last, format!("{images} arrived at {partner} in {batches}, {attempts}")));
        }
        lines.sort();
        println!("\nDeliveries");
        for (at, line) in lines {
            println!("  {}  {line}", self.wall(&case.origin, at));
        }
    }

    fn delivery(&self, delivery: &DeliveryRow) -> String {
        let mut line = format!("{} to {}: {}", delivery.kind, delivery.partner, delivery.state);
        if delivery.kind == DeliveryKind::Images {
            line.push_str(&format!(", images {} to {}", delivery.first_seq, delivery.last_seq));
        } else {
            line.push_str(&format!(", version {}", delivery.version));
        }
        line.push_str(&format!(", {}", counted(delivery.attempts, "attempt", "attempts")));
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

    pub(super) fn wall(&self, partner: &PartnerId, at: Moment) -> String {
        at.utc().with_timezone(&self.zone(partner)).format("%Y-%m-%d %H:%M:%S%.3f").to_string()
    }
}

/// `YYYYMMDD` as people write it; what is no date as it stands.
fn date(text: &str) -> String {
    match (text.get(..4), text.get(4..6), text.get(6..8)) {
        (Some(year), Some(month), Some(day)) if text.len() == 8 => format!("{year}-{month}-{day}"),
        _ if text.is_empty() => "an unknown day".to_owned(),
        _ => text.to_owned(),
    }
}
