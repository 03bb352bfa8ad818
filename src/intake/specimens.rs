//! What happens to specimens: an event is taken by the one table, written down, and put before a person where it must be.
//!
//! In: a specimen held for change, and what somebody told of it: a partner by HL7 (`specimen_messages`), a person by
//! `neisse specimen`. Out, in the caller's transaction: its new state, a line in its story and in that of its cases,
//! alarms raised and ended. `specimen_watch` then tells the other side, and sees what is late.
//!
//! The story of a case names a specimen by our own id, and a reason by the name of its code: what people wrote themselves
//! stands in the specimen's own story only.

use crate::{
    config::{Config, Partner},
    model::{
        Contradiction, Moment, Note, OrderId, ShipmentId, SpecimenCode, SpecimenEvent, SpecimenId, SpecimenSaid,
        SpecimenState, specimen_event,
    },
    store::{About, AlarmKind, CaseRow, SpecimenAlarm, SpecimenEventRow, SpecimenRow, StoreError, Tx, Untold},
};
use std::time::Duration;

/// What somebody says has happened to a specimen.
#[derive(Clone, Debug)]
pub struct Told {
    pub event: SpecimenEvent,
    /// A partner's id, or `operator`.
    pub teller: String,
    /// Who it was there, in words; may be empty.
    pub who: String,
    /// By the teller's clock.
    pub happened: Option<Moment>,
    pub reason: SpecimenCode,
    pub shipment: Option<ShipmentId>,
    /// With a shipment: when it should be there.
    pub due: Option<Moment>,
}

impl Told {
    pub fn new(event: SpecimenEvent, teller: &str, happened: Option<Moment>) -> Self {
        let (who, reason) = Default::default();
        Self { event, teller: teller.to_owned(), who, happened, reason, shipment: None, due: None }
    }
}

/// What came of it: to be logged and counted once it is committed.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    events: Vec<(SpecimenEvent, String)>,
    raised: Vec<(AlarmKind, String, String)>,
}

impl Taken {
    pub fn add(&mut self, other: Taken) {
        self.events.extend(other.events);
        self.raised.extend(other.raised);
    }

    /// What a person is to look at now.
    pub fn raised(&self) -> impl Iterator<Item = &str> {
        self.raised.iter().map(|(_, _, reason)| reason.as_str())
    }

    /// Events that were news.
    pub fn count(&self) -> usize {
        self.events.len()
    }

    /// To be called after the commit.
    pub fn log(&self) {
        for (event, teller) in &self.events {
            metrics::counter!("neisse_specimen_events_total", "event" => event.as_str(), "teller" => teller.clone())
                .increment(1);
        }
        for (kind, partner, reason) in &self.raised {
            tracing::error!(site = %partner, "{reason}");
            metrics::counter!("neisse_specimen_alarms_total", "kind" => kind.as_str(), "partner" => partner.clone())
                .increment(1);
        }
    }
}

/// A teller's clock may be wrong: nothing that happens is counted from the future.
fn at_most(happened: Option<Moment>, now: Moment) -> Moment {
    happened.unwrap_or(now).min(now)
}

/// Takes an event of a specimen that is held for change, and of which the origin is held too ([`Tx::hold_origin`]).
///
/// # Errors
/// When the database fails. Inside, [`Contradiction`]: nothing has been changed then.
pub async fn take(
    tx: &mut Tx,
    config: &Config,
    specimen: &mut SpecimenRow,
    told: &Told,
    now: Moment,
) -> Result<Result<Taken, Contradiction>, StoreError> {
    if let Some(happened) = told.happened
        && tx.was_told_of_specimen(specimen.id, told.event, happened).await?
    {
        return Ok(Ok(Taken::default()));
    }
    let earlier = told.happened.is_some_and(|happened| happened < specimen.since);
    let moved = match specimen_event::next(specimen.state, told.event, earlier) {
        Ok(moved) if moved.note == Note::Again => {
            put_on_a_shipment(tx, specimen, told, now).await?;
            return Ok(Ok(Taken::default()));
        }
        Ok(moved) => moved,
        Err(contradiction) => return Ok(Err(contradiction)),
    };
    let before = std::mem::replace(&mut specimen.state, moved.state);
    if before != moved.state {
        specimen.since = at_most(told.happened, now);
        specimen.due = (moved.state == SpecimenState::Shipped).then(|| {
            let rules = config.partners.get(&specimen.origin).map(|origin| &origin.specimens);
            let within = rules.map_or(Duration::from_secs(24 * 3600), |rules| rules.within);
            told.due.unwrap_or(specimen.since + within)
        });
    }
    tx.save_specimen(specimen).await?;
    write_down(tx, specimen, told, moved.note, now).await?;
    let mut cases = cases_of(tx, specimen.id).await?;
    let line = line(specimen, told, moved.note);
    for case in &cases {
        tx.tell(case.id, now, "intake", &line).await?;
    }
    let mut taken = Taken { events: vec![(told.event, told.teller.clone())], raised: Vec::new() };
    if before != moved.state {
        end_alarms(tx, specimen, &mut cases, now).await?;
        raise_for_state(tx, specimen, told, &mut cases, now, &mut taken).await?;
    }
    if !specimen.ordered && told.event.is_at_the_laboratory() {
        let reason = format!("specimen {}: received without an order", specimen.id);
        let raising = Raising { kind: AlarmKind::NotOrdered, about: About::Specimen(specimen.id), reason: &reason };
        raise(tx, &raising, &specimen.origin, &mut cases, now, &mut taken).await?;
    }
    Ok(Ok(taken))
}

