//! Takes what partners tell of specimens by HL7: SSU^U03, and what the SPM of other messages say beside.
//!
//! In: a message of a known partner. Out: AA after one synced transaction, or a refusal with its place; a message is taken
//! whole or not at all. A hospital tells of its own specimens that they were collected, shipped or lost; a laboratory of
//! those of the cases it reads that they were received, accepted, rejected or are missing. A specimen that neither knows
//! is kept as the teller's own, and a person is told when it lies in a laboratory without an order.

use super::specimens::{self, Taken, Told};
use crate::{
    config::{Config, Partner, Reader},
    hl7::{
        ack::{ErrorCode, Rejected, Verdict, acknowledge},
        charset::Charset,
        message::Message,
        specimen::{SpecimenStatus, Status, ToldSpecimen},
    },
    model::{
        Bell, IssuedId, Moment, PartnerId, SpecimenCode, SpecimenEvent, SpecimenSaid, TimeSaid,
        specimen::MAX_CONTAINERS, specimen_event,
    },
    store::{Durability, MessageKey, SpecimenRow, Store, StoreError, Tx},
};
use bytes::Bytes;
use std::collections::BTreeSet;

/// A specimen is a few hundred bytes.
const MAX_BYTES: usize = 1 << 20;

#[derive(Clone)]
pub struct SpecimenTaker {
    pub store: Store,
    /// Rung when there is something the other side is to be told.
    pub watch: Bell,
}

/// A message on its way in.
pub struct Incoming<'a> {
    pub partner: &'a Partner,
    pub view: &'a Message<'a>,
    pub charset: Charset,
    pub bytes: &'a Bytes,
    pub key: &'a MessageKey,
    pub now: Moment,
}

/// Which of its names an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// SPM-2.1.
    Placer,
    /// SPM-2.2.
    Filler,
    /// SAC-3.
    Container,
}

/// What a partner is to a specimen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Role {
    /// It is its specimen.
    origin: bool,
    /// It examines it.
    laboratory: bool,
}

impl Role {
    fn may_tell(self, event: SpecimenEvent) -> bool {
        match event {
            SpecimenEvent::Lost => self.origin || self.laboratory,
            event if event.is_at_the_laboratory() => self.laboratory,
            _ => self.origin,
        }
    }
}

impl SpecimenTaker {
    /// Takes a message. Returned after the commit: the bytes to answer.
    ///
    /// # Errors
    /// When the database fails; the sender must then be asked to send it again.
    pub async fn take(&self, config: &Config, incoming: &Incoming<'_>) -> Result<Vec<u8>, StoreError> {
        let Incoming { partner, view, charset, bytes, key, now } = *incoming;
        let refuse = |problem: &Rejected| {
            tracing::warn!(site = %partner.id, problem = %problem, "Refused a message of {} about specimens: {problem}", partner.id);
            acknowledge(view, problem.verdict(), Some(problem), now)
        };
        let parsed = if bytes.len() > MAX_BYTES {
            Err(Rejected::new("MSH", 1, 0, ErrorCode::DataType, "a message about specimens of more than 1 MiB"))
        } else {
            SpecimenStatus::parse(view, charset)
        };
        let message = match parsed {
            Ok(message) => message,
            Err(problem) => return Ok(refuse(&problem)),
        };
        let said: Vec<&SpecimenSaid> = message.specimens.iter().map(|told| &told.said).collect();
        let origins = self.origins(&partner.id, &said).await?;
        let mut tx = self.store.begin(Durability::Synced).await?;
        if let Some(answer) = tx.claim_message(key, now).await? {
            tracing::info!(site = %partner.id, "A message of {} came again and got the same answer", partner.id);
            return Ok(answer);
        }
        for origin in &origins {
            tx.hold_origin(origin).await?;
        }
        tx.keep_specimen_content(&partner.id, &key.sha256, now, bytes).await?;
        let mut taken = Taken::default();
        let telling = Telling { config, partner, now };
        for told in &message.specimens {
            match telling.one(&mut tx, told, &message.at).await? {
                Ok(more) => taken.add(more),
                Err(problem) => return Ok(refuse(&problem)),
            }
        }
        let answer = acknowledge(view, Verdict::Accept, None, now);
        tx.keep_answer(key, &answer).await?;
        tx.commit().await?;
        taken.log();
        tracing::info!(site = %partner.id, events = taken.count(), "Events of specimens told by {} taken", partner.id);
        self.watch.ring();
        Ok(answer)
    }

