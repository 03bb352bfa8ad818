//! UPS-RS (PS3.18 chapter 11): reading tasks over HTTP, in every dialect of its query parameters.
//!
//! In: requests with a token. Out: the same questions as over DIMSE, asked of [`Services`](crate::dicom::service::Services),
//! and their statuses in HTTP ([`outcome`]). Events go over WebSockets ([`socket`]).

mod body;
mod outcome;
mod query;
mod socket;

use super::{
    Caller, Problem, Site,
    routes::{Entry, Gives, Parameter, Takes, Verb},
};
use crate::{
    dicom::{
        service::{Asker, DataSet, Find, FindModel, Target},
        ups::{PUSH, put},
    },
    model::Uid,
};
use axum::{
    body::Bytes,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put as put_},
};
pub use socket::Listeners;

use body::{DICOM_JSON, accepts_json, data_set};
use dicom_core::VR;
use dicom_dictionary_std::tags;
use futures_util::StreamExt;
use outcome::Operation;
use std::sync::Arc;

const GROUP: &str = "reading tasks";
const JSON_TYPES: &[&str] = &[DICOM_JSON, "application/json"];
const MAX_RECEIVER: usize = 64;

/// Tasks of one answer where the request names no limit.
const DEFAULT_LIMIT: u64 = 200;

/// The routes below a root.
macro_rules! table {
    ($root:literal) => {
        &[
    Entry {
        path: concat!($root, "/workitems"),
        method: Verb::Get,
        is_open: false,
        group: GROUP,
        summary: "Searches for tasks (PS3.18 11.9). Keys are keywords or tags, of sequences joined by dots.",
        query: &[
            Parameter { name: "limit", what: "Tasks at most; 200 by default, 5,000 at most." },
            Parameter { name: "offset", what: "Tasks to pass over." },
            Parameter { name: "fuzzymatching", what: "true: words of a name in any order." },
            Parameter { name: "includefield", what: "Attributes to return beside the keys; all by default." },
        ],
        takes: Takes::Nothing,
        gives: &[
            Gives::new(200, "Tasks.", JSON_TYPES),
            Gives::new(204, "None.", &[]),
            Gives::new(206, "Some of them: there are more.", JSON_TYPES),
            Gives::new(400, "A key that cannot be read.", &[]),
            Gives::new(413, "Too many tasks would have to be looked at for these keys.", &[]),
        ],
        handler: || get(search),
    },
    Entry {
        path: concat!($root, "/workitems"),
        method: Verb::Post,
        is_open: false,
        group: GROUP,
        summary: "Refused: tasks are made by this node, from orders and images (PS3.18 11.4).",
        query: &[],
        takes: Takes::Small(JSON_TYPES),
        gives: &[Gives::new(201, "Made.", &[]), Gives::new(403, "No partner makes tasks here.", &[])],
        handler: || post(create),
    },
    Entry {
        path: concat!($root, "/workitems/{uid}"),
        method: Verb::Get,
        is_open: false,
        group: GROUP,
        summary: "A task with all that is known of it but its Transaction UID (PS3.18 11.5).",
        query: &[],
        takes: Takes::Nothing,
        gives: &[Gives::new(200, "The task.", JSON_TYPES), Gives::new(404, "There is none.", &[])],
        handler: || get(retrieve),
    },
    Entry {
        path: concat!($root, "/workitems/{uid}"),
        method: Verb::Post,
        is_open: false,
        group: GROUP,
        summary: "Sets progress, what was performed, and who is to (PS3.18 11.6).",
        query: &[Parameter {
            name: "transaction-uid",
            what: "The performer's Transaction UID; also in the body, or bare.",
        }],
        takes: Takes::Small(JSON_TYPES),
        gives: &[
            Gives::new(200, "Set.", &[]),
            Gives::new(400, "Not the Transaction UID.", &[]),
            Gives::new(404, "There is none.", &[]),
            Gives::new(409, "Not in this state.", &[]),
        ],
        handler: || post(update),
    },
    Entry {
        path: concat!($root, "/workitems/{uid}/state"),
        method: Verb::Put,
        is_open: false,
        group: GROUP,
        summary: "Claims, completes or cancels a task (PS3.18 11.7).",
        query: &[],
        takes: Takes::Small(JSON_TYPES),
        gives: &[
            Gives::new(200, "Done.", &[]),
            Gives::new(400, "Not the Transaction UID.", &[]),
            Gives::new(404, "There is none.", &[]),
            Gives::new(409, "Not from this state: somebody else has claimed it, or it has ended.", &[]),
        ],
        handler: || put_(change_state),
    },
    Entry {
        path: concat!($root, "/workitems/{uid}/cancelrequest"),
        method: Verb::Post,
        is_open: false,
        group: GROUP,
        summary: "Asks that a task be canceled (PS3.18 11.8).",
        query: &[],
        takes: Takes::Small(JSON_TYPES),
        gives: &[
            Gives::new(202, "Asked; or canceled, where nobody had begun.", &[]),
            Gives::new(404, "There is none.", &[]),
            Gives::new(409, "It has ended, or its performer cannot be asked.", &[]),
        ],
        handler: || post(request_cancel),
    },
    Entry {
        path: concat!($root, "/workitems/{uid}/subscribers/{aet}"),
        method: Verb::Post,
        is_open: false,
        group: GROUP,
        summary: "Subscribes to a task, or to all or those that fit a filter by the well-known UIDs (PS3.18 11.10).",
        query: &[
            Parameter { name: "deletionlock", what: "true or false." },
            Parameter { name: "filter", what: "Keys of a filtered subscription: Keyword=value, joined by commas." },
        ],
        takes: Takes::Nothing,
        gives: &[
            Gives::new(201, "Subscribed; Content-Location is where events are heard.", &[]),
            Gives::new(403, "Not this receiver.", &[]),
            Gives::new(404, "There is none.", &[]),
        ],
        handler: || post(subscribe),
    },
    Entry {
        path: concat!($root, "/workitems/{uid}/subscribers/{aet}"),
        method: Verb::Delete,
        is_open: false,
        group: GROUP,
        summary: "Ends a subscription; by the well-known UID all that the receiver has (PS3.18 11.12).",
        query: &[],
        takes: Takes::Nothing,
        gives: &[Gives::new(200, "Ended.", &[]), Gives::new(404, "There is no such task.", &[])],
        handler: || delete(unsubscribe),
    },
    Entry {
        path: concat!($root, "/workitems/{uid}/subscribers/{aet}/suspend"),
        method: Verb::Post,
        is_open: false,
        group: GROUP,
        summary: "Ends a global subscription for tasks to come (PS3.18 11.11).",
        query: &[],
        takes: Takes::Nothing,
        gives: &[Gives::new(200, "Suspended.", &[]), Gives::new(409, "Not a global one.", &[])],
        handler: || post(suspend),
    },
    Entry {
        path: concat!($root, "/ws/subscribers/{aet}"),
        method: Verb::Get,
        is_open: false,
        group: GROUP,
        summary: "Events of a receiver's subscriptions, as DICOM JSON over a WebSocket (PS3.18 11.12).",
        query: &[],
        takes: Takes::Nothing,
        gives: &[Gives::new(101, "A WebSocket.", &[])],
        handler: || get(socket::open),
    },
    Entry {
        path: concat!($root, "/subscribers/{aet}"),
        method: Verb::Get,
        is_open: false,
        group: GROUP,
        summary: "The same.",
        query: &[],
        takes: Takes::Nothing,
        gives: &[Gives::new(101, "A WebSocket.", &[])],
        handler: || get(socket::open),
    },
]
    };
}

