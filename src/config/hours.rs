//! The civil side of a calendar: which minutes of a date are open, in OpenStreetMap `opening_hours` syntax.
//!
//! In: the text of `hours`, the country whose public holidays `PH` means, further holidays. Out: the open minutes of
//! any date. Reading and date selection are done by `opening-hours`; how several rules combine is done here,
//! because that crate drops the part of a rule that reaches past midnight (`Su 00:00-31:00`) when another rule has
//! times on the next day, which would leave Monday night without a reader.
//!
//! The specification's rules, as combined here for one date: `;` (normal) replaces what earlier rules say when its
//! days match, and adds its part from the evening before when they do not; `,` (additional) adds; `off` takes away.
//! Refused, because a route must be sure: `unknown`, comments, fallback (`||`), sun times, school holidays.
//!
//! Knows no time zone and no instant: `routing::calendar` does.

use chrono::NaiveDate;
use opening_hours::{Context, OpeningHours, localization::Country};
use opening_hours_syntax::{
    rules::time::{Time, TimeSelector},
    rules::{OpeningHoursExpression, RuleKind, RuleOperator, RuleSequence},
};
use std::sync::Arc;

/// Longest `hours` text accepted, bytes, and most rules in it: the evaluation of a date is linear in both.
const LONGEST_TEXT: usize = 2_000;
const MOST_RULES: usize = 50;

pub const DAY_MINUTES: u16 = 24 * 60;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HoursError {
    #[error("cannot be read at column {column}: {found}; expected for example \"Mo-Fr 18:00-07:00; PH 00:00-24:00\"")]
    Syntax { column: usize, found: String },
    #[error("{what}; {advice}")]
    Unsure { what: &'static str, advice: &'static str },
    #[error("{0}")]
    Other(String),
    #[error("country \"{0}\" has no public holidays here; expected an ISO 3166-1 code such as \"DE\", \"PL\", \"CZ\"")]
    Country(String),
}

/// A checked `hours` expression.
#[derive(Clone, Debug)]
pub struct Hours {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// The rule alone, always as if it were `open`: its minutes of a date, with what reaches over from the day before.
    times: OpeningHours,
    /// The rule's days alone, all day long: does the rule match this date?
    days: OpeningHours,
    combine: Combine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Combine {
    Replace,
    Add,
    TakeAway,
}

/// Open minutes of one date: ascending, disjoint, half-open, within 0 to 1440.
pub type Minutes = Vec<(u16, u16)>;

impl Hours {
    /// # Errors
    /// When the text cannot be read, or says something a route cannot be sure of.
    pub fn parse(text: &str, country: &str, holidays: &[NaiveDate]) -> Result<Self, HoursError> {
        if text.len() > LONGEST_TEXT {
            return Err(HoursError::Other(format!("is {} bytes long; expected at most {LONGEST_TEXT}", text.len())));
        }
        let expression = opening_hours_syntax::parse(text).map_err(|error| reading_error(text, &error))?;
        if expression.rules.len() > MOST_RULES {
            let found = expression.rules.len();
            return Err(HoursError::Other(format!("has {found} rules; expected at most {MOST_RULES}")));
        }
        let context = holiday_context(country, holidays)?;
        let rules = expression.rules.iter().map(|rule| single(rule, &context)).collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }

