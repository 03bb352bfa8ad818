//! Hospitals and laboratories played by engines that are not ours (`tests/support/network_side`): python's `hl7` and
//! `hl7apy` for messages, `pydicom` and `pynetdicom` for images. The scenario says what happens and asks what each got.

use super::{blocking, handed_over, service_folder};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::timeout;

/// Python and its engines start slowly on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct NetworkSide {
    pub folder: TempDir,
    process: Child,
    line: Arc<Mutex<(ChildStdin, BufReader<ChildStdout>)>>,
}

/// A segment: its name, and its fields by number.
pub type Segment = (&'static str, Value);

impl NetworkSide {
    pub async fn start() -> Self {
        let folder = service_folder("sides-");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/network_side");
        let mut process = Command::new(handed_over("NEISSE_TEST_PYTHON"))
            .args([script.as_path(), folder.path()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the Python that tests/support/python makes");
        let input = process.stdin.take().expect("its input");
        let output = BufReader::new(process.stdout.take().expect("its output"));
        Self { folder, process, line: Arc::new(Mutex::new((input, output))) }
    }

    /// Has one command done.
    pub async fn ask(&self, command: Value) -> Value {
        let (line, asked) = (Arc::clone(&self.line), format!("{command}\n"));
        let answer = blocking(move || {
            let mut line = line.lock().expect("nobody panics here");
            line.0.write_all(asked.as_bytes()).expect("it listens");
            let mut answer = String::new();
            line.1.read_line(&mut answer).map(|_| answer)
        });
        let answer = timeout(PATIENCE, answer).await.expect("in time").expect("its output");
        let mut answer: Value = answer.parse().expect("JSON");
        assert!(answer["error"].is_null(), "{command}: {}", answer["error"].as_str().unwrap_or_default());
        answer["ok"].take()
    }

    /// Several at once; what each gave.
    pub async fn together(&self, commands: Vec<Value>) -> Vec<Value> {
        let Value::Array(all) = self.ask(json!({ "do": "together", "commands": commands })).await else {
            panic!("a list")
        };
        all
    }

    /// An information system; its port. `codec` is what it reads where MSH-18 is empty, as Python calls it.
    pub async fn system(&self, name: &str, codec: &str) -> u16 {
        port(&self.ask(json!({ "do": "system", "name": name, "codec": codec })).await)
    }

    /// A PACS; its port.
    pub async fn pacs(&self, ae_title: &str) -> u16 {
        port(&self.ask(json!({ "do": "pacs", "ae_title": ae_title })).await)
    }

    /// All that an information system got, in order.
    pub async fn messages(&self, name: &str) -> Vec<Message> {
        let Value::Array(all) = self.ask(json!({ "do": "messages", "name": name })).await else { panic!("a list") };
        all.into_iter().map(Message).collect()
    }

    /// All that a PACS got, in order: texts by keyword, `file` and `pixels`.
    pub async fn instances(&self, ae_title: &str) -> Vec<Value> {
        let Value::Array(all) = self.ask(json!({ "do": "instances", "ae_title": ae_title })).await else {
            panic!("a list")
        };
        all
    }

    /// Sends a message that must be accepted, and gives its answer.
    pub async fn accepted(&self, command: Value) -> Message {
        let answer = Message(self.ask(command).await);
        answer.is_good();
        assert_eq!(answer.field("MSA", 1), "AA", "{}", answer.text());
        answer
    }
}

impl Drop for NetworkSide {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn port(answer: &Value) -> u16 {
    answer.as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port")
}

/// The command that sends a message to the router.
pub fn send(router: SocketAddr, codec: &str, version: &str, segments: &[Segment]) -> Value {
    json!({ "do": "send", "port": router.port(), "codec": codec, "version": version, "segments": segments })
}

/// The command that sends files to the router.
pub fn store(router: SocketAddr, calling: &str, files: &[&str]) -> Value {
    json!({ "do": "store", "port": router.port(), "calling": calling, "files": files })
}

/// A message as the engines read it.
#[derive(Debug)]
pub struct Message(pub Value);

impl Message {
    /// MSH-18.
    pub fn charset(&self) -> &str {
        self.0["charset"].as_str().expect("text")
    }

    pub fn text(&self) -> &str {
        self.0["text"].as_str().expect("text")
    }

    /// `hl7apy` has nothing against it.
    ///
    /// # Panics
    /// Where it has.
    pub fn is_good(&self) {
        assert_eq!(self.0["complaints"], json!([]), "{}", self.text().replace('\r', "\n"));
    }

    /// A field of the first such segment; empty where it is not there.
    pub fn field(&self, segment: &str, number: usize) -> &str {
        self.fields(segment, number).first().copied().unwrap_or_default()
    }

    /// A field of every such segment.
    pub fn fields(&self, segment: &str, number: usize) -> Vec<&str> {
        let all = self.0["segments"].as_array().expect("segments").iter().filter(|fields| fields[0] == segment);
        all.map(|fields| fields[number].as_str().unwrap_or_default()).collect()
    }

    /// OBX-5 of every OBX of this value type.
    pub fn values(&self, value_type: &str) -> Vec<&str> {
        let types = self.fields("OBX", 2).into_iter().zip(self.fields("OBX", 5));
        types.filter(|(of, _)| *of == value_type).map(|(_, value)| value).collect()
    }
}
