//! The listener over real sockets: order, bounds, and no acknowledgement of its own.

use super::*;
use crate::hl7::ack::{AckCode, Acknowledgement, Verdict, acknowledge};
use crate::hl7::message::Message;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Answers AA after a moment, and counts how many messages it holds at once.
#[derive(Clone, Default)]
struct Slow {
    pause: Duration,
    at_once: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    received: Arc<AtomicUsize>,
}

impl Hl7Handler for Slow {
    async fn receive(&self, _peer: SocketAddr, message: Bytes) -> Vec<u8> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(self.pause).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        self.received.fetch_add(1, Ordering::SeqCst);
        match Message::parse(&message) {
            Ok(message) => acknowledge(&message, Verdict::Accept, None, Moment(0)),
            Err(_) => b"no message".to_vec(),
        }
    }
}

fn settings() -> ListenerSettings {
    ListenerSettings {
        max_message_bytes: 300_000,
        max_connections: 1100,
        message_within: Duration::from_secs(10),
        idle: Duration::from_secs(10),
    }
}

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn served(settings: ListenerSettings, handler: Slow) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("address");
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, settings, handler, stop.clone()));
    Served { address, stop, task }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connected")
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(5), self.task).await.expect("ends").expect("without a panic");
    }
}

fn message(id: &str) -> Vec<u8> {
    format!("MSH|^~\\&|A|B|C|D|||ORU^R01|{id}|P|2.5.1\r").into_bytes()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [b"\x0b", message, b"\x1c\r"].concat()
}

/// The answers until the connection is closed or `count` have come.
async fn answers(stream: &mut TcpStream, count: usize) -> Vec<Acknowledgement> {
    let (mut codec, mut buffer, mut found) = (MllpCodec::new(1 << 20), BytesMut::new(), Vec::new());
    while found.len() < count {
        while let Some(frame) = codec.decode(&mut buffer).expect("frames") {
            found.push(Acknowledgement::parse(&frame).expect("an acknowledgement"));
        }
        if found.len() < count && stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
            break;
        }
    }
    found
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    matches!(timeout(Duration::from_secs(5), stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn pipelined_messages_are_answered_in_order_one_at_a_time() {
    let handler = Slow { pause: Duration::from_millis(5), ..Slow::default() };
    let served = served(settings(), handler.clone()).await;
    let mut stream = served.connect().await;
    let all: Vec<u8> = (0..20).flat_map(|i| framed(&message(&i.to_string()))).collect();
    stream.write_all(&all).await.expect("sent");
    let ids: Vec<String> = answers(&mut stream, 20).await.into_iter().map(|a| a.control_id).collect();
    assert_eq!(ids, (0..20).map(|i| i.to_string()).collect::<Vec<_>>());
    assert_eq!(handler.most.load(Ordering::SeqCst), 1);
    served.end().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_by_its_control_id_and_cut_off() {
    let served = served(settings(), Slow::default()).await;
    let mut stream = served.connect().await;
    let endless = [b"\x0b".as_slice(), &message("77"), &vec![b'x'; 400_000]].concat();
    stream.write_all(&endless).await.expect("sent");
    let found = answers(&mut stream, 2).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code, found[0].control_id.as_str()), (AckCode::AR, "77"));
    assert!(is_closed(&mut stream).await);
    let mut largest = message("78");
    largest.resize(300_000, b'x');
    let mut stream = served.connect().await;
    stream.write_all(&framed(&largest)).await.expect("sent");
    assert_eq!(answers(&mut stream, 1).await[0].code, AckCode::AA, "the largest that is allowed passes");
    served.end().await;
}

#[tokio::test]
async fn a_peer_that_drips_is_cut_off_and_told() {
    let handler = Slow::default();
    let within = ListenerSettings { message_within: Duration::from_millis(200), ..settings() };
    let served = served(within, handler.clone()).await;
    let (mut reading, mut writing) = served.connect().await.into_split();
    let drip = tokio::spawn(async move {
        let head = [b"\x0b".as_slice(), &message("5")].concat();
        let mut sent = writing.write_all(&head).await;
        while sent.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            sent = writing.write_all(b"x").await;
        }
    });
    let mut said = Vec::new();
    let read = timeout(Duration::from_secs(5), reading.read_to_end(&mut said)).await.expect("cut off");
    assert!(read.is_ok() && said.windows(8).any(|w| w == b"MSA|AR|5"), "refused by its control id");
    drip.abort();
    assert_eq!(handler.received.load(Ordering::SeqCst), 0);
    served.end().await;
}

#[tokio::test]
async fn noise_and_silence_end_a_connection() {
    let served = served(ListenerSettings { idle: Duration::from_millis(100), ..settings() }, Slow::default()).await;
    let mut silent = served.connect().await;
    assert!(is_closed(&mut silent).await);
    let mut noisy = served.connect().await;
    noisy.write_all(&[b'x'; 10_000]).await.expect("sent");
    assert!(is_closed(&mut noisy).await);
    served.end().await;
}

#[tokio::test]
async fn a_thousand_idle_connections_do_not_keep_a_message_waiting() {
    let served = served(ListenerSettings { max_connections: 1001, ..settings() }, Slow::default()).await;
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(served.connect().await);
    }
    let mut stream = served.connect().await;
    stream.write_all(&framed(&message("1"))).await.expect("sent");
    let found = timeout(Duration::from_secs(5), answers(&mut stream, 1)).await.expect("answered");
    assert_eq!(found[0].control_id, "1");
    // One more than there is room for: it is served, and the first that never said anything goes, not the one that has.
    let mut newcomer = served.connect().await;
    newcomer.write_all(&framed(&message("2"))).await.expect("sent");
    assert_eq!(answers(&mut newcomer, 1).await[0].control_id, "2");
    assert!(is_closed(&mut idle[0]).await);
    stream.write_all(&framed(&message("3"))).await.expect("sent");
    assert_eq!(answers(&mut stream, 1).await[0].control_id, "3");
    served.end().await;
}

#[tokio::test]
async fn a_message_with_the_handler_is_finished_and_answered_when_we_stop() {
    let handler = Slow { pause: Duration::from_millis(200), ..Slow::default() };
    let served = served(settings(), handler.clone()).await;
    let mut stream = served.connect().await;
    stream.write_all(&[framed(&message("1")), framed(&message("2"))].concat()).await.expect("sent");
    while handler.at_once.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    served.end().await;
    let found = answers(&mut stream, 2).await;
    assert_eq!(found.len(), 1, "the first is answered, the second was never taken");
    assert_eq!((found[0].control_id.as_str(), handler.received.load(Ordering::SeqCst)), ("1", 1));
}
