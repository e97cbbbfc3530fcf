//! Drives and changers of this machine, by the sg driver.

use std::fs;
use std::path::{Path, PathBuf};

use super::{DeviceError, Devices, Session};
use crate::path;
use crate::scsi::Transport;
use crate::scsi::sg::{SgDevice, list_sg_nodes};

/// Code of the type of a changer.
const CHANGER: u8 = 8;

/// A changer with all drives of the machine, of which the library keeps its own; or a drive alone.
#[derive(Debug)]
pub(super) struct GenericDevices {
    node: PathBuf,
    units: Vec<String>,
    is_changer: bool,
}

impl GenericDevices {
    pub(super) fn open(node: &Path) -> Result<Self, DeviceError> {
        let name = path::display(node.as_os_str().as_encoded_bytes());
        let open = |source| DeviceError::Open { name: name.clone(), source };
        // The node may be named by a link, such as one that udev made.
        let real = fs::canonicalize(node).map_err(open)?;
        let nodes = list_sg_nodes().map_err(open)?;
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        let own = nodes.iter().find(|listed| listed.path == real);
        let mut units = vec![shown(&real)];
        let is_changer = own.is_some_and(|own| own.device_type == CHANGER);
        if is_changer {
            let drives = nodes.iter().filter(|listed| listed.device_type != CHANGER);
            units.extend(drives.map(|drive| shown(&drive.path)));
        }
        Ok(Self { node: node.to_owned(), units, is_changer })
    }
}

impl Devices for GenericDevices {
    fn units(&self) -> Result<Vec<String>, DeviceError> {
        Ok(self.units.clone())
    }

    fn connect(&self, unit: &str, _: Session) -> Result<Box<dyn Transport>, DeviceError> {
        Ok(Box::new(SgDevice::open(Path::new(unit))?))
    }

    fn is_changer(&self, unit: &str) -> bool {
        self.is_changer && self.units.first().is_some_and(|first| first == unit)
    }

    fn name(&self) -> String {
        path::display(self.node.as_os_str().as_encoded_bytes())
    }
}
