//! Sending: opens associations to partners and stores instances there (PS3.8 9.3, PS3.7 9.1.1, 9.1.5).
//!
//! In: a target, proposals, and for each instance its identifiers, its length and a [`DataSource`]. Out: the partner's
//! status for each instance, or an error that says on whose side the attempt broke. Memory is constant whatever an
//! instance's length; header and fragment leave in one write; every step has a time limit, and an instance as a whole
//! one too.
//!
//! Does not decide what to send, in which syntax, or when to try again; does not transcode, pad or look into a data
//! set; one operation at a time (asynchronous operations window 1/1).

mod answer;
mod negotiate;
#[cfg(test)]
mod tests;
mod wire;

use crate::{
    dicom::dimse::{Command, CommandError},
    model::Uid,
};
use bytes::BytesMut;
use std::{
    future::Future,
    io::{self, IoSlice},
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use wire::Wire;

pub use answer::{StoreAnswer, read_answer};
pub use negotiate::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, MAX_PROPOSALS};

/// Largest fragment we send, whatever the peer would take: one buffer of this size is all an instance needs.
const MAX_FRAGMENT: u32 = 256 * 1024;

/// PDUs that leave in one write. With the command set in front, their slices stay below IOV_MAX, 1024 on Linux.
const MAX_PDUS_AT_ONCE: usize = 500;

/// A partner that takes less than this a second, over a whole instance, has stalled: 128 kbit/s.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 * 1024;

/// After an early refusal, an instance that has no more than this left is sent to its end, to keep the association.
const WORTH_FINISHING: u64 = 1024 * 1024;

const VERIFICATION: &str = "1.2.840.10008.1.1";
const IMPLICIT_VR_LE: &str = "1.2.840.10008.1.2";

#[derive(Clone, Debug)]
pub struct ScuSettings {
    pub calling_ae: String,
    /// Connection and association must stand after this.
    pub connect: Duration,
    /// A step without progress for this long, or a response that takes longer, ends the association.
    pub response: Duration,
}

#[derive(Clone, Debug)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub called_ae: String,
}

/// One presentation context: one transfer syntax each, so that what the partner takes is known for each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposal {
    pub sop_class: Uid,
    pub transfer_syntax: Uid,
}

impl Proposal {
    /// What [`Association::echo`] needs. `None` never happens: both constants are UIDs.
    pub fn verification() -> Option<Self> {
        Some(Self { sop_class: Uid::new(VERIFICATION).ok()?, transfer_syntax: Uid::new(IMPLICIT_VR_LE).ok()? })
    }
}

#[derive(Clone, Debug)]
pub struct InstanceToStore {
    pub sop_class: Uid,
    pub sop_instance: Uid,
    pub transfer_syntax: Uid,
    /// Length of the data set in bytes, without file meta information. Sent as it is, odd or even.
    pub length: u64,
}

/// Where an instance's data set comes from, in order, once.
pub trait DataSource: Send {
    /// Appends up to `at_most` bytes; Ok(0) = end.
    fn read(&mut self, into: &mut BytesMut, at_most: usize) -> impl Future<Output = io::Result<usize>> + Send;
}

/// The partner's C-STORE-RSP. [`read_answer`] says what the status means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreResponse {
    pub status: u16,
    /// Error Comment (0000,0902) as the partner wrote it, at most 64 characters, no control characters. May name a
    /// patient: for the ledger, never for a log.
    pub comment: Option<String>,
}

