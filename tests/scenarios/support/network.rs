//! A whole network on loopback: the router in this process with a clock to set, a hospital that sends and listens, and
//! centers that receive and report, each of which can be told to misbehave.
//!
//! `rabenstein` sends as RAB_CT1 and takes reports by HL7; `chemnitz` reads at night, `leipzig-ukl` gets copies where a
//! scenario's rules say so. A scenario that wants other rules gives its own `routes.toml`.

use super::{center::Center, eventually, hospital::Hospital, postgres, rabbit, service_folder};
use neisse::{
    config::{self, Config},
    model::{CaseState, Clock, Moment, PartnerId, Uid},
    startup::{self, Running},
    store::{CaseRow, DeliveryRow, ListFilter},
};
use std::{collections::BTreeMap, path::Path, time::Duration};
use tempfile::TempDir;

/// Long enough for a loaded machine; a scenario that needs it all has failed.
pub const SOON: Duration = Duration::from_secs(40);

pub const NIGHT_ROUTES: &str = r#"
[[route]]
name = "Night"
from = ["rabenstein"]
during = "night"
to = ["chemnitz"]
report_within = "45m"
reading_mode = "teleradiology"

[[route]]
name = "Day"
from = ["rabenstein"]
to = ["origin"]
"#;

pub const ALWAYS_CHEMNITZ: &str = r#"
[[route]]
name = "Always"
from = ["rabenstein"]
to = ["chemnitz"]
"#;

/// What a node stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Footing {
    /// SQLite and the memory queue.
    Embedded,
    /// PostgreSQL and RabbitMQ, those of the run.
    Services,
}

/// Both, for scenarios that must hold on both.
pub const BOTH: [Footing; 2] = [Footing::Embedded, Footing::Services];

pub struct Network {
    pub node: Option<Running>,
    pub clock: Clock,
    pub hospital: Hospital,
    pub chemnitz: Center,
    pub leipzig: Center,
    pub files: BTreeMap<String, String>,
    pub folder: TempDir,
}

impl Network {
    /// Night rules, the clock at `local` time in Chemnitz (`2026-11-24T23:10`).
    pub async fn night(footing: Footing, local: &str) -> Self {
        Self::start(footing, NIGHT_ROUTES, wall(local)).await
    }

    pub async fn start(footing: Footing, routes: &str, at: Moment) -> Self {
        let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
        Self::with_centers(footing, routes, at, chemnitz, leipzig, |_| ()).await
    }

    /// With centers of the scenario's own, and `change` made to the configuration's files before the start.
    pub async fn with_centers(
        footing: Footing,
        routes: &str,
        at: Moment,
        chemnitz: Center,
        leipzig: Center,
        change: impl FnOnce(&mut BTreeMap<String, String>),
    ) -> Self {
        let hospital = Hospital::start().await;
        let folder = service_folder("node-");
        let mut files = files(footing, routes, hospital.port, chemnitz.port, leipzig.port).await;
        change(&mut files);
        let clock = Clock::starting_at(at);
        let config = checked(folder.path(), &files);
        let node = startup::start(config, clock.clone()).await.expect("a node");
        Self { node: Some(node), clock, hospital, chemnitz, leipzig, files, folder }
    }

    pub fn node(&self) -> &Running {
        self.node.as_ref().expect("the node runs")
    }

    pub fn dicom_port(&self) -> u16 {
        self.node().dicom.port()
    }

    /// Stops the node in order and starts it again on the same data.
    pub async fn restart(&mut self) {
        self.node.take().expect("the node runs").stop().await;
        let config = checked(self.folder.path(), &self.files);
        self.node = Some(startup::start(config, self.clock.clone()).await.expect("a node"));
    }

    /// Waits until there is a case of rabenstein's study that `is_so`.
    pub async fn case(&self, study: &Uid, what: &str, is_so: impl Fn(&CaseRow) -> bool) -> CaseRow {
        let origin = PartnerId::new("rabenstein").expect("an id");
        let mut found = None;
        eventually(what, SOON, async || {
            found = self.node().store.find_case(&origin, study).await.expect("the store");
            found.as_ref().is_some_and(&is_so)
        })
        .await;
        found.expect("found")
    }

    pub async fn case_in(&self, study: &Uid, state: CaseState) -> CaseRow {
        self.case(study, &format!("a case that is {state}"), |case| case.state == state).await
    }

    pub async fn ledger(&self, case: &CaseRow) -> Vec<DeliveryRow> {
        self.node().store.ledger(case.id).await.expect("the store")
    }

    /// The whole story as text, for a scenario that failed or wants to look.
    pub async fn story(&self, case: &CaseRow) -> String {
        let events = self.node().store.story(case.id).await.expect("the store");
        events.iter().map(|event| format!("{} {} {}\n", event.at, event.actor, event.what)).collect()
    }

    pub async fn cases(&self) -> Vec<CaseRow> {
        let all = ListFilter { limit: 10_000, ..ListFilter::default() };
        let listed = self.node().store.list_cases(&all).await.expect("the store");
        listed.into_iter().map(|summary| summary.case).collect()
    }

    /// Ends a scenario: every delivery has an end, no case waits to be routed. Then the node stops in order.
    pub async fn at_rest(mut self) {
        eventually("every delivery has ended", SOON, async || {
            let open = self.node().store.count_deliveries().await.expect("the store");
            open.iter().all(|(_, state, _)| *state == neisse::model::DeliveryState::Stopped)
                && self.node().store.cases_to_route(10).await.expect("the store").is_empty()
        })
        .await;
        self.node.take().expect("the node runs").stop().await;
    }
}

