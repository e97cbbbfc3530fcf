//! Mode parameters of a drive (SSC-4, section 8.5; SPC-4, section 7.5).

use serde::{Deserialize, Serialize};

use super::{BLOCK_LEN_MAX, Drive};
use crate::emulator::bytes::{u8_at, u16_at, u24, u24_at};
use crate::emulator::cartridge::CartridgeKind;
use crate::emulator::exchange::{Done, Exchange};
use crate::emulator::generation::{Access, Generation};
use crate::emulator::mode::{ModeHeader, Page, mode_select, mode_sense};
use crate::emulator::nexus::MODE_CHANGED;
use crate::emulator::sense::Sense;

/// D_SENSE of the control mode page.
const DESCRIPTOR_SENSE: u8 = 0x04;
/// DCE, data compression enable; DCC, capable of it.
const COMPRESSION: u8 = 0x80;
const COMPRESSION_CAPABLE: u8 = 0x40;
/// LBP_W and LBP_R of the control data protection page.
const PROTECTS_WRITES: u8 = 0x80;
const PROTECTS_READS: u8 = 0x40;
/// WP in the device-specific parameter.
const WRITE_PROTECTED: u8 = 0x80;
/// No change of density.
const DENSITY_UNCHANGED: u8 = 0x7f;

/// Mode parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::emulator) struct Modes {
    /// Length of fixed blocks in bytes; 0 for variable blocks.
    pub(in crate::emulator) block_len: u32,
    /// Buffered mode, 0 or 1.
    pub(in crate::emulator) buffered: u8,
    /// Programmable early warning size in MB (10^6 bytes).
    pub(in crate::emulator) early_warning_mb: u16,
    pub(in crate::emulator) append_only: bool,
    pub(in crate::emulator) compression: bool,
    /// Logical block protection: method, and whether it holds for writes and reads.
    pub(in crate::emulator) protection_method: u8,
    pub(in crate::emulator) protects_writes: bool,
    pub(in crate::emulator) protects_reads: bool,
    /// What FORMAT MEDIUM is to make, if a host has said so.
    pub(in crate::emulator) partitions: Option<PartitionPlan>,
}

/// Partitions of a cartridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(in crate::emulator) struct PartitionPlan {
    /// Partitions beside the first: 0 or 1.
    pub(in crate::emulator) additional: u8,
    /// FDP: sizes are the drive's choice.
    pub(in crate::emulator) is_fixed: bool,
    /// Sizes are in units of ten to this power bytes.
    pub(in crate::emulator) unit: u8,
    /// Sizes in units; FFFFh for all that is left.
    pub(in crate::emulator) sizes: [u16; 2],
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            block_len: 0,
            buffered: 1,
            early_warning_mb: 0,
            append_only: false,
            compression: true,
            protection_method: 0,
            protects_writes: false,
            protects_reads: false,
            partitions: None,
        }
    }
}

impl Drive {
    /// MODE SENSE(6) and (10).
    pub(super) fn mode_sense(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let modes = self.file.state.modes;
        let density = self.density();
        let mut block = [0; 8];
        let [a, b, c] = u24(modes.block_len);
        for (to, from) in block.iter_mut().zip([density, 0, 0, 0, 0, a, b, c]) {
            *to = from;
        }
        let (medium_type, is_protected) = self.medium_type();
        let protection = if is_protected { WRITE_PROTECTED } else { 0 };
        let device_specific = protection | modes.buffered << 4;
        let header = ModeHeader { medium_type, device_specific, block: Some(block) };
        let pages = self.pages();
        mode_sense(exchange, header, &pages)
    }

    /// MODE SELECT(6) and (10).
    pub(super) fn mode_select(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let pages = self.pages();
        let Some(selection) = mode_select(exchange, &pages, true)? else { return Ok(()) };
        let before = self.file.state.clone();
        let result = self.apply(&selection);
        if result.is_err() {
            self.file.state = before;
        } else if self.file.state.modes != before.modes
            || self.file.state.unit.descriptor_sense != before.unit.descriptor_sense
        {
            self.file.state.unit.nexuses.tell_others(exchange.nexus, MODE_CHANGED);
        }
        Ok(result?)
    }

    fn apply(&mut self, selection: &crate::emulator::mode::Selection) -> Result<(), Sense> {
        let at = selection.device_specific_at;
        let buffered = selection.device_specific >> 4 & 7;
        if buffered > 1 || selection.device_specific & 0x0f != 0 {
            return Err(Sense::invalid_parameter(at, Some(6)));
        }
        if let Some((block, at)) = selection.block {
            self.apply_block(&block, at)?;
        }
        self.file.state.modes.buffered = buffered;
        selection.pages.iter().try_for_each(|(at, page)| self.apply_page(*at, page))
    }

