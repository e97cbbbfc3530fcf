//! A library behind iSCSI.

use super::{DeviceError, Devices, LibraryInputs};
use crate::path;
use crate::scsi::cdb::spc as cdb;
use crate::scsi::iscsi::{Address, Initiator, Settings};
use crate::scsi::{CommandError, Data, LogicalUnit, Transport};

/// Most logical units that are taken from one target.
const UNITS_MAX: usize = 256;
/// Room for the reply to REPORT LUNS.
const REPLY_LEN: u32 = 8 + 8 * 256;

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
        // iscsi://HOST/TARGET stands for all units of the target.
        let parsed: Result<Address, _> = url.trim_end_matches('/').parse();
        if let Ok(address) = parsed {
            let units = vec![address.lun];
            return Ok(Self { address, name: shown, inputs: inputs.clone(), units });
        }
        let address: Address =
            format!("{}/0", url.trim_end_matches('/')).parse().map_err(|error| failed(Box::new(error)))?;
        let mut devices = Self { address, name: shown.clone(), inputs: inputs.clone(), units: Vec::new() };
        let mut unit = LogicalUnit::new(devices.connect_lun(0)?);
        devices.units = report_luns(&mut unit).map_err(|error| failed(Box::new(error)))?;
        Ok(devices)
    }

    fn connect_lun(&self, lun: u16) -> Result<Box<dyn Transport>, DeviceError> {
        let address = Address { lun, ..self.address.clone() };
        let settings = Settings::new((self.inputs.random)());
        let initiator = Initiator::connect(&address, &settings)
            .map_err(|source| DeviceError::Iscsi { name: self.name.clone(), source: Box::new(source) })?;
        Ok(Box::new(initiator))
    }
}

fn report_luns(unit: &mut LogicalUnit) -> Result<Vec<u16>, CommandError> {
    let mut reply = vec![0; REPLY_LEN as usize];
    let completion = unit.execute(&cdb::report_luns(REPLY_LEN), Data::In(&mut reply))?;
    reply.truncate(completion.transferred_bytes);
    Ok(parse_luns(&reply))
}

// SPC-4, table 293: length of the list 4, reserved 4, then 8 bytes for each logical unit. Only units of the first
// level are taken, with peripheral or flat addressing (SAM-5, 4.7.7).
fn parse_luns(reply: &[u8]) -> Vec<u16> {
    let Some((header, list)) = reply.split_at_checked(8) else { return Vec::new() };
    let len = header.first_chunk::<4>().map_or(0, |len| u32::from_be_bytes(*len));
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(list.len());
    let list = list.get(..len).unwrap_or_default();
    let first_level = |lun: &[u8]| match lun {
        [high, low, 0, 0, 0, 0, 0, 0] if *high < 0x80 => Some(u16::from_be_bytes([high & 0x3f, *low])),
        _ => None,
    };
    let mut luns: Vec<u16> = list.chunks_exact(8).take(UNITS_MAX).filter_map(first_level).collect();
    luns.sort_unstable();
    luns
}

impl Devices for NetworkedDevices {
    fn units(&self) -> Result<Vec<String>, DeviceError> {
        Ok(self.units.iter().map(ToString::to_string).collect())
    }

    fn connect(&self, unit: &str) -> Result<Box<dyn Transport>, DeviceError> {
        let lun = unit.parse().map_err(|_| DeviceError::Unknown { name: path::display(unit.as_bytes()) })?;
        self.connect_lun(lun)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn units_of_the_first_level_are_taken_in_order_and_a_cut_list_ends_early() {
        let mut reply = vec![0, 0, 0, 40, 0, 0, 0, 0];
        for lun in [[0, 2, 0, 0, 0, 0, 0, 0], [0x41, 0x02, 0, 0, 0, 0, 0, 0], [0; 8]] {
            reply.extend_from_slice(&lun);
        }
        // Of the second level; and of a well-known unit.
        reply.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
        reply.extend_from_slice(&[0xc1, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(parse_luns(&reply), [0, 2, 0x102]);
        assert_eq!(parse_luns(&reply[..20]), [2]);
        assert!(parse_luns(&reply[..7]).is_empty());
    }
}
