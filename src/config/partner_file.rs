//! Reads `partners/<id>.toml`: one organisation, how it sends, where things are delivered, how it wants its results.

use super::letters;
use super::problems::Spot;
use super::table::Table;
use super::values as v;
use super::{
    Commit, DicomDestination, DicomSender, DicomTarget, Hl7Sender, Hl7Target, Identity, Partner, PartnerDicom,
    PartnerHl7, SpecimenRules, WithoutOrder,
};
use crate::model::{Charset, Identifiers, PartnerId, ReportForm};
use std::time::Duration;

const CRITICAL_WITHIN: Duration = Duration::from_secs(30 * 60);

/// A partner with the places that checks across files speak of.
pub(super) struct PartnerFile {
    pub partner: Partner,
    /// One for each of `partner.dicom.senders`.
    pub dicom_senders: Vec<Spot>,
    /// It has a `[dicom] deliver`, right or wrong: a wrong one has been told already.
    pub deliver_given: bool,
    /// One for each of `partner.hl7.senders`.
    pub hl7_senders: Vec<Spot>,
}

pub(super) fn read(top: &mut Table<'_>, id: PartnerId) -> PartnerFile {
    top.needs("name", "the organisation's name, as people know it");
    top.needs("country", "an ISO 3166-1 code such as \"DE\"");
    top.needs("time_zone", "an IANA time zone such as \"Europe/Berlin\"");
    top.needs("issuer", "who issues its patient IDs and order numbers, such as \"RABENSTEIN\"");
    let text = |found: Option<super::table::Found<String>>| found.map_or_else(String::new, |found| found.value);
    let name = text(top.parsed("name", v::words));
    let country = text(top.parsed("country", v::country));
    let time_zone = top.parsed("time_zone", v::zone).map_or(chrono_tz::UTC, |found| found.value);
    let language = top.parsed("language", v::language).map_or_else(|| "en".to_owned(), |found| found.value);
    let issuer = text(top.parsed("issuer", v::hl7_name));
    let (dicom, dicom_senders, deliver_given) = read_dicom(top);
    let (hl7, hl7_senders) = read_hl7(top);
    let orders = read_orders(top, hl7.as_ref());
    let reports = read_reports(top, dicom.as_ref(), hl7.as_ref());
    let identity = read_identity(top, &issuer);
    let specimens = read_specimens(top, hl7.as_ref());
    let partner = Partner {
        id,
        name,
        country,
        time_zone,
        language,
        issuer,
        dicom,
        hl7,
        orders_expected: orders.expected,
        orders_wait: orders.wait,
        orders_otherwise: orders.otherwise,
        orders_delivered: orders.delivered,
        orders_frozen: orders.frozen,
        report_forms: reports.forms,
        critical_within: reports.critical_within,
        critical_flags: reports.critical_flags,
        identity,
        specimens,
    };
    PartnerFile { partner, dicom_senders, deliver_given, hl7_senders }
}

