//! Does every case have a reader at every minute? Pure; in: configuration, rules, a span of time (a year). Out: the
//! gaps, the rules that can never match, the windows that the change of the clocks touches, and what else a person
//! should know.
//!
//! Walks interval by interval, never minute by minute: the calendars' open intervals are laid out once, cases are
//! divided into classes that no rule tells apart (each source × discipline × modality × priority, and body part, AE
//! title, words and age where a rule asks for them), and each class' rules are subtracted from the year in file order.
//! What is left is a gap. Whether a rule's condition holds is asked of the same code that decides.
//!
//! Does not look at whether a reader keeps his hours, and does not change anything.

mod classes;
mod clocks;
mod sources;
mod text;

use super::calendar::Interval;
use super::decide::Rules;
use crate::config::{Config, Partner};
use crate::model::{Discipline, PartnerId};
use classes::{Class, Classes, Part, subclasses};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

pub use text::Gap;

/// Longer than any weekly window.
const EDGE: Duration = Duration::from_secs(8 * 86_400);

/// What a walk through the year found.
#[derive(Debug)]
pub struct Coverage {
    pub span: Interval,
    pub gaps: Vec<Gap>,
    pub dead: Vec<DeadRule>,
    /// One line for each calendar and change of the clocks that matters.
    pub clock_changes: Vec<String>,
    pub notes: Vec<String>,
    /// How many partners send cases, and how many classes of cases were walked.
    pub sources: usize,
    pub classes: usize,
}

impl Coverage {
    /// Every case has a reader at every minute, and every rule has its cases.
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty() && self.dead.is_empty()
    }
}

/// A rule that no case can ever meet in the span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadRule {
    /// Counting from 1, in file order.
    pub number: usize,
    pub name: String,
    pub why: String,
}

type Holes = Rc<Vec<Interval>>;
/// What is left of the year for a source's cases: the class, the part of it, the holes.
type Answer = Vec<(Class, String, Holes)>;

/// Walks `span`. `config` and `rules` must belong together.
pub fn coverage(config: &Config, rules: &Rules, span: Interval) -> Coverage {
    let classes = Classes::of(rules);
    // Laid out with a week on both sides, so that a hole at the edge is seen whole and told like the others.
    let wide = Interval { start: span.start - EDGE, end: span.end + EDGE };
    let (sources, readers_only) = sources::sources(config, rules);
    let mut walk = Walk::new(rules, wide, span);
    let mut found: BTreeMap<(Holes, String), BTreeMap<PartnerId, BTreeSet<Class>>> = BTreeMap::new();
    let mut notes = Vec::new();
    let mut answers: HashMap<(Vec<usize>, Option<PartnerId>), Rc<Answer>> = HashMap::new();
    for source in &sources {
        let list = rules_of(rules, &source.id);
        // Partners that no rule tells apart share one answer; the AE titles of a source are its own.
        let own_titles = list.iter().any(|rule| !rules.routes[*rule].route.when.calling_ae.is_unrestricted());
        let key = (list, own_titles.then(|| source.id.clone()));
        let answer = match answers.get(&key) {
            Some(answer) => Rc::clone(answer),
            None => {
                let answer = Rc::new(walk.source(source, &key.0, &classes, &mut notes));
                answers.insert(key, Rc::clone(&answer));
                answer
            }
        };
        for (class, label, holes) in answer.iter() {
            let gap = found.entry((Rc::clone(holes), label.clone())).or_default();
            gap.entry(source.id.clone()).or_default().insert(class.clone());
        }
    }
    notes.extend(classes.out_of_service(rules));
    notes.extend(readers_only);
    notes.extend(sources::unanswered(config, rules, &sources));
    notes.sort();
    notes.dedup();
    Coverage {
        span,
        gaps: text::group(found, config, &classes, wide),
        dead: walk.dead(&sources),
        clock_changes: clocks::changes(rules, span),
        notes,
        sources: sources.len(),
        classes: sources.len() * classes.all().count(),
    }
}

/// The rules whose `from` admits this source, in file order.
fn rules_of(rules: &Rules, source: &PartnerId) -> Vec<usize> {
    let admits = |(index, rule): (usize, &super::decide::Rule)| rule.route.when.from.holds(source).then_some(index);
    rules.routes.iter().enumerate().filter_map(admits).collect()
}

/// The year, laid out: each calendar's intervals, and what has been learnt of each rule.
struct Walk<'r> {
    rules: &'r Rules,
    /// Laid out.
    wide: Interval,
    /// Asked for.
    span: Interval,
    open: Vec<Vec<Interval>>,
    /// Has some case, at some time, this rule as its first match?
    reached: Vec<bool>,
    /// For a rule that had a case but no time left: the rules before it.
    blocked: Vec<Option<Vec<usize>>>,
    chains: HashMap<Vec<usize>, Holes>,
}

impl<'r> Walk<'r> {
    fn new(rules: &'r Rules, wide: Interval, span: Interval) -> Self {
        let open = rules.windows.iter().map(|window| window.intervals(wide.start, wide.end)).collect();
        let count = rules.routes.len();
        Self {
            rules,
            wide,
            span,
            open,
            reached: vec![false; count],
            blocked: vec![None; count],
            chains: HashMap::new(),
        }
    }

