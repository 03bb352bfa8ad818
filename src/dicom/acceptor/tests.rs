//! Tests of association negotiation.

use super::request::{RoleSelection, parse};
use super::*;
use proptest::prelude::*;

fn item(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("short");
    [&[kind, 0], &length.to_be_bytes()[..], value].concat()
}

fn proposed(id: u8, abstract_syntax: &str, transfer_syntaxes: &[&str]) -> Vec<u8> {
    let mut value = vec![id, 0, 0, 0];
    value.extend(item(0x30, abstract_syntax.as_bytes()));
    transfer_syntaxes.iter().for_each(|syntax| value.extend(item(0x40, syntax.as_bytes())));
    item(0x20, &value)
}

fn body(items: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0];
    body.extend_from_slice(b"NEISSE          RAB_CT1         ");
    body.extend_from_slice(&[9; 32]);
    body.extend(items.concat());
    body
}

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
const MWL: &str = "1.2.840.10008.5.1.4.31";
const IMPLICIT: &str = "1.2.840.10008.1.2";

fn application_context() -> Vec<u8> {
    item(0x10, b"1.2.840.10008.3.1.1.1")
}

#[test]
fn unknown_items_are_skipped_and_padding_is_removed() {
    let role = [&[0, 25], CT.as_bytes(), &[1, 1]].concat();
    let user =
        [item(0x51, &[0, 0, 64, 0]), item(0x99, b"?"), item(0x54, &role), item(0x58, b"\x02\x01\0\0\0\0")].concat();
    let items = [
        application_context(),
        item(0x77, b"from the future"),
        proposed(1, "1.2.840.10008.1.1\0", &[IMPLICIT]),
        item(0x50, &user),
    ];
    let request = parse(&body(&items)).expect("parsed");
    assert_eq!((request.called_ae.as_str(), request.calling_ae.as_str()), ("NEISSE", "RAB_CT1"));
    assert_eq!(request.max_pdu_bytes, 16_384);
    assert_eq!(request.contexts[0].abstract_syntax, "1.2.840.10008.1.1");
    assert_eq!(request.roles, [RoleSelection { sop_class: CT.into(), scu: true, scp: true }]);
    assert_eq!(check_protocol(&request), Ok(()));
}

#[test]
fn malformed_requests_are_named() {
    let cases = [
        (vec![0; 67], RequestError::Truncated("the fixed part")),
        (body(&[application_context()]), RequestError::NoContext),
        (body(&[vec![0x20, 0, 0, 9, 1]]), RequestError::Truncated("an item")),
        (body(&[proposed(2, CT, &[IMPLICIT])]), RequestError::EvenContextId(2)),
        (body(&[proposed(1, CT, &[IMPLICIT]), proposed(1, CT, &[IMPLICIT])]), RequestError::RepeatedContextId(1)),
        (body(&[proposed(1, CT, &[])]), RequestError::IncompleteContext),
        (body(&[item(0x50, &item(0x54, &[0, 200, 1]))]), RequestError::Truncated("a role selection")),
        (body(&[item(0x50, &item(0x51, &[0]))]), RequestError::Truncated("the maximum length")),
    ];
    for (bytes, expected) in cases {
        assert_eq!(parse(&bytes), Err(expected));
    }
}

#[test]
fn protocol_version_and_application_context_are_checked() {
    let mut bytes = body(&[application_context(), proposed(1, CT, &[IMPLICIT])]);
    bytes[1] = 2;
    assert_eq!(check_protocol(&parse(&bytes).expect("parsed")), Err(Reject::ProtocolVersionNotSupported));
    let bytes = body(&[item(0x10, b"1.2.3"), proposed(1, CT, &[IMPLICIT])]);
    assert_eq!(check_protocol(&parse(&bytes).expect("parsed")), Err(Reject::ApplicationContextNotSupported));
}

#[test]
fn rejections_are_those_of_the_table() {
    let table = [
        (Reject::ApplicationContextNotSupported, [1, 1, 2]),
        (Reject::CallingAeNotRecognized, [1, 1, 3]),
        (Reject::CalledAeNotRecognized, [1, 1, 7]),
        (Reject::ProtocolVersionNotSupported, [1, 2, 2]),
        (Reject::TemporaryCongestion, [2, 3, 1]),
        (Reject::LocalLimitExceeded, [2, 3, 2]),
    ];
    for (reject, codes) in table {
        assert_eq!(reject.pdu(), [&[3, 0, 0, 0, 0, 4, 0][..], &codes[..]].concat());
    }
}

