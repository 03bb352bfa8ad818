//! WADO-RS: headers in JSON (PS3.18 10.4.1.1.2), one after the other as they are read.

use super::{
    Below, DICOM_JSON, Shared,
    accept::{Wish, wishes},
    instance_url,
    stream::answer,
};
use crate::{
    dicom::{charset::SenderCharset, instance, service::HeldInstance},
    model::Uid,
    web::{Caller, Problem, Site, routes::JSON},
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, Uri},
    response::Response,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use std::{convert::Infallible, sync::Arc};
use tokio_util::task::AbortOnDropHandle;

/// Read ahead of the caller.
const AHEAD: usize = 4;

pub async fn study(
    State(site): Shared,
    caller: Caller,
    Path(study): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    json_of(site, &caller, &Below::study(&study)?, &headers, &uri).await
}

pub async fn series(
    State(site): Shared,
    caller: Caller,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    json_of(site, &caller, &Below::series(&path)?, &headers, &uri).await
}

pub async fn instance(
    State(site): Shared,
    caller: Caller,
    Path((study, series, instance)): Path<(String, String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    json_of(site, &caller, &Below::instance(&study, &series, &instance)?, &headers, &uri).await
}

/// # Errors
/// 406 where JSON is not among what is accepted: XML, which nobody asks for any more, is not written.
pub fn check_json(wishes: &[Wish]) -> Result<&'static str, Problem> {
    let media = [DICOM_JSON, JSON];
    let chosen = wishes.iter().filter(|wish| !wish.multipart).find_map(|wish| media.iter().find(|m| wish.takes(m)));
    chosen.copied().ok_or(Problem::not_acceptable("metadata is written in application/dicom+json"))
}

async fn json_of(
    site: Arc<Site>,
    caller: &Caller,
    below: &Below,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Response, Problem> {
    let media = check_json(&wishes(headers, uri)?)?;
    let held = below.retrieve(&site, caller).await?;
    let base: Arc<str> = site.base_url(headers).into();
    let objects = stream::iter(held).map(move |held| begun(site.clone(), base.clone(), held)).buffered(AHEAD);
    let objects = objects.enumerate().map(|(number, object)| {
        let before = if number == 0 { "[" } else { ",\n" };
        Bytes::from(format!("{before}{object}"))
    });
    let all = objects.chain(stream::once(async { Bytes::from_static(b"]") })).map(Ok::<_, Infallible>);
    Ok(answer(media, Body::from_stream(all)))
}

/// Begins it on its own: who waits for a turn among all callers must go on when it comes, and nothing here is looked at
/// while this caller does not read.
async fn begun(site: Arc<Site>, base: Arc<str>, held: HeldInstance) -> String {
    let bulk = format!("{}/bulkdata", instance_url(&base, &held));
    let bare = bare(&held);
    let writing = AbortOnDropHandle::new(tokio::spawn(written(site, bulk, held)));
    // A header that cannot be read leaves the instance in the answer with its identifiers: it can still be retrieved.
    writing.await.ok().flatten().unwrap_or(bare)
}

/// `None`: it cannot be read, or is too large to be written as JSON.
async fn written(site: Arc<Site>, bulk: String, held: HeldInstance) -> Option<String> {
    let opened = site.shelf.open(&site, &held).await.ok()?;
    let config = site.watched.config.now();
    let sender = SenderCharset::of(config.partners.get(opened.source.origin()));
    let turn = site.shelf.writing().await.ok()?;
    // As a text it waits for the caller: as a tree it would take many times the room.
    let made = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        instance::metadata(&opened.head, &sender, &bulk).map(|object| object.to_string())
    });
    let made = made.await.ok()?;
    made.inspect_err(|error| tracing::warn!(%error, "A header could not be written as JSON")).ok()
}

fn bare(held: &HeldInstance) -> String {
    let uid = |uid: &Uid| json!({ "vr": "UI", "Value": [uid.as_str()] });
    let object = json!({
        "00080016": uid(&held.sop_class),
        "00080018": uid(&held.sop_instance),
        "0020000D": uid(&held.study),
        "0020000E": uid(&held.series),
        "00083002": uid(&held.transfer_syntax),
    });
    object.to_string()
}
