//! Receiving: the SCP of C-STORE and C-ECHO, and of everything else a peer may ask. Connections in, instances out to a
//! handler, as their bytes arrive.
//!
//! The handler ([`StorageScp`]) says who may associate and makes each instance durable; only when its
//! [`StoreAssociation::commit`] has returned is the C-STORE answered. One association is one task; a limit reached by
//! one sender does not touch the others ([`limits`]). Every wait for a peer is bounded ([`incoming`]).
//!
//! Queries, retrievals and the N-services are asked of [`Services`] ([`requests`]), on the runtime this was started on: what
//! answers them, and its connections to a database, outlives an association. Instances are sent only where a C-GET or
//! C-MOVE wants them. Does not look into instances, knows no partner and no study.

mod association;
mod connection;
mod dialogue;
mod find;
mod get;
mod incoming;
pub(crate) mod limits;
mod moving;
mod outgoing;
pub(crate) mod own_thread;
mod requests;
mod retrieval;
mod seen;

pub use retrieval::{Held, HeldBytes, OpenInstance};

use super::acceptor::Reject;
use super::service::Services;
use super::status::StoreStatus;
use crate::config::UnknownCaller;
use crate::model::{PartnerId, Uid};
use bytes::Bytes;
use limits::Places;
use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// An instance that is on its way when we are told to stop has this long to arrive.
const DRAIN: Duration = Duration::from_secs(10);
/// After [`DRAIN`], what is left gets this long to tell its handler and its peer.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Pause after an accept that failed for want of descriptors or memory, so that others can give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
pub struct ScpSettings {
    /// Largest P-DATA-TF accepted, bytes after its header; announced to the peer (PS3.8 D.1).
    pub max_pdu_bytes: u32,
    /// Associations served at once, all senders together.
    pub max_associations: usize,
    /// Longest silence of a peer. Inside a message, all silences together may exceed it only by what has been received
    /// at [`incoming::LEAST_BYTES_PER_SEC`].
    pub idle: Duration,
    /// The A-ASSOCIATE-RQ must be complete this long after the connection.
    pub handshake: Duration,
}

/// Who asks for an association, and whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociationRequest {
    pub peer: SocketAddr,
    pub calling_ae: String,
    pub called_ae: String,
}

/// Why the handler does not admit an association, PS3.8 Table 9-21.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    CallingAeNotRecognized,
    CalledAeNotRecognized,
    TemporaryCongestion,
    LocalLimitExceeded,
}

impl From<UnknownCaller> for Rejection {
    fn from(unknown: UnknownCaller) -> Self {
        match unknown {
            UnknownCaller::CallingAe => Rejection::CallingAeNotRecognized,
            UnknownCaller::CalledAe => Rejection::CalledAeNotRecognized,
        }
    }
}

impl From<Rejection> for Reject {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::CallingAeNotRecognized => Reject::CallingAeNotRecognized,
            Rejection::CalledAeNotRecognized => Reject::CalledAeNotRecognized,
            Rejection::TemporaryCongestion => Reject::TemporaryCongestion,
            Rejection::LocalLimitExceeded => Reject::LocalLimitExceeded,
        }
    }
}

/// What a C-STORE-RQ announces, checked: UIDs that are UIDs, the SOP class that its context was accepted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceOffer {
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub transfer_syntax: Uid,
}

/// An instance that is not stored. `comment` becomes Error Comment (0000,0902): bland, at most 64 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreRefusal {
    pub status: StoreStatus,
    pub comment: &'static str,
}

/// How an association ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AssociationEnd {
    /// A-RELEASE: the sender has sent all it wanted to.
    Released,
    /// A-ABORT from the peer.
    Aborted,
    ConnectionLost,
    /// The peer was silent or too slow, and was aborted.
    TimedOut,
    /// This node stops.
    Shutdown,
    /// The peer broke the protocol, and was aborted.
    ProtocolError,
}

/// The handler: one for all associations.
pub trait StorageScp: Clone + Send + Sync + 'static {
    type Association: StoreAssociation;

    /// Asked once the request is readable and there is room. No answer within the handshake time is answered with
    /// temporary congestion.
    fn admit(&self, request: &AssociationRequest) -> impl Future<Output = Result<Self::Association, Rejection>> + Send;

    /// The same for instances that come another way (STOW-RS), from a partner who has shown who it is; `calling` stands
    /// for the calling AE title. A handler that knows no partners admits nobody.
    fn admit_partner(
        &self,
        _partner: &PartnerId,
        _calling: &str,
    ) -> impl Future<Output = Result<Self::Association, Rejection>> + Send {
        async { Err(Rejection::CallingAeNotRecognized) }
    }
}