/// The hospital's system had said that it was shipped, and then its list was made: that says when it is expected.
async fn put_on_a_shipment(
    tx: &mut Tx,
    specimen: &mut SpecimenRow,
    told: &Told,
    now: Moment,
) -> Result<(), StoreError> {
    if told.event != SpecimenEvent::Shipped || told.shipment.is_none() {
        return Ok(());
    }
    specimen.due = told.due.or(specimen.due);
    tx.save_specimen(specimen).await?;
    write_down(tx, specimen, told, Note::Plain, now).await
}

async fn write_down(
    tx: &mut Tx,
    specimen: &SpecimenRow,
    told: &Told,
    note: Note,
    now: Moment,
) -> Result<(), StoreError> {
    let note = match note {
        Note::Plain | Note::Again => String::new(),
        Note::Late => "told late".to_owned(),
        Note::Anew => "anew".to_owned(),
        Note::Skipped(skipped) => format!("nobody had said that it was {skipped}"),
    };
    tx.tell_of_specimen(&SpecimenEventRow {
        id: String::new(),
        specimen: specimen.id,
        event: told.event,
        state: specimen.state,
        note,
        happened: told.happened,
        told: now,
        teller: told.teller.clone(),
        who: told.who.clone(),
        reason_code: told.reason.code.clone(),
        reason: told.reason.text.clone(),
        reason_system: told.reason.system.clone(),
        shipment: told.shipment,
        // Of a specimen without order nobody is told: it is nobody's.
        untold: if specimen.ordered { Untold::Yes } else { Untold::No },
    })
    .await
}

/// For the story of its cases.
fn line(specimen: &SpecimenRow, told: &Told, note: Note) -> String {
    let by = match told.teller.as_str() {
        "operator" => "by a person here".to_owned(),
        partner => format!("by {partner}"),
    };
    let when = told.happened.map(|at| format!(", {}", at.utc().format("%Y-%m-%d %H:%M UTC"))).unwrap_or_default();
    let why = specimen_event::reject_reason(&told.reason.code).map(|name| format!(" ({name})")).unwrap_or_default();
    let note = match note {
        Note::Late => "; told late",
        Note::Anew => "; anew",
        Note::Skipped(SpecimenState::Shipped) => "; nobody had said that it was shipped",
        Note::Skipped(_) => "; nobody had said that it was received",
        Note::Plain | Note::Again => "",
    };
    format!("specimen {}: {}{why}, told {by}{when}{note}", specimen.id, told.event)
}

/// Its cases, held for change, in the order of their ids.
pub(super) async fn cases_of(tx: &mut Tx, specimen: SpecimenId) -> Result<Vec<CaseRow>, StoreError> {
    let mut cases = Vec::new();
    for id in tx.cases_of_specimen(specimen).await? {
        cases.push(tx.case(id).await?);
    }
    Ok(cases)
}

/// What waits for a person: what, and in which words.
pub(super) struct Raising<'a> {
    pub kind: AlarmKind,
    pub about: About,
    pub reason: &'a str,
}

/// Puts something before a person, once, on its cases too.
pub(super) async fn raise(
    tx: &mut Tx,
    raising: &Raising<'_>,
    partner: &crate::model::PartnerId,
    cases: &mut [CaseRow],
    now: Moment,
    taken: &mut Taken,
) -> Result<(), StoreError> {
    let Raising { kind, about, reason } = *raising;
    if !tx.raise_specimen_alarm(kind, about, partner, reason, now).await? {
        return Ok(());
    }
    for case in cases {
        if case.needs_a_person(reason) {
            tx.tell(case.id, now, "intake", reason).await?;
            tx.save_case(case).await?;
        }
    }
    taken.raised.push((kind, partner.to_string(), reason.to_owned()));
    Ok(())
}

