//! Who waits for whom where orders and images of one hospital meet.
//!
//! In: the origin, and what an order is known by. Out: a transaction that works alone with the origin, or beside others
//! and alone only with those numbers. PostgreSQL locks; SQLite has one writer, and nothing to lock.

use super::{Durability, Store, StoreError, Tx, TxKind};
use crate::model::PartnerId;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

impl Store {
    /// Begins a change that shares the origin ([`Tx::hold_origin`]) with others that share it too, and is alone only with
    /// what has one of these numbers: what nothing is joined to needs no more, and orders of one hospital can then be written
    /// at the same time. Whoever would hold a case for change is told [`StoreError::OriginShared`], and has to begin again
    /// and hold the origin.
    ///
    /// # Errors
    /// When the database cannot be reached within 30 s, or fails.
    pub async fn begin_beside(
        &self,
        durability: Durability,
        origin: &PartnerId,
        numbers: &[&str],
    ) -> Result<Tx, StoreError> {
        // Computed here and not by the server, so that they can be sent together with BEGIN, which takes no parameters. In
        // one order, so that no two wait for each other. The locks of numbers have two keys, which is a space of its own.
        let numbers: BTreeSet<u16> = numbers.iter().map(|number| number_key(origin, number)).collect();
        let mut locks = format!("; SELECT pg_advisory_xact_lock_shared({})", origin_key(origin));
        for number in numbers {
            locks.push_str(&format!("; SELECT pg_advisory_xact_lock(1, {number})"));
        }
        let mut tx = self.begin_with(durability, &locks).await?;
        tx.shares_origin = matches!(tx.kind, TxKind::Postgres(_));
        Ok(tx)
    }
}

impl Tx {
    /// Orders and images of one origin are joined one after the other: two that are written at the same moment, on two
    /// nodes or two connections, see each other. Held until the transaction ends; to be taken before any order or case.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hold_origin(&mut self, origin: &PartnerId) -> Result<(), StoreError> {
        const SQL: &str = "SELECT pg_advisory_xact_lock($1)";
        if let TxKind::Postgres(c) = &mut self.kind {
            let locked = sqlx::query(SQL).bind(origin_key(origin)).execute(&mut **c);
            super::in_time(locked).await?;
        }
        Ok(())
    }
}

/// Not negative: a sign would be an operator of SQL.
fn origin_key(origin: &PartnerId) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(format!("neisse.origin.{origin}")));
    i64::from_be_bytes([a & 0x7f, b, c, d, e, f, g, h])
}

/// So short that it says nothing of the number where a log has the statement. Two orders with one key wait for each other.
fn number_key(origin: &PartnerId, number: &str) -> u16 {
    let [a, b, ..] = <[u8; 32]>::from(Sha256::digest(format!("neisse.origin.{origin}.{number}")));
    u16::from_be_bytes([a, b])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_locks_with_the_same_keys() {
        let origin = PartnerId::new("rabenstein").unwrap();
        assert_eq!((origin_key(&origin), number_key(&origin, "P1")), (6_976_519_864_680_161_164, 39_685));
    }
}
