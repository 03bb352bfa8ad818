//! Asks paused partners whether they are back: C-ECHO where they take images, a connection where they take only HL7.
//!
//! A pause ends with the first answer; until then nothing is sent, so that an away partner costs one probe at a time
//! and no attempts. An association is answer enough where C-ECHO is not agreed to.

use super::{c_store, retry::backoff};
use crate::{
    config::{Config, DicomTarget, Hl7Target, Partner},
    delivery::worker::Delivering,
    dicom::scu::{Association, Proposal, ScuError, ScuSettings, Target},
    model::{Channel, PartnerId, chain},
    store::{Durability, Pause, StoreError},
};
use std::{collections::HashSet, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Who is asked, and by what.
type Asked = (PartnerId, Channel);

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Probes at a time.
const AT_ONCE: usize = 64;

pub async fn run(delivering: Delivering, stop: CancellationToken) {
    let mut probes = JoinSet::new();
    let mut under_way = HashSet::new();
    loop {
        if let Err(error) = start_due(&delivering, &mut probes, &mut under_way).await {
            tracing::error!(error = %chain(&error), "Paused partners cannot be looked up");
        }
        tokio::select! {
            Some(ended) = probes.join_next() => match ended {
                Ok(asked) => {
                    under_way.remove(&asked);
                }
                // Who was asked is not known then: asked again, at worst, while a probe is under way.
                Err(_) => under_way.clear(),
            },
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

/// Each probe by itself: one partner that does not answer does not hold up the news that another is back.
async fn start_due(
    delivering: &Delivering,
    probes: &mut JoinSet<Asked>,
    under_way: &mut HashSet<Asked>,
) -> Result<(), StoreError> {
    let now = delivering.clock.now();
    for pause in delivering.store.pauses().await?.into_iter().filter(|pause| pause.until <= now) {
        let asked = (pause.partner.clone(), pause.channel);
        if under_way.len() >= AT_ONCE || !under_way.insert(asked.clone()) {
            continue;
        }
        let delivering = delivering.clone();
        probes.spawn(async move {
            if let Err(error) = probe(&delivering, pause).await {
                tracing::error!(error = %chain(&error), "What a probe found cannot be recorded");
                tokio::time::sleep(LOOK_EVERY).await;
            }
            asked
        });
    }
    Ok(())
}

async fn probe(delivering: &Delivering, pause: Pause) -> Result<(), StoreError> {
    let config = delivering.config.now();
    let answer = match config.partners.get(&pause.partner) {
        Some(partner) => ask(delivering, partner, pause.channel).await,
        // Taken out of the configuration: its deliveries stay owed, and `overdue` tells of them.
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
            Some(target) => echo(&c_store::settings(&config), target).await,
            None => Ok(()),
        },
        Channel::Hl7 => match partner.hl7.as_ref().and_then(|hl7| hl7.deliver.as_ref()) {
            Some(target) => connect(&config, target).await,
            None => Ok(()),
        },
    }
}

async fn echo(settings: &ScuSettings, target: &DicomTarget) -> Result<(), String> {
    let proposal = Proposal::verification().ok_or("no Verification SOP class")?;
    let address = Target { host: target.host.clone(), port: target.port, called_ae: target.ae_title.clone() };
    let opened = Association::open(settings, &address, &[proposal]).await;
    let mut association = opened.map_err(|error| chain(&error))?;
    let answer = match association.echo().await {
        // It agrees to associations and does without Verification: as good as an answer.
        Ok(()) | Err(ScuError::NotAccepted) => Ok(()),
        Err(error) => Err(chain(&error)),
    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Charset;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_partner_that_agrees_to_no_verification_is_there() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let peer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut header = [0; 6];
            stream.read_exact(&mut header).await.expect("an A-ASSOCIATE-RQ");
            let length = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
            let mut body = vec![0; length as usize];
            stream.read_exact(&mut body).await.expect("whole");
            // A-ASSOCIATE-AC: context 1 with result 3 (abstract syntax not supported), maximum length 16 KiB.
            let items = [0x21, 0, 0, 4, 1, 0, 3, 0, 0x50, 0, 0, 8, 0x51, 0, 0, 4, 0, 0, 0x40, 0];
            let accept = [&[2, 0, 0, 0, 0, 88][..], &[0; 68], &items].concat();
            stream.write_all(&accept).await.expect("written");
            stream.read_exact(&mut header).await.expect("another PDU");
            header[0]
        });
        let (connect, response) = (Duration::from_secs(10), Duration::from_secs(10));
        let settings = ScuSettings { calling_ae: "NEISSE".into(), connect, response };
        let target = DicomTarget {
            ae_title: "PACS".into(),
            host: "127.0.0.1".into(),
            port,
            associations: 1,
            commitment: false,
            charset: Charset::UTF_8,
            utf8: true,
        };
        assert_eq!(echo(&settings, &target).await, Ok(()));
        assert_eq!(peer.await.expect("no panic"), 5, "A-RELEASE-RQ");
    }
}
