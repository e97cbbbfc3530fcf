//! LOG SENSE and LOG SELECT (SPC-4, sections 6.7 and 6.8; SSC-4, section 8.3).

use super::Drive;
use crate::emulator::bytes::{saturated_u8, saturated_u16, saturated_u32, u8_at, u16_at};
use crate::emulator::exchange::{Done, Exchange};
use crate::emulator::sense::Sense;

/// Pages that there are.
const PAGES: &[u8] = &[0x00, 0x02, 0x03, 0x0c, 0x11, 0x14, 0x17, 0x2e, 0x31, 0x37];
/// Binary list parameter.
const BINARY: u8 = 0x03;
/// ASCII list parameter.
const TEXT: u8 = 0x01;
const MB: u64 = 1_000_000;

/// TapeAlert flags, by number (SSC-4, annex A).
pub(in crate::emulator) mod alert {
    pub(in crate::emulator) const READ_FAILURE: u8 = 5;
    pub(in crate::emulator) const WRITE_FAILURE: u8 = 6;
    pub(in crate::emulator) const WRITE_PROTECT: u8 = 9;
    pub(in crate::emulator) const MEMORY_FAILURE: u8 = 15;
    pub(in crate::emulator) const CLEAN_NOW: u8 = 20;
    pub(in crate::emulator) const EXPIRED_CLEANING: u8 = 22;
    pub(in crate::emulator) const HARDWARE_A: u8 = 30;
    pub(in crate::emulator) const EJECT_FAILURE: u8 = 32;
    pub(in crate::emulator) const LOADING_FAILURE: u8 = 53;
}

struct Parameters(Vec<u8>);

impl Parameters {
    fn new() -> Self {
        Self(Vec::new())
    }

    fn add(&mut self, code: u16, control: u8, value: &[u8]) {
        self.0.extend(code.to_be_bytes());
        self.0.extend([control, saturated_u8(value.len())]);
        self.0.extend(value);
    }

    fn count(&mut self, code: u16, value: u64) {
        self.add(code, BINARY, &value.to_be_bytes());
    }

    // A number for each partition: length of what follows, partition, value in MB.
    fn partitions(&mut self, code: u16, values: &[u32]) {
        let mut bytes = Vec::new();
        for (number, value) in values.iter().enumerate() {
            bytes.extend([7, 0]);
            bytes.extend(saturated_u16(number).to_be_bytes());
            bytes.extend(value.to_be_bytes());
        }
        self.add(code, BINARY, &bytes);
    }
}

/// Sizes of the partitions in MB.
#[derive(Debug, Default)]
struct Sizes {
    capacity: Vec<u32>,
    /// FFFFFFFFh if the end of data is not known.
    used: Vec<u32>,
    left: Vec<u32>,
}

impl Drive {
    /// Raises a TapeAlert flag, 1 to 64.
    pub(in crate::emulator) fn raise(&mut self, flag: u8) {
        self.file.state.alerts |= 1 << (flag.saturating_sub(1) & 63);
    }

    /// LOG SELECT: counters cannot be set; a reset of all of them changes nothing that a drive reports.
    pub(super) fn log_select(&mut self, exchange: &mut Exchange<'_>) -> Done {
        if u16_at(exchange.cdb, 7) != 0 {
            return Err(Sense::parameter_length().into());
        }
        Ok(())
    }

    /// LOG SENSE.
    pub(super) fn log_sense(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let cdb = exchange.cdb;
        let (page, subpage, first) = (u8_at(cdb, 2) & 0x3f, u8_at(cdb, 3), u16_at(cdb, 5));
        let len = usize::from(u16_at(cdb, 7));
        let has_all = page == 0 && subpage == 0xff;
        if subpage != 0 && !has_all {
            return Err(Sense::invalid_field(3, None).into());
        }
        if !PAGES.contains(&page) {
            return Err(Sense::invalid_field(2, Some(5)).into());
        }
        let body = match page {
            0x00 if has_all => PAGES.iter().flat_map(|page| [*page, 0]).collect(),
            0x00 => PAGES.to_vec(),
            0x02 | 0x03 => self.error_counters(page),
            0x0c => self.sequential_access(),
            0x11 => self.device_status(),
            0x14 => self.device_statistics(),
            0x17 => self.volume_statistics(),
            0x2e => self.tape_alerts(),
            0x31 => self.tape_capacity(),
            _ => self.performance(),
        };
        let body = if page == 0 { body } else { from_parameter(&body, first)? };
        let mut bytes = vec![if has_all { page | 0x40 } else { page }, subpage];
        bytes.extend(saturated_u16(body.len()).to_be_bytes());
        bytes.extend(body);
        exchange.answer(&bytes, len);
        Ok(())
    }

