//! An addendum (MDM^T06, v2.5.1 9.6.6) becomes a whole report again: its reader's report before it, and what is added.
//!
//! In: an addendum as it came, which holds nothing but what is added. Out: the same with the words of the versions it stands on
//! before its own, so that at the origin it takes no other's place; or why a person must look. What is kept of it stays as it came.
//! A case may have several orders with a report each: `choice` says which of them it adds to.

use super::{
    attach::read,
    identity::own_again,
    incoming::{Incoming, MAX_NAMED, Piece, Section},
    ordered::numbers_of,
    parts::own,
    settle::whose,
};
use crate::{
    config::Config,
    hl7::oru::Coded,
    model::{CaseId, OrderNumbers, ReportStatus},
    store::{Durability, ReportRow, Store, StoreError},
};
use choice::Choice;

mod bearing;
mod choice;

pub(super) const NOTHING_BEFORE: &str = "it is an addendum, and its reader has sent no report that it could add to";
pub(super) const OVERTAKEN: &str = "it is an addendum, and another report of its case came at the same moment";
const UNREADABLE: &str = "it is an addendum to a report that cannot be read any more: ask its reader for the whole";
const TAKEN_BACK: &str = "an addendum is taken back: ask its reader for the whole report as it is now";
const WHICH: &str =
    "it is an addendum, and it cannot be told which report of its case it adds to: ask its reader for the whole report";
const TOO_LARGE: &str =
    "it is an addendum to reports that are too large to be sent as one: ask its reader for the whole report";
const TOO_MANY: &str = "it is an addendum to too many others: ask its reader for the whole report";

/// Addenda that follow each other.
const MAX_CHAIN: usize = 20;
/// In the origin's report, whatever its language: it is one word in all of ours.
const HEADING: &str = "Addendum";

/// Completes an addendum with what its case has of its reader. One that fits no case stays as it is: it will be held for that.
///
/// # Errors
/// When the database fails. In it: why the addendum must be held.
pub(super) async fn complete(
    store: &Store,
    config: &Config,
    incoming: &mut Incoming,
) -> Result<Result<(), &'static str>, StoreError> {
    let mut tx = store.begin(Durability::Process).await?;
    let found = whose(&mut tx, incoming).await?;
    drop(tx);
    match found {
        Ok((case, _)) => complete_of(store, config, incoming, case.id).await,
        Err(_) => Ok(Ok(())),
    }
}

/// The same for a case that is known.
///
/// # Errors
/// As [`complete`].
pub(super) async fn complete_of(
    store: &Store,
    config: &Config,
    incoming: &mut Incoming,
    case: CaseId,
) -> Result<Result<(), &'static str>, StoreError> {
    if incoming.status == ReportStatus::Withdrawn {
        return Ok(Err(TAKEN_BACK));
    }
    let versions = store.reports(case).await?;
    let mut formers = match formers(store, config, incoming, &versions, case).await? {
        Ok(formers) => formers,
        Err(reason) => return Ok(Err(reason)),
    };
    // One that a person joined though nothing was before it is the beginning, too.
    let Some(mut whole) = formers.pop() else { return Ok(Err(NOTHING_BEFORE)) };
    while let Some(next) = formers.pop() {
        whole = added(whole, next);
    }
    let newest = versions.iter().map(|version| version.version).max().unwrap_or_default();
    let addition = incoming.clone();
    *incoming = Incoming { completes: Some((case, newest)), ..added(whole, addition) };
    Ok(Ok(()))
}

/// The reports it stands on, newest first: addenda to what it adds to, down to the report itself.
async fn formers(
    store: &Store,
    config: &Config,
    incoming: &Incoming,
    versions: &[ReportRow],
    case: CaseId,
) -> Result<Result<Vec<Incoming>, &'static str>, StoreError> {
    let mut choice = Choice::new(incoming, orders(store, case).await?);
    let mut left = config.hl7.max_message_bytes as u64;
    for (count, version) in standing(versions, incoming).enumerate() {
        if count == MAX_CHAIN {
            return Ok(Err(TOO_MANY));
        }
        // A few bytes of addendum would else bring dozens of large documents into memory.
        let length = store.joined_report_length(version.id).await?.unwrap_or(0);
        if length > left {
            return Ok(Err(TOO_LARGE));
        }
        let kept = store.joined_report(version.id).await?;
        let Some(mut former) = kept.and_then(|kept| read(config, kept)) else { return Ok(Err(UNREADABLE)) };
        own_again(store, &mut former).await?;
        if choice.weigh(former) {
            left -= length;
        }
        if choice.is_made() {
            break;
        }
    }
    Ok(choice.outcome())
}

