//! Single value and range matching of dates, times and moments (PS3.4 C.2.2.2.1.3, C.2.2.2.5), by what they mean.
//!
//! In: the text of a key and of a candidate's value. Out: whether they match. A value that leaves out the minutes or the month
//! stands for all of the hour or the year, so two values match where they have a moment in common.
//!
//! A range of times whose end is before its beginning goes over midnight: the standard knows no such range, people who look
//! for the night's patients do.

use chrono::{DateTime, Datelike, Duration, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;
use dicom_core::VR;

/// From the first to the last microsecond, both inclusive; of a day, or since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    first: i64,
    last: i64,
}

/// What a key asks for. An open end is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    One(Span),
    Range(Option<Span>, Option<Span>),
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

impl Asked {
    /// Whether a value of a candidate is what was asked for.
    pub fn takes(self, vr: VR, known: &str, zone: Option<Tz>) -> bool {
        let Some(known) = span(vr, known, zone) else { return false };
        match self {
            Asked::One(one) => one.first <= known.last && known.first <= one.last,
            Asked::Range(from, to) => {
                let after = from.is_none_or(|from| from.first <= known.last);
                let before = to.is_none_or(|to| known.first <= to.last);
                let over_midnight =
                    matches!(vr, VR::TM) && matches!((from, to), (Some(from), Some(to)) if from.first > to.last);
                if over_midnight { after || before } else { after && before }
            }
        }
    }
}

/// Whether a key can be read.
pub fn is_readable(vr: VR, key: &str) -> bool {
    asked(vr, key, None).is_some()
}

/// A range of dates and one of times of the same form, as one range of moments.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    from: Option<i64>,
    to: Option<i64>,
}

impl Moments {
    /// Whether a candidate's date and time are in it; a time that is unknown may be any of the day.
    pub fn takes(&self, date: &str, time: Option<&str>) -> bool {
        let Some(day) = span(VR::DA, date, None) else { return false };
        let Some(time) = time.map_or(Some(Span { first: 0, last: DAY - 1 }), |time| span(VR::TM, time, None)) else {
            return false;
        };
        self.from.is_none_or(|from| from <= day.first + time.last)
            && self.to.is_none_or(|to| day.first + time.first <= to)
    }
}

/// `None`: the two are not ranges of the same form, and are matched each by itself.
pub fn moments(dates: &str, times: &str) -> Option<Moments> {
    let (Asked::Range(from_day, to_day), Asked::Range(from_time, to_time)) =
        (asked(VR::DA, dates, None)?, asked(VR::TM, times, None)?)
    else {
        return None;
    };
    let same = from_day.is_some() == from_time.is_some() && to_day.is_some() == to_time.is_some();
    let from = from_day.zip(from_time).map(|(day, time)| day.first + time.first);
    let to = to_day.zip(to_time).map(|(day, time)| day.first + time.last);
    same.then_some(Moments { from, to })
}

/// The first and last day a key of dates asks for, for looking up; open ends are `None`. `None`: it asks for no days.
pub fn days(key: &str) -> Option<(Option<NaiveDate>, Option<NaiveDate>)> {
    let day = |span: Span| DateTime::from_timestamp_micros(span.first).map(|at| at.date_naive());
    match asked(VR::DA, key, None)? {
        Asked::One(one) => Some((day(one), day(one))),
        Asked::Range(from, to) => Some((from.and_then(day), to.and_then(day))),
    }
}

/// `None`: it cannot be read.
pub fn asked(vr: VR, key: &str, zone: Option<Tz>) -> Option<Asked> {
    let key = key.trim();
    let mut backwards = None;
    for (at, _) in key.match_indices('-') {
        let (from, to) = (key[..at].trim(), key[at + 1..].trim());
        if from.is_empty() && to.is_empty() {
            return None;
        }
        let end = |text: &str| if text.is_empty() { Some(None) } else { span(vr, text, zone).map(Some) };
        let (Some(from), Some(to)) = (end(from), end(to)) else { continue };
        let range = Asked::Range(from, to);
        match (from, to) {
            (Some(from), Some(to)) if from.first > to.last && matches!(vr, VR::DT) => backwards = Some(range),
            _ => return Some(range),
        }
    }
    // `20261124103000-0500` is no range to the year 500, but five hours west of Greenwich.
    span(vr, key, zone).map(Asked::One).or(backwards)
}

fn span(vr: VR, text: &str, zone: Option<Tz>) -> Option<Span> {
    match vr {
        VR::DA => date(text),
        VR::TM => time(text),
        VR::DT => datetime(text, zone),
        _ => None,
    }
}

/// `YYYYMMDD`; `YYYY.MM.DD` of ACR-NEMA (PS3.5 Table 6.2-1).
fn date(text: &str) -> Option<Span> {
    let bytes = text.as_bytes();
    let plain =
        if bytes.len() == 10 && bytes[4] == b'.' && bytes[7] == b'.' { text.replace('.', "") } else { text.into() };
    if plain.len() != 8 {
        return None;
    }
    let first = day(number(&plain, 0, 4)?, number(&plain, 4, 6)?, number(&plain, 6, 8)?)?;
    let first = first.and_time(NaiveTime::MIN).and_utc().timestamp_micros();
    Some(Span { first, last: first + DAY - 1 })
}

