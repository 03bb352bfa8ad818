//! The requestor against a peer of raw bytes, which does what real ones do and what none should.

use super::{association::MAX_FRAGMENT, *};
use crate::dicom::dimse::{Command, Request, Service};
use crate::model::Outgoing;
use std::time::Instant;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const EXPLICIT_VR_LE: &str = "1.2.840.10008.1.2.1";
const INSTANCE: &str = "1.2.3.4";

fn settings() -> ScuSettings {
    ScuSettings { calling_ae: "NEISSE".into(), connect: Duration::from_secs(5), response: Duration::from_millis(400) }
}

fn uid(text: &str) -> Uid {
    Uid::new(text).expect("a UID")
}

fn proposals() -> Vec<Proposal> {
    let ct = Proposal { sop_class: uid(CT), transfer_syntax: uid(EXPLICIT_VR_LE) };
    vec![Proposal::verification().expect("both are UIDs"), ct]
}

fn instance(length: u64) -> InstanceToStore {
    InstanceToStore { sop_class: uid(CT), sop_instance: uid(INSTANCE), transfer_syntax: uid(EXPLICIT_VR_LE), length }
}

/// Bytes that differ by place, given out in uneven pieces.
struct Made {
    at: u64,
    end: u64,
    largest: usize,
}

impl Made {
    fn of(length: u64) -> Self {
        Self { at: 0, end: length, largest: 0 }
    }
}

fn byte_at(place: u64) -> u8 {
    (place % 251) as u8
}

impl DataSource for Made {
    async fn read(&mut self, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
        let count = (self.end - self.at).min(at_most as u64).min(40_000);
        into.extend((self.at..self.at + count).map(byte_at));
        self.at += count;
        self.largest = self.largest.max(into.capacity());
        Ok(count as usize)
    }
}

/// The peer's end of one association.
struct Peer(TcpStream);

struct Pdv {
    is_command: bool,
    is_last: bool,
    data: Vec<u8>,
    pdu_length: u32,
}

impl Peer {
    async fn pdu(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut header = [0; 6];
        self.0.read_exact(&mut header).await?;
        let mut body = vec![0; u32::from_be_bytes(header[2..].try_into().unwrap()) as usize];
        self.0.read_exact(&mut body).await?;
        Ok((header[0], body))
    }

    async fn pdv(&mut self) -> Pdv {
        let (kind, body) = self.pdu().await.expect("a PDU");
        assert_eq!(kind, wire::P_DATA_TF);
        assert_eq!(u32::from_be_bytes(body[..4].try_into().unwrap()) as usize, body.len() - 4, "one PDV a PDU");
        Pdv {
            is_command: body[5] & 1 != 0,
            is_last: body[5] & 2 != 0,
            pdu_length: body.len() as u32,
            data: body[6..].to_vec(),
        }
    }

    async fn message(&mut self, is_command: bool) -> (Vec<u8>, u32) {
        let (mut bytes, mut longest) = (Vec::new(), 0);
        loop {
            let pdv = self.pdv().await;
            assert_eq!(pdv.is_command, is_command);
            longest = longest.max(pdv.pdu_length);
            bytes.extend_from_slice(&pdv.data);
            if pdv.is_last {
                return (bytes, longest);
            }
            assert_eq!(pdv.data.len() % 2, 0, "only the last fragment may be odd");
        }
    }

    async fn command(&mut self) -> Command {
        Command::parse(&self.message(true).await.0).expect("a command set")
    }

    async fn send(&mut self, command: &Command) {
        let bytes = command.encode();
        // In two fragments of one PDU, as some peers do.
        let (head, tail) = bytes.split_at(10);
        let mut pdu = vec![wire::P_DATA_TF, 0];
        pdu.extend(((bytes.len() + 12) as u32).to_be_bytes());
        for (part, control) in [(head, 1u8), (tail, 3)] {
            pdu.extend(((part.len() + 2) as u32).to_be_bytes());
            pdu.extend([3, control]);
            pdu.extend_from_slice(part);
        }
        self.0.write_all(&pdu).await.expect("written");
    }

    async fn answer(&mut self, message_id: u16, status: u16) {
        let comment = (status != 0).then(|| "no\troom".to_owned());
        let (sop_class, sop_instance) = (CT.to_owned(), INSTANCE.to_owned());
        self.send(&Command::StoreRsp { message_id, sop_class, sop_instance, status, comment }).await;
    }

    async fn abort(&mut self) {
        self.0.write_all(&[wire::ABORT, 0, 0, 0, 0, 4, 0, 0, 2, 6]).await.expect("written");
    }