/// The handler's side of one association. Calls come one at a time, in the order of the wire.
///
/// After `begin` has said yes there are any number of `write`s, and then exactly one of: a `commit` that returns `Ok`,
/// or `discard`, because the instance was cut, or because `write` or `commit` refused it. Only a node that is forced to
/// stop drops an association without either.
pub trait StoreAssociation: Send + 'static {
    fn begin(&mut self, offer: &InstanceOffer) -> impl Future<Output = Result<(), StoreRefusal>> + Send;

    /// The next bytes of the data set, as received; never empty. Take what is kept out of `data`: it is a view of a
    /// buffer of up to 256 KiB.
    fn write(&mut self, data: Bytes) -> impl Future<Output = Result<(), StoreRefusal>> + Send;

    /// Returns when the instance would survive a power cut; its status is the answer.
    fn commit(&mut self) -> impl Future<Output = Result<StoreStatus, StoreRefusal>> + Send;

    /// The instance that was begun is to be forgotten.
    fn discard(&mut self) -> impl Future<Output = ()> + Send;

    fn end(self, how: AssociationEnd) -> impl Future<Output = ()> + Send;
}

/// Who is asked besides storing, and where the instances of a retrieval come from.
#[derive(Clone)]
pub struct Asked {
    pub services: Arc<dyn Services>,
    pub held: Arc<dyn Held>,
    /// Where the services run.
    runtime: Handle,
}

/// What every association of a listener shares.
struct Shared<H> {
    settings: ScpSettings,
    handler: H,
    /// Absent where nothing is provided but storing.
    asked: Option<Asked>,
    places: Arc<Places>,
    /// No new association, no new message.
    stop: CancellationToken,
    /// No byte more.
    cut: CancellationToken,
}

/// Serves `listener` until `stop`; then accepts nothing more, lets each association finish the instance it is in,
/// aborts it, and returns. Takes [`DRAIN`] and [`LAST_WORDS`] at most.
///
/// Stores and answers echoes, nothing else: contexts for other services are refused.
pub async fn serve(listener: TcpListener, settings: ScpSettings, handler: impl StorageScp, stop: CancellationToken) {
    serve_draining(listener, settings, handler, None, stop, DRAIN).await;
}

/// The same, and everything else a peer may ask.
pub async fn serve_all(
    listener: TcpListener,
    settings: ScpSettings,
    handler: impl StorageScp,
    services: Arc<dyn Services>,
    held: Arc<dyn Held>,
    stop: CancellationToken,
) {
    let asked = Asked { services, held, runtime: Handle::current() };
    serve_draining(listener, settings, handler, Some(asked), stop, DRAIN).await;
}

async fn serve_draining(
    listener: TcpListener,
    settings: ScpSettings,
    handler: impl StorageScp,
    asked: Option<Asked>,
    stop: CancellationToken,
    drain_time: Duration,
) {
    let cut = CancellationToken::new();
    let places = Places::new(settings.max_associations);
    let shared = Arc::new(Shared { settings, handler, asked, places, stop: stop.clone(), cut: cut.clone() });
    let mut associations = JoinSet::new();
    let mut accept_fails = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = associations.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    accept_fails = false;
                    welcome(&shared, &mut associations, stream, peer);
                }
                Err(error) => accept_failed(&error, &mut accept_fails).await,
            },
        }
    }
    drop(listener);
    drain(associations, &cut, drain_time).await;
}

fn welcome<H: StorageScp>(shared: &Arc<Shared<H>>, tasks: &mut JoinSet<()>, stream: TcpStream, peer: SocketAddr) {
    tasks.spawn(association::run(shared.clone(), stream, peer, shared.places.knock(peer.ip())));
}

async fn accept_failed(error: &io::Error, fails_already: &mut bool) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    // Gone before it was accepted: says nothing about the listener.
    if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        return;
    }
    if !std::mem::replace(fails_already, true) {
        tracing::error!(%error, "cannot accept DICOM connections; trying on");
    }
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn drain(mut associations: JoinSet<()>, cut: &CancellationToken, drain_time: Duration) {
    if !joined_within(&mut associations, drain_time).await {
        tracing::warn!(associations = associations.len(), "cutting associations that did not finish in time");
        cut.cancel();
        if !joined_within(&mut associations, LAST_WORDS).await {
            tracing::error!(associations = associations.len(), "dropping associations that are still busy");
        }
    }
    associations.shutdown().await;
}

async fn joined_within(associations: &mut JoinSet<()>, limit: Duration) -> bool {
    let all = async {
        while let Some(ended) = associations.join_next().await {
            report(ended);
        }
    };
    tokio::time::timeout(limit, all).await.is_ok()
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        // The panic's message may hold what a peer sent: it is not repeated here.
        tracing::error!("an association ended by a panic");
    }
}

#[cfg(test)]
mod tests;
