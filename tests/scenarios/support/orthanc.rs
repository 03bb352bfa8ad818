//! An unmodified Orthanc: a receiving PACS that can be asked over HTTP what it holds.

use super::{blocking, eventually, free_port, service_folder};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// A private server. Gone, with what it holds, when dropped.
pub struct Orthanc {
    process: Child,
    _folder: TempDir,
    pub ae_title: String,
    pub dicom_port: u16,
    pub http_port: u16,
}

impl Orthanc {
    pub async fn start(ae_title: &str) -> Self {
        Self::start_with(ae_title, json!({})).await
    }

    /// With more of Orthanc's own configuration, such as `DicomModalities`.
    pub async fn start_with(ae_title: &str, more: Value) -> Self {
        let folder = service_folder("orthanc-");
        let (dicom_port, http_port) = (free_port(), free_port());
        let mut configuration = json!({
            "Name": "test", "StorageDirectory": folder.path(), "IndexDirectory": folder.path(),
            "DicomAet": ae_title, "DicomPort": dicom_port, "DicomCheckCalledAet": false,
            "DicomAlwaysAllowEcho": true, "DicomAlwaysAllowStore": true, "UnknownSopClassAccepted": true,
            "HttpPort": http_port, "RemoteAccessAllowed": false, "AuthenticationEnabled": false, "Plugins": [],
        });
        let merged = configuration.as_object_mut().expect("an object");
        merged.extend(more.as_object().cloned().unwrap_or_default());
        let file = folder.path().join("orthanc.json");
        fs::write(&file, configuration.to_string()).expect("a file");
        let process =
            Command::new("Orthanc").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("Orthanc");
        let orthanc = Self { process, _folder: folder, ae_title: ae_title.to_string(), dicom_port, http_port };
        eventually("Orthanc answers", Duration::from_secs(60), async || {
            TcpStream::connect(("127.0.0.1", dicom_port)).is_ok() && orthanc.try_get("/system").await.is_ok()
        })
        .await;
        orthanc
    }

    /// A JSON answer of its REST interface.
    pub async fn get(&self, path: &str) -> Value {
        let body = self.try_get(path).await.unwrap_or_else(|error| panic!("Orthanc {path}: {error}"));
        serde_json::from_slice(&body).expect("JSON")
    }

    pub async fn instance_count(&self) -> u64 {
        self.get("/statistics").await["CountInstances"].as_u64().expect("a count")
    }

    /// Every instance it holds, as a DICOM file.
    pub async fn files(&self) -> Vec<Vec<u8>> {
        let mut files = Vec::new();
        for id in self.get("/instances").await.as_array().expect("a list") {
            let path = format!("/instances/{}/file", id.as_str().expect("an id"));
            files.push(self.try_get(&path).await.unwrap_or_else(|error| panic!("Orthanc {path}: {error}")));
        }
        files
    }

    async fn try_get(&self, path: &str) -> std::io::Result<Vec<u8>> {
        // HTTP/1.0: the answer ends where the connection does.
        let (port, request) = (self.http_port, format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"));
        blocking(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.write_all(request.as_bytes())?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            let head = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
            Ok(answer.split_off(head))
        })
        .await
    }
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
