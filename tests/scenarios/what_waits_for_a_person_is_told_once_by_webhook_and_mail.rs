//! What waits for a person is told by webhook and mail, once, whatever happens to their servers or to the node meanwhile;
//! again only where `repeat` says so; and no patient is named.

use crate::support::{
    center::{About, Center, oru},
    eventually,
    faults::send_head_ct,
    network::{ALWAYS_CHEMNITZ, BOTH, Footing, Network, SOON, wall},
    operator::Operator,
};
use neisse::{
    model::{CaseState, ReportId, ReportStatus},
    store::{CaseRow, Durability, NewReport},
};
use std::{collections::BTreeSet, process::Command, time::Duration};

/// Nobody reads rabenstein's, so that every case of it is held.
const NOT_OURS: &str = "[[route]]\nname = \"Not ours\"\nfrom = [\"leipzig-ukl\"]\nto = [\"chemnitz\"]\n";
const MINUTE: Duration = Duration::from_secs(61);

async fn network(footing: Footing, operator: &Operator, routes: &str, more: &str) -> Network {
    let (chemnitz, leipzig) = (Center::start("CHEMNITZ").await, Center::start("UKL").await);
    let at = wall("2026-11-24T23:10");
    Network::with_centers(footing, routes, at, chemnitz, leipzig, |files| operator.watch(files, more)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_person_is_told_once_by_webhook_and_mail() {
    for footing in BOTH {
        let mut operator = Operator::start().await;
        let mut network = network(footing, &operator, NOT_OURS, "").await;
        let first = told_at_once(&network, &operator).await;
        what_comes_within_a_minute_is_told_together(&network, &operator).await;
        servers_that_are_away_are_told_later(&mut network, &mut operator).await;
        no_way_out_but_a_2xx(&network, &operator).await;
        let told = subjects(&operator);
        assert_eq!(told.len(), told.iter().collect::<BTreeSet<_>>().len(), "nobody was told twice: {told:?}");
        assert_eq!(told.len(), 6, "{told:?}");
        a_second_reason_is_news_and_the_end_is_no_news(&network, &operator, &first).await;
        for _ in 0..3 {
            network.clock.advance(Duration::from_secs(6 * 3600));
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(operator.posted().len(), 7, "nothing is repeated");
        assert!(network.page("/metrics").await.contains("neisse_waiting_for_a_person "));
        network.at_rest().await;
    }
}

/// Cases and reports that were told, one for each time.
fn subjects(operator: &Operator) -> Vec<String> {
    operator.posted().iter().map(|notice| notice["subject"].as_str().expect("an id").to_owned()).collect()
}

async fn held(network: &Network, number: u64) -> CaseRow {
    let (patient, _) = send_head_ct(network, number, 2).await;
    network.case_in(&patient.study(), CaseState::Held).await
}

async fn told(operator: &Operator, posts: usize, mails: usize) {
    eventually(&format!("{posts} notices posted in all, {mails} mails"), SOON, async || {
        operator.posted().len() >= posts && operator.mails().len() >= mails
    })
    .await;
    assert_eq!((operator.posted().len(), operator.mails().len()), (posts, mails), "{}", operator.heard());
}

async fn told_at_once(network: &Network, operator: &Operator) -> CaseRow {
    let case = held(network, 1).await;
    let id = case.id.to_string();
    told(operator, 1, 1).await;
    let call = &operator.calls()[0];
    assert_eq!(call["request"], "POST /hook HTTP/1.1");
    let key = format!("\"{}\"", call["body"]["id"].as_str().expect("an id"));
    assert_eq!(call["headers"]["idempotency-key"].as_str(), Some(key.as_str()));
    let notice = &operator.posted()[0];
    assert_eq!((&notice["kind"], &notice["partner"]), (&"case".into(), &"rabenstein".into()));
    assert_eq!((&notice["subject"], &notice["reason"]), (&id.clone().into(), &case.attention.clone().into()));
    assert_eq!(notice["command"], format!("neisse cases show {id}"));
    assert!(notice["since"].as_str().is_some_and(|since| since.starts_with("2026-11-24T22:1")), "{notice}");

    let mail = &operator.mails()[0];
    assert_eq!((&mail["sender"], &mail["user"]), (&"neisse@example.org".into(), &"neisse".into()));
    assert_eq!(mail["recipients"], serde_json::json!(["night@example.org", "pacs@example.org"]));
    let (subject, text) = (mail["headers"]["subject"].as_str().expect("one"), mail["text"].as_str().expect("one"));
    assert!(subject.starts_with("[Neisse test] case ") && subject.contains(&id[..8]), "{subject}");
    for words in [&format!("neisse cases show {id}"), &case.attention, "since 2026-11-24 23:1", " CET"] {
        assert!(text.contains(words), "{words:?} in\n{text}");
    }
    assert_eq!(mail["headers"]["auto-submitted"], "auto-generated");
    assert!(mail["longest"].as_i64().is_some_and(|longest| longest <= 998), "RFC 5322 2.1.1: {mail}");
    for secret in private(&case) {
        assert!(!operator.heard().contains(&secret), "{secret} in {}", operator.heard());
    }
    let shown = network.cases_screen(&["show", &id]).await;
    assert!(shown.contains("told       by webhook") && shown.contains("told       by mail"), "{shown}");
    case
}

fn private(case: &CaseRow) -> Vec<String> {
    let facts = &case.facts;
    let family = facts.patient_name.split('^').next().expect("a name");
    vec![facts.patient_id.value.clone(), facts.accession.value.clone(), family.to_owned(), case.study.to_string()]
}

/// Two cases and a report of nobody: nothing for a minute, then one call for all three.
async fn what_comes_within_a_minute_is_told_together(network: &Network, operator: &Operator) {
    held(network, 2).await;
    held(network, 3).await;
    let about = About { patient_id: "P-1", issuer: "RABENSTEIN", accession: "A-NOBODY", study: "1.2.3" };
    let message = oru("KLCHEM", "N1", &about, "F", "o. B.");
    assert_eq!(network.chemnitz.send_hl7(network.node().hl7, &message, "N1").await.code.as_str(), "AA");
    eventually("four notices", SOON, async || network.node().store.count_open_notices().await.expect("it") == 4).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    told(operator, 1, 1).await;
    network.clock.advance(MINUTE);
    told(operator, 4, 2).await;
    assert_eq!(operator.calls().len(), 2, "one call for three");
    let report = operator.posted().into_iter().find(|notice| notice["kind"] == "report").expect("the report");
    assert_eq!((&report["partner"], &report["reader"]), (&"chemnitz".into(), &serde_json::Value::Null));
    assert!(
        operator.mails()[1]["headers"]["subject"]
            .as_str()
            .is_some_and(|subject| subject.contains("3 cases and reports"))
    );
}

/// Both servers are down, and the node is restarted in between: told once when they are back.
async fn servers_that_are_away_are_told_later(network: &mut Network, operator: &mut Operator) {
    operator.go_away();
    network.clock.advance(MINUTE);
    held(network, 4).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    network.restart().await;
    network.clock.advance(Duration::from_secs(11));
    tokio::time::sleep(Duration::from_secs(2)).await;
    operator.come_back().await;
    told(operator, 4, 2).await;
    network.clock.advance(Duration::from_secs(600));
    told(operator, 5, 3).await;
    network.restart().await;
    network.clock.advance(Duration::from_secs(3600));
    tokio::time::sleep(Duration::from_secs(3)).await;
    told(operator, 5, 3).await;
}

/// A redirect, an error and a server that hangs up are not taken for having been told; a recipient that is unknown keeps
/// no other from being told.
async fn no_way_out_but_a_2xx(network: &Network, operator: &Operator) {
    operator.says("refused", Some("night@example.org"));
    operator.says("status", Some("307"));
    held(network, 5).await;
    eventually("a call was redirected", SOON, async || operator.calls().last().is_some_and(|c| c["status"] == "307"))
        .await;
    told(operator, 5, 4).await;
    assert_eq!(operator.mails()[3]["recipients"], serde_json::json!(["pacs@example.org"]));
    operator.says("status", Some("503"));
    network.clock.advance(Duration::from_secs(11));
    eventually("a call was refused", SOON, async || operator.calls().last().is_some_and(|c| c["status"] == "503"))
        .await;
    operator.says("status", None);
    operator.says("refused", None);
    network.clock.advance(Duration::from_secs(21));
    told(operator, 6, 4).await;
    let calls = operator.calls();
    let ids: BTreeSet<_> = calls[calls.len() - 3..].iter().map(|call| call["body"]["id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "a call that is made again has the same id");
}

async fn a_second_reason_is_news_and_the_end_is_no_news(network: &Network, operator: &Operator, first: &CaseRow) {
    network.clock.advance(MINUTE);
    let id = first.id.to_string();
    network.cases_screen(&["hold", &id, "--why", "wrong side marker"]).await;
    told(operator, 7, 5).await;
    assert_eq!(operator.posted()[6]["reason"], "held by a person: wrong side marker", "what is new is told alone");
    network.cases_screen(&["seen", &id, "--why", "tested"]).await;
    eventually("the notice is resolved", SOON, async || {
        network.node().store.notices_told(&id).await.expect("the store").iter().all(|told| told.open == 0)
    })
    .await;
}

/// With `repeat`, what still waits is told again, as a reminder; what was seen is not.
#[tokio::test(flavor = "multi_thread")]
async fn what_still_waits_is_told_again_as_configured() {
    let operator = Operator::start().await;
    let network = network(Footing::Embedded, &operator, NOT_OURS, "repeat = \"4h\"").await;
    let case = held(&network, 1).await;
    told(&operator, 1, 1).await;
    network.clock.advance(Duration::from_secs(3 * 3600));
    tokio::time::sleep(Duration::from_secs(3)).await;
    told(&operator, 1, 1).await;
    network.clock.advance(Duration::from_secs(3600));
    told(&operator, 2, 2).await;
    assert_eq!(operator.posted()[1]["reminder"], true);
    assert!(operator.mails()[1]["text"].as_str().is_some_and(|text| text.contains("still: ")));
    network.cases_screen(&["seen", &case.id.to_string(), "--why", "tested"]).await;
    eventually("it is resolved", SOON, async || network.node().store.count_open_notices().await.expect("it") == 0)
        .await;
    network.clock.advance(Duration::from_secs(5 * 3600));
    tokio::time::sleep(Duration::from_secs(3)).await;
    told(&operator, 2, 2).await;
    network.at_rest().await;
}

/// A call that was taken but not answered is made again under the same id, and carries the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_end_is_not_known_is_made_again_under_its_id() {
    let operator = Operator::start().await;
    operator.says("deaf", Some("yes"));
    let mut network = network(Footing::Embedded, &operator, NOT_OURS, "").await;
    held(&network, 1).await;
    eventually("a call", SOON, async || operator.calls().len() == 1).await;
    network.restart().await;
    held(&network, 2).await;
    operator.says("deaf", None);
    network.clock.advance(Duration::from_secs(600));
    eventually("it is made again", SOON, async || operator.calls().len() == 2).await;
    let calls = operator.calls();
    assert_eq!(calls[0]["body"]["id"], calls[1]["body"]["id"]);
    assert_eq!(calls[0]["body"]["notices"], calls[1]["body"]["notices"]);
    network.clock.advance(MINUTE);
    eventually("then the second case", SOON, async || operator.calls().len() == 3).await;
    assert_ne!(operator.calls()[2]["body"]["id"], calls[0]["body"]["id"]);
    network.at_rest().await;
}

/// Thousands that wait at once are one call and one mail.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_that_wait_are_one_mail() {
    const MANY: usize = 3_000;
    for footing in BOTH {
        let operator = Operator::start().await;
        let network = network(footing, &operator, ALWAYS_CHEMNITZ, "").await;
        let mut tx = network.node().store.begin(Durability::Process).await.expect("a transaction");
        for number in 0..MANY {
            tx.add_report(&held_report(&network, number)).await.expect("a report");
        }
        tx.commit().await.expect("committed");
        eventually("a mail", SOON, async || operator.mails().len() == 1 && operator.calls().len() == 1).await;
        let open = network.node().store.count_open_notices().await.expect("the store");
        assert_eq!(usize::try_from(open), Ok(MANY));
        assert_eq!(operator.calls()[0]["body"]["total"], MANY);
        assert_eq!(operator.posted().len(), 200, "the oldest are named");
        let text = operator.mails()[0]["text"].as_str().expect("a text").to_owned();
        assert!(text.contains(&format!("And {} more", MANY - 50)) && text.len() < 20_000, "{text}");
        for _ in 0..3 {
            network.clock.advance(MINUTE);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert_eq!((operator.mails().len(), operator.calls().len()), (1, 1));
        network.at_rest().await;
    }
}

fn held_report(network: &Network, number: usize) -> NewReport {
    NewReport {
        id: ReportId::generate(),
        case: None,
        sender: neisse::model::PartnerId::new("chemnitz").expect("an id"),
        source: "oru",
        status: ReportStatus::Final,
        version: 0,
        received: network.clock.now(),
        correlated_by: String::new(),
        hold_reason: "fits no case".into(),
        sha256: format!("{number:064x}"),
        content: Default::default(),
    }
}

/// An administrator tries whether it arrives, without a router.
#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_tries_out_whether_it_arrives() {
    let mut operator = Operator::start().await;
    let network = network(Footing::Embedded, &operator, ALWAYS_CHEMNITZ, "").await;
    network.cases_screen(&["list"]).await;
    let folder = network.folder.path().to_owned();
    let notify = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_neisse"));
        let output = command.args(["notify", "--test", "--config"]).arg(&folder).output().expect("neisse");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = crate::support::blocking(notify.clone()).await;
    assert!(code == Some(0) && said.contains("webhook: taken") && said.contains("mail: taken"), "{said}");
    assert_eq!(operator.calls()[0]["body"]["test"], true);
    assert!(
        operator.mails()[0]["headers"]["subject"].as_str().is_some_and(|subject| subject.contains("this is a test"))
    );
    operator.says("status", Some("403"));
    operator.says("refused", Some("night@example.org pacs@example.org"));
    let (code, said) = crate::support::blocking(notify.clone()).await;
    assert!(code == Some(1) && said.contains("403") && said.contains("no such person"), "{said}");
    operator.go_away();
    let (code, said) = crate::support::blocking(notify).await;
    assert!(code == Some(1) && said.contains("refused"), "{said}");
    assert!(!said.contains("/hook") && !said.contains("sesame") && !said.contains("hunter"), "{said}");
    network.at_rest().await;
}
