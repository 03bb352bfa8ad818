//! The intake of instances as HTTP sees it: the same handler as that of associations, behind a pointer, so that routes
//! need no type of it.

use crate::{
    dicom::{
        scp::{AssociationEnd, InstanceOffer, Rejection, StorageScp, StoreAssociation, StoreRefusal},
        status::StoreStatus,
    },
    model::PartnerId,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;

/// [`StorageScp::admit_partner`].
pub trait OpenStorage: Send + Sync + 'static {
    fn open<'a>(
        &'a self,
        partner: &'a PartnerId,
        calling: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Storing>, Rejection>>;
}

/// [`StoreAssociation`], by the same rules.
pub trait Storing: Send {
    fn begin<'a>(&'a mut self, offer: &'a InstanceOffer) -> BoxFuture<'a, Result<(), StoreRefusal>>;
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), StoreRefusal>>;
    fn commit(&mut self) -> BoxFuture<'_, Result<StoreStatus, StoreRefusal>>;
    fn discard(&mut self) -> BoxFuture<'_, ()>;
    fn end(self: Box<Self>, how: AssociationEnd) -> BoxFuture<'static, ()>;
}

impl<H: StorageScp> OpenStorage for H {
    fn open<'a>(
        &'a self,
        partner: &'a PartnerId,
        calling: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Storing>, Rejection>> {
        Box::pin(async move {
            let association = self.admit_partner(partner, calling).await?;
            Ok(Box::new(association) as Box<dyn Storing>)
        })
    }
}

impl<A: StoreAssociation> Storing for A {
    fn begin<'a>(&'a mut self, offer: &'a InstanceOffer) -> BoxFuture<'a, Result<(), StoreRefusal>> {
        Box::pin(StoreAssociation::begin(self, offer))
    }

    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<(), StoreRefusal>> {
        Box::pin(StoreAssociation::write(self, data))
    }

    fn commit(&mut self) -> BoxFuture<'_, Result<StoreStatus, StoreRefusal>> {
        Box::pin(StoreAssociation::commit(self))
    }

    fn discard(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(StoreAssociation::discard(self))
    }

    fn end(self: Box<Self>, how: AssociationEnd) -> BoxFuture<'static, ()> {
        Box::pin(async move { StoreAssociation::end(*self, how).await })
    }
}
