//! Reading and sending on news of patients.

use super::*;
use crate::hl7::{charset::Charset, message::Message};

const MERGE: &[u8] = b"MSH|^~\\&|KIS|DRKRAB|N|N|2026||ADT^A40^ADT_A39|M1|P|2.5|||AL\rEVN||2026\r\
    PID|1||77^^^RABENSTEIN||M\xFCller^J\xF6rg||19600101|M\rMRG|78\rZPD|kept\r";

fn read(bytes: &[u8]) -> Result<PatientNews, String> {
    let message = Message::parse(bytes).unwrap();
    PatientNews::parse(&message, Charset::ISO_8859_1).map_err(|problem| problem.to_string())
}

#[test]
fn a_merge_names_what_goes_and_what_stays() {
    let news = read(MERGE).unwrap();
    assert_eq!(news.news, News::Merged);
    assert_eq!(news.patient_ids, [IssuedId::new("77", "RABENSTEIN")]);
    assert_eq!(news.merged_ids, [IssuedId::new("78", "")]);
    assert_eq!((news.patient_name.as_str(), news.birth_date.as_str()), ("Müller^Jörg", "19600101"));
}

#[test]
fn what_it_cannot_do_without_is_named() {
    let text = String::from_utf8_lossy(MERGE).into_owned();
    for (changed, place) in [
        (text.replace("MRG|78\r", ""), "MRG"),
        (text.replace("MRG|78", "MRG|"), "MRG"),
        (text.replace("77^^^RABENSTEIN", ""), "PID"),
        (text.replace("A40", "A01"), "MSH"),
        (text.replace("|M1|", "||"), "MSH"),
        (text.replace("MRG|78", "MRG|78\rMRG|79"), "MRG"),
        // Half a number is another patient's.
        (text.replace("MRG|78", "MRG|7\r8"), "MRG"),
        (text.replace("77^^^RABENSTEIN", "7\r7^^^RABENSTEIN"), "PID"),
    ] {
        let refused = read(changed.as_bytes()).unwrap_err();
        assert!(refused.contains(place), "{refused}");
    }
}

#[test]
fn it_goes_on_in_the_receiver_s_numbers_and_otherwise_as_it_came() {
    let how = |named| AdtForward {
        sending_application: "NEISSE",
        sending_facility: "node",
        receiving_application: "RIS",
        receiving_facility: "KLCHEM",
        at: "20261124",
        control_id: "N1",
        issuer: "RABENSTEIN",
        named,
        own_domain: false,
    };
    let (bytes, charset, what) = forward(MERGE, Charset::ISO_8859_1, &how(&|_| None)).unwrap();
    let text = charset.decode(&bytes).text;
    assert_eq!(what, "ADT^A40");
    assert!(text.contains("PID|1||77^^^RABENSTEIN||Müller^Jörg") && text.contains("MRG|78^^^RABENSTEIN\r"), "{text}");
    assert!(
        text.contains("ZPD|kept\r") && text.starts_with("MSH|^~\\&|NEISSE|node|RIS|KLCHEM|20261124||ADT"),
        "{text}"
    );
    let several = String::from_utf8_lossy(MERGE).replace("MRG|78", "MRG|~78~79^^^GKV");
    let several = [b"\xEF\xBB\xBF".as_slice(), several.as_bytes()].concat();
    let text = charset.decode(&forward(&several, Charset::ISO_8859_1, &how(&|_| None)).unwrap().0).text;
    assert!(text.starts_with("MSH|") && text.contains("MRG|~78^^^RABENSTEIN~79^^^GKV\r"), "{text}");
    let named = |id: &IssuedId| Some(IssuedId::new(format!("C{}", id.value), "CHEMNITZ"));
    let own = AdtForward { own_domain: true, ..how(&named) };
    let numbered = String::from_utf8_lossy(MERGE)
        .replace("|19600101|M", "|19600101|M||||||||||H18|H19|H20|H21\rPV1|1|I|INN||||||||||||||||H19^^^KIS")
        .replace("MRG|78", "MRG|78|H2|H3|H4|H5|H6");
    let (bytes, ..) = forward(numbered.as_bytes(), Charset::UTF_8, &own).unwrap();
    let text = charset.decode(&bytes).text;
    assert!(text.contains("PID|1||C77^^^CHEMNITZ|") && text.contains("MRG|C78^^^CHEMNITZ||"), "{text}");
    assert!(!text.contains("|H") && text.contains("PV1|1|I|INN|"), "{text}");
}

#[test]
fn an_issuer_beyond_ascii_takes_the_whole_message_into_utf8() {
    let how = AdtForward {
        sending_application: "NEISSE",
        sending_facility: "node",
        receiving_application: "RIS",
        receiving_facility: "KLCHEM",
        at: "20261124",
        control_id: "N1",
        issuer: "M\u{dc}HLE",
        named: &|_| None,
        own_domain: false,
    };
    let (bytes, charset, _) = forward(MERGE, Charset::ISO_8859_1, &how).unwrap();
    assert_eq!(charset, Charset::UTF_8);
    let text = String::from_utf8(bytes).expect("UTF-8");
    assert!(text.contains("Müller^Jörg") && text.contains("MRG|78^^^MÜHLE\r") && text.contains("UTF-8"), "{text}");
}