    fn apply_block(&mut self, block: &[u8; 8], at: usize) -> Result<(), Sense> {
        let density = u8_at(block, 0);
        let drive = self.generation();
        let known = Generation::ALL.into_iter().filter(|known| drive.access(*known) == Access::Write);
        let is_known = known.map(Generation::density).any(|known| known == density);
        if density != 0 && density != DENSITY_UNCHANGED && !is_known && density != self.density() {
            return Err(Sense::invalid_parameter(at, None));
        }
        if u24_at(block, 1) != 0 {
            return Err(Sense::invalid_parameter(at + 1, None));
        }
        let block_len = u24_at(block, 5);
        if block_len > BLOCK_LEN_MAX {
            return Err(Sense::invalid_parameter(at + 5, None));
        }
        self.file.state.modes.block_len = block_len;
        Ok(())
    }

    fn apply_page(&mut self, at: usize, page: &[u8]) -> Result<(), Sense> {
        let has_append_only = self.generation() >= Generation::Lto7;
        let method = self.figures().protection_method;
        let modes = &mut self.file.state.modes;
        match (u8_at(page, 0) & 0x3f, u8_at(page, 0) & 0x40 != 0) {
            (0x0a, false) => self.file.state.unit.descriptor_sense = u8_at(page, 2) & DESCRIPTOR_SENSE != 0,
            (0x0a, true) => {
                let (asked, len) = (u8_at(page, 4), u8_at(page, 5));
                if asked != 0 && asked != method {
                    return Err(Sense::invalid_parameter(at + 4, None));
                }
                if len != 4 && (asked != 0 || len != 0) {
                    return Err(Sense::invalid_parameter(at + 5, None));
                }
                modes.protection_method = asked;
                modes.protects_writes = asked != 0 && u8_at(page, 6) & PROTECTS_WRITES != 0;
                modes.protects_reads = asked != 0 && u8_at(page, 6) & PROTECTS_READS != 0;
            }
            (0x0f, false) => modes.compression = u8_at(page, 2) & COMPRESSION != 0,
            (0x10, false) => modes.compression = u8_at(page, 14) != 0,
            (0x10, true) => {
                let write_mode = u8_at(page, 5) >> 4;
                if write_mode > 1 || write_mode == 1 && !has_append_only {
                    return Err(Sense::invalid_parameter(at + 5, Some(7)));
                }
                modes.append_only = write_mode == 1;
                modes.early_warning_mb = u16_at(page, 6);
            }
            (0x11, false) => self.apply_partitions(at, page)?,
            _ => {}
        }
        Ok(())
    }

    fn apply_partitions(&mut self, at: usize, page: &[u8]) -> Result<(), Sense> {
        let additional = u8_at(page, 3);
        if additional > 1 {
            return Err(Sense::invalid_parameter(at + 3, None));
        }
        let flags = u8_at(page, 4);
        // One of FDP, SDP and IDP; PSUM says that byte 6 has the unit.
        if (flags >> 5).count_ones() != 1 || flags & 0x18 != 0x18 {
            return Err(Sense::invalid_parameter(at + 4, Some(7)));
        }
        let unit = u8_at(page, 6) & 0x0f;
        if !(3..=12).contains(&unit) {
            return Err(Sense::invalid_parameter(at + 6, Some(3)));
        }
        let sizes = [u16_at(page, 8), u16_at(page, 10)];
        let is_fixed = flags & 0x20 == 0;
        self.file.state.modes.partitions = Some(PartitionPlan { additional, is_fixed, unit, sizes });
        Ok(())
    }

    // Medium type, and whether the cartridge is write-protected.
    fn medium_type(&mut self) -> (u8, bool) {
        let Ok(mounted) = self.mounted() else { return (0, false) };
        let sidecar = &mounted.cartridge.sidecar;
        let medium_type = sidecar.generation.figures().medium_type;
        let kind = match sidecar.kind {
            CartridgeKind::Data => medium_type,
            CartridgeKind::Worm => medium_type | 0x04,
            CartridgeKind::Cleaning => 0x01,
        };
        (kind, sidecar.write_protected)
    }

    /// Density of what is recorded or will be.
    pub(super) fn density(&mut self) -> u8 {
        let drive = self.generation();
        self.mounted().map_or(drive.density(), |mounted| mounted.cartridge.sidecar.generation.density())
    }

    fn plan(&mut self) -> PartitionPlan {
        if let Some(plan) = self.file.state.modes.partitions {
            return plan;
        }
        let Ok(mounted) = self.mounted() else {
            return PartitionPlan { unit: 9, ..PartitionPlan::default() };
        };
        let partitions = &mounted.cartridge.sidecar.partitions;
        let unit = if mounted.cartridge.sidecar.capacity_bytes < 100_000_000_000 { 6 } else { 9 };
        let mut sizes = [0; 2];
        for (size, partition) in sizes.iter_mut().zip(partitions) {
            *size = u16::try_from(partition.capacity_bytes / 10_u64.pow(u32::from(unit))).unwrap_or(u16::MAX);
        }
        let additional = if partitions.len() > 1 { 1 } else { 0 };
        PartitionPlan { additional, is_fixed: false, unit, sizes }
    }

