//! A hospital's worklist over a store, and what its scanners say they did.

use super::{modality, performed};
use crate::{
    config::{Config, DatabaseUrl, Partner},
    dicom::{
        matching::value,
        service::{Asker, DataSet, Find, FindModel, Refusal, Target},
    },
    model::{Discipline, IssuedId, Moment, OrderId, OrderState, Outgoing, PartnerId, Priority, Requested, Step, Uid},
    store::{Durability, OrderFacts, OrderMessageRow, OrderRow, Store},
};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::DataSetSequence};
use dicom_dictionary_std::tags;
use futures_util::TryStreamExt;

const NOW: Moment = Moment(1_795_500_000_000_000);
const MPPS: &str = "1.2.840.10008.3.1.2.3.3";
const MPPS_RETRIEVE: &str = "1.2.840.10008.3.1.2.3.4";

struct Desk {
    store: Store,
    config: Config,
    _folder: tempfile::TempDir,
}

impl Desk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&DatabaseUrl::Sqlite, folder.path()).await.expect("a store");
        let config = crate::config::load(std::path::Path::new("config")).expect("the example");
        Self { store, config, _folder: folder }
    }

    fn partner(&self, id: &str) -> &Partner {
        &self.config.partners[&PartnerId::new(id).expect("an id")]
    }

    async fn ordered(&self, order: &OrderRow) {
        let mut tx = self.store.begin(Durability::Process).await.expect("a change");
        let message =
            OrderMessageRow { received: NOW, sha256: String::new(), sequence: 1, control: "NW", answer: "OK" };
        tx.save_order(order, true, &message).await.expect("an order");
        tx.commit().await.expect("kept");
    }

    async fn list(&self, partner: &str, keys: DataSet) -> Vec<DataSet> {
        let partner = self.partner(partner);
        let asker = Asker { partner: partner.id.clone(), ae_title: "ANY_CT".into(), letters: Outgoing::default() };
        let find = Find { model: FindModel::ModalityWorklist, identifier: keys, skip: 0, limit: None, is_fuzzy: false };
        let answers = modality::find(&self.store, partner, &asker, find).expect("answers");
        answers.matches.try_collect().await.expect("a list")
    }

    async fn placers(&self, partner: &str, keys: DataSet) -> Vec<String> {
        let found = self.list(partner, keys).await;
        found.iter().map(|item| value(item, tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST)).collect()
    }

    async fn begins(&self, partner: &str, uid: &str, attributes: DataSet) -> Result<u16, Refusal> {
        let done = performed::create(&self.store, self.partner(partner), target(MPPS, uid), attributes, NOW).await;
        done.map(|done| done.status)
    }

    async fn says(&self, partner: &str, uid: &str, said: DataSet) -> Result<u16, Refusal> {
        let done = performed::set(&self.store, self.partner(partner), target(MPPS, uid), said, NOW).await;
        done.map(|done| done.status)
    }
}

fn target(class: &str, uid: &str) -> Target {
    Target { class: Uid::new(class).expect("a UID"), instance: Some(Uid::new(uid).expect("a UID")) }
}

fn put(set: &mut DataSet, all: &[(Tag, VR, &str)]) {
    for (tag, vr, text) in all {
        let value = if text.is_empty() { PrimitiveValue::Empty } else { PrimitiveValue::from(*text) };
        set.put(DataElement::new(*tag, *vr, value));
    }
}

fn put_items(set: &mut DataSet, tag: Tag, items: Vec<DataSet>) {
    set.put(DataElement::new(tag, VR::SQ, DataSetSequence::from(items)));
}

/// Keys that also ask for the placer order number back.
fn keys(top: &[(Tag, VR, &str)], step: &[(Tag, VR, &str)]) -> DataSet {
    let (mut keys, mut item) = (DataSet::new_empty(), DataSet::new_empty());
    put(&mut keys, &[(tags::PLACER_ORDER_NUMBER_IMAGING_SERVICE_REQUEST, VR::LO, "")]);
    put(&mut keys, top);
    put(&mut item, step);
    put_items(&mut keys, tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE, vec![item]);
    keys
}

