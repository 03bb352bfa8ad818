//! A reader's identifiers become the origin's own again, before anything is compared.
//!
//! In: a report as it came, from a partner that may have been given identifiers of its own domain. Out: the same with
//! what was given out turned back, in what it is found by and in the header of an SR that may go on as it came; whatever
//! issuer the reader wrote beside it. An identifier that was never given out stays what it is. Text is not looked into.

use super::incoming::{Header, Incoming, MAX_NAMED, Object};
use crate::{
    dicom::rewrite::{RewriteError, Said, identifiers_of, rewrite_whole},
    model::{GivenOut, IdentifierKind, IssuedId, PartnerId},
    store::{Store, StoreError},
};
use bytes::Bytes;
use std::collections::HashMap;

/// # Errors
/// When the database fails.
pub async fn own_again(store: &Store, incoming: &mut Incoming) -> Result<(), StoreError> {
    let sender = incoming.sender.clone();
    let clues = &mut incoming.clues;
    let patients = clues.patients.iter_mut().take(MAX_NAMED).map(|id| (IdentifierKind::Patient, id));
    let accessions = clues.accessions.iter_mut().map(|id| (IdentifierKind::Accession, id));
    let orders = clues.orders.iter_mut().chain(&mut clues.more_orders).flat_map(|order| {
        [
            (IdentifierKind::Placer, &mut order.placer),
            (IdentifierKind::Filler, &mut order.filler),
            (IdentifierKind::Accession, &mut order.accession),
        ]
    });
    // Parts repeat each other's numbers: each is looked up once.
    let mut known: HashMap<(IdentifierKind, String), Option<IssuedId>> = HashMap::new();
    let mut was_given_out = false;
    for (kind, id) in patients.chain(accessions).chain(orders).filter(|(_, id)| !id.is_empty()) {
        let key = (kind, id.value.clone());
        let own = if let Some(own) = known.get(&key) {
            own.clone()
        } else {
            let own = given_out(store, &sender, kind, &id.value).await?.map(|given| given.id);
            known.insert(key, own.clone());
            own
        };
        if let Some(own) = own {
            *id = own;
            was_given_out = true;
        }
    }
    if incoming.source == "sr"
        && let Some(object) = &incoming.object
    {
        incoming.header = header(store, &sender, object, &incoming.raw, was_given_out).await?;
    }
    Ok(())
}

/// What an identifier stands for. Readers' systems put one number into the place of another: its own place comes first.
async fn given_out(
    store: &Store,
    reader: &PartnerId,
    kind: IdentifierKind,
    value: &str,
) -> Result<Option<GivenOut>, StoreError> {
    if let Some(given) = store.unmapped(reader, kind, value).await? {
        return Ok(Some(given));
    }
    if kind != IdentifierKind::Patient {
        for other in IdentifierKind::NUMBERS.into_iter().filter(|other| *other != kind) {
            if let Some(given) = store.unmapped(reader, other, value).await? {
                return Ok(Some(given));
            }
        }
    }
    Ok(None)
}

/// The header of an SR with the origin's identifiers.
async fn header(
    store: &Store,
    reader: &PartnerId,
    object: &Object,
    raw: &Bytes,
    was_given_out: bool,
) -> Result<Header, StoreError> {
    let said = {
        let (object, raw) = (object.clone(), raw.clone());
        apart(move || identifiers_of(&object.transfer_syntax, &raw, &object.charset)).await
    };
    let cannot = if was_given_out { Header::Foreign } else { Header::AsItCame };
    let Some(said) = said else { return Ok(cannot) };
    let mut own: HashMap<Said, IssuedId> = HashMap::new();
    for said in said.into_iter().take(4 * MAX_NAMED) {
        if let Some(given) = given_out(store, reader, said.kind, &said.id.value).await? {
            own.insert(said, given.id);
        }
    }
    if own.is_empty() {
        return Ok(cannot);
    }
    let (object, raw) = (object.clone(), raw.clone());
    let becomes = move |said: &Said| own.get(said).cloned();
    // What was there is the reader's: it is no more kept in the hospital's object than it was made by it.
    let rewrite = move || rewrite_whole(&object.transfer_syntax, &raw, &object.charset, &becomes, None);
    Ok(apart(rewrite).await.map_or(Header::Foreign, |(bytes, _)| Header::Rewritten(bytes.into())))
}

/// Tens of megabytes at worst: on a thread for long work. `None`: it cannot be done.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, RewriteError> + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()?.ok()
}