    /// The holes of every class of one source's cases.
    fn source(&mut self, source: &Partner, list: &[usize], classes: &Classes, notes: &mut Vec<String>) -> Answer {
        let mut holes = Vec::new();
        for class in classes.all() {
            let applicable: Vec<usize> =
                list.iter().copied().filter(|rule| class.admitted(&self.rules.routes[*rule].route.when)).collect();
            let (parts, whole) = subclasses(self.rules, source, class, &applicable);
            if !whole {
                notes.push(format!(
                    "{}: too many combinations of body part, AE title, words and age to walk them all; rules with such \
                     conditions were not counted on",
                    source.id
                ));
                // Cannot be proven dead either.
                applicable.iter().for_each(|rule| self.reached[*rule] = true);
            }
            for (left, label) in self.alike(parts) {
                holes.push((class.clone(), label, left));
            }
        }
        holes
    }

    /// The parts of a class by what is left of the year for them; parts without a hole are left out.
    fn alike(&mut self, parts: Vec<Part>) -> Vec<(Holes, String)> {
        let count = parts.len();
        let mut alike: Vec<(Holes, Vec<String>)> = Vec::new();
        for part in parts {
            let left = self.chain(part.rules);
            match alike.iter_mut().find(|(holes, _)| *holes == left) {
                Some((_, labels)) => labels.push(part.label),
                None => alike.push((left, vec![part.label])),
            }
        }
        alike.retain(|(holes, _)| !holes.is_empty());
        let told = |labels: Vec<String>| match labels.as_slice() {
            labels if labels.len() == count => String::new(),
            [only] => only.clone(),
            [first, others @ ..] => format!("{first}, and {} like it", others.len()),
            [] => String::new(),
        };
        alike.into_iter().map(|(holes, labels)| (holes, told(labels))).collect()
    }

    /// What the rules of one class leave of the year, taken in file order.
    fn chain(&mut self, chain: Vec<usize>) -> Holes {
        if let Some(known) = self.chains.get(&chain) {
            return Rc::clone(known);
        }
        let mut free = vec![self.wide];
        for (at, &rule) in chain.iter().enumerate() {
            let (taken, left) = match self.rules.routes[rule].window {
                None => (!free.is_empty(), Vec::new()),
                Some(window) => {
                    let left = subtract(&free, &self.open[window]);
                    (left != free, left)
                }
            };
            if taken {
                self.reached[rule] = true;
            } else if self.blocked[rule].is_none() {
                self.blocked[rule] = Some(chain[..at].to_vec());
            }
            free = left;
        }
        free.retain(|hole| hole.end > self.span.start && hole.start < self.span.end);
        let holes = Rc::new(free);
        self.chains.insert(chain, Rc::clone(&holes));
        holes
    }

    fn dead(&self, sources: &[&Partner]) -> Vec<DeadRule> {
        let dead = (0..self.rules.routes.len()).filter(|rule| !self.reached[*rule]);
        dead.map(|rule| {
            let name = self.rules.routes[rule].route.name.clone();
            DeadRule { number: rule + 1, name, why: self.why_dead(rule, sources) }
        })
        .collect()
    }

    fn why_dead(&self, rule: usize, sources: &[&Partner]) -> String {
        let route = &self.rules.routes[rule].route;
        if let Some(window) = self.rules.routes[rule].window
            && self.open[window].is_empty()
        {
            return format!("its calendar \"{}\" is not open once", self.rules.windows[window].name);
        }
        if !sources.iter().any(|source| route.when.from.holds(&source.id)) {
            return "no partner in its \"from\" sends anything (no senders under [dicom] or [hl7])".to_owned();
        }
        let Some(before) = &self.blocked[rule] else {
            return "no case can meet its conditions together".to_owned();
        };
        let takes = |other: &&usize| match (self.rules.routes[**other].window, self.rules.routes[rule].window) {
            (Some(one), Some(two)) => one == two || subtract(&self.open[two], &self.open[one]) != self.open[two],
            _ => true,
        };
        let names: Vec<String> = before
            .iter()
            .filter(takes)
            .map(|other| format!("{}. \"{}\"", other + 1, self.rules.routes[*other].route.name))
            .collect();
        let shown = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let more = if names.len() > 3 { format!(" and {} others", names.len() - 3) } else { String::new() };
        format!("every case it asks for is taken earlier, by {shown}{more}")
    }
}

/// What of `from` is not in `what`; both ascending and apart.
fn subtract(from: &[Interval], what: &[Interval]) -> Vec<Interval> {
    let mut left = Vec::new();
    let mut next = 0;
    for piece in from {
        let mut at = piece.start;
        while what.get(next).is_some_and(|cut| cut.end <= at) {
            next += 1;
        }
        let mut cut_at = next;
        while let Some(cut) = what.get(cut_at).filter(|cut| cut.start < piece.end) {
            if at < cut.start {
                left.push(Interval { start: at, end: cut.start });
            }
            at = at.max(cut.end);
            cut_at += 1;
        }
        if at < piece.end {
            left.push(Interval { start: at, end: piece.end });
        }
    }
    left
}

/// Is this discipline part of the service: may any rule take such a case?
fn in_service(rules: &Rules, discipline: Discipline) -> bool {
    rules.routes.iter().any(|rule| {
        let when = &rule.route.when;
        let fits = |modality: &String| Discipline::of_modality(modality) == discipline;
        let modality = when.modality.any.is_empty() || when.modality.any.iter().any(fits);
        when.discipline.any.contains(&discipline) || (when.discipline.holds(&discipline) && modality)
    })
}

#[cfg(test)]
mod tests;
