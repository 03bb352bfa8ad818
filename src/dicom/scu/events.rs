//! Events that a partner reports on an association that we opened: it may answer there what it was asked for (PS3.4 J.3.3,
//! PS3.7 10.1.1).
//!
//! In: what came while an answer was waited for, and what comes while there is nothing to wait for. Out: one event after the
//! other, to be answered on the context it came on. At most a few are kept. Does not judge them.

use super::{Association, ScuError, wire::Message};
use crate::{
    dicom::{
        charset::SenderCharset,
        dataset::{self, Bounds, DataSet},
        dimse::{Command, Request, Response, Service},
    },
    model::Uid,
};
use std::{io::IoSlice, time::Duration};
use tokio::time::timeout;

/// Kept until they are answered: each is bounded as every data set is.
const MOST_KEPT: usize = 8;

/// An event, which is to be answered.
#[derive(Debug)]
pub struct Heard {
    context: u8,
    pub request: Request,
    /// Of the presentation context.
    pub class: Uid,
    /// `None`: it cannot be read.
    pub information: Option<DataSet>,
}

pub(super) fn is_report(message: &Message) -> bool {
    matches!(&message.command, Command::Request(request) if request.service == Service::EventReport)
}

impl Association {
    pub(super) fn keep_for_later(&mut self, message: Message) -> Result<(), ScuError> {
        if self.heard.len() >= MOST_KEPT {
            return Err(ScuError::Protocol("more events than answers"));
        }
        self.heard.push_back(message);
        Ok(())
    }

    /// The next event, if one comes within this time.
    ///
    /// # Errors
    /// See [`ScuError`]; [`ScuError::Released`] when the partner has nothing more to say.
    pub async fn hear(&mut self, within: Duration) -> Result<Option<Heard>, ScuError> {
        let message = match self.heard.pop_front() {
            Some(message) => message,
            None if !self.is_open() => return Err(ScuError::Closed),
            // What has arrived of a message by the end of the time is kept.
            None => match timeout(within, self.wire.next_message()).await {
                Err(_) => return Ok(None),
                // It had less patience than we.
                Ok(Err(ScuError::Stalled(_))) => return Ok(None),
                Ok(Err(error)) => {
                    self.begin()?;
                    return self.end(Err(error), false).await;
                }
                Ok(Ok(message)) => message,
            },
        };
        let agreed = self.syntax_of(message.context);
        match (message.command, agreed) {
            (Command::Request(request), Some((class, syntax))) if request.service == Service::EventReport => {
                let read = || {
                    dataset::read_within(Bounds::OPERATION, &message.data_set, &syntax, &SenderCharset::default()).ok()
                };
                let information = if request.has_data_set { read() } else { Some(DataSet::new_empty()) };
                Ok(Some(Heard { context: message.context, request, class, information }))
            }
            _ => {
                self.begin()?;
                self.end(Err(ScuError::Protocol("neither an event nor an answer")), false).await
            }
        }
    }

    /// Answers an event.
    ///
    /// # Errors
    /// See [`ScuError`].
    pub async fn answer(&mut self, heard: &Heard, response: Response) -> Result<(), ScuError> {
        self.begin()?;
        let response = Response { has_data_set: false, ..response };
        let bytes = self.framed_command(heard.context, &Command::Response(response));
        let mut early = None;
        let sent = self.wire.send(&mut [IoSlice::new(&bytes)], &mut early).await;
        let sent = match (sent, early) {
            (Ok(()), Some(message)) if is_report(&message) => self.keep_for_later(message),
            (Ok(()), Some(_)) => Err(ScuError::Protocol("neither an event nor an answer")),
            (sent, _) => sent,
        };
        self.end(sent, true).await
    }
}
