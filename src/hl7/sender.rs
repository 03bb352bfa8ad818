//! The MLLP sender: one message out, its acknowledgement back, over a connection that stays open.
//!
//! In: a message, whole or in pieces, and its control id. Out: what the peer answered, or what can be said about its fate. One message is
//! outstanding at a time; an answer to another message is an error, bytes nobody asked for end the connection.
//!
//! Does not send anything twice: after `TimedOut` or `ConnectionLost` the message may have arrived, and whether to try
//! again is the caller's decision.

use super::ack::{AckError, Acknowledgement, Verdict};
use super::framed::{Framed, FramedError};
use super::mllp::{MllpCodec, MllpError};
use bytes::{Bytes, BytesMut};
use std::{io, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::codec::Decoder;
use tracing::debug;

pub use super::framed::{InOnePiece, MessageSource};

/// An acknowledgement is a few hundred bytes; some peers send back what they received.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderSettings {
    /// The connection must stand after this.
    pub connect: Duration,
    /// The message must have been sent and the answer have come after this.
    pub response: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nothing was sent.
    #[error("the peer cannot be reached")]
    Unreachable(#[source] io::Error),
    /// It is unknown whether the message arrived.
    #[error("no answer within {0:?}: the message may have arrived")]
    TimedOut(Duration),
    /// It is unknown whether the message arrived.
    #[error("the connection was lost before the answer: the message may have arrived")]
    ConnectionLost(#[source] MllpError),
    /// It is unknown what the peer did with the message.
    #[error("what the peer sent back does not acknowledge the message")]
    NotAnAcknowledgement(#[source] AckError),
    /// Nothing was sent, or a frame without its end; and sending again cannot help.
    #[error("the message cannot be framed")]
    CannotBeFramed(#[source] MllpError),
    /// Nothing was sent, or a frame without its end.
    #[error("the message cannot be read to its end")]
    Unread(#[source] io::Error),
}

/// A line to one peer.
#[derive(Debug)]
pub struct Hl7Sender {
    host: String,
    port: u16,
    settings: SenderSettings,
    line: Option<Line>,
}

#[derive(Debug)]
struct Line {
    stream: TcpStream,
    codec: MllpCodec,
    received: BytesMut,
}

impl Hl7Sender {
    /// Does not connect: the first [`Hl7Sender::send`] does.
    pub fn new(host: impl Into<String>, port: u16, settings: SenderSettings) -> Self {
        Self { host: host.into(), port, settings, line: None }
    }

    /// Sends `message`, whose MSH-10 is `control_id`, and waits for its acknowledgement, whatever that says.
    ///
    /// # Errors
    /// [`SendError`] says what is known about the message's fate. The connection is not used again after an error.
    pub async fn send(&mut self, message: &[u8], control_id: &str) -> Result<Acknowledgement, SendError> {
        self.send_from(&mut InOnePiece::new(Bytes::copy_from_slice(message)), control_id).await
    }

    /// The same for a message that is read as it is sent.
    ///
    /// # Errors
    /// As [`Hl7Sender::send`].
    pub async fn send_from(
        &mut self,
        source: &mut impl MessageSource,
        control_id: &str,
    ) -> Result<Acknowledgement, SendError> {
        let mut frame = Framed::new(source);
        let first = frame.part().await?.unwrap_or_default();
        let mut line = match self.line.take() {
            Some(line) if line.is_quiet().await => line,
            _ => self.connect().await?,
        };
        let until = Instant::now() + self.settings.response;
        let answer = match timeout_at(until, line.exchange(first, &mut frame)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(SendError::TimedOut(self.settings.response)),
        };
        let acknowledgement = matching(&answer, control_id).map_err(SendError::NotAnAcknowledgement)?;
        self.line = Some(line);
        Ok(acknowledgement)
    }

    /// Whether a connection is open, as far as is known without using it.
    pub fn is_connected(&self) -> bool {
        self.line.is_some()
    }

    /// Until an idle connection is of no use any more: the peer has closed it, or has sent what nobody asked for. Then it is closed
    /// here, too. Returns at once where there is none; may be cancelled.
    pub async fn until_gone(&mut self) {
        if let Some(line) = &self.line {
            while line.stream.readable().await.is_ok() && line.is_quiet().await {}
        }
        self.line = None;
    }

    async fn connect(&self) -> Result<Line, SendError> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = match timeout(self.settings.connect, connecting).await {
            Ok(connected) => connected.map_err(SendError::Unreachable)?,
            Err(_) => return Err(SendError::Unreachable(io::ErrorKind::TimedOut.into())),
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "TCP_NODELAY not set");
        }
        Ok(Line { stream, codec: MllpCodec::new(MAX_ANSWER_BYTES), received: BytesMut::new() })
    }
}

impl Line {
    /// Nothing has come since the last answer: no end of stream, and no late or second answer that would be taken for
    /// the answer to the next message. Line ends after the last frame are nothing.
    async fn is_quiet(&self) -> bool {
        if !self.received.iter().all(u8::is_ascii_whitespace) {
            return false;
        }
        // The run time looks at sockets between tasks: without this, what has just come would not be seen.
        tokio::task::yield_now().await;
        let mut bytes = [0; 64];
        match self.stream.try_read(&mut bytes) {
            Ok(0) => false,
            // As much as this is no line end.
            Ok(count) if count < bytes.len() && bytes[..count].iter().all(u8::is_ascii_whitespace) => true,
            Ok(_) => {
                debug!("HL7 connection renewed: the peer sent something unasked");
                false
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    async fn exchange<S: MessageSource>(
        &mut self,
        first: BytesMut,
        frame: &mut Framed<'_, S>,
    ) -> Result<Bytes, SendError> {
        self.received.clear();
        self.write(&first).await.map_err(SendError::ConnectionLost)?;
        drop(first);
        while let Some(part) = frame.part().await? {
            self.write(&part).await.map_err(SendError::ConnectionLost)?;
        }
        self.answer().await.map_err(SendError::ConnectionLost)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), MllpError> {
        Ok(self.stream.write_all(bytes).await?)
    }

    async fn answer(&mut self) -> Result<Bytes, MllpError> {
        loop {
            if let Some(answer) = self.codec.decode(&mut self.received)? {
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(MllpError::EndedInside(self.received.len()));
            }
        }
    }
}

impl From<FramedError> for SendError {
    fn from(error: FramedError) -> Self {
        match error {
            FramedError::Source(error) => Self::Unread(error),
            FramedError::Content(error) => Self::CannotBeFramed(error),
        }
    }
}

fn matching(answer: &[u8], control_id: &str) -> Result<Acknowledgement, AckError> {
    let acknowledgement = Acknowledgement::parse(answer)?;
    let is_ours = acknowledgement.control_id == control_id.trim();
    // A peer that could not read our header refuses without our control id. Nothing else was outstanding.
    let is_blank_refusal = acknowledgement.control_id.is_empty() && acknowledgement.code.verdict() != Verdict::Accept;
    if is_ours || is_blank_refusal { Ok(acknowledgement) } else { Err(AckError::OtherControlId) }
}

#[cfg(test)]
mod tests;
