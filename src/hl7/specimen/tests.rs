//! What senders write about specimens: read, refused with its place, damaged; and what we write read back.

use super::*;
use crate::{
    hl7::{
        ack::{ErrorCode, Rejected},
        charset::Charset,
        message::Message,
        outgoing::outgoing,
    },
    model::{IssuedId, Outgoing, SpecimenCode, SpecimenEvent},
};
use proptest::prelude::*;

const SSU: &str = "MSH|^~\\&|LIS|KLCHEM|NEISSE|NEISSE|20261124080000||SSU^U03^SSU_U03|S1|P|2.5.1\r\
    EQU|EINGANG|20261124075500\r\
    SAC|||C1^RABENSTEIN|||||I^Identified^HL70370\r\
    SPM|1|S1&RABENSTEIN^E26-7&CHEMNITZ|S0&RABENSTEIN^|TISS^Gewebe^HL70487||||LU^Lunge||||||Stück|||20261123220000|20261124074500||Y|RB^Broken container^HL70490~^Etikett fehlt|||COOL\r\
    SAC|||C2|||||L\r\
    ZXX|local\r";

fn read(text: &str) -> Result<SpecimenStatus, Rejected> {
    SpecimenStatus::parse(&Message::parse(text.as_bytes()).expect("a message"), Charset::UTF_8)
}

#[test]
fn a_status_says_which_specimen_in_which_container_and_what_became_of_it() {
    let read = read(SSU).expect("a status");
    assert_eq!((read.at.0.as_str(), read.specimens.len(), read.lossy), ("20261124075500", 2, false));
    let first = &read.specimens[0];
    assert_eq!((first.status, first.sac), (Status::Here, 1));
    let said = &first.said;
    assert_eq!(said.placer, IssuedId::new("S1", "RABENSTEIN"));
    assert_eq!(said.filler, IssuedId::new("E26-7", "CHEMNITZ"));
    assert_eq!(said.parents, [IssuedId::new("S0", "RABENSTEIN")]);
    assert_eq!(said.containers, [IssuedId::new("C1", "RABENSTEIN")]);
    assert_eq!((said.kind.code.as_str(), said.site.text.as_str()), ("TISS", "Lunge"));
    assert_eq!((said.collected.0.as_str(), said.received.0.as_str()), ("20261123220000", "20261124074500"));
    let reasons: Vec<&str> = said.rejected.iter().map(SpecimenCode::display).collect();
    assert_eq!(reasons, ["Broken container", "Etikett fehlt"]);
    let second = &read.specimens[1];
    assert_eq!((second.status, second.said.id()), (Status::Left, Some(&IssuedId::new("C2", ""))));
}

#[test]
fn what_a_status_cannot_do_without_is_refused_with_its_place() {
    let change = |from: &str, to: &str| {
        assert!(SSU.contains(from), "{from}");
        let refused = read(&SSU.replace(from, to)).expect_err(to);
        (refused.segment, refused.sequence, refused.field, refused.code)
    };
    assert_eq!(change("SSU^U03^SSU_U03", "ADT^A08"), ("MSH", 1, 9, ErrorCode::UnsupportedMessageType));
    assert_eq!(change("SSU^U03^SSU_U03", "SSU^U99"), ("MSH", 1, 9, ErrorCode::UnsupportedEvent));
    assert_eq!(change("|S1|P|", "||P|"), ("MSH", 1, 10, ErrorCode::RequiredFieldMissing));
    assert_eq!(change("|S1|P|", "|S1|T|"), ("MSH", 1, 11, ErrorCode::UnsupportedProcessingId));
    assert_eq!(change("2.5.1", "3"), ("MSH", 1, 12, ErrorCode::UnsupportedVersion));
    assert_eq!(change("SAC|||C2|", "SAC||||"), ("SAC", 2, 3, ErrorCode::RequiredFieldMissing));
    assert_eq!(change("SAC|||C2|", &format!("SAC|||{}|", "C".repeat(200))), ("SAC", 2, 3, ErrorCode::DataType));
    let nameless = SSU.replace("S1&RABENSTEIN^E26-7&CHEMNITZ", "").replace("C1^RABENSTEIN", "");
    assert_eq!(read(&nameless).expect_err("no id").field, 2);
    let header = SSU.split_inclusive('\r').take(2).collect::<String>();
    assert_eq!(read(&header).expect_err("no specimen").segment, "SAC");
    let many = header + &"SAC|||C\r".repeat(202);
    assert_eq!(read(&many).expect_err("too many").code, ErrorCode::DataType);
}

#[test]
fn a_status_is_read_by_its_table_or_by_our_words() {
    let status = |field: &str| {
        let text = SSU.replace("I^Identified^HL70370", field);
        read(&text).expect("a status").specimens[0].status
    };
    for (field, wanted) in [
        ("", Status::Silent),
        ("U", Status::Silent),
        ("X^Container Unavailable", Status::Silent),
        ("P", Status::Here),
        ("R", Status::InWork),
        ("O", Status::InWork),
        ("M", Status::Missing),
        ("shipped", Status::Said(SpecimenEvent::Shipped)),
        ("L^Left Equipment^HL70370^shipped", Status::Said(SpecimenEvent::Shipped)),
        ("Q7^Eingang", Status::Other),
    ] {
        assert_eq!(status(field), wanted, "{field}");
    }
}

