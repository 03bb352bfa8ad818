//! MLLP framing: 0x0B, the message, 0x1C 0x0D (Minimal Lower Layer Protocol, release 1).
//!
//! In: bytes of a TCP stream in pieces of any size; out: whole messages, one at a time, pipelined ones too. Bytes
//! between frames are skipped and counted. Sizes are bounded, no byte is looked at twice.
//!
//! Does not look into a message, but for one thing: a second header right after a second 0x0B means that the end of the
//! first message was lost, and joining the two would mix up patients.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::{memchr, memmem};
use std::io;
use tokio_util::codec::{Decoder, Encoder};

pub(super) const START: u8 = 0x0B;
const END_BYTE: u8 = 0x1C;
const CARRIAGE_RETURN: u8 = 0x0D;
pub(super) const END: [u8; 2] = [END_BYTE, CARRIAGE_RETURN];

/// Bytes a frame adds to its message.
pub const FRAME_BYTES: usize = 3;

/// Line ends between frames are common; more than this in one gap is another protocol.
pub const MAX_NOISE_BYTES: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum MllpError {
    #[error("message larger than {max} bytes, or its end (0x1C 0x0D) never came")]
    TooLong { max: usize },
    #[error("more than {MAX_NOISE_BYTES} bytes without a message start (0x0B): not MLLP")]
    TooMuchNoise,
    #[error("a second message starts (0x0B MSH) before the first has ended (0x1C 0x0D)")]
    StartInside,
    #[error("the stream ended {0} bytes into a message")]
    EndedInside(usize),
    #[error("the message holds an end of frame (0x1C 0x0D) and cannot be sent")]
    EndInContent,
    #[error("the stream failed")]
    Io(#[from] io::Error),
}

/// One direction's state of a connection.
#[derive(Debug)]
pub struct MllpCodec {
    max_message_bytes: usize,
    /// 0x0B has been seen and taken away.
    inside: bool,
    /// Bytes of the buffer that hold no end of frame.
    scanned: usize,
    noise_in_gap: usize,
    noise_bytes: u64,
}

impl MllpCodec {
    pub fn new(max_message_bytes: usize) -> Self {
        Self { max_message_bytes, inside: false, scanned: 0, noise_in_gap: 0, noise_bytes: 0 }
    }

    /// A message has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    /// Bytes skipped between frames so far.
    pub fn noise_bytes(&self) -> u64 {
        self.noise_bytes
    }

    fn skip_noise(&mut self, buffer: &mut BytesMut, count: usize) -> Result<(), MllpError> {
        buffer.advance(count);
        self.noise_bytes += count as u64;
        self.noise_in_gap += count;
        if self.noise_in_gap > MAX_NOISE_BYTES { Err(MllpError::TooMuchNoise) } else { Ok(()) }
    }

    /// Takes 0x0B and what lies before it. False: there is none yet.
    fn enter(&mut self, buffer: &mut BytesMut) -> Result<bool, MllpError> {
        let Some(at) = memchr(START, buffer) else {
            self.skip_noise(buffer, buffer.len())?;
            return Ok(false);
        };
        self.skip_noise(buffer, at)?;
        buffer.advance(1);
        (self.inside, self.scanned, self.noise_in_gap) = (true, 0, 0);
        Ok(true)
    }

    /// Where the frame ends. A 0x1C without 0x0D after it is content: some senders let it through in text.
    fn find_end(&mut self, buffer: &[u8]) -> Option<usize> {
        while let Some(offset) = memchr(END_BYTE, &buffer[self.scanned..]) {
            self.scanned += offset;
            match buffer.get(self.scanned + 1) {
                Some(&CARRIAGE_RETURN) => return Some(self.scanned),
                Some(_) => self.scanned += 1,
                None => return None,
            }
        }
        self.scanned = buffer.len();
        None
    }
}

impl Decoder for MllpCodec {
    type Item = Bytes;
    type Error = MllpError;

    /// On an error the buffer still holds the message's beginning, so that it can be refused by its control id.
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, MllpError> {
        if !self.inside && !self.enter(buffer)? {
            return Ok(None);
        }
        let end = self.find_end(buffer);
        if end.unwrap_or(self.scanned) > self.max_message_bytes {
            return Err(MllpError::TooLong { max: self.max_message_bytes });
        }
        let Some(end) = end else { return Ok(None) };
        if memmem::find(&buffer[..end], b"\x0bMSH").is_some() {
            return Err(MllpError::StartInside);
        }
        let message = buffer.split_to(end).freeze();
        buffer.advance(2);
        (self.inside, self.scanned) = (false, 0);
        Ok(Some(message))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, MllpError> {
        match self.decode(buffer)? {
            Some(message) => Ok(Some(message)),
            None if self.inside => Err(MllpError::EndedInside(buffer.len())),
            None => Ok(None),
        }
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for MllpCodec {
    type Error = MllpError;

    fn encode(&mut self, message: T, buffer: &mut BytesMut) -> Result<(), MllpError> {
        let message = message.as_ref();
        if ends_frame(message, None) {
            return Err(MllpError::EndInContent);
        }
        buffer.reserve(message.len() + FRAME_BYTES);
        buffer.put_u8(START);
        buffer.put_slice(message);
        buffer.put_slice(&END);
        Ok(())
    }
}

/// Whether a piece of a message, with what comes after it, would end its frame; at the message's end 0x0D comes.
pub(super) fn ends_frame(piece: &[u8], next: Option<&[u8]>) -> bool {
    let goes_on = next.is_some_and(|next| next.first() != Some(&CARRIAGE_RETURN));
    memmem::find(piece, &END).is_some() || (piece.last() == Some(&END_BYTE) && !goes_on)
}

/// For fuzzing: the frames must not depend on how the stream is cut, and what is decoded can be encoded again.
pub fn fuzz_frames(bytes: &[u8]) {
    let whole = frames_of(bytes, bytes.len().max(1));
    for piece in [1, 2, 7] {
        assert_eq!(frames_of(bytes, piece), whole, "frames depend on how the stream is cut");
    }
    for frame in whole.iter().filter(|frame| frame.last() != Some(&END_BYTE)) {
        let mut again = BytesMut::new();
        let encoded = MllpCodec::new(1024).encode(frame, &mut again);
        assert!(encoded.is_ok(), "a frame received cannot be sent");
        assert_eq!(
            frames_of(&again, again.len()),
            std::slice::from_ref(frame),
            "a frame sent is not the frame received"
        );
    }
}

/// What comes out when the stream comes in pieces of `piece` bytes, up to the first error.
fn frames_of(bytes: &[u8], piece: usize) -> Vec<Bytes> {
    let mut codec = MllpCodec::new(1024);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for chunk in bytes.chunks(piece) {
        buffer.put_slice(chunk);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8], max: usize) -> (Vec<Bytes>, Option<MllpError>, MllpCodec) {
        let mut codec = MllpCodec::new(max);
        let mut buffer = BytesMut::from(bytes);
        let mut frames = Vec::new();
        loop {
            match codec.decode_eof(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return (frames, None, codec),
                Err(error) => return (frames, Some(error), codec),
            }
        }
    }

    #[test]
    fn pipelined_frames_stay_apart_and_noise_is_counted() {
        let (frames, error, codec) = all(b"\r\n\x0bfirst\x1c\r\x0bsecond\x1c\r\n\x0b\x1c\rtail", 100);
        assert_eq!(frames, ["first", "second", ""]);
        assert!(error.is_none());
        assert_eq!(codec.noise_bytes(), 7);
    }

    #[test]
    fn a_lone_end_byte_is_content() {
        assert_eq!(all(b"\x0ba\x1cb\x1c\x1c\r", 100).0, ["a\x1cb\x1c"]);
        assert_eq!(all(b"\x0bword\x0bwrap\x1c\r", 100).0, ["word\x0bwrap"], "a vertical tab from a word processor too");
    }

    #[test]
    fn two_messages_are_never_joined() {
        assert!(matches!(all(b"\x0bMSH|half\x0bMSH|whole\x1c\r", 100).1, Some(MllpError::StartInside)));
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(all(b"\x0b12345\x1c\r", 5).0, ["12345"]);
        for bytes in [b"\x0b123456\x1c\r".as_slice(), b"\x0b123456", b"\x0b12345\x1c6"] {
            assert!(matches!(all(bytes, 5).1, Some(MllpError::TooLong { max: 5 })));
        }
        assert!(matches!(all(&[b'x'; MAX_NOISE_BYTES + 1], 5).1, Some(MllpError::TooMuchNoise)));
        assert!(matches!(all(b"\x0b123", 5).1, Some(MllpError::EndedInside(3))));
    }

    #[test]
    fn a_message_that_would_end_its_frame_is_not_sent() {
        let mut buffer = BytesMut::new();
        for message in ["a\x1c\rb", "a\x1c"] {
            assert!(matches!(MllpCodec::new(9).encode(message, &mut buffer), Err(MllpError::EndInContent)));
        }
        assert!(buffer.is_empty());
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_how_the_stream_is_cut(
            bytes in proptest::collection::vec(prop_oneof![prop::sample::select(b"\x0b\x1c\rMSH|".to_vec()), any::<u8>()], 0..400)
        ) {
            fuzz_frames(&bytes);
        }
    }
}