    /// Reads whatever comes until the other side is gone; the last PDU's type.
    async fn until_gone(&mut self) -> u8 {
        let mut last = 0;
        while let Ok((kind, _)) = self.pdu().await {
            last = kind;
        }
        last
    }
}

fn accept_pdu(max_pdu: u32) -> Vec<u8> {
    let mut body = vec![0; 68];
    for (id, syntax) in [(1u8, IMPLICIT_VR_LE), (3, EXPLICIT_VR_LE)] {
        body.extend([0x21, 0, 0, (8 + syntax.len()) as u8, id, 0, 0, 0, 0x40, 0, 0, syntax.len() as u8]);
        body.extend_from_slice(syntax.as_bytes());
    }
    body.extend([0x50, 0, 0, 8, 0x51, 0, 0, 4]);
    body.extend(max_pdu.to_be_bytes());
    let mut pdu = vec![wire::ASSOCIATE_AC, 0];
    pdu.extend((body.len() as u32).to_be_bytes());
    pdu.extend(body);
    pdu
}

/// A peer that answers the A-ASSOCIATE-RQ with `answer`, then does as `script` says.
async fn peer<F>(answer: Vec<u8>, script: impl FnOnce(Peer) -> F + Send + 'static) -> (Target, JoinHandle<()>)
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let task = tokio::spawn(async move {
        let mut peer = Peer(listener.accept().await.expect("a connection").0);
        let (kind, _) = peer.pdu().await.expect("a request");
        assert_eq!(kind, wire::ASSOCIATE_RQ);
        peer.0.write_all(&answer).await.expect("written");
        script(peer).await;
    });
    (Target { host: "127.0.0.1".into(), port, called_ae: "PACS".into() }, task)
}

async fn open(target: &Target) -> Association {
    Association::open(&settings(), target, &proposals()).await.expect("an association")
}

/// Stores `count` instances of these lengths at a peer with this maximum PDU length and checks each byte.
async fn round_trip(max_pdu: u32, lengths: &'static [u64]) {
    let (target, task) = peer(accept_pdu(max_pdu), async move |mut peer| {
        for (index, length) in lengths.iter().enumerate() {
            let Command::StoreRq { message_id, sop_instance, .. } = peer.command().await else { panic!("no C-STORE") };
            assert_eq!((message_id, sop_instance.as_str()), (index as u16 + 1, INSTANCE));
            let (bytes, longest) = peer.message(false).await;
            assert_eq!(bytes.len() as u64, *length);
            assert!(bytes.iter().enumerate().all(|(place, byte)| *byte == byte_at(place as u64)), "bytes changed");
            let limit = if max_pdu == 0 { MAX_FRAGMENT + 6 } else { max_pdu };
            assert!(longest <= limit, "PDU of {longest} bytes, {limit} allowed");
            peer.answer(message_id, 0).await;
        }
        assert_eq!(peer.pdu().await.expect("release").0, wire::RELEASE_RQ);
        peer.0.write_all(&[wire::RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0]).await.expect("written");
        peer.until_gone().await;
    })
    .await;
    let mut association = open(&target).await;
    assert!(
        association.accepts(&uid(CT), &uid(EXPLICIT_VR_LE)) && !association.accepts(&uid(CT), &uid(IMPLICIT_VR_LE))
    );
    for length in lengths {
        let mut data = Made::of(*length);
        let response = association.store(&instance(*length), &mut data).await.expect("an answer");
        assert_eq!(response, StoreResponse { status: 0, comment: None });
        assert!(data.largest <= 2 * MAX_FRAGMENT as usize, "buffer of {} bytes", data.largest);
    }
    association.release().await;
    task.await.expect("peer content");
}

#[tokio::test]
async fn instances_arrive_byte_for_byte_whatever_the_peers_maximum() {
    for max_pdu in [0, 8, 9, 1018, 4096, 16_384, 100_001, 131_072, u32::MAX] {
        let lengths: &[u64] = if max_pdu < 1000 { &[0, 1, 7, 5001] } else { &[0, 1, 16_378, 16_379, 1_000_001] };
        round_trip(max_pdu, lengths).await;
    }
}

#[tokio::test]
async fn a_large_instance_needs_one_buffer() {
    round_trip(16_384, &[200_000_000]).await;
}

#[tokio::test]
async fn echo_is_answered() {
    let (target, task) = peer(accept_pdu(0), async |mut peer| {
        let Command::EchoRq { message_id } = peer.command().await else { panic!("no C-ECHO") };
        peer.send(&Command::EchoRsp { message_id, status: 0 }).await;
        peer.until_gone().await;
    })
    .await;
    let mut association = open(&target).await;
    association.echo().await.expect("an echo");
    assert!(association.is_open());
    association.abort().await;
    task.await.expect("peer content");
}

