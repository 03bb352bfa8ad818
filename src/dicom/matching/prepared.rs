//! Keys made ready once, to be matched with one candidate after the other: a list of ten thousand UIDs, or a pattern, is read
//! once and not for each of a million candidates.
//!
//! In: the keys of a request, and how to match. Out: [`Prepared`], which says of a candidate whether it fits. Whatever the keys
//! are, the work for one candidate is bounded by the length of keys and candidate; what is beyond the bounds of
//! [`check`](super::check) fits nothing.

use super::{
    MAX_DEPTH, MAX_LETTERS, MOMENTS, MatchOptions, is_no_key, joined, most_values,
    text::{self, NameKey, Pattern},
    times::{self, Asked, Moments},
    values,
};
use crate::dicom::service::DataSet;
use dicom_core::{Tag, VR, header::Header};
use dicom_object::mem::InMemElement;
use std::collections::HashSet;

/// The keys of a query, ready to be matched.
#[derive(Debug)]
pub struct Prepared {
    level: Level,
    options: MatchOptions,
}

/// The keys that restrict what fits, of a data set or of the item of a sequence.
#[derive(Debug)]
struct Level {
    /// Two that are one where the candidate has both.
    moments: Vec<(Tag, Tag, Moments)>,
    keys: Vec<(Tag, Key)>,
}

#[derive(Debug)]
enum Key {
    Never,
    /// Empty value matching (PS3.4 C.2.2.2.7): two quotation marks are no value of anything.
    Nothing,
    Item(Level),
    /// VR UN: what it is a key of tells what it is.
    Untold(Vec<String>),
    Of(Values),
}

#[derive(Debug)]
enum Values {
    Times(VR, Option<Asked>),
    Names(Vec<NameKey>),
    Texts(Vec<Pattern>),
    Uids(HashSet<String>),
    Numbers(Vec<String>),
}

impl Prepared {
    pub fn new(keys: &DataSet, options: MatchOptions) -> Self {
        Self { level: Level::new(keys, options, 0), options }
    }

    /// Whether the candidate fits every key. A key that cannot be read fits nothing.
    pub fn fits(&self, candidate: &DataSet) -> bool {
        self.level.fits(candidate, self.options)
    }
}

impl Level {
    fn new(keys: &DataSet, options: MatchOptions, depth: usize) -> Self {
        let restricting = keys.iter().filter(|key| !is_no_key(key.tag()));
        let keys_of = restricting.filter_map(|key| Some((key.tag(), Key::new(key, options, depth)?))).collect();
        let moments = if options.combined_datetime { moments(keys) } else { Vec::new() };
        Self { moments, keys: keys_of }
    }

    fn fits(&self, candidate: &DataSet, options: MatchOptions) -> bool {
        let mut together = Vec::new();
        for (date, time, range) in &self.moments {
            let (Some(day), Some(hour)) = (candidate.get(*date), candidate.get(*time)) else { continue };
            together.extend([*date, *time]);
            let fits = match values(day).first() {
                Some(day) => range.takes(day, values(hour).first().map(String::as_str)),
                None => options.unknown_matches,
            };
            if !fits {
                return false;
            }
        }
        self.keys
            .iter()
            .filter(|(tag, _)| !together.contains(tag))
            .all(|(tag, key)| candidate.get(*tag).is_none_or(|known| key.fits(known, options)))
    }
}

fn moments(keys: &DataSet) -> Vec<(Tag, Tag, Moments)> {
    let pairs = MOMENTS.into_iter().filter_map(|(date, time)| {
        let (dates, times) = (keys.get(date)?, keys.get(time)?);
        Some((date, time, times::moments(&joined(dates), &joined(times))?))
    });
    pairs.collect()
}

impl Key {
    /// `None`: whatever there is fits.
    fn new(key: &InMemElement, options: MatchOptions, depth: usize) -> Option<Self> {
        if let Some(items) = key.items() {
            let item = items.first()?;
            if depth >= MAX_DEPTH {
                return Some(Key::Never);
            }
            let level = Level::new(item, options, depth + 1);
            return (!level.keys.is_empty()).then_some(Key::Item(level));
        }
        let wanted = values(key);
        if wanted.is_empty() || super::is_universal(&wanted) {
            return None;
        }
        let is_long = |value: &String| value.chars().count() > MAX_LETTERS;
        if wanted.len() > most_values(key.vr()) || wanted.iter().any(is_long) {
            return Some(Key::Never);
        }
        if wanted == ["\"\""] {
            return Some(Key::Nothing);
        }
        Some(if key.vr() == VR::UN { Key::Untold(wanted) } else { Key::Of(Values::new(key.vr(), wanted, options)) })
    }

    /// Against what the candidate has there.
    fn fits(&self, known: &InMemElement, options: MatchOptions) -> bool {
        let of = match self {
            Key::Never => return false,
            Key::Item(level) => {
                let items = known.items().unwrap_or_default();
                // At least one of the items fits all the keys.
                return if items.is_empty() {
                    options.unknown_matches
                } else {
                    items.iter().any(|item| level.fits(item, options))
                };
            }
            Key::Nothing => return values(known).is_empty(),
            Key::Untold(wanted) => &Values::new(known.vr(), wanted.clone(), options),
            Key::Of(of) => of,
        };
        let known = values(known);
        if known.is_empty() {
            return options.unknown_matches;
        }
        // One of several values is enough, and all are returned (PS3.4 C.2.2.3).
        known.iter().any(|known| of.take(known, options))
    }
}

impl Values {
    fn new(vr: VR, wanted: Vec<String>, options: MatchOptions) -> Self {
        match vr {
            VR::DA | VR::TM | VR::DT => Values::Times(vr, times::asked(vr, &wanted.join("\\"), options.time_zone)),
            VR::PN => Values::Names(wanted.iter().map(|key| NameKey::new(key, options.names)).collect()),
            VR::AE | VR::CS | VR::LO | VR::LT | VR::SH | VR::ST | VR::UC | VR::UR | VR::UT => {
                Values::Texts(wanted.iter().map(|key| Pattern::new(key)).collect())
            }
            VR::UI => Values::Uids(wanted.into_iter().collect()),
            _ => Values::Numbers(wanted),
        }
    }

    fn take(&self, known: &str, options: MatchOptions) -> bool {
        match self {
            Values::Times(vr, asked) => asked.is_some_and(|asked| asked.takes(*vr, known, options.time_zone)),
            Values::Names(keys) => {
                let known = text::known_name(known, options.names);
                keys.iter().any(|key| key.takes(&known))
            }
            Values::Texts(keys) => keys.iter().any(|key| key.takes(known)),
            Values::Uids(keys) => keys.contains(known),
            Values::Numbers(keys) => keys.iter().any(|key| text::number(key, known)),
        }
    }
}
