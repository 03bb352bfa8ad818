//! What a sender means by Specific Character Set (0008,0005): its partner's `charset` and `charset_instead_of`.
//!
//! In: what a data set names. Out: the set it is read by. Scanners that name none, one that nobody knows, or ISO_IR 100
//! while they write Windows-1250, are read as their partner's configuration says; nothing is refused for it.

use super::is_known;
use crate::config::Partner;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderCharset {
    /// Where a data set names none, or none that is known. Empty: the default repertoire.
    fallback: String,
    /// Names that are wrong.
    instead_of: Vec<String>,
}

impl SenderCharset {
    pub fn of(partner: Option<&Partner>) -> Self {
        let Some(dicom) = partner.and_then(|partner| partner.dicom.as_ref()) else { return Self::default() };
        Self { fallback: dicom.charset.clone().unwrap_or_default(), instead_of: dicom.charset_instead_of.clone() }
    }

    /// The set that is in force where a data set names `named`.
    pub fn meant<'a>(&'a self, named: &'a str) -> &'a str {
        let wrong = || !self.fallback.is_empty() && !is_known(named);
        if named.is_empty() || self.instead_of.iter().any(|name| name == named) || wrong() {
            &self.fallback
        } else {
            named
        }
    }
}

impl From<&str> for SenderCharset {
    fn from(fallback: &str) -> Self {
        Self { fallback: fallback.to_owned(), instead_of: Vec::new() }
    }
}

impl From<Option<&str>> for SenderCharset {
    fn from(fallback: Option<&str>) -> Self {
        fallback.unwrap_or_default().into()
    }
}

impl From<&SenderCharset> for SenderCharset {
    fn from(sender: &SenderCharset) -> Self {
        sender.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dicom::charset::decode;

    #[test]
    fn a_wrong_an_unknown_and_a_missing_name_mean_what_the_partner_says() {
        let sender = SenderCharset { fallback: "Windows-1250".into(), instead_of: vec!["ISO_IR 100".into()] };
        for named in ["", "ISO_IR 100", "X-OEM 852"] {
            let text = decode(b"\x8Cwi\xB9tek^\xA3ucja", sender.meant(named));
            assert_eq!(text, ("Świątek^Łucja".to_owned(), false), "{named}");
        }
        assert_eq!(sender.meant("ISO_IR 101"), "ISO_IR 101");
        let unset = SenderCharset::default();
        assert!(decode(b"\xA3ucja", unset.meant("X-OEM 852")).1, "nobody says what it means");
    }
}
