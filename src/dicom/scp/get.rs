//! C-GET: instances stored at the peer over the association it asked on (PS3.7 9.1.3, PS3.4 C.4.3).
//!
//! Each goes as it is stored, where the peer has a context for its SOP class in that transfer syntax and has taken the
//! role of its SCP; otherwise it is counted as failed. One at a time, streamed from the journal.

use super::dialogue::Dialogue;
use super::incoming::Ending;
use super::outgoing::{Part, push};
use super::requests::{Asking, cancels};
use super::retrieval::{OpenInstance, Retrieving, Sub, Tally};
use super::{AssociationEnd, StoreAssociation};
use crate::dicom::dimse::Command;
use crate::dicom::pdv::AbortReason;
use crate::dicom::scu::{StoreAnswer, read_answer};
use crate::dicom::service::{Fetch, HeldInstance};
use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};

/// What is read of an instance at once, and written at once.
const BLOCK_BYTES: usize = 256 * 1024;

impl<A: StoreAssociation> Dialogue<A> {
    pub(super) async fn get(&mut self, asking: Asking) -> Result<u16, Ending> {
        let (of, instances) = match self.meant(asking, Fetch::Get).await? {
            Ok(meant) => meant,
            Err(status) => return Ok(status),
        };
        let mut tally = Tally::new(instances.len());
        let mut canceled = false;
        for (number, instance) in instances.iter().enumerate() {
            // A number of our own for each; the peer's operation has its own.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "numbers may come again after 65,535 answered operations"
            )]
            let message_id = (number % 0xFFFF) as u16 + 1;
            let sub = match self.context_for(instance) {
                Some(context) => match of.held.open(instance).await {
                    Ok(open) => self.sub_store(&of, context, message_id, instance, open, &mut canceled).await?,
                    Err(error) => {
                        tracing::warn!(%error, "an instance to be retrieved cannot be read");
                        Sub::Failed
                    }
                },
                None => Sub::Failed,
            };
            tally.count(sub, instance);
            if canceled {
                break;
            }
            if tally.is_pending_due() {
                self.tell_progress(&of, &mut tally).await?;
            }
        }
        self.last_word(&of, &tally, canceled).await
    }

    fn context_for(&self, instance: &HeldInstance) -> Option<u8> {
        let (class, syntax) = (instance.sop_class.as_str(), instance.transfer_syntax.as_str());
        if !self.takes.iter().any(|taken| taken == class) {
            return None;
        }
        let fits = |agreed: &&crate::dicom::acceptor::Context| {
            agreed.abstract_syntax == class && agreed.answer.as_deref() == Ok(syntax)
        };
        self.contexts.iter().find(fits).map(|context| context.id)
    }

    async fn sub_store(
        &mut self,
        of: &Retrieving,
        context: u8,
        message_id: u16,
        instance: &HeldInstance,
        open: OpenInstance,
        canceled: &mut bool,
    ) -> Result<Sub, Ending> {
        let request = Command::StoreRq {
            message_id,
            sop_class: instance.sop_class.as_str().to_owned(),
            sop_instance: instance.sop_instance.as_str().to_owned(),
            priority: 0,
            originator: None,
        };
        let mut pdus = Vec::new();
        let OpenInstance { length, mut bytes } = open;
        let mut left = length;
        let mut block = BytesMut::new();
        loop {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_BYTES);
            block.clear();
            while block.len() < wanted {
                let missing = wanted - block.len();
                match bytes.read(&mut block, missing).await {
                    Ok(read) if read > 0 => {}
                    // Nothing is on the wire yet.
                    _ if left == length => return Ok(Sub::Failed),
                    _ => return Err(cannot_go_on()),
                }
            }
            if left == length {
                push(&mut pdus, context, Part::Command, &request.encode(), self.peer_max_pdu_bytes);
            }
            left -= wanted as u64;
            push(&mut pdus, context, Part::DataSet { last: left == 0 }, &block, self.peer_max_pdu_bytes);
            self.incoming.respond(&pdus).await?;
            pdus.clear();
            if left == 0 {
                break;
            }
        }
        self.sub_answer(of, context, message_id, canceled).await
    }

    async fn sub_answer(
        &mut self,
        of: &Retrieving,
        context: u8,
        message_id: u16,
        canceled: &mut bool,
    ) -> Result<Sub, Ending> {
        let until = Instant::now() + self.incoming.idle();
        loop {
            let said = timeout_at(until, self.incoming.meanwhile()).await;
            let (on, said) = said.map_err(|_| Ending::timed_out("a sub-operation is not answered"))??;
            match said {
                Command::StoreRsp { message_id: answered, status, .. } if on == context && answered == message_id => {
                    return Ok(match read_answer(status) {
                        StoreAnswer::Stored => Sub::Completed,
                        StoreAnswer::StoredWithWarning(_) => Sub::Warning,
                        _ => Sub::Failed,
                    });
                }
                said => *canceled |= cancels(&said, of.request.message_id)?,
            }
        }
    }
}

/// Half an instance is with the peer, and the rest cannot be had: nothing else can be said on this association.
fn cannot_go_on() -> Ending {
    let why = "an instance being sent cannot be read to its end";
    Ending::aborting(AssociationEnd::Aborted, AbortReason::ServiceUser, why)
}
