//! The PDV reader: bytes of an established association in, message fragments out as they arrive (PS3.8 9.3.5, Annex E).
//!
//! [`PdvDecoder`] is the pure part: it takes what is in a buffer and never waits, so that a fuzz target can drive it
//! ([`drive`]). [`PdvReader`] puts it on a stream. Neither ever holds a whole PDU, so the length a PDU claims costs no
//! memory; a length that lies ends the association with the reason PS3.8 9.3.8 has for it.
//!
//! Does not put fragments together into messages, knows no DIMSE, and sends nothing.

mod reader;

use bytes::{Buf, Bytes, BytesMut};

pub use reader::{PdvReader, ReadError};

/// PDU types, PS3.8 9.3.1.
pub mod pdu_type {
    pub const ASSOCIATE_RQ: u8 = 0x01;
    pub const ASSOCIATE_AC: u8 = 0x02;
    pub const ASSOCIATE_RJ: u8 = 0x03;
    pub const P_DATA_TF: u8 = 0x04;
    pub const RELEASE_RQ: u8 = 0x05;
    pub const RELEASE_RP: u8 = 0x06;
    pub const ABORT: u8 = 0x07;
}

/// PDU type, reserved byte, length.
pub const PDU_HEADER_BYTES: usize = 6;
/// Item length, presentation context id, message control header (PS3.8 9.3.5.1, E.2).
const PDV_HEADER_BYTES: u32 = 6;
/// A-RELEASE-RQ, A-RELEASE-RP and A-ABORT all have four bytes after the header (PS3.8 9.3.6 to 9.3.8).
const SHORT_PDU_BYTES: u32 = 4;

/// The presentation context ids that were accepted. Ids are odd, 1 to 255 (PS3.8 9.3.2.2): 128 of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextIds(u128);

impl ContextIds {
    pub fn insert(&mut self, id: u8) {
        if id % 2 == 1 {
            self.0 |= 1 << (id / 2);
        }
    }

    pub fn contains(self, id: u8) -> bool {
        id % 2 == 1 && self.0 & (1 << (id / 2)) != 0
    }
}

impl FromIterator<u8> for ContextIds {
    fn from_iter<I: IntoIterator<Item = u8>>(ids: I) -> Self {
        let mut set = Self::default();
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentKind {
    Command,
    DataSet,
}

/// A piece of a message: as much of one PDV as has arrived. `last` is set on the last piece of the message's command
/// or data set only, also where one PDV comes in several pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub context: u8,
    pub kind: FragmentKind,
    pub last: bool,
    pub data: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Fragment(Fragment),
    ReleaseRequest,
    ReleaseResponse,
    /// The peer's A-ABORT, with its source and reason as sent.
    Abort {
        source: u8,
        reason: u8,
    },
}

/// What breaks PS3.8 in what the peer sent. The association cannot go on after any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PdvError {
    #[error("PDU of unknown type {0:#04x}")]
    UnknownPdu(u8),
    #[error("PDU of type {0:#04x}, which has no place in an established association")]
    UnexpectedPdu(u8),
    #[error("P-DATA-TF of {found} bytes: at most {allowed} were agreed")]
    PduTooLong { found: u32, allowed: u32 },
    #[error("PDU of type {pdu_type:#04x} with {found} bytes: exactly 4 expected")]
    PduLength { pdu_type: u8, found: u32 },
    #[error("PDV of {found} bytes in {left} bytes of its P-DATA-TF: at least 2 and no more than fit expected")]
    PdvLength { found: u32, left: u32 },
    #[error("P-DATA-TF with {0} bytes where a PDV was expected")]
    NoPdv(u32),
    #[error("PDV without a byte of message that is not the last of its message")]
    EmptyPdv,
    #[error("PDV for presentation context {0}, which was not accepted")]
    UnknownContext(u8),
}

impl PdvError {
    /// The reason of the A-ABORT that answers it, source 2 (service provider), PS3.8 Table 9-26.
    pub fn abort_reason(self) -> AbortReason {
        match self {
            PdvError::UnknownPdu(_) => AbortReason::UnrecognizedPdu,
            PdvError::UnexpectedPdu(_) => AbortReason::UnexpectedPdu,
            PdvError::UnknownContext(_) => AbortReason::UnexpectedPduParameter,
            PdvError::PduTooLong { .. }
            | PdvError::PduLength { .. }
            | PdvError::PdvLength { .. }
            | PdvError::NoPdv(_)
            | PdvError::EmptyPdv => AbortReason::InvalidPduParameterValue,
        }
    }
}

