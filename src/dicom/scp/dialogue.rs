//! The messages of one association: each request is answered before the next is read (PS3.7 9.1.1, 9.1.5).
//!
//! In: commands and data sets from [`Incoming`]. Out: instances to the handler, responses to the peer; all else that is
//! asked goes on to [`super::requests`]. A C-CANCEL that comes here is too late: what it means has been answered
//! (PS3.7 9.3.2.3).

use super::incoming::{Ending, Incoming};
use super::outgoing::{Part, push};
use super::{Asked, AssociationRequest, InstanceOffer, StoreAssociation, StoreRefusal, seen};
use crate::dicom::acceptor::{Context, syntaxes};
use crate::dicom::dimse::{Command, checked_uids};
use crate::dicom::service::Asker;
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
    /// SOP classes whose instances the peer takes over this association, as the SCP.
    pub takes: Vec<String>,
    /// Absent where nothing is provided but storing.
    pub asked: Option<Asked>,
    pub who: AssociationRequest,
    /// Once something has been asked besides storing.
    pub asker: Option<Asker>,
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
            Command::Request(request) => self.request(context, request).await,
            Command::Other { field, message_id, has_data_set, .. } if field & RESPONSE == 0 => {
                if has_data_set {
                    self.skip_data_set(context).await?;
                }
                self.respond(context, &Command::unrecognized_operation(field, message_id)).await
            }
            Command::EchoRsp { .. } | Command::StoreRsp { .. } | Command::Response(_) | Command::Other { .. } => {
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

    pub(super) async fn skip_data_set(&mut self, context: u8) -> Result<(), Ending> {
        self.incoming.read_past();
        while !self.incoming.data_set(context).await?.1 {}
        Ok(())
    }

    pub(super) async fn respond(&mut self, context: u8, command: &[u8]) -> Result<(), Ending> {
        let mut pdus = Vec::new();
        push(&mut pdus, context, Part::Command, command, self.peer_max_pdu_bytes);
        self.incoming.respond(&pdus).await
    }
}

pub(super) fn uid_or_nothing(text: &str) -> String {
    Uid::new(text).map(|uid| uid.as_str().to_owned()).unwrap_or_default()
}