fn read_dicom(top: &mut Table<'_>) -> (Option<PartnerDicom>, Vec<Spot>, bool) {
    let Some(mut table) = top.table("dicom") else {
        return (None, Vec::new(), false);
    };
    let (mut senders, mut spots) = (Vec::new(), Vec::new());
    for mut entry in table.tables("senders") {
        entry.needs("ae_title", "the calling AE title");
        let ae_title = entry.parsed("ae_title", v::ae_title);
        let address = entry.parsed("address", v::address).map(|found| found.value);
        let called_ae = entry.parsed("called_ae", v::ae_title).map(|found| found.value);
        if let Some(ae_title) = ae_title {
            senders.push(DicomSender { ae_title: ae_title.value, address, called_ae });
            spots.push(ae_title.spot);
        }
    }
    let charset = table.parsed("charset", v::dicom_charset).map(|found| found.value);
    let wrongly = table.list("charset_instead_of", v::dicom_charset);
    if let (None, [first, ..]) = (&charset, wrongly.as_slice()) {
        table.problem(&first.spot, "found sets to be read as another one; expected charset to say which that is");
    }
    let charset_instead_of = wrongly.into_iter().map(|found| found.value).collect();
    let transliterate = letters::read(&mut table);
    let deliver = table.table("deliver").and_then(|mut target| {
        target.needs("ae_title", "the called AE title");
        target.needs("host", "a host name or an IP address");
        target.needs("port", "a port number, often 104 or 11112");
        let ae_title = target.parsed("ae_title", v::ae_title);
        let host = target.parsed("host", v::host);
        let port = port(&mut target);
        let associations = target.number("associations", 1..=16).map_or(2, |count| usize::try_from(count).unwrap_or(2));
        let commitment = target.flag("commitment").unwrap_or(false);
        let charset = target.parsed("charset", v::dicom_written).map_or(Charset::UTF_8, |found| found.value);
        let utf8 = target.flag("utf8").unwrap_or(true);
        letters::check(&target, &transliterate, charset);
        let (ae_title, host) = (ae_title?.value, host?.value);
        Some(DicomTarget { ae_title, host, port: port?, associations, commitment, charset, utf8 })
    });
    let given = table.has("deliver");
    let destinations = read_destinations(&mut table);
    let commit = table.parsed("commit", committed).map(|found| found.value).unwrap_or_default();
    let place = |found: Option<Table<'_>>| found.and_then(|mut place| Some(read_destination(&mut place)?.0));
    let mpps_to = place(table.table("mpps_to"));
    let availability_to = place(table.table("availability_to"));
    let transliterate = letters::values(transliterate);
    let dicom = PartnerDicom {
        senders,
        charset,
        charset_instead_of,
        transliterate,
        deliver,
        destinations,
        commit,
        mpps_to,
        availability_to,
    };
    (Some(dicom), spots, given)
}

fn committed(text: &str) -> Result<Commit, String> {
    match text {
        "held" => Ok(Commit::Held),
        "reader" => Ok(Commit::Reader),
        _ => Err(format!("found \"{}\", expected \"held\" or \"reader\"", v::shorten(text))),
    }
}

/// An AE title must mean one place.
fn read_destinations(table: &mut Table<'_>) -> Vec<DicomDestination> {
    let mut destinations: Vec<DicomDestination> = Vec::new();
    for mut entry in table.tables("destinations") {
        let Some((place, spot)) = read_destination(&mut entry) else { continue };
        if destinations.iter().any(|earlier| earlier.ae_title == place.ae_title) {
            entry.problem(&spot, "found the same AE title twice, expected each once");
        }
        destinations.push(place);
    }
    destinations
}

fn read_destination(entry: &mut Table<'_>) -> Option<(DicomDestination, Spot)> {
    entry.needs("ae_title", "the called AE title");
    entry.needs("host", "a host name or an IP address");
    entry.needs("port", "a port number, often 104 or 11112");
    let (ae_title, host) = (entry.parsed("ae_title", v::ae_title), entry.parsed("host", v::host));
    let port = port(entry);
    let ae_title = ae_title?;
    Some((DicomDestination { ae_title: ae_title.value, host: host?.value, port: port? }, ae_title.spot))
}

