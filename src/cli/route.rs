//! `neisse route`: who would read this case, and why? Each rule in turn, the reader, until when, and what happens when
//! nobody claims it.
//!
//! In: a configuration folder and the facts of an imagined case. Out: text. Decides by the same code as the router,
//! stores nothing and sends nothing.

use super::check::{problem_list, wrapped};
use crate::config::{self, Config, Partner};
use crate::model::{Clock, Decision, Discipline, Disposition, Moment, PartnerId, Priority, Reading};
use crate::routing::calendar::civil;
use crate::routing::decide::{CaseFacts, Rules, decide, joined, wall};
use crate::routing::readers::shares;
use anyhow::{Context as _, anyhow, bail};
use chrono::{DateTime, LocalResult, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const AFTER: &str = "Exit status: 0 somebody reads it; 2 it would be held for a person; 1 the configuration or the \
question is wrong.";

/// Explain who would read a case, and why.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct RouteArgs {
    /// The partner that sends it.
    #[arg(long, value_name = "PARTNER")]
    pub from: String,
    /// Modality (0008,0060) such as CT; leave out for an order without images.
    #[arg(long, default_value = "")]
    pub modality: String,
    /// routine, urgent or stat.
    #[arg(long, default_value = "routine", value_parser = priority)]
    pub priority: Priority,
    /// When, such as 2026-12-24T23:10 on the sender's clock, or with an offset: 2026-12-24T22:10:00Z. Now, if left out.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Body Part Examined (0018,0015).
    #[arg(long, default_value = "")]
    pub body_part: String,
    /// Study Description (0008,1030).
    #[arg(long, default_value = "")]
    pub description: String,
    /// AE title of the scanner or PACS.
    #[arg(long, default_value = "")]
    pub calling_ae: String,
    /// AE title it calls; the node's own, if left out.
    #[arg(long)]
    pub called_ae: Option<String>,
    /// The patient's age in years.
    #[arg(long)]
    pub age: Option<u32>,
    /// radiology or pathology; by the modality, if left out.
    #[arg(long, value_parser = discipline)]
    pub discipline: Option<Discipline>,
    /// The configuration folder.
    #[arg(long, default_value = "config", env = "NEISSE_CONFIG", value_name = "FOLDER")]
    pub config: PathBuf,
}

fn priority(text: &str) -> Result<Priority, String> {
    let found = Priority::ALL.into_iter().find(|priority| priority.to_string() == text);
    found.ok_or_else(|| "expected routine, urgent or stat".to_owned())
}

fn discipline(text: &str) -> Result<Discipline, String> {
    let found = Discipline::ALL.into_iter().find(|discipline| discipline.to_string() == text);
    found.ok_or_else(|| "expected radiology or pathology".to_owned())
}

/// # Errors
/// When the partner is not known or the time cannot be read.
pub fn run(args: &RouteArgs) -> anyhow::Result<ExitCode> {
    let config = match config::load(&args.config) {
        Ok(config) => config,
        Err(problems) => {
            print!("{}", problem_list(&problems));
            return Ok(ExitCode::from(1));
        }
    };
    let rules = Rules::compile(&config).context("the rules cannot be compiled")?;
    let sender = sender(&config, &args.from)?;
    let (now, note) = match &args.at {
        Some(text) => instant(text, sender.time_zone)?,
        None => (Clock::system().now(), None),
    };
    let facts = facts(args, &config, sender);
    let decision = decide(&facts, &rules, now);
    print!("{}", explain(&config, &rules, sender, &facts, now, &decision));
    if let Some(note) = note {
        print!("\n{}", wrapped(note, 0));
    }
    Ok(ExitCode::from(match decision.disposition {
        Disposition::Read(_) => 0,
        Disposition::Hold { .. } => 2,
    }))
}

fn sender<'c>(config: &'c Config, id: &str) -> anyhow::Result<&'c Partner> {
    let known = || config.partners.keys().map(PartnerId::as_str).collect::<Vec<_>>().join(", ");
    let found = PartnerId::new(id).ok().and_then(|id| config.partners.get(&id));
    found.ok_or_else(|| anyhow!("\"{id}\" is not a partner; expected one of {}", known()))
}

fn facts(args: &RouteArgs, config: &Config, sender: &Partner) -> CaseFacts {
    CaseFacts {
        origin: sender.id.clone(),
        discipline: args.discipline.unwrap_or_else(|| Discipline::of_modality(&args.modality)),
        modality: args.modality.clone(),
        priority: args.priority,
        body_part: args.body_part.clone(),
        description: args.description.clone(),
        calling_ae: args.calling_ae.clone(),
        called_ae: args.called_ae.clone().unwrap_or_else(|| config.dicom.ae_title.clone()),
        age_years: args.age,
    }
}

/// Without an offset, the time is the sender's. What the clocks did to it is said.
fn instant(text: &str, zone: Tz) -> anyhow::Result<(Moment, Option<&'static str>)> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok((Moment::from_utc(at.with_timezone(&Utc)), None));
    }
    let local = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"]
        .into_iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .with_context(|| format!("\"{text}\" is no time; expected for example 2026-12-24T23:10"))?;
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) => Ok((Moment::from_utc(at.to_utc()), None)),
        LocalResult::Ambiguous(first, _) => Ok((
            Moment::from_utc(first.to_utc()),
            Some(
                "This time comes twice that night; the answer is for the first. Give an offset to ask for the second.",
            ),
        )),
        LocalResult::None => bail!("{text} does not exist in {zone}: the clock is put forward over it"),
    }
}

