//! HL7 v2 on the wire: MLLP framing, a loss-free lazy view of a message, acknowledgements, the listener and the sender.
//!
//! Knows no case. `startup` gives the listener its handler.

pub mod ack;
pub mod adt;
pub mod charset;
mod foreign;
mod framed;
pub mod header;
pub mod listener;
pub mod mdm;
pub mod message;
pub mod mllp;
pub mod order;
pub mod oru;
pub mod oul;
pub mod outgoing;
mod receive;
mod seats;
pub mod sender;
pub mod specimen;
mod strict;

use crate::model::Moment;

/// For fuzzing: whatever the bytes, they are read, walked and answered without a panic, and none is lost.
pub fn fuzz_message(bytes: &[u8]) {
    let _ = ack::Acknowledgement::parse(bytes);
    let Ok(message) = message::Message::parse(bytes) else { return };
    let mut length = 0;
    for (line, segment) in message.segments().enumerate() {
        length += segment.raw().len() + message.terminator(line).len();
        for n in 0..segment.field_count().min(64) + 1 {
            for repetition in segment.field(n).repetitions() {
                let _ = repetition.component(2).subcomponent(2).text(charset::Charset::ISO_8859_1);
            }
        }
    }
    assert_eq!(length, bytes.len(), "a byte belongs to no line");
    let fallback = charset::Charset::ISO_8859_1;
    let charset = charset::Charset::of_message(&message, fallback).unwrap_or(fallback);
    let _ = order::OrderMessage::parse(&message, charset);
    let elsewhere = crate::model::Outgoing { utf8: false, ..crate::model::Outgoing::new(charset::Charset::ASCII) };
    let passed_on = outgoing::relayed(bytes, charset, &elsewhere);
    assert!(passed_on.is_ok_and(|sent| message::Message::parse(&sent.bytes).is_ok()), "no message any more");
    let problem = oru::OruReport::parse(&message, charset, None).err();
    let verdict = problem.as_ref().map_or(ack::Verdict::Accept, ack::Rejected::verdict);
    let answer = ack::acknowledge(&message, verdict, problem.as_ref(), Moment(0));
    let answered =
        answer.is_empty() || ack::Acknowledgement::parse(&answer).is_ok_and(|ack| ack.code.verdict() == verdict);
    assert!(answered, "the answer is no acknowledgement");
}
