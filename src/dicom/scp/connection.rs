//! The accepted TCP connection: acknowledges at once, writes in one go, and parts so that the last word is heard.
//!
//! An unmodified DCMTK sender keeps Nagle's algorithm on: it holds the last small piece of an instance back until the
//! one before is acknowledged, and a receiver that delays its ACKs costs it 40 ms an instance. So TCP_QUICKACK, which
//! the kernel forgets, is set again whenever there is nothing more to read: what came is then acknowledged before we
//! wait. While there is, every ACK would only cost both sides time.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

/// How long a peer has to take our last PDU and close (the ARTIM timer, PS3.8 9.1.5). Until then it holds its place.
const PARTING: Duration = Duration::from_secs(2);

/// A `TcpStream` that never delays an acknowledgement.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        // Fails on a connection that is gone already, which the first read will say.
        let _ = stream.set_nodelay(true);
        Self(stream)
    }

    /// The socket, to be taken over by another runtime.
    ///
    /// # Errors
    /// When the socket cannot be taken out of this one.
    pub fn into_socket(self) -> io::Result<std::net::TcpStream> {
        self.0.into_std()
    }

    /// Takes a socket over into the runtime this is called in.
    ///
    /// # Errors
    /// When that runtime has no room for it.
    pub fn from_socket(socket: std::net::TcpStream) -> io::Result<Self> {
        Ok(Self(TcpStream::from_std(socket)?))
    }

    fn acknowledge_at_once(&self) {
        #[cfg(target_os = "linux")]
        let _ = self.0.set_quickack(true);
    }

    /// Sends `last_word`, closes our side, and waits for the peer to close its own. Closing with bytes unread would
    /// make the kernel reset the connection, and the peer lose what we said.
    pub async fn part(mut self, last_word: Option<&[u8]>) {
        let until = Instant::now() + PARTING;
        if let Some(pdu) = last_word
            && !matches!(timeout_at(until, self.0.write_all(pdu)).await, Ok(Ok(())))
        {
            return;
        }
        let read_to_the_end = async {
            let _ = self.0.shutdown().await;
            let mut thrown_away = [0; 4096];
            while matches!(self.0.read(&mut thrown_away).await, Ok(read) if read > 0) {}
        };
        let _ = timeout_at(until, read_to_the_end).await;
    }

    /// Sends a whole PDU within `limit`.
    ///
    /// # Errors
    /// `TimedOut` when the peer does not take it; whatever the socket says otherwise.
    pub async fn send(&mut self, pdu: &[u8], limit: Duration) -> io::Result<()> {
        timeout(limit, self.0.write_all(pdu)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.0).poll_read(cx, buffer);
        if polled.is_pending() {
            self.acknowledge_at_once();
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
