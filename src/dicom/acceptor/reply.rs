//! What an acceptor sends: A-ASSOCIATE-AC, A-ASSOCIATE-RJ, A-RELEASE-RP, A-ABORT, as bytes (PS3.8 9.3.3 to 9.3.8).
//!
//! Each is one `Vec`, to be written in one go. Decides nothing.

use super::request::{AssociateRequest, RoleSelection};
use super::{APPLICATION_CONTEXT, Context, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, syntaxes};
use crate::dicom::pdv::{AbortReason, pdu_type};
use dicom_dictionary_std::uids::IMPLICIT_VR_LITTLE_ENDIAN;

/// Why an association is not accepted, PS3.8 Table 9-21.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reject {
    ApplicationContextNotSupported,
    CallingAeNotRecognized,
    CalledAeNotRecognized,
    ProtocolVersionNotSupported,
    TemporaryCongestion,
    LocalLimitExceeded,
}

impl Reject {
    /// Result (1 permanent, 2 transient), source, reason.
    pub fn codes(self) -> (u8, u8, u8) {
        match self {
            Reject::ApplicationContextNotSupported => (1, 1, 2),
            Reject::CallingAeNotRecognized => (1, 1, 3),
            Reject::CalledAeNotRecognized => (1, 1, 7),
            Reject::ProtocolVersionNotSupported => (1, 2, 2),
            Reject::TemporaryCongestion => (2, 3, 1),
            Reject::LocalLimitExceeded => (2, 3, 2),
        }
    }

    /// For logs and a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Reject::ApplicationContextNotSupported => "application_context_not_supported",
            Reject::CallingAeNotRecognized => "calling_ae_not_recognized",
            Reject::CalledAeNotRecognized => "called_ae_not_recognized",
            Reject::ProtocolVersionNotSupported => "protocol_version_not_supported",
            Reject::TemporaryCongestion => "temporary_congestion",
            Reject::LocalLimitExceeded => "local_limit_exceeded",
        }
    }

    /// A-ASSOCIATE-RJ, PS3.8 9.3.4.
    pub fn pdu(self) -> Vec<u8> {
        let (result, source, reason) = self.codes();
        vec![pdu_type::ASSOCIATE_RJ, 0, 0, 0, 0, 4, 0, result, source, reason]
    }
}

/// A-RELEASE-RP, PS3.8 9.3.7.
pub fn release_response() -> Vec<u8> {
    vec![pdu_type::RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0]
}

/// A-ABORT, PS3.8 9.3.8.
pub fn abort(reason: AbortReason) -> Vec<u8> {
    let (source, reason) = reason.codes();
    vec![pdu_type::ABORT, 0, 0, 0, 0, 4, 0, 0, source, reason]
}

/// A-ASSOCIATE-AC, PS3.8 9.3.3. `max_pdu_bytes` is the largest P-DATA-TF we take.
pub fn accept(request: &AssociateRequest, contexts: &[Context], max_pdu_bytes: u32) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    body.extend_from_slice(&request.repeated);
    item(&mut body, 0x10, APPLICATION_CONTEXT.as_bytes());
    for context in contexts {
        item(&mut body, 0x21, &context_result(context));
    }
    item(&mut body, 0x50, &user_information(request, contexts, max_pdu_bytes));
    let mut pdu = vec![pdu_type::ASSOCIATE_AC, 0];
    // At most 128 contexts of 100 bytes and as many roles: far below 4 GiB.
    pdu.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    pdu.extend_from_slice(&body);
    pdu
}

fn context_result(context: &Context) -> Vec<u8> {
    let result = match &context.answer {
        Ok(_) => 0,
        Err(refusal) => *refusal as u8,
    };
    let mut value = vec![context.id, 0, result, 0];
    // The transfer syntax of a refused context carries no meaning, but has to be there (PS3.8 9.3.3.2).
    item(&mut value, 0x40, context.answer.as_deref().unwrap_or(IMPLICIT_VR_LITTLE_ENDIAN).as_bytes());
    value
}

fn user_information(request: &AssociateRequest, contexts: &[Context], max_pdu_bytes: u32) -> Vec<u8> {
    let mut value = Vec::with_capacity(128);
    item(&mut value, 0x51, &max_pdu_bytes.to_be_bytes());
    item(&mut value, 0x52, IMPLEMENTATION_CLASS_UID.as_bytes());
    for role in answered_roles(request, contexts) {
        let sop_class = role.sop_class.as_bytes();
        // A UID of 64 bytes at most, because it equals an accepted abstract syntax.
        let mut answer = u16::try_from(sop_class.len()).unwrap_or(0).to_be_bytes().to_vec();
        answer.extend_from_slice(sop_class);
        answer.extend_from_slice(&[u8::from(role.scu), u8::from(role.scp)]);
        item(&mut value, 0x54, &answer);
    }
    item(&mut value, 0x55, IMPLEMENTATION_VERSION_NAME.as_bytes());
    value
}

/// The roles the requestor has, as far as it asked for any: one answer for each SOP class, the first proposal counting
/// (PS3.7 D.3.3.4). It may store what it sends, be sent instances where it retrieves by C-GET, and report events.
pub fn answered_roles(request: &AssociateRequest, contexts: &[Context]) -> Vec<RoleSelection> {
    let accepted = |fits: &dyn Fn(&str) -> bool| {
        contexts.iter().any(|context| context.answer.is_ok() && fits(&context.abstract_syntax))
    };
    let retrieves = accepted(&syntaxes::is_retrieval);
    let mut answered: Vec<RoleSelection> = Vec::new();
    for role in &request.roles {
        let is_storage = syntaxes::is_storage_class(&role.sop_class);
        let is_reporting = syntaxes::is_reporting(&role.sop_class);
        let is_known = (is_storage || is_reporting) && accepted(&|uid| uid == role.sop_class);
        if is_known && !answered.iter().any(|earlier| earlier.sop_class == role.sop_class) {
            let scp = role.scp && (is_reporting || retrieves);
            answered.push(RoleSelection { scp, ..role.clone() });
        }
    }
    answered
}

fn item(to: &mut Vec<u8>, kind: u8, value: &[u8]) {
    // Values are UIDs, or made of 128 contexts at most: all far below 64 KiB.
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    to.extend_from_slice(&[kind, 0]);
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(&value[..usize::from(length)]);
}
