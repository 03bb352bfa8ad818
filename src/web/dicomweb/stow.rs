//! STOW-RS (PS3.18 10.5): instances come in as parts of a body, and go, as their bytes arrive, to the same intake as
//! those of associations: an instance is told to be stored when it would survive a power cut.
//!
//! One instance that is refused does not touch the others. Whoever hangs up in the middle has stored what was told to be
//! stored, and nothing by half.

use super::{
    DICOM, DICOM_JSON, Shared,
    accept::wishes,
    metadata::check_json,
    multipart::{ContentType, MultipartError, PartHead, Parts, content_type},
    stow_json,
    stow_response::{Failed, Outcome, Stored},
    uid,
};
use crate::{
    dicom::{
        acceptor::syntaxes::{is_storage_class, is_transfer_syntax_usable},
        instance::FileHead,
        scan::{HeaderScanner, Progress},
        scp::{AssociationEnd, InstanceOffer, Rejection, own_thread},
    },
    model::Uid,
    web::{Caller, Problem, Site, Storing},
};
use axum::{
    body::{Body, BodyDataStream},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// PS3.4 Table B.2-1 and PS3.18 Table 10.5.3-1 (Failure Reason).
pub const CANNOT_UNDERSTAND: u16 = 0xC000;
const DOES_NOT_MATCH: u16 = 0xA900;
const CLASS_NOT_SUPPORTED: u16 = 0x0122;
const SYNTAX_NOT_SUPPORTED: u16 = 0xC122;
/// One request of metadata in JSON, as a whole: there is room for few of them.
const JSON_WITHIN: Duration = Duration::from_secs(600);

pub async fn any(
    State(site): Shared,
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, Problem> {
    store(site, caller, None, &headers, &uri, body).await
}

pub async fn of_study(
    State(site): Shared,
    caller: Caller,
    Path(study): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Body,
) -> Result<Response, Problem> {
    let study = uid(&study)?;
    store(site, caller, Some(study), &headers, &uri, body).await
}

async fn store(
    site: Arc<Site>,
    caller: Caller,
    only: Option<Uid>,
    headers: &HeaderMap,
    uri: &Uri,
    body: Body,
) -> Result<Response, Problem> {
    // Before anything is stored: 406 says that nothing has been.
    let told_in = check_json(&wishes(headers, uri)?)?;
    let media =
        || Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected multipart/related; type=\"application/dicom\"");
    let kind = content_type(headers).ok_or_else(media)?;
    let is_json = match kind.of_parts.as_str() {
        DICOM | "" => false,
        DICOM_JSON => true,
        _ => return Err(media()),
    };
    let base = site.base_url(headers);
    // Metadata and bulk data in JSON's manner are kept while they come: not for many at once, nor for ever.
    let turns = if is_json { Some(site.shelf.storing(&caller.0.partner).await?) } else { None };
    // On a thread of its own, as an association: it ends in order even when the caller has hung up.
    let (tell, told) = oneshot::channel();
    own_thread::run(move || async move {
        let _turns = turns;
        // The caller may have.
        let _ = tell.send(receive(&site, &caller, only, kind, is_json, body).await);
    })
    .await;
    // Why there is no answer has been logged.
    let outcome = told.await.map_err(|_| Problem::internal())??;
    Ok(outcome.response(&base, told_in))
}

async fn receive(
    site: &Site,
    caller: &Caller,
    only: Option<Uid>,
    kind: ContentType,
    is_json: bool,
    body: Body,
) -> Result<Outcome, Problem> {
    let admitted = site.storage.open(&caller.0.partner, &caller.0.ae_title).await;
    let storage = admitted.map_err(|rejection| match rejection {
        Rejection::CallingAeNotRecognized | Rejection::CalledAeNotRecognized => {
            Problem::new(StatusCode::FORBIDDEN, "this partner may not store")
        }
        Rejection::TemporaryCongestion | Rejection::LocalLimitExceeded => Problem::unavailable("try again later"),
    })?;
    let parts = Parts::new(body.into_data_stream(), &kind.boundary);
    let mut parts = if is_json { parts.within(JSON_WITHIN) } else { parts };
    let mut session = Session { storage, only, arriving: None, outcome: Outcome::default() };
    let ended = if is_json {
        stow_json::receive(&mut session, &mut parts).await
    } else {
        files(&mut session, &mut parts).await
    };
    if ended.is_err() {
        session.forget().await;
    }
    let how = if ended.is_ok() { AssociationEnd::Released } else { AssociationEnd::ConnectionLost };
    let Session { storage, mut outcome, .. } = session;
    storage.end(how).await;
    if let Err(error) = ended {
        if outcome.is_empty() {
            return Err(Problem::new(error.status(), error.to_string()));
        }
        outcome.broken = Some(error.status());
    }
    if outcome.is_empty() {
        return Err(Problem::bad_request("the body has no parts"));
    }
    Ok(outcome)
}

pub type Incoming = Parts<BodyDataStream>;

async fn files(session: &mut Session, parts: &mut Incoming) -> Result<(), MultipartError> {
    while let Some(head) = parts.next_part().await? {
        if !matches!(head.media().as_str(), DICOM | "") {
            session.outcome.other.push(CANNOT_UNDERSTAND);
            continue;
        }
        file(session, parts, &head).await?;
    }
    Ok(())
}

/// One part: file meta information is taken off, the data set goes on as it is.
async fn file(session: &mut Session, parts: &mut Incoming, _head: &PartHead) -> Result<(), MultipartError> {
    let mut begun = BytesMut::new();
    let head = loop {
        match FileHead::parse(&begun) {
            Ok(Some(head)) => break head,
            Ok(None) if begun.len() < FileHead::MAX_BYTES => match parts.piece().await? {
                Some(piece) => begun.extend_from_slice(&piece),
                None => return session.not_understood(),
            },
            Ok(None) | Err(_) => return session.not_understood(),
        }
    };
    let rest = begun.split_off(head.length).freeze();
    let offer = InstanceOffer {
        sop_class: head.sop_class,
        sop_instance: head.sop_instance,
        transfer_syntax: head.transfer_syntax,
    };
    if !session.begin(offer).await || !session.write(rest).await {
        return Ok(());
    }
    while let Some(piece) = parts.piece().await? {
        if !session.write(piece).await {
            return Ok(());
        }
    }
    session.commit().await;
    Ok(())
}

/// One request's side of the intake.
pub struct Session {
    storage: Box<dyn Storing>,
    /// The study of the path: others are refused (PS3.18 10.5.3.1).
    only: Option<Uid>,
    arriving: Option<Arriving>,
    pub outcome: Outcome,
}

struct Arriving {
    offer: InstanceOffer,
    scanner: HeaderScanner,
}

impl Session {
    fn not_understood(&mut self) -> Result<(), MultipartError> {
        self.outcome.other.push(CANNOT_UNDERSTAND);
        Ok(())
    }

    pub fn refuse(&mut self, offer: &InstanceOffer, reason: u16) {
        let (sop_class, sop_instance) = (offer.sop_class.clone(), offer.sop_instance.clone());
        self.outcome.failed.push(Failed { sop_class, sop_instance, reason });
    }

    /// False: it is refused, and nothing more of it is wanted.
    pub async fn begin(&mut self, offer: InstanceOffer) -> bool {
        let (class, syntax) = (offer.sop_class.as_str(), offer.transfer_syntax.as_str());
        let reason = if !is_storage_class(class) {
            Some(CLASS_NOT_SUPPORTED)
        } else if !is_transfer_syntax_usable(class, syntax) {
            Some(SYNTAX_NOT_SUPPORTED)
        } else {
            self.storage.begin(&offer).await.err().map(|refusal| refusal.status.code())
        };
        if let Some(reason) = reason {
            self.refuse(&offer, reason);
            return false;
        }
        let scanner = HeaderScanner::new(&offer.transfer_syntax);
        self.arriving = Some(Arriving { offer, scanner });
        true
    }

    /// False: it is refused, and nothing more of it is wanted.
    pub async fn write(&mut self, data: Bytes) -> bool {
        if data.is_empty() {
            return true;
        }
        let Some(arriving) = &mut self.arriving else { return false };
        // What it says is the intake's to judge; here it is only listened for the study.
        let _: Result<Progress, _> = arriving.scanner.push(&data);
        match self.storage.write(data).await {
            Ok(()) => true,
            Err(refusal) => {
                self.give_up(refusal.status.code()).await;
                false
            }
        }
    }

    pub async fn commit(&mut self) {
        let Some(Arriving { offer, scanner }) = self.arriving.take() else { return };
        let header = scanner.finish().ok();
        let (study, series) = header.map_or((None, None), |header| (header.study(), header.series()));
        if self.only.is_some() && self.only != study {
            self.storage.discard().await;
            return self.refuse(&offer, DOES_NOT_MATCH);
        }
        match self.storage.commit().await {
            Ok(status) => {
                let warning = Some(status.code()).filter(|code| *code != 0);
                let InstanceOffer { sop_class, sop_instance, .. } = offer;
                self.outcome.stored.push(Stored { sop_class, sop_instance, study, series, warning });
            }
            Err(refusal) => {
                self.storage.discard().await;
                self.refuse(&offer, refusal.status.code());
            }
        }
    }

    /// What has begun is not to be stored after all.
    pub async fn give_up(&mut self, reason: u16) {
        if let Some(arriving) = self.arriving.take() {
            self.storage.discard().await;
            self.refuse(&arriving.offer, reason);
        }
    }

    /// The body broke off.
    async fn forget(&mut self) {
        self.give_up(CANNOT_UNDERSTAND).await;
    }
}
