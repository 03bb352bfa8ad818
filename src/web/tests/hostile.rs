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
    let enormous = "x".repeat(100 << 10);
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
