//! STOW-RS with metadata in JSON and bulk data beside it (PS3.18 10.5.2 and 8.6): written as a data set in Explicit VR
//! Little Endian, in UTF-8, while its parts come in.
//!
//! The metadata come first. Pixel Data of an uncompressed instance go on as they arrive; everything else that has a part
//! of its own is kept until its instance is written, which is why Pixel Data come last of an instance's parts. A
//! compressed frame is one part and one fragment.

use super::{
    DICOM_JSON, OCTETS,
    multipart::MultipartError,
    stow::{CANNOT_UNDERSTAND, Incoming, Session},
};
use crate::{dicom::scp::InstanceOffer, model::Uid};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use dicom_core::VR;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, collections::HashMap, mem};

const MAX_METADATA_BYTES: usize = 16 << 20;
/// Of bulk data that is kept, and of one compressed frame.
const MAX_KEPT_BYTES: usize = 64 << 20;
const MAX_DEPTH: usize = 32;
const PIXEL_DATA: u32 = 0x7FE0_0010;
const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";

/// An instance that waits for its bulk data.
struct Plan {
    offer: InstanceOffer,
    segments: Vec<Segment>,
    /// Location, and how many bytes it has where it is not compressed.
    pixels: Option<(String, Option<u64>)>,
}

enum Segment {
    Bytes(Vec<u8>),
    /// Tag and VR have been written; length and value are missing.
    Bulk {
        location: String,
        vr: VR,
    },
}

pub async fn receive(session: &mut Session, parts: &mut Incoming) -> Result<(), MultipartError> {
    let Some(head) = parts.next_part().await? else { return Ok(()) };
    if head.media() != DICOM_JSON {
        // Without metadata nobody can say what a part is of.
        session.outcome.other.push(CANNOT_UNDERSTAND);
        return Ok(());
    }
    let plans = whole(parts, MAX_METADATA_BYTES).await?.and_then(|bytes| plans(&bytes, session));
    let Some(mut plans) = plans else {
        session.outcome.other.push(CANNOT_UNDERSTAND);
        return Ok(());
    };
    let mut kept: HashMap<String, Bytes> = HashMap::new();
    let mut room = MAX_KEPT_BYTES;
    store_complete(session, &mut plans, &kept).await;
    while let Some(head) = parts.next_part().await? {
        let location = head.content_location.clone();
        let of_pixels = |plan: &Plan| plan.pixels.as_ref().is_some_and(|(at, _)| same_place(at, &location));
        if let Some(at) = plans.iter().position(of_pixels) {
            let plan = plans.remove(at);
            let compressed =
                head.media() != OCTETS || head.parameter("transfer-syntax").is_some_and(|uid| uid != EXPLICIT_LE);
            let syntax = head.parameter("transfer-syntax").and_then(|uid| Uid::new(uid).ok()).filter(|_| compressed);
            with_pixels(session, parts, plan, syntax, &kept).await?;
            continue;
        }
        let wanted = plans.iter().flat_map(|plan| &plan.segments).find_map(|segment| match segment {
            Segment::Bulk { location: at, .. } if same_place(at, &location) => Some(at.clone()),
            _ => None,
        });
        // Of nothing, or more than is kept: its instance stays without it, and is refused at the end.
        if let (Some(wanted), Some(bytes)) = (wanted, whole(parts, room).await?) {
            room -= bytes.len();
            kept.insert(wanted, bytes);
            store_complete(session, &mut plans, &kept).await;
        }
    }
    for plan in plans {
        session.refuse(&plan.offer, CANNOT_UNDERSTAND);
    }
    Ok(())
}

/// A part as a whole. `None`: it is longer than `most`; what is left of it is passed over.
async fn whole(parts: &mut Incoming, most: usize) -> Result<Option<Bytes>, MultipartError> {
    let mut bytes = Vec::new();
    while let Some(piece) = parts.piece().await? {
        if bytes.len() + piece.len() > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Some(bytes.into()))
}

/// A link may be absolute in one place and relative in the other.
fn same_place(one: &str, other: &str) -> bool {
    !one.is_empty()
        && !other.is_empty()
        && (one == other || one.ends_with(&format!("/{other}")) || other.ends_with(&format!("/{one}")))
}

