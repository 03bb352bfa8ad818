//! PostgreSQL for scenarios: a fresh database on the run's server, or a private server to kill.

use super::{blocking, handed_over, script, service_folder};
use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tempfile::TempDir;

/// An empty database of its own on the run's server; its URL.
///
/// # Panics
/// Outside `tests/run`.
pub async fn shared_database() -> String {
    fresh_database(handed_over("NEISSE_TEST_POSTGRES_URL")).await
}

/// A private server. Gone, with its folder, when dropped.
pub struct Postgres(Arc<Running>);

struct Running {
    folder: TempDir,
}

impl Postgres {
    pub async fn start() -> Self {
        let postgres = Self(Arc::new(Running { folder: service_folder("postgres-") }));
        postgres.run("start").await;
        postgres
    }

    pub async fn fresh_database(&self) -> String {
        let url = fs::read_to_string(self.0.folder.path().join("url")).expect("written by the script");
        fresh_database(url.trim().to_string()).await
    }

    /// SIGKILL to the postmaster.
    pub async fn kill(&self) {
        self.run("kill").await;
    }

    pub async fn again(&self) {
        self.run("again").await;
    }

    async fn run(&self, command: &'static str) {
        let running = Arc::clone(&self.0);
        blocking(move || script("postgresql", &[command], running.folder.path())).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        script("postgresql", &["stop"], self.folder.path());
    }
}

async fn fresh_database(server: String) -> String {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let name = format!("test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
    let make = format!("CREATE DATABASE {name}");
    let parent = server.rsplit_once('/').map_or(server.as_str(), |(parent, _)| parent).to_string();
    let output =
        blocking(move || Command::new("psql").args([&server, "-q", "-c", &make]).output()).await.expect("psql");
    assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    format!("{parent}/{name}")
}
