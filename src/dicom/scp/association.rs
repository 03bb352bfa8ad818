//! One connection from its first byte to its last: handshake, dialogue, parting (the acceptor's half of PS3.8 9.2).

use super::connection::Connection;
use super::dialogue::Dialogue;
use super::incoming::{Ending, Incoming};
use super::limits::{Knock, Place};
use super::{AssociationEnd, AssociationRequest, Shared, StorageScp, StoreAssociation, own_thread, seen};
use crate::dicom::acceptor::request::AssociateRequest;
use crate::dicom::acceptor::{self, Context, HandshakeError, Reject, reply};
use crate::dicom::pdv::{AbortReason, PdvReader};
use bytes::BytesMut;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::timeout};

/// Smaller PDUs than this nobody can be asked to send.
const LEAST_MAX_PDU_BYTES: u32 = 4096;

pub async fn run<H: StorageScp>(shared: Arc<Shared<H>>, stream: TcpStream, peer: SocketAddr, half_open: Knock) {
    let mut connection = Connection::new(stream);
    let mut buffer = BytesMut::new();
    let knocked = tokio::select! {
        biased;
        knocked = knock(&shared, &mut connection, &mut buffer, peer) => knocked,
        () = half_open.evicted() => return make_room(connection, peer).await,
    };
    match knocked {
        Ok(Admitted { request, who, association, place }) => {
            drop(half_open);
            let _open = seen::OpenAssociation::new();
            match connection.into_socket() {
                Ok(socket) => own_thread::run(move || serve(shared, request, association, socket, buffer, who)).await,
                Err(error) => {
                    tracing::error!(%error, "association dropped: its socket cannot be taken over");
                    association.end(AssociationEnd::ConnectionLost).await;
                }
            }
            drop(place);
        }
        Err(last_word) => tokio::select! {
            () = connection.part(last_word.as_deref()) => {}
            () = half_open.evicted() => {}
        },
    }
}

struct Admitted<A> {
    request: AssociateRequest,
    who: AssociationRequest,
    association: A,
    place: Place,
}

/// From the first byte to the decision; or what to part with.
async fn knock<H: StorageScp>(
    shared: &Shared<H>,
    connection: &mut Connection,
    buffer: &mut BytesMut,
    peer: SocketAddr,
) -> Result<Admitted<H::Association>, Option<Vec<u8>>> {
    let request = read_request(shared, connection, buffer).await?;
    let who = AssociationRequest { peer, calling_ae: request.calling_ae.clone(), called_ae: request.called_ae.clone() };
    match admit(shared, &request, &who).await {
        Ok((association, place)) => Ok(Admitted { request, who, association, place }),
        Err(reject) => {
            seen::rejected(reject);
            let (calling_ae, called_ae) = (&who.calling_ae, &who.called_ae);
            tracing::info!(%peer, ?calling_ae, ?called_ae, reason = reject.as_str(), "association rejected");
            Err(Some(reject.pdu()))
        }
    }
}

/// Closes without waiting for anybody: its place is another's already.
async fn make_room(mut connection: Connection, peer: SocketAddr) {
    seen::turned_away("half_open");
    tracing::debug!(%peer, "connection closed: silent longest of too many that have not asked for an association");
    // Goes at once or not at all.
    let _ = connection.send(&reply::abort(AbortReason::NotSpecified), Duration::ZERO).await;
}

/// The request, or what to part with.
async fn read_request<H>(
    shared: &Shared<H>,
    connection: &mut Connection,
    buffer: &mut BytesMut,
) -> Result<AssociateRequest, Option<Vec<u8>>> {
    let read = tokio::select! {
        biased;
        read = timeout(shared.settings.handshake, acceptor::read_request(connection, buffer)) => read,
        () = shared.stop.cancelled() => return Err(None),
    };
    let reason = match read {
        Ok(Ok(request)) => return Ok(request),
        Ok(Err(error)) => {
            tracing::debug!(%error, "no association request");
            seen::turned_away(match error {
                HandshakeError::Closed | HandshakeError::Io(_) => "closed",
                _ => "not_dicom",
            });
            error.abort_reason()
        }
        Err(_) => {
            seen::turned_away("handshake_time");
            Some(AbortReason::NotSpecified)
        }
    };
    Err(reason.map(reply::abort))
}

async fn admit<H: StorageScp>(
    shared: &Shared<H>,
    request: &AssociateRequest,
    who: &AssociationRequest,
) -> Result<(H::Association, Place), Reject> {
    acceptor::check_protocol(request)?;
    if shared.stop.is_cancelled() {
        return Err(Reject::TemporaryCongestion);
    }
    let place = shared.places.enter(who.peer.ip()).ok_or(Reject::LocalLimitExceeded)?;
    match timeout(shared.settings.handshake, shared.handler.admit(who)).await {
        Ok(Ok(association)) => Ok((association, place)),
        Ok(Err(rejection)) => Err(rejection.into()),
        Err(_) => Err(Reject::TemporaryCongestion),
    }
}

/// Runs on the association's own thread.
async fn serve<H: StorageScp>(
    shared: Arc<Shared<H>>,
    request: AssociateRequest,
    association: H::Association,
    socket: std::net::TcpStream,
    buffer: BytesMut,
    who: AssociationRequest,
) {
    let mut connection = match Connection::from_socket(socket) {
        Ok(connection) => connection,
        Err(error) => {
            tracing::error!(%error, "association dropped: its socket cannot be taken over");
            return association.end(AssociationEnd::ConnectionLost).await;
        }
    };
    let contexts = acceptor::negotiate(&request.contexts, shared.asked.is_some());
    let max_pdu_bytes = shared.settings.max_pdu_bytes.max(LEAST_MAX_PDU_BYTES);
    let accepted = acceptor::accepted_ids(&contexts);
    let accept = reply::accept(&request, &contexts, max_pdu_bytes);
    if connection.send(&accept, shared.settings.handshake).await.is_err() {
        seen::ended(AssociationEnd::ConnectionLost);
        return association.end(AssociationEnd::ConnectionLost).await;
    }
    tracing::debug!(peer = %who.peer, calling_ae = ?who.calling_ae, "association accepted");
    let reader = PdvReader::new(connection, buffer, max_pdu_bytes, accepted);
    let incoming = Incoming::new(reader, shared.settings.idle, shared.stop.clone(), shared.cut.clone());
    let peer_max_pdu_bytes = request.max_pdu_bytes;
    let takes = takes(&request, &contexts);
    let asked = shared.asked.clone();
    let who_asks = who.clone();
    let mut dialogue =
        Dialogue { incoming, association, contexts, peer_max_pdu_bytes, takes, asked, who: who_asks, asker: None };
    let Ending { how, last_word, why } = dialogue.run().await;
    let Dialogue { incoming, association, .. } = dialogue;
    seen::ended(how);
    let (peer, calling_ae) = (who.peer, &who.calling_ae);
    match how {
        AssociationEnd::Released => tracing::debug!(%peer, ?calling_ae, "association released"),
        _ => tracing::warn!(%peer, ?calling_ae, end = seen::end_text(how), why, "association ended early"),
    }
    // The handler first: it must not wait for a peer that is slow to leave.
    association.end(how).await;
    incoming.into_connection().part(last_word.as_deref()).await;
}

/// What the requestor takes as an SCP.
fn takes(request: &AssociateRequest, contexts: &[Context]) -> Vec<String> {
    reply::answered_roles(request, contexts).into_iter().filter(|role| role.scp).map(|role| role.sop_class).collect()
}