fn order(origin: &str, placer: &str, name: &str, modality: &str, station: &str, start: &str) -> OrderRow {
    let id = OrderId::generate();
    let step = Step { modality: modality.into(), station_ae: station.into(), start: start.into(), ..Step::default() };
    let requested = Requested { steps: vec![step], allergies: vec!["Jod".into()], ..Requested::default() };
    OrderRow {
        id,
        origin: PartnerId::new(origin).expect("an id"),
        state: OrderState::Open,
        placer: IssuedId::new(placer, "KIS"),
        filler: IssuedId::default(),
        group: IssuedId::default(),
        accession: IssuedId::new(format!("A{placer}"), "RIS"),
        studies: vec![Uid::derived(&[origin, placer])],
        patient: IssuedId::new(format!("SYN-{placer}"), "RABENSTEIN"),
        discipline: Discipline::Radiology,
        modality: modality.into(),
        priority: Priority::Stat,
        facts: OrderFacts {
            patient_name: name.into(),
            birth_date: "19310202".into(),
            sex: "F".into(),
            procedure_code: "CTK".into(),
            procedure: "CT Kopf".into(),
            requested: requested.completed(id, placer, modality, "20261124080000"),
            ..OrderFacts::default()
        },
        received: NOW,
        changed: NOW,
    }
}

fn performed_step(order: &OrderRow) -> DataSet {
    let (mut set, mut scheduled) = (DataSet::new_empty(), DataSet::new_empty());
    put(
        &mut scheduled,
        &[
            (tags::STUDY_INSTANCE_UID, VR::UI, order.studies[0].as_str()),
            (tags::ACCESSION_NUMBER, VR::SH, &order.accession.value),
            (tags::SCHEDULED_PROCEDURE_STEP_ID, VR::SH, &order.facts.requested.steps[0].id),
        ],
    );
    put_items(&mut set, tags::SCHEDULED_STEP_ATTRIBUTES_SEQUENCE, vec![scheduled]);
    put(
        &mut set,
        &[
            (tags::PATIENT_NAME, VR::PN, &order.facts.patient_name),
            (tags::PERFORMED_PROCEDURE_STEP_ID, VR::SH, "PPS1"),
            (tags::PERFORMED_STATION_AE_TITLE, VR::AE, "RAB_CT1"),
            (tags::PERFORMED_PROCEDURE_STEP_START_DATE, VR::DA, "20261124"),
            (tags::PERFORMED_PROCEDURE_STEP_START_TIME, VR::TM, "0830"),
            (tags::PERFORMED_PROCEDURE_STEP_STATUS, VR::CS, "IN PROGRESS"),
            (tags::MODALITY, VR::CS, "CT"),
        ],
    );
    set
}

fn ended(status: &str) -> DataSet {
    let (mut set, mut series, mut image) = (DataSet::new_empty(), DataSet::new_empty(), DataSet::new_empty());
    put(&mut image, &[(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, "1.2.3.1.1")]);
    put(&mut series, &[(tags::SERIES_INSTANCE_UID, VR::UI, "1.2.3.1")]);
    put_items(&mut series, tags::REFERENCED_IMAGE_SEQUENCE, vec![image]);
    put_items(&mut set, tags::PERFORMED_SERIES_SEQUENCE, vec![series]);
    put(
        &mut set,
        &[
            (tags::PERFORMED_PROCEDURE_STEP_STATUS, VR::CS, status),
            (tags::PERFORMED_PROCEDURE_STEP_END_DATE, VR::DA, "20261124"),
            (tags::PERFORMED_PROCEDURE_STEP_END_TIME, VR::TM, "0845"),
        ],
    );
    set
}

