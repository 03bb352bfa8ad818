//! The university hospital and St. Georg each send and read, by the rules as they are shipped: chests of the one to the other, heads
//! of the other to the one, slides shared by weight, and the same patient stays with the same reader. Each goes dark, one after the
//! other: what it has not claimed moves over, withdrawn there exactly once; what it has claimed stays; when it is back, new
//! cases go to it again. Nobody reads twice.

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

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum House {
    Ukl,
    Georg,
}
use House::{Georg, Ukl};

impl House {
    fn id(self) -> &'static str {
        if self == Ukl { "leipzig-ukl" } else { "leipzig-georg" }
    }

    fn other(self) -> Self {
        if self == Ukl { Georg } else { Ukl }
    }

    /// What it sends is read by the other.
    fn sends(self, patient: &SampleCase) -> Vec<SampleInstance> {
        match self {
            Ukl => vec![sample::chest_dx(64, 64, patient)],
            Georg => sample::head_ct(2, 64, patient).collect(),
        }
    }
}

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
            example.with_claims();
            example.takes_images_at("leipzig-georg", georg.port);
            for house in [Ukl, Georg] {
                example.edit_partner(house.id(), |partner| {
                    let orders = partner.get_mut("orders").and_then(toml::Value::as_table_mut).expect("[orders]");
                    orders.insert("expected".into(), false.into());
                });
            }
        })
        .await;
        let ukl_reads = Reader::of(&network, "leipzig-ukl", "UKL_WS").await;
        let georg_reads = Reader::of(&network, "leipzig-georg", "STG_WS").await;
        let mut leipzig = Leipzig { network, georg, ukl_reads, georg_reads, cases: Vec::new(), sent: 0 };
        leipzig.slides_are_shared().await;
        leipzig.each_reads_what_the_other_sends().await;
        leipzig.is_dark(Georg, 180 * MINUTE).await;
        leipzig.is_back(Georg).await;
        leipzig.is_dark(Ukl, Duration::ZERO).await;
        leipzig.is_back(Ukl).await;
        leipzig.nobody_reads_twice().await;
        leipzig.network.at_rest().await;
    }
}

impl Leipzig {
    /// Six to four; the same patient to the same reader.
    async fn slides_are_shared(&mut self) {
        let mut went = Vec::new();
        for _ in 0..10 {
            let patient = self.next();
            went.push(self.send_of(Ukl, &patient, &[slide(&patient)]).await);
        }
        let count = |house| went.iter().filter(|reader| **reader == house).count();
        assert_eq!((count(Ukl), count(Georg)), (6, 4), "{went:?}");
        // The eleventh by weight is the university hospital's; this patient has an open case at St. Georg.
        let theirs = went.iter().position(|reader| *reader == Georg).expect("four of them");
        let again =
            SampleCase { key: "again".into(), accession: "A2".into(), ..SampleCase::numbered(theirs as u64 + 1) };
        assert_eq!(self.send_of(Ukl, &again, &[slide(&again)]).await, Georg);
        let case = self.cases.last().expect("sent").clone();
        assert!(decided(&case).contains("leipzig-georg reads another open case of this patient"), "{}", decided(&case));
    }

    async fn each_reads_what_the_other_sends(&mut self) {
        for house in [Ukl, Georg, Ukl, Georg] {
            assert_eq!(self.send(house).await, house.other());
        }
    }

    /// One case is claimed before; everything else that was offered there moves over, and what comes goes past it.
    async fn is_dark(&mut self, house: House, for_long: Duration) {
        for _ in 0..3 {
            assert_eq!(self.send(house.other()).await, house);
        }
        let theirs = self.unclaimed_at(house).await;
        for case in &theirs {
            if case.origin != partner(house.id()) {
                self.network.until_delivered(case, house.id()).await;
            }
        }
        let kept = theirs.last().expect("just sent").clone();
        let claimed = self.offered_at(house, &kept).await;
        assert_eq!(self.reads(house).move_to(&claimed, "IN PROGRESS", "1.2.3").await.status, StatusCode::OK);
        self.center(house).go_away().await;
        // Nobody knows yet.
        for _ in 0..3 {
            assert_eq!(self.send(house.other()).await, house);
        }
        self.network.until_paused(house.id()).await;
        self.network.clock.advance(11 * MINUTE);
        // Its own images are there, whether its line is or not.
        let moving: Vec<CaseRow> = self.unclaimed_at(house).await;
        let moving: Vec<CaseRow> = moving.into_iter().filter(|case| case.origin != partner(house.id())).collect();
        let network = &self.network;
        for case in &moving {
            eventually("it has moved over", SOON, async || {
                network.now(case.id).await.reader == Some(partner(house.other().id()))
            })
            .await;
            let old = self.offered_at(house, case).await;
            assert_eq!(said(&self.reads(house).task(&old).await, "00741000"), "CANCELED");
            assert_eq!(self.reads(house).move_to(&old, "IN PROGRESS", "1.2.4").await.status, StatusCode::CONFLICT);
        }
        assert_eq!(self.network.now(kept.id).await.reader, Some(partner(house.id())), "what is claimed stays");
        self.claim_all(house.other()).await;
        for _ in 0..4 {
            self.network.clock.advance(for_long / 4);
            assert_eq!(self.send(house.other()).await, house.other(), "not to whom nothing can be sent");
            let why = decided(self.cases.last().expect("sent"));
            assert!(why.contains(&format!("{} is down: it comes last", house.id())), "{why}");
            self.claim_all(house.other()).await;
        }
    }

