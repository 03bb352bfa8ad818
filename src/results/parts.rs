//! Which of the case's orders each part of a report answers. Pure.
//!
//! In: the orders that the parts name, the case, and the orders it answers. Out: the origin's numbers of each, in the same
//! order. An order is known by its placer order number, else its filler order number, else its accession number. What a
//! reader counts itself is no number of the origin's and does not go home; an order of the origin's that is not known here
//! does, as its reader wrote it and with no number of the case's, for under another order's it would be filed in the wrong
//! place. A number that several orders share goes home without saying which of them is meant. A person is told of both.

use super::correlate::Clues;
use crate::model::{IssuedId, OrderNumbers, StudyFacts};

/// What the parts of a report answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// As many as the clues have, those beyond the ones that are looked up too; empty where all are the case's own.
    pub orders: Vec<OrderNumbers>,
    /// One of them names an order that is not known here, or that cannot be told from others.
    pub unknown: bool,
}

/// The numbers of the case's orders that the parts of a report answer.
pub fn answered(clues: &Clues, facts: &StudyFacts, known: &[OrderNumbers]) -> Answered {
    if clues.orders.len() < 2 {
        return Answered::default();
    }
    let case = Case { own: own(facts), known, patient: &facts.patient_id.issuer };
    let named = clues.orders.iter().chain(&clues.more_orders);
    let parts: Vec<(OrderNumbers, bool)> = named.map(|named| case.order(named)).collect();
    let unknown = parts.iter().any(|(_, is_known)| !is_known);
    let mut orders: Vec<OrderNumbers> = parts.into_iter().map(|(order, _)| order).collect();
    if orders.iter().all(|order| *order == case.own) {
        orders.clear();
    }
    Answered { orders, unknown }
}

/// What the case goes by, each number with who gave it: its order, or the origin.
pub(super) fn own(facts: &StudyFacts) -> OrderNumbers {
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
        let scored = || self.known.iter().chain([&self.own]).map(|known| (agreement(named, known), known));
        let top = scored().map(|(score, _)| score).max().unwrap_or(0);
        if top > 0 {
            let best: Vec<&OrderNumbers> =
                scored().filter(|(score, _)| *score == top).map(|(_, known)| known).collect();
            return match self.one_of(&best) {
                Some(known) => (self.completed(known, named), true),
                None => (self.shared(&best, named), false),
            };
        }
        let as_named = self.as_named(named);
        if as_named.is_empty() {
            // Its reader's own count, and no order's. A bare number may be the origin's all the same.
            return (self.completed(&self.own, named), !says_a_bare_number(named));
        }
        (as_named, false)
    }

    /// The one order that is meant by a number. Of several that share it (the filler of a group, an accession number) the
    /// case's own, as for a report of one part.
    fn one_of<'b>(&self, best: &[&'b OrderNumbers]) -> Option<&'b OrderNumbers> {
        let mut placed = best.iter().copied().filter(|order| !order.placer.is_empty());
        let Some(first) = placed.next() else { return best.first().copied() };
        if placed.all(|order| self.is_same(&order.placer, &first.placer)) {
            return Some(first);
        }
        best.iter().copied().find(|order| self.is_same(&order.placer, &self.own.placer))
    }

    /// One number, whether it is said with who gave it, without, or with the origin's name for it.
    fn is_same(&self, a: &IssuedId, b: &IssuedId) -> bool {
        let is_origins = |id: &IssuedId| id.issuer.is_empty() || id.issuer == self.own.accession.issuer;
        !a.is_empty() && a.value == b.value && (a.issuer == b.issuer || is_origins(a) || is_origins(b))
    }

    /// What a part says that several orders have, without any one's placer order number.
    fn shared(&self, best: &[&OrderNumbers], named: &OrderNumbers) -> OrderNumbers {
        let said = [&named.placer, &named.filler, &named.accession];
        let is_said = |id: &&IssuedId| !id.is_empty() && said.iter().any(|said| said.value == id.value);
        let [filler, accession] = [
            best.iter().map(|order| &order.filler).find(is_said),
            best.iter().map(|order| &order.accession).find(is_said),
        ];
        let [filler, accession] = [filler, accession].map(|id| id.map(|id| self.with_issuer(id)).unwrap_or_default());
        let shared = OrderNumbers { placer: IssuedId::default(), filler, accession };
        if shared.is_empty() { self.as_named(named) } else { shared }
    }

    /// An order that is not known here: what its reader wrote, but for numbers that are not the origin's.
    fn as_named(&self, named: &OrderNumbers) -> OrderNumbers {
        let of_origin = |id: &IssuedId| if self.is_origins(id) { id.clone() } else { IssuedId::default() };
        OrderNumbers {
            placer: self.with_issuer(&named.placer),
            filler: of_origin(&named.filler),
            accession: of_origin(&named.accession),
        }
    }

    /// A known order, with what it says nothing of itself: the case's accession number, and a filler number of its own
    /// where the origin has given the part one.
    fn completed(&self, known: &OrderNumbers, named: &OrderNumbers) -> OrderNumbers {
        let accession = if known.accession.is_empty() { &self.own.accession } else { &known.accession };
        let is_a_filler = |filler: &&IssuedId| {
            ![&accession.value, &known.placer.value, &self.own.placer.value].contains(&&filler.value)
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
        !id.is_empty() && !id.issuer.is_empty() && issuers.any(|issuer| issuer == id.issuer)
    }

    fn with_issuer(&self, id: &IssuedId) -> IssuedId {
        let is_bare = !id.is_empty() && id.issuer.is_empty();
        if is_bare { IssuedId::new(id.value.as_str(), self.own.accession.issuer.as_str()) } else { id.clone() }
    }
}

