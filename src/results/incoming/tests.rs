//! What is read from messages that no reader's system would send.

use super::*;
use crate::hl7::charset::Charset;
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

fn incoming(message: &str) -> Result<Incoming, (Box<Incoming>, &'static str)> {
    let report = OruReport::read(message.as_bytes(), Charset::UTF_8).unwrap();
    let sender = PartnerId::new("chemnitz").unwrap();
    Incoming::from_oru(report, sender, Moment(0), Bytes::copy_from_slice(message.as_bytes()))
}

const HEAD: &str =
    "MSH|^~\\&|RIS|KC|NEISSE|N|20261125021500||ORU^R01|1|P|2.5.1||||||UNICODE UTF-8\rPID|1||77^^^RAB||X^Y\r";

#[test]
fn thousands_of_groups_with_dozens_of_numbers_are_held_at_once() {
    let mut message = HEAD.to_owned();
    for group in 0..5_000 {
        message.push_str("OBR|1||||||||||||||||||||||||F\r");
        for number in 0..50 {
            write!(message, "IPC|{group}-{number}||1.2.{group}.{number}\r").unwrap();
        }
    }
    let report = OruReport::read(message.as_bytes(), Charset::UTF_8).unwrap();
    let begun = Instant::now();
    let sender = PartnerId::new("chemnitz").unwrap();
    let (held, reason) = Incoming::from_oru(report, sender, Moment(0), Bytes::new()).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(reason, "it names too many studies");
    assert!(held.clues.studies.len() <= MAX_NAMED && held.clues.accessions.len() <= MAX_NAMED);
}

#[test]
fn as_many_numbers_as_can_be_looked_up_are_read_and_each_once() {
    let groups = |numbers: usize| {
        let group = |number: usize| format!("OBR|1||||||||||||||||||||||||F\rIPC|A{number}||1.2.3\r");
        HEAD.to_owned() + &(0..numbers).chain([0]).map(group).collect::<String>()
    };
    let most = incoming(&groups(MAX_NAMED)).unwrap();
    assert_eq!((most.clues.accessions.len(), most.clues.studies.len()), (MAX_NAMED, 1));
    assert_eq!(incoming(&groups(MAX_NAMED + 1)).unwrap_err().1, TOO_MANY);
}