fn day(year: u32, month: u32, day: u32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(i32::try_from(year).ok().filter(|year| *year > 0)?, month, day)
}

/// `HH`, `HHMM`, `HHMMSS`, `HHMMSS.F` to `.FFFFFF`; with colons as ACR-NEMA had them.
fn time(text: &str) -> Option<Span> {
    let bytes = text.as_bytes();
    let has_colons = bytes.len() >= 5 && bytes[2] == b':' && (bytes.len() == 5 || bytes[5] == b':');
    let plain = if has_colons { text.replace(':', "") } else { text.to_owned() };
    let (whole, fraction) = plain.split_once('.').map_or((plain.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let hours = i64::from(number(whole, 0, 2).filter(|hours| *hours < 24)?);
    let minutes = i64::from(part(whole, 2, 60)?.unwrap_or(0));
    // 60 is a leap second.
    let seconds = i64::from(part(whole, 4, 61)?.unwrap_or(0));
    let first = ((hours * 60 + minutes) * 60 + seconds) * SECOND;
    let length = match (whole.len(), fraction) {
        (2, None) => 3600 * SECOND,
        (4, None) => 60 * SECOND,
        (6, None) => SECOND,
        (6, Some(fraction)) => return after(first, fraction),
        _ => return None,
    };
    Some(Span { first, last: first + length - 1 })
}

/// The two digits at `at`, where the text goes that far.
fn part(text: &str, at: usize, below: u32) -> Option<Option<u32>> {
    if text.len() <= at {
        return Some(None);
    }
    number(text, at, at + 2).filter(|number| *number < below).map(Some)
}

/// With a fraction of a second: all of its last digit.
fn after(first: i64, fraction: &str) -> Option<Span> {
    if !(1..=6).contains(&fraction.len()) {
        return None;
    }
    let digits = i64::from(number(fraction, 0, fraction.len())?);
    let unit = 10_i64.pow(6 - u32::try_from(fraction.len()).ok()?);
    let first = first + digits * unit;
    Some(Span { first, last: first + unit - 1 })
}

fn number(text: &str, from: usize, to: usize) -> Option<u32> {
    let digits = text.get(from..to)?;
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// `YYYY[MM[DD[HH[MM[SS[.F]]]]]]`, with `+ZZXX` or `-ZZXX`.
fn datetime(text: &str, zone: Option<Tz>) -> Option<Span> {
    let (local, offset) = match text.len().checked_sub(5).and_then(|at| text.split_at_checked(at)) {
        Some((local, offset)) if offset.starts_with(['+', '-']) => (local, Some(minutes(offset)?)),
        _ => (text, None),
    };
    let (from, last) = local_span(local)?;
    let at = |moment: NaiveDateTime, latest: bool| match (offset, zone) {
        (Some(minutes), _) => Some(moment.checked_sub_signed(Duration::minutes(minutes))?.and_utc().timestamp_micros()),
        (None, Some(zone)) => Some(in_zone(zone, moment, latest)),
        (None, None) => Some(moment.and_utc().timestamp_micros()),
    };
    Some(Span { first: at(from, false)?, last: at(last, true)? })
}

/// Minutes east of Greenwich.
fn minutes(offset: &str) -> Option<i64> {
    let (hours, minutes) = (number(offset, 1, 3)?, number(offset, 3, 5).filter(|minutes| *minutes < 60)?);
    let minutes = i64::from(hours * 60 + minutes);
    (minutes <= 14 * 60).then_some(if offset.starts_with('-') { -minutes } else { minutes })
}

fn local_span(text: &str) -> Option<(NaiveDateTime, NaiveDateTime)> {
    let digits = text.split_once('.').map_or(text.len(), |(whole, _)| whole.len());
    let (year, month) = (number(text, 0, 4)?, if digits >= 6 { number(text, 4, 6)? } else { 1 });
    let first = day(year, month, if digits >= 8 { number(text, 6, 8)? } else { 1 })?;
    let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN);
    let moment = |micros: i64| midnight(first).checked_add_signed(Duration::microseconds(micros));
    match digits {
        4 => Some((midnight(first), just_before(midnight(first.with_year(first.year() + 1)?))?)),
        6 => Some((midnight(first), just_before(midnight(first.checked_add_months(chrono::Months::new(1))?))?)),
        8 => Some((midnight(first), moment(DAY - 1)?)),
        10 | 12 | 14 => {
            let hours = time(text.get(8..)?)?;
            Some((moment(hours.first)?, moment(hours.last)?))
        }
        _ => None,
    }
}

fn just_before(moment: NaiveDateTime) -> Option<NaiveDateTime> {
    moment.checked_sub_signed(Duration::microseconds(1))
}

/// An hour that comes twice is taken whole; one that is left out is taken as it would have been.
fn in_zone(zone: Tz, moment: NaiveDateTime, latest: bool) -> i64 {
    let found = zone.from_local_datetime(&moment);
    let found = if latest { found.latest() } else { found.earliest() };
    let gap = || zone.from_local_datetime(&(moment - Duration::hours(1))).latest().map(|at| at + Duration::hours(1));
    found.or_else(gap).map_or_else(|| moment.and_utc().timestamp_micros(), |at| at.timestamp_micros())
}
