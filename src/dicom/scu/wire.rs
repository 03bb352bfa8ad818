//! The connection under an association: PDUs and command sets in, slices of bytes out, each with a time limit.
//!
//! Reads while it writes, so that an abort, a refusal or a hang-up is noticed in the middle of an instance. Every
//! PDU from the peer is at most [`MAX_INBOUND_PDU`], every command set at most `MAX_COMMAND_BYTES`. Knows PDU types and
//! PDV headers (PS3.8 9.3, Annex E), not what a message means.

use super::{ScuError, negotiate::MAX_INBOUND_PDU};
use crate::dicom::dataset::Bounds;
use crate::dicom::dimse::{Command, MAX_COMMAND_BYTES};
use bytes::{Buf, Bytes, BytesMut};
use std::{
    io::{self, IoSlice},
    time::Duration,
};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::TcpStream,
    time::timeout,
};

// PDU types, PS3.8 9.3.
pub(super) const ASSOCIATE_RQ: u8 = 0x01;
pub(super) const ASSOCIATE_AC: u8 = 0x02;
pub(super) const ASSOCIATE_RJ: u8 = 0x03;
pub(super) const P_DATA_TF: u8 = 0x04;
pub(super) const RELEASE_RQ: u8 = 0x05;
pub(super) const RELEASE_RP: u8 = 0x06;
pub(super) const ABORT: u8 = 0x07;

/// PDU type, reserved, PDU length; PDV item length, presentation context id, message control header.
pub(super) const P_DATA_HEADER: usize = 12;
/// What the PDU length (PS3.8 9.3.5) counts besides the fragment.
pub(super) const PDV_OVERHEAD: u32 = 6;

// Message control header, PS3.8 E.2.
const IS_COMMAND: u8 = 0b01;
const IS_LAST: u8 = 0b10;

/// A release or an abort that does not get through in this time is left to the closing of the connection.
const FAREWELL: Duration = Duration::from_secs(5);

/// Header of a P-DATA-TF PDU with one PDV (PS3.8 Table 9-22, 9-23). `fragment` is the number of bytes that follow.
pub(super) fn p_data_header(context: u8, is_command: bool, is_last: bool, fragment: u32) -> [u8; P_DATA_HEADER] {
    let pdu = (fragment + PDV_OVERHEAD).to_be_bytes();
    let item = (fragment + 2).to_be_bytes();
    let control = if is_command { IS_COMMAND } else { 0 } | if is_last { IS_LAST } else { 0 };
    [P_DATA_TF, 0, pdu[0], pdu[1], pdu[2], pdu[3], item[0], item[1], item[2], item[3], context, control]
}

/// One PDU of the peer, its body complete.
pub(super) struct RawPdu {
    pub kind: u8,
    pub body: Bytes,
}

/// A message of the peer.
pub(super) struct Message {
    /// Presentation context it came on.
    pub context: u8,
    pub command: Command,
    /// Empty where none belongs to it.
    pub data_set: Vec<u8>,
}

pub(super) struct Wire {
    stream: TcpStream,
    inbound: BytesMut,
    /// Fragments of the command set that is arriving.
    command: Vec<u8>,
    /// A command whose data set is arriving.
    awaiting: Option<Message>,
    /// A PDU is partly written: nothing else may be sent.
    within_pdu: bool,
    /// A step without progress for this long is an error.
    patience: Duration,
}

impl Wire {
    pub fn new(stream: TcpStream, patience: Duration) -> Self {
        Self {
            stream,
            inbound: BytesMut::with_capacity(4096),
            command: Vec::new(),
            awaiting: None,
            within_pdu: false,
            patience,
        }
    }

