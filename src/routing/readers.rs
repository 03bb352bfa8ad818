//! Which of a decision's readers is offered the case first, and who comes next. Pure.
//!
//! In: the readers a rule names, with their weights, and what is known of them now: who is down, how much each has open, who
//! reads this patient already. Out: the readers in the order of the offers, with a reason for each change. Nobody is added and
//! nobody left out: who is down comes last, and has its turn again when it is back.

use crate::{
    config::{Reader, Route},
    model::{PartnerId, Reading},
};
use std::collections::BTreeMap;

/// What is known of the readers at this moment.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Takes nothing since so long that it counts as down.
    pub down: Vec<PartnerId>,
    /// Offered, or claimed and not reported.
    pub open: BTreeMap<PartnerId, i64>,
    /// Reads another open case of the same patient; the latest first.
    pub of_patient: Vec<PartnerId>,
}

impl Known {
    pub fn is_down(&self, reader: &PartnerId) -> bool {
        self.down.contains(reader)
    }
}

/// The readers that share what a route brings, with their weights.
pub fn shares(route: &Route, origin: &PartnerId) -> Vec<(PartnerId, u32)> {
    let mut shares: Vec<(PartnerId, u32)> = Vec::new();
    for (reader, weight) in route.to.iter().zip(&route.share) {
        let id = match reader {
            Reader::Origin => origin,
            Reader::Partner(id) => id,
        };
        if !shares.iter().any(|(known, _)| known == id) {
            shares.push((id.clone(), *weight));
        }
    }
    shares
}

/// Puts the readers into the order in which they are offered the case. Returns why.
pub fn arrange(reading: &mut Reading, route: &Route, origin: &PartnerId, known: &Known) -> Vec<String> {
    let mut reasons = Vec::new();
    let up: Vec<(PartnerId, u32)> = shares(route, origin).into_iter().filter(|(id, _)| !known.is_down(id)).collect();
    let shared = furthest_below(&up, &known.open);
    if let Some((chosen, _)) = &shared {
        first(&mut reading.readers, chosen);
    }
    let stays = |reader: &&PartnerId| reading.readers.contains(reader) && !known.is_down(reader);
    let same = known.of_patient.iter().find(stays).filter(|_| route.same_reader);
    if let Some(same) = same {
        reasons.push(format!("{same} reads another open case of this patient"));
        first(&mut reading.readers, same);
    } else {
        reasons.extend(shared.map(|(_, why)| why));
    }
    let down: Vec<PartnerId> = reading.readers.iter().filter(|reader| known.is_down(reader)).cloned().collect();
    if !down.is_empty() && down.len() < reading.readers.len() {
        reading.readers.retain(|reader| !down.contains(reader));
        reasons.extend(down.iter().map(|reader| format!("{reader} is down: it comes last")));
        reading.readers.extend(down);
    }
    reasons
}

fn first(readers: &mut [PartnerId], chosen: &PartnerId) {
    if let Some(at) = readers.iter().position(|reader| reader == chosen) {
        readers[..=at].rotate_right(1);
    }
}

/// Who is furthest below its part of what is open, the new case counted in; of equals the first.
fn furthest_below(shares: &[(PartnerId, u32)], open: &BTreeMap<PartnerId, i64>) -> Option<(PartnerId, String)> {
    let load = |id: &PartnerId| i128::from(open.get(id).copied().unwrap_or(0));
    let weights: i128 = shares.iter().map(|(_, weight)| i128::from(*weight)).sum();
    let total: i128 = shares.iter().map(|(id, _)| load(id)).sum::<i128>() + 1;
    // Whole numbers: the same question has the same answer on every machine.
    let below = |(id, weight): &(PartnerId, u32)| i128::from(*weight) * total - load(id) * weights;
    let mut chosen = shares.first()?;
    for share in shares {
        if below(share) > below(chosen) {
            chosen = share;
        }
    }
    let said: Vec<String> =
        shares.iter().map(|(id, weight)| format!("{id} {weight} of {weights} with {} open", load(id))).collect();
    let id = chosen.0.clone();
    Some((id.clone(), format!("shared by {}: {id} is furthest below its part", said.join(", "))))
}

/// What becomes of an offer that its reader does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    To(PartnerId),
    /// All that are left are down now.
    Later,
    Nobody,
}

