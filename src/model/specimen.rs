//! The specimen as a message or a slide speaks of it: what was taken, from what, and what it travels in.
//!
//! Values only, as said: nothing is interpreted, and a field that the sender left empty is empty here. What has become of
//! a specimen (shipped, received, rejected) is not in here.

use super::{IssuedId, Moment};
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// Specimens one message or one order may speak of, and what may be named for each. More is not a request of a hospital.
pub const MAX_SPECIMENS: usize = 200;
pub const MAX_CONTAINERS: usize = 50;
pub const MAX_PARENTS: usize = 50;
/// Codes in a field that repeats (SPM-15, SPM-16, SPM-21, SPM-24).
pub const MAX_CODES: usize = 20;

/// What one SPM says, with the SAC that belong to it (HL7 v2.5.1 7.4.3, 13.4.3). At least one of the two ids or a
/// container is there: a specimen without any cannot be told from another.
///
/// Holds what identifies a patient's tissue: goes to the store and to partners, never to a log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpecimenSaid {
    /// SPM-2.1: what the placer calls it.
    pub placer: IssuedId,
    /// SPM-2.2: what the laboratory calls it.
    pub filler: IssuedId,
    /// SPM-3, each half of each repetition: what it was taken from (a block from a specimen, a slide from a block).
    pub parents: Vec<IssuedId>,
    /// SPM-4.
    pub kind: SpecimenCode,
    /// SPM-8.
    pub site: SpecimenCode,
    /// SPM-14.
    pub description: String,
    /// SPM-15: how it is to be handled.
    pub handling: Vec<SpecimenCode>,
    /// SPM-16: what it may do to who handles it.
    pub risk: Vec<SpecimenCode>,
    /// SPM-17.1.
    pub collected: TimeSaid,
    /// SPM-18.
    pub received: TimeSaid,
    /// SPM-20: Y, N, or empty.
    pub available: String,
    /// SPM-21: not empty, it was rejected.
    pub rejected: Vec<SpecimenCode>,
    /// SPM-24.
    pub condition: Vec<SpecimenCode>,
    /// SAC-3, each once.
    pub containers: Vec<IssuedId>,
    /// Which of its ids came without an issuer.
    pub bare: Bare,
}

/// Ids whose issuer was left out wherever they were told, and filled in as their teller's ([`SpecimenSaid::issued_by`]): such a
/// one may be another house's number. One that was stored before this was written down counts as told with its issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bare {
    pub placer: bool,
    pub filler: bool,
    /// Those of [`SpecimenSaid::containers`].
    pub containers: Vec<IssuedId>,
}

impl SpecimenSaid {
    /// Every id it goes by: its own two, then its containers'.
    pub fn ids(&self) -> impl Iterator<Item = &IssuedId> {
        [&self.placer, &self.filler].into_iter().chain(&self.containers).filter(|id| !id.is_empty())
    }

    /// What it is called by: the placer's id, else the laboratory's, else that of its first container.
    pub fn id(&self) -> Option<&IssuedId> {
        self.ids().next()
    }

    /// An id without an issuer is the sender's own, as far as anybody knows.
    pub fn issued_by(&mut self, issuer: &str) {
        let fill_in = |id: &mut IssuedId| {
            let is_bare = id.issuer.is_empty() && !id.is_empty();
            if is_bare {
                issuer.clone_into(&mut id.issuer);
            }
            is_bare
        };
        self.bare.placer |= fill_in(&mut self.placer);
        self.bare.filler |= fill_in(&mut self.filler);
        let as_told = self.containers.clone();
        for id in &mut self.containers {
            if fill_in(id) && !as_told.contains(id) {
                self.bare.containers.push(id.clone());
            }
        }
        for id in &mut self.parents {
            fill_in(id);
        }
    }

    /// What is told with its issuer now is not bare any more.
    pub fn learn_issuers(&mut self, told: &SpecimenSaid) {
        self.bare.placer &= told.bare.placer || told.placer != self.placer;
        self.bare.filler &= told.bare.filler || told.filler != self.filler;
        self.bare.containers.retain(|id| told.bare.containers.contains(id) || !told.containers.contains(id));
    }
}

/// CWE: code, text, name of the coding system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpecimenCode {
    pub code: String,
    pub text: String,
    pub system: String,
}

impl SpecimenCode {
    pub fn is_empty(&self) -> bool {
        self.code.is_empty() && self.text.is_empty()
    }

    /// What a person reads: the text, or the code where there is none.
    pub fn display(&self) -> &str {
        if self.text.is_empty() { &self.code } else { &self.text }
    }
}

/// A time as HL7 writes it: `YYYYMMDDHHMMSS`, more or less of it, perhaps with a fraction and an offset (v2.5.1 2.A.22). At
/// most [`TimeSaid::MAX`] characters. Which instant it is depends on where the sender stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeSaid(pub String);

