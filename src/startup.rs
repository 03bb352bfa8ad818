//! Reads everything in, wires the rooms, starts the listeners; and takes it all down again.
//!
//! The only place that knows every room. Each stage gets the bells it rings and hears; wire rooms get their handlers.

mod control_ids;
mod held;
mod hl7_desk;

use crate::{
    config::{Config, Live, Replacer},
    delivery::{order_answers::OrderAnswerer, overdue, probe, worker},
    dicom::scp::{self, ScpSettings},
    escalation::Escalation,
    handoff::Handoff,
    hl7::listener::{self, ListenerSettings},
    intake::{
        c_store::Intake,
        completeness::Completeness,
        index::{IndexQueue, Indexer},
        matching::Bells,
        open_studies::OpenStudies,
        orders::OrderTaker,
        patients::{PatientTaker, rest::PatientNewsRest},
        recovery,
        retention::Retention,
        searchable,
        specimen_messages::SpecimenTaker,
        specimen_watch::SpecimenWatch,
    },
    model::{Bell, Clock, PartnerId, chain},
    queue::Carrier,
    results::{critical::CriticalWatch, objects::ReportObjects, receive::ReportReceiver},
    routing::{claims::Claims, step::RoutingStep},
    shutdown::Phase,
    spool::{Spool, SpoolSettings},
    store::{Durability, Store},
    web::{self, Http, OpenStorage, Watched},
    worklist::{
        Desk,
        availability::AvailabilityTeller,
        commitments::CommitmentAsker,
        held::{Looks, Rooms, commitment, fetched},
        performed_sending::PerformedSender,
        tasks::{Tasks, events::EventTeller, wire::Associations},
    },
};
use anyhow::Context;
use control_ids::ControlIds;
use held::JournalsHeld;
use hl7_desk::Hl7Desk;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// MLLP peers keep their connection open for days; a silent one is let go after this.
const HL7_IDLE: Duration = Duration::from_secs(24 * 3600);

/// A running node. Dropped without [`Running::stop`], its tasks end with the runtime.
pub struct Running {
    pub dicom: SocketAddr,
    pub hl7: SocketAddr,
    pub http: SocketAddr,
    pub store: Store,
    pub carrier: Carrier,
    pub clock: Clock,
    spool: Spool,
    config: Live,
    replacer: Replacer,
    /// Who answers what a peer asks.
    pub desk: Desk,
    listeners: Phase,
    stages: Phase,
}

/// Opens disk, database and queue, takes back what was under way when the node stopped, and starts every stage.
///
/// # Errors
/// When the data folder, the database or a listening port cannot be had. A broker that is away is no error.
pub async fn start(config: Config, clock: Clock) -> anyhow::Result<Running> {
    web::start_counting();
    let spool = open_spool(&config).await?;
    let store = Store::open(&config.database, &config.node.data_dir)
        .await
        .with_context(|| format!("opening the database ({:?})", config.database))?;
    take_back(&store, &config, &clock).await?;
    let partners: Vec<PartnerId> = config.partners.keys().cloned().collect();
    let carrier = Carrier::open(&config.queue, &config.node.name, partners)
        .with_context(|| format!("preparing the queue ({:?})", config.queue))?;
    let (dicom, hl7, http) = bind(&config).await?;
    let http = Http::new(http, &config.http).context("preparing HTTP")?;
    let (replacer, live) = Live::new(config);
    let tasks = Tasks { store: store.clone(), config: live.clone(), clock: clock.clone(), bell: Bell::default() };
    let desk = Desk {
        store: store.clone(),
        config: live.clone(),
        clock: clock.clone(),
        tasks,
        completeness: Bell::default(),
        rooms: Rooms::default(),
        looks: Looks::default(),
    };
    let running = Running {
        dicom: dicom.local_addr()?,
        hl7: hl7.local_addr()?,
        http: http.local_addr()?,
        store,
        carrier,
        clock,
        spool: spool.clone(),
        config: live,
        replacer,
        desk,
        listeners: Phase::default(),
        stages: Phase::default(),
    };
    running.wire(spool, dicom, hl7, http);
    Ok(running)
}