/// Who is offered the case next: the first in order that has not been offered it and can take it.
pub fn next(readers: &[PartnerId], offered: &[PartnerId], known: &Known, can: impl Fn(&PartnerId) -> bool) -> Next {
    let mut left = readers.iter().filter(|reader| !offered.contains(reader) && can(reader)).peekable();
    let any = left.peek().is_some();
    match left.find(|reader| !known.is_down(reader)) {
        Some(reader) => Next::To(reader.clone()),
        None if any => Next::Later,
        None => Next::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Condition, model::ReadingMode};
    use proptest::prelude::*;

    fn id(name: &str) -> PartnerId {
        PartnerId::new(name).expect("a partner")
    }

    fn ids(names: &[&str]) -> Vec<PartnerId> {
        names.iter().map(|name| id(name)).collect()
    }

    fn route(to: &[&str], share: &[u32]) -> Route {
        Route {
            name: "Pool".into(),
            when: Condition::default(),
            during: None,
            to: to.iter().map(|name| Reader::Partner(id(name))).collect(),
            share: share.to_vec(),
            same_reader: true,
            also_to: Vec::new(),
            claim_within: None,
            report_within: None,
            reading_mode: ReadingMode::RemoteReading,
        }
    }

    fn reading(readers: &[&str]) -> Reading {
        Reading {
            rule: "Pool".into(),
            readers: ids(readers),
            also_to: Vec::new(),
            reading_mode: ReadingMode::RemoteReading,
            claim_within: None,
            report_within: None,
            window_ends: None,
        }
    }

    fn order(route: &Route, known: &Known) -> Vec<String> {
        let names: Vec<String> = route
            .to
            .iter()
            .filter_map(|to| match to {
                Reader::Partner(id) => Some(id.to_string()),
                Reader::Origin => None,
            })
            .collect();
        let mut reading = reading(&names.iter().map(String::as_str).collect::<Vec<_>>());
        arrange(&mut reading, route, &id("zittau"), known);
        reading.readers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn weights_are_kept_to_as_cases_come() {
        let (route, mut known) = (route(&["a1", "b1"], &[60, 40]), Known::default());
        let mut went = String::new();
        for _ in 0..10 {
            let first = order(&route, &known).remove(0);
            went.push_str(&first[..1]);
            *known.open.entry(id(&first)).or_default() += 1;
        }
        assert_eq!((known.open[&id("a1")], known.open[&id("b1")]), (6, 4), "{went}");
    }

    #[test]
    fn the_same_patient_stays_with_the_same_reader_unless_that_is_down() {
        let route = route(&["a1", "b1", "c1"], &[]);
        let mut known = Known { of_patient: ids(&["x1", "c1", "b1"]), ..Known::default() };
        assert_eq!(order(&route, &known), ["c1", "a1", "b1"]);
        known.down = ids(&["c1"]);
        assert_eq!(order(&route, &known), ["b1", "a1", "c1"]);
        assert_eq!(order(&Route { same_reader: false, ..route.clone() }, &known), ["a1", "b1", "c1"]);
    }

    #[test]
    fn who_is_down_comes_last_and_when_all_are_the_order_stays() {
        let route = route(&["a1", "b1"], &[60, 40]);
        let down = |names: &[&str]| Known { down: ids(names), ..Known::default() };
        assert_eq!(order(&route, &down(&["a1"])), ["b1", "a1"]);
        assert_eq!(order(&route, &down(&["a1", "b1"])), ["a1", "b1"]);
    }

    #[test]
    fn the_next_has_not_been_offered_it_and_is_not_down() {
        let readers = ids(&["a1", "b1", "c1"]);
        let known = Known { down: ids(&["b1"]), ..Known::default() };
        let next = |offered: &[&str]| super::next(&readers, &ids(offered), &known, |_| true);
        assert_eq!(next(&["a1"]), Next::To(id("c1")));
        assert_eq!(next(&["a1", "c1"]), Next::Later);
        assert_eq!(next(&["a1", "b1", "c1"]), Next::Nobody);
        assert_eq!(super::next(&readers, &ids(&["a1"]), &known, |reader| *reader == id("b1")), Next::Later);
    }

    proptest! {
        #[test]
        fn nobody_is_added_or_left_out(down in proptest::collection::vec(0usize..4, 0..4), same in 0usize..4, open in 0i64..1000) {
            let names = ["a1", "b1", "c1", "d1"];
            let known = Known {
                down: down.iter().map(|at| id(names[*at])).collect(),
                of_patient: vec![id(names[same])],
                open: BTreeMap::from([(id("a1"), open)]),
            };
            let mut found = order(&route(&names, &[3, 2]), &known);
            let first_is_up = !known.is_down(&id(&found[0]));
            prop_assert!(first_is_up || names.iter().all(|name| known.is_down(&id(name))));
            found.sort();
            prop_assert_eq!(found, names);
        }
    }
}
