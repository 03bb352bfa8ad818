//! Reads `partners/<id>.toml`: one organisation, how it sends, where things are delivered, how it wants its results.

use super::letters;
use super::problems::Spot;
use super::table::Table;
use super::values as v;
use super::{DicomSender, DicomTarget, Hl7Sender, Hl7Target, Partner, PartnerDicom, PartnerHl7, WithoutOrder};
use crate::model::{Charset, PartnerId, ReportForm};
use std::time::Duration;

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
    let report_forms = read_reports(top, dicom.as_ref(), hl7.as_ref());
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
        report_forms,
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
        let charset = target.parsed("charset", v::dicom_written).map_or(Charset::UTF_8, |found| found.value);
        let utf8 = target.flag("utf8").unwrap_or(true);
        letters::check(&target, &transliterate, charset);
        Some(DicomTarget { ae_title: ae_title?.value, host: host?.value, port: port?, associations, charset, utf8 })
    });
    let given = table.has("deliver");
    let transliterate = letters::values(transliterate);
    (Some(PartnerDicom { senders, charset, charset_instead_of, transliterate, deliver }), spots, given)
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
        Some(Hl7Target {
            host: host?.value,
            port: port?,
            application: application?.value,
            facility: facility?.value,
            charset: own,
            utf8,
        })
    });
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
}

/// Images alone make a case unless orders are expected, which then must be able to come; and whether orders are sent to it.
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
    Orders { expected, wait: wait.unwrap_or_default(), otherwise: otherwise.unwrap_or_default(), delivered }
}

fn read_reports(top: &mut Table<'_>, dicom: Option<&PartnerDicom>, hl7: Option<&PartnerHl7>) -> Vec<ReportForm> {
    let Some(mut table) = top.table("reports") else {
        return Vec::new();
    };
    let known = |text: &str| match text {
        "oru" => Ok(ReportForm::Oru),
        "pdf" => Ok(ReportForm::Pdf),
        "sr" => Ok(ReportForm::Sr),
        _ => Err(format!("found \"{}\", expected \"oru\", \"pdf\" or \"sr\"", v::shorten(text))),
    };
    let mut forms = Vec::new();
    for found in table.list("forms", known) {
        let (reachable, missing) = match found.value {
            ReportForm::Oru => (hl7.is_some_and(|hl7| hl7.deliver.is_some()), "[hl7] deliver = { host, port, … }"),
            ReportForm::Pdf | ReportForm::Sr => {
                (dicom.is_some_and(|dicom| dicom.deliver.is_some()), "[dicom] deliver = { ae_title, host, port }")
            }
        };
        if !reachable {
            let name = format!("{:?}", found.value).to_lowercase();
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
