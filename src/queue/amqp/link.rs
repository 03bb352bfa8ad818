//! A connection that is kept: opened, watched, given up when it is broken, opened again, for ever.
//!
//! In: the configuration and the partners. Out: the connection there is now, if there is one, and its state in words.
//! The client's own recovery is not used: one place here makes everything anew, the same way at the start, after a
//! broker's restart and after a cut line, so that one test proves all of them.

use super::{connect, connect::Scissors, topology};
use crate::config::Amqp;
use crate::model::PartnerId;
use crate::queue::CarrierState;
use futures_util::StreamExt;
use lapin::{Connection, Event, uri::AMQPUri};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, watch};

/// The first wait after a failure; doubles up to the longest.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A connection that lasted this long was a good one: the next failure waits from the start again.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// Declaring a few hundred queues.
const DECLARE_WITHIN: Duration = Duration::from_secs(60);

/// How often the connection's own idea of its state is looked at, besides being told.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Saying goodbye before the socket is cut.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// A connection that works, or did a moment ago.
#[derive(Clone)]
pub struct Live {
    pub connection: Arc<Connection>,
    /// Counts connections, so that what was made on an older one is not taken for good.
    pub generation: u64,
    scissors: Scissors,
}

/// What one link says of itself, for the other parts.
pub type Report = Box<dyn Fn(CarrierState) + Send + Sync>;

pub struct Link {
    config: Amqp,
    uri: AMQPUri,
    /// Shown in the broker's list of connections.
    name: String,
    partners: Arc<Mutex<Vec<PartnerId>>>,
    current: watch::Sender<Option<Live>>,
    state: watch::Sender<CarrierState>,
    closed: watch::Sender<bool>,
    /// The connection someone waited in vain on: one that has been replaced since is not meant.
    suspect: watch::Sender<u64>,
    /// Something is to be declared.
    incomplete: Notify,
    /// It is a queue that was there before and is gone with what was in it.
    missing: AtomicBool,
    /// Told when a missing queue has been made again.
    lost: watch::Sender<u64>,
    report: Report,
    generations: AtomicU64,
}

/// Why a connection is given up; None: because the carrier is closed.
type Ending = Option<String>;

impl Link {
    pub fn new(
        config: Amqp,
        uri: AMQPUri,
        name: String,
        partners: Arc<Mutex<Vec<PartnerId>>>,
        lost: watch::Sender<u64>,
        report: Report,
    ) -> Self {
        let state = CarrierState::Down { reason: "not connected yet".to_string() };
        Self {
            config,
            uri,
            name,
            partners,
            current: watch::Sender::new(None),
            state: watch::Sender::new(state),
            closed: watch::Sender::new(false),
            suspect: watch::Sender::new(0),
            incomplete: Notify::new(),
            missing: AtomicBool::new(false),
            lost,
            report,
            generations: AtomicU64::new(0),
        }
    }

    pub fn current(&self) -> watch::Receiver<Option<Live>> {
        self.current.subscribe()
    }

    pub fn state(&self) -> watch::Receiver<CarrierState> {
        self.state.subscribe()
    }

    pub fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// On this connection the broker did not answer in time.
    pub fn suspect(&self, live: &Live) {
        self.suspect.send_replace(live.generation);
    }

    /// A queue or an exchange is to be declared.
    pub fn incomplete(&self) {
        self.incomplete.notify_one();
    }

