//! Cases divided into classes that no rule tells apart, so that one case of each class answers for all.
//!
//! In: the rules. Out: discipline × modality × priority, and for a source's rules that ask for more (body part, AE
//! title, words, age) the parts of such a class with the rules that hold for each.

use super::super::condition::{CaseFacts, Prepared};
use super::super::decide::Rules;
use crate::config::{Condition, Partner};
use crate::model::{Discipline, Priority};
use std::collections::BTreeSet;

/// More parts of one class than this are not walked.
const MOST_PARTS: usize = 2_048;
/// With more words than this, every word alone, none and all are tried instead of every combination.
const MOST_WORDS: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Class {
    pub discipline: Discipline,
    /// Empty: any modality that no rule names, and orders without images.
    pub modality: String,
    pub priority: Priority,
}

impl Class {
    /// Whether the part of a condition that classes are made of holds.
    pub fn admitted(&self, when: &Condition) -> bool {
        when.discipline.holds(&self.discipline)
            && when.modality.holds(&self.modality)
            && when.priority.holds(&self.priority)
    }
}

#[derive(Debug)]
pub(super) struct Classes {
    classes: Vec<Class>,
}

impl Classes {
    pub fn of(rules: &Rules) -> Self {
        let mut modalities: BTreeSet<String> = BTreeSet::new();
        for rule in &rules.routes {
            let asked = &rule.route.when.modality;
            modalities.extend(asked.any.iter().chain(&asked.none).cloned());
        }
        let mut classes = Vec::new();
        for discipline in Discipline::ALL.into_iter().filter(|discipline| super::in_service(rules, *discipline)) {
            let own = modalities.iter().filter(|modality| Discipline::of_modality(modality) == discipline);
            for modality in own.cloned().chain([String::new()]) {
                for priority in Priority::ALL {
                    classes.push(Class { discipline, modality: modality.clone(), priority });
                }
            }
        }
        Self { classes }
    }

    pub fn all(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter()
    }

    pub fn modalities(&self, discipline: Discipline) -> BTreeSet<&str> {
        let of = self.classes.iter().filter(|class| class.discipline == discipline);
        of.map(|class| class.modality.as_str()).collect()
    }

    /// Disciplines that no rule mentions are no gap, but what comes of them is held.
    pub fn out_of_service(&self, rules: &Rules) -> Vec<String> {
        let missing = Discipline::ALL.into_iter().filter(|discipline| !super::in_service(rules, *discipline));
        missing
            .map(|discipline| format!("no rule is for {discipline}: such cases would be held for a person"))
            .collect()
    }
}

/// A part of a class: what sets it apart, and the rules that hold for it, in file order.
pub(super) struct Part {
    pub label: String,
    pub rules: Vec<usize>,
}

/// Divides a class by whatever else its rules ask for. False when there were too many parts: then only the rules that
/// ask for nothing else are counted on.
pub(super) fn subclasses(rules: &Rules, source: &Partner, class: &Class, applicable: &[usize]) -> (Vec<Part>, bool) {
    let narrow = |rule: &&usize| asks_more(&rules.routes[**rule].route.when);
    if !applicable.iter().any(|rule| narrow(&rule)) {
        return (vec![Part { label: String::new(), rules: applicable.to_vec() }], true);
    }
    let axes = Axes::of(rules, source, applicable);
    if axes.count() > MOST_PARTS {
        let sure = applicable.iter().filter(|rule| !narrow(rule)).copied().collect();
        return (vec![Part { label: String::new(), rules: sure }], false);
    }
    let parts = axes.combinations().into_iter().map(|point| {
        let facts = point.facts(source, class);
        let prepared = Prepared::new(&facts);
        let holds = |rule: &usize| rules.routes[*rule].condition.fails(&prepared).is_none();
        Part { label: point.label(&axes), rules: applicable.iter().copied().filter(holds).collect() }
    });
    (parts.collect(), true)
}

fn asks_more(when: &Condition) -> bool {
    !(when.body_part.is_unrestricted()
        && when.calling_ae.is_unrestricted()
        && when.called_ae.is_unrestricted()
        && when.description.is_unrestricted())
        || when.age_min.is_some()
        || when.age_max.is_some()
}

/// Every value the rules tell apart, each axis with one value for "any other".
struct Axes {
    body_part: Vec<String>,
    calling_ae: Vec<String>,
    called_ae: Vec<String>,
    /// Descriptions that contain some of the words.
    description: Vec<Vec<String>>,
    age: Vec<Option<u32>>,
}