async fn open_spool(config: &Config) -> anyhow::Result<Spool> {
    let folder = config.node.data_dir.clone();
    let settings = SpoolSettings { reserve_bytes: config.dicom.reserve_bytes };
    tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&folder).with_context(|| format!("creating the data folder {}", folder.display()))?;
        let journals = folder.join("journals");
        Spool::open(&journals, settings).with_context(|| format!("opening the journals in {}", journals.display()))
    })
    .await?
}

async fn take_back(store: &Store, config: &Config, clock: &Clock) -> anyhow::Result<()> {
    let mut tx = store.begin(Durability::Process).await?;
    let taken = tx.take_back(&config.node.name, clock.now()).await?;
    tx.commit().await?;
    if taken > 0 {
        tracing::info!(deliveries = taken, "{taken} deliveries were under way when the node stopped: owed again");
    }
    Ok(())
}

async fn bind(config: &Config) -> anyhow::Result<(TcpListener, TcpListener, TcpListener)> {
    let listen = async |at: SocketAddr, what: &str| {
        let hint = "is another program using it, or may this user not listen there?";
        TcpListener::bind(at).await.with_context(|| format!("listening for {what} on {at}: {hint}"))
    };
    Ok((
        listen(config.dicom.listen, "DICOM").await?,
        listen(config.hl7.listen, "HL7").await?,
        listen(config.http.listen, "HTTP").await?,
    ))
}

/// Until everything durable is indexed, or the node stops: then the next start does it.
async fn recover(store: Store, spool: Spool, config: Live, index: IndexQueue, stop: CancellationToken) {
    let mut wait = Duration::from_millis(200);
    loop {
        let found = tokio::select! {
            found = recovery::recover(&store, &spool, &config, &index) => found,
            () = stop.cancelled() => return,
        };
        match found {
            Ok(found) => {
                if found > 0 {
                    tracing::info!(
                        instances = found,
                        "{found} instances were durable but not indexed: indexed from the journals"
                    );
                }
                index.recovered();
                return;
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "Journals cannot be read back yet");
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = stop.cancelled() => return,
                }
                wait = (wait * 2).min(Duration::from_secs(30));
            }
        }
    }
}

fn scp_settings(config: &Config) -> ScpSettings {
    ScpSettings {
        max_pdu_bytes: config.dicom.max_pdu_bytes,
        max_associations: config.dicom.max_associations,
        idle: config.dicom.idle,
        handshake: config.dicom.handshake,
    }
}

fn hl7_settings(config: &Config) -> ListenerSettings {
    ListenerSettings {
        max_message_bytes: config.hl7.max_message_bytes,
        max_connections: config.hl7.max_connections,
        message_within: config.hl7.message_within,
        idle: HL7_IDLE,
    }
}

