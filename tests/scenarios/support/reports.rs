//! Reports as other people's software reads and writes them: HL7 fields by hand, `pdftotext`, `dcmdump`, `dsrdump`.

use super::{blocking, center::About, dcmtk::Target, service_folder};
use base64::{Engine, engine::general_purpose::STANDARD};
use neisse::model::Uid;
use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// An HL7 message as its receiver understands it: decoded as MSH-18 says, cut at its separators.
pub struct Oru {
    pub charset: String,
    segments: Vec<Vec<String>>,
}

impl Oru {
    pub fn read(message: &[u8]) -> Self {
        let header = message.split(|byte| *byte == b'\r').next().expect("a header");
        let charset = header.split(|byte| *byte == b'|').nth(17).expect("MSH-18, counted from MSH-1, the |");
        let charset = String::from_utf8(charset.to_vec()).expect("ASCII");
        let encoding = match charset.as_str() {
            // 8859-1 proper: windows-1252 differs only where 8859-1 has control characters.
            "8859/1" => encoding_rs::WINDOWS_1252,
            "8859/2" => encoding_rs::ISO_8859_2,
            "WINDOWS-1250" | "Windows-1250" => encoding_rs::WINDOWS_1250,
            "UNICODE UTF-8" => encoding_rs::UTF_8,
            other => panic!("MSH-18 is {other:?}"),
        };
        let text = encoding.decode_without_bom_handling_and_without_replacement(message).expect("in its own charset");
        let fields = |segment: &str| segment.split('|').map(str::to_owned).collect();
        Self { charset, segments: text.trim_end_matches('\r').split('\r').map(fields).collect() }
    }

    /// A field of the first such segment; empty where it is not there.
    pub fn field(&self, segment: &str, number: usize) -> &str {
        let found = self.segments.iter().find(|fields| fields[0] == segment);
        found.map_or("", |fields| Self::numbered(fields, number))
    }

    /// OBX-5 of every OBX of this value type.
    pub fn values(&self, value_type: &str) -> Vec<&str> {
        let obx = self.segments.iter().filter(|fields| fields[0] == "OBX" && fields[2] == value_type);
        obx.map(|fields| Self::numbered(fields, 5)).collect()
    }

    /// A field of every OBX.
    pub fn results(&self, number: usize) -> Vec<&str> {
        let obx = self.segments.iter().filter(|fields| fields[0] == "OBX");
        obx.map(|fields| Self::numbered(fields, number)).collect()
    }

    /// The documents in ED values.
    pub fn documents(&self) -> Vec<Vec<u8>> {
        let base64 = self.values("ED").into_iter().map(|value| value.split('^').nth(4).expect("ED-5"));
        base64.map(|text| STANDARD.decode(text).expect("Base64")).collect()
    }

    fn numbered(fields: &[String], number: usize) -> &str {
        // MSH-1 is the separator itself.
        let index = if fields[0] == "MSH" { number - 1 } else { number };
        fields.get(index).map_or("", String::as_str)
    }
}

/// One message over a connection of its own; the answer as it is on the wire.
pub async fn exchange(router: SocketAddr, message: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(router).await.expect("connected");
    stream.write_all(&[b"\x0b", message, b"\x1c\r"].concat()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\x1c\r") {
        let read = tokio::time::timeout(Duration::from_secs(40), stream.read_buf(&mut answer))
            .await
            .expect("in time")
            .expect("an answer");
        assert!(read > 0, "the router closed the connection");
    }
    answer
}

