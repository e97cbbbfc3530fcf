//! What the kernel shows of SCSI devices below `/sys`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel lists sg nodes.
const SCSI_GENERIC: &str = "/sys/class/scsi_generic";
/// Most nodes that are listed.
const NODES_MAX: usize = 4096;

/// An sg node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SgNode {
    /// Path of the node.
    pub path: PathBuf,
    /// Code of the device's type: 1 a tape drive, 8 a changer.
    pub device_type: u8,
    /// Vendor, as the device gives it.
    pub vendor: String,
    /// Product, as the device gives it.
    pub product: String,
}

/// Lists the sg nodes of tape drives and changers, by number; none if there is no sg driver.
///
/// # Errors
/// The error of reading `/sys`.
pub fn list_sg_nodes() -> io::Result<Vec<SgNode>> {
    list_in(Path::new(SCSI_GENERIC))
}

fn list_in(class: &Path) -> io::Result<Vec<SgNode>> {
    let entries = match fs::read_dir(class) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut nodes = Vec::new();
    for entry in entries.take(NODES_MAX) {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("sg")?.parse::<u32>().ok());
        let device = class.join(&name).join("device");
        // A device can go away while it is looked at.
        let read = |file: &str| fs::read_to_string(device.join(file)).unwrap_or_default().trim().to_owned();
        let device_type = read("type").parse::<u8>().ok();
        if let (Some(number), Some(device_type @ (1 | 8))) = (number, device_type) {
            let path = Path::new("/dev").join(&name);
            nodes
                .push((number, SgNode { path, device_type, vendor: read("vendor"), product: read("model") }));
        }
    }
    nodes.sort_by_key(|(number, _)| *number);
    Ok(nodes.into_iter().map(|(_, node)| node).collect())
}

/// The tape driver's node for the same device that does not rewind, `/dev/nstN`, if there is one.
#[must_use]
pub fn tape_sibling(sg: &Path) -> Option<PathBuf> {
    // The node may be named by a link, such as one that udev made.
    let real = fs::canonicalize(sg).ok()?;
    sibling_in(Path::new(SCSI_GENERIC), real.file_name()?.to_str()?)
}

fn sibling_in(class: &Path, sg: &str) -> Option<PathBuf> {
    let nodes = fs::read_dir(class.join(sg).join("device/scsi_tape")).ok()?;
    let names = nodes.take(NODES_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut plain = names.filter(|name| {
        // Others have a letter behind the number: they differ in mode only.
        name.strip_prefix("nst").is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    plain.next().map(|name| Path::new("/dev").join(name))
}

#[cfg(test)]
mod test {
    use super::*;

    fn planted() -> tempfile::TempDir {
        let class = tempfile::tempdir().expect("a directory");
        for (node, device_type) in [("sg10", "8"), ("sg2", "1"), ("sg0", "0"), ("sg3", "1\n")] {
            let device = class.path().join(node).join("device");
            fs::create_dir_all(&device).expect("a directory");
            fs::write(device.join("type"), device_type).expect("a file");
            fs::write(device.join("vendor"), "REELFS  \n").expect("a file");
            fs::write(device.join("model"), "DRIVE\n").expect("a file");
        }
        for tape in ["st0", "nst0a", "nst0", "st0l"] {
            fs::create_dir_all(class.path().join("sg2/device/scsi_tape").join(tape)).expect("a directory");
        }
        class
    }

    #[test]
    fn drives_and_changers_are_listed_by_number_and_disks_are_not() {
        let class = planted();
        let nodes = list_in(class.path()).expect("a list");
        let seen: Vec<_> =
            nodes.iter().map(|node| (node.path.to_str().expect("text"), node.device_type)).collect();
        assert_eq!(seen, [("/dev/sg2", 1), ("/dev/sg3", 1), ("/dev/sg10", 8)]);
        assert!(nodes.iter().all(|node| node.vendor == "REELFS" && node.product == "DRIVE"));
        assert_eq!(list_in(&class.path().join("none")).expect("a list"), []);
    }

    #[test]
    fn the_sibling_is_the_node_that_does_not_rewind() {
        let class = planted();
        assert_eq!(sibling_in(class.path(), "sg2"), Some(PathBuf::from("/dev/nst0")));
        assert_eq!(sibling_in(class.path(), "sg3"), None);
        assert_eq!(sibling_in(class.path(), "sg99"), None);
    }
}
