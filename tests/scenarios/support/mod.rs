//! What scenarios share: private services to talk to and to kill, DICOM tools, a proxy that harms a line.
//!
//! `tests/run` starts one RabbitMQ and one PostgreSQL for the whole run; a scenario that kills a service starts its own.
#![expect(dead_code, reason = "each scenario uses some of it")]

pub mod carrier;
pub mod center;
pub mod damage;
pub mod data_set;
pub mod dcmtk;
pub mod engine;
pub mod example;
pub mod faults;
pub mod hospital;
pub mod hostile;
pub mod ledger;
pub mod network;
pub mod network_side;
pub mod operator;
pub mod orders;
pub mod orthanc;
pub mod plain_hl7;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod rabbit;
pub mod readers;
pub mod reports;
pub mod restless;
pub mod statements;
pub mod workstation;

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What `tests/run` hands over.
///
/// # Panics
/// Without it: a scenario never passes because its service is missing.
pub fn handed_over(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: this scenario needs the services that tests/run starts; run tests/run [FILTER]")
    })
}

/// A folder for a service, readable by the service's own user, removed at the end. `tests/run` ends whatever is left
/// running below it.
pub fn service_folder(prefix: &str) -> TempDir {
    let parent = std::env::var_os("NEISSE_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent).expect("a temporary folder");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("permissions of a temporary folder");
    folder
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Runs one of `tests/support`'s scripts.
fn script(name: &str, arguments: &[&str], folder: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(name);
    let (command, rest) = arguments.split_first().expect("a command for the script");
    let output = Command::new(script).arg(command).arg(folder).args(rest).output().expect("bash");
    assert!(output.status.success(), "{name} {command}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Waits for something that will be so, looking often.
///
/// # Panics
/// When it is not so within the time.
pub async fn eventually(what: &str, within: Duration, mut is_so: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !is_so().await {
        assert!(since.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Slow work of another program, off the test's own threads.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("work that does not panic")
}
