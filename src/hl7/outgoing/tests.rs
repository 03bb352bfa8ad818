//! Every set to every set, and that nothing else of a message changes.

use super::*;
use crate::hl7::oru::OruReport;
use proptest::prelude::*;

const SETS: [&str; 9] =
    ["ASCII", "8859/1", "8859/2", "8859/15", "Windows-1250", "Windows-1252", "8859/5", "8859/7", "UNICODE UTF-8"];

const NAMES: [&str; 6] = ["Łucja Świątek", "Jiří Dvořák", "Jörg Müßig", "Þórður", "Ελένη", "Дмитрий"];

/// What a receiver of this set reads of the six names: by its own table, and by the built-in one. As [`NAMES`] where it
/// holds the name.
fn arrives(set: &str) -> [[&'static str; 2]; 6] {
    let [lucja, jiri, joerg, thordur, eleni, dmitrii] = NAMES.map(|name| [name, name]);
    let polish = ["Wucja Swiatek", "Lucja Swiatek"];
    let plain = [
        polish,
        ["Jirzi Dvorzak", "Jiri Dvorak"],
        ["Jorg Mueszig", "Joerg Muessig"],
        ["Tordhur", "Thordur"],
        ["Elene", "Eleni"],
        ["Dmitrij", "Dmitrii"],
    ];
    let [_, _, _, _, greek, cyrillic] = plain;
    match set {
        "ASCII" => plain,
        // í and á are there, ř is not.
        "8859/1" | "8859/15" | "Windows-1252" => {
            [polish, ["Jirzí Dvorzák", "Jirí Dvorák"], joerg, thordur, greek, cyrillic]
        }
        "8859/2" | "Windows-1250" => [lucja, jiri, joerg, ["Tórdhur", "Thórdur"], greek, cyrillic],
        "8859/5" => [plain[0], plain[1], plain[2], plain[3], greek, dmitrii],
        "8859/7" => [plain[0], plain[1], plain[2], plain[3], eleni, cyrillic],
        _ => [lucja, jiri, joerg, thordur, eleni, dmitrii],
    }
}

fn set(name: &str) -> Charset {
    Charset::named(name).expect("a known set")
}

fn table() -> std::collections::BTreeMap<char, String> {
    [('Ł', "W"), ('ř', "rz"), ('ö', "o"), ('ß', "sz"), ('Þ', "T"), ('ð', "dh"), ('η', "e"), ('й', "j")]
        .map(|(c, text)| (c, text.to_owned()))
        .into()
}

/// The three ways a partner may be configured.
fn policies(charset: Charset) -> [Outgoing; 3] {
    let utf8 = Outgoing::new(charset);
    [utf8.clone(), Outgoing { utf8: false, table: table(), ..utf8.clone() }, Outgoing { utf8: false, ..utf8 }]
}

fn message(name: &str, charset: &str) -> String {
    format!("MSH|^~\\&|A|B|C|D|20261125||ORU^R01|1|P|2.5.1||||||{charset}\rPID|1||7||{name}\rOBX|1|FT|||{name}; ok\r")
}

/// The name as a receiver finds it by MSH-18, from both places.
fn read(sent: &Sent) -> String {
    let message = Message::parse(&sent.bytes).expect("a message");
    let charset = Charset::of_message(&message, Charset::ASCII).expect("a set that is read");
    assert_eq!(charset, sent.charset, "MSH-18");
    let name = message.first("PID").expect("PID").field(5).text(charset);
    let text = message.first("OBX").expect("OBX").field(5).text(charset);
    assert!(!name.lossy && !text.lossy);
    assert_eq!(text.text, format!("{}; ok", name.text));
    name.text
}

fn check(sent: &Sent, receiver: &str, policy: &Outgoing, name: usize, by: usize) {
    let what = format!("{} to {receiver}, {policy:?}", NAMES[name]);
    let missing = NAMES[name].chars().filter(|c| !policy.charset.holds(*c)).collect::<Vec<_>>();
    let expected = if policy.utf8 { NAMES[name] } else { arrives(receiver)[name][by] };
    assert_eq!(read(sent), expected, "{what}");
    let utf8 = policy.utf8 && !missing.is_empty();
    assert_eq!(sent.charset, if utf8 { Charset::UTF_8 } else { policy.charset }, "{what}");
    assert_eq!(sent.warnings.is_empty(), missing.is_empty(), "{what}");
    let told = sent.warnings.concat();
    for c in missing {
        assert!(told.contains(&format!("{c} (U+{:04X})", u32::from(c))), "{what}: {told}");
    }
    assert!(!sent.bytes.contains(&b'?') && !told.contains(NAMES[name]), "{what}");
}

#[test]
fn every_name_goes_from_every_set_to_every_set() {
    let mut relays = 0;
    for receiver in SETS {
        for (name, text) in NAMES.into_iter().enumerate() {
            for (way, policy) in policies(set(receiver)).iter().enumerate() {
                let by = way.saturating_sub(1);
                check(&outgoing(&message(text, ""), policy), receiver, policy, name, by);
                for sender in SETS {
                    // A sender can write a name only in a set that has it.
                    let Ok(raw) = set(sender).encode(message(text, sender)) else { continue };
                    let sent = relayed(&raw, set(sender), policy).expect("a message");
                    check(&sent, receiver, policy, name, by);
                    relays += 1;
                }
            }
        }
    }
    // Of nine sets, 3 have the Polish name, 3 the Czech, 6 the German, 4 the Icelandic, 2 the Greek, 2 the Russian.
    assert_eq!(relays, 9 * 3 * (3 + 3 + 6 + 4 + 2 + 2));
}

#[test]
fn a_message_in_the_receivers_set_goes_as_it_came() {
    let odd = b"\xEF\xBB\xBFMSH|^~\\&|A|B|||||ORU^R01|1|P|2.3||||||ISO-8859-2\r\npid|1||7||\xA3ucja\n\rstray \xA6\rZX1|\\XA3\\|\x01";
    let policy = Outgoing::new(set("8859/2"));
    let sent = relayed(odd, set("8859/2"), &policy).expect("a message");
    assert_eq!((sent.bytes.as_slice(), sent.warnings.len()), (&odd[..], 0));

    let unnamed = b"MSH|^~\\&|A|B|||||ORU^R01|1|P|2.3\rPID|1||7||\xA3ucja\r";
    let sent = relayed(unnamed, set("8859/2"), &policy).expect("a message");
    assert_eq!(sent.bytes, b"MSH|^~\\&|A|B|||||ORU^R01|1|P|2.3||||||8859/2\rPID|1||7||\xA3ucja\r");
}

#[test]
fn what_depends_on_the_set_goes_with_it() {
    let raw = b"MSH|^~\\&|A|B|||||ORU^R01|1|P|2.5||||||8859/1~8859/2||ISO 2022-1994|x\rNTE|1||\\XFC\\ \\X0D\\ \\E\\XFC\\ \\C2D42\\\xA6wi\xB1tek\\F\\\r";
    let sent = relayed(raw, Charset::ISO_8859_1, &Outgoing::new(Charset::UTF_8)).expect("a message");
    let text = String::from_utf8(sent.bytes).expect("UTF-8");
    assert_eq!(
        text,
        "MSH|^~\\&|A|B|||||ORU^R01|1|P|2.5||||||UNICODE UTF-8|||x\rNTE|1||ü \\X0D\\ \\E\\XFC\\ Świątek\\F\\\r"
    );
    // Back again, with a letter spread over two escapes.
    let utf8 = "MSH|^~\\&|A|B|||||ORU^R01|1|P|2.5||||||UNICODE UTF-8\rNTE|1||\\XC3\\\\XBC0A\\ü\r";
    let sent = relayed(utf8.as_bytes(), Charset::UTF_8, &Outgoing::new(Charset::ISO_8859_1)).expect("a message");
    assert_eq!(sent.bytes, b"MSH|^~\\&|A|B|||||ORU^R01|1|P|2.5||||||8859/1\rNTE|1||\xFC\\X0A\\\xFC\r");
    // Even where the set is the receiver's, what leaves it is brought back into it.
    let mixed = b"MSH|^~\\&|A|B|||||ORU^R01|1|P|2.5||||||8859/1\rNTE|1||\\C2D42\\\xB1\xED\r";
    let policy = Outgoing { utf8: false, ..Outgoing::new(Charset::ISO_8859_1) };
    let sent = relayed(mixed, Charset::ISO_8859_1, &policy).expect("a message");
    assert!(sent.bytes.ends_with(b"NTE|1||a\xED\r"));
}

#[test]
fn what_the_sender_could_not_write_is_told() {
    let raw = b"MSH|^~\\&|A|B|||||ORU^R01|1|P|2.5||||||UNICODE UTF-8\rPID|1||7||M\xFCller\r";
    let policy = Outgoing { utf8: false, ..Outgoing::new(Charset::ISO_8859_1) };
    let sent = relayed(raw, Charset::UTF_8, &policy).expect("a message");
    assert!(sent.bytes.ends_with(b"PID|1||7||M U+FFFD ller\r"));
    assert!(sent.warnings[0].contains("could not be read") && sent.warnings.len() == 2);
    assert!(relayed(b"no message", Charset::UTF_8, &policy).is_err());
}

#[test]
fn no_spelling_changes_who_or_what_is_meant() {
    let text = "MSH|^~\\&|A|B|||||ORU^R01|Ł1|P|2.5\rPID|1||Ł12^^^Łódź||Łucja\rOBR|1|Ł/1|Ł/2|x^Łokieć\r";
    let policy = Outgoing { utf8: false, ..Outgoing::new(Charset::ISO_8859_1) };
    let sent = outgoing(text, &policy);
    let expected = "MSH|^~\\&|A|B|||||ORU^R01|U+0141 1|P|2.5||||||8859/1\r\
                    PID|1||U+0141 12^^^U+0141ód U+017A||Lucja\rOBR|1|U+0141/1|U+0141/2|x^Lokiec\r";
    assert_eq!(Charset::ISO_8859_1.decode(&sent.bytes).text, expected);
    assert!(sent.warnings[1].starts_with("an identifier has letters"));
}

/// `#` and `+` are separators here: no spelling may hold them.
#[test]
fn other_separators_stay_what_they_are() {
    let raw = "MSH#+~\\&#A#B#####ORU+R01#1#P#2.5######UNICODE UTF-8\rPID#1##7##Łucja 中 10±1\r";
    let policy = Outgoing { utf8: false, ..Outgoing::new(Charset::ASCII) };
    let sent = relayed(raw.as_bytes(), Charset::UTF_8, &policy).expect("a message");
    let text = String::from_utf8(sent.bytes).expect("ASCII");
    assert_eq!(text, "MSH#+~\\&#A#B#####ORU+R01#1#P#2.5######ASCII\rPID#1##7##Lucja U4E2D 10 U00B1 1\r");
}

/// Run with `--ignored --nocapture`, in release, for the figures.
#[test]
#[ignore = "a measurement"]
fn measure_large_messages() {
    let head = "MSH|^~\\&|A|B|||20260101||ORU^R01|1|P|2.5.1||||||UNICODE UTF-8\r";
    let lines = (0..400_000).map(|i| format!("OBX|{i}|TX|1^x||Zeile {i}: \\T\\ unauffällig, Łódź||||||F\r"));
    let text = format!("{head}{}", lines.collect::<String>());
    let document =
        format!("{head}OBX|1|ED|||^application^pdf^Base64^{}||||||F\rNTE|1||Łódź\r", "QUJD".repeat(12 << 20));
    for (what, message) in [("400k OBX", &text), ("a document", &document)] {
        for policy in policies(Charset::ISO_8859_1).into_iter().chain([Outgoing::default()]) {
            let started = std::time::Instant::now();
            let sent = relayed(message.as_bytes(), Charset::UTF_8, &policy).expect("a message");
            println!("{what}, {} bytes to {:?}: {:?}", message.len(), sent.charset, started.elapsed());
        }
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r".to_vec()),
        Just(b"\n".to_vec()),
        Just(b"PID|1||7^^^X~8||".to_vec()),
        Just(b"\\XE4\\".to_vec()),
        Just(b"\\C2D42\\".to_vec()),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    (
        prop::sample::select(vec!["", "8859/1", "UNICODE UTF-8", "8859/2~8859/1", "nonsense"]),
        prop::collection::vec(piece, 0..30),
    )
        .prop_map(|(named, pieces)| {
            [format!("MSH|^~\\&|A|B|||||ORU^R01|1|P|2.5||||||{named}\r").into_bytes(), pieces.concat()].concat()
        })
}

proptest! {
    #[test]
    fn a_text_that_fits_arrives_identical(letters in prop::collection::vec(any::<char>(), 0..60), name in prop::sample::select(SETS.to_vec())) {
        let charset = set(name);
        let text: String = letters.into_iter().filter(|c| charset.holds(*c) && !c.is_control() && !r"|^~\&".contains(*c)).collect();
        let text = format!("x{text}x");
        let sent = outgoing(&message(&text, ""), &Outgoing::new(charset));
        prop_assert_eq!((sent.charset, sent.warnings.len()), (charset, 0));
        prop_assert_eq!(read(&sent), text.clone());
        // And by way of UTF-8.
        let there = relayed(&sent.bytes, charset, &Outgoing::new(Charset::UTF_8)).expect("a message");
        prop_assert_eq!(read(&there), text);
        let back = relayed(&there.bytes, Charset::UTF_8, &Outgoing::new(charset)).expect("a message");
        prop_assert_eq!(back.bytes, sent.bytes);
    }

    /// A message taken apart line by line and put together again is the message, whatever is in it.
    #[test]
    fn rewriting_loses_no_byte(raw in bytes()) {
        let message = Message::parse(&raw).expect("a message");
        let lines = message.segments().enumerate().map(|(line, segment)| [segment.raw(), message.terminator(line)].concat());
        prop_assert_eq!(lines.collect::<Vec<_>>().concat(), raw.clone());
        let charset = Charset::of_message(&message, Charset::ISO_8859_1);
        if let Ok(charset) = charset && !crate::hl7::charset::switches(&raw, message.separators()) {
            let sent = relayed(&raw, charset, &Outgoing::new(charset)).expect("a message");
            let rest = |bytes: &[u8]| bytes.splitn(2, |b| *b == b'\r').nth(1).map(<[u8]>::to_vec);
            prop_assert_eq!(rest(&sent.bytes), rest(&raw));
            if says(&message, charset) {
                prop_assert_eq!(sent.bytes, raw);
            }
        }
    }

    #[test]
    fn any_message_can_be_passed_on(raw in bytes(), from in prop::sample::select(SETS.to_vec()), to in prop::sample::select(SETS.to_vec()), utf8: bool) {
        let policy = Outgoing { utf8, ..Outgoing::new(set(to)) };
        let sent = relayed(&raw, set(from), &policy).expect("a message");
        let message = Message::parse(&sent.bytes).expect("still a message");
        let charset = Charset::of_message(&message, Charset::ASCII).expect("named");
        prop_assert_eq!(charset, sent.charset);
        prop_assert!(!sent.charset.decode(&sent.bytes).lossy || set(from) == sent.charset);
        let _ = OruReport::parse(&message, charset, None);
    }
}