/// What is rejected or lost will not be examined unless somebody sends another.
async fn raise_for_state(
    tx: &mut Tx,
    specimen: &SpecimenRow,
    told: &Told,
    cases: &mut [CaseRow],
    now: Moment,
    taken: &mut Taken,
) -> Result<(), StoreError> {
    let (kind, reason) = match specimen.state {
        SpecimenState::Rejected => {
            let why = specimen_event::reject_reason(&told.reason.code).unwrap_or("its reason is in its story");
            (AlarmKind::Rejected, format!("specimen {}: rejected ({why})", specimen.id))
        }
        SpecimenState::Lost => (AlarmKind::Lost, format!("specimen {}: lost on its way", specimen.id)),
        _ => return Ok(()),
    };
    let raising = Raising { kind, about: About::Specimen(specimen.id), reason: &reason };
    raise(tx, &raising, &specimen.origin, cases, now, taken).await
}

/// A new state ends what the one before had somebody look for.
async fn end_alarms(tx: &mut Tx, specimen: &SpecimenRow, cases: &mut [CaseRow], now: Moment) -> Result<(), StoreError> {
    let mut open = tx.specimen_alarms_of(About::Specimen(specimen.id)).await?;
    open.retain(|alarm| match alarm.kind {
        AlarmKind::NotReceived => true,
        AlarmKind::Rejected => specimen.state != SpecimenState::Rejected,
        AlarmKind::Lost => specimen.state != SpecimenState::Lost,
        AlarmKind::NotOrdered | AlarmKind::NoSpecimen => false,
    });
    if !matches!(specimen.state, SpecimenState::Expected | SpecimenState::Lost) {
        for order in tx.orders_of_specimen(specimen.id).await? {
            let of_order = tx.specimen_alarms_of(About::Order(order)).await?;
            open.extend(of_order.into_iter().filter(|alarm| alarm.kind == AlarmKind::NoSpecimen));
        }
    }
    let by = format!("it is {} now", specimen.state);
    for alarm in open {
        end(tx, &alarm, &by, cases, now).await?;
    }
    Ok(())
}

/// Nobody needs to look any more.
pub(super) async fn end(
    tx: &mut Tx,
    alarm: &SpecimenAlarm,
    by: &str,
    cases: &mut [CaseRow],
    now: Moment,
) -> Result<(), StoreError> {
    if !tx.end_specimen_alarm(&alarm.id, by, now).await? {
        return Ok(());
    }
    for case in cases {
        let before = case.attention.clone();
        case.needs_nobody_for(&alarm.reason);
        if case.attention != before {
            tx.tell(case.id, now, "intake", &format!("no longer waits for a person: {} ({by})", alarm.reason)).await?;
            tx.save_case(case).await?;
        }
    }
    Ok(())
}

/// A person has looked: nothing of this waits any more. How many did.
///
/// # Errors
/// When the database fails.
pub async fn seen(tx: &mut Tx, about: About, why: &str, now: Moment) -> Result<usize, StoreError> {
    let ids = match about {
        About::Specimen(id) => tx.cases_of_specimen(id).await?,
        About::Order(id) => tx.cases_of_order(id).await?,
    };
    let mut cases = Vec::new();
    for id in ids {
        cases.push(tx.case(id).await?);
    }
    let open = tx.specimen_alarms_of(about).await?;
    for alarm in &open {
        end(tx, alarm, &format!("seen: {why}"), &mut cases, now).await?;
    }
    Ok(open.len())
}

/// Takes what an order of `partner` says of its specimens: kept, joined to the order, and what the hospital itself says
/// has happened to them (SPM-17: collected). The order is saved, its origin held.
///
/// # Errors
/// When the database fails.
pub async fn ordered(
    tx: &mut Tx,
    config: &Config,
    partner: &Partner,
    order: OrderId,
    said: &[SpecimenSaid],
    now: Moment,
) -> Result<Taken, StoreError> {
    let mut issued: Vec<SpecimenSaid> = said.iter().filter(|one| one.id().is_some()).cloned().collect();
    issued.iter_mut().for_each(|one| one.issued_by(&partner.issuer));
    let ids = tx.save_specimens(&partner.id, order, &issued, now).await?;
    let mut taken = Taken::default();
    for (id, said) in ids.into_iter().zip(&issued) {
        let mut specimen = tx.specimen(id).await?;
        now_ordered(tx, &specimen, now).await?;
        if said.collected.is_empty() {
            continue;
        }
        let told = Told::new(SpecimenEvent::Collected, partner.id.as_str(), said.collected.moment(partner.time_zone));
        // An order that is sent again says again what it said before; that contradicts nothing.
        if let Ok(more) = take(tx, config, &mut specimen, &told, now).await? {
            taken.add(more);
        }
    }
    Ok(taken)
}

/// Its order has come.
pub(super) async fn now_ordered(tx: &mut Tx, specimen: &SpecimenRow, now: Moment) -> Result<(), StoreError> {
    for alarm in tx.specimen_alarms_of(About::Specimen(specimen.id)).await? {
        if alarm.kind == AlarmKind::NotOrdered {
            let mut cases = cases_of(tx, specimen.id).await?;
            end(tx, &alarm, "its order has come", &mut cases, now).await?;
        }
    }
    Ok(())
}