#[tokio::test]
async fn a_scanner_finds_what_it_is_to_do_by_whatever_it_names() {
    let desk = Desk::new().await;
    for (placer, name, modality, station, start) in [
        ("1", "Müller^Jürgen", "CT", "RAB_CT1", "20261124083000"),
        ("2", "Świątek^Łucja", "CT", "", "20261124100000"),
        ("3", "Mühlbauer^Ida", "MR", "RAB_MR1", "20261124"),
        ("4", "Dvořák^Ondřej", "CT", "RAB_CT2", "20261125090000"),
        ("6", "Иванов^Пётр", "US", "RAB_US1", "20261126"),
        ("7", "", "XA", "RAB_XA1", "20261127"),
    ] {
        desk.ordered(&order("rabenstein", placer, name, modality, station, start)).await;
    }
    desk.ordered(&order("lichtenstein", "5", "Müller^Jürgen", "CT", "RAB_CT1", "20261124083000")).await;
    let (date, time) = (tags::SCHEDULED_PROCEDURE_STEP_START_DATE, tags::SCHEDULED_PROCEDURE_STEP_START_TIME);
    let (ae, ct) = (tags::SCHEDULED_STATION_AE_TITLE, (tags::MODALITY, VR::CS, "CT"));
    let name = |text| (tags::PATIENT_NAME, VR::PN, text);
    for (asked, expected) in [
        (keys(&[], &[]), vec!["3", "1", "2", "4", "6", "7"]),
        (keys(&[], &[ct]), vec!["1", "2", "4"]),
        (keys(&[], &[(tags::MODALITY, VR::CS, "MG")]), vec![]),
        (keys(&[], &[(ae, VR::AE, "RAB_CT1")]), vec!["1", "2"]),
        (keys(&[], &[ct, (date, VR::DA, "20261124")]), vec!["1", "2"]),
        (keys(&[], &[(date, VR::DA, "20261124-20261125"), (time, VR::TM, "0900-1000")]), vec!["2", "4"]),
        (keys(&[], &[(date, VR::DA, "20261125-")]), vec!["4", "6", "7"]),
        (keys(&[name("mü*")], &[]), vec!["3", "1"]),
        (keys(&[name("*^JURGEN")], &[]), vec!["1"]),
        (keys(&[name("SWIATEK^LUCJA")], &[]), vec!["2"]),
        (keys(&[name("ИВАНОВ^П*")], &[]), vec!["6"]),
        (keys(&[name("swi*\\dvorak*")], &[]), vec!["2", "4"]),
        (keys(&[name("\"\"")], &[]), vec!["7"]),
        (keys(&[(tags::PATIENT_ID, VR::LO, "SYN-4")], &[]), vec!["4"]),
        (keys(&[(tags::ACCESSION_NUMBER, VR::SH, "A2")], &[ct]), vec!["2"]),
        (keys(&[(tags::ACCESSION_NUMBER, VR::SH, "A3")], &[ct]), vec![]),
        (keys(&[(tags::STUDY_INSTANCE_UID, VR::UI, Uid::derived(&["rabenstein", "1"]).as_str())], &[]), vec!["1"]),
    ] {
        assert_eq!(desk.placers("rabenstein", asked.clone()).await, expected, "{asked:?}");
    }
    assert_eq!(desk.placers("lichtenstein", keys(&[], &[])).await, ["5"], "another hospital's list");
}

#[tokio::test]
async fn what_is_asked_for_comes_back_and_nothing_else() {
    let desk = Desk::new().await;
    let order = order("rabenstein", "1", "Müller^Jürgen", "CT", "", "20261124");
    desk.ordered(&order).await;
    let all = super::step_item::empty();
    let found = desk.list("rabenstein", all.clone()).await;
    let [item] = found.as_slice() else { panic!("{} items", found.len()) };
    assert_eq!(item.iter().count(), all.iter().count());
    let step = &performed::items(item, tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE)[0];
    // Type 1 (PS3.4 Table K.6-1).
    for (set, tag, expected) in [
        (step, tags::SCHEDULED_STATION_AE_TITLE, "ANY_CT"),
        (step, tags::SCHEDULED_PROCEDURE_STEP_START_DATE, "20261124"),
        (step, tags::SCHEDULED_PROCEDURE_STEP_START_TIME, "000000"),
        (step, tags::MODALITY, "CT"),
        (step, tags::SCHEDULED_PROCEDURE_STEP_DESCRIPTION, "CT Kopf"),
        (step, tags::SCHEDULED_PROCEDURE_STEP_ID, &order.facts.requested.steps[0].id),
        (item, tags::REQUESTED_PROCEDURE_ID, "1"),
        (item, tags::STUDY_INSTANCE_UID, order.studies[0].as_str()),
        (item, tags::REQUESTED_PROCEDURE_PRIORITY, "STAT"),
        (item, tags::PATIENT_NAME, "Müller^Jürgen"),
        (item, tags::ISSUER_OF_PATIENT_ID, "RABENSTEIN"),
        (item, tags::ALLERGIES, "Jod"),
        (item, tags::MEDICAL_ALERTS, ""),
    ] {
        assert_eq!(value(set, tag), expected, "{tag}");
    }
    let few = keys(&[(tags::PATIENT_NAME, VR::PN, "")], &[(tags::MODALITY, VR::CS, "")]);
    let found = desk.list("rabenstein", few).await;
    assert_eq!(found[0].iter().count(), 3);
}

