//! A small reading of HL7 v2 by hand, as a check on the router's own: who and what a message says it is about, byte by byte.
//!
//! Knows nothing of what is good or bad in it.

/// Value and issuer.
pub type Id = (String, String);

#[derive(Clone, Debug, Default)]
pub struct Said {
    /// MSH-10 as it stands. None: there is no header to read it from.
    pub control_id: Option<Vec<u8>>,
    /// PID-3 of the first PID, or PID-2.
    pub patients: Vec<Id>,
    /// MRG-1 of the first MRG.
    pub merged: Vec<Id>,
    pub orders: Vec<SaidOrder>,
    /// ORC-2, ORC-3, OBR-2, OBR-3, OBR-18, IPC-1 of all.
    pub numbers: Vec<Id>,
    pub studies: Vec<String>,
    lines: Vec<(String, Vec<Vec<u8>>)>,
}

/// One ORC with the OBR that belongs to it.
#[derive(Clone, Debug, Default)]
pub struct SaidOrder {
    pub placer: Id,
    pub filler: Id,
    pub accession: Id,
}

struct Reader {
    component: u8,
    repetition: u8,
    subcomponent: u8,
    utf8: bool,
}

impl Reader {
    fn text(&self, bytes: &[u8]) -> String {
        let text = if self.utf8 {
            String::from_utf8_lossy(bytes).into_owned()
        } else {
            bytes.iter().map(|byte| char::from(*byte)).collect()
        };
        if text.trim() == "\"\"" { String::new() } else { text.trim().to_owned() }
    }

    /// Patient identifiers.
    fn ids(&self, field: &[u8]) -> Vec<Id> {
        let all = field.split(|byte| *byte == self.repetition);
        all.map(|one| self.id(one, 4)).filter(|(value, _)| !value.is_empty()).collect()
    }

    fn id(&self, field: &[u8], issuer_at: usize) -> Id {
        let first = field.split(|byte| *byte == self.repetition).next().unwrap_or_default();
        let mut parts = first.split(|byte| *byte == self.component);
        let value = self.text(parts.next().unwrap_or_default());
        let rest: Vec<&[u8]> = parts.collect();
        let issuer = rest.get(issuer_at - 2).copied().unwrap_or_default();
        (value, self.text(issuer.split(|byte| *byte == self.subcomponent).next().unwrap_or_default()))
    }
}

impl Said {
    /// `utf8`: what its sender's messages are in where MSH-18 is empty.
    pub fn read(bytes: &[u8], utf8: bool) -> Self {
        let trimmed = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
        let mut said = Said::default();
        let Some(&separator) = trimmed.get(3).filter(|_| trimmed.starts_with(b"MSH")) else { return said };
        let end = if trimmed.contains(&b'\r') { b'\r' } else { b'\n' };
        for line in trimmed.split(|byte| *byte == end) {
            let line = line.strip_prefix(b"\n").unwrap_or(line);
            let fields: Vec<Vec<u8>> = line.split(|byte| *byte == separator).map(<[u8]>::to_vec).collect();
            said.lines.push((String::from_utf8_lossy(&fields[0]).to_uppercase(), fields));
        }
        let header = &said.lines[0].1;
        let marks = header.get(1).cloned().unwrap_or_default();
        let is_distinct = marks.iter().enumerate().all(|(at, mark)| !marks[..at].contains(mark) && *mark != separator);
        let is_mark = |mark: &u8| mark.is_ascii_punctuation();
        if !(is_mark(&separator) && (1..=5).contains(&marks.len()) && marks.iter().all(is_mark) && is_distinct) {
            said.lines.clear();
            return said;
        }
        said.control_id = Some(header.get(9).cloned().unwrap_or_default());
        let nth = |at: usize| marks.get(at).copied().unwrap_or(0);
        let named = header.get(17).filter(|name| !name.is_empty());
        let utf8 = named.map_or(utf8, |name| name.starts_with(b"UNICODE"));
        let reader = Reader { component: nth(0), repetition: nth(1), subcomponent: nth(3), utf8 };
        said.identifiers(&reader);
        said
    }

