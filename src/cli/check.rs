//! `neisse check`: is the configuration right, and does every case have a reader at every minute of a year?
//!
//! In: a configuration folder. Out: every problem in it, or the gaps, the rules that can never match, and what the
//! change of the clocks does. Starts nothing and connects to nobody.

use crate::config::{self, Config};
use crate::model::{Clock, Moment};
use crate::routing::calendar::Interval;
use crate::routing::coverage::{Coverage, coverage};
use crate::routing::decide::Rules;
use anyhow::Context as _;
use chrono::{Months, NaiveDate};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Output keeps within this many columns.
pub(super) const COLUMNS: usize = 100;

const AFTER: &str = "Exit status: 0 every case has a reader at every minute; 1 the configuration has problems \
and would not start;\n2 it would start, but there are gaps or rules that can never match.";

/// Check a configuration folder and prove that every case has a reader at every minute of a year.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct CheckArgs {
    /// The configuration folder.
    #[arg(long, default_value = "config", env = "NEISSE_CONFIG", value_name = "FOLDER")]
    pub config: PathBuf,
    /// Walk this calendar year instead of the year that begins today.
    #[arg(long, value_name = "YEAR", value_parser = clap::value_parser!(i32).range(2000..=2075))]
    pub year: Option<i32>,
}

/// # Errors
/// Only when the rules cannot be compiled although the configuration was accepted.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let config = match config::load(&args.config) {
        Ok(config) => config,
        Err(problems) => {
            print!("{}", problem_list(&problems));
            return Ok(ExitCode::from(1));
        }
    };
    let rules = Rules::compile(&config).context("the rules cannot be compiled")?;
    let span = span(args.year, Clock::system().now());
    let found = coverage(&config, &rules, span);
    print!("{}", report(&config, &rules, &found));
    Ok(ExitCode::from(if found.is_complete() { 0 } else { 2 }))
}

/// From the first of January, or from today's midnight (UTC), a year long.
fn span(year: Option<i32>, now: Moment) -> Interval {
    let first = year.and_then(|year| NaiveDate::from_ymd_opt(year, 1, 1)).unwrap_or_else(|| now.utc().date_naive());
    let last = first.checked_add_months(Months::new(12)).unwrap_or(NaiveDate::MAX);
    let midnight = |date: NaiveDate| Moment::from_utc(date.and_time(chrono::NaiveTime::MIN).and_utc());
    Interval { start: midnight(first), end: midnight(last) }
}

fn report(config: &Config, rules: &Rules, found: &Coverage) -> String {
    let mut out = String::new();
    let (from, until) = (found.span.start.utc().date_naive(), found.span.end.utc().date_naive());
    let _ = writeln!(
        out,
        "{} partners ({} send cases), {} routes, {} calendars, rules version {}",
        config.partners.len(),
        found.sources,
        config.routes.len(),
        config.calendars.len(),
        rules.version()
    );
    let _ = writeln!(out, "walked {from} to {until} for {} classes of cases", found.classes);
    let gaps = found.gaps.iter().map(ToString::to_string);
    section(&mut out, "Gaps: cases that nobody would read", gaps);
    let dead = found.dead.iter().map(|rule| format!("{}. \"{}\": {}", rule.number, rule.name, rule.why));
    section(&mut out, "Rules that can never match", dead);
    section(&mut out, "When the clocks change", found.clock_changes.iter().cloned());
    section(&mut out, "Worth knowing", found.notes.iter().cloned());
    let _ = match (found.gaps.len(), found.dead.len()) {
        (0, 0) => writeln!(out, "\nOK: every case has a reader at every minute of this year."),
        (gaps, dead) => writeln!(out, "\nNOT COVERED: {}, {}.", count(gaps, "gap"), count(dead, "dead rule")),
    };
    out
}

fn count(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn section(out: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    for line in lines.flat_map(|line| line.lines().map(str::to_owned).collect::<Vec<_>>()) {
        let indent = 2 + line.len() - line.trim_start().len();
        out.push_str(&wrapped(line.trim_start(), indent));
    }
}

/// Every problem and their count, each broken to the width of the page.
pub(super) fn problem_list(problems: &config::Problems) -> String {
    problems.to_string().lines().map(|line| wrapped(line, 0)).collect()
}

/// Breaks between words; what follows the first line is indented by two more.
pub(super) fn wrapped(text: &str, indent: usize) -> String {
    let mut out = " ".repeat(indent);
    let mut column = indent;
    let mut fresh = true;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !fresh && column + 1 + length > COLUMNS {
            out.push('\n');
            out.push_str(&" ".repeat(indent + 2));
            column = indent + 2;
            fresh = true;
        }
        if !fresh {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
        fresh = false;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_begins_today_or_on_the_first_of_january() {
        let now = Moment::from_utc("2026-11-22T09:10:00Z".parse().expect("an instant"));
        let show = |span: Interval| format!("{} {}", span.start.utc().date_naive(), span.end.utc().date_naive());
        assert_eq!(show(span(None, now)), "2026-11-22 2027-11-22");
        assert_eq!(show(span(Some(2028), now)), "2028-01-01 2029-01-01");
    }

    #[test]
    fn long_lines_are_broken_between_words() {
        let text = wrapped(&"Nachtdienst ".repeat(30), 2);
        assert!(text.lines().count() > 3);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
    }
}
