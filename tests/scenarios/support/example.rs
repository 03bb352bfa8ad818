//! The example installation in `config/`, as it is shipped: only addresses, ports, data folder, database and queue are
//! those of this machine.
//!
//! A partner that a scenario gives no port takes nothing: a delivery to it fails, and the scenario with it.

use super::{
    center::Center,
    eventually,
    hospital::Hospital,
    network::{self, Footing, Network, SOON},
    service_folder,
};
use neisse::{
    model::{CaseState, Clock, Moment, PartnerId, Uid},
    startup,
    store::CaseRow,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use toml::{Table, Value};

/// `tcpmux`, where nobody listens.
const NOBODY: u16 = 1;

/// The files of an installation, by name.
#[derive(Clone, Debug)]
pub struct Example {
    pub files: BTreeMap<String, String>,
}

impl Example {
    pub async fn on(footing: Footing) -> Self {
        let mut example = Self { files: shipped() };
        let services = network::services(footing).await;
        let ours: Table = services.toml.parse().expect("TOML");
        example.edit("neisse.toml", |node| {
            for listener in ["dicom", "hl7", "http"] {
                table(node, listener).insert("listen".into(), "127.0.0.1:0".into());
            }
            // A developer's disk may be fuller than a hospital's.
            table(node, "dicom").insert("reserve".into(), "100MiB".into());
            node.extend(ours);
        });
        example.files.extend(services.secrets);
        for partner in example.partners() {
            example.edit_partner(&partner, at_this_machine);
        }
        example
    }

    fn partners(&self) -> Vec<String> {
        let name = |file: &String| Some(file.strip_prefix("partners/")?.strip_suffix(".toml")?.to_owned());
        self.files.keys().filter_map(name).collect()
    }

    pub fn edit(&mut self, file: &str, change: impl FnOnce(&mut Table)) {
        let text = self.files.get_mut(file).unwrap_or_else(|| panic!("config/ has no {file}"));
        let mut read: Table = text.parse().expect("TOML");
        change(&mut read);
        *text = read.to_string();
    }

    pub fn edit_partner(&mut self, partner: &str, change: impl FnOnce(&mut Table)) {
        self.edit(&format!("partners/{partner}.toml"), change);
    }

    /// The centers of most scenarios have no worklist: what they do not claim stays with them.
    fn without_claims(&mut self) {
        let routes = self.files.get_mut("routes.toml").expect("routes.toml");
        *routes =
            routes.lines().filter(|line| !line.starts_with("claim_within")).map(|line| format!("{line}\n")).collect();
    }

    /// What nobody claims moves on after all, as it is shipped.
    pub fn with_claims(&mut self) {
        self.files.extend(shipped().remove_entry("routes.toml"));
    }

    /// Where its PACS is.
    pub fn takes_images_at(&mut self, partner: &str, port: u16) {
        self.edit_partner(partner, |partner| set_port(partner, "dicom", port));
    }

    /// Where its information system is.
    pub fn takes_messages_at(&mut self, partner: &str, port: u16) {
        self.edit_partner(partner, |partner| set_port(partner, "hl7", port));
    }

    /// How it wants its reports.
    pub fn wants(&mut self, partner: &str, forms: &[&str]) {
        let forms: Vec<Value> = forms.iter().map(|form| Value::from(*form)).collect();
        self.edit_partner(partner, |partner| drop(table(partner, "reports").insert("forms".into(), forms.into())));
    }

    /// Other rules than the ones shipped.
    pub fn rules(&mut self, routes: &str) {
        self.files.insert("routes.toml".into(), routes.to_owned());
    }
}

impl Network {
    /// The example installation with rabenstein's information system and the two centers where a [`Network`] has them.
    pub async fn example(footing: Footing, at: Moment, change: impl FnOnce(&mut Example)) -> Self {
        let hospital = Hospital::start().await;
        let (chemnitz, leipzig) = (Center::start("KC_PACS").await, Center::start("UKL_PACS").await);
        let mut example = Example::on(footing).await;
        example.takes_messages_at("rabenstein", hospital.port);
        example.takes_images_at("chemnitz", chemnitz.port);
        example.takes_images_at("leipzig-ukl", leipzig.port);
        example.without_claims();
        change(&mut example);
        let (folder, clock, files) = (service_folder("node-"), Clock::starting_at(at), example.files);
        let node = startup::start(network::checked(folder.path(), &files), clock.clone()).await.expect("a node");
        Self { node: Some(node), clock, hospital, chemnitz, leipzig, files, folder }
    }

    /// Waits until there is a case of this partner's study in this state.
    pub async fn case_of(&self, origin: &str, study: &Uid, state: CaseState) -> CaseRow {
        let origin = PartnerId::new(origin).expect("an id");
        let mut found = None;
        eventually(&format!("a case of {origin} that is {state}"), SOON, async || {
            found = self.node().store.find_case(&origin, study).await.expect("the store");
            found.as_ref().is_some_and(|case| case.state == state)
        })
        .await;
        found.expect("found")
    }

    /// Waits until a first instance of this partner's study has been decided on.
    pub async fn decided(&self, origin: &str, study: &Uid) -> CaseRow {
        let origin = PartnerId::new(origin).expect("an id");
        let mut found = None;
        eventually("a case that is decided", SOON, async || {
            found = self.node().store.find_case(&origin, study).await.expect("the store");
            found.as_ref().is_some_and(|case| case.decision.is_some())
        })
        .await;
        found.expect("found")
    }

    /// Runs `neisse cases` beside the node, on its configuration and database.
    pub async fn cases_command(&self, arguments: &[&str]) -> Output {
        self.command("cases", arguments).await
    }

    /// The same, of any command.
    pub async fn command(&self, name: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_neisse"));
        command.arg(name).args(arguments).arg("--config").arg(self.folder.path());
        for (name, text) in &self.files {
            if name.starts_with("NEISSE_") {
                command.env(name, text);
            } else {
                let file = self.folder.path().join(name);
                std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
                std::fs::write(file, text).expect("a file");
            }
        }
        super::blocking(move || command.output()).await.expect("neisse")
    }

    /// The same; what it printed. It must succeed.
    pub async fn cases_screen(&self, arguments: &[&str]) -> String {
        self.screen("cases", arguments).await
    }

    pub async fn screen(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.command(name, arguments).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "neisse {name} {arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// `config/` of this repository.
fn shipped() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let read = |file: PathBuf| {
        let name = file.strip_prefix(&root).expect("below config/").to_str().expect("UTF-8").to_owned();
        (name, std::fs::read_to_string(&file).expect("a text file"))
    };
    let files = super::dcmtk::files_in(&root).into_iter().chain(super::dcmtk::files_in(&root.join("partners")));
    files.filter(|file| file.extension().is_some_and(|extension| extension == "toml")).map(read).collect()
}

fn at_this_machine(partner: &mut Table) {
    for channel in ["dicom", "hl7"] {
        let Some(channel) = partner.get_mut(channel).and_then(Value::as_table_mut) else { continue };
        for sender in channel.get_mut("senders").and_then(Value::as_array_mut).into_iter().flatten() {
            let sender = sender.as_table_mut().expect("a table");
            if sender.contains_key("address") {
                sender.insert("address".into(), "127.0.0.1".into());
            }
        }
        if let Some(deliver) = channel.get_mut("deliver").and_then(Value::as_table_mut) {
            deliver.insert("host".into(), "127.0.0.1".into());
            deliver.insert("port".into(), i64::from(NOBODY).into());
        }
    }
}

fn set_port(partner: &mut Table, channel: &str, port: u16) {
    let deliver = table(partner, channel).get_mut("deliver").and_then(Value::as_table_mut);
    deliver.expect("[deliver] in its file").insert("port".into(), i64::from(port).into());
}

fn table<'a>(file: &'a mut Table, name: &str) -> &'a mut Table {
    file.get_mut(name).and_then(Value::as_table_mut).unwrap_or_else(|| panic!("[{name}] in the file"))
}