    /// A queue is gone that was there. Once it is there again, [`Carrier::lost`](crate::queue::Carrier::lost) changes.
    pub fn missing(&self) {
        self.missing.store(true, Ordering::Relaxed);
        self.incomplete.notify_one();
    }

    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// Runs until [`close`](Self::close).
    pub async fn keep(self: Arc<Self>) {
        let mut closed = self.closed.subscribe();
        let mut wait = WAIT_MIN;
        loop {
            let opened = tokio::select! {
                () = until(&mut closed) => break,
                opened = self.open() => opened,
            };
            let reason = match opened {
                Ok(live) => {
                    let since = Instant::now();
                    let ending = self.use_until_broken(&live).await;
                    if since.elapsed() >= GOOD_AFTER {
                        wait = WAIT_MIN;
                    }
                    match ending {
                        Some(reason) => reason,
                        None => break,
                    }
                }
                Err(reason) => reason,
            };
            tracing::warn!(connection = self.name, reason, retry_ms = millis(wait), "The broker cannot be used");
            self.say(CarrierState::Down { reason });
            tokio::select! {
                () = until(&mut closed) => break,
                () = tokio::time::sleep(with_jitter(wait)) => {}
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
        self.say(CarrierState::Down { reason: "closed".to_string() });
    }

    async fn open(&self) -> Result<Live, String> {
        let (connection, scissors) = connect::open(&self.config, &self.uri, &self.name).await?;
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let live = Live { connection: Arc::new(connection), generation, scissors };
        match self.declare(&live).await {
            Ok(()) => Ok(live),
            Err(reason) => {
                live.end().await;
                Err(reason)
            }
        }
    }

    async fn declare(&self, live: &Live) -> Result<(), String> {
        let partners = self.partners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match tokio::time::timeout(DECLARE_WITHIN, topology::declare(&live.connection, &partners)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(connect::why(&error)),
            Err(_) => Err(format!("queues not declared within {} s", DECLARE_WITHIN.as_secs())),
        }
    }

    async fn use_until_broken(&self, live: &Live) -> Ending {
        tracing::info!(connection = self.name, "The broker can be used");
        self.current.send_replace(Some(live.clone()));
        self.say(CarrierState::Up);
        let ending = self.watch(live).await;
        self.current.send_replace(None);
        live.end().await;
        ending
    }

    async fn watch(&self, live: &Live) -> Ending {
        let mut closed = self.closed.subscribe();
        let mut events = Box::pin(live.connection.events_listener());
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut suspect = self.suspect.subscribe();
        // What the broker said last of why it is blocked, or the connection broken.
        let mut said = None;
        let mut incomplete = false;
        loop {
            tokio::select! {
                () = until(&mut closed) => return None,
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => said = Some(reason),
                    // Channel errors come here too; whether the connection still stands is looked at below.
                    Some(Event::Error(error)) => said = Some(connect::why(&error)),
                    _ => {}
                },
                _ = suspect.changed() => {}
                () = self.incomplete.notified() => incomplete = true,
                _ = look.tick() => {}
            }
            let status = live.connection.status();
            if !status.connected() {
                return Some(said.unwrap_or_else(|| "the connection was lost".to_string()));
            }
            if status.blocked() {
                // Nothing is sent while blocked, so nothing is answered: no reason to give the connection up yet.
                self.say_whether_blocked(true, said.as_deref());
                continue;
            }
            if *suspect.borrow() == live.generation {
                return Some("the broker did not answer in time".to_string());
            }
            self.say_whether_blocked(false, None);
            if incomplete {
                incomplete = false;
                if let Err(reason) = self.declare(live).await {
                    return Some(reason);
                }
                if self.missing.swap(false, Ordering::Relaxed) {
                    self.lost.send_modify(|lost| *lost += 1);
                }
            }
        }
    }

    fn say_whether_blocked(&self, blocked: bool, reason: Option<&str>) {
        if blocked == matches!(*self.state.borrow(), CarrierState::Blocked { .. }) {
            return;
        }
        if blocked {
            let reason = reason.unwrap_or("low on memory or disk").to_string();
            tracing::warn!(connection = self.name, reason, "The broker takes no more for now");
            self.say(CarrierState::Blocked { reason });
        } else {
            tracing::info!(connection = self.name, "The broker takes envelopes again");
            self.say(CarrierState::Up);
        }
    }

    fn say(&self, state: CarrierState) {
        self.state.send_replace(state.clone());
        (self.report)(state);
    }
}

impl Live {
    /// Goodbye if it can be said, and the socket cut in any case.
    async fn end(&self) {
        let _ = tokio::time::timeout(CLOSE_WITHIN, self.connection.close(200, "closing".into())).await;
        self.scissors.cut();
    }
}

/// Waits until it is so; the value itself is not held.
pub async fn until(closed: &mut watch::Receiver<bool>) {
    let _ = closed.wait_for(|closed| *closed).await;
}

/// A quarter more or less, so that a hundred nodes do not come back to a restarted broker in one moment.
fn with_jitter(wait: Duration) -> Duration {
    let share = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    wait * 3 / 4 + wait * share / 512
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}
