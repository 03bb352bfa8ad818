//! A peer that does what no peer should, by hand: PDUs that lie, connections that say nothing, bytes that drip. And the
//! honest sender beside it, who must not notice ([`Honest`]).

use super::{center::Center, eventually, hospital::Scanner};
use neisse::{
    cli::sample::{self, SampleCase, SampleInstance},
    dicom::dimse::Command,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};

pub const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const VERIFICATION: &str = "1.2.840.10008.1.1";
pub const IMPLICIT: &str = "1.2.840.10008.1.2";
pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

/// Presentation contexts of [`Peer::associate`]: what is proposed and accepted.
pub const CT_EXPLICIT: u8 = 1;
pub const ECHO: u8 = 3;
pub const CT_DEFLATED: u8 = 7;
pub const CT_IMPLICIT: u8 = 9;
/// Proposed for UPS push, and not accepted.
pub const NOT_ACCEPTED: u8 = 5;

/// How long a peer waits for anything at all.
const ANSWER: Duration = Duration::from_secs(40);

/// A connection written and read by hand.
pub struct Peer(pub TcpStream);

impl Peer {
    pub async fn connect(to: SocketAddr) -> Self {
        Self(timeout(ANSWER, TcpStream::connect(to)).await.expect("in time").expect("connected"))
    }

    /// As the scanner of rabenstein.
    pub async fn associate(to: SocketAddr) -> Self {
        let mut peer = Self::connect(to).await;
        peer.send(&associate_rq("RAB_CT1", "NEISSE")).await;
        assert_eq!(peer.pdu().await.map(|(kind, _)| kind), Some(2), "an A-ASSOCIATE-AC");
        peer
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        timeout(ANSWER, self.0.write_all(bytes)).await.expect("taken in time").expect("sent");
    }

    /// The next PDU; none when the connection ends or has ended.
    pub async fn pdu(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let mut header = [0; 6];
            self.0.read_exact(&mut header).await.ok()?;
            let length = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
            let mut body = vec![0; length as usize];
            self.0.read_exact(&mut body).await.expect("a whole PDU");
            Some((header[0], body))
        };
        timeout(ANSWER, read).await.expect("an answer or the end")
    }

    /// Source and reason of the A-ABORT that ends it.
    pub async fn abort(&mut self) -> (u8, u8) {
        let (kind, body) = self.pdu().await.expect("an A-ABORT");
        assert_eq!(kind, 7, "an A-ABORT");
        assert_eq!(self.pdu().await, None, "nothing after an A-ABORT");
        (body[2], body[3])
    }

    /// Status and Error Comment of a C-STORE sent whole, its data set in pieces of 16 KiB.
    pub async fn store(&mut self, context: u8, (sop_class, sop_instance): (&str, &str), data_set: &[u8]) -> Answer {
        self.send(&p_data(context, 3, &store_rq(sop_class, sop_instance))).await;
        let pieces: Vec<&[u8]> = data_set.chunks(16_000).collect();
        for (number, piece) in pieces.iter().enumerate() {
            let last = if number + 1 == pieces.len() { 2 } else { 0 };
            self.send(&p_data(context, last, piece)).await;
        }
        self.answer().await
    }

    pub async fn answer(&mut self) -> Answer {
        let (kind, body) = self.pdu().await.expect("a response");
        assert_eq!((kind, body.get(5)), (4, Some(&3)), "a P-DATA-TF with a whole command");
        match Command::parse(&body[6..]).expect("a command set") {
            Command::StoreRsp { status, comment, .. } => (status, comment.unwrap_or_default()),
            Command::EchoRsp { status, .. } => (status, String::new()),
            other => panic!("{other:?}"),
        }
    }

    /// Everything that still comes, up to the end of the connection; true if it ended in time.
    pub async fn hear_out(&mut self, within: Duration) -> (Vec<u8>, bool) {
        let mut all = Vec::new();
        let read = async {
            let mut piece = vec![0; 4096];
            while let Ok(read @ 1..) = self.0.read(&mut piece).await {
                all.extend_from_slice(&piece[..read]);
            }
        };
        let ended = timeout(within, read).await.is_ok();
        (all, ended)
    }
}

pub type Answer = (u16, String);

/// Sends `bytes` over and over, one at a time, until the other side has had enough; what it said, and after how long.
pub async fn drip(mut peer: Peer, bytes: &[u8], every: Duration) -> (Vec<u8>, Duration) {
    let began = Instant::now();
    let (mut reader, mut writer) = peer.0.split();
    let mut heard = Vec::new();
    let dripping = async {
        for byte in bytes.iter().cycle() {
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(every).await;
        }
    };
    let hearing = async {
        let mut piece = [0; 1024];
        while let Ok(read @ 1..) = reader.read(&mut piece).await {
            heard.extend_from_slice(&piece[..read]);
        }
    };
    let over = async {
        tokio::select! {
            () = dripping => {}
            () = hearing => {}
        }
    };
    timeout(ANSWER, over).await.expect("a peer that drips is cut");
    (heard, began.elapsed())
}

fn item(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("short");
    [&[kind, 0], &length.to_be_bytes()[..], value].concat()
}

pub fn pdu(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short");
    [&[kind, 0], &length.to_be_bytes()[..], body].concat()
}

