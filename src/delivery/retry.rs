//! What follows an attempt: pure. In: the delivery, the outcome, the clock. Out: where the delivery stands now, whether
//! the partner is paused, and what a person is told.

use super::{settle::reason as words, worker::Attempted};
use crate::{
    config::DeliveryTimes,
    model::{DeliveryKind, Fault, Moment, Outcome, PartnerId},
    store::{DeliveryRow, RefusedInstance, Settled},
};
use std::time::Duration;

/// Failures of our own or of one case end in front of a person after this many attempts, well before the time is up.
pub const OWN_ATTEMPTS: i64 = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub settled: Settled,
    /// Pause the partner until it is first probed, then. Probes that fail lengthen the pause, whatever this one delivery
    /// has been through.
    pub pause_until: Option<Moment>,
    /// Why a person should look at the case.
    pub attention: Option<String>,
}

/// # Examples of the schedule
/// With the defaults: 5 s, 10 s, 20 s, 40 s, 80 s, 160 s, 320 s, then every 10 min, for 24 h.
pub fn verdict(delivery: &DeliveryRow, attempted: &Attempted, times: &DeliveryTimes, now: Moment) -> Verdict {
    match &attempted.outcome {
        Outcome::Delivered { warning: Some(codes) } if delivery.kind == DeliveryKind::Message => Verdict {
            attention: Some(format!("{} cannot do what was ordered ({codes}): speak with them", delivery.partner)),
            ..done(Settled::Delivered)
        },
        Outcome::Delivered { .. } if delivery.refused.is_empty() => done(Settled::Delivered),
        Outcome::Delivered { .. } => {
            let count = delivery.refused.len();
            let codes = codes(delivery);
            stop(format!("{} did not store {count} of {} instances ({codes})", delivery.partner, delivery.items))
        }
        Outcome::NotYet { after, .. } => done(Settled::Again { at: now + *after, count: false }),
        Outcome::Refused { reason, .. } => stop(format!("{} refused {}: {reason}", delivery.partner, delivery.kind)),
        Outcome::TryAgain { reason, .. }
            if now < delivery.give_up && (attempted.may_be_it || chokes(delivery, attempted)) =>
        {
            let words = || format!("{} breaks off at its {} each time: {reason}", delivery.partner, delivery.kind);
            Verdict {
                settled: Settled::Again { at: now + backoff(delivery.tries(), times), count: true },
                pause_until: None,
                attention: chokes(delivery, attempted).then(words),
            }
        }
        Outcome::TryAgain { reason, fault } => try_again(delivery, reason, *fault, times, now),
    }
}

/// Whether the trouble is this report: the partner takes the connection and breaks off in the same way each time. What
/// else is owed to it must not wait for that.
fn chokes(delivery: &DeliveryRow, attempted: &Attempted) -> bool {
    attempted.broke_off
        && delivery.tries() >= OWN_ATTEMPTS
        && matches!(attempted.outcome, Outcome::TryAgain { fault: Fault::Partner, .. })
        && delivery.last_outcome.as_ref().is_some_and(|last| words(last) == words(&attempted.outcome))
}

fn try_again(delivery: &DeliveryRow, reason: &str, fault: Fault, times: &DeliveryTimes, now: Moment) -> Verdict {
    let partner_is_away = matches!(fault, Fault::Partner | Fault::Agreement);
    let spent = now >= delivery.give_up || (!partner_is_away && delivery.tries() >= OWN_ATTEMPTS);
    if spent {
        return stop(not_delivered(delivery, reason));
    }
    let wait = backoff(delivery.tries(), times);
    let attention =
        (fault == Fault::Agreement).then(|| format!("{} takes nothing from us: {reason}", delivery.partner));
    Verdict {
        settled: Settled::Again { at: now + wait, count: true },
        pause_until: partner_is_away.then_some(now + times.retry_min),
        attention,
    }
}

/// What a person reads when something has not arrived by the time the report was to be there.
pub fn late(kind: DeliveryKind, partner: &PartnerId) -> String {
    format!("{kind} still not delivered to {partner} at its deadline")
}

/// What a person reads when the time or the attempts are spent.
pub fn not_delivered(delivery: &DeliveryRow, reason: &str) -> String {
    let attempts = match delivery.attempts {
        0 => "without an attempt".to_owned(),
        1 => "after 1 attempt".to_owned(),
        attempts => format!("after {attempts} attempts"),
    };
    format!("{} not delivered to {} {attempts}: {reason}", delivery.kind, delivery.partner)
}

/// Doubles from `retry_min` to `retry_max`. The first attempt is number 1.
pub fn backoff(failures: i64, times: &DeliveryTimes) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1).clamp(0, 20)).unwrap_or(20);
    times.retry_min.saturating_mul(1 << doublings).min(times.retry_max)
}

fn done(settled: Settled) -> Verdict {
    Verdict { settled, pause_until: None, attention: None }
}

fn stop(reason: String) -> Verdict {
    Verdict { settled: Settled::Stopped, pause_until: None, attention: Some(reason) }
}

