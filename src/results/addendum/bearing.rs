//! Which of its reader's former reports an addendum adds to. Pure.
//!
//! In: the numbers that the addendum and a former report name, and the case's orders. Out: that it adds to this one, that it adds to
//! another, or that it cannot be told. The parent document (TXA-13, v2.5.1 9.6.4.13) comes first, where the former report is a
//! document with a number; then the orders. A report put under another's order harms somebody: what cannot be told is for a person.

use super::super::{incoming::Incoming, parts::agreement};
use crate::model::{IssuedId, OrderNumbers};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bearing {
    /// It adds to this one.
    Same,
    /// They are about different orders, or it is another document.
    Other,
    /// They name nothing that could be compared, or what several orders share.
    Unclear,
}

/// What a report is about.
#[derive(Clone, Debug)]
pub(super) struct About {
    orders: Vec<OrderNumbers>,
    /// It names more than are looked up.
    more: bool,
    document: IssuedId,
    parent: IssuedId,
}

impl About {
    pub(super) fn of(incoming: &Incoming) -> Self {
        let clues = &incoming.clues;
        let [document, parent] = [&incoming.document, &incoming.parent].map(Clone::clone);
        Self { orders: clues.orders.clone(), more: !clues.more_orders.is_empty(), document, parent }
    }

    /// Whether two reports are about one order, by what they name alone.
    pub(super) fn orders_with(&self, other: &Self, known: &[OrderNumbers]) -> Bearing {
        let mut all_differ = !self.more && !other.more && !self.orders.is_empty() && !other.orders.is_empty();
        for ours in &self.orders {
            for theirs in &other.orders {
                match is_one(ours, theirs, known) {
                    Some(true) => return Bearing::Same,
                    Some(false) => {}
                    None => all_differ = false,
                }
            }
        }
        if all_differ { Bearing::Other } else { Bearing::Unclear }
    }

    /// Whether neither names an order.
    pub(super) fn names_nothing(&self) -> bool {
        self.orders.is_empty() && !self.more
    }
}

/// Documents that belong together: the parent an addendum names, what replaced that, what else was added to it.
#[derive(Debug)]
pub(super) struct Family(Vec<IssuedId>);

impl Family {
    pub(super) fn of(addendum: &About) -> Self {
        Self(Some(addendum.parent.clone()).filter(|parent| !parent.is_empty()).into_iter().collect())
    }

    /// Whether an addendum adds to this former report. Asked of the newest first: what it replaces or adds to is then known.
    pub(super) fn bearing(&mut self, addendum: &About, former: &About, known: &[OrderNumbers]) -> Bearing {
        let by_orders = addendum.orders_with(former, known);
        if self.0.is_empty() || former.document.is_empty() {
            return by_orders;
        }
        let is_in =
            [&former.document, &former.parent].into_iter().any(|id| self.0.iter().any(|known| is_same(id, known)));
        if !is_in || by_orders == Bearing::Other {
            return Bearing::Other;
        }
        let named = [&former.document, &former.parent].into_iter().filter(|id| !id.is_empty());
        self.0.extend(named.cloned());
        Bearing::Same
    }
}

/// `None`: it cannot be told.
fn is_one(a: &OrderNumbers, b: &OrderNumbers, known: &[OrderNumbers]) -> Option<bool> {
    if a == b {
        return Some(true);
    }
    if !a.placer.is_empty() && !b.placer.is_empty() {
        return Some(is_same(&a.placer, &b.placer));
    }
    let (of_a, of_b) = (fitting(a, known), fitting(b, known));
    if !of_a.is_empty() && !of_b.is_empty() {
        return match of_a.intersection(&of_b).count() {
            0 => Some(false),
            1 if of_a.len() == 1 && of_b.len() == 1 => Some(true),
            _ => None,
        };
    }
    // Readers put any of them into the filler's place.
    let numbers = |order: &'_ OrderNumbers| [order.placer.clone(), order.filler.clone()];
    let is_shared = numbers(a).iter().any(|a| numbers(b).iter().any(|b| is_same(a, b)));
    is_shared.then_some(true)
}

