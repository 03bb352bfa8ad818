//! A message in pieces becomes a frame in pieces, so that none of tens of megabytes is held whole to be sent.
//!
//! In: pieces, in order. Out: 0x0B, the same bytes, 0x1C 0x0D. A message that holds an end of frame is given up before that
//! is sent: the peer has half a frame then, which is no message.

use super::mllp::{END, FRAME_BYTES, MllpError, START, ends_frame};
use bytes::{BufMut, Bytes, BytesMut};
use std::io;

/// Where a message comes from, in order, once.
pub trait MessageSource: Send {
    /// `None`: that was all.
    fn next(&mut self) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;
}

/// A message in one piece.
pub struct InOnePiece(Option<Bytes>);

impl InOnePiece {
    pub fn new(message: Bytes) -> Self {
        Self(Some(message))
    }
}

impl MessageSource for InOnePiece {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FramedError {
    #[error("the message cannot be read")]
    Source(#[source] io::Error),
    #[error("the message cannot be framed")]
    Content(#[source] MllpError),
}

/// A frame, part by part.
pub(super) struct Framed<'a, S> {
    source: &'a mut S,
    /// Read already: whether a piece is the last one decides how it ends.
    ahead: Option<Bytes>,
    begun: bool,
    ended: bool,
}

impl<'a, S: MessageSource> Framed<'a, S> {
    pub(super) fn new(source: &'a mut S) -> Self {
        Self { source, ahead: None, begun: false, ended: false }
    }

    /// What is to be sent next; `None`: the frame has been ended.
    pub(super) async fn part(&mut self) -> Result<Option<BytesMut>, FramedError> {
        if self.ended {
            return Ok(None);
        }
        let piece = match self.ahead.take() {
            Some(piece) => piece,
            None => self.read().await?.unwrap_or_default(),
        };
        self.ahead = self.read().await?;
        if ends_frame(&piece, self.ahead.as_deref()) {
            return Err(FramedError::Content(MllpError::EndInContent));
        }
        let mut part = BytesMut::with_capacity(piece.len() + FRAME_BYTES);
        if !self.begun {
            part.put_u8(START);
            self.begun = true;
        }
        part.put_slice(&piece);
        if self.ahead.is_none() {
            part.put_slice(&END);
            self.ended = true;
        }
        Ok(Some(part))
    }

    async fn read(&mut self) -> Result<Option<Bytes>, FramedError> {
        loop {
            match self.source.next().await.map_err(FramedError::Source)? {
                Some(piece) if piece.is_empty() => {}
                piece => return Ok(piece),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    struct Several(VecDeque<&'static [u8]>);

    impl MessageSource for Several {
        async fn next(&mut self) -> io::Result<Option<Bytes>> {
            Ok(self.0.pop_front().map(Bytes::from_static))
        }
    }

    async fn framed(pieces: &[&'static [u8]]) -> Result<Vec<u8>, FramedError> {
        let mut source = Several(pieces.iter().copied().collect());
        let (mut frame, mut all) = (Framed::new(&mut source), Vec::new());
        while let Some(part) = frame.part().await? {
            all.extend_from_slice(&part);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn pieces_become_one_frame() {
        for pieces in [&[b"MSH|a".as_slice()][..], &[b"MSH", b"", b"|a"], &[b"", b"M", b"SH|a", b""]] {
            assert_eq!(framed(pieces).await.unwrap(), b"\x0bMSH|a\x1c\r");
        }
        assert_eq!(framed(&[]).await.unwrap(), b"\x0b\x1c\r");
        assert_eq!(framed(&[b"a\x1c", b"b\rc"]).await.unwrap(), b"\x0ba\x1cb\rc\x1c\r");
    }

    #[tokio::test]
    async fn an_end_of_frame_in_or_between_pieces_is_not_sent() {
        for pieces in [&[b"a\x1c\rb".as_slice()][..], &[b"a\x1c", b"\rb"], &[b"a\x1c", b"", b"\rb"], &[b"a", b"b\x1c"]]
        {
            assert!(matches!(framed(pieces).await, Err(FramedError::Content(MllpError::EndInContent))));
        }
    }
}
