//! The MLLP listener: connections in, whole messages to the handler, its acknowledgements back.
//!
//! In: a bound socket. Out: for each message, in the order received on its connection, what the handler says. One
//! message of a connection is under way at a time, so a sender that does not wait for answers is answered in order.
//! Messages that are too large, too slow or run into each other are refused by their control id where it can
//! be read, and the connection is closed. Connections, times and memory are bounded.
//!
//! Does not look into messages, and does not answer in the handler's place: no acknowledgement before the commit.

use super::ack::{ErrorCode, Rejected, refuse_bytes};
use super::mllp::{FRAME_BYTES, MllpCodec, MllpError};
use super::receive::{Budget, ReceiveBuffer};
use super::seats::{Seat, Seats};
use crate::model::Moment;
use bytes::{Bytes, BytesMut};
use std::{future::Future, io, net::SocketAddr, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::codec::{Decoder, Encoder};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// How long, and how much, is still read after a refusal: closing with unread bytes would reset the connection and
/// take the refusal with it.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// Largest message accepted.
    pub max_message_bytes: usize,
    /// Connections at once; for one more, one that is silent is closed.
    pub max_connections: usize,
    /// A message must be complete this long after its first byte, and an answer be taken this long after it is ready.
    pub message_within: Duration,
    /// A connection without a message for this long is closed.
    pub idle: Duration,
}

/// What is done with a message.
pub trait Hl7Handler: Clone + Send + Sync + 'static {
    /// The acknowledgement to send, returned after the commit. Empty: the sender asked for none, and none is sent.
    /// A handler that keeps `message` beyond its return keeps memory that the listener counts as free.
    fn receive(&self, peer: SocketAddr, message: Bytes) -> impl Future<Output = Vec<u8>> + Send;
}

