//! Good HL7 messages, and every way in which they are damaged, the same ways each time.
//!
//! To try another kind of message, add its [`Template`] to [`TEMPLATES`]: its segments and fields are found in its text.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Who sends it, and so in which character set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// rabenstein's information system; 8859/1.
    Hospital,
    /// chemnitz; UNICODE UTF-8.
    Reader,
}

/// What it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Order,
    Report,
    /// Of a patient or a specimen.
    News,
}

pub struct Template {
    pub name: &'static str,
    pub from: From,
    /// Without MSH; one segment a line.
    body: &'static [&'static str],
    /// MSH-9 and MSH-12.
    message_type: &'static str,
    version: &'static str,
}

/// What a message is about. Every message has its own control id, placer order number and mark.
#[derive(Clone, Debug)]
pub struct Names {
    pub number: usize,
    pub patient: String,
    pub accession: String,
    pub study: String,
}

impl Names {
    pub fn control_id(&self) -> String {
        format!("D{:05}", self.number)
    }

    pub fn placer(&self) -> String {
        format!("PL{:05}", self.number)
    }

    /// A patient identifier that no image has.
    pub fn former(&self) -> String {
        format!("Q{:05}", self.number)
    }

    /// Words in its free text that no other message has.
    pub fn mark(&self) -> String {
        format!("MARK{:05}X", self.number)
    }
}

