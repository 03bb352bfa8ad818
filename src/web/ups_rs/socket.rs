//! Events of tasks over a WebSocket (PS3.18 11.12, 11.13): what a receiver has not been told yet, oldest first.
//!
//! In: a subscriber that listens. Out: one text message an event, and a Ping that names it. An event is struck off when
//! its Pong has come back: that a connection took its bytes says nothing of a line that is dead. A subscriber that does not
//! read is cut, and what it has not confirmed waits in the store. So is one whose token lets nobody in any more, within half
//! a minute; one whose receiver listens anew, which ends the older socket; and everybody when the node stops.

use super::{Caller, Problem, Site};
use crate::web::caller::Pass;
use crate::{
    dicom::ups::{self, EventFacts, EventReport},
    model::{PartnerId, chain},
    store::{Durability, StoreError, TaskNews},
};
use axum::{
    body::Bytes,
    extract::{
        Extension, Path, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    http::StatusCode,
    response::Response,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Sockets at once: all subscribers together, and those of one partner.
const MAX_SOCKETS: usize = 500;
const MAX_OF_PARTNER: usize = 50;
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Events taken from the store at once.
const BATCH: usize = 50;
/// A subscriber that does not take a message within this is cut.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// And one that confirms none of what it was told within this.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(30);
/// A word for whom another socket has taken the place of: most likely its line is dead.
const FAREWELL_WITHIN: Duration = Duration::from_secs(1);
/// A line without a sign of life for this long is dead; it is asked for one now and then, and its token looked at again.
const PING_EVERY: Duration = Duration::from_secs(30);
const SILENT_FOR: Duration = Duration::from_secs(90);
/// Nothing that a subscriber says means anything here.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// Written but not yet taken by the peer.
const MAX_UNREAD_BYTES: usize = 1 << 20;

/// Who listens: the newest socket of each receiver.
#[derive(Default)]
pub struct Listeners(Mutex<Seats>);

#[derive(Default)]
struct Seats {
    next_number: u64,
    taken: BTreeMap<PartnerId, BTreeMap<String, Taken>>,
}

struct Taken {
    number: u64,
    replaced: CancellationToken,
}

/// One of them; gone when it is dropped.
struct Seat {
    site: Arc<Site>,
    partner: PartnerId,
    aet: String,
    number: u64,
    /// The same receiver listens anew.
    replaced: CancellationToken,
}

impl Seat {
    fn take(site: &Arc<Site>, partner: &PartnerId, aet: &str) -> Option<Self> {
        let mut seats = site.listeners.seats();
        let all: usize = seats.taken.values().map(BTreeMap::len).sum();
        let own = seats.taken.get(partner);
        let is_again = own.is_some_and(|own| own.contains_key(aet));
        if !is_again && (all >= MAX_SOCKETS || own.map_or(0, BTreeMap::len) >= MAX_OF_PARTNER) {
            return None;
        }
        let (number, replaced) = (seats.next_number, CancellationToken::new());
        seats.next_number += 1;
        let taken = Taken { number, replaced: replaced.clone() };
        if let Some(older) = seats.taken.entry(partner.clone()).or_default().insert(aet.to_owned(), taken) {
            older.replaced.cancel();
        }
        metrics::gauge!("neisse_task_listeners").increment(1.0);
        Some(Self { site: site.clone(), partner: partner.clone(), aet: aet.to_owned(), number, replaced })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.site.listeners.seats();
        if let Some(own) = seats.taken.get_mut(&self.partner) {
            if own.get(&self.aet).is_some_and(|taken| taken.number == self.number) {
                own.remove(&self.aet);
            }
            if own.is_empty() {
                seats.taken.remove(&self.partner);
            }
        }
        metrics::gauge!("neisse_task_listeners").decrement(1.0);
    }
}

impl Listeners {
    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub async fn open(
    State(site): State<Arc<Site>>,
    Caller(asker): Caller,
    Extension(pass): Extension<Pass>,
    Path(aet): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    let aet = super::receiver_name(&aet)?;
    let seat = Seat::take(&site, &asker.partner, aet).ok_or_else(|| Problem {
        retry_after: Some(30),
        ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many subscribers listen")
    })?;
    let upgrade = upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .max_write_buffer_size(MAX_UNREAD_BYTES);
    Ok(upgrade.on_upgrade(move |socket| async move {
        if let Err(Cut::Store(error)) = Listening::new(seat, pass).run(socket).await {
            tracing::warn!(error = %chain(&error), "Events of tasks cannot be told over a WebSocket now; they wait");
        }
    }))
}

/// Why it ends.
enum Cut {
    /// It has gone, or does not read.
    Peer,
    Store(StoreError),
}

impl From<StoreError> for Cut {
    fn from(error: StoreError) -> Self {
        Cut::Store(error)
    }
}

struct Listening {
    seat: Seat,
    pass: Pass,
    /// Told and not confirmed yet, in the order of their numbers; and since when nothing has been confirmed.
    told: Vec<i64>,
    unconfirmed_since: Instant,
    /// To be struck off.
    confirmed: Vec<i64>,
    /// There were more events than were taken at once.
    has_more: bool,
    /// When the peer gave a sign of life, and when it was asked for one.
    heard: Instant,
    pinged: Instant,
    /// When its token was looked at.
    looked: Instant,
}

impl Listening {
    fn new(seat: Seat, pass: Pass) -> Self {
        let now = Instant::now();
        Self {
            seat,
            pass,
            told: Vec::new(),
            unconfirmed_since: now,
            confirmed: Vec::new(),
            has_more: false,
            heard: now,
            pinged: now,
            looked: now,
        }
    }

    async fn run(mut self, mut socket: WebSocket) -> Result<(), Cut> {
        let ended = self.listen(&mut socket).await;
        // However it ends: what has been confirmed is not told again.
        self.strike_off().await?;
        ended
    }

    async fn listen(&mut self, socket: &mut WebSocket) -> Result<(), Cut> {
        let (stop, replaced) = (self.seat.site.stop.clone(), self.seat.replaced.clone());
        loop {
            if !self.may_listen().await {
                return send(socket, farewell(close_code::POLICY, "the token lets nobody in any more")).await;
            }
            self.strike_off().await?;
            if self.told.is_empty() {
                self.tell(socket).await?;
            }
            let goes_on = tokio::select! {
                goes_on = self.hear(socket, Instant::now() + LOOK_EVERY) => goes_on,
                () = stop.cancelled() => return send(socket, farewell(close_code::AWAY, "the node stops")).await,
                () = replaced.cancelled() => {
                    let word = farewell(close_code::POLICY, "this receiver listens on another connection");
                    let _ = timeout(FAREWELL_WITHIN, socket.send(word)).await;
                    return Ok(());
                }
            };
            if !goes_on {
                return Ok(());
            }
            self.see_whether_it_lives(socket).await?;
        }
    }

    /// Takes what the peer says until then, however much that is; for less long where there is more to tell it. False: it
    /// has gone.
    async fn hear(&mut self, socket: &mut WebSocket, until: Instant) -> bool {
        while Instant::now() < until {
            match timeout_at(until, socket.recv()).await {
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return false,
                Ok(Some(Ok(message))) => {
                    self.heard = Instant::now();
                    if let Message::Pong(named) = message {
                        self.confirm(&named);
                        if self.has_more && self.told.is_empty() {
                            return true;
                        }
                    }
                }
                Err(_) => return true,
            }
        }
        true
    }

    /// A Pong may answer for several Pings (RFC 6455 5.5.3): messages are read in their order.
    fn confirm(&mut self, named: &[u8]) {
        if let Some(at) = self.told.iter().position(|id| id.to_string().as_bytes() == named) {
            self.confirmed.extend(self.told.drain(..=at));
            self.unconfirmed_since = Instant::now();
        }
    }

    /// The token may have been revoked since, or have run out, or its partner have gone.
    async fn may_listen(&mut self) -> bool {
        if self.looked.elapsed() < PING_EVERY {
            return true;
        }
        self.looked = Instant::now();
        self.seat.site.callers.still_lets_in(&self.pass).await
    }

    async fn see_whether_it_lives(&mut self, socket: &mut WebSocket) -> Result<(), Cut> {
        let confirms_nothing = !self.told.is_empty() && self.unconfirmed_since.elapsed() > CONFIRMED_WITHIN;
        if confirms_nothing || self.heard.elapsed() > SILENT_FOR {
            return Err(Cut::Peer);
        }
        if self.heard.elapsed() > PING_EVERY && self.pinged.elapsed() > PING_EVERY {
            self.pinged = Instant::now();
            send(socket, Message::Ping(Bytes::new())).await?;
        }
        Ok(())
    }

    /// Tells what there is. Each event is confirmed by itself, so that one who takes his time over it still gets ahead.
    async fn tell(&mut self, socket: &mut WebSocket) -> Result<(), Cut> {
        let store = &self.seat.site.watched.store;
        let news = store.task_news(&self.seat.partner, &self.seat.aet, BATCH as i64).await?;
        self.has_more = news.len() == BATCH;
        for event in &news {
            send(socket, Message::Text(self.message(event).into())).await?;
            self.told.push(event.id);
            self.unconfirmed_since = Instant::now();
            send(socket, Message::Ping(event.id.to_string().into())).await?;
        }
        Ok(())
    }

    async fn strike_off(&mut self) -> Result<(), Cut> {
        if self.confirmed.is_empty() {
            return Ok(());
        }
        let watched = &self.seat.site.watched;
        let now = watched.clock.now();
        let mut tx = watched.store.begin(Durability::Process).await?;
        tx.task_receiver_told(&self.seat.partner, &self.seat.aet, &self.confirmed, false, now).await?;
        tx.commit().await?;
        metrics::counter!("neisse_task_events_told_total").increment(self.confirmed.len() as u64);
        self.confirmed.clear();
        Ok(())
    }

    fn message(&self, news: &TaskNews) -> String {
        let config = self.seat.site.watched.config.now();
        let name = config.partners.get(&news.reader).map_or("", |reader| reader.name.as_str());
        let information = ups::information(&EventFacts {
            event: news.event,
            state: news.state,
            is_ready: news.is_ready,
            content: &news.content,
            reader: (news.reader.as_str(), name),
        });
        ups::event_json(&EventReport { id: news.id, task: news.task.clone(), event: news.event, information })
    }
}

fn farewell(code: u16, why: &'static str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: why.into() }))
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Cut> {
    match timeout(TAKEN_WITHIN, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Cut::Peer),
    }
}
