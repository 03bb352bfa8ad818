//! WADO-RS: frames and bulk data (PS3.18 10.4.1.1.6 and 10.4.1.1.5), read from where they lie.
//!
//! Uncompressed frames are octets, little endian; compressed ones are what their transfer syntax is called as a media
//! type (PS3.18 8.7.3.3), with the transfer syntax beside it. A multi-gigabyte slide is never in memory.

use super::{
    Below, OCTETS, Shared,
    accept::{Wish, wishes},
    instance_url,
    shelf::Opened,
    stream::{Multipart, Piece, answer, body},
    unreadable,
};
use crate::{
    dicom::instance::{Bulk, FrameIndex, InstanceError, Pixels, path_of},
    web::{Caller, Problem, Site},
};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, Uri},
    response::Response,
};
use bytes::Bytes;
use std::{collections::BTreeSet, sync::Arc};

/// A viewer asks for one, or for a screen full of tiles.
const MAX_FRAMES: usize = 2_000;
/// Fragments of one answer, all frames together; an encoder makes one a frame, or a few.
const MAX_PIECES: usize = 100_000;
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";

type InstancePath = (String, String, String, String);

pub async fn frames(
    State(site): Shared,
    caller: Caller,
    Path((study, series, instance, list)): Path<InstancePath>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let (wishes, numbers) = (wishes(&headers, &uri)?, frame_numbers(&list)?);
    let held = Below::instance(&study, &series, &instance)?.retrieve_one(&site, &caller).await?;
    let opened = site.shelf.open(&site, &held).await?;
    let form = Form::of(&opened, &wishes, numbers.len() == 1)?;
    let frames = lying(&site, opened.clone(), numbers.clone()).await?;
    let url = instance_url(&site.base_url(&headers), &held);
    if let ([frame], false) = (&frames[..], form.multipart) {
        return Ok(answer(&form.content_type(), body(&site, form.pieces(&opened, frame))));
    }
    let mut multipart = Multipart::new(form.media);
    for (number, frame) in numbers.iter().zip(&frames) {
        let location = format!("{url}/frames/{number}");
        multipart.part(&form.content_type(), Some(&location), form.pieces(&opened, frame));
    }
    Ok(multipart.response(&site))
}

pub async fn bulkdata(
    State(site): Shared,
    caller: Caller,
    Path((study, series, instance, path)): Path<InstancePath>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let wishes = wishes(&headers, &uri)?;
    let held = Below::instance(&study, &series, &instance)?.retrieve_one(&site, &caller).await?;
    let opened = site.shelf.open(&site, &held).await?;
    match value_at(&site, opened.clone(), path.clone()).await?.ok_or(Problem::not_found())? {
        Bulk::Value(range) => {
            let bytes = opened.head.bytes().get(range).unwrap_or_default();
            let location = format!("{}/bulkdata/{path}", instance_url(&site.base_url(&headers), &held));
            value(&site, &wishes, Bytes::copy_from_slice(bytes), &location)
        }
        Bulk::Pixels => all_pixels(&site, opened, &wishes).await,
    }
}

/// Where a path of a header leads, looked up off the async threads: the header is taken apart for it.
async fn value_at(site: &Site, opened: Arc<Opened>, path: String) -> Result<Option<Bulk>, Problem> {
    let turn = site.shelf.looking().await?;
    let looked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        path_of(&opened.head, &path)
    });
    let found = looked.await.map_err(|error| unreadable("looking into its header was given up", &error))?;
    found.map_err(|error| unreadable("its header", &error))
}

/// A value of the header, as it is written there.
fn value(site: &Site, wishes: &[Wish], bytes: Bytes, location: &str) -> Result<Response, Problem> {
    let wish = wishes.iter().find(|wish| wish.takes(OCTETS));
    let wish = wish.ok_or(Problem::not_acceptable("bulk data is application/octet-stream"))?;
    if wish.multipart || wish.is_anything() {
        let mut multipart = Multipart::new(OCTETS);
        multipart.part(OCTETS, Some(location), [Piece::Bytes(bytes)]);
        return Ok(multipart.response(site));
    }
    Ok(answer(OCTETS, body(site, [Piece::Bytes(bytes)])))
}

/// Pixel Data as a whole: one part where it is not compressed, a part for each frame where it is.
async fn all_pixels(site: &Site, opened: Arc<Opened>, wishes: &[Wish]) -> Result<Response, Problem> {
    let pixels = opened.head.pixels.ok_or(Problem::not_found())?;
    let frames = match (&opened.frames, pixels.length) {
        (Some(FrameIndex::Encapsulated(spans)), _) if spans.len() > MAX_FRAMES => {
            return Err(Problem::not_acceptable("too many frames for one answer: ask for /frames"));
        }
        (Some(index @ FrameIndex::Encapsulated(_)), _) => {
            lying(site, opened.clone(), (1..=index.count()).collect()).await?
        }
        (_, Some(length)) => vec![vec![(pixels.value, u64::from(length))]],
        (_, None) => return Err(Problem::not_acceptable("its frames cannot be told apart: ask for the instance")),
    };
    let form = Form::of(&opened, wishes, frames.len() == 1)?;
    if let ([frame], false) = (&frames[..], form.multipart) {
        return Ok(answer(&form.content_type(), body(site, form.pieces(&opened, frame))));
    }
    let mut multipart = Multipart::new(form.media);
    for frame in &frames {
        multipart.part(&form.content_type(), None, form.pieces(&opened, frame));
    }
    Ok(multipart.response(site))
}

