//! A reading center that keeps what it gets, reports by ORU^R01, and misbehaves on request.

use bytes::{Bytes, BytesMut};
use neisse::{
    dicom::{
        scp::{
            self, AssociationEnd, AssociationRequest, InstanceOffer, Rejection, ScpSettings, StorageScp,
            StoreAssociation, StoreRefusal,
        },
        status::StoreStatus,
    },
    hl7::{
        ack::Acknowledgement,
        sender::{Hl7Sender, SenderSettings},
    },
    model::Uid,
};
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the center does with the next things that come.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// Answer associations so.
    pub reject: Option<Rejection>,
    /// Answer every instance so instead of keeping it.
    pub status: Option<StoreStatus>,
    /// With this Error Comment.
    pub comment: Option<&'static str>,
    /// Take this long over each instance.
    pub slow: Duration,
    /// Answer this instance so, and all others as above.
    pub refuse: Option<(Uid, StoreStatus)>,
    /// Do not answer these instances before it is said to behave otherwise.
    pub hold: Vec<Uid>,
}

/// One instance as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub offer: InstanceOffer,
    pub data_set: Bytes,
    pub at: Instant,
}

#[derive(Default)]
struct Kept {
    manners: Manners,
    /// Every arrival, repetitions included, in order.
    arrivals: Vec<Arrived>,
    associations: usize,
}

#[derive(Clone)]
pub struct Center {
    pub ae_title: String,
    pub port: u16,
    kept: Arc<Mutex<Kept>>,
    stop: CancellationToken,
}

impl Center {
    pub async fn start(ae_title: &str) -> Self {
        Self::start_at(ae_title, 0).await
    }

    pub async fn start_at(ae_title: &str, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a port");
        let center = Self {
            ae_title: ae_title.to_owned(),
            port: listener.local_addr().expect("its address").port(),
            kept: Arc::default(),
            stop: CancellationToken::new(),
        };
        center.listen(listener);
        center
    }

    fn listen(&self, listener: TcpListener) {
        let settings = ScpSettings {
            max_pdu_bytes: 128 * 1024,
            max_associations: 100,
            idle: Duration::from_secs(60),
            handshake: Duration::from_secs(10),
        };
        tokio::spawn(scp::serve(listener, settings, Archive(Arc::clone(&self.kept)), self.stop.clone()));
    }

    /// Goes away: the port is closed, connections end. What it has stays.
    pub async fn go_away(&mut self) {
        self.stop.cancel();
        super::eventually("the center's port is closed", Duration::from_secs(20), async || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err()
        })
        .await;
    }

    /// Comes back at the same port, with what it had.
    pub async fn come_back(&mut self) {
        self.stop = CancellationToken::new();
        let port = self.port;
        let mut listener = None;
        super::eventually("the center's port can be had again", Duration::from_secs(20), async || {
            listener = TcpListener::bind(("127.0.0.1", port)).await.ok();
            listener.is_some()
        })
        .await;
        self.listen(listener.expect("bound"));
    }

    pub fn behave(&self, manners: Manners) {
        self.kept.lock().expect("kept").manners = manners;
    }

    pub fn arrivals(&self) -> Vec<Arrived> {
        self.kept.lock().expect("kept").arrivals.clone()
    }

    /// Waits until exactly so many have come, and sees that no more do.
    pub async fn arrivals_of(&self, number: usize) {
        let what = format!("{number} instances are there");
        super::eventually(&what, Duration::from_secs(40), async || self.arrivals().len() >= number).await;
        assert_eq!(self.arrivals().len(), number, "each exactly once");
    }

    pub fn associations(&self) -> usize {
        self.kept.lock().expect("kept").associations
    }

    /// What a PACS would hold: one data set a SOP instance, the last that came.
    pub fn archive(&self) -> HashMap<Uid, Bytes> {
        let kept = self.kept.lock().expect("kept");
        kept.arrivals.iter().map(|arrived| (arrived.offer.sop_instance.clone(), arrived.data_set.clone())).collect()
    }

    /// Whether all of these have arrived.
    pub fn holds(&self, instances: &[Uid]) -> bool {
        let kept = self.kept.lock().expect("kept");
        let held: HashSet<&Uid> = kept.arrivals.iter().map(|arrived| &arrived.offer.sop_instance).collect();
        instances.iter().all(|instance| held.contains(instance))
    }

    /// Sends an HL7 message to the router's MLLP port and returns its acknowledgement.
    pub async fn send_hl7(&self, router: SocketAddr, message: &[u8], control_id: &str) -> Acknowledgement {
        Self::try_send_hl7(router, message, control_id).await.expect("an acknowledgement")
    }

    /// For a router that may be gone.
    pub async fn try_send_hl7(router: SocketAddr, message: &[u8], control_id: &str) -> Option<Acknowledgement> {
        let settings = SenderSettings { connect: Duration::from_secs(10), response: Duration::from_secs(30) };
        let mut line = Hl7Sender::new(router.ip().to_string(), router.port(), settings);
        line.send(message, control_id).await.ok()
    }
}

