//! STOW-RS with metadata in JSON and bulk data beside it (PS3.18 10.5.2 and 8.6): written as a data set in Explicit VR
//! Little Endian, in UTF-8, while its parts come in.
//!
//! The metadata come first. Pixel Data of an uncompressed instance go on as they arrive; everything else that has a part
//! of its own is kept until its instance is written, which is why Pixel Data come last of an instance's parts. A
//! compressed frame is one part and one fragment: of several frames an instance is not put together here.

use super::{
    DICOM_JSON, OCTETS,
    json_data_set::{Segment, put_value},
    multipart::{MultipartError, PartHead},
    places::{Found, Places},
    stow::{CANNOT_UNDERSTAND, Incoming, Session},
    stow_plan::{EXPLICIT_LE, Pixels, Plan, plans},
};
use crate::model::Uid;
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

const MAX_METADATA_BYTES: usize = 16 << 20;
/// Of bulk data that is kept, and of one compressed frame.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// Why nothing is to be waited for any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Stored,
    /// Told already, with the instance: further parts of it say nothing new.
    Refused,
}

/// What a part may be of.
enum Owner {
    /// Pixel Data of this instance.
    Pixels(usize),
    /// A value of each of these.
    Values(Vec<usize>),
    /// Pixel Data of several: nobody can say of which, and none of them is stored.
    Nobody,
}

/// One request on its way.
struct Storing<'a> {
    session: &'a mut Session,
    /// By number; taken out when done.
    plans: BTreeMap<usize, Plan>,
    done: BTreeMap<usize, Done>,
    /// How many values each waits for: counted, so that a part costs the same however many there are.
    awaited: BTreeMap<usize, usize>,
    places: Places<Owner>,
    kept: HashMap<String, Bytes>,
    room: usize,
}

