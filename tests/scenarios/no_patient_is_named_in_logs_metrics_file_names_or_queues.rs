//! A full run of all sample patients, with everything going wrong that can, at log level debug: what is left in the log,
//! in the metrics, in file names, in queue names and in what was on the queues names none of them; nor does what the
//! operator is told.

use crate::support::{
    center::{About, Center, Manners, oru},
    eventually, handed_over,
    hospital::send_study,
    hostile::{CT, CT_EXPLICIT, NOT_ACCEPTED, Peer, associate_rq, ct_header, element, p_data, store_rq},
    network::{ALWAYS_CHEMNITZ, Footing, SOON, files},
    operator::Operator,
    process::{self, Process},
    service_folder,
};
use bytes::Bytes;
use lapin::{
    ExchangeKind,
    options::{BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use neisse::{
    cli::sample::{self, SampleCase, SampleInstance},
    dicom::status::StoreStatus,
    hl7::{
        ack::{AckCode, ErrorCode, Rejected, Verdict, acknowledge},
        listener::{self, Hl7Handler, ListenerSettings},
        message::Message,
    },
    model::Moment,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const SAMPLES: [&str; 7] = [
    "head-ct",
    "chest-dx-rle",
    "brain-mr-implicit",
    "heart-us-deflated",
    "colon-slide",
    "chest-cr-latin2",
    "head-ct-czech",
];

/// Of them all, and of the reports: what must be found nowhere.
struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    fn of(cases: &[SampleCase]) -> Self {
        let mut secrets = Self(Vec::new());
        for case in cases {
            for name in [&case.patient_name, &case.referring] {
                name.split('^').filter(|part| part.chars().count() > 3).for_each(|part| secrets.add(part));
            }
            let orders = [&case.placer_order, &case.filler_order];
            let ids = [&case.patient_id, &case.birth_date, &case.accession, &case.description];
            orders.into_iter().chain(ids).filter(|value| !value.is_empty()).for_each(|value| secrets.add(value));
            secrets.add(case.study().as_str());
        }
        ["keine Blutung", "Hostilius", "Tullus", "HOST-1", "S26-000123", "276.666"]
            .iter()
            .for_each(|text| secrets.add(text));
        secrets
    }

    /// In UTF-8, Latin-1, Latin-2, and as a log escapes what is not ASCII.
    fn add(&mut self, text: &str) {
        let mut forms = vec![text.as_bytes().to_vec(), text.escape_default().to_string().into_bytes()];
        forms.push(encoding_rs::WINDOWS_1252.encode(text).0.into_owned());
        forms.push(encoding_rs::ISO_8859_2.encode(text).0.into_owned());
        forms.sort();
        forms.dedup();
        self.0.extend(forms.into_iter().map(|form| (text.to_owned(), form)));
    }

    fn assert_absent(&self, place: &str, bytes: &[u8]) {
        let lower = bytes.to_ascii_lowercase();
        for (text, form) in &self.0 {
            let found = memchr::memmem::find(&lower, &form.to_ascii_lowercase());
            if let Some(at) = found {
                let around = &bytes[at.saturating_sub(200)..(at + 100).min(bytes.len())];
                panic!("\"{text}\" stands in {place}: …{}…", String::from_utf8_lossy(around));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_patient_is_named_in_logs_metrics_file_names_or_queues() {
    let samples: Vec<Sample> = SAMPLES.iter().map(|name| sample(name)).collect();
    let secrets = Secrets::of(&samples.iter().map(|(case, _)| case.clone()).collect::<Vec<_>>());
    for footing in [Footing::Services, Footing::Embedded] {
        let house = House::start(footing).await;
        let spy = match footing {
            Footing::Services => Some(Spy::start(&house.files).await),
            Footing::Embedded => None,
        };
        all_goes_well(&house, &samples).await;
        senders_do_wrong(&house, &samples).await;
        partners_do_wrong(&house, &samples).await;

        let (code, metrics) = house.router.get("/metrics").await.expect("metrics");
        assert!(code == 200 && metrics.contains("neisse_reports_held 1\n"), "{metrics}");
        secrets.assert_absent("the metrics", metrics.as_bytes());
        let (_, readiness) = house.router.get("/readyz").await.expect("readiness");
        secrets.assert_absent("/readyz", readiness.as_bytes());
        eventually("the operator is told", SOON, async || {
            let told = house.operator.calls().len().min(house.operator.mails().len());
            told > 0 && house.router.log().contains("A person is needed: ")
        })
        .await;
        let log = house.router.log();
        for line in [
            "DEBUG",
            "attempt{case.id=",
            "fits no case",
            "message in error (AE)",
            "association rejected",
            "waits for a person",
            "A person is needed: ",
        ] {
            assert!(log.contains(line), "the log of a full run at level debug holds \"{line}\"");
        }
        secrets.assert_absent("the log", log.as_bytes());
        secrets.assert_absent("what the operator is told", house.operator.heard().as_bytes());
        let names = names_below(house.folder.path()).join("\n");
        assert!(names.contains("journals"), "{names}");
        secrets.assert_absent("file names", names.as_bytes());
        if let Some(spy) = spy {
            spy.saw_nothing_of(&secrets).await;
        }
    }
}

type Sample = (SampleCase, Vec<SampleInstance>);

fn sample(name: &str) -> Sample {
    let (case, _, instances) = sample::studies(name).expect("a sample of this name");
    (case, instances.collect())
}

struct House {
    router: Process,
    center: Center,
    /// Takes reports as objects.
    archive: Center,
    system: Gossip,
    operator: Operator,
    files: BTreeMap<String, String>,
    folder: tempfile::TempDir,
}

impl House {
    async fn start(footing: Footing) -> Self {
        let (center, archive) = (Center::start("CHEMNITZ").await, Center::start("RAB_PACS").await);
        let system = Gossip::default();
        let port = system.clone().listen().await;
        let folder = service_folder("process-");
        let mut files = files(footing, ALWAYS_CHEMNITZ, port, center.port, 1).await;
        let origin = files.get_mut("partners/rabenstein.toml").expect("the origin's file");
        let deliver = format!(
            "charset = \"ISO_IR 100\"\ndeliver = {{ ae_title = \"RAB_PACS\", host = \"127.0.0.1\", port = {} }}",
            archive.port
        );
        *origin = origin
            .replace("charset = \"ISO_IR 100\"", &deliver)
            .replace("forms = [\"oru\"]", "forms = [\"oru\", \"pdf\", \"sr\"]");
        let operator = Operator::start().await;
        operator.watch(&mut files, "");
        process::write(folder.path(), &files);
        let router = Process::start_with(folder.path(), &["--log", "debug"]).await;
        Self { router, center, archive, system, operator, files, folder }
    }

    async fn report(&self, case: &SampleCase, control_id: &str, status: &str) -> AckCode {
        let study = case.study().to_string();
        let about =
            About { patient_id: &case.patient_id, issuer: "RABENSTEIN", accession: &case.accession, study: &study };
        let text = format!("{}: keine Blutung", case.patient_name.replace('^', " "));
        let message = oru("KLCHEM", control_id, &about, status, &text);
        self.center.send_hl7(self.router.hl7, &message, control_id).await.code
    }
}

/// A hospital's information system that names the patient in its answers.
#[derive(Clone, Default)]
struct Gossip {
    refuses: Arc<AtomicBool>,
    heard: Arc<AtomicUsize>,
}

impl Gossip {
    async fn listen(self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let settings = ListenerSettings {
            max_message_bytes: 64 << 20,
            max_connections: 10,
            message_within: Duration::from_secs(60),
            idle: Duration::from_secs(600),
        };
        tokio::spawn(listener::serve(listener, settings, self, CancellationToken::new()));
        port
    }
}

impl Hl7Handler for Gossip {
    async fn receive(&self, _peer: SocketAddr, message: Bytes) -> Vec<u8> {
        let view = Message::parse(&message).expect("the router sends HL7");
        self.heard.fetch_add(1, Ordering::SeqCst);
        let gossip = Rejected::new("PID", 1, 5, ErrorCode::UnknownKey, "Probstein, Anna, born 19320303, SYN-000003");
        let refuses = self.refuses.load(Ordering::SeqCst);
        let verdict = if refuses { Verdict::Error } else { Verdict::Accept };
        acknowledge(&view, verdict, Some(&gossip), Moment(0))
    }
}

/// Every sample out, and its report back in three forms.
async fn all_goes_well(house: &House, samples: &[Sample]) {
    for (number, (case, instances)) in samples.iter().enumerate() {
        send_study(house.router.dicom, instances).await;
        eventually("the study is at the center", SOON, async || {
            let archive = house.center.archive();
            instances.iter().all(|instance| archive.contains_key(&instance.sop_instance))
        })
        .await;
        assert_eq!(house.report(case, &format!("R{number}"), "F").await, AckCode::AA);
    }
    eventually("every report is back", SOON, async || {
        house.system.heard.load(Ordering::SeqCst) >= samples.len() && house.archive.archive().len() >= 2 * samples.len()
    })
    .await;
}

/// Rejected, aborted, refused and held, each with patients in it.
async fn senders_do_wrong(house: &House, samples: &[Sample]) {
    let dicom = house.router.dicom;
    let mut stranger = Peer::connect(dicom).await;
    stranger.send(&associate_rq("STRANGER", "NEISSE")).await;
    assert_eq!(stranger.pdu().await.map(|(kind, _)| kind), Some(3));
    let header = ct_header("1.2.276.666.1.1", "1.2.276.666.1.2", "1.2.276.666.1.3");
    let mut peer = Peer::associate(dicom).await;
    let instance = "1.2.276.666.1.1";
    for (name, data_set) in [
        ("../Hostilius/HOST-1", header.clone()),
        (instance, ct_header("../Hostilius/HOST-1", "1.2", "1.3")),
        (instance, ct_header(instance, "Hostilius", "1.3")),
        (instance, [&header[..], &element(0x0010, 0x0020, "LO", b"SYN-000001")].concat()),
        (instance, header[..header.len() - 3].to_vec()),
    ] {
        assert_ne!(peer.store(CT_EXPLICIT, (CT, name), &data_set).await.0, 0x0000);
    }
    peer.send(&p_data(CT_EXPLICIT, 3, &store_rq(CT, instance))).await;
    peer.send(&p_data(CT_EXPLICIT, 0, &header)).await;
    peer.send(&p_data(NOT_ACCEPTED, 0, &header)).await;
    assert_eq!(peer.abort().await, (2, 5));
    let mut garbage = Peer::associate(dicom).await;
    garbage.send(&p_data(CT_EXPLICIT, 3, &header)).await;
    garbage.abort().await;

    let (case, _) = &samples[0];
    let elsewhere = SampleCase { key: "elsewhere".into(), accession: "A00000666".into(), ..case.clone() };
    assert_eq!(house.report(&elsewhere, "H1", "F").await, AckCode::AA, "held for a person");
    assert_eq!(house.report(case, "R0", "C").await, AckCode::AA, "other bytes under a control id that was used");
    let about = About { patient_id: &case.patient_id, issuer: "RABENSTEIN", accession: &case.accession, study: "1.2" };
    let good = String::from_utf8(oru("KLCHEM", "B1", &about, "F", "keine Blutung")).expect("UTF-8");
    let named = good.replace("Doe^J", &case.patient_name);
    for (from, to) in [
        ("|KLCHEM|", "|Musterfrau|"),
        ("\rOBR|", "\rZBR|"),
        ("UNICODE UTF-8", "Musterfrau"),
        ("ORU^R01^ORU_R01", "Hostilius^Tullus"),
        ("|FT|", "|ED|"),
        ("|2.5.1|", "|SYN-000001|"),
    ] {
        assert!(named.contains(from), "{from}");
        let message = named.replace(from, to).replace("|B1|", &format!("|B{}|", from.len()));
        // Some of it may be taken: what matters is what is said about it.
        let mut peer = Peer::connect(house.router.hl7).await;
        peer.send(&[&[0x0B], message.as_bytes(), &[0x1C, 0x0D]].concat()).await;
        let mut first = [0; 1];
        tokio::io::AsyncReadExt::read_exact(&mut peer.0, &mut first).await.expect("an answer");
    }
    for broken in [format!("\x0b{named}\x0b{named}"), "Hostilius ".repeat(1000), format!("\x0b{}", &named[..200])] {
        let mut peer = Peer::connect(house.router.hl7).await;
        peer.send(broken.as_bytes()).await;
        tokio::io::AsyncWriteExt::shutdown(&mut peer.0).await.expect("our side closed");
        peer.hear_out(SOON).await;
    }
}

/// A reader that names the patient when it refuses, an archive without room, a system that refuses the report.
async fn partners_do_wrong(house: &House, samples: &[Sample]) {
    let again = |number: usize, key: &str| {
        let (case, _) = &samples[number];
        let case = SampleCase { key: key.to_owned(), ..case.clone() };
        let instances: Vec<_> = sample::head_ct(2, 64, &case).collect();
        (case, instances)
    };
    let comment = Some("Vorlage^Hanna SYN-000005");
    house.center.behave(Manners { status: Some(StoreStatus::CannotUnderstand), comment, ..Manners::default() });
    let (_, refused) = again(4, "refused by the reader");
    send_study(house.router.dicom, &refused).await;
    eventually("the reader's refusal is noted", SOON, async || house.router.log().contains("C000")).await;
    house.center.behave(Manners::default());

    house.system.refuses.store(true, Ordering::SeqCst);
    house.archive.behave(Manners { status: Some(StoreStatus::OutOfResources), comment, ..Manners::default() });
    let (case, instances) = again(2, "refused by the origin");
    send_study(house.router.dicom, &instances).await;
    eventually("the study is at the center", SOON, async || {
        house.center.archive().contains_key(&instances[0].sop_instance)
    })
    .await;
    assert_eq!(house.report(&case, "R99", "F").await, AckCode::AA);
    eventually("the origin's refusals are noted", SOON, async || {
        let log = house.router.log();
        log.contains("message in error (AE)") && log.contains("out of resources (A700)")
    })
    .await;
}

fn names_below(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        names.push(path.to_string_lossy().into_owned());
        if path.is_dir() {
            names.extend(names_below(&path));
        }
    }
    names
}

/// Gets a copy of everything that is published.
struct Spy {
    connection: lapin::Connection,
    virtual_host: String,
}

const SPY: &str = "spy";

impl Spy {
    async fn start(files: &BTreeMap<String, String>) -> Self {
        let url = files["neisse.toml"].lines().find_map(|line| line.strip_prefix("url = \"amqp://")).expect("a broker");
        let url = format!("amqp://{}@{}", files["NEISSE_QUEUE_CREDENTIALS"], url.trim_end_matches('"'));
        let virtual_host = url.rsplit('/').next().expect("a virtual host").to_owned();
        let connection =
            lapin::Connection::connect(&url, lapin::ConnectionProperties::default()).await.expect("a broker");
        let table = FieldTable::default;
        eventually("the router has declared its exchanges", SOON, async || {
            let channel = connection.create_channel().await.expect("a channel");
            let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
            // In the order they are declared: the last one is there last.
            channel.exchange_declare("neisse.dead".into(), ExchangeKind::Fanout, passive, table()).await.is_ok()
        })
        .await;
        let channel = connection.create_channel().await.expect("a channel");
        channel.queue_declare(SPY.into(), QueueDeclareOptions::default(), table()).await.expect("a queue");
        let lanes = ["rabenstein", "chemnitz"].into_iter().flat_map(|partner| {
            ["stat", "routine", "bulk"].map(|lane| ("neisse.deliveries", format!("{partner}.{lane}")))
        });
        for (exchange, key) in lanes.chain([("neisse.dead", String::new()), ("neisse.outcomes", "#".to_owned())]) {
            let bound =
                channel.queue_bind(SPY.into(), exchange.into(), key.into(), QueueBindOptions::default(), table());
            bound.await.expect("bound");
        }
        Self { connection, virtual_host }
    }

    async fn saw_nothing_of(self, secrets: &Secrets) {
        let channel = self.connection.create_channel().await.expect("a channel");
        let mut seen = 0;
        let get = async || channel.basic_get(SPY.into(), BasicGetOptions { no_ack: true }).await.expect("the queue");
        while let Some(message) = get().await {
            seen += 1;
            secrets.assert_absent("an envelope", &message.data);
            let properties = format!("{:?} {} {}", message.properties, message.exchange, message.routing_key);
            secrets.assert_absent("an envelope's properties", properties.as_bytes());
        }
        assert!(seen > 20, "the spy saw only {seen} envelopes");
        let folder = handed_over("NEISSE_TEST_AMQP_DIR");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/rabbitmq");
        for list in ["list_queues", "list_exchanges", "list_bindings"] {
            let mut ctl = Command::new(&script);
            let output = ctl.args(["ctl", &folder, list, "-p", &self.virtual_host]).output().expect("rabbitmqctl");
            let names = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && names.contains("neisse."), "{list}: {names}");
            secrets.assert_absent(list, names.as_bytes());
        }
    }
}
