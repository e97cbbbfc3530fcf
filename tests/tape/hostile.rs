//! Replies that no honest device gives (S21): cut short anywhere, any byte replaced, lengths that lie. Nothing may
//! panic, run for long, or hold more than was sent.

use reelfs::scsi::iscsi::frame::{Digests, Frame, FrameError};
use reelfs::scsi::iscsi::text::{Keys, decode_binary, encode_binary};
use reelfs::scsi::mam::parse_attributes;
use reelfs::scsi::{ElementReport, Sense, parse_supported_commands};

/// Everything that decodes a reply.
fn decode_all(bytes: &[u8]) {
    for (_, check) in super::scsi_checks::ALL {
        check(bytes);
    }
}

fn all_replies() -> Vec<Vec<u8>> {
    super::golden::lines("replies.txt").into_values().collect()
}

#[test]
fn a_reply_may_end_anywhere() {
    for reply in all_replies() {
        for len in 0..=reply.len() {
            decode_all(&reply[..len]);
        }
    }
}

#[test]
fn any_byte_of_a_reply_may_be_another() {
    for reply in all_replies() {
        let mut bytes = reply.clone();
        for index in 0..reply.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff, reply[index] ^ 0x10, reply[index].wrapping_add(1)] {
                bytes[index] = value;
                decode_all(&bytes);
            }
            bytes[index] = reply[index];
        }
    }
}

#[test]
fn a_reply_of_one_byte_throughout_does_no_harm() {
    for value in 0..=255 {
        for len in [0, 1, 3, 7, 8, 18, 47, 48, 252, 4096] {
            decode_all(&vec![value; len]);
        }
    }
}

#[test]
fn descriptors_of_length_zero_come_to_an_end() {
    // An element page whose descriptors have no length, attributes and parameters of no bytes, without end.
    let mut elements = vec![0, 0, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 2, 0x80, 0, 0, 0, 0xff, 0xff, 0xf0];
    elements.resize(1 << 20, 0);
    ElementReport::parse(&elements).expect_err("descriptors of no length");
    let pages = [vec![0, 0, 0, 0, 0, 0xff, 0xff, 0xff], [2, 0, 0, 16, 0, 0, 0, 0].repeat(100_000)].concat();
    assert!(ElementReport::parse(&pages).expect("empty pages").elements.is_empty());
    let mut attributes = vec![0xff; 4];
    attributes.resize(1 << 20, 0);
    assert!(parse_attributes(&attributes).expect("attributes").len() <= 4096);
    let mut codes = vec![0xff; 4];
    codes.resize(1 << 20, 0);
    assert!(parse_supported_commands(&codes).expect("operation codes").len() <= 4096);
    let mut slots = vec![0, 0, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 2, 0, 0, 12, 0, 0xff, 0xff, 0xf0];
    slots.resize(1 << 23, 0);
    assert!(ElementReport::parse(&slots).expect("slots").elements.len() <= 65_536);
}

#[test]
fn sense_data_of_no_known_format_is_none() {
    for response_code in (0..=0x7f).filter(|code| !(0x70..=0x73).contains(code)) {
        assert_eq!(Sense::parse(&[response_code; 18]), None, "{response_code:02x}");
    }
    assert_eq!(Sense::parse(&[]), None);
}

#[test]
fn a_frame_is_no_longer_than_was_agreed_on() {
    let mut bytes = vec![0; 48];
    (bytes[4], bytes[5], bytes[6], bytes[7]) = (0, 0xff, 0xff, 0xff);
    let refused = Frame::default().read(&mut bytes.as_slice(), Digests::default(), 8192);
    assert!(matches!(refused, Err(FrameError::TooLong { len_bytes: 0xff_ffff, .. })), "{refused:?}");
    bytes[5..8].copy_from_slice(&[0, 0x20, 0]);
    bytes.resize(48 + 100, 0);
    let refused = Frame::default().read(&mut bytes.as_slice(), Digests::default(), 8192);
    assert!(matches!(refused, Err(FrameError::Stream(_))), "{refused:?}");
    let refused = Frame::default().read(&mut [].as_slice(), Digests::default(), 8192);
    assert!(matches!(refused, Err(FrameError::Closed)), "{refused:?}");
}

#[test]
fn a_flipped_bit_is_found_by_the_digests() {
    let digests = Digests { header: true, data: true };
    let mut bytes = Vec::new();
    let mut header = [0; 48];
    header[0] = 0x05;
    reelfs::scsi::iscsi::frame::write(&mut bytes, &header, b"twelve bytes", digests).expect("written");
    let mut frame = Frame::default();
    frame.read(&mut bytes.as_slice(), digests, 8192).expect("read");
    assert_eq!(frame.data, b"twelve bytes");
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1 << bit;
            let result = Frame::default().read(&mut flipped.as_slice(), digests, 8192);
            assert!(result.is_err(), "bit {bit} of byte {index}");
        }
    }
}

#[test]
fn text_is_bounded_and_binary_comes_back() {
    Keys::parse(b"NoValue\0").expect_err("no value");
    Keys::parse(b"=value\0").expect_err("no key");
    Keys::parse(b"Key=\xff\0").expect_err("no text");
    Keys::parse(&[b"A=1\0".as_slice(); 300].concat()).expect_err("too many keys");
    Keys::parse(&vec![b'a'; 1 << 20]).expect_err("too much text");
    let keys = Keys::parse(b"HeaderDigest=CRC32C\0MaxBurstLength=0x10000\0InitialR2T=Yes\0").expect("keys");
    assert_eq!(keys.get("HeaderDigest"), Some("CRC32C"));
    assert_eq!(keys.number("MaxBurstLength"), Ok(Some(65_536)));
    assert_eq!(keys.boolean("InitialR2T"), Ok(Some(true)));
    assert_eq!(Keys::parse(&keys.encode()), Ok(keys));
    for bytes in [vec![0], vec![1, 2, 3], (0..=255).collect()] {
        assert_eq!(decode_binary(&encode_binary(&bytes)), Some(bytes));
    }
    // RFC 4648, section 10.
    for (text, bytes) in
        [("0bZg==", "f"), ("0bZm8=", "fo"), ("0bZm9v", "foo"), ("0bZm9vYmE=", "fooba"), ("0B", "")]
    {
        assert_eq!(decode_binary(text).as_deref(), Some(bytes.as_bytes()), "{text}");
    }
    for text in ["", "0", "0x", "0xg", "0bZ", "0b*", "1234", "\u{e9}\u{e9}"] {
        assert_eq!(decode_binary(text), None, "{text}");
    }
}

#[test]
fn what_fuzzing_found_before_does_no_harm() {
    let findings = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fuzz");
    for (name, check) in super::scsi_checks::ALL {
        for input in std::fs::read_dir(findings.join(name)).into_iter().flatten() {
            check(&std::fs::read(input.expect("an input").path()).expect("an input"));
        }
    }
}
