//! Gaps as people read them: partners with the same gap together, modalities and priorities in one phrase, and a year
//! of holes as a weekday, a time and a count.

use super::super::calendar::{Interval, civil};
use super::super::condition::either;
use super::super::decide::weekday;
use super::Holes;
use super::classes::{Class, Classes};
use crate::config::Config;
use crate::model::{Discipline, PartnerId, Priority};
use chrono::{NaiveTime, Timelike};
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Partners named in one line, and kinds of holes told for one gap.
const NAMES: usize = 8;
const PATTERNS: usize = 4;

/// Cases that nobody reads at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub sources: Vec<PartnerId>,
    /// `CT, CR or DX, every priority`.
    pub cases: String,
    /// The sources' own zone, in which the holes are told.
    pub time_zone: Tz,
    pub holes: Vec<Interval>,
    /// The whole span is one hole.
    pub always: bool,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", names(&self.sources), self.cases)?;
        if self.always {
            return write!(f, "\n    no reader at any time");
        }
        let patterns = patterns(&self.holes, self.time_zone);
        for pattern in patterns.iter().take(PATTERNS) {
            let times = if pattern.count == 1 { "once".to_owned() } else { format!("{} times a year", pattern.count) };
            let first = civil(pattern.first.start, self.time_zone).format("%Y-%m-%dT%H:%M");
            write!(f, "\n    no reader {}, first {first} {}, {times}", pattern.when, self.time_zone)?;
        }
        let more = patterns.iter().skip(PATTERNS).map(|pattern| pattern.count).sum::<usize>();
        if more > 0 { write!(f, "\n    and {more} other times") } else { Ok(()) }
    }
}

struct Pattern {
    /// `Mo 00:00-07:00`, `Fr 18:00 to Mo 07:00`.
    when: String,
    first: Interval,
    count: usize,
}

/// The commonest first.
fn patterns(holes: &[Interval], zone: Tz) -> Vec<Pattern> {
    let mut patterns: Vec<Pattern> = Vec::new();
    for hole in holes {
        let when = when(hole, zone);
        match patterns.iter_mut().find(|pattern| pattern.when == when) {
            Some(pattern) => pattern.count += 1,
            None => patterns.push(Pattern { when, first: *hole, count: 1 }),
        }
    }
    patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.count));
    patterns
}

fn when(hole: &Interval, zone: Tz) -> String {
    let (start, end) = (civil(hole.start, zone), civil(hole.end, zone));
    let clock = |time: NaiveTime| {
        if time.second() == 0 { time.format("%H:%M").to_string() } else { time.format("%H:%M:%S").to_string() }
    };
    let days = (end.date() - start.date()).num_days();
    match (days, end.time()) {
        (0, _) => format!("{} {}-{}", weekday(start), clock(start.time()), clock(end.time())),
        (1, NaiveTime::MIN) => format!("{} {}-24:00", weekday(start), clock(start.time())),
        (7.., _) => format!("{} {} for {days} days", weekday(start), clock(start.time())),
        _ => format!("{} {} to {} {}", weekday(start), clock(start.time()), weekday(end), clock(end.time())),
    }
}

/// Equal gaps of equal cases become one.
pub(super) fn group(
    found: BTreeMap<(Holes, String), BTreeMap<PartnerId, BTreeSet<Class>>>,
    config: &Config,
    classes: &Classes,
    span: Interval,
) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for ((holes, label), by_source) in found {
        let mut alike: BTreeMap<(BTreeSet<Class>, &'static str), Vec<PartnerId>> = BTreeMap::new();
        for (source, cases) in by_source {
            let zone = config.partners.get(&source).map_or(Tz::UTC, |partner| partner.time_zone);
            alike.entry((cases, zone.name())).or_default().push(source);
        }
        for ((cases, zone), sources) in alike {
            let label = if label.is_empty() { String::new() } else { format!(" ({label})") };
            gaps.push(Gap {
                sources,
                cases: format!("{}{label}", phrase(&cases, classes)),
                time_zone: zone.parse().unwrap_or(Tz::UTC),
                always: holes.as_slice() == [span],
                holes: holes.as_ref().clone(),
            });
        }
    }
    gaps.sort_by(|one, two| one.sources.cmp(&two.sources).then_with(|| one.cases.cmp(&two.cases)));
    gaps
}

/// `radiology CT or MR, stat; every pathology case`.
fn phrase(cases: &BTreeSet<Class>, classes: &Classes) -> String {
    let mut phrases = Vec::new();
    for discipline in Discipline::ALL {
        let mut priorities: BTreeMap<&str, BTreeSet<Priority>> = BTreeMap::new();
        for class in cases.iter().filter(|class| class.discipline == discipline) {
            priorities.entry(&class.modality).or_default().insert(class.priority);
        }
        let mut modalities: BTreeMap<&BTreeSet<Priority>, BTreeSet<&str>> = BTreeMap::new();
        for (modality, of) in &priorities {
            modalities.entry(of).or_default().insert(modality);
        }
        for (priority, modalities) in modalities {
            let what = modality_phrase(discipline, &modalities, &classes.modalities(discipline));
            phrases.push(format!("{what}, {}", priority_phrase(priority)));
        }
    }
    phrases.join("; ")
}

fn modality_phrase(discipline: Discipline, found: &BTreeSet<&str>, all: &BTreeSet<&str>) -> String {
    let missing: Vec<&str> = all.difference(found).copied().collect();
    let named: Vec<&str> = found.iter().copied().filter(|modality| !modality.is_empty()).collect();
    match (found.contains(""), missing.is_empty(), named.is_empty()) {
        (true, true, _) => format!("every {discipline} case"),
        (true, false, true) if missing.len() <= 6 => format!("{discipline} other than {}", either(&missing)),
        (true, false, true) => format!("{discipline}, modalities that no rule names"),
        (true, false, false) => format!("{discipline} other than {}", either(&missing)),
        (false, ..) => format!("{discipline} {}", either(&named)),
    }
}

fn priority_phrase(priorities: &BTreeSet<Priority>) -> String {
    if priorities.len() == Priority::ALL.len() {
        return "every priority".to_owned();
    }
    either(&priorities.iter().map(|priority| priority.to_string()).collect::<Vec<_>>())
}

/// `rabenstein, lichtenstein`; a long list is cut.
pub(super) fn names(partners: &[PartnerId]) -> String {
    let shown = partners.iter().take(NAMES).map(PartnerId::as_str).collect::<Vec<_>>().join(", ");
    match partners.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} others"),
    }
}
