//! Tests of receiving, over real connections: a hand-made SCU that can also misbehave, and a handler that keeps notes.

mod dialogue;
mod hostile;
mod limits;
mod seen;
mod services;

use super::*;
use crate::dicom::dimse::Command;
use std::sync::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
    time::timeout,
};

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const MR: &str = "1.2.840.10008.5.1.4.1.1.4";
const VERIFICATION: &str = "1.2.840.10008.1.1";
const IMPLICIT: &str = "1.2.840.10008.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";

/// Presentation contexts of [`Scu::associate`].
const CT_CONTEXT: u8 = 1;
const VERIFICATION_CONTEXT: u8 = 3;

/// The handler refuses these instances, at the step they are named for.
const REFUSED_AT_BEGIN: &str = "1.2.3.1";
const REFUSED_AT_WRITE: &str = "1.2.3.2";
const REFUSED_AT_COMMIT: &str = "1.2.3.3";
const TAKEN: &str = "1.2.3.9";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Note {
    Begin(InstanceOffer),
    Commit(Vec<u8>),
    Discard,
    End(AssociationEnd),
}

#[derive(Clone, Default)]
struct Notes {
    all: Arc<Mutex<Vec<Note>>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Notes {
    fn add(&self, note: Note) {
        self.all.lock().expect("not poisoned").push(note);
    }

    fn taken(&self) -> Vec<Note> {
        self.all.lock().expect("not poisoned").clone()
    }

    /// All notes once the association has ended.
    async fn at_end(&self) -> Vec<Note> {
        within(async {
            while !matches!(self.taken().last(), Some(Note::End(_))) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        self.taken()
    }
}

impl StorageScp for Notes {
    type Association = Keeper;

    async fn admit(&self, request: &AssociationRequest) -> Result<Keeper, Rejection> {
        match (request.calling_ae.as_str(), request.called_ae.as_str()) {
            ("STRANGER", _) => Err(Rejection::CallingAeNotRecognized),
            ("BUSY", _) => Err(Rejection::TemporaryCongestion),
            ("SLOW", _) => std::future::pending().await,
            (_, "NEISSE") => Ok(Keeper { notes: self.clone(), instance: String::new() }),
            _ => Err(Rejection::CalledAeNotRecognized),
        }
    }
}

struct Keeper {
    notes: Notes,
    instance: String,
}

const FULL: StoreRefusal = StoreRefusal { status: StoreStatus::OutOfResources, comment: "disk below its reserve" };

impl StoreAssociation for Keeper {
    async fn begin(&mut self, offer: &InstanceOffer) -> Result<(), StoreRefusal> {
        self.notes.add(Note::Begin(offer.clone()));
        self.notes.written.lock().expect("not poisoned").clear();
        self.instance = offer.sop_instance.as_str().to_owned();
        if self.instance == REFUSED_AT_BEGIN { Err(FULL) } else { Ok(()) }
    }

    async fn write(&mut self, data: Bytes) -> Result<(), StoreRefusal> {
        assert!(!data.is_empty());
        if self.instance == REFUSED_AT_WRITE {
            return Err(FULL);
        }
        self.notes.written.lock().expect("not poisoned").extend_from_slice(&data);
        Ok(())
    }

    async fn commit(&mut self) -> Result<StoreStatus, StoreRefusal> {
        if self.instance == REFUSED_AT_COMMIT {
            return Err(FULL);
        }
        self.notes.add(Note::Commit(self.notes.written.lock().expect("not poisoned").clone()));
        Ok(StoreStatus::Success)
    }

    async fn discard(&mut self) {
        self.notes.add(Note::Discard);
    }

    async fn end(self, how: AssociationEnd) {
        self.notes.add(Note::End(how));
    }
}

struct Listening {
    address: SocketAddr,
    notes: Notes,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

const PATIENT: ScpSettings = ScpSettings {
    max_pdu_bytes: 16_384,
    max_associations: 4,
    idle: Duration::from_secs(20),
    handshake: Duration::from_secs(20),
};
const HASTY: ScpSettings =
    ScpSettings { idle: Duration::from_millis(300), handshake: Duration::from_millis(300), ..PATIENT };

async fn listen(settings: ScpSettings) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (address, notes, stop) = (listener.local_addr().expect("bound"), Notes::default(), CancellationToken::new());
    let served = tokio::spawn(serve(listener, settings, notes.clone(), stop.clone()));
    Listening { address, notes, stop, served }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), what).await.expect("in time")
}

/// Writes PDUs by hand.
struct Scu(TcpStream);

impl Scu {
    async fn connect(to: &Listening) -> Self {
        Self(within(TcpStream::connect(to.address)).await.expect("connected"))
    }

