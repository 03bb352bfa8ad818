//! Reads `routes.toml` and `calendars.toml`. What they name is checked against the partners in [`super::checks`].

use super::hours::Hours;
use super::problems::Spot;
use super::table::{Found, Table};
use super::values::{self as v, Read};
use super::{Calendar, Condition, OneOf, Reader, Route};
use crate::model::{Discipline, PartnerId, Priority, ReadingMode};
use std::collections::BTreeMap;

/// A route with the places of what it names.
pub(super) struct RouteFile {
    pub route: Route,
    pub spot: Spot,
    pub during: Option<Found<String>>,
    pub to: Vec<Found<Reader>>,
    /// Everybody named in `from`, `not_from` and `also_to`.
    pub named: Vec<Found<PartnerId>>,
    pub also_to: Vec<Found<PartnerId>>,
}

/// `[[route]]`, in file order.
pub(super) fn read_routes(top: &mut Table<'_>) -> Vec<RouteFile> {
    top.tables("route").into_iter().map(|mut table| read_route(&mut table)).collect()
}

fn read_route(table: &mut Table<'_>) -> RouteFile {
    table.needs("name", "a name that people recognise in a decision");
    let name = table.parsed("name", v::words).map_or_else(String::new, |found| found.value);
    let number = table.spot().place;
    table.call(format!("{number} \"{name}\""));
    if !table.has("share") {
        table.needs("to", "the readers in order, such as to = [\"origin\"]");
    }
    let from = table.list("from", partner_id);
    let not_from = table.list("not_from", partner_id);
    let when = read_condition(table, values(&from), values(&not_from));
    let during = table.parsed("during", v::words);
    let (mut to, share) = read_share(table);
    to.extend(table.list("to", reader));
    if (table.has("to") || table.has("share")) && to.is_empty() {
        table.problem(&table.spot(), "\"to\" names nobody, expected readers in order, such as to = [\"origin\"]");
    }
    let also_to = table.list("also_to", partner_id);
    let claim_within = table.parsed("claim_within", |text| v::duration_between(text, "10s", "7d"));
    let report_within = table.parsed("report_within", |text| v::duration_between(text, "1m", "90d"));
    let mode = table.parsed("reading_mode", reading_mode).map(|found| found.value);
    let on_site = matches!(to.first().map(|reader| &reader.value), Some(Reader::Origin));
    let route = Route {
        name,
        when,
        during: during.as_ref().map(|found| found.value.clone()),
        to: values(&to),
        share,
        same_reader: table.flag("same_reader").unwrap_or(true),
        also_to: values(&also_to),
        claim_within: claim_within.map(|found| found.value),
        report_within: report_within.map(|found| found.value),
        reading_mode: mode.unwrap_or(if on_site { ReadingMode::OnSite } else { ReadingMode::RemoteReading }),
    };
    let named = from.into_iter().chain(not_from).chain(also_to.iter().cloned()).collect();
    RouteFile { route, spot: table.spot(), during, to, named, also_to }
}

/// `share = [{ to = "leipzig-ukl", weight = 60 }, …]`: readers and their weights.
fn read_share(table: &mut Table<'_>) -> (Vec<Found<Reader>>, Vec<u32>) {
    let (mut to, mut weights) = (Vec::new(), Vec::new());
    for mut entry in table.tables("share") {
        entry.needs("to", "the reader, such as to = \"leipzig-ukl\"");
        entry.needs("weight", "its part of the whole, such as weight = 60");
        let (reader, weight) = (entry.parsed("to", reader), entry.number("weight", 1..=1000));
        if let (Some(reader), Some(weight)) = (reader, weight.and_then(|weight| u32::try_from(weight).ok())) {
            to.push(reader);
            weights.push(weight);
        }
    }
    (to, weights)
}

fn read_condition(table: &mut Table<'_>, from: Vec<PartnerId>, not_from: Vec<PartnerId>) -> Condition {
    let condition = Condition {
        from: one_of(table, "from", from, not_from),
        discipline: lists(table, "discipline", "not_discipline", discipline),
        modality: lists(table, "modality", "not_modality", v::modality),
        priority: lists(table, "priority", "not_priority", priority),
        body_part: lists(table, "body_part", "not_body_part", v::code),
        calling_ae: lists(table, "calling_ae", "not_calling_ae", v::ae_title),
        called_ae: lists(table, "called_ae", "not_called_ae", v::ae_title),
        description: lists(table, "description", "not_description", v::fragment),
        age_min: table.number("age_min", 0..=150).and_then(|age| u32::try_from(age).ok()),
        age_max: table.number("age_max", 0..=150).and_then(|age| u32::try_from(age).ok()),
    };
    if let (Some(least), Some(most)) = (condition.age_min, condition.age_max)
        && least > most
    {
        table.problem(&table.spot(), format!("found age_min {least} over age_max {most}: nobody has that age"));
    }
    condition
}

