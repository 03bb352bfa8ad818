//! What the requestor of an association says and understands: proposals in, an A-ASSOCIATE-RQ out; an A-ASSOCIATE-AC
//! or -RJ in, the accepted contexts and the peer's PDU limit or the reason out (PS3.8 9.3.2 to 9.3.4).
//!
//! Bytes only, no network. Reads the answer itself, because fields which PS3.8 calls "not significant" and peers leave
//! out (the transfer syntax of a refused context, unknown user items) must not fail an association.

use super::{OpenError, Proposal};
use crate::{
    dicom::acceptor::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME},
    model::Uid,
};

/// Presentation context ids are the odd numbers of one byte (PS3.8 9.3.2.2).
pub const MAX_PROPOSALS: usize = 128;

/// Largest P-DATA-TF we take from the acceptor, announced to it. Answers are a few hundred bytes.
pub(super) const MAX_INBOUND_PDU: u32 = 64 * 1024;

const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";

// Item types, PS3.8 9.3.2 and PS3.7 D.3.3.
const APPLICATION_CONTEXT_ITEM: u8 = 0x10;
const CONTEXT_PROPOSED: u8 = 0x20;
const CONTEXT_RESULT: u8 = 0x21;
const ABSTRACT_SYNTAX: u8 = 0x30;
const TRANSFER_SYNTAX: u8 = 0x40;
const USER_INFORMATION: u8 = 0x50;
const MAXIMUM_LENGTH: u8 = 0x51;
const IMPLEMENTATION_CLASS: u8 = 0x52;
const ROLE_SELECTION: u8 = 0x54;
const VERSION_NAME: u8 = 0x55;

/// What the acceptor agreed to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Agreement {
    /// The proposals accepted, each with its presentation context id.
    pub contexts: Vec<(Proposal, u8)>,
    /// Maximum Length Received (PS3.8 D.1): 0, or absent, is unlimited.
    pub max_pdu: u32,
}

/// What we are on the association (PS3.7 D.3.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The default, of which nothing needs to be said.
    Scu,
    Scp,
}

/// The A-ASSOCIATE-RQ, one presentation context for each proposal, ids 1, 3, 5, … (PS3.8 Table 9-11).
pub(super) fn request(
    calling_ae: &str,
    called_ae: &str,
    proposals: &[Proposal],
    role: Role,
) -> Result<Vec<u8>, OpenError> {
    if proposals.is_empty() || proposals.len() > MAX_PROPOSALS {
        return Err(OpenError::Unfit("1 to 128 presentation contexts expected"));
    }
    let mut body = Vec::with_capacity(512);
    body.extend_from_slice(&[0, 1, 0, 0]); // protocol version 1, reserved
    body.extend_from_slice(&ae_title(called_ae)?);
    body.extend_from_slice(&ae_title(calling_ae)?);
    body.extend_from_slice(&[0; 32]);
    item(&mut body, APPLICATION_CONTEXT_ITEM, APPLICATION_CONTEXT.as_bytes());
    for (index, proposal) in proposals.iter().enumerate() {
        let mut context = vec![context_id(index), 0, 0, 0];
        item(&mut context, ABSTRACT_SYNTAX, proposal.sop_class.as_str().as_bytes());
        item(&mut context, TRANSFER_SYNTAX, proposal.transfer_syntax.as_str().as_bytes());
        item(&mut body, CONTEXT_PROPOSED, &context);
    }
    let mut user = Vec::with_capacity(96);
    item(&mut user, MAXIMUM_LENGTH, &MAX_INBOUND_PDU.to_be_bytes());
    item(&mut user, IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID.as_bytes());
    if role == Role::Scp {
        let mut classes: Vec<&Uid> = proposals.iter().map(|proposal| &proposal.sop_class).collect();
        classes.dedup();
        classes.iter().for_each(|class| item(&mut user, ROLE_SELECTION, &scp_of(class)));
    }
    item(&mut user, VERSION_NAME, IMPLEMENTATION_VERSION_NAME.as_bytes());
    item(&mut body, USER_INFORMATION, &user);

    let mut pdu = vec![super::wire::ASSOCIATE_RQ, 0];
    pdu.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    pdu.extend_from_slice(&body);
    Ok(pdu)
}

/// SCU role: no; SCP role: yes.
fn scp_of(class: &Uid) -> Vec<u8> {
    let class = class.as_str().as_bytes();
    // At most 64 bytes.
    let length = u16::try_from(class.len()).unwrap_or(0).to_be_bytes();
    [&length[..], class, &[0, 1]].concat()
}

/// Ids are odd, so that the index of a proposal is `id / 2`.
#[expect(clippy::cast_possible_truncation, reason = "index is below MAX_PROPOSALS, so the id is at most 255")]
fn context_id(index: usize) -> u8 {
    (index * 2 + 1) as u8
}

