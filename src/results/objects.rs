//! Reads SR and PDF objects that a reader sent by C-STORE. They are durable in the journal and answered already; here
//! they become reports.
//!
//! In: rows of report objects that wait. Out: reports, joined or held. An object that cannot be read is held too: a
//! person is told, nothing is dropped.

use super::{
    identity::own_again,
    incoming::{Header, Incoming, Object},
    receive::{ReportReceiver, log},
    settle::{hold, prepare, settle},
};
use crate::{
    dicom::{charset::SenderCharset, documents::read_report_from},
    hl7::oru::{Coded, Interpreter},
    model::{Aside, Bell, Digest, IssuedId, PartnerId, ReportStatus, Uid, chain},
    spool::Spool,
    store::{Durability, ReportObject, StoreError},
};
use bytes::BytesMut;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(5);
const BATCH: i64 = 32;
/// A report object larger than this is held for a person, bytes.
const MAX_BYTES: u64 = 64 << 20;
/// Then an object that our own journal will not give is held for a person: some two minutes.
const READ_TIMES: u32 = 6;

pub struct ReportObjects {
    pub receiver: ReportReceiver,
    pub spool: Spool,
    pub bell: Bell,
}

/// One object: who sent it, what it is called, what it says.
type Key = (PartnerId, Uid, Digest);

/// Why an object could not be read.
enum Unread {
    /// Our own trouble with the journal, which may pass.
    Now(String),
    /// It will not be better later.
    Ever(String),
}

impl ReportObjects {
    pub async fn run(self, stop: CancellationToken) {
        let mut aside = Aside::default();
        loop {
            if let Err(error) = Box::pin(self.take_all(&mut aside)).await {
                tracing::error!(error = %chain(&error), "Report objects wait");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            tokio::select! {
                () = self.bell.rung_within(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes every object that waits. One that cannot be taken now is put aside and tried again; the rest goes on.
    async fn take_all(&self, aside: &mut Aside<Key>) -> Result<(), StoreError> {
        let mut left = 0;
        loop {
            let waiting = self.receiver.store.waiting_report_objects(left, BATCH).await?;
            if waiting.is_empty() {
                return Ok(());
            }
            for object in waiting {
                let key = (object.sender.clone(), object.sop_instance.clone(), object.place.sha256);
                if aside.waits(&key) || !Box::pin(self.take(&object, &key, aside)).await? {
                    left += 1;
                }
            }
        }
    }

    /// False: it waits on.
    async fn take(&self, object: &ReportObject, key: &Key, aside: &mut Aside<Key>) -> Result<bool, StoreError> {
        let taken = match self.read(object).await {
            Ok(incoming) => Box::pin(self.settle(object, incoming)).await,
            Err(Unread::Ever(reason)) => self.hold(object, &reason).await,
            Err(Unread::Now(reason)) => {
                let times = aside.failed(key.clone());
                tracing::error!(site = %object.sender, times, "A report object of {} cannot be read from its journal: {reason}", object.sender);
                if times < READ_TIMES {
                    return Ok(false);
                }
                self.hold(object, &reason).await
            }
        };
        match taken {
            Ok(()) => {
                aside.done(key);
                Ok(true)
            }
            Err(error) if error.is_about_one() => {
                let times = aside.failed(key.clone());
                tracing::error!(site = %object.sender, times, error = %chain(&error), "A report object of {} cannot be joined now; the others go on", object.sender);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn settle(&self, object: &ReportObject, mut incoming: Incoming) -> Result<(), StoreError> {
        let receiver = &self.receiver;
        let config = receiver.config.now();
        own_again(&receiver.store, &mut incoming).await?;
        let incoming = &Arc::new(incoming);
        let prepared = prepare(&receiver.store, &config, incoming).await?;
        let mut tx = receiver.store.begin(Durability::Synced).await?;
        if !tx.report_object_done(object).await? {
            return Ok(());
        }
        let joined = settle(&mut tx, &config, incoming, prepared, receiver.clock.now()).await?;
        tx.commit().await?;
        log(&object.sender, &joined);
        receiver.handoff.ring();
        Ok(())
    }

    async fn hold(&self, object: &ReportObject, reason: &str) -> Result<(), StoreError> {
        let mut tx = self.receiver.store.begin(Durability::Synced).await?;
        if !tx.report_object_done(object).await? {
            return Ok(());
        }
        let joined = hold(&mut tx, &unread(object), reason).await?;
        tx.commit().await?;
        log(&object.sender, &joined);
        Ok(())
    }

    async fn read(&self, object: &ReportObject) -> Result<Incoming, Unread> {
        if object.place.length > MAX_BYTES {
            return Err(Unread::Ever(format!("it is larger than {} MB", MAX_BYTES >> 20)));
        }
        let mut reader = self.spool.reader(&object.place).map_err(|error| Unread::Now(chain(&error)))?;
        let mut bytes = BytesMut::new();
        while reader.read(&mut bytes, 1 << 20).await.map_err(|error| Unread::Now(chain(&error)))? > 0 {}
        let config = self.receiver.config.now();
        let charset = SenderCharset::of(config.partners.get(&object.sender));
        let it = Object {
            sop_class: object.sop_class.clone(),
            sop_instance: object.sop_instance.clone(),
            transfer_syntax: object.transfer_syntax.clone(),
            charset,
        };
        let (sender, received) = (object.sender.clone(), object.received);
        let bytes = bytes.freeze();
        let reading = tokio::task::spawn_blocking(move || {
            let read = read_report_from(&it.sop_class, &it.transfer_syntax, &bytes, it.charset.clone());
            Ok(Incoming::from_object(read.map_err(|error| chain(&error))?, it, sender, received, bytes))
        });
        let read = reading.await.unwrap_or_else(|_| Err("it could not be taken apart".to_owned()));
        read.map_err(Unread::Ever)
    }
}

/// What is kept of an object that cannot be read: where it lies.
fn unread(object: &ReportObject) -> Incoming {
    Incoming {
        sender: object.sender.clone(),
        source: "sr",
        status: ReportStatus::Preliminary,
        clues: super::correlate::Clues::default(),
        title: Coded::default(),
        pieces: Vec::new(),
        interpreter: Interpreter::default(),
        received: object.received,
        raw: format!("journal {} byte {}", object.place.journal, object.place.data).into_bytes().into(),
        lossy: false,
        flags: Vec::new(),
        object: None,
        header: Header::AsItCame,
        is_addendum: false,
        document: IssuedId::default(),
        parent: IssuedId::default(),
        completes: None,
    }
}
