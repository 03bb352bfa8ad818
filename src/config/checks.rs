//! What only shows when all files are read: names that nobody has, senders that two partners claim, readers that
//! nothing can be delivered to.

use super::partner_file::PartnerFile;
use super::problems::{Problems, Spot};
use super::route_file::RouteFile;
use super::values::nearest;
use super::{Calendar, DicomSender, Hl7Sender, Reader};
use crate::model::PartnerId;
use std::collections::{BTreeMap, HashMap};

pub(super) fn check(
    partners: &[PartnerFile],
    calendars: Option<&BTreeMap<String, Calendar>>,
    routes: &[RouteFile],
    broken_partners: &[PartnerId],
    problems: &mut Problems,
) {
    let known = Known { partners, broken: broken_partners };
    for route in routes {
        known.check_names(route, problems);
        if let Some(calendars) = calendars {
            check_calendar(route, calendars, problems);
        }
    }
    check_route_names(routes, problems);
    check_dicom_senders(partners, problems);
    check_hl7_senders(partners, problems);
}

struct Known<'f> {
    partners: &'f [PartnerFile],
    /// Partners whose file could not be read: named rightly, reported already.
    broken: &'f [PartnerId],
}

impl Known<'_> {
    fn check_names(&self, route: &RouteFile, problems: &mut Problems) {
        for named in &route.named {
            self.check_known(&named.value, &named.spot, problems);
        }
        let only_origin = route.route.when.from.any.as_slice();
        for reader in &route.to {
            let Reader::Partner(id) = &reader.value else {
                continue;
            };
            // A hospital that is named as the reader of its own cases reads them where they are, as `origin` does.
            let own = only_origin.len() == 1 && only_origin.first() == Some(id);
            self.check_known(id, &reader.spot, problems);
            if !own {
                self.check_reachable(id, &reader.spot, problems);
            }
        }
        for copy in &route.also_to {
            self.check_reachable(&copy.value, &copy.spot, problems);
        }
        let mut seen: Vec<&Reader> = Vec::new();
        for reader in &route.to {
            if seen.contains(&&reader.value) {
                problems.at(&reader.spot, "names the same reader twice, expected each once, in order");
            }
            seen.push(&reader.value);
        }
    }

    fn check_known(&self, id: &PartnerId, spot: &Spot, problems: &mut Problems) {
        if self.find(id).is_some() || self.broken.contains(id) {
            return;
        }
        let ids = self.partners.iter().map(|file| file.partner.id.as_str());
        let hint = nearest(id.as_str(), ids.chain(["origin"]));
        let advice = if hint.is_empty() { format!("; expected a file partners/{id}.toml") } else { hint };
        problems.at(spot, format!("\"{id}\" is not a partner{advice}"));
    }

    fn check_reachable(&self, id: &PartnerId, spot: &Spot, problems: &mut Problems) {
        let Some(file) = self.find(id) else { return };
        if !file.deliver_given {
            let expected = format!("deliver = {{ ae_title, host, port }} under [dicom] in partners/{id}.toml");
            problems.at(spot, format!("\"{id}\" cannot be sent images; expected {expected}"));
        }
    }

    fn find(&self, id: &PartnerId) -> Option<&PartnerFile> {
        self.partners.iter().find(|file| file.partner.id == *id)
    }
}

fn check_calendar(route: &RouteFile, calendars: &BTreeMap<String, Calendar>, problems: &mut Problems) {
    let Some(during) = &route.during else { return };
    if !calendars.contains_key(&during.value) {
        let hint = nearest(&during.value, calendars.keys().map(String::as_str));
        let advice =
            if hint.is_empty() { format!("; expected a table [{}] in calendars.toml", during.value) } else { hint };
        problems.at(&during.spot, format!("\"{}\" is not a calendar{advice}", during.value));
    }
}

/// A decision is stored with its rule's name, so a name must mean one rule.
fn check_route_names(routes: &[RouteFile], problems: &mut Problems) {
    let mut first: HashMap<&str, &Spot> = HashMap::new();
    for route in routes.iter().filter(|route| !route.route.name.is_empty()) {
        if let Some(other) = first.insert(&route.route.name, &route.spot) {
            let line = other.line;
            problems.at(&route.spot, format!("has the name of the route in line {line}, expected a name of its own"));
        }
    }
}

/// Two senders overlap when one association could be either: then nobody knows whose patient it is.
fn dicom_overlap(one: &DicomSender, two: &DicomSender) -> bool {
    one.ae_title == two.ae_title && may_equal(&one.address, &two.address) && may_equal(&one.called_ae, &two.called_ae)
}

fn hl7_overlap(one: &Hl7Sender, two: &Hl7Sender) -> bool {
    one.facility == two.facility
        && may_equal(&one.application, &two.application)
        && may_equal(&one.address, &two.address)
}

fn may_equal<T: PartialEq>(one: &Option<T>, two: &Option<T>) -> bool {
    one.is_none() || two.is_none() || one == two
}

fn check_dicom_senders(partners: &[PartnerFile], problems: &mut Problems) {
    let mut by_title: HashMap<&str, Vec<(&DicomSender, &PartnerId)>> = HashMap::new();
    for file in partners {
        let senders = file.partner.dicom.iter().flat_map(|dicom| &dicom.senders);
        for (sender, spot) in senders.zip(&file.dicom_senders) {
            let others = by_title.entry(&sender.ae_title).or_default();
            if let Some((_, other)) = others.iter().find(|(other, _)| dicom_overlap(other, sender)) {
                let text = format!("\"{}\" may be \"{other}\" as well", sender.ae_title);
                problems.at(spot, format!("{text}; expected different address (or called_ae) in both files"));
            }
            others.push((sender, &file.partner.id));
        }
    }
}

fn check_hl7_senders(partners: &[PartnerFile], problems: &mut Problems) {
    let mut by_facility: HashMap<&str, Vec<(&Hl7Sender, &PartnerId)>> = HashMap::new();
    for file in partners {
        let senders = file.partner.hl7.iter().flat_map(|hl7| &hl7.senders);
        for (sender, spot) in senders.zip(&file.hl7_senders) {
            let others = by_facility.entry(&sender.facility).or_default();
            if let Some((_, other)) = others.iter().find(|(other, _)| hl7_overlap(other, sender)) {
                let text = format!("\"{}\" may be \"{other}\" as well", sender.facility);
                problems.at(spot, format!("{text}; expected different application or address in both files"));
            }
            others.push((sender, &file.partner.id));
        }
    }
}
