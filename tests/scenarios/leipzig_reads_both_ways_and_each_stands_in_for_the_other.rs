//! The university hospital and St. Georg each send and read: heads of St. Georg to the one, the rest shared by weight, and the
//! same patient stays with the same reader. St. Georg goes dark for three hours: what it has not claimed moves over, withdrawn
//! there exactly once; what it has claimed stays; when it is back, new cases go to it again. Nobody reads twice.

use crate::support::{
    carrier::partner,
    center::Center,
    eventually,
    hospital::Scanner,
    network::{BOTH, Network, SOON, wall},
    readers::{Reader, said},
};
use neisse::{
    cli::sample::{self, SampleCase, SampleInstance},
    model::TaskState,
    store::CaseRow,
};
use reqwest::StatusCode;
use std::time::Duration;

const ROUTES: &str = r#"
[[route]]
name = "Heads of St. Georg"
from = ["leipzig-georg"]
calling_ae = ["STG_CT1"]
body_part = ["HEAD"]
to = ["leipzig-ukl", "leipzig-georg"]
claim_within = "8h"

[[route]]
name = "Shared"
from = ["leipzig-ukl", "leipzig-georg"]
share = [{ to = "leipzig-ukl", weight = 60 }, { to = "leipzig-georg", weight = 40 }]
claim_within = "8h"
"#;
const MINUTE: Duration = Duration::from_secs(60);

/// Both houses, at work.
struct Leipzig {
    network: Network,
    georg: Center,
    ukl_reads: Reader,
    georg_reads: Reader,
    cases: Vec<CaseRow>,
    sent: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn leipzig_reads_both_ways_and_each_stands_in_for_the_other() {
    for footing in BOTH {
        let georg = Center::start("STG_PACS").await;
        let network = Network::example(footing, wall("2026-11-25T10:00"), |example| {
            example.rules(ROUTES);
            example.takes_images_at("leipzig-georg", georg.port);
            for house in ["leipzig-ukl", "leipzig-georg"] {
                example.edit_partner(house, |partner| {
                    let orders = partner.get_mut("orders").and_then(toml::Value::as_table_mut).expect("[orders]");
                    orders.insert("expected".into(), false.into());
                });
            }
        })
        .await;
        let ukl_reads = Reader::of(&network, "leipzig-ukl", "UKL_WS").await;
        let georg_reads = Reader::of(&network, "leipzig-georg", "STG_WS").await;
        let mut leipzig = Leipzig { network, georg, ukl_reads, georg_reads, cases: Vec::new(), sent: 0 };
        leipzig.by_day().await;
        leipzig.georg_is_dark().await;
        leipzig.georg_is_back().await;
        leipzig.nobody_reads_twice().await;
        leipzig.network.at_rest().await;
    }
}

impl Leipzig {
    /// Shared six to four; heads to the university hospital; the same patient to the same reader.
    async fn by_day(&mut self) {
        let mut went = Vec::new();
        for _ in 0..10 {
            went.push(self.send("UKL_CT1").await);
        }
        assert_eq!(count(&went, "leipzig-ukl"), 6, "{went:?}");
        assert_eq!(count(&went, "leipzig-georg"), 4, "{went:?}");
        assert_eq!(self.send("STG_CT1").await, "leipzig-ukl");
        // The eleventh by weight is the university hospital's; this patient has an open case at St. Georg.
        let theirs = went.iter().position(|reader| reader == "leipzig-georg").expect("four of them");
        let again = SampleCase { key: "again".into(), accession: "A2".into(), ..patient(theirs as u64 + 1) };
        assert_eq!(self.send_of("UKL_CT1", &again).await, "leipzig-georg");
        let case = self.cases.last().expect("sent").clone();
        assert!(decided(&case).contains("leipzig-georg reads another open case of this patient"), "{}", decided(&case));
    }

    /// One case is claimed before; everything else that was offered there moves over, and what comes goes past it.
    async fn georg_is_dark(&mut self) {
        let theirs: Vec<CaseRow> = self.read_by("leipzig-georg").await;
        assert_eq!(theirs.len(), 5);
        for case in &theirs {
            self.network.until_delivered(case, "leipzig-georg").await;
        }
        let claimed = self.offered_at_georg(&theirs[0]).await;
        assert_eq!(self.georg_reads.move_to(&claimed, "IN PROGRESS", "1.2.3").await.status, StatusCode::OK);
        self.georg.go_away().await;
        // Nobody knows yet.
        let mut went = Vec::new();
        for _ in 0..4 {
            went.push(self.send("UKL_CT1").await);
        }
        assert!(count(&went, "leipzig-georg") > 0, "{went:?}");
        self.network.until_paused("leipzig-georg").await;
        self.network.clock.advance(11 * MINUTE);
        let network = &self.network;
        for case in &self.cases {
            eventually("it has moved over", SOON, async || {
                let reader = network.now(case.id).await.reader.expect("a reader");
                (reader == partner("leipzig-georg")) == (case.id == theirs[0].id)
            })
            .await;
        }
        for case in &theirs[1..] {
            let old = self.offered_at_georg(case).await;
            assert_eq!(said(&self.georg_reads.task(&old).await, "00741000"), "CANCELED");
            assert_eq!(self.georg_reads.move_to(&old, "IN PROGRESS", "1.2.4").await.status, StatusCode::CONFLICT);
        }
        for _ in 0..4 {
            self.network.clock.advance(45 * MINUTE);
            assert_eq!(self.send("UKL_CT1").await, "leipzig-ukl", "not to whom nothing can be sent");
        }
        assert!(decided(self.cases.last().expect("sent")).contains("leipzig-georg is down: it comes last"));
    }