fn read_hl7(top: &mut Table<'_>) -> (Option<PartnerHl7>, Vec<Spot>) {
    let Some(mut table) = top.table("hl7") else {
        return (None, Vec::new());
    };
    let (mut senders, mut spots) = (Vec::new(), Vec::new());
    for mut entry in table.tables("senders") {
        entry.needs("facility", "the sending facility, MSH-4");
        let facility = entry.parsed("facility", v::hl7_name);
        let application = entry.parsed("application", v::hl7_name).map(|found| found.value);
        let address = entry.parsed("address", v::address).map(|found| found.value);
        if let Some(facility) = facility {
            senders.push(Hl7Sender { facility: facility.value, application, address });
            spots.push(facility.spot);
        }
    }
    let charset = table.parsed("charset", v::hl7_charset).map(|found| found.value);
    let transliterate = letters::read(&mut table);
    let deliver = table.table("deliver").and_then(|mut target| {
        target.needs("host", "a host name or an IP address");
        target.needs("port", "a port number, often 2575");
        target.needs("application", "the receiving application, MSH-5");
        target.needs("facility", "the receiving facility, MSH-6");
        let host = target.parsed("host", v::host);
        let port = port(&mut target);
        let application = target.parsed("application", v::hl7_name);
        let facility = target.parsed("facility", v::hl7_name);
        let own = target.parsed("charset", v::hl7_charset).map(|found| found.value);
        let utf8 = target.flag("utf8").unwrap_or(true);
        letters::check(&target, &transliterate, letters::hl7_set(own.as_deref().or(charset.as_deref())));
        let application_ack = target.flag("application_ack").unwrap_or(false);
        let connections = target.number("connections", 1..=16).map_or(1, |count| usize::try_from(count).unwrap_or(1));
        Some(Hl7Target {
            host: host?.value,
            port: port?,
            application: application?.value,
            facility: facility?.value,
            charset: own,
            utf8,
            application_ack,
            connections,
        })
    });
    if deliver.as_ref().is_some_and(|target| target.application_ack) && senders.is_empty() {
        let advice = "expected [hl7] senders to name who sends them, or application_ack = false";
        table.problem(&table.spot(), format!("acknowledgements are to come, but nobody may send any; {advice}"));
    }
    (Some(PartnerHl7 { senders, charset, transliterate: letters::values(transliterate), deliver }), spots)
}

fn port(table: &mut Table<'_>) -> Option<u16> {
    table.number("port", 1..=65_535).and_then(|port| u16::try_from(port).ok())
}

/// The table `[orders]`.
#[derive(Default)]
struct Orders {
    expected: bool,
    wait: Duration,
    otherwise: WithoutOrder,
    delivered: bool,
    frozen: Vec<String>,
}

/// Images alone make a case unless orders are expected, which then must be able to come; whether orders are sent to it; and
/// its codes for a frozen section.
fn read_orders(top: &mut Table<'_>, hl7: Option<&PartnerHl7>) -> Orders {
    let Some(mut table) = top.table("orders") else {
        return Orders::default();
    };
    let expected = table.flag("expected").unwrap_or(false);
    if expected && hl7.is_none_or(|hl7| hl7.senders.is_empty()) {
        let advice = "expected [hl7] senders to name who sends its orders, or expected = false";
        table.problem(&table.spot(), format!("orders are expected, but nobody may send any; {advice}"));
    }
    let wait = table.parsed("wait", |text| v::duration_between(text, "1s", "24h")).map(|found| found.value);
    let known = |text: &str| match text {
        "route" => Ok(WithoutOrder::Route),
        "hold" => Ok(WithoutOrder::Hold),
        _ => Err(format!("found \"{}\", expected \"route\" or \"hold\"", v::shorten(text))),
    };
    let otherwise = table.parsed("otherwise", known).map(|found| found.value);
    if !expected && (wait.is_some() || otherwise.is_some()) {
        table.problem(&table.spot(), "found wait or otherwise, but no order is expected; expected expected = true");
    }
    let delivered = table.flag("deliver").unwrap_or(false);
    if delivered && hl7.is_none_or(|hl7| hl7.deliver.is_none()) {
        let advice = "expected [hl7] deliver = { host, port, … }, or deliver = false";
        table.problem(&table.spot(), format!("orders are to be sent to it, but there is no way; {advice}"));
    }
    let frozen = table.list("frozen", v::words).into_iter().map(|found| found.value).collect();
    let (wait, otherwise) = (wait.unwrap_or_default(), otherwise.unwrap_or_default());
    Orders { expected, wait, otherwise, delivered, frozen }
}