#[tokio::test]
async fn rejections_say_whether_to_come_again() {
    for (result, source, reason, permanent) in [(1, 1, 7, true), (2, 3, 2, false)] {
        let rejection = vec![wire::ASSOCIATE_RJ, 0, 0, 0, 0, 4, 0, result, source, reason];
        let (target, _task) = peer(rejection, async |_| ()).await;
        let error = Association::open(&settings(), &target, &proposals()).await.err().expect("rejected");
        assert!(matches!(error, OpenError::Rejected { permanent: found, .. } if found == permanent), "{error:?}");
    }
}

#[tokio::test]
async fn no_listener_a_silent_one_and_one_that_aborts_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut target =
        Target { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port(), called_ae: "P".into() };
    let hasty = ScuSettings { connect: Duration::from_millis(200), ..settings() };
    let error = Association::open(&hasty, &target, &proposals()).await.err().expect("silent");
    assert!(matches!(error, OpenError::TimedOut(_)), "{error:?}");
    drop(listener);
    let error = Association::open(&settings(), &target, &proposals()).await.err().expect("nobody");
    assert!(matches!(error, OpenError::Unreachable(_)), "{error:?}");
    let (aborting, _task) = peer(vec![wire::ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0], async |_| ()).await;
    target = aborting;
    let error = Association::open(&settings(), &target, &proposals()).await.err().expect("aborted");
    assert!(matches!(error, OpenError::Aborted), "{error:?}");
    let (target, _task) = peer(vec![wire::ASSOCIATE_AC, 0, 0xFF, 0, 0, 0], async |mut peer| {
        peer.until_gone().await;
    })
    .await;
    let error = Association::open(&settings(), &target, &proposals()).await.err().expect("lying length");
    assert!(matches!(error, OpenError::Protocol(_)), "{error:?}");
}

#[tokio::test]
async fn what_was_not_accepted_is_not_sent_and_does_no_harm() {
    let (target, task) =
        peer(accept_pdu(0), async |mut peer| assert_eq!(peer.until_gone().await, wire::RELEASE_RQ)).await;
    let mut association = open(&target).await;
    let what = InstanceToStore { transfer_syntax: uid(IMPLICIT_VR_LE), ..instance(10) };
    let error = association.store(&what, &mut Made::of(10)).await.expect_err("not accepted");
    assert!(matches!(error, ScuError::NotAccepted) && association.is_open());
    // The peer of this test never answers; the release must end all the same.
    association.release().await;
    task.await.expect("peer content");
}

#[tokio::test]
async fn statuses_come_back_as_the_peer_said_them() {
    let (target, task) = peer(accept_pdu(16_384), async |mut peer| {
        for status in [0xA700, 0xB000, 0xC000] {
            let Command::StoreRq { message_id, .. } = peer.command().await else { panic!("no C-STORE") };
            peer.message(false).await;
            peer.answer(message_id, status).await;
        }
        peer.until_gone().await;
    })
    .await;
    let mut association = open(&target).await;
    for answer in [
        StoreAnswer::PartnerHasNoRoom(0xA700),
        StoreAnswer::StoredWithWarning(0xB000),
        StoreAnswer::InstanceRefused(0xC000),
    ] {
        let response = association.store(&instance(50_000), &mut Made::of(50_000)).await.expect("an answer");
        assert_eq!(read_answer(response.status), answer);
        assert_eq!(response.comment.as_deref(), Some("noroom"));
        assert!(association.is_open());
    }
    association.abort().await;
    task.await.expect("peer content");
}

#[tokio::test]
async fn an_abort_in_mid_instance_ends_it_at_once() {
    let (target, _task) = peer(accept_pdu(16_384), async |mut peer| {
        peer.command().await;
        peer.pdv().await;
        peer.abort().await;
        // Keeps the connection, reads no more: only the A-ABORT can tell.
        tokio::time::sleep(Duration::from_secs(30)).await;
    })
    .await;
    let patient = ScuSettings { response: Duration::from_secs(20), ..settings() };
    let mut association = Association::open(&patient, &target, &proposals()).await.expect("an association");
    let start = Instant::now();
    let error = association.store(&instance(1 << 40), &mut Made::of(1 << 40)).await.expect_err("aborted");
    assert!(matches!(error, ScuError::Aborted("invalid PDU parameter value")), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(10), "noticed after {:?}", start.elapsed());
    assert!(!association.is_open());
    assert!(matches!(association.echo().await, Err(ScuError::Closed)));
}