fn explain(
    config: &Config,
    rules: &Rules,
    sender: &Partner,
    facts: &CaseFacts,
    now: Moment,
    decision: &Decision,
) -> String {
    let zone = sender.time_zone;
    let mut out = format!("{facts}, {}\n", wall(civil(now, zone), zone));
    let _ = writeln!(out, "\nRules in file order (version {})", decision.rules_version);
    // The last reason of a case that is held is told below.
    let held = usize::from(matches!(decision.disposition, Disposition::Hold { .. }));
    for reason in &decision.reasons[..decision.reasons.len().saturating_sub(held)] {
        out.push_str(&wrapped(reason, 2));
    }
    match &decision.disposition {
        Disposition::Hold { reason } => {
            out.push_str("\nHeld\n");
            out.push_str(&wrapped(reason, 2));
        }
        Disposition::Read(reading) => {
            out.push_str("\nDecision\n");
            let route = rules.route(&reading.rule);
            let shares = route.map_or(Vec::new(), |route| shares(route, &facts.origin));
            for (what, value) in answer(config, facts, zone, now, reading, &shares) {
                let _ = write!(out, "  {what:<15}{}", wrapped(&value, 17).trim_start());
            }
        }
    }
    out
}

fn answer(
    config: &Config,
    facts: &CaseFacts,
    zone: Tz,
    now: Moment,
    reading: &Reading,
    shares: &[(PartnerId, u32)],
) -> Vec<(&'static str, String)> {
    let mut lines = vec![("rule", format!("\"{}\"", reading.rule))];
    let named = |id: &PartnerId| {
        let name = config.partners.get(id).map_or("", |partner| partner.name.as_str());
        let own = if *id == facts.origin { ", where it was made: nothing is transferred" } else { "" };
        format!("{id} ({name}{own})")
    };
    if let Some(reader) = reading.reader() {
        lines.push(("read by", named(reader)));
    }
    if reading.readers.len() > 1 {
        lines.push(("stand-ins", joined(&reading.readers[1..])));
    }
    if shares.len() > 1 {
        lines.push(("shared", shared(shares)));
    }
    if !reading.also_to.is_empty() {
        lines.push(("copies to", reading.also_to.iter().map(named).collect::<Vec<_>>().join(", ")));
    }
    lines.push(("reading mode", reading.reading_mode.to_string()));
    let window = reading.window_ends.map_or_else(
        || "at all times".to_owned(),
        |ends| format!("until {}; a case decided before stays decided", wall(civil(ends, zone), zone)),
    );
    lines.push(("rule holds", window));
    lines.push(("if unclaimed", unclaimed(reading)));
    let due = reading.report_within.map_or_else(
        || "no time limit".to_owned(),
        |within| format!("within {}, by {}", span(within), clock(zone, now + within)),
    );
    lines.push(("report", due));
    lines
}

/// What becomes of an offer that nobody claims.
fn unclaimed(reading: &Reading) -> String {
    match (reading.claim_within, reading.readers.len()) {
        (None, _) => "it stays: the rule has no claim_within".to_owned(),
        (Some(within), 0 | 1) => format!("after {} a person is told: the rule names no other reader", span(within)),
        (Some(within), _) => format!("after {} it moves to the next; after the last a person is told", span(within)),
    }
}

/// `leipzig-ukl 60 %, leipzig-georg 40 %`: what is open now is not known here.
fn shared(shares: &[(PartnerId, u32)]) -> String {
    let whole: u32 = shares.iter().map(|(_, weight)| *weight).sum();
    let part = |weight: u32| f64::from(weight) * 100.0 / f64::from(whole.max(1));
    let parts: Vec<String> = shares.iter().map(|(id, weight)| format!("{id} {:.0} %", part(*weight))).collect();
    format!("{}; first is who is furthest below its part of what is open", parts.join(", "))
}

fn clock(zone: Tz, at: Moment) -> String {
    civil(at, zone).format("%H:%M").to_string()
}

fn span(duration: Duration) -> String {
    match duration.as_secs() {
        secs if secs % 3_600 == 0 => format!("{} h", secs / 3_600),
        secs if secs % 60 == 0 => format!("{} min", secs / 60),
        secs => format!("{secs} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_on_the_senders_clock() {
        let read = |text: &str| instant(text, Tz::Europe__Berlin);
        assert_eq!(read("2026-12-24T23:10").expect("a time").0.to_string(), "2026-12-24T22:10:00.000Z");
        assert_eq!(read("2026-12-24T22:10:00Z").expect("a time").0.to_string(), "2026-12-24T22:10:00.000Z");
        assert!(read("2026-10-25T02:30").expect("the first").1.is_some());
        assert!(read("2026-03-29T02:30").is_err(), "does not exist");
        assert!(read("yesterday").is_err());
    }
}
