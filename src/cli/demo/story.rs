//! What happened, when and why: the table at the end of the demonstration.

use crate::{
    hl7::message::Message,
    model::{Moment, PartnerId, Uid},
    startup::Running,
};
use anyhow::Context;
use bytes::Bytes;
use chrono_tz::Europe::Berlin;
use std::time::Duration;

/// `Sunday 22 November, 23:10`.
pub fn wall(at: Moment) -> String {
    at.utc().with_timezone(&Berlin).format("%A %-d %B, %H:%M").to_string()
}

/// Prints the case's story and the report that came back.
pub async fn print(running: &Running, origin: &PartnerId, study: &Uid, report: &Bytes) -> anyhow::Result<()> {
    settled(running, origin, study).await?;
    let case = running.store.find_case(origin, study).await?.context("the case is not in the store")?;
    println!("What happened to case {}\n", case.id);
    println!("  {:<13} {:<10} what", "when", "by");
    for event in running.store.story(case.id).await? {
        let at = event.at.utc().with_timezone(&Berlin).format("%H:%M:%S%.3f");
        println!("  {at:<13} {:<10} {}", event.actor, event.what);
    }
    let deliveries = running.store.ledger(case.id).await?;
    let attempts: i64 = deliveries.iter().map(|delivery| delivery.attempts).sum();
    let first = deliveries.iter().filter_map(|delivery| delivery.finished).min();
    println!("\n  {} deliveries in {attempts} attempts;", deliveries.len());
    if let Some(first) = first {
        println!(
            "  the first slices were at the center {} ms after the first one came in.",
            first.since(case.first).as_millis()
        );
    }
    println!("\nThe report as rabenstein got it (ISO 8859-1 on the wire):\n");
    print_message(report);
    Ok(())
}

/// The last outcome is written a moment after the last byte has arrived.
async fn settled(running: &Running, origin: &PartnerId, study: &Uid) -> anyhow::Result<()> {
    // Half a minute: a machine that is doing other things is a normal one.
    for _ in 0..600 {
        if let Some(case) = running.store.find_case(origin, study).await? {
            let ledger = running.store.ledger(case.id).await?;
            if ledger.iter().all(|delivery| delivery.finished.is_some()) && case.whole.is_some() {
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn print_message(report: &Bytes) {
    let Ok(message) = Message::parse(report) else { return };
    for segment in message.segments() {
        // Latin-1 is the first 256 of Unicode.
        let line: String = segment.raw().iter().map(|byte| char::from(*byte)).collect();
        let cut: String = line.chars().take(96).collect();
        println!("  {cut}{}", if cut.len() < line.len() { "…" } else { "" });
    }
}