#[test]
fn every_storage_class_and_the_services_provided_are_taken_and_no_other() {
    for taken in [
        CT,
        "1.2.840.10008.1.1",
        "1.2.840.10008.5.1.4.1.1.77.1.6",
        "1.2.840.10008.5.1.4.1.1.999.7",
        "1.2.840.10008.5.1.4.34.7",
        "1.2.840.10008.5.1.4.38.1",
        "1.2.840.113619.4.26",
        "1.3.46.670589.11.0.0.12.1",
        "1.2.840.10008.5.1.4.31",
        "1.2.840.10008.5.1.4.1.2.2.1",
        "1.2.840.10008.1.20.1",
        "1.2.840.10008.3.1.2.3.3",
    ] {
        assert!(syntaxes::is_abstract_syntax_supported(taken), "{taken}");
    }
    for refused in [
        "1.2.840.10008.5.1.4.32.1",
        "1.2.840.10008.5.1.1.9",
        "1.2.840.10008.5.1.4.1.1.200.4",
        "1.2.840.10008.5.1.4.1.1.201.5",
        "1.2.840.10008.1.3.10",
        "",
        "rabbit",
        "1.2/../3",
    ] {
        assert!(!syntaxes::is_abstract_syntax_supported(refused), "{refused}");
    }
}

#[test]
fn the_first_transfer_syntax_of_the_requestor_that_carries_the_instance_is_taken() {
    let context = |abstract_syntax: &str, syntaxes: &[&str]| ProposedContext {
        id: 1,
        abstract_syntax: abstract_syntax.into(),
        transfer_syntaxes: syntaxes.iter().map(|&syntax| syntax.into()).collect(),
    };
    let cases = [
        (context(CT, &["1.2.840.10008.1.2.4.90", IMPLICIT]), Ok("1.2.840.10008.1.2.4.90".to_owned())),
        (context(CT, &["1.2.840.10008.1.2.4.94", IMPLICIT]), Ok(IMPLICIT.to_owned())),
        (context(CT, &["1.2.840.113619.5.2"]), Ok("1.2.840.113619.5.2".to_owned())),
        (context(CT, &["1.2.840.10008.1.2.4.999"]), Ok("1.2.840.10008.1.2.4.999".to_owned())),
        (context(CT, &["1.2.840.10008.1.1", "no uid"]), Err(ContextRefusal::TransferSyntaxesNotSupported)),
        (context("1.2.840.10008.1.1", &["1.2.840.10008.1.2.4.90", IMPLICIT]), Ok(IMPLICIT.to_owned())),
        (context("1.2.840.10008.5.1.4.32.1", &[IMPLICIT]), Err(ContextRefusal::AbstractSyntaxNotSupported)),
        (context(MWL, &["1.2.840.10008.1.2.1.99", IMPLICIT]), Ok(IMPLICIT.to_owned())),
    ];
    for (proposed, expected) in cases {
        assert_eq!(negotiate(&[proposed], true)[0].answer, expected);
    }
    let answer = negotiate(&[context(MWL, &[IMPLICIT])], false)[0].answer.clone();
    assert_eq!(answer, Err(ContextRefusal::AbstractSyntaxNotSupported), "where nothing but storing is provided");
}

/// PS3.7 D.3.3.4: a requestor is the SCP of what it retrieves, and of the events it reports.
#[test]
fn roles_are_answered_where_they_are_needed() {
    const GET: &str = "1.2.840.10008.5.1.4.1.2.2.3";
    const COMMITMENT: &str = "1.2.840.10008.1.20.1";
    let both = |class: &str| RoleSelection { sop_class: class.into(), scu: true, scp: true };
    let roles = |classes: &[&str]| {
        let contexts: Vec<_> =
            (1..).step_by(2).zip(classes).map(|(id, class)| proposed(id, class, &[IMPLICIT])).collect();
        let mut request = parse(&body(&[&[application_context()][..], &contexts].concat())).expect("parsed");
        request.roles = vec![both(CT), both(COMMITMENT), both("1.2.840.10008.5.1.4.1.1.4")];
        let answered = reply::answered_roles(&request, &negotiate(&request.contexts, true));
        answered.into_iter().map(|role| (role.sop_class, role.scp)).collect::<Vec<_>>()
    };
    assert_eq!(roles(&[CT, COMMITMENT]), [(CT.to_owned(), false), (COMMITMENT.to_owned(), true)]);
    assert_eq!(roles(&[CT, GET]), [(CT.to_owned(), true)]);
}

