//! Association negotiation on the accepting side (PS3.8 9.3): an A-ASSOCIATE-RQ in, an A-ASSOCIATE-AC or -RJ, or an
//! A-ABORT, out.
//!
//! [`request`] takes the request apart, [`syntaxes`] says what is accepted, [`reply`] writes the answer. Own codecs:
//! unknown items have to be skipped (PS3.8 9.3.1), the called and calling AE titles given back byte for byte, and
//! nothing may be allocated on the word of a length.
//!
//! Does not decide who may associate: that is the handler's. User identity (PS3.7 D.3.3.7) is not checked, and so never
//! answered: a positive response would claim that it had been. Extended negotiation and the asynchronous operations
//! window are not answered either, which leaves both at their defaults (PS3.7 D.3.3.3, D.3.3.5).

pub mod reply;
pub mod request;
pub mod syntaxes;

use super::pdv::{AbortReason, ContextIds, PDU_HEADER_BYTES, pdu_type};
use bytes::{Buf, BytesMut};
use request::{AssociateRequest, ProposedContext};
use tokio::io::{AsyncRead, AsyncReadExt};

pub use reply::Reject;
pub use request::RequestError;

/// Of Neisse, as acceptor and as requestor (PS3.7 D.3.3.2); made once from a UUID (PS3.5 B.2) and never changed.
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.163066213761338951028514665058929367954";
/// At most 16 characters (PS3.7 D.3.3.2.3).
pub const IMPLEMENTATION_VERSION_NAME: &str = "NEISSE_01";
/// PS3.7 A.2.1.
const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// 128 contexts with 60 transfer syntaxes each take 220 KB. Memory follows what arrives, not what is claimed.
pub const MAX_REQUEST_BYTES: u32 = 256 * 1024;

/// One presentation context as it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    pub id: u8,
    pub abstract_syntax: String,
    /// The transfer syntax agreed on, or why there is none.
    pub answer: Result<String, ContextRefusal>,
}

/// Result/Reason of a presentation context that is not accepted, PS3.8 Table 9-18.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextRefusal {
    AbstractSyntaxNotSupported = 3,
    TransferSyntaxesNotSupported = 4,
}

#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("connection closed by the peer before its A-ASSOCIATE-RQ was complete")]
    Closed,
    #[error("connection lost before the A-ASSOCIATE-RQ was complete")]
    Io(#[source] std::io::Error),
    #[error("PDU of type {0:#04x} where an A-ASSOCIATE-RQ was expected")]
    NotAssociateRequest(u8),
    #[error("A-ASSOCIATE-RQ of {0} bytes: at most {MAX_REQUEST_BYTES} expected")]
    TooLong(u32),
    #[error("A-ASSOCIATE-RQ is malformed")]
    Malformed(#[from] RequestError),
}

impl HandshakeError {
    /// What to answer with; `None` where nobody is left to answer, or the peer has aborted itself.
    pub fn abort_reason(&self) -> Option<AbortReason> {
        match self {
            HandshakeError::Closed | HandshakeError::Io(_) | HandshakeError::NotAssociateRequest(pdu_type::ABORT) => {
                None
            }
            HandshakeError::NotAssociateRequest(1..=7) => Some(AbortReason::UnexpectedPdu),
            HandshakeError::NotAssociateRequest(_) => Some(AbortReason::UnrecognizedPdu),
            HandshakeError::TooLong(_) | HandshakeError::Malformed(_) => Some(AbortReason::InvalidPduParameterValue),
        }
    }
}

/// Reads the A-ASSOCIATE-RQ; what was read beyond it stays in `buffer`. The caller bounds the time.
///
/// # Errors
/// [`HandshakeError`]
pub async fn read_request<S>(stream: &mut S, buffer: &mut BytesMut) -> Result<AssociateRequest, HandshakeError>
where
    S: AsyncRead + Unpin,
{
    fill_to(stream, buffer, 1).await?;
    if buffer[0] != pdu_type::ASSOCIATE_RQ {
        return Err(HandshakeError::NotAssociateRequest(buffer[0]));
    }
    fill_to(stream, buffer, PDU_HEADER_BYTES).await?;
    let length = u32::from_be_bytes([buffer[2], buffer[3], buffer[4], buffer[5]]);
    if length > MAX_REQUEST_BYTES {
        return Err(HandshakeError::TooLong(length));
    }
    let length = length as usize;
    fill_to(stream, buffer, PDU_HEADER_BYTES + length).await?;
    buffer.advance(PDU_HEADER_BYTES);
    Ok(request::parse(&buffer.split_to(length))?)
}

async fn fill_to<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
    wanted: usize,
) -> Result<(), HandshakeError> {
    while buffer.len() < wanted {
        // Grows with what has come, a few KiB at a time: never by what the length claims.
        buffer.reserve(4 * 1024);
        if stream.read_buf(buffer).await.map_err(HandshakeError::Io)? == 0 {
            return Err(HandshakeError::Closed);
        }
    }
    Ok(())
}

/// What is wrong with a request before anybody asks who it is from (PS3.8 9.3.4).
///
/// # Errors
/// The A-ASSOCIATE-RJ to answer with.
pub fn check_protocol(request: &AssociateRequest) -> Result<(), Reject> {
    // Version 1 is bit 0, and only that bit is tested (PS3.8 9.3.2).
    if request.protocol_version & 1 == 0 {
        return Err(Reject::ProtocolVersionNotSupported);
    }
    if request.application_context != APPLICATION_CONTEXT {
        return Err(Reject::ApplicationContextNotSupported);
    }
    Ok(())
}

/// Answers every proposed presentation context, in the order they came; those of services besides storing are refused where
/// there are none.
pub fn negotiate(proposed: &[ProposedContext], has_services: bool) -> Vec<Context> {
    let answer = |context: &ProposedContext| {
        if !has_services && syntaxes::service_class(&context.abstract_syntax).is_some() {
            return Err(ContextRefusal::AbstractSyntaxNotSupported);
        }
        if !syntaxes::is_abstract_syntax_supported(&context.abstract_syntax) {
            return Err(ContextRefusal::AbstractSyntaxNotSupported);
        }
        let usable = |syntax: &&String| syntaxes::is_transfer_syntax_usable(&context.abstract_syntax, syntax);
        // The requestor's order is its preference: usually the syntax the instance is stored in comes first.
        context.transfer_syntaxes.iter().find(usable).cloned().ok_or(ContextRefusal::TransferSyntaxesNotSupported)
    };
    proposed
        .iter()
        .map(|context| Context {
            id: context.id,
            abstract_syntax: context.abstract_syntax.clone(),
            answer: answer(context),
        })
        .collect()
}

/// The ids of the contexts that were accepted.
pub fn accepted_ids(contexts: &[Context]) -> ContextIds {
    contexts.iter().filter(|context| context.answer.is_ok()).map(|context| context.id).collect()
}

/// For fuzzing: whatever the bytes, they are a request that is answered within bounds, or an error.
pub fn fuzz_request(body: &[u8]) {
    let Ok(request) = request::parse(body) else { return };
    let contexts = negotiate(&request.contexts, true);
    assert_eq!(contexts.len(), request.contexts.len(), "every proposed context has its answer");
    let accept = reply::accept(&request, &contexts, 16_384);
    let [_, _, a, b, c, d, body @ ..] = &accept[..] else { panic!("an A-ASSOCIATE-AC has a header") };
    assert_eq!(u32::from_be_bytes([*a, *b, *c, *d]) as usize, body.len(), "the A-ASSOCIATE-AC says its length");
}

#[cfg(test)]
mod tests;
