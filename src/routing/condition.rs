//! Does a rule's condition hold for a case, and if not, why not?
//!
//! In: what is known of a case. Out: yes, or the first condition that fails, in words. The words name what the rule
//! asks for and, of the case, only what is no patient data: they are stored and shown with the decision.

use crate::config::{Condition, OneOf};
use crate::model::{Discipline, PartnerId, Priority};
use std::fmt::{self, Display, Write as _};

/// What rules may ask about. Filled from order and images by whoever decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseFacts {
    pub origin: PartnerId,
    pub discipline: Discipline,
    /// (0008,0060); empty for an order without images.
    pub modality: String,
    pub priority: Priority,
    /// (0018,0015).
    pub body_part: String,
    /// (0008,1030).
    pub description: String,
    /// Empty for an order.
    pub calling_ae: String,
    pub called_ae: String,
    /// At the study; None where the birth date is not known.
    pub age_years: Option<u32>,
}

/// A condition with its search words in lower case, so that a decision folds the case of the description once.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    condition: Condition,
}

/// The description in lower case and codes without padding: made once for a decision.
#[derive(Debug)]
pub(super) struct Prepared<'f> {
    facts: &'f CaseFacts,
    modality: String,
    body_part: String,
    calling_ae: String,
    called_ae: String,
    description: String,
}

impl<'f> Prepared<'f> {
    pub fn new(facts: &'f CaseFacts) -> Self {
        Self {
            facts,
            modality: facts.modality.trim().to_uppercase(),
            body_part: facts.body_part.trim().to_uppercase(),
            calling_ae: facts.calling_ae.trim().to_owned(),
            called_ae: facts.called_ae.trim().to_owned(),
            description: facts.description.to_lowercase(),
        }
    }
}

impl Compiled {
    pub fn new(condition: &Condition) -> Self {
        let mut condition = condition.clone();
        for word in condition.description.any.iter_mut().chain(&mut condition.description.none) {
            *word = word.to_lowercase();
        }
        Self { condition }
    }

    /// None when every condition holds; otherwise the first that does not.
    pub fn fails(&self, case: &Prepared<'_>) -> Option<String> {
        let asked = &self.condition;
        let facts = case.facts;
        check("from", &asked.from, &facts.origin)
            .or_else(|| check("discipline", &asked.discipline, &facts.discipline))
            .or_else(|| check("modality", &asked.modality, &case.modality))
            .or_else(|| check("priority", &asked.priority, &facts.priority))
            .or_else(|| check("body part", &asked.body_part, &case.body_part))
            .or_else(|| check("calling AE title", &asked.calling_ae, &case.calling_ae))
            .or_else(|| check("called AE title", &asked.called_ae, &case.called_ae))
            .or_else(|| self.description_fails(&case.description))
            .or_else(|| self.age_fails(facts.age_years))
    }

    /// The description may hold a name, so only the rule's own words are repeated.
    fn description_fails(&self, description: &str) -> Option<String> {
        let OneOf { any, none } = &self.condition.description;
        if let Some(word) = none.iter().find(|word| description.contains(word.as_str())) {
            return Some(format!("the study description contains \"{word}\""));
        }
        let found = any.is_empty() || any.iter().any(|word| description.contains(word.as_str()));
        if found { None } else { Some(format!("the study description does not contain {}", either(any))) }
    }

    fn age_fails(&self, age: Option<u32>) -> Option<String> {
        let (least, most) = (self.condition.age_min, self.condition.age_max);
        if least.is_none() && most.is_none() {
            return None;
        }
        let range = match (least, most) {
            (Some(least), Some(most)) => format!("{least} to {most}"),
            (Some(least), None) => format!("{least} or more"),
            (None, most) => format!("{} or less", most.unwrap_or_default()),
        };
        match age {
            None => Some(format!("the patient's age is not known, the rule asks for {range}")),
            Some(age) if least.is_some_and(|least| age < least) || most.is_some_and(|most| age > most) => {
                Some(format!("the patient's age is not {range}"))
            }
            Some(_) => None,
        }
    }
}

fn check<T: PartialEq + Display>(what: &str, asked: &OneOf<T>, value: &T) -> Option<String> {
    if asked.holds(value) {
        return None;
    }
    // A header may hold anything: never more of it than a code string is long (VR CS, PS3.5 6.2), except partner ids.
    let shown: String = value.to_string().chars().filter(|c| !c.is_control()).take(32).collect();
    let shown = if shown.is_empty() { "not given" } else { shown.as_str() };
    let listed = if asked.none.contains(value) { &asked.none } else { &asked.any };
    let verb = if asked.none.contains(value) { "excludes" } else { "asks for" };
    Some(format!("{what} is {shown}, the rule {verb} {}", either(listed)))
}

/// `CT, CR or DX`; a long list is cut.
pub(super) fn either<T: Display>(values: &[T]) -> String {
    const SHOWN: usize = 6;
    let mut text = String::new();
    for (index, value) in values.iter().take(SHOWN).enumerate() {
        let joint = match index {
            0 => "",
            _ if index + 1 == values.len() => " or ",
            _ => ", ",
        };
        let _ = write!(text, "{joint}{value}");
    }
    if values.len() > SHOWN {
        let _ = write!(text, " or {} others", values.len() - SHOWN);
    }
    text
}

impl fmt::Display for CaseFacts {
    /// What a person needs to recognise the question; no patient data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modality = if self.modality.is_empty() { "no images" } else { &self.modality };
        write!(f, "{}, {}, {modality}, {}", self.origin, self.discipline, self.priority)
    }
}
