//! Which partners send cases, and whether they would hear the answer.
//!
//! In: configuration and rules. Out: the sources, and notes for a person.

use super::super::decide::Rules;
use super::text;
use crate::config::{Config, Partner, Reader};
use crate::model::PartnerId;
use std::collections::BTreeSet;

/// The partners whose cases need a reader: those that send. A partner that reads and that no rule names as a source has
/// senders for its reports; a note says so.
pub(super) fn sources<'c>(config: &'c Config, rules: &Rules) -> (Vec<&'c Partner>, Vec<String>) {
    let named: BTreeSet<&PartnerId> = rules.routes.iter().flat_map(|rule| &rule.route.when.from.any).collect();
    let mut readers: BTreeSet<&PartnerId> = BTreeSet::new();
    for rule in &rules.routes {
        readers.extend(rule.route.also_to.iter());
        readers.extend(rule.route.to.iter().filter_map(|reader| match reader {
            Reader::Origin => None,
            Reader::Partner(id) => Some(id),
        }));
    }
    let sends = |partner: &&Partner| {
        partner.dicom.as_ref().is_some_and(|dicom| !dicom.senders.is_empty())
            || partner.hl7.as_ref().is_some_and(|hl7| !hl7.senders.is_empty())
    };
    let (mut sources, mut only) = (Vec::new(), Vec::new());
    for partner in config.partners.values().filter(sends) {
        if named.contains(&partner.id) || !readers.contains(&partner.id) {
            sources.push(partner);
        } else {
            only.push(partner.id.clone());
        }
    }
    let notes = match only.len() {
        0 => Vec::new(),
        _ => vec![format!(
            "{}: taken as readers only, because no rule names them in \"from\"; cases of their own follow the general \
             rules",
            text::names(&only)
        )],
    };
    (sources, notes)
}

/// Partners whose cases are read elsewhere and who have no form in which they want the report.
pub(super) fn unanswered(config: &Config, rules: &Rules, sources: &[&Partner]) -> Option<String> {
    let elsewhere = |source: &&&Partner| {
        rules.routes.iter().any(|rule| {
            let leaves = |reader: &Reader| matches!(reader, Reader::Partner(id) if *id != source.id);
            rule.route.when.from.holds(&source.id) && rule.route.to.iter().any(leaves)
        })
    };
    let silent = |source: &&&Partner| config.partners.get(&source.id).is_some_and(|p| p.report_forms.is_empty());
    let ids: Vec<PartnerId> = sources.iter().filter(silent).filter(elsewhere).map(|s| s.id.clone()).collect();
    let advice = "have cases read elsewhere but want no report: no \"forms\" under [reports] in the partner's file";
    if ids.is_empty() { None } else { Some(format!("{}: {advice}", text::names(&ids))) }
}
