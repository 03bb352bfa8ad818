//! The sender against peers that answer well, late, wrongly or not at all.

use super::*;
use crate::hl7::ack::AckCode;
use tokio::net::TcpListener;

const MESSAGE: &[u8] = b"MSH|^~\\&|A|B|C|D|||ORU^R01|7|P|2.5.1\r";

fn settings() -> SenderSettings {
    SenderSettings { connect: Duration::from_secs(2), response: Duration::from_millis(300) }
}

fn ack(code: &str, id: &str) -> Vec<u8> {
    format!("\x0bMSH|^~\\&|C|D|A|B|||ACK|1|P|2.5.1\rMSA|{code}|{id}\r\x1c\r").into_bytes()
}

/// A peer that takes one connection after another and plays the answers of each, one a message; after the last it
/// closes, or waits if `hold`.
async fn peer(connections: Vec<Vec<Vec<u8>>>, hold: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        let mut held = Vec::new();
        for answers in connections {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let (mut codec, mut buffer) = (MllpCodec::new(1 << 20), BytesMut::new());
            for answer in answers {
                while codec.decode(&mut buffer).expect("frames").is_none() {
                    if stream.read_buf(&mut buffer).await.expect("read") == 0 {
                        break;
                    }
                }
                stream.write_all(&answer).await.expect("answered");
            }
            if hold {
                held.push(stream);
            }
        }
        std::future::pending::<()>().await;
    });
    port
}

#[tokio::test]
async fn one_connection_serves_many_messages_and_is_renewed_when_it_ends() {
    let port = peer(vec![vec![ack("AA", "7"), ack("AE", "7")], vec![ack("AA", "7")]], false).await;
    let mut sender = Hl7Sender::new("127.0.0.1", port, settings());
    assert_eq!(sender.send(MESSAGE, "7").await.expect("answered").code, AckCode::AA);
    assert_eq!(sender.send(MESSAGE, "7").await.expect("answered").code, AckCode::AE);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(sender.send(MESSAGE, "7").await.expect("a closed connection is noticed").code, AckCode::AA);
}

#[tokio::test]
async fn an_answer_nobody_asked_for_is_never_taken_for_the_next_one() {
    let twice = [ack("AA", "7"), ack("AA", "7")].concat();
    let port = peer(vec![vec![twice], vec![ack("AE", "7")]], true).await;
    let mut sender = Hl7Sender::new("127.0.0.1", port, settings());
    assert_eq!(sender.send(MESSAGE, "7").await.expect("answered").code, AckCode::AA);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(sender.send(MESSAGE, "7").await.expect("answered").code, AckCode::AE);
}

#[tokio::test]
async fn wrong_answers_are_errors() {
    let wrong = vec![vec![ack("AA", "8")], vec![b"\x0bHTTP\x1c\r".to_vec()], vec![ack("AA", "")], vec![ack("AR", "")]];
    let port = peer(wrong, true).await;
    let mut sender = Hl7Sender::new("127.0.0.1", port, settings());
    for expected in [AckError::OtherControlId, AckError::NotHl7, AckError::OtherControlId] {
        match sender.send(MESSAGE, "7").await {
            Err(SendError::NotAnAcknowledgement(found)) => assert_eq!(found, expected),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(sender.send(MESSAGE, "7").await.expect("a blank refusal is one").code, AckCode::AR);
}

#[tokio::test]
async fn what_is_known_of_a_messages_fate_is_said() {
    let port = peer(vec![vec![Vec::new()]], true).await;
    let mut sender = Hl7Sender::new("127.0.0.1", port, settings());
    assert!(matches!(sender.send(MESSAGE, "7").await, Err(SendError::TimedOut(_))));
    assert!(!sender.is_connected(), "a late answer must not meet the next message");
    let port = peer(vec![vec![b"\x0bMSH|".to_vec()]], false).await;
    let mut sender = Hl7Sender::new("127.0.0.1", port, settings());
    assert!(matches!(sender.send(MESSAGE, "7").await, Err(SendError::ConnectionLost(_))));
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("address").port();
    let mut sender = Hl7Sender::new("127.0.0.1", closed, settings());
    assert!(matches!(sender.send(MESSAGE, "7").await, Err(SendError::Unreachable(_))));
    assert!(matches!(sender.send(b"MSH\x1c\r", "7").await, Err(SendError::CannotBeFramed(_))));
}
