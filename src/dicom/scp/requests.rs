//! What a peer asks besides storing: the request checked, its data set read, the handler asked, its answer sent.
//!
//! In: a command, and its data set from [`Incoming`](super::incoming::Incoming). Out: a question to
//! [`Services`](crate::dicom::service::Services); the N-services' response, or on to `find`, `get` and `moving`. What cannot
//! be read, or may not be asked on its context, is refused with the standard's status before the handler hears of it.

use super::dialogue::{Dialogue, uid_or_nothing};
use super::incoming::Ending;
use super::outgoing::{Part, push};
use super::{Asked, StoreAssociation, seen};
use crate::dicom::acceptor::syntaxes::{self, ServiceClass};
use crate::dicom::charset::SenderCharset;
use crate::dicom::dataset::{self, Bounds, DataSetError};
use crate::dicom::dimse::{Command, Request, Response, Service};
use crate::dicom::service::{Asker, DataSet, Done, Refusal, Target};
use crate::model::{Outgoing, Uid, chain};
use std::time::Instant;

/// PS3.7 Annex C, PS3.4 C.4.
pub(super) mod status {
    pub const SUCCESS: u16 = 0x0000;
    pub const PROCESSING_FAILURE: u16 = 0x0110;
    pub const INVALID_INSTANCE: u16 = 0x0117;
    pub const NO_SUCH_CLASS: u16 = 0x0118;
    pub const CLASS_NOT_SUPPORTED: u16 = 0x0122;
    pub const NO_SUCH_ACTION: u16 = 0x0123;
    pub const NOT_AUTHORIZED: u16 = 0x0124;
    pub const NO_SUCH_EVENT: u16 = 0x0113;
    pub const UNRECOGNIZED: u16 = 0x0211;
    pub const IDENTIFIER_DOES_NOT_MATCH: u16 = 0xA900;
    pub const UNABLE_TO_PROCESS: u16 = 0xC001;
    pub const PENDING: u16 = 0xFF00;
    pub const PENDING_UNSUPPORTED_KEYS: u16 = 0xFF01;
    pub const CANCELED: u16 = 0xFE00;
}

/// A request that may be asked, with what its answers need.
pub(super) struct Asking {
    pub context: u8,
    pub request: Request,
    pub class: &'static ServiceClass,
    pub transfer_syntax: Uid,
    pub asker: Asker,
    pub data_set: DataSet,
    pub asked: Asked,
}

impl<A: StoreAssociation> Dialogue<A> {
    pub(super) async fn request(&mut self, context: u8, request: Request) -> Result<(), Ending> {
        let began = Instant::now();
        let service = request.service;
        let asking = match self.check(context, &request) {
            Ok((class, transfer_syntax, asker, asked)) => {
                let sender = asked.services.charset(&asker);
                let data_set = self.data_set_of(context, &request, &transfer_syntax, &sender).await?;
                data_set.map(|data_set| Asking {
                    context,
                    request: request.clone(),
                    class,
                    transfer_syntax,
                    asker,
                    data_set,
                    asked,
                })
            }
            Err(refusal) => {
                if request.has_data_set {
                    self.skip_data_set(context).await?;
                }
                Err(refusal)
            }
        };
        let status = match asking {
            Err(refusal) => self.refuse(context, &request, &refusal).await?,
            Ok(asking) => match service {
                Service::Find => self.find(asking).await?,
                Service::Get => self.get(asking).await?,
                Service::Move => self.move_to(asking).await?,
                _ => self.operate(asking).await?,
            },
        };
        seen::asked(service, status, began.elapsed());
        Ok(())
    }

