//! RabbitMQ for scenarios: the one of the whole run, or a private one to kill, block and restart.

use super::{blocking, handed_over, script, service_folder};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tempfile::TempDir;

/// As many as `tests/run` has `tests/support/rabbitmq` make.
const VIRTUAL_HOSTS: usize = 140;

/// A virtual host of its own on the run's broker: no other scenario sees its queues.
///
/// # Panics
/// Outside `tests/run`, and when all are taken.
pub fn shared_url() -> String {
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    let number = TAKEN.fetch_add(1, Ordering::Relaxed) + 1;
    assert!(number <= VIRTUAL_HOSTS, "more virtual hosts wanted than tests/run has made: raise it in both");
    format!("{}/test-{number}", handed_over("NEISSE_TEST_AMQP_URL"))
}

/// A private broker. Gone, with its folder, when dropped.
pub struct Rabbit(Arc<Running>);

struct Running {
    folder: TempDir,
}

/// Certificates for a broker that asks its clients for one: PEM files in a folder.
pub struct Certificates {
    pub ca: PathBuf,
    pub client_cert: PathBuf,
    pub client_key: PathBuf,
}

impl Rabbit {
    pub async fn start() -> Self {
        Self::start_in(service_folder("rabbit-")).await
    }

    /// Also listens with TLS, for clients with a certificate only.
    pub async fn start_with_tls() -> (Self, Certificates) {
        let folder = service_folder("rabbit-");
        let tls = folder.path().join("tls");
        fs::create_dir(&tls).expect("a folder");
        let certificates = make_certificates(&tls);
        (Self::start_in(folder).await, certificates)
    }

    async fn start_in(folder: TempDir) -> Self {
        let rabbit = Self(Arc::new(Running { folder }));
        rabbit.run(&["start"]).await;
        rabbit
    }

    pub fn url(&self) -> String {
        self.read("url")
    }

    pub fn tls_url(&self) -> String {
        self.read("tls_url")
    }

    /// As a power cut would.
    pub async fn kill(&self) {
        self.run(&["kill"]).await;
    }

    /// The same broker again, with what it had on disk.
    pub async fn again(&self) {
        self.run(&["again"]).await;
    }

    /// rabbitmqctl; what it prints.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        self.run(&[&["ctl"], arguments].concat()).await
    }

    /// 0.00001 blocks publishers, 0.4 lets them go on.
    pub async fn memory_watermark(&self, share: &str) {
        self.ctl(&["set_vm_memory_high_watermark", share]).await;
    }

    async fn run(&self, arguments: &[&str]) -> String {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let running = Arc::clone(&self.0);
        blocking(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let output = script("rabbitmq", &arguments, running.folder.path());
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
        .await
    }

    fn read(&self, name: &str) -> String {
        let url = fs::read_to_string(self.0.folder.path().join(name)).expect("written by the script");
        url.trim().to_string()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        script("rabbitmq", &["stop"], self.folder.path());
    }
}

fn make_certificates(folder: &Path) -> Certificates {
    let write = |name: &str, pem: String| {
        let path = folder.join(name);
        fs::write(&path, pem).expect("a file");
        path
    };
    let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "A test's authority");
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let ca = write("ca.pem", authority.self_signed(&authority_key).expect("a certificate").pem());
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let issue = |name: &str, usage| {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_string()]).expect("parameters");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages.push(usage);
        let key = rcgen::KeyPair::generate().expect("a key");
        (params.signed_by(&key, &issuer).expect("a certificate").pem(), key.serialize_pem())
    };
    let (cert, key) = issue("broker", rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    write("cert.pem", cert);
    write("key.pem", key);
    let (cert, key) = issue("neisse", rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    Certificates { ca, client_cert: write("client-cert.pem", cert), client_key: write("client-key.pem", key) }
}