impl Running {
    /// Starts the stages, each with the bells it rings and hears, then the listeners that feed them.
    fn wire(&self, spool: Spool, dicom: TcpListener, hl7: TcpListener, http: Http) {
        let (store, clock, carrier, config) = (&self.store, &self.clock, &self.carrier, &self.config);
        let (bells, handoff, open) = (Bells::default(), Bell::default(), OpenStudies::default());
        let (index, indexer) = Indexer::new(store.clone(), spool.clone(), config.clone(), clock.clone(), bells.clone());
        let stages = &self.stages;
        let stop = || stages.stop.clone();
        stages.spawn(indexer.run(stop()));
        stages.spawn(recover(store.clone(), spool.clone(), config.clone(), index.clone(), stop()));
        let retention =
            Retention { store: store.clone(), spool: spool.clone(), config: config.clone(), clock: clock.clone() };
        stages.spawn(retention.run(stop()));
        stages.spawn(searchable::run(store.clone(), stop()));
        let completeness = Completeness {
            store: store.clone(),
            config: config.clone(),
            clock: clock.clone(),
            open: open.clone(),
            bell: bells.completeness.clone(),
        };
        stages.spawn(completeness.run(stop()));
        let routing = RoutingStep {
            store: store.clone(),
            config: config.clone(),
            clock: clock.clone(),
            bell: bells.routing.clone(),
            handoff: handoff.clone(),
        };
        stages.spawn(routing.run(stop()));
        let claims = Claims {
            store: store.clone(),
            config: config.clone(),
            clock: clock.clone(),
            handoff: handoff.clone(),
            tasks: self.desk.tasks.bell.clone(),
        };
        stages.spawn(claims.run(stop()));
        let handing = Handoff {
            store: store.clone(),
            config: config.clone(),
            clock: clock.clone(),
            carrier: carrier.clone(),
            bell: handoff.clone(),
        };
        stages.spawn(handing.run(stop()));
        let delivering = worker::Delivering {
            store: store.clone(),
            spool: spool.clone(),
            config: config.clone(),
            clock: clock.clone(),
            carrier: carrier.clone(),
            handoff: handoff.clone(),
        };
        stages.spawn(probe::run(delivering.clone(), stop()));
        stages.spawn(overdue::run(delivering.clone(), stop()));
        stages.spawn(worker::run(delivering, stop()));
        stages.spawn(commitment::run(self.desk.held(), index.caught_up.clone(), stop()));
        stages.spawn(fetched::run(self.desk.held(), stop()));
        let asker = CommitmentAsker { store: store.clone(), config: config.clone(), clock: clock.clone() };
        stages.spawn(asker.run(stop()));
        let escalation = Escalation { store: store.clone(), config: config.clone(), clock: clock.clone() };
        stages.spawn(escalation.run(stop()));
        let critical = CriticalWatch { store: store.clone(), clock: clock.clone() };
        stages.spawn(critical.run(stop()));
        let specimens = SpecimenWatch {
            store: store.clone(),
            config: config.clone(),
            clock: clock.clone(),
            bell: Bell::default(),
            handoff: handoff.clone(),
            routing: bells.routing.clone(),
        };
        let specimen_bell = specimens.bell.clone();
        stages.spawn(specimens.run(stop()));
        let reports = ReportReceiver { store: store.clone(), config: config.clone(), clock: clock.clone(), handoff };
        let rest = PatientNewsRest {
            store: store.clone(),
            config: config.clone(),
            bell: Bell::default(),
            routing: bells.routing.clone(),
        };
        let rest_bell = rest.bell.clone();
        stages.spawn(rest.run(stop()));
        let desk = Hl7Desk {
            store: store.clone(),
            config: config.clone(),
            clock: clock.clone(),
            orders: OrderTaker { store: store.clone(), config: config.clone(), routing: bells.routing.clone() },
            patients: PatientTaker {
                store: store.clone(),
                config: config.clone(),
                routing: bells.routing.clone(),
                rest: rest_bell,
            },
            specimens: SpecimenTaker { store: store.clone(), watch: specimen_bell },
            reports: reports.clone(),
            control_ids: ControlIds::default(),
        };
        let teller =
            EventTeller { tasks: self.desk.tasks.clone(), wire: Arc::new(Associations { config: config.clone() }) };
        stages.spawn(teller.run(stop()));
        let performed = PerformedSender { store: store.clone(), config: config.clone(), clock: clock.clone() };
        stages.spawn(performed.run(stop()));
        let answers = OrderAnswerer { store: store.clone(), config: config.clone(), clock: clock.clone() };
        stages.spawn(answers.run(stop()));
        let available = AvailabilityTeller { store: store.clone(), config: config.clone(), clock: clock.clone() };
        stages.spawn(available.run(stop()));
        let objects = ReportObjects { receiver: reports, spool: spool.clone(), bell: bells.results.clone() };
        stages.spawn(objects.run(stop()));
        let intake = Intake {
            config: config.clone(),
            clock: clock.clone(),
            spool: spool.clone(),
            index,
            open,
            completeness: bells.completeness,
        };
        self.listen(intake, desk, spool, dicom, hl7, http);
    }