    fn pages(&mut self) -> Vec<Page> {
        let default = Modes::default();
        let plan = self.plan();
        let is_worm =
            self.mounted().is_ok_and(|mounted| mounted.cartridge.sidecar.kind == CartridgeKind::Worm);
        let active = self.file.state.loaded.as_ref().map_or(0, |loaded| loaded.partition);
        let active = u8::try_from(active).unwrap_or(0);
        let modes = self.file.state.modes;
        let sense = if self.file.state.unit.descriptor_sense { DESCRIPTOR_SENSE } else { 0 };
        let capable = COMPRESSION | COMPRESSION_CAPABLE;
        let worm = body::<30>(&[(0, u8::from(is_worm)), (2, u8::from(is_worm)), (3, 2 * u8::from(is_worm))]);
        vec![
            Page::constant(0x01, &[0; 10]),
            Page::constant(0x02, &[0; 14]),
            Page::changeable(
                0x0a,
                0,
                &body::<10>(&[(0, sense)]),
                &[0; 10],
                &body::<10>(&[(0, DESCRIPTOR_SENSE)]),
            ),
            protection(modes, default),
            Page::changeable(
                0x0f,
                0,
                &compression(modes.compression),
                &compression(true),
                &body::<14>(&[(0, capable & COMPRESSION)]),
            ),
            Page::changeable(
                0x10,
                0,
                &configuration(active, modes.compression),
                &configuration(active, true),
                &body::<14>(&[(12, 0xff)]),
            ),
            extension(modes, default),
            Page::changeable(0x11, 0, &partition_page(plan), &partition_page(plan), &PARTITION_MASK),
            // TapeAlert is polled: DEXCPT, and MRIE 3.
            Page::constant(0x1c, &body::<10>(&[(0, 0x08), (1, 0x03)])),
            Page::constant(0x1d, &worm),
        ]
    }
}

const PARTITION_MASK: [u8; 10] = [0, 0xff, 0xfc, 0, 0x0f, 0, 0xff, 0xff, 0xff, 0xff];

fn body<const N: usize>(set: &[(usize, u8)]) -> [u8; N] {
    let mut bytes = [0; N];
    for (at, value) in set {
        if let Some(byte) = bytes.get_mut(*at) {
            *byte = *value;
        }
    }
    bytes
}

// Control data protection, 0Ah/F0h.
fn protection(modes: Modes, default: Modes) -> Page {
    let page = |modes: Modes| {
        let flags = if modes.protects_writes { PROTECTS_WRITES } else { 0 }
            | if modes.protects_reads { PROTECTS_READS } else { 0 };
        body::<28>(&[(0, modes.protection_method), (1, 4), (2, flags)])
    };
    let mask = body::<28>(&[(0, 0xff), (1, 0x3f), (2, PROTECTS_WRITES | PROTECTS_READS)]);
    Page::changeable(0x0a, 0xf0, &page(modes), &page(default), &mask)
}

// Data compression, 0Fh: algorithm 1 both ways.
fn compression(enabled: bool) -> [u8; 14] {
    let first = if enabled { COMPRESSION | COMPRESSION_CAPABLE } else { COMPRESSION_CAPABLE };
    body(&[(0, first), (1, 0x80), (5, 1), (9, 1)])
}

// Device configuration, 10h: LOIS, blocks are counted; EEG, end of data is recorded; SEW, the buffer is
// written out at early warning.
fn configuration(partition: u8, compression: bool) -> [u8; 14] {
    body(&[(1, partition), (6, 0x40), (8, 0x18), (12, u8::from(compression))])
}

// Device configuration extension, 10h/01h.
fn extension(modes: Modes, default: Modes) -> Page {
    let page = |modes: Modes| {
        let [high, low] = modes.early_warning_mb.to_be_bytes();
        body::<28>(&[(1, u8::from(modes.append_only) << 4), (2, high), (3, low)])
    };
    let mask = body::<28>(&[(1, 0xf0), (2, 0xff), (3, 0xff)]);
    Page::changeable(0x10, 0x01, &page(modes), &page(default), &mask)
}

// Medium partition, 11h: one additional partition at most; PSUM 11b; format and partitions are recognised.
fn partition_page(plan: PartitionPlan) -> [u8; 10] {
    let ([a, b], [c, d]) = match plan.sizes {
        [first, second] => (first.to_be_bytes(), second.to_be_bytes()),
    };
    let how = if plan.is_fixed { 0x80 } else { 0x20 };
    [1, plan.additional, how | 0x18, 0x03, plan.unit, 0, a, b, c, d]
}
