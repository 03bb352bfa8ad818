//! Tells the other side what has become of a specimen: an SSU^U03 for each event and partner, owed like everything else.
//!
//! In: events nobody has been told of. Out: messages owed to the origin (`[specimens] events`) and to the readers of its
//! cases (`[orders] deliver`), but not to whoever told it, and to each once; with the ids each knows. What has no case or no
//! reader yet waits for them, for each of its cases.

use crate::{
    config::{Config, Partner},
    hl7::{
        message::new_control_id,
        outgoing::{Sent, outgoing},
        specimen::{SpecimenToTell, SsuToSend},
    },
    model::{Lane, Moment, PartnerId, Priority, SpecimenCode, specimen_event},
    store::{CaseRow, NewMessage, SpecimenEventRow, SpecimenRow, StoreError, Tx, Untold},
};
use std::collections::BTreeSet;

/// Owes what is to be told of one event. How many messages.
///
/// # Errors
/// When the database fails.
pub(super) async fn tell(
    tx: &mut Tx,
    config: &Config,
    event: &SpecimenEventRow,
    now: Moment,
) -> Result<usize, StoreError> {
    let specimen = tx.specimen(event.specimen).await?;
    let mut cases = super::specimens::cases_of(tx, specimen.id).await?;
    let told = tx.told_of_specimen_event(&event.id).await?;
    let mut telling = Telling { config, specimen: &specimen, event, now, told, owed: 0 };
    if let Some(case) = cases.first_mut() {
        telling.go_through(tx, case, &specimen.origin, wants_events(config, &specimen.origin)).await?;
    }
    for case in &mut cases {
        for partner in case.receivers().into_iter().chain(case.reader.clone()) {
            let wants = config.partners.get(&partner).is_some_and(|partner| partner.orders_delivered);
            telling.go_through(tx, case, &partner, wants && partner != case.origin).await?;
        }
    }
    let left = match cases.as_slice() {
        [] => Untold::Case,
        cases if cases.iter().any(|case| case.reader.is_none()) => Untold::Reader,
        _ => Untold::No,
    };
    tx.set_untold(&event.id, left).await?;
    Ok(telling.owed)
}

fn wants_events(config: &Config, origin: &PartnerId) -> bool {
    config.partners.get(origin).is_some_and(|origin| origin.specimens.events)
}

/// One event of one specimen, and for whom it has been gone through by now.
struct Telling<'a> {
    config: &'a Config,
    specimen: &'a SpecimenRow,
    event: &'a SpecimenEventRow,
    now: Moment,
    told: BTreeSet<String>,
    owed: usize,
}

impl Telling<'_> {
    /// Each partner once, however many cases of the specimen it has, and whenever it got them.
    async fn go_through(
        &mut self,
        tx: &mut Tx,
        case: &mut CaseRow,
        partner: &PartnerId,
        wants: bool,
    ) -> Result<(), StoreError> {
        if !self.told.insert(partner.to_string()) {
            return Ok(());
        }
        if wants {
            self.owe(tx, case, partner).await?;
        }
        tx.note_told_of_specimen_event(&self.event.id, partner).await
    }

    /// Whoever told it knows it.
    async fn owe(&mut self, tx: &mut Tx, case: &mut CaseRow, to: &PartnerId) -> Result<(), StoreError> {
        let (specimen, event, now) = (self.specimen, self.event, self.now);
        let Some(partner) = self.config.partners.get(to).filter(|_| event.teller != to.as_str()) else {
            return Ok(());
        };
        let control_id = new_control_id();
        let Some(sent) = self.message(partner, &control_id) else { return Ok(()) };
        for warning in &sent.warnings {
            let warning = format!("news of its specimen to {to}: {warning}");
            if case.needs_a_person(&warning) {
                tx.tell(case.id, now, "intake", &warning).await?;
                tx.save_case(case).await?;
            }
        }
        tx.owe_message(&NewMessage {
            case: case.id,
            partner: to.clone(),
            lane: if case.priority == Priority::Stat { Lane::Stat } else { Lane::Routine },
            what: "SSU^U03".into(),
            control_id,
            content: sent.bytes,
            deadline: None,
            give_up: now + self.config.delivery.give_up,
            now,
        })
        .await?;
        let what = format!("{to} is told that specimen {} was {}", specimen.id, event.event);
        tx.tell(case.id, now, "intake", &what).await?;
        self.owed += 1;
        Ok(())
    }

    /// In the partner's character set; `None` where nothing can be sent to it.
    fn message(&self, to: &Partner, control_id: &str) -> Option<Sent> {
        let (event, specimen) = (self.event, self.specimen);
        let target = to.hl7.as_ref()?.deliver.as_ref()?;
        let local = |at: Moment| at.utc().with_timezone(&to.time_zone).fixed_offset();
        let known = specimen_event::reject_reason(&event.reason_code);
        let reason = SpecimenCode {
            code: event.reason_code.clone(),
            text: event.reason.clone(),
            system: match known {
                Some(_) if event.reason_system.is_empty() => "HL70490".into(),
                _ => event.reason_system.clone(),
            },
        };
        let ssu = SsuToSend {
            sending_facility: &self.config.node.name,
            receiving_application: &target.application,
            receiving_facility: &target.facility,
            control_id,
            at: local(self.now),
            teller: &event.teller,
            specimen: SpecimenToTell {
                said: &specimen.said,
                event: event.event,
                happened: local(event.happened.unwrap_or(event.told)),
                reason: Some(reason),
            },
        };
        Some(outgoing(&ssu.text(), &to.hl7_outgoing()))
    }
}
