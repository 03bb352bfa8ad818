//! Tells the other side what has become of a specimen: an SSU^U03 for each event and partner, owed like everything else.
//!
//! In: events nobody has been told of. Out: messages owed to the origin (`[specimens] events`) and to the readers of its
//! cases (`[orders] deliver`), but not to whoever told it; with the ids each knows. What has no case or no reader yet
//! waits for them.

use crate::{
    config::{Config, Partner},
    hl7::{
        charset::Charset,
        message::new_control_id,
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
    let cases = super::specimens::cases_of(tx, specimen.id).await?;
    let mut told = BTreeSet::new();
    if event.untold != Untold::Reader
        && let Some(case) = cases.first()
        && wants_events(config, &specimen.origin)
    {
        owe(tx, config, &specimen, event, case, &specimen.origin, now, &mut told).await?;
    }
    for case in &cases {
        for reader in case.receivers() {
            if config.partners.get(&reader).is_some_and(|reader| reader.orders_delivered) {
                owe(tx, config, &specimen, event, case, &reader, now, &mut told).await?;
            }
        }
    }
    let left = match cases.as_slice() {
        [] => Untold::Case,
        cases if cases.iter().all(|case| case.reader.is_none()) => Untold::Reader,
        _ => Untold::No,
    };
    tx.set_untold(&event.id, left).await?;
    Ok(told.len())
}

fn wants_events(config: &Config, origin: &PartnerId) -> bool {
    config.partners.get(origin).is_some_and(|origin| origin.specimens.events)
}

#[expect(clippy::too_many_arguments, reason = "one message of one event for one partner on one case")]
async fn owe(
    tx: &mut Tx,
    config: &Config,
    specimen: &SpecimenRow,
    event: &SpecimenEventRow,
    case: &CaseRow,
    to: &PartnerId,
    now: Moment,
    told: &mut BTreeSet<PartnerId>,
) -> Result<(), StoreError> {
    let Some(partner) = config.partners.get(to).filter(|_| event.teller != to.as_str()) else { return Ok(()) };
    if told.contains(to) {
        return Ok(());
    }
    let control_id = new_control_id();
    let Some((content, as_utf_8)) = message(config, partner, specimen, event, &control_id, now) else {
        return Ok(());
    };
    tx.owe_message(&NewMessage {
        case: case.id,
        partner: to.clone(),
        lane: if case.priority == Priority::Stat { Lane::Stat } else { Lane::Routine },
        what: "SSU^U03".into(),
        control_id,
        content,
        deadline: None,
        give_up: now + config.delivery.give_up,
        now,
    })
    .await?;
    let letters = if as_utf_8 { ", as UTF-8: its character set lacks a letter" } else { "" };
    let what = format!("{to} is told that specimen {} was {}{letters}", specimen.id, event.event);
    tx.tell(case.id, now, "intake", &what).await?;
    told.insert(to.clone());
    Ok(())
}

/// The message, and whether it had to be written as UTF-8; `None` where nothing can be sent to it.
fn message(
    config: &Config,
    to: &Partner,
    specimen: &SpecimenRow,
    event: &SpecimenEventRow,
    control_id: &str,
    now: Moment,
) -> Option<(Vec<u8>, bool)> {
    let hl7 = to.hl7.as_ref()?;
    let target = hl7.deliver.as_ref()?;
    let charset = target.charset.as_deref().or(hl7.charset.as_deref()).unwrap_or("8859/1");
    let local = |at: Moment| at.utc().with_timezone(&to.time_zone).fixed_offset();
    let known = specimen_event::reject_reason(&event.reason_code);
    let reason = SpecimenCode {
        code: event.reason_code.clone(),
        text: event.reason.clone(),
        system: if known.is_some() { "HL70490".into() } else { String::new() },
    };
    let ssu = SsuToSend {
        sending_facility: &config.node.name,
        receiving_application: &target.application,
        receiving_facility: &target.facility,
        control_id,
        at: local(now),
        charset: Charset::named(charset).unwrap_or(Charset::UTF_8),
        teller: &event.teller,
        specimen: SpecimenToTell {
            said: &specimen.said,
            event: event.event,
            happened: local(event.happened.unwrap_or(event.told)),
            reason: Some(reason),
        },
    };
    let (content, missing) = ssu.encode_or_utf8();
    Some((content, missing.is_some()))
}
