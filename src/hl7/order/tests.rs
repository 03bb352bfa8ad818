//! Orders as they come from the field: read, answered, refused with their place, damaged.

use super::*;
use crate::hl7::{
    ack::{ErrorCode, OrderAnswer, Rejected, Response, respond},
    charset::Charset,
    message::Message,
};
use crate::model::{IssuedId, Moment, SpecimenCode, TimeSaid};
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
            status_word: "of another status",
            placer: IssuedId::new("P1", "KIS"),
            filler: IssuedId::new("F1", "RIS"),
            group: IssuedId::default(),
            accession: IssuedId::new("A1", ""),
            empties_accession: false,
            study_uids: vec![Uid::new("1.2.3.4").expect("a UID")],
            empties_studies: false,
            procedure: Coded { code: "CTKOPF".into(), text: "CT Schädel".into(), system: "L".into() },
            priority: Some(Priority::Stat),
            modality: "CT".into(),
            discipline: Discipline::Radiology,
            specimens: Vec::new(),
            requested: Requested {
                procedure_scheme: "L".into(),
                requesting_physician: "Arzt".into(),
                ..Requested::default()
            },
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

/// What a scanner's worklist shows (IHE RAD-4, RAD-13).
#[test]
fn an_omi_says_what_is_scheduled_where_and_when() {
    let omi = "MSH|^~\\&|RIS|GOERLITZ|||2026||OMI^O23^OMI_O23|M2|P|2.5.1\rPID|||7^^^GOERLITZ\r\
        PV1||I|ST3^12||||||||||||B6||||V-9^^^GOERLITZ\r\
        AL1|1|DA|^Jod\rAL1|2||PEN^Penicillin\r\
        ORC|NW|P1||G|SC|||||||4711^Weiß^Anna^^^Dr.\r\
        TQ1|1||||||202611240830+0100||A\r\
        OBR|1|||CTK^CT Kopf^99RAB||||||||^Anfälle|Sturz||||||||||||||||||W19^Sturz^I10|||&Braun&Jan&&&Dr.\r\
        OBX|1|NM|29463-7^Body weight^LN||70,5|kg\rOBX|2|NM|8302-2^^LN||172|cm\r\
        IPC|A7^GOERLITZ|RP7|1.2.7|S1|CT|PK^Schädel nativ^99RAB|ST1^CT Keller|R12|GOE_CT1\r\
        IPC|A7^GOERLITZ|RP7|1.2.7|S2|CT||||GOE_CT2\r";
    let requested = read(omi).expect("an order").orders.remove(0).requested;
    assert_eq!((requested.procedure_id.as_str(), requested.procedure_scheme.as_str()), ("RP7", "99RAB"));
    assert_eq!(requested.requesting_physician, "Weiß^Anna^^Dr.");
    assert_eq!((requested.reason.as_str(), requested.history.as_str()), ("Sturz", "Sturz"));
    assert_eq!((requested.danger.as_str(), requested.location.as_str()), ("Anfälle", "ST3"));
    assert_eq!(requested.admission, IssuedId::new("V-9", "GOERLITZ"));
    assert_eq!((requested.weight.as_str(), requested.size.as_str()), ("70.5", "1.72"));
    assert_eq!(requested.allergies, ["Jod", "Penicillin"]);
    assert!(requested.pregnant);
    let [first, second] = requested.steps.as_slice() else { panic!("{} steps", requested.steps.len()) };
    assert_eq!((first.id.as_str(), second.id.as_str()), ("S1", "S2"));
    assert_eq!((first.station_ae.as_str(), second.station_ae.as_str()), ("GOE_CT1", "GOE_CT2"));
    assert_eq!((first.station_name.as_str(), first.location.as_str()), ("CT Keller", "R12"));
    assert_eq!((first.protocol.value.as_str(), first.protocol.meaning.as_str()), ("PK", "Schädel nativ"));
    assert_eq!((first.start.as_str(), second.start.as_str()), ("202611240830+0100", "202611240830+0100"));
    assert_eq!(first.performing_physician, "Braun^Jan^^Dr.");
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

const HEAD: &str = "MSH|^~\\&|KIS|DRKRAB|NEISSE|NEISSE|20260714080000||OML^EVENT^OML_EVENT|M9|P|2.5.1\r\
    PID|1||SYN-9^^^RABENSTEIN||Doe^J||19600101|F\r";

fn oml(event: &str, rest: &str) -> String {
    HEAD.replace("EVENT", event) + rest
}

/// The two specimens of most tests: a biopsy in one pot, and a slide made of it.
const BIOPSY: &str = "SPM|1|S26-1&KIS||BX^Gastric biopsy^L|||GCB|ANT^Antrum^L||||||3 pieces|FRZ^keep cool|B3^infectious~HIV|\
    20260714075500^20260714075900|20260714091500||N|RB^broken pot\r\
    SAC|||POT-1^KIS\r";
const SLIDE: &str = "SPM|2|&KIS^S26-1-1&LAB|S26-1&KIS|SLD^Slide^L\r";

#[test]
fn a_laboratory_order_says_what_each_order_is_about() {
    let orders = |first: &str, second: &str| {
        oml(
            "O21",
            &format!(
                "ORC|NW|P1^KIS||G7^KIS\rTQ1|1||||||||S\rOBR|1|P1^KIS||HE^H&E^L\r{first}ORC|NW|P2^KIS||G7^KIS\rOBR|2|P2^KIS||IHC^Ki-67^L\r{second}"
            ),
        )
    };
    let read_one = read(&orders(BIOPSY, SLIDE)).expect("an order");
    assert_eq!(read_one.kind, OrderKind::Oml);
    let seen: Vec<_> =
        read_one.orders.iter().map(|order| (order.specimens.clone(), order.group.value.as_str())).collect();
    assert_eq!(seen, [(vec![0], "G7"), (vec![1], "G7")]);
    assert!(read_one.orders.iter().all(|order| order.discipline == Discipline::Pathology));
    assert_eq!(read_one.orders[0].priority, Some(Priority::Stat));
    let code = |code: &str, text: &str, system: &str| SpecimenCode {
        code: code.into(),
        text: text.into(),
        system: system.into(),
    };
    assert_eq!(
        read_one.specimens[0],
        SpecimenSaid {
            placer: IssuedId::new("S26-1", "KIS"),
            kind: code("BX", "Gastric biopsy", "L"),
            site: code("ANT", "Antrum", "L"),
            description: "3 pieces".into(),
            handling: vec![code("FRZ", "keep cool", "")],
            risk: vec![code("B3", "infectious", ""), code("HIV", "", "")],
            collected: TimeSaid("20260714075500".into()),
            received: TimeSaid("20260714091500".into()),
            available: "N".into(),
            rejected: vec![code("RB", "broken pot", "")],
            containers: vec![IssuedId::new("POT-1", "KIS")],
            ..SpecimenSaid::default()
        }
    );
    let slide = &read_one.specimens[1];
    assert_eq!((&slide.placer, &slide.filler), (&IssuedId::new("", "KIS"), &IssuedId::new("S26-1-1", "LAB")));
    assert_eq!(slide.parents, [IssuedId::new("S26-1", "KIS")]);
    // Specimens may come later, and one without an id is nothing to look for.
    let none = read(&orders("", "SPM|1|||BX^Biopsy^L\r")).expect("an order");
    assert!(none.specimens.is_empty() && none.orders.iter().all(|order| order.specimens.is_empty()));
}

#[test]
fn a_specimen_with_its_orders_says_the_same_the_other_way_round() {
    let order = |number: &str| format!("ORC|NW|{number}^KIS\rOBR|1|{number}^KIS||HE^H&E^L\r");
    let of_specimen = oml("O33", &[BIOPSY, &order("P1"), &order("P2"), SLIDE, &order("P3")].concat());
    let of_both = oml("O33", &[BIOPSY, SLIDE, &order("P1")].concat());
    let second_pot = "SAC|||POT-2^KIS\r";
    let of_container = oml("O35", &[BIOPSY, &order("P1"), second_pot, &order("P2"), SLIDE, &order("P3")].concat());
    for (message, kind, expected) in [
        (&of_specimen, OrderKind::OmlOfSpecimen, vec![vec![0], vec![0], vec![1]]),
        (&of_both, OrderKind::OmlOfSpecimen, vec![vec![0, 1]]),
        (&of_container, OrderKind::OmlOfContainer, vec![vec![0], vec![0], vec![1]]),
    ] {
        let read = read(message).expect("orders");
        assert_eq!(read.kind, kind);
        assert_eq!(read.orders.into_iter().map(|order| order.specimens).collect::<Vec<_>>(), expected);
    }
    let containers = &read(&of_container).expect("orders").specimens[0].containers;
    assert_eq!(containers[..], [IssuedId::new("POT-1", "KIS"), IssuedId::new("POT-2", "KIS")]);
}

#[test]
fn earlier_results_beside_an_order_ask_for_nothing() {
    let prior = "ORC|PR|OLD1^KIS\rOBR|1|OLD1^KIS||HE^H&E^L\rOBX|1|TX|X||benign\rSPM|9|OLD&KIS\r";
    let order = "ORC|NW|P1^KIS\rOBR|1|P1^KIS||HE^H&E^L\r";
    let read_one = read(&oml("O21", &[order, BIOPSY, prior, &order.replace("P1", "P2")].concat())).expect("orders");
    let seen: Vec<_> = read_one.orders.iter().map(|order| (order.sequence, order.placer.value.as_str())).collect();
    assert_eq!(seen, [(1, "P1"), (3, "P2")]);
    assert_eq!(read_one.specimens.len(), 1);
    // Which ORC is answered is said by its numbers.
    let answers = [1, 3].map(|sequence| OrderAnswer { code: "OK", sequence, reason: None });
    let text = oml("O21", &[order, BIOPSY, prior, &order.replace("P1", "P2")].concat());
    let message = Message::parse(text.as_bytes()).expect("a message");
    let (message_type, event) = OrderKind::Oml.response();
    let answer = respond(&message, &Response { message_type, event, orders: &answers }, Moment(0));
    let answer = String::from_utf8(answer).expect("ASCII");
    assert!(answer.contains("|ORL^O22^ORL_O22|"), "{answer}");
    assert!(answer.ends_with("\rPID|||SYN-9^^^RABENSTEIN||Doe^J\rORC|OK|P1^KIS|\rORC|OK|P2^KIS|\r"), "{answer}");
}

/// In O35 the next container follows what went along with the order before it.
#[test]
fn a_container_behind_earlier_results_belongs_to_its_specimen() {
    let order = |number: &str| format!("ORC|NW|{number}^KIS\rOBR|1|{number}^KIS||HE^H&E^L\r");
    let prior = "ORC|PR|OLD1^KIS\rOBR|1|OLD1^KIS||HE^H&E^L\rOBX|1|TX|X||benign\r";
    let text = oml("O35", &[BIOPSY, &order("P1"), prior, "SAC|||POT-2^KIS\r", &order("P2")].concat());
    let read = read(&text).expect("orders");
    let containers: Vec<&str> = read.specimens[0].containers.iter().map(|id| id.value.as_str()).collect();
    assert_eq!(containers, ["POT-1", "POT-2"]);
    assert_eq!(read.orders.iter().map(|order| order.specimens.as_slice()).collect::<Vec<_>>(), [[0], [0]]);
}

#[test]
fn the_answer_to_a_specimen_with_its_orders_names_the_specimen_first() {
    let order = |number: &str| format!("ORC|NW|{number}^KIS\rOBR|1|{number}^KIS||HE^H&E^L\r");
    let text = oml("O33", &[BIOPSY, &order("P1"), &order("P2"), SLIDE, &order("P3")].concat());
    let message = Message::parse(text.as_bytes()).expect("a message");
    let answers = [1, 2, 3].map(|sequence| OrderAnswer { code: "OK", sequence, reason: None });
    let (message_type, event) = OrderKind::OmlOfSpecimen.response();
    let answer = respond(&message, &Response { message_type, event, orders: &answers }, Moment(0));
    let answer = String::from_utf8(answer).expect("ASCII");
    let lines: Vec<&str> = answer.split_terminator('\r').skip(2).collect();
    assert_eq!(
        lines,
        [
            "PID|||SYN-9^^^RABENSTEIN||Doe^J",
            "SPM|1|S26-1&KIS||BX^Gastric biopsy^L",
            "SAC|||POT-1^KIS",
            "ORC|OK|P1^KIS|",
            "ORC|OK|P2^KIS|",
            "SPM|2|&KIS^S26-1-1&LAB||SLD^Slide^L",
            "ORC|OK|P3^KIS|",
        ]
    );
}

#[test]
fn a_specimen_that_cannot_be_taken_is_refused_with_its_place() {
    let order = "ORC|NW|P1^KIS\rOBR|1|P1^KIS||HE^H&E^L\r";
    let refuse = |specimens: &str| {
        let refused = read(&oml("O21", &[order, specimens].concat())).expect_err("refused");
        (refused.segment, refused.sequence, refused.field, refused.code)
    };
    let long = "9".repeat(200);
    assert_eq!(refuse("SPM|1|S1&KIS\r"), ("SPM", 1, 4, ErrorCode::RequiredFieldMissing));
    assert_eq!(refuse(&format!("SPM|1|S1&KIS||BX\rSPM|2|{long}||BX\r")), ("SPM", 2, 2, ErrorCode::DataType));
    assert_eq!(refuse(&format!("SPM|1|S1||BX\rSAC|||{long}\r")), ("SAC", 1, 3, ErrorCode::DataType));
    assert_eq!(refuse(&"SPM|1|S1||BX\r".repeat(201)), ("SPM", 201, 0, ErrorCode::SegmentSequence));
    let pots: String = (0..51).map(|pot| format!("SAC|||POT-{pot}\r")).collect();
    assert_eq!(refuse(&format!("SPM|1|S1||BX\r{pots}")), ("SAC", 51, 0, ErrorCode::SegmentSequence));
    // A general order may do without the type.
    let omg = oml("O19", &[order, "SPM|1|S1&KIS\r"].concat()).replace("OML^O19^OML_O19", "OMG^O19^OMG_O19");
    assert_eq!(read(&omg).expect("an order").orders[0].specimens, [0]);
}

#[test]
fn pathology_is_what_says_so() {
    let discipline = |section: &str| {
        let message = ORM.replace("||||||CT|||", &format!("||||||{section}|||"));
        read(&message).expect("an order").orders[0].discipline
    };
    for section in ["PAT", "SP", "CP", "SM"] {
        assert_eq!(discipline(section), Discipline::Pathology, "{section}");
    }
    for section in ["CT", "RAD", "LAB", ""] {
        assert_eq!(discipline(section), Discipline::Radiology, "{section}");
    }
}

proptest! {
    #[test]
    fn damaged_orders_are_read_or_refused_and_never_panic(which in 0..2_usize, at in any::<prop::sample::Index>(), with in any::<Vec<u8>>()) {
        let mut bytes = [ORM, &oml("O33", &[BIOPSY, "ORC|NW|P1\rOBR|1\r", SLIDE].concat())][which % 2].as_bytes().to_vec();
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
