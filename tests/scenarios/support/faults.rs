//! What scenarios of things going wrong share: pauses and probes, the clock moved to the next probe, HTTP pages.

use super::{
    eventually,
    hospital::{head_ct, send_study},
    network::{Network, SOON},
};
use neisse::{
    cli::sample::{SampleCase, SampleInstance},
    config::Config,
    model::{CaseId, DeliveryKind, DeliveryState, Moment},
    store::{CaseRow, DeliveryRow, Pause},
};
use std::{collections::BTreeMap, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Rabenstein's cases are read in Chemnitz, and Leipzig gets a copy.
pub const CHEMNITZ_AND_LEIPZIG: &str = "[[route]]\nname = \"Always\"\nfrom = [\"rabenstein\"]\nto = [\"chemnitz\"]\n\
    also_to = [\"leipzig-ukl\"]\n";

/// Some time at night when nothing else happens.
pub fn tonight() -> Moment {
    super::network::wall("2026-11-24T23:10")
}

/// The line of a file that begins with `key` says `value` from now on.
pub fn set(files: &mut BTreeMap<String, String>, file: &str, key: &str, value: &str) {
    let text = files.get_mut(file).expect("a file of the configuration");
    let start = format!("{key} = ");
    let found = text.lines().filter(|line| line.starts_with(&start)).count();
    assert_eq!(found, 1, "{file}: {key}");
    let line = |line: &str| if line.starts_with(&start) { format!("{key} = {value}\n") } else { format!("{line}\n") };
    *text = text.lines().map(line).collect();
}

/// A partner's images go to another port: through a proxy, or to a receiver of the scenario's own.
pub fn deliver_to(files: &mut BTreeMap<String, String>, partner: &str, ae_title: &str, port: u16) {
    let target = format!("{{ ae_title = \"{ae_title}\", host = \"127.0.0.1\", port = {port}, associations = 2 }}");
    set(files, &format!("partners/{partner}.toml"), "deliver", &target);
}

/// A head CT sent by the scanner, every slice accepted.
pub async fn send_head_ct(network: &Network, number: u64, slices: usize) -> (SampleCase, Vec<SampleInstance>) {
    let (patient, slices) = head_ct(number, slices);
    send_study(network.node().dicom, &slices).await;
    (patient, slices)
}

impl Network {
    pub async fn pauses(&self) -> Vec<Pause> {
        self.node().store.pauses().await.expect("the store")
    }

    pub async fn pause_of(&self, partner: &str) -> Option<Pause> {
        self.pauses().await.into_iter().find(|pause| pause.partner.as_str() == partner)
    }

    pub async fn until_paused(&self, partner: &str) -> Pause {
        let mut found = None;
        eventually(&format!("{partner} is paused"), SOON, async || {
            found = self.pause_of(partner).await;
            found.is_some()
        })
        .await;
        found.expect("found")
    }

    /// Moves the clock to the next probe of a partner and waits until it has failed; how long the wait after it is.
    pub async fn probe_in_vain(&self, partner: &str) -> Duration {
        let before = self.pause_of(partner).await.expect("paused");
        let at = self.clock.now().max(before.until);
        self.clock.set(at);
        let mut after = None;
        eventually(&format!("{partner} has been asked once more"), SOON, async || {
            after = self.pause_of(partner).await;
            after.as_ref().is_none_or(|pause| pause.failures > before.failures)
        })
        .await;
        after.expect("still paused").until.since(at)
    }

    /// Moves the clock to each next probe of a partner, until it is taken for being there again.
    pub async fn probe_until_back(&self, partner: &str) {
        eventually(&format!("{partner} is not paused any more"), SOON, async || match self.pause_of(partner).await {
            Some(pause) => {
                self.clock.set(self.clock.now().max(pause.until));
                tokio::time::sleep(Duration::from_millis(100)).await;
                false
            }
            None => true,
        })
        .await;
    }

    /// Lets the clock run ten times as fast until it is so.
    pub async fn soon(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        eventually(what, SOON, async || {
            self.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(80)).await;
            is_so().await
        })
        .await;
    }

    /// What a case owes a partner.
    pub async fn owed_to(&self, case: &CaseRow, partner: &str) -> Vec<DeliveryRow> {
        self.ledger(case).await.into_iter().filter(|row| row.partner.as_str() == partner).collect()
    }

    /// Waits until all of a case's images are with a partner, by the ledger.
    pub async fn until_delivered(&self, case: &CaseRow, partner: &str) {
        eventually(&format!("{partner} has the case"), SOON, async || {
            let images = self.owed_to(case, partner).await;
            let images: Vec<_> = images.iter().filter(|row| row.kind == DeliveryKind::Images).collect();
            let items: i64 = images.iter().map(|row| row.items).sum();
            items > 0 && items == self.now(case.id).await.instances && images.iter().all(|row| is_delivered(row))
        })
        .await;
    }

    /// The case as it is now.
    pub async fn now(&self, case: CaseId) -> CaseRow {
        self.node().store.case(case).await.expect("the store")
    }

    /// How often a line of the case's story says this.
    pub async fn told(&self, case: &CaseRow, what: &str) -> usize {
        self.story(case).await.lines().filter(|line| line.contains(what)).count()
    }

    /// Owes again what stopped, as `neisse cases resend` does, at this network's time.
    pub async fn resend(&self, case: &CaseRow) -> u64 {
        let now = self.clock.now();
        let mut tx = self.node().store.begin(neisse::store::Durability::Synced).await.expect("the store");
        let again = tx.resend(case.id, false, now, now + Duration::from_secs(86_400)).await.expect("the store");
        tx.commit().await.expect("the store");
        again.again
    }

    /// The configuration read again with these changes, as on SIGHUP.
    pub fn reload(&mut self, change: impl FnOnce(&mut BTreeMap<String, String>)) {
        change(&mut self.files);
        let config: Config = super::network::checked(self.folder.path(), &self.files);
        self.node().replace(config);
    }

    /// Head and body of one of the node's pages.
    pub async fn page(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.node().http).await.expect("the node's HTTP port");
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    /// The value of a metric, given with its labels as the page shows them.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        // The page is believed for a second: what has just happened is on the next one.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let page = self.page("/metrics").await;
        let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

pub fn is_delivered(row: &DeliveryRow) -> bool {
    row.state == DeliveryState::Delivered
}

pub fn attempts(rows: &[DeliveryRow]) -> i64 {
    rows.iter().map(|row| row.attempts).sum()
}
