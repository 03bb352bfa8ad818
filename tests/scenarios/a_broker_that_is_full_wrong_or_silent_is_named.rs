//! Whatever is the matter with the broker, the carrier's state says it in words, soon, and without a password.

use crate::support::{
    carrier::{SOON, amqp, amqp_carrier, envelope, next, partner, trouble, until_up},
    rabbit::{Rabbit, shared_url},
};
use neisse::{
    config::{Amqp, QueueUrl},
    model::Lane,
    queue::{Carrier, CarrierError, CarrierState, PublishError},
};
use std::time::{Duration, Instant};
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    time::{sleep, timeout},
};

fn open(config: Amqp) -> Carrier {
    Carrier::open(&QueueUrl::Amqp(config), "test", vec![partner("chemnitz")]).expect("a carrier")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn low_on_memory_it_blocks_publishers_and_serves_workers() {
    let rabbit = Rabbit::start().await;
    let chemnitz = partner("chemnitz");
    let carrier = amqp_carrier(&rabbit.url(), std::slice::from_ref(&chemnitz)).await;
    for number in 0..3 {
        carrier.publish(&envelope(&chemnitz, Lane::Routine, number)).await.expect("queued");
    }
    rabbit.memory_watermark("0.00001").await;
    // The alarm is raised a moment later, and the broker says so to whoever publishes then.
    let mut number = 3;
    let last = loop {
        let result = carrier.publish(&envelope(&chemnitz, Lane::Routine, number)).await;
        if result.is_err() {
            break result;
        }
        number += 1;
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(last, Err(PublishError::Unknown), "sent, and then no confirm");
    assert!(matches!(*carrier.state().borrow(), CarrierState::Blocked { .. }));
    let since = Instant::now();
    let refused = carrier.publish(&envelope(&chemnitz, Lane::Routine, 99)).await;
    assert!(matches!(&refused, Err(PublishError::Unavailable(reason)) if reason.contains("memory")), "{refused:?}");
    assert!(since.elapsed() < Duration::from_millis(500), "{:?}", since.elapsed());
    let mut consumer = carrier.consume(&chemnitz, Lane::Routine, 1).await;
    for expected in 0..number {
        let carried = next(&mut consumer).await;
        assert_eq!(carried.envelope.items, expected);
        carried.done().await;
    }
    rabbit.memory_watermark("0.4").await;
    until_up(&carrier).await;
    carrier.publish(&envelope(&chemnitz, Lane::Routine, 100)).await.expect("queued");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_tls_each_side_shows_its_certificate() {
    let (rabbit, certificates) = Rabbit::start_with_tls().await;
    let ours = Amqp {
        url: rabbit.tls_url(),
        ca_file: Some(certificates.ca.clone()),
        cert_file: Some(certificates.client_cert.clone()),
        key_file: Some(certificates.client_key.clone()),
    };
    let carrier = open(ours.clone());
    until_up(&carrier).await;
    let parcel = envelope(&partner("chemnitz"), Lane::Stat, 1);
    carrier.publish(&parcel).await.expect("queued");
    let mut consumer = carrier.consume(&partner("chemnitz"), Lane::Stat, 1).await;
    assert_eq!(next(&mut consumer).await.envelope, parcel);

    let without_certificate = open(Amqp { cert_file: None, key_file: None, ..ours.clone() });
    let reason = trouble(&without_certificate, SOON, |reason| reason != "not connected yet").await;
    println!("without a certificate: {reason}");

    let folder = tempfile::tempdir().expect("a folder");
    let other_authority = folder.path().join("other.pem");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_string()]).expect("a certificate");
    std::fs::write(&other_authority, other.cert.pem()).expect("a file");
    let wrong_authority = open(Amqp { ca_file: Some(other_authority), ..ours.clone() });
    let reason = trouble(&wrong_authority, SOON, |reason| reason.contains("certificate")).await;
    println!("another authority: {reason}");

    // The system's authorities did not sign it either.
    let no_authority = Carrier::open(&QueueUrl::Amqp(Amqp { ca_file: None, ..ours }), "test", Vec::new());
    match no_authority {
        Ok(carrier) => {
            trouble(&carrier, SOON, |reason| reason.contains("certificate")).await;
        }
        // A machine without any system authorities says so at once.
        Err(error) => assert!(matches!(error, CarrierError::Tls(_)), "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_and_not_repeated() {
    let url = shared_url().replace("guest:guest@", "guest:Geheim-4711@");
    let carrier = open(amqp(&url));
    let reason = trouble(&carrier, SOON, |reason| reason != "not connected yet").await;
    assert!(reason.contains("ACCESS_REFUSED"), "{reason}");
    assert!(!reason.contains("Geheim"), "{reason}");
    let refused = carrier.publish(&envelope(&partner("chemnitz"), Lane::Stat, 1)).await;
    assert_eq!(refused, Err(PublishError::Unavailable(reason)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_virtual_host_that_is_not_there_is_named() {
    let carrier = open(amqp(&format!("{}-nowhere", shared_url())));
    let reason = trouble(&carrier, SOON, |reason| reason != "not connected yet").await;
    assert!(reason.contains("vhost"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn something_that_takes_the_connection_and_says_nothing_is_left_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let carrier = open(amqp(&format!("amqp://guest:guest@{address}")));
    let (mut peer, _) = listener.accept().await.expect("a connection");
    let mut header = [0; 8];
    peer.read_exact(&mut header).await.expect("the protocol header");
    assert_eq!(&header, b"AMQP\x00\x00\x09\x01");
    let reason = trouble(&carrier, SOON, |reason| reason != "not connected yet").await;
    assert!(reason.contains("no answer"), "{reason}");
    // The socket is closed and not left behind, or each attempt would cost a thread and a socket.
    let mut rest = Vec::new();
    timeout(SOON, peer.read_to_end(&mut rest)).await.expect("closed").expect("closed in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn something_that_speaks_another_protocol_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut peer, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut peer, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let carrier = open(amqp(&format!("amqp://guest:guest@{address}")));
    let reason = trouble(&carrier, SOON, |reason| reason != "not connected yet").await;
    assert!(!reason.is_empty());
    println!("another protocol: {reason}");
}
