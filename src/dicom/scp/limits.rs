//! How many may come in: associations, connections that have not asked for one yet, and both for each address.
//!
//! Connections of HTTP take places of their own by the same rule.
//!
//! In: an address. Out: a [`Place`], given back when dropped, or nothing. Waits for nobody. Of connections that have not
//! asked yet the newest wins: an honest sender asks at once, so the one that has been silent longest makes room.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;

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
    associations: usize,
    associations_by_address: HashMap<IpAddr, usize>,
    /// In the order they came.
    half_open: BTreeMap<u64, HalfOpen>,
    half_open_by_address: HashMap<IpAddr, usize>,
    next_number: u64,
}

#[derive(Debug)]
struct HalfOpen {
    address: IpAddr,
    make_room: CancellationToken,
}

/// A connection that has not asked for an association yet has this, until it is dropped.
#[derive(Debug)]
pub struct Knock {
    places: Arc<Places>,
    number: u64,
    make_room: CancellationToken,
}

/// An association's place, taken until this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    pub fn new(max_associations: usize) -> Arc<Self> {
        let max_half_open = max_associations.max(LEAST_HALF_OPEN);
        Arc::new(Self { max_associations, max_half_open, taken: Mutex::default() })
    }

    /// A place for a connection that has not asked for an association yet. Where there is none left, for all or for this
    /// address, the oldest gives up its own.
    pub fn knock(self: &Arc<Self>, address: IpAddr) -> Knock {
        let address = sender(address);
        let for_one = of_one(address, self.max_half_open, share(self.max_half_open, 4));
        let mut taken = self.taken();
        if taken.half_open_by_address.get(&address).is_some_and(|count| *count >= for_one) {
            taken.evict(|half_open| half_open.address == address);
        } else if taken.half_open.len() >= self.max_half_open {
            taken.evict(|_| true);
        }
        let (number, make_room) = (taken.next_number, CancellationToken::new());
        taken.next_number += 1;
        taken.half_open.insert(number, HalfOpen { address, make_room: make_room.clone() });
        *taken.half_open_by_address.entry(address).or_default() += 1;
        Knock { places: self.clone(), number, make_room }
    }

    /// A place for an association.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = sender(address);
        let quarter_for_others = self.max_associations - self.max_associations / 4;
        let for_one = of_one(address, self.max_associations, quarter_for_others);
        let mut taken = self.taken();
        let held = taken.associations_by_address.get(&address).copied().unwrap_or(0);
        if taken.associations >= self.max_associations || held >= for_one {
            return None;
        }
        taken.associations += 1;
        taken.associations_by_address.insert(address, held + 1);
        Some(Place { places: self.clone(), address })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn evict(&mut self, may_go: impl Fn(&HalfOpen) -> bool) {
        let oldest = self.half_open.iter().find(|(_, half_open)| may_go(half_open)).map(|(number, _)| *number);
        if let Some(half_open) = oldest.and_then(|number| self.forget(number)) {
            half_open.make_room.cancel();
        }
    }

    fn forget(&mut self, number: u64) -> Option<HalfOpen> {
        let half_open = self.half_open.remove(&number)?;
        give_back(&mut self.half_open_by_address, half_open.address);
        Some(half_open)
    }
}

impl Knock {
    /// Returns when the place has been given to another.
    pub async fn evicted(&self) {
        self.make_room.cancelled().await;
    }
}

impl Drop for Knock {
    fn drop(&mut self) {
        // Evicted, it has none to give back.
        self.places.taken().forget(self.number);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.associations -= 1;
        give_back(&mut taken.associations_by_address, self.address);
    }
}

fn give_back(counts: &mut HashMap<IpAddr, usize>, address: IpAddr) {
    if let Some(count) = counts.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&address);
        }
    }
}

/// A proxy or a test on this machine speaks for many senders.
fn of_one(address: IpAddr, for_all: usize, for_one: usize) -> usize {
    if address.is_loopback() { for_all } else { for_one }
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
        assert!(places.taken().associations_by_address.is_empty(), "forgotten when it leaves");
        assert!(places.enter(ip("10.0.0.1")).is_some());
    }

    #[test]
    fn the_connection_that_has_been_silent_longest_makes_room_and_others_do_not_pay_for_a_crowd() {
        let places = Places::new(2);
        let other = places.knock(ip("10.0.0.2"));
        let mut crowd: Vec<Knock> = (0..1000).map(|_| places.knock(ip("10.0.0.1"))).collect();
        let evicted = |knock: &Knock| knock.make_room.is_cancelled();
        assert!(!evicted(&other), "a crowd from one address takes a quarter of 32 and no more");
        assert!(crowd[..992].iter().all(evicted) && !crowd[992..].iter().any(evicted), "the newest stay");
        assert!(places.enter(ip("10.0.0.1")).is_some(), "associations are counted apart");
        crowd.truncate(992);
        assert_eq!(places.taken().half_open.len(), 1, "what was evicted gives nothing back twice");
        let many: Vec<Knock> = (3..=33).map(|host| places.knock(ip(&format!("10.0.0.{host}")))).collect();
        assert!(!evicted(&other));
        let last = places.knock(ip("10.0.0.99"));
        assert!(evicted(&other), "of all, the oldest");
        drop((crowd, many, last, other));
        assert!(places.taken().half_open.is_empty() && places.taken().half_open_by_address.is_empty());
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