    /// The open minutes of `date`.
    pub fn open_minutes(&self, date: NaiveDate) -> Minutes {
        let mut open = Minutes::new();
        for rule in &self.rules {
            let own = minutes_of(&rule.times, date);
            match rule.combine {
                Combine::Replace if !minutes_of(&rule.days, date).is_empty() => open = own,
                Combine::Replace | Combine::Add => open = union(open, own),
                Combine::TakeAway => open = subtract(&open, &own),
            }
        }
        open
    }
}

fn single(rule: &RuleSequence, context: &Context) -> Result<Rule, HoursError> {
    let combine = match (rule.operator, rule.kind) {
        (RuleOperator::Fallback, _) => {
            return Err(HoursError::Unsure {
                what: "uses a fallback rule (\"||\")",
                advice: "write a second calendar and a second route instead",
            });
        }
        (_, RuleKind::Unknown) => {
            return Err(HoursError::Unsure {
                what: "uses \"unknown\" or a comment instead of times",
                advice: "say when it is open; comments belong behind a # in this file",
            });
        }
        (_, RuleKind::Closed) => Combine::TakeAway,
        (RuleOperator::Normal, RuleKind::Open) => Combine::Replace,
        (RuleOperator::Additional, RuleKind::Open) => Combine::Add,
    };
    if rule.time_selector.spans.iter().any(|span| span.open_end || span.repeats.is_some()) {
        return Err(HoursError::Unsure {
            what: "uses an open end (\"18:00+\") or a repetition",
            advice: "write the time at which it ends",
        });
    }
    let sunny = |time: &Time| matches!(time, Time::Variable(_));
    if rule.time_selector.spans.iter().any(|span| sunny(&span.range.start) || sunny(&span.range.end)) {
        return Err(HoursError::Unsure {
            what: "uses dawn, sunrise, sunset or dusk",
            advice: "write a time: readers are on duty by the clock",
        });
    }
    if rule.day_selector.to_string().contains("SH") {
        return Err(HoursError::Unsure {
            what: "uses school holidays (SH), which differ by region",
            advice: "write their dates, for example \"Dec 21-Jan 03 00:00-24:00\"",
        });
    }
    let opened =
        RuleSequence { kind: RuleKind::Open, operator: RuleOperator::Normal, comment: Arc::from(""), ..rule.clone() };
    let all_day = RuleSequence { time_selector: TimeSelector::default(), ..opened.clone() };
    Ok(Rule { times: evaluator(opened, context)?, days: evaluator(all_day, context)?, combine })
}

/// `opening-hours` takes text only, so the single rule is written out and read again; that it says the same is checked.
fn evaluator(rule: RuleSequence, context: &Context) -> Result<OpeningHours, HoursError> {
    let alone = OpeningHoursExpression { rules: vec![rule] };
    let text = alone.to_string();
    let read: OpeningHours = text.parse().map_err(|_| HoursError::Other(format!("cannot use the part \"{text}\"")))?;
    if *read.get_expression() != alone {
        return Err(HoursError::Other(format!("cannot use the part \"{text}\": write it as a rule of its own")));
    }
    Ok(read.with_context(context.clone()))
}

fn holiday_context(country: &str, holidays: &[NaiveDate]) -> Result<Context, HoursError> {
    let known: Country = country.parse().map_err(|_| HoursError::Country(country.to_owned()))?;
    let of_country = known.holidays();
    let mut public = of_country.get_public().clone();
    for date in holidays {
        public.insert(*date);
    }
    let school = Arc::new(of_country.get_school().clone());
    Ok(Context::default().with_holidays(opening_hours::ContextHolidays::new(Arc::new(public), school)))
}

fn reading_error(text: &str, error: &opening_hours_syntax::Error) -> HoursError {
    let opening_hours_syntax::Error::Syntax(syntax) = error else {
        return HoursError::Other(error.to_string());
    };
    // The parser's own types are not handed out; its text starts with ` --> line:column`.
    let shown = syntax.to_string();
    let place = shown.lines().next().and_then(|line| line.rsplit(':').next()).and_then(|at| at.trim().parse().ok());
    let offset = place.map_or(0, |column: usize| column.saturating_sub(1));
    let rest: String = text.chars().skip(offset).take(20).collect();
    let found = if rest.is_empty() { "the text ends too soon".to_owned() } else { format!("\"{rest}\"") };
    HoursError::Syntax { column: offset + 1, found }
}

fn minutes_of(rule: &OpeningHours, date: NaiveDate) -> Minutes {
    let ranges = rule.schedule_at(date).into_iter().filter(|range| range.kind == opening_hours::RuleKind::Open);
    let minutes = |time: opening_hours_syntax::ExtendedTime| time.mins_from_midnight().min(DAY_MINUTES);
    union(Minutes::new(), ranges.map(|range| (minutes(range.range.start), minutes(range.range.end))).collect())
}

fn union(mut left: Minutes, right: Minutes) -> Minutes {
    left.extend(right);
    left.retain(|(start, end)| start < end);
    left.sort_unstable();
    let mut merged = Minutes::with_capacity(left.len());
    for (start, end) in left {
        match merged.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

fn subtract(from: &Minutes, what: &Minutes) -> Minutes {
    let mut left = Minutes::new();
    for &(start, end) in from {
        let mut at = start;
        for &(cut_start, cut_end) in what.iter().filter(|cut| cut.1 > start && cut.0 < end) {
            if at < cut_start {
                left.push((at, cut_start));
            }
            at = at.max(cut_end);
        }
        if at < end {
            left.push((at, end));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(hours: &str, date: &str) -> String {
        let hours = Hours::parse(hours, "DE", &[]).expect("hours");
        let minutes = hours.open_minutes(date.parse().expect("date"));
        let text = |m: u16| format!("{:02}:{:02}", m / 60, m % 60);
        minutes.iter().map(|(a, b)| format!("{}-{}", text(*a), text(*b))).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn sunday_reaches_into_monday_only_if_it_says_so() {
        let short = "Mo-Fr 18:00-07:00; Sa,Su,PH 00:00-24:00";
        let long = "Mo-Fr 18:00-07:00; Sa,Su,PH 00:00-31:00";
        assert_eq!(open(short, "2026-11-23"), "18:00-24:00");
        assert_eq!(open(long, "2026-11-23"), "00:00-07:00,18:00-24:00");
        for sunday_or_saturday in ["2026-11-21", "2026-11-22"] {
            assert_eq!(open(long, sunday_or_saturday), "00:00-24:00");
        }
        assert_eq!(open(long, "2026-11-24"), "00:00-07:00,18:00-24:00");
    }

    #[test]
    fn the_day_after_a_holiday_is_covered_until_seven() {
        let long = "Mo-Fr 18:00-07:00; Sa,Su,PH 00:00-31:00";
        // Whit Monday, 2026-05-25, and the Tuesday after it.
        assert_eq!(open(long, "2026-05-25"), "00:00-24:00");
        assert_eq!(open(long, "2026-05-26"), "00:00-07:00,18:00-24:00");
    }

    #[test]
    fn off_takes_away_and_a_comma_adds() {
        assert_eq!(open("Mo-Fr 07:00-18:00; PH off", "2026-12-25"), "");
        assert_eq!(open("Mo-Fr 07:00-18:00; PH off", "2026-12-28"), "07:00-18:00");
        assert_eq!(open("Mo-Fr 07:00-18:00; We 12:00-13:00 off", "2026-11-25"), "07:00-12:00,13:00-18:00");
        assert_eq!(open("Mo 08:00-12:00, Mo 10:00-14:00", "2026-11-23"), "08:00-14:00");
        assert_eq!(open("Mo 08:00-18:00,09:00-10:00", "2026-11-23"), "08:00-18:00");
        assert_eq!(open("24/7", "2026-11-23"), "00:00-24:00");
    }

    #[test]
    fn saxon_holidays_can_be_written_as_rules_or_given_as_dates() {
        let rules = "Mo-Fr 18:00-07:00; Sa,Su,PH 00:00-31:00; Oct 31 00:00-31:00; Nov 16-22 We 00:00-31:00";
        assert_eq!(open(rules, "2026-11-18"), "00:00-24:00", "Buß- und Bettag");
        assert_eq!(open(rules, "2026-11-19"), "00:00-07:00,18:00-24:00", "the day after");
        assert_eq!(open(rules, "2025-10-31"), "00:00-24:00", "Reformationstag, a Friday");
        let extra: NaiveDate = "2026-11-18".parse().expect("date");
        let dated = Hours::parse("Mo-Fr 18:00-07:00; Sa,Su,PH 00:00-31:00", "DE", &[extra]).expect("hours");
        assert_eq!(dated.open_minutes(extra), vec![(0, DAY_MINUTES)]);
    }

    #[test]
    fn what_a_route_cannot_be_sure_of_is_refused() {
        for bad in ["Mo-Fr 8-18", "", "Mo-Fr 18:00-19:60", "foo"] {
            let error = Hours::parse(bad, "DE", &[]).expect_err(bad);
            assert!(matches!(error, HoursError::Syntax { .. }), "{bad}: {error}");
        }
        for unsure in ["Mo 08:00-12:00 unknown", "Mo 08:00-12:00 || Tu 10:00-11:00", "sunset-sunrise", "SH 08:00-12:00"]
        {
            let error = Hours::parse(unsure, "DE", &[]).expect_err(unsure);
            assert!(matches!(error, HoursError::Unsure { .. }), "{unsure}: {error}");
        }
        assert!(matches!(Hours::parse("24/7", "XX", &[]), Err(HoursError::Country(_))));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(100))]

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "[MoTuWeFrSaSuPH0-9:;, |-]{0,60}") {
            if let Ok(hours) = Hours::parse(&text, "DE", &[]) {
                for day in 0..40 {
                    let date = NaiveDate::from_ymd_opt(2026, 10, 1).expect("date") + chrono::Days::new(day);
                    let minutes = hours.open_minutes(date);
                    proptest::prop_assert!(minutes.windows(2).all(|pair| pair[0].1 < pair[1].0));
                    proptest::prop_assert!(minutes.iter().all(|(a, b)| a < b && *b <= DAY_MINUTES));
                }
            }
        }
    }
}
