//! WADO-RS: headers in JSON (PS3.18 10.4.1.1.2), one after the other as they are read.

use super::{
    Below, DICOM_JSON, Shared,
    accept::{Wish, wishes},
    instance_url,
    shelf::Opened,
    stream::answer,
};
use crate::{
    dicom::{charset::SenderCharset, instance, service::HeldInstance},
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
use serde_json::{Value, json};
use std::{convert::Infallible, sync::Arc};

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
    let objects = stream::iter(held).map(move |held| written(site.clone(), base.clone(), held)).buffered(AHEAD);
    let objects = objects.enumerate().map(|(number, object)| {
        let before = if number == 0 { "[" } else { ",\n" };
        Bytes::from(format!("{before}{object}"))
    });
    let all = objects.chain(stream::once(async { Bytes::from_static(b"]") })).map(Ok::<_, Infallible>);
    Ok(answer(media, Body::from_stream(all)))
}

/// `None`: it cannot be read, or is too large to be written as JSON.
async fn as_json(site: &Site, opened: Arc<Opened>, sender: SenderCharset, bulk: String) -> Option<Value> {
    let turn = site.shelf.writing().await.ok()?;
    let made = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        instance::metadata(&opened.head, &sender, &bulk)
    });
    let made = made.await.ok()?;
    made.inspect_err(|error| tracing::warn!(%error, "A header could not be written as JSON")).ok()
}

/// A header that cannot be read leaves the instance in the answer with its identifiers: it can still be retrieved.
async fn written(site: Arc<Site>, base: Arc<str>, held: HeldInstance) -> Value {
    let bulk = format!("{}/bulkdata", instance_url(&base, &held));
    let object = match site.shelf.open(&site.watched.spool, &held).await {
        Ok(opened) => {
            let config = site.watched.config.now();
            let sender = SenderCharset::of(config.partners.get(opened.source.origin()));
            as_json(&site, opened, sender, bulk).await
        }
        Err(_) => None,
    };
    object.unwrap_or_else(|| {
        let uid = |uid: &crate::model::Uid| json!({ "vr": "UI", "Value": [uid.as_str()] });
        json!({
            "00080016": uid(&held.sop_class),
            "00080018": uid(&held.sop_instance),
            "0020000D": uid(&held.study),
            "0020000E": uid(&held.series),
            "00083002": uid(&held.transfer_syntax),
        })
    })
}