/// An ORU^R01 as a center's RIS writes it, in UTF-8. `status`: P, F, C.
pub fn oru(facility: &str, control_id: &str, about: &About<'_>, status: &str, text: &str) -> Vec<u8> {
    let About { patient_id, issuer, accession, study } = about;
    let text = text.replace('\n', "\\.br\\");
    format!(
        "MSH|^~\\&|RIS|{facility}|NEISSE|NEISSE|20261124231500+0100||ORU^R01^ORU_R01|{control_id}|P|2.5.1||||||UNICODE UTF-8\r\
         PID|1||{patient_id}^^^{issuer}||Doe^J\r\
         OBR|1||{accession}^{issuer}|CT^CT Schädel^L|||20261124230500||||||||||||||||||{status}\r\
         OBX|1|FT|CT^CT Schädel^L|1|{text}||||||{status}\r\
         OBX|2|HD|113014^DICOM Study^DCM||{study}||||||{status}\r"
    )
    .into_bytes()
}

/// Whose report it is, in the origin's identifiers as the images carried them.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    pub patient_id: &'a str,
    pub issuer: &'a str,
    pub accession: &'a str,
    pub study: &'a str,
}

#[derive(Clone)]
struct Archive(Arc<Mutex<Kept>>);

impl StorageScp for Archive {
    type Association = Receiving;

    async fn admit(&self, _request: &AssociationRequest) -> Result<Receiving, Rejection> {
        let mut kept = self.0.lock().expect("kept");
        kept.associations += 1;
        match kept.manners.reject {
            Some(rejection) => Err(rejection),
            None => Ok(Receiving { kept: Arc::clone(&self.0), current: None }),
        }
    }
}

struct Receiving {
    kept: Arc<Mutex<Kept>>,
    current: Option<(InstanceOffer, BytesMut)>,
}

impl StoreAssociation for Receiving {
    async fn begin(&mut self, offer: &InstanceOffer) -> Result<(), StoreRefusal> {
        self.current = Some((offer.clone(), BytesMut::new()));
        Ok(())
    }

    async fn write(&mut self, data: Bytes) -> Result<(), StoreRefusal> {
        if let Some((_, bytes)) = &mut self.current {
            bytes.extend_from_slice(&data);
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<StoreStatus, StoreRefusal> {
        let manners = self.kept.lock().expect("kept").manners.clone();
        tokio::time::sleep(manners.slow).await;
        let (offer, bytes) = self.current.take().expect("begun");
        while self.kept.lock().expect("kept").manners.hold.contains(&offer.sop_instance) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let own = manners.refuse.filter(|(instance, _)| *instance == offer.sop_instance);
        let status = own.map(|(_, status)| status).or(manners.status);
        let stored = status.is_none_or(StoreStatus::is_stored);
        if stored {
            let arrived = Arrived { offer, data_set: bytes.freeze(), at: Instant::now() };
            self.kept.lock().expect("kept").arrivals.push(arrived);
        }
        match status {
            None => Ok(StoreStatus::Success),
            Some(status) if stored => Ok(status),
            Some(status) => {
                Err(StoreRefusal { status, comment: manners.comment.unwrap_or("as the scenario wants it") })
            }
        }
    }

    async fn discard(&mut self) {
        self.current = None;
    }

    async fn end(self, _how: AssociationEnd) {}
}
