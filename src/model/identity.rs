//! What an origin's identifier is called in a reader's own domain. Pure.
//!
//! In: whose identifier it is and how the reader wants it ([`Mapping`]). Out: the forms it may take, the wanted one first.
//! Which of them it takes is written down by the store, once and for all: `Tx::mapped` there gives it, `Tx::unmapped` finds
//! the way back. Nothing here knows which numbers have been given already.

use super::{IssuedId, Moment, PartnerId};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// What an identifier identifies. The order is the one in which several are made in one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentifierKind {
    /// PID-3, (0010,0020).
    Patient,
    /// OBR-18, (0008,0050).
    Accession,
    /// ORC-2, (0040,2016).
    Placer,
    /// ORC-3, (0040,2017).
    Filler,
}

impl IdentifierKind {
    pub const ALL: [Self; 4] = [Self::Patient, Self::Accession, Self::Placer, Self::Filler];
    /// All that identify a request: readers' systems put one number into the place of another.
    pub const NUMBERS: [Self; 3] = [Self::Accession, Self::Placer, Self::Filler];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::Accession => "accession",
            Self::Placer => "placer",
            Self::Filler => "filler",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Accession Number is SH, the others are LO (PS3.5 Table 6.2-1).
    pub fn max_letters(self) -> usize {
        match self {
            Self::Accession => 16,
            _ => 64,
        }
    }
}

impl fmt::Display for IdentifierKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In what form a reader wants identifiers of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identifiers {
    /// The origin's own, with the origin's issuer.
    #[default]
    AsIs,
    /// The origin's own behind a prefix, so that people recognise them.
    Prefix,
    /// Numbers of their own.
    Assigned,
}

/// From one origin to one reader that wants identifiers of its own domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub reader: PartnerId,
    /// Of the reader's domain: what a mapped identifier is issued by.
    pub reader_issuer: String,
    pub identifiers: Identifiers,
    pub origin: PartnerId,
    /// Of identifiers that name none.
    pub origin_issuer: String,
    pub prefix: String,
}

/// An identifier of the reader's domain that stands for one of an origin's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    pub id: IssuedId,
    /// When it was given.
    pub since: Moment,
}

/// What an identifier of a reader's domain stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenOut {
    pub origin: PartnerId,
    pub kind: IdentifierKind,
    pub id: IssuedId,
}

impl Mapping {
    /// The identifier with its issuer; the origin's where it names none.
    pub fn issued(&self, id: &IssuedId) -> IssuedId {
        let issuer = if id.issuer.is_empty() { &self.origin_issuer } else { &id.issuer };
        IssuedId::new(id.value.as_str(), issuer.as_str())
    }

    /// Whether it has a name of its own toward the reader, in orders and in images alike. What the reader has given itself it
    /// knows; two that cannot be read look alike, and what holds such a one is not sent there.
    pub fn names(&self, id: &IssuedId) -> bool {
        self.issued(id).issuer != self.reader_issuer && !id.value.contains(char::REPLACEMENT_CHARACTER)
    }

    /// What the identifier is called toward the reader; `nth` counts up from 0 while the form is another's already.
    pub fn form(&self, kind: IdentifierKind, id: &IssuedId, nth: u32) -> IssuedId {
        let id = self.issued(id);
        let prefixed = (self.identifiers == Identifiers::Prefix && nth == 0).then(|| self.prefixed(&id));
        let value = prefixed.filter(|value| is_fit(value, kind)).unwrap_or_else(|| self.assigned(kind, &id, nth));
        IssuedId::new(value, self.reader_issuer.as_str())
    }

    /// An identifier of another issuer than the origin itself says whose it is, so that equal values stay apart.
    fn prefixed(&self, id: &IssuedId) -> String {
        if id.issuer == self.origin_issuer {
            format!("{}{}", self.prefix, id.value)
        } else {
            format!("{}{}-{}", self.prefix, id.issuer, id.value)
        }
    }