    /// What a message of another kind said of a specimen, such as a result. What cannot be its sender's to tell is left.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn take_news(
        &self,
        config: &Config,
        partner: &Partner,
        id: &str,
        said: &SpecimenSaid,
        now: Moment,
    ) -> Result<(), StoreError> {
        let origins = self.origins(&partner.id, &[said]).await?;
        let mut tx = self.store.begin(Durability::Process).await?;
        for origin in &origins {
            tx.hold_origin(origin).await?;
        }
        if !tx.specimen_news_taken(id).await? {
            return Ok(());
        }
        let told = ToldSpecimen { said: said.clone(), status: Status::Silent, sac: 1 };
        let telling = Telling { config, partner, now };
        let taken = match telling.known(&mut tx, &told, &TimeSaid::default()).await? {
            Ok(taken) => taken,
            Err(problem) => {
                tracing::warn!(site = %partner.id, problem = %problem, "What a message of {} says of a specimen is left: {problem}", partner.id);
                Taken::default()
            }
        };
        tx.commit().await?;
        taken.log();
        Ok(())
    }

    /// The teller, and whoever has a specimen of this id: held one after the other in one order, so that two tellers never
    /// wait for each other.
    async fn origins(&self, teller: &PartnerId, said: &[&SpecimenSaid]) -> Result<BTreeSet<PartnerId>, StoreError> {
        let mut origins = BTreeSet::from([teller.clone()]);
        for id in said.iter().flat_map(|said| said.ids()) {
            origins.extend(self.store.specimens_with(&id.value).await?.into_iter().map(|found| found.origin));
        }
        Ok(origins)
    }
}

struct Telling<'a> {
    config: &'a Config,
    partner: &'a Partner,
    now: Moment,
}

/// An event, when it happened, and why.
type Happened = (SpecimenEvent, Option<Moment>, SpecimenCode);