    fn error_counters(&self, page: u8) -> Vec<u8> {
        let counters = &self.file.state.counters;
        let bytes = if page == 0x02 { counters.bytes_written } else { counters.bytes_read };
        let mut parameters = Parameters::new();
        for code in 0..7 {
            parameters.count(code, if code == 5 { bytes } else { 0 });
        }
        parameters.0
    }

    fn sequential_access(&mut self) -> Vec<u8> {
        let sizes = self.sizes();
        let counters = self.file.state.counters;
        let partition = self.file.state.loaded.as_ref().map_or(0, |loaded| loaded.partition);
        let at = |values: &[u32]| u64::from(values.get(partition).copied().unwrap_or(0));
        let place = self.file.state.loaded.as_ref().map_or(0, |loaded| loaded.place.offset);
        let mut parameters = Parameters::new();
        parameters.count(0, counters.bytes_written);
        parameters.count(1, counters.bytes_written);
        parameters.count(2, counters.bytes_read);
        parameters.count(3, counters.bytes_read);
        parameters.count(4, at(&sizes.used));
        parameters.count(5, at(&sizes.capacity));
        parameters.count(7, place / MB);
        // Cleaning is not asked for, unless an alert says so.
        parameters.add(0x100, BINARY, &[self.needs_cleaning()]);
        parameters.0
    }

    fn needs_cleaning(&self) -> u8 {
        u8::from(self.file.state.alerts >> (alert::CLEAN_NOW - 1) & 1 == 1)
    }

    // Very high frequency data: initialised, memory accessible, protected; present, seated, threaded, mounted.
    fn device_status(&mut self) -> Vec<u8> {
        let cleaning = self.needs_cleaning() << 2;
        let holds = self.holds();
        let mut first = 0x01 | cleaning;
        let mut second = 0;
        if let Ok(mounted) = self.mounted() {
            first |= u8::from(mounted.cartridge.sidecar.has_memory) << 5
                | u8::from(mounted.cartridge.sidecar.write_protected) << 3;
            second = 0x10 | if holds { 0x07 } else { 0 };
        }
        let mut parameters = Parameters::new();
        parameters.add(0, BINARY, &[first, second, 0, 0]);
        parameters.0
    }

    fn device_statistics(&self) -> Vec<u8> {
        let counters = &self.file.state.counters;
        let mut parameters = Parameters::new();
        parameters.count(0x0000, counters.load_count);
        parameters.count(0x0001, 0);
        parameters.count(0x0003, counters.motion_ns / 3_600_000_000_000);
        parameters.count(0x0004, counters.tape_moved_mm / 1000);
        parameters.add(0x0040, TEXT, self.place.config.drive_serial(self.place.number).as_bytes());
        parameters.0
    }

    fn sizes(&mut self) -> Sizes {
        let mut sizes = Sizes::default();
        let Ok(mounted) = self.mounted() else { return sizes };
        let warning = mounted.cartridge.sidecar.early_warning_bytes;
        for (partition, end) in mounted.cartridge.sidecar.partitions.iter().zip(&mounted.loaded.ends) {
            let capacity = partition.capacity_bytes;
            let left = capacity.saturating_sub(warning.min(capacity / 2)).saturating_sub(end.place.offset);
            sizes.capacity.push(saturated_u32(capacity / MB));
            sizes.used.push(if end.is_torn { u32::MAX } else { saturated_u32(end.place.offset / MB) });
            sizes.left.push(saturated_u32(left / MB));
        }
        sizes
    }

