//! The harness itself: a service that is killed is gone and comes back with its data, a line does what it is told.

use crate::support::{
    blocking,
    dcmtk::{StoreScp, Target, echoscu},
    eventually,
    network::{ALWAYS_CHEMNITZ, Footing, files},
    orthanc::Orthanc,
    postgres::{Postgres, shared_database},
    process::{self, Process},
    proxy::{Line, Proxy},
    service_folder,
};
use std::{
    process::{Command, Output},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

async fn psql(url: &str, sql: &'static str) -> Output {
    let url = url.to_string();
    blocking(move || Command::new("psql").args([&url, "-Atqc", sql]).output()).await.expect("psql")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_postgresql_comes_back_with_what_was_committed() {
    let postgres = Postgres::start().await;
    let url = postgres.fresh_database().await;
    assert!(psql(&url, "CREATE TABLE t (n int); INSERT INTO t VALUES (7)").await.status.success());
    postgres.kill().await;
    eventually("it is gone", Duration::from_secs(10), async || !psql(&url, "SELECT 1").await.status.success()).await;
    postgres.again().await;
    assert_eq!(psql(&url, "SELECT n FROM t").await.stdout, b"7\n");
    let (one, other) = (shared_database().await, shared_database().await);
    assert_ne!(one, other);
    assert!(psql(&one, "SELECT 1").await.status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orthanc_and_storescp_answer_an_echo() {
    let orthanc = Orthanc::start("CHEMNITZ").await;
    let storescp = StoreScp::start("LEIPZIG").await;
    for (called, port) in [(&orthanc.ae_title, orthanc.dicom_port), (&storescp.ae_title, storescp.port)] {
        let target = Target { calling: "RAB_CT1".to_string(), called: called.clone(), port };
        let output = echoscu(&target).await;
        assert!(output.status.success(), "{called}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(orthanc.instance_count().await, 0);
    assert!(storescp.received().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_delayed_slowed_stalled_cut_and_dead() {
    let echo = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let proxy = Proxy::to(&echo.local_addr().expect("an address").to_string()).await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    let mut stream = TcpStream::connect(proxy.address).await.expect("connected");
    assert!(there_and_back(&mut stream, 10).await < Duration::from_millis(200));
    proxy.set(Line::Delayed(Duration::from_millis(150)));
    assert!(there_and_back(&mut stream, 10).await >= Duration::from_millis(300));
    proxy.set(Line::Slow(20_000));
    // Each way, but both at once.
    assert!(there_and_back(&mut stream, 10_000).await >= Duration::from_millis(450));
    proxy.set(Line::Stalled);
    let stalled = timeout(Duration::from_millis(300), there_and_back(&mut stream, 10)).await;
    assert!(stalled.is_err());
    proxy.set(Line::Good);
    let mut late = [0; 10];
    stream.read_exact(&mut late).await.expect("what was held back");
    proxy.cut();
    // End or reset: the connection is over.
    assert!(matches!(stream.read(&mut late).await, Ok(0) | Err(_)));
    proxy.set(Line::Dead);
    let mut refused = TcpStream::connect(proxy.address).await.expect("taken");
    assert!(matches!(refused.read(&mut late).await, Ok(0) | Err(_)), "and closed again");
}

async fn there_and_back(stream: &mut TcpStream, bytes: usize) -> Duration {
    let (since, sent) = (Instant::now(), vec![7; bytes]);
    let mut back = vec![0; bytes];
    let (mut read, mut write) = stream.split();
    let (sending, receiving) = tokio::join!(write.write_all(&sent), read.read_exact(&mut back));
    sending.expect("sent");
    receiving.expect("received");
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_router_as_a_process_is_measured_killed_and_started_again() {
    let folder = service_folder("process-");
    process::write(folder.path(), &files(Footing::Embedded, ALWAYS_CHEMNITZ, 1, 1, 1).await);
    let mut router = Process::start(folder.path()).await;
    let (first, peak) = (router.pid(), router.peak_memory_bytes());
    assert!((1 << 20..1 << 30).contains(&peak), "{peak}");
    router.kill9();
    assert!(!router.is_running());
    router.again().await;
    assert!(router.is_running() && router.pid() != first);
    assert!(router.get("/metrics").await.is_some_and(|(code, page)| code == 200 && page.contains("neisse_")));
    assert!(router.terminate().await.success());
    assert_eq!(router.log().matches("Ready: DICOM").count(), 2);
    assert!(router.log().trim_end().ends_with("Stopped"));
}
