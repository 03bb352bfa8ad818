//! A right installation is read whole; of a wrong one every problem is told, with its place.

use super::*;
use crate::config::{DatabaseUrl, QueueUrl, Reader};
use crate::model::{Charset, Outgoing, PartnerId, ReadingMode, ReportForm};
use std::time::Duration;

const NODE: &str = "[node]\nname = \"neisse-1\"\n";
const CALENDAR: &str =
    "[night]\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\nhours = \"Mo-Fr 18:00-07:00; Sa,Su,PH 00:00-31:00\"\n";
const ROUTE: &str = "[[route]]\nname = \"Night CT\"\nfrom = [\"rabenstein\"]\nmodality = [\"CT\"]\nduring = \"night\"\n\
                     to = [\"chemnitz\"]\nclaim_within = \"10m\"\n";

/// As in the design: compact, with inline tables.
const RABENSTEIN: &str = r#"
name = "DRK-Krankenhaus Chemnitz-Rabenstein"
country = "DE"
time_zone = "Europe/Berlin"
language = "de"
issuer = "RABENSTEIN"
[dicom]
senders = [{ ae_title = "RAB_CT1", address = "10.20.1.11" }, { ae_title = "RAB_PACS" }]
charset = "ISO_IR 100"
deliver = { ae_title = "RAB_PACS", host = "10.20.1.5", port = 11112, associations = 4 }
[hl7]
senders = [{ facility = "DRKRAB", address = "10.20.1.20" }]
charset = "8859/1"
deliver = { host = "10.20.1.20", port = 2575, application = "KIS", facility = "DRKRAB" }
[orders]
expected = true
[reports]
forms = ["oru", "pdf"]
"#;

const CHEMNITZ: &str = r#"
name = "Klinikum Chemnitz"
country = "DE"
time_zone = "Europe/Berlin"
issuer = "KLINIKUM"
[dicom]
deliver = { ae_title = "KC_PACS", host = "10.20.2.5", port = 104 }
"#;

/// Letters of a partner that reads Czech and takes no UTF-8.
const LETTERS: &str = r#"
charset = "8859/2"
utf8 = false
[hl7.transliterate]
"ø" = "ö"
"þ" = "th"
"#;

