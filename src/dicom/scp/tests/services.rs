//! What is asked besides storing, of a handler made up, by a peer that may misbehave.

use super::*;
use crate::dicom::{
    dataset::{self, DataSet},
    dimse::{Counts, Request, Response, Service},
    rewrite::{Patches, Renamed},
    scu::{Association, Proposal, ScuSettings, Target as Called},
    service::{Answers, Asker, Done, Fetch, Find, FindModel, HeldInstance, Lies, MoveDestination, Refusal, Target},
};
use crate::model::{Digest, JournalId, JournalPlace, Outgoing, PartnerId};
use bytes::BytesMut;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use futures_util::{StreamExt, future::BoxFuture, stream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use tokio::sync::OwnedSemaphorePermit;

const FIND: &str = "1.2.840.10008.5.1.4.1.2.2.1";
const MOVE: &str = "1.2.840.10008.5.1.4.1.2.2.2";
const GET: &str = "1.2.840.10008.5.1.4.1.2.2.3";
const PUSH: &str = "1.2.840.10008.5.1.4.34.6.1";
const PULL: &str = "1.2.840.10008.5.1.4.34.6.3";
const EVENT: &str = "1.2.840.10008.5.1.4.34.6.4";
const FIND_AT: u8 = 1;
const MOVE_AT: u8 = 3;
const GET_AT: u8 = 5;
const PUSH_AT: u8 = 7;
const CT_AT: u8 = 9;

/// Answers by what is asked: the Patient ID of an identifier says what happens.
#[derive(Clone, Default)]
struct Made {
    found: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    viewer: Arc<AtomicU16>,
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn wanted(identifier: &DataSet) -> String {
    identifier.element(tags::PATIENT_ID).map(|id| id.to_str().expect("text").into_owned()).unwrap_or_default()
}

fn patient(id: &str) -> DataSet {
    let mut set = DataSet::new_empty();
    set.put(DataElement::new(tags::PATIENT_ID, VR::LO, PrimitiveValue::from(id)));
    set
}

fn uid(text: &str) -> Uid {
    Uid::new(text).expect("a UID")
}

fn held(class: &str, number: usize) -> HeldInstance {
    let place =
        JournalPlace { journal: JournalId::generate(), record: 0, data: 0, length: 1000, sha256: Digest([0; 32]) };
    HeldInstance {
        study: uid("1.2"),
        series: uid("1.2.1"),
        sop_class: uid(class),
        sop_instance: uid(&format!("1.2.1.{number}")),
        transfer_syntax: uid(EXPLICIT),
        lies: Lies::AsReceived(place),
        room: crate::dicom::service::Room::default(),
    }
}

impl Services for Made {
    fn asker(&self, request: &AssociationRequest) -> Result<Asker, Rejection> {
        if request.calling_ae == "FORGOTTEN" {
            return Err(Rejection::CallingAeNotRecognized);
        }
        let partner = PartnerId::new("leipzig").expect("an id");
        Ok(Asker { partner, ae_title: request.calling_ae.clone(), letters: Outgoing::default() })
    }

    fn find<'a>(&'a self, _: &'a Asker, find: Find) -> BoxFuture<'a, Result<Answers, Refusal>> {
        Box::pin(async move {
            assert_eq!(find.model, FindModel::StudyRoot);
            assert!(std::thread::current().name() != Some("association"), "runs where the node runs");
            let (found, dropped) = (self.found.clone(), Dropped(self.dropped.clone()));
            let counted = move |number| {
                let _kept = &dropped;
                found.fetch_add(1, Ordering::SeqCst);
                Ok(patient(&format!("P{number}-{}", "x".repeat(40))))
            };
            let (matches, has_unsupported_keys) = match wanted(&find.identifier).as_str() {
                "MANY" => (stream::iter(0_u64..).map(counted).boxed(), false),
                "TWO" => (stream::iter(0..2).map(counted).boxed(), true),
                "PANIC" => (stream::iter(0..2).map(|_| panic!("made to")).boxed(), false),
                "SLOW" => (stream::iter(0..1).map(counted).chain(stream::pending()).boxed(), false),
                _ => {
                    let element = Some(tags::QUERY_RETRIEVE_LEVEL);
                    return Err(Refusal { element, ..Refusal::new(0xA900, "no level") });
                }
            };
            Ok(Answers { matches, has_unsupported_keys, is_partial: false })
        })
    }

    fn retrieve<'a>(
        &'a self,
        _: &'a Asker,
        _: Fetch,
        identifier: DataSet,
    ) -> BoxFuture<'a, Result<Vec<HeldInstance>, Refusal>> {
        Box::pin(async move {
            Ok(match wanted(&identifier).as_str() {
                "CT" => (0..3).map(|number| held(CT, number)).collect(),
                "MIXED" => vec![held(CT, 0), held(MR, 1), held(CT, 2)],
                "MR" => vec![held(MR, 0)],
                _ => Vec::new(),
            })
        })
    }

    fn destination(&self, _: &Asker, ae_title: &str) -> Result<MoveDestination, Refusal> {
        let port = self.viewer.load(Ordering::SeqCst);
        match ae_title {
            "NEISSE" => Ok(MoveDestination { ae_title: ae_title.into(), host: "127.0.0.1".into(), port }),
            _ => Err(Refusal::new(0xA801, "move destination unknown")),
        }
    }

    fn create<'a>(&'a self, _: &'a Asker, _: Target, _: DataSet) -> BoxFuture<'a, Result<Done, Refusal>> {
        Box::pin(async { Ok(Done { status: 0xB300, instance: uid("1.2.9"), reply: Some(patient("NEW")) }) })
    }

    fn set<'a>(&'a self, _: &'a Asker, _: Target, _: DataSet) -> BoxFuture<'a, Result<Done, Refusal>> {
        Box::pin(async { Err(Refusal::new(0xC301, "the correct Transaction UID was not provided")) })
    }

    fn get<'a>(&'a self, _: &'a Asker, target: Target, tags: Vec<Tag>) -> BoxFuture<'a, Result<Done, Refusal>> {
        Box::pin(async move {
            let reply = Some(patient(&tags.len().to_string()));
            Ok(Done { status: 0, instance: target.instance.expect("named"), reply })
        })
    }

    fn action<'a>(
        &'a self,
        _: &'a Asker,
        target: Target,
        action_type: u16,
        _: DataSet,
    ) -> BoxFuture<'a, Result<Done, Refusal>> {
        Box::pin(async move {
            assert_eq!(action_type, 1);
            Ok(Done { status: 0, instance: target.instance.expect("named"), reply: None })
        })
    }
}

