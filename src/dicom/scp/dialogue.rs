//! The messages of one association: each request is answered before the next is read (PS3.7 9.1.1, 9.1.5).
//!
//! In: commands and data sets from [`Incoming`]. Out: instances to the handler, responses to the peer. C-CANCEL is
//! ignored: nothing we do can be cancelled (PS3.7 9.3.2.3).

use super::incoming::{Ending, Incoming};
use super::{InstanceOffer, StoreAssociation, StoreRefusal, seen};
use crate::dicom::acceptor::{Context, syntaxes};
use crate::dicom::dimse::{Command, checked_uids};
use crate::dicom::pdv::pdu_type;
use crate::dicom::status::StoreStatus;
use crate::model::Uid;
use bytes::Bytes;
use std::time::Instant;

/// Bit 15 of Command Field marks a response (PS3.7 Table E.1-1).
const RESPONSE: u16 = 0x8000;

pub struct Dialogue<A> {
    pub incoming: Incoming,
    pub association: A,
    pub contexts: Vec<Context>,
    /// Largest P-DATA-TF the peer takes; 0 is no limit.
    pub peer_max_pdu_bytes: u32,
}

struct StoreRequest {
    context: u8,
    message_id: u16,
    sop_class: String,
    sop_instance: String,
}

impl<A: StoreAssociation> Dialogue<A> {
    /// Until the association ends, one way or another.
    pub async fn run(&mut self) -> Ending {
        loop {
            if let Err(ending) = self.message().await {
                return ending;
            }
        }
    }

    async fn message(&mut self) -> Result<(), Ending> {
        let (context, command) = self.incoming.command().await?;
        match command {
            Command::EchoRq { message_id } => {
                let response = Command::EchoRsp { message_id, status: StoreStatus::Success.code() };
                self.respond(context, &response.encode()).await
            }
            Command::StoreRq { message_id, sop_class, sop_instance, .. } => {
                self.store(StoreRequest { context, message_id, sop_class, sop_instance }).await
            }
            Command::CancelRq { .. } => Ok(()),
            Command::Other { field, message_id, has_data_set, .. } if field & RESPONSE == 0 => {
                if has_data_set {
                    self.skip_data_set(context).await?;
                }
                self.respond(context, &Command::unrecognized_operation(field, message_id)).await
            }
            Command::EchoRsp { .. } | Command::StoreRsp { .. } | Command::Other { .. } => {
                Err(Ending::dimse("response without a request"))
            }
        }
    }

    async fn store(&mut self, request: StoreRequest) -> Result<(), Ending> {
        let mut refusal = self.begin(&request).await.err();
        let mut bytes = 0;
        loop {
            if refusal.is_some() {
                self.incoming.read_past();
            }
            let (data, last) = match self.incoming.data_set(request.context).await {
                Ok(piece) => piece,
                Err(ending) => {
                    if refusal.is_none() {
                        self.association.discard().await;
                    }
                    return Err(ending);
                }
            };
            bytes += data.len() as u64;
            if refusal.is_none() && !data.is_empty() {
                refusal = self.write(data).await.err();
            }
            if last {
                break;
            }
        }
        let arrived = Instant::now();
        let outcome = match refusal {
            Some(refusal) => Err(refusal),
            None => self.commit(bytes).await,
        };
        let status = outcome.unwrap_or_else(|refusal| refusal.status);
        if let Err(StoreRefusal { status, comment }) = outcome {
            tracing::info!(status = format_args!("{:04X}", status.code()), comment, "instance refused");
        }
        let sent = self.respond_to_store(&request, outcome).await;
        seen::instance(status, bytes, arrived.elapsed());
        sent
    }

    /// What can be refused before a byte of the data set is here.
    async fn begin(&mut self, request: &StoreRequest) -> Result<(), StoreRefusal> {
        let offer = self.offer(request)?;
        self.association.begin(&offer).await
    }

    fn offer(&self, request: &StoreRequest) -> Result<InstanceOffer, StoreRefusal> {
        let refused = |status, comment| StoreRefusal { status, comment };
        if Uid::new(&request.sop_class).is_err() {
            return Err(refused(StoreStatus::NoSuchSopClass, "Affected SOP Class UID is not a UID"));
        }
        let (sop_class, sop_instance) = checked_uids(&request.sop_class, &request.sop_instance)
            .map_err(|comment| refused(StoreStatus::InvalidObjectInstance, comment))?;
        let context = self.contexts.iter().find(|context| context.id == request.context);
        let agreed = context
            .filter(|context| {
                context.abstract_syntax == sop_class.as_str() && syntaxes::is_storage_class(sop_class.as_str())
            })
            .and_then(|context| context.answer.as_deref().ok());
        let Some(agreed) = agreed else {
            return Err(refused(
                StoreStatus::SopClassNotSupported,
                "SOP class is not that of the presentation context",
            ));
        };
        let transfer_syntax =
            Uid::new(agreed).map_err(|_| refused(StoreStatus::ProcessingFailure, "transfer syntax is not a UID"))?;
        Ok(InstanceOffer { sop_class, sop_instance, transfer_syntax })
    }