    /// What can be refused by the command alone.
    fn check(&mut self, context: u8, request: &Request) -> Result<(&'static ServiceClass, Uid, Asker, Asked), Refusal> {
        let unknown_class =
            if request.service.is_composite() { status::CLASS_NOT_SUPPORTED } else { status::NO_SUCH_CLASS };
        let agreed = self.contexts.iter().find(|known| known.id == context);
        let agreed = agreed.and_then(|known| Some((known.abstract_syntax.as_str(), known.answer.as_deref().ok()?)));
        let (abstract_syntax, syntax) = agreed.ok_or(Refusal::new(unknown_class, "no such presentation context"))?;
        let class = syntaxes::service_class(abstract_syntax);
        let class = class.ok_or(Refusal::new(unknown_class, "SOP class has no such service"))?;
        if !syntaxes::may_be_named(&request.sop_class, class.uid) {
            return Err(Refusal::new(unknown_class, "SOP class is not that of the presentation context"));
        }
        if !class.services.contains(&request.service) {
            return Err(Refusal::new(status::UNRECOGNIZED, "SOP class has no such operation"));
        }
        let unfit = || Refusal::new(status::PROCESSING_FAILURE, "transfer syntax is not a UID");
        let syntax = Uid::new(syntax).map_err(|_| unfit())?;
        let asked = self.asked.clone().ok_or(Refusal::new(unknown_class, "no such service"))?;
        Ok((class, syntax, self.asker(&asked)?, asked))
    }

    /// Asked once: an association goes on with the configuration it began with.
    fn asker(&mut self, asked: &Asked) -> Result<Asker, Refusal> {
        if self.asker.is_none() {
            let unknown = |_| Refusal::new(status::NOT_AUTHORIZED, "not known as a partner any more");
            self.asker = Some(asked.services.asker(&self.who).map_err(unknown)?);
        }
        self.asker.clone().ok_or(Refusal::new(status::NOT_AUTHORIZED, "not known as a partner"))
    }

    async fn data_set_of(
        &mut self,
        context: u8,
        request: &Request,
        syntax: &Uid,
        sender: &SenderCharset,
    ) -> Result<Result<DataSet, Refusal>, Ending> {
        let composite = request.service.is_composite();
        if !request.has_data_set {
            // PS3.7 10.1: what an N-service is given besides its command is optional.
            let missing = Refusal::new(status::IDENTIFIER_DOES_NOT_MATCH, "no identifier");
            return Ok(if composite { Err(missing) } else { Ok(DataSet::new_empty()) });
        }
        let bounds = if composite { Bounds::IDENTIFIER } else { Bounds::OPERATION };
        let bytes = self.incoming.whole_data_set(context, bounds.bytes).await?;
        let too_long = DataSetError::TooLong { found: bounds.bytes + 1, most: bounds.bytes };
        let read = bytes.ok_or(too_long).and_then(|bytes| dataset::read_within(bounds, &bytes, syntax, sender));
        Ok(read.map_err(|error| {
            tracing::info!(service = request.service.as_str(), error = %chain(&error), "data set of a request refused");
            let status = if composite { status::UNABLE_TO_PROCESS } else { status::PROCESSING_FAILURE };
            match error {
                DataSetError::TooLong { .. } => Refusal::new(status, "data set is too long"),
                _ => Refusal::new(status, "data set cannot be read"),
            }
        }))
    }