    fn listen(&self, intake: Intake, desk: Hl7Desk, spool: Spool, dicom: TcpListener, hl7: TcpListener, http: Http) {
        let listeners = &self.listeners;
        let config = self.config.now();
        let stop = || listeners.stop.clone();
        let storage: Arc<dyn OpenStorage> = Arc::new(intake.clone());
        let services = Arc::new(Desk { completeness: intake.completeness.clone(), ..self.desk.clone() });
        let held = Arc::new(JournalsHeld {
            spool: spool.clone(),
            store: self.store.clone(),
            config: self.config.clone(),
            clock: self.clock.clone(),
            runtime: tokio::runtime::Handle::current(),
            looked: std::sync::Mutex::default(),
        });
        let settings = scp_settings(&config);
        listeners.spawn(scp::serve_all(dicom, settings, intake, services.clone(), held.clone(), stop()));
        listeners.spawn(listener::serve(hl7, hl7_settings(&config), desk, stop()));
        let watched = Watched {
            store: self.store.clone(),
            spool,
            carrier: self.carrier.clone(),
            config: self.config.clone(),
            clock: self.clock.clone(),
        };
        listeners.spawn(http.serve(watched, Some(services), held, storage, stop()));
    }

    /// Puts another configuration in force. Associations and attempts go on with the one they began with; what cannot
    /// change while running (addresses, data folder, database, queue) is named and stays.
    pub fn replace(&self, new: Config) {
        let old = self.config.now();
        let fixed = [
            ("[node]", old.node.name != new.node.name || old.node.data_dir != new.node.data_dir),
            ("[database] url", old.database != new.database),
            ("[queue]", old.queue != new.queue),
            ("[dicom] listen", old.dicom.listen != new.dicom.listen),
            ("[dicom] max_associations", old.dicom.max_associations != new.dicom.max_associations),
            ("[dicom] max_pdu", old.dicom.max_pdu_bytes != new.dicom.max_pdu_bytes),
            ("[dicom] idle", old.dicom.idle != new.dicom.idle),
            ("[dicom] handshake", old.dicom.handshake != new.dicom.handshake),
            ("[hl7] listen", old.hl7.listen != new.hl7.listen),
            ("[hl7] max_message", old.hl7.max_message_bytes != new.hl7.max_message_bytes),
            ("[hl7] max_connections", old.hl7.max_connections != new.hl7.max_connections),
            ("[hl7] message_within", old.hl7.message_within != new.hl7.message_within),
            ("[http] listen", old.http.listen != new.http.listen),
            ("[http] certificate and key", old.http.tls != new.http.tls),
            ("[http] max_connections", old.http.max_connections != new.http.max_connections),
            ("[http] viewer", old.http.viewer != new.http.viewer),
        ];
        for (what, _) in fixed.iter().filter(|(_, changed)| *changed) {
            tracing::warn!("{what} has changed in the configuration: that takes a restart");
        }
        self.spool.set_reserve(new.dicom.reserve_bytes);
        self.carrier.declare(new.partners.keys().cloned().collect());
        tracing::info!(rules.version = %new.rules_version, "Configuration read again, rules version {}", new.rules_version);
        let (node, database, queue) = (old.node.clone(), old.database.clone(), old.queue.clone());
        self.replacer.replace(Config { node, database, queue, ..new });
    }

    /// Stops: no new associations, those open are finished; then every stage finishes what it is doing.
    pub async fn stop(self) {
        let quiet = self.listeners.end().await;
        let done = self.stages.end().await;
        if !(quiet && done) {
            tracing::warn!("Not everything finished in time; what was cut off is repeated at the next start");
        }
        self.carrier.close().await;
        self.store.close().await;
    }
}