    /// What has moved stays where it is; new cases go to St. Georg again, which has next to nothing to read.
    async fn georg_is_back(&mut self) {
        let before = self.read_by("leipzig-ukl").await.len();
        self.georg.come_back().await;
        self.network.probe_until_back("leipzig-georg").await;
        assert_eq!(self.send("UKL_CT1").await, "leipzig-georg");
        let case = self.cases.last().expect("sent").clone();
        self.network.until_delivered(&case, "leipzig-georg").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(self.read_by("leipzig-ukl").await.len(), before);
    }

    /// Each case has one reader, one open task, and was withdrawn once at most; each is claimed once.
    async fn nobody_reads_twice(&self) {
        let mut moved = 0;
        for case in &self.cases {
            let store = &self.network.node().store;
            let mut tasks = store.tasks_of_cases(&[case.id], &partner("leipzig-ukl")).await.expect("the store");
            let others = store.tasks_of_cases(&[case.id], &partner("leipzig-georg")).await.expect("the store");
            tasks.extend(
                others.into_iter().filter(|task| !tasks.iter().any(|known| known.uid == task.uid)).collect::<Vec<_>>(),
            );
            let open: Vec<_> = tasks.iter().filter(|task| task.state != TaskState::Canceled).collect();
            assert_eq!(open.len(), 1, "{tasks:?}");
            assert_eq!(Some(&open[0].reader), self.network.now(case.id).await.reader.as_ref());
            let withdrawn = self.network.told(case, "withdrawn there").await;
            assert_eq!(withdrawn, tasks.len() - 1, "{}", self.network.story(case).await);
            moved += withdrawn;
            if open[0].state == TaskState::Scheduled {
                let ukl = open[0].reader == partner("leipzig-ukl");
                let (reads, other) =
                    if ukl { (&self.ukl_reads, &self.georg_reads) } else { (&self.georg_reads, &self.ukl_reads) };
                let uid = open[0].uid.to_string();
                assert_ne!(other.move_to(&uid, "IN PROGRESS", "1.2.5").await.status, StatusCode::OK);
                assert_eq!(reads.move_to(&uid, "IN PROGRESS", "1.2.6").await.status, StatusCode::OK);
            }
            assert_eq!(self.network.told(case, "claimed by").await, 1, "{}", self.network.story(case).await);
        }
        assert!(moved >= 5, "{moved}");
    }

    /// A study of a new patient; who reads it.
    async fn send(&mut self, calling_ae: &str) -> String {
        let next = patient(self.sent + 1);
        self.send_of(calling_ae, &next).await
    }

    async fn send_of(&mut self, calling_ae: &str, patient: &SampleCase) -> String {
        self.sent += 1;
        let slices: Vec<SampleInstance> = sample::head_ct(2, 64, patient).collect();
        let mut scanner = Scanner::connect_as(calling_ae, self.network.node().dicom, &slices[0]).await;
        for slice in &slices {
            assert_eq!(scanner.send(slice).await, 0x0000);
        }
        scanner.release().await;
        let origin = if calling_ae.starts_with("UKL") { "leipzig-ukl" } else { "leipzig-georg" };
        let case = self.network.decided(origin, &patient.study()).await;
        let reader = case.reader.clone().expect("a reader").to_string();
        self.cases.push(case);
        reader
    }

    async fn read_by(&self, reader: &str) -> Vec<CaseRow> {
        let mut read = Vec::new();
        for case in &self.cases {
            read.extend(Some(self.network.now(case.id).await).filter(|case| case.reader == Some(partner(reader))));
        }
        read
    }

    /// Its task there, whatever became of it.
    async fn offered_at_georg(&self, case: &CaseRow) -> String {
        let store = &self.network.node().store;
        let tasks = store.tasks_of_cases(&[case.id], &partner("leipzig-georg")).await.expect("the store");
        let theirs = tasks.iter().find(|task| task.reader == partner("leipzig-georg"));
        theirs.expect("offered there").uid.to_string()
    }
}

fn patient(number: u64) -> SampleCase {
    SampleCase::numbered(number)
}

fn count(went: &[String], reader: &str) -> usize {
    went.iter().filter(|name| *name == reader).count()
}

fn decided(case: &CaseRow) -> String {
    case.decision.as_ref().expect("decided").reasons.join("\n")
}
