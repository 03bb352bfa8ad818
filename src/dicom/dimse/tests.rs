//! Command sets as PS3.7 has them, and damaged ones.

use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_damaged_command_is_read_or_refused(at in any::<prop::sample::Index>(), to in any::<u8>(), more in any::<Vec<u8>>()) {
        let (sop_class, sop_instance) = ("1.2.840.10008.5.1.4.1.1.2".into(), "1.2.3".into());
        let mut bytes = Command::StoreRq { message_id: 7, sop_class, sop_instance, priority: 1, originator: None }.encode();
        let at = at.index(bytes.len());
        bytes[at] = to;
        fuzz_command(&bytes);
        bytes.extend(&more);
        fuzz_command(&bytes);
        fuzz_command(&more);
    }
}

#[test]
fn commands_survive_the_wire() {
    for command in [
        Command::EchoRq { message_id: 7 },
        Command::EchoRsp { message_id: 7, status: 0 },
        Command::StoreRq {
            message_id: 65535,
            sop_class: "1.2.840.10008.5.1.4.1.1.2".into(),
            sop_instance: "1.2.3".into(),
            priority: 1,
            originator: Some(Originator { ae_title: "VIEWER".into(), message_id: 4 }),
        },
        Command::StoreRsp {
            message_id: 1,
            sop_class: "1.2".into(),
            sop_instance: "1.2.3".into(),
            status: 0xA700,
            comment: Some("disk below its reserve".into()),
        },
        Command::CancelRq { message_id: 3 },
        Command::Other { field: 0x0060, message_id: 5, sop_class: "1.2".into(), has_data_set: true },
    ] {
        assert_eq!(Command::parse(&command.encode()).expect("parsed"), command);
    }
}

const SERVICES: [Service; 9] = [
    Service::Find,
    Service::Get,
    Service::Move,
    Service::EventReport,
    Service::NGet,
    Service::Set,
    Service::Action,
    Service::Create,
    Service::Delete,
];

#[test]
fn requests_and_responses_of_every_service_survive_the_wire() {
    for service in SERVICES {
        let mut request = Request::new(service, "1.2.840.10008.5.1.4.34.6.1", "1.2.3.4");
        request.message_id = 9;
        request.has_data_set = true;
        match service {
            Service::Move => request.move_destination = "VIEWER".into(),
            Service::Action | Service::EventReport => request.type_id = Some(3),
            Service::NGet => request.attributes = vec![Tag(0x0074, 0x1000), Tag(0x0010, 0x0010)],
            _ => {}
        }
        let command = Command::Request(request.clone());
        assert_eq!(Command::parse(&command.encode()).expect("parsed"), command);
        let mut response = request.answer(0xB000);
        response.comment = Some("some instances could not be sent".into());
        response.element = Some(Tag(0x0008, 0x0052));
        response.error_id = Some(0xA710);
        response.counts = Some(Counts { remaining: Some(4), completed: 3, failed: 2, warning: 1 });
        response.has_data_set = true;
        let command = Command::Response(response);
        assert_eq!(Command::parse(&command.encode()).expect("parsed"), command);
        assert!(!service.as_str().is_empty());
    }
}

/// PS3.7 Tables 9.3-4 and 10.3-5: what is asked for is Requested, what is answered Affected.
#[test]
fn uids_are_requested_or_affected_as_the_service_has_it() {
    let mut request = Request::new(Service::Action, "1.2", "1.2.3");
    request.type_id = Some(1);
    let bytes = Command::Request(request.clone()).encode();
    assert!(bytes.windows(4).any(|at| at == [0, 0, 3, 0]) && bytes.windows(4).any(|at| at == [0, 0, 0x01, 0x10]));
    let answer = Command::Response(request.answer(0)).encode();
    assert!(answer.windows(4).any(|at| at == [0, 0, 2, 0]) && answer.windows(4).any(|at| at == [0, 0, 0x00, 0x10]));
}

/// What a fuzzer found: it took dicom-object to 4 GiB.
#[test]
fn a_number_of_one_byte_does_not_shift_what_follows_it() {
    let bytes = b"\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\
        \x00\x00\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00}\x00\x00\xfb\xff\xff\xff\x00\x00\x00\x00\x00\
        \x00\x00\x00\x00\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00WWWWWWWWWWWWWWWWWWWWWWWWWWWW\
        WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW\x00\x00\x00\x00\x01\x00\x00\x00\x00";
    for end in 0..=bytes.len() {
        fuzz_command(&bytes[..end]);
    }
}

/// Byte for byte what PS3.7 9.3.1 and PS3.5 A.1 ask for.
#[test]
fn a_response_is_written_as_the_standard_says() {
    let echo = Command::EchoRsp { message_id: 7, status: 0 }.encode();
    let expected: [&[u8]; 6] = [
        &[0, 0, 0, 0, 4, 0, 0, 0, 66, 0, 0, 0],
        b"\0\0\x02\0\x12\0\0\x001.2.840.10008.1.1\0",
        &[0, 0, 0x00, 0x01, 2, 0, 0, 0, 0x30, 0x80],
        &[0, 0, 0x20, 0x01, 2, 0, 0, 0, 7, 0],
        &[0, 0, 0x00, 0x08, 2, 0, 0, 0, 0x01, 0x01],
        &[0, 0, 0x00, 0x09, 2, 0, 0, 0, 0, 0],
    ];
    assert_eq!(echo, expected.concat());
}

#[test]
fn lying_lengths_and_foreign_groups_never_reach_the_parser() {
    let mut bytes = Command::EchoRq { message_id: 7 }.encode();
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Command::parse(&bytes).is_err());
    assert!(Command::parse(&[0x10, 0, 0x10, 0, 0, 0, 0, 0]).is_err());
    assert!(Command::parse(&[0; 7]).is_err());
    assert!(Command::parse(&vec![0; MAX_COMMAND_BYTES + 1]).is_err());
}
