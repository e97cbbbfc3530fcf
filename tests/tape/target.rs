//! An iSCSI target that does what it should not: the initiator gives up with an error, soon, and for good.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use reelfs::scsi::iscsi::frame::{self, Digests, Frame};
use reelfs::scsi::iscsi::pdu::{
    AsyncMessage, DataIn, LoginResponse, NO_TAG, NopIn, ReadyToTransfer, Reject, Request, Residual,
    ScsiResponse, Sequence, Stage, TextResponse,
};
use reelfs::scsi::iscsi::{Address, DiscoveryError, Initiator, LoginError, discover};
use reelfs::scsi::{Data, Outcome, Status, Transport, TransportError};

use crate::conformance::settings;

const NO_DIGESTS: Digests = Digests { header: false, data: false };
const LIMIT: Duration = Duration::from_secs(2);

/// A target that logs in whoever comes, and then does what the test says with the first command or question.
fn serve(answer: impl FnOnce(&mut TcpStream, u32, Sequence) + Send + 'static) -> (Address, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let place = listener.local_addr().expect("an address");
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let mut frame = Frame::default();
        let mut status_sn = 1;
        loop {
            if frame.read(&mut stream, NO_DIGESTS, 1 << 20).is_err() {
                return;
            }
            let sequence = Sequence { status_sn, expected_command_sn: 1, max_command_sn: 64 };
            match Request::parse(&frame.header).expect("a request") {
                Request::Login(request) => {
                    let response = LoginResponse {
                        transit: true,
                        continues: false,
                        current: request.current,
                        next: if request.current == Stage::Security {
                            Stage::Operational
                        } else {
                            Stage::FullFeature
                        },
                        isid: request.isid,
                        tsih: 1,
                        task_tag: request.task_tag,
                        sequence,
                        status_class: 0,
                        status_detail: 0,
                    };
                    status_sn += 1;
                    frame::write(&mut stream, &response.header(), &[], NO_DIGESTS).expect("an answer");
                }
                Request::Command(command) => {
                    answer(&mut stream, command.task_tag, sequence);
                    break;
                }
                Request::Text(text) => {
                    answer(&mut stream, text.task_tag, sequence);
                    break;
                }
                _ => {}
            }
        }
        // Until the initiator closes: what it says meanwhile is of no interest.
        let mut rest = [0; 4096];
        while stream.read(&mut rest).is_ok_and(|count| count > 0) {}
    });
    (format!("iscsi://{place}/iqn.2026-11.invalid.reelfs:test/0").parse().expect("an address"), serving)
}

fn send(stream: &mut TcpStream, header: &frame::Header, data: &[u8]) {
    frame::write(stream, header, data, NO_DIGESTS).expect("an answer");
}

/// One command with room for 16 bytes, against such a target; the session must be over if it failed.
fn command(
    answer: impl FnOnce(&mut TcpStream, u32, Sequence) + Send + 'static,
) -> Result<Outcome, TransportError> {
    let (address, serving) = serve(answer);
    let mut initiator = Initiator::connect(&address, &settings()).expect("a session");
    let begun = Instant::now();
    let mut buffer = [0; 16];
    let result = initiator.execute(&[0x12, 0, 0, 0, 16, 0], Data::In(&mut buffer), LIMIT);
    assert!(begun.elapsed() < LIMIT * 3, "gives up in time");
    if result.is_err() {
        let again = initiator.execute(&[0; 6], Data::None, LIMIT).expect_err("over for good");
        assert!(matches!(again, TransportError::ConnectionLost { .. }), "{again}");
    }
    drop(initiator);
    serving.join().expect("the target");
    result
}

fn data_in(task_tag: u32, sequence: Sequence, offset: u32) -> DataIn {
    DataIn {
        is_final: true,
        acknowledge: false,
        status: Some(Status::Good),
        lun: 0,
        task_tag,
        transfer_tag: NO_TAG,
        sequence,
        data_sn: 0,
        offset,
        residual: Residual::None,
    }
}

fn response(task_tag: u32, sequence: Sequence) -> ScsiResponse {
    ScsiResponse {
        response: 0,
        status: Status::CheckCondition,
        task_tag,
        sequence,
        expected_data_sn: 0,
        residual: Residual::None,
    }
}

