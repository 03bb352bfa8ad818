//! People in a report: PID-5 (XPN) to and from the order of DICOM, OBR-32 (NDL, or XCN as many write it).
//!
//! In: components of a field; out: parts of a name, decoded. Does not guess which part of an unstructured name is
//! which.

use super::read::Reader;
use crate::hl7::message::Value;

/// The principal result interpreter, OBR-32. As CNN (v2.5.1 2.A.11): id, family, given, middle, suffix, prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interpreter {
    pub id: String,
    pub family: String,
    pub given: String,
    pub middle: String,
    pub suffix: String,
    pub prefix: String,
}

impl Interpreter {
    /// `Dr. med. Anna Weiß`; the id where there is no name.
    pub fn display(&self) -> String {
        let parts = [&self.prefix, &self.given, &self.middle, &self.family, &self.suffix];
        let name: Vec<&str> = parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
        if name.is_empty() { self.id.clone() } else { name.join(" ") }
    }

    /// Of a DICOM PN, its alphabetic group: family, given, middle, prefix, suffix (PS3.5 6.2.1).
    pub fn of_person_name(name: &str) -> Self {
        let [family, given, middle, suffix, prefix, ..] = xpn(name).map(str::to_owned);
        Self { id: String::new(), family, given, middle, suffix, prefix }
    }

    /// As a DICOM PN; the id where there is no name. Letters that delimit a PN become spaces.
    pub fn person_name(&self) -> String {
        let parts = [&self.family, &self.given, &self.middle, &self.prefix, &self.suffix];
        let delimits = |c: char| matches!(c, '^' | '=' | '\\') || c.is_control();
        let name = parts.map(|part| part.replace(delimits, " ")).join("^");
        let name = name.trim_end_matches('^');
        if name.is_empty() { self.id.clone() } else { name.to_owned() }
    }

    /// OBR-32 is NDL, a CNN in subcomponents of component 1; many senders write it like an XCN, in components.
    pub(super) fn read(field: Value<'_>, reader: &Reader<'_>) -> Self {
        let first = field.component(1);
        let in_components = !first.has_subcomponents() && [2, 3].into_iter().any(|n| is_name(field.component(n)));
        let part = |n: usize| {
            reader.text(if in_components { field.component(n).subcomponent(1) } else { first.subcomponent(n) })
        };
        Self { id: part(1), family: part(2), given: part(3), middle: part(4), suffix: part(5), prefix: part(6) }
    }

    /// The subcomponents of NDL-1.
    pub(super) fn parts(&self) -> [&str; 6] {
        [&self.id, &self.family, &self.given, &self.middle, &self.suffix, &self.prefix]
    }
}

/// Components 2 and 3 of NDL are times.
fn is_name(component: Value<'_>) -> bool {
    component.is_valued() && !component.raw().iter().any(u8::is_ascii_digit)
}

/// PID-5: family^given^middle^suffix^prefix (XPN), the first repetition, in the order of DICOM's PN. Letters that
/// delimit a PN become spaces.
pub(in crate::hl7) fn patient_name(field: Value<'_>, reader: &Reader<'_>) -> String {
    let part = |n: usize| {
        // The family name is in the first subcomponent of XPN-1 (FN-1).
        let text = reader.text(field.component(n).subcomponent(1));
        text.replace(['^', '=', '\n'], " ")
    };
    let [family, given, middle, suffix, prefix] = [1, 2, 3, 4, 5].map(part);
    let name = [family, given, middle, prefix, suffix].join("^");
    name.trim_end_matches('^').to_owned()
}

/// The components of PID-5 for a name in the order of DICOM; only its alphabetic group (PS3.5 6.2.1.2).
pub(super) fn xpn(name: &str) -> [&str; 7] {
    let mut parts = name.split('=').next().unwrap_or_default().split('^');
    let [family, given, middle, prefix, suffix] = [(); 5].map(|()| parts.next().unwrap_or_default().trim());
    // XPN-7: L, legal name (table 0200).
    [family, given, middle, suffix, prefix, "", if name.is_empty() { "" } else { "L" }]
}
