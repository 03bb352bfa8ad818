//! Acknowledgements as the standard and the field want them.

use super::*;

const AT: Moment = Moment(1_780_000_000_000_000);

fn answer(message: &[u8], verdict: Verdict, problem: Option<&Rejected>) -> Vec<String> {
    let bytes = acknowledge(&Message::parse(message).unwrap(), verdict, problem, AT);
    String::from_utf8_lossy(&bytes).split_terminator('\r').map(str::to_owned).collect()
}

fn missing() -> Rejected {
    Rejected::new("PID", 1, 3, ErrorCode::RequiredFieldMissing, "PID-3 is empty: a patient id is expected")
}

#[test]
fn accepts_in_the_senders_own_terms() {
    let lines = answer(
        b"MSH|^~\\&|RIS|KC^1.2^ISO|NEISSE|N|20260101||ORU^R01^ORU_R01|77|T|2.5.1||||||8859/2\r",
        Verdict::Accept,
        None,
    );
    let fields: Vec<&str> = lines[0].split('|').collect();
    assert_eq!(fields[..7], ["MSH", "^~\\&", "NEISSE", "N", "RIS", "KC^1.2^ISO", "20260528202640+0000"]);
    assert_eq!(fields[8], "ACK^R01^ACK");
    assert_eq!(fields[9].len(), 20);
    assert_eq!((fields[10], fields[11], fields[17]), ("T", "2.5.1", "8859/2"));
    assert_eq!(lines[1], "MSA|AA|77");
    assert_eq!(lines.len(), 2);
}

#[test]
fn errors_say_where_and_why() {
    let lines = answer(b"MSH|^~\\&|A|B|C|D|||ORU^R01|77|P|2.5.1\r", Verdict::Error, Some(&missing()));
    assert_eq!(lines[1], "MSA|AE|77|PID-3 is empty: a patient id is expected");
    let err = "ERR||PID^1^3|101^Required field missing^HL70357|E||||PID-3 is empty: a patient id is expected";
    assert_eq!(lines[2], err);
    let old = answer(b"MSH|^~\\&|A|B|C|D|||ORU^R01|77|P|2.3\r", Verdict::Error, Some(&missing()));
    assert!(old[2].starts_with("ERR|PID^1^3^101&Required field missing&HL70357|PID^1^3|101^"), "{}", old[2]);
    assert!(old[0].contains("|ACK|"));
}

/// Tables 0155 and 0008 as a table: MSH-15, MSH-16, the answers to accept, error, reject.
#[test]
fn both_modes_answer_with_their_codes() {
    for (accept, application, codes) in [
        ("", "", ["AA", "AE", "AR"]),
        ("AL", "", ["CA", "CE", "CR"]),
        ("AL", "AL", ["CA", "CE", "CR"]),
        ("AL", "NE", ["CA", "CE", "CR"]),
        ("ER", "NE", ["", "CE", "CR"]),
        ("SU", "NE", ["CA", "", ""]),
        ("ER", "AL", ["AA", "CE", "CR"]),
        ("SU", "AL", ["CA", "AE", "AR"]),
        ("ER", "", ["", "CE", "CR"]),
        ("NE", "AL", ["AA", "AE", "AR"]),
        ("", "AL", ["AA", "AE", "AR"]),
        ("NE", "NE", ["", "", ""]),
        ("", "ER", ["", "AE", "AR"]),
    ] {
        let message = format!("MSH|^~\\&|A|B|C|D|||ORU^R01|7|P|2.5.1|||{accept}|{application}\r");
        for (verdict, expected) in [Verdict::Accept, Verdict::Error, Verdict::Reject].into_iter().zip(codes) {
            let lines = answer(message.as_bytes(), verdict, None);
            let found = lines.get(1).map_or("", |msa| &msa[4..6]);
            assert_eq!(found, expected, "MSH-15 {accept:?} MSH-16 {application:?} {verdict:?}");
        }
    }
}

#[test]
fn foreign_separators_and_long_or_binary_headers_do_not_break_the_answer() {
    let lines = answer(b"MSH#*!%+#A#B#C#D###ORU*R01#7#P#2.3\r", Verdict::Error, Some(&missing()));
    assert_eq!(lines[1], "MSA#AE#7#PID-3 is empty: a patient id is expected");
    assert!(lines[2].starts_with("ERR#PID*1*3*101+Required field missing+HL70357#PID*1*3#101*"));
    let long = [b"MSH|^~\\&|".as_slice(), &b"x".repeat(100_000), b"||||||ORU^R01|7|P|2.5.1||||||8859/1\x1c\r"].concat();
    let bytes = acknowledge(&Message::parse(&long).unwrap(), Verdict::Accept, None, AT);
    assert!(bytes.len() < 2000 && !bytes.contains(&0x1C));
}

#[test]
fn bytes_without_a_header_are_refused_too() {
    let problem = Rejected::new("MSH", 1, 0, ErrorCode::Internal, "message larger than 64 MiB");
    for bytes in [b"".as_slice(), b"garbage", b"MSH|"] {
        let answer = Acknowledgement::parse(&refuse_bytes(bytes, &problem, AT)).unwrap();
        assert_eq!((answer.code, answer.control_id.as_str()), (AckCode::AR, ""));
        assert_eq!(answer.error_codes, ["207"]);
    }
    let known = refuse_bytes(b"MSH|^~\\&|A|B|C|D|||ORU^R01|77|P|2.5.1\rOBX|1|TX|||half a repo", &problem, AT);
    assert_eq!(Acknowledgement::parse(&known).unwrap().control_id, "77");
}

#[test]
fn answers_of_every_age_are_read() {
    let new = b"MSH|^~\\&|A|B|C|D|||ACK|1|P|2.5.1||||||8859/1\rMSA|AE|77\rERR||PID^1^3|101^Feld fehlt^HL70357|E||||F\xFCr PID-3\r";
    let answer = Acknowledgement::parse(new).unwrap();
    assert_eq!(answer.code.verdict(), Verdict::Error);
    assert_eq!((answer.control_id.as_str(), answer.text.as_str()), ("77", "Für PID-3"));
    assert_eq!(answer.error_codes, ["101"]);
    let old = Acknowledgement::parse(b"MSH|^~\\&|\nMSA|AR|77|no|||207^x\nERR|PID^1^3^103&y&z\n").unwrap();
    assert_eq!((old.code, old.error_codes), (AckCode::AR, vec!["103".to_owned(), "207".to_owned()]));
    assert_eq!(Acknowledgement::parse(b"HTTP/1.1 200 OK"), Err(AckError::NotHl7));
    assert_eq!(Acknowledgement::parse(b"MSH|^~\\&|\r"), Err(AckError::NoMsa));
    assert_eq!(Acknowledgement::parse(b"MSH|^~\\&|\rMSA|OK|1"), Err(AckError::UnknownCode));
}

/// A LF behind MSH-2 that ends nothing is not given back as a separator.
#[test]
fn only_separators_are_given_back_as_separators() {
    let message = Message::parse(b"MSH^|\nM").expect("a message");
    let answer = acknowledge(&message, Verdict::Error, None, Moment(0));
    assert!(answer.starts_with(b"MSH^|^"), "{}", String::from_utf8_lossy(&answer));
    assert!(Acknowledgement::parse(&answer).is_ok());
}