pub const TABLE: &[Entry] = table!("");
/// The same below the root of DICOMweb: many clients know one base for all of it.
pub const WITH_DICOM_WEB: &[Entry] = table!("/dicom-web");

/// Every task is an instance of UPS Push (PS3.4 CC.3.1).
fn target(uid: &str) -> Result<Target, Problem> {
    let class = Uid::new(PUSH).map_err(|_| Problem::internal())?;
    let instance = Uid::new(uid).map_err(|_| Problem::not_found())?;
    Ok(Target { class, instance: Some(instance) })
}

async fn search(
    State(site): State<Arc<Site>>,
    Caller(asker): Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accepts_json(&headers)?;
    let asked = query::search(query.as_deref().unwrap_or_default()).map_err(Problem::bad_request)?;
    let find = Find {
        model: FindModel::Workitems,
        identifier: asked.keys,
        skip: asked.offset,
        limit: Some(asked.limit.unwrap_or(DEFAULT_LIMIT)),
        is_fuzzy: asked.is_fuzzy,
    };
    let answers = site.services()?.find(&asker, find).await.map_err(outcome::not_searched)?;
    let (is_partial, mut matches) = (answers.is_partial, answers.matches);
    let Some(first) = matches.next().await else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let array = body::array_of(first?, matches);
    let status = if is_partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = (status, [(header::CONTENT_TYPE, DICOM_JSON)], array).into_response();
    if is_partial {
        outcome::warn(&mut response, "The number of results exceeded the limit; more can be requested");
    }
    if answers.has_unsupported_keys {
        outcome::warn(&mut response, "Requested optional Attributes are not supported.");
    }
    Ok(response)
}

