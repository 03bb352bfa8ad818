//! A hospital: a scanner that sends (with real DCMTK tools from files, or slice by slice from memory) and an information
//! system that takes reports.

use bytes::{Bytes, BytesMut};
use neisse::{
    cli::sample::{self, SampleCase, SampleInstance},
    dicom::scu::{Association, DataSource, InstanceToStore, Proposal, ScuSettings, StoreResponse, Target},
    hl7::{
        ack::{Verdict, acknowledge},
        listener::{self, Hl7Handler, ListenerSettings},
        message::Message,
    },
    model::Moment,
};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub struct Hospital {
    /// Of its MLLP listener.
    pub port: u16,
    reports: Arc<Mutex<Vec<Bytes>>>,
    /// Answer the next messages so instead of AA.
    verdict: Arc<Mutex<Verdict>>,
}

impl Hospital {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let hospital = Self {
            port: listener.local_addr().expect("its address").port(),
            reports: Arc::default(),
            verdict: Arc::new(Mutex::new(Verdict::Accept)),
        };
        let settings = ListenerSettings {
            max_message_bytes: 128 << 20,
            max_connections: 10,
            message_within: Duration::from_secs(60),
            idle: Duration::from_secs(600),
        };
        let handler = System { reports: Arc::clone(&hospital.reports), verdict: Arc::clone(&hospital.verdict) };
        tokio::spawn(listener::serve(listener, settings, handler, CancellationToken::new()));
        hospital
    }

    /// Every message it accepted, in order, as it was on the wire.
    pub fn reports(&self) -> Vec<Bytes> {
        self.reports.lock().expect("reports").clone()
    }

    pub fn answer(&self, verdict: Verdict) {
        *self.verdict.lock().expect("verdict") = verdict;
    }
}

#[derive(Clone)]
struct System {
    reports: Arc<Mutex<Vec<Bytes>>>,
    verdict: Arc<Mutex<Verdict>>,
}

impl Hl7Handler for System {
    async fn receive(&self, _peer: SocketAddr, message: Bytes) -> Vec<u8> {
        let view = Message::parse(&message).expect("the router sends HL7");
        let verdict = *self.verdict.lock().expect("verdict");
        if verdict == Verdict::Accept {
            self.reports.lock().expect("reports").push(Bytes::copy_from_slice(&message));
        }
        acknowledge(&view, verdict, None, Moment(0))
    }
}

/// A scanner of rabenstein with one association open.
pub struct Scanner(pub Association);

impl Scanner {
    pub async fn connect(router: SocketAddr, first: &SampleInstance) -> Self {
        Self::try_connect(router, first).await.expect("an association")
    }

    /// For a router that may be gone.
    pub async fn try_connect(router: SocketAddr, first: &SampleInstance) -> Option<Self> {
        let settings = ScuSettings {
            calling_ae: "RAB_CT1".into(),
            connect: Duration::from_secs(10),
            response: Duration::from_secs(30),
        };
        let target = Target { host: "127.0.0.1".into(), port: router.port(), called_ae: "NEISSE".into() };
        let proposal = Proposal { sop_class: first.sop_class.clone(), transfer_syntax: first.transfer_syntax.clone() };
        Association::open(&settings, &target, &[proposal]).await.ok().map(Self)
    }

    /// Sends one instance; its DIMSE status.
    pub async fn send(&mut self, instance: &SampleInstance) -> u16 {
        self.try_send(instance).await.expect("a response")
    }

    /// With the comment beside the status.
    pub async fn answer(&mut self, instance: &SampleInstance) -> StoreResponse {
        self.store(instance).await.expect("a response")
    }

    /// `None`: no answer came. Whether the router has it is unknown.
    pub async fn try_send(&mut self, instance: &SampleInstance) -> Option<u16> {
        self.store(instance).await.map(|response| response.status)
    }

    async fn store(&mut self, instance: &SampleInstance) -> Option<StoreResponse> {
        let what = InstanceToStore {
            sop_class: instance.sop_class.clone(),
            sop_instance: instance.sop_instance.clone(),
            transfer_syntax: instance.transfer_syntax.clone(),
            length: instance.data_set.len() as u64,
        };
        self.0.store(&what, &mut Slice(&instance.data_set)).await.ok()
    }

    pub async fn release(self) {
        self.0.release().await;
    }
}

/// Sends a whole study over one association; every slice must be accepted.
pub async fn send_study(router: SocketAddr, instances: &[SampleInstance]) {
    let mut scanner = Scanner::connect(router, &instances[0]).await;
    for instance in instances {
        assert_eq!(scanner.send(instance).await, 0x0000);
    }
    scanner.release().await;
}

/// A small head CT of an invented patient, another one for each number.
pub fn head_ct(number: u64, slices: usize) -> (SampleCase, Vec<SampleInstance>) {
    let case = SampleCase::numbered(number);
    let instances = sample::head_ct(slices, 64, &case).collect();
    (case, instances)
}

/// The instances as DICOM files, for DCMTK.
pub fn write_files(folder: &Path, instances: &[SampleInstance]) -> Vec<PathBuf> {
    let write = |(number, instance): (usize, &SampleInstance)| {
        let file = folder.join(format!("{number:04}.dcm"));
        std::fs::write(&file, instance.part10()).expect("a file");
        file
    };
    instances.iter().enumerate().map(write).collect()
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