/// The origin's orders that the case answers, or what it goes by itself.
async fn orders(store: &Store, case: CaseId) -> Result<Vec<OrderNumbers>, StoreError> {
    let mut tx = store.begin(Durability::Process).await?;
    let row = tx.case_as_it_is(case).await?;
    let answered = tx.orders_answered_by(case).await?;
    let of_origin = answered.iter().filter(|order| order.origin == row.origin);
    let orders: Vec<OrderNumbers> = of_origin.map(numbers_of).collect();
    Ok(if orders.is_empty() { vec![own(&row.facts)] } else { orders })
}

/// The versions of its reader, newest first, down to one that was taken back. A preliminary one beside a final one is not what the
/// origin has.
fn standing<'a>(versions: &'a [ReportRow], incoming: &'a Incoming) -> impl Iterator<Item = &'a ReportRow> {
    let of_reader = || versions.iter().rev().filter(|version| version.sender == incoming.sender);
    let standing = move || of_reader().take_while(|version| version.status != ReportStatus::Withdrawn);
    let is_final = |version: &ReportRow| version.status != ReportStatus::Preliminary;
    let has_final = standing().any(is_final);
    standing().filter(move |version| !has_final || is_final(version))
}

/// A report with what was added to it. Whose it is, how far it is and how urgent says what was added.
fn added(mut former: Incoming, mut addition: Incoming) -> Incoming {
    let order = (!addition.clues.orders.is_empty()).then_some(0);
    for piece in &mut former.pieces {
        if let Piece::Section(section) = piece {
            let order = &mut section.order;
            let named = order.and_then(|index| former.clues.orders.get(index).cloned());
            *order = named.and_then(|named| place_of(&mut addition, named));
        }
    }
    let heading = Coded { text: HEADING.into(), ..Coded::default() };
    let is_section = |piece: &Piece| matches!(piece, Piece::Section(_));
    let heading = if former.pieces.iter().chain(&addition.pieces).any(is_section) {
        let (status, interpreter) = (addition.status, addition.interpreter.clone());
        Piece::Section(Box::new(Section { title: heading, specimens: Vec::new(), order, status, interpreter }))
    } else {
        Piece::Text { code: Coded::default(), text: format!("{HEADING}:") }
    };
    let mut pieces = former.pieces;
    pieces.push(heading);
    pieces.append(&mut addition.pieces);
    addition.pieces = pieces;
    if former.title != Coded::default() {
        addition.title = former.title;
    }
    if addition.interpreter == Default::default() {
        addition.interpreter = former.interpreter;
    }
    addition.lossy |= former.lossy;
    addition
}