async fn create(
    State(site): State<Arc<Site>>,
    Caller(asker): Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let set = data_set(&headers, &body)?;
    let named = query::uid(query.as_deref().unwrap_or_default(), &["workitem", "AffectedSOPInstanceUID"]);
    let class = Uid::new(PUSH).map_err(|_| Problem::internal())?;
    let target = Target { class, instance: named.and_then(|uid| Uid::new(&uid).ok()) };
    let made = site.services()?.create(&asker, target, set).await;
    let location = made.as_ref().ok().map(|made| format!("{}/workitems/{}", site.base_url(&headers), made.instance));
    let mut response = outcome::respond(Operation::Create, made.map(|made| made.status));
    if let Some(location) = location.and_then(|location| HeaderValue::try_from(location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn retrieve(
    State(site): State<Arc<Site>>,
    Caller(asker): Caller,
    Path(uid): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    accepts_json(&headers)?;
    match site.services()?.get(&asker, target(&uid)?, Vec::new()).await {
        Ok(found) => {
            let set = found.reply.unwrap_or_else(DataSet::new_empty);
            Ok(([(header::CONTENT_TYPE, DICOM_JSON)], body::array(&[set])).into_response())
        }
        Err(refusal) => Ok(outcome::respond(Operation::Retrieve, Err(refusal))),
    }
}

async fn update(
    State(site): State<Arc<Site>>,
    Caller(asker): Caller,
    Path(uid): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut set = data_set(&headers, &body)?;
    let names = ["transaction-uid", "transaction", "transactionUID", "TransactionUID", "00081195"];
    if let Some(transaction) = query::uid(query.as_deref().unwrap_or_default(), &names) {
        put(&mut set, tags::TRANSACTION_UID, VR::UI, &transaction);
    }
    let given = !crate::dicom::matching::value(&set, tags::TRANSACTION_UID).is_empty();
    let done = site.services()?.set(&asker, target(&uid)?, set).await;
    Ok(outcome::respond_to(Operation::Update, done.map(|done| done.status), given))
}

async fn change_state(
    State(site): State<Arc<Site>>,
    Caller(asker): Caller,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let set = data_set(&headers, &body)?;
    act(&site, &asker, &uid, 1, set, Operation::ChangeState).await
}

async fn request_cancel(
    State(site): State<Arc<Site>>,
    Caller(asker): Caller,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    // Why it is asked need not be said (PS3.18 11.8.1.4).
    let set = if body.is_empty() { DataSet::new_empty() } else { data_set(&headers, &body)? };
    act(&site, &asker, &uid, 2, set, Operation::RequestCancel).await
}

async fn subscribe(
    State(site): State<Arc<Site>>,
    Caller(asker): Caller,
    Path((uid, aet)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = query::subscription(query.as_deref().unwrap_or_default()).map_err(Problem::bad_request)?;
    let mut set = asked.keys;
    put(&mut set, tags::RECEIVING_AE, VR::AE, receiver_name(&aet)?);
    put(&mut set, tags::DELETION_LOCK, VR::LO, if asked.deletion_lock { "TRUE" } else { "FALSE" });
    let mut response = act(&site, &asker, &uid, 3, set, Operation::Subscribe).await?;
    if response.status() == StatusCode::CREATED {
        let base = site.base_url(&headers).replacen("http", "ws", 1);
        if let Ok(heard) = HeaderValue::try_from(format!("{base}/ws/subscribers/{aet}")) {
            response.headers_mut().insert(header::CONTENT_LOCATION, heard);
        }
    }
    Ok(response)
}

async fn unsubscribe(
    State(site): State<Arc<Site>>,
    Caller(asker): Caller,
    Path((uid, aet)): Path<(String, String)>,
) -> Result<Response, Problem> {
    no_more(&site, &asker, &uid, &aet, 4).await
}

async fn suspend(
    State(site): State<Arc<Site>>,
    Caller(asker): Caller,
    Path((uid, aet)): Path<(String, String)>,
) -> Result<Response, Problem> {
    no_more(&site, &asker, &uid, &aet, 5).await
}

/// A receiver wants no more events: of what there is, or of what is to come (PS3.4 Table CC.2.3-1).
async fn no_more(site: &Site, asker: &Asker, uid: &str, aet: &str, action_type: u16) -> Result<Response, Problem> {
    let mut set = DataSet::new_empty();
    put(&mut set, tags::RECEIVING_AE, VR::AE, receiver_name(aet)?);
    act(site, asker, uid, action_type, set, Operation::Unsubscribe).await
}

/// A name that a receiver can have; the spaces around it are none of it (PS3.5 6.2, AE).
fn receiver_name(aet: &str) -> Result<&str, Problem> {
    let name = aet.trim_matches(' ');
    let fits = (1..=MAX_RECEIVER).contains(&name.len()) && !name.chars().any(|c| c.is_control() || c == '\\');
    if fits { Ok(name) } else { Err(Problem::bad_request("not an AE title")) }
}

async fn act(
    site: &Site,
    asker: &Asker,
    uid: &str,
    action_type: u16,
    set: DataSet,
    operation: Operation,
) -> Result<Response, Problem> {
    let given = !crate::dicom::matching::value(&set, tags::TRANSACTION_UID).is_empty();
    let done = site.services()?.action(asker, target(uid)?, action_type, set).await;
    Ok(outcome::respond_to(operation, done.map(|done| done.status), given))
}
