//! The listener as a whole, on loopback: real tokens, a real spool, and a small desk that holds what has been stored.

mod dicomweb;
mod hostile;

use super::*;
use crate::{
    config::{self, QueueUrl},
    dicom::{
        rewrite::{Patches, Renamed},
        scan::HeaderScanner,
        scp::{
            AssociationEnd, AssociationRequest, InstanceOffer, OpenInstance, Rejection, StorageScp, StoreAssociation,
            StoreRefusal,
        },
        scu::ScuSettings,
        service::{
            Answers, Asker, DataSet, Done, Fetch, Find, HeldInstance, Lies, MoveDestination, Refusal, Room, Target,
        },
        status::StoreStatus,
    },
    model::{Moment, PartnerId, Token, Uid},
    spool::{JournalWriter, RecordMeta, SpoolSettings},
    store::{Durability, TokenRow},
};
use bytes::Bytes;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::OwnedSemaphorePermit;

type Held = Arc<Mutex<Vec<(PartnerId, HeldInstance)>>>;

/// Holds what its partners have stored, each its own.
struct Desk(Held);

fn text(set: &DataSet, tag: Tag) -> Option<String> {
    let element = set.element_opt(tag).ok().flatten()?;
    element.to_str().ok().map(|text| text.into_owned()).filter(|text| !text.is_empty())
}

impl Desk {
    fn of(&self, asker: &Asker, keys: &DataSet) -> Vec<HeldInstance> {
        let fits =
            |tag, uid: &Uid| text(keys, tag).is_none_or(|wanted| wanted.split('\\').any(|one| one == uid.as_str()));
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.iter().filter(|(partner, _)| *partner == asker.partner).map(|(_, held)| held);
        own.filter(|held| {
            fits(tags::STUDY_INSTANCE_UID, &held.study)
                && fits(tags::SERIES_INSTANCE_UID, &held.series)
                && fits(tags::SOP_INSTANCE_UID, &held.sop_instance)
        })
        .cloned()
        .collect()
    }
}

fn no<'a, T: 'a + Send>() -> BoxFuture<'a, Result<T, Refusal>> {
    Box::pin(async { Err(Refusal::new(0x0211, "not here")) })
}

impl Services for Desk {
    fn asker(&self, _: &AssociationRequest) -> Result<Asker, Rejection> {
        Err(Rejection::CallingAeNotRecognized)
    }

    fn find<'a>(&'a self, asker: &'a Asker, find: Find) -> BoxFuture<'a, Result<Answers, Refusal>> {
        Box::pin(async move {
            let answer = |held: HeldInstance| {
                let mut set = DataSet::new_empty();
                let mut put =
                    |tag, uid: &Uid| set.put(DataElement::new(tag, VR::UI, PrimitiveValue::from(uid.as_str())));
                put(tags::STUDY_INSTANCE_UID, &held.study);
                put(tags::SERIES_INSTANCE_UID, &held.series);
                put(tags::SOP_INSTANCE_UID, &held.sop_instance);
                Ok(set)
            };
            let skip = usize::try_from(find.skip).unwrap_or(usize::MAX);
            let found: Vec<_> = self.of(asker, &find.identifier).into_iter().skip(skip).map(answer).collect();
            let matches = stream::iter(found).boxed();
            Ok(Answers { matches, has_unsupported_keys: find.is_fuzzy, is_partial: false })
        })
    }

    fn retrieve<'a>(
        &'a self,
        asker: &'a Asker,
        _: Fetch,
        keys: DataSet,
    ) -> BoxFuture<'a, Result<Vec<HeldInstance>, Refusal>> {
        Box::pin(async move { Ok(self.of(asker, &keys)) })
    }

    fn destination(&self, _: &Asker, _: &str) -> Result<MoveDestination, Refusal> {
        Err(Refusal::new(0xA801, "not here"))
    }

    fn create<'a>(&'a self, _: &'a Asker, _: Target, _: DataSet) -> BoxFuture<'a, Result<Done, Refusal>> {
        no()
    }

    fn set<'a>(&'a self, _: &'a Asker, _: Target, _: DataSet) -> BoxFuture<'a, Result<Done, Refusal>> {
        no()
    }

    fn get<'a>(&'a self, _: &'a Asker, _: Target, _: Vec<Tag>) -> BoxFuture<'a, Result<Done, Refusal>> {
        no()
    }

    fn action<'a>(&'a self, _: &'a Asker, _: Target, _: u16, _: DataSet) -> BoxFuture<'a, Result<Done, Refusal>> {
        no()
    }
}