#[tokio::test]
async fn a_peer_that_stalls_is_left_after_the_response_time() {
    let (reading_nothing, _first) = peer(accept_pdu(0), async |peer| {
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(peer);
    })
    .await;
    let (answering_nothing, _second) = peer(accept_pdu(0), async |mut peer| {
        peer.until_gone().await;
    })
    .await;
    for (target, length) in [(reading_nothing, 1 << 40), (answering_nothing, 100)] {
        let mut association = open(&target).await;
        let error = association.store(&instance(length), &mut Made::of(length)).await.expect_err("stalled");
        assert!(matches!(error, ScuError::Stalled(_)), "{error:?}");
        assert!(!association.is_open());
    }
}

#[tokio::test]
async fn a_hang_up_in_mid_instance_is_a_lost_connection() {
    let (target, _task) = peer(accept_pdu(0), async |mut peer| {
        peer.command().await;
    })
    .await;
    let mut association = open(&target).await;
    let error = association.store(&instance(1 << 40), &mut Made::of(1 << 40)).await.expect_err("lost");
    assert!(matches!(error, ScuError::Lost(_)), "{error:?}");
}

#[tokio::test]
async fn an_early_refusal_is_noticed_before_a_long_instance_is_sent() {
    let (target, task) = peer(accept_pdu(16_384), async |mut peer| {
        let Command::StoreRq { message_id, .. } = peer.command().await else { panic!("no C-STORE") };
        peer.answer(message_id, 0xA700).await;
        peer.until_gone().await;
    })
    .await;
    let mut association = open(&target).await;
    let mut data = Made::of(1 << 40);
    let response = association.store(&instance(1 << 40), &mut data).await.expect("the refusal");
    assert_eq!(response.status, 0xA700);
    assert!(data.at < 1 << 34, "{} bytes sent after the refusal", data.at);
    assert!(!association.is_open(), "out of step with the peer");
    drop(association);
    task.await.expect("peer content");
}

#[tokio::test]
async fn an_early_refusal_of_a_short_instance_keeps_the_association() {
    let (target, task) = peer(accept_pdu(16_384), async |mut peer| {
        let Command::StoreRq { message_id, .. } = peer.command().await else { panic!("no C-STORE") };
        peer.answer(message_id, 0x0122).await;
        assert_eq!(peer.message(false).await.0.len(), 900_000);
        let Command::StoreRq { message_id, .. } = peer.command().await else { panic!("no C-STORE") };
        peer.message(false).await;
        peer.answer(message_id, 0).await;
        peer.until_gone().await;
    })
    .await;
    let mut association = open(&target).await;
    // Slower than the peer's answer, so that the refusal is there before the second read.
    let mut data = Slow(Made::of(900_000));
    assert_eq!(association.store(&instance(900_000), &mut data).await.expect("the refusal").status, 0x0122);
    assert!(association.is_open());
    assert_eq!(association.store(&instance(10), &mut Made::of(10)).await.expect("stored").status, 0);
    association.abort().await;
    task.await.expect("peer content");
}

struct Slow(Made);

impl DataSource for Slow {
    async fn read(&mut self, into: &mut BytesMut, at_most: usize) -> io::Result<usize> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.0.read(into, at_most).await
    }
}

#[tokio::test]
async fn success_reported_too_early_or_for_another_instance_is_no_success() {
    let (hasty, _first) = peer(accept_pdu(16_384), async |mut peer| {
        peer.command().await;
        peer.answer(1, 0).await;
        peer.until_gone().await;
    })
    .await;
    let mut association = open(&hasty).await;
    let error = association.store(&instance(1 << 40), &mut Made::of(1 << 40)).await.expect_err("too early");
    assert!(matches!(error, ScuError::Protocol(_)), "{error:?}");

    let (mistaken, _second) = peer(accept_pdu(16_384), async |mut peer| {
        peer.command().await;
        peer.message(false).await;
        peer.answer(2, 0).await;
        peer.until_gone().await;
    })
    .await;
    let mut association = open(&mistaken).await;
    let error = association.store(&instance(100), &mut Made::of(100)).await.expect_err("another message");
    assert!(matches!(error, ScuError::Protocol(_)), "{error:?}");
    assert!(!association.is_open());
}

#[tokio::test]
async fn an_instance_shorter_than_its_length_is_never_sent_as_whole() {
    let (target, task) = peer(accept_pdu(16_384), async |mut peer| {
        peer.command().await;
        while let Ok((kind, body)) = peer.pdu().await {
            assert!(kind == wire::ABORT || body[5] & 2 == 0, "the data set was ended");
        }
    })
    .await;
    let mut association = open(&target).await;
    let error = association.store(&instance(600_000), &mut Made::of(599_999)).await.expect_err("short");
    assert!(matches!(error, ScuError::Source(_)), "{error:?}");
    drop(association);
    task.await.expect("peer content");
}

