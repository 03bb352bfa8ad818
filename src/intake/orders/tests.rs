//! What an order costs: statements between begin and commit, each a round to the database that the next order waits for.

use super::*;
use crate::{config, hl7::charset::Charset, model::Digest, store::STATEMENTS};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const NOW: Moment = Moment(1_767_600_000_000_000);

#[path = "tests/table.rs"]
mod table;

struct Desk {
    orders: OrderTaker,
    config: std::sync::Arc<Config>,
    _folder: TempDir,
}

async fn desk() -> Desk {
    let folder = TempDir::new().unwrap();
    let partner = "name = \"R\"\ncountry = \"DE\"\ntime_zone = \"Europe/Berlin\"\nissuer = \"RABENSTEIN\"\n\
        [hl7]\nsenders = [{ facility = \"DRKRAB\" }]\n[orders]\nexpected = false\n";
    let route = "[[route]]\nname = \"All\"\nfrom = [\"rabenstein\"]\nto = [\"origin\"]\n";
    let files = [("neisse.toml", ""), ("routes.toml", route), ("partners/rabenstein.toml", partner)];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let config = config::load_from(folder.path(), &files.into(), &|_| None).unwrap();
    let store = Store::open(&config.database, folder.path()).await.unwrap();
    let (_replacer, live) = Live::new(config);
    let config = live.now();
    Desk { orders: OrderTaker { store, config: live, routing: Bell::default() }, config, _folder: folder }
}

impl Desk {
    /// The answer, and the statements it took.
    async fn take(&self, control_id: &str, orders: &[(&str, &str)]) -> (String, u32) {
        let mut text = format!(
            "MSH|^~\\&|KIS|DRKRAB|NEISSE|N|20260105101010||ORM^O01|{control_id}|P|2.5.1\rPID|1||4711||Muster^Max\r"
        );
        for (control, placer) in orders {
            text.push_str(&format!("ORC|{control}|{placer}^KIS\rOBR|1|{placer}^KIS||CTHEAD^CT Kopf\r"));
        }
        self.send(control_id, text).await
    }

    async fn send(&self, control_id: &str, text: String) -> (String, u32) {
        let bytes = Bytes::from(text);
        let view = Message::parse(&bytes).unwrap();
        let partner = self.config.partners.values().next().unwrap();
        let key = MessageKey {
            partner: partner.id.clone(),
            application: "KIS".into(),
            facility: "DRKRAB".into(),
            control_id: control_id.into(),
            sha256: Digest(Sha256::digest(&bytes).into()).to_string(),
        };
        let before = STATEMENTS.get();
        let answer = self.orders.take(partner, &view, Charset::UTF_8, &bytes, &key, NOW).await.unwrap();
        (String::from_utf8(answer).unwrap(), STATEMENTS.get() - before)
    }
}

#[tokio::test]
async fn a_new_order_that_meets_nothing_takes_one_statement() {
    let desk = desk().await;
    for number in ["1", "2", "3"] {
        let (answer, statements) = desk.take(number, &[("NW", number)]).await;
        assert!(answer.contains(&format!("\rORC|OK|{number}^KIS")), "{answer}");
        assert_eq!(statements, 1);
    }
    // The same again: the same bytes. What is said of an order that is known is looked at whole.
    let (first, _) = desk.take("4", &[("NW", "4")]).await;
    assert_eq!(desk.take("4", &[("NW", "4")]).await.0, first);
    let (answer, statements) = desk.take("5", &[("CA", "4")]).await;
    assert!(answer.contains("\rORC|CR|4^KIS") && statements > 1, "{answer}");
    let (answer, statements) = desk.take("6", &[("NW", "5"), ("NW", "6")]).await;
    assert!(answer.contains("\rORC|OK|5^KIS") && answer.contains("\rORC|OK|6^KIS"), "{answer}");
    // For each whether anything is known of it, and the order; then the message.
    assert_eq!(statements, 5);
}