#[test]
fn pings_and_messages_in_between_do_no_harm() {
    let outcome = command(|stream, tag, sequence| {
        let ping = NopIn { lun: 0, task_tag: NO_TAG, transfer_tag: 9, sequence };
        send(stream, &ping.header(), b"ping");
        let message =
            AsyncMessage { event: 0, lun: 0, sequence, parameter_1: 0, parameter_2: 0, parameter_3: 0 };
        send(stream, &message.header(), &[0; 20]);
        // In two pieces, the second one first.
        let first = DataIn { is_final: false, status: None, ..data_in(tag, sequence, 8) };
        send(stream, &first.header(), b"behind..");
        send(stream, &data_in(tag, sequence, 0).header(), b"before..");
    });
    let outcome = outcome.expect("an outcome");
    assert_eq!((outcome.status, outcome.transferred_bytes), (Status::Good, 16));
}

#[test]
fn a_target_that_is_silent_is_a_timeout() {
    let result = command(|_, _, _| {});
    assert!(matches!(result, Err(TransportError::Timeout { .. })), "{result:?}");
    // One byte now and then is no answer either.
    let result = command(|stream, _, _| {
        for _ in 0..8 {
            if stream.write_all(&[0x25]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(400));
        }
    });
    assert!(matches!(result, Err(TransportError::Timeout { .. })), "{result:?}");
}

#[test]
fn data_that_nobody_asked_for_is_refused() {
    type Answer = fn(&mut TcpStream, u32, Sequence);
    let answers: [(&str, Answer); 9] = [
        ("beyond the end", |stream, tag, sequence| {
            send(stream, &data_in(tag, sequence, 12).header(), b"too long");
        }),
        ("far beyond the end", |stream, tag, sequence| {
            send(stream, &data_in(tag, sequence, u32::MAX).header(), b"far away");
        }),
        ("for another command", |stream, tag, sequence| {
            send(stream, &data_in(tag + 1, sequence, 0).header(), b"whose?");
        }),
        ("asked of us", |stream, tag, sequence| {
            let ready = ReadyToTransfer {
                lun: 0,
                task_tag: tag,
                transfer_tag: 1,
                sequence,
                ready_sn: 0,
                offset: 0,
                len_bytes: u32::MAX,
            };
            send(stream, &ready.header(), &[]);
        }),
        ("a login", |stream, _, sequence| {
            let login = LoginResponse {
                transit: false,
                continues: false,
                current: Stage::Security,
                next: Stage::Security,
                isid: [0; 6],
                tsih: 1,
                task_tag: 0,
                sequence,
                status_class: 0,
                status_detail: 0,
            };
            send(stream, &login.header(), &[]);
        }),
        ("a reject", |stream, _, sequence| send(stream, &Reject { reason: 4, sequence }.header(), &[0; 48])),
        ("a failure", |stream, tag, sequence| {
            send(stream, &ScsiResponse { response: 1, ..response(tag, sequence) }.header(), &[]);
        }),
        ("a segment without end", |stream, _, _| {
            let mut header = [0; 48];
            (header[0], header[5], header[6], header[7]) = (0x25, 0xff, 0xff, 0xff);
            stream.write_all(&header).expect("sent");
        }),
        ("an end of the session", |stream, _, sequence| {
            let message =
                AsyncMessage { event: 3, lun: 0, sequence, parameter_1: 0, parameter_2: 0, parameter_3: 0 };
            send(stream, &message.header(), &[]);
        }),
    ];
    for (name, answer) in answers {
        let result = command(answer);
        assert!(matches!(result, Err(TransportError::ConnectionLost { .. })), "{name}: {result:?}");
    }
}