/// Those of the case's orders that the numbers fit best.
fn fitting(named: &OrderNumbers, known: &[OrderNumbers]) -> BTreeSet<usize> {
    let contradicts = |known: &OrderNumbers| {
        !named.placer.is_empty() && !known.placer.is_empty() && !is_same(&named.placer, &known.placer)
    };
    let score = |known| if contradicts(known) { 0 } else { agreement(named, known) };
    let best = known.iter().map(score).max().unwrap_or(0);
    let fits = |(index, known)| (best > 0 && score(known) == best).then_some(index);
    known.iter().enumerate().filter_map(fits).collect()
}

/// One number, whether it is said with who gave it or without.
fn is_same(a: &IssuedId, b: &IssuedId) -> bool {
    !a.is_empty() && a.value == b.value && (a.issuer == b.issuer || a.issuer.is_empty() || b.issuer.is_empty())
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

    fn about(orders: &[[&str; 3]], document: &str, parent: &str) -> About {
        let orders = orders.iter().copied().map(numbers).collect();
        About { orders, more: false, document: id(document), parent: id(parent) }
    }

    #[test]
    fn it_adds_to_what_answers_its_order() {
        use Bearing::{Other, Same, Unclear};
        // Two orders of one case, with one accession number and one filler's group.
        let known = [numbers(["P1^RAB", "G^LIS", "A^RAB"]), numbers(["P2^RAB", "G^LIS", "A^RAB"])];
        for (addendum, former, expected) in [
            (["P1^RAB", "", ""], ["P1", "F1^RIS", "A^RAB"], Same),
            (["P1^RAB", "", ""], ["P2^RAB", "", "A^RAB"], Other),
            // The placer's number in the filler's place.
            (["P1^RAB", "", ""], ["", "P1^RAB", "A^RAB"], Same),
            (["P2^RAB", "", ""], ["", "P1^RAB", ""], Other),
            // What both share says nothing; unless it is all that its reader ever says.
            (["", "G^LIS", ""], ["P1^RAB", "", ""], Unclear),
            (["", "", "A^RAB"], ["P2^RAB", "", "A^RAB"], Unclear),
            (["", "", "A^RAB"], ["", "", "A^RAB"], Same),
            // Orders that are not known here.
            (["P8", "", ""], ["P9", "", "A^RAB"], Other),
            (["", "F8^RIS", ""], ["", "F8^RIS", "A^RAB"], Same),
            (["", "F8^RIS", ""], ["", "F9^RIS", ""], Unclear),
        ] {
            let (ours, theirs) = (about(&[addendum], "", ""), about(&[former], "", ""));
            assert_eq!(ours.orders_with(&theirs, &known), expected, "{addendum:?} {former:?}");
            assert_eq!(theirs.orders_with(&ours, &known), expected, "{former:?} {addendum:?}");
        }
        let (none, both) = (about(&[], "", ""), about(&[["P1", "", ""], ["P2", "", ""]], "", ""));
        assert_eq!(none.orders_with(&both, &known), Unclear);
        assert_eq!(both.orders_with(&about(&[["P2^RAB", "", ""]], "", ""), &known), Same);
        // One order is known: whatever number of it is said.
        let one = &known[..1];
        assert_eq!(about(&[["P1", "", ""]], "", "").orders_with(&about(&[["", "", "A^RAB"]], "", ""), one), Same);
    }

    #[test]
    fn the_parent_document_comes_before_the_orders() {
        use Bearing::{Other, Same};
        let addendum = about(&[["P1", "", ""]], "D9^RIS", "D1^RIS");
        let mut family = Family::of(&addendum);
        // The newest first: what replaced it, it itself, and another's.
        for (document, parent, order, expected) in [
            ("D5^RIS", "D4^RIS", "P2", Other),
            ("D2^RIS", "D1^RIS", "P1", Same),
            ("D3^RIS", "", "P1", Other),
            ("D1", "", "P1", Same),
            ("D1", "", "P2", Other),
            ("", "", "P1", Same),
        ] {
            let former = about(&[[order, "", ""]], document, parent);
            assert_eq!(family.bearing(&addendum, &former, &[]), expected, "{document} {order}");
        }
        // An addendum to an addendum leads to what that one adds to.
        let addendum = about(&[], "D9", "D3");
        let mut family = Family::of(&addendum);
        let bearings = [("D3", "D1"), ("D7", ""), ("D1", "")]
            .map(|(document, parent)| family.bearing(&addendum, &about(&[], document, parent), &[]));
        assert_eq!(bearings, [Same, Other, Same]);
    }
}