    /// Sends whole PDUs. A message that arrives meanwhile is put into `early`; a second one is an error.
    ///
    /// Ends when the last byte is handed to the network, so that a message put into `early` was certainly sent
    /// before the peer had everything.
    pub async fn send(&mut self, mut slices: &mut [IoSlice<'_>], early: &mut Option<Message>) -> Result<(), ScuError> {
        self.within_pdu = true;
        while !slices.is_empty() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            let ready = timeout(self.patience, self.stream.ready(interest)).await;
            let ready = ready.map_err(|_| ScuError::Stalled(self.patience))?.map_err(ScuError::Lost)?;
            if ready.is_readable() {
                self.receive()?;
                while let Some(message) = self.buffered_message()? {
                    if early.replace(message).is_some() {
                        return Err(ScuError::Protocol("more than one answer to one request"));
                    }
                }
            }
            if ready.is_writable() {
                match self.stream.try_write_vectored(slices) {
                    Ok(0) => return Err(ScuError::Lost(io::ErrorKind::WriteZero.into())),
                    Ok(written) => IoSlice::advance_slices(&mut slices, written),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(self.last_words().unwrap_or(ScuError::Lost(error))),
                }
            }
        }
        self.within_pdu = false;
        Ok(())
    }

    /// Writes without reading meanwhile: the A-ASSOCIATE-RQ, to which a busy peer may have answered on sight.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ScuError> {
        self.stream.write_all(bytes).await.map_err(ScuError::Lost)
    }

    /// The peer's next command set, within `patience`.
    pub async fn next_command(&mut self) -> Result<Command, ScuError> {
        self.next_message().await.map(|message| message.command)
    }

    /// The peer's next message, its data set with it, within `patience`.
    pub async fn next_message(&mut self) -> Result<Message, ScuError> {
        let patience = self.patience;
        let waiting = async {
            loop {
                if let Some(message) = self.buffered_message()? {
                    return Ok(message);
                }
                self.more().await?;
            }
        };
        timeout(patience, waiting).await.map_err(|_| ScuError::Stalled(patience))?
    }

    /// The peer's next PDU, whatever it is. Without a time limit of its own.
    pub async fn next_pdu(&mut self) -> Result<RawPdu, ScuError> {
        loop {
            if let Some(pdu) = self.buffered_pdu()? {
                return Ok(pdu);
            }
            self.more().await?;
        }
    }

    /// Waits for bytes and takes them.
    async fn more(&mut self) -> Result<(), ScuError> {
        // DCMTK, and all that is built on it, writes a response's header and body apart, with Nagle's algorithm on: the
        // body waits for our acknowledgement of the header, which Linux delays by 40 ms an instance unless asked
        // again before each read not to. Refused or unknown elsewhere: slower, nothing else.
        #[cfg(target_os = "linux")]
        let _ = self.stream.set_quickack(true);
        self.stream.readable().await.map_err(ScuError::Lost)?;
        self.receive()
    }

    /// A-RELEASE: asks, and waits for the answer a short while (PS3.8 7.2). Whatever happens, the connection closes.
    pub async fn release(mut self) {
        let goodbye = async {
            self.stream.write_all(&[RELEASE_RQ, 0, 0, 0, 0, 4, 0, 0, 0, 0]).await.map_err(ScuError::Lost)?;
            loop {
                match self.next_pdu().await?.kind {
                    // Both asked at once: the requestor answers first, then has its answer (PS3.8 7.2.2).
                    RELEASE_RQ => self.answer_release(),
                    RELEASE_RP | ABORT => break,
                    _ => {}
                }
            }
            self.stream.shutdown().await.map_err(ScuError::Lost)
        };
        if !matches!(timeout(FAREWELL, goodbye).await, Ok(Ok(()))) {
            tracing::debug!("association closed without an answer to A-RELEASE-RQ");
        }
    }

    /// A-ABORT by the service user (PS3.8 9.3.8), unless a PDU is half written, and the end of what we send.
    pub async fn abort(&mut self) {
        if !self.within_pdu {
            // Ten bytes: they fit the send buffer, or the peer has long stopped reading.
            let _ = self.stream.try_write(&[ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
        }
        let _ = timeout(FAREWELL, self.stream.shutdown()).await;
    }

    fn answer_release(&self) {
        let _ = self.stream.try_write(&[RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    }

    /// Takes what has arrived, without waiting.
    fn receive(&mut self) -> Result<(), ScuError> {
        self.inbound.reserve(4096);
        match self.stream.try_read_buf(&mut self.inbound) {
            Ok(0) => Err(ScuError::Lost(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(ScuError::Lost(error)),
        }
    }

    /// After a failed write: an A-ABORT that says why it failed may have arrived before.
    fn last_words(&mut self) -> Option<ScuError> {
        self.receive().ok()?;
        self.buffered_message().err()
    }

    fn buffered_pdu(&mut self) -> Result<Option<RawPdu>, ScuError> {
        let &[kind, _, a, b, c, d, ..] = &self.inbound[..] else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        if length > MAX_INBOUND_PDU {
            return Err(ScuError::Protocol("a PDU longer than the maximum announced"));
        }
        let length = length as usize;
        if self.inbound.len() < 6 + length {
            return Ok(None);
        }
        self.inbound.advance(6);
        Ok(Some(RawPdu { kind, body: self.inbound.split_to(length).freeze() }))
    }

    /// The next whole message in the buffer. Ends of the association are errors here.
    fn buffered_message(&mut self) -> Result<Option<Message>, ScuError> {
        while let Some(pdu) = self.buffered_pdu()? {
            match pdu.kind {
                P_DATA_TF => {
                    if let Some(message) = self.take_fragments(pdu.body)? {
                        return Ok(Some(message));
                    }
                }
                ABORT => return Err(aborted(&pdu.body)),
                RELEASE_RQ => {
                    if !self.within_pdu {
                        self.answer_release();
                    }
                    return Err(ScuError::Released);
                }
                _ => return Err(ScuError::Protocol("a PDU that has no place in an established association")),
            }
        }
        Ok(None)
    }

    /// The PDVs of one P-DATA-TF. Answers to what we send come one at a time.
    fn take_fragments(&mut self, mut body: Bytes) -> Result<Option<Message>, ScuError> {
        let mut complete = None;
        while !body.is_empty() {
            let &[a, b, c, d, context, control, ..] = &body[..] else {
                return Err(ScuError::Protocol("a PDV is cut short"));
            };
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if length < 2 || length > body.len() - 4 {
                return Err(ScuError::Protocol("the length of a PDV does not fit its PDU"));
            }
            if complete.is_some() {
                return Err(ScuError::Protocol("more than one message"));
            }
            let is_last = control & IS_LAST != 0;
            complete = match control & IS_COMMAND {
                0 => self.take_data_set(&body[6..4 + length], is_last)?,
                _ => self.take_command(context, &body[6..4 + length], is_last)?,
            };
            body.advance(4 + length);
        }
        Ok(complete)
    }

    fn take_command(&mut self, context: u8, fragment: &[u8], is_last: bool) -> Result<Option<Message>, ScuError> {
        if self.awaiting.is_some() || self.command.len() + fragment.len() > MAX_COMMAND_BYTES {
            return Err(ScuError::Protocol("a command set in a data set's place, or one that is too long"));
        }
        self.command.extend_from_slice(fragment);
        if !is_last {
            return Ok(None);
        }
        let command = Command::parse(&self.command).map_err(ScuError::Unreadable)?;
        self.command.clear();
        let awaits = command.has_data_set();
        let message = Message { context, command, data_set: Vec::new() };
        if awaits {
            self.awaiting = Some(message);
            return Ok(None);
        }
        Ok(Some(message))
    }

    fn take_data_set(&mut self, fragment: &[u8], is_last: bool) -> Result<Option<Message>, ScuError> {
        let Some(message) = &mut self.awaiting else {
            return Err(ScuError::Protocol("a data set where a response was expected"));
        };
        if message.data_set.len() + fragment.len() > Bounds::OPERATION.bytes {
            return Err(ScuError::Protocol("a data set that is too long"));
        }
        message.data_set.extend_from_slice(fragment);
        Ok(if is_last { self.awaiting.take() } else { None })
    }
}

/// Source and reason of an A-ABORT, PS3.8 Table 9-26.
fn aborted(body: &[u8]) -> ScuError {
    ScuError::Aborted(match body {
        [_, _, 0, ..] => "by the service user",
        [_, _, 2, 1, ..] => "unrecognized PDU",
        [_, _, 2, 2, ..] => "unexpected PDU",
        [_, _, 2, 4, ..] => "unrecognized PDU parameter",
        [_, _, 2, 5, ..] => "unexpected PDU parameter",
        [_, _, 2, 6, ..] => "invalid PDU parameter value",
        _ => "reason not specified",
    })
}
