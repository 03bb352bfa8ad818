//! A multipart body that comes in (RFC 2046 5.1, RFC 2387), part by part, with no more of it in memory than a piece.
//!
//! In: the pieces of a body. Out: for each part its headers, then its bytes as they come; reading no further is what
//! holds the sender back. Headers, parts, pauses and what nobody wants are bounded; the lengths of parts that are read are not.

use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use std::time::Duration;
use tokio::time::{Instant, timeout};

pub const MAX_HEADER_BYTES: usize = 8 << 10;
pub const MAX_PARTS: usize = 10_000;
const LONGEST_BOUNDARY: usize = 70;
const MAX_PREAMBLE_BYTES: usize = 64 << 10;
/// Of parts that are passed over, in all: several slides that are refused, not a stream without an end.
const MAX_PASSED_BYTES: u64 = 16 << 30;
/// As a DICOM association: no single pause longer than this, and all of them together only longer by what has come at
/// [`LEAST_BYTES_PER_SEC`].
const IDLE: Duration = Duration::from_secs(60);
const LEAST_BYTES_PER_SEC: u64 = 1_024;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultipartError {
    #[error("the body ends before its last part does")]
    CutOff,
    #[error("the body came too slowly")]
    TooSlow,
    #[error("a part's headers are too long or cannot be read")]
    Headers,
    #[error("more than {MAX_PARTS} parts")]
    TooManyParts,
    #[error("something else than a part where one should begin")]
    NoPart,
    #[error("too much that is no instance, or is refused")]
    Unwanted,
}

impl MultipartError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooManyParts | Self::Unwanted => StatusCode::PAYLOAD_TOO_LARGE,
            Self::CutOff | Self::Headers | Self::NoPart => StatusCode::BAD_REQUEST,
        }
    }
}

/// The type of the body: its boundary, and the type of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    pub boundary: String,
    /// Lower case; empty where none is named.
    pub of_parts: String,
}

/// `None`: it is no multipart/related, or has no boundary that is one.
pub fn content_type(headers: &HeaderMap) -> Option<ContentType> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok().filter(|text| text.len() <= 1_024)?;
    let mut found = ContentType { boundary: String::new(), of_parts: String::new() };
    let mut quoted = false;
    let mut parts = text.split(|letter| {
        quoted ^= letter == '"';
        letter == ';' && !quoted
    });
    if !parts.next()?.trim().eq_ignore_ascii_case(super::MULTIPART) {
        return None;
    }
    for part in parts {
        let Some((key, value)) = part.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        match key.trim().to_ascii_lowercase().as_str() {
            "boundary" => found.boundary = value.to_owned(),
            "type" => found.of_parts = value.to_ascii_lowercase(),
            _ => {}
        }
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    let fits = (1..=LONGEST_BOUNDARY).contains(&found.boundary.len()) && found.boundary.bytes().all(allowed);
    fits.then_some(found)
}

/// Headers of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartHead {
    /// As written; empty where there is none.
    pub content_type: String,
    pub content_location: String,
}

impl PartHead {
    /// Lower case, without parameters.
    pub fn media(&self) -> String {
        self.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.content_type.split(';').skip(1).filter_map(|part| part.split_once('='));
        parameters
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().trim_matches('"'))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Preamble,
    /// Behind a delimiter.
    Delimiter,
    Part,
    End,
}

pub struct Parts<S> {
    body: S,
    buffer: BytesMut,
    delimiter: Vec<u8>,
    at: At,
    parts: usize,
    idle: Duration,
    waited: Duration,
    received: u64,
    /// What may still be passed over.
    passable: u64,
    /// When all of it must be there.
    until: Option<Instant>,
    ended: bool,
}

