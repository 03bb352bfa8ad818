//! Each move that can be asked of a reading task, from each state and with each Transaction UID, is answered as PS3.4 Tables CC.1.1-2,
//! CC.2.1-2, CC.2.2-2 and CC.2.6-1 have it, by pynetdicom over DIMSE; and over HTTP as PS3.18 11.6 to 11.8 do, on both databases.

use crate::support::{
    eventually,
    faults::send_head_ct,
    network::{ALWAYS_CHEMNITZ, BOTH, Network, SOON, wall},
    readers::{Reader, performed, said},
    workstation::{asked, change, subscribe},
};
use reqwest::Method;
use serde_json::{Value, json};

const RIGHT: &str = "1.2.3.1";
const WRONG: &str = "1.2.3.9";
/// Tasks of one wire: SCHEDULED, IN PROGRESS, COMPLETED, CANCELED, and one more of each that is still open.
const TASKS: usize = 6;
const STATES: [&str; 4] = ["SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ask {
    /// To this state, with this Transaction UID.
    Move(&'static str, &'static str),
    /// What was performed, with this Transaction UID.
    Set(&'static str),
    Cancel,
    /// The performer wants to hear of it.
    Subscribe,
}

use Ask::{Cancel, Move, Set, Subscribe};

/// What changes nothing: a row a request, a column a state. 0: done below, where it changes something.
const TABLE: [(Ask, [u16; 4]); 16] = [
    // from                        SCHEDULED IN PROG.  COMPLETED CANCELED
    (Move("SCHEDULED", RIGHT), [0xC303, 0xC303, 0xC303, 0xC303]),
    (Move("SCHEDULED", WRONG), [0xC303, 0xC303, 0xC303, 0xC303]),
    (Move("SCHEDULED", ""), [0xC303, 0xC303, 0xC303, 0xC303]),
    (Move("IN PROGRESS", ""), [0xC301, 0xC301, 0xC301, 0xC301]),
    (Move("IN PROGRESS", RIGHT), [0, 0xC302, 0xC300, 0xC300]),
    (Move("IN PROGRESS", WRONG), [0, 0xC302, 0xC300, 0xC300]),
    // Nobody has claimed the first: any Transaction UID is as right as another.
    (Move("COMPLETED", RIGHT), [0xC310, 0xC304, 0xB306, 0xC300]),
    (Move("COMPLETED", WRONG), [0xC310, 0xC301, 0xC301, 0xC301]),
    (Move("COMPLETED", ""), [0xC301, 0xC301, 0xC301, 0xC301]),
    (Move("CANCELED", RIGHT), [0xC310, 0, 0xC300, 0xB304]),
    (Move("CANCELED", WRONG), [0xC310, 0xC301, 0xC301, 0xC301]),
    (Move("CANCELED", ""), [0xC301, 0xC301, 0xC301, 0xC301]),
    (Set(RIGHT), [0xC310, 0, 0xC300, 0xC300]),
    (Set(WRONG), [0xC310, 0xC301, 0xC300, 0xC300]),
    (Set(""), [0, 0xC301, 0xC300, 0xC300]),
    (Cancel, [0, 0xC312, 0xC311, 0xB304]),
];

/// Each state, from SCHEDULED.
const BEGIN: [(usize, Ask); 7] = [
    (1, Move("IN PROGRESS", RIGHT)),
    (2, Move("IN PROGRESS", RIGHT)),
    (2, Set(RIGHT)),
    (2, Move("COMPLETED", RIGHT)),
    (3, Move("IN PROGRESS", RIGHT)),
    (3, Move("CANCELED", RIGHT)),
    (5, Move("IN PROGRESS", RIGHT)),
];

/// What is allowed, and what becomes of the task.
const MOVES: [(usize, Ask, &str); 8] = [
    (0, Set(""), "SCHEDULED"),
    (0, Move("IN PROGRESS", WRONG), "IN PROGRESS"),
    (1, Set(RIGHT), "IN PROGRESS"),
    (1, Subscribe, "IN PROGRESS"),
    (1, Cancel, "IN PROGRESS"),
    (1, Move("COMPLETED", RIGHT), "COMPLETED"),
    (4, Cancel, "CANCELED"),
    (5, Move("CANCELED", RIGHT), "CANCELED"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_move_of_a_task_is_answered_alike_on_both_wires() {
    for footing in BOTH {
        let network = Network::start(footing, ALWAYS_CHEMNITZ, wall("2026-11-24T23:10")).await;
        let reader = Reader::of(&network, "chemnitz", "WS1").await;
        for number in 1..=2 * TASKS as u64 {
            send_head_ct(&network, number, 1).await;
        }
        let mut uids: Vec<String> = Vec::new();
        eventually("all of them are to be read", SOON, async || {
            uids =
                reader.tasks("ProcedureStepState=SCHEDULED").await.iter().map(|task| said(task, "00080018")).collect();
            uids.len() == 2 * TASKS
        })
        .await;
        over_dimse(&network, &uids[..TASKS]).await;
        over_http(&reader, &uids[TASKS..]).await;
        network.at_rest().await;
    }
}

/// Every cell of the table that changes nothing: task, request, status.
fn cells() -> impl Iterator<Item = (usize, Ask, u16)> {
    TABLE.into_iter().flat_map(|(ask, row)| {
        row.into_iter().enumerate().filter(|(_, status)| *status != 0).map(move |(task, status)| (task, ask, status))
    })
}

async fn over_dimse(network: &Network, uids: &[String]) {
    let begin = BEGIN.iter().map(|(task, ask)| (*task, *ask, 0x0000));
    let moves = MOVES.iter().map(|(task, ask, _)| (*task, *ask, 0x0000));
    let all: Vec<(usize, Ask, u16)> = begin.chain(cells()).chain(moves).collect();
    let mut steps: Vec<Value> = Vec::new();
    for (task, ask, _) in &all {
        steps.push(step(&uids[*task], *ask));
        steps.push(json!({ "do": "get", "uid": uids[*task] }));
    }
    let told = asked(network, "CHEMNITZ", Value::Array(steps)).await;
    for (nth, (task, ask, status)) in all.iter().enumerate() {
        let (answer, is) = (&told[2 * nth], said(&told[2 * nth + 1]["set"], "00741000"));
        assert_eq!(answer["status"], *status, "{ask:?} of task {task}, which is {is}: {answer}");
        assert_eq!(is, becomes(nth, *task), "{ask:?} of task {task}");
    }
}

/// The state of the task after the request with this number.
fn becomes(nth: usize, task: usize) -> &'static str {
    let (begun, cells) = (BEGIN.len(), cells().count());
    if let Some((_, _, state)) = nth.checked_sub(begun + cells).map(|nth| MOVES[nth]) {
        return state;
    }
    let begins = BEGIN.iter().take(nth + 1).filter(|(of, _)| *of == task);
    let mut moved = begins.filter_map(|(_, ask)| if let Move(state, _) = ask { Some(*state) } else { None });
    moved.next_back().unwrap_or("SCHEDULED")
}

fn step(uid: &str, ask: Ask) -> Value {
    match ask {
        Move(state, lock) => change(uid, state, lock),
        Set(lock) => json!({ "do": "set", "uid": uid, "set": performed_by(lock) }),
        Cancel => json!({ "do": "action", "type": 2, "uid": uid, "set": {} }),
        Subscribe => subscribe(uid, "CHEMNITZ"),
    }
}

fn performed_by(lock: &str) -> Value {
    let mut set = performed(lock);
    if lock.is_empty() {
        set.as_object_mut().expect("a data set").remove("00081195");
    }
    set
}

async fn over_http(reader: &Reader, uids: &[String]) {
    for (task, ask) in BEGIN {
        assert_eq!(http(reader, &uids[task], ask).await, (200, String::new()), "{ask:?}");
    }
    for (nth, (task, ask, status)) in cells().enumerate() {
        let (code, warning) = http(reader, &uids[task], ask).await;
        let (expected, warned) = as_http(ask, status);
        assert_eq!(code, expected, "{ask:?} of task {task}, {}: {warning}", STATES[task]);
        assert!(
            warning.contains(warned) && warned.is_empty() == warning.is_empty(),
            "{ask:?} of {}: {warning}",
            STATES[task]
        );
        assert_eq!(said(&reader.task(&uids[task]).await, "00741000"), becomes(BEGIN.len() + nth, task));
    }
    for (task, ask, state) in MOVES {
        let expected = match ask {
            Cancel => 202,
            Subscribe => 201,
            Move(..) | Set(_) => 200,
        };
        assert_eq!(http(reader, &uids[task], ask).await, (expected, String::new()), "{ask:?} of task {task}");
        assert_eq!(said(&reader.task(&uids[task]).await, "00741000"), state, "{ask:?} of task {task}");
    }
}

/// Status and Warning.
async fn http(reader: &Reader, uid: &str, ask: Ask) -> (u16, String) {
    let path = format!("/workitems/{uid}");
    let told = match ask {
        Move(..) => reader.ask(Method::PUT, &format!("{path}/state"), Some(step(uid, ask)["set"].clone())).await,
        Set(lock) => reader.ask(Method::POST, &path, Some(performed_by(lock))).await,
        Cancel => reader.ask(Method::POST, &format!("{path}/cancelrequest"), None).await,
        Subscribe => reader.ask(Method::POST, &format!("{path}/subscribers/WS1?deletionlock=false"), None).await,
    };
    (told.status.as_u16(), told.warning)
}

/// PS3.18 11.6.3, 11.7.3, 11.8.3: the status, and what the Warning says.
fn as_http(ask: Ask, status: u16) -> (u16, &'static str) {
    let has_lock = matches!(ask, Move(_, lock) | Set(lock) if !lock.is_empty());
    match (status, ask) {
        (0xC301, _) if has_lock => (400, "The Transaction UID is incorrect"),
        (0xC301, _) => (400, "The Transaction UID is missing"),
        (0xC303, _) => (400, ""),
        (0xB304, Cancel) => (409, "already in the requested state of CANCELED"),
        (0xB304, _) => (200, "already in the requested state of CANCELED"),
        (0xB306, _) => (200, "already in the requested state of COMPLETED"),
        (0xC311, _) => (409, "already COMPLETED"),
        (0xC312, _) => (409, "The performer cannot be contacted"),
        _ => (409, "inconsistent with the state of the UPS Instance"),
    }
}
