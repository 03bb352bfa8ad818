//! Stored, searched, retrieved; and nothing of it for anybody else.

use super::*;
use crate::cli::sample::{SampleInstance, studies};
use serde_json::{Value, json};

fn sample(name: &str) -> Vec<SampleInstance> {
    studies(name).unwrap().2.collect()
}

/// The parts of a multipart answer: headers, content.
async fn parts(response: reqwest::Response) -> Vec<(String, Vec<u8>)> {
    let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    let boundary = content_type.split("boundary=").nth(1).unwrap_or_else(|| panic!("{content_type}")).to_owned();
    let body = response.bytes().await.unwrap();
    let delimiter = format!("--{boundary}");
    let finder = memchr::memmem::find_iter(&body, &delimiter).collect::<Vec<_>>();
    let spans = finder.windows(2).map(|pair| &body[pair[0] + delimiter.len()..pair[1] - 2]);
    spans
        .map(|part| {
            let head = memchr::memmem::find(part, b"\r\n\r\n").unwrap();
            (String::from_utf8(part[..head].to_vec()).unwrap(), part[head + 4..].to_vec())
        })
        .collect()
}

async fn store_all(node: &Node, token: &str, instances: &[SampleInstance]) {
    let all: Vec<Vec<u8>> = instances.iter().map(SampleInstance::part10).collect();
    let response = node.stow(token, "/dicom-web/studies", FILES, files(&all)).await;
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    let json: Value = text.parse().unwrap();
    assert_eq!(json["00081199"]["Value"].as_array().unwrap().len(), instances.len());
}

