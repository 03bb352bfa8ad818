//! Programs of partners over HTTP: each with a token of its own; and one that listens on a WebSocket.

use super::{carrier::partner, network::Network};
use neisse::{
    model::{Moment, Token},
    store::{Durability, TokenRow},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::AbortHandle,
};

#[derive(Clone)]
pub struct Reader {
    client: reqwest::Client,
    http: SocketAddr,
    pub token: String,
}

/// What was answered.
#[derive(Debug)]
pub struct Told {
    pub status: StatusCode,
    pub warning: String,
    pub body: Value,
}

impl Reader {
    /// A program of this partner, called `name`.
    pub async fn of(network: &Network, owner: &str, name: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut random = [0; 40];
        for part in random.chunks_mut(8) {
            part.copy_from_slice(&uuid::Uuid::new_v4().as_bytes()[..8]);
        }
        let token = Token::new(&random);
        let row = TokenRow {
            id: token.id().clone(),
            partner: partner(owner),
            name: name.to_owned(),
            sha256: token.sha256(),
            created: Moment(0),
            expires: None,
            revoked: None,
            last_used: None,
        };
        let mut tx = network.node().store.begin(Durability::Synced).await.expect("a transaction");
        tx.add_token(&row).await.expect("a token");
        tx.commit().await.expect("a commit");
        Self { client: reqwest::Client::new(), http: network.node().http, token: token.reveal() }
    }

    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Told {
        let mut request = self.client.request(method, format!("http://{}{path}", self.http)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("Content-Type", "application/dicom+json").body(body.to_string());
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let warning =
            answer.headers().get("warning").and_then(|text| text.to_str().ok()).unwrap_or_default().to_owned();
        let text = answer.text().await.expect("a body");
        Told { status, warning, body: serde_json::from_str(&text).unwrap_or(Value::Null) }
    }

    /// What is there, as it comes.
    pub async fn get(&self, path: &str, accept: &str) -> (StatusCode, Vec<u8>) {
        let request = self.client.get(format!("http://{}{path}", self.http)).bearer_auth(&self.token);
        let answer = request.header("Accept", accept).send().await.expect("an answer");
        let status = answer.status();
        (status, answer.bytes().await.expect("a body").to_vec())
    }

    /// Tasks that fit the query.
    pub async fn tasks(&self, query: &str) -> Vec<Value> {
        let told = self.ask(Method::GET, &format!("/workitems?{query}"), None).await;
        match told.status.as_u16() {
            204 => Vec::new(),
            200 => told.body.as_array().expect("an array").clone(),
            other => panic!("{other}: {told:?}"),
        }
    }

    /// The task as it is now.
    pub async fn task(&self, uid: &str) -> Value {
        let told = self.ask(Method::GET, &format!("/workitems/{uid}"), None).await;
        assert_eq!(told.status, StatusCode::OK, "{told:?}");
        told.body[0].clone()
    }

    pub async fn move_to(&self, uid: &str, state: &str, transaction: &str) -> Told {
        let body = json!({
            "00081195": { "vr": "UI", "Value": [transaction] },
            "00741000": { "vr": "CS", "Value": [state] },
        });
        self.ask(Method::PUT, &format!("/workitems/{uid}/state"), Some(body)).await
    }

    /// Subscriptions' events as they come.
    pub async fn listen(&self, aet: &str) -> Listener {
        Listener::of(self.connect(aet).await, true)
    }

    /// The same, but nothing comes back of it: as over a line that is dead beyond the first hop.
    pub async fn listen_without_a_word(&self, aet: &str) -> Listener {
        Listener::of(self.connect(aet).await, false)
    }

    async fn connect(&self, aet: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.http).await.expect("a connection");
        let request = format!(
            "GET /ws/subscribers/{aet} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.http, self.token
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        stream
    }
}

/// RFC 6455, as much of it as a server's frames need; reads by itself, as a client's library does.
pub struct Listener {
    events: mpsc::UnboundedReceiver<Value>,
    reading: AbortHandle,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Listener {
    fn of(stream: TcpStream, answers: bool) -> Self {
        let (to, events) = mpsc::unbounded_channel();
        let reading = tokio::spawn(read_frames(stream, to, answers)).abort_handle();
        Self { events, reading }
    }

    /// The next event.
    pub async fn event(&mut self) -> Value {
        let event = tokio::time::timeout(Duration::from_secs(20), self.events.recv());
        event.await.expect("an event in time").expect("an event before the end")
    }

    /// Whether nothing is told within this time.
    pub async fn is_quiet(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.events.recv()).await.is_err()
    }

    /// Returns when the other side has ended it; what was told before is passed over.
    pub async fn ended(&mut self) {
        let end = async { while self.events.recv().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(20), end).await.expect("an end in time");
    }
}

async fn read_frames(mut stream: TcpStream, to: mpsc::UnboundedSender<Value>, answers: bool) {
    while let Ok((kind, content)) = frame(&mut stream).await {
        match kind {
            1 => {
                let event = serde_json::from_slice(&content).expect("JSON");
                if to.send(event).is_err() {
                    return;
                }
            }
            8 => return,
            9 if answers => {
                // A client's frames are masked, here with zeros.
                let mut pong = vec![0x8a, 0x80 | u8::try_from(content.len()).expect("short"), 0, 0, 0, 0];
                pong.extend(content);
                if stream.write_all(&pong).await.is_err() {
                    return;
                }
            }
            _ => {}
        }
    }
}

async fn frame(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await? & 0x0f;
    let length = match stream.read_u8().await? & 0x7f {
        126 => usize::from(stream.read_u16().await?),
        127 => usize::try_from(stream.read_u64().await?).expect("a length"),
        short => usize::from(short),
    };
    let mut content = vec![0; length];
    stream.read_exact(&mut content).await?;
    Ok((kind, content))
}

/// The one value of an attribute.
pub fn said(set: &Value, tag: &str) -> String {
    match &set[tag]["Value"][0] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What a performer has to set before it completes a task (PS3.4 Table CC.2.5-3).
pub fn performed(transaction: &str) -> Value {
    let code = |value: &str, meaning: &str| {
        json!({
            "00080100": { "vr": "SH", "Value": [value] },
            "00080102": { "vr": "SH", "Value": ["99TEST"] },
            "00080104": { "vr": "LO", "Value": [meaning] },
        })
    };
    json!({
        "00081195": { "vr": "UI", "Value": [transaction] },
        "00741216": { "vr": "SQ", "Value": [{
            "00404028": { "vr": "SQ", "Value": [code("WS1", "Befundplatz 1")] },
            "00404019": { "vr": "SQ", "Value": [code("READ", "Befundung")] },
            "00404050": { "vr": "DT", "Value": ["20261124231200+0100"] },
            "00404051": { "vr": "DT", "Value": ["20261124232000+0100"] },
        }] },
    })
}
