//! Reads `neisse.toml`: this node, where it listens, its database and queue.
//!
//! Every table is optional and has the defaults written in [`super`]. Secrets are folded in by [`super::secrets`].

use super::escalation::{self, Escalation};
use super::secrets::Secrets;
use super::table::Table;
use super::values as v;
use super::{
    DatabaseUrl, DeliveryTimes, DicomListener, Hl7Listener, HttpListener, HttpTls, Node, QueueUrl, Retention, TaskTimes,
};
use std::{net::SocketAddr, path::Path, time::Duration};

pub(super) struct NodeFile {
    pub node: Node,
    pub database: DatabaseUrl,
    pub queue: QueueUrl,
    pub dicom: DicomListener,
    pub hl7: Hl7Listener,
    pub http: HttpListener,
    pub delivery: DeliveryTimes,
    pub tasks: TaskTimes,
    pub retention: Retention,
    pub escalation: Escalation,
}

const GIB: u64 = 1 << 30;

pub(super) fn read(top: &mut Table<'_>, folder: &Path, secrets: &Secrets<'_>) -> NodeFile {
    let node = read_node(top, folder);
    let database = match top.table("database") {
        Some(mut table) => secrets.database(&mut table),
        None => DatabaseUrl::Sqlite,
    };
    let queue = match top.table("queue") {
        Some(mut table) => secrets.queue(&mut table),
        None => QueueUrl::Memory,
    };
    let dicom = read_dicom(top);
    let hl7 = read_hl7(top);
    let http = read_http(top, folder, secrets);
    let delivery = read_delivery(top);
    let tasks = read_tasks(top);
    let retention = read_retention(top);
    let escalation = top.table("escalation").map(|mut table| escalation::read(&mut table, secrets)).unwrap_or_default();
    check_ports(top, &[("dicom", dicom.listen), ("hl7", hl7.listen), ("http", http.listen)]);
    NodeFile { node, database, queue, dicom, hl7, http, delivery, tasks, retention, escalation }
}

fn read_node(top: &mut Table<'_>, folder: &Path) -> Node {
    let mut table = top.table("node");
    let name = table.as_mut().and_then(|table| table.parsed("name", v::node_name));
    let data_dir = table.as_mut().and_then(|table| table.parsed("data_dir", v::words));
    Node {
        name: name.map_or_else(|| "neisse-1".to_owned(), |name| name.value),
        data_dir: folder.join(data_dir.map_or_else(|| "data".to_owned(), |dir| dir.value)),
    }
}

fn read_dicom(top: &mut Table<'_>) -> DicomListener {
    let mut listener = DicomListener {
        listen: SocketAddr::from(([0, 0, 0, 0], 11112)),
        ae_title: "NEISSE".to_owned(),
        max_associations: 200,
        max_pdu_bytes: 256 << 10,
        idle: Duration::from_secs(60),
        handshake: Duration::from_secs(15),
        reserve_bytes: 5 * GIB,
        quiet: Duration::from_secs(30),
        images_within: Duration::from_secs(3600),
        commitment_within: Duration::from_secs(4 * 3600),
    };
    let Some(mut table) = top.table("dicom") else {
        return listener;
    };
    if let Some(found) = table.parsed("listen", v::listen) {
        listener.listen = found.value;
    }
    if let Some(found) = table.parsed("ae_title", v::ae_title) {
        listener.ae_title = found.value;
    }
    if let Some(count) = table.number("max_associations", 1..=10_000) {
        listener.max_associations = usize::try_from(count).unwrap_or(listener.max_associations);
    }
    if let Some(found) = table.parsed("max_pdu", |text| v::size(text, 16 << 10, 1 << 20)) {
        listener.max_pdu_bytes = u32::try_from(found.value).unwrap_or(listener.max_pdu_bytes);
    }
    if let Some(found) = table.parsed("reserve", |text| v::size(text, 0, 1 << 50)) {
        listener.reserve_bytes = found.value;
    }
    span(&mut table, "idle", ("1s", "1h"), &mut listener.idle);
    span(&mut table, "handshake", ("1s", "5m"), &mut listener.handshake);
    span(&mut table, "quiet", ("1s", "1h"), &mut listener.quiet);
    span(&mut table, "images_within", ("1m", "7d"), &mut listener.images_within);
    span(&mut table, "commitment_within", ("1m", "7d"), &mut listener.commitment_within);
    listener
}

fn read_hl7(top: &mut Table<'_>) -> Hl7Listener {
    let mut listener = Hl7Listener {
        listen: SocketAddr::from(([0, 0, 0, 0], 2575)),
        max_message_bytes: 64 << 20,
        max_connections: 200,
        message_within: Duration::from_secs(60),
    };
    let Some(mut table) = top.table("hl7") else {
        return listener;
    };
    if let Some(found) = table.parsed("listen", v::listen) {
        listener.listen = found.value;
    }
    if let Some(found) = table.parsed("max_message", |text| v::size(text, 4 << 10, GIB)) {
        listener.max_message_bytes = usize::try_from(found.value).unwrap_or(listener.max_message_bytes);
    }
    if let Some(count) = table.number("max_connections", 1..=10_000) {
        listener.max_connections = usize::try_from(count).unwrap_or(listener.max_connections);
    }
    span(&mut table, "message_within", ("1s", "10m"), &mut listener.message_within);
    listener
}

