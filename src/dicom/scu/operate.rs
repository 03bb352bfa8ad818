//! The N-services as SCU, and events reported as SCP: a request and its data set in, the partner's answer out (PS3.7 10.1).
//!
//! Whole messages, small ones: what goes out is in memory, what comes back is bounded. Does not judge a status.

use super::{Association, ScuError, events, wire::Message};
use crate::{
    dicom::{
        charset::SenderCharset,
        dataset::{self, Bounds, DataSet},
        dimse::{Command, Request, Response},
    },
    model::{Outgoing, Uid, chain},
};
use std::io::IoSlice;

impl Association {
    /// Sends `request` on a context of `class`, which the SOP class in the command need not be: events of workitems come on
    /// UPS Event and name UPS Push (PS3.4 CC.2.4). Message id and Command Data Set Type are set here.
    ///
    /// # Errors
    /// See [`ScuError`]. A status other than success is no error.
    pub async fn operate(
        &mut self,
        class: &Uid,
        request: Request,
        information: Option<&DataSet>,
        letters: &Outgoing,
    ) -> Result<(Response, Option<DataSet>), ScuError> {
        let (context, syntax) = self.agreed_for(class).ok_or(ScuError::NotAccepted)?;
        let unwritten = |error| {
            tracing::error!(error = %chain(&error), "a message cannot be written");
            ScuError::Source(std::io::ErrorKind::InvalidData.into())
        };
        let data = information.map(|set| dataset::write(set, &syntax, letters)).transpose().map_err(unwritten)?;
        let message_id = self.begin()?;
        let request = Request { message_id, has_data_set: data.is_some(), ..request };
        let answer = self.exchange(context, &request, data.as_deref(), &syntax).await;
        self.end(answer, true).await
    }

    async fn exchange(
        &mut self,
        context: u8,
        request: &Request,
        data: Option<&[u8]>,
        syntax: &Uid,
    ) -> Result<(Response, Option<DataSet>), ScuError> {
        let mut bytes = self.framed_command(context, &Command::Request(request.clone()));
        bytes.extend(data.map(|data| self.framed(context, data, false)).unwrap_or_default());
        let mut early = None;
        self.wire.send(&mut [IoSlice::new(&bytes)], &mut early).await?;
        loop {
            let message = match early.take() {
                Some(message) => message,
                None => self.wire.next_message().await?,
            };
            if !events::is_report(&message) {
                return answer(message, request, syntax);
            }
            self.keep_for_later(message)?;
        }
    }
}

fn answer(message: Message, request: &Request, syntax: &Uid) -> Result<(Response, Option<DataSet>), ScuError> {
    let Command::Response(response) = message.command else {
        return Err(ScuError::Protocol("no response answers the request"));
    };
    if response.message_id != request.message_id || response.service != request.service {
        return Err(ScuError::Protocol("the response is to another request"));
    }
    let read = |bytes: &[u8]| {
        let read = dataset::read_within(Bounds::OPERATION, bytes, syntax, &SenderCharset::default());
        read.map_err(|_| ScuError::Protocol("the data set of the response cannot be read"))
    };
    let reply = response.has_data_set.then(|| read(&message.data_set)).transpose()?;
    Ok((response, reply))
}