#[test]
fn the_acceptance_can_be_read_by_another_implementation() {
    let role = [&[0, 25], CT.as_bytes(), &[1, 1]].concat();
    let user = item(0x50, &[item(0x51, &[0, 0, 64, 0]), item(0x54, &role)].concat());
    let items =
        [application_context(), proposed(1, CT, &[IMPLICIT]), proposed(3, "1.2.840.10008.5.1.4.31", &[IMPLICIT]), user];
    let request = parse(&body(&items)).expect("parsed");
    let bytes = reply::accept(&request, &negotiate(&request.contexts, false), 262_144);
    assert_eq!(bytes[10..74], body(&[])[4..68], "AE titles and reserved bytes are repeated");
    let pdu = dicom_ul::pdu::reader::read_pdu(&bytes[..], 262_144, true).expect("readable").expect("whole");
    let dicom_ul::Pdu::AssociationAC(accepted) = pdu else { panic!("{pdu:?}") };
    let results: Vec<(u8, u8)> =
        accepted.presentation_contexts.iter().map(|context| (context.id, context.reason.clone() as u8)).collect();
    assert_eq!(results, [(1, 0), (3, 3)]);
    let roles = dicom_ul::pdu::RequestorRoles { scu: true, scp: false };
    for expected in [
        dicom_ul::pdu::UserVariableItem::MaxLength(262_144),
        dicom_ul::pdu::UserVariableItem::ImplementationVersionName("NEISSE_01".into()),
        dicom_ul::pdu::UserVariableItem::ScuScpRoleSelectionSubItem(CT.into(), roles),
    ] {
        assert!(accepted.user_variables.contains(&expected), "{expected:?}");
    }
}

#[tokio::test]
async fn a_request_is_read_to_its_end_and_no_further() {
    let content = body(&[application_context(), proposed(1, CT, &[IMPLICIT])]);
    let length = u32::try_from(content.len()).expect("short").to_be_bytes();
    let bytes = [&[1, 0], &length[..], &content, b"next"].concat();
    let mut buffer = BytesMut::new();
    let request = read_request(&mut &bytes[..], &mut buffer).await.expect("read");
    assert_eq!((request.contexts.len(), &buffer[..]), (1, &b"next"[..]));
}

#[tokio::test]
async fn what_is_no_request_is_answered_by_its_kind() {
    type Case = (&'static [u8], Option<(u8, u8)>);
    let cases: [Case; 7] = [
        (b"GET / HTTP/1.1\r\n", Some((2, 1))),
        (&[0x16, 3, 1], Some((2, 1))),
        (&[4, 0, 0, 0, 0, 10], Some((2, 2))),
        (&[7, 0, 0, 0, 0, 4, 0, 0, 0, 0], None),
        (&[1, 0, 0xFF, 0xFF, 0xFF, 0xFF], Some((2, 6))),
        (&[1, 0, 0, 0, 0, 2, 0, 0], Some((2, 6))),
        (&[1, 0, 0, 0, 0, 100, 0, 0], None),
    ];
    for (bytes, expected) in cases {
        let error = read_request(&mut &bytes[..], &mut BytesMut::new()).await.expect_err("no request");
        assert_eq!(error.abort_reason().map(AbortReason::codes), expected, "{error}");
    }
}

#[test]
fn the_implementation_class_uid_is_one() {
    assert!(crate::model::Uid::new(IMPLEMENTATION_CLASS_UID).is_ok());
    assert!(IMPLEMENTATION_CLASS_UID["2.25.".len()..].parse::<u128>().is_ok());
    assert!(IMPLEMENTATION_VERSION_NAME.len() <= 16);
}

proptest! {
    #[test]
    fn no_request_makes_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
        fuzz_request(&bytes);
    }

    #[test]
    fn a_damaged_request_is_refused_or_keeps_the_rules(at in 0_usize..1000, to in any::<u8>()) {
        let mut bytes = body(&[application_context(), proposed(1, CT, &[IMPLICIT]), proposed(3, CT, &[IMPLICIT])]);
        let at = at % bytes.len();
        bytes[at] = to;
        fuzz_request(&bytes);
        if let Ok(request) = parse(&bytes) {
            prop_assert!(!request.contexts.is_empty());
            prop_assert!(request.contexts.iter().all(|context| context.id % 2 == 1));
        }
    }
}