/// How long its specimens may take, and whether it is told what becomes of them.
fn read_specimens(top: &mut Table<'_>, hl7: Option<&PartnerHl7>) -> SpecimenRules {
    let mut rules = SpecimenRules::default();
    let Some(mut table) = top.table("specimens") else {
        return rules;
    };
    if let Some(found) = table.parsed("within", |text| v::duration_between(text, "5m", "30d")) {
        rules.within = found.value;
    }
    rules.expected_within =
        table.parsed("expected_within", |text| v::duration_between(text, "5m", "30d")).map(|found| found.value);
    rules.events = table.flag("events").unwrap_or(false);
    if rules.events && hl7.is_none_or(|hl7| hl7.deliver.is_none()) {
        let advice = "expected [hl7] deliver = { host, port, … }, or events = false";
        table.problem(&table.spot(), format!("it is to be told of its specimens, but there is no way; {advice}"));
    }
    rules
}

/// How a partner wants its results, and which of its own are urgent.
struct Reports {
    forms: Vec<ReportForm>,
    critical_within: Duration,
    critical_flags: Vec<String>,
}

fn read_reports(top: &mut Table<'_>, dicom: Option<&PartnerDicom>, hl7: Option<&PartnerHl7>) -> Reports {
    let mut reports = Reports { forms: Vec::new(), critical_within: CRITICAL_WITHIN, critical_flags: Vec::new() };
    let Some(mut table) = top.table("reports") else { return reports };
    let within = table.parsed("critical_within", |text| v::duration_between(text, "1m", "24h"));
    if let Some(within) = within {
        reports.critical_within = within.value;
    }
    reports.critical_flags = table.list("critical_flags", v::hl7_flag).into_iter().map(|found| found.value).collect();
    reports.forms = read_forms(&mut table, dicom, hl7);
    reports
}

fn read_forms(table: &mut Table<'_>, dicom: Option<&PartnerDicom>, hl7: Option<&PartnerHl7>) -> Vec<ReportForm> {
    let known = |text: &str| {
        let expected = "expected \"oru\", \"oul\", \"mdm\", \"pdf\" or \"sr\"";
        let form = ReportForm::ALL.into_iter().find(|form| form.as_str() == text);
        form.ok_or_else(|| format!("found \"{}\", {expected}", v::shorten(text)))
    };
    let mut forms = Vec::new();
    for found in table.list("forms", known) {
        let (reachable, missing) = if found.value.is_hl7() {
            (hl7.is_some_and(|hl7| hl7.deliver.is_some()), "[hl7] deliver = { host, port, … }")
        } else {
            (dicom.is_some_and(|dicom| dicom.deliver.is_some()), "[dicom] deliver = { ae_title, host, port }")
        };
        if !reachable {
            let name = found.value.as_str();
            table.problem(
                &found.spot,
                format!("found \"{name}\", but there is no way to deliver it; expected {missing}"),
            );
        }
        if forms.contains(&found.value) {
            table.problem(&found.spot, "found the same form twice, expected each once");
        }
        forms.push(found.value);
    }
    forms
}

/// Its issuer goes into (0010,0021), an LO, where identifiers are made for it.
fn read_identity(top: &mut Table<'_>, issuer: &str) -> Identity {
    let Some(mut table) = top.table("identity") else {
        return Identity::default();
    };
    let known = |text: &str| match text {
        "as_is" => Ok(Identifiers::AsIs),
        "prefix" => Ok(Identifiers::Prefix),
        "assigned" => Ok(Identifiers::Assigned),
        _ => Err(format!("found \"{}\", expected \"as_is\", \"prefix\" or \"assigned\"", v::shorten(text))),
    };
    let identifiers = table.parsed("identifiers", known);
    if let Some(found) = &identifiers
        && found.value != Identifiers::AsIs
        && !issuer.is_empty()
        && v::dicom_issuer(issuer).is_err()
    {
        let text =
            "identifiers are to be made in its own domain; expected an issuer of 1 to 64 letters without accents";
        table.problem(&found.spot, text);
    }
    let prefix = table.parsed("prefix", v::identifier_prefix).map(|found| found.value);
    Identity { identifiers: identifiers.map_or(Identifiers::AsIs, |found| found.value), prefix }
}