fn read_http(top: &mut Table<'_>, folder: &Path, secrets: &Secrets<'_>) -> HttpListener {
    let mut listener = HttpListener {
        listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
        tls: None,
        max_connections: 500,
        url: None,
        viewer: None,
        viewer_config: None,
        allow_origins: Vec::new(),
    };
    let Some(mut table) = top.table("http") else {
        return listener;
    };
    if let Some(found) = table.parsed("listen", v::listen) {
        listener.listen = found.value;
    }
    if table.has("certificate") != table.has("key") {
        table.problem(&table.spot(), "found one of certificate and key, expected both or neither");
    }
    let certificate = secrets.existing(&mut table, "certificate");
    let key = secrets.existing(&mut table, "key");
    listener.tls = certificate.zip(key).map(|(certificate, key)| HttpTls { certificate, key });
    if let Some(count) = table.number("max_connections", 10..=10_000) {
        listener.max_connections = usize::try_from(count).unwrap_or(listener.max_connections);
    }
    listener.url = table.parsed("url", v::origin).map(|found| found.value);
    if let Some(found) = table.parsed("viewer", v::words) {
        let path = folder.join(&found.value);
        if !path.join("index.html").is_file() {
            let shown = v::shorten(&found.value);
            table.problem(&found.spot, format!("found \"{shown}\", expected a folder with an index.html"));
        }
        listener.viewer = Some(path);
    }
    listener.viewer_config = secrets.existing(&mut table, "viewer_config");
    listener.allow_origins = table.list("allow_origins", v::origin).into_iter().map(|found| found.value).collect();
    listener
}

fn read_delivery(top: &mut Table<'_>) -> DeliveryTimes {
    let mut times = DeliveryTimes {
        connect: Duration::from_secs(10),
        response: Duration::from_secs(60),
        retry_min: Duration::from_secs(5),
        retry_max: Duration::from_secs(600),
        give_up: Duration::from_secs(86_400),
        down_after: Duration::from_secs(600),
    };
    let Some(mut table) = top.table("delivery") else {
        return times;
    };
    span(&mut table, "connect", ("1s", "5m"), &mut times.connect);
    span(&mut table, "response", ("1s", "1h"), &mut times.response);
    span(&mut table, "retry_min", ("1s", "1h"), &mut times.retry_min);
    span(&mut table, "retry_max", ("1s", "24h"), &mut times.retry_max);
    span(&mut table, "give_up", ("1m", "90d"), &mut times.give_up);
    span(&mut table, "down_after", ("10s", "7d"), &mut times.down_after);
    if times.retry_min > times.retry_max {
        let found = format!("{} s and {} s", times.retry_min.as_secs(), times.retry_max.as_secs());
        table.problem(
            &table.spot(),
            format!("found retry_min and retry_max of {found}, expected retry_min to be shorter"),
        );
    }
    times
}

fn read_tasks(top: &mut Table<'_>) -> TaskTimes {
    let mut times = TaskTimes { claim_lease: Duration::from_secs(4 * 3600) };
    if let Some(mut table) = top.table("tasks") {
        span(&mut table, "claim_lease", ("1m", "30d"), &mut times.claim_lease);
    }
    times
}

fn read_retention(top: &mut Table<'_>) -> Retention {
    const DAY: Duration = Duration::from_secs(86_400);
    let mut retention = Retention { keep: Some(14 * DAY), keep_unreported: Some(60 * DAY), answers: Some(90 * DAY) };
    let Some(mut table) = top.table("retention") else {
        return retention;
    };
    let keep = |text: &str| match text.trim() {
        "forever" => Ok(None),
        span => {
            v::duration_between(span, "1d", "3650d").map(Some).map_err(|problem| format!("{problem}, or \"forever\""))
        }
    };
    if let Some(found) = table.parsed("keep", keep) {
        retention.keep = found.value;
    }
    if let Some(found) = table.parsed("keep_unreported", keep) {
        retention.keep_unreported = found.value;
    }
    if let Some(found) = table.parsed("answers", keep) {
        retention.answers = found.value;
    }
    retention
}

fn span(table: &mut Table<'_>, key: &'static str, (least, most): (&str, &str), into: &mut Duration) {
    if let Some(found) = table.parsed(key, |text| v::duration_between(text, least, most)) {
        *into = found.value;
    }
}

/// Two listeners on one port cannot both start; port 0 means any free port.
fn check_ports(top: &Table<'_>, listeners: &[(&str, SocketAddr)]) {
    for (index, (name, listen)) in listeners.iter().enumerate() {
        let taken = listeners[..index].iter().find(|(_, other)| {
            let same_host = other.ip() == listen.ip() || other.ip().is_unspecified() || listen.ip().is_unspecified();
            other.port() == listen.port() && listen.port() != 0 && same_host
        });
        if let Some((other, _)) = taken {
            let text =
                format!("[{name}] and [{other}] both listen on port {}, expected different ports", listen.port());
            top.problem(&top.spot(), text);
        }
    }
}
