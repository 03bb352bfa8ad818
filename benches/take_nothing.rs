//! A receiver that keeps nothing: our own SCP with a handler that forgets each instance and answers 0000 at once. What a
//! sender reaches against it is the sender's own limit, for `benches/against-peers`. For measuring only.
//!
//!     take_nothing 127.0.0.1:11112

use bytes::Bytes;
use neisse::dicom::scp::{
    self, AssociationEnd, AssociationRequest, InstanceOffer, Rejection, ScpSettings, StorageScp, StoreAssociation,
    StoreRefusal,
};
use neisse::dicom::status::StoreStatus;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Clone)]
struct TakesNothing;

impl StorageScp for TakesNothing {
    type Association = Self;

    async fn admit(&self, _: &AssociationRequest) -> Result<Self, Rejection> {
        Ok(Self)
    }
}

impl StoreAssociation for TakesNothing {
    async fn begin(&mut self, _: &InstanceOffer) -> Result<(), StoreRefusal> {
        Ok(())
    }

    async fn write(&mut self, _: Bytes) -> Result<(), StoreRefusal> {
        Ok(())
    }

    async fn commit(&mut self) -> Result<StoreStatus, StoreRefusal> {
        Ok(StoreStatus::Success)
    }

    async fn discard(&mut self) {}

    async fn end(self, _: AssociationEnd) {}
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    // Cargo passes --bench when it runs all benches: there is nothing to measure alone.
    let Some(address) = std::env::args().skip(1).find(|argument| !argument.starts_with("--")) else {
        println!("take_nothing: for benches/against-peers, which starts it with an address to listen on");
        return Ok(());
    };
    let settings = ScpSettings {
        max_pdu_bytes: 256 << 10,
        max_associations: 64,
        idle: Duration::from_secs(30),
        handshake: Duration::from_secs(10),
    };
    let listener = tokio::net::TcpListener::bind(address).await?;
    scp::serve(listener, settings, TakesNothing, CancellationToken::new()).await;
    Ok(())
}
