//! Answers that are longer than memory: bytes at hand, parts of instances and whole instances, one after the other, as
//! fast as the caller reads.
//!
//! A whole instance is compared with its checksum while it is read; where it differs, or cannot be read, the answer breaks
//! off, which a caller sees: it has no end.

use super::{MULTIPART, shelf::Source};
use crate::{
    dicom::{
        instance::{ReadAt as _, file_head},
        scp::{Held, HeldBytes},
        service::{HeldInstance, Lies},
    },
    model::JournalPlace,
    spool::{PlaceReader, Spool},
    web::Site,
};
use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use std::{collections::VecDeque, io, sync::Arc};
use tokio::task::JoinHandle;
use uuid::Uuid;

const PIECE_BYTES: u64 = 256 << 10;

pub enum Piece {
    Bytes(Bytes),
    /// Of an instance: from, how long, and whether pairs of bytes are to change places.
    Range {
        source: Arc<Source>,
        from: u64,
        length: u64,
        swap: bool,
    },
    /// A whole instance, as a file.
    File(Box<HeldInstance>),
}

struct Pieces {
    from: From,
    left: VecDeque<Piece>,
    open: Option<Open>,
    /// The file after that, while the end of this one is on its way to the caller.
    next: Option<Opening>,
}

type Opening = JoinHandle<io::Result<PlaceReader>>;

/// Where instances are read.
#[derive(Clone)]
struct From {
    spool: Spool,
    held: Arc<dyn Held>,
}

/// A file on its way out.
enum Open {
    Journal(PlaceReader),
    /// Under identifiers of the caller's own.
    Renamed(Box<dyn HeldBytes>),
}

impl Open {
    async fn block(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Self::Journal(reader) => reader.block().await,
            Self::Renamed(bytes) => {
                let mut block = BytesMut::new();
                let read = bytes.read(&mut block, PIECE_BYTES as usize).await?;
                Ok((read > 0).then(|| block.freeze()))
            }
        }
    }
}

/// A body of these pieces.
pub fn body(site: &Site, pieces: impl IntoIterator<Item = Piece>) -> Body {
    let from = From { spool: site.watched.spool.clone(), held: site.held.clone() };
    let pieces = Pieces { from, left: pieces.into_iter().collect(), open: None, next: None };
    Body::from_stream(stream::try_unfold(pieces, |mut pieces| async move {
        let next = pieces.next().await.inspect_err(|error| {
            tracing::error!(%error, "An answer of HTTP broke off: an instance cannot be read");
        });
        next.map(|next| next.map(|bytes| (bytes, pieces)))
    }))
}

impl Pieces {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(reader) = &mut self.open {
                let block = reader.block().await?;
                if matches!(reader, Open::Journal(reader) if reader.is_read()) {
                    self.open_ahead();
                }
                if block.is_some() {
                    return Ok(block);
                }
                self.open = None;
            }
            match self.left.pop_front() {
                None => return Ok(None),
                Some(Piece::Bytes(bytes)) if bytes.is_empty() => {}
                Some(Piece::Bytes(bytes)) => return Ok(Some(bytes)),
                Some(Piece::Range { length: 0, .. }) => {}
                Some(Piece::Range { source, from, length, swap }) => {
                    let now = length.min(PIECE_BYTES);
                    let rest = Piece::Range { source: source.clone(), from: from + now, length: length - now, swap };
                    self.left.push_front(rest);
                    return part(source, from, now, swap).await.map(Some);
                }
                Some(Piece::File(held)) => {
                    self.open = Some(self.opened(&held).await?);
                    return Ok(Some(file_head(&held.sop_class, &held.sop_instance, &held.transfer_syntax).into()));
                }
            }
        }
    }
}

impl Pieces {
    async fn opened(&mut self, held: &HeldInstance) -> io::Result<Open> {
        let Lies::AsReceived(place) = held.lies else {
            let opened = self.from.held.open(held).await?;
            return Ok(Open::Renamed(opened.bytes));
        };
        let opening = self.next.take().unwrap_or_else(|| open(&self.from.spool, place));
        Ok(Open::Journal(opening.await.map_err(io::Error::other)??))
    }

    /// Files are handed out in their order: the first that is left is the next one.
    fn open_ahead(&mut self) {
        if self.next.is_none() {
            let next = self.left.iter().find_map(|piece| if let Piece::File(held) = piece { Some(held) } else { None });
            let place = next.and_then(|held| held.as_received().ok().copied());
            self.next = place.map(|place| open(&self.from.spool, place));
        }
    }
}

/// Opens a file and reads its first block.
fn open(spool: &Spool, place: JournalPlace) -> Opening {
    let spool = spool.clone();
    tokio::task::spawn_blocking(move || {
        let mut reader = spool.reader_by_crc(&place).map_err(io::Error::other)?;
        reader.begin()?;
        Ok(reader)
    })
}

async fn part(source: Arc<Source>, from: u64, length: u64, swap: bool) -> io::Result<Bytes> {
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = BytesMut::zeroed(usize::try_from(length).unwrap_or(0));
        source.read_exact_at(&mut bytes, from)?;
        if swap {
            bytes.chunks_exact_mut(2).for_each(<[u8]>::reverse);
        }
        Ok(bytes.freeze())
    });
    read.await.map_err(io::Error::other)?
}

/// A multipart answer (RFC 2387).
pub struct Multipart {
    boundary: String,
    media: String,
    pieces: Vec<Piece>,
}

impl Multipart {
    /// `media`: of every part, without parameters.
    pub fn new(media: &str) -> Self {
        Self { boundary: Uuid::new_v4().simple().to_string(), media: media.to_owned(), pieces: Vec::new() }
    }

    /// `content_type`: of this part, with parameters.
    pub fn part(&mut self, content_type: &str, location: Option<&str>, content: impl IntoIterator<Item = Piece>) {
        let first = if self.pieces.is_empty() { "" } else { "\r\n" };
        let location = location.map_or_else(String::new, |url| format!("Content-Location: {url}\r\n"));
        let head = format!("{first}--{}\r\nContent-Type: {content_type}\r\n{location}\r\n", self.boundary);
        self.pieces.push(Piece::Bytes(head.into()));
        self.pieces.extend(content);
    }

    pub fn response(mut self, site: &Site) -> Response {
        self.pieces.push(Piece::Bytes(format!("\r\n--{}--\r\n", self.boundary).into()));
        let content_type = format!("{MULTIPART}; type=\"{}\"; boundary={}", self.media, self.boundary);
        answer(&content_type, body(site, self.pieces))
    }
}

pub fn answer(content_type: &str, body: Body) -> Response {
    let mut response = body.into_response();
    // Our own words and UIDs: always a header.
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}
