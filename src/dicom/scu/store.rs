//! C-STORE over an open association: an instance's bytes in, the partner's answer out (PS3.7 9.1.1).
//!
//! One buffer of at most 256 KiB, refilled from the source, sent with its PDU headers in one vectored write. An answer
//! that comes before the instance is whole is taken for what it can be: a refusal.

use super::{
    Association, DataSource, InstanceToStore, ScuError, StoreAnswer, StoreResponse,
    association::{MAX_FRAGMENT, cut},
    read_answer,
    wire::Message,
};
use crate::dicom::dimse::{Command, Originator};
use std::{
    io::{self, IoSlice},
    time::Duration,
};
use tokio::time::timeout;

/// PDUs that leave in one write. With the command set in front, their slices stay below IOV_MAX, 1024 on Linux.
const MAX_PDUS_AT_ONCE: usize = 500;

/// A partner that takes less than this a second, over a whole instance, has stalled: 128 kbit/s.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 * 1024;

/// After an early refusal, an instance that has no more than this left is sent to its end, to keep the association.
const WORTH_FINISHING: u64 = 1024 * 1024;

impl Association {
    /// C-STORE of one instance. Reads `data` to `what.length`, no further.
    ///
    /// # Errors
    /// See [`ScuError`]. A refusal is not an error but a [`StoreResponse`].
    pub async fn store(
        &mut self,
        what: &InstanceToStore,
        data: &mut impl DataSource,
    ) -> Result<StoreResponse, ScuError> {
        self.store_for(None, what, data).await
    }

    /// The same, as a part of a C-MOVE that somebody asked us for.
    ///
    /// # Errors
    /// See [`ScuError`].
    pub async fn store_for(
        &mut self,
        originator: Option<&Originator>,
        what: &InstanceToStore,
        data: &mut impl DataSource,
    ) -> Result<StoreResponse, ScuError> {
        let context = self.context(|proposal| {
            proposal.sop_class == what.sop_class && proposal.transfer_syntax == what.transfer_syntax
        });
        let context = context.ok_or(ScuError::NotAccepted)?;
        let message_id = self.begin()?;
        let request = Command::StoreRq {
            message_id,
            sop_class: what.sop_class.as_str().to_owned(),
            sop_instance: what.sop_instance.as_str().to_owned(),
            priority: 0,
            originator: originator.cloned(),
        };
        let request = self.framed_command(context, &request);
        let at_the_slowest = Duration::from_secs(what.length / SLOWEST_BYTES_PER_SECOND);
        let allowance = self.response.saturating_mul(2).saturating_add(at_the_slowest);
        let answer = timeout(allowance, self.send_and_ask(context, message_id, request, what, data)).await;
        match answer.unwrap_or(Err(ScuError::Stalled(allowance))) {
            Ok(answer) => self.end(Ok(answer.response), answer.in_step).await,
            Err(error) => self.end(Err(error), false).await,
        }
    }

    async fn send_and_ask(
        &mut self,
        context: u8,
        message_id: u16,
        mut request: Vec<u8>,
        what: &InstanceToStore,
        data: &mut impl DataSource,
    ) -> Result<Answer, ScuError> {
        let mut early = None;
        let mut left = what.length;
        loop {
            left = self.fill_buffer(left, data).await?;
            let sent = self.send_buffer(context, &request, left == 0, &mut early).await;
            request.clear();
            if let Some(message) = early.take() {
                let response = refusal(message.command, message_id, what)?;
                if sent.is_err() || left > WORTH_FINISHING {
                    return Ok(Answer { response, in_step: false });
                }
                let in_step = self.send_rest(context, left, data).await.is_ok();
                return Ok(Answer { response, in_step });
            }
            sent?;
            if left == 0 {
                let response = store_response(self.wire.next_command().await?, message_id, what)?;
                return Ok(Answer { response, in_step: true });
            }
        }
    }

    /// The little that is left of an instance which the partner has refused already. One more answer is one too many.
    async fn send_rest(&mut self, context: u8, mut left: u64, data: &mut impl DataSource) -> Result<(), ScuError> {
        while left > 0 {
            left = self.fill_buffer(left, data).await?;
            let mut early = None;
            self.send_buffer(context, &[], left == 0, &mut early).await?;
            if early.is_some() {
                return Err(ScuError::Protocol("more than one answer to one request"));
            }
        }
        Ok(())
    }

    /// Reads the next whole fragments into the buffer; what is left of the instance after them comes back.
    async fn fill_buffer(&mut self, left: u64, data: &mut impl DataSource) -> Result<u64, ScuError> {
        let fragment = self.fragment as usize;
        let at_once = (MAX_FRAGMENT as usize / fragment).clamp(1, MAX_PDUS_AT_ONCE) * fragment;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(at_once);
        self.buffer.clear();
        self.buffer.reserve(wanted);
        while self.buffer.len() < wanted {
            let missing = wanted - self.buffer.len();
            let reading = timeout(self.response, data.read(&mut self.buffer, missing)).await;
            match reading.map_err(|_| ScuError::Source(io::ErrorKind::TimedOut.into()))? {
                Ok(0) => return Err(ScuError::Source(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) if self.buffer.len() > wanted => {
                    return Err(ScuError::Source(io::Error::other("more bytes than were asked for")));
                }
                Ok(_) => {}
                Err(error) => return Err(ScuError::Source(error)),
            }
        }
        Ok(left - wanted as u64)
    }

    /// Sends `first` and the buffer, cut into P-DATA-TF PDUs, in one write.
    async fn send_buffer(
        &mut self,
        context: u8,
        first: &[u8],
        ends_here: bool,
        early: &mut Option<Message>,
    ) -> Result<(), ScuError> {
        let (headers, chunks) = cut(&self.buffer, self.fragment, context, false, ends_here);
        let mut slices = Vec::with_capacity(1 + 2 * headers.len());
        if !first.is_empty() {
            slices.push(IoSlice::new(first));
        }
        for (header, chunk) in headers.iter().zip(chunks) {
            slices.push(IoSlice::new(header));
            slices.push(IoSlice::new(chunk));
        }
        self.wire.send(&mut slices, early).await
    }
}

struct Answer {
    response: StoreResponse,
    /// Everything asked was sent and everything owed was answered: the association can go on.
    in_step: bool,
}

/// An answer that came before the instance was sent can only be a refusal.
fn refusal(command: Command, message_id: u16, what: &InstanceToStore) -> Result<StoreResponse, ScuError> {
    let response = store_response(command, message_id, what)?;
    match read_answer(response.status) {
        // "I have it already" may be said before the data set has come.
        StoreAnswer::Stored if response.status == 0x0111 => Ok(response),
        StoreAnswer::Stored | StoreAnswer::StoredWithWarning(_) => {
            Err(ScuError::Protocol("success reported before the instance was sent"))
        }
        _ => Ok(response),
    }
}

fn store_response(command: Command, message_id: u16, what: &InstanceToStore) -> Result<StoreResponse, ScuError> {
    let Command::StoreRsp { message_id: answered, sop_instance, status, comment, .. } = command else {
        return Err(ScuError::Protocol("no C-STORE-RSP answers the C-STORE-RQ"));
    };
    // An answer to something else must never count for this instance. The UID may be absent (PS3.7 Table 9.1-1).
    if answered != message_id || !(sop_instance.is_empty() || sop_instance == what.sop_instance.as_str()) {
        return Err(ScuError::Protocol("the C-STORE-RSP is about another instance"));
    }
    let comment = comment.map(|text| text.chars().filter(|letter| !letter.is_control()).take(64).collect());
    Ok(StoreResponse { status, comment })
}