    /// `N` and 15 digits, which fits every kind. Drawn from what it stands for, not counted: should a power cut take the
    /// row back after the number has left, the same number is given again. The letter keeps it apart from numbers that
    /// the reader's own system counts.
    fn assigned(&self, kind: IdentifierKind, id: &IssuedId, nth: u32) -> String {
        let mut hash = Sha256::new();
        for part in [self.reader.as_str(), kind.as_str(), self.origin.as_str(), &id.issuer, &id.value] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(nth.to_be_bytes());
        let mut number = [0; 8];
        number.copy_from_slice(&hash.finalize()[..8]);
        format!("N{:015}", u64::from_be_bytes(number) % 1_000_000_000_000_000)
    }
}

/// Whether a value can stand in a data set of any character set and in HL7 without escapes: printable ASCII without
/// backslash, tilde (other letters in ISO_IR 13) and HL7's delimiters, and no longer than its VR takes.
fn is_fit(value: &str, kind: IdentifierKind) -> bool {
    value.len() <= kind.max_letters()
        && value.bytes().all(|b| (b == b' ' || b.is_ascii_graphic()) && !b"\\~|^&".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(identifiers: Identifiers, origin: &str, issuer: &str) -> Mapping {
        Mapping {
            reader: PartnerId::new("chemnitz").unwrap(),
            reader_issuer: "KCHEMNITZ".into(),
            identifiers,
            origin: PartnerId::new(origin).unwrap(),
            origin_issuer: issuer.into(),
            prefix: format!("{issuer}-"),
        }
    }

    #[test]
    fn a_prefix_names_the_origin_and_where_it_differs_the_issuer() {
        let rab = mapping(Identifiers::Prefix, "rabenstein", "RAB");
        let form = |value, issuer| rab.form(IdentifierKind::Patient, &IssuedId::new(value, issuer), 0);
        assert_eq!(form("77", "RAB"), IssuedId::new("RAB-77", "KCHEMNITZ"));
        assert_eq!(form("77", ""), IssuedId::new("RAB-77", "KCHEMNITZ"));
        assert_eq!(form("77", "MPI"), IssuedId::new("RAB-MPI-77", "KCHEMNITZ"));
    }

    #[test]
    fn what_the_reader_has_given_itself_keeps_its_name() {
        let rab = mapping(Identifiers::Assigned, "rabenstein", "RAB");
        for (value, issuer, named) in
            [("F1", "RAB", true), ("F1", "", true), ("F1", "KCHEMNITZ", false), ("F\u{FFFD}", "RAB", false)]
        {
            assert_eq!(rab.names(&IssuedId::new(value, issuer)), named, "{value}^{issuer}");
        }
    }

    #[test]
    fn what_does_not_fit_behind_a_prefix_is_assigned() {
        let rab = mapping(Identifiers::Prefix, "rabenstein", "RAB");
        let form = |kind, value: &str| rab.form(kind, &IssuedId::new(value, "RAB"), 0).value;
        assert_eq!(form(IdentifierKind::Accession, "123456789012"), "RAB-123456789012");
        let too_long = form(IdentifierKind::Accession, "1234567890123");
        assert!(too_long.len() == 16 && too_long.starts_with('N'), "{too_long}");
        for unfit in ["Ä7", "7\\8", "7~8", "7^8", "7\u{FFFD}"] {
            assert!(form(IdentifierKind::Patient, unfit).starts_with('N'), "{unfit}");
        }
        assert_eq!(form(IdentifierKind::Placer, &"7".repeat(60)).len(), 64);
        assert_eq!(form(IdentifierKind::Placer, &"7".repeat(61)).len(), 16);
    }

    #[test]
    fn equal_identifiers_of_two_origins_are_two_and_the_same_again_later() {
        for identifiers in [Identifiers::Prefix, Identifiers::Assigned] {
            let rab = mapping(identifiers, "rabenstein", "RAB");
            let lic = mapping(identifiers, "lichtenstein", "LIC");
            for kind in IdentifierKind::ALL {
                let id = IssuedId::new("4711", "");
                assert_ne!(rab.form(kind, &id, 0), lic.form(kind, &id, 0));
                assert_eq!(rab.form(kind, &id, 0), rab.form(kind, &id, 0));
                assert_ne!(rab.form(kind, &id, 0), rab.form(kind, &id, 1));
                assert_ne!(rab.form(kind, &id, 1), rab.form(kind, &id, 2));
            }
        }
    }
}
