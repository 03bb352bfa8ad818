//! A TCP proxy that harms the line on demand: cuts it, lets it stall, delays it, makes it slow, for each connection or all.

use std::sync::{Arc, Mutex};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

/// When a shared line is free again.
type Road = Arc<Mutex<Instant>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Good,
    /// Open, and nothing comes through: what was sent waits.
    Stalled,
    /// Each piece comes later.
    Delayed(Duration),
    /// Bytes a second, each way, of each connection.
    Slow(u64),
    /// One line for all connections that are made while it is so: bytes a second each way, and how long each byte is on it.
    Shared(u64, Duration),
    /// New connections are refused by closing them.
    Dead,
}

/// Listens on a port of its own and passes everything on. Ends with its connections when dropped.
pub struct Proxy {
    pub address: SocketAddr,
    line: watch::Sender<Line>,
    /// Each change ends the connections there are.
    cuts: watch::Sender<u64>,
    /// Bytes passed on, both ways.
    passed: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// `target` as `host:port`.
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::at(listener, target)
    }

    /// Takes no more at a time than a line would: a machine's own buffers are megabytes, which are seconds of a slow line.
    pub fn narrow_to(target: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(64 * 1024).expect("a buffer");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        Self::at(socket.listen(1024).expect("a port"), target)
    }

    fn at(listener: TcpListener, target: &str) -> Self {
        let address = listener.local_addr().expect("an address");
        let (line, cuts, passed) = (watch::Sender::new(Line::Good), watch::Sender::new(0), watch::Sender::new(0));
        let accepting = tokio::spawn(accept(listener, target.to_string(), line.clone(), cuts.clone(), passed.clone()));
        Self { address, line, cuts, passed, accepting }
    }

    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// Ends every connection there is; new ones are taken.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Connections there are.
    pub fn open(&self) -> usize {
        self.cuts.receiver_count()
    }

    pub fn bytes_passed(&self) -> u64 {
        *self.passed.borrow()
    }

    /// Ends every connection as soon as this many bytes in all have passed.
    pub async fn cut_after(&self, bytes: u64) {
        let mut passed = self.passed.subscribe();
        passed.wait_for(|passed| *passed >= bytes).await.expect("the proxy's own sender");
        self.cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(
    listener: TcpListener,
    target: String,
    line: watch::Sender<Line>,
    cuts: watch::Sender<u64>,
    passed: watch::Sender<u64>,
) {
    let roads: [Road; 2] = std::array::from_fn(|_| Arc::new(Mutex::new(Instant::now())));
    while let Ok((near, _)) = listener.accept().await {
        if *line.borrow() == Line::Dead {
            continue;
        }
        let (target, line, passed, mut cuts) = (target.clone(), line.subscribe(), passed.clone(), cuts.subscribe());
        let roads = roads.clone();
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(target).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            tokio::select! {
                _ = cuts.changed() => {}
                _ = async {
                    if matches!(*line.borrow(), Line::Shared(..)) {
                        let [there, back] = roads;
                        tokio::join!(
                            share(near_read, far_write, line.clone(), there, passed.clone()),
                            share(far_read, near_write, line.clone(), back, passed),
                        );
                        return;
                    }
                    tokio::join!(
                        pass(near_read, far_write, line.clone(), passed.clone()),
                        pass(far_read, near_write, line, passed),
                    );
                } => {}
            }
        });
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut line: watch::Receiver<Line>,
    passed: watch::Sender<u64>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let slow = matches!(*line.borrow(), Line::Slow(_));
        let most = if slow { 1024 } else { buffer.len() };
        let Ok(count @ 1..) = from.read(&mut buffer[..most]).await else { break };
        let now = *line.borrow();
        match now {
            Line::Delayed(span) => sleep(span).await,
            Line::Slow(rate) => sleep(Duration::from_secs_f64(count as f64 / rate.max(1) as f64)).await,
            _ => {}
        }
        if line.wait_for(|line| *line != Line::Stalled).await.is_err() || to.write_all(&buffer[..count]).await.is_err()
        {
            break;
        }
        passed.send_modify(|passed| *passed += count as u64);
    }
    let _ = to.shutdown().await;
}

/// Pieces of all connections one after the other, each as long on the line as it is large, and so much later at its end.
async fn share(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    line: watch::Receiver<Line>,
    road: Road,
    passed: watch::Sender<u64>,
) {
    let (sender, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(256);
    let sending = async move {
        let mut buffer = vec![0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let mut due = Instant::now();
            if let Line::Shared(rate, delay) = *line.borrow() {
                let mut free = road.lock().expect("the road");
                *free = due.max(*free) + Duration::from_secs_f64(count as f64 / rate.max(1) as f64);
                due = *free + delay;
            }
            // The next piece of this connection when this one has left.
            let left = if let Line::Shared(_, delay) = *line.borrow() { due - delay } else { due };
            sleep_until(left).await;
            if sender.send((due, buffer[..count].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let receiving = async {
        while let Some((due, piece)) = arriving.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                break;
            }
            passed.send_modify(|passed| *passed += piece.len() as u64);
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(sending, receiving);
}