/// Why there is no association.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("partner cannot be reached")]
    Unreachable(#[source] io::Error),
    #[error("no association after {0:?}")]
    TimedOut(Duration),
    #[error("association rejected ({}): {reason}", if *permanent { "permanent" } else { "transient" })]
    Rejected { permanent: bool, reason: &'static str },
    #[error("association aborted by the partner before it stood")]
    Aborted,
    #[error("partner does not keep to PS3.8: {0}")]
    Protocol(&'static str),
    /// The fault is ours: settings that no association can be asked for with.
    #[error("no association can be requested: {0}")]
    Unfit(&'static str),
}

/// Why an operation has no answer. After all but [`ScuError::NotAccepted`] the association is closed; whether the
/// partner has the instance is unknown, so it is sent again.
#[derive(Debug, thiserror::Error)]
pub enum ScuError {
    #[error("partner accepted no presentation context for this SOP class and transfer syntax")]
    NotAccepted,
    #[error("association is closed already")]
    Closed,
    #[error("connection lost")]
    Lost(#[source] io::Error),
    #[error("no progress for {0:?}, or too little over the whole instance")]
    Stalled(Duration),
    #[error("association aborted by the partner: {0}")]
    Aborted(&'static str),
    #[error("association released by the partner before it answered")]
    Released,
    #[error("partner does not keep to the protocol: {0}")]
    Protocol(&'static str),
    #[error("partner's response cannot be read")]
    Unreadable(#[source] CommandError),
    /// The fault is ours: the instance could not be read, or was shorter than its length.
    #[error("the instance to send cannot be read")]
    Source(#[source] io::Error),
}

/// An established association, ours to use: one operation at a time. Dropping it closes the connection without a word;
/// [`release`](Self::release) it.
pub struct Association {
    wire: Wire,
    contexts: Vec<(Proposal, u8)>,
    /// Largest fragment, so that a P-DATA-TF keeps to the partner's maximum. Even.
    fragment: u32,
    response: Duration,
    message_id: u16,
    /// False while an operation runs, so that one that was dropped half-way leaves it closed.
    open: bool,
    buffer: BytesMut,
}

impl Association {
    /// Connects and negotiates. An association in which every context was refused is one all the same: ask
    /// [`accepts`](Self::accepts).
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(settings: &ScuSettings, target: &Target, proposals: &[Proposal]) -> Result<Self, OpenError> {
        let request = negotiate::request(&settings.calling_ae, &target.called_ae, proposals)?;
        let opening = Self::negotiate(settings, target, proposals, &request);
        timeout(settings.connect, opening).await.map_err(|_| OpenError::TimedOut(settings.connect))?
    }

    async fn negotiate(
        settings: &ScuSettings,
        target: &Target,
        proposals: &[Proposal],
        request: &[u8],
    ) -> Result<Self, OpenError> {
        let stream =
            TcpStream::connect((target.host.as_str(), target.port)).await.map_err(OpenError::Unreachable)?;
        // A small last segment must not wait for the acknowledgement of the one before.
        stream.set_nodelay(true).map_err(OpenError::Unreachable)?;
        let mut wire = Wire::new(stream, settings.response);
        // A peer that rejects on sight and closes makes this write fail; what it said is worth more than that.
        let written = wire.write(request).await;
        let pdu = wire.next_pdu().await.map_err(|error| while_opening(written.err().unwrap_or(error)))?;
        match pdu.kind {
            wire::ASSOCIATE_AC => {}
            wire::ASSOCIATE_RJ => return Err(negotiate::read_reject(&pdu.body)),
            wire::ABORT => return Err(OpenError::Aborted),
            _ => return Err(OpenError::Protocol("neither accept, reject nor abort answers the A-ASSOCIATE-RQ")),
        }
        let agreement = negotiate::read_accept(&pdu.body, proposals)?;
        let fragment = match agreement.max_pdu {
            0 => MAX_FRAGMENT,
            // PS3.8 names no minimum; a fragment of two bytes must fit.
            1..8 => return Err(OpenError::Protocol("a maximum PDU length that no data fits in")),
            max => (max - wire::PDV_OVERHEAD).min(MAX_FRAGMENT) & !1,
        };
        Ok(Self {
            wire,
            contexts: agreement.contexts,
            fragment,
            response: settings.response,
            message_id: 0,
            open: true,
            buffer: BytesMut::new(),
        })
    }

    /// Whether instances of this class can be sent in this syntax.
    pub fn accepts(&self, sop_class: &Uid, transfer_syntax: &Uid) -> bool {
        self.context(|proposal| proposal.sop_class == *sop_class && proposal.transfer_syntax == *transfer_syntax).is_some()
    }

    /// False once an operation failed, or a refusal came too early to finish the instance: open another.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// C-ECHO. [`Proposal::verification`] must be among the proposals.
    ///
    /// # Errors
    /// See [`ScuError`]; a status other than success is a protocol error (PS3.7 9.1.5.1.4).
    pub async fn echo(&mut self) -> Result<(), ScuError> {
        let context = self.context(|proposal| proposal.sop_class.as_str() == VERIFICATION);
        let context = context.ok_or(ScuError::NotAccepted)?;
        let message_id = self.begin()?;
        let answer = self.ask_for_echo(context, message_id).await;
        self.end(answer, true).await
    }

    async fn ask_for_echo(&mut self, context: u8, message_id: u16) -> Result<(), ScuError> {
        let request = self.framed_command(context, &Command::EchoRq { message_id });
        let mut early = None;
        self.wire.send(&mut [IoSlice::new(&request)], &mut early).await?;
        if early.is_some() {
            return Err(ScuError::Protocol("an answer before the question"));
        }
        match self.wire.next_command().await? {
            Command::EchoRsp { message_id: id, status: 0 } if id == message_id => Ok(()),
            _ => Err(ScuError::Protocol("no success answers the C-ECHO")),
        }
    }

    /// C-STORE of one instance. Reads `data` to `what.length`, no further.
    ///
    /// # Errors
    /// See [`ScuError`]. A refusal is not an error but a [`StoreResponse`].
    pub async fn store(
        &mut self,
        what: &InstanceToStore,
        data: &mut impl DataSource,
    ) -> Result<StoreResponse, ScuError> {
        let context =
            self.context(|proposal| proposal.sop_class == what.sop_class && proposal.transfer_syntax == what.transfer_syntax);
        let context = context.ok_or(ScuError::NotAccepted)?;
        let message_id = self.begin()?;
        let at_the_slowest = Duration::from_secs(what.length / SLOWEST_BYTES_PER_SECOND);
        let allowance = self.response.saturating_mul(2).saturating_add(at_the_slowest);
        let answer = timeout(allowance, self.send_and_ask(context, message_id, what, data)).await;
        match answer.unwrap_or(Err(ScuError::Stalled(allowance))) {
            Ok(answer) => self.end(Ok(answer.response), answer.in_step).await,
            Err(error) => self.end(Err(error), false).await,
        }
    }

    async fn send_and_ask(
        &mut self,
        context: u8,
        message_id: u16,
        what: &InstanceToStore,
        data: &mut impl DataSource,
    ) -> Result<Answer, ScuError> {
        let request = Command::StoreRq {
            message_id,
            sop_class: what.sop_class.as_str().to_owned(),
            sop_instance: what.sop_instance.as_str().to_owned(),
            priority: 0,
        };
        let mut request = self.framed_command(context, &request);
        let mut early = None;
        let mut left = what.length;
        loop {
            left = self.fill_buffer(left, data).await?;
            let sent = self.send_buffer(context, &request, left == 0, &mut early).await;
            request.clear();
            if let Some(command) = early.take() {
                let response = refusal(command, message_id, what)?;
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
        early: &mut Option<Command>,
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

    /// A command set in as many PDUs as the partner's maximum makes of it.
    fn framed_command(&self, context: u8, command: &Command) -> Vec<u8> {
        let bytes = command.encode();
        let (headers, chunks) = cut(&bytes, self.fragment, context, true, true);
        headers.iter().zip(chunks).flat_map(|(header, chunk)| header.iter().chain(chunk).copied()).collect()
    }

    fn context(&self, fits: impl Fn(&Proposal) -> bool) -> Option<u8> {
        self.contexts.iter().find(|(proposal, _)| fits(proposal)).map(|(_, id)| *id)
    }

    /// Marks the association as in use and gives the next message id.
    fn begin(&mut self) -> Result<u16, ScuError> {
        if !std::mem::take(&mut self.open) {
            return Err(ScuError::Closed);
        }
        self.message_id = self.message_id.wrapping_add(1);
        Ok(self.message_id)
    }

    /// Frees the association for the next operation, or, out of step, aborts it.
    async fn end<T>(&mut self, answer: Result<T, ScuError>, in_step: bool) -> Result<T, ScuError> {
        self.open = answer.is_ok() && in_step;
        if !self.open {
            self.wire.abort().await;
        }
        answer
    }

    /// A-RELEASE. Waits for the partner's answer a few seconds; nothing depends on it.
    pub async fn release(self) {
        if self.open {
            self.wire.release().await;
        }
    }

    /// A-ABORT.
    pub async fn abort(mut self) {
        if self.open {
            self.wire.abort().await;
        }
    }
}

struct Answer {
    response: StoreResponse,
    /// Everything asked was sent and everything owed was answered: the association can go on.
    in_step: bool,
}

/// Headers and fragments of `bytes`, none longer than `fragment`; at least one, so that an empty data set ends too.
fn cut(
    bytes: &[u8],
    fragment: u32,
    context: u8,
    is_command: bool,
    ends_here: bool,
) -> (Vec<[u8; wire::P_DATA_HEADER]>, impl Iterator<Item = &[u8]>) {
    let size = fragment as usize;
    let count = bytes.len().div_ceil(size).max(1);
    let chunk = move |index: usize| &bytes[(index * size).min(bytes.len())..((index + 1) * size).min(bytes.len())];
    let header = |index: usize| {
        let length = u32::try_from(chunk(index).len()).unwrap_or(fragment);
        wire::p_data_header(context, is_command, ends_here && index + 1 == count, length)
    };
    ((0..count).map(header).collect(), (0..count).map(chunk))
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

fn while_opening(error: ScuError) -> OpenError {
    match error {
        ScuError::Lost(error) => OpenError::Unreachable(error),
        ScuError::Protocol(what) => OpenError::Protocol(what),
        _ => OpenError::Protocol("an answer that cannot be read"),
    }
}
