//! WADO-RS: whole instances, as they were received, in files (PS3.18 10.4.1.1.1).
//!
//! Nothing is transcoded: what is kept goes out, or 406. One transfer syntax of several instances that is not accepted
//! leaves that instance out only where others are; with none left, 406.

use super::{
    Below, DICOM, Shared,
    accept::{Wish, wishes},
    instance_url,
    stream::{Multipart, Piece, answer, body},
};
use crate::{
    dicom::service::HeldInstance,
    web::{Caller, Problem, Site},
};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, Uri},
    response::Response,
};

pub async fn study(
    State(site): Shared,
    caller: Caller,
    Path(study): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let wishes = wishes(&headers, &uri)?;
    let held = Below::study(&study)?.retrieve(&site, &caller).await?;
    files(&site, &headers, &wishes, held)
}

pub async fn series(
    State(site): Shared,
    caller: Caller,
    Path(path): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let wishes = wishes(&headers, &uri)?;
    let held = Below::series(&path)?.retrieve(&site, &caller).await?;
    files(&site, &headers, &wishes, held)
}

pub async fn instance(
    State(site): Shared,
    caller: Caller,
    Path((study, series, instance)): Path<(String, String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let wishes = wishes(&headers, &uri)?;
    let held = Below::instance(&study, &series, &instance)?.retrieve_one(&site, &caller).await?;
    // One part alone is asked for by its own type (PS3.18 8.7.6); whoever takes anything gets what is usual.
    let alone = |wish: &&Wish| wish.takes(DICOM) && wish.takes_syntax(held.transfer_syntax.as_str());
    if wishes.iter().find(alone).is_some_and(|wish| !wish.multipart && !wish.is_anything()) {
        let content_type = content_type(&held);
        let file = body(&site, [Piece::File(Box::new(held))]);
        return Ok(answer(&content_type, file));
    }
    files(&site, &headers, &wishes, vec![held])
}

fn content_type(held: &HeldInstance) -> String {
    format!("{DICOM}; transfer-syntax={}", held.transfer_syntax)
}

fn files(site: &Site, headers: &HeaderMap, wishes: &[Wish], held: Vec<HeldInstance>) -> Result<Response, Problem> {
    let takes = |held: &HeldInstance| {
        let syntax = held.transfer_syntax.as_str();
        wishes
            .iter()
            .any(|wish| wish.takes(DICOM) && wish.takes_syntax(syntax) && (wish.multipart || wish.is_anything()))
    };
    let base = site.base_url(headers);
    let mut multipart = Multipart::new(DICOM);
    let mut any = false;
    for held in held.into_iter().filter(takes) {
        any = true;
        let url = instance_url(&base, &held);
        multipart.part(&content_type(&held), Some(&url), [Piece::File(Box::new(held))]);
    }
    if !any {
        return Err(Problem::not_acceptable(
            "instances are sent as they were received: accept multipart/related; type=\"application/dicom\"; transfer-syntax=*",
        ));
    }
    Ok(multipart.response(site))
}
