//! Callers that mean no good, or know no better.

use super::*;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_headers_that_are_none_are_refused() {
    let node = Node::start().await;
    let (token, _) = node.token("harz", 1).await;
    let long = "1".repeat(65);
    for path in ["..", "%2e%2e", "1.2%2f3", "1.2%00", "x", &long, "1..2", "%ff"] {
        for path in [format!("/dicom-web/studies/{path}"), format!("/dicom-web/studies/{path}/metadata")] {
            let status = node.get(&path, &token, "*/*").await.status().as_u16();
            assert!(matches!(status, 400 | 404 | 405), "{path}: {status}");
        }
    }
    for path in ["..%2f..%2fneisse.sqlite", "7FE00010/0/..", "%2e%2e/%2e%2e"] {
        let path = format!("/dicom-web/studies/1.2/series/1.3/instances/1.4/bulkdata/{path}");
        assert_eq!(node.get(&path, &token, "*/*").await.status(), 404, "{path}");
    }
    let huge = "image/png,".repeat(2_000);
    assert_eq!(node.get("/dicom-web/studies", &token, &huge).await.status(), 400);
    let enormous = "x".repeat(200 << 10);
    let status =
        node.http.get(node.url("/healthz")).header("X-Long", enormous).send().await.map(|r| r.status().as_u16());
    assert!(matches!(status, Ok(431) | Err(_)), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_stores_what_was_whole_and_nothing_by_half() {
    let node = Node::start().await;
    let (token, _) = node.token("harz", 1).await;
    let instances: Vec<_> = crate::cli::sample::studies("head-ct").unwrap().2.take(2).collect();
    let mut body = files(&[instances[0].part10(), instances[1].part10()]);
    body.truncate(body.len() - 200);
    let response = node.stow(&token, "/dicom-web/studies", FILES, body.clone()).await;
    assert_eq!(response.status(), 400);
    let json: serde_json::Value = response.text().await.unwrap().parse().unwrap();
    assert_eq!(json["00081199"]["Value"].as_array().unwrap().len(), 1);
    // Hanging up in the middle of a second: the first is there.
    let mut stream = TcpStream::connect(node.at).await.unwrap();
    let head = format!(
        "POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {FILES}\r\nContent-Length: 999999999\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    drop(stream);
    let since = Instant::now();
    loop {
        let found = node.get("/dicom-web/instances", &token, "").await;
        let found: serde_json::Value = found.text().await.unwrap().parse().unwrap();
        if found.as_array().unwrap().len() == 2 {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for body in [&b"--cut"[..], b"", b"--cut\r\n", b"--cut\r\nX: y\r\n\r\n", b"\r\n--cut--\r\n"] {
        let status = node.stow(&token, "/dicom-web/studies", FILES, body.to_vec()).await.status();
        assert!(status.is_client_error(), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_sends_nothing_is_turned_away_at_the_bound_and_let_go() {
    let node = Node::start_with("max_connections = 10\n").await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(node.at).await.unwrap();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
        idle.push(stream);
    }
    let since = Instant::now();
    let mut ended = 0;
    for stream in &mut idle {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(45), stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "a connection that sends no request is kept for ever");
        ended += 1;
    }
    assert_eq!(ended, 20);
    assert!(since.elapsed() < Duration::from_secs(45));
    assert_eq!(node.http.get(node.url("/healthz")).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_of_one_partner_are_bounded_and_end_with_the_node() {
    let node = Node::start().await;
    let ((token, _), (other, _)) = (node.token("harz", 1).await, node.token("elbe", 2).await);
    let listen = async |token: &str, path: &str| {
        let mut stream = TcpStream::connect(node.at).await.unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        (String::from_utf8_lossy(&status[9..]).into_owned(), stream)
    };
    let mut listening = Vec::new();
    for number in 0..50 {
        let root = if number % 2 == 0 { "" } else { "/dicom-web" };
        let (status, stream) = listen(&token, &format!("{root}/ws/subscribers/WS{number}")).await;
        assert_eq!(status, "101", "{number}");
        listening.push(stream);
    }
    assert_eq!(listen(&token, "/ws/subscribers/WS50").await.0, "503");
    assert_eq!(listen(&other, "/ws/subscribers/WS1").await.0, "101", "the others have theirs");
    // Who listens anew needs no place: the older connection ends.
    let (status, stream) = listen(&token, "/ws/subscribers/WS0").await;
    let mut older = std::mem::replace(&mut listening[0], stream);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), older.read_to_end(&mut rest)).await;
    assert!(status == "101" && ended.is_ok(), "{status}: the older goes on");
    for bad in ["%00", "W%5CS", "%0a", "%20", &"W".repeat(65)] {
        assert_eq!(listen(&token, &format!("/ws/subscribers/{bad}")).await.0, "400", "{bad}");
    }
    drop(listening.pop());
    let since = Instant::now();
    while listen(&token, "/ws/subscribers/WS50").await.0 != "101" {
        assert!(since.elapsed() < Duration::from_secs(20), "a place is free again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    node.stop.cancel();
    for stream in &mut listening {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "it goes on after the node has stopped");
    }
}

/// Headers of about a megabyte, so that few of them fill what a connection holds.
fn with_long_headers(number: usize) -> Vec<u8> {
    let uid = |text: &str| Uid::new(text).unwrap();
    let instance = format!("1.2.3.{number}");
    let (class, explicit) = (uid("1.2.840.10008.5.1.4.1.1.7"), uid("1.2.840.10008.1.2.1"));
    let mut file = crate::dicom::instance::file_head(&class, &uid(&instance), &explicit);
    let mut put = |tag: [u16; 2], vr: &[u8], value: &[u8]| {
        tag.iter().for_each(|half| file.extend(half.to_le_bytes()));
        file.extend(vr);
        file.extend(u16::try_from(value.len() + value.len() % 2).unwrap().to_le_bytes());
        file.extend(value);
        file.extend(vec![0; value.len() % 2]);
    };
    put([0x0008, 0x0016], b"UI", class.as_str().as_bytes());
    put([0x0008, 0x0018], b"UI", instance.as_bytes());
    put([0x0009, 0x0010], b"LO", b"LONG");
    for element in 0..40 {
        put([0x0009, 0x1000 + element], b"LT", &b"long text ".repeat(3_000));
    }
    put([0x0020, 0x000D], b"UI", b"1.2.3");
    put([0x0020, 0x000E], b"UI", b"1.2.3.0");
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_headers_and_does_not_read_them_keeps_nobody_waiting() {
    let node = Node::start().await;
    let ((token, _), (other, _)) = (node.token("harz", 1).await, node.token("elbe", 2).await);
    let long: Vec<_> = (1..=24).map(with_long_headers).collect();
    assert_eq!(node.stow(&token, "/dicom-web/studies", FILES, files(&long)).await.status(), 200);
    assert_eq!(node.stow(&other, "/dicom-web/studies", FILES, files(&long[..1])).await.status(), 200);
    let mut deaf = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(node.at).await.unwrap();
        let head = format!(
            "GET /dicom-web/studies/1.2.3/metadata HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        deaf.push(stream);
    }
    // Until its answer fills what the connection holds.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = node.get("/dicom-web/studies/1.2.3/metadata", &other, "");
    let told = tokio::time::timeout(Duration::from_secs(20), async { asked.await.bytes().await.unwrap() }).await;
    assert!(told.is_ok_and(|told| told.len() > 1_000_000), "its headers wait for a caller that does not read");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_uploads_of_one_partner_leave_room_for_the_others() {
    let node = Node::start().await;
    let ((token, _), (other, _)) = (node.token("harz", 1).await, node.token("elbe", 2).await);
    let json = "multipart/related; type=\"application/dicom+json\"; boundary=cut";
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(node.at).await.unwrap();
        let head = format!(
            "POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: {json}\r\n\
             Content-Length: 1000000\r\n\r\n--cut\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let body = b"--cut\r\nContent-Type: application/dicom+json\r\n\r\n[{}]\r\n--cut--".to_vec();
    let stowed = node.stow(&other, "/dicom-web/studies", json, body);
    let stowed = tokio::time::timeout(Duration::from_secs(20), stowed).await.expect("its turn");
    assert_eq!(stowed.status(), 409);
}
