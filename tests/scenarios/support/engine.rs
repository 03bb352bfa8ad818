//! An interface engine as many are: it takes one connection at a time, and turns a second one away. It answers AA, and can be
//! told to swallow a message.

use super::hospital::control_id;
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_util::sync::CancellationToken;

const SETTLES: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Seen {
    connections: usize,
    turned_away: usize,
    is_busy: bool,
    /// MSH-10 of each message that came, in order.
    came: Vec<String>,
    swallows: Vec<String>,
    /// Of the connection that is open.
    hang_up: CancellationToken,
}

pub struct Engine {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
    accepting: AbortHandle,
}

impl Engine {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&seen))).abort_handle();
        Self { port, seen, accepting }
    }

    /// This message gets no answer.
    pub fn swallow(&self, control_id: &str) {
        self.seen.lock().expect("seen").swallows.push(control_id.to_owned());
    }

    /// Everything is answered again.
    pub fn swallow_nothing(&self) {
        self.seen.lock().expect("seen").swallows.clear();
    }

    /// Closes the connection that is open.
    pub fn hang_up(&self) {
        self.seen.lock().expect("seen").hang_up.cancel();
    }

    pub fn came(&self) -> Vec<String> {
        self.seen.lock().expect("seen").came.clone()
    }

    /// Connections it took, and those it turned away.
    pub fn connections(&self) -> (usize, usize) {
        let seen = self.seen.lock().expect("seen");
        (seen.connections, seen.turned_away)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept().await {
        // The last connection may just have been closed by the other side.
        let is_busy = || seen.lock().expect("seen").is_busy;
        let since = Instant::now();
        while is_busy() && since.elapsed() < SETTLES {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let hang_up = {
            let mut seen = seen.lock().expect("seen");
            if seen.is_busy {
                seen.turned_away += 1;
                continue;
            }
            (seen.connections, seen.is_busy) = (seen.connections + 1, true);
            seen.hang_up = CancellationToken::new();
            seen.hang_up.clone()
        };
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let _ = hang_up.run_until_cancelled(serve(stream, &seen)).await;
            seen.lock().expect("seen").is_busy = false;
        });
    }
}

async fn serve(mut stream: TcpStream, seen: &Mutex<Seen>) {
    let mut received = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut received).await {
        let Some(end) = received.windows(2).position(|bytes| bytes == b"\x1c\r") else { continue };
        let message: Vec<u8> = received.drain(..end + 2).collect();
        let id = control_id(&message);
        let is_swallowed = {
            let mut seen = seen.lock().expect("seen");
            seen.came.push(id.clone());
            seen.swallows.contains(&id)
        };
        if !is_swallowed {
            let answer = format!("\x0bMSH|^~\\&|E|E|N|N|20261124230000||ACK|{id}|P|2.5\rMSA|AA|{id}\r\x1c\r");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