impl Telling<'_> {
    /// One specimen of a message about specimens: known, or kept as the teller's own.
    async fn one(
        &self,
        tx: &mut Tx,
        told: &ToldSpecimen,
        at: &TimeSaid,
    ) -> Result<Result<Taken, Rejected>, StoreError> {
        let found = match self.find(tx, &told.said).await? {
            Ok(found) => found,
            Err(problem) => return Ok(Err(problem)),
        };
        if !found.is_empty() {
            return self.take_all(tx, found, told, at).await;
        }
        let mut said = told.said.clone();
        said.issued_by(&self.partner.issuer);
        let specimen = tx.save_said(&self.partner.id, &said, self.now).await?;
        let role = self.role_in_rules();
        self.take_all(tx, vec![(specimen, role)], told, at).await
    }

    /// The same, of specimens that are known alone.
    async fn known(
        &self,
        tx: &mut Tx,
        told: &ToldSpecimen,
        at: &TimeSaid,
    ) -> Result<Result<Taken, Rejected>, StoreError> {
        match self.find(tx, &told.said).await? {
            Ok(found) if found.is_empty() || self.events(told, at, found[0].1).is_err() => Ok(Ok(Taken::default())),
            Ok(found) => self.take_all(tx, found, told, at).await,
            Err(problem) => Ok(Err(problem)),
        }
    }

    async fn take_all(
        &self,
        tx: &mut Tx,
        found: Vec<(SpecimenRow, Role)>,
        told: &ToldSpecimen,
        at: &TimeSaid,
    ) -> Result<Result<Taken, Rejected>, StoreError> {
        let mut taken = Taken::default();
        for (specimen, role) in found {
            let events = match self.events(told, at, role) {
                Ok(events) => events,
                Err(problem) => return Ok(Err(problem)),
            };
            // Read again, held for change.
            let mut specimen = tx.specimen(specimen.id).await?;
            self.learn(&mut specimen, &told.said, role);
            for (event, happened, reason) in events {
                let told_now = Told { reason, ..Told::new(event, self.partner.id.as_str(), happened) };
                match specimens::take(tx, self.config, &mut specimen, &told_now, self.now).await? {
                    Ok(more) => taken.add(more),
                    Err(contradiction) => {
                        let text = contradiction.to_string();
                        return Ok(Err(Rejected::new("SAC", told.sac, 8, ErrorCode::TableValueNotFound, text)));
                    }
                }
            }
            tx.save_specimen(&specimen).await?;
        }
        Ok(Ok(taken))
    }

    /// The laboratory's own id is taken over, and the hospital's containers; what the specimen is, only its order says.
    fn learn(&self, specimen: &mut SpecimenRow, said: &SpecimenSaid, role: Role) {
        let mut told = said.clone();
        told.issued_by(&self.partner.issuer);
        let is_stray = !specimen.ordered;
        let known = &mut specimen.said;
        if is_stray {
            known.learn_issuers(&told);
        }
        if role.laboratory && known.filler.is_empty() && !told.filler.is_empty() {
            known.filler = told.filler;
            known.bare.filler = is_stray && told.bare.filler;
        }
        for container in told.containers.into_iter().filter(|_| role.origin) {
            if known.containers.len() < MAX_CONTAINERS && !known.containers.contains(&container) {
                if is_stray && told.bare.containers.contains(&container) {
                    known.bare.containers.push(container.clone());
                }
                known.containers.push(container);
            }
        }
    }

    /// The specimens that this says something of, as far as its teller may know of them: one, or all in a container.
    async fn find(
        &self,
        tx: &mut Tx,
        said: &SpecimenSaid,
    ) -> Result<Result<Vec<(SpecimenRow, Role)>, Rejected>, StoreError> {
        let own = [(Name::Placer, &said.placer), (Name::Filler, &said.filler)];
        let containers = said.containers.iter().map(|id| (Name::Container, id));
        for (name, id) in own.into_iter().chain(containers).filter(|(_, id)| !id.is_empty()) {
            let is_container = name == Name::Container;
            let mut found = Vec::new();
            for specimen in tx.specimens_with(&id.value).await? {
                if !self.goes_by(&specimen, name, id) || self.contradicts(&specimen, said) {
                    continue;
                }
                if let Some(role) = self.role(tx, &specimen).await? {
                    found.push((specimen, role));
                }
            }
            // One that was ordered is meant, where another was told of before its order came.
            if found.iter().any(|(specimen, _)| specimen.ordered) {
                found.retain(|(specimen, _)| specimen.ordered);
            }
            // A container may hold several, but of one hospital only.
            let several_houses = found.iter().any(|(specimen, _)| specimen.origin != found[0].0.origin);
            if found.len() > 1 && (!is_container || several_houses) {
                let text = "several specimens go by this identifier: send its issuer";
                return Ok(Err(Rejected::new("SPM", 1, 2, ErrorCode::UnknownKey, text)));
            }
            if !found.is_empty() {
                return Ok(Ok(found));
            }
        }
        Ok(Ok(Vec::new()))
    }

    /// An id that names no issuer may be anybody's; one that does is that issuer's alone. The two houses count apart: a number
    /// of the one is compared with no number of the other. What the teller itself has told of before any order, under
    /// whichever of the two, is its own.
    fn goes_by(&self, specimen: &SpecimenRow, name: Name, id: &IssuedId) -> bool {
        let known = &specimen.said;
        let is_own = specimen.origin == self.partner.id && !specimen.ordered;
        let is_it = |known: &IssuedId| known.value == id.value && (id.issuer.is_empty() || known.issuer == id.issuer);
        match name {
            Name::Container => known.containers.iter().any(is_it),
            Name::Placer => is_it(&known.placer) || (is_own && is_it(&known.filler)),
            Name::Filler => is_it(&known.filler) || (is_own && is_it(&known.placer)),
        }
    }

    /// The same house has given it another number.
    fn contradicts(&self, specimen: &SpecimenRow, said: &SpecimenSaid) -> bool {
        let differ = |a: &IssuedId, b: &IssuedId| !a.is_empty() && !b.is_empty() && a.value != b.value;
        let (known, told) = (&specimen.said.filler, &said.filler);
        let houses = (self.house(specimen, known), self.house(specimen, told));
        let of_two_houses = matches!(houses, (Some(one), Some(other)) if one != other);
        differ(&specimen.said.placer, &said.placer) || (differ(known, told) && !of_two_houses)
    }

    /// Who gave a laboratory's number. `None`: nobody says; the hospital that leaves the issuer out, or has it filled in with
    /// its own, means the laboratory's.
    fn house<'a>(&'a self, specimen: &SpecimenRow, number: &'a IssuedId) -> Option<&'a str> {
        let of_origin = self.config.partners.get(&specimen.origin).map(|origin| origin.issuer.as_str());
        let said = if number.issuer.is_empty() { &self.partner.issuer } else { &number.issuer };
        Some(said.as_str()).filter(|house| Some(*house) != of_origin)
    }

    /// What the teller is to a specimen; `None`: it may not know of it.
    async fn role(&self, tx: &mut Tx, specimen: &SpecimenRow) -> Result<Option<Role>, StoreError> {
        let me = &self.partner.id;
        if specimen.origin == *me && !specimen.ordered {
            return Ok(Some(self.role_in_rules()));
        }
        let mut role = Role { origin: specimen.origin == *me, laboratory: false };
        for case in tx.cases_of_specimen(specimen.id).await? {
            let case = tx.case_as_it_is(case).await?;
            role.laboratory |= case.receivers().contains(me) || case.reader.as_ref() == Some(me);
        }
        Ok((role.origin || role.laboratory).then_some(role))
    }

    /// Of what nobody has ordered: who reads for others may be a laboratory.
    fn role_in_rules(&self) -> Role {
        let reader = Reader::Partner(self.partner.id.clone());
        let laboratory = self.config.routes.iter().any(|route| route.to.contains(&reader));
        Role { origin: true, laboratory }
    }

    /// What the message says has happened, in the order of the way.
    fn events(&self, told: &ToldSpecimen, at: &TimeSaid, role: Role) -> Result<Vec<Happened>, Rejected> {
        let said = &told.said;
        let time = |own: &TimeSaid| {
            let zone = self.partner.time_zone;
            own.moment(zone).or_else(|| at.moment(zone))
        };
        let none = TimeSaid::default();
        let mut events: Vec<Happened> = Vec::new();
        let mut put = |event, at: Option<Moment>| {
            if !events.iter().any(|(known, ..)| *known == event) {
                events.push((event, at, SpecimenCode::default()));
            }
        };
        if role.origin && !said.collected.is_empty() {
            put(SpecimenEvent::Collected, time(&said.collected));
        }
        if role.laboratory && !said.received.is_empty() {
            put(SpecimenEvent::Received, time(&said.received));
        }
        if let Some(event) = self.by_status(told, role)? {
            let own = match event {
                SpecimenEvent::Collected => &said.collected,
                SpecimenEvent::Received => &said.received,
                _ => &none,
            };
            put(event, time(own));
        }
        // SPM-24: "sample not received" (table 0493).
        if role.laboratory && said.condition.iter().any(|code| code.code == "SNR") {
            put(SpecimenEvent::Lost, time(&none));
        }
        if role.laboratory
            && let Some(reason) = reason(&said.rejected)
        {
            events.retain(|(event, ..)| !matches!(event, SpecimenEvent::Accepted | SpecimenEvent::Rejected));
            events.push((SpecimenEvent::Rejected, time(&none), reason));
        }
        events.sort_by_key(|(event, ..)| *event);
        if events.is_empty() {
            let text = "says nothing that its sender may tell of this specimen";
            return Err(Rejected::new("SAC", told.sac, 8, ErrorCode::TableValueNotFound, text));
        }
        Ok(events)
    }

    /// SAC-8, by who says it: what is "here" was received by a laboratory, and collected by a hospital.
    fn by_status(&self, told: &ToldSpecimen, role: Role) -> Result<Option<SpecimenEvent>, Rejected> {
        let refuse = |text| Err(Rejected::new("SAC", told.sac, 8, ErrorCode::TableValueNotFound, text));
        Ok(match told.status {
            Status::Silent => None,
            Status::Here if role.laboratory => Some(SpecimenEvent::Received),
            Status::Here => Some(SpecimenEvent::Collected),
            Status::InWork if role.laboratory => Some(SpecimenEvent::Accepted),
            Status::Left if role.origin => Some(SpecimenEvent::Shipped),
            Status::Missing => Some(SpecimenEvent::Lost),
            Status::InWork | Status::Left => None,
            Status::Said(event) if role.may_tell(event) => Some(event),
            Status::Said(_) => return refuse("this event is not its sender's to tell"),
            Status::Other => {
                return refuse("none of table 0370, nor collected, shipped, received, accepted, rejected, lost");
            }
        })
    }
}

/// The first reason of table 0490, or the first at all; the others are told beside it.
fn reason(rejected: &[SpecimenCode]) -> Option<SpecimenCode> {
    let known = rejected.iter().find(|code| specimen_event::reject_reason(&code.code).is_some());
    let mut reason = known.or(rejected.first())?.clone();
    let others: Vec<&str> =
        rejected.iter().map(SpecimenCode::display).filter(|text| *text != reason.display()).collect();
    let first = reason.display().to_owned();
    reason.text = std::iter::once(first.as_str()).chain(others).collect::<Vec<_>>().join("; ");
    Some(reason)
}
