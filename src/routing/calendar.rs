//! When a calendar's window is open, on the clock of its own zone.
//!
//! In: a calendar and an instant. Out: open or not, until when, and the open intervals of a span of time. What is open
//! on a date is [`Hours`]' business; here it meets the zone.
//!
//! **Daylight saving.** A window is a set of civil times: it is open exactly when the clock on the wall there shows one
//! of them. When the clock jumps from 02:00 to 03:00, a time such as 02:30 does not come and nothing opens for it; a
//! window over it is an hour shorter. When the clock is set back, 02:30 comes twice and is open twice; a window that
//! ends at 02:30 ends, opens again at the second 02:00 and ends for good at the second 02:30.

use crate::config::{
    Calendar,
    hours::{Hours, HoursError, Minutes},
};
use crate::model::Moment;
use chrono::{DateTime, NaiveDate, NaiveDateTime, Offset, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use std::time::Duration;

/// How far ahead a change is looked for. Yearly windows exist (a holiday); a window that does not change in this
/// time has no end worth naming. Bounds the work of one decision as well.
const HORIZON_DAYS: u64 = 400;
const DAY: Duration = Duration::from_secs(86_400);
const MINUTE_MICROS: i64 = 60_000_000;
/// No zone changes its offset twice within this time.
const OFFSET_STEP_SECS: i64 = 6 * 3_600;

/// Half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    pub start: Moment,
    pub end: Moment,
}

/// A calendar, ready to be asked.
#[derive(Clone, Debug)]
pub struct Window {
    pub name: String,
    pub time_zone: Tz,
    hours: Hours,
}

/// A span of UTC in which the zone's offset does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub span: Interval,
    pub offset_secs: i64,
}

impl Window {
    /// # Errors
    /// When the hours cannot be read; a loaded configuration has been checked for that.
    pub fn compile(calendar: &Calendar) -> Result<Self, HoursError> {
        let hours = Hours::parse(&calendar.hours, &calendar.country, &calendar.holidays)?;
        Ok(Self { name: calendar.name.clone(), time_zone: calendar.time_zone, hours })
    }

    pub fn is_open(&self, at: Moment) -> bool {
        let local = civil(at, self.time_zone);
        let minute = local.hour() * 60 + local.minute();
        self.hours
            .open_minutes(local.date())
            .iter()
            .any(|(start, end)| (u32::from(*start)..u32::from(*end)).contains(&minute))
    }

    /// The open minutes of a date on the clock of the zone, whether that clock shows them or not.
    pub fn civil_minutes(&self, date: NaiveDate) -> Minutes {
        self.hours.open_minutes(date)
    }

    /// When the window that is open at `at` closes. None when it is closed, or open for 400 days and more.
    pub fn window_ends(&self, at: Moment) -> Option<Moment> {
        if self.is_open(at) { self.next_change(at) } else { None }
    }

    /// The first instant after `at` at which it opens or closes, within 400 days.
    pub fn next_change(&self, at: Moment) -> Option<Moment> {
        let mut days = 2;
        loop {
            let until = at + DAY * u32::try_from(days.min(HORIZON_DAYS)).unwrap_or(u32::MAX);
            let change = match self.intervals(at, until).first() {
                Some(first) if first.start > at => Some(first.start),
                Some(first) if first.end < until => Some(first.end),
                _ => None,
            };
            if change.is_some() || days >= HORIZON_DAYS {
                return change;
            }
            days *= 8;
        }
    }

    /// The open intervals within `from..until`, clipped to it, ascending and apart.
    pub fn intervals(&self, from: Moment, until: Moment) -> Vec<Interval> {
        let mut open: Vec<Interval> = Vec::new();
        for stretch in stretches(self.time_zone, from, until) {
            let last = civil_in(stretch, stretch.span.end).date();
            let mut date = civil_in(stretch, stretch.span.start).date();
            while date <= last {
                let midnight = date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros();
                let shift = midnight - stretch.offset_secs * 1_000_000;
                for (start, end) in self.hours.open_minutes(date) {
                    let start = Moment(shift + i64::from(start) * MINUTE_MICROS).max(stretch.span.start);
                    let end = Moment(shift + i64::from(end) * MINUTE_MICROS).min(stretch.span.end);
                    match open.last_mut() {
                        _ if start >= end => {}
                        Some(before) if before.end == start => before.end = end,
                        _ => open.push(Interval { start, end }),
                    }
                }
                let Some(next) = date.succ_opt() else { break };
                date = next;
            }
        }
        open
    }
}