#[tokio::test]
async fn what_is_done_leaves_the_list_and_what_is_broken_off_stays() {
    let desk = Desk::new().await;
    let order = order("rabenstein", "1", "Müller^Jürgen", "CT", "RAB_CT1", "20261124083000");
    desk.ordered(&order).await;
    let begun = performed_step(&order);
    let status = || keys(&[], &[(tags::SCHEDULED_PROCEDURE_STEP_STATUS, VR::CS, "")]);
    let words = async || {
        let found = desk.list("rabenstein", status()).await;
        let word = |item: &DataSet| {
            value(
                &performed::items(item, tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE)[0],
                tags::SCHEDULED_PROCEDURE_STEP_STATUS,
            )
        };
        found.iter().map(word).collect::<Vec<_>>()
    };
    assert_eq!(words().await, ["SCHEDULED"]);
    assert_eq!(desk.begins("rabenstein", "1.2.9", begun.clone()).await, Ok(0));
    assert_eq!(words().await, ["STARTED"]);
    assert_eq!(desk.says("rabenstein", "1.2.9", ended("DISCONTINUED")).await, Ok(0));
    assert_eq!(words().await, ["SCHEDULED"]);
    assert_eq!(desk.begins("rabenstein", "1.2.10", begun.clone()).await, Ok(0));
    // Begun a second time, and given up by one of both: the other is at work on it.
    assert_eq!(desk.begins("rabenstein", "1.2.11", begun).await, Ok(0));
    assert_eq!(desk.says("rabenstein", "1.2.11", ended("DISCONTINUED")).await, Ok(0));
    assert_eq!(words().await, ["STARTED"]);
    assert_eq!(desk.says("rabenstein", "1.2.10", ended("COMPLETED")).await, Ok(0));
    assert_eq!(words().await, Vec::<String>::new());
    // A change of the order does not bring back what has been done.
    let mut tx = desk.store.begin(Durability::Process).await.expect("a change");
    let message = OrderMessageRow { received: NOW, sha256: "x".into(), sequence: 1, control: "XO", answer: "XR" };
    tx.save_order(&order, false, &message).await.expect("a change");
    tx.commit().await.expect("kept");
    assert_eq!(words().await, Vec::<String>::new());
}

#[tokio::test]
async fn an_order_that_is_taken_back_leaves_the_list() {
    let desk = Desk::new().await;
    let mut order = order("rabenstein", "1", "Müller^Jürgen", "CT", "", "20261124083000");
    desk.ordered(&order).await;
    for (state, listed) in [(OrderState::OnHold, 0), (OrderState::Open, 1), (OrderState::Cancelled, 0)] {
        order.state = state;
        let mut tx = desk.store.begin(Durability::Process).await.expect("a change");
        let message =
            OrderMessageRow { received: NOW, sha256: state.to_string(), sequence: 1, control: "SC", answer: "OK" };
        tx.save_order(&order, false, &message).await.expect("a change");
        tx.commit().await.expect("kept");
        assert_eq!(desk.placers("rabenstein", keys(&[], &[])).await.len(), listed, "{state}");
    }
}

