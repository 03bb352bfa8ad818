//! Which HL7 connections are open, and who leaves when one more comes.
//!
//! In: connections coming, and what they are doing. Out: a [`Seat`] for each, and word to one of them to leave when there
//! is none left: one that has never said anything before one that has, then the one silent longest. A peer keeps its
//! connection open for days and opens another when it finds it closed; one that cannot come in loses its reports.
//!
//! Nobody is asked to leave in the middle of a message, or while its answer is due. So that nobody can keep all seats by
//! never finishing one, a quarter of them is out of reach for any single address.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;

pub(super) struct Seats {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    seats: BTreeMap<u64, Sitting>,
    /// Counts up with every connection and every silence: smaller is longer ago.
    next: u64,
}

struct Sitting {
    address: IpAddr,
    leave: CancellationToken,
    /// When it fell silent; none while it is in a message.
    silent_since: Option<u64>,
    has_spoken: bool,
}

/// One connection's, until dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    leave: CancellationToken,
}

impl Seats {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// None when everybody is in the middle of a message, or everybody of an address that has its share.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let address = address.to_canonical();
        // A proxy on this machine speaks for many senders.
        let of_one = if address.is_loopback() { self.most } else { (self.most - self.most / 4).max(1) };
        let mut taken = self.taken();
        if taken.seats.values().filter(|sitting| sitting.address == address).count() >= of_one {
            taken.make_room(|sitting| sitting.address == address)?;
        } else if taken.seats.len() >= self.most {
            taken.make_room(|_| true)?;
        }
        let (number, leave) = (taken.tick(), CancellationToken::new());
        let sitting = Sitting { address, leave: leave.clone(), silent_since: Some(number), has_spoken: false };
        taken.seats.insert(number, sitting);
        Some(Seat { seats: self.clone(), number, leave })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Asks one of those who may go to leave; None when all of them are in the middle of a message.
    fn make_room(&mut self, may_go: impl Fn(&Sitting) -> bool) -> Option<()> {
        let silent = |(number, sitting): (&u64, &Sitting)| {
            let since = sitting.silent_since.filter(|_| may_go(sitting))?;
            Some(((sitting.has_spoken, since), *number))
        };
        let (_, number) = self.seats.iter().filter_map(silent).min()?;
        self.seats.remove(&number)?.leave.cancel();
        Some(())
    }

    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

impl Seat {
    /// A message has begun. False: the seat has been given away, and it is too late.
    pub(super) fn speaks(&self) -> bool {
        let mut taken = self.seats.taken();
        taken.seats.get_mut(&self.number).map(|sitting| sitting.silent_since = None).is_some()
    }

    /// Its message has been answered.
    pub(super) fn is_silent(&self) {
        let mut taken = self.seats.taken();
        let now = taken.tick();
        if let Some(sitting) = taken.seats.get_mut(&self.number) {
            (sitting.silent_since, sitting.has_spoken) = (Some(now), true);
        }
    }

    /// Returns when another has come for whom there was no seat.
    pub(super) async fn asked_to_leave(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().seats.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn left(seats: &[&Seat]) -> Vec<bool> {
        seats.iter().map(|seat| seat.leave.is_cancelled()).collect()
    }

    #[test]
    fn who_never_spoke_leaves_first_then_who_has_been_silent_longest_and_nobody_inside_a_message() {
        let seats = Seats::new(3);
        let [a, b, c] = [1, 2, 3].map(|last| seats.take(from(last)).expect("a seat"));
        assert!(a.speaks());
        a.is_silent();
        let d = seats.take(from(4)).expect("b's");
        assert_eq!(left(&[&a, &b, &c, &d]), [false, true, false, false]);
        assert!(!b.speaks(), "too late");
        assert!(c.speaks() && d.speaks());
        let e = seats.take(from(5)).expect("a's, the only one silent");
        assert_eq!(left(&[&a, &c, &d, &e]), [true, false, false, false]);
        assert!(e.speaks());
        assert!(seats.take(from(6)).is_none(), "all are speaking");
        d.is_silent();
        c.is_silent();
        let f = seats.take(from(6)).expect("d's, silent before c");
        assert_eq!(left(&[&c, &d, &e]), [false, true, false]);
        drop((a, b, c, d, e));
        assert_eq!(seats.taken().seats.len(), 1, "who left before gives nothing back twice");
        drop(f);
        assert!(seats.taken().seats.is_empty());
    }
    #[test]
    fn one_address_that_never_finishes_a_message_leaves_a_quarter_of_the_seats_to_others() {
        let seats = Seats::new(8);
        let drips: Vec<Seat> = (0..6).map(|_| seats.take(from(1)).expect("a seat")).collect();
        assert!(drips.iter().all(Seat::speaks));
        assert!(seats.take(from(1)).is_none(), "six of eight are its share");
        let others = [2, 3].map(|last| seats.take(from(last)).expect("a seat for others"));
        drips[3].is_silent();
        let seventh = seats.take(from(1)).expect("its own silent one makes room");
        assert!(drips[3].leave.is_cancelled());
        assert_eq!(left(&[&others[0], &others[1], &seventh]), [false, false, false]);
    }
}