/// As DCMTK does it: a response's header and body in two writes, Nagle's algorithm on.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_response_in_two_writes_does_not_cost_a_delayed_acknowledgement() {
    const COUNT: u16 = 60;
    let (target, task) = peer(accept_pdu(16_384), async |mut peer| {
        for _ in 0..COUNT {
            let Command::StoreRq { message_id, sop_class, sop_instance, .. } = peer.command().await else {
                panic!("no C-STORE")
            };
            peer.message(false).await;
            let answer = Command::StoreRsp { message_id, sop_class, sop_instance, status: 0, comment: None }.encode();
            let length = u32::try_from(answer.len()).expect("short");
            peer.0.write_all(&wire::p_data_header(3, true, true, length)).await.expect("written");
            peer.0.write_all(&answer).await.expect("written");
        }
        peer.until_gone().await;
    })
    .await;
    let mut association = open(&target).await;
    let mut took = Vec::new();
    for _ in 0..COUNT {
        let start = Instant::now();
        association.store(&instance(50_000), &mut Made::of(50_000)).await.expect("stored");
        took.push(start.elapsed());
    }
    took.sort();
    // A delayed acknowledgement costs every instance 40 ms; a busy machine some of them anything.
    let median = took[took.len() / 2];
    assert!(median < Duration::from_millis(30), "half of {COUNT} instances took {median:?} and more");
    association.abort().await;
    task.await.expect("peer content");
}

#[tokio::test]
async fn a_dropped_store_leaves_the_association_closed() {
    let (target, _task) = peer(accept_pdu(0), async |peer| {
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(peer);
    })
    .await;
    let mut association = open(&target).await;
    let (what, mut data) = (instance(1 << 40), Made::of(1 << 40));
    assert!(timeout(Duration::from_millis(50), association.store(&what, &mut data)).await.is_err());
    assert!(matches!(association.echo().await, Err(ScuError::Closed)));
}

fn event(message_id: u16) -> Command {
    let request = Request { message_id, type_id: Some(1), ..Request::new(Service::EventReport, CT, INSTANCE) };
    Command::Request(request)
}

#[tokio::test]
async fn an_event_that_comes_before_the_answer_is_kept_and_answered_after_it() {
    let (target, task) = peer(accept_pdu(16384), async |mut peer| {
        let Command::Request(request) = peer.command().await else { panic!("no request") };
        peer.send(&event(7)).await;
        peer.send(&Command::Response(request.answer(0))).await;
        let Command::Response(response) = peer.command().await else { panic!("no response") };
        assert_eq!((response.service, response.message_id, response.status), (Service::EventReport, 7, 0x0115));
        peer.send(&event(8)).await;
        peer.until_gone().await;
    })
    .await;
    let mut association = open(&target).await;
    let asked = Request { type_id: Some(1), ..Request::new(Service::Action, CT, INSTANCE) };
    let (response, _) = association.operate(&uid(CT), asked, None, &Outgoing::default()).await.expect("an answer");
    assert_eq!((response.service, response.status), (Service::Action, 0));
    let heard = association.hear(Duration::ZERO).await.expect("open").expect("the event that came before");
    assert_eq!((heard.request.type_id, heard.class.as_str()), (Some(1), CT));
    assert!(heard.information.as_ref().is_some_and(|set| set.iter().next().is_none()));
    association.answer(&heard, heard.request.answer(0x0115)).await.expect("answered");
    let next = association.hear(Duration::from_secs(5)).await.expect("open").expect("the event after");
    assert_eq!(next.request.message_id, 8);
    assert!(association.hear(Duration::from_millis(20)).await.expect("open").is_none(), "nothing more");
    association.release().await;
    task.await.expect("peer content");
}

#[tokio::test]
async fn a_peer_that_reports_without_end_instead_of_answering_is_left() {
    let (target, task) = peer(accept_pdu(16384), async |mut peer| {
        peer.command().await;
        for message_id in 1..=9 {
            peer.send(&event(message_id)).await;
        }
        assert_eq!(peer.until_gone().await, wire::ABORT);
    })
    .await;
    let mut association = open(&target).await;
    let asked = Request { type_id: Some(1), ..Request::new(Service::Action, CT, INSTANCE) };
    let answer = association.operate(&uid(CT), asked, None, &Outgoing::default()).await;
    assert!(matches!(answer, Err(ScuError::Protocol(_))), "{answer:?}");
    task.await.expect("peer content");
}