impl Axes {
    fn of(rules: &Rules, source: &Partner, applicable: &[usize]) -> Self {
        let mut body_part = BTreeSet::from([String::new()]);
        let (mut calling_ae, mut called_ae) = (BTreeSet::new(), BTreeSet::from([String::new()]));
        let (mut words, mut age) = (BTreeSet::new(), BTreeSet::new());
        for rule in applicable {
            let when = &rules.routes[*rule].route.when;
            body_part.extend(when.body_part.any.iter().chain(&when.body_part.none).cloned());
            calling_ae.extend(when.calling_ae.any.iter().chain(&when.calling_ae.none).cloned());
            called_ae.extend(when.called_ae.any.iter().chain(&when.called_ae.none).cloned());
            words.extend(when.description.any.iter().chain(&when.description.none).map(|word| word.to_lowercase()));
            age.extend(when.age_min.iter().flat_map(|least| [least.saturating_sub(1), *least]));
            age.extend(when.age_max.iter().flat_map(|most| [*most, most.saturating_add(1)]));
        }
        let age = std::iter::once(None).chain(age.into_iter().map(Some)).collect();
        let calling_ae = calling_titles(source, calling_ae);
        let (body_part, called_ae) = (body_part.into_iter().collect(), called_ae.into_iter().collect());
        Self { body_part, calling_ae, called_ae, description: combinations(words), age }
    }

    fn count(&self) -> usize {
        let sizes = [self.body_part.len(), self.calling_ae.len(), self.called_ae.len(), self.description.len()];
        sizes.into_iter().fold(self.age.len(), usize::saturating_mul)
    }

    fn combinations(&self) -> Vec<Point<'_>> {
        let mut points = Vec::with_capacity(self.count());
        for body_part in &self.body_part {
            for calling_ae in &self.calling_ae {
                for called_ae in &self.called_ae {
                    for words in &self.description {
                        for age in &self.age {
                            points.push(Point { body_part, calling_ae, called_ae, words, age: *age });
                        }
                    }
                }
            }
        }
        points
    }
}

/// The named titles that the source has; "any other" unless every sender is named and no order can come without one.
fn calling_titles(source: &Partner, named: BTreeSet<String>) -> Vec<String> {
    let own: BTreeSet<&str> =
        source.dicom.iter().flat_map(|dicom| &dicom.senders).map(|sender| sender.ae_title.as_str()).collect();
    let orders = source.hl7.as_ref().is_some_and(|hl7| !hl7.senders.is_empty());
    let others = orders || own.is_empty() || own.iter().any(|title| !named.contains(*title));
    let mut titles: Vec<String> = named.into_iter().filter(|title| own.contains(title.as_str())).collect();
    if others {
        titles.push(String::new());
    }
    titles
}

fn combinations(words: BTreeSet<String>) -> Vec<Vec<String>> {
    let words: Vec<String> = words.into_iter().collect();
    if words.len() > MOST_WORDS {
        let alone = words.iter().map(|word| vec![word.clone()]);
        return [Vec::new(), words.clone()].into_iter().chain(alone).collect();
    }
    let chosen = |mask: usize| {
        words.iter().enumerate().filter(|(at, _)| mask & (1 << at) != 0).map(|(_, word)| word.clone()).collect()
    };
    (0..1usize << words.len()).map(chosen).collect()
}

struct Point<'a> {
    body_part: &'a str,
    calling_ae: &'a str,
    called_ae: &'a str,
    words: &'a [String],
    age: Option<u32>,
}

impl Point<'_> {
    fn facts(&self, source: &Partner, class: &Class) -> CaseFacts {
        CaseFacts {
            origin: source.id.clone(),
            discipline: class.discipline,
            modality: class.modality.clone(),
            priority: class.priority,
            body_part: self.body_part.to_owned(),
            // No word reaches over the separator into the next.
            description: self.words.join("\u{1}"),
            calling_ae: self.calling_ae.to_owned(),
            called_ae: self.called_ae.to_owned(),
            age_years: self.age,
        }
    }

    /// What sets this part apart: `body part HEAD, age 17`. Axes with one value say nothing.
    fn label(&self, axes: &Axes) -> String {
        let value = |what: &str, value: &str, count: usize| match (count, value) {
            (0 | 1, _) => None,
            (_, "") => Some(format!("any other {what}")),
            (_, value) => Some(format!("{what} {value}")),
        };
        let words = match (axes.description.len(), self.words) {
            (0 | 1, _) => None,
            (_, []) => Some("no such word in the description".to_owned()),
            (_, words) => Some(format!("described as \"{}\"", words.join("\" and \""))),
        };
        let age = match (axes.age.len(), self.age) {
            (0 | 1, _) => None,
            (_, None) => Some("age not known".to_owned()),
            (_, Some(age)) => Some(format!("age {age}")),
        };
        let parts = [
            value("body part", self.body_part, axes.body_part.len()),
            value("calling AE title", self.calling_ae, axes.calling_ae.len()),
            value("called AE title", self.called_ae, axes.called_ae.len()),
            words,
            age,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
