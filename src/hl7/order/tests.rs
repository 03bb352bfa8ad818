//! Orders as they come from the field: read, answered, refused with their place, damaged.

use super::*;
use crate::hl7::{
    ack::{ErrorCode, OrderAnswer, Rejected, Response, respond},
    charset::Charset,
    message::Message,
};
use crate::model::Moment;
use proptest::prelude::*;

const ORM: &str = "MSH|^~\\&|KIS|DRKRAB|NEISSE|NEISSE|20261124230000||ORM^O01|M1|P|2.3.1\r\
    PID|1||SYN-1^^^RABENSTEIN||Müßig^Jörg||19310202|M\r\
    PV1|1|I\r\
    ORC|NW|P1^KIS|F1^RIS|||||||||Dr^Arzt\r\
    OBR|1|P1^KIS|F1^RIS|CTKOPF^CT Schädel^L||||||||||||||A1||||||CT|||^^^^^S\r\
    ZDS|1.2.3.4^RIS^Application^DICOM\r\
    ZXX|local\r";

fn read(text: &str) -> Result<OrderMessage, Rejected> {
    OrderMessage::parse(&Message::parse(text.as_bytes()).expect("a message"), Charset::UTF_8)
}

#[test]
fn an_orm_with_zds_says_which_study_it_asks_for() {
    let read = read(ORM).expect("an order");
    assert_eq!(read.kind, OrderKind::Orm);
    assert_eq!(read.patient_ids, [IssuedId::new("SYN-1", "RABENSTEIN")]);
    assert_eq!(
        read.orders,
        [OrderRequest {
            sequence: 1,
            control: OrderControl::New,
            status: OrderStatus::Other,
            placer: IssuedId::new("P1", "KIS"),
            filler: IssuedId::new("F1", "RIS"),
            accession: IssuedId::new("A1", ""),
            study_uids: vec![Uid::new("1.2.3.4").expect("a UID")],
            procedure: Coded { code: "CTKOPF".into(), text: "CT Schädel".into(), system: "L".into() },
            priority: Some(Priority::Stat),
            modality: "CT".into(),
        }]
    );
    assert!(!read.lossy && read.birth_date == "19310202" && read.patient_name == "Müßig^Jörg");
}

#[test]
fn an_omi_says_it_in_tq1_and_ipc_and_may_hold_several_orders() {
    let omi = "MSH|^~\\&|RIS|GOERLITZ|||2026||OMI^O23^OMI_O23|M2|P|2.5.1\rPID|||7^^^GOERLITZ\r\
        ORC|NW|P1||G|SC\rTQ1|1||||||||A\rOBR|1|||X\rIPC|A7^GOERLITZ|RP|1.2.7|S1|MR\r\
        ORC|CA|P2||G|CA\rOBR|2|||Y\rIPC|A8^GOERLITZ|RP|1.2.8|S1|CT\r";
    let read = read(omi).expect("orders");
    let seen: Vec<_> = read
        .orders
        .iter()
        .map(|order| {
            (order.control, order.status, order.accession.value.as_str(), order.priority, order.modality.as_str())
        })
        .collect();
    assert_eq!(
        seen,
        [
            (OrderControl::New, OrderStatus::Other, "A7", Some(Priority::Urgent), "MR"),
            (OrderControl::Cancel, OrderStatus::Cancelled, "A8", None, "CT"),
        ]
    );
}

#[test]
fn what_an_order_cannot_do_without_is_refused_with_its_place() {
    let change = |from: &str, to: &str| {
        assert!(ORM.contains(from), "{from}");
        let refused = read(&ORM.replace(from, to)).expect_err(to);
        (refused.segment, refused.field, refused.code)
    };
    assert_eq!(change("ORM^O01", "ADT^A08"), ("MSH", 9, ErrorCode::UnsupportedMessageType));
    assert_eq!(change("ORM^O01", "ORM^O02"), ("MSH", 9, ErrorCode::UnsupportedEvent));
    assert_eq!(change("|M1|P|", "||P|"), ("MSH", 10, ErrorCode::RequiredFieldMissing));
    assert_eq!(change("|M1|P|", "|M1|T|"), ("MSH", 11, ErrorCode::UnsupportedProcessingId));
    assert_eq!(change("2.3.1", "3.0"), ("MSH", 12, ErrorCode::UnsupportedVersion));
    assert_eq!(change("PID|1||SYN-1^^^RABENSTEIN|", "PID|1|||"), ("PID", 3, ErrorCode::RequiredFieldMissing));
    assert_eq!(change("PID|1|", "NK1|1|"), ("PID", 0, ErrorCode::SegmentSequence));
    assert_eq!(change("ORC|NW|", "ORC||"), ("ORC", 1, ErrorCode::RequiredFieldMissing));
    assert_eq!(change("ORC|NW|", "ORC|RE|"), ("ORC", 1, ErrorCode::TableValueNotFound));
    assert_eq!(change("OBR|1|P1^KIS|", "OBR|1|P9^KIS|"), ("OBR", 2, ErrorCode::DataType));
    assert_eq!(change("OBR|1|P1^KIS|F1", "OBR|1|P1^KIS|F9"), ("OBR", 3, ErrorCode::DataType));
    assert_eq!(change("ZXX|local", "PID|2||OTHER^^^RABENSTEIN"), ("PID", 3, ErrorCode::SegmentSequence));
    assert_eq!(change("ZXX|local", "OBR|2"), ("OBR", 0, ErrorCode::SegmentSequence));
    let none = ORM.replace("|P1^KIS|F1^RIS|", "|||");
    assert_eq!(read(&none).expect_err("no number").field, 2);
}

