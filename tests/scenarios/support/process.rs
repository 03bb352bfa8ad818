//! The router as a process of its own (`neisse serve`): to kill, to start again, and to see how much memory it takes.
//!
//! In: a folder with a configuration, as [`write`] makes it. Its log goes to `neisse.log` there, over all its lives.

use super::{blocking, eventually};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

/// A debug build on a loaded machine, with a journal to read back.
const START: Duration = Duration::from_secs(60);

/// Ends (SIGKILL) when dropped.
pub struct Process {
    child: Child,
    folder: PathBuf,
    arguments: Vec<String>,
    /// As its log says: it may have been told to take any free port.
    pub dicom: SocketAddr,
    pub hl7: SocketAddr,
    pub http: SocketAddr,
}

/// Writes a configuration for [`Process::start`]. A "file" called `NEISSE_…` becomes that environment variable.
pub fn write(folder: &Path, files: &BTreeMap<String, String>) {
    for (name, text) in files {
        let path = if name.starts_with("NEISSE_") { folder.join("environment").join(name) } else { folder.join(name) };
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
}

impl Process {
    /// With the configuration in `folder`; ready when this returns.
    pub async fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[]).await
    }

    /// With more arguments for `neisse serve`.
    pub async fn start_with(folder: &Path, arguments: &[&str]) -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let seen = log_of(folder).len();
        let child = spawn(folder, &arguments);
        let folder = folder.to_owned();
        let mut process = Self { child, folder, arguments, dicom: nowhere, hl7: nowhere, http: nowhere };
        process.until_ready(seen).await;
        process
    }

    /// The same again, after [`Process::kill9`] or [`Process::terminate`].
    pub async fn again(&mut self) {
        let seen = self.log().len();
        self.child = spawn(&self.folder, &self.arguments);
        self.until_ready(seen).await;
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The most memory it has had at once since it started (VmHWM).
    pub fn peak_memory_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// Its peak is what it has now, and from now on what it has had since.
    pub fn forget_peak(&self) {
        // proc(5): 5 resets VmHWM.
        fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("its peak forgotten");
    }

    /// The most it has ever reserved, touched or not (VmPeak).
    pub fn peak_reserved_bytes(&self) -> u64 {
        self.status_bytes("VmPeak:")
    }

    fn status_bytes(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect(what);
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kB") * 1024
    }

    /// SIGKILL, as the kernel does it when memory runs out.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM; how it ended.
    pub async fn terminate(&mut self) -> ExitStatus {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        let mut ended = None;
        eventually("the router has stopped", Duration::from_secs(60), async || {
            ended = self.child.try_wait().expect("its state");
            ended.is_some()
        })
        .await;
        ended.expect("ended")
    }

    /// Everything it has said on standard error.
    pub fn log(&self) -> String {
        log_of(&self.folder)
    }

    /// The status and body of an HTTP page.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let (http, request) = (self.http, format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"));
        blocking(move || page(http, &request)).await
    }

    async fn until_ready(&mut self, seen: usize) {
        eventually("the router says its addresses", START, async || {
            let log = self.log();
            assert!(self.is_running(), "it ended:\n{log}");
            self.read_addresses(&log[seen..])
        })
        .await;
        eventually("the router is ready", START, async || {
            self.get("/readyz").await.is_some_and(|(code, _)| code == 200)
        })
        .await;
    }

    /// `… Ready: DICOM 127.0.0.1:1, HL7 127.0.0.1:2, HTTP 127.0.0.1:3 …`
    fn read_addresses(&mut self, log: &str) -> bool {
        let Some((_, line)) = log.split_once("Ready: DICOM ") else { return false };
        let Some((line, _)) = line.split_once('\n') else { return false };
        let words: Vec<&str> = line.split([',', ' ']).filter(|word| !word.is_empty()).collect();
        let [dicom, "HL7", hl7, "HTTP", http, ..] = words[..] else { panic!("not as expected: {line}") };
        let address = |text: &str| text.parse().unwrap_or_else(|_| panic!("an address expected: {text}"));
        (self.dicom, self.hl7, self.http) = (address(dicom), address(hl7), address(http));
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("What the router said:\n{}", self.log());
        }
    }
}

fn log_of(folder: &Path) -> String {
    fs::read(folder.join("neisse.log")).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
}

fn spawn(folder: &Path, arguments: &[String]) -> Child {
    let log = File::options().append(true).create(true).open(folder.join("neisse.log")).expect("a log file");
    let mut command = command(folder, "serve", arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("the router's binary")
}

/// A command of the router's, with the configuration in `folder`.
pub fn command(folder: &Path, name: &str, arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_neisse"));
    command.arg(name).args(arguments).arg("--config").arg(folder).env("NO_COLOR", "1");
    for variable in fs::read_dir(folder.join("environment")).into_iter().flatten() {
        let path = variable.expect("a file").path();
        command.env(path.file_name().expect("its name"), fs::read_to_string(&path).expect("its text"));
    }
    command
}

fn page(http: SocketAddr, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(http).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