    async fn write(&mut self, data: Bytes) -> Result<(), StoreRefusal> {
        let written = self.association.write(data).await;
        if written.is_err() {
            self.association.discard().await;
        }
        written
    }

    async fn commit(&mut self, bytes: u64) -> Result<StoreStatus, StoreRefusal> {
        let committed = if bytes == 0 {
            Err(StoreRefusal { status: StoreStatus::CannotUnderstand, comment: "data set is empty" })
        } else {
            self.association.commit().await
        };
        if committed.is_err() {
            self.association.discard().await;
        }
        committed
    }

    async fn respond_to_store(
        &mut self,
        request: &StoreRequest,
        outcome: Result<StoreStatus, StoreRefusal>,
    ) -> Result<(), Ending> {
        let (status, comment) = match outcome {
            Ok(status) => (status, None),
            Err(refusal) => (refusal.status, Some(refusal.comment.to_owned())),
        };
        let response = Command::StoreRsp {
            message_id: request.message_id,
            // What is no UID is not sent back as one.
            sop_class: uid_or_nothing(&request.sop_class),
            sop_instance: uid_or_nothing(&request.sop_instance),
            status: status.code(),
            comment,
        };
        self.respond(request.context, &response.encode()).await
    }

    async fn skip_data_set(&mut self, context: u8) -> Result<(), Ending> {
        self.incoming.read_past();
        while !self.incoming.data_set(context).await?.1 {}
        Ok(())
    }

    async fn respond(&mut self, context: u8, command: &[u8]) -> Result<(), Ending> {
        self.incoming.respond(&command_pdus(context, command, self.peer_max_pdu_bytes)).await
    }
}

fn uid_or_nothing(text: &str) -> String {
    Uid::new(text).map(|uid| uid.as_str().to_owned()).unwrap_or_default()
}

/// A command set in as few P-DATA-TF as the peer allows, to be written in one go (PS3.8 9.3.5, Annex E).
fn command_pdus(context: u8, command: &[u8], peer_max_pdu_bytes: u32) -> Vec<u8> {
    const PDV_HEADER: usize = 6;
    let room = match peer_max_pdu_bytes as usize {
        0 => command.len(),
        // A peer that leaves no room for a PDV gets its message two bytes at a time.
        limit => limit.saturating_sub(PDV_HEADER).max(2),
    };
    let mut pdus = Vec::with_capacity(command.len() + 12);
    let mut fragments = command.chunks(room.max(1)).peekable();
    while let Some(fragment) = fragments.next() {
        // Command sets are a few hundred bytes long.
        let length = u32::try_from(fragment.len()).unwrap_or(u32::MAX);
        let last = if fragments.peek().is_none() { 0x03 } else { 0x01 };
        pdus.extend_from_slice(&[pdu_type::P_DATA_TF, 0]);
        pdus.extend_from_slice(&(length + 6).to_be_bytes());
        pdus.extend_from_slice(&(length + 2).to_be_bytes());
        pdus.extend_from_slice(&[context, last]);
        pdus.extend_from_slice(fragment);
    }
    pdus
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::pdv::{ContextIds, Event, drive};

    #[test]
    fn a_response_keeps_to_the_pdu_length_the_peer_takes() {
        let command = Command::EchoRsp { message_id: 1, status: 0 }.encode();
        for limit in [0, 1, 8, 20, 32, 16_384] {
            let pdus = command_pdus(1, &command, limit);
            let allowed = if limit == 0 { u32::MAX } else { limit.max(8) };
            let contexts: ContextIds = [1].into_iter().collect();
            let events = drive([&pdus[..]], allowed, contexts).expect("no PDU is longer than allowed");
            let lasts: Vec<bool> =
                events.iter().map(|event| matches!(event, Event::Fragment(fragment) if fragment.last)).collect();
            assert_eq!(lasts.iter().filter(|last| **last).count(), 1);
            assert_eq!(lasts.last(), Some(&true));
            let whole: Vec<u8> = events
                .into_iter()
                .flat_map(|event| match event {
                    Event::Fragment(fragment) => fragment.data,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(whole, command);
        }
    }
}
