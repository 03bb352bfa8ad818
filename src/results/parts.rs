//! Which of the case's orders each part of a report answers. Pure.
//!
//! In: the orders that the parts name, the case, and the orders it answers. Out: the origin's numbers of each, in the same
//! order. An order is known by its placer order number, else its filler order number, else its accession number. What a
//! reader counts itself is no number of the origin's and does not go home; an order of the origin's that is not known here
//! does, as its reader wrote it, for under another order's number it would be filed in the wrong place.

use super::correlate::Clues;
use crate::model::{IssuedId, OrderNumbers, StudyFacts};

/// What the parts of a report answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// As many as the clues have; empty where all of them are the case's own.
    pub orders: Vec<OrderNumbers>,
    /// One of them names an order that is not known here.
    pub unknown: bool,
}

/// The numbers of the case's orders that the parts of a report answer.
pub fn answered(clues: &Clues, facts: &StudyFacts, known: &[OrderNumbers]) -> Answered {
    if clues.orders.len() < 2 {
        return Answered::default();
    }
    let case = Case { own: own(facts), known, patient: &facts.patient_id.issuer };
    let parts: Vec<(OrderNumbers, bool)> = clues.orders.iter().map(|named| case.order(named)).collect();
    let unknown = parts.iter().any(|(_, is_known)| !is_known);
    let orders: Vec<OrderNumbers> = parts.into_iter().map(|(order, _)| order).collect();
    if orders.iter().all(|order| *order == case.own) { Answered::default() } else { Answered { orders, unknown } }
}

/// What the case goes by, each number with who gave it: its order, or the origin.
fn own(facts: &StudyFacts) -> OrderNumbers {
    let origin = facts.accession.issuer.as_str();
    let numbered = |number: &str, by: &str| {
        let issuer = if by.is_empty() { origin } else { by };
        if number.is_empty() { IssuedId::default() } else { IssuedId::new(number, issuer) }
    };
    OrderNumbers {
        placer: numbered(&facts.placer_order_number, &facts.placer_issuer),
        filler: numbered(&facts.filler_order_number, &facts.filler_issuer),
        accession: facts.accession.clone(),
    }
}

struct Case<'a> {
    own: OrderNumbers,
    known: &'a [OrderNumbers],
    /// Who gave the patient's identifier.
    patient: &'a str,
}

impl Case<'_> {
    /// The origin's numbers of what a part names; whether it is known here.
    fn order(&self, named: &OrderNumbers) -> (OrderNumbers, bool) {
        let all = || self.known.iter().chain([&self.own]);
        let best = all().map(|known| (agreement(named, known), known)).rev().max_by_key(|(score, _)| *score);
        if let Some((_, known)) = best.filter(|(score, _)| *score > 0) {
            return (self.completed(known, named), true);
        }
        if named.placer.is_empty() {
            // Its reader's own count, or a second number of the one order.
            return (self.completed(&self.own, named), true);
        }
        let is_issued = |id: &&IssuedId| !id.is_empty() && self.is_origins(id);
        let order = OrderNumbers {
            placer: self.with_issuer(&named.placer),
            filler: Some(&named.filler).filter(is_issued).cloned().unwrap_or_default(),
            accession: Some(&named.accession).filter(is_issued).unwrap_or(&self.own.accession).clone(),
        };
        (order, self.is_origins(&named.placer))
    }

    /// A known order, with what it says nothing of itself: the case's accession number, and a filler number of its own
    /// where the origin has given the part one.
    fn completed(&self, known: &OrderNumbers, named: &OrderNumbers) -> OrderNumbers {
        let accession = if known.accession.is_empty() { &self.own.accession } else { &known.accession };
        let is_a_filler = |filler: &&IssuedId| {
            ![&accession.value, &known.placer.value, &self.own.placer.value].contains(&&filler.value)
                && !filler.is_empty()
                && self.is_origins(filler)
        };
        let filler = Some(&named.filler).filter(is_a_filler).unwrap_or(&known.filler);
        OrderNumbers {
            placer: self.with_issuer(&known.placer),
            filler: self.with_issuer(filler),
            accession: accession.clone(),
        }
    }

    /// Issued by who issued what the case goes by.
    fn is_origins(&self, id: &IssuedId) -> bool {
        let own = [&self.own.placer, &self.own.filler, &self.own.accession].into_iter();
        let known = self.known.iter().flat_map(|order| [&order.placer, &order.filler, &order.accession]);
        let mut issuers = own.chain(known).map(|known| known.issuer.as_str()).chain([self.patient]);
        !id.issuer.is_empty() && issuers.any(|issuer| issuer == id.issuer)
    }

    fn with_issuer(&self, id: &IssuedId) -> IssuedId {
        let is_bare = !id.is_empty() && id.issuer.is_empty();
        if is_bare { IssuedId::new(id.value.as_str(), self.own.accession.issuer.as_str()) } else { id.clone() }
    }
}