/// PS3.4 F.7.2: what is asked of a step in each of its states, and of none.
#[tokio::test]
async fn each_request_of_a_performed_step_has_its_status() {
    let desk = Desk::new().await;
    let order = order("rabenstein", "1", "Müller^Jürgen", "CT", "RAB_CT1", "20261124083000");
    desk.ordered(&order).await;
    let refused = |answer: Result<u16, Refusal>| answer.expect_err("refused").status;
    assert_eq!(refused(desk.says("rabenstein", "1.2.9", ended("COMPLETED")).await), 0x0112);
    assert_eq!(desk.begins("rabenstein", "1.2.9", performed_step(&order)).await, Ok(0));
    assert_eq!(refused(desk.begins("rabenstein", "1.2.9", performed_step(&order)).await), 0x0111);
    // Another hospital: as if it were not there, and it may use the same UID.
    assert_eq!(refused(desk.says("lichtenstein", "1.2.9", ended("COMPLETED")).await), 0x0112);
    assert_eq!(desk.begins("lichtenstein", "1.2.9", performed_step(&order)).await, Ok(0));
    assert_eq!(refused(desk.says("rabenstein", "1.2.9", ended("SUSPENDED")).await), 0x0106);
    assert_eq!(desk.says("rabenstein", "1.2.9", ended("IN PROGRESS")).await, Ok(0));
    assert_eq!(desk.says("rabenstein", "1.2.9", ended("COMPLETED")).await, Ok(0));
    for status in ["IN PROGRESS", "COMPLETED", "DISCONTINUED"] {
        assert_eq!(desk.says("rabenstein", "1.2.9", ended(status)).await, Err(performed::NO_MORE));
    }
    let get = async |partner: &str, class: &str, uid: &str, tags: Vec<Tag>| {
        performed::get(&desk.store, desk.partner(partner), target(class, uid), tags).await
    };
    let known = get("rabenstein", MPPS_RETRIEVE, "1.2.9", vec![tags::PERFORMED_PROCEDURE_STEP_STATUS]).await;
    let known = known.expect("known").reply.expect("attributes");
    assert_eq!((known.iter().count(), value(&known, tags::PERFORMED_PROCEDURE_STEP_STATUS).as_str()), (1, "COMPLETED"));
    assert_eq!(get("rabenstein", MPPS, "1.2.9", Vec::new()).await.expect_err("wrong").status, 0x0211);
    assert_eq!(get("rabenstein", MPPS_RETRIEVE, "1.2.99", Vec::new()).await.expect_err("none").status, 0x0112);
    let created = performed::create(
        &desk.store,
        desk.partner("rabenstein"),
        target(MPPS_RETRIEVE, "1.2.8"),
        performed_step(&order),
        NOW,
    );
    assert_eq!(created.await.expect_err("wrong").status, 0x0211);
}

async fn changed(desk: &Desk, order: &OrderRow, sha256: &str) {
    let mut tx = desk.store.begin(Durability::Process).await.expect("a change");
    let message = OrderMessageRow { received: NOW, sha256: sha256.into(), sequence: 1, control: "XO", answer: "XR" };
    tx.save_order(order, false, &message).await.expect("a change");
    tx.commit().await.expect("kept");
}

/// An order of several steps, by their ids.
fn of_steps(placer: &str, ids: &[&str]) -> OrderRow {
    let mut order = order("rabenstein", placer, "Müller^Jürgen", "CT", "", "20261124083000");
    let step = order.facts.requested.steps[0].clone();
    order.facts.requested.steps = ids.iter().map(|id| Step { id: (*id).into(), ..step.clone() }).collect();
    order
}

fn steps_asked() -> DataSet {
    keys(&[], &[(tags::SCHEDULED_PROCEDURE_STEP_ID, VR::SH, ""), (tags::SCHEDULED_PROCEDURE_STEP_STATUS, VR::CS, "")])
}

impl Desk {
    /// Which steps are listed, with their states.
    async fn steps(&self) -> Vec<String> {
        let found = self.list("rabenstein", steps_asked()).await;
        let said = found.iter().map(|item| {
            let step = &performed::items(item, tags::SCHEDULED_PROCEDURE_STEP_SEQUENCE)[0];
            let [id, state] =
                [tags::SCHEDULED_PROCEDURE_STEP_ID, tags::SCHEDULED_PROCEDURE_STEP_STATUS].map(|tag| value(step, tag));
            format!("{id} {state}")
        });
        said.collect()
    }
}

