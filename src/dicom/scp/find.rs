//! C-FIND: answers sent while they are found, until there are no more or the peer has enough (PS3.7 9.1.2, PS3.4 C.4.1).
//!
//! The handler is asked on the runtime the node runs on; its answers come through a small channel, so that a peer which reads
//! slowly slows the search and nothing piles up. A C-CANCEL, an abort or a peer that is gone drops the search.

use super::StoreAssociation;
use super::dialogue::Dialogue;
use super::incoming::Ending;
use super::requests::{Asking, cancels, push_answer, status};
use crate::dicom::dataset;
use crate::dicom::dimse::Response;
use crate::dicom::service::Asker;
use crate::dicom::service::{DataSet, Find, Refusal, Services};
use crate::model::chain;
use futures_util::StreamExt;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Answers found before the peer has taken those before.
const AHEAD: usize = 32;
/// Answers at hand leave in one write of about this.
const WRITE_BYTES: usize = 32 * 1024;

enum Found {
    /// Before the first answer.
    Begun {
        has_unsupported_keys: bool,
    },
    Match(DataSet),
    Refused(Refusal),
}

impl<A: StoreAssociation> Dialogue<A> {
    /// The final status comes back.
    pub(super) async fn find(&mut self, asking: Asking) -> Result<u16, Ending> {
        let Asking { context, request, class, transfer_syntax, asker, data_set, asked } = asking;
        let Some(model) = class.model else {
            return self.refuse(context, &request, &Refusal::new(status::CLASS_NOT_SUPPORTED, "not searched")).await;
        };
        let letters = asker.letters.clone();
        let find = Find { model, identifier: data_set, skip: 0, limit: None, is_fuzzy: false };
        let (sender, mut found) = mpsc::channel(AHEAD);
        let search = asked.runtime.spawn(search(asked.services.clone(), asker, find, sender));
        let mut search = AbortOnDropHandle::new(search);
        let mut pending = request.answer(status::PENDING);
        let mut pdus = Vec::new();
        let last = loop {
            let next = tokio::select! {
                biased;
                said = self.incoming.meanwhile() => match cancels(&said?.1, request.message_id)? {
                    true => break request.answer(status::CANCELED),
                    false => continue,
                },
                next = found.recv() => next,
            };
            match next {
                Some(Found::Begun { has_unsupported_keys: true }) => pending.status = status::PENDING_UNSUPPORTED_KEYS,
                Some(Found::Begun { .. }) => {}
                Some(Found::Refused(refusal)) => break refused(request.answer(refusal.status), &refusal),
                Some(Found::Match(set)) => match dataset::write(&set, &transfer_syntax, &letters) {
                    Ok(bytes) => {
                        push_answer(&mut pdus, context, pending.clone(), Some(&bytes), self.peer_max_pdu_bytes);
                    }
                    Err(error) => {
                        tracing::error!(error = %chain(&error), "an answer cannot be written");
                        break request.answer(status::UNABLE_TO_PROCESS);
                    }
                },
                // A search that has panicked has not found everything.
                None if (&mut search).await.is_err() => break request.answer(status::UNABLE_TO_PROCESS),
                None => break request.answer(status::SUCCESS),
            }
            if pdus.len() >= WRITE_BYTES || (found.is_empty() && !pdus.is_empty()) {
                self.incoming.respond(&pdus).await?;
                pdus.clear();
            }
        };
        drop(search);
        if !pdus.is_empty() {
            self.incoming.respond(&pdus).await?;
        }
        self.answer(context, last, None).await
    }
}

async fn search(services: Arc<dyn Services>, asker: Asker, find: Find, found: mpsc::Sender<Found>) {
    let answers = match services.find(&asker, find).await {
        Ok(answers) => answers,
        Err(refusal) => {
            // Nobody waits for it any more otherwise.
            let _ = found.send(Found::Refused(refusal)).await;
            return;
        }
    };
    let begun = Found::Begun { has_unsupported_keys: answers.has_unsupported_keys };
    if found.send(begun).await.is_err() {
        return;
    }
    let mut matches = answers.matches;
    while let Some(next) = matches.next().await {
        let (next, is_last) = match next {
            Ok(set) => (Found::Match(set), false),
            Err(refusal) => (Found::Refused(refusal), true),
        };
        if found.send(next).await.is_err() || is_last {
            return;
        }
    }
}

fn refused(mut response: Response, refusal: &Refusal) -> Response {
    let (status, comment) = (format!("{:04X}", refusal.status), refusal.comment);
    tracing::info!(service = response.service.as_str(), status, comment, "request refused");
    response.comment = Some(refusal.comment.to_owned());
    response.element = refusal.element;
    response
}