/// 16 characters of ISO 646, space padded, no backslash, not all spaces (PS3.8 9.3.2, PS3.5 6.2 AE).
fn ae_title(title: &str) -> Result<[u8; 16], OpenError> {
    let title = title.trim_matches(' ').as_bytes();
    let fits = (1..=16).contains(&title.len()) && title.iter().all(|b| (b' '..=b'~').contains(b) && *b != b'\\');
    if !fits {
        return Err(OpenError::Unfit("AE titles of 1 to 16 ASCII characters expected"));
    }
    let mut field = [b' '; 16];
    field[..title.len()].copy_from_slice(title);
    Ok(field)
}

/// Type, reserved byte, length, value. Values here are UIDs and short lists of them.
fn item(into: &mut Vec<u8>, kind: u8, value: &[u8]) {
    into.extend_from_slice(&[kind, 0]);
    into.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    into.extend_from_slice(value);
}

/// Reads the body of an A-ASSOCIATE-AC (PS3.8 Table 9-17).
///
/// A context counts as accepted only with the very transfer syntax that was proposed in it; an id that was not
/// proposed is passed over.
pub(super) fn read_accept(body: &[u8], proposals: &[Proposal]) -> Result<Agreement, OpenError> {
    // Version, reserved fields and the echoed AE titles are not to be tested (PS3.8 9.3.3).
    let mut items = Items(body.get(68..).ok_or(OpenError::Protocol("A-ASSOCIATE-AC is cut short"))?);
    let mut agreement = Agreement { contexts: Vec::new(), max_pdu: 0 };
    while let Some((kind, value)) = items.next()? {
        match kind {
            CONTEXT_RESULT => agreement.contexts.extend(accepted_context(value, proposals)?),
            USER_INFORMATION => agreement.max_pdu = maximum_length(value)?,
            _ => {}
        }
    }
    Ok(agreement)
}

fn accepted_context(value: &[u8], proposals: &[Proposal]) -> Result<Option<(Proposal, u8)>, OpenError> {
    let &[id, _, result, _, ref sub_items @ ..] = value else {
        return Err(OpenError::Protocol("a presentation context result is cut short"));
    };
    let proposal = proposals.get(usize::from(id / 2)).filter(|_| id % 2 == 1);
    let (0, Some(proposal)) = (result, proposal) else {
        return Ok(None);
    };
    let mut sub_items = Items(sub_items);
    while let Some((kind, value)) = sub_items.next()? {
        let syntax = std::str::from_utf8(value).ok().and_then(|text| Uid::new(text.trim_start()).ok());
        if kind == TRANSFER_SYNTAX && syntax.as_ref() == Some(&proposal.transfer_syntax) {
            return Ok(Some((proposal.clone(), id)));
        }
    }
    Ok(None)
}

fn maximum_length(user_information: &[u8]) -> Result<u32, OpenError> {
    let mut items = Items(user_information);
    while let Some((kind, value)) = items.next()? {
        if kind == MAXIMUM_LENGTH {
            let bytes: [u8; 4] =
                value.try_into().map_err(|_| OpenError::Protocol("Maximum Length of other than four bytes"))?;
            return Ok(u32::from_be_bytes(bytes));
        }
    }
    Ok(0)
}

/// Reads the body of an A-ASSOCIATE-RJ (PS3.8 Table 9-21).
pub(super) fn read_reject(body: &[u8]) -> OpenError {
    let &[_, result, source, reason, ..] = body else {
        return OpenError::Protocol("A-ASSOCIATE-RJ is cut short");
    };
    let reason = match (source, reason) {
        (1, 2) => "application context name not supported",
        (1, 3) => "calling AE title not recognized",
        (1, 7) => "called AE title not recognized",
        (2, 2) => "protocol version not supported",
        (3, 1) => "temporary congestion",
        (3, 2) => "local limit exceeded",
        (1 | 2, 1) => "no reason given",
        _ => "a reason the standard does not name",
    };
    OpenError::Rejected { permanent: result == 1, reason }
}