/// One PDV in one P-DATA-TF. `control`: 1 command, 2 last.
pub fn p_data(context: u8, control: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 2).expect("short");
    pdu(4, &[&length.to_be_bytes()[..], &[context, control], data].concat())
}

pub fn associate_rq(calling: &str, called: &str) -> Vec<u8> {
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
    body.extend(context(CT_EXPLICIT, CT, EXPLICIT));
    body.extend(context(ECHO, VERIFICATION, IMPLICIT));
    body.extend(context(NOT_ACCEPTED, "1.2.840.10008.5.1.1.9", IMPLICIT));
    body.extend(context(CT_DEFLATED, CT, DEFLATED));
    body.extend(context(CT_IMPLICIT, CT, IMPLICIT));
    body.extend(item(0x50, &item(0x51, &[0, 0, 64, 0])));
    pdu(1, &body)
}

pub fn store_rq(sop_class: &str, sop_instance: &str) -> Vec<u8> {
    let (sop_class, sop_instance) = (sop_class.to_owned(), sop_instance.to_owned());
    Command::StoreRq { message_id: 5, sop_class, sop_instance, priority: 0, originator: None }.encode()
}

/// A data element in Explicit VR Little Endian, its value padded to even length.
pub fn element(group: u16, element: u16, vr: &str, value: &[u8]) -> Vec<u8> {
    let mut padded = value.to_vec();
    if padded.len() % 2 == 1 {
        padded.push(if vr == "UI" { 0 } else { b' ' });
    }
    let mut bytes = [group.to_le_bytes(), element.to_le_bytes()].concat();
    bytes.extend_from_slice(vr.as_bytes());
    bytes.extend_from_slice(&u16::try_from(padded.len()).expect("short").to_le_bytes());
    bytes.extend(padded);
    bytes
}

/// An element of one of the long VRs with a length that may be a lie, and no value.
pub fn claim(group: u16, element: u16, vr: &str, length: u32) -> Vec<u8> {
    let mut bytes = [group.to_le_bytes(), element.to_le_bytes()].concat();
    bytes.extend_from_slice(vr.as_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes
}

/// The start of a CT instance: who it is and whose, in the order of tags, up to (0020,000E).
pub fn ct_header(sop_instance: &str, study: &str, series: &str) -> Vec<u8> {
    [
        element(0x0008, 0x0016, "UI", CT.as_bytes()),
        element(0x0008, 0x0018, "UI", sop_instance.as_bytes()),
        element(0x0008, 0x0060, "CS", b"CT"),
        element(0x0010, 0x0010, "PN", b"Hostilius^Tullus"),
        element(0x0010, 0x0020, "LO", b"HOST-1"),
        element(0x0020, 0x000D, "UI", study.as_bytes()),
        element(0x0020, 0x000E, "UI", series.as_bytes()),
    ]
    .concat()
}

/// A scanner that goes on sending CT slices while others misbehave.
pub struct Honest {
    center: Center,
    sent: Arc<AtomicUsize>,
    enough: Arc<AtomicBool>,
    sending: JoinHandle<(Vec<SampleInstance>, Duration)>,
}

impl Honest {
    /// Sends slices of patient `number` to `router`, which delivers to `center`, until [`Honest::finish`]; a new
    /// association every 20 slices, because coming in is what others may hinder.
    pub fn start(router: SocketAddr, center: &Center, number: u64) -> Self {
        let (sent, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counting, told) = (Arc::clone(&sent), Arc::clone(&enough));
        let sending = tokio::spawn(async move {
            let case = SampleCase::numbered(number);
            let (mut all, mut longest) = (Vec::new(), Duration::ZERO);
            let mut slices = sample::head_ct(100_000, 64, &case);
            while !told.load(Ordering::Relaxed) {
                let first = slices.next().expect("more slices");
                let began = Instant::now();
                let mut scanner = Scanner::connect(router, &first).await;
                for slice in std::iter::once(first).chain(slices.by_ref().take(19)) {
                    assert_eq!(scanner.send(&slice).await, 0x0000, "an honest instance");
                    all.push(slice);
                    counting.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                longest = longest.max(began.elapsed());
                scanner.release().await;
            }
            (all, longest)
        });
        Self { center: center.clone(), sent, enough, sending }
    }

    /// Waits until it has sent some more from now on: proof that it is served at this very moment.
    pub async fn goes_on(&self) {
        let before = self.sent.load(Ordering::Relaxed);
        eventually("the honest sender is served", ANSWER, async || {
            assert!(!self.sending.is_finished(), "the honest sender was refused");
            self.sent.load(Ordering::Relaxed) >= before + 10
        })
        .await;
    }

    /// Everything was answered 0000 and stands at the center, byte for byte; 20 slices never took long. The study.
    pub async fn finish(self) -> usize {
        self.goes_on().await;
        self.enough.store(true, Ordering::Relaxed);
        let (sent, longest) = self.sending.await.expect("an honest sender that was refused nothing");
        assert!(longest < Duration::from_secs(20), "20 slices took {longest:?}");
        eventually("the center has all of it", ANSWER, async || self.center.arrivals().len() >= sent.len()).await;
        eventually("the center has every slice", ANSWER, async || {
            let archive = self.center.archive();
            sent.iter().all(|slice| archive.get(&slice.sop_instance).is_some_and(|got| *got == slice.data_set))
        })
        .await;
        sent.len()
    }
}