/// Stores into the spool, and gives the desk what is durable.
#[derive(Clone)]
struct Storage {
    spool: Spool,
    held: Held,
}

struct Storing {
    storage: Storage,
    partner: PartnerId,
    writer: JournalWriter,
    current: Option<(InstanceOffer, HeaderScanner)>,
}

impl StorageScp for Storage {
    type Association = Storing;

    async fn admit(&self, _: &AssociationRequest) -> Result<Storing, Rejection> {
        Err(Rejection::CallingAeNotRecognized)
    }

    async fn admit_partner(&self, partner: &PartnerId, _: &str) -> Result<Storing, Rejection> {
        let (partner, writer) = (partner.clone(), self.spool.writer());
        Ok(Storing { storage: self.clone(), partner, writer, current: None })
    }
}

const fn refused(comment: &'static str) -> StoreRefusal {
    StoreRefusal { status: StoreStatus::CannotUnderstand, comment }
}

impl StoreAssociation for Storing {
    async fn begin(&mut self, offer: &InstanceOffer) -> Result<(), StoreRefusal> {
        let meta = RecordMeta {
            origin: self.partner.clone(),
            calling_ae: "TOKEN".into(),
            called_ae: "NEISSE".into(),
            sop_class: offer.sop_class.clone(),
            sop_instance: offer.sop_instance.clone(),
            transfer_syntax: offer.transfer_syntax.clone(),
            received: Moment(0),
        };
        self.writer.begin(meta).await.map_err(|_| refused("no room"))?;
        self.current = Some((offer.clone(), HeaderScanner::new(&offer.transfer_syntax)));
        Ok(())
    }

    async fn write(&mut self, data: Bytes) -> Result<(), StoreRefusal> {
        if let Some((_, scanner)) = &mut self.current {
            scanner.push(&data).map_err(|_| refused("not a data set"))?;
        }
        self.writer.write(data).await.map_err(|_| refused("no room"))
    }

    async fn commit(&mut self) -> Result<StoreStatus, StoreRefusal> {
        let (offer, scanner) = self.current.take().ok_or(refused("nothing begun"))?;
        let header = scanner.finish().map_err(|_| refused("cut off"))?;
        let (study, series) = header.study().zip(header.series()).ok_or(refused("no study"))?;
        let place = self.writer.commit().await.map_err(|_| refused("no room"))?;
        let InstanceOffer { sop_class, sop_instance, transfer_syntax } = offer;
        let held = HeldInstance {
            study,
            series,
            sop_class,
            sop_instance,
            transfer_syntax,
            lies: Lies::AsReceived(place),
            room: Room::default(),
        };
        self.storage.held.lock().unwrap_or_else(PoisonError::into_inner).push((self.partner.clone(), held));
        Ok(StoreStatus::Success)
    }

    async fn discard(&mut self) {
        self.current = None;
        self.writer.discard().await;
    }

    async fn end(self, _: AssociationEnd) {
        self.writer.close().await;
    }
}