/// The items of a variable field, one after the other.
struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, OpenError> {
        const SHORT: OpenError = OpenError::Protocol("an item of the A-ASSOCIATE-AC is cut short");
        if self.0.is_empty() {
            return Ok(None);
        }
        let &[kind, _, high, low, ref rest @ ..] = self.0 else {
            return Err(SHORT);
        };
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low]))).ok_or(SHORT)?;
        self.0 = rest;
        Ok(Some((kind, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proposals() -> Vec<Proposal> {
        ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]
            .map(|syntax| Proposal {
                sop_class: Uid::new("1.2.840.10008.5.1.4.1.1.2").unwrap(),
                transfer_syntax: Uid::new(syntax).unwrap(),
            })
            .to_vec()
    }

    /// An A-ASSOCIATE-AC body with these context results (id, result, transfer syntax) and user items.
    fn accept(contexts: &[(u8, u8, Option<&str>)], user: &[(u8, &[u8])]) -> Vec<u8> {
        let mut body = vec![0; 68];
        item(&mut body, APPLICATION_CONTEXT_ITEM, APPLICATION_CONTEXT.as_bytes());
        for (id, result, syntax) in contexts {
            let mut context = vec![*id, 0, *result, 0];
            if let Some(syntax) = syntax {
                item(&mut context, TRANSFER_SYNTAX, syntax.as_bytes());
            }
            item(&mut body, CONTEXT_RESULT, &context);
        }
        let mut variables = Vec::new();
        user.iter().for_each(|(kind, value)| item(&mut variables, *kind, value));
        item(&mut body, USER_INFORMATION, &variables);
        body
    }

    #[test]
    fn implementation_names_fit_their_fields() {
        assert!(Uid::new(IMPLEMENTATION_CLASS_UID).is_ok());
        assert!((1..=16).contains(&IMPLEMENTATION_VERSION_NAME.len()));
    }

    #[test]
    fn request_is_as_long_as_it_says_and_limits_what_is_asked() {
        let pdu = request("NEISSE", " PACS ", &proposals(), Role::Scu).expect("request");
        assert_eq!(u32::from_be_bytes(pdu[2..6].try_into().unwrap()) as usize, pdu.len() - 6);
        assert_eq!(&pdu[10..26], b"PACS            ");
        assert_eq!(&pdu[26..42], b"NEISSE          ");
        assert!(matches!(request("NEISSE", "PACS", &[], Role::Scu), Err(OpenError::Unfit(_))));
        let many = vec![proposals()[0].clone(); MAX_PROPOSALS + 1];
        assert!(matches!(request("NEISSE", "PACS", &many, Role::Scu), Err(OpenError::Unfit(_))));
        assert!(request("NEISSE", "PACS", &many[1..], Role::Scu).is_ok());
        for bad in ["", "   ", "SEVENTEEN_LETTERS", "A\\B", "PÄCS"] {
            assert!(matches!(request(bad, "PACS", &proposals(), Role::Scu), Err(OpenError::Unfit(_))), "{bad:?}");
        }
    }

    #[test]
    fn who_reports_events_asks_for_the_role_of_the_scp_once_for_a_class() {
        let pdu = request("NEISSE", "PACS", &proposals(), Role::Scp).expect("request");
        let role = [&[0x54, 0, 0, 29, 0, 25][..], b"1.2.840.10008.5.1.4.1.1.2", &[0, 1]].concat();
        assert_eq!(pdu.windows(role.len()).filter(|at| *at == role).count(), 1);
        assert_eq!(u32::from_be_bytes(pdu[2..6].try_into().unwrap()) as usize, pdu.len() - 6);
    }

    #[test]
    fn only_what_was_proposed_can_be_accepted() {
        let (implicit, explicit) = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1\0");
        let contexts = [(1, 0, Some(explicit)), (3, 0, Some(explicit)), (5, 0, Some(implicit)), (2, 0, Some(implicit))];
        let body = accept(&contexts, &[(0x52, b"1.2.3"), (MAXIMUM_LENGTH, &16384u32.to_be_bytes()), (0x99, b"?")]);
        let agreement = read_accept(&body, &proposals()).expect("accepted");
        assert_eq!(agreement.contexts, [(proposals()[1].clone(), 3)]);
        assert_eq!(agreement.max_pdu, 16384);
    }

    #[test]
    fn refused_context_without_transfer_syntax_does_not_fail_the_association() {
        let body = accept(&[(1, 3, None), (3, 0, Some("1.2.840.10008.1.2.1"))], &[]);
        let agreement = read_accept(&body, &proposals()).expect("accepted");
        assert_eq!(agreement, Agreement { contexts: vec![(proposals()[1].clone(), 3)], max_pdu: 0 });
    }

    #[test]
    fn rejections_name_the_reason_of_table_9_21() {
        let read = |bytes| match read_reject(bytes) {
            OpenError::Rejected { permanent, reason } => (permanent, reason),
            other => panic!("{other:?}"),
        };
        assert_eq!(read(&[0, 1, 1, 7]), (true, "called AE title not recognized"));
        assert_eq!(read(&[0, 2, 3, 2]), (false, "local limit exceeded"));
        assert_eq!(read(&[0, 2, 9, 9]), (false, "a reason the standard does not name"));
        assert!(matches!(read_reject(&[0, 1]), OpenError::Protocol(_)));
    }

    proptest! {
        #[test]
        fn hostile_answers_are_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_reject(&body);
            let mut whole = vec![0; 68];
            whole.extend_from_slice(&body);
            if let Ok(agreement) = read_accept(&whole, &proposals()) {
                // Ids may repeat, but none is made up.
                let proposed = proposals();
                prop_assert!(agreement.contexts.iter().all(|(found, id)| proposed[usize::from(id / 2)] == *found));
            }
        }

        #[test]
        fn an_accept_cut_short_is_an_error_or_less(cut in 0usize..200) {
            let body = accept(&[(1, 0, Some("1.2.840.10008.1.2"))], &[(MAXIMUM_LENGTH, &[0, 0, 64, 0])]);
            let whole = read_accept(&body, &proposals()).expect("whole");
            if let Ok(less) = read_accept(&body[..cut.min(body.len())], &proposals()) {
                prop_assert!(less.contexts.len() <= whole.contexts.len());
            }
        }
    }
}
