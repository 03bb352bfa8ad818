//! The simulated reading center: takes images, and when it has them all, sends a report as a radiologist's system does.

use crate::{
    dicom::{
        scan::HeaderScanner,
        scp::{
            self, AssociationEnd, AssociationRequest, InstanceOffer, Rejection, ScpSettings, StorageScp,
            StoreAssociation, StoreRefusal,
        },
        status::StoreStatus,
    },
    hl7::{
        charset::Charset,
        oru::{Coded, Interpreter, ObservationToSend, OruToSend, Shape},
        sender::{Hl7Sender, SenderSettings},
    },
    model::{IssuedId, Outgoing, ReportStatus, StudyFacts, Uid},
};
use anyhow::{Context, bail};
use bytes::Bytes;
use chrono::Utc;
use chrono_tz::Europe::Berlin;
use indicatif::ProgressBar;
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

const REPORT: &str = "Klinische Angaben: Sturz, Bewusstseinstrübung.\n\
Technik: Native CT des Kopfes in 5 mm Schichten.\n\
Befund: Kein Nachweis einer frischen intrakraniellen Blutung. Mittelständige Hirnstrukturen. Äußere und innere \
Liquorräume altersgemäß weit. Keine Fraktur der Schädelkalotte.\n\
Beurteilung: Kein Hinweis auf eine akute traumatische Läsion.";

struct Arrived {
    study: Uid,
    facts: StudyFacts,
}

/// Listens for images; the task ends when the report has been acknowledged.
pub fn start(
    listener: TcpListener,
    router_hl7: SocketAddr,
    expected: usize,
    bar: ProgressBar,
) -> JoinHandle<anyhow::Result<()>> {
    let (arrived, mut images) = mpsc::channel(64);
    let settings = ScpSettings {
        max_pdu_bytes: 256 * 1024,
        max_associations: 8,
        idle: Duration::from_secs(60),
        handshake: Duration::from_secs(10),
    };
    tokio::spawn(scp::serve(listener, settings, Archive { arrived }, CancellationToken::new()));
    tokio::spawn(async move {
        let mut last = None;
        for _ in 0..expected {
            last = images.recv().await;
            bar.inc(1);
        }
        bar.finish();
        let Some(last) = last else { bail!("the center got no images") };
        report(router_hl7, &last).await
    })
}

async fn report(router: SocketAddr, images: &Arrived) -> anyhow::Result<()> {
    let at = Utc::now().with_timezone(&Berlin).fixed_offset();
    let title = Coded { code: "CTKOPF".into(), text: "CT Schädel nativ".into(), system: "L".into() };
    let radiologist =
        Interpreter { id: "4711".into(), family: "Beispiel".into(), given: "Anna".into(), ..Interpreter::default() };
    let message = OruToSend {
        shape: Shape::Oru,
        application_ack: false,
        sending_application: "RIS",
        sending_facility: "KLCHEM",
        receiving_application: "NEISSE",
        receiving_facility: "NEISSE",
        control_id: "DEMO0001",
        processing_id: "P",
        at,
        patient_id: &images.facts.patient_id,
        patient_name: &images.facts.patient_name,
        birth_date: &images.facts.birth_date,
        sex: &images.facts.sex,
        accession: &images.facts.accession,
        placer: &IssuedId::default(),
        filler: &IssuedId::default(),
        orders: &[],
        study_uid: Some(&images.study),
        title: &title,
        status: ReportStatus::Final,
        observed_at: "",
        reported_at: at,
        interpreter: &radiologist,
        observations: &[ObservationToSend::Text { code: &title, text: REPORT }],
    };
    let sent = message.outgoing(&Outgoing::new(Charset::ISO_8859_1));
    let settings = SenderSettings { connect: Duration::from_secs(10), response: Duration::from_secs(30) };
    let mut line = Hl7Sender::new(router.ip().to_string(), router.port(), settings);
    let acknowledgement = line.send(&sent.content.whole(), "DEMO0001").await.context("sending the report")?;
    if acknowledgement.code.as_str() != "AA" {
        bail!("the router answered {} to the report", acknowledgement.code.as_str());
    }
    Ok(())
}

/// Keeps nothing but what the report needs.
#[derive(Clone)]
struct Archive {
    arrived: mpsc::Sender<Arrived>,
}

impl StorageScp for Archive {
    type Association = Receiving;

    async fn admit(&self, _request: &AssociationRequest) -> Result<Receiving, Rejection> {
        Ok(Receiving { arrived: self.arrived.clone(), scanner: None })
    }
}

struct Receiving {
    arrived: mpsc::Sender<Arrived>,
    scanner: Option<HeaderScanner>,
}

impl StoreAssociation for Receiving {
    async fn begin(&mut self, offer: &InstanceOffer) -> Result<(), StoreRefusal> {
        self.scanner = Some(HeaderScanner::new(&offer.transfer_syntax));
        Ok(())
    }

    async fn write(&mut self, data: Bytes) -> Result<(), StoreRefusal> {
        if let Some(scanner) = &mut self.scanner {
            scanner.push(&data).map_err(|_| unreadable())?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<StoreStatus, StoreRefusal> {
        let scanner = self.scanner.take().ok_or_else(unreadable)?;
        let header = scanner.finish().map_err(|_| unreadable())?;
        let study = header.study().ok_or_else(unreadable)?;
        // The demo may have ended already.
        let _ = self.arrived.send(Arrived { study, facts: header.facts(None, "") }).await;
        Ok(StoreStatus::Success)
    }

    async fn discard(&mut self) {
        self.scanner = None;
    }

    async fn end(self, _how: AssociationEnd) {}
}

fn unreadable() -> StoreRefusal {
    StoreRefusal { status: StoreStatus::CannotUnderstand, comment: "data set cannot be read" }
}