/// A number that may be anybody's; not one that stands in another place with the reader's name beside it.
fn says_a_bare_number(named: &OrderNumbers) -> bool {
    let said = [&named.filler, &named.accession];
    let is_readers = |id: &IssuedId| said.iter().any(|other| other.value == id.value && !other.issuer.is_empty());
    said.iter().any(|id| !id.is_empty() && id.issuer.is_empty() && !is_readers(id))
}

/// How well a named order fits a known one; the placer's number counts for more than the filler's, that for more than
/// the accession number. Readers put any of them into the filler's place.
pub(super) fn agreement(named: &OrderNumbers, known: &OrderNumbers) -> u8 {
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

    /// A case A1 with placer P1.
    fn facts() -> StudyFacts {
        StudyFacts {
            patient_id: id("77^RAB"),
            accession: id("A1^RAB"),
            placer_order_number: "P1".into(),
            placer_issuer: "KIS".into(),
            ..StudyFacts::default()
        }
    }

    /// What goes home of it where it has these orders.
    fn home_of(known: &[[&str; 3]], named: &[[&str; 3]]) -> Answered {
        let known: Vec<OrderNumbers> = known.iter().copied().map(numbers).collect();
        let clues = Clues { orders: named.iter().copied().map(numbers).collect(), ..Clues::default() };
        answered(&clues, &facts(), &known)
    }

    /// Where it has the orders P1, P2 (filler F2, accession A2) and P3.
    fn home(named: &[[&str; 3]]) -> Answered {
        home_of(&[["P1^KIS", "", ""], ["P2^KIS", "F2^RIS", "A2^RAB"], ["P3^KIS", "", ""]], named)
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
            // An order that is not known here, of the origin's and of nobody's: under no number of the case's.
            (["P9^KIS", "K9^KCRIS", "A9^RAB"], ["P9^KIS", "", "A9^RAB"], true),
            (["P9", "", ""], ["P9^RAB", "", ""], true),
            (["P9^KCRIS", "", ""], ["P9^KCRIS", "", ""], true),
            (["", "F9^RIS", ""], ["", "F9^RIS", ""], true),
            (["", "K9^KCRIS", "A9^RAB"], ["", "", "A9^RAB"], true),
        ] {
            let found = home(&[["P1^KIS", "", ""], named]);
            assert_eq!(found, Answered { orders: vec![numbers(first), numbers(expected)], unknown }, "{named:?}");
        }
    }

    #[test]
    fn one_order_counted_twice_by_its_reader_is_one_order() {
        let counted = [["P1^KIS", "K1^KCRIS", "K1^KCRIS"], ["P1^KIS", "K2^KCRIS", ""], ["", "K3^KCRIS", "K3"]];
        assert_eq!(home(&counted), Answered::default());
        assert_eq!(home(&[["P2^KIS", "", ""]]), Answered::default(), "one order is the case's as it was found");
        let bare = Answered { orders: Vec::new(), unknown: true };
        assert_eq!(home(&[["P1^KIS", "K1", ""], ["", "K2", "K2"]]), bare, "a bare number may be an order's");
    }

    /// P2 and P3 are of one group F2 and have one accession number; P1 shares its own with P4.
    #[test]
    fn a_number_that_several_orders_share_says_none_of_them() {
        let known = [
            ["P1^KIS", "", "A1^RAB"],
            ["P2^KIS", "F2^RIS", "A2^RAB"],
            ["P3^KIS", "F2^RIS", "A2^RAB"],
            ["P4^KIS", "", "A1^RAB"],
        ];
        for (named, expected, unknown) in [
            (["", "F2^RIS", ""], ["", "F2^RIS", ""], true),
            (["", "F2^RIS", "A2^RAB"], ["", "F2^RIS", "A2^RAB"], true),
            (["", "A2^RAB", ""], ["", "", "A2^RAB"], true),
            (["P3^KIS", "F2^RIS", "A2^RAB"], ["P3^KIS", "F2^RIS", "A2^RAB"], false),
            (["", "K1^KCRIS", "A1^RAB"], ["P1^KIS", "", "A1^RAB"], false),
        ] {
            let found = home_of(&known, &[["P4^KIS", "", ""], named]);
            let orders = vec![numbers(["P4^KIS", "", "A1^RAB"]), numbers(expected)];
            assert_eq!(found, Answered { orders, unknown }, "{named:?}");
        }
    }

    #[test]
    fn orders_beyond_those_that_are_looked_up_keep_their_numbers() {
        let parts = |numbers: &[[&str; 3]]| numbers.iter().copied().map(self::numbers).collect();
        let clues = Clues {
            orders: parts(&[["P1^KIS", "", ""], ["P2^KIS", "", ""]]),
            more_orders: parts(&[["P3^KIS", "", ""], ["P9^KIS", "", ""]]),
            ..Clues::default()
        };
        let known = [["P2^KIS", "F2^RIS", "A2^RAB"], ["P3^KIS", "", ""]].map(numbers);
        let found = answered(&clues, &facts(), &known);
        assert_eq!(found.orders[2..], [["P3^KIS", "", "A1^RAB"], ["P9^KIS", "", ""]].map(numbers));
        assert!(found.unknown);
    }
}