    fn volume_statistics(&mut self) -> Vec<u8> {
        let sizes = self.sizes();
        let mut parameters = Parameters::new();
        let Ok(mounted) = self.mounted() else {
            parameters.add(0, BINARY, &[0]);
            return parameters.0;
        };
        let sidecar = &mounted.cartridge.sidecar;
        parameters.add(0x0000, BINARY, &[1]);
        parameters.count(0x0001, sidecar.load_count);
        for code in [0x0003, 0x0004, 0x0008, 0x0009] {
            parameters.count(code, 0);
        }
        parameters.count(0x0010, mounted.loaded.written_bytes / MB);
        parameters.count(0x0011, mounted.loaded.read_bytes / MB);
        parameters.count(0x0012, sidecar.written_bytes / MB);
        parameters.count(0x0013, sidecar.read_bytes / MB);
        let padded = |text: &str| crate::emulator::bytes::padded::<32>(text);
        parameters.add(0x0040, TEXT, &padded(&sidecar.serial));
        parameters.add(0x0042, TEXT, &padded(&sidecar.barcode));
        parameters.add(0x0043, TEXT, &crate::emulator::bytes::padded::<8>(crate::emulator::unit::VENDOR));
        parameters.add(
            0x0045,
            TEXT,
            &crate::emulator::bytes::padded::<9>(sidecar.generation.figures().density_name),
        );
        parameters.add(0x0080, BINARY, &[u8::from(sidecar.write_protected)]);
        let is_worm = sidecar.kind == crate::emulator::cartridge::CartridgeKind::Worm;
        parameters.add(0x0081, BINARY, &[u8::from(is_worm)]);
        parameters.partitions(0x0202, &sizes.capacity);
        parameters.partitions(0x0203, &sizes.used);
        parameters.partitions(0x0204, &sizes.left);
        parameters.0
    }

    // Reading the page lowers the flags.
    fn tape_alerts(&mut self) -> Vec<u8> {
        let mut parameters = Parameters::new();
        for flag in 0..64_u16 {
            let is_raised = self.file.state.alerts >> flag & 1 == 1;
            parameters.add(flag + 1, BINARY, &[u8::from(is_raised)]);
        }
        self.file.state.alerts = 0;
        parameters.0
    }

    fn tape_capacity(&mut self) -> Vec<u8> {
        let sizes = self.sizes();
        let at = |values: &[u32], number: usize| values.get(number).copied().unwrap_or(0).to_be_bytes();
        let mut parameters = Parameters::new();
        parameters.add(1, BINARY, &at(&sizes.left, 0));
        parameters.add(2, BINARY, &at(&sizes.left, 1));
        parameters.add(3, BINARY, &at(&sizes.capacity, 0));
        parameters.add(4, BINARY, &at(&sizes.capacity, 1));
        parameters.0
    }

    // Of this emulator's own making: what a host wants to keep low or high.
    fn performance(&self) -> Vec<u8> {
        let counters = &self.file.state.counters;
        let mut parameters = Parameters::new();
        parameters.count(1, counters.back_hitch_count);
        parameters.count(2, counters.locate_count);
        parameters.count(3, counters.tape_moved_mm / 1000);
        parameters.count(4, counters.streaming_ns / 1_000_000);
        parameters.count(5, counters.motion_ns / 1_000_000);
        parameters.0
    }
}

// The parameters from a code on; none at all is an error (SPC-4, section 6.8).
fn from_parameter(body: &[u8], first: u16) -> Result<Vec<u8>, Sense> {
    let mut rest = body;
    while let [a, b, _, len, ..] = rest {
        if u16::from_be_bytes([*a, *b]) >= first {
            return Ok(rest.to_vec());
        }
        rest = rest.get(4 + usize::from(*len)..).unwrap_or_default();
    }
    if first == 0 { Ok(Vec::new()) } else { Err(Sense::invalid_field(5, None)) }
}
