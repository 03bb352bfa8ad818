//! Tests of the PDV decoder and reader.

use super::*;
use proptest::prelude::*;

const MAX_PDU: u32 = 16_384;

fn contexts() -> ContextIds {
    [1, 3, 255].into_iter().collect()
}

fn pdv(context: u8, control: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 2).expect("short");
    [&length.to_be_bytes()[..], &[context, control], data].concat()
}

fn pdu(pdu_type: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short");
    [&[pdu_type, 0], &length.to_be_bytes()[..], body].concat()
}

fn decode(bytes: &[u8]) -> Result<Vec<Event>, PdvError> {
    drive([bytes], MAX_PDU, contexts())
}

fn fragment(context: u8, kind: FragmentKind, last: bool, data: &'static [u8]) -> Event {
    Event::Fragment(Fragment { context, kind, last, data: Bytes::from_static(data) })
}

#[test]
fn several_pdvs_in_one_pdu_come_out_one_by_one() {
    let body = [pdv(1, 3, b"command"), pdv(1, 0, b"data"), pdv(1, 2, b"set")].concat();
    let expected = vec![
        fragment(1, FragmentKind::Command, true, b"command"),
        fragment(1, FragmentKind::DataSet, false, b"data"),
        fragment(1, FragmentKind::DataSet, true, b"set"),
    ];
    assert_eq!(decode(&pdu(4, &body)), Ok(expected));
}

#[test]
fn a_fragment_is_given_out_before_its_pdu_is_whole() {
    let bytes = pdu(4, &pdv(3, 2, &[7; 1000]));
    let events = decode(&bytes[..112]).expect("no error");
    assert_eq!(events, [fragment(3, FragmentKind::DataSet, false, &[7; 100])]);
}

#[test]
fn an_empty_last_pdv_closes_a_message() {
    assert_eq!(decode(&pdu(4, &pdv(1, 2, b""))), Ok(vec![fragment(1, FragmentKind::DataSet, true, b"")]));
    assert_eq!(decode(&pdu(4, &pdv(1, 0, b""))), Err(PdvError::EmptyPdv));
}

#[test]
fn release_and_abort_come_out_with_their_reason() {
    let bytes = [pdu(5, &[0; 4]), pdu(6, &[0; 4]), pdu(7, &[0, 0, 2, 6])].concat();
    let expected = vec![Event::ReleaseRequest, Event::ReleaseResponse, Event::Abort { source: 2, reason: 6 }];
    assert_eq!(decode(&bytes), Ok(expected));
}

#[test]
fn each_lie_has_its_abort_reason() {
    let lying = |length: u32| [&length.to_be_bytes()[..], &[1, 2, 0, 0]].concat();
    let cases = [
        (b"GET / HTTP/1.1".to_vec(), PdvError::UnknownPdu(b'G'), (2, 1)),
        (vec![0x16], PdvError::UnknownPdu(0x16), (2, 1)),
        (pdu(1, &[0; 68]), PdvError::UnexpectedPdu(1), (2, 2)),
        (vec![4, 0, 255, 255, 255, 255], PdvError::PduTooLong { found: u32::MAX, allowed: MAX_PDU }, (2, 6)),
        (pdu(4, b""), PdvError::NoPdv(0), (2, 6)),
        (pdu(4, &[0; 5]), PdvError::NoPdv(5), (2, 6)),
        (pdu(4, &lying(0)), PdvError::PdvLength { found: 0, left: 8 }, (2, 6)),
        (pdu(4, &lying(1)), PdvError::PdvLength { found: 1, left: 8 }, (2, 6)),
        (pdu(4, &lying(5)), PdvError::PdvLength { found: 5, left: 8 }, (2, 6)),
        (pdu(4, &lying(u32::MAX)), PdvError::PdvLength { found: u32::MAX, left: 8 }, (2, 6)),
        (pdu(4, &lying(3)), PdvError::NoPdv(1), (2, 6)),
        (pdu(4, &pdv(5, 2, b"x")), PdvError::UnknownContext(5), (2, 5)),
        (pdu(4, &pdv(2, 2, b"x")), PdvError::UnknownContext(2), (2, 5)),
        (pdu(5, &[0; 5]), PdvError::PduLength { pdu_type: 5, found: 5 }, (2, 6)),
    ];
    for (bytes, error, codes) in cases {
        assert_eq!(decode(&bytes), Err(error));
        assert_eq!(error.abort_reason().codes(), codes, "{error}");
    }
}

