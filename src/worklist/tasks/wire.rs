//! Events over associations of ours: N-EVENT-REPORT to a subscriber's destination (PS3.4 CC.2.4, PS3.7 10.1.1).
//!
//! In: events of one subscriber, in order. Out: how many of them it has taken. An event that it answers with a failure has
//! been told all the same: the standard asks nothing of a subscriber, and the next one would be told again for ever.

use super::events::TellsEvents;
use crate::{
    config::Live,
    dicom::{
        dimse::{Request, Service},
        scu::{Association, Proposal, ScuSettings, Target},
        service::MoveDestination,
        ups::{EventReport, PUSH},
    },
    model::{Outgoing, PartnerId, Uid, chain},
};
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// UPS Event SOP Class.
const EVENT: &str = "1.2.840.10008.5.1.4.34.6.4";
/// Explicit and Implicit VR Little Endian: one of them every peer takes.
const SYNTAXES: [&str; 2] = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"];

/// All has been told by then; who does not answer is hung up on.
const RELEASED_WITHIN: Duration = Duration::from_secs(5);

pub struct Associations {
    pub config: Live,
}

impl TellsEvents for Associations {
    fn tell<'a>(
        &'a self,
        partner: &'a PartnerId,
        to: &'a MoveDestination,
        events: &'a [EventReport],
        until: Instant,
    ) -> BoxFuture<'a, usize> {
        Box::pin(self.tell_all(partner, to, events, until))
    }
}

impl Associations {
    /// A subscriber that is slow is told the rest later; what it has taken is not told again.
    async fn tell_all(
        &self,
        partner: &PartnerId,
        to: &MoveDestination,
        events: &[EventReport],
        until: Instant,
    ) -> usize {
        let config = self.config.now();
        let letters = config.partners.get(partner).map_or_else(Outgoing::default, |partner| partner.dicom_answers());
        let settings = ScuSettings {
            calling_ae: config.dicom.ae_title.clone(),
            connect: config.delivery.connect,
            response: config.delivery.response,
        };
        let target = Target { host: to.host.clone(), port: to.port, called_ae: to.ae_title.clone() };
        let Ok(class) = Uid::new(EVENT) else { return 0 };
        let proposal = |syntax: &str| {
            let transfer_syntax = Uid::new(syntax).ok()?;
            Some(Proposal { sop_class: class.clone(), transfer_syntax })
        };
        let proposals: Vec<Proposal> = SYNTAXES.iter().filter_map(|syntax| proposal(syntax)).collect();
        let opened = timeout_at(until, Association::open_to_report(&settings, &target, &proposals)).await;
        let mut association = match opened {
            Ok(Ok(association)) => association,
            Err(_) => return 0,
            Ok(Err(error)) => {
                tracing::debug!(site = %partner, error = %chain(&error), "No association to tell events of tasks");
                return 0;
            }
        };
        let mut told = 0;
        for event in events {
            let request = Request {
                type_id: Some(event.event.id()),
                ..Request::new(Service::EventReport, PUSH, event.task.as_str())
            };
            let operated = association.operate(&class, request, Some(&event.information), &letters);
            match timeout_at(until, operated).await {
                Ok(Ok(_)) => told += 1,
                Err(_) => return told,
                Ok(Err(error)) => {
                    tracing::debug!(site = %partner, error = %chain(&error), "An event of a task was not taken");
                    return told;
                }
            }
        }
        let _ = timeout(RELEASED_WITHIN, association.release()).await;
        told
    }
}