    fn field(fields: &[Vec<u8>], number: usize) -> &[u8] {
        fields.get(number).map_or(&[], Vec::as_slice)
    }

    fn identifiers(&mut self, reader: &Reader) {
        let lines = std::mem::take(&mut self.lines);
        let mut waiting: Option<SaidOrder> = None;
        for (name, fields) in &lines {
            let id = |number| reader.id(Self::field(fields, number), 2);
            match name.as_str() {
                "PID" if self.patients.is_empty() => {
                    let ids = |number| reader.ids(Self::field(fields, number));
                    self.patients = if ids(3).is_empty() { ids(2) } else { ids(3) };
                }
                "MRG" if self.merged.is_empty() => self.merged = reader.ids(Self::field(fields, 1)),
                "ORC" => {
                    let before = if self.orders.is_empty() { waiting.take() } else { None };
                    self.orders.push(SaidOrder::default());
                    let order = self.orders.last_mut().expect("just pushed");
                    order.add(id(2), id(3), <_>::default());
                    if let Some(before) = before {
                        order.add(before.placer, before.filler, before.accession);
                    }
                }
                "OBR" => match self.orders.last_mut() {
                    Some(order) => order.add(id(2), id(3), id(18)),
                    None => waiting.get_or_insert_default().add(id(2), id(3), id(18)),
                },
                "IPC" => {
                    let order = match self.orders.last_mut() {
                        Some(order) => order,
                        None => waiting.get_or_insert_default(),
                    };
                    order.accession = id(1);
                    self.studies.push(reader.id(Self::field(fields, 3), 2).0);
                }
                "ZDS" => self.studies.push(reader.id(Self::field(fields, 1), 2).0),
                "OBX" if Self::field(fields, 3).starts_with(b"113014") => {
                    self.studies.push(reader.id(Self::field(fields, 5), 2).0);
                }
                _ => {}
            }
            self.numbers.extend(match name.as_str() {
                "ORC" => vec![id(2), id(3)],
                "OBR" => vec![id(2), id(3), id(18)],
                "IPC" => vec![id(1)],
                _ => Vec::new(),
            });
        }
        self.numbers.retain(|(value, _)| !value.is_empty());
        self.lines = lines;
    }

    /// How many segments of this name it has.
    pub fn count(&self, name: &str) -> usize {
        self.lines.iter().filter(|(found, _)| found == name).count()
    }
}

impl SaidOrder {
    fn add(&mut self, placer: Id, filler: Id, accession: Id) {
        for (known, said) in [(&mut self.placer, placer), (&mut self.filler, filler), (&mut self.accession, accession)]
        {
            let is_more = known.0.is_empty() || (known.0 == said.0 && known.1.is_empty());
            if is_more && !said.0.is_empty() {
                *known = said;
            }
        }
    }
}

/// An answer by hand: MSA-1, MSA-2, ERR-2, ERR-3.1, ORC-1 of each order.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub code: String,
    pub control_id: Vec<u8>,
    pub place: String,
    pub error: String,
    pub orders: Vec<String>,
}

impl Answer {
    pub fn read(bytes: &[u8]) -> Self {
        let (separator, component) = (bytes[3], bytes[4]);
        let mut answer = Answer::default();
        for line in bytes.split(|byte| *byte == b'\r') {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == separator).collect();
            let text = |number: usize| -> String {
                let bytes = fields.get(number).copied().unwrap_or_default().iter();
                bytes.map(|byte| if *byte == component { '^' } else { char::from(*byte) }).collect()
            };
            match fields[0] {
                b"MSA" => {
                    (answer.code, answer.control_id) = (text(1), fields.get(2).copied().unwrap_or_default().to_vec());
                }
                b"ERR" => {
                    (answer.place, answer.error) = (text(2), text(3).split('^').next().unwrap_or_default().to_owned());
                }
                b"ORC" => answer.orders.push(text(1)),
                _ => {}
            }
        }
        answer
    }
}