impl Held for Made {
    fn open<'a>(&'a self, instance: &'a HeldInstance) -> BoxFuture<'a, io::Result<OpenInstance>> {
        Box::pin(async move {
            let length = instance.as_received().expect("as received").length;
            Ok(OpenInstance { length, bytes: Box::new(Sevens(length as usize)) })
        })
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

struct Sevens(usize);

impl HeldBytes for Sevens {
    fn read<'a>(&'a mut self, into: &'a mut BytesMut, at_most: usize) -> BoxFuture<'a, io::Result<usize>> {
        let count = self.0.min(at_most).min(300);
        self.0 -= count;
        into.extend(std::iter::repeat_n(7_u8, count));
        Box::pin(async move { Ok(count) })
    }
}

struct House {
    listening: Listening,
    made: Made,
}

async fn house(settings: ScpSettings) -> House {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (address, notes, stop) = (listener.local_addr().expect("bound"), Notes::default(), CancellationToken::new());
    let made = Made::default();
    let (services, held) = (Arc::new(made.clone()), Arc::new(made.clone()));
    let served = tokio::spawn(serve_all(listener, settings, notes.clone(), services, held, stop.clone()));
    House { listening: Listening { address, notes, stop, served }, made }
}

impl House {
    async fn ask(&self, calling: &str) -> Scu {
        let mut scu = Scu::connect(&self.listening).await;
        scu.send(&request(calling)).await;
        assert_eq!(scu.pdu().await.map(|(kind, _)| kind), Some(2));
        scu
    }

    async fn until_dropped(&self) {
        within(async {
            while self.made.dropped.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

fn request(calling: &str) -> Vec<u8> {
    let context = |id: u8, class: &str, syntax: &str| {
        let mut value = vec![id, 0, 0, 0];
        value.extend(item(0x30, class.as_bytes()));
        value.extend(item(0x40, syntax.as_bytes()));
        item(0x20, &value)
    };
    let mut body = vec![0, 1, 0, 0];
    body.extend(format!("{:16}{calling:16}", "NEISSE").bytes());
    body.extend([0; 32]);
    body.extend(item(0x10, b"1.2.840.10008.3.1.1.1"));
    for (id, class) in [(FIND_AT, FIND), (MOVE_AT, MOVE), (GET_AT, GET), (PUSH_AT, PUSH)] {
        body.extend(context(id, class, IMPLICIT));
    }
    body.extend(context(CT_AT, CT, EXPLICIT));
    let role = [&[0, 25], CT.as_bytes(), &[0, 1]].concat();
    body.extend(item(0x50, &[item(0x51, &[0, 0, 64, 0]), item(0x54, &role)].concat()));
    pdu(1, &body)
}

impl Scu {
    async fn asks(&mut self, context: u8, request: Request, data: Option<&[u8]>) {
        let request = Request { message_id: 11, has_data_set: data.is_some(), ..request };
        self.send(&p_data(context, 3, &Command::Request(request).encode())).await;
        if let Some(data) = data {
            for piece in data.chunks(16_000) {
                self.send(&p_data(context, 0, piece)).await;
            }
            self.send(&p_data(context, 2, b"")).await;
        }
    }

    async fn asks_for(&mut self, service: Service, id: &str) {
        let (context, class) = match service {
            Service::Find => (FIND_AT, FIND),
            Service::Move => (MOVE_AT, MOVE),
            _ => (GET_AT, GET),
        };
        let mut request = Request::new(service, class, "");
        request.move_destination = if service == Service::Move { "NEISSE".into() } else { String::new() };
        self.asks(context, request, Some(&written(&patient(id)))).await;
    }

    async fn cancel(&mut self, context: u8) {
        self.send(&p_data(context, 3, &Command::CancelRq { message_id: 11 }.encode())).await;
    }

    /// The next message, with its data set.
    async fn message(&mut self) -> (Command, Vec<u8>) {
        let command = self.response().await;
        let mut data = Vec::new();
        let mut more = command.has_data_set();
        while more {
            let (kind, body) = self.pdu().await.expect("a data set");
            assert_eq!((kind, body[5] & 1), (4, 0));
            data.extend_from_slice(&body[6..]);
            more = body[5] & 2 == 0;
        }
        (command, data)
    }

    async fn answer(&mut self) -> (Response, Vec<u8>) {
        match self.message().await {
            (Command::Response(response), data) => (response, data),
            (other, _) => panic!("{other:?}"),
        }
    }

    async fn status(&mut self) -> u16 {
        self.answer().await.0.status
    }

    async fn takes_one(&mut self) {
        self.takes_one_but(&[]).await;
    }

    /// Says something else before it has stored it.
    async fn takes_one_but(&mut self, first: &[u8]) {
        let (Command::StoreRq { message_id, sop_class, sop_instance, .. }, data) = self.message().await else {
            panic!("no C-STORE")
        };
        assert_eq!(data, [7; 1000]);
        self.send(first).await;
        let comment = None;
        let response = Command::StoreRsp { message_id, sop_class, sop_instance, status: 0, comment };
        self.send(&p_data(CT_AT, 3, &response.encode())).await;
    }
}

fn written(set: &DataSet) -> Vec<u8> {
    dataset::write(set, &uid(IMPLICIT), &Outgoing::default()).expect("written")
}

fn read(bytes: &[u8]) -> DataSet {
    dataset::read(bytes, &uid(IMPLICIT)).expect("read")
}

#[tokio::test]
async fn answers_come_and_then_their_end() {
    let house = house(PATIENT).await;
    let mut scu = house.ask("RAB_CT1").await;
    scu.asks_for(Service::Find, "TWO").await;
    for number in 0..2 {
        let (response, data) = scu.answer().await;
        assert_eq!((response.status, response.sop_class.as_str()), (0xFF01, FIND), "a key was not supported");
        assert!(wanted(&read(&data)).starts_with(&format!("P{number}-")));
    }
    assert_eq!(scu.status().await, 0);
    scu.asks_for(Service::Find, "NOTHING").await;
    let (response, _) = scu.answer().await;
    assert_eq!((response.status, response.element), (0xA900, Some(tags::QUERY_RETRIEVE_LEVEL)));
    scu.asks_for(Service::Find, "PANIC").await;
    assert_eq!(scu.status().await, 0xC001, "what was not searched to its end is no success");
    let mut scu = house.ask("FORGOTTEN").await;
    scu.asks_for(Service::Find, "TWO").await;
    assert_eq!(scu.status().await, 0x0124);
}

#[tokio::test]
async fn a_cancel_is_heard_in_the_middle_of_the_answers() {
    for id in ["MANY", "SLOW"] {
        let house = house(PATIENT).await;
        let mut scu = house.ask("RAB_CT1").await;
        scu.asks_for(Service::Find, id).await;
        assert_eq!(scu.status().await, 0xFF00);
        // Of another message: means nothing.
        scu.send(&p_data(FIND_AT, 3, &Command::CancelRq { message_id: 3 }.encode())).await;
        scu.cancel(FIND_AT).await;
        let last = loop {
            let status = scu.status().await;
            if status != 0xFF00 {
                break status;
            }
        };
        assert_eq!(last, 0xFE00);
        house.until_dropped().await;
        scu.asks_for(Service::Find, "TWO").await;
        assert_eq!(scu.status().await, 0xFF01, "the association goes on");
    }
}

#[tokio::test]
async fn who_is_gone_or_never_reads_stops_the_search() {
    let gone = house(PATIENT).await;
    let mut scu = gone.ask("RAB_CT1").await;
    scu.asks_for(Service::Find, "SLOW").await;
    assert_eq!(scu.status().await, 0xFF00);
    scu.send(&[7, 0, 0, 0, 0, 4, 0, 0, 0, 0]).await;
    gone.until_dropped().await;
    assert_eq!(gone.listening.notes.at_end().await, [Note::End(AssociationEnd::Aborted)]);

    let deaf = house(HASTY).await;
    let mut scu = deaf.ask("RAB_CT1").await;
    scu.asks_for(Service::Find, "MANY").await;
    assert_eq!(deaf.listening.notes.at_end().await, [Note::End(AssociationEnd::TimedOut)]);
    deaf.until_dropped().await;
    let found = deaf.made.found.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(deaf.made.found.load(Ordering::SeqCst), found, "nobody searches for it any more");
}

#[tokio::test]
async fn a_second_question_before_the_answer_ends_the_association() {
    let house = house(PATIENT).await;
    let mut scu = house.ask("RAB_CT1").await;
    scu.asks_for(Service::Find, "SLOW").await;
    assert_eq!(scu.status().await, 0xFF00);
    scu.asks_for(Service::Find, "TWO").await;
    assert_eq!(scu.abort().await, (0, 0));
    house.until_dropped().await;
}

#[tokio::test]
async fn what_cannot_be_read_or_is_not_provided_is_refused_and_the_next_is_answered() {
    let house = house(PATIENT).await;
    let mut scu = house.ask("RAB_CT1").await;
    let find = || Request::new(Service::Find, FIND, "");
    let deep = [0x40, 0, 0x30, 0xA7, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xFF, 0, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF].repeat(1000);
    let long = [&[0x10, 0, 0x20, 0, 0, 0, 0x20, 0][..], &vec![b'x'; 0x20_0000]].concat();
    let set = Request::new(Service::Set, PUSH, "1.2.3");
    let delete = Request::new(Service::Delete, PUSH, "1.2.3");
    let good = written(&patient("TWO"));
    let cases: Vec<(u8, Request, Option<&[u8]>, u16)> = vec![
        (FIND_AT, find(), Some(&long), 0xC001),
        (FIND_AT, find(), Some(&deep), 0xC001),
        (FIND_AT, find(), Some(b"GET / HTTP/1.1\r\n"), 0xC001),
        (FIND_AT, find(), None, 0xA900),
        (GET_AT, find(), Some(&good), 0x0122),
        (CT_AT, find(), Some(&good), 0x0122),
        (FIND_AT, Request::new(Service::Find, "1.2.840.10008.5.1.4.31", ""), Some(&good), 0x0122),
        (FIND_AT, Request::new(Service::Get, FIND, ""), Some(&good), 0x0211),
        (PUSH_AT, set, Some(&good), 0x0211),
        (PUSH_AT, delete, None, 0x0211),
        (PUSH_AT, Request::new(Service::NGet, PULL, "1.2.3"), None, 0x0118),
        (PUSH_AT, Request::new(Service::NGet, PUSH, "1..3"), None, 0x0117),
        (PUSH_AT, Request::new(Service::NGet, PUSH, ""), None, 0x0117),
        (PUSH_AT, Request::new(Service::Action, PUSH, "1.2.3"), Some(&deep), 0x0110),
        (PUSH_AT, Request::new(Service::Action, PUSH, "1.2.3"), None, 0x0123),
    ];
    for (number, (context, request, data, status)) in cases.into_iter().enumerate() {
        scu.asks(context, request, data).await;
        assert_eq!(format!("{:04X}", scu.status().await), format!("{status:04X}"), "case {number}");
    }
    scu.asks_for(Service::Find, "TWO").await;
    assert_eq!(scu.status().await, 0xFF01);
}

#[tokio::test]
async fn instances_are_sent_over_the_association_that_asked_where_it_has_a_context_for_them() {
    let house = house(PATIENT).await;
    let mut scu = house.ask("RAB_CT1").await;
    scu.asks_for(Service::Get, "CT").await;
    for _ in 0..3 {
        scu.takes_one().await;
    }
    let (response, _) = scu.answer().await;
    let counts = Counts { remaining: None, completed: 3, failed: 0, warning: 0 };
    assert_eq!((response.status, response.counts), (0, Some(counts)));

    scu.asks_for(Service::Get, "MIXED").await;
    scu.takes_one().await;
    scu.takes_one().await;
    let (response, data) = scu.answer().await;
    let counts = Counts { remaining: None, completed: 2, failed: 1, warning: 0 };
    assert_eq!((response.status, response.counts), (0xB000, Some(counts)));
    let failed = read(&data);
    assert_eq!(failed.element(tags::FAILED_SOP_INSTANCE_UID_LIST).expect("listed").to_str().expect("text"), "1.2.1.1");

    scu.asks_for(Service::Get, "MR").await;
    assert_eq!(scu.status().await, 0xA702);
    scu.asks_for(Service::Get, "NOTHING").await;
    assert_eq!(scu.status().await, 0);
}

#[tokio::test]
async fn a_retrieval_is_canceled_between_two_instances() {
    let house = house(PATIENT).await;
    let mut scu = house.ask("RAB_CT1").await;
    scu.asks_for(Service::Get, "CT").await;
    let cancel = p_data(GET_AT, 3, &Command::CancelRq { message_id: 11 }.encode());
    scu.takes_one_but(&cancel).await;
    let (response, _) = scu.answer().await;
    let counts = Counts { remaining: Some(2), completed: 1, failed: 0, warning: 0 };
    assert_eq!((response.status, response.counts), (0xFE00, Some(counts)));
}

#[tokio::test]
async fn instances_are_moved_to_a_place_of_the_askers_own() {
    let (house, viewer) = (house(PATIENT).await, listen(PATIENT).await);
    house.made.viewer.store(viewer.address.port(), Ordering::SeqCst);
    let mut scu = house.ask("RAB_CT1").await;
    scu.asks_for(Service::Move, "CT").await;
    let (response, _) = scu.answer().await;
    let counts = Counts { remaining: None, completed: 3, failed: 0, warning: 0 };
    assert_eq!((response.status, response.counts), (0, Some(counts)));
    let taken = viewer.notes.at_end().await;
    assert_eq!(taken.iter().filter(|note| **note == Note::Commit(vec![7; 1000])).count(), 3);

    let request = Request { move_destination: "ELSEWHERE".into(), ..Request::new(Service::Move, MOVE, "") };
    scu.asks(MOVE_AT, request, Some(&written(&patient("CT")))).await;
    assert_eq!(scu.status().await, 0xA801);
    viewer.stop.cancel();
    within(viewer.served).await.expect("stopped");
    scu.asks_for(Service::Move, "CT").await;
    let (response, data) = scu.answer().await;
    assert_eq!((response.status, response.counts.map(|counts| counts.failed)), (0xA702, Some(3)));
    assert!(!data.is_empty(), "each that failed is named");
}

/// With the requestor of our own, which other scenarios hold against other implementations.
#[tokio::test]
async fn the_n_services_are_asked_and_answered() {
    let house = house(PATIENT).await;
    let target = Called { host: "127.0.0.1".into(), port: house.listening.address.port(), called_ae: "NEISSE".into() };
    let proposals = [PUSH, PULL, EVENT].map(|class| Proposal { sop_class: uid(class), transfer_syntax: uid(EXPLICIT) });
    let settings = house.made.outgoing();
    let mut association = Association::open(&settings, &target, &proposals).await.expect("an association");
    let letters = Outgoing::default();
    let create = Request::new(Service::Create, PUSH, "");
    let (response, reply) =
        association.operate(&uid(PUSH), create, Some(&patient("X")), &letters).await.expect("asked");
    assert_eq!((response.status, response.sop_instance.as_str()), (0xB300, "1.2.9"));
    assert_eq!(reply.map(|reply| wanted(&reply)), Some("NEW".to_owned()));
    let set = Request::new(Service::Set, PUSH, "1.2.3");
    let (response, _) = association.operate(&uid(PULL), set, Some(&patient("X")), &letters).await.expect("asked");
    assert_eq!(response.status, 0xC301, "{response:?}");
    let get = Request {
        attributes: vec![tags::PATIENT_ID, tags::PATIENT_NAME],
        ..Request::new(Service::NGet, PUSH, "1.2.3")
    };
    let (_, reply) = association.operate(&uid(PUSH), get, None, &letters).await.expect("asked");
    assert_eq!(reply.map(|reply| wanted(&reply)), Some("2".to_owned()));
    let action = Request { type_id: Some(1), ..Request::new(Service::Action, PUSH, "1.2.3") };
    let (response, _) = association.operate(&uid(PULL), action, Some(&patient("X")), &letters).await.expect("asked");
    assert_eq!((response.status, response.type_id), (0, Some(1)));
    association.release().await;

    let mut association = Association::open_to_report(&settings, &target, &proposals).await.expect("an association");
    let event = Request { type_id: Some(1), ..Request::new(Service::EventReport, PUSH, "1.2.3") };
    let (response, _) = association.operate(&uid(EVENT), event, Some(&patient("X")), &letters).await.expect("told");
    assert_eq!(response.status, 0x0118, "this handler awaits none");
    association.release().await;
}
