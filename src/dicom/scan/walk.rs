//! The walk over data elements (PS3.5 7): a state machine over bytes with an explicit stack of open sequences and
//! items.
//!
//! Where a defined length is contradicted by what stands inside it, the rest of that length is passed over unread and
//! the header marked unsound: a vendor's faulty private sequence must not keep a stroke CT out. Without a defined
//! length to fall back on, it is an error.

use super::{
    Header, MAX_DEPTH, MAX_HEADER_BYTES, MAX_VALUE_BYTES, ScanError,
    element::{self, Element, ITEM, ITEM_DELIMITER, PIXEL_DATA, SEQUENCE_DELIMITER, Syntax, UNDEFINED},
    tap::Tap,
    wanted,
    wanted::Place,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sequence {
        tag: u32,
        items: u32,
    },
    /// Encapsulated Pixel Data or another non-sequence of undefined length: its items are bytes (PS3.5 A.4).
    Fragments,
    Item,
}

/// An open sequence or item.
#[derive(Clone, Copy, Debug)]
struct Level {
    kind: Kind,
    syntax: Syntax,
    /// Where its elements stand, if any of them is wanted.
    place: Option<Place>,
    /// Offset of its end, where it has a defined length.
    end: Option<u64>,
    /// The nearest end at or above it, which nothing inside may pass.
    bound: Option<u64>,
}

#[derive(Debug)]
enum State {
    /// Collecting the next element's tag, VR and length.
    Header,
    Keep {
        place: Place,
        tag: u32,
        left: u64,
        value: Vec<u8>,
    },
    Skip {
        left: u64,
    },
    Done,
}

#[derive(Debug)]
pub(super) struct Walker {
    syntax: Syntax,
    whole: bool,
    state: State,
    /// The element header being collected, and how much of it is there.
    buffer: [u8; 12],
    collected: usize,
    /// 8, or 12 once the VR says so.
    needed: usize,
    levels: Vec<Level>,
    /// Bytes walked, of the inflated data set.
    offset: u64,
    /// Of the element that the walk ended at.
    stopped_at: Option<u64>,
    highest_tag: u32,
    in_order: bool,
    header: Header,
    /// Keeps some elements whole.
    tap: Option<Tap>,
}

impl Walker {
    pub(super) fn new(syntax: Syntax, whole: bool) -> Self {
        Self {
            syntax,
            whole,
            state: State::Header,
            buffer: [0; 12],
            collected: 0,
            needed: 8,
            levels: Vec::new(),
            offset: 0,
            stopped_at: None,
            highest_tag: 0,
            in_order: true,
            header: Header::new(),
            tap: None,
        }
    }

    /// Keeps what `tap` wants, and ends behind the last of it.
    pub(super) fn with_tap(syntax: Syntax, tap: Tap) -> Self {
        Self { tap: Some(tap), ..Self::new(syntax, false) }
    }

