//! The suite over the kernel's nodes, `/dev/sgN`: those that REELFS_TEST_SG_DRIVE and REELFS_TEST_SG_CHANGER
//! name, whose cartridges are overwritten. `make test-guest` runs it in a virtual machine; to be run with one
//! thread, since there is one drive.

use std::env;
use std::path::{Path, PathBuf};

use reelfs::scsi::LogicalUnit;
use reelfs::scsi::sg::{SgDevice, SgOpenError, list_sg_nodes, tape_sibling};

use super::{Feature, Rig, conformance};

struct Nodes {
    drive: PathBuf,
    changer: PathBuf,
}

impl Nodes {
    fn named() -> Option<Self> {
        let named = |variable| env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
        Some(Self { drive: named("REELFS_TEST_SG_DRIVE")?, changer: named("REELFS_TEST_SG_CHANGER")? })
    }
}

fn open(path: &Path) -> LogicalUnit {
    LogicalUnit::new(Box::new(SgDevice::open(path).unwrap_or_else(|error| panic!("{error}"))))
}

impl Rig for Nodes {
    fn has(&self, feature: Feature) -> bool {
        // The kernel has met the drive before us, and lets in one of us.
        !matches!(feature, Feature::ResetAttention | Feature::SecondNexus)
    }

    fn open_drive(&self) -> LogicalUnit {
        open(&self.drive)
    }

    fn open_changer(&self) -> LogicalUnit {
        open(&self.changer)
    }
}

conformance!(Nodes::named());

#[test]
fn a_device_is_open_once() {
    let Some(nodes) = Nodes::named() else {
        return;
    };
    let first = SgDevice::open(&nodes.drive).expect("the drive");
    let refused = SgDevice::open(&nodes.drive).expect_err("in use");
    assert!(matches!(refused, SgOpenError::Busy { .. }), "{refused}");
    // The tape driver's node too: closing it would rewind under us.
    let sibling = tape_sibling(&nodes.drive).expect("the tape driver's node");
    let refused = std::fs::File::open(&sibling).expect_err("in use");
    assert_eq!(refused.raw_os_error(), Some(libc::EBUSY), "{refused}");
    drop(first);
    let tape = std::fs::File::open(&sibling).expect("free again");
    let refused = SgDevice::open(&nodes.drive).expect_err("the tape driver uses it");
    assert!(matches!(refused, SgOpenError::Busy { ref path } if *path == sibling), "{refused}");
    drop(tape);
    SgDevice::open(&nodes.drive).expect("free again");
}

#[test]
fn what_is_no_device_is_refused() {
    for path in ["/dev/null", "/dev/zero"] {
        let refused = SgDevice::open(Path::new(path)).expect_err(path);
        assert!(matches!(refused, SgOpenError::NotGeneric { .. } | SgOpenError::Open { .. }), "{refused}");
        assert!(refused.to_string().contains(path), "{refused}");
    }
    let refused = SgDevice::open(Path::new("/dev/there is no such node")).expect_err("no node");
    assert!(matches!(refused, SgOpenError::Open { .. }), "{refused}");
}

#[test]
fn drive_and_changer_are_listed() {
    let nodes = list_sg_nodes().expect("a list");
    let Some(named) = Nodes::named() else {
        return;
    };
    for (path, device_type) in [(&named.drive, 1), (&named.changer, 8)] {
        let node = nodes.iter().find(|node| node.path == *path).expect("a node that is listed");
        assert_eq!(node.device_type, device_type, "{node:?}");
    }
}

#[test]
fn a_block_of_four_mebibytes_goes_through() {
    let Some(nodes) = Nodes::named() else {
        return;
    };
    let mut drive = super::blank_drive(&nodes);
    let len = drive.transfer_len_max().min(4 << 20);
    println!("{} bytes at most in one command", drive.transfer_len_max());
    let block = super::pattern(4, len);
    drive.write_block(&block).expect("a block written");
    drive.rewind(false).expect("a rewind");
    let mut buffer = vec![0; len];
    let read = drive.read_block(&mut buffer).expect("a block read");
    assert_eq!(read, reelfs::scsi::ssc::BlockRead::Block { len_bytes: len });
    assert!(buffer == block, "the block came back otherwise");
}