/// Half a number is another number, and half a message another order.
#[test]
fn a_damaged_order_is_refused_rather_than_carried_out_by_half() {
    let change = |from: &str, to: &str| {
        assert!(ORM.contains(from), "{from}");
        let refused = read(&ORM.replace(from, to)).expect_err(to);
        (refused.segment, refused.sequence, refused.field, refused.code)
    };
    let sequence = ErrorCode::SegmentSequence;
    assert_eq!(change("SYN-1^^^", "SYN\r-1^^^"), ("PID", 1, 0, sequence));
    assert_eq!(change("|A1||||||CT|", "|A\r1||||||CT|"), ("OBR", 1, 0, sequence));
    assert_eq!(change("ZXX|local", "OQC|NW|P2"), ("OBR", 1, 0, sequence));
    assert_eq!(change("ZXX|local", "NTE|1||note\rOQC|NW|P2"), ("NTE", 1, 0, sequence));
    assert!(read(&ORM.replace("ZXX|local", "NTE|1||note\rgoes on\rCT|so")).is_ok(), "a comment may break its line");
    assert_eq!(change("OBR|1|", "NTE|1|"), ("OBR", 1, 0, sequence));
    assert_eq!(change("ZXX|local", "ORC|NW|P2"), ("OBR", 2, 0, sequence));
    assert_eq!(change("CTKOPF^CT Schädel^L", ""), ("OBR", 1, 4, ErrorCode::RequiredFieldMissing));
    assert_eq!(change("1.2.3.4^", "1.2.\n3.4^"), ("ZDS", 1, 1, ErrorCode::DataType));
    assert_eq!(change("ZXX|local", "IPC|A1|RP|1..2"), ("IPC", 1, 3, ErrorCode::DataType));
    assert!(read(&ORM.replace("1.2.3.4^RIS^Application^DICOM", "of their own")).is_ok(), "another ZDS");
    for (from, place) in [("SYN-1", ("PID", 3)), ("F1^", ("ORC", 3)), ("|A1|", ("OBR", 18))] {
        let at = ORM.find(from).expect("there") + 1;
        let bytes = [&ORM.as_bytes()[..at], b"\xFF", &ORM.as_bytes()[at..]].concat();
        let refused = OrderMessage::parse(&Message::parse(&bytes).expect("a message"), Charset::UTF_8);
        let refused = refused.expect_err("letters that are none");
        assert_eq!((refused.segment, refused.field), place);
    }
}

#[test]
fn each_order_is_answered_with_its_numbers_as_they_were_sent() {
    let orders = [OrderAnswer { code: "UC", sequence: 1, reason: Some("it has been read | and reported".into()) }];
    let (message_type, event) = OrderKind::Orm.response();
    let response = Response { message_type, event, orders: &orders };
    let message = Message::parse(ORM.as_bytes()).expect("a message");
    let answer = String::from_utf8(respond(&message, &response, Moment(0))).expect("ASCII");
    let lines: Vec<&str> = answer.split('\r').collect();
    assert!(lines[0].starts_with("MSH|^~\\&|NEISSE|NEISSE|KIS|DRKRAB|19700101000000+0000||ORR^O02|"), "{}", lines[0]);
    assert_eq!(lines[1], "MSA|AA|M1");
    assert_eq!(lines[2], "ORC|UC|P1^KIS|F1^RIS|||||||||||||^it has been read   and reported");
    let enhanced = ORM.replace("|P|2.3.1", "|P|2.5.1|||AL|NE");
    let message = Message::parse(enhanced.as_bytes()).expect("a message");
    let accepted = String::from_utf8(respond(&message, &response, Moment(0))).expect("ASCII");
    assert!(accepted.contains("MSA|CA|M1") && !accepted.contains("ORC|"), "{accepted}");
}

proptest! {
    #[test]
    fn damaged_orders_are_read_or_refused_and_never_panic(at in any::<prop::sample::Index>(), with in any::<Vec<u8>>()) {
        let mut bytes = ORM.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes.splice(at..at, with);
        if let Ok(message) = Message::parse(&bytes)
            && let Ok(read) = OrderMessage::parse(&message, Charset::ISO_8859_1)
        {
            prop_assert!(!read.orders.is_empty() && !read.patient_ids.is_empty());
        }
    }

    /// Damage that leaves an order leaves the same order to the reader.
    #[test]
    fn what_is_taken_of_a_damaged_order_is_sent_on_as_it_was_meant(
        places in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0usize..4), 1..5)
    ) {
        const PIECES: [&[u8]; 12] =
            [b"|", b"^", b"~", b"&", b"\\", b"\r", b"\n", b"~8^^^GKV", b"\"\"", b"\xFF", b"\rORC|NW|P2\rOBR|||", b" "];
        let mut bytes = [ORM, "ORC|CA|P3||\rOBR|2|P3||X\r"].concat().into_bytes();
        for (at, piece, kind) in places {
            let (at, piece) = (at.index(bytes.len()), piece.get(&PIECES));
            match kind {
                0 => { bytes.remove(at); }
                1 => { bytes.splice(at..=at, piece.iter().copied()); }
                _ => { bytes.splice(at..at, piece.iter().copied()); }
            }
        }
        fuzz_order(&bytes);
    }
}