    /// What the tap has kept, and the syntax it is in. `None`: the data set ended inside an element, or there is no tap.
    pub(super) fn into_tap(self) -> Option<(Syntax, u64, Tap)> {
        let whole = self.is_done() || self.is_between_elements();
        let (syntax, offset) = (self.syntax, self.offset);
        self.tap.filter(|_| whole).map(|tap| (syntax, offset, tap))
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Where the element begins at which the walk ended; behind everything where none did.
    pub(super) fn stopped_at(&self) -> u64 {
        self.stopped_at.unwrap_or(self.offset)
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn finish(self) -> Result<Header, ScanError> {
        if self.is_between_elements() || self.is_done() {
            Ok(self.header)
        } else {
            Err(ScanError::Truncated { offset: self.offset })
        }
    }

    fn is_between_elements(&self) -> bool {
        matches!(self.state, State::Header) && self.collected == 0 && self.levels.is_empty()
    }

    pub(super) fn walk(&mut self, mut bytes: &[u8]) -> Result<(), ScanError> {
        while !bytes.is_empty() && !self.is_done() {
            // The header of an element that opens the tap is in it already.
            let was_open = self.tap.as_ref().is_some_and(Tap::is_open);
            let taken = match &mut self.state {
                State::Header => self.collect(bytes)?,
                State::Keep { left, value, .. } => {
                    let taken = part(bytes, *left);
                    value.extend_from_slice(taken);
                    *left -= taken.len() as u64;
                    self.offset += taken.len() as u64;
                    taken.len()
                }
                State::Skip { left } => {
                    let taken = part(bytes, *left).len();
                    *left -= taken as u64;
                    self.offset += taken as u64;
                    taken
                }
                State::Done => 0,
            };
            if let Some(tap) = self.tap.as_mut().filter(|_| was_open) {
                tap.take(&bytes[..taken]);
            }
            bytes = &bytes[taken..];
            self.settle()?;
            if self.is_between_elements()
                && let Some(tap) = &mut self.tap
            {
                tap.close();
            }
            self.check_length()?;
        }
        Ok(())
    }

    /// Takes bytes of an element header; once it is complete, decides what to do with the element.
    fn collect(&mut self, bytes: &[u8]) -> Result<usize, ScanError> {
        let taken = bytes.len().min(self.needed - self.collected);
        self.buffer[self.collected..self.collected + taken].copy_from_slice(&bytes[..taken]);
        self.collected += taken;
        self.offset += taken as u64;
        if self.collected < self.needed {
            return Ok(taken);
        }
        if self.syntax == Syntax::Unknown {
            self.syntax = element::guess_syntax(&self.buffer);
        }
        if self.needed == 8 && element::has_long_header(&self.buffer, self.syntax()) {
            if self.room().is_some_and(|room| room < 4) {
                self.collected = 0;
                self.give_up_inside()?;
            } else {
                self.needed = 12;
            }
            return Ok(taken);
        }
        let element = Element::read(&self.buffer, self.syntax());
        if !element.has_legal_vr() {
            self.header.note_unsound();
        }
        let length = self.needed;
        (self.collected, self.needed) = (0, 8);
        if self.levels.is_empty()
            && let Some(tap) = &mut self.tap
        {
            tap.meet(&element, self.offset - length as u64, &self.buffer[..length]);
        }
        let start = self.offset - length as u64;
        self.begin(&element)?;
        if self.is_done() {
            self.stopped_at = Some(start);
        }
        Ok(taken)
    }

    fn syntax(&self) -> Syntax {
        self.levels.last().map_or(self.syntax, |level| level.syntax)
    }

    /// Decides what to do with an element whose header is complete.
    fn begin(&mut self, element: &Element) -> Result<(), ScanError> {
        if element.length != UNDEFINED && self.room().is_some_and(|room| u64::from(element.length) > room) {
            return self.give_up_inside();
        }
        match self.levels.last().map(|level| level.kind) {
            Some(Kind::Sequence { .. } | Kind::Fragments) => self.begin_item(element),
            Some(Kind::Item) if element.tag == ITEM_DELIMITER && self.closes_level() => {
                self.levels.pop();
                Ok(())
            }
            _ if element.is_delimiter() => self.stray_delimiter(element),
            Some(Kind::Item) => self.begin_element(element),
            None => {
                if self.stops_at(element) {
                    self.state = State::Done;
                    return Ok(());
                }
                self.begin_element(element)
            }
        }
    }

    /// True at Pixel Data and, in a data set in order that has named itself, past the last wanted element.
    fn stops_at(&mut self, element: &Element) -> bool {
        self.in_order &= element.tag >= self.highest_tag;
        self.highest_tag = self.highest_tag.max(element.tag);
        let past_last = match &self.tap {
            None => self.in_order && element.tag > wanted::LAST && self.header.has_essentials(),
            Some(tap) => self.in_order && element.tag > tap.last(),
        };
        !self.whole && (PIXEL_DATA.contains(&element.tag) || past_last)
    }

    /// Inside a sequence: an item begins, or the sequence ends.
    fn begin_item(&mut self, element: &Element) -> Result<(), ScanError> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let (syntax, bound, place) = (level.syntax, level.bound, level.place);
        match (&mut level.kind, element.tag) {
            (_, SEQUENCE_DELIMITER) if level.end.is_none() => {
                self.levels.pop();
                Ok(())
            }
            (Kind::Fragments, ITEM) if element.length != UNDEFINED => {
                self.state = State::Skip { left: u64::from(element.length) };
                Ok(())
            }
            (Kind::Sequence { tag, items }, ITEM) => {
                *items = items.saturating_add(1);
                let place = place.and_then(|place| place.inside(*tag, *items));
                self.open(Kind::Item, syntax, place, bound, element.length);
                Ok(())
            }
            _ if level.bound.is_some() => self.give_up_inside(),
            _ => Err(self.unexpected(element.tag, "an item or the end of the sequence")),
        }
    }

    fn begin_element(&mut self, element: &Element) -> Result<(), ScanError> {
        if element.tag >> 16 == 0 {
            if self.room().is_some() {
                return self.give_up_inside();
            }
            return Err(self.unexpected(element.tag, "no command element in a data set"));
        }
        let place = self.levels.last().map_or(Some(Place::Top), |level| level.place);
        if let Some((kind, syntax)) = self.opens(element, place) {
            let sequences = self.levels.iter().filter(|level| level.kind != Kind::Item).count();
            if sequences >= MAX_DEPTH {
                return Err(ScanError::TooDeep { offset: self.offset });
            }
            let bound = self.levels.last().and_then(|level| level.bound);
            self.open(kind, syntax, place, bound, element.length);
            return Ok(());
        }
        let left = u64::from(element.length);
        self.state = match place.filter(|place| place.wants(element.tag)) {
            Some(_) if left > MAX_VALUE_BYTES => {
                self.header.note_too_long(element.tag);
                State::Skip { left }
            }
            Some(place) => State::Keep { place, tag: element.tag, left, value: Vec::new() },
            None => State::Skip { left },
        };
        Ok(())
    }

    /// What an element opens, if it is no plain value.
    fn opens(&self, element: &Element, place: Option<Place>) -> Option<(Kind, Syntax)> {
        let sequence = Kind::Sequence { tag: element.tag, items: 0 };
        let undefined = element.length == UNDEFINED;
        match element.vr {
            Some([b'S', b'Q']) => Some((sequence, self.syntax())),
            // PS3.5 6.2.2 note 2 (CP 246): UN of undefined length is a sequence in Implicit VR Little Endian; so is the
            // value of a UN of defined length that stands for a sequence.
            Some([b'U', b'N']) if undefined => Some((sequence, Syntax::ImplicitLe)),
            Some([b'U', b'N']) if place.is_some_and(|place| place.inside(element.tag, 1).is_some()) => {
                Some((sequence, Syntax::ImplicitLe))
            }
            Some(_) if undefined => Some((Kind::Fragments, self.syntax())),
            None if PIXEL_DATA.contains(&element.tag) && undefined => Some((Kind::Fragments, self.syntax())),
            None if undefined || element.is_sequence_by_dictionary() => Some((sequence, self.syntax())),
            _ => None,
        }
    }

    fn open(&mut self, kind: Kind, syntax: Syntax, place: Option<Place>, bound: Option<u64>, length: u32) {
        let end = (length != UNDEFINED).then(|| self.offset + u64::from(length));
        self.levels.push(Level { kind, syntax, place, end, bound: end.or(bound) });
    }

    fn closes_level(&self) -> bool {
        self.levels.last().is_some_and(|level| level.end.is_none())
    }

    /// A delimiter where none belongs: after a defined length it is harmless; instead of an item's own delimiter, the
    /// sequence's closes both, or the elements that follow would be taken for the item's.
    fn stray_delimiter(&mut self, element: &Element) -> Result<(), ScanError> {
        let open_ended = |level: &Level| level.end.is_none();
        let ends_nothing = element.length == 0 && element.tag != ITEM;
        match &self.levels[..] {
            [.., sequence, item] if open_ended(item) && open_ended(sequence) && ends_nothing => {
                self.levels.truncate(self.levels.len() - 2);
                self.header.note_unsound();
                return Ok(());
            }
            [.., item] if open_ended(item) => {}
            _ if ends_nothing => {
                self.header.note_unsound();
                return Ok(());
            }
            _ => {}
        }
        if self.levels.last().is_some_and(|level| level.bound.is_some()) {
            return self.give_up_inside();
        }
        Err(self.unexpected(element.tag, "a data element"))
    }

    /// Bytes left until the nearest defined end.
    fn room(&self) -> Option<u64> {
        let bound = self.levels.last()?.bound?;
        Some(bound.saturating_sub(self.offset))
    }

    /// Passes over the rest of the nearest level with a defined length.
    fn give_up_inside(&mut self) -> Result<(), ScanError> {
        let index = self.levels.iter().rposition(|level| level.end.is_some());
        let level = index.and_then(|index| self.levels.get(index).map(|level| (index, level.end)));
        let Some((index, Some(end))) = level else { return Err(ScanError::Truncated { offset: self.offset }) };
        self.levels.truncate(index);
        self.header.note_unsound();
        self.state = State::Skip { left: end.saturating_sub(self.offset) };
        Ok(())
    }

    /// Finishes what is complete: values without bytes left, levels at their end.
    fn settle(&mut self) -> Result<(), ScanError> {
        loop {
            match &mut self.state {
                State::Keep { left: 0, place, tag, value } => {
                    let (place, tag, value) = (*place, *tag, std::mem::take(value));
                    self.header.keep(place, tag, value)?;
                    self.state = State::Header;
                }
                State::Skip { left: 0 } => self.state = State::Header,
                State::Header if self.collected == 0 && !self.levels.is_empty() => {
                    if self.levels.last().is_some_and(|level| level.end == Some(self.offset)) {
                        self.levels.pop();
                    } else if self.room().is_some_and(|room| room < 8) {
                        self.give_up_inside()?;
                    } else {
                        return Ok(());
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    /// Past the cap, a data set that has named itself is good enough to be carried; another is refused.
    fn check_length(&mut self) -> Result<(), ScanError> {
        if self.offset <= MAX_HEADER_BYTES || self.is_done() {
            return Ok(());
        }
        if self.whole || self.tap.is_some() || !self.header.has_essentials() {
            return Err(ScanError::TooLong);
        }
        self.header.note_unsound();
        self.state = State::Done;
        Ok(())
    }

    fn unexpected(&self, tag: u32, expected: &'static str) -> ScanError {
        let (group, element) = ((tag >> 16) as u16, (tag & 0xFFFF) as u16);
        ScanError::Unexpected { group, element, offset: self.offset, expected }
    }
}

fn part(bytes: &[u8], left: u64) -> &[u8] {
    let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    &bytes[..taken]
}