/// `{p}` patient id, `{a}` accession number, `{s}` Study Instance UID, `{o}` placer order number, `{m}` the mark, `{d}` a PDF
/// with the mark, `{q}` a former patient id.
pub const TEMPLATES: &[Template] = &[
    Template {
        name: "ORM",
        from: From::Hospital,
        message_type: "ORM^O01",
        version: "2.3.1",
        body: &[
            "PID|1||{p}^^^RABENSTEIN||Müßig^Jörg||19310202|M",
            "PV1|1|I|INN^12^1",
            "ORC|NW|{o}^KIS|||||^^^20261124230000^^S||20261124225900|||17^Arzt^Anna",
            "OBR|1|{o}^KIS||CTKOPF^CT Schädel^L|||||||||Sturz|||||{a}||||||CT|||^^^^^S",
            "ZDS|{s}^KIS^Application^DICOM",
            "NTE|1||{m}",
        ],
    },
    Template {
        name: "OMG",
        from: From::Hospital,
        message_type: "OMG^O19^OMG_O19",
        version: "2.5.1",
        body: &[
            "PID|1||{p}^^^RABENSTEIN^PI||Müßig^Jörg^^^Dr.||19310202|M",
            "ORC|NW|{o}^KIS||G7^KIS|SC",
            "TQ1|1||||||20261124230000||S",
            "OBR|1|{o}^KIS||MRKNIE^MR Knie^L||||||||||||||{a}||||||MR",
            "DG1|1||M23.2^Meniskus^I10",
            "OBX|1|ST|8302-2^Größe^LN||{m}||||||F",
        ],
    },
    Template {
        name: "OMI",
        from: From::Hospital,
        message_type: "OMI^O23^OMI_O23",
        version: "2.5.1",
        body: &[
            "PID|1||{p}^^^RABENSTEIN^PI||Müßig^Jörg||19310202|M",
            "PV1|1|O",
            "ORC|NW|{o}^KIS",
            "TQ1|1||||||||R",
            "OBR|1|{o}^KIS||XTHORAX^Thorax^L",
            "NTE|1||{m}",
            "IPC|{a}^RABENSTEIN|RP1^KIS|{s}|SPS1^KIS|CR|||Raum 1|CR_AE",
        ],
    },
    Template {
        name: "OML O21",
        from: From::Hospital,
        message_type: "OML^O21^OML_O21",
        version: "2.5.1",
        body: &[
            "PID|1||{p}^^^RABENSTEIN^PI||Müßig^Jörg||19310202|M",
            "ORC|NW|{o}^KIS",
            "TQ1|1||||||||R",
            "OBR|1|{o}^KIS||88305^Histologie^L||||||||||||||||||||PAT",
            "SPM|1|{q}&KIS||TISS^Gewebe^L||||||||||{m}",
        ],
    },
    Template {
        name: "OML O33",
        from: From::Hospital,
        message_type: "OML^O33^OML_O33",
        version: "2.5.1",
        body: &[
            "PID|1||{p}^^^RABENSTEIN^PI||Müßig^Jörg||19310202|M",
            "SPM|1|{q}&KIS||TISS^Gewebe^L||||||||||{m}",
            "SAC|||{q}C^KIS",
            "ORC|NW|{o}^KIS",
            "TQ1|1||||||||S",
            "OBR|1|{o}^KIS||88305^Histologie^L",
        ],
    },
    Template {
        name: "ORU of text",
        from: From::Reader,
        message_type: "ORU^R01^ORU_R01",
        version: "2.5.1",
        body: &[
            "PID|1||{p}^^^RABENSTEIN||Müßig^Jörg||19310202|M",
            "ORC|RE||{a}^RABENSTEIN",
            "OBR|1||{a}^RABENSTEIN|CT^CT Schädel^L|||20261124230500|||||||||||||||20261124231500||CT|F|||||||7&Weiß&Anna",
            "OBX|1|FT|CT^Befund^L|1|Keine Blutung.\\.br\\{m}||||||F|||20261124230500",
            "OBX|2|FT|CT^Beurteilung^L|1|Unauffällig||||||F",
            "NTE|1||Telefonisch mitgeteilt",
            "OBX|3|HD|113014^DICOM Study^DCM||{s}||||||F",
        ],
    },
    Template {
        name: "ORU of codes",
        from: From::Reader,
        message_type: "ORU^R01",
        version: "2.3",
        body: &[
            "PID|1||{p}^^^RABENSTEIN||Müßig^Jörg",
            "OBR|1|| {a}^RABENSTEIN |MG^Mammographie^L|||20261124230500|||||||||||||||||||P",
            "OBX|1|CE|BIRADS^ACR^L|1|2^Gutartig^BI||||||P",
            "OBX|2|NM|21889-1^Größe^LN|1|14|mm|0-10|H|||P",
            "OBX|3|ST|NOTE^Notiz^L|1|{m}||||||P",
            "ZDS|{s}^RIS^Application^DICOM",
        ],
    },
    Template {
        name: "ORU of a PDF",
        from: From::Reader,
        message_type: "ORU^R01^ORU_R01",
        version: "2.5.1",
        body: &[
            "PID|1||{p}^^^RABENSTEIN||Müßig^Jörg",
            "OBR|1||{a}^RABENSTEIN|CT^CT Schädel^L|||20261124230500||||||||||||||||||F",
            "OBX|1|HD|113014^DICOM Study^DCM||{s}||||||F",
            "OBX|2|TX|CT^Notiz^L|1|{m}||||||F",
            "OBX|3|ED|PDF^Befund^L|1|^application^pdf^Base64^{d}||||||F",
        ],
    },
    Template {
        name: "OUL",
        from: From::Reader,
        message_type: "OUL^R22^OUL_R22",
        version: "2.5.1",
        body: &[
            "PID|1||{p}^^^RABENSTEIN||Müßig^Jörg||19310202|M",
            "SPM|1|{o}&KIS||TISS^Gewebe^L",
            "OBR|1||{a}^RABENSTEIN|88305^Histologie^L|||20261124230500||||||||||||||||||F",
            "ORC|RE||{a}^RABENSTEIN",
            "OBX|1|FT|22637-3^Befund^LN|1|Kein Tumor.\\.br\\{m}||||||F",
            "OBX|2|HD|113014^DICOM Study^DCM||{s}||||||F",
        ],
    },
    Template {
        name: "MDM",
        from: From::Reader,
        message_type: "MDM^T02^MDM_T02",
        version: "2.5.1",
        body: &[
            "EVN|T02|20261124231500",
            "PID|1||{p}^^^RABENSTEIN||Müßig^Jörg||19310202|M",
            "PV1|1|I",
            "ORC|RE||{a}^RABENSTEIN",
            "OBR|1||{a}^RABENSTEIN|CT^CT Schädel^L|||20261124230500",
            "TXA|1|DI^Befund^L|FT|20261124231500|||||7^Weiß^Anna|||{o}^RIS|||||LA",
            "OBX|1|FT|CT^Befund^L|1|Keine Blutung.\\.br\\{m}||||||F",
            "OBX|2|HD|113014^DICOM Study^DCM||{s}||||||F",
        ],
    },
    Template {
        name: "SSU",
        from: From::Hospital,
        message_type: "SSU^U03^SSU_U03",
        version: "2.5.1",
        body: &["EQU|KURIER|20261124225900", "SAC|||{o}^KIS||||20261124225900|I", "SPM|1|{q}&KIS||TISS^Gewebe^L"],
    },
    Template {
        name: "ADT A08",
        from: From::Hospital,
        message_type: "ADT^A08^ADT_A01",
        version: "2.5.1",
        body: &["EVN|A08|20261124225900", "PID|1||{p}^^^RABENSTEIN^PI||Müßig^Jörg||19310202|M", "PV1|1|I|INN^12^1"],
    },
    Template {
        name: "ADT A40",
        from: From::Hospital,
        message_type: "ADT^A40^ADT_A39",
        version: "2.5.1",
        body: &[
            "EVN|A40|20261124225900",
            "PID|1||{p}^^^RABENSTEIN^PI||Müßig^Jörg||19310202|M",
            "MRG|{q}^^^RABENSTEIN^PI",
        ],
    },
];