#[test]
fn sense_data_whose_length_lies_is_cut() {
    for (data, expected) in [
        (vec![], 0),
        (vec![0], 0),
        (vec![0, 18], 0),
        (vec![0xff, 0xff, 0x70, 0, 6], 3),
        ([vec![0x01, 0x00], vec![0x70; 256]].concat(), 252),
        ([vec![0x00, 0x12], vec![0x70; 40]].concat(), 18),
    ] {
        let len = data.len();
        let outcome = command(move |stream, tag, sequence| {
            send(stream, &response(tag, sequence).header(), &data);
        });
        assert_eq!(outcome.expect("an outcome").sense.len(), expected, "{len} bytes");
    }
}

#[test]
fn a_login_that_does_not_end_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let place = listener.local_addr().expect("an address");
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut frame = Frame::default();
        // Never goes on to the next stage.
        while frame.read(&mut stream, NO_DIGESTS, 1 << 20).is_ok() {
            let response = LoginResponse {
                transit: false,
                continues: false,
                current: Stage::Security,
                next: Stage::Security,
                isid: [0; 6],
                tsih: 1,
                task_tag: 0,
                sequence: Sequence::default(),
                status_class: 0,
                status_detail: 0,
            };
            if frame::write(&mut stream, &response.header(), &[], NO_DIGESTS).is_err() {
                return;
            }
        }
    });
    let address = format!("iscsi://{place}/iqn.2026-11.invalid.reelfs:test/0").parse().expect("an address");
    let refused = Initiator::connect(&address, &settings()).expect_err("no session");
    assert!(matches!(refused, LoginError::Protocol { .. }), "{refused}");
    serving.join().expect("the target");
}

/// Asks such a host for its targets.
fn targets(
    answer: impl FnOnce(&mut TcpStream, u32, Sequence) + Send + 'static,
) -> Result<Vec<String>, DiscoveryError> {
    let (address, serving) = serve(answer);
    let result = discover(&address.portal, &settings());
    serving.join().expect("the target");
    result
}

fn text(task_tag: u32, sequence: Sequence, is_final: bool) -> TextResponse {
    let transfer_tag = if is_final { NO_TAG } else { 5 };
    TextResponse { is_final, continues: !is_final, lun: 0, task_tag, transfer_tag, sequence }
}

#[test]
fn a_list_of_targets_may_come_in_pieces() {
    let found = targets(|stream, tag, sequence| {
        send(stream, &text(tag, sequence, false).header(), b"TargetName=iqn.2026-11.a:1\0TargetAddr");
        let mut frame = Frame::default();
        frame.read(stream, NO_DIGESTS, 1 << 20).expect("the next question");
        let asked = Request::parse(&frame.header).expect("a request");
        assert!(matches!(asked, Request::Text(text) if text.transfer_tag == 5 && text.command_sn == 2));
        assert!(frame.data.is_empty());
        let rest = b"ess=[::1]:3260,1\0TargetName=../evil\0TargetName=iqn.2026-11.b:2\0";
        let sequence = Sequence { status_sn: sequence.status_sn + 1, ..sequence };
        send(stream, &text(tag, sequence, true).header(), rest);
    });
    assert_eq!(found.expect("a list"), ["iqn.2026-11.a:1", "iqn.2026-11.b:2"]);
    assert!(
        targets(|stream, tag, sequence| send(stream, &text(tag, sequence, true).header(), &[]))
            .expect("an empty list")
            .is_empty()
    );
}

#[test]
fn a_list_of_targets_that_is_none_is_given_up() {
    let malformed = targets(|stream, tag, sequence| {
        send(stream, &text(tag, sequence, true).header(), b"TargetName");
    });
    assert!(matches!(malformed, Err(DiscoveryError::Text { .. })), "{malformed:?}");
    let other = targets(|stream, tag, sequence| {
        send(stream, &response(tag, sequence).header(), &[]);
    });
    assert!(matches!(other, Err(DiscoveryError::Protocol { .. })), "{other:?}");
    let endless = targets(|stream, tag, sequence| {
        let mut frame = Frame::default();
        for _ in 0..100 {
            let piece = frame::write(stream, &text(tag, sequence, false).header(), b"X=", NO_DIGESTS);
            if piece.is_err() || frame.read(stream, NO_DIGESTS, 1 << 20).is_err() {
                break;
            }
        }
    });
    assert!(matches!(endless, Err(DiscoveryError::Protocol { .. })), "{endless:?}");
}
