//! What the change of the clocks does to the windows: swallowed, opened twice, an hour shorter or longer.
//!
//! In: the rules' windows and a span of time. Out: one readable line for each window that a change touches.

use super::super::calendar::{Interval, Window, civil, stretches};
use super::super::decide::{Rules, weekday};
use chrono::{NaiveDateTime, Timelike};
use std::collections::BTreeSet;
use std::time::Duration;

pub(super) fn changes(rules: &Rules, span: Interval) -> Vec<String> {
    let used: BTreeSet<usize> = rules.routes.iter().filter_map(|rule| rule.window).collect();
    let windows = used.into_iter().map(|index| &rules.windows[index]);
    windows.flat_map(|window| window_changes(window, span)).collect()
}

fn window_changes(window: &Window, span: Interval) -> Vec<String> {
    let pieces = stretches(window.time_zone, span.start, span.end);
    let mut lines = Vec::new();
    for pair in pieces.windows(2) {
        let at = pair[1].span.start;
        let jump = pair[1].offset_secs - pair[0].offset_secs;
        let after = civil(at, window.time_zone);
        let before = after - chrono::Duration::seconds(jump);
        // An always open window has no length to change.
        let near = window.intervals(at - Duration::from_secs(4 * 86_400), at + Duration::from_secs(4 * 86_400));
        let bounded = |interval: &&Interval| {
            interval.end.since(interval.start) < Duration::from_secs(7 * 86_400)
                && interval.start <= at
                && interval.end >= at
        };
        let effect = touched(window, before, after).or_else(|| {
            let hours = jump.unsigned_abs() / 3_600;
            let less = if jump > 0 { "less" } else { "more" };
            near.iter().find(bounded).map(|_| format!("the open window lasts {hours} h {less}"))
        });
        if let Some(effect) = effect {
            let day = format!("{} {}", weekday(after), after.date());
            let clocks = format!("the clock goes from {} to {}", clock(before), clock(after));
            lines.push(format!("{}: {day}, {clocks}: {effect}", window.name));
        }
    }
    lines
}

/// Windows that begin or end within the hour that does not come, or comes twice.
fn touched(window: &Window, before: NaiveDateTime, after: NaiveDateTime) -> Option<String> {
    let (from, to) = (before.min(after), before.max(after));
    if from.date() != to.date() {
        return None;
    }
    let minute = |time: NaiveDateTime| u16::try_from(time.hour() * 60 + time.minute()).unwrap_or(0);
    let (from, to) = (minute(from), minute(to));
    let inside = |at: u16| from < at && at < to;
    let minutes = window.civil_minutes(after.date());
    let hit = minutes.iter().find(|(start, end)| inside(*start) || inside(*end) || (from <= *start && *end <= to))?;
    let show = |at: u16| format!("{:02}:{:02}", at / 60, at % 60);
    let hours = format!("{}-{}", show(hit.0), show(hit.1));
    Some(match (after > before, from <= hit.0 && hit.1 <= to) {
        (true, true) => format!("{hours} does not come, so it does not open"),
        (true, false) => format!("{hours} is cut short, because a part of it does not come"),
        (false, true) => format!("{hours} comes twice, so it opens twice"),
        (false, false) => format!("{hours} begins or ends within the hour that comes twice, so it opens twice"),
    })
}

fn clock(at: NaiveDateTime) -> String {
    at.format("%H:%M").to_string()
}