/// Source and reason of an A-ABORT, PS3.8 Table 9-26.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortReason {
    /// Source 0: the service user, who gives no reason.
    ServiceUser,
    NotSpecified,
    UnrecognizedPdu,
    UnexpectedPdu,
    UnrecognizedPduParameter,
    UnexpectedPduParameter,
    InvalidPduParameterValue,
}

impl AbortReason {
    /// Source and reason as they stand in the PDU.
    pub fn codes(self) -> (u8, u8) {
        match self {
            AbortReason::ServiceUser => (0, 0),
            AbortReason::NotSpecified => (2, 0),
            AbortReason::UnrecognizedPdu => (2, 1),
            AbortReason::UnexpectedPdu => (2, 2),
            AbortReason::UnrecognizedPduParameter => (2, 4),
            AbortReason::UnexpectedPduParameter => (2, 5),
            AbortReason::InvalidPduParameterValue => (2, 6),
        }
    }
}

/// Where in the byte stream the decoder stands.
#[derive(Clone, Copy, Debug)]
struct OpenPdv {
    left: u32,
    context: u8,
    control: u8,
}

/// Message control header, PS3.8 E.2.
const CONTROL_COMMAND: u8 = 0x01;
const CONTROL_LAST: u8 = 0x02;

#[derive(Clone, Debug)]
pub struct PdvDecoder {
    max_pdu_bytes: u32,
    contexts: ContextIds,
    /// Bytes of the open P-DATA-TF that no PDV header has accounted for yet.
    pdu_left: u32,
    pdv: Option<OpenPdv>,
}

impl PdvDecoder {
    /// `max_pdu_bytes` is what was announced to the peer: the bytes of a P-DATA-TF after its header (PS3.8 D.1).
    pub fn new(max_pdu_bytes: u32, contexts: ContextIds) -> Self {
        Self { max_pdu_bytes, contexts, pdu_left: 0, pdv: None }
    }

    /// Whether the stream may end here without cutting a PDU.
    pub fn is_between_pdus(&self) -> bool {
        self.pdu_left == 0 && self.pdv.is_none()
    }

    /// The next event in `buffer`, whose bytes it takes; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`PdvError`]; the decoder must not be used after it.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Event>, PdvError> {
        if let Some(pdv) = self.pdv {
            return Ok(self.piece(pdv, buffer));
        }
        if self.pdu_left == 0
            && let Some(event) = self.pdu_header(buffer)?
        {
            return Ok(Some(event));
        }
        if self.pdu_left == 0 || buffer.len() < PDV_HEADER_BYTES as usize {
            return Ok(None);
        }
        let pdv = self.pdv_header(buffer)?;
        self.pdv = Some(pdv);
        Ok(self.piece(pdv, buffer))
    }

    /// Takes a PDU header. A P-DATA-TF is opened; the short PDUs come out whole.
    fn pdu_header(&mut self, buffer: &mut BytesMut) -> Result<Option<Event>, PdvError> {
        let Some(&[pdu_type, _, a, b, c, d]) = buffer.first_chunk() else {
            // The type alone can be wrong already: a peer that speaks another protocol is answered at its first byte.
            return buffer.first().map_or(Ok(None), |&first| known_here(first).map(|()| None));
        };
        known_here(pdu_type)?;
        let length = u32::from_be_bytes([a, b, c, d]);
        if pdu_type == pdu_type::P_DATA_TF {
            if length > self.max_pdu_bytes {
                return Err(PdvError::PduTooLong { found: length, allowed: self.max_pdu_bytes });
            }
            if length < PDV_HEADER_BYTES {
                return Err(PdvError::NoPdv(length));
            }
            buffer.advance(PDU_HEADER_BYTES);
            self.pdu_left = length;
            return Ok(None);
        }
        if length != SHORT_PDU_BYTES {
            return Err(PdvError::PduLength { pdu_type, found: length });
        }
        let Some(&[_, _, _, _, _, _, _, _, source, reason]) = buffer.first_chunk() else {
            return Ok(None);
        };
        buffer.advance(PDU_HEADER_BYTES + SHORT_PDU_BYTES as usize);
        Ok(Some(match pdu_type {
            pdu_type::RELEASE_RQ => Event::ReleaseRequest,
            pdu_type::RELEASE_RP => Event::ReleaseResponse,
            _ => Event::Abort { source, reason },
        }))
    }

    fn pdv_header(&mut self, buffer: &mut BytesMut) -> Result<OpenPdv, PdvError> {
        let length = buffer.get_u32();
        let (context, control) = (buffer.get_u8(), buffer.get_u8());
        // The length counts the context id and the control header, but not itself.
        let whole = length.checked_add(4).filter(|whole| length >= 2 && *whole <= self.pdu_left);
        let whole = whole.ok_or(PdvError::PdvLength { found: length, left: self.pdu_left })?;
        if !self.contexts.contains(context) {
            return Err(PdvError::UnknownContext(context));
        }
        // Senders that fill their fragments exactly do close a message with an empty last one: harmless, so taken.
        if length == 2 && control & CONTROL_LAST == 0 {
            return Err(PdvError::EmptyPdv);
        }
        self.pdu_left -= whole;
        if (1..PDV_HEADER_BYTES).contains(&self.pdu_left) {
            return Err(PdvError::NoPdv(self.pdu_left));
        }
        Ok(OpenPdv { left: length - 2, context, control })
    }

    /// As much of the open PDV as is there.
    fn piece(&mut self, pdv: OpenPdv, buffer: &mut BytesMut) -> Option<Event> {
        if pdv.left > 0 && buffer.is_empty() {
            return None;
        }
        let taken = buffer.len().min(pdv.left as usize);
        // No more than pdv.left, which is a u32.
        let left = pdv.left - u32::try_from(taken).unwrap_or(pdv.left);
        self.pdv = (left > 0).then_some(OpenPdv { left, ..pdv });
        Some(Event::Fragment(Fragment {
            context: pdv.context,
            kind: if pdv.control & CONTROL_COMMAND != 0 { FragmentKind::Command } else { FragmentKind::DataSet },
            last: left == 0 && pdv.control & CONTROL_LAST != 0,
            data: buffer.split_to(taken).freeze(),
        }))
    }
}