#[test]
fn what_is_written_says_the_same_when_it_is_read() {
    let said = read(SSU).expect("a status").specimens[0].said.clone();
    let at = chrono::DateTime::parse_from_rfc3339("2026-11-24T07:45:00+01:00").expect("a time");
    for event in SpecimenEvent::ALL {
        let ssu = SsuToSend {
            sending_facility: "neisse-1",
            receiving_application: "KIS",
            receiving_facility: "DRKRAB",
            control_id: "M1",
            at,
            teller: "chemnitz",
            specimen: SpecimenToTell {
                said: &said,
                event,
                happened: at,
                reason: Some(SpecimenCode {
                    code: "RB".into(),
                    text: "Broken container".into(),
                    system: "HL70490".into(),
                }),
            },
        };
        let sent = outgoing(&ssu.text(), &Outgoing::new(Charset::ISO_8859_1));
        assert_eq!((sent.charset, sent.warnings.len()), (Charset::ISO_8859_1, 0));
        let message = Message::parse(&sent.bytes).expect("a message");
        let read = SpecimenStatus::parse(&message, Charset::ISO_8859_1).expect("a status");
        let told = &read.specimens[0];
        assert_eq!((told.status, &told.said.placer), (Status::Said(event), &said.placer), "{event}");
        assert_eq!((&told.said.filler, &told.said.containers), (&said.filler, &said.containers));
        assert_eq!(read.at.0, "20261124074500+0100");
        assert_eq!(!told.said.rejected.is_empty(), event == SpecimenEvent::Rejected);
    }
}

#[test]
fn a_reason_of_the_laboratory_s_own_is_also_the_one_of_the_table_it_names_beside() {
    let rejected = |field: &str| {
        let spm = format!("SPM|1|S1||TISS|||||||||||||||||{field}\r");
        let text = SSU.split_inclusive('\r').take(2).collect::<String>() + &spm;
        let read = read(&text).expect("a status");
        read.specimens[0].said.rejected.iter().map(|one| (one.code.clone(), one.text.clone())).collect::<Vec<_>>()
    };
    let own = |code: &str, text: &str| (code.to_owned(), text.to_owned());
    let both = [own("LEAK", "undicht"), own("RB", "broken")];
    assert_eq!(rejected("LEAK^undicht^L^RB^broken^HL70490"), both);
    assert_eq!(rejected("LEAK^undicht^L^RB^broken^HL70490~RB^broken^HL70490"), both, "once");
    assert_eq!(rejected("LEAK^undicht^L^77^broken^99LIS"), both[..1], "of no table");
    assert_eq!(rejected("RM^label^HL70490"), [own("RM", "label")]);
}

/// Where the receiver's set lacks a letter, the message is UTF-8; for one that takes no UTF-8, the letter is spelled, and an
/// id by code point.
#[test]
fn letters_the_receiver_lacks_are_told_of() {
    let kind = SpecimenCode { code: "TISS".into(), text: "Łokieć".into(), system: "L".into() };
    let said = SpecimenSaid { placer: IssuedId::new("Ł-1", "LIBEREC"), kind, ..SpecimenSaid::default() };
    let at = chrono::DateTime::parse_from_rfc3339("2026-11-24T07:45:00+01:00").expect("a time");
    let specimen = SpecimenToTell { said: &said, event: SpecimenEvent::Shipped, happened: at, reason: None };
    let (sending_facility, receiving_application, receiving_facility) = ("n", "a", "f");
    let (control_id, teller) = ("M1", "liberec");
    let ssu =
        SsuToSend { sending_facility, receiving_application, receiving_facility, control_id, at, teller, specimen };
    let mut policy = Outgoing::new(Charset::ISO_8859_1);
    let sent = outgoing(&ssu.text(), &policy);
    let text = String::from_utf8(sent.bytes).expect("UTF-8");
    assert!(text.contains("|UNICODE UTF-8") && text.contains("Ł-1&LIBEREC"), "{text}");
    assert!(!sent.warnings.is_empty());
    policy.utf8 = false;
    let sent = outgoing(&ssu.text(), &policy);
    let text = Charset::ISO_8859_1.decode(&sent.bytes).text;
    assert!(text.contains("|8859/1") && text.contains("^Lokiec^") && !text.contains("Ł"), "{text}");
    assert!(!sent.warnings.is_empty());
}

/// In results a container follows its specimen.
#[test]
fn what_results_say_of_their_specimens_is_read_beside() {
    let oul = "MSH|^~\\&|LIS|KLCHEM|||2026||OUL^R22|M1|P|2.5.1\rPID|||7\rSPM|1|S1^E1||TISS||||||||||||||20261124\r\
        SAC|||C1\rOBR|1\rSPM|2|||TISS\rSPM|3|S3||TISS\r";
    let message = Message::parse(oul.as_bytes()).expect("a message");
    let said = specimens_in(&message, Charset::UTF_8);
    let ids: Vec<Vec<&str>> = said.iter().map(|said| said.ids().map(|id| id.value.as_str()).collect()).collect();
    assert_eq!(ids, [vec!["S1", "E1", "C1"], vec!["S3"]]);
    assert_eq!(said[0].received.0, "20261124");
}

proptest! {
    #[test]
    fn damaged_messages_are_read_or_refused_and_never_panic(at in any::<prop::sample::Index>(), with in any::<Vec<u8>>()) {
        let mut bytes = SSU.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes.splice(at..at, with);
        if let Ok(message) = Message::parse(&bytes)
            && let Ok(read) = SpecimenStatus::parse(&message, Charset::ISO_8859_1)
        {
            prop_assert!(read.specimens.iter().all(|told| told.said.id().is_some()));
        }
    }
}
