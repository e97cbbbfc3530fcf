//! What must hold for any message on /dev/fuse.
//!
//! As in `checks.rs`: the fuzz target calls it with what the fuzzer finds, the tests of `mountd/src/wire` with
//! good messages, damaged. Whoever takes this file in has the protocol as `wire`.

use crate::wire::init::Agreed;
use crate::wire::request::{Operation, decode};

/// One message of the kernel.
pub(crate) fn fuse_request(data: &[u8]) {
    check(data);
    // The same with its true length, so that what stands behind the header is reached.
    let mut message = data.to_vec();
    if let (Some(len), Ok(actual)) = (message.first_chunk_mut(), u32::try_from(data.len())) {
        *len = actual.to_ne_bytes();
        check(&message);
    }
}

fn check(message: &[u8]) {
    let Ok((header, operation)) = decode(message) else { return };
    let _resent = header.is_resent();
    let is_name = |name: &[u8]| name.len() < message.len() && !name.contains(&0);
    match operation {
        Operation::Lookup { name }
        | Operation::MakeNode { name, .. }
        | Operation::MakeDirectory { name, .. }
        | Operation::Unlink { name }
        | Operation::RemoveDirectory { name }
        | Operation::Create { name, .. }
        | Operation::GetXattr { name, .. }
        | Operation::RemoveXattr { name } => assert!(is_name(name)),
        Operation::MakeSymlink { name, target } => assert!(is_name(name) && is_name(target)),
        Operation::Rename { name, new_name, .. } => assert!(is_name(name) && is_name(new_name)),
        Operation::Link { new_name, .. } => assert!(is_name(new_name)),
        Operation::SetXattr { name, value, .. } => {
            assert!(is_name(name) && name.len() + value.len() < message.len());
        }
        Operation::Write { bytes, .. } => assert!(bytes.len() < message.len()),
        // Nothing is allocated for what was only claimed.
        Operation::BatchForget { nodes } => assert!(nodes.len() * 16 < message.len()),
        Operation::Init { minor, read_ahead_len, flags } => {
            if let Some(agreed) = Agreed::new(flags, true) {
                assert_eq!(agreed.flags & !flags, 0, "nothing is agreed on that was not offered");
                assert_eq!(agreed.answer(minor, read_ahead_len).bytes().len(), 64);
            }
        }
        _ => {}
    }
}
