//! Specimens in a report: SPM and SAC in, identifiers with who gave them and the type out.
//!
//! What else is known of a specimen (when it was taken, why it was rejected) is for the order, not for the report.

use super::read::Reader;
use super::{Coded, observation};
use crate::hl7::message::{Segment, Value};
use crate::model::IssuedId;

/// One SPM with the containers (SAC) behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Specimen {
    /// SPM-2.1 and SPM-2.2 (EIP, v2.5.1 2.A.29): given by the hospital, and by the laboratory.
    pub placer: IssuedId,
    pub filler: IssuedId,
    /// SPM-4.
    pub kind: Coded,
    /// SAC-3. Not the specimen: one container may hold several, one specimen may fill several.
    pub containers: Vec<IssuedId>,
}

impl Specimen {
    pub(super) fn read(spm: &Segment<'_>, reader: &Reader<'_>) -> Self {
        let field = spm.field(2);
        let [placer, filler] = [1, 2].map(|n| entity(field.component(n), reader));
        Self { placer, filler, kind: observation::coded(spm.field(4), reader), containers: Vec::new() }
    }

    /// Every number it is known by.
    pub fn ids(&self) -> impl Iterator<Item = &IssuedId> {
        [&self.placer, &self.filler].into_iter().chain(&self.containers).filter(|id| !id.is_empty())
    }

    /// `A1 (Biopsy)`, for a heading.
    pub fn display(&self) -> String {
        let number = self.ids().next().map(|id| id.value.as_str()).unwrap_or_default();
        let kind = if self.kind.text.is_empty() { &self.kind.code } else { &self.kind.text };
        match (number, kind.as_str()) {
            (number, "") => number.to_owned(),
            ("", kind) => kind.to_owned(),
            (number, kind) => format!("{number} ({kind})"),
        }
    }
}

/// An EI inside a component: its parts are subcomponents.
fn entity(component: Value<'_>, reader: &Reader<'_>) -> IssuedId {
    let issuer = [2, 3].into_iter().map(|n| component.subcomponent(n)).find(Value::is_valued);
    IssuedId::new(reader.text(component.subcomponent(1)), issuer.map(|n| reader.text(n)).unwrap_or_default())
}