impl<S, E> Parts<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    pub fn new(body: S, boundary: &str) -> Self {
        // So that the first delimiter, which may stand at the very beginning, is found as all others are.
        let buffer = BytesMut::from(&b"\r\n"[..]);
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        Self {
            body,
            buffer,
            delimiter,
            at: At::Preamble,
            parts: 0,
            idle: IDLE,
            waited: Duration::ZERO,
            received: 0,
            passable: MAX_PASSED_BYTES,
            until: None,
            ended: false,
        }
    }

    /// All of it must be there within this time, however fast it comes.
    pub fn within(mut self, time: Duration) -> Self {
        self.until = Some(Instant::now() + time);
        self
    }

    /// The next part; what is left of the one before is passed over. `None`: there is none any more.
    ///
    /// # Errors
    /// [`MultipartError`]
    pub async fn next_part(&mut self) -> Result<Option<PartHead>, MultipartError> {
        let mut preamble = 0;
        loop {
            let is_preamble = match self.at {
                At::End => return Ok(None),
                At::Delimiter => break,
                At::Preamble => true,
                At::Part => false,
            };
            let Some(piece) = self.piece().await? else { continue };
            if is_preamble {
                preamble += piece.len();
                if preamble > MAX_PREAMBLE_BYTES {
                    return Err(MultipartError::NoPart);
                }
            } else {
                self.passable = self.passable.checked_sub(piece.len() as u64).ok_or(MultipartError::Unwanted)?;
            }
        }
        self.behind_delimiter().await
    }

    /// The next bytes of the part; `None` at its end.
    ///
    /// # Errors
    /// [`MultipartError`]
    pub async fn piece(&mut self) -> Result<Option<Bytes>, MultipartError> {
        if matches!(self.at, At::Delimiter | At::End) {
            return Ok(None);
        }
        loop {
            if let Some(found) = memchr::memmem::find(&self.buffer, &self.delimiter) {
                let piece = self.buffer.split_to(found).freeze();
                self.buffer.advance(self.delimiter.len());
                self.at = At::Delimiter;
                return Ok(Some(piece).filter(|piece| !piece.is_empty()));
            }
            // The end of what is there may be the beginning of a delimiter.
            let sure = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if sure > 0 {
                return Ok(Some(self.buffer.split_to(sure).freeze()));
            }
            self.more().await?;
        }
    }

    /// `--` for the end, or the headers of the next part.
    async fn behind_delimiter(&mut self) -> Result<Option<PartHead>, MultipartError> {
        while self.buffer.len() < 2 {
            self.more().await?;
        }
        if self.buffer.starts_with(b"--") {
            self.at = At::End;
            return Ok(None);
        }
        if self.parts >= MAX_PARTS {
            return Err(MultipartError::TooManyParts);
        }
        self.parts += 1;
        let end = loop {
            // Blanks may stand behind a delimiter; a part without headers begins with an empty line.
            if let Some(end) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if self.buffer.len() > MAX_HEADER_BYTES {
                return Err(MultipartError::Headers);
            }
            self.more().await?;
        };
        if end > MAX_HEADER_BYTES {
            return Err(MultipartError::Headers);
        }
        let head = self.buffer.split_to(end);
        self.buffer.advance(4);
        // The line break before a delimiter belongs to it; that of an empty part is the one just read.
        let text = std::str::from_utf8(&head).map_err(|_| MultipartError::Headers)?;
        let mut lines = text.split("\r\n");
        if lines.next().is_some_and(|rest| !rest.trim().is_empty()) {
            return Err(MultipartError::NoPart);
        }
        self.at = At::Part;
        self.put_line_break_back();
        Ok(Some(read_head(lines)))
    }

    /// A part of no bytes has its delimiter right behind its headers.
    fn put_line_break_back(&mut self) {
        let bare = &self.delimiter[2..];
        if self.buffer.starts_with(bare) {
            let rest = self.buffer.split();
            self.buffer.extend_from_slice(b"\r\n");
            self.buffer.extend_from_slice(&rest);
        }
    }

    async fn more(&mut self) -> Result<(), MultipartError> {
        if self.ended {
            return Err(MultipartError::CutOff);
        }
        let earned = Duration::from_secs(self.received / LEAST_BYTES_PER_SEC);
        let allowed = (self.idle + earned).saturating_sub(self.waited).min(self.idle);
        let since = Instant::now();
        let allowed = self.until.map_or(allowed, |until| allowed.min(until.saturating_duration_since(since)));
        let next = timeout(allowed, self.body.next()).await.map_err(|_| MultipartError::TooSlow)?;
        self.waited += since.elapsed();
        match next {
            Some(Ok(bytes)) => {
                self.received += bytes.len() as u64;
                self.buffer.extend_from_slice(&bytes);
                Ok(())
            }
            Some(Err(_)) => Err(MultipartError::CutOff),
            None => {
                self.ended = true;
                Err(MultipartError::CutOff)
            }
        }
    }
}