/// `0122, C000`: the distinct statuses of what was refused.
fn codes(delivery: &DeliveryRow) -> String {
    let mut codes: Vec<String> = delivery.refused.iter().map(RefusedInstance::why).collect();
    codes.sort();
    codes.dedup();
    codes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CaseId, DeliveryId, DeliveryState, Lane};

    fn times() -> DeliveryTimes {
        DeliveryTimes {
            connect: Duration::from_secs(10),
            response: Duration::from_secs(60),
            retry_min: Duration::from_secs(5),
            retry_max: Duration::from_secs(600),
            give_up: Duration::from_secs(86_400),
            down_after: Duration::from_secs(600),
        }
    }

    fn delivery(attempts: i64) -> DeliveryRow {
        DeliveryRow {
            id: DeliveryId::generate(),
            case: CaseId::generate(),
            partner: PartnerId::new("chemnitz").unwrap(),
            lane: Lane::Routine,
            kind: DeliveryKind::Images,
            first_seq: 1,
            last_seq: 10,
            done_to: 0,
            refused: vec![],
            report: None,
            version: 0,
            items: 10,
            bytes: 10,
            state: DeliveryState::Attempting,
            attempts,
            attempts_before: 0,
            next: Moment(0),
            deadline: None,
            give_up: Moment(0) + Duration::from_secs(86_400),
            created: Moment(0),
            finished: None,
            last_outcome: None,
        }
    }

    fn ended(delivery: &DeliveryRow, outcome: Outcome) -> Verdict {
        verdict(delivery, &Attempted::ended(delivery, outcome), &times(), Moment(0))
    }

    #[test]
    fn a_report_the_partner_chokes_on_holds_up_nothing_else_and_is_put_before_a_person() {
        let lost = |reason: &str| Outcome::TryAgain { reason: reason.into(), fault: Fault::Partner };
        let fared = |attempts, last, broke_off, may_be_it| {
            let report = DeliveryRow { last_outcome: Some(lost(last)), ..delivery(attempts) };
            let attempted = Attempted { broke_off, may_be_it, ..Attempted::ended(&report, lost("no answer")) };
            verdict(&report, &attempted, &times(), Moment(0))
        };
        let after = |attempts, last, broke_off| fared(attempts, last, broke_off, false);
        // Nobody knows yet whether others are answered: it waits, and nobody else for it.
        let first = fared(1, "", true, true);
        assert_eq!(first.settled, Settled::Again { at: Moment(0) + Duration::from_secs(5), count: true });
        assert!(first.pause_until.is_none() && first.attention.is_none(), "{first:?}");
        let chokes = after(8, "no answer", true);
        assert_eq!(chokes.settled, Settled::Again { at: Moment(0) + Duration::from_secs(600), count: true });
        assert_eq!(chokes.pause_until, None);
        assert!(chokes.attention.is_some());
        for away in [after(7, "no answer", true), after(8, "refused", true), after(8, "no answer", false)] {
            assert!(away.pause_until.is_some() && away.attention.is_none(), "{away:?}");
        }
    }

    #[test]
    fn the_schedule_is_a_list_of_waits() {
        let waits: Vec<u64> = (1..=9).map(|attempt| backoff(attempt, &times()).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
    }

    #[test]
    fn the_partner_s_fault_pauses_the_partner_and_is_tried_until_the_time_is_up() {
        let away = Outcome::TryAgain { reason: "connection refused".into(), fault: Fault::Partner };
        let verdict_now = ended(&delivery(50), away.clone());
        assert_eq!(verdict_now.settled, Settled::Again { at: Moment(0) + Duration::from_secs(600), count: true });
        assert_eq!(verdict_now.pause_until, Some(Moment(0) + Duration::from_secs(5)), "it is soon asked");
        let too_late = Moment(0) + Duration::from_secs(86_400);
        let spent = verdict(&delivery(50), &Attempted::ended(&delivery(50), away), &times(), too_late);
        assert_eq!(spent.settled, Settled::Stopped);
        assert!(spent.attention.is_some(), "a spent budget ends with a person");
    }

    #[test]
    fn a_fault_of_ours_ends_with_a_person_after_a_few_attempts() {
        let ours = Outcome::TryAgain { reason: "journal not readable".into(), fault: Fault::Ours };
        assert!(matches!(ended(&delivery(7), ours.clone()).settled, Settled::Again { .. }));
        let spent = ended(&delivery(8), ours.clone());
        assert_eq!((spent.settled, spent.pause_until), (Settled::Stopped, None));
        // Sent again by a person after that, it has as many attempts once more.
        let again = |attempts| DeliveryRow { attempts_before: 8, ..delivery(attempts) };
        let first = Settled::Again { at: Moment(0) + times().retry_min, count: true };
        assert_eq!(ended(&again(9), ours.clone()).settled, first, "and waits as shortly as the first time");
        assert!(matches!(ended(&again(15), ours.clone()).settled, Settled::Again { .. }));
        assert_eq!(ended(&again(16), ours).settled, Settled::Stopped);
    }

    #[test]
    fn refused_instances_end_with_a_person_though_the_rest_arrived() {
        let mut partly = delivery(1);
        partly.refused = vec![RefusedInstance { seq: 3, status: 0xC000 }];
        let verdict = ended(&partly, Outcome::Delivered { warning: None });
        assert_eq!(verdict.settled, Settled::Stopped);
        assert!(verdict.attention.unwrap().contains("C000"));
    }

    #[test]
    fn waiting_for_its_turn_uses_up_no_attempt() {
        let not_yet = Outcome::NotYet { reason: "paused".into(), after: Duration::from_secs(3) };
        let settled = ended(&delivery(1), not_yet).settled;
        assert_eq!(settled, Settled::Again { at: Moment(0) + Duration::from_secs(3), count: false });
    }
}
