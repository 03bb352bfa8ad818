//! Who is to be told that a person is needed: a web server and a mail server (`tests/support/operator`), which can be
//! away, refuse, or take a call and say nothing.

use super::{eventually, service_folder};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Python starts slowly on a loaded machine.
const START: Duration = Duration::from_secs(30);

pub struct Operator {
    pub folder: TempDir,
    http: u16,
    smtp: u16,
    child: Option<Child>,
}

impl Operator {
    pub async fn start() -> Self {
        let folder = service_folder("operator-");
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = ["localhost".to_owned()];
        let certificate =
            rcgen::CertificateParams::new(names).expect("names").self_signed(&key).expect("a certificate");
        let secrets = [("token", "open-sesame\n"), ("user", "neisse:hunter:2\n")];
        let pems = [("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())];
        for (name, text) in secrets.map(|(name, text)| (name, text.to_owned())).into_iter().chain(pems) {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        let mut operator = Self { folder, http: 0, smtp: 0, child: None };
        operator.come_back().await;
        operator
    }

    /// Adds `[escalation]` to a configuration; `more` are further keys of it.
    pub fn watch(&self, files: &mut BTreeMap<String, String>, more: &str) {
        let (folder, http, smtp) = (self.folder.path().display(), self.http, self.smtp);
        files.get_mut("neisse.toml").expect("the node's file").push_str(&format!(
            "[escalation]\n{more}\n\
             webhook = {{ url = \"https://localhost:{http}/hook\", token_file = \"{folder}/token\", ca_file = \"{folder}/cert.pem\" }}\n\
             mail = {{ server = \"localhost\", port = {smtp}, from = \"Neisse <neisse@example.org>\", \
             to = [\"night@example.org\", \"pacs@example.org\"], user_file = \"{folder}/user\", ca_file = \"{folder}/cert.pem\" }}\n"
        ));
    }

    /// Both ports are closed.
    pub fn go_away(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub async fn come_back(&mut self) {
        let folder = self.folder.path().to_owned();
        let _ = fs::remove_file(folder.join("ready"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/operator");
        let mut command = Command::new(script);
        command.arg(&folder).arg(self.http.to_string()).arg(self.smtp.to_string()).stdin(Stdio::null());
        self.child = Some(command.spawn().expect("python3"));
        eventually("the operator's servers listen", START, async || folder.join("ready").exists()).await;
        let ports = fs::read_to_string(folder.join("ready")).expect("its ports");
        let mut ports = ports.split(' ').map(|port| port.parse().expect("a port"));
        (self.http, self.smtp) = (ports.next().expect("HTTP"), ports.next().expect("SMTP"));
    }

    /// A file that says how the servers behave; `None` takes it away.
    pub fn says(&self, name: &str, text: Option<&str>) {
        let file = self.folder.path().join(name);
        match text {
            Some(text) => fs::write(file, text).expect("a file"),
            None => drop(fs::remove_file(file)),
        }
    }

    /// Every call that came, whatever was answered.
    pub fn calls(&self) -> Vec<Value> {
        self.lines("posted")
    }

    /// The notices of every call that was answered 2xx.
    pub fn posted(&self) -> Vec<Value> {
        let taken = self.calls().into_iter().filter(|call| call["status"].as_str().is_some_and(|s| s.starts_with('2')));
        taken.flat_map(|mut call| call["body"]["notices"].take().as_array().cloned().expect("a list")).collect()
    }

    pub fn mails(&self) -> Vec<Value> {
        self.lines("mailed")
    }

    /// Everything that was said to it, as it was kept.
    pub fn heard(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("posted") + &read("mailed")
    }

    fn lines(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        // The last line may be half written.
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|l| l.parse().expect("JSON")).collect()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.go_away();
    }
}
