//! One association from the requestor's side: opens it, asks for an echo, ends it.
//!
//! In: settings, a target, proposals. Out: an [`Association`], which `store` then sends instances over, or why there is
//! none. Does not retry, and does not look for another address once one has accepted the connection.

use super::{
    OpenError, Proposal, ScuError, ScuSettings, Target, VERIFICATION, negotiate,
    negotiate::Role,
    wire::{self, Message, Wire},
};
use crate::{dicom::dimse::Command, model::Uid};
use bytes::BytesMut;
use std::{collections::VecDeque, io::IoSlice, time::Duration};
use tokio::{net::TcpStream, time::timeout};

/// Largest fragment we send, whatever the peer would take: one buffer of this size is all an instance needs.
pub(super) const MAX_FRAGMENT: u32 = 256 * 1024;

/// An established association, ours to use: one operation at a time. Dropping it closes the connection without a word;
/// [`release`](Self::release) it.
pub struct Association {
    pub(super) wire: Wire,
    contexts: Vec<(Proposal, u8)>,
    /// Largest fragment, so that a P-DATA-TF keeps to the partner's maximum. Even.
    pub(super) fragment: u32,
    pub(super) response: Duration,
    message_id: u16,
    /// False while an operation runs, so that one that was dropped half-way leaves it closed.
    open: bool,
    pub(super) buffer: BytesMut,
    /// Events that the partner reported while it was to answer something.
    pub(super) heard: VecDeque<Message>,
}

impl Association {
    /// Connects and negotiates. An association in which every context was refused is one all the same: ask
    /// [`accepts`](Self::accepts).
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(settings: &ScuSettings, target: &Target, proposals: &[Proposal]) -> Result<Self, OpenError> {
        let request = negotiate::request(&settings.calling_ae, &target.called_ae, proposals, Role::Scu)?;
        Self::open_by(settings, target, proposals, request).await
    }

    /// The same in the role of the SCP, to report events to who has asked for them (PS3.7 10.1.1, D.3.3.4). An acceptor that
    /// says nothing of roles is taken to know what its own requests lead to.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open_to_report(
        settings: &ScuSettings,
        target: &Target,
        proposals: &[Proposal],
    ) -> Result<Self, OpenError> {
        let request = negotiate::request(&settings.calling_ae, &target.called_ae, proposals, Role::Scp)?;
        Self::open_by(settings, target, proposals, request).await
    }

    async fn open_by(
        settings: &ScuSettings,
        target: &Target,
        proposals: &[Proposal],
        request: Vec<u8>,
    ) -> Result<Self, OpenError> {
        let opening = Self::negotiate(settings, target, proposals, &request);
        timeout(settings.connect, opening).await.map_err(|_| OpenError::TimedOut(settings.connect))?
    }

    async fn negotiate(
        settings: &ScuSettings,
        target: &Target,
        proposals: &[Proposal],
        request: &[u8],
    ) -> Result<Self, OpenError> {
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(OpenError::Unreachable)?;
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
            heard: VecDeque::new(),
        })
    }

    /// Whether instances of this class can be sent in this syntax.
    pub fn accepts(&self, sop_class: &Uid, transfer_syntax: &Uid) -> bool {
        self.context(|proposal| proposal.sop_class == *sop_class && proposal.transfer_syntax == *transfer_syntax)
            .is_some()
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

    /// A command set in as many PDUs as the partner's maximum makes of it.
    pub(super) fn framed_command(&self, context: u8, command: &Command) -> Vec<u8> {
        self.framed(context, &command.encode(), true)
    }

    /// A whole command set, or data set.
    pub(super) fn framed(&self, context: u8, bytes: &[u8], is_command: bool) -> Vec<u8> {
        let (headers, chunks) = cut(bytes, self.fragment, context, is_command, true);
        headers.iter().zip(chunks).flat_map(|(header, chunk)| header.iter().chain(chunk).copied()).collect()
    }

    /// The first context accepted for a class, and its transfer syntax.
    pub(super) fn agreed_for(&self, class: &Uid) -> Option<(u8, Uid)> {
        let found = self.contexts.iter().find(|(proposal, _)| proposal.sop_class == *class);
        found.map(|(proposal, id)| (*id, proposal.transfer_syntax.clone()))
    }

    /// The transfer syntax of an accepted context.
    pub(super) fn syntax_of(&self, context: u8) -> Option<(Uid, Uid)> {
        let found = self.contexts.iter().find(|(_, id)| *id == context);
        found.map(|(proposal, _)| (proposal.sop_class.clone(), proposal.transfer_syntax.clone()))
    }

    pub(super) fn context(&self, fits: impl Fn(&Proposal) -> bool) -> Option<u8> {
        self.contexts.iter().find(|(proposal, _)| fits(proposal)).map(|(_, id)| *id)
    }

    /// Marks the association as in use and gives the next message id.
    pub(super) fn begin(&mut self) -> Result<u16, ScuError> {
        if !std::mem::take(&mut self.open) {
            return Err(ScuError::Closed);
        }
        self.message_id = self.message_id.checked_add(1).unwrap_or(1);
        Ok(self.message_id)
    }

    /// Frees the association for the next operation, or, out of step, aborts it.
    pub(super) async fn end<T>(&mut self, answer: Result<T, ScuError>, in_step: bool) -> Result<T, ScuError> {
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

/// Headers and fragments of `bytes`, none longer than `fragment`; at least one, so that an empty data set ends too.
pub(super) fn cut(
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

fn while_opening(error: ScuError) -> OpenError {
    match error {
        ScuError::Lost(error) => OpenError::Unreachable(error),
        ScuError::Protocol(what) => OpenError::Protocol(what),
        _ => OpenError::Protocol("an answer that cannot be read"),
    }
}
