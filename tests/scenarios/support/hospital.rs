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
    ways: Arc<Mutex<Ways>>,
    stop: CancellationToken,
}

/// How the information system answers.
#[derive(Clone, Copy, Debug)]
struct Ways {
    verdict: Verdict,
    slow: Duration,
    other_control_id: bool,
}

impl Hospital {
    pub async fn start() -> Self {
        Self::start_at(0).await
    }

    /// At a given port, to come up late.
    pub async fn start_at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let ways = Ways { verdict: Verdict::Accept, slow: Duration::ZERO, other_control_id: false };
        let hospital = Self {
            port: listener.local_addr().expect("its address").port(),
            reports: Arc::default(),
            ways: Arc::new(Mutex::new(ways)),
            stop: CancellationToken::new(),
        };
        hospital.listen(listener);
        hospital
    }

    fn listen(&self, listener: TcpListener) {
        let settings = ListenerSettings {
            max_message_bytes: 128 << 20,
            max_connections: 10,
            message_within: Duration::from_secs(60),
            idle: Duration::from_secs(600),
        };
        let handler = System { reports: Arc::clone(&self.reports), ways: Arc::clone(&self.ways) };
        tokio::spawn(listener::serve(listener, settings, handler, self.stop.clone()));
    }

    /// Its information system is down: the port is closed, connections end.
    pub async fn go_away(&mut self) {
        self.stop.cancel();
        super::eventually("the hospital's port is closed", Duration::from_secs(20), async || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err()
        })
        .await;
    }

    /// Up again at the same port.
    pub async fn come_back(&mut self) {
        self.stop = CancellationToken::new();
        let port = self.port;
        let mut listener = None;
        super::eventually("the hospital's port can be had again", Duration::from_secs(20), async || {
            listener = TcpListener::bind(("127.0.0.1", port)).await.ok();
            listener.is_some()
        })
        .await;
        self.listen(listener.expect("bound"));
    }

    /// Every message it accepted, in order, as it was on the wire.
    pub fn reports(&self) -> Vec<Bytes> {
        self.reports.lock().expect("reports").clone()
    }

    /// Answer the next messages so instead of AA.
    pub fn answer(&self, verdict: Verdict) {
        self.ways.lock().expect("ways").verdict = verdict;
    }

    /// Take this long over each message.
    pub fn be_slow(&self, slow: Duration) {
        self.ways.lock().expect("ways").slow = slow;
    }

    /// Answer as if another message had been sent.
    pub fn answer_another(&self, other_control_id: bool) {
        self.ways.lock().expect("ways").other_control_id = other_control_id;
    }
}

#[derive(Clone)]
struct System {
    reports: Arc<Mutex<Vec<Bytes>>>,
    ways: Arc<Mutex<Ways>>,
}

impl Hl7Handler for System {
    async fn receive(&self, _peer: SocketAddr, message: Bytes) -> Vec<u8> {
        let view = Message::parse(&message).expect("the router sends HL7");
        let Ways { verdict, slow, other_control_id } = *self.ways.lock().expect("ways");
        if verdict == Verdict::Accept {
            self.reports.lock().expect("reports").push(Bytes::copy_from_slice(&message));
        }
        tokio::time::sleep(slow).await;
        let answer = acknowledge(&view, verdict, None, Moment(0));
        if !other_control_id {
            return answer;
        }
        let control_id = control_id(&message);
        String::from_utf8(answer).expect("text").replace(&control_id, "SOMETHING-ELSE").into_bytes()
    }
}

/// MSH-10 of a message as it was on the wire.
pub fn control_id(message: &[u8]) -> String {
    let field = message.split(|byte| *byte == b'|').nth(9).expect("MSH-10");
    String::from_utf8(field.to_vec()).expect("ASCII")
}

/// A scanner of rabenstein with one association open.
pub struct Scanner(pub Association);

impl Scanner {
    pub async fn connect(router: SocketAddr, first: &SampleInstance) -> Self {
        Self::connect_as("RAB_CT1", router, first).await
    }

    /// A scanner of another hospital.
    pub async fn connect_as(calling_ae: &str, router: SocketAddr, first: &SampleInstance) -> Self {
        Self::try_connect_as(calling_ae, router, first).await.expect("an association")
    }

    /// For a router that may be gone.
    pub async fn try_connect(router: SocketAddr, first: &SampleInstance) -> Option<Self> {
        Self::try_connect_as("RAB_CT1", router, first).await
    }

    async fn try_connect_as(calling_ae: &str, router: SocketAddr, first: &SampleInstance) -> Option<Self> {
        let settings = ScuSettings {
            calling_ae: calling_ae.into(),
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

/// The same image with its Pixel Data (7FE0,0010) made this long, the last element of the data set.
pub fn grown(mut instance: SampleInstance, bytes: u32) -> SampleInstance {
    let header = b"\xE0\x7F\x10\x00OB\x00\x00";
    let at = instance.data_set.windows(header.len()).position(|window| window == header).expect("Pixel Data");
    instance.data_set.truncate(at + header.len());
    instance.data_set.extend(bytes.to_le_bytes());
    instance.data_set.resize(at + header.len() + 4 + bytes as usize, 0x5A);
    instance
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