async fn json_of(response: reqwest::Response) -> Value {
    assert_eq!(response.status(), 200);
    response.text().await.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_found_and_comes_back_byte_by_byte_and_only_to_whose_it_is() {
    let node = Node::start().await;
    let ((token, _), (other, _)) = (node.token("harz", 1).await, node.token("elbe", 2).await);
    let instances = sample("head-ct");
    store_all(&node, &token, &instances).await;
    let found = json_of(node.get("/dicom-web/instances?limit=5", &token, "").await).await;
    assert_eq!(found.as_array().unwrap().len(), 5);
    let study = found[0]["0020000D"]["Value"][0].as_str().unwrap().to_owned();
    let series = found[0]["0020000E"]["Value"][0].as_str().unwrap().to_owned();
    let instance = found[0]["00080018"]["Value"][0].as_str().unwrap().to_owned();
    let base = format!("/dicom-web/studies/{study}");
    let one = format!("{base}/series/{series}/instances/{instance}");
    assert_eq!(found[0]["00081190"]["Value"][0], node.url(&one));
    let page = node.get("/dicom-web/instances?limit=5&fuzzymatching=true", &token, "").await;
    assert_eq!(page.headers().get_all("warning").iter().count(), 2);

    let all =
        parts(node.get(&base, &token, "multipart/related; type=application/dicom; transfer-syntax=*").await).await;
    assert_eq!(all.len(), instances.len());
    for ((head, file), sent) in all.iter().zip(&instances) {
        assert!(head.contains(&format!("transfer-syntax={}", sent.transfer_syntax)), "{head}");
        assert!(file.ends_with(&sent.data_set) && &file[128..132] == b"DICM");
    }
    let alone = node.get(&one, &token, "application/dicom").await;
    assert!(alone.bytes().await.unwrap().ends_with(&instances[0].data_set));
    let refused = node.get(&one, &token, "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90").await;
    assert_eq!(refused.status(), 406);

    let metadata = json_of(node.get(&format!("{base}/metadata"), &token, "application/dicom+json").await).await;
    assert_eq!(metadata.as_array().unwrap().len(), instances.len());
    assert_eq!(metadata[0]["00080018"]["Value"][0], instance.as_str());
    let link = metadata[0]["7FE00010"]["BulkDataURI"].as_str().unwrap().replace(&node.url(""), "");
    let pixels = node.get(&link, &token, "application/octet-stream").await.bytes().await.unwrap();
    let frame = parts(node.get(&format!("{one}/frames/1"), &token, "*/*").await).await;
    assert!(frame[0].1 == pixels && instances[0].data_set.ends_with(&pixels));
    assert_eq!(node.get(&format!("{base}/metadata"), &token, "application/dicom+xml").await.status(), 406);
    for (path, status) in [
        ("/frames/2", 404),
        ("/frames/0", 400),
        ("/frames/1,x", 400),
        ("/frames/1,1", 400),
        ("/bulkdata/00100010/0/00100010", 404),
    ] {
        assert_eq!(node.get(&format!("{one}{path}"), &token, "").await.status(), status, "{path}");
    }
    let picture = node.get(&format!("{one}/rendered?viewport=100,100"), &token, "image/png").await;
    assert_eq!(picture.headers()["content-type"], "image/png");
    assert!(picture.bytes().await.unwrap().starts_with(b"\x89PNG"));
    let thumbnail = node.get(&format!("{base}/thumbnail"), &token, "").await;
    assert!(thumbnail.bytes().await.unwrap().starts_with(&[0xFF, 0xD8]));
    assert_eq!(node.get(&format!("{one}/rendered"), &token, "image/gif").await.status(), 406);

    assert_eq!(node.get("/dicom-web/studies", &other, "").await.status(), 204);
    for path in [
        base.clone(),
        one.clone(),
        format!("{one}/metadata"),
        format!("{one}/frames/1"),
        format!("{one}/rendered"),
        link,
    ] {
        assert_eq!(node.get(&path, &other, "*/*").await.status(), 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_frames_go_out_as_what_they_are() {
    let node = Node::start().await;
    let (token, _) = node.token("harz", 1).await;
    for (name, media) in [("chest-dx-rle", "image/dicom-rle"), ("colon-slide", "application/octet-stream")] {
        let instances = sample(name);
        store_all(&node, &token, &instances).await;
        let uid = &instances[0].sop_instance;
        let found = json_of(node.get(&format!("/dicom-web/instances?SOPInstanceUID={uid}"), &token, "").await).await;
        let one = found[0]["00081190"]["Value"][0].as_str().unwrap().replace(&node.url(""), "");
        let wanted = "multipart/related; type=application/octet-stream; transfer-syntax=*";
        let frame = parts(node.get(&format!("{one}/frames/1"), &token, wanted).await).await;
        assert!(frame[0].0.contains(&format!("Content-Type: {media}; transfer-syntax=")), "{}", frame[0].0);
        assert!(memchr::memmem::find(&instances[0].data_set, &frame[0].1).is_some());
        let jpeg = node.get(&format!("{one}/frames/1/rendered"), &token, "").await;
        assert_eq!(jpeg.status(), 200, "{name}: {}", jpeg.text().await.unwrap());
    }
    // A deflated instance is inflated to be looked into, and goes out as it is.
    let deflated = sample("heart-us-deflated");
    store_all(&node, &token, &deflated).await;
    let uid = &deflated[0].sop_instance;
    let found = json_of(node.get(&format!("/dicom-web/instances?SOPInstanceUID={uid}"), &token, "").await).await;
    let one = found[0]["00081190"]["Value"][0].as_str().unwrap().replace(&node.url(""), "");
    let frame = parts(node.get(&format!("{one}/frames/16"), &token, "*/*").await).await;
    assert!(!frame[0].1.is_empty() && frame[0].0.contains("transfer-syntax=1.2.840.10008.1.2.1\r\n"), "{}", frame[0].0);
    let file = node.get(&one, &token, "application/dicom").await.bytes().await.unwrap();
    assert!(file.ends_with(&deflated[0].data_set));
    let metadata = json_of(node.get(&format!("{one}/metadata"), &token, "").await).await;
    assert_eq!(metadata[0]["00280008"]["Value"][0], 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_instance_of_several_does_not_touch_the_others() {
    let node = Node::start().await;
    let (token, _) = node.token("harz", 1).await;
    let instances = sample("brain-mr-implicit");
    let mut damaged = instances[1].part10();
    damaged.truncate(600);
    let bodies = [instances[0].part10(), damaged, b"no DICOM file".to_vec(), instances[2].part10()];
    let response = node.stow(&token, "/dicom-web/studies", FILES, files(&bodies)).await;
    assert_eq!(response.status(), 202);
    let json: Value = response.text().await.unwrap().parse().unwrap();
    assert_eq!(json["00081199"]["Value"].as_array().unwrap().len(), 2, "{json}");
    assert_eq!(json["00081198"]["Value"][0]["00081197"]["Value"][0], 0xC000);
    assert_eq!(json["0008119A"]["Value"].as_array().unwrap().len(), 1);
    // Of another study than the path's.
    let response = node.stow(&token, "/dicom-web/studies/1.2.3", FILES, files(&[instances[3].part10()])).await;
    assert_eq!(response.status(), 409);
    let json: Value = response.text().await.unwrap().parse().unwrap();
    assert_eq!(json["00081198"]["Value"][0]["00081197"]["Value"][0], 0xA900);
    assert_eq!(node.stow(&token, "/dicom-web/studies", "application/dicom", vec![0; 9]).await.status(), 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_in_json_with_bulk_data_become_an_instance() {
    let node = Node::start().await;
    let (token, _) = node.token("harz", 1).await;
    let uid = |text: &str| json!({ "vr": "UI", "Value": [text] });
    let us = |value: u16| json!({ "vr": "US", "Value": [value] });
    let metadata = json!([{
        "00080016": uid("1.2.840.10008.5.1.4.1.1.7"), "00080018": uid("1.2.3.1"),
        "0020000D": uid("1.2.3"), "0020000E": uid("1.2.3.0"),
        "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "Świątek^Łucja" }] },
        "00081140": { "vr": "SQ", "Value": [{ "00081155": uid("1.2.9"), "00091010": { "vr": "OB", "BulkDataURI": "blob" } }] },
        "00280002": us(1), "00280004": { "vr": "CS", "Value": ["MONOCHROME2"] },
        "00280010": us(4), "00280011": us(4), "00280100": us(16), "00280101": us(16),
        "7FE00010": { "vr": "OW", "BulkDataURI": "pixels" },
    }]);
    let pixels: Vec<u8> = (0..32).collect();
    let mut body = format!("--cut\r\nContent-Type: application/dicom+json\r\n\r\n{metadata}\r\n").into_bytes();
    body.extend(b"--cut\r\nContent-Type: application/octet-stream\r\nContent-Location: blob\r\n\r\nodd\r\n");
    body.extend(b"--cut\r\nContent-Type: application/octet-stream\r\nContent-Location: https://here/pixels\r\n\r\n");
    body.extend(&pixels);
    body.extend(b"\r\n--cut--");
    let json = "multipart/related; type=\"application/dicom+json\"; boundary=cut";
    let response = node.stow(&token, "/dicom-web/studies/1.2.3", json, body.clone()).await;
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    let one = "/dicom-web/studies/1.2.3/series/1.2.3.0/instances/1.2.3.1";
    let told = json_of(node.get(&format!("{one}/metadata"), &token, "").await).await;
    assert_eq!(told[0]["00100010"]["Value"][0]["Alphabetic"], "Świątek^Łucja");
    assert_eq!(told[0]["00081140"]["Value"][0]["00091010"]["InlineBinary"], "b2RkAA==");
    let frame = parts(node.get(&format!("{one}/frames/1"), &token, "*/*").await).await;
    assert_eq!(frame[0].1, pixels);
    // Pixels of another length than the header says, or without the rest.
    let short = body.len() - 20;
    body.drain(short - 10..short);
    let response = node.stow(&token, "/dicom-web/studies", json, body).await;
    assert_eq!(response.status(), 409, "{}", response.text().await.unwrap());
}

/// Implicit VR has lengths that Explicit VR has not.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_contour_from_our_own_answers_is_stored_again() {
    let node = Node::start().await;
    let (token, _) = node.token("harz", 1).await;
    let contour: Vec<u8> = b"-12.345\\".repeat(12_800);
    let put = |bytes: &mut Vec<u8>, tag: [u16; 2], value: &[u8]| {
        tag.iter().for_each(|half| bytes.extend(half.to_le_bytes()));
        bytes.extend(u32::try_from(value.len() + value.len() % 2).unwrap().to_le_bytes());
        bytes.extend(value);
        bytes.extend(vec![0; value.len() % 2]);
    };
    let mut item = Vec::new();
    put(&mut item, [0x3006, 0x0050], &contour);
    let mut sequence = Vec::new();
    put(&mut sequence, [0xFFFE, 0xE000], &item);
    let mut set = Vec::new();
    put(&mut set, [0x0008, 0x0016], b"1.2.840.10008.5.1.4.1.1.481.3");
    put(&mut set, [0x0008, 0x0018], b"1.2.3.1");
    put(&mut set, [0x0020, 0x000D], b"1.2.3");
    put(&mut set, [0x0020, 0x000E], b"1.2.3.0");
    put(&mut set, [0x3006, 0x0040], &sequence);
    put(&mut set, [0x300E, 0x0002], b"UNAPPROVED");
    let uid = |text: &str| Uid::new(text).unwrap();
    let (class, implicit) = (uid("1.2.840.10008.5.1.4.1.1.481.3"), uid("1.2.840.10008.1.2"));
    let mut file: Vec<u8> = crate::dicom::instance::file_head(&class, &uid("1.2.3.1"), &implicit);
    file.extend(&set);
    assert_eq!(node.stow(&token, "/dicom-web/studies", FILES, files(&[file])).await.status(), 200);

    let of = |instance: &str| format!("/dicom-web/studies/1.2.3/series/1.2.3.0/instances/{instance}");
    let told = json_of(node.get(&format!("{}/metadata", of("1.2.3.1")), &token, "").await).await;
    let mut told = told[0].clone();
    let link = told["30060040"]["Value"][0]["30060050"]["BulkDataURI"].as_str().unwrap().to_owned();
    let bulk = node.get(link.strip_prefix(&node.url("")).unwrap(), &token, "application/octet-stream").await;
    let bulk = bulk.bytes().await.unwrap();
    assert_eq!(bulk, contour);
    told["00080018"]["Value"][0] = json!("1.2.3.2");
    let mut body = format!("--cut\r\nContent-Type: application/dicom+json\r\n\r\n[{told}]\r\n").into_bytes();
    let head = format!("--cut\r\nContent-Type: application/octet-stream\r\nContent-Location: {link}\r\n\r\n");
    body.extend(head.into_bytes());
    body.extend(&bulk);
    body.extend(b"\r\n--cut--");
    let json = "multipart/related; type=\"application/dicom+json\"; boundary=cut";
    let response = node.stow(&token, "/dicom-web/studies", json, body).await;
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    let again = json_of(node.get(&format!("{}/metadata", of("1.2.3.2")), &token, "").await).await;
    assert_eq!(again[0]["300E0002"]["Value"][0], "UNAPPROVED", "what stands behind it is where it was");
    let path = format!("{}/bulkdata/30060040/0/30060050", of("1.2.3.2"));
    let bulk = node.get(&path, &token, "application/octet-stream").await;
    assert_eq!(bulk.bytes().await.unwrap(), contour);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_does_not_take_is_told_before_anything_is_done() {
    let node = Node::start().await;
    let (token, _) = node.token("harz", 1).await;
    let instances = sample("heart-us-deflated");
    let stow = |accept: &'static str, file: Vec<u8>| {
        let request = node.http.post(node.url("/dicom-web/studies")).bearer_auth(&token);
        let request = request.header("Content-Type", FILES).header("Accept", accept);
        let body = files(&[file]);
        async { request.body(body).send().await.unwrap() }
    };
    for accept in ["application/dicom+xml", "multipart/related; type=\"application/dicom+xml\"", "image/png"] {
        // Short: what is refused is not read, and of a long body a client may see only that nobody reads it.
        assert_eq!(stow(accept, b"no DICOM file".to_vec()).await.status(), 406, "{accept}");
    }
    let stored = stow("application/dicom+xml, application/json;q=0.5", instances[0].part10()).await;
    assert_eq!(
        (stored.status().as_u16(), &stored.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let found = json_of(node.get("/dicom-web/instances", &token, "").await).await;
    let one = found[0]["00081190"]["Value"][0].as_str().unwrap().replace(&node.url(""), "");
    let alone = "application/octet-stream";
    for (frames, accept, status) in [
        ("1", alone, 200),
        ("1,2", alone, 406),
        ("1,2", "application/octet-stream, multipart/related; type=\"application/octet-stream\";q=0.1", 200),
        ("1,2", "*/*", 200),
    ] {
        let response = node.get(&format!("{one}/frames/{frames}"), &token, accept).await;
        assert_eq!(response.status(), status, "{frames} {accept}");
    }
}

/// Metadata of a small image.
fn image(instance: &str, frames: &str, pixels: &str) -> Value {
    let uid = |text: &str| json!({ "vr": "UI", "Value": [text] });
    let us = |value: u16| json!({ "vr": "US", "Value": [value] });
    json!({
        "00080016": uid("1.2.840.10008.5.1.4.1.1.7"), "00080018": uid(instance),
        "0020000D": uid("1.2.3"), "0020000E": uid("1.2.3.0"),
        "00280002": us(1), "00280004": { "vr": "CS", "Value": ["MONOCHROME2"] },
        "00280008": { "vr": "IS", "Value": [frames] },
        "00280010": us(4), "00280011": us(4), "00280100": us(8), "00280101": us(8),
        "7FE00010": { "vr": "OW", "BulkDataURI": pixels },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_are_more_than_is_stored_are_told() {
    let node = Node::start().await;
    let (token, _) = node.token("harz", 1).await;
    let stow = async |metadata: Value, parts: &[(&str, &str, &str)]| {
        let mut body = format!("--cut\r\nContent-Type: application/dicom+json\r\n\r\n{metadata}\r\n").into_bytes();
        for (media, location, bytes) in parts {
            let head = format!("--cut\r\nContent-Type: {media}\r\nContent-Location: {location}\r\n\r\n{bytes}\r\n");
            body.extend(head.into_bytes());
        }
        body.extend(b"--cut--");
        let json = "multipart/related; type=\"application/dicom+json\"; boundary=cut";
        let response = node.stow(&token, "/dicom-web/studies", json, body).await;
        let status = response.status().as_u16();
        let told: Value = response.text().await.unwrap().parse().unwrap();
        let count = |tag: &str| told[tag]["Value"].as_array().map_or(0, Vec::len);
        (status, count("00081199"), count("00081198"), count("0008119A"))
    };
    let (raw, sixteen) = ("application/octet-stream", "0123456789ABCDEF");
    let jpeg = "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50";
    // Of two compressed frames an instance is not put together, and nothing of it is stored.
    let frames = [(jpeg, "1/pixels", "frame"), (jpeg, "1/pixels", "frame")];
    assert_eq!(stow(json!([image("1.2.3.1", "2", "1/pixels")]), &frames).await, (409, 0, 1, 0));
    assert_eq!(stow(json!([image("1.2.3.2", "1", "2/pixels")]), &[(jpeg, "2/pixels", "frame")]).await, (200, 1, 0, 0));
    // Parts of nothing, and more of what is stored.
    let image_3 = || json!([image("1.2.3.3", "1", "3/pixels")]);
    assert_eq!(stow(image_3(), &[(raw, "3/pixels", sixteen), (raw, "3/pixels", sixteen)]).await, (202, 1, 0, 1));
    assert_eq!(stow(image_3(), &[(raw, "x", sixteen), (raw, "3/pixels", sixteen)]).await, (202, 1, 0, 1));
    // A part that may be of either is of neither; one that is named whole is.
    let two = json!([image("1.2.3.4", "1", "a/4/pixels"), image("1.2.3.5", "1", "b/4/pixels")]);
    assert_eq!(stow(two.clone(), &[(raw, "pixels", sixteen)]).await, (409, 0, 2, 1));
    let parts = [(raw, "https://here/b/4/pixels", sixteen), (raw, "a/4/pixels", sixteen)];
    assert_eq!(stow(two, &parts).await, (200, 2, 0, 0));
    let same = json!([image("1.2.3.6", "1", "pixels"), image("1.2.3.7", "1", "pixels")]);
    assert_eq!(stow(same, &[(raw, "pixels", sixteen)]).await, (409, 0, 2, 1), "of which?");
}
