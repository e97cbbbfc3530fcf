//! Headers of iSCSI as RFC 7143 draws them, both ways.

use reelfs::scsi::Status;
use reelfs::scsi::iscsi::chap;
use reelfs::scsi::iscsi::frame::Header;
use reelfs::scsi::iscsi::pdu::{
    Command, DataIn, DataOut, LoginRequest, LoginResponse, LogoutRequest, NO_TAG, NopIn, NopOut,
    ReadyToTransfer, Reject, Request, Residual, Response, ScsiResponse, Sequence, Stage, lun_field,
};

/// Four bytes a line, as the RFC draws them.
fn header(words: [u32; 12]) -> Header {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.try_into().expect("48 bytes")
}

const SEQUENCE: Sequence = Sequence { status_sn: 0x0a0b_0c0d, expected_command_sn: 5, max_command_sn: 69 };

#[test]
fn requests_are_laid_out_as_the_rfc_draws_them() {
    // 11.3: F W, simple; LUN 2; ITT; EDTL; CmdSN; ExpStatSN; CDB.
    let mut cdb = [0; 16];
    cdb[..6].copy_from_slice(&[0x0a, 0, 8, 0, 0, 0]);
    let command = Command {
        immediate: false,
        is_final: true,
        reads: false,
        writes: true,
        attribute: 1,
        lun: lun_field(2),
        task_tag: 7,
        expected_len_bytes: 524_288,
        command_sn: 3,
        expected_status_sn: 9,
        cdb,
    };
    let expected = header([0x01a1_0000, 0, 0x0002_0000, 0, 7, 524_288, 3, 9, 0x0a00_0800, 0, 0, 0]);
    assert_eq!(command.header(), expected);
    assert_eq!(Request::parse(&expected), Ok(Request::Command(command)));

    // 11.7: F; LUN, ITT, TTT, ExpStatSN, DataSN, offset.
    let data_out = DataOut {
        is_final: true,
        lun: lun_field(2),
        task_tag: 7,
        transfer_tag: 0x1234,
        expected_status_sn: 9,
        data_sn: 1,
        offset: 8192,
    };
    let expected = header([0x0580_0000, 0, 0x0002_0000, 0, 7, 0x1234, 0, 9, 0, 1, 8192, 0]);
    assert_eq!(data_out.header(), expected);
    assert_eq!(Request::parse(&expected), Ok(Request::DataOut(data_out)));
}

#[test]
fn requests_about_the_session_are_laid_out_as_the_rfc_draws_them() {
    // 11.12: I; T, CSG 1, NSG 3; versions 0; ISID, TSIH; ITT; CID; CmdSN; ExpStatSN.
    let login = LoginRequest {
        transit: true,
        continues: false,
        current: Stage::Operational,
        next: Stage::FullFeature,
        isid: [0x80, 1, 2, 3, 4, 5],
        tsih: 6,
        task_tag: 0,
        connection_id: 1,
        command_sn: 1,
        expected_status_sn: 2,
    };
    let expected = header([0x4387_0000, 0, 0x8001_0203, 0x0405_0006, 0, 0x0001_0000, 1, 2, 0, 0, 0, 0]);
    assert_eq!(login.header(), expected);
    assert_eq!(Request::parse(&expected), Ok(Request::Login(login)));

    // 11.18 and 11.14.
    let nop = NopOut {
        immediate: true,
        lun: lun_field(1),
        task_tag: NO_TAG,
        transfer_tag: 0x77,
        command_sn: 3,
        expected_status_sn: 9,
    };
    let expected = header([0x4080_0000, 0, 0x0001_0000, 0, NO_TAG, 0x77, 3, 9, 0, 0, 0, 0]);
    assert_eq!(nop.header(), expected);
    assert_eq!(Request::parse(&expected), Ok(Request::NopOut(nop)));
    let logout = LogoutRequest {
        immediate: true,
        reason: 0,
        task_tag: 8,
        connection_id: 1,
        command_sn: 3,
        expected_status_sn: 9,
    };
    let expected = header([0x4680_0000, 0, 0, 0, 8, 0x0001_0000, 3, 9, 0, 0, 0, 0]);
    assert_eq!(logout.header(), expected);
    assert_eq!(Request::parse(&expected), Ok(Request::Logout(logout)));
}