async fn store_complete(session: &mut Session, plans: &mut Vec<Plan>, kept: &HashMap<String, Bytes>) {
    let mut waiting = Vec::new();
    for plan in mem::take(plans) {
        if plan.pixels.is_some() || !has_all(&plan, kept) {
            waiting.push(plan);
            continue;
        }
        if session.begin(plan.offer.clone()).await && write_segments(session, plan.segments, kept).await {
            session.commit().await;
        }
    }
    *plans = waiting;
}

fn has_all(plan: &Plan, kept: &HashMap<String, Bytes>) -> bool {
    plan.segments.iter().all(|segment| match segment {
        Segment::Bytes(_) => true,
        Segment::Bulk { location, .. } => kept.contains_key(location),
    })
}

async fn write_segments(session: &mut Session, segments: Vec<Segment>, kept: &HashMap<String, Bytes>) -> bool {
    for segment in segments {
        let written = match segment {
            Segment::Bytes(bytes) => session.write(bytes.into()).await,
            Segment::Bulk { location, vr } => {
                let Some(bytes) = kept.get(&location) else { return false };
                let mut value = Vec::with_capacity(bytes.len() + 8);
                put_value(&mut value, vr, bytes);
                session.write(value.into()).await
            }
        };
        if !written {
            return false;
        }
    }
    true
}

/// `compressed`: the transfer syntax of the part.
async fn with_pixels(
    session: &mut Session,
    parts: &mut Incoming,
    plan: Plan,
    compressed: Option<Uid>,
    kept: &HashMap<String, Bytes>,
) -> Result<(), MultipartError> {
    let Plan { mut offer, segments, pixels } = plan;
    let length = pixels.and_then(|(_, length)| length);
    let complete = segments.iter().all(|segment| match segment {
        Segment::Bytes(_) => true,
        Segment::Bulk { location, .. } => kept.contains_key(location),
    });
    let frame = if compressed.is_some() { whole(parts, MAX_KEPT_BYTES).await? } else { None };
    if let Some(syntax) = &compressed {
        offer.transfer_syntax = syntax.clone();
    }
    if !complete || (compressed.is_none() && length.is_none()) || (compressed.is_some() && frame.is_none()) {
        session.refuse(&offer, CANNOT_UNDERSTAND);
        return Ok(());
    }
    if !session.begin(offer).await || !write_segments(session, segments, kept).await {
        return Ok(());
    }
    if let Some(frame) = frame {
        if session.write(fragment(&frame)).await {
            session.commit().await;
        }
        return Ok(());
    }
    native(session, parts, length.unwrap_or(0)).await
}

