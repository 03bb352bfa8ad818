//! Owes news of a patient (changed data, merged identifiers) to the readers of the case that take orders, each once, however
//! many cases of the patient it reads.

use super::{
    names::{Names, names},
    orders::{charset_of, encoded, takers, tell_warnings},
    step::lane,
};
use crate::{
    config::{Config, Hl7Target, Partner},
    hl7::{
        adt::{AdtForward, forward, identifiers},
        charset::Charset,
        message::new_control_id,
    },
    model::{CaseState, IdentifierKind, IssuedId, Moment, PartnerId},
    store::{CaseRow, NewMessage, PatientMessage, StoreError, Tx},
};

/// Owes what has not been owed yet. Before a case has its reader there is nobody to tell.
///
/// # Errors
/// When the database fails.
pub async fn owe_news(
    tx: &mut Tx,
    config: &Config,
    case: &mut CaseRow,
    now: Moment,
    give_up: Moment,
) -> Result<(), StoreError> {
    if matches!(case.state, CaseState::New | CaseState::Held) {
        return Ok(());
    }
    let messages = tx.patient_messages(case.id).await?;
    // In one order, as the messages are: two cases of the patient wait for each other's rows otherwise.
    let mut takers = takers(config, case);
    takers.sort();
    for partner in takers {
        for message in &messages {
            if tx.patient_message_goes_to(&partner, message).await? {
                owe(tx, config, case, &partner, message, now, give_up).await?;
            }
        }
    }
    Ok(())
}

async fn owe(
    tx: &mut Tx,
    config: &Config,
    case: &mut CaseRow,
    partner: &PartnerId,
    message: &PatientMessage,
    now: Moment,
    give_up: Moment,
) -> Result<(), StoreError> {
    let Some(receiver) = config.partners.get(partner) else { return Ok(()) };
    let target = receiver.hl7.as_ref().and_then(|hl7| hl7.deliver.as_ref());
    let (Some(target), Some(origin)) = (target, config.partners.get(&case.origin)) else { return Ok(()) };
    let control_id = new_control_id();
    let fallback = charset_of(config, &origin.id);
    let (stays, merged) = identifiers(&message.content, fallback, &origin.issuer).unwrap_or_default();
    let patients = |ids: Vec<IssuedId>| ids.into_iter().map(|id| (IdentifierKind::Patient, id)).collect();
    let mut names = names(tx, config, case, partner, patients(stays), now).await?;
    // Whatever the case knows of them: a number of the hospital's own would be somebody else's there.
    names.add(tx, config, case, partner, patients(merged), now).await?;
    let Some((bytes, charset, what)) = made(config, origin, target, message, &control_id, &names, now) else {
        let reason =
            format!("news of its patient cannot be sent to {partner}: what was received cannot be read any more");
        case.needs_a_person(&reason);
        return tx.tell(case.id, now, "routing", &reason).await;
    };
    let (content, warnings) = encoded(bytes, charset, receiver);
    tell_warnings(tx, case, partner, &warnings, now).await?;
    let told = format!("news of its patient go to {partner} ({what})");
    tx.owe_message(&NewMessage {
        case: case.id,
        partner: partner.clone(),
        lane: lane(case.priority),
        what,
        control_id,
        content,
        deadline: None,
        give_up,
        now,
    })
    .await?;
    tx.tell(case.id, now, "routing", &told).await
}

fn made(
    config: &Config,
    origin: &Partner,
    target: &Hl7Target,
    message: &PatientMessage,
    control_id: &str,
    names: &Names,
    now: Moment,
) -> Option<(Vec<u8>, Charset, String)> {
    let how = AdtForward {
        sending_application: "NEISSE",
        sending_facility: &config.node.name,
        receiving_application: &target.application,
        receiving_facility: &target.facility,
        at: &now.utc().with_timezone(&origin.time_zone).format("%Y%m%d%H%M%S%z").to_string(),
        control_id,
        issuer: &origin.issuer,
        named: &|id| names.of(IdentifierKind::Patient, id),
        own_domain: names.has_own(),
    };
    forward(&message.content, charset_of(config, &origin.id), &how).ok()
}