    /// An association with [`CT_CONTEXT`] and [`VERIFICATION_CONTEXT`] accepted.
    async fn associate(to: &Listening) -> Self {
        let mut scu = Self::connect(to).await;
        scu.send(&associate_rq("RAB_CT1", "NEISSE")).await;
        assert_eq!(scu.pdu().await.map(|(kind, _)| kind), Some(2));
        scu
    }

    async fn send(&mut self, bytes: &[u8]) {
        within(self.0.write_all(bytes)).await.expect("sent");
    }

    /// The next PDU, or none at the end of the connection.
    async fn pdu(&mut self) -> Option<(u8, Vec<u8>)> {
        within(async {
            let mut header = [0; 6];
            self.0.read_exact(&mut header).await.ok()?;
            let length = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
            let mut body = vec![0; length as usize];
            self.0.read_exact(&mut body).await.expect("a whole PDU");
            Some((header[0], body))
        })
        .await
    }

    async fn response(&mut self) -> Command {
        let (kind, body) = self.pdu().await.expect("a response");
        assert_eq!((kind, body[5]), (4, 3), "a P-DATA-TF with a whole command");
        Command::parse(&body[6..]).expect("a command set")
    }

    /// Source and reason of the A-ABORT that ends it.
    async fn abort(&mut self) -> (u8, u8) {
        let (kind, body) = self.pdu().await.expect("an A-ABORT");
        assert_eq!(kind, 7);
        assert_eq!(self.pdu().await, None, "nothing after an A-ABORT");
        (body[2], body[3])
    }

    async fn store(&mut self, sop_class: &str, sop_instance: &str, data_set: &[u8]) -> Command {
        self.send(&p_data(CT_CONTEXT, 3, &store_rq(sop_class, sop_instance))).await;
        self.send(&p_data(CT_CONTEXT, 2, data_set)).await;
        self.response().await
    }

    async fn echo(&mut self) {
        self.send(&p_data(VERIFICATION_CONTEXT, 3, &Command::EchoRq { message_id: 77 }.encode())).await;
        assert_eq!(self.response().await, Command::EchoRsp { message_id: 77, status: 0 });
    }
}

fn item(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("short");
    [&[kind, 0], &length.to_be_bytes()[..], value].concat()
}

fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short");
    [&[kind, 0], &length.to_be_bytes()[..], body].concat()
}

fn pdv(context: u8, control: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 2).expect("short");
    [&length.to_be_bytes()[..], &[context, control], data].concat()
}

fn p_data(context: u8, control: u8, data: &[u8]) -> Vec<u8> {
    pdu(4, &pdv(context, control, data))
}

fn associate_rq(calling: &str, called: &str) -> Vec<u8> {
    let context = |id: u8, abstract_syntax: &str, transfer_syntax: &str| {
        let mut value = vec![id, 0, 0, 0];
        value.extend(item(0x30, abstract_syntax.as_bytes()));
        value.extend(item(0x40, transfer_syntax.as_bytes()));
        item(0x20, &value)
    };
    let mut body = vec![0, 1, 0, 0];
    body.extend(format!("{called:16}{calling:16}").bytes());
    body.extend([0; 32]);
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    body.extend(context(CT_CONTEXT, CT, EXPLICIT));
    body.extend(context(VERIFICATION_CONTEXT, VERIFICATION, IMPLICIT));
    body.extend(context(5, "1.2.840.10008.5.1.4.31", IMPLICIT));
    body.extend(item(0x50, &item(0x51, &[0, 0, 64, 0])));
    pdu(1, &body)
}

fn store_rq(sop_class: &str, sop_instance: &str) -> Vec<u8> {
    let (sop_class, sop_instance) = (sop_class.to_owned(), sop_instance.to_owned());
    Command::StoreRq { message_id: 5, sop_class, sop_instance, priority: 0, originator: None }.encode()
}

fn stored(status: u16, comment: Option<&str>, sop_class: &str, sop_instance: &str) -> Command {
    Command::StoreRsp {
        message_id: 5,
        sop_class: sop_class.to_owned(),
        sop_instance: sop_instance.to_owned(),
        status,
        comment: comment.map(str::to_owned),
    }
}

fn offer(sop_instance: &str) -> Note {
    let uid = |text| Uid::new(text).expect("a UID");
    Note::Begin(InstanceOffer { sop_class: uid(CT), sop_instance: uid(sop_instance), transfer_syntax: uid(EXPLICIT) })
}

const RELEASE_RQ: [u8; 10] = [5, 0, 0, 0, 0, 4, 0, 0, 0, 0];