#[tokio::test]
async fn what_is_done_is_the_step_and_not_its_place() {
    let desk = Desk::new().await;
    let mut order = of_steps("1", &["S1", "S2"]);
    desk.ordered(&order).await;
    assert_eq!(desk.begins("rabenstein", "1.2.9", performed_step(&order)).await, Ok(0));
    assert_eq!(desk.steps().await, ["S1 STARTED", "S2 SCHEDULED"]);
    let step = order.facts.requested.steps[0].clone();
    let steps = |ids: &[&str]| ids.iter().map(|id| Step { id: (*id).into(), ..step.clone() }).collect::<Vec<_>>();
    order.facts.requested.steps = steps(&["S0", "S1"]);
    changed(&desk, &order, "a").await;
    assert_eq!(desk.steps().await, ["S0 SCHEDULED", "S1 STARTED"], "it is another place it has");
    assert_eq!(desk.says("rabenstein", "1.2.9", ended("COMPLETED")).await, Ok(0));
    assert_eq!(desk.steps().await, ["S0 SCHEDULED"]);
    order.facts.requested.steps = steps(&["S1", "S2", "S3"]);
    changed(&desk, &order, "b").await;
    assert_eq!(desk.steps().await, ["S2 SCHEDULED", "S3 SCHEDULED"]);
    order.facts.requested.steps = steps(&["S4"]);
    changed(&desk, &order, "c").await;
    assert_eq!(desk.steps().await, ["S4 SCHEDULED"], "in the place of one that is done");
    order.facts.requested.steps = steps(&["S1"]);
    changed(&desk, &order, "d").await;
    assert_eq!(desk.steps().await, Vec::<String>::new(), "done stays done");
}

/// By its accession number alone, a step is of the patient and the issuer that it names, or of nobody.
#[tokio::test]
async fn an_accession_number_of_another_patient_or_issuer_is_another_one() {
    for (patient, issuer, expected) in [
        ("SYN-1", "", ["S2 SCHEDULED"].as_slice()),
        ("SYN-2", "", &["S1 SCHEDULED"]),
        ("SYN-3", "", &["S1 SCHEDULED", "S2 SCHEDULED"]),
        ("", "", &["S1 SCHEDULED", "S2 SCHEDULED"]),
        ("", "RIS", &["S2 SCHEDULED"]),
        ("SYN-2", "RIS", &["S1 SCHEDULED", "S2 SCHEDULED"]),
        ("SYN-2", "LIS", &["S1 SCHEDULED"]),
    ] {
        let desk = Desk::new().await;
        for (placer, step, issuer) in [("1", "S1", "RIS"), ("2", "S2", "LIS")] {
            let mut order = of_steps(placer, &[step]);
            order.accession = IssuedId::new("A1", issuer);
            desk.ordered(&order).await;
        }
        let (mut item, mut of) = (DataSet::new_empty(), DataSet::new_empty());
        put(&mut item, &[(tags::STUDY_INSTANCE_UID, VR::UI, "1.2.3.4"), (tags::ACCESSION_NUMBER, VR::SH, "A1")]);
        if !issuer.is_empty() {
            put(&mut of, &[(tags::LOCAL_NAMESPACE_ENTITY_ID, VR::UT, issuer)]);
            put_items(&mut item, tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE, vec![of]);
        }
        let mut begun = performed_step(&of_steps("1", &["S1"]));
        put_items(&mut begun, tags::SCHEDULED_STEP_ATTRIBUTES_SEQUENCE, vec![item]);
        put(&mut begun, &[(tags::PATIENT_ID, VR::LO, patient)]);
        assert_eq!(desk.begins("rabenstein", "1.2.9", begun).await, Ok(0));
        assert_eq!(desk.says("rabenstein", "1.2.9", ended("COMPLETED")).await, Ok(0));
        assert_eq!(desk.steps().await, expected, "{patient:?} {issuer:?}");
    }
}

#[tokio::test]
async fn a_step_that_grows_without_end_is_refused() {
    let desk = Desk::new().await;
    let order = order("rabenstein", "1", "Müller^Jürgen", "CT", "RAB_CT1", "20261124083000");
    desk.ordered(&order).await;
    assert_eq!(desk.begins("rabenstein", "1.2.9", performed_step(&order)).await, Ok(0));
    let mut said = Vec::new();
    for part in 0..5_u16 {
        let mut more = DataSet::new_empty();
        put(&mut more, &[(Tag(0x0009, 0x1000 + part), VR::UT, &"x".repeat(2 << 20))]);
        said.push(desk.says("rabenstein", "1.2.9", more).await.map_err(|refusal| refusal.status));
    }
    assert_eq!(said, [Ok(0), Ok(0), Ok(0), Err(0x0213), Err(0x0213)]);
    assert_eq!(desk.says("rabenstein", "1.2.9", ended("COMPLETED")).await, Ok(0), "it can be ended still");
}
