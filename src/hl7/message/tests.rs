//! What a view may never do: lose a byte, change one, or panic.

use super::*;
use crate::hl7::charset::Charset;
use proptest::prelude::*;

fn ids<'a>(message: &Message<'a>) -> Vec<&'a str> {
    message.segments().map(|segment| segment.id()).collect()
}

fn written(message: &Message<'_>) -> Vec<u8> {
    let lines = message.segments().enumerate();
    lines.flat_map(|(line, segment)| [segment.raw(), message.terminator(line)].concat()).collect()
}

fn text(value: Value<'_>) -> String {
    value.text(Charset::UTF_8).text
}

#[test]
fn header_fields_count_from_the_separator() {
    let message = Message::parse(b"MSH|^~\\&|APP|FAC^1.2.3^ISO|||20260101||ORU^R01|42|P|2.5.1\rPID|1||7").unwrap();
    let header = message.header();
    assert_eq!(text(header.field(1)), "|");
    assert_eq!(text(header.field(2)), r"^~\&");
    assert_eq!(text(header.field(3)), "APP");
    assert_eq!(text(header.field(4).component(2)), "1.2.3");
    assert_eq!(text(header.field(10)), "42");
    assert_eq!(header.field_count(), 12);
    let patient = message.first("PID").unwrap();
    assert_eq!((text(patient.field(1)), text(patient.field(3)), patient.field_count()), ("1".into(), "7".into(), 3));
    assert!(patient.field(99).is_empty() && patient.field(0).is_empty());
}

#[test]
fn separators_are_those_of_the_message() {
    let message = Message::parse(b"MSH#*!%+#A#\rPID###1*x+y*z!2*q\r").unwrap();
    let ids = message.first("PID").unwrap().field(3);
    assert_eq!(ids.repetitions().map(|id| text(id.component(1))).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(text(ids.component(2).subcomponent(2)), "y");
    let bare = Message::parse(b"MSH|^\rPID|1~2&3").unwrap();
    assert_eq!(
        text(bare.first("PID").unwrap().field(1).component(1)),
        "1~2&3",
        "what MSH-2 does not name splits nothing"
    );
}

#[test]
fn headers_that_can_be_read_two_ways_are_refused() {
    for bad in ["MSH", "MSH|", "MSH||||", "MSH|^^~|", "MSHa^~\\&a", "MSH|^~\\&#xA|", "MSH|AB|", "MSH |"] {
        assert_eq!(Message::parse(bad.as_bytes()).err(), Some(MessageError::BadSeparators), "{bad}");
    }
    for bad in ["", "PID|1", "msh|^~\\&|", "GET / HTTP/1.1\r\n", "\u{FEFF}PID"] {
        assert_eq!(Message::parse(bad.as_bytes()).err(), Some(MessageError::NoHeader), "{bad}");
    }
}

/// The inputs at which a published parser returned Ok and dropped the rest of the message.
#[test]
fn odd_lines_are_kept_and_reachable() {
    let message = Message::parse(b"MSH|^~\\&|\rEVN\rZ1|a\rpid|1\r\rstray text\rZBEFUND|x\rOBX|1\r").unwrap();
    assert_eq!(ids(&message), ["MSH", "EVN", "Z1", "pid", "", "", "ZBEFUND", "OBX"]);
    let stray = message.segment(5).unwrap();
    assert!(stray.is_stray() && message.segment(4).unwrap().is_blank());
    assert_eq!(stray.raw(), b"stray text");
    assert!(message.first("PID").is_some(), "lower-case ids are found");
}

#[test]
fn line_ends_of_every_kind_are_tolerated() {
    for end in ["\r", "\n", "\r\n"] {
        let bytes = ["MSH|^~\\&|", "PID|1", "OBX|1|TX"].join(end);
        let message = Message::parse(bytes.as_bytes()).unwrap();
        assert_eq!(ids(&message), ["MSH", "PID", "OBX"], "{end:?}");
    }
    let mixed = Message::parse(b"\xEF\xBB\xBF\r\nMSH|^~\\&|\rPID|1\nOBX|1|TX|||one\ntwo\nOBX|2").unwrap();
    assert_eq!(ids(&mixed), ["", "MSH", "PID", "OBX", "OBX"]);
    assert_eq!(text(mixed.segment(3).unwrap().field(5)), "one\ntwo", "a LF in the text of a CR message is text");
    assert_eq!(mixed.header().id(), "MSH");
    for (bytes, expected) in [
        ("MSH|^~\\&|KIS|RAB|||||ORM^O01|M\n1|T|2.3\rPID|1", vec!["MSH", "PID"]),
        ("MSH|^~\\&|KIS|RAB|||||ORM^O01|M\n1|T|2.3\nPID|1\nOBX|1", vec!["MSH", "PID", "OBX"]),
        ("MSH|^~\\&|KIS|RAB|||||ORM^O01|M1|T|2.3\n\npid|1\nOBX|1", vec!["MSH", "", "pid", "OBX"]),
        ("MSH|^~\\&|KIS|RAB|||||ORM^O01|M1|T|2.3\nZP|1\n", vec!["MSH", "ZP"]),
    ] {
        let message = Message::parse(bytes.as_bytes()).unwrap();
        assert_eq!(ids(&message), expected, "{bytes:?}");
        assert_eq!(text(message.header().field(11)), "T", "a LF inside of the header takes nothing away: {bytes:?}");
    }
}

#[test]
fn unescaped_line_breaks_can_be_joined_again() {
    let message = Message::parse(b"MSH|^~\\&|\nOBX|1|TX|||one\n\ntwo||||||F\nOBX|2").unwrap();
    let joined = message.between(1, 3).unwrap();
    assert_eq!(text(joined.field(5)), "one\n\ntwo");
    assert_eq!(text(joined.field(11)), "F");
}

#[test]
fn null_is_not_empty() {
    let message = Message::parse(b"MSH|^~\\&|\rPID|\"\"||x").unwrap();
    let pid = message.first("PID").unwrap();
    assert!(pid.field(1).is_null() && !pid.field(1).is_empty() && !pid.field(1).is_valued());
    assert!(!pid.field(2).is_null() && pid.field(2).is_empty());
    assert_eq!(text(pid.field(1)), "");
}

#[test]
fn hexadecimal_bytes_are_of_the_messages_own_character_set() {
    let message = Message::parse(b"MSH|^~\\&|\rPID|M\\XFC\\ller").unwrap();
    let latin1 = message.first("PID").unwrap().field(1).text(Charset::ISO_8859_1);
    assert_eq!(latin1.text, "Müller");
}

#[test]
fn the_number_of_segments_is_bounded() {
    let bytes = [b"MSH|^~\\&|\r".as_slice(), &b"\r".repeat(MAX_SEGMENTS)].concat();
    assert_eq!(Message::parse(&bytes).err(), Some(MessageError::TooManySegments));
}

/// Run with `--ignored --nocapture`, in release, for the figures.
#[test]
#[ignore = "a measurement"]
fn measure_large_messages() {
    let mut many = b"MSH|^~\\&|A|B|||20260101||ORU^R01|1|P|2.5.1\r".to_vec();
    for i in 0..200_000 {
        many.extend_from_slice(format!("OBX|{i}|TX|1^x||line {i} of the text||||||F\r").as_bytes());
    }
    let started = std::time::Instant::now();
    let message = Message::parse(&many).unwrap();
    let indexed = started.elapsed();
    let total: usize = message.segments().filter(|s| s.is("OBX")).map(|s| s.field(5).raw().len()).sum();
    println!(
        "200k OBX, {} bytes: index {indexed:?}, every OBX-5 {:?}, {total}",
        many.len(),
        started.elapsed() - indexed
    );
    let large = [b"MSH|^~\\&|A\rOBX|1|TX|||".as_slice(), &b"x".repeat(32 << 20), b"||||||F\r"].concat();
    let started = std::time::Instant::now();
    let message = Message::parse(&large).unwrap();
    let status = message.segment(1).unwrap().field(11).raw().to_vec();
    println!("32 MB OBX-5: {:?} up to OBX-11, {status:?}", started.elapsed());
    assert_eq!(message.len(), 2);
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop::sample::select(b"|^~\\&\r\n\"MSHPIDOBX123 Z".to_vec()),
        1 => any::<u8>(),
    ];
    proptest::collection::vec(byte, 0..300)
}