/// How well a named order fits a known one; the placer's number counts for more than the filler's, that for more than
/// the accession number. Readers put any of them into the filler's place.
fn agreement(named: &OrderNumbers, known: &OrderNumbers) -> u8 {
    let fits = |said: &IssuedId, known: &IssuedId| {
        let same_issuer = said.issuer.is_empty() || known.issuer.is_empty() || said.issuer == known.issuer;
        !said.is_empty() && said.value == known.value && same_issuer
    };
    let any = |said: &IssuedId| [&known.placer, &known.filler, &known.accession].into_iter().any(|id| fits(said, id));
    let scores = [
        (fits(&named.placer, &known.placer), 8),
        (fits(&named.filler, &known.filler), 4),
        (fits(&named.accession, &known.accession), 2),
        (any(&named.placer) || any(&named.filler), 1),
    ];
    scores.into_iter().filter(|(fits, _)| *fits).map(|(_, score)| score).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> IssuedId {
        let (value, issuer) = text.split_once('^').unwrap_or((text, ""));
        IssuedId::new(value, issuer)
    }

    fn numbers([placer, filler, accession]: [&str; 3]) -> OrderNumbers {
        OrderNumbers { placer: id(placer), filler: id(filler), accession: id(accession) }
    }

    /// What goes home of a case A1 with placer P1, and the orders P1, P2 (filler F2, accession A2) and P3.
    fn home(named: &[[&str; 3]]) -> Answered {
        let facts = StudyFacts {
            patient_id: id("77^RAB"),
            accession: id("A1^RAB"),
            placer_order_number: "P1".into(),
            placer_issuer: "KIS".into(),
            ..StudyFacts::default()
        };
        let known = [["P1^KIS", "", ""], ["P2^KIS", "F2^RIS", "A2^RAB"], ["P3^KIS", "", ""]].map(numbers);
        let clues = Clues { orders: named.iter().copied().map(numbers).collect(), ..Clues::default() };
        answered(&clues, &facts, &known)
    }

    #[test]
    fn each_part_goes_home_with_the_numbers_of_its_order() {
        let first = ["P1^KIS", "", "A1^RAB"];
        for (named, expected, unknown) in [
            // By the placer's number, with and without issuer; what the reader counts stays away.
            (["P2^KIS", "K2^KCRIS", "K2"], ["P2^KIS", "F2^RIS", "A2^RAB"], false),
            (["P3", "", ""], ["P3^KIS", "", "A1^RAB"], false),
            // By the filler's, by the accession number, and in each other's place.
            (["", "F2^RIS", ""], ["P2^KIS", "F2^RIS", "A2^RAB"], false),
            (["", "", "A2^RAB"], ["P2^KIS", "F2^RIS", "A2^RAB"], false),
            (["", "P2^KIS", ""], ["P2^KIS", "F2^RIS", "A2^RAB"], false),
            (["A2^RAB", "K1", ""], ["P2^KIS", "F2^RIS", "A2^RAB"], false),
            // A second filler number of the one order.
            (["P1^KIS", "F8^RIS", ""], ["P1^KIS", "F8^RIS", "A1^RAB"], false),
            // An order that is not known here, of the origin's and of nobody's.
            (["P9^KIS", "K9^KCRIS", "A9^RAB"], ["P9^KIS", "", "A9^RAB"], false),
            (["P9", "", ""], ["P9^RAB", "", "A1^RAB"], true),
            (["P9^KCRIS", "", ""], ["P9^KCRIS", "", "A1^RAB"], true),
        ] {
            let found = home(&[["P1^KIS", "", ""], named]);
            assert_eq!(found, Answered { orders: vec![numbers(first), numbers(expected)], unknown }, "{named:?}");
        }
    }

    #[test]
    fn one_order_counted_twice_by_its_reader_is_one_order() {
        assert_eq!(home(&[["P1^KIS", "K1^KCRIS", "K1^KCRIS"], ["P1^KIS", "K2^KCRIS", ""]]), Answered::default());
        assert_eq!(home(&[["P1^KIS", "K1", ""], ["", "K2", "K2"]]), Answered::default());
        assert_eq!(home(&[["P2^KIS", "", ""]]), Answered::default(), "one order is the case's as it was found");
    }
}