/// PS3.5 A.4: an empty Basic Offset Table and one fragment.
fn fragment(frame: &[u8]) -> Bytes {
    let mut bytes = vec![0xE0, 0x7F, 0x10, 0x00, b'O', b'B', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
    bytes.extend([0xFE, 0xFF, 0x00, 0xE0, 0, 0, 0, 0]);
    bytes.extend([0xFE, 0xFF, 0x00, 0xE0]);
    let odd = frame.len() % 2;
    bytes.extend(u32::try_from(frame.len() + odd).unwrap_or(0).to_le_bytes());
    bytes.extend(frame);
    bytes.extend(std::iter::repeat_n(0, odd));
    bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    bytes.into()
}

/// As it arrives, behind a length that is known from the rest of the header.
async fn native(session: &mut Session, parts: &mut Incoming, length: u64) -> Result<(), MultipartError> {
    let Ok(padded) = u32::try_from(length + length % 2) else {
        session.give_up(CANNOT_UNDERSTAND).await;
        return Ok(());
    };
    let mut header = vec![0xE0, 0x7F, 0x10, 0x00, b'O', b'W', 0, 0];
    header.extend(padded.to_le_bytes());
    let mut left = u64::from(padded);
    if !session.write(header.into()).await {
        return Ok(());
    }
    while let Some(piece) = parts.piece().await? {
        if piece.len() as u64 > left {
            session.give_up(CANNOT_UNDERSTAND).await;
            return Ok(());
        }
        left -= piece.len() as u64;
        if !session.write(piece).await {
            return Ok(());
        }
    }
    // A sender may leave out the padding.
    match left {
        0 => session.commit().await,
        1 if length % 2 == 1 => {
            if session.write(Bytes::from_static(&[0])).await {
                session.commit().await;
            }
        }
        _ => session.give_up(CANNOT_UNDERSTAND).await,
    }
    Ok(())
}

/// `None`: it is no metadata. An instance that cannot be written is refused, and the others go on.
fn plans(bytes: &[u8], session: &mut Session) -> Option<Vec<Plan>> {
    let instances = match serde_json::from_slice(bytes).ok()? {
        Value::Array(instances) => instances,
        one @ Value::Object(_) => vec![one],
        _ => return None,
    };
    let mut plans = Vec::new();
    for instance in instances {
        match instance.as_object().and_then(plan) {
            Some(plan) => plans.push(plan),
            None => session.outcome.other.push(CANNOT_UNDERSTAND),
        }
    }
    Some(plans)
}

fn plan(object: &Map<String, Value>) -> Option<Plan> {
    let uid = |tag: &str| Uid::new(object.get(tag)?.get("Value")?.get(0)?.as_str()?).ok();
    let (sop_class, sop_instance) = (uid("00080016")?, uid("00080018")?);
    let syntax = uid("00083002").or_else(|| uid("00020010"));
    let mut writer = Writer { segments: Vec::new(), bytes: Vec::new(), pixels: None };
    writer.object(object, 0)?;
    let pixels = writer.pixels.take().map(|location| (location, native_length(object)));
    writer.flush();
    let explicit = Uid::new(EXPLICIT_LE).ok()?;
    // Written here, it is in this syntax; with a compressed part, in that part's.
    let transfer_syntax =
        if pixels.is_some() { explicit } else { syntax.filter(|uid| *uid == explicit).unwrap_or(explicit) };
    let offer = InstanceOffer { sop_class, sop_instance, transfer_syntax };
    Some(Plan { offer, segments: writer.segments, pixels })
}

fn native_length(object: &Map<String, Value>) -> Option<u64> {
    let number = |tag: &str| {
        let value = object.get(tag)?.get("Value")?.get(0)?;
        value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
    };
    let pixels = number("00280010")?.checked_mul(number("00280011")?)?.checked_mul(number("00280002").unwrap_or(1))?;
    let bits = pixels.checked_mul(number("00280100")?)?.checked_mul(number("00280008").unwrap_or(1))?;
    Some(bits.div_ceil(8))
}

struct Writer {
    segments: Vec<Segment>,
    bytes: Vec<u8>,
    pixels: Option<String>,
}

/// `None` everywhere: the JSON is not of the model.
impl Writer {
    fn flush(&mut self) {
        if !self.bytes.is_empty() {
            self.segments.push(Segment::Bytes(mem::take(&mut self.bytes)));
        }
    }

    fn object(&mut self, object: &Map<String, Value>, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut elements: BTreeMap<u32, &Value> = BTreeMap::new();
        for (key, element) in object {
            let tag = u32::from_str_radix(key, 16).ok().filter(|_| key.len() == 8)?;
            // File meta group and group lengths are not of a data set, (0008,3002) only of metadata.
            if tag >> 16 > 2 && tag & 0xFFFF != 0 && tag != 0x0008_3002 {
                elements.insert(tag, element);
            }
        }
        let utf8 = serde_json::json!({ "vr": "CS", "Value": ["ISO_IR 192"] });
        if depth == 0 || elements.contains_key(&0x0008_0005) {
            elements.insert(0x0008_0005, &utf8);
        }
        elements.into_iter().try_for_each(|(tag, element)| self.element(tag, element, depth))
    }

    fn element(&mut self, tag: u32, element: &Value, depth: usize) -> Option<()> {
        let vr = element.get("vr")?.as_str().and_then(|text| VR::from_binary(text.as_bytes().try_into().ok()?))?;
        let link = element.get("BulkDataURI").and_then(Value::as_str);
        if let (PIXEL_DATA, 0, Some(link)) = (tag, depth, link) {
            self.pixels = Some(link.to_owned());
            return Some(());
        }
        // Nothing stands behind Pixel Data but padding and signatures, which would no longer hold.
        if tag > PIXEL_DATA && self.pixels.is_some() {
            return Some(());
        }
        self.bytes.extend(((tag >> 16) as u16).to_le_bytes());
        self.bytes.extend(((tag & 0xFFFF) as u16).to_le_bytes());
        self.bytes.extend(vr.to_bytes());
        if let Some(link) = link {
            self.flush();
            self.segments.push(Segment::Bulk { location: link.to_owned(), vr });
            return Some(());
        }
        if vr == VR::SQ {
            return self.sequence(element.get("Value"), depth);
        }
        let value = match element.get("InlineBinary") {
            Some(inline) => BASE64_STANDARD.decode(inline.as_str()?).ok()?,
            None => encoded(vr, element.get("Value"))?,
        };
        let short = !has_long_length(vr);
        if short && value.len() >= usize::from(u16::MAX) {
            return None;
        }
        put_value(&mut self.bytes, vr, &value);
        Some(())
    }

    fn sequence(&mut self, items: Option<&Value>, depth: usize) -> Option<()> {
        const UNDEFINED: [u8; 4] = [0xFF; 4];
        self.bytes.extend([0, 0]);
        self.bytes.extend(UNDEFINED);
        for item in items.and_then(Value::as_array).into_iter().flatten() {
            self.bytes.extend([0xFE, 0xFF, 0x00, 0xE0]);
            self.bytes.extend(UNDEFINED);
            self.object(item.as_object()?, depth + 1)?;
            self.bytes.extend([0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0]);
        }
        self.bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        Some(())
    }
}

/// PS3.5 7.1.2.
fn has_long_length(vr: VR) -> bool {
    matches!(
        vr,
        VR::OB
            | VR::OD
            | VR::OF
            | VR::OL
            | VR::OV
            | VR::OW
            | VR::SQ
            | VR::SV
            | VR::UC
            | VR::UN
            | VR::UR
            | VR::UT
            | VR::UV
    )
}

/// Length and value, padded (PS3.5 6.2).
fn put_value(bytes: &mut Vec<u8>, vr: VR, value: &[u8]) {
    let odd = value.len() % 2;
    let length = value.len() + odd;
    if has_long_length(vr) {
        bytes.extend([0, 0]);
        bytes.extend(u32::try_from(length).unwrap_or(0).to_le_bytes());
    } else {
        bytes.extend(u16::try_from(length).unwrap_or(0).to_le_bytes());
    }
    bytes.extend(value);
    let binary = matches!(vr, VR::UI | VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN);
    bytes.extend(std::iter::repeat_n(if binary { 0 } else { b' ' }, odd));
}

fn encoded(vr: VR, values: Option<&Value>) -> Option<Vec<u8>> {
    let Some(values) = values else { return Some(Vec::new()) };
    let values = values.as_array()?;
    let mut bytes = Vec::new();
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    let whole = |value: &Value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    for (at, value) in values.iter().enumerate() {
        match vr {
            VR::US => bytes.extend(u16::try_from(whole(value)?).ok()?.to_le_bytes()),
            VR::SS => bytes.extend(i16::try_from(whole(value)?).ok()?.to_le_bytes()),
            VR::UL => bytes.extend(u32::try_from(whole(value)?).ok()?.to_le_bytes()),
            VR::SL => bytes.extend(i32::try_from(whole(value)?).ok()?.to_le_bytes()),
            VR::SV => bytes.extend(whole(value)?.to_le_bytes()),
            VR::UV => bytes.extend(value.as_u64()?.to_le_bytes()),
            #[expect(clippy::cast_possible_truncation, reason = "FL is what the element is")]
            VR::FL => bytes.extend((number(value)? as f32).to_le_bytes()),
            VR::FD => bytes.extend(number(value)?.to_le_bytes()),
            VR::AT => {
                let tag = u32::from_str_radix(value.as_str()?, 16).ok()?;
                bytes.extend(((tag >> 16) as u16).to_le_bytes());
                bytes.extend(((tag & 0xFFFF) as u16).to_le_bytes());
            }
            VR::OB | VR::OD | VR::OF | VR::OL | VR::OV | VR::OW | VR::UN => return None,
            _ => {
                if at > 0 {
                    bytes.push(b'\\');
                }
                bytes.extend(text(vr, value)?.into_bytes());
            }
        }
    }
    Some(bytes)
}

fn text(vr: VR, value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(name) if vr == VR::PN => {
            let group = |key: &str| name.get(key).and_then(Value::as_str).unwrap_or_default();
            let name = [group("Alphabetic"), group("Ideographic"), group("Phonetic")].join("=");
            Some(name.trim_end_matches('=').to_owned())
        }
        _ => None,
    }
}