fn files(changes: &[(&str, &str)]) -> BTreeMap<String, String> {
    let base = [
        ("neisse.toml", NODE),
        ("calendars.toml", CALENDAR),
        ("routes.toml", ROUTE),
        ("partners/rabenstein.toml", RABENSTEIN),
        ("partners/chemnitz.toml", CHEMNITZ),
    ];
    base.iter().chain(changes).map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn read(changes: &[(&str, &str)]) -> Result<Config, Problems> {
    load_from(Path::new("/etc/neisse"), &files(changes), &|_| None)
}

fn problems(changes: &[(&str, &str)]) -> Vec<String> {
    match read(changes) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_design_s_files_are_read_with_their_defaults() {
    let config = read(&[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.node.data_dir, Path::new("/etc/neisse/data"));
    assert_eq!(config.database, DatabaseUrl::Sqlite);
    assert!(matches!(config.queue, QueueUrl::Memory));
    assert_eq!((config.dicom.listen.port(), config.hl7.listen.port(), config.http.listen.port()), (11112, 2575, 8080));
    assert_eq!((config.dicom.reserve_bytes, config.dicom.max_pdu_bytes), (5 << 30, 256 << 10));
    assert_eq!(config.delivery.give_up, Duration::from_secs(86_400));
    let rabenstein = &config.partners[&PartnerId::new("rabenstein").expect("an id")];
    assert!(rabenstein.orders_expected);
    assert_eq!(rabenstein.report_forms, [ReportForm::Oru, ReportForm::Pdf]);
    let dicom = rabenstein.dicom.as_ref().expect("dicom");
    assert_eq!((dicom.senders.len(), dicom.deliver.as_ref().map(|target| target.associations)), (2, Some(4)));
    let chemnitz = &config.partners[&PartnerId::new("chemnitz").expect("an id")];
    assert_eq!((chemnitz.language.as_str(), chemnitz.orders_expected), ("en", false));
    let route = &config.routes[0];
    assert_eq!(route.to, [Reader::Partner(chemnitz.id.clone())]);
    assert_eq!((route.reading_mode, route.claim_within), (ReadingMode::RemoteReading, Some(Duration::from_secs(600))));
    assert_eq!((route.share.as_slice(), route.same_reader), ([].as_slice(), true));
    let shared = ROUTE.replace("to = [", "share = [{ to = \"origin\", weight = 3 }]\nsame_reader = false\nto = [");
    let shared = read(&[("routes.toml", &shared)]).unwrap_or_else(|problems| panic!("{problems}"));
    let route = &shared.routes[0];
    assert_eq!(route.to, [Reader::Origin, Reader::Partner(chemnitz.id.clone())], "who shares comes first");
    assert_eq!((route.share.as_slice(), route.same_reader), ([3].as_slice(), false));
    assert_eq!(config.rules_version.len(), 12);
    let other = read(&[("calendars.toml", &CALENDAR.replace("31:00", "30:00"))]).expect("right as well");
    assert_ne!(config.rules_version, other.rules_version, "another calendar, another version");
    let node = read(&[("neisse.toml", "[node]\nname = \"neisse-2\"\n")]).expect("right as well");
    assert_eq!(config.rules_version, node.rules_version, "the node decides nothing");
}

/// A partner with [`LETTERS`] and these more.
fn letters(more: &str) -> String {
    let target = "host = \"127.0.0.1\"\nport = 2575\napplication = \"KIS\"\nfacility = \"KC\"";
    format!("{CHEMNITZ}[hl7.deliver]\n{target}{LETTERS}{more}\n")
}

#[test]
fn letters_are_sent_as_the_partner_file_says() {
    let objects = "[dicom]\ncharset = \"Windows-1250\"\ncharset_instead_of = [\"ISO_IR 100\"]\ntransliterate = { \"ř\" = \"rz\" }";
    let file = letters("")
        .replace("[dicom]", objects)
        .replace("port = 104", "port = 104, charset = \"ISO_IR 100\", utf8 = false");
    let config = read(&[("partners/chemnitz.toml", &file)]).unwrap();
    let chemnitz = &config.partners[&PartnerId::new("chemnitz").unwrap()];
    let hl7 = chemnitz.hl7_outgoing();
    assert_eq!((hl7.charset.name(), hl7.utf8, hl7.table[&'ø'].as_str(), hl7.table.len()), ("8859/2", false, "ö", 2));
    let dicom = chemnitz.dicom_outgoing();
    assert_eq!((dicom.charset.name(), dicom.utf8, dicom.table[&'ř'].as_str()), ("8859/1", false, "rz"));
    let read_by = chemnitz.dicom.as_ref().unwrap();
    assert_eq!(
        (read_by.charset.as_deref(), read_by.charset_instead_of.as_slice()),
        (Some("Windows-1250"), &["ISO_IR 100".to_owned()][..])
    );

    let rabenstein = &read(&[]).unwrap().partners[&PartnerId::new("rabenstein").unwrap()];
    assert_eq!(
        (rabenstein.hl7_outgoing(), rabenstein.dicom_outgoing()),
        (Outgoing::new(Charset::ISO_8859_1), Outgoing::default())
    );
}

#[test]
fn ports_may_be_left_to_the_system() {
    let node = "[dicom]\nlisten = \"127.0.0.1:0\"\n[hl7]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n";
    assert_eq!(problems(&[("neisse.toml", node)]), Vec::<String>::new());
    let same = "[dicom]\nlisten = \"0.0.0.0:2575\"\n";
    assert_eq!(problems(&[("neisse.toml", same)]).len(), 1);
}

#[test]
fn every_problem_of_every_file_is_told_at_once() {
    let found = problems(&[
        ("neisse.toml", "[dicom]\nlisten = \"here\"\nquite = \"30s\"\n"),
        ("calendars.toml", "[night]\ncountry = \"DE\"\ntime_zone = \"Europe/Berln\"\nhours = \"Mo-Fr 18-7\"\n"),
        ("routes.toml", &ROUTE.replace("chemnitz", "chemnits").replace("10m", "10 min")),
        ("partners/rabenstein.toml", &RABENSTEIN.replace("RAB_CT1", "RABENSTEIN_SCANNER_1")),
    ]);
    let expected = [
        "calendars.toml:3:13: [night]: time_zone: found \"Europe/Berln\"",
        "calendars.toml:4:9: [night]: hours: cannot be read at column 7: \"18-7\"",
        "neisse.toml:2:10: dicom: listen: found \"here\", expected an IP address and a port",
        "neisse.toml:3:1: dicom: unknown key \"quite\" (did you mean \"quiet\"?)",
        "partners/rabenstein.toml:8:25: dicom: senders[1]: ae_title: found \"RABENSTEIN_SCANNER_1\"",
        "routes.toml:6:7: route[1] \"Night CT\": to: \"chemnits\" is not a partner (did you mean \"chemnitz\"?)",
        "routes.toml:7:16: route[1] \"Night CT\": claim_within: found \"10 min\"",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    let shown = read(&[("routes.toml", "")]).err().map(|problems| problems.to_string());
    assert_eq!(shown, None, "no rules at all is right, if unwise: everything is held");
}

#[test]
fn each_mistake_is_found() {
    let second = RABENSTEIN.replace("10.20.1.20", "10.20.1.21");
    let twice = format!("{ROUTE}{ROUTE}");
    let many: String =
        ('\u{4E00}'..).take(501).map(|c| format!("{c} = \"x\"\n").replacen(c, &format!("\"{c}\""), 1)).collect();
    let cases: &[(&str, &str, String, &str)] = &[
        ("an unknown calendar", "routes.toml", ROUTE.replace("\"night\"", "\"nigth\""), "(did you mean \"night\"?)"),
        ("an unknown source", "routes.toml", ROUTE.replace("\"rabenstein\"", "\"rabnstein\""), "is not a partner"),
        (
            "a share without weight",
            "routes.toml",
            ROUTE.replace("to = [\"chemnitz\"]", "share = [{ to = \"chemnitz\" }]"),
            "the key \"weight\" is missing",
        ),
        (
            "a reader that shares and stands in",
            "routes.toml",
            ROUTE.replace("to = [", "share = [{ to = \"chemnitz\", weight = 1 }]\nto = ["),
            "names the same reader twice",
        ),
        ("nobody reads", "routes.toml", ROUTE.replace("\"chemnitz\"", ""), "\"to\" names nobody"),
        ("no reader", "routes.toml", ROUTE.replace("to = [\"chemnitz\"]", ""), "the key \"to\" is missing"),
        ("one name twice", "routes.toml", twice, "has the name of the route in line 1"),
        ("one reader twice", "routes.toml", ROUTE.replace("\"chemnitz\"", "\"chemnitz\", \"chemnitz\""), "same reader"),
        ("an unknown key", "routes.toml", ROUTE.replace("modality", "modalty"), "(did you mean \"modality\"?)"),
        ("ages", "routes.toml", format!("{ROUTE}age_min = 18\nage_max = 17\n"), "nobody has that age"),
        ("a contradiction", "routes.toml", format!("{ROUTE}not_modality = \"CT\"\n"), "nothing can match"),
        ("no TOML", "routes.toml", "[[route]\n".to_owned(), "is not TOML"),
        ("no place to send", "partners/chemnitz.toml", CHEMNITZ.replace("deliver", "#"), "cannot be sent images"),
        ("a port too far", "partners/chemnitz.toml", CHEMNITZ.replace("104", "70000"), "from 1 to 65535"),
        ("no HL7", "partners/chemnitz.toml", format!("{CHEMNITZ}[reports]\nforms = [\"oru\"]\n"), "[hl7] deliver"),
        ("orders", "partners/chemnitz.toml", format!("{CHEMNITZ}[orders]\nexpected = true\n"), "nobody may send"),
        ("a form", "partners/chemnitz.toml", format!("{CHEMNITZ}[identity]\nidentifiers = \"new\"\n"), "\"as_is\""),
        ("a prefix", "partners/chemnitz.toml", format!("{CHEMNITZ}[identity]\nprefix = \"A~\"\n"), "1 to 12 letters"),
        ("a sender twice", "partners/zwickau.toml", second, "may be \"rabenstein\" as well"),
        ("an unfit id", "partners/Harz.toml", CHEMNITZ.to_owned(), "is not a partner id"),
        ("the reserved id", "partners/origin.toml", CHEMNITZ.to_owned(), "means the hospital that asked"),
        ("an unknown file", "route.toml", String::new(), "(did you mean \"routes.toml\"?)"),
        ("a wrong type", "neisse.toml", "[dicom]\nae_title = 7\n".to_owned(), "found 7, expected text"),
        ("too large", "neisse.toml", "[dicom]\nmax_pdu = \"2MiB\"\n".to_owned(), "between \"16KiB\" and \"1MiB\""),
        ("retries", "neisse.toml", "[delivery]\nretry_min = \"1h\"\n".to_owned(), "expected retry_min to be shorter"),
        ("a certificate alone", "neisse.toml", "[queue]\ncert_file = \"no.pem\"\n".to_owned(), "both or neither"),
        (
            "a set that is not written",
            "partners/chemnitz.toml",
            CHEMNITZ.replace("104", "104, charset = \"ISO_IR 13\""),
            "expected one of ISO_IR 192",
        ),
        (
            "nothing to read it by",
            "partners/chemnitz.toml",
            CHEMNITZ.replace("[dicom]", "[dicom]\ncharset_instead_of = [\"ISO_IR 100\"]"),
            "expected charset",
        ),
        ("a letter of ASCII", "partners/chemnitz.toml", letters("\"o\" = \"oe\""), "every set holds it"),
        ("two letters", "partners/chemnitz.toml", letters("\"ör\" = \"oer\""), "expected one letter"),
        ("a delimiter", "partners/chemnitz.toml", letters("\"ð\" = \"d^\""), "characters without |"),
        (
            "a letter of another set",
            "partners/chemnitz.toml",
            letters("\"ð\" = \"đ\"\n\"đ\" = \"ŧ\""),
            "'ŧ', which 8859/2 does not hold",
        ),
        ("a spelling too long", "partners/chemnitz.toml", letters("\"ð\" = \"12345678901234567\""), "at most 16"),
        ("too many letters", "partners/chemnitz.toml", letters(&many), "expected at most 500"),
        ("no such country", "calendars.toml", CALENDAR.replace("\"DE\"", "\"XX\""), "an ISO 3166-1 code"),
        ("no date", "calendars.toml", format!("{CALENDAR}holidays = [\"18.11.2026\"]\n"), "expected a date"),
    ];
    for (what, file, text, expected) in cases {
        let found = problems(&[(*file, text)]);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{what}: {found:#?}");
    }
}

#[test]
fn senders_that_differ_by_address_or_called_title_are_told_apart() {
    let with = |sender: &str| format!("{CHEMNITZ}senders = [{sender}]\n");
    let other_address = with("{ ae_title = \"RAB_CT1\", address = \"10.20.9.9\" }");
    assert_eq!(problems(&[("partners/chemnitz.toml", &other_address)]), Vec::<String>::new());
    let no_address = with("{ ae_title = \"RAB_CT1\" }");
    assert_eq!(problems(&[("partners/chemnitz.toml", &no_address)]).len(), 1);
}

#[test]
fn secrets_stay_out_of_files_and_problems() {
    let literal = "[database]\nurl = \"postgres://n:hunter2@db/n\"\n[queue]\nurl = \"amqp://neisse:hunter2@mq\"\n";
    let found = problems(&[("neisse.toml", literal)]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|problem| !problem.contains("hunter2") && problem.contains("_file")), "{found:?}");

    let node = "[database]\nurl = \"postgres://neisse@db:5432/neisse\"\n[queue]\nurl = \"amqps://mq:5671/%2f\"\n";
    let environment = |name: &str| match name {
        "NEISSE_DATABASE_PASSWORD" => Some("p@ss:w/rd".to_owned()),
        "NEISSE_QUEUE_CREDENTIALS" => Some("neisse:s€cret".to_owned()),
        _ => None,
    };
    let config = load_from(Path::new("."), &files(&[("neisse.toml", node)]), &environment).expect("right");
    assert_eq!(config.database, DatabaseUrl::Postgres("postgres://neisse:p%40ss%3Aw%2Frd@db:5432/neisse".to_owned()));
    let QueueUrl::Amqp(amqp) = &config.queue else { panic!("expected RabbitMQ") };
    assert_eq!(amqp.url, "amqps://neisse:s%E2%82%ACcret@mq:5671/%2f");
    assert!(!format!("{config:?}").contains("cret"), "no secret in a debug log");
}

#[test]
fn a_folder_is_read_with_its_secrets_and_foreign_files_are_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("partners")).expect("a folder");
    let node = "[database]\nurl = \"postgres://neisse@db/neisse\"\npassword_file = \"password\"\n";
    for (name, text) in files(&[("neisse.toml", node)]) {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    fs::write(folder.path().join("README"), "not ours").expect("a file");
    let missing = load(folder.path()).expect_err("the password file is missing");
    assert!(missing.to_string().contains("cannot read a secret from \"password\""), "{missing}");
    fs::write(folder.path().join("password"), "geheim\n").expect("a file");
    let config = load(folder.path()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.database, DatabaseUrl::Postgres("postgres://neisse:geheim@db/neisse".to_owned()));
    assert!(load(&folder.path().join("nowhere")).is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    #[test]
    fn any_text_is_read_or_refused_without_panic(node in ".{0,200}", route in "[a-z\\[\\]=\" \n,0-9]{0,200}") {
        let _ = read(&[("neisse.toml", &node), ("routes.toml", &route), ("partners/harz.toml", &node)]);
    }

    /// A right file with one place changed: the walk over it must hold whatever stands there.
    #[test]
    fn a_damaged_file_is_read_or_refused_without_panic(at in 0usize..700, with in "[\\[\\]{}=\"'.,a-z0-9\n]{0,3}") {
        let mut text = RABENSTEIN.to_owned();
        let at = at.min(text.len());
        if text.is_char_boundary(at) {
            text.insert_str(at, &with);
            let _ = read(&[("partners/rabenstein.toml", &text)]);
        }
    }
}

#[test]
fn a_place_a_partner_names_is_its_own_and_means_one_place() {
    let list = "destinations = [{ ae_title = \"WS1\", host = \"10.20.2.9\", port = 104 }]\n";
    let file = CHEMNITZ.replace("[dicom]\n", &format!("[dicom]\n{list}"));
    let config = read(&[("partners/chemnitz.toml", &file)]).unwrap();
    let partner = |id: &str| &config.partners[&PartnerId::new(id).unwrap()];
    let host = |id: &str, ae: &str| partner(id).dicom_destination(ae).map(|destination| destination.host);
    assert_eq!(host("chemnitz", "WS1").as_deref(), Some("10.20.2.9"));
    assert_eq!(host("chemnitz", "KC_PACS").as_deref(), Some("10.20.2.5"), "where it takes images");
    assert_eq!((host("rabenstein", "WS1"), host("chemnitz", "RAB_PACS")), (None, None));
    assert_eq!(partner("rabenstein").dicom_answers().charset, Charset::UTF_8, "its deliver says so");

    let twice = list.replace("}]", "}, { ae_title = \"WS1\", host = \"10.20.2.8\", port = 104 }]");
    let file = CHEMNITZ.replace("[dicom]\n", &format!("[dicom]\n{twice}"));
    assert!(read(&[("partners/chemnitz.toml", &file)]).is_err());
}
