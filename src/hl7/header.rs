//! What must be right about the header of a message before anybody asks what the message says.
//!
//! In: a message. Out: nothing, or a refusal with its place. A header that is broken in two would lose its processing id
//! and character set without a word; two messages in one frame would be one message about two patients; and a sender that
//! cannot know its own control id again in MSA-2 would send for ever.

use super::{
    ack::{ErrorCode, Rejected},
    message::Message,
};

/// MSH-10 has at most 20 characters before v2.7, and 199 from then on.
const MAX_CONTROL_ID_BYTES: usize = 199;

/// # Errors
/// What is wrong, and where.
pub fn check(message: &Message<'_>) -> Result<(), Rejected> {
    let mut after = message.segments().filter(|segment| !segment.is_blank()).skip(1).peekable();
    if after.peek().is_some_and(|segment| !segment.is_known()) {
        return refused(1, 0, ErrorCode::SegmentSequence, "a line break inside of MSH: what follows is no segment");
    }
    if after.any(|segment| ["MSH", "FHS", "BHS"].iter().any(|header| segment.is(header))) {
        return refused(2, 0, ErrorCode::SegmentSequence, "a second MSH: one message in a frame is expected");
    }
    control_id(message)
}

fn control_id(message: &Message<'_>) -> Result<(), Rejected> {
    let id = message.header().field(10).raw();
    if id.len() > MAX_CONTROL_ID_BYTES || id.iter().any(u8::is_ascii_control) {
        let text = "MSH-10 is longer than 199 characters, or has control characters";
        return refused(1, 10, ErrorCode::DataType, text);
    }
    Ok(())
}

fn refused(sequence: usize, field: usize, code: ErrorCode, text: &'static str) -> Result<(), Rejected> {
    Err(Rejected::new("MSH", sequence, field, code, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(bytes: &[u8]) -> Option<(usize, usize)> {
        let message = Message::parse(bytes).expect("a message");
        check(&message).err().map(|refused| (refused.sequence, refused.field))
    }

    #[test]
    fn a_header_is_whole_and_the_only_one() {
        let good = b"\xEF\xBB\xBF\r\nMSH|^~\\&|KIS|RAB|||||ORM^O01|M1|P|2.3\r\rPID|1\rZAA|MSH|\r";
        assert_eq!(place(good), None);
        for (control_id, wrong) in [
            (b"M\x1c1".to_vec(), (1, 10)),
            (b"M\n1".to_vec(), (1, 10)),
            (vec![b'7'; 200], (1, 10)),
            (b"M\r1".to_vec(), (1, 0)),
            (b"AB\rCDE".to_vec(), (1, 0)),
        ] {
            let bytes = [b"MSH|^~\\&|KIS|RAB|||||ORM^O01|".as_slice(), &control_id, b"|P|2.3\rPID|1"].concat();
            assert_eq!(place(&bytes), Some(wrong), "{control_id:?}");
        }
        assert_eq!(place(b"MSH|^~\\&|KIS|RAB|||||ORM^O01|M1|P\rPID|1\rmsh|^~\\&|"), Some((2, 0)));
        assert_eq!(place(b"MSH|^~\\&|"), None);
    }
}
