//! Events of tasks over a WebSocket (PS3.18 11.12, 11.13): what a receiver has not been told yet, oldest first.
//!
//! In: a subscriber that listens. Out: one text message an event. An event is struck off when it has been handed to the
//! connection; a subscriber that does not read, or whose line is dead, is cut, and what it has not got waits in the store.

use super::{Caller, Problem, Site};
use crate::{
    dicom::ups::{self, EventFacts, EventReport},
    model::{PartnerId, chain},
    store::{Durability, StoreError, TaskNews},
};
use axum::{
    extract::{
        Path, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::StatusCode,
    response::Response,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

/// Sockets at once, all subscribers together.
static PLACES: Semaphore = Semaphore::const_new(500);
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Events taken from the store at once.
const BATCH: i64 = 50;
/// A subscriber that does not take a message within this is cut.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// A line without a sign of life for this long is dead; it is asked for one now and then.
const PING_EVERY: Duration = Duration::from_secs(30);
const SILENT_FOR: Duration = Duration::from_secs(90);
/// Nothing that a subscriber says means anything here.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// Written but not yet taken by the peer.
const MAX_UNREAD_BYTES: usize = 1 << 20;

pub async fn open(
    State(site): State<Arc<Site>>,
    Caller(asker): Caller,
    Path(aet): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    if aet.is_empty() || aet.len() > super::MAX_RECEIVER {
        return Err(Problem::not_found());
    }
    let place = PLACES.try_acquire().map_err(|_| Problem {
        retry_after: Some(30),
        ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many subscribers listen")
    })?;
    let upgrade = upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .max_write_buffer_size(MAX_UNREAD_BYTES);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let listening = Listening { site, partner: asker.partner, aet, heard: Instant::now(), pinged: Instant::now() };
        if let Err(Cut::Store(error)) = listening.run(socket).await {
            tracing::warn!(error = %chain(&error), "Events of tasks cannot be told over a WebSocket now; they wait");
        }
        drop(place);
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
    site: Arc<Site>,
    partner: PartnerId,
    aet: String,
    /// When the peer gave a sign of life, and when it was asked for one.
    heard: Instant,
    pinged: Instant,
}

impl Listening {
    async fn run(mut self, mut socket: WebSocket) -> Result<(), Cut> {
        loop {
            self.tell(&mut socket).await?;
            match timeout(LOOK_EVERY, socket.recv()).await {
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return Ok(()),
                Ok(Some(Ok(_))) => self.heard = Instant::now(),
                Err(_) => self.see_whether_it_lives(&mut socket).await?,
            }
        }
    }

    async fn see_whether_it_lives(&mut self, socket: &mut WebSocket) -> Result<(), Cut> {
        if self.heard.elapsed() > SILENT_FOR {
            return Err(Cut::Peer);
        }
        if self.heard.elapsed() > PING_EVERY && self.pinged.elapsed() > PING_EVERY {
            self.pinged = Instant::now();
            send(socket, Message::Ping(Vec::new().into())).await?;
        }
        Ok(())
    }

    /// Tells what there is; what was told is struck off.
    async fn tell(&self, socket: &mut WebSocket) -> Result<(), Cut> {
        let watched = &self.site.watched;
        let news = watched.store.task_news(&self.partner, &self.aet, BATCH).await?;
        let mut told = Vec::with_capacity(news.len());
        let mut outcome = Ok(());
        for event in &news {
            outcome = send(socket, Message::Text(self.message(event).into())).await;
            if outcome.is_err() {
                break;
            }
            told.push(event.id);
        }
        if !told.is_empty() {
            let mut tx = watched.store.begin(Durability::Process).await?;
            tx.task_receiver_told(&self.partner, &self.aet, &told, false, watched.clock.now()).await?;
            tx.commit().await?;
            metrics::counter!("neisse_task_events_told_total").increment(told.len().try_into().unwrap_or(0));
        }
        outcome
    }

    fn message(&self, news: &TaskNews) -> String {
        let config = self.site.watched.config.now();
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

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Cut> {
    match timeout(TAKEN_WITHIN, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Cut::Peer),
    }
}