proptest! {
    #[test]
    fn every_byte_belongs_to_a_line(tail in hostile()) {
        let bytes = [b"MSH|^~\\&|".as_slice(), &tail].concat();
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(written(&message), bytes);
    }

    #[test]
    fn any_bytes_can_be_walked(head in prop_oneof![Just(b"MSH".to_vec()), hostile()], tail in hostile()) {
        let bytes = [head, tail].concat();
        crate::hl7::fuzz_message(&bytes);
    }

    #[test]
    fn fields_joined_again_are_the_segment(tail in hostile()) {
        let bytes = [b"MSH|^~\\&|\rOBX|".as_slice(), &tail].concat();
        let message = Message::parse(&bytes).unwrap();
        for segment in message.segments().skip(1) {
            let fields: Vec<&[u8]> = (1..=segment.field_count()).map(|n| segment.field(n).raw()).collect();
            let id = segment.raw().split(|b| *b == b'|').next().unwrap_or_default();
            if !segment.raw().starts_with(b"MSH|") && !segment.raw().starts_with(b"BHS|") {
                let joined = [&[id], fields.as_slice()].concat().join(&b'|');
                prop_assert_eq!(joined, segment.raw());
            }
        }
    }
}

#[test]
fn a_message_without_its_time_is_the_same_whenever_it_was_written() {
    let rest = |text: &str| Message::parse(text.as_bytes()).unwrap().without_its_time().concat();
    let message = "MSH|^~\\&|KIS|RAB|N|N|20261124230000||ORM^O01|1|P|2.5\rPID|1||7\r";
    let whole = "MSH|^~\\&|KIS|RAB|N|N|||ORM^O01|1|P|2.5\rPID|1||7";
    assert_eq!(rest(message), whole.as_bytes());
    for same in [
        message.replace("20261124230000", "20261124230117.123+0100"),
        message.replace("20261124230000", ""),
        message.trim_end().to_owned(),
        format!("{message}\r\n\n"),
    ] {
        assert_eq!(rest(&same), whole.as_bytes(), "{same:?}");
    }
    for other in [
        message.replace("|1|P", "|2|P"),
        message.replace("||7", "||8"),
        message.replace("230000||ORM", "230000|X|ORM"),
        message.replace("\rPID", "\r\rPID"),
        message.replace("||7\r", "||7 \r"),
    ] {
        assert_ne!(rest(&other), whole.as_bytes(), "{other:?}");
    }
    // As short as a header may be, and with separators of its own.
    assert_eq!(rest("MSH|^~\\&\r"), b"MSH|^~\\&");
    assert_eq!(rest("MSH|^~\\&|A|B|C|D|2026"), b"MSH|^~\\&|A|B|C|D|");
    assert_eq!(rest("\nMSH#^~\\&#A#B#C#D#2026#E\n"), b"\nMSH#^~\\&#A#B#C#D##E");
    assert_eq!(rest("MSH|^~\\&|A|B|C|D|2026|E|\r"), b"MSH|^~\\&|A|B|C|D||E|");
}