pub async fn receive(session: &mut Session, parts: &mut Incoming) -> Result<(), MultipartError> {
    let Some(head) = parts.next_part().await? else { return Ok(()) };
    // Without metadata nobody can say what a part is of.
    let metadata = if head.media() == DICOM_JSON { whole(parts, MAX_METADATA_BYTES).await? } else { None };
    let read = match metadata {
        Some(bytes) => tokio::task::spawn_blocking(move || plans(&bytes)).await.ok().flatten(),
        None => None,
    };
    let Some(read) = read else {
        session.outcome.other.push(CANNOT_UNDERSTAND);
        return Ok(());
    };
    session.outcome.other.extend(std::iter::repeat_n(CANNOT_UNDERSTAND, read.unreadable));
    let mut storing = Storing::new(session, read.plans);
    storing.store_those_without_parts().await;
    while let Some(head) = parts.next_part().await? {
        storing.part(parts, &head).await?;
    }
    storing.refuse_the_rest();
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

impl<'a> Storing<'a> {
    fn new(session: &'a mut Session, plans: Vec<Plan>) -> Self {
        let mut storing = Self {
            session,
            plans: BTreeMap::new(),
            done: BTreeMap::new(),
            awaited: BTreeMap::new(),
            places: Places::default(),
            kept: HashMap::new(),
            room: MAX_KEPT_BYTES,
        };
        for (number, plan) in plans.into_iter().enumerate() {
            let rivals = storing.take_places(number, &plan);
            storing.plans.insert(number, plan);
            for rival in rivals {
                storing.refuse(rival);
            }
        }
        storing
    }

    fn refuse(&mut self, number: usize) {
        if let Some(plan) = self.plans.remove(&number) {
            self.session.refuse(&plan.offer, CANNOT_UNDERSTAND);
            self.done.insert(number, Done::Refused);
        }
    }

    /// Notes where the parts of an instance go. Out: who cannot be stored, because Pixel Data are said to be at a place of
    /// something else.
    fn take_places(&mut self, number: usize, plan: &Plan) -> Vec<usize> {
        let (mut rivals, mut awaited) = (Vec::new(), 0);
        for location in plan.missing() {
            match self.places.get_mut(location) {
                Some(Owner::Values(numbers)) if numbers.last() == Some(&number) => continue,
                Some(Owner::Values(numbers)) => numbers.push(number),
                Some(owner) => rivals.extend(contested(owner, number)),
                None => self.places.insert(location, Owner::Values(vec![number])),
            }
            awaited += 1;
        }
        self.awaited.insert(number, awaited);
        if let Some(pixels) = &plan.pixels {
            match self.places.get_mut(&pixels.location) {
                Some(owner) => rivals.extend(contested(owner, number)),
                None => self.places.insert(&pixels.location, Owner::Pixels(number)),
            }
        }
        rivals
    }

    async fn store_those_without_parts(&mut self) {
        let numbers: Vec<usize> = self.plans.keys().copied().collect();
        for number in numbers {
            self.store_if_complete(number).await;
        }
    }

    async fn part(&mut self, parts: &mut Incoming, head: &PartHead) -> Result<(), MultipartError> {
        let Found::One(place) = self.places.find(&head.content_location) else {
            // Of nothing, or nobody can say of what.
            self.session.outcome.other.push(CANNOT_UNDERSTAND);
            return Ok(());
        };
        let numbers = match self.places.owner(&place) {
            Some(Owner::Pixels(number)) => {
                let number = *number;
                match self.plans.remove(&number) {
                    Some(plan) => return self.with_pixels(number, parts, plan, head).await,
                    None => return self.too_many(number),
                }
            }
            Some(Owner::Values(numbers)) => numbers.clone(),
            Some(Owner::Nobody) | None => Vec::new(),
        };
        if !numbers.iter().any(|number| self.plans.contains_key(number)) || self.kept.contains_key(&place) {
            return self.too_many(numbers.first().copied().unwrap_or(usize::MAX));
        }
        // More than is kept: its instances stay without it, and are refused at the end.
        if let Some(bytes) = whole(parts, self.room).await? {
            self.room -= bytes.len();
            self.kept.insert(place, bytes);
            for number in numbers {
                if let Some(awaited) = self.awaited.get_mut(&number) {
                    *awaited = awaited.saturating_sub(1);
                }
                self.store_if_complete(number).await;
            }
        }
        Ok(())
    }

    /// A part of an instance that waits for none: what was stored is not all that was sent, and that is to be told.
    fn too_many(&mut self, number: usize) -> Result<(), MultipartError> {
        if self.done.get(&number) != Some(&Done::Refused) {
            self.session.outcome.other.push(CANNOT_UNDERSTAND);
        }
        Ok(())
    }

    async fn store_if_complete(&mut self, number: usize) {
        let has_all = self.awaited.get(&number) == Some(&0);
        if !has_all || self.plans.get(&number).is_none_or(|plan| plan.pixels.is_some()) {
            return;
        }
        let Some(plan) = self.plans.remove(&number) else { return };
        let stored = self.session.outcome.stored.len();
        let begun = self.session.begin(plan.offer).await;
        if begun && write_segments(self.session, plan.segments, &self.kept).await {
            self.session.commit().await;
        }
        self.ended(number, stored);
    }

    /// What became of an instance. `before`: how many had been stored.
    fn ended(&mut self, number: usize, before: usize) {
        let is_stored = self.session.outcome.stored.len() > before;
        self.done.insert(number, if is_stored { Done::Stored } else { Done::Refused });
    }

    async fn with_pixels(
        &mut self,
        number: usize,
        parts: &mut Incoming,
        plan: Plan,
        head: &PartHead,
    ) -> Result<(), MultipartError> {
        let Plan { mut offer, segments, pixels: Some(pixels) } = plan else { return Ok(()) };
        let given = head.parameter("transfer-syntax");
        let is_compressed = head.media() != OCTETS || given.is_some_and(|uid| uid != EXPLICIT_LE);
        let syntax = given.and_then(|uid| Uid::new(uid).ok());
        let is_complete = segments.iter().all(|segment| is_there(segment, &self.kept));
        let is_possible =
            if is_compressed { is_one_part(&pixels, head) && syntax.is_some() } else { pixels.length.is_some() };
        let frame =
            if is_compressed && is_possible && is_complete { whole(parts, MAX_KEPT_BYTES).await? } else { None };
        if !is_complete || !is_possible || is_compressed && frame.is_none() {
            self.session.refuse(&offer, CANNOT_UNDERSTAND);
            self.done.insert(number, Done::Refused);
            return Ok(());
        }
        if let Some(syntax) = syntax.filter(|_| is_compressed) {
            offer.transfer_syntax = syntax;
        }
        let stored = self.session.outcome.stored.len();
        if self.session.begin(offer).await && write_segments(self.session, segments, &self.kept).await {
            match frame {
                Some(frame) => {
                    if self.session.write(fragment(&frame)).await {
                        self.session.commit().await;
                    }
                }
                None => native(self.session, parts, pixels.length.unwrap_or(0)).await?,
            }
        }
        self.ended(number, stored);
        Ok(())
    }

    /// What its parts have not come for.
    fn refuse_the_rest(self) {
        for plan in self.plans.into_values() {
            self.session.refuse(&plan.offer, CANNOT_UNDERSTAND);
        }
    }
}

/// A place that several instances name, not all of them for a value: theirs are these.
fn contested(owner: &mut Owner, number: usize) -> Vec<usize> {
    let mut numbers = match mem::replace(owner, Owner::Nobody) {
        Owner::Pixels(other) => vec![other],
        Owner::Values(numbers) => numbers,
        Owner::Nobody => Vec::new(),
    };
    numbers.push(number);
    numbers
}

/// A compressed frame is a part of its own (PS3.18 8.7.3.3); a film is one part with all of its frames.
fn is_one_part(pixels: &Pixels, head: &PartHead) -> bool {
    pixels.frames == 1 || head.media().starts_with("video/")
}

fn is_there(segment: &Segment, kept: &HashMap<String, Bytes>) -> bool {
    match segment {
        Segment::Bytes(_) => true,
        Segment::Bulk { location, .. } => kept.contains_key(location),
    }
}

async fn write_segments(session: &mut Session, segments: Vec<Segment>, kept: &HashMap<String, Bytes>) -> bool {
    for segment in segments {
        let written = match segment {
            Segment::Bytes(bytes) => session.write(bytes.into()).await,
            Segment::Bulk { location, vr } => {
                let Some(bytes) = kept.get(&location) else { return false };
                let mut value = Vec::with_capacity(bytes.len() + 12);
                if put_value(&mut value, vr, bytes).is_none() {
                    session.give_up(CANNOT_UNDERSTAND).await;
                    return false;
                }
                session.write(value.into()).await
            }
        };
        if !written {
            return false;
        }
    }
    true
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