/// Pieces of one PDV put together again, so that events can be compared however they were cut.
fn joined(events: Vec<Event>) -> Vec<(u8, FragmentKind, bool, Vec<u8>)> {
    let mut whole: Vec<(u8, FragmentKind, bool, Vec<u8>)> = Vec::new();
    for event in events {
        let Event::Fragment(fragment) = event else { continue };
        match whole.last_mut() {
            Some((context, kind, last, data)) if !*last && *context == fragment.context && *kind == fragment.kind => {
                data.extend_from_slice(&fragment.data);
                *last = fragment.last;
            }
            _ => whole.push((fragment.context, fragment.kind, fragment.last, fragment.data.to_vec())),
        }
    }
    whole
}

/// Bytes of which many look like PDU and PDV headers.
fn likely_bytes() -> impl Strategy<Value = Vec<u8>> {
    let header =
        (prop::sample::select(vec![4_u8, 4, 5, 6, 7]), 0_u8..80, prop::sample::select(vec![1_u8, 3, 9]), 0_u8..4);
    let likely = header.prop_map(|(kind, length, context, control)| {
        vec![kind, 0, 0, 0, 0, length, 0, 0, 0, length.saturating_sub(4), context, control]
    });
    prop::collection::vec(prop_oneof![likely, prop::collection::vec(any::<u8>(), 0..80)], 0..12)
        .prop_map(|all| all.concat())
}

proptest! {
    #[test]
    fn pdus_are_decoded_or_refused_the_same_however_they_are_cut(bytes in likely_bytes()) {
        super::fuzz_pdus(&bytes);
    }

    #[test]
    fn garbage_never_panics_and_never_makes_bytes(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..16)
    ) {
        let sent: usize = chunks.iter().map(Vec::len).sum();
        if let Ok(events) = drive(chunks.iter().map(Vec::as_slice), MAX_PDU, contexts()) {
            let given: usize = events.iter().map(|event| match event {
                Event::Fragment(fragment) => fragment.data.len(),
                _ => 4,
            }).sum();
            prop_assert!(given <= sent);
        }
    }

    #[test]
    fn a_flipped_byte_is_an_error_or_the_same_number_of_bytes(at in 0_usize..60, to in any::<u8>()) {
        let mut bytes = [pdu(4, &pdv(1, 3, b"a command")), pdu(4, &pdv(1, 2, b"a data set"))].concat();
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(events) = decode(&bytes) {
            prop_assert!(joined(events).iter().map(|piece| piece.3.len()).sum::<usize>() <= bytes.len());
        }
    }

    #[test]
    fn how_the_network_cuts_the_bytes_makes_no_difference(
        pieces in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..300), any::<bool>()), 1..12),
        cut in 1_usize..97,
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (index, (data, command)) in pieces.iter().enumerate() {
            let context = if index % 2 == 0 { 1 } else { 3 };
            bytes.extend(pdu(4, &pdv(context, if *command { 3 } else { 2 }, data)));
            let kind = if *command { FragmentKind::Command } else { FragmentKind::DataSet };
            expected.push((context, kind, true, data.clone()));
        }
        let events = drive(bytes.chunks(cut), MAX_PDU, contexts()).expect("well formed");
        prop_assert_eq!(joined(events), expected);
    }
}

#[tokio::test]
async fn the_end_of_the_stream_says_whether_a_pdu_was_cut() {
    let whole = pdu(4, &pdv(1, 2, b"whole"));
    let mut reader = PdvReader::new(&whole[..], BytesMut::new(), MAX_PDU, contexts());
    assert_eq!(reader.next().await.expect("whole"), fragment(1, FragmentKind::DataSet, true, b"whole"));
    assert!(matches!(reader.next().await, Err(ReadError::Closed)));
    for cut in [3, 6, 11, 14] {
        let mut reader = PdvReader::new(&whole[..cut], BytesMut::new(), MAX_PDU, contexts());
        let error = loop {
            match reader.next().await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ReadError::Cut), "{cut}: {error}");
    }
}

#[tokio::test]
async fn a_claim_of_four_gigabytes_costs_no_memory() {
    let bytes = [4, 0, 0xFF, 0xFF, 0xFF, 0xFF];
    let mut reader = PdvReader::new(&bytes[..], BytesMut::new(), u32::MAX, contexts());
    assert!(matches!(reader.next().await, Err(ReadError::Cut)));
    assert!(reader.buffer.capacity() <= 8 * 1024, "{}", reader.buffer.capacity());
}