    /// The N-services.
    async fn operate(&mut self, asking: Asking) -> Result<u16, Ending> {
        let Asking { context, request, transfer_syntax, asker, data_set, asked, .. } = asking;
        let letters = asker.letters.clone();
        let target = match target(&request) {
            Ok(target) => target,
            Err(refusal) => return self.refuse(context, &request, &refusal).await,
        };
        let services = asked.services.clone();
        let (service, type_id, attributes) = (request.service, request.type_id, request.attributes.clone());
        let work = async move {
            let no_type = |status| Refusal::new(status, "no type is given");
            match service {
                Service::Create => services.create(&asker, target, data_set).await,
                Service::Set => services.set(&asker, target, data_set).await,
                Service::NGet => services.get(&asker, target, attributes).await,
                Service::Action => {
                    let action = type_id.ok_or(no_type(status::NO_SUCH_ACTION))?;
                    services.action(&asker, target, action, data_set).await
                }
                Service::EventReport => {
                    let event = type_id.ok_or(no_type(status::NO_SUCH_EVENT))?;
                    services.event(&asker, target, event, data_set).await
                }
                _ => Err(Refusal::new(status::UNRECOGNIZED, "operation is not provided")),
            }
        };
        // Not dropped where the peer goes away: what was begun is finished, and asked again finds it done.
        let mut work = asked.runtime.spawn(work);
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut work => break outcome,
                said = self.incoming.meanwhile() => only_a_cancel(&said?.1)?,
            }
        };
        match outcome {
            Ok(Ok(done)) => self.done(context, &request, done, &transfer_syntax, &letters).await,
            Ok(Err(refusal)) => self.refuse(context, &request, &refusal).await,
            // It has panicked.
            Err(_) => self.refuse(context, &request, &Refusal::new(status::PROCESSING_FAILURE, "failed")).await,
        }
    }

    async fn done(
        &mut self,
        context: u8,
        request: &Request,
        done: Done,
        syntax: &Uid,
        letters: &Outgoing,
    ) -> Result<u16, Ending> {
        let mut response = request.answer(done.status);
        response.sop_instance = done.instance.as_str().to_owned();
        let reply = done.reply.map(|reply| dataset::write(&reply, syntax, letters)).transpose();
        match reply {
            Ok(reply) => self.answer(context, response, reply.as_deref()).await,
            Err(error) => {
                tracing::error!(error = %chain(&error), "an answer cannot be written");
                let refusal = Refusal::new(status::PROCESSING_FAILURE, "done, but the answer cannot be written");
                self.refuse(context, request, &refusal).await
            }
        }
    }

    /// A final response that is a refusal.
    pub(super) async fn refuse(&mut self, context: u8, request: &Request, refusal: &Refusal) -> Result<u16, Ending> {
        let (service, comment) = (request.service.as_str(), refusal.comment);
        tracing::info!(service, status = format_args!("{:04X}", refusal.status), comment, "request refused");
        let mut response = request.answer(refusal.status);
        response.comment = Some(refusal.comment.to_owned());
        response.element = refusal.element;
        response.error_id = refusal.error_id;
        self.answer(context, response, None).await
    }

    /// Sends a response, whose status comes back.
    pub(super) async fn answer(
        &mut self,
        context: u8,
        response: Response,
        data_set: Option<&[u8]>,
    ) -> Result<u16, Ending> {
        let mut pdus = Vec::new();
        let status = response.status;
        push_answer(&mut pdus, context, response, data_set, self.peer_max_pdu_bytes);
        self.incoming.respond(&pdus).await?;
        Ok(status)
    }
}

pub(super) fn push_answer(
    pdus: &mut Vec<u8>,
    context: u8,
    mut response: Response,
    data_set: Option<&[u8]>,
    peer_max_pdu_bytes: u32,
) {
    response.has_data_set = data_set.is_some();
    // What is no UID is not sent back as one.
    response.sop_class = uid_or_nothing(&response.sop_class);
    response.sop_instance = uid_or_nothing(&response.sop_instance);
    push(pdus, context, Part::Command, &Command::Response(response).encode(), peer_max_pdu_bytes);
    if let Some(data_set) = data_set {
        push(pdus, context, Part::DataSet { last: true }, data_set, peer_max_pdu_bytes);
    }
}

/// One operation at a time was agreed on (PS3.7 D.3.3.3): while it is answered, all a peer may send is a C-CANCEL.
pub(super) fn only_a_cancel(said: &Command) -> Result<(), Ending> {
    match said {
        Command::CancelRq { .. } => Ok(()),
        _ => Err(Ending::dimse("a message before the one before was answered")),
    }
}

/// True for a C-CANCEL of this message; of another it is late and means nothing.
pub(super) fn cancels(said: &Command, message_id: u16) -> Result<bool, Ending> {
    only_a_cancel(said)?;
    Ok(matches!(said, Command::CancelRq { message_id: canceled } if *canceled == message_id))
}

fn target(request: &Request) -> Result<Target, Refusal> {
    let class = Uid::new(&request.sop_class);
    let class = class.map_err(|_| Refusal::new(status::NO_SUCH_CLASS, "SOP Class UID is not a UID"))?;
    let not_a_uid = |_| Refusal::new(status::INVALID_INSTANCE, "SOP Instance UID is not a UID");
    let instance = match request.sop_instance.as_str() {
        "" if request.service == Service::Create => None,
        text => Some(Uid::new(text).map_err(not_a_uid)?),
    };
    Ok(Target { class, instance })
}