fn lists<T: PartialEq + Clone>(
    table: &mut Table<'_>,
    any: &'static str,
    none: &'static str,
    read: impl Fn(&str) -> Read<T>,
) -> OneOf<T> {
    let (any_of, none_of) = (values(&table.list(any, &read)), values(&table.list(none, &read)));
    one_of(table, any, any_of, none_of)
}

/// An empty list is no condition, which is not what somebody who wrote `modality = []` meant.
fn one_of<T: PartialEq>(table: &Table<'_>, key: &str, any: Vec<T>, none: Vec<T>) -> OneOf<T> {
    if !any.is_empty() && any.iter().all(|value| none.contains(value)) {
        table.problem(&table.spot(), format!("{key} and not_{key} name the same, so nothing can match"));
    }
    OneOf { any, none }
}

fn values<T: Clone>(found: &[Found<T>]) -> Vec<T> {
    found.iter().map(|found| found.value.clone()).collect()
}

fn partner_id(text: &str) -> Read<PartnerId> {
    PartnerId::new(text).map_err(|error| error.to_string())
}

fn reader(text: &str) -> Read<Reader> {
    if text == "origin" { Ok(Reader::Origin) } else { partner_id(text).map(Reader::Partner) }
}

fn choose<T: Copy>(text: &str, choices: &[(&str, T)]) -> Read<T> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let hint = v::nearest(text, choices.iter().map(|(name, _)| *name));
    Err(format!("found \"{}\", expected {}{hint}", v::shorten(text), names.join(" or ")))
}

fn discipline(text: &str) -> Read<Discipline> {
    choose(text, &[("radiology", Discipline::Radiology), ("pathology", Discipline::Pathology)])
}

fn priority(text: &str) -> Read<Priority> {
    choose(text, &[("routine", Priority::Routine), ("urgent", Priority::Urgent), ("stat", Priority::Stat)])
}

fn reading_mode(text: &str) -> Read<ReadingMode> {
    let choices = [
        ("teleradiology", ReadingMode::Teleradiology),
        ("remote_reading", ReadingMode::RemoteReading),
        ("consultation", ReadingMode::Consultation),
        ("on_site", ReadingMode::OnSite),
    ];
    choose(text, &choices)
}

/// `[name]` tables of `calendars.toml`.
pub(super) fn read_calendars(top: &mut Table<'_>) -> BTreeMap<String, Calendar> {
    let mut calendars = BTreeMap::new();
    for (name, mut table) in top.named_tables() {
        if let Err(problem) = v::words(&name.value) {
            table.problem(&name.spot, problem);
        }
        table.needs("country", "the country whose public holidays PH means, such as \"DE\"");
        table.needs("time_zone", "an IANA time zone such as \"Europe/Berlin\"");
        table.needs("hours", "opening hours such as \"Mo-Fr 18:00-07:00; Sa,Su,PH 00:00-31:00\"");
        let country = table.parsed("country", v::country);
        let time_zone = table.parsed("time_zone", v::zone);
        let holidays = table.list("holidays", |text| {
            let expected = "a date such as \"2026-11-18\"";
            text.parse().map_err(|_| format!("found \"{}\", expected {expected}", v::shorten(text)))
        });
        let holidays = values(&holidays);
        let known = country.as_ref().map_or("DE", |country| country.value.as_str());
        let hours = table.parsed("hours", |text| {
            Hours::parse(text, known, &holidays).map(|_| text.to_owned()).map_err(|error| error.to_string())
        });
        if let (Some(country), Some(time_zone), Some(hours)) = (country, time_zone, hours) {
            calendars.insert(
                name.value.clone(),
                Calendar {
                    name: name.value,
                    country: country.value,
                    time_zone: time_zone.value,
                    hours: hours.value,
                    holidays,
                },
            );
        } else {
            // Named all the same, so that the routes that use it are not reported as well.
            calendars.insert(name.value.clone(), placeholder(name.value));
        }
    }
    calendars
}

/// Stands for a calendar that could not be read; its problem is already in the list, so it never leaves this room.
fn placeholder(name: String) -> Calendar {
    let (country, hours) = ("DE".to_owned(), "off".to_owned());
    Calendar { name, country, time_zone: chrono_tz::UTC, hours, holidays: Vec::new() }
}
