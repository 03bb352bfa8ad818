//! What is sent on of a received order, to the byte.

use super::*;
use crate::hl7::order::OrderKind;

const TWO: &[u8] = b"MSH|^~\\&|KIS|DRKRAB|NEISSE|X|2026||ORM^O01|M1|P|2.3.1|7||AL|NE\r\
    PID|1|old|77||M\xFCller^J\xF6rg||19600101|M\r\
    PV1|1|I\r\
    ORC|NW|P1||G1\rOBR|1|P1||CT^CT Kopf||||||||||||||A1\rNTE|1||n\xFCchtern\rZDS|1.2.3\r\
    ORC|NW|P2^RIS|F2\rOBR|1|P2^RIS|F2|CT^CT Hals||||||||||||||A2\r\
    ZAA|local\r";

fn how<'a>(
    sequences: &'a [usize],
    control: Option<OrderControl>,
    named: &'a (dyn Fn(Identifier, &IssuedId) -> Option<IssuedId> + Sync),
) -> Forward<'a> {
    Forward {
        sending_application: "NEISSE",
        sending_facility: "neisse-1",
        receiving_application: "RIS",
        receiving_facility: "KLCHEM",
        control_id: "N1",
        at: "20261124231000+0100",
        sequences,
        control,
        issuer: "RABENSTEIN",
        named,
        own_domain: false,
    }
}

fn text(forwarded: &Forwarded) -> String {
    Charset::ISO_8859_1.decode(&forwarded.bytes).text.replace('\r', "\n")
}

#[test]
fn an_order_goes_on_with_its_issuers_and_all_that_came_with_it() {
    let sent = forward(TWO, Charset::ISO_8859_1, &how(&[1, 2], None, &|_, _| None)).unwrap();
    let expected = "MSH|^~\\&|NEISSE|neisse-1|RIS|KLCHEM|20261124231000+0100||ORM^O01|N1|P|2.3.1||||||8859/1\n\
        PID|1|old|77^^^RABENSTEIN||Müller^Jörg||19600101|M\nPV1|1|I\n\
        ORC|NW|P1^RABENSTEIN||G1\nOBR|1|P1^RABENSTEIN||CT^CT Kopf||||||||||||||A1\nNTE|1||nüchtern\nZDS|1.2.3\n\
        ORC|NW|P2^RIS|F2^RABENSTEIN\nOBR|1|P2^RIS|F2^RABENSTEIN|CT^CT Hals||||||||||||||A2\nZAA|local\n";
    // MSH-13 to MSH-16 were written and are emptied.
    assert_eq!(text(&sent), expected);
    assert_eq!(sent.what, "ORM^O01");
}

/// A name from the configuration is in no set but ours.
#[test]
fn names_beyond_ascii_take_the_whole_message_into_utf8() {
    let none = |_, _: &IssuedId| None;
    let how = Forward {
        issuer: "KREISKRANKENHAUS_M\u{dc}HLE",
        receiving_facility: "\u{141}\u{f3}d\u{17a}",
        ..how(&[1], None, &none)
    };
    let hidden = String::from_utf8_lossy(TWO).replace("CT Kopf", "Sch\\XE4\\del").into_bytes();
    let sent = forward(&hidden, Charset::ISO_8859_1, &how).unwrap();
    assert_eq!(sent.charset, Charset::UTF_8);
    let text = String::from_utf8(sent.bytes).expect("UTF-8");
    assert!(text.starts_with("MSH|^~\\&|NEISSE|neisse-1|RIS|Łódź|") && text.contains("|UNICODE UTF-8"), "{text}");
    assert!(text.contains("|77^^^KREISKRANKENHAUS_MÜHLE|") && text.contains("Schädel"), "{text}");
    let sent = forward(TWO, Charset::ISO_8859_1, &how).unwrap();
    assert!(String::from_utf8(sent.bytes).expect("UTF-8").contains("|Müller^Jörg|"));
}

