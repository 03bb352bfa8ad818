//! Every order control in every state of a case, through the taker: what is answered, and where order, case and task stand then.

use super::*;
use crate::{
    model::{CaseEvent, CaseId, CaseState, Decision, Disposition, Reading, ReadingMode, ReportId, StudyFacts, Uid},
    store::NewClaim,
};

/// Where a case stands when the message comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Unknown,
    New,
    OnHold,
    Queued,
    Delivered,
    Claimed,
    Preliminary,
    Reported,
    Cancelled,
}

const COLUMNS: [At; 9] = [
    At::Unknown,
    At::New,
    At::OnHold,
    At::Queued,
    At::Delivered,
    At::Claimed,
    At::Preliminary,
    At::Reported,
    At::Cancelled,
];

/// One cell: an order of a patient of its own, its case and the task of it.
struct Cell<'a> {
    desk: &'a Desk,
    number: usize,
    messages: usize,
    case: Option<CaseId>,
    task: Option<Uid>,
}

impl<'a> Cell<'a> {
    async fn at(desk: &'a Desk, number: usize, at: At) -> Cell<'a> {
        let mut cell = Cell { desk, number, messages: 0, case: None, task: None };
        if at == At::Unknown {
            return cell;
        }
        cell.images().await;
        assert_eq!(cell.asks("NW").await, "OK");
        match at {
            At::OnHold => assert_eq!(cell.asks("HD").await, "HR"),
            At::Cancelled => assert_eq!(cell.asks("CA").await, "CR"),
            _ => {}
        }
        let way: &[CaseEvent] = match at {
            At::Queued => &[CaseEvent::Decided],
            At::Delivered | At::Claimed => &[CaseEvent::Decided, CaseEvent::AllDelivered],
            At::Preliminary => &[CaseEvent::Decided, CaseEvent::AllDelivered, CaseEvent::PreliminaryReport],
            At::Reported => &[CaseEvent::Decided, CaseEvent::AllDelivered, CaseEvent::FinalReport],
            _ => &[],
        };
        for event in way {
            cell.goes(*event).await;
        }
        if matches!(at, At::Claimed | At::Preliminary | At::Reported) {
            cell.is_claimed().await;
        }
        if at == At::Reported {
            let mut tx = desk.orders.store.begin(Durability::Process).await.unwrap();
            let reader = PartnerId::new("chemnitz").unwrap();
            tx.complete_tasks(cell.case.unwrap(), &reader, ReportId::generate(), NOW).await.unwrap();
            tx.commit().await.unwrap();
        }
        cell
    }

    /// A study that names the order's accession number.
    async fn images(&mut self) {
        let id = CaseId::generate();
        let own = |value: String| IssuedId::new(value, "RABENSTEIN");
        let case = CaseRow {
            id,
            origin: self.desk.config.partners.keys().next().unwrap().clone(),
            study: Uid::derived(&["study", &self.number.to_string()]),
            state: CaseState::New,
            discipline: Discipline::Radiology,
            priority: Priority::Routine,
            calling_ae: String::new(),
            called_ae: String::new(),
            facts: StudyFacts {
                patient_id: own(format!("P{}", self.number)),
                accession: own(format!("A{}", self.number)),
                ..StudyFacts::default()
            },
            instances: 1,
            bytes: 1,
            routed_to: 0,
            first: NOW,
            last: NOW,
            whole: Some(NOW),
            decision: None,
            reader: None,
            attention: String::new(),
            has_study: true,
            report_due: None,
            waits_until: None,
        };
        let mut tx = self.desk.orders.store.begin(Durability::Process).await.unwrap();
        assert!(tx.add_case(&case).await.unwrap());
        tx.commit().await.unwrap();
        self.case = Some(id);
    }

    async fn goes(&mut self, event: CaseEvent) {
        let mut tx = self.desk.orders.store.begin(Durability::Process).await.unwrap();
        let mut case = tx.case(self.case.unwrap()).await.unwrap();
        if event == CaseEvent::Decided {
            let reader = PartnerId::new("chemnitz").unwrap();
            let reading = Reading {
                rule: "All".into(),
                readers: vec![reader.clone()],
                also_to: Vec::new(),
                reading_mode: ReadingMode::Consultation,
                claim_within: None,
                report_within: None,
                window_ends: None,
            };
            case.decision = Some(Decision {
                disposition: Disposition::Read(reading),
                reasons: Vec::new(),
                rules_version: String::new(),
                decided_at: NOW,
            });
            (case.reader, case.routed_to) = (Some(reader), 1);
        }
        case.take(event).unwrap();
        tx.save_case(&case).await.unwrap();
        if event == CaseEvent::Decided {
            self.task = tx.offer_task(&case, NOW).await.unwrap();
            assert!(self.task.is_some());
        }
        tx.commit().await.unwrap();
    }

    async fn is_claimed(&self) {
        let task = self.task.as_ref().unwrap();
        let claim = NewClaim { task, transaction: "1.2.3", by: "WS1", lease: None, now: NOW };
        let mut tx = self.desk.orders.store.begin(Durability::Process).await.unwrap();
        assert!(tx.claim_task(claim).await.unwrap());
        tx.commit().await.unwrap();
    }

    /// ORC-1 of the answer to an order control, which may name a status (ORC-5) behind it.
    async fn asks(&mut self, control: &str) -> String {
        self.messages += 1;
        let (number, control_id) = (self.number, format!("{}-{}", self.number, self.messages));
        let (control, status) = control.split_once(' ').unwrap_or((control, ""));
        let text = format!(
            "MSH|^~\\&|KIS|DRKRAB|NEISSE|N|20260105101010||OMI^O23|{control_id}|P|2.5.1\rPID|1||P{number}||Muster^Max\r\
             ORC|{control}|{number}^KIS|||{status}\rOBR|1|{number}^KIS||CTHEAD^CT Kopf\rIPC|A{number}||||CT\r"
        );
        let (answer, _) = self.desk.send(&control_id, text).await;
        let orc = answer.split('\r').find(|segment| segment.starts_with("ORC")).expect("an ORC");
        orc.split('|').nth(1).expect("ORC-1").to_owned()
    }

    /// Order, case and task, and whether a person is told to tell whoever has the task open.
    async fn stands(&self) -> String {
        let mut tx = self.desk.orders.store.begin(Durability::Process).await.unwrap();
        let placer = IssuedId::new(self.number.to_string(), "KIS");
        let origin = self.desk.config.partners.keys().next().unwrap().clone();
        let order = tx.order_with_placer(&origin, &placer).await.unwrap();
        let order = order.map_or("-", |order| order.state.as_str());
        let case = match self.case {
            Some(case) => Some(tx.case_as_it_is(case).await.unwrap()),
            None => None,
        };
        let task = match &self.task {
            Some(task) => tx.task(task).await.unwrap(),
            None => None,
        };
        let told = case.as_ref().is_some_and(|case| case.attention.contains("tell whoever has it open"));
        let (case, task) = (case.map_or("-", |case| case.state.as_str()), task.map_or("-", |task| task.state.as_str()));
        format!("{order} {case} {task}{}", if told { " told" } else { "" })
    }
}

/// Each cell: ORC-1 of the answer, then the order, its case and its task (`told`: a person is told to tell whoever has it open); `=` where order,
/// case and task stay as they were.
#[tokio::test]
async fn every_order_control_in_every_state_of_a_case() {
    let desk = desk().await;
    let mut number = 0;
    let mut wrong = Vec::new();
    for (control, row) in TABLE {
        for (at, wanted) in COLUMNS.into_iter().zip(*row) {
            number += 1;
            let mut cell = Cell::at(&desk, number, at).await;
            let before = cell.stands().await;
            let answer = cell.asks(control).await;
            let after = cell.stands().await;
            let found = if after == before { format!("{answer} =") } else { format!("{answer} {after}") };
            if found != *wanted {
                wrong.push(format!("{control} {at:?}: \"{found}\", and not \"{wanted}\" (was {before})"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//           unknown, new, on hold, queued, delivered, claimed, preliminary, reported, cancelled
const TABLE: &[(&str, [&str; 9])] = &[
    ("NW", ["OK open - -", "OK =", "OK =", "OK =", "OK =", "OK =", "OK =", "OK =", "UA ="]),
    ("RO", ["OK open - -", "OK =", "OK =", "OK =", "OK =", "OK =", "OK =", "OK =", "UA ="]),
    ("XO", ["XR open - -", "XR =", "XR =", "XR =", "XR =", "XR =", "XR =", "UX =", "UX ="]),
    (
        "CA",
        [
            "UC =",
            "CR cancelled held -",
            "CR cancelled held -",
            "CR cancelled routed CANCELED",
            "CR cancelled delivered CANCELED",
            "CR cancelled delivered CANCELED told",
            "UC =",
            "UC =",
            "CR =",
        ],
    ),
    (
        "DC",
        [
            "UD =",
            "DR discontinued new -",
            "DR discontinued held -",
            "DR discontinued routed SCHEDULED",
            "DR discontinued delivered SCHEDULED",
            "DR discontinued delivered IN PROGRESS",
            "DR discontinued preliminary IN PROGRESS",
            "DR discontinued reported COMPLETED",
            "DR =",
        ],
    ),
    (
        "HD",
        [
            "UH =",
            "HR on_hold held -",
            "HR =",
            "HR on_hold routed SCHEDULED",
            "HR on_hold delivered SCHEDULED",
            "HR on_hold delivered IN PROGRESS",
            "UH =",
            "UH =",
            "UH =",
        ],
    ),
    ("RL", ["UR =", "UR =", "OR open held -", "UR =", "UR =", "UR =", "UR =", "UR =", "UR ="]),
    ("SC IP", ["UA =", "OK =", "OK =", "OK =", "OK =", "OK =", "OK =", "OK =", "OK ="]),
    (
        "SC CM",
        [
            "UA =",
            "OK completed new -",
            "OK completed held -",
            "OK completed routed SCHEDULED",
            "OK completed delivered SCHEDULED",
            "OK completed delivered IN PROGRESS",
            "OK completed preliminary IN PROGRESS",
            "OK completed reported COMPLETED",
            "UA =",
        ],
    ),
    (
        "SC CA",
        [
            "UA =",
            "OK cancelled held -",
            "OK cancelled held -",
            "OK cancelled routed CANCELED",
            "OK cancelled delivered CANCELED",
            "OK cancelled delivered CANCELED told",
            "UA =",
            "UA =",
            "OK =",
        ],
    ),
    ("SN", ["UA =", "UA =", "UA =", "UA =", "UA =", "UA =", "UA =", "UA =", "UA ="]),
    ("NA", ["UA =", "OK =", "OK =", "OK =", "OK =", "OK =", "OK =", "OK =", "OK ="]),
    (
        "RP",
        [
            "UM =",
            "RQ replaced held -",
            "RQ replaced held -",
            "RQ replaced routed CANCELED",
            "RQ replaced delivered CANCELED",
            "RQ replaced delivered CANCELED told",
            "RQ replaced preliminary CANCELED told",
            "UM =",
            "UM =",
        ],
    ),
];