/// One thing done to a message. Lines count from 0, which is MSH; fields as the standard does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    Nothing,
    Drop(usize),
    Double(usize),
    Move(usize, usize),
    /// Everything behind a byte of this line is gone, the line's end too.
    Cut(usize, usize),
    /// Its name: a wrong letter, lower case, a blank in it, cut off.
    Rename(usize, usize),
    Field(usize, usize, Value),
    Whole(Whole),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Emptied,
    TenKilobytes,
    /// In its middle.
    Byte(u8),
    /// Of no character set: a byte that UTF-8 has nowhere, and half a letter.
    Letters,
    UnclosedEscape,
    OtherType,
    /// A multiple of four letters of its Base64 are missing at its end, or one more.
    Shortened(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// MSH-1 and MSH-2 written so, the rest as before.
    Separators(&'static str),
    /// Every segment ends so.
    Endings(&'static str),
    Before(&'static [u8]),
    SecondPatient,
    SecondHeader,
    /// This line so many times more.
    Many(usize, usize),
}

impl Damage {
    /// The segment and field that were emptied.
    pub fn emptied(&self, bytes: &[u8]) -> Option<(String, usize)> {
        let Damage::Field(line, field, Value::Emptied) = self else { return None };
        let segment = bytes.split(|byte| *byte == b'\r').nth(*line)?;
        Some((String::from_utf8_lossy(&segment[..3]).into_owned(), *field))
    }

    /// The receiver cannot tell where the next message begins.
    pub fn breaks_framing(bytes: &[u8]) -> bool {
        [b"\x0bMSH".as_slice(), b"\x1c\r"].iter().any(|bad| bytes.windows(bad.len()).any(|window| window == *bad))
    }
}

const MANY: usize = 1000;

/// The same numbers for the same seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, number: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) % number as u64) as usize
    }
}

impl Template {
    pub fn kind(&self) -> Kind {
        match &self.message_type[..3] {
            "ORU" | "OUL" | "MDM" => Kind::Report,
            "ADT" | "SSU" => Kind::News,
            _ => Kind::Order,
        }
    }

    /// Undamaged, in its sender's character set.
    pub fn good(&self, names: &Names) -> Vec<u8> {
        let (facility, charset) = match self.from {
            From::Hospital => ("KIS|DRKRAB", "8859/1"),
            From::Reader => ("RIS|KLCHEM", "UNICODE UTF-8"),
        };
        let header = format!(
            "MSH|^~\\&|{facility}|NEISSE|NEISSE|20261124225900||{}|{}|P|{}||||||{charset}",
            self.message_type,
            names.control_id(),
            self.version
        );
        let text = [&[header.as_str()], self.body].concat().join("\r") + "\r";
        let pdf = STANDARD.encode(super::reports::small_pdf(&names.mark()));
        let pairs = [
            ("{p}", names.patient.as_str()),
            ("{a}", &names.accession),
            ("{s}", &names.study),
            ("{o}", &names.placer()),
            ("{m}", &names.mark()),
            ("{d}", &pdf),
            ("{q}", &names.former()),
        ];
        let text = pairs.iter().fold(text, |text, (key, value)| text.replace(key, value));
        match self.from {
            From::Hospital => text.chars().map(|letter| u8::try_from(letter).expect("a letter of 8859/1")).collect(),
            From::Reader => text.into_bytes(),
        }
    }

    /// Every damage of every segment, and what is done to the whole.
    pub fn damages(&self, seed: u64) -> Vec<Damage> {
        let mut dice = Dice(seed);
        let lines: Vec<&str> = [&[""], self.body].concat();
        let mut damages = self.of_the_whole(lines.len());
        for (line, text) in lines.iter().enumerate() {
            damages.extend([Damage::Drop(line), Damage::Double(line)]);
            damages.extend([1, lines.len() - 1].map(|to| Damage::Move(line, to)).into_iter().filter(|_| line != 0));
            damages.extend((0..3).map(|_| Damage::Cut(line, dice.below(1000))));
            damages.extend((0..4).map(|how| Damage::Rename(line, how)));
            for field in valued(line, text) {
                damages.push(Damage::Field(line, field, Value::Emptied));
                damages.extend((0..=field % 2).map(|_| Damage::Field(line, field, any_value(&mut dice))));
            }
            if text.contains("{d}") {
                damages.extend([4, 40, 41, 42, 400].map(|letters| Damage::Field(line, 5, Value::Shortened(letters))));
            }
        }
        damages
    }

    fn of_the_whole(&self, lines: usize) -> Vec<Damage> {
        let separators =
            ["|^~\\", "|^", "|", "|^~\\&#", "|^^\\&", "|abcd", "#^~\\&", " ^~\\&", "|&~\\^", "|^~\\&&", ""];
        let mut whole: Vec<Whole> = separators.into_iter().map(Whole::Separators).collect();
        whole.extend(["\n", "\r\n", "\r\n\r\n", "", " \r"].map(Whole::Endings));
        whole.extend([b"\xEF\xBB\xBF".as_slice(), b"\r\n ", b"FHS|^~\\&|\r", b"x", b"\0"].map(Whole::Before));
        whole.extend([Whole::SecondPatient, Whole::SecondHeader]);
        whole.extend((0..lines).map(|line| Whole::Many(line, MANY)));
        [Damage::Nothing].into_iter().chain(whole.into_iter().map(Damage::Whole)).collect()
    }
}

/// The fields of a line that say something; of MSH those from MSH-3 on.
fn valued(line: usize, text: &str) -> Vec<usize> {
    if line == 0 {
        return vec![3, 4, 5, 6, 7, 9, 10, 11, 12, 18];
    }
    let fields = text.split('|').enumerate().skip(1);
    fields.filter(|(_, value)| !value.is_empty()).map(|(number, _)| number).collect()
}

fn any_value(dice: &mut Dice) -> Value {
    const BYTES: [u8; 8] = [0, 1, 7, 0x0B, 0x1B, 0x1C, 0x7F, 0x85];
    match dice.below(8) {
        0 => Value::TenKilobytes,
        1 | 2 => Value::Byte(BYTES[dice.below(BYTES.len())]),
        3 => Value::Byte(b'\n'),
        4 => Value::Byte(b'\r'),
        5 => Value::Letters,
        6 => Value::UnclosedEscape,
        _ => Value::OtherType,
    }
}

/// The message with this damage.
pub fn apply(damage: Damage, good: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = good.split(|byte| *byte == b'\r').map(<[u8]>::to_vec).collect();
    lines.pop();
    match damage {
        Damage::Nothing => {}
        Damage::Drop(line) => drop(lines.remove(line)),
        Damage::Double(line) => lines.insert(line, lines[line].clone()),
        Damage::Move(line, to) => {
            let moved = lines.remove(line);
            lines.insert(to.min(lines.len()), moved);
        }
        Damage::Cut(line, permille) => {
            lines.truncate(line + 1);
            let length = lines[line].len();
            lines[line].truncate((1 + length * permille / 1000).min(length));
            return lines.join(&b'\r');
        }
        Damage::Rename(line, how) => rename(&mut lines[line], how),
        Damage::Field(line, field, value) => {
            let mut fields: Vec<Vec<u8>> = lines[line].split(|byte| *byte == b'|').map(<[u8]>::to_vec).collect();
            let at = if line == 0 { field - 1 } else { field };
            fields[at] = changed(&fields[at], value);
            lines[line] = fields.join(&b'|');
        }
        Damage::Whole(whole) => return apply_whole(whole, lines),
    }
    lines.push(Vec::new());
    lines.join(&b'\r')
}

fn rename(line: &mut Vec<u8>, how: usize) {
    match how {
        0 => line[1] = b'Q',
        1 => line[..3].make_ascii_lowercase(),
        2 => line[1] = b' ',
        _ => drop(line.drain(..2)),
    }
}

fn changed(field: &[u8], value: Value) -> Vec<u8> {
    let (left, right) = field.split_at(field.len() / 2);
    match value {
        Value::Emptied => Vec::new(),
        Value::TenKilobytes => vec![b'7'; 10_240],
        Value::Byte(byte) => [left, &[byte], right].concat(),
        Value::Letters => [left, b"\xFF\xC3", right].concat(),
        Value::UnclosedEscape => [left, b"\\X4", right].concat(),
        Value::OtherType => b"\xBF?!-{}".to_vec(),
        Value::Shortened(letters) => field[..field.len() - letters.min(field.len())].to_vec(),
    }
}

fn apply_whole(whole: Whole, mut lines: Vec<Vec<u8>>) -> Vec<u8> {
    let mut ending = "\r";
    let mut before: &[u8] = b"";
    match whole {
        Whole::Separators(said) => lines[0] = [b"MSH".as_slice(), said.as_bytes(), &lines[0][8..]].concat(),
        Whole::Endings(said) => ending = said,
        Whole::Before(bytes) => before = bytes,
        Whole::SecondPatient => lines.push(b"PID|2||SOMEBODY-ELSE^^^RABENSTEIN||Andere^Anna".to_vec()),
        Whole::SecondHeader => {
            let again = lines.clone();
            lines.extend(again);
        }
        Whole::Many(line, number) => {
            let again = vec![lines[line].clone(); number];
            lines.splice(line..line, again);
        }
    }
    let mut bytes = before.to_vec();
    for line in lines {
        bytes.extend_from_slice(&line);
        bytes.extend_from_slice(ending.as_bytes());
    }
    bytes
}
