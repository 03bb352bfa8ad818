//! A hospital and a center that never rest: scanners that send study after study and come back after every break with
//! what was not acknowledged, a center that reports each study it has whole, again and again until it gets its AA.
//!
//! In: where the router is now, which may change. Out: what the router has acknowledged, to be held against what
//! arrived. The luck of a run comes from a seed that is printed.

use super::{
    center::{About, Center, oru},
    eventually,
    hospital::{Hospital, Scanner},
};
use neisse::{
    cli::sample::{self, SampleCase, SampleInstance},
    hl7::ack::AckCode,
    model::{CaseState, DeliveryState, PartnerId, Uid},
    store::{ListFilter, Store},
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Two scanners of small slices, one of large ones: slices a study, pixels a side.
const SCANNERS: [(usize, u16); 3] = [(12, 64), (20, 64), (3, 512)];
const REPORTERS: usize = 2;
/// Milliseconds, at most.
const BETWEEN_STUDIES: u64 = 400;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Everything is at its place this long after the last harm.
const AFTERWARDS: Duration = Duration::from_secs(90);

/// Where the router listens now.
#[derive(Clone, Copy, Debug)]
pub struct Doors {
    pub dicom: SocketAddr,
    pub hl7: SocketAddr,
}

/// The hospital takes UTF-8: its invented patients come from three countries, and no report shall call a person.
pub fn take_every_letter(files: &mut BTreeMap<String, String>) {
    let hospital = files.get_mut("partners/rabenstein.toml").expect("the hospital's file");
    *hospital = hospital.replace("8859/1", "UNICODE UTF-8");
}

/// Luck that can be repeated (xorshift).
pub struct Luck(u64);

impl Luck {
    /// `NEISSE_TEST_SEED`, or another one each time; printed, to repeat a run that failed.
    pub fn printed(what: &str) -> Self {
        let given =
            std::env::var("NEISSE_TEST_SEED").ok().map(|seed| seed.parse().expect("NEISSE_TEST_SEED: a number"));
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let seed = given.unwrap_or(u64::from(clock.subsec_nanos()));
        println!("{what}: NEISSE_TEST_SEED={seed}");
        Self::new(seed)
    }

    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    pub fn millis_below(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }
}

#[derive(Default)]
struct Kept {
    /// Data sets that were answered 0000.
    acknowledged: HashMap<Uid, Vec<u8>>,
    studies: Vec<SampleCase>,
    /// Texts of reports that were answered AA.
    reported: Vec<String>,
}

/// Runs until [`Restless::comes_to_rest`].
pub struct Restless {
    pub doors: watch::Sender<Doors>,
    kept: Arc<Mutex<Kept>>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Worker {
    doors: watch::Receiver<Doors>,
    kept: Arc<Mutex<Kept>>,
    center: Center,
    stop: CancellationToken,
    numbers: Arc<AtomicU64>,
}

type Whole = (SampleCase, Vec<Uid>);

impl Restless {
    pub fn start(doors: Doors, center: &Center, luck: &mut Luck) -> Self {
        let doors = watch::Sender::new(doors);
        let worker = Worker {
            doors: doors.subscribe(),
            kept: Arc::default(),
            center: center.clone(),
            stop: CancellationToken::new(),
            numbers: Arc::new(AtomicU64::new(1)),
        };
        let (whole, studies) = mpsc::unbounded_channel();
        let studies = Arc::new(tokio::sync::Mutex::new(studies));
        let mut tasks = JoinSet::new();
        for (slices, size) in SCANNERS {
            tasks.spawn(worker.clone().scan(slices, size, Luck::new(luck.below(u64::MAX)), whole.clone()));
        }
        for _ in 0..REPORTERS {
            tasks.spawn(worker.clone().report(Luck::new(luck.below(u64::MAX)), Arc::clone(&studies)));
        }
        Self { doors, kept: Arc::clone(&worker.kept), stop: worker.stop, tasks }
    }

    pub fn acknowledged(&self) -> usize {
        self.kept.lock().expect("kept").acknowledged.len()
    }

    pub fn reported(&self) -> usize {
        self.kept.lock().expect("kept").reported.len()
    }

    /// Lets what has been begun come to its end, then holds what was acknowledged against what is where.
    pub async fn comes_to_rest(mut self, store: &Store, hospital: &Hospital, center: &Center) {
        self.stop.cancel();
        let ended = async {
            while let Some(task) = self.tasks.join_next().await {
                task.expect("a worker that does not fail");
            }
        };
        tokio::time::timeout(AFTERWARDS, ended).await.expect("all is acknowledged in the end");
        let kept = std::mem::take(&mut *self.kept.lock().expect("kept"));
        let (instances, studies, reports) = (kept.acknowledged.len(), kept.studies.len(), kept.reported.len());
        println!("{instances} instances of {studies} studies and {reports} reports were acknowledged");
        assert!(studies > 0 && reports > 0, "the scenario did something");
        all_arrived(&kept, center);
        all_reported(&kept, store).await;
        all_returned(&kept, hospital).await;
        nothing_waits(&kept, store).await;
    }
}

/// Every acknowledged instance is in the archive as it was sent.
fn all_arrived(kept: &Kept, center: &Center) {
    let archive = center.archive();
    let wrong = kept.acknowledged.iter().filter(|(uid, sent)| archive.get(*uid).is_none_or(|found| found != *sent));
    assert_eq!(wrong.count(), 0, "acknowledged instances that did not arrive as they were sent");
    assert_eq!(archive.len(), kept.acknowledged.len(), "and nothing else did");
}

/// One case a study, reported, with each of its two reports once, and nothing for a person to look at.
async fn all_reported(kept: &Kept, store: &Store) {
    let origin = PartnerId::new("rabenstein").expect("an id");
    let all = ListFilter { limit: 100_000, ..ListFilter::default() };
    assert_eq!(store.list_cases(&all).await.expect("the store").len(), kept.studies.len(), "one case a study");
    for study in &kept.studies {
        let mut case = None;
        eventually("a case is whole and reported", AFTERWARDS, async || {
            case = store.find_case(&origin, &study.study()).await.expect("the store");
            case.as_ref().is_some_and(|case| case.state == CaseState::Reported && case.whole.is_some())
        })
        .await;
        let case = case.expect("found");
        let story = store.story(case.id).await.expect("the store");
        let story: Vec<String> =
            story.iter().map(|event| format!("{} {} {}", event.at, event.actor, event.what)).collect();
        assert_eq!(case.attention, "", "nobody is called\n{}", story.join("\n"));
        let versions: Vec<i64> =
            store.reports(case.id).await.expect("the store").iter().map(|report| report.version).collect();
        assert_eq!(versions, [1, 2], "a repeated report is no version\n{}", story.join("\n"));
    }
}

/// Every report that was answered AA is at the hospital; if it came twice, as the same message.
async fn all_returned(kept: &Kept, hospital: &Hospital) {
    for text in &kept.reported {
        let mut found = Vec::new();
        eventually("an acknowledged report is at the hospital", AFTERWARDS, async || {
            let has = |message: &bytes::Bytes| message.windows(text.len()).any(|bytes| bytes == text.as_bytes());
            found = hospital.reports().into_iter().filter(has).collect();
            !found.is_empty()
        })
        .await;
        let distinct: HashSet<_> = found.iter().collect();
        assert_eq!(distinct.len(), 1, "repeated as the same message, with the same control id");
    }
}

async fn nothing_waits(kept: &Kept, store: &Store) {
    eventually("every delivery has ended", AFTERWARDS, async || {
        store.count_deliveries().await.expect("the store").is_empty()
            && store.cases_to_route(10).await.expect("the store").is_empty()
    })
    .await;
    assert!(store.held_reports().await.expect("the store").is_empty(), "every report fits its case");
    let origin = PartnerId::new("rabenstein").expect("an id");
    for study in &kept.studies {
        let case = store.find_case(&origin, &study.study()).await.expect("the store").expect("a case");
        for delivery in store.ledger(case.id).await.expect("the store") {
            assert_eq!(delivery.state, DeliveryState::Delivered, "{delivery:?}");
        }
    }
}

impl Worker {
    /// Study after study; each until every slice of it has been acknowledged.
    async fn scan(self, slices: usize, size: u16, mut luck: Luck, whole: mpsc::UnboundedSender<Whole>) {
        while !self.stop.is_cancelled() {
            let case = SampleCase::numbered(self.numbers.fetch_add(1, Ordering::Relaxed));
            let patient = case.clone();
            let instances: Vec<_> = super::blocking(move || sample::head_ct(slices, size, &patient).collect()).await;
            let mut sent = vec![false; slices];
            while !self.send(&instances, &mut sent, &mut luck).await {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            self.kept.lock().expect("kept").studies.push(case.clone());
            let uids = instances.into_iter().map(|instance| instance.sop_instance).collect();
            // The reporters live as long as there are senders.
            let _ = whole.send((case, uids));
            tokio::time::sleep(luck.millis_below(BETWEEN_STUDIES)).await;
        }
    }

    /// One association: what was not acknowledged, at times with what was. True when all is.
    async fn send(&self, instances: &[SampleInstance], sent: &mut [bool], luck: &mut Luck) -> bool {
        let router = self.doors.borrow().dicom;
        let again = luck.below(4) == 0;
        let Some(mut scanner) = Scanner::try_connect(router, &instances[0]).await else { return false };
        for (instance, sent) in instances.iter().zip(sent) {
            if *sent && !again {
                continue;
            }
            let Some(status) = scanner.try_send(instance).await else { return false };
            assert_eq!(status, 0x0000, "the router takes what it is sent or is gone");
            *sent = true;
            let mut kept = self.kept.lock().expect("kept");
            kept.acknowledged.insert(instance.sop_instance.clone(), instance.data_set.clone());
        }
        if luck.below(3) > 0 {
            scanner.release().await;
        }
        true
    }

    async fn report(self, mut luck: Luck, studies: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Whole>>>) {
        loop {
            let next = studies.lock().await.recv().await;
            let Some((case, slices)) = next else { return };
            while !self.center.holds(&slices) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            for (status, word) in [("P", "preliminary"), ("F", "final")] {
                let text = format!("Report {word} about {}.", case.accession);
                let (study, control_id) = (case.study().to_string(), format!("{}-{status}", case.accession));
                let about = About {
                    patient_id: &case.patient_id,
                    issuer: "RABENSTEIN",
                    accession: &case.accession,
                    study: &study,
                };
                let message = oru("KLCHEM", &control_id, &about, status, &text);
                let times = 1 + luck.below(2);
                for _ in 0..times {
                    self.until_accepted(&message, &control_id).await;
                }
                self.kept.lock().expect("kept").reported.push(text);
            }
        }
    }

    /// The same message until it has its AA, as an information system does.
    async fn until_accepted(&self, message: &[u8], control_id: &str) {
        loop {
            let router = self.doors.borrow().hl7;
            match Center::try_send_hl7(router, message, control_id).await.map(|answer| answer.code) {
                Some(AckCode::AA) => return,
                // AR: "cannot be stored now, send again later".
                None | Some(AckCode::AR) => tokio::time::sleep(LOOK_EVERY).await,
                Some(other) => panic!("answered {other:?}"),
            }
        }
    }
}