/// The clock on the wall of `zone` at that instant.
pub fn civil(at: Moment, zone: Tz) -> NaiveDateTime {
    at.utc().with_timezone(&zone).naive_local()
}

fn civil_in(stretch: Stretch, at: Moment) -> NaiveDateTime {
    Moment(at.0.saturating_add(stretch.offset_secs * 1_000_000)).utc().naive_utc()
}

/// `from..until` cut where the zone's offset changes.
pub fn stretches(zone: Tz, from: Moment, until: Moment) -> Vec<Stretch> {
    let offset = |secs: i64| {
        let utc: DateTime<Utc> = Utc.timestamp_opt(secs, 0).single().unwrap_or_default();
        i64::from(zone.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc())
    };
    let mut cut = Vec::new();
    let (mut start, mut at) = (from, from.0.div_euclid(1_000_000));
    let end = until.0.div_euclid(1_000_000);
    let mut current = offset(at);
    while at < end {
        let next = (at + OFFSET_STEP_SECS).min(end);
        if offset(next) != current {
            let (mut before, mut after) = (at, next);
            while after - before > 1 {
                let middle = before + (after - before) / 2;
                if offset(middle) == current { before = middle } else { after = middle }
            }
            let change = Moment(after * 1_000_000);
            cut.push(Stretch { span: Interval { start, end: change }, offset_secs: current });
            (start, current) = (change, offset(after));
        }
        at = next;
    }
    if start < until {
        cut.push(Stretch { span: Interval { start, end: until }, offset_secs: current });
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(hours: &str, zone: Tz) -> Window {
        let calendar = Calendar {
            name: "night".to_owned(),
            country: "DE".to_owned(),
            time_zone: zone,
            hours: hours.to_owned(),
            holidays: vec!["2026-11-18".parse().expect("date")],
        };
        Window::compile(&calendar).expect("hours")
    }

    fn utc(text: &str) -> Moment {
        Moment::from_utc(text.parse().expect("an instant"))
    }

    const NIGHT: &str = "Mo-Fr 18:00-07:00; Sa,Su,PH 00:00-31:00; Oct 31 00:00-31:00";
    const BERLIN: Tz = Tz::Europe__Berlin;

    #[test]
    fn the_night_of_chemnitz_to_the_minute() {
        let night = window(NIGHT, BERLIN);
        let table = [
            ("2026-11-24T16:59:59Z", false, "Tuesday 17:59:59"),
            ("2026-11-24T17:00:00Z", true, "Tuesday 18:00"),
            ("2026-11-25T05:59:59Z", true, "Wednesday 06:59:59"),
            ("2026-11-25T06:00:00Z", false, "Wednesday 07:00"),
            ("2026-11-22T23:00:00Z", true, "Monday 00:00"),
            ("2026-11-23T05:59:00Z", true, "Monday 06:59"),
            ("2026-11-23T06:00:00Z", false, "Monday 07:00"),
            ("2026-11-28T11:00:00Z", true, "Saturday noon"),
            ("2026-12-25T11:00:00Z", true, "Christmas Day, a Friday"),
            ("2026-11-18T11:00:00Z", true, "Buß- und Bettag, given as a date"),
            ("2025-10-31T11:00:00Z", true, "Reformationstag, a Friday"),
            ("2026-12-23T11:00:00Z", false, "an ordinary Wednesday"),
        ];
        for (at, open, what) in table {
            assert_eq!(night.is_open(utc(at)), open, "{what}");
        }
    }

    #[test]
    fn a_window_ends_where_the_next_day_says_so() {
        let night = window(NIGHT, BERLIN);
        assert_eq!(night.window_ends(utc("2026-12-24T22:10:00Z")), Some(utc("2026-12-28T06:00:00Z")));
        assert_eq!(night.window_ends(utc("2026-11-24T12:00:00Z")), None, "closed");
        assert_eq!(night.next_change(utc("2026-11-24T12:00:00Z")), Some(utc("2026-11-24T17:00:00Z")));
        assert_eq!(window("24/7", BERLIN).window_ends(utc("2026-11-24T12:00:00Z")), None);
    }

    #[test]
    fn a_window_in_the_hour_that_does_not_exist_does_not_open() {
        let gap = window("02:15-02:45", BERLIN);
        let nights = gap.intervals(utc("2026-03-28T00:00:00Z"), utc("2026-03-31T00:00:00Z"));
        let starts: Vec<String> = nights.iter().map(|night| civil(night.start, BERLIN).to_string()).collect();
        assert_eq!(starts, ["2026-03-28 02:15:00", "2026-03-30 02:15:00"]);
        let night = window(NIGHT, BERLIN);
        let spring = night.intervals(utc("2026-03-28T23:00:00Z"), utc("2026-03-29T22:00:00Z"));
        assert_eq!(spring.len(), 1, "the night over the gap is one window");
        assert_eq!(spring[0].end.since(spring[0].start), Duration::from_secs(23 * 3_600));
    }

    #[test]
    fn a_window_in_the_hour_that_comes_twice_opens_twice() {
        let fold = window("02:15-02:45", BERLIN);
        let nights = fold.intervals(utc("2026-10-24T22:00:00Z"), utc("2026-10-25T23:00:00Z"));
        let starts: Vec<String> = nights.iter().map(|night| night.start.to_string()).collect();
        assert_eq!(starts, ["2026-10-25T00:15:00.000Z", "2026-10-25T01:15:00.000Z"]);
        let until_half_past = window("22:00-02:30", BERLIN);
        assert_eq!(until_half_past.window_ends(utc("2026-10-24T21:00:00Z")), Some(utc("2026-10-25T00:30:00Z")));
        assert!(until_half_past.is_open(utc("2026-10-25T01:10:00Z")), "the second 02:10");
    }

    fn zones() -> impl proptest::strategy::Strategy<Value = Tz> {
        proptest::sample::select(vec![BERLIN, Tz::Europe__Warsaw, Tz::Europe__Prague])
    }

    fn hours() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        let span = (0u32..1440, 1u32..1500).prop_map(|(start, length)| {
            let end = (start + length).min(2880);
            format!("{:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60)
        });
        (span.clone(), span).prop_map(|(week, weekend)| format!("Mo-Fr {week}; Sa,Su,PH {weekend}"))
    }

    proptest::proptest! {
        /// Around both nights on which Berlin, Warsaw and Prague move their clocks.
        #[test]
        fn the_next_opening_is_open_and_nothing_earlier_is(
            hours in hours(), zone in zones(), spring in proptest::bool::ANY, minute in 0i64..4 * 1440,
        ) {
            let window = window(&hours, zone);
            let near = if spring { utc("2026-03-27T00:00:00Z") } else { utc("2026-10-23T00:00:00Z") };
            let at = Moment(near.0 + minute * MINUTE_MICROS);
            let open = window.is_open(at);
            let change = window.next_change(at).expect("weekly hours change within 400 days");
            proptest::prop_assert_eq!(window.is_open(change), !open);
            let steps = (change.0 - at.0) / MINUTE_MICROS;
            for step in 0..steps.min(5 * 1440) {
                let between = Moment(at.0 + step * MINUTE_MICROS);
                proptest::prop_assert_eq!(window.is_open(between), open, "{} at {}", hours, between);
            }
        }
    }

    #[test]
    fn every_offset_change_of_a_year_is_found() {
        let year = stretches(Tz::Europe__Prague, utc("2026-01-01T00:00:00Z"), utc("2027-01-01T00:00:00Z"));
        let changes: Vec<String> = year.iter().skip(1).map(|stretch| stretch.span.start.to_string()).collect();
        assert_eq!(changes, ["2026-03-29T01:00:00.000Z", "2026-10-25T01:00:00.000Z"]);
        assert_eq!(NaiveDate::from_ymd_opt(2026, 3, 29).map(|date| date.to_string()).as_deref(), Some("2026-03-29"));
    }
}
