//! Sends one version of a report in one form, or a message about an order: HL7 over MLLP, or a data set by C-STORE.
//!
//! In: the claimed delivery; the content was made when the report came and is only sent here, read as the line takes it, so
//! that a repetition is the same to the byte and has the same control id or SOP Instance UID. Out: the outcome.

use super::{
    c_store,
    content::Content,
    worker::{Attempted, Delivering, Lines},
};
use crate::{
    config::Hl7Target,
    dicom::scu::{InstanceToStore, Proposal},
    hl7::{
        ack::AckCode,
        sender::{Hl7Sender, InOnePiece, MessageSource, SendError, SenderSettings},
    },
    model::{Channel, Fault, Outcome, Uid, chain},
    store::{Claimed, ReportContent, StoreError},
};

/// An MLLP connection kept from one message to the next.
pub struct Hl7Line {
    target: Hl7Target,
    sender: Hl7Sender,
}

impl Hl7Line {
    /// Until the partner has closed it, or has sent what nobody asked for.
    pub async fn until_gone(&mut self) {
        self.sender.until_gone().await;
    }
}

/// Makes one attempt at a report.
///
/// # Errors
/// When the database cannot be read.
pub async fn send(delivering: &Delivering, delivery: &Claimed, lines: &mut Lines) -> Result<Attempted, StoreError> {
    let Some(report) = delivery.report else {
        let outcome = Outcome::Refused { reason: "the ledger names no report".into(), fault: Fault::Ours };
        return Ok(Attempted::ended(delivery, outcome));
    };
    let form = delivery.kind.as_str();
    let what = delivering.store.report_content(report, form).await?;
    let content = Content::new(delivering.store.clone(), report, form, &what);
    let (outcome, broke_off) = match delivery.kind.channel() {
        Channel::Hl7 => over_mllp(delivering, delivery, lines, content, &what.control_id).await,
        Channel::Dicom => by_c_store(delivering, delivery, lines, content, &what).await,
    };
    Ok(Attempted { broke_off, ..Attempted::ended(delivery, outcome) })
}

/// Makes one attempt at a message about an order, its specimens or its patient.
///
/// # Errors
/// When the database cannot be read.
pub async fn send_message(
    delivering: &Delivering,
    delivery: &Claimed,
    lines: &mut Lines,
) -> Result<Attempted, StoreError> {
    let message = delivering.store.case_message(delivery.id).await?;
    let content = InOnePiece::new(message.content.into());
    let (outcome, broke_off) = over_mllp(delivering, delivery, lines, content, &message.control_id).await;
    Ok(Attempted { broke_off, ..Attempted::ended(delivery, outcome) })
}

/// The outcome, and whether it broke off after the connection stood.
type Ended = (Outcome, bool);

async fn over_mllp(
    delivering: &Delivering,
    delivery: &Claimed,
    lines: &mut Lines,
    mut content: impl MessageSource,
    control_id: &str,
) -> Ended {
    let config = delivering.config.now();
    let partner = config.partners.get(&delivery.partner);
    let Some(target) = partner.and_then(|partner| partner.hl7.as_ref()).and_then(|hl7| hl7.deliver.clone()) else {
        let reason = "no [hl7] deliver is configured for it".into();
        return (Outcome::Refused { reason, fault: Fault::Ours }, false);
    };
    let settings = SenderSettings { connect: config.delivery.connect, response: config.delivery.response };
    let line = match lines.hl7.take() {
        Some(line) if line.target == target => line,
        _ => Hl7Line { sender: Hl7Sender::new(&target.host, target.port, settings), target },
    };
    let line = lines.hl7.insert(line);
    match line.sender.send_from(&mut content, control_id).await {
        Ok(acknowledgement) => match read_acknowledgement(acknowledgement.code) {
            Outcome::Delivered { .. } if !acknowledgement.unable.is_empty() => {
                (Outcome::Delivered { warning: Some(acknowledgement.unable.join(" ")) }, false)
            }
            outcome => (outcome, false),
        },
        Err(error) => not_acknowledged(&error),
    }
}

/// AA and CA end it. AR may be sent again unchanged after a pause; AE needs a person (HL7 v2.5.1 2.9.2). What the peer
/// writes beside the code may hold patient data, so it is not kept.
fn read_acknowledgement(code: AckCode) -> Outcome {
    match code {
        AckCode::AA | AckCode::CA => Outcome::Delivered { warning: None },
        AckCode::AR | AckCode::CR => {
            Outcome::TryAgain { reason: format!("message rejected ({})", code.as_str()), fault: Fault::Case }
        }
        AckCode::AE | AckCode::CE => {
            Outcome::Refused { reason: format!("message in error ({})", code.as_str()), fault: Fault::Case }
        }
    }
}

fn not_acknowledged(error: &SendError) -> Ended {
    let reason = chain(error);
    match error {
        SendError::CannotBeFramed(_) => (Outcome::Refused { reason, fault: Fault::Ours }, false),
        // Our database, which may be better later.
        SendError::Unread(_) => (Outcome::TryAgain { reason, fault: Fault::Ours }, false),
        SendError::Unreachable(_) => (Outcome::TryAgain { reason, fault: Fault::Partner }, false),
        SendError::TimedOut(_) | SendError::ConnectionLost(_) | SendError::NotAnAcknowledgement(_) => {
            (Outcome::TryAgain { reason, fault: Fault::Partner }, true)
        }
    }
}

async fn by_c_store(
    delivering: &Delivering,
    delivery: &Claimed,
    lines: &mut Lines,
    mut content: Content,
    named: &ReportContent,
) -> Ended {
    let config = delivering.config.now();
    let target = match c_store::target(config.partners.get(&delivery.partner)) {
        Ok(target) => target,
        Err(outcome) => return (outcome, false),
    };
    let (Ok(sop_class), Ok(sop_instance), Ok(transfer_syntax)) =
        (Uid::new(&named.sop_class), Uid::new(&named.sop_uid), Uid::new(&named.transfer_syntax))
    else {
        let reason = "the made document has no valid UIDs".into();
        return (Outcome::Refused { reason, fault: Fault::Ours }, false);
    };
    let what = InstanceToStore { length: named.length, sop_class, sop_instance, transfer_syntax };
    let proposal = Proposal { sop_class: what.sop_class.clone(), transfer_syntax: what.transfer_syntax.clone() };
    let settings = c_store::settings(&config);
    c_store::send_one(&mut lines.dicom, &settings, &target, proposal, &what, &mut content).await
}
