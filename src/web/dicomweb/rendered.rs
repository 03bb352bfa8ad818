//! WADO-RS rendered resources and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.4): one frame as PNG or JPEG.

use super::{
    Below, Shared,
    accept::{percent_decoded, wishes},
    shelf::Opened,
    unreadable,
};
use crate::{
    dicom::{
        instance::{InstanceError, Picture, ReadAt as _},
        service::HeldInstance,
    },
    web::{Caller, Problem, Site},
};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, Uri, header},
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// Of a compressed frame; decoded ones are bounded where they are decoded.
const MAX_FRAME_BYTES: u64 = 128 << 20;
/// Fragments of a frame.
const MAX_PIECES: usize = 100_000;
const THUMBNAIL: (usize, usize) = (256, 256);
const MAX_VIEWPORT: usize = 8_192;
const JPEG_QUALITY: u8 = 90;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Jpeg,
    Png,
}

pub async fn instance(
    State(site): Shared,
    caller: Caller,
    Path((study, series, instance)): Path<(String, String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let held = Below::instance(&study, &series, &instance)?.retrieve_one(&site, &caller).await?;
    shown(&site, &held, 1, &headers, &uri, None).await
}

pub async fn frame(
    State(site): Shared,
    caller: Caller,
    Path((study, series, instance, frame)): Path<(String, String, String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let number = frame.parse().ok().filter(|number| *number > 0);
    let number = number.ok_or(Problem::bad_request("one frame at a time, counted from 1"))?;
    let held = Below::instance(&study, &series, &instance)?.retrieve_one(&site, &caller).await?;
    shown(&site, &held, number, &headers, &uri, None).await
}

pub async fn instance_thumbnail(
    State(site): Shared,
    caller: Caller,
    Path((study, series, instance)): Path<(String, String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    thumbnail(&site, &caller, &Below::instance(&study, &series, &instance)?, &headers, &uri).await
}

pub async fn series_thumbnail(
    State(site): Shared,
    caller: Caller,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    thumbnail(&site, &caller, &Below::series(&path)?, &headers, &uri).await
}

pub async fn study_thumbnail(
    State(site): Shared,
    caller: Caller,
    Path(study): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    thumbnail(&site, &caller, &Below::study(&study)?, &headers, &uri).await
}

/// The instance in the middle: of a head, it is not the air above it.
async fn thumbnail(
    site: &Site,
    caller: &Caller,
    below: &Below,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Response, Problem> {
    let held = below.retrieve(site, caller).await?;
    let held = held.get(held.len() / 2).ok_or(Problem::not_found())?;
    shown(site, held, 1, headers, uri, Some(THUMBNAIL)).await
}

async fn shown(
    site: &Site,
    held: &HeldInstance,
    number: u64,
    headers: &HeaderMap,
    uri: &Uri,
    otherwise: Option<(usize, usize)>,
) -> Result<Response, Problem> {
    let wishes = wishes(headers, uri)?;
    let form = wishes.iter().find_map(|wish| {
        if wish.takes("image/jpeg") { Some(Form::Jpeg) } else { wish.takes("image/png").then_some(Form::Png) }
    });
    let form = form.ok_or(Problem::not_acceptable("pictures are image/jpeg or image/png"))?;
    let viewport = viewport(uri)?.or(otherwise);
    let opened = site.shelf.open(site, held).await?;
    let turn = site.shelf.rendering().await?;
    // A codec that gives up by a panic is a frame that is not shown, no fault of the caller's.
    let made = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        picture(&opened, number, viewport, form)
    })
    .await;
    let bytes = made.map_err(|error| unreadable("a picture was given up", &error))??;
    let media = if form == Form::Jpeg { "image/jpeg" } else { "image/png" };
    Ok(([(header::CONTENT_TYPE, media)], bytes).into_response())
}

fn picture(
    opened: &Arc<Opened>,
    number: u64,
    viewport: Option<(usize, usize)>,
    form: Form,
) -> Result<Vec<u8>, Problem> {
    let not_shown = |error: &InstanceError| match error {
        InstanceError::Read(error) => unreadable("a frame", error),
        _ => Problem::not_acceptable("this frame cannot be made into a picture: ask for the frame itself"),
    };
    let none = || Problem::not_acceptable("it has no frame that can be made into a picture");
    let index = opened.frames.as_ref().ok_or_else(none)?;
    let pieces = index.frame(&*opened.source, number, MAX_PIECES).map_err(|error| not_shown(&error))?;
    let pieces = pieces.ok_or_else(Problem::not_found)?;
    if pieces.iter().map(|(_, length)| *length).sum::<u64>() > MAX_FRAME_BYTES {
        return Err(none());
    }
    let mut frame = Vec::new();
    for (from, length) in pieces {
        let at = frame.len();
        frame.resize(at + usize::try_from(length).unwrap_or(0), 0);
        opened.source.read_exact_at(&mut frame[at..], from).map_err(|error| unreadable("a frame", &error))?;
    }
    let picture = Picture::of(&opened.head, frame, number).map_err(|error| not_shown(&error))?;
    let picture = match viewport {
        Some((width, height)) => picture.fitting(width, height),
        None => picture,
    };
    match form {
        Form::Jpeg => jpeg(&picture),
        Form::Png => png(&picture),
    }
}

fn jpeg(picture: &Picture) -> Result<Vec<u8>, Problem> {
    let size = u16::try_from(picture.width).ok().zip(u16::try_from(picture.height).ok());
    let (width, height) = size.ok_or(Problem::not_acceptable("too large for a JPEG"))?;
    let colours = if picture.channels == 3 { jpeg_encoder::ColorType::Rgb } else { jpeg_encoder::ColorType::Luma };
    let mut bytes = Vec::new();
    let encoded = jpeg_encoder::Encoder::new(&mut bytes, JPEG_QUALITY).encode(&picture.bytes, width, height, colours);
    encoded.map_err(|error| unreadable("a JPEG", &error))?;
    Ok(bytes)
}

fn png(picture: &Picture) -> Result<Vec<u8>, Problem> {
    let size = u32::try_from(picture.width).ok().zip(u32::try_from(picture.height).ok());
    let (width, height) = size.ok_or(Problem::not_acceptable("too large for a PNG"))?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(if picture.channels == 3 { png::ColorType::Rgb } else { png::ColorType::Grayscale });
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&picture.bytes));
    written.map_err(|error| unreadable("a PNG", &error))?;
    Ok(bytes)
}

/// `viewport=512,512` (PS3.18 8.3.5.1.3); of a region in the source nothing is known here.
fn viewport(uri: &Uri) -> Result<Option<(usize, usize)>, Problem> {
    let given = uri.query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("viewport="));
    let Some(given) = given else { return Ok(None) };
    let sides = percent_decoded(given).and_then(|text| {
        let (width, height) = text.split_once(',')?;
        Some((width.parse().ok()?, height.parse().ok()?))
    });
    let fits =
        |(width, height): &(usize, usize)| (1..=MAX_VIEWPORT).contains(width) && (1..=MAX_VIEWPORT).contains(height);
    sides.filter(fits).map(Some).ok_or(Problem::bad_request("viewport is width,height, each from 1 to 8192"))
}
