//! A library behind iSCSI.

use super::{DeviceError, Devices, LibraryInputs, Session};
use crate::path;
use crate::scsi::iscsi::{Address, Initiator, Portal, Settings, discover};
use crate::scsi::{LogicalUnit, Transport};

const SCHEME: &str = "iscsi://";
/// Most logical units that are taken from one target.
const UNITS_MAX: usize = 256;

/// The logical units of a target, or one of them.
#[derive(Debug)]
pub(super) struct NetworkedDevices {
    // Logical unit 0 stands for all.
    address: Address,
    name: String,
    inputs: LibraryInputs,
    units: Vec<u16>,
}

impl NetworkedDevices {
    /// `shown` is the address without its secret.
    pub(super) fn open(url: &str, shown: String, inputs: &LibraryInputs) -> Result<Self, DeviceError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| DeviceError::Iscsi {
            name: shown.clone(),
            source,
        };
        let url = match url.strip_prefix(SCHEME) {
            Some(rest) => &format!("{SCHEME}{}", rest.trim_end_matches('/')),
            None => url,
        };
        let parsed: Result<Address, _> = url.parse();
        if let Ok(address) = parsed {
            let units = vec![address.lun];
            return Ok(Self { address, name: shown, inputs: inputs.clone(), units });
        }
        // iscsi://HOST stands for the only target of the host, iscsi://HOST/TARGET for all units of the target.
        let address = match url.parse::<Portal>() {
            Ok(portal) => {
                let target = the_only_target(&portal, &shown, inputs)?;
                Address { portal, target, lun: 0 }
            }
            Err(_) => format!("{url}/0").parse().map_err(|error| failed(Box::new(error)))?,
        };
        let mut devices = Self { address, name: shown.clone(), inputs: inputs.clone(), units: Vec::new() };
        let mut unit = LogicalUnit::new(devices.connect_lun(0, devices.session())?);
        devices.units = unit.report_luns().map_err(|error| failed(Box::new(error)))?;
        devices.units.sort_unstable();
        devices.units.truncate(UNITS_MAX);
        Ok(devices)
    }

    fn connect_lun(&self, lun: u16, session: Session) -> Result<Box<dyn Transport>, DeviceError> {
        let address = Address { lun, ..self.address.clone() };
        let mut settings = Settings::new((self.inputs.random)());
        settings.set_session(session);
        let initiator = Initiator::connect(&address, &settings)
            .map_err(|source| DeviceError::Iscsi { name: self.name.clone(), source: Box::new(source) })?;
        Ok(Box::new(initiator))
    }
}

fn the_only_target(portal: &Portal, shown: &str, inputs: &LibraryInputs) -> Result<String, DeviceError> {
    let name = shown.to_owned();
    let settings = Settings::new((inputs.random)());
    let mut targets = discover(portal, &settings)
        .map_err(|source| DeviceError::Iscsi { name: name.clone(), source: Box::new(source) })?;
    // A target is told of once for each of its ways.
    targets.sort_unstable();
    targets.dedup();
    match <[String; 1]>::try_from(targets) {
        Ok([target]) => Ok(target),
        Err(targets) => Err(DeviceError::Targets { name, targets }),
    }
}

impl Devices for NetworkedDevices {
    fn units(&self) -> Result<Vec<String>, DeviceError> {
        Ok(self.units.iter().map(ToString::to_string).collect())
    }

    fn session(&self) -> Session {
        let [a, b, c, d, e, ..] = (self.inputs.random)();
        [a, b, c, d, e]
    }

    fn connect(&self, unit: &str, session: Session) -> Result<Box<dyn Transport>, DeviceError> {
        let lun = unit.parse().map_err(|_| DeviceError::Unknown { name: path::display(unit.as_bytes()) })?;
        self.connect_lun(lun, session)
    }

    // Several may use a unit at once: none is opened in vain.
    fn is_changer(&self, _: &str) -> bool {
        false
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}
