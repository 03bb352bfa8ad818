//! A workstation that is not ours: pynetdicom, by `tests/support/ups_reader`; and the requests that are asked over both wires.

use super::{blocking, handed_over, network::Network};
use serde_json::{Value, json};
use std::{path::Path, process::Command};

/// The state of a task is to change, by who has this Transaction UID.
pub fn change(uid: &str, state: &str, transaction: &str) -> Value {
    let mut set = json!({ "00741000": { "vr": "CS", "Value": [state] } });
    if !transaction.is_empty() {
        set["00081195"] = json!({ "vr": "UI", "Value": [transaction] });
    }
    json!({ "do": "action", "type": 1, "uid": uid, "set": set })
}

pub fn subscribe(uid: &str, aet: &str) -> Value {
    subscribe_with(uid, aet, false, json!({}))
}

/// With a lock, and with keys where the UID is that of a filter.
pub fn subscribe_with(uid: &str, aet: &str, lock: bool, keys: Value) -> Value {
    let mut set = keys;
    set["00741234"] = json!({ "vr": "AE", "Value": [aet] });
    set["00741230"] = json!({ "vr": "LO", "Value": [if lock { "TRUE" } else { "FALSE" }] });
    json!({ "do": "action", "type": 3, "uid": uid, "set": set })
}

/// Unsubscribe (4) or suspend (5).
pub fn no_more(kind: u16, uid: &str, aet: &str) -> Value {
    json!({ "do": "action", "type": kind, "uid": uid, "set": { "00741234": { "vr": "AE", "Value": [aet] } } })
}

/// What became of each step of the workstation called `title`.
pub async fn asked(network: &Network, title: &'static str, steps: Value) -> Value {
    asked_at(network.dicom_port(), title, steps).await
}

/// The same, beside whatever else goes on in the network.
pub async fn asked_at(port: u16, title: &'static str, steps: Value) -> Value {
    let output = blocking(move || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/ups_reader");
        let mut command = Command::new(handed_over("NEISSE_TEST_PYTHON"));
        command
            .arg(script)
            .args([port.to_string().as_str(), title, steps.to_string().as_str()])
            .output()
            .expect("Python")
    })
    .await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}
