//! Who reads this case now? Pure: no I/O, no clock; the same question always has the same answer.
//!
//! In: what is known of a case, the compiled rules, the instant. Out: a [`Decision`] with a reason for every rule
//! looked at. The first rule in file order whose condition holds and whose calendar is open decides. No such rule
//! means *held, and a person is told*: nothing is ever discarded here.

use super::calendar::{Window, civil};
use super::condition::{Compiled, Prepared};
use crate::config::{Config, Reader, Route, hours::HoursError};
use crate::model::{Decision, Disposition, Moment, PartnerId, Reading};
use chrono::NaiveDateTime;
use chrono_tz::Tz;
use std::collections::HashMap;

pub use super::condition::CaseFacts;

/// Routes and calendars, ready to decide by.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(super) routes: Vec<Rule>,
    pub(super) windows: Vec<Window>,
    version: String,
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub route: Route,
    pub condition: Compiled,
    /// Index into [`Rules::windows`].
    pub window: Option<usize>,
}

#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error("the hours of the calendar \"{name}\" cannot be used")]
    Hours { name: String, source: HoursError },
    #[error("the route \"{route}\" names the calendar \"{calendar}\", expected one of calendars.toml")]
    NoCalendar { route: String, calendar: String },
}

impl Rules {
    /// # Errors
    /// When a calendar cannot be used or is missing; a loaded configuration has been checked for both.
    pub fn compile(config: &Config) -> Result<Self, RulesError> {
        let (mut windows, mut index) = (Vec::new(), HashMap::new());
        for (name, calendar) in &config.calendars {
            let window =
                Window::compile(calendar).map_err(|source| RulesError::Hours { name: name.clone(), source })?;
            index.insert(name.as_str(), windows.len());
            windows.push(window);
        }
        let mut routes = Vec::with_capacity(config.routes.len());
        for route in &config.routes {
            let window = match &route.during {
                None => None,
                Some(name) => Some(
                    *index
                        .get(name.as_str())
                        .ok_or_else(|| RulesError::NoCalendar { route: route.name.clone(), calendar: name.clone() })?,
                ),
            };
            routes.push(Rule { route: route.clone(), condition: Compiled::new(&route.when), window });
        }
        Ok(Self { routes, windows, version: config.rules_version.clone() })
    }

    /// The route a decision was made by. `None`: none has that name (any more).
    pub fn route(&self, name: &str) -> Option<&Route> {
        self.routes.iter().map(|rule| &rule.route).find(|route| route.name == name)
    }

    /// The digest that decisions are stored with.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// Decides who reads.
pub fn decide(facts: &CaseFacts, rules: &Rules, now: Moment) -> Decision {
    let case = Prepared::new(facts);
    let mut calendars = Calendars { rules, now, seen: HashMap::new() };
    let mut reasons = Vec::new();
    for (number, rule) in (1..).zip(&rules.routes) {
        let failed = rule.condition.fails(&case).or_else(|| calendars.closed(rule.window));
        let name = &rule.route.name;
        match failed {
            Some(why) => reasons.push(format!("{number}. \"{name}\": no, {why}")),
            None => {
                let window = rule.window.map_or(String::new(), |index| calendars.open(index));
                let reading = reading(rule, facts, calendars.ends(rule.window));
                let readers = joined(&reading.readers);
                reasons.push(format!("{number}. \"{name}\": yes{window}; read by {readers}, {}", reading.reading_mode));
                return decision(Disposition::Read(reading), reasons, rules, now);
            }
        }
    }
    let reason = match rules.routes.len() {
        0 => "there are no rules: a person must say who reads this".to_owned(),
        count => format!("none of the {count} rules matches {facts} at this time: a person must say who reads this"),
    };
    reasons.push(format!("held: {reason}"));
    decision(Disposition::Hold { reason }, reasons, rules, now)
}

fn decision(disposition: Disposition, reasons: Vec<String>, rules: &Rules, now: Moment) -> Decision {
    Decision { disposition, reasons, rules_version: rules.version.clone(), decided_at: now }
}

fn reading(rule: &Rule, facts: &CaseFacts, window_ends: Option<Moment>) -> Reading {
    let mut readers: Vec<PartnerId> = Vec::new();
    for reader in &rule.route.to {
        let id = match reader {
            Reader::Origin => &facts.origin,
            Reader::Partner(id) => id,
        };
        // `origin` may be the same as a partner that is also named: offered once.
        if !readers.contains(id) {
            readers.push(id.clone());
        }
    }
    let mut also_to: Vec<PartnerId> = Vec::new();
    for copy in &rule.route.also_to {
        // The sender has its images already.
        if *copy != facts.origin && !also_to.contains(copy) {
            also_to.push(copy.clone());
        }
    }
    Reading {
        rule: rule.route.name.clone(),
        readers,
        also_to,
        reading_mode: rule.route.reading_mode,
        claim_within: rule.route.claim_within,
        report_within: rule.route.report_within,
        window_ends,
    }
}

/// Each calendar is asked once for a decision, however many rules use it.
struct Calendars<'r> {
    rules: &'r Rules,
    now: Moment,
    seen: HashMap<usize, (bool, Option<Moment>)>,
}

impl Calendars<'_> {
    fn state(&mut self, index: usize) -> (bool, Option<Moment>) {
        let (window, now) = (&self.rules.windows[index], self.now);
        *self.seen.entry(index).or_insert_with(|| (window.is_open(now), window.next_change(now)))
    }

    fn closed(&mut self, index: Option<usize>) -> Option<String> {
        let index = index?;
        let (open, change) = self.state(index);
        if open {
            return None;
        }
        let window = &self.rules.windows[index];
        let opens = change.map_or_else(
            || "does not open within a year".to_owned(),
            |at| format!("opens {}", wall(civil(at, window.time_zone), window.time_zone)),
        );
        let now = wall(civil(self.now, window.time_zone), window.time_zone);
        Some(format!("calendar \"{}\" is closed {now}, {opens}", window.name))
    }

    fn open(&mut self, index: usize) -> String {
        let window = &self.rules.windows[index];
        let until = self.ends(Some(index)).map_or_else(
            || "for a year and more".to_owned(),
            |at| format!("until {}", wall(civil(at, window.time_zone), window.time_zone)),
        );
        format!(", calendar \"{}\" is open {until}", window.name)
    }

    fn ends(&mut self, index: Option<usize>) -> Option<Moment> {
        index.and_then(|index| self.state(index).1)
    }
}

/// `Mo 2026-11-23 06:59 Europe/Berlin`.
pub fn wall(at: NaiveDateTime, zone: Tz) -> String {
    format!("{} {} {zone}", weekday(at), at.format("%Y-%m-%d %H:%M"))
}

/// Two letters, as in `hours`.
pub fn weekday(at: NaiveDateTime) -> &'static str {
    use chrono::{Datelike, Weekday};
    match at.weekday() {
        Weekday::Mon => "Mo",
        Weekday::Tue => "Tu",
        Weekday::Wed => "We",
        Weekday::Thu => "Th",
        Weekday::Fri => "Fr",
        Weekday::Sat => "Sa",
        Weekday::Sun => "Su",
    }
}

/// `chemnitz, then leipzig-ukl`.
pub fn joined(readers: &[PartnerId]) -> String {
    readers.iter().map(PartnerId::as_str).collect::<Vec<_>>().join(", then ")
}

#[cfg(test)]
mod tests;