struct Node {
    at: SocketAddr,
    store: Store,
    http: reqwest::Client,
    stop: CancellationToken,
    _folder: TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn checked(folder: &std::path::Path, http: &str) -> config::Config {
    let partner = |issuer: &str| {
        format!("name = \"{issuer}\"\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\nissuer = \"{issuer}\"\n")
    };
    let files: BTreeMap<String, String> = [
        ("neisse.toml", format!("[http]\nlisten = \"127.0.0.1:0\"\n{http}")),
        ("routes.toml", "[[route]]\nname = \"All\"\nto = [\"origin\"]\n".to_owned()),
        ("partners/harz.toml", partner("HARZ")),
        ("partners/elbe.toml", partner("ELBE")),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into();
    config::load_from(folder, &files, &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
}

impl Node {
    async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more lines of `[http]`; `FOLDER` in them is the node's.
    async fn start_with(http: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("viewer")).unwrap();
        std::fs::write(folder.path().join("viewer/index.html"), "the viewer").unwrap();
        let config = checked(folder.path(), http);
        let spool = Spool::open(&folder.path().join("journals"), SpoolSettings { reserve_bytes: 0 }).unwrap();
        let store = Store::open(&config.database, folder.path()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = Http::new(listener, &config.http).unwrap();
        let at = http.local_addr().unwrap();
        let held = Held::default();
        let (_, live) = Live::new(config);
        let watched = Watched {
            store: store.clone(),
            spool: spool.clone(),
            carrier: Carrier::open(&QueueUrl::Memory, "test", Vec::new()).unwrap(),
            config: live,
            clock: Clock::system(),
        };
        let stop = CancellationToken::new();
        let (desk, storage) = (Arc::new(Desk(held.clone())), Arc::new(Storage { spool, held }));
        tokio::spawn(http.serve(watched, Some(desk), Arc::new(NothingRenamed), storage, stop.clone()));
        // Of an HTTP client that only ever speaks plain text here, the provider is not used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { at, store, http, stop, _folder: folder }
    }

    /// A token of a partner, and its row.
    async fn token(&self, partner: &str, number: u8) -> (String, TokenRow) {
        let token = Token::new(&[number; 40]);
        let row = TokenRow {
            id: token.id().clone(),
            partner: PartnerId::new(partner).unwrap(),
            name: "VIEWER".into(),
            sha256: token.sha256(),
            created: Clock::system().now(),
            expires: None,
            revoked: None,
            last_used: None,
        };
        let mut tx = self.store.begin(Durability::Synced).await.unwrap();
        tx.add_token(&row).await.unwrap();
        tx.commit().await.unwrap();
        (token.reveal(), row)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    async fn get(&self, path: &str, token: &str, accept: &str) -> reqwest::Response {
        let request = self.http.get(self.url(path)).bearer_auth(token);
        let request = if accept.is_empty() { request } else { request.header("Accept", accept) };
        request.send().await.unwrap()
    }

    async fn stow(&self, token: &str, path: &str, content_type: &str, body: Vec<u8>) -> reqwest::Response {
        let request = self.http.post(self.url(path)).bearer_auth(token).header("Content-Type", content_type);
        request.body(body).send().await.unwrap()
    }
}

/// A body of files.
fn files(files: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for file in files {
        body.extend(b"\r\n--cut\r\nContent-Type: application/dicom\r\n\r\n");
        body.extend(file);
    }
    body.extend(b"\r\n--cut--\r\n");
    body
}

const FILES: &str = "multipart/related; type=\"application/dicom\"; boundary=cut";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_is_closed_until_it_is_revoked() {
    let node = Node::start().await;
    for open in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(node.http.get(node.url(open)).send().await.unwrap().status(), 200, "{open}");
    }
    let closed: Vec<_> = routes::entries().filter(|entry| !entry.is_open).collect();
    assert!(closed.len() > 15);
    for entry in closed {
        let path = entry.path.replace("{*path}", "7FE00010").replace("{frames}", "1");
        let path = ["{study}", "{series}", "{instance}"].iter().fold(path, |path, part| path.replace(part, "1.2"));
        let method = entry.method.as_str().to_uppercase().parse().unwrap();
        let response = node.http.request(method, node.url(&path)).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.headers().contains_key("www-authenticate")),
            (401, true),
            "{path}"
        );
    }
    let (token, row) = node.token("harz", 1).await;
    let asked = |token: String| {
        let request = node.http.get(node.url("/dicom-web/studies")).bearer_auth(token);
        async { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(asked(token.clone()).await, 204);
    let basic = node.http.get(node.url("/dicom-web/studies")).basic_auth("anybody", Some(&token)).send().await.unwrap();
    assert_eq!(basic.status(), 204);
    let wrong = format!("{}{}", &token[..token.len() - 2], "00");
    assert_eq!(asked(wrong.clone()).await, 401);
    assert!(node.store.token(&row.id).await.unwrap().unwrap().last_used.is_some());
    let mut tx = node.store.begin(Durability::Synced).await.unwrap();
    assert!(tx.revoke_token(&row.id, Clock::system().now()).await.unwrap());
    tx.commit().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(5_100)).await;
    assert_eq!(asked(token).await, 401);
    // A partner that is not in the configuration is nobody.
    let (stranger, _) = node.token("rhine", 2).await;
    assert_eq!(asked(stranger).await, 401);
    let (good, _) = node.token("harz", 3).await;
    assert_eq!(asked(good.clone()).await, 204);
    for _ in 0..30 {
        asked(wrong.clone()).await;
    }
    assert_eq!(asked(wrong).await, 429);
    assert_eq!(asked(good).await, 204, "whoever has been let in goes on");
    let (fresh, _) = node.token("harz", 4).await;
    assert_eq!(asked(fresh).await, 204, "and whoever comes with a right one is let in");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewers_files_are_served_with_what_it_needs() {
    let node = Node::start_with("viewer = \"viewer\"\nallow_origins = [\"https://viewer.example.org\"]\n").await;
    for path in ["/", "/viewer?StudyInstanceUIDs=1.2", "/viewer/dicomweb"] {
        let response = node.http.get(node.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["cross-origin-embedder-policy"], "require-corp");
        assert_eq!(response.headers()["cross-origin-opener-policy"], "same-origin");
        assert_eq!(response.text().await.unwrap(), "the viewer", "{path}");
    }
    let config = node.http.get(node.url("/app-config.js")).send().await.unwrap();
    assert!(config.text().await.unwrap().contains("/dicom-web"));
    for path in ["/../neisse.sqlite", "/..%2fneisse.sqlite", "/%2e%2e/neisse.sqlite"] {
        let text = node.http.get(node.url(path)).send().await.unwrap().text().await.unwrap();
        assert!(!text.contains("SQLite format"), "{path}");
    }
    for path in ["/dicom-web/nothing", "/workitems/1.2/nothing"] {
        assert_eq!(node.http.get(node.url(path)).send().await.unwrap().status(), 404, "{path}");
    }
    let asked = |origin: &'static str| {
        let request = node.http.request(axum::http::Method::OPTIONS, node.url("/dicom-web/studies"));
        let request = request.header("Origin", origin).header("Access-Control-Request-Method", "GET");
        async { request.send().await.unwrap().headers().get("access-control-allow-origin").cloned() }
    };
    assert!(asked("https://viewer.example.org").await.is_some());
    assert!(asked("https://elsewhere.example.org").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_to_the_next_connection() {
    let folder = tempfile::tempdir().unwrap();
    let write = || {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("c.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("k.pem"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().to_vec()
    };
    let first = write();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    let lines = format!("certificate = {certificate:?}\nkey = {key:?}\n");
    let node = Node::start_with(&lines).await;
    let shown = || async {
        let response = {
            let client = reqwest::Client::builder().no_proxy().danger_accept_invalid_certs(true).tls_info(true).build();
            let url = format!("https://localhost:{}/healthz", node.at.port());
            client.unwrap().get(url).send().await.unwrap()
        };
        let info = response.extensions().get::<reqwest::tls::TlsInfo>().unwrap();
        info.peer_certificate().unwrap().to_vec()
    };
    assert_eq!(shown().await, first);
    let second = write();
    let since = std::time::Instant::now();
    while shown().await != second {
        assert!(since.elapsed() < std::time::Duration::from_secs(25), "the new certificate is not served");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    std::fs::write(&key, "no key").unwrap();
    assert!(Http::new(TcpListener::bind("127.0.0.1:0").await.unwrap(), &checked(folder.path(), &lines).http).is_err());
}

/// Nobody here has identifiers of its own.
struct NothingRenamed;

impl crate::dicom::scp::Held for NothingRenamed {
    fn open<'a>(&'a self, _: &'a HeldInstance) -> BoxFuture<'a, io::Result<OpenInstance>> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }

    fn looked(&self, _: &HeldInstance) -> Option<Patches> {
        None
    }

    fn renamed<'a>(
        &'a self,
        _: &'a HeldInstance,
        place: OwnedSemaphorePermit,
    ) -> BoxFuture<'a, io::Result<(Option<Renamed>, OwnedSemaphorePermit)>> {
        Box::pin(async { Ok((None, place)) })
    }

    fn outgoing(&self) -> ScuSettings {
        let patience = Duration::from_secs(5);
        ScuSettings { calling_ae: "NEISSE".into(), connect: patience, response: patience }
    }
}