/// The configuration of these files. One called as a secret's environment variable stands for that variable.
pub fn checked(folder: &Path, files: &BTreeMap<String, String>) -> Config {
    let (secrets, files): (BTreeMap<_, _>, BTreeMap<_, _>) =
        files.clone().into_iter().partition(|(name, _)| name.starts_with("NEISSE_"));
    config::load_from(folder, &files, &|name| secrets.get(name).cloned())
        .unwrap_or_else(|problems| panic!("{problems}"))
}

/// `scheme://user:password@rest` without its credentials, and these.
pub fn apart(url: &str) -> (String, Option<String>) {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    match rest.split_once('@') {
        Some((credentials, rest)) if credentials.contains(':') => {
            (format!("{scheme}://{rest}"), Some(credentials.to_owned()))
        }
        _ => (url.to_owned(), None),
    }
}

/// A wall clock time in Chemnitz.
pub fn wall(local: &str) -> Moment {
    use chrono::TimeZone;
    let naive = chrono::NaiveDateTime::parse_from_str(&format!("{local}:00"), "%Y-%m-%dT%H:%M:%S")
        .or_else(|_| chrono::NaiveDateTime::parse_from_str(local, "%Y-%m-%dT%H:%M:%S"))
        .expect("YYYY-MM-DDTHH:MM[:SS]");
    let zone = chrono_tz::Europe::Berlin;
    Moment::from_utc(zone.from_local_datetime(&naive).earliest().expect("a time that exists").to_utc())
}

/// What a footing adds to the configuration.
pub struct Services {
    /// `[database]` and `[queue]`.
    pub toml: String,
    /// By the name of their environment variable.
    pub secrets: BTreeMap<String, String>,
}

pub async fn services(footing: Footing) -> Services {
    match footing {
        Footing::Embedded => Services { toml: String::new(), secrets: BTreeMap::new() },
        Footing::Services => {
            let (database, (queue, credentials)) = (postgres::shared_database().await, apart(&rabbit::shared_url()));
            let credentials = credentials.map(|credentials| ("NEISSE_QUEUE_CREDENTIALS".to_owned(), credentials));
            Services {
                toml: format!("[database]\nurl = \"{database}\"\n[queue]\nurl = \"{queue}\"\n"),
                secrets: credentials.into_iter().collect(),
            }
        }
    }
}

/// The configuration as `neisse serve --config` would read it.
pub async fn files(
    footing: Footing,
    routes: &str,
    hospital_hl7: u16,
    chemnitz: u16,
    leipzig: u16,
) -> BTreeMap<String, String> {
    let Services { toml: services, secrets } = services(footing).await;
    let center = |name: &str, ae: &str, port: u16, facility: &str, issuer: &str| {
        format!(
            "name = \"{name}\"\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\nlanguage = \"de\"\nissuer = \"{issuer}\"\n\
             [dicom]\nsenders = [{{ ae_title = \"{ae}\" }}]\n\
             deliver = {{ ae_title = \"{ae}\", host = \"127.0.0.1\", port = {port}, associations = 2 }}\n\
             [hl7]\nsenders = [{{ facility = \"{facility}\" }}]\ncharset = \"UNICODE UTF-8\"\n"
        )
    };
    let hospital = format!(
        "name = \"DRK-Krankenhaus Chemnitz-Rabenstein\"\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\n\
         language = \"de\"\nissuer = \"RABENSTEIN\"\n\
         [dicom]\nsenders = [{{ ae_title = \"RAB_CT1\" }}, {{ ae_title = \"RAB_PACS\" }}]\ncharset = \"ISO_IR 100\"\n\
         [hl7]\ncharset = \"8859/1\"\n\
         deliver = {{ host = \"127.0.0.1\", port = {hospital_hl7}, application = \"KIS\", facility = \"DRKRAB\" }}\n\
         [orders]\nexpected = false\n[reports]\nforms = [\"oru\"]\n"
    );
    let node = format!(
        "[node]\nname = \"test\"\ndata_dir = \"data\"\n{services}\
         [dicom]\nlisten = \"127.0.0.1:0\"\nquiet = \"1s\"\nreserve = \"100MiB\"\n\
         [hl7]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [delivery]\nconnect = \"3s\"\nresponse = \"5s\"\nretry_min = \"1s\"\nretry_max = \"5s\"\n"
    );
    let calendars = "[night]\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\n\
         hours = \"Mo-Fr 18:00-07:00; Sa,Su,PH 00:00-31:00; Oct 31 00:00-31:00; Nov 16-22 We 00:00-31:00\"\n";
    [
        ("neisse.toml", node),
        ("calendars.toml", calendars.to_owned()),
        ("routes.toml", routes.to_owned()),
        ("partners/rabenstein.toml", hospital),
        ("partners/chemnitz.toml", center("Klinikum Chemnitz", "CHEMNITZ", chemnitz, "KLCHEM", "CHEMNITZ")),
        ("partners/leipzig-ukl.toml", center("Universitätsklinikum Leipzig", "UKL", leipzig, "UKL", "UKL")),
    ]
    .into_iter()
    .map(|(name, text)| (name.to_owned(), text))
    .chain(secrets)
    .collect()
}