fn known_here(pdu_type: u8) -> Result<(), PdvError> {
    match pdu_type {
        pdu_type::P_DATA_TF | pdu_type::RELEASE_RQ | pdu_type::RELEASE_RP | pdu_type::ABORT => Ok(()),
        pdu_type::ASSOCIATE_RQ | pdu_type::ASSOCIATE_AC | pdu_type::ASSOCIATE_RJ => {
            Err(PdvError::UnexpectedPdu(pdu_type))
        }
        unknown => Err(PdvError::UnknownPdu(unknown)),
    }
}

/// Decodes `chunks` as if each had been one read, without a socket or a clock: what a fuzz target calls.
///
/// # Errors
/// The first [`PdvError`]. Chunks that end in the middle of a PDU are none.
pub fn drive<'a>(
    chunks: impl IntoIterator<Item = &'a [u8]>,
    max_pdu_bytes: u32,
    contexts: ContextIds,
) -> Result<Vec<Event>, PdvError> {
    let mut decoder = PdvDecoder::new(max_pdu_bytes, contexts);
    let (mut buffer, mut events) = (BytesMut::new(), Vec::new());
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        while let Some(event) = decoder.next(&mut buffer)? {
            events.push(event);
        }
    }
    Ok(events)
}

/// For fuzzing: whatever the bytes, they are decoded or refused, the same however they are cut, and none is made up. The
/// first byte chooses the size of the pieces.
pub fn fuzz_pdus(data: &[u8]) {
    const MAX_PDU_BYTES: u32 = 4096;
    let [piece, data @ ..] = data else { return };
    let contexts: ContextIds = [1, 3, 255].into_iter().collect();
    let whole = drive([data], MAX_PDU_BYTES, contexts).map(joined);
    let cut = drive(data.chunks(usize::from(*piece).max(1)), MAX_PDU_BYTES, contexts).map(joined);
    assert_eq!(whole, cut, "what is decoded depends on how the stream is cut");
    let given = whole.iter().flatten().map(|event| if let Event::Fragment(it) = event { it.data.len() } else { 0 });
    assert!(given.sum::<usize>() <= data.len(), "bytes came out that did not go in");
}

/// Pieces of one PDV put together: how many there are depends on the reads.
fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut joined: Vec<Event> = Vec::new();
    for event in events {
        match (joined.last_mut(), event) {
            (Some(Event::Fragment(open)), Event::Fragment(next))
                if !open.last && open.context == next.context && open.kind == next.kind =>
            {
                open.data = [&open.data[..], &next.data].concat().into();
                open.last = next.last;
            }
            (_, event) => joined.push(event),
        }
    }
    joined
}

#[cfg(test)]
mod tests;
