//! How many may come in: associations, connections that have not asked for one yet, and both for each address.
//!
//! In: an address. Out: a [`Place`], given back when dropped, or nothing. Waits for nobody.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// So many connections may always be before their A-ASSOCIATE-RQ, however few associations are allowed.
const LEAST_HALF_OPEN: usize = 32;

#[derive(Debug)]
pub struct Places {
    max_associations: usize,
    max_half_open: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: Count,
    by_address: HashMap<IpAddr, Count>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    associations: usize,
    half_open: usize,
}

impl Count {
    fn get(self, kind: Kind) -> usize {
        match kind {
            Kind::Association => self.associations,
            Kind::HalfOpen => self.half_open,
        }
    }

    fn of(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Association => &mut self.associations,
            Kind::HalfOpen => &mut self.half_open,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Association,
    HalfOpen,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    address: IpAddr,
    kind: Kind,
}

impl Places {
    pub fn new(max_associations: usize) -> Arc<Self> {
        let max_half_open = max_associations.max(LEAST_HALF_OPEN);
        Arc::new(Self { max_associations, max_half_open, taken: Mutex::default() })
    }

    /// A place for a connection that has not asked for an association yet.
    pub fn knock(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        self.take(address, Kind::HalfOpen, self.max_half_open, share(self.max_half_open, 4))
    }

    /// A place for an association.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let quarter_for_others = self.max_associations - self.max_associations / 4;
        self.take(address, Kind::Association, self.max_associations, quarter_for_others)
    }

    fn take(self: &Arc<Self>, address: IpAddr, kind: Kind, for_all: usize, for_one: usize) -> Option<Place> {
        let address = sender(address);
        // A proxy or a test on this machine speaks for many senders.
        let for_one = if address.is_loopback() { for_all } else { for_one };
        let mut taken = self.taken();
        let Taken { all, by_address } = &mut *taken;
        if all.get(kind) >= for_all || by_address.get(&address).is_some_and(|count| count.get(kind) >= for_one) {
            return None;
        }
        *all.of(kind) += 1;
        *by_address.entry(address).or_default().of(kind) += 1;
        Some(Place { places: self.clone(), address, kind })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        *taken.all.of(self.kind) -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count.of(self.kind) -= 1;
            if *count == Count::default() {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

fn share(of: usize, parts: usize) -> usize {
    (of / parts).max(1)
}

/// Whoever has one IPv6 address has its /64; an IPv4 address is the same however it is written.
fn sender(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_address_cannot_take_every_association() {
        let places = Places::new(8);
        let held: Vec<Place> = (0..6).map(|_| places.enter(ip("10.0.0.1")).expect("three quarters")).collect();
        assert!(places.enter(ip("10.0.0.1")).is_none());
        let other = places.enter(ip("10.0.0.2")).expect("kept free for others");
        let last = places.enter(ip("::ffff:10.0.0.2")).expect("the last");
        assert!(places.enter(ip("10.0.0.3")).is_none(), "the house is full");
        drop((held, other, last));
        assert!(places.taken().by_address.is_empty(), "forgotten when it leaves");
        assert!(places.enter(ip("10.0.0.1")).is_some());
    }

    #[test]
    fn silent_connections_are_counted_apart_from_associations() {
        let places = Places::new(2);
        let knocking: Vec<Place> = (0..8).map(|_| places.knock(ip("10.0.0.1")).expect("a quarter of 32")).collect();
        assert!(places.knock(ip("10.0.0.1")).is_none());
        assert!(places.knock(ip("10.0.0.2")).is_some());
        assert!(places.enter(ip("10.0.0.1")).is_some());
        drop(knocking);
        assert!(places.knock(ip("10.0.0.1")).is_some());
    }

    #[test]
    fn a_whole_ipv6_network_counts_as_one_sender() {
        let places = Places::new(4);
        let _held: Vec<Place> =
            (1..4).map(|host| places.enter(ip(&format!("2001:db8::{host}"))).expect("three of four")).collect();
        assert!(places.enter(ip("2001:db8::99")).is_none());
        assert!(places.enter(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn this_machine_may_take_all_and_no_more() {
        let places = Places::new(4);
        let _held: Vec<Place> = (0..4).map(|_| places.enter(ip("127.0.0.1")).expect("all four")).collect();
        assert!(places.enter(ip("127.0.0.1")).is_none());
    }
}
