//! The simulated hospital: a scanner that sends, and an information system that listens.

use crate::{
    cli::sample::SampleInstance,
    dicom::scu::{Association, DataSource, InstanceToStore, Proposal, ScuSettings, StoreAnswer, Target, read_answer},
    hl7::{
        ack::{Verdict, acknowledge},
        listener::{self, Hl7Handler, ListenerSettings},
        message::Message,
    },
    model::Moment,
};
use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use chrono::Utc;
use indicatif::ProgressBar;
use std::{io, net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

/// Sends the study as a scanner does: one association, slice after slice.
pub async fn send(router: SocketAddr, instances: &[SampleInstance], bar: &ProgressBar) -> anyhow::Result<()> {
    let settings = ScuSettings {
        calling_ae: "RAB_CT1".into(),
        connect: Duration::from_secs(10),
        response: Duration::from_secs(30),
    };
    let target = Target { host: router.ip().to_string(), port: router.port(), called_ae: "NEISSE".into() };
    let Some(first) = instances.first() else { bail!("nothing to send") };
    let proposal = Proposal { sop_class: first.sop_class.clone(), transfer_syntax: first.transfer_syntax.clone() };
    let mut association =
        Association::open(&settings, &target, &[proposal]).await.context("the scanner got no association")?;
    for instance in instances {
        let what = InstanceToStore {
            sop_class: instance.sop_class.clone(),
            sop_instance: instance.sop_instance.clone(),
            transfer_syntax: instance.transfer_syntax.clone(),
            length: instance.data_set.len() as u64,
        };
        let answer = association.store(&what, &mut Slice(&instance.data_set)).await.context("sending a slice")?;
        if read_answer(answer.status) != StoreAnswer::Stored {
            bail!("the router answered {:04X} to a slice", answer.status);
        }
        bar.inc(1);
    }
    association.release().await;
    bar.finish();
    Ok(())
}

struct Slice<'a>(&'a [u8]);

impl DataSource for Slice<'_> {
    async fn read(&mut self, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
        let taken = at_most.min(self.0.len());
        into.extend_from_slice(&self.0[..taken]);
        self.0 = &self.0[taken..];
        Ok(taken)
    }
}

/// Listens for reports and acknowledges each.
pub fn listen(listener: TcpListener) -> mpsc::Receiver<Bytes> {
    let (arrived, reports) = mpsc::channel(8);
    let settings = ListenerSettings {
        max_message_bytes: 16 << 20,
        max_connections: 4,
        message_within: Duration::from_secs(30),
        idle: Duration::from_secs(3600),
    };
    tokio::spawn(listener::serve(listener, settings, InformationSystem { arrived }, CancellationToken::new()));
    reports
}

#[derive(Clone)]
struct InformationSystem {
    arrived: mpsc::Sender<Bytes>,
}

impl Hl7Handler for InformationSystem {
    async fn receive(&self, _peer: SocketAddr, message: Bytes) -> Vec<u8> {
        let Ok(view) = Message::parse(&message) else { return Vec::new() };
        let answer = acknowledge(&view, Verdict::Accept, None, Moment::from_utc(Utc::now()));
        // A full channel means that the demo has what it waits for.
        let _ = self.arrived.try_send(message.clone());
        answer
    }
}