/// Where the addition names this order; it does then.
fn place_of(addition: &mut Incoming, order: OrderNumbers) -> Option<usize> {
    let orders = &mut addition.clues.orders;
    if let Some(known) = orders.iter().position(|known| *known == order) {
        return Some(known);
    }
    if orders.len() == MAX_NAMED {
        return None;
    }
    orders.push(order);
    Some(orders.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hl7::{charset::Charset, oru::OruReport},
        model::{IssuedId, Moment, PartnerId, ReportId},
    };
    use bytes::Bytes;

    fn read(event: &str, placer: &str, text: &str) -> Incoming {
        let message = format!(
            "MSH|^~\\&|RIS|KC|N|N|2026||MDM^{event}|1|P|2.5\rPID|1||77^^^RAB\rTXA|1|DI|FT|2026||||||||D1||{placer}^RAB|||AU\r\
             OBX|1|FT|CT^Befund^L||{text}||||||F"
        );
        let bytes = Bytes::from(message);
        let report = OruReport::read(&bytes, Charset::UTF_8).expect("read");
        Incoming::from_oru(report, PartnerId::new("chemnitz").unwrap(), Moment(0), bytes).expect("few")
    }

    fn texts(incoming: &Incoming) -> Vec<&str> {
        let text = |piece: &'_ Piece| matches!(piece, Piece::Text { .. });
        let words = incoming.pieces.iter().filter(|piece| text(piece));
        words.map(|piece| if let Piece::Text { text, .. } = piece { text.as_str() } else { "" }).collect()
    }

    #[test]
    fn what_is_added_stands_under_what_was_said_before() {
        let first = added(read("T02", "P1", "Keine Blutung"), read("T06", "P1", "Kleine Fraktur"));
        let both = added(first, read("T06", "P1", "Kontrolle"));
        assert_eq!(texts(&both), ["Keine Blutung", "Addendum:", "Kleine Fraktur", "Addendum:", "Kontrolle"]);
        assert_eq!((both.status, both.clues.orders.len()), (ReportStatus::Corrected, 1));
        assert_eq!(&both.raw[..], &read("T06", "P1", "Kontrolle").raw[..], "kept as it came");
    }

    #[test]
    fn parts_keep_the_orders_they_answer() {
        let mut former = read("T02", "P1", "Kopf");
        let section = |order| {
            let (title, specimens, interpreter) = (Coded::default(), Vec::new(), Default::default());
            Piece::Section(Box::new(Section { title, specimens, order, status: ReportStatus::Final, interpreter }))
        };
        former.pieces.insert(0, section(Some(0)));
        let whole = added(former, read("T06", "P2", "Hals"));
        let orders: Vec<Option<&str>> = whole
            .pieces
            .iter()
            .filter_map(|piece| if let Piece::Section(section) = piece { Some(section.order) } else { None })
            .map(|order| order.map(|index| whole.clues.orders[index].placer.value.as_str()))
            .collect();
        assert_eq!(orders, [Some("P1"), Some("P2")]);
    }

    #[test]
    fn it_stands_on_the_report_of_its_own_order() {
        let order = |placer: &str| OrderNumbers { placer: IssuedId::new(placer, "RAB"), ..OrderNumbers::default() };
        let nameless = || {
            let mut addendum = read("T06", "P1", "x");
            addendum.clues.orders.clear();
            addendum
        };
        // The newest version first.
        let on = |addendum: Incoming, versions: &[&str]| -> Result<Vec<String>, &'static str> {
            let mut choice = Choice::new(&addendum, vec![order("P1"), order("P2")]);
            for version in versions {
                let (event, placer) = version.split_once(' ').unwrap();
                choice.weigh(read(event, placer, version));
            }
            choice.outcome().map(|found| found.iter().flat_map(texts).map(str::to_owned).collect())
        };
        let chosen = |texts: &[&str]| Ok(texts.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(on(read("T06", "P1", "x"), &["T02 P2", "T02 P1"]), chosen(&["T02 P1"]));
        assert_eq!(on(read("T06", "P1", "x"), &["T02 P2", "T06 P1", "T02 P1"]), chosen(&["T06 P1", "T02 P1"]));
        assert_eq!(on(read("T06", "P1", "x"), &["T02 P2"]), Err(WHICH));
        assert_eq!(on(read("T06", "P1", "x"), &[]), Err(NOTHING_BEFORE));
        assert_eq!(on(nameless(), &["T02 P2", "T02 P1"]), Err(WHICH));
        assert_eq!(on(nameless(), &["T02 P1", "T02 P1"]), chosen(&["T02 P1"]));
        // A report of both, of which one has been said anew.
        let mut both = read("T02", "P1", "both");
        both.clues.orders.push(order("P2"));
        let mut choice = Choice::new(&read("T06", "P1", "x"), vec![order("P1"), order("P2")]);
        assert!(!choice.weigh(read("T10", "P2", "anew")) && choice.weigh(both));
        assert_eq!(choice.outcome().map(|found| found.len()), Err(WHICH));
    }

    #[test]
    fn it_stands_on_what_its_origin_has() {
        use ReportStatus as S;
        let addendum = read("T06", "P1", "x");
        let of = |said: &[(S, &str)]| -> Vec<i64> {
            let row = |(index, (status, sender)): (usize, &(S, &str))| ReportRow {
                id: ReportId::generate(),
                sender: PartnerId::new(sender).unwrap(),
                source: "mdm".into(),
                status: *status,
                version: i64::try_from(index).unwrap() + 1,
                received: Moment(0),
                correlated_by: String::new(),
            };
            let rows: Vec<ReportRow> = said.iter().enumerate().map(row).collect();
            standing(&rows, &addendum).map(|row| row.version).collect()
        };
        let own = "chemnitz";
        assert_eq!(of(&[(S::Preliminary, own)]), [1]);
        assert_eq!(of(&[(S::Final, own), (S::Preliminary, own), (S::Corrected, own)]), [3, 1]);
        assert_eq!(of(&[(S::Final, own), (S::Withdrawn, own)]), [0; 0]);
        assert_eq!(of(&[(S::Final, own), (S::Final, "leipzig")]), [1]);
    }
}
