//! What `dicom::scp` sends in a retrieval: instances as they lie in the journals, under the name of this node.
//!
//! Stands here because neither of the two rooms may know the other.

use crate::{
    config::Live,
    dicom::{
        scp::{Held, HeldBytes},
        scu::ScuSettings,
    },
    model::JournalPlace,
    spool::{PlaceReader, Spool, SpoolError},
};
use bytes::BytesMut;
use futures_util::future::BoxFuture;
use std::io;

pub struct JournalsHeld {
    pub spool: Spool,
    pub config: Live,
}

impl Held for JournalsHeld {
    fn open(&self, place: &JournalPlace) -> io::Result<Box<dyn HeldBytes>> {
        let opened = self.spool.reader(place).map_err(|error| match error {
            SpoolError::Missing(_) => io::ErrorKind::NotFound.into(),
            other => io::Error::other(other),
        });
        Ok(Box::new(Bytes(opened?)))
    }

    fn outgoing(&self) -> ScuSettings {
        let config = self.config.now();
        ScuSettings {
            calling_ae: config.dicom.ae_title.clone(),
            connect: config.delivery.connect,
            response: config.delivery.response,
        }
    }
}

struct Bytes(PlaceReader);

impl HeldBytes for Bytes {
    fn read<'a>(&'a mut self, into: &'a mut BytesMut, at_most: usize) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(self.0.read(into, at_most))
    }
}
