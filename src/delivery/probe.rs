//! Asks paused partners whether they are back: C-ECHO where they take images, a connection where they take only HL7.
//!
//! A pause ends with the first answer; until then nothing is sent, so that an away partner costs one probe at a time
//! and no attempts.

use super::{c_store, retry::backoff};
use crate::{
    config::{Config, DicomTarget, Hl7Target, Partner},
    delivery::worker::Delivering,
    dicom::scu::{Association, Proposal, Target},
    model::{Channel, chain},
    store::{Durability, Pause, StoreError},
};
use futures_util::{StreamExt, stream};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Probes at a time.
const AT_ONCE: usize = 16;

pub async fn run(delivering: Delivering, stop: CancellationToken) {
    loop {
        if let Err(error) = probe_all(&delivering).await {
            tracing::error!(error = %chain(&error), "Paused partners cannot be looked up");
        }
        tokio::select! {
            () = next_probe(&delivering) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn next_probe(delivering: &Delivering) {
    let soonest = match delivering.store.pauses().await {
        Ok(pauses) => pauses.iter().map(|pause| pause.until).min(),
        Err(_) => None,
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    match soonest {
        Some(at) => tokio::select! {
            () = delivering.clock.sleep_until(at) => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        },
        None => tokio::time::sleep(LOOK_EVERY).await,
    }
}

async fn probe_all(delivering: &Delivering) -> Result<(), StoreError> {
    let now = delivering.clock.now();
    let due = delivering.store.pauses().await?.into_iter().filter(|pause| pause.until <= now);
    let mut probes = stream::iter(due).map(|pause| probe(delivering, pause)).buffer_unordered(AT_ONCE);
    while let Some(result) = probes.next().await {
        result?;
    }
    Ok(())
}

async fn probe(delivering: &Delivering, pause: Pause) -> Result<(), StoreError> {
    let config = delivering.config.now();
    let answer = match config.partners.get(&pause.partner) {
        Some(partner) => ask(delivering, partner, pause.channel).await,
        // Taken out of the configuration: its deliveries will say so one by one.
        None => Ok(()),
    };
    let now = delivering.clock.now();
    let mut tx = delivering.store.begin(Durability::Process).await?;
    match answer {
        Ok(()) => {
            tx.unpause(&pause.partner, pause.channel, now).await?;
            tx.commit().await?;
            tracing::info!(site = %pause.partner, paused_for_secs = now.since(pause.since).as_secs(), "Partner {} is back", pause.partner);
            delivering.handoff.ring();
        }
        Err(reason) => {
            let until = now + backoff(pause.failures + 1, &config.delivery);
            tx.pause(&pause.partner, pause.channel, now, until, &reason).await?;
            tx.commit().await?;
            tracing::warn!(site = %pause.partner, next_probe_at = %until, "Partner {} is still away: {reason}", pause.partner);
        }
    }
    Ok(())
}

async fn ask(delivering: &Delivering, partner: &Partner, channel: Channel) -> Result<(), String> {
    let config = delivering.config.now();
    match channel {
        Channel::Dicom => match partner.dicom.as_ref().and_then(|dicom| dicom.deliver.as_ref()) {
            Some(target) => echo(&config, target).await,
            None => Ok(()),
        },
        Channel::Hl7 => match partner.hl7.as_ref().and_then(|hl7| hl7.deliver.as_ref()) {
            Some(target) => connect(&config, target).await,
            None => Ok(()),
        },
    }
}

async fn echo(config: &Config, target: &DicomTarget) -> Result<(), String> {
    let proposal = Proposal::verification().ok_or("no Verification SOP class")?;
    let address = Target { host: target.host.clone(), port: target.port, called_ae: target.ae_title.clone() };
    let opened = Association::open(&c_store::settings(config), &address, &[proposal]).await;
    let mut association = opened.map_err(|error| chain(&error))?;
    let answer = association.echo().await.map_err(|error| chain(&error));
    association.release().await;
    answer
}

/// HL7 v2 has no message that only asks "are you there", so a connection has to do.
async fn connect(config: &Config, target: &Hl7Target) -> Result<(), String> {
    let connecting = tokio::net::TcpStream::connect((target.host.as_str(), target.port));
    match tokio::time::timeout(config.delivery.connect, connecting).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no connection after {:?}", config.delivery.connect)),
    }
}