/// Serves until `stop`; then lets messages that are with the handler finish and be answered, and returns.
pub async fn serve(
    listener: TcpListener,
    settings: ListenerSettings,
    handler: impl Hl7Handler,
    stop: CancellationToken,
) {
    let seats = Seats::new(settings.max_connections);
    let budget = Budget::new(settings.max_message_bytes.saturating_add(FRAME_BYTES));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or a peer that was gone before we looked: neither ends the service.
                warn!(%error, "HL7 connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(seat) = seats.take(peer.ip()) else {
            warn!(%peer, "HL7 connection closed: as many as may be are in the middle of a message");
            continue;
        };
        let connection = Connection::new(stream, peer, settings.clone(), budget.clone(), seat);
        let (handler, stop) = (handler.clone(), stop.clone());
        connections.spawn(async move {
            connection.run(handler, stop).await;
        });
    }
    connections.close();
    connections.wait().await;
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("closed by the peer")]
    ByPeer,
    #[error("we are stopping")]
    Stopping,
    #[error("no message within the idle time")]
    Idle,
    #[error("silent, and one more connection came than there are places")]
    Crowded,
    #[error("a message was not complete in time")]
    TooSlow,
    #[error("no memory was free for a large message in time")]
    Busy,
    #[error("the answer was not taken in time")]
    AnswerNotTaken,
    #[error("the framing was broken")]
    Framing(#[from] MllpError),
    #[error("the connection failed")]
    Io(#[from] io::Error),
}

impl Ended {
    /// What the sender of an unfinished message is told.
    fn refusal(&self, settings: &ListenerSettings) -> Option<Rejected> {
        let text = match self {
            Ended::TooSlow => format!("message not complete within {} s", settings.message_within.as_secs()),
            Ended::Busy => "too many large messages at once, send again later".to_owned(),
            Ended::Framing(MllpError::TooLong { max }) => {
                format!("message larger than {max} bytes, or without its end 0x1C 0x0D")
            }
            Ended::Framing(MllpError::StartInside) => {
                "a second message starts before 0x1C 0x0D ends the first".to_owned()
            }
            _ => return None,
        };
        Some(Rejected::new("MSH", 1, 0, ErrorCode::Internal, text))
    }
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    settings: ListenerSettings,
    codec: MllpCodec,
    buffer: ReceiveBuffer,
    seat: Seat,
    /// When the present message must be complete.
    complete_by: Option<Instant>,
}

impl Connection {
    fn new(stream: TcpStream, peer: SocketAddr, settings: ListenerSettings, budget: Budget, seat: Seat) -> Self {
        let codec = MllpCodec::new(settings.max_message_bytes);
        Self { stream, peer, settings, codec, buffer: ReceiveBuffer::new(budget), seat, complete_by: None }
    }

    async fn run(mut self, handler: impl Hl7Handler, stop: CancellationToken) {
        // An answer is one small segment: it must not wait for a delayed ACK.
        if let Err(error) = self.stream.set_nodelay(true) {
            debug!(peer = %self.peer, %error, "TCP_NODELAY not set");
        }
        let ended = loop {
            match self.next_message(&stop).await {
                Ok(message) => {
                    let answer = handler.receive(self.peer, message).await;
                    if let Err(ended) = self.answer(&answer).await {
                        break ended;
                    }
                    self.buffer.settle();
                    self.seat.is_silent();
                }
                Err(ended) => break ended,
            }
        };
        self.end(ended).await;
    }

    /// Reads until a message is whole.
    async fn next_message(&mut self, stop: &CancellationToken) -> Result<Bytes, Ended> {
        let idle_until = Instant::now() + self.settings.idle;
        loop {
            if stop.is_cancelled() {
                return Err(Ended::Stopping);
            }
            if let Some(message) = self.codec.decode(&mut self.buffer.bytes)? {
                self.complete_by = None;
                return if self.seat.speaks() { Ok(message) } else { Err(Ended::Crowded) };
            }
            if self.codec.is_inside() && self.complete_by.is_none() && !self.seat.speaks() {
                return Err(Ended::Crowded);
            }
            self.make_room(stop).await?;
            let until = if self.codec.is_inside() {
                *self.complete_by.get_or_insert_with(|| Instant::now() + self.settings.message_within)
            } else {
                idle_until
            };
            let read = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Ended::Stopping),
                () = self.seat.asked_to_leave() => return Err(Ended::Crowded),
                read = timeout_at(until, self.stream.read_buf(&mut self.buffer.bytes)) => read,
            };
            match read {
                Ok(Ok(0)) => return Err(self.closed_by_peer()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) if self.codec.is_inside() => return Err(Ended::TooSlow),
                Err(_) => return Err(Ended::Idle),
            }
        }
    }

    /// The peer's time does not run while we wait for memory.
    async fn make_room(&mut self, stop: &CancellationToken) -> Result<(), Ended> {
        let started = Instant::now();
        let room = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Ended::Stopping),
            room = timeout(self.settings.message_within, self.buffer.make_room()) => room,
        };
        if !matches!(room, Ok(Ok(()))) {
            return Err(Ended::Busy);
        }
        self.complete_by = self.complete_by.map(|until| until + started.elapsed());
        Ok(())
    }

    fn closed_by_peer(&self) -> Ended {
        if self.codec.is_inside() { MllpError::EndedInside(self.buffer.bytes.len()).into() } else { Ended::ByPeer }
    }

    async fn answer(&mut self, acknowledgement: &[u8]) -> Result<(), Ended> {
        if acknowledgement.is_empty() {
            return Ok(());
        }
        let mut frame = BytesMut::with_capacity(acknowledgement.len() + FRAME_BYTES);
        self.codec.encode(acknowledgement, &mut frame)?;
        match timeout(self.settings.message_within, self.stream.write_all(&frame)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(Ended::AnswerNotTaken),
        }
    }

    async fn end(mut self, ended: Ended) {
        let noise = self.codec.noise_bytes();
        match &ended {
            Ended::ByPeer | Ended::Stopping | Ended::Idle | Ended::Crowded => {
                debug!(peer = %self.peer, noise, "HL7 connection ended: {ended}")
            }
            Ended::Framing(error) => warn!(peer = %self.peer, noise, "HL7 connection ended: {ended}: {error}"),
            Ended::Io(error) => warn!(peer = %self.peer, noise, "HL7 connection ended: {ended}: {error}"),
            _ => warn!(peer = %self.peer, noise, "HL7 connection ended: {ended}"),
        }
        if let Some(problem) = ended.refusal(&self.settings) {
            let refusal = refuse_bytes(&self.buffer.bytes, &problem, Moment::from_utc(chrono::Utc::now()));
            // What has been received is not needed any more; others wait for its memory.
            drop(self.buffer);
            let mut frame = BytesMut::new();
            if !refusal.is_empty() && self.codec.encode(refusal, &mut frame).is_ok() {
                linger(self.stream, &frame).await;
            }
        }
    }
}

/// Sends the last words and gives the peer a moment to read them. A failure here changes nothing: nothing was accepted.
async fn linger(mut stream: TcpStream, last_words: &[u8]) {
    let farewell = async {
        stream.write_all(last_words).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    if !matches!(timeout(LINGER, farewell).await, Ok(Ok(_))) {
        debug!("the refusal of an HL7 message may not have been read");
    }
}

#[cfg(test)]
mod tests;
