//! Unmodified DCMTK on the other side of the line: storescu, dcmsend, echoscu as senders, findscu, movescu, getscu as who asks,
//! storescp as a receiver.

use super::{blocking, eventually, free_port, service_folder};
use std::{
    ffi::OsString,
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Where a sender sends, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    pub calling: String,
    pub called: String,
    pub port: u16,
}

pub async fn echoscu(target: &Target) -> Output {
    run("echoscu", target, &[], &[]).await
}

/// `options` before the address, as in `["-xs"]` (propose JPEG lossless).
pub async fn storescu(target: &Target, options: &[&str], files: &[PathBuf]) -> Output {
    run("storescu", target, options, files).await
}

pub async fn dcmsend(target: &Target, options: &[&str], files: &[PathBuf]) -> Output {
    run("dcmsend", target, options, files).await
}

/// `options` name the keys, as in `["-W", "-k", "0010,0010"]`.
pub async fn findscu(target: &Target, options: &[&str]) -> Output {
    run("findscu", target, options, &[]).await
}

/// To a destination of the asker's.
pub async fn movescu(target: &Target, destination: &str, options: &[&str]) -> Output {
    run("movescu", target, &[&["-aem", destination], options].concat(), &[]).await
}

/// Into a folder.
pub async fn getscu(target: &Target, folder: &Path, options: &[&str]) -> Output {
    let folder = folder.to_str().expect("a path in letters");
    run("getscu", target, &[&["-od", folder], options].concat(), &[]).await
}

async fn run(tool: &'static str, target: &Target, options: &[&str], files: &[PathBuf]) -> Output {
    let mut arguments: Vec<OsString> = ["-aet", &target.calling, "-aec", &target.called].map(OsString::from).to_vec();
    arguments.extend(options.iter().map(OsString::from));
    arguments.extend([OsString::from("127.0.0.1"), OsString::from(target.port.to_string())]);
    arguments.extend(files.iter().map(OsString::from));
    blocking(move || Command::new(tool).args(arguments).output())
        .await
        .unwrap_or_else(|error| panic!("{tool}: {error}"))
}

/// A receiver that writes each instance to a file. Gone when dropped.
pub struct StoreScp {
    process: Child,
    folder: TempDir,
    pub ae_title: String,
    pub port: u16,
}

impl StoreScp {
    pub async fn start(ae_title: &str) -> Self {
        Self::start_with(ae_title, free_port(), &[]).await
    }

    /// One that takes no compressed images, which is what storescp does unless it is told otherwise.
    pub async fn start_uncompressed(ae_title: &str) -> Self {
        Self::run(ae_title, free_port(), &[]).await
    }

    /// At a given port, to come back where an earlier one was; with options such as `--refuse` or `--abort-after`.
    pub async fn start_with(ae_title: &str, port: u16, options: &[&str]) -> Self {
        Self::run(ae_title, port, &[&["+xa"], options].concat()).await
    }

    async fn run(ae_title: &str, port: u16, options: &[&str]) -> Self {
        let folder = service_folder("storescp-");
        let process = Command::new("storescp")
            .args(["-aet", ae_title, "-od"])
            .arg(folder.path())
            .arg("-uf")
            .args(options)
            .arg(port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("storescp");
        let scp = Self { process, folder, ae_title: ae_title.to_string(), port };
        eventually("storescp listens", Duration::from_secs(20), async || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        scp
    }

    /// The files received so far.
    pub fn received(&self) -> Vec<PathBuf> {
        files_in(self.folder.path())
    }
}

impl Drop for StoreScp {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The files of a folder, by name.
pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}
