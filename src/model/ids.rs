//! Identifiers. Each is its own type, so that a case id is never passed where a delivery id belongs, and every
//! identifier a hospital gives carries its issuer: two hospitals do reuse the same number.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr, sync::Arc};
use uuid::Uuid;

/// The id of an organisation, which is the name of its file in `partners/`: lower-case letters, digits, `-`, 1 to 32 long.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartnerId(Arc<str>);

impl PartnerId {
    /// # Errors
    /// When `name` is not 1 to 32 lower-case letters, digits or `-`: it becomes part of queue names and metric labels.
    pub fn new(name: &str) -> Result<Self, InvalidPartnerId> {
        let fits = (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits { Ok(Self(name.into())) } else { Err(InvalidPartnerId(name.chars().take(40).collect())) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{0}\" is not a partner id: expected 1 to 32 lower-case letters, digits or '-'")]
pub struct InvalidPartnerId(String);

impl TryFrom<String> for PartnerId {
    type Error = InvalidPartnerId;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<PartnerId> for String {
    fn from(id: PartnerId) -> Self {
        id.0.to_string()
    }
}

impl fmt::Display for PartnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PartnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An identifier together with who gave it. `issuer` is empty only where the sender named none and has none configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IssuedId {
    pub value: String,
    pub issuer: String,
}

impl IssuedId {
    pub fn new(value: impl Into<String>, issuer: impl Into<String>) -> Self {
        Self { value: value.into(), issuer: issuer.into() }
    }

    pub fn is_empty(&self) -> bool {
        self.value.is_empty()
    }
}

/// A DICOM UID: 1 to 64 digits and dots (PS3.5 9.1). Leading zeros in a component are forbidden there but common in
/// the field, so they pass; nothing else does. It is never used as a file name all the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Uid(Arc<str>);

impl Uid {
    /// # Errors
    /// When `text`, without trailing NUL or space padding, is not 1 to 64 digits and dots, or starts or ends with a dot.
    pub fn new(text: &str) -> Result<Self, InvalidUid> {
        let text = text.trim_end_matches(['\0', ' ']);
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            && !text.starts_with('.')
            && !text.ends_with('.')
            && !text.contains("..");
        if fits { Ok(Self(text.into())) } else { Err(InvalidUid) }
    }

    /// A fresh UID under the UUID root (PS3.5 B.2).
    pub fn generate() -> Self {
        Self(format!("2.25.{}", Uuid::new_v4().as_u128()).into())
    }

    /// The same UID for the same parts, so that what is made twice is the same object (UUID root, PS3.5 B.2).
    pub fn derived(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let mut number = [0; 16];
        number.copy_from_slice(&hash.finalize()[..16]);
        Self(format!("2.25.{}", Uuid::new_v8(number).as_u128()).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not repeated: it comes from a peer and may be anything.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a UID: expected 1 to 64 digits and dots (PS3.5 9.1)")]
pub struct InvalidUid;

impl TryFrom<String> for Uid {
    type Error = InvalidUid;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<Uid> for String {
    fn from(uid: Uid) -> Self {
        uid.0.to_string()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A fresh id; ids sort by the time they were made (UUID version 7).
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id!(/// The unit that is routed and read.
    CaseId);
uuid_id!(/// One thing owed to one partner.
    DeliveryId);
uuid_id!(/// One request of a hospital.
    OrderId);
uuid_id!(/// One version of one report.
    ReportId);
uuid_id!(/// One specimen of one origin.
    SpecimenId);
uuid_id!(/// Specimens that travel together.
    ShipmentId);
uuid_id!(/// One append-only file of received instances.
    JournalId);

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uid_takes_padding_and_refuses_paths() {
        assert_eq!(Uid::new("1.2.840.10008.1.1\0").unwrap().as_str(), "1.2.840.10008.1.1");
        for bad in ["", "../../etc/passwd", "1..2", ".1", "1.", "1.2a", &"1".repeat(65)] {
            assert_eq!(Uid::new(bad), Err(InvalidUid), "{bad:?}");
        }
    }

    #[test]
    fn partner_id_is_fit_for_a_queue_name() {
        assert!(PartnerId::new("leipzig-ukl").is_ok());
        for bad in ["", "Leipzig", "a.b", "a/b", &"a".repeat(33)] {
            assert!(PartnerId::new(bad).is_err(), "{bad:?}");
        }
    }
}