#[test]
fn no_number_goes_on_without_its_issuer() {
    let several = String::from_utf8_lossy(TWO).replace("|old|77|", "|old|~77~12^^^GKV~78^^^&&~|");
    let sent = text(&forward(several.as_bytes(), Charset::UTF_8, &how(&[1], None, &|_, _| None)).unwrap());
    assert!(sent.contains("|old|~77^^^RABENSTEIN~12^^^GKV~78^^^RABENSTEIN~|"), "{sent}");
}

#[test]
fn what_stands_before_the_header_stays_here() {
    let marked = [b"\xEF\xBB\xBF\r\n".as_slice(), TWO].concat();
    let sent = text(&forward(&marked, Charset::ISO_8859_1, &how(&[1, 2], None, &|_, _| None)).unwrap());
    assert!(sent.starts_with("MSH|^~\\&|NEISSE|"), "{sent}");
}

#[test]
fn an_order_of_another_case_is_left_out() {
    let sent = text(&forward(TWO, Charset::ISO_8859_1, &how(&[2], Some(OrderControl::Cancel), &|_, _| None)).unwrap());
    assert!(!sent.contains("P1") && !sent.contains("nüchtern") && !sent.contains("1.2.3"), "{sent}");
    assert!(sent.contains("ORC|CA|P2^RIS") && sent.contains("ZAA|local") && sent.contains("PV1|1|I"), "{sent}");
}

/// Every field of two orders that holds a number of the hospital's: each is `H` and its place.
const NUMBERED: &[u8] = b"MSH|^~\\&|KIS|DRKRAB|NEISSE|X|2026||OML^O21|M1|P|2.5.1\r\
    PID|1|H-PID2|77^^^RABENSTEIN~H-GKV^^^GKV|H-PID4|Doe^J||19600101|M||||||||||H-PID18^^^KIS|H-PID19|H-PID20|H-PID21^^^KIS\r\
    NK1|1|Doe^M|MTH|||||||||H-NK112^^^KIS|||||||||||||||||||||H-NK133^^^KIS\r\
    PV1|1|I|INN^12||H-PV15^^^KIS||||||||||||||H-PV119^^^KIS|||||||||||||||||||||||||||||||H-PV150^^^KIS\r\
    IN1|1|PLAN|AOK|||||||H-IN110^^^KIS||||||||||||||||||||||||||H-IN136|||||||||||||H-IN149^^^GKV\r\
    IN2|H-IN21^^^KIS|H-IN22||||H-IN26\r\
    GT1|1|H-GT12^^^KIS|Doe^M|||||||||H-GT112\r\
    ORC|NW|P1^KIS|F1^RIS|H-ORC4^KIS||||H-ORC8^KIS\rTQ1|1||||||||S\rTQ2|1|S|H-TQ23^KIS|H-TQ24^RIS|H-TQ25^KIS\r\
    OBR|1|P1^KIS|F1^RIS|HE^H&E||||||||||||||A1|H-OBR19|H-OBR20||||PAT|||||H-OBR29^KIS\r\
    IPC|A1^KIS|H-IPC2^KIS|1.2.3|H-IPC4^KIS|CT\rZDS|1.2.3^H-ZDS^Application^DICOM\r\
    BLG|||H-BLG3^^^KIS\rSPM|1|S-4711&KIS|S-1&KIS|BX\rSAC|H-SAC1^KIS|H-SAC2^KIS|C-4711^KIS\r\
    ORC|NW|P2^KIS||H-ORC4^KIS\rOBR|2|P2^KIS||IHC^Ki67|||||||||||||||H-OBR19|H-OBR20\r";

/// What begins with `H-` in a message.
fn numbers_of_the_hospital(text: &str) -> Vec<&str> {
    text.split(['|', '^', '~', '\n']).filter(|part| part.starts_with("H-")).collect()
}