    /// What has moved stays where it is; new cases go there again.
    async fn is_back(&mut self, house: House) {
        let before = self.read_by(house.other()).await.len();
        self.center(house).come_back().await;
        self.network.probe_until_back(house.id()).await;
        assert_eq!(self.send(house.other()).await, house);
        let case = self.cases.last().expect("sent").clone();
        self.network.until_delivered(&case, house.id()).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(self.read_by(house.other()).await.len(), before);
    }

    /// Each case has one reader, one open task, and was withdrawn once at most; each is claimed once.
    async fn nobody_reads_twice(&self) {
        let mut moved = [0, 0];
        for case in &self.cases {
            let tasks = self.tasks_of(case).await;
            let open: Vec<_> = tasks.iter().filter(|task| task.state != TaskState::Canceled).collect();
            assert_eq!(open.len(), 1, "{tasks:?}");
            assert_eq!(Some(&open[0].reader), self.network.now(case.id).await.reader.as_ref());
            let withdrawn = self.network.told(case, "withdrawn there").await;
            assert_eq!(withdrawn, tasks.len() - 1, "{}", self.network.story(case).await);
            let reads = if open[0].reader == partner(Ukl.id()) { Ukl } else { Georg };
            moved[usize::from(reads == Ukl)] += withdrawn;
            if open[0].state == TaskState::Scheduled {
                let uid = open[0].uid.to_string();
                let others = self.reads(reads.other()).move_to(&uid, "IN PROGRESS", "1.2.5").await;
                assert_ne!(others.status, StatusCode::OK);
                assert_eq!(self.reads(reads).move_to(&uid, "IN PROGRESS", "1.2.6").await.status, StatusCode::OK);
            }
            assert_eq!(self.network.told(case, "claimed by").await, 1, "{}", self.network.story(case).await);
        }
        assert!(moved.iter().all(|moved| *moved >= 3), "to St. Georg, to the university hospital: {moved:?}");
    }

    fn next(&mut self) -> SampleCase {
        self.sent += 1;
        SampleCase::numbered(self.sent)
    }

    /// A study of a new patient that the other house is to read; who reads it.
    async fn send(&mut self, from: House) -> House {
        let patient = self.next();
        self.send_of(from, &patient, &from.sends(&patient)).await
    }

    async fn send_of(&mut self, from: House, patient: &SampleCase, images: &[SampleInstance]) -> House {
        let scanner = if from == Ukl { "UKL_CT1" } else { "STG_CT1" };
        let mut scanner = Scanner::connect_as(scanner, self.network.node().dicom, &images[0]).await;
        for image in images {
            assert_eq!(scanner.send(image).await, 0x0000);
        }
        scanner.release().await;
        let case = self.network.decided(from.id(), &patient.study()).await;
        let reader = case.reader.clone().expect("a reader");
        self.cases.push(case);
        [Ukl, Georg].into_iter().find(|house| partner(house.id()) == reader).expect("one of both")
    }

    fn reads(&self, house: House) -> &Reader {
        if house == Ukl { &self.ukl_reads } else { &self.georg_reads }
    }

    fn center(&mut self, house: House) -> &mut Center {
        if house == Ukl { &mut self.network.leipzig } else { &mut self.georg }
    }

    async fn read_by(&self, house: House) -> Vec<CaseRow> {
        let mut read = Vec::new();
        for case in &self.cases {
            read.extend(Some(self.network.now(case.id).await).filter(|case| case.reader == Some(partner(house.id()))));
        }
        read
    }

    /// Read there, and still an offer.
    async fn unclaimed_at(&self, house: House) -> Vec<CaseRow> {
        let mut unclaimed = Vec::new();
        for case in self.read_by(house).await {
            if self.tasks_of(&case).await.iter().any(|task| task.state == TaskState::Scheduled) {
                unclaimed.push(case);
            }
        }
        unclaimed
    }

    async fn claim_all(&self, house: House) {
        for case in self.unclaimed_at(house).await {
            let task = self.offered_at(house, &case).await;
            assert_eq!(self.reads(house).move_to(&task, "IN PROGRESS", "1.2.7").await.status, StatusCode::OK);
        }
    }

    async fn tasks_of(&self, case: &CaseRow) -> Vec<neisse::store::TaskRow> {
        let store = &self.network.node().store;
        let mut tasks = store.tasks_of_cases(&[case.id], &partner(Ukl.id())).await.expect("the store");
        for task in store.tasks_of_cases(&[case.id], &partner(Georg.id())).await.expect("the store") {
            if !tasks.iter().any(|known| known.uid == task.uid) {
                tasks.push(task);
            }
        }
        tasks
    }

    /// Its task there, whatever became of it.
    async fn offered_at(&self, house: House, case: &CaseRow) -> String {
        let tasks = self.tasks_of(case).await;
        tasks.iter().find(|task| task.reader == partner(house.id())).expect("offered there").uid.to_string()
    }
}

fn slide(patient: &SampleCase) -> SampleInstance {
    sample::slide(1, 1, &format!("S26-{}", patient.accession), patient)
}

fn decided(case: &CaseRow) -> String {
    case.decision.as_ref().expect("decided").reasons.join("\n")
}
