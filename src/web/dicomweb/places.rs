//! Which part belongs where: locations that metadata names (`BulkDataURI`), found by a part's Content-Location.
//!
//! A link may be absolute in one place and relative in the other (PS3.18 8.6.1.3): as it is, or else by its end, if there
//! is only one it can be. What is looked at for one part is bounded, however many locations there are.

use std::{collections::BTreeMap, ops::Bound};

/// Segments from a link's end that are compared.
const MAX_SEGMENTS: usize = 32;
/// A longer link is only found as it is.
const MAX_LENGTH: usize = 1_024;

/// Locations backwards, so that those with the same end stand together.
pub struct Places<T>(BTreeMap<Vec<u8>, T>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The location as metadata has it.
    One(String),
    None,
    /// It may be of any of several.
    Several,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Places<T> {
    pub fn insert(&mut self, location: &str, owner: T) {
        self.0.insert(backwards(location), owner);
    }

    pub fn get_mut(&mut self, location: &str) -> Option<&mut T> {
        self.0.get_mut(&backwards(location))
    }

    pub fn owner(&self, location: &str) -> Option<&T> {
        self.0.get(&backwards(location))
    }

    pub fn find(&self, location: &str) -> Found {
        if location.is_empty() {
            return Found::None;
        }
        let key = backwards(location);
        if self.0.contains_key(&key) {
            return Found::One(location.to_owned());
        }
        if location.len() > MAX_LENGTH {
            return Found::None;
        }
        let mut longer = self.longer(&key);
        let shorter = self.shorter(&key);
        let mut found = longer.by_ref().take(2).chain(shorter).map(forwards);
        match (found.next(), found.next()) {
            (Some(one), None) => Found::One(one),
            (None, _) => Found::None,
            (Some(_), Some(_)) => Found::Several,
        }
    }

    /// Locations that end with a slash and this.
    fn longer<'a>(&'a self, key: &[u8]) -> impl Iterator<Item = &'a [u8]> + use<'a, T> {
        let mut from = key.to_vec();
        from.push(b'/');
        let range = self.0.range::<[u8], _>((Bound::Included(&from[..]), Bound::Unbounded));
        range.map(|(known, _)| known.as_slice()).take_while(move |known| known.starts_with(&from))
    }

    /// Locations that this ends with, behind a slash.
    fn shorter(&self, key: &[u8]) -> Vec<&[u8]> {
        let slashes = key.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let known = |at: usize| self.0.get_key_value(&key[..at]).map(|(known, _)| known.as_slice());
        slashes.take(MAX_SEGMENTS).filter_map(known).collect()
    }
}

fn backwards(location: &str) -> Vec<u8> {
    location.bytes().rev().collect()
}

fn forwards(key: &[u8]) -> String {
    let bytes: Vec<u8> = key.iter().rev().copied().collect();
    // It was text when it came in.
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_as_it_is_or_by_its_end_where_that_means_only_one() {
        let mut places = Places::default();
        for (number, location) in ["1/pixels", "2/pixels", "https://here/3/pixels", "blob", "a/blob"].iter().enumerate()
        {
            places.insert(location, number);
        }
        let one = |text: &str| Found::One(text.to_owned());
        assert_eq!(places.find("1/pixels"), one("1/pixels"));
        assert_eq!(places.find("https://there/2/pixels"), one("2/pixels"));
        assert_eq!(places.find("3/pixels"), one("https://here/3/pixels"));
        assert_eq!(places.find("blob"), one("blob"), "as it is, though another ends so");
        assert_eq!(places.find("pixels"), Found::Several);
        assert_eq!(places.find("https://there/a/blob"), Found::Several);
        for none in ["", "/", "xels", "4/pixels", &"/pixels".repeat(1_000)] {
            assert_eq!(places.find(none), Found::None, "{none}");
        }
    }
}