#[test]
fn a_receiver_with_numbers_of_its_own_sees_only_those() {
    let named = |which: Identifier, id: &IssuedId| {
        assert!(!id.issuer.is_empty(), "{which:?}");
        Some(IssuedId::new(format!("{which:?}-{}", id.value.len()), "CHEMNITZ"))
    };
    let own = |sequences| Forward { own_domain: true, ..how(sequences, None, &named) };
    let sent = text(&forward(TWO, Charset::ISO_8859_1, &own(&[1, 2])).unwrap());
    assert!(sent.contains("PID|1||Patient-2^^^CHEMNITZ||Müller"), "{sent}");
    assert!(sent.contains("ORC|NW|Placer-2^CHEMNITZ||\nOBR|1|Placer-2^CHEMNITZ|"), "{sent}");
    assert!(sent.contains("||||Accession-2\n"), "{sent}");
    for theirs in ["|77", "P1", "P2", "F2", "A1", "A2", "RABENSTEIN"] {
        assert!(!sent.contains(theirs), "{theirs}: {sent}");
    }
    let as_it_is = text(&forward(NUMBERED, Charset::ISO_8859_1, &how(&[1, 2], None, &|_, _| None)).unwrap());
    assert_eq!(numbers_of_the_hospital(&as_it_is).len(), 37, "each was there: {as_it_is}");
    for (sequences, orders) in [(&[1, 2][..], 2), (&[1], 1), (&[2], 1)] {
        let sent = text(&forward(NUMBERED, Charset::ISO_8859_1, &own(sequences)).unwrap());
        assert_eq!(numbers_of_the_hospital(&sent), Vec::<&str>::new(), "{sent}");
        assert_eq!(sent.matches("\nORC|NW|Placer-2^CHEMNITZ|").count(), orders, "{sent}");
        assert!(sent.contains("|Doe^J||19600101|M|") && sent.contains("\nPV1|1|I|INN^12|") && sent.contains("|AOK|"));
    }
    // What is on the tube, and what is the same everywhere, stays.
    let sent = text(&forward(NUMBERED, Charset::ISO_8859_1, &own(&[1, 2])).unwrap());
    for stays in ["SPM|1|S-4711&KIS|S-1&KIS|BX\n", "SAC|||C-4711^KIS\n", "ZDS|1.2.3^^Application^DICOM\n"] {
        assert!(sent.contains(stays), "{stays}: {sent}");
    }
    assert!(sent.contains("IPC|Accession-2^CHEMNITZ||1.2.3||CT\n"), "{sent}");
}

/// The patient's only number is the receiver's already: the rest is the hospital's all the same.
#[test]
fn numbers_are_left_out_though_none_is_named_anew() {
    let how = Forward { own_domain: true, ..how(&[1], None, &|_, _| None) };
    let sent = text(&forward(NUMBERED, Charset::ISO_8859_1, &how).unwrap());
    assert_eq!(numbers_of_the_hospital(&sent), ["H-GKV"], "which the caller has named nothing for: {sent}");
}

#[test]
fn every_identifier_is_found_with_its_issuer() {
    let found = identifiers(TWO, Charset::ISO_8859_1, "RABENSTEIN").unwrap();
    let expected = [
        (Identifier::Patient, "77", "RABENSTEIN"),
        (Identifier::Accession, "A1", "RABENSTEIN"),
        (Identifier::Placer, "P1", "RABENSTEIN"),
        (Identifier::Accession, "A2", "RABENSTEIN"),
        (Identifier::Placer, "P2", "RIS"),
        (Identifier::Filler, "F2", "RABENSTEIN"),
    ];
    assert_eq!(found, expected.map(|(which, value, issuer)| (which, IssuedId::new(value, issuer))));
}

const OML: &str = "MSH|^~\\&|KIS|DRKRAB|NEISSE|X|2026||OML^EVENT|M1|P|2.5.1\rPID|1||77^^^RABENSTEIN\r";