/// Where frames lie, looked up off the async threads.
async fn lying(site: &Site, opened: Arc<Opened>, numbers: Vec<u64>) -> Result<Vec<Vec<(u64, u64)>>, Problem> {
    let turn = site.shelf.looking().await?;
    let looked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let mut left = MAX_PIECES;
        let index =
            opened.frames.as_ref().ok_or_else(|| Problem::not_acceptable("it has no frames that can be served"))?;
        let mut found = Vec::with_capacity(numbers.len());
        for number in numbers {
            let frame = index.frame(&*opened.source, number, left).map_err(|error| match error {
                InstanceError::TooManyPieces => Problem::not_acceptable("too many fragments: ask for the instance"),
                error => unreadable("its frames", &error),
            })?;
            let frame = frame.ok_or_else(Problem::not_found)?;
            left -= frame.len();
            found.push(frame);
        }
        Ok(found)
    });
    looked.await.map_err(|error| unreadable("looking for its frames was given up", &error))?
}

/// `1,2,3`.
fn frame_numbers(list: &str) -> Result<Vec<u64>, Problem> {
    let bad = || Problem::bad_request("frames are numbers from 1, separated by commas; 2000 at most");
    if list.len() > 20 * MAX_FRAMES {
        return Err(bad());
    }
    let numbers: Result<Vec<u64>, _> = list.split(',').map(|number| number.trim().parse::<u64>()).collect();
    let numbers = numbers.ok().filter(|numbers| numbers.len() <= MAX_FRAMES && !numbers.contains(&0));
    let numbers = numbers.ok_or_else(bad)?;
    // A frame twice would cost its bytes twice, a short question of two thousand times one a whole study's.
    if numbers.iter().collect::<BTreeSet<_>>().len() < numbers.len() {
        return Err(Problem::bad_request("a frame is named twice"));
    }
    Ok(numbers)
}

/// In what frames are sent.
struct Form {
    media: &'static str,
    syntax: String,
    multipart: bool,
    swap: bool,
}

impl Form {
    /// `is_one`: there is one part, which can stand alone; of several, each needs its own head (PS3.18 8.7.6).
    fn of(opened: &Opened, wishes: &[Wish], is_one: bool) -> Result<Self, Problem> {
        let head = &opened.head;
        let kept = head.transfer_syntax.as_str();
        let Some(pixels) = head.pixels.filter(|_| !head.is_deflated) else {
            return Err(Problem::not_acceptable("it has no pixels that can be served in parts: ask for the instance"));
        };
        let encapsulated = pixels.length.is_none();
        let media = if encapsulated { media_of(kept) } else { OCTETS };
        let takes = |wish: &&Wish| {
            if !is_one && !wish.multipart && !wish.is_anything() {
                return false;
            }
            if !encapsulated {
                // Bytes of frames are the same in all three uncompressed encodings, once they are little endian.
                return wish.takes(OCTETS) && (wish.takes_syntax(EXPLICIT_LE) || wish.takes_syntax(kept));
            }
            // Octets without a transfer syntax are uncompressed ones (PS3.18 8.7.3.3.2).
            let as_octets = wish.media == OCTETS && wish.transfer_syntax.is_some();
            wish.takes_syntax(kept) && (as_octets || (wish.media != OCTETS && wish.takes(media)))
        };
        let wish = wishes.iter().find(takes).ok_or_else(|| {
            let several = if is_one { "" } else { ", each a part of multipart/related" };
            let detail = format!("its frames are {media}; transfer-syntax={kept}{several}, and are not transcoded");
            Problem::not_acceptable(detail)
        })?;
        let swap = head.is_big_endian() && Pixels::of(head).is_ok_and(|pixels| pixels.bits_allocated == 16);
        let syntax = if encapsulated { kept } else { EXPLICIT_LE };
        let multipart = wish.multipart || wish.is_anything();
        Ok(Self { media, syntax: syntax.to_owned(), multipart, swap })
    }

    fn content_type(&self) -> String {
        format!("{}; transfer-syntax={}", self.media, self.syntax)
    }

    fn pieces(&self, opened: &Opened, frame: &[(u64, u64)]) -> Vec<Piece> {
        let piece = |(from, length): &(u64, u64)| Piece::Range {
            source: opened.source.clone(),
            from: *from,
            length: *length,
            swap: self.swap,
        };
        frame.iter().map(piece).collect()
    }
}

/// PS3.18 Tables 8.7.3-4 and 8.7.3-5.
fn media_of(transfer_syntax: &str) -> &'static str {
    let Some(kind) = transfer_syntax.strip_prefix("1.2.840.10008.1.2.") else { return OCTETS };
    match kind {
        "5" => "image/dicom-rle",
        "4.50" | "4.51" | "4.57" | "4.70" => "image/jpeg",
        "4.80" | "4.81" => "image/jls",
        "4.90" | "4.91" => "image/jp2",
        "4.92" | "4.93" => "image/jpx",
        "4.110" | "4.111" | "4.112" => "image/jxl",
        "4.201" | "4.202" | "4.203" => "image/jphc",
        "4.100" | "4.100.1" | "4.101" | "4.101.1" => "video/mpeg",
        "4.102" | "4.102.1" | "4.103" | "4.103.1" | "4.104" | "4.104.1" | "4.105" | "4.105.1" | "4.106" | "4.106.1"
        | "4.107" | "4.108" => "video/mp4",
        _ => OCTETS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_numbers_from_one_each_named_once() {
        assert_eq!(frame_numbers("3, 1,2").ok(), Some(vec![3, 1, 2]));
        let many: Vec<String> = (1..=2_001).map(|number| number.to_string()).collect();
        for bad in ["", "0", "1,x", "-1", "1,1", "1,2,01", &many.join(",")] {
            assert!(frame_numbers(bad).is_err(), "{bad}");
        }
        assert!(frame_numbers(&many[..2_000].join(",")).is_ok());
    }
}
