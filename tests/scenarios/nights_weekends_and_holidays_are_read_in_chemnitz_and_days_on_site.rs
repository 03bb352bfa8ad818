//! The example installation through two years of clocks: who reads a CT of Rabenstein or Lichtenstein at which minute.

use crate::support::{
    hospital::{Scanner, head_ct},
    network::{BOTH, Footing, Network},
};
use chrono::{DateTime, Utc};
use neisse::{
    cli::sample::SampleInstance,
    model::{CaseState, Disposition, Moment, ReadingMode},
    store::CaseRow,
};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Reads {
    /// Nothing is transferred.
    House,
    Chemnitz,
}
use Reads::{Chemnitz, House};

/// In order of time, each with its own offset from UTC: the clock on the wall and the instant cannot be confused.
const YEARS: [(&str, Reads, &str); 34] = [
    ("2025-10-03T12:00:00+02:00", Chemnitz, "Tag der Deutschen Einheit, a Friday"),
    ("2025-10-30T12:00:00+01:00", House, "a Thursday"),
    ("2025-10-31T12:00:00+01:00", Chemnitz, "Reformationstag, a Friday: a holiday in Saxony, not in all of Germany"),
    ("2026-01-01T12:00:00+01:00", Chemnitz, "New Year"),
    ("2026-01-06T12:00:00+01:00", House, "Heilige Drei Könige: a holiday in Saxony-Anhalt, not in Saxony"),
    ("2026-03-28T12:00:00+01:00", Chemnitz, "Saturday before the clocks go forward"),
    ("2026-03-29T01:59:50+01:00", Chemnitz, "the last seconds before 02:00 becomes 03:00"),
    ("2026-03-29T03:00:00+02:00", Chemnitz, "the first second of summer time"),
    ("2026-03-30T06:59:50+02:00", Chemnitz, "Monday before seven on the new clock; on the old one it is not yet six"),
    ("2026-03-30T07:00:00+02:00", House, "Monday at seven on the new clock"),
    ("2026-03-30T17:59:50+02:00", House, "Monday before six in the evening"),
    ("2026-03-30T18:00:00+02:00", Chemnitz, "Monday at six in the evening"),
    ("2026-04-03T12:00:00+02:00", Chemnitz, "Good Friday"),
    ("2026-04-06T12:00:00+02:00", Chemnitz, "Easter Monday"),
    ("2026-04-07T06:59:50+02:00", Chemnitz, "the morning after"),
    ("2026-04-07T07:00:00+02:00", House, "the day after"),
    ("2026-10-24T12:00:00+02:00", Chemnitz, "Saturday before the clocks go back"),
    ("2026-10-25T02:30:00+02:00", Chemnitz, "half past two, the first time"),
    ("2026-10-25T02:30:00+01:00", Chemnitz, "half past two, the second time"),
    ("2026-10-26T06:59:50+01:00", Chemnitz, "Monday before seven on the new clock; on the old one it is eight"),
    ("2026-10-26T07:00:00+01:00", House, "Monday at seven on the new clock"),
    ("2026-11-17T23:59:50+01:00", Chemnitz, "Tuesday before midnight"),
    ("2026-11-18T00:00:00+01:00", Chemnitz, "Buß- und Bettag begins"),
    ("2026-11-18T12:00:00+01:00", Chemnitz, "Buß- und Bettag, a Wednesday: a holiday in Saxony only"),
    ("2026-11-19T06:59:50+01:00", Chemnitz, "the morning after it"),
    ("2026-11-19T07:00:00+01:00", House, "the day after it"),
    ("2026-11-20T17:59:50+01:00", House, "Friday before six in the evening"),
    ("2026-11-20T18:00:00+01:00", Chemnitz, "Friday at six in the evening"),
    ("2026-11-22T12:00:00+01:00", Chemnitz, "Sunday"),
    ("2026-11-23T03:00:00+01:00", Chemnitz, "Monday before dawn: still the weekend"),
    ("2026-11-23T07:00:00+01:00", House, "Monday at seven"),
    ("2026-12-24T12:00:00+01:00", House, "Christmas Eve, a working Thursday"),
    ("2026-12-25T12:00:00+01:00", Chemnitz, "Christmas Day, a Friday"),
    ("2026-12-26T23:10:00+01:00", Chemnitz, "second Christmas Day, a Saturday night"),
];

#[tokio::test(flavor = "multi_thread")]
async fn nights_weekends_and_holidays_are_read_in_chemnitz_and_days_on_site() {
    for footing in BOTH {
        play(footing).await;
    }
}

async fn play(footing: Footing) {
    let network = Network::example(footing, instant(YEARS[0].0), |_| ()).await;
    let mut read_in_chemnitz = 0;
    for (number, (at, reads, why)) in YEARS.into_iter().enumerate() {
        let (origin, scanner) = [("rabenstein", "RAB_CT1"), ("lichtenstein", "LIC_CT1")][number % 2];
        let (patient, slices) = head_ct(number as u64, 1);
        network.clock.set(instant(at));
        send(&network, scanner, &slices[0]).await;
        // Released, and quiet for longer than `[dicom] quiet`.
        network.decided(origin, &patient.study()).await;
        network.clock.advance(Duration::from_secs(31));
        let case = network.case_of(origin, &patient.study(), CaseState::Delivered).await;
        assert!(case.first.since(instant(at)) < Duration::from_secs(10), "this machine is too slow for the minute");
        let what = format!("{origin} at {at}, {why}: {}", network.story(&case).await);
        match reads {
            House => stays(&network, &case, &what).await,
            Chemnitz => {
                read_in_chemnitz += 1;
                goes_to_chemnitz(&case, &what);
            }
        }
        assert_eq!(network.chemnitz.arrivals().len(), read_in_chemnitz, "{what}");
    }
    assert_eq!(network.leipzig.associations(), 0, "the stand-in is not asked while Chemnitz answers");
    network.at_rest().await;
}

async fn send(network: &Network, calling_ae: &str, slice: &SampleInstance) {
    let mut scanner = Scanner::connect_as(calling_ae, network.node().dicom, slice).await;
    assert_eq!(scanner.send(slice).await, 0x0000);
    scanner.release().await;
}

async fn stays(network: &Network, case: &CaseRow, what: &str) {
    let decision = case.decision.as_ref().expect("decided");
    let Disposition::Read(reading) = &decision.disposition else { panic!("held: {what}") };
    assert_eq!((reading.rule.as_str(), reading.reading_mode), ("DRK hospitals by day", ReadingMode::OnSite), "{what}");
    assert_eq!(case.reader.as_ref(), Some(&case.origin), "{what}");
    assert!(network.ledger(case).await.is_empty(), "nothing is owed to anybody: {what}");
}

fn goes_to_chemnitz(case: &CaseRow, what: &str) {
    let decision = case.decision.as_ref().expect("decided");
    let Disposition::Read(reading) = &decision.disposition else { panic!("held: {what}") };
    let mode = ReadingMode::Teleradiology;
    assert_eq!((reading.rule.as_str(), reading.reading_mode), ("DRK hospitals by night", mode), "{what}");
    assert_eq!(case.reader.as_ref().map(|reader| reader.as_str()), Some("chemnitz"), "{what}");
    let open = reading.window_ends.is_none_or(|ends| ends > case.first);
    assert!(open, "the window of the decision is open when it is made: {what}");
}

fn instant(text: &str) -> Moment {
    Moment::from_utc(DateTime::parse_from_rfc3339(text).expect("RFC 3339").with_timezone(&Utc))
}