/// Which lines of `rest` go when these orders do, by their second field.
fn goes(event: &str, rest: &str, sequences: &[usize]) -> String {
    let message = OML.replace("EVENT", event) + rest;
    let sent = forward(message.as_bytes(), Charset::ISO_8859_1, &how(sequences, None, &|_, _| None)).unwrap();
    let lines = text(&sent);
    let named = lines.lines().skip(2).map(|line| line.split('|').take(3).collect::<Vec<_>>().join("|"));
    named.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_specimen_goes_with_its_orders_and_with_no_other() {
    let spm = |id: &str| format!("SPM|{id}|S{id}&KIS||BX\rOBX|{id}|TX\r");
    let sac = |id: &str| format!("SAC|{id}||C{id}^KIS\r");
    let orc = |id: &str| format!("ORC|NW|P{id}^KIS\rOBR|{id}|P{id}^KIS||HE\r");
    let (one, two) = ("SPM|1|S1&KIS OBX|1|TX", "ORC|NW|P2^KIS OBR|2|P2^KIS");
    let of_order = [orc("1"), spm("1"), sac("1"), orc("2"), spm("2")].concat();
    assert_eq!(goes("O21", &of_order, &[2]), format!("{two} SPM|2|S2&KIS OBX|2|TX"));
    let of_specimen = [spm("1"), sac("1"), orc("1"), orc("2"), spm("2"), orc("3")].concat();
    assert_eq!(goes("O33", &of_specimen, &[2]), format!("{one} SAC|1| {two}"));
    assert_eq!(goes("O33", &of_specimen, &[3]), "SPM|2|S2&KIS OBX|2|TX ORC|NW|P3^KIS OBR|3|P3^KIS");
    // Two specimens for one order.
    let of_both = [spm("1"), spm("2"), orc("2")].concat();
    assert_eq!(goes("O33", &of_both, &[1]), format!("{one} SPM|2|S2&KIS OBX|2|TX {two}"));
    let of_container = [spm("1"), sac("1"), orc("1"), sac("2"), orc("2"), spm("3"), sac("3"), orc("3")].concat();
    assert_eq!(goes("O35", &of_container, &[2]), format!("{one} SAC|2| {two}"));
}

#[test]
fn earlier_results_go_with_the_order_before_them() {
    let earlier = "ORC|PR|OLD^KIS\rOBR|9|OLD^KIS\rOBX|9|TX\r";
    let rest = ["ORC|NW|P1^KIS\rOBR|1|P1^KIS||HE\r", earlier, "ORC|NW|P2^KIS\rOBR|2|P2^KIS||HE\r"].concat();
    assert_eq!(goes("O21", &rest, &[3]), "ORC|NW|P2^KIS OBR|2|P2^KIS");
    let first = goes("O21", &rest, &[1]);
    assert_eq!(first, "ORC|NW|P1^KIS OBR|1|P1^KIS ORC|PR|OLD^KIS OBR|9|OLD^KIS OBX|9|TX");
}

/// A message of a MiB has a hundred thousand containers before its orders: they are held once, not once for each order.
#[test]
fn many_containers_of_many_orders_take_no_more_than_their_lines() {
    let (containers, orders) = (50_000, 200);
    let order = |number: usize| format!("ORC|NW|P{number}^KIS\rOBR|1|P{number}^KIS||HE\r");
    let rest =
        format!("SPM|1|S1&KIS||BX\r{}{}", "SAC\r".repeat(containers), (1..=orders).map(order).collect::<String>());
    let text = OML.replace("EVENT", "O35") + &rest;
    let message = Message::parse(text.as_bytes()).unwrap();
    let places = Places::of(&message, OrderKind::OmlOfContainer);
    let held = |group: &places::Group| group.lines.len() + group.orders.len();
    assert_eq!(places.specimens.iter().map(held).sum::<usize>(), 1 + containers + 2 * orders);
    let sent = goes("O35", &rest, &[200]);
    assert!(sent.starts_with("SPM|1|S1&KIS SAC") && sent.ends_with("ORC|NW|P200^KIS OBR|1|P200^KIS"));
    assert_eq!(sent.matches("SAC").count(), containers);
}