/// What `pdftotext` finds in a PDF, its white space made single.
pub async fn pdf_text(pdf: &[u8]) -> String {
    let pdf = pdf.to_vec();
    let output = blocking(move || {
        let mut process = Command::new("pdftotext")
            .args(["-enc", "UTF-8", "-", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("pdftotext");
        process.stdin.take().expect("its input").write_all(&pdf).expect("written");
        process.wait_with_output().expect("pdftotext")
    })
    .await;
    assert!(output.status.success(), "pdftotext cannot read the PDF");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A DICOM SR as DCMTK reads it: it must find nothing to complain about.
pub async fn dsrdump(file: &Path) -> String {
    let output = tool("dsrdump", vec!["+U8".into(), "+Pl".into(), path(file)]).await;
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    // Its checker of values knows no UTF-8 and says so.
    let of_us = |line: &&str| line.starts_with("W:") && !line.contains("does not support this Specific Character Set");
    assert!(output.status.success() && complaints.lines().find(of_us).is_none(), "dsrdump: {complaints}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// `dcmdump` in UTF-8, long values whole.
pub async fn dcmdump(file: &Path) -> String {
    let output = tool("dcmdump", vec!["+U8".into(), "+L".into(), path(file)]).await;
    assert!(output.status.success(), "dcmdump: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// An Encapsulated PDF as DCMTK's `pdf2dcm` makes it, about the study of this image.
pub async fn pdf2dcm(folder: &Path, pdf: &[u8], image: &Path, title: &str) -> PathBuf {
    let (from, to) = (folder.join("report.pdf"), folder.join("report.dcm"));
    std::fs::write(&from, pdf).expect("a file");
    let arguments = vec!["+t".into(), title.into(), "+st".into(), path(image), path(&from), path(&to)];
    let output = tool("pdf2dcm", arguments).await;
    assert!(output.status.success(), "pdf2dcm: {}", String::from_utf8_lossy(&output.stderr));
    to
}

/// A DICOM SR as DCMTK's `xml2dsr` makes it.
pub async fn xml2dsr(folder: &Path, xml: &str) -> PathBuf {
    let (from, to) = (folder.join("report.xml"), folder.join("sr.dcm"));
    std::fs::write(&from, xml).expect("a file");
    let output = tool("xml2dsr", vec![path(&from), path(&to)]).await;
    assert!(output.status.success(), "xml2dsr: {}", String::from_utf8_lossy(&output.stderr));
    to
}

/// A verified Basic Text SR.
pub fn sr_as_xml(about: &About<'_>, finding_text: &str) -> String {
    let concept = |value: &str, scheme: &str, meaning: &str| {
        format!(
            "<concept><value>{value}</value><scheme><designator>{scheme}</designator></scheme>\
             <meaning>{meaning}</meaning></concept>"
        )
    };
    let (title, findings, finding) = (
        concept("18748-4", "LN", "Diagnostic Imaging Report"),
        concept("121070", "DCM", "Findings"),
        concept("121071", "DCM", "Finding"),
    );
    let About { patient_id: id, accession: number, study, .. } = about;
    let (series, instance) = (Uid::generate(), Uid::generate());
    let name = "<name><first>Ruth</first><last>Beispiel</last></name>";
    let text = finding_text.replace('&', "&amp;");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<report type=\"Basic Text SR\">\
         <sopclass uid=\"1.2.840.10008.5.1.4.1.1.88.11\">BasicTextSRStorage</sopclass><charset>ISO_IR 192</charset>\
         <modality>SR</modality><patient><id>{id}</id></patient>\
         <study uid=\"{study}\"><accession><number>{number}</number></accession></study><series uid=\"{series}\"><number>1</number></series>\
         <instance uid=\"{instance}\"><number>1</number></instance><document><completion flag=\"COMPLETE\"/>\
         <verification flag=\"VERIFIED\"><observer pos=\"1\"><datetime>2026-11-25T02:14:00</datetime>{name}\
         <organization>Klinikum Chemnitz</organization></observer></verification>\
         <content><date>2026-11-25</date><time>02:14:00</time><container flag=\"SEPARATE\">{title}\
         <container flag=\"SEPARATE\"><relationship>CONTAINS</relationship>{findings}\
         <text><relationship>CONTAINS</relationship>{finding}<value>{text}</value></text>\
         </container></container></content></document></report>\n"
    )
}

/// Sets one element of a file with DCMTK's `dcmodify`.
pub async fn set(file: &Path, element: &str) {
    let output = tool("dcmodify", vec!["-nb".into(), "-i".into(), element.into(), path(file)]).await;
    assert!(output.status.success(), "dcmodify: {}", String::from_utf8_lossy(&output.stderr));
}

/// `storescu` as this partner's PACS; every file must be accepted.
pub async fn send_files(calling: &str, port: u16, files: &[PathBuf]) {
    let target = Target { calling: calling.into(), called: "NEISSE".into(), port };
    let output = super::dcmtk::storescu(&target, &["-R"], files).await;
    assert!(output.status.success(), "storescu: {}", String::from_utf8_lossy(&output.stderr));
}

/// A PDF of one page with one line of ASCII, as small as `pdftotext` takes it.
pub fn small_pdf(line: &str) -> Vec<u8> {
    let page = format!("BT /F1 12 Tf 72 720 Td ({line}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
         /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{page}\nendstream", page.len()),
    ];
    let (mut pdf, mut places) = ("%PDF-1.4\n".to_owned(), Vec::new());
    for (number, object) in objects.iter().enumerate() {
        places.push(format!("{:010} 00000 n \n", pdf.len()));
        pdf.push_str(&format!("{} 0 obj\n{object}\nendobj\n", number + 1));
    }
    let table = pdf.len();
    let (count, places) = (objects.len() + 1, places.concat());
    pdf.push_str(&format!("xref\n0 {count}\n0000000000 65535 f \n{places}"));
    pdf.push_str(&format!("trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n"));
    pdf.into_bytes()
}

/// A folder for a scenario's files.
pub fn folder() -> tempfile::TempDir {
    service_folder("files-")
}

fn path(file: &Path) -> String {
    file.to_str().expect("UTF-8").to_owned()
}

async fn tool(name: &'static str, arguments: Vec<String>) -> Output {
    blocking(move || Command::new(name).args(arguments).output())
        .await
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}