#[test]
fn responses_are_laid_out_as_the_rfc_draws_them() {
    // 11.4: 1, U; response, status; ITT; StatSN, ExpCmdSN, MaxCmdSN; ExpDataSN; bidirectional; residual.
    let response = ScsiResponse {
        response: 0,
        status: Status::CheckCondition,
        task_tag: 7,
        sequence: SEQUENCE,
        expected_data_sn: 2,
        residual: Residual::Underflow(100),
    };
    let expected = header([0x2182_0002, 0, 0, 0, 7, 0, 0x0a0b_0c0d, 5, 69, 2, 0, 100]);
    assert_eq!(response.header(), expected);
    assert_eq!(Response::parse(&expected), Ok(Response::Scsi(response)));

    // 11.7: F, O, S; status; LUN; ITT; TTT; numbers; DataSN; offset; residual.
    let data_in = DataIn {
        is_final: true,
        acknowledge: false,
        status: Some(Status::Good),
        lun: 0,
        task_tag: 7,
        transfer_tag: NO_TAG,
        sequence: SEQUENCE,
        data_sn: 3,
        offset: 65_536,
        residual: Residual::Overflow(12),
    };
    let expected = header([0x2585_0000, 0, 0, 0, 7, NO_TAG, 0x0a0b_0c0d, 5, 69, 3, 65_536, 12]);
    assert_eq!(data_in.header(), expected);
    assert_eq!(Response::parse(&expected), Ok(Response::DataIn(data_in)));

    // 11.8: 1; LUN; ITT; TTT; numbers; R2TSN; offset; length.
    let ready = ReadyToTransfer {
        lun: lun_field(300),
        task_tag: 7,
        transfer_tag: 1,
        sequence: SEQUENCE,
        ready_sn: 0,
        offset: 262_144,
        len_bytes: 262_144,
    };
    let expected = header([0x3180_0000, 0, 0x412c_0000, 0, 7, 1, 0x0a0b_0c0d, 5, 69, 0, 262_144, 262_144]);
    assert_eq!(ready.header(), expected);
    assert_eq!(Response::parse(&expected), Ok(Response::ReadyToTransfer(ready)));
}

#[test]
fn responses_about_the_session_are_laid_out_as_the_rfc_draws_them() {
    // 11.13: T, CSG 0, NSG 1; versions; ISID, TSIH; ITT; numbers; status.
    let login = LoginResponse {
        transit: true,
        continues: false,
        current: Stage::Security,
        next: Stage::Operational,
        isid: [0x80, 1, 2, 3, 4, 5],
        tsih: 6,
        task_tag: 0,
        sequence: SEQUENCE,
        status_class: 2,
        status_detail: 1,
    };
    let expected =
        header([0x2381_0000, 0, 0x8001_0203, 0x0405_0006, 0, 0, 0x0a0b_0c0d, 5, 69, 0x0201_0000, 0, 0]);
    assert_eq!(login.header(), expected);
    assert_eq!(Response::parse(&expected), Ok(Response::Login(login)));

    // 11.19 and 11.17.
    let nop = NopIn { lun: 0, task_tag: NO_TAG, transfer_tag: 5, sequence: SEQUENCE };
    let expected = header([0x2080_0000, 0, 0, 0, NO_TAG, 5, 0x0a0b_0c0d, 5, 69, 0, 0, 0]);
    assert_eq!(nop.header(), expected);
    assert_eq!(Response::parse(&expected), Ok(Response::NopIn(nop)));
    let reject = Reject { reason: 4, sequence: SEQUENCE };
    let expected = header([0x3f80_0400, 0, 0, 0, NO_TAG, 0, 0x0a0b_0c0d, 5, 69, 0, 0, 0]);
    assert_eq!(reject.header(), expected);
    assert_eq!(Response::parse(&expected), Ok(Response::Reject(reject)));
}

#[test]
fn a_chap_response_is_the_md5_of_identifier_secret_and_challenge() {
    // RFC 1994, 4.1: MD5 over the three; RFC 1321, A.5: MD5 of "message digest".
    let expected =
        [0xf9, 0x6b, 0x69, 0x7d, 0x7c, 0xb7, 0x93, 0x8d, 0x52, 0x5a, 0x2f, 0x31, 0xaa, 0xf1, 0x61, 0xd0];
    let found = chap::response(b'm', b"essage ", b"digest");
    assert_eq!(found, expected);
    assert!(chap::is_equal(&expected, &found));
    assert!(!chap::is_equal(&expected, &found[..15]));
    assert!(!chap::is_equal(&expected, &chap::response(b'M', b"essage ", b"digest")));
}
