//! [`PdvDecoder`] on a stream: a buffer that starts small and grows with what the peer really sends.
//!
//! In: any `AsyncRead`. Out: [`Event`]s, or how the stream ended. Waits for as long as the peer lets it: the caller
//! bounds the time. Dropping [`PdvReader::next`] while it waits loses no byte.

use super::{ContextIds, Event, PdvDecoder, PdvError};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

/// What an association that waits for its first message costs.
const SMALLEST_READ_BYTES: usize = 4 * 1024;
/// Reads this long make a 16 KiB-PDU sender cost one system call for many PDUs.
const LARGEST_READ_BYTES: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Between two PDUs, but without A-RELEASE-RQ or A-ABORT.
    #[error("connection closed by the peer without a release")]
    Closed,
    #[error("connection closed by the peer inside a PDU")]
    Cut,
    #[error("connection lost")]
    Io(#[source] std::io::Error),
    #[error("peer broke the upper layer protocol")]
    Protocol(#[from] PdvError),
}

#[derive(Debug)]
pub struct PdvReader<S> {
    stream: S,
    pub(super) buffer: BytesMut,
    decoder: PdvDecoder,
    read_bytes: usize,
    received_bytes: u64,
}

impl<S: AsyncRead + Unpin> PdvReader<S> {
    /// `buffer` holds what was read from the stream already.
    pub fn new(stream: S, buffer: BytesMut, max_pdu_bytes: u32, contexts: ContextIds) -> Self {
        let decoder = PdvDecoder::new(max_pdu_bytes, contexts);
        Self { stream, buffer, decoder, read_bytes: SMALLEST_READ_BYTES, received_bytes: 0 }
    }

    /// The next event that is already here, without reading.
    ///
    /// # Errors
    /// [`PdvError`], after which the reader is of no more use.
    pub fn ready(&mut self) -> Result<Option<Event>, PdvError> {
        self.decoder.next(&mut self.buffer)
    }

    /// The next event. Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError`], after which the reader is of no more use.
    pub async fn next(&mut self) -> Result<Event, ReadError> {
        loop {
            if let Some(event) = self.ready()? {
                return Ok(event);
            }
            self.fill().await?;
        }
    }

    /// Reads once, whatever comes. Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError`] when the stream has ended or failed.
    pub async fn fill(&mut self) -> Result<(), ReadError> {
        if self.buffer.capacity() - self.buffer.len() < self.read_bytes / 4 {
            self.buffer.reserve(self.read_bytes);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let read = self.stream.read_buf(&mut self.buffer).await.map_err(ReadError::Io)?;
        if read == 0 {
            return Err(if self.is_between_pdus() { ReadError::Closed } else { ReadError::Cut });
        }
        if read == room {
            self.read_bytes = (self.read_bytes * 4).min(LARGEST_READ_BYTES);
        }
        self.received_bytes += read as u64;
        Ok(())
    }

    /// Whether nothing has come of the next PDU yet.
    pub fn is_between_pdus(&self) -> bool {
        self.decoder.is_between_pdus() && self.buffer.is_empty()
    }

    /// Bytes read from the stream so far.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Gives a grown buffer back while the peer is silent.
    pub fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.read_bytes = SMALLEST_READ_BYTES;
        }
    }

    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    pub fn into_stream(self) -> S {
        self.stream
    }
}
