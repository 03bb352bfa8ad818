//! Connections of HTTP: accepted, bounded in number and in time, with or without TLS.
//!
//! A request's head must be complete within [`HEAD_WITHIN`], which also ends connections that wait for nothing; a peer
//! that does not read what it has asked for is let go after [`UNREAD_WITHIN`], and so is one that reads it in drips. One
//! address has three quarters of the connections at most, as with associations. How long a request may take and how much
//! it may bring is said by its route ([`super::routes`]).

use super::tls::{Certificates, acceptor};
use crate::dicom::scp::limits::{Place, Places};
use axum::{Router, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// No single pause of a peer that reads is longer than this, and all of them together only longer by what it has taken
/// at [`LEAST_BYTES_PER_SEC`].
const UNREAD_WITHIN: Duration = Duration::from_secs(60);
const LEAST_BYTES_PER_SEC: u64 = 1_024;
/// What is under way when the node stops.
const DRAIN: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A viewer's longest query stays below 4 KiB; OHIF's Accept headers below 1 KiB.
const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 100;

#[derive(Clone, Copy, Debug)]
pub struct ServerSettings {
    pub max_connections: usize,
}

/// Whoever is at the other end of the connection: the caller, or a proxy.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Serves until `stop`; then lets what is under way finish, for [`DRAIN`] at most.
pub async fn serve(
    listener: TcpListener,
    certificates: Option<Arc<Certificates>>,
    router: Router,
    settings: ServerSettings,
    stop: CancellationToken,
) {
    let tls = match certificates.map(acceptor).transpose() {
        Ok(tls) => tls,
        Err(error) => return tracing::error!(%error, "HTTP not served: no TLS"),
    };
    let places = Places::new(settings.max_connections);
    let connections = TaskTracker::new();
    let mut fails = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&error, &mut fails).await;
                continue;
            }
        };
        fails = false;
        // Closed without a word: a word would cost what there is none left of.
        let Some(place) = places.enter(peer.ip()) else {
            metrics::counter!("neisse_http_connections_refused_total").increment(1);
            continue;
        };
        connections.spawn(connection(stream, peer, tls.clone(), router.clone(), place, stop.clone()));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "Cutting HTTP requests that did not finish in time");
    }
}

async fn accept_failed(error: &io::Error, fails_already: &mut bool) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    if !std::mem::replace(fails_already, true) {
        tracing::error!(%error, "cannot accept HTTP connections; trying on");
    }
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<tokio_rustls::TlsAcceptor>,
    router: Router,
    _place: Place,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let peer = Peer(peer.ip().to_canonical());
    match tls {
        None => speak(stream, peer, router, stop).await,
        Some(tls) => {
            let handshake = tokio::select! {
                handshake = tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(stream)) => handshake,
                () = stop.cancelled() => return,
            };
            match handshake {
                Ok(Ok(stream)) => speak(stream, peer, router, stop).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake not finished in time"),
            }
        }
    }
}

async fn speak<S>(stream: S, peer: Peer, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let inner = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        inner.call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    builder.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD_BYTES);
    let io = TokioIo::new(Impatient::new(stream));
    let connection = builder.serve_connection(io, service).with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

/// A stream whose writes fail when the peer takes nothing for [`UNREAD_WITHIN`], or far too little.
struct Impatient<S> {
    stream: S,
    unread: Option<(Instant, Pin<Box<Sleep>>)>,
    taken: u64,
    waited: Duration,
}

impl<S> Impatient<S> {
    fn new(stream: S) -> Self {
        Self { stream, unread: None, taken: 0, waited: Duration::ZERO }
    }

    /// How long it may take nothing now.
    fn patience(&self) -> Duration {
        let earned = Duration::from_secs(self.taken / LEAST_BYTES_PER_SEC);
        (UNREAD_WITHIN + earned).saturating_sub(self.waited).min(UNREAD_WITHIN)
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            if let Some((since, _)) = self.unread.take() {
                self.waited += since.elapsed();
            }
            return polled;
        }
        let patience = self.patience();
        let (_, unread) = self.unread.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(patience))));
        match unread.as_mut().poll(cx) {
            Poll::Ready(()) => {
                unread.as_mut().reset(Instant::now());
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn judge_written(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let polled = self.judge(cx, polled);
        if let Poll::Ready(Ok(taken)) = &polled {
            self.taken += *taken as u64;
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge_written(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge_written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn after(taken: u64, waited_secs: u64) -> Duration {
        let waited = Duration::from_secs(waited_secs);
        Impatient { taken, waited, ..Impatient::new(tokio::io::sink()) }.patience()
    }

    #[test]
    fn patience_with_a_slow_reader_is_earned_by_what_it_takes() {
        let table = [
            (0, 0, 60),
            (0, 45, 15),
            (0, 60, 0),
            // A byte a minute earns nothing, however long it goes on.
            (600, 60, 0),
            (1 << 20, 1_000, 60),
            (1 << 20, 1_060, 24),
            (1 << 20, 1_084, 0),
        ];
        for (taken, waited, left) in table {
            assert_eq!(after(taken, waited), Duration::from_secs(left), "{taken} bytes, {waited} s");
        }
    }

    #[tokio::test]
    async fn a_peer_whose_patience_is_used_up_is_let_go_at_its_next_pause() {
        let (stream, _peer) = tokio::io::duplex(8);
        let mut stream = Impatient { waited: UNREAD_WITHIN, ..Impatient::new(stream) };
        let mut write = async |bytes: &'static [u8]| poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, bytes)).await;
        assert_eq!(write(b"12345678").await.ok(), Some(8), "as long as it does take it");
        assert_eq!(write(b"9").await.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
    }
}