fn read_head<'a>(lines: impl Iterator<Item = &'a str>) -> PartHead {
    let mut head = PartHead::default();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim().to_owned();
        match name.trim().to_ascii_lowercase().as_str() {
            "content-type" => head.content_type = value,
            "content-location" => head.content_location = value,
            _ => {}
        }
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use futures_util::stream;
    use proptest::prelude::*;
    use std::convert::Infallible;

    async fn read(body: &[u8], piece: usize, boundary: &str) -> Result<Vec<(PartHead, Vec<u8>)>, MultipartError> {
        let pieces: Vec<Result<Bytes, Infallible>> =
            body.chunks(piece).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        let mut parts = Parts::new(stream::iter(pieces), boundary);
        let mut found = Vec::new();
        while let Some(head) = parts.next_part().await? {
            let mut content = Vec::new();
            while let Some(piece) = parts.piece().await? {
                content.extend_from_slice(&piece);
            }
            found.push((head, content));
        }
        Ok(found)
    }

    fn block<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(work)
    }

    #[test]
    fn parts_are_told_apart_however_the_body_is_cut() {
        let body = b"--x1\r\nContent-Type: application/dicom; x=\"y\"\r\n\r\n\r\n--x\r\n-\r\n--x1\r\ncontent-location: here\r\n\r\n\
            \r\n--x1\r\n\r\nplain\r\n--x1--";
        for piece in 1..body.len() {
            let found = block(read(body, piece, "x1")).unwrap();
            let contents: Vec<&[u8]> = found.iter().map(|(_, content)| &content[..]).collect();
            assert_eq!(contents, [&b"\r\n--x\r\n-"[..], b"", b"plain"], "{piece}");
            assert_eq!(found[0].0.media(), "application/dicom");
            assert_eq!(found[0].0.parameter("X"), Some("y"));
            assert_eq!(found[1].0.content_location, "here");
        }
    }

    #[test]
    fn what_does_not_end_or_is_none_is_refused() {
        let part = "\r\n--b\r\nContent-Type: application/dicom\r\n\r\n";
        let refused = |body: &str| block(read(body.as_bytes(), 7, "b")).unwrap_err();
        assert_eq!(refused(""), MultipartError::CutOff);
        assert_eq!(refused("--b\r\nContent-Type: x"), MultipartError::CutOff);
        assert_eq!(refused(&format!("{part}bytes without an end")), MultipartError::CutOff);
        assert_eq!(refused(&"x".repeat(100_000)), MultipartError::NoPart);
        assert_eq!(refused(&format!("--b\r\nX: {}\r\n\r\n", "y".repeat(10_000))), MultipartError::Headers);
        assert_eq!(refused("--b junk\r\nX: y\r\n\r\n\r\n--b--"), MultipartError::NoPart);
        assert_eq!(refused(&format!("{}\r\n--b--", part.repeat(MAX_PARTS + 1))), MultipartError::TooManyParts);
        assert_eq!(
            block(read(format!("{}\r\n--b--", part.repeat(MAX_PARTS)).as_bytes(), 64 << 10, "b")).unwrap().len(),
            MAX_PARTS
        );
    }

    #[test]
    fn what_nobody_wants_is_passed_over_up_to_a_bound() {
        let part = format!("--b\r\n\r\n{}\r\n", "x".repeat(60));
        let passed = |parts: usize| {
            let body = Bytes::from(part.repeat(parts) + "--b--");
            block(async {
                let mut parts = Parts::new(stream::iter([Ok::<_, Infallible>(body)]), "b");
                parts.passable = 100;
                while parts.next_part().await?.is_some() {}
                Ok(())
            })
        };
        assert_eq!(passed(1), Ok(()));
        assert_eq!(passed(2), Err(MultipartError::Unwanted));
    }

    #[test]
    fn a_body_that_comes_in_drips_is_cut_off() {
        let dripping = stream::unfold(0_u32, |sent| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let piece = if sent == 0 { "--b\r\n\r\n" } else { "x" };
            Some((Ok::<_, Infallible>(Bytes::from(piece)), sent + 1))
        });
        block(async {
            let mut parts = Parts::new(Box::pin(dripping), "b");
            parts.idle = Duration::from_millis(350);
            parts.next_part().await.unwrap();
            let mut pieces = 0;
            let error = loop {
                match parts.piece().await {
                    Ok(_) => pieces += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!(error, MultipartError::TooSlow);
            assert!(pieces < 10, "{pieces}");
        });
    }

    #[test]
    fn content_types_are_read_or_refused() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(text).unwrap());
            content_type(&headers)
        };
        let found = of("Multipart/Related; type=\"application/dicom\"; boundary=\"a b;c\"");
        assert_eq!(found, None, "a semicolon is no letter of a boundary");
        let found = of("multipart/related; boundary=0f63; type=\"Application/DICOM\"").unwrap();
        assert_eq!((found.boundary.as_str(), found.of_parts.as_str()), ("0f63", "application/dicom"));
        let long = format!("multipart/related; boundary={}", "a".repeat(71));
        for bad in ["multipart/form-data; boundary=x", "multipart/related", "multipart/related; boundary=", &long] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(prop_oneof![Just(b'-'), Just(b'b'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..300), piece in 1_usize..40) {
            let _ = block(read(&body, piece, "b"));
        }
    }
}