impl TimeSaid {
    /// `YYYYMMDDHHMMSS.SSSS+ZZZZ`.
    pub const MAX: usize = 24;

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The instant, by the offset it names or else in the sender's zone. None where it names no minute of a day: a date
    /// alone is not the time of an event. Where the clock was set back, the earlier of the two; where it was set forward
    /// over it, none.
    pub fn moment(&self, zone: Tz) -> Option<Moment> {
        let text = self.0.trim();
        let (local, offset) = match text.find(['+', '-']) {
            Some(at) => (text.get(..at)?, text.get(at..)?),
            None => (text, ""),
        };
        let digits = local.split('.').next().unwrap_or_default();
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let at = match digits.len() {
            14 => NaiveDateTime::parse_from_str(digits, "%Y%m%d%H%M%S").ok()?,
            12 => minute(digits)?,
            _ => return None,
        };
        if offset.is_empty() {
            return zone.from_local_datetime(&at).earliest().map(|at| Moment::from_utc(at.to_utc()));
        }
        let written = format!("{} {offset}", at.format("%Y-%m-%dT%H:%M:%S"));
        DateTime::parse_from_str(&written, "%Y-%m-%dT%H:%M:%S %z").ok().map(|at| Moment::from_utc(at.to_utc()))
    }
}

fn minute(digits: &str) -> Option<NaiveDateTime> {
    let day = NaiveDate::parse_from_str(digits.get(..8)?, "%Y%m%d").ok()?;
    day.and_hms_opt(digits.get(8..10)?.parse().ok()?, digits.get(10..12)?.parse().ok()?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_the_sender_s_unless_it_names_its_offset() {
        let at = |text: &str| TimeSaid(text.to_owned()).moment(chrono_tz::Europe::Berlin).map(|at| at.to_string());
        let seen =
            ["20260714081500", "202607140815", "20260714081500.25+0200", "20260114081500", "20260714081500+0000"];
        assert_eq!(
            seen.map(at),
            ["06:15", "06:15", "06:15", "07:15", "08:15"].map(|clock| {
                let day = if clock.starts_with("07") { "2026-01-14" } else { "2026-07-14" };
                Some(format!("{day}T{clock}:00.000Z"))
            })
        );
        // The hour that does not exist, and what is no time of an event.
        for text in ["20260329023000", "20260714", "2026071408", "yesterday", "", "20261314081500", "é+0100"] {
            assert_eq!(at(text), None, "{text}");
        }
        assert_eq!(at("20261025023000").as_deref(), Some("2026-10-25T00:30:00.000Z"));
    }

    #[test]
    fn a_specimen_goes_by_its_own_ids_and_its_containers() {
        let mut said = SpecimenSaid {
            filler: IssuedId::new("E26-1", "CHEMNITZ"),
            containers: vec![IssuedId::new("E26-1-A", "")],
            ..SpecimenSaid::default()
        };
        said.issued_by("RABENSTEIN");
        assert_eq!(said.id(), Some(&IssuedId::new("E26-1", "CHEMNITZ")));
        assert_eq!(said.ids().last(), Some(&IssuedId::new("E26-1-A", "RABENSTEIN")));
    }

    #[test]
    fn it_is_remembered_which_id_came_without_an_issuer_until_it_comes_with_one() {
        let bare = || SpecimenSaid {
            placer: IssuedId::new("4711", ""),
            filler: IssuedId::new("", ""),
            containers: vec![IssuedId::new("C1", ""), IssuedId::new("C2", "LAB"), IssuedId::new("C2", "")],
            ..SpecimenSaid::default()
        };
        let issued = |mut said: SpecimenSaid| {
            said.issued_by("LAB");
            said
        };
        let mut known = issued(bare());
        assert_eq!((known.bare.placer, known.bare.filler), (true, false), "what is empty is not bare");
        assert_eq!(known.bare.containers, [IssuedId::new("C1", "LAB")], "one of the two named its issuer");
        known.learn_issuers(&issued(bare()));
        assert!(known.bare.placer && known.bare.containers.len() == 1);
        // Another number says nothing of this one.
        known.learn_issuers(&issued(SpecimenSaid { placer: IssuedId::new("4712", "LAB"), ..SpecimenSaid::default() }));
        assert!(known.bare.placer && known.bare.containers.len() == 1);
        let named = SpecimenSaid {
            placer: IssuedId::new("4711", "LAB"),
            containers: vec![IssuedId::new("C1", "LAB")],
            ..SpecimenSaid::default()
        };
        known.learn_issuers(&issued(named));
        assert_eq!(known.bare, Bare::default());
        let stored_before: SpecimenSaid =
            serde_json::from_str("{\"placer\":{\"value\":\"1\",\"issuer\":\"LAB\"}}").expect("read");
        assert_eq!(stored_before.bare, Bare::default());
    }
}
