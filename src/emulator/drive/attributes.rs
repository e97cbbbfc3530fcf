//! READ ATTRIBUTE and WRITE ATTRIBUTE: the cartridge memory (SPC-4, sections 6.18, 6.49 and 7.4).

use std::collections::BTreeMap;

use super::Drive;
use super::medium::Mounted;
use crate::emulator::bytes::{padded, saturated_u16, saturated_u32, u8_at, u16_at, u32_at};
use crate::emulator::cartridge::{Attribute, CartridgeKind};
use crate::emulator::exchange::{Done, Exchange, Halt};
use crate::emulator::sense::{Sense, key};
use crate::emulator::unit::VENDOR;

const BINARY: u8 = 0;
const ASCII: u8 = 1;
const TEXT: u8 = 2;
/// The host cannot write it.
const READ_ONLY: u8 = 0x80;
/// Longest list that a host may send, in bytes.
const LIST_LEN_MAX: u32 = 64 << 10;

/// What hosts may write: identifier, format, length in bytes; 0 for any up to 1024 (SPC-4, table 404).
const HOST: &[(u16, u8, u16)] = &[
    (0x0800, ASCII, 8),
    (0x0801, ASCII, 32),
    (0x0802, ASCII, 8),
    (0x0803, TEXT, 160),
    (0x0804, ASCII, 12),
    (0x0805, BINARY, 1),
    (0x0806, ASCII, 32),
    (0x0807, TEXT, 80),
    (0x0808, TEXT, 160),
    (0x0809, ASCII, 16),
    (0x080a, ASCII, 16),
    (0x080b, ASCII, 16),
    (0x080c, BINARY, 0),
    (0x0820, BINARY, 36),
    (0x1400, BINARY, 0),
    (0x1623, BINARY, 1),
];

struct Value {
    format: u8,
    bytes: Vec<u8>,
}

impl Drive {
    /// READ ATTRIBUTE.
    pub(super) fn read_attribute(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let cdb = exchange.cdb;
        let (action, partition, first) = (u8_at(cdb, 1) & 0x1f, u8_at(cdb, 7), u16_at(cdb, 8));
        let len = usize::try_from(u32_at(cdb, 10)).unwrap_or(usize::MAX);
        if !matches!(action, 0 | 1 | 2 | 3 | 5) {
            return Err(Sense::invalid_field(1, Some(4)).into());
        }
        self.check_memory()?;
        let alerts = self.file.state.alerts;
        let mounted = self.mounted()?;
        if usize::from(partition) >= mounted.loaded.ends.len() {
            return Err(Sense::invalid_field(7, None).into());
        }
        let mut values = device_values(&mounted, usize::from(partition), alerts);
        values.extend(host_values(&mounted, usize::from(partition)));
        let reply = match action {
            // The first attribute must be there.
            0 | 1 if !values.contains_key(&first) => return Err(Sense::invalid_field(8, None).into()),
            0 => value_list(values.range(first..)),
            1 => id_list(values.range(first..).map(|(id, _)| *id)),
            5 => id_list(supported(&values).into_iter().filter(|id| *id >= first)),
            // Volumes or partitions: first number and count.
            2 => vec![0, 2, 0, 1],
            _ => vec![0, 2, 0, u8::try_from(mounted.loaded.ends.len()).unwrap_or(0)],
        };
        exchange.answer(&reply, len);
        Ok(())
    }

    fn check_memory(&mut self) -> Done {
        let has_memory = self.mounted()?.cartridge.sidecar.has_memory;
        if !self.holds() {
            return Err(Sense::no_medium().into());
        }
        if !has_memory {
            self.raise(super::logs::alert::MEMORY_FAILURE);
            // AUXILIARY MEMORY READ ERROR.
            return Err(Sense::new(key::MEDIUM_ERROR, 0x11, 0x12).into());
        }
        Ok(())
    }

    /// WRITE ATTRIBUTE: all attributes of a list, or none.
    pub(super) fn write_attribute(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let cdb = exchange.cdb;
        let partition = usize::from(u8_at(cdb, 7));
        let len = u32_at(cdb, 10);
        self.check_memory()?;
        if partition >= self.mounted()?.loaded.ends.len() {
            return Err(Sense::invalid_field(7, None).into());
        }
        if len == 0 {
            return Ok(());
        }
        if len > LIST_LEN_MAX {
            return Err(Sense::invalid_field(10, None).into());
        }
        let list = exchange.parameters(usize::try_from(len).unwrap_or(usize::MAX))?;
        let changes = read_list(list)?;
        let mounted = self.mounted()?;
        if let Some(known) = mounted.cartridge.sidecar.partitions.get_mut(partition) {
            for (id, change) in changes {
                match change {
                    Some(attribute) => known.attributes.insert(id, attribute),
                    None => known.attributes.remove(&id),
                };
            }
        }
        self.save_cartridge()?;
        self.changed();
        Ok(())
    }
}

// Identifiers with new values; no value takes the attribute away.
fn read_list(list: &[u8]) -> Result<Vec<(u16, Option<Attribute>)>, Halt> {
    let given = usize::try_from(u32_at(list, 0)).unwrap_or(usize::MAX);
    let Some(mut rest) = list.get(4..).filter(|rest| rest.len() == given) else {
        return Err(Sense::invalid_parameter(0, None).into());
    };
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let at = list.len() - rest.len();
        let (id, format, len) = (u16_at(rest, 0), u8_at(rest, 2), u16_at(rest, 3));
        let value = rest.get(5..5 + usize::from(len)).ok_or(Sense::parameter_length())?;
        let known = HOST.iter().find(|(known, _, _)| *known == id);
        let (_, known_format, known_len) = known.ok_or(Sense::invalid_parameter(at, None))?;
        if format != *known_format {
            return Err(Sense::invalid_parameter(at + 2, Some(1)).into());
        }
        let is_length = len == 0
            || *known_len == len
            || *known_len == 0 && len <= 1024
            || format == TEXT && len < *known_len;
        if !is_length {
            return Err(Sense::invalid_parameter(at + 3, None).into());
        }
        let attribute = Attribute { format, value: hexadecimal(value) };
        changes.push((id, (len > 0).then_some(attribute)));
        rest = rest.get(5 + usize::from(len)..).unwrap_or_default();
    }
    Ok(changes)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hexadecimal(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map(|pair| {
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or(0)
        })
        .collect()
}

fn host_values(mounted: &Mounted<'_>, partition: usize) -> BTreeMap<u16, Value> {
    let known = mounted.cartridge.sidecar.partitions.get(partition);
    let attributes = known.into_iter().flat_map(|known| &known.attributes);
    let value = |attribute: &Attribute| Value {
        format: attribute.format & 3,
        bytes: from_hexadecimal(&attribute.value).into_iter().take(1024).collect(),
    };
    attributes.map(|(id, attribute)| (*id, value(attribute))).collect()
}

// What drive and cartridge say of themselves (SPC-4, tables 402 and 403).
fn device_values(mounted: &Mounted<'_>, partition: usize, alerts: u64) -> BTreeMap<u16, Value> {
    let sidecar = &mounted.cartridge.sidecar;
    let figures = sidecar.generation.figures();
    let capacity = sidecar.partitions.get(partition).map_or(0, |partition| partition.capacity_bytes);
    let used = mounted.loaded.ends.get(partition).map_or(0, |end| end.place.offset);
    let mib = |bytes: u64| (bytes >> 20).to_be_bytes().to_vec();
    let mut values = BTreeMap::new();
    let mut add =
        |id: u16, format: u8, bytes: Vec<u8>| values.insert(id, Value { format: format | READ_ONLY, bytes });
    add(0x0000, BINARY, mib(capacity.saturating_sub(used)));
    add(0x0001, BINARY, mib(capacity));
    add(0x0002, BINARY, alerts.reverse_bits().to_be_bytes().to_vec());
    add(0x0003, BINARY, sidecar.load_count.to_be_bytes().to_vec());
    add(0x0004, BINARY, 1024_u64.to_be_bytes().to_vec());
    add(0x0005, ASCII, padded::<8>("LTO-CVE").to_vec());
    add(0x0006, BINARY, vec![figures.density]);
    add(0x0007, BINARY, 0_u16.to_be_bytes().to_vec());
    add(0x0009, BINARY, sidecar.change_reference.to_be_bytes().to_vec());
    for (id, index) in (0x020a..=0x020d).zip(0..) {
        let serial = sidecar.drives.get(index).map_or("", String::as_str);
        let vendor = if serial.is_empty() { "" } else { VENDOR };
        let mut bytes = padded::<8>(vendor).to_vec();
        bytes.extend(padded::<32>(serial));
        add(id, ASCII, bytes);
    }
    add(0x0220, BINARY, mib(sidecar.written_bytes));
    add(0x0221, BINARY, mib(sidecar.read_bytes));
    add(0x0222, BINARY, mib(mounted.loaded.written_bytes));
    add(0x0223, BINARY, mib(mounted.loaded.read_bytes));
    add(0x0400, ASCII, padded::<8>(VENDOR).to_vec());
    add(0x0401, ASCII, padded::<32>(&sidecar.serial).to_vec());
    add(0x0402, BINARY, saturated_u32(figures.length_m).to_be_bytes().to_vec());
    add(0x0403, BINARY, 127_u32.to_be_bytes().to_vec());
    add(0x0404, ASCII, padded::<8>("LTO-CVE").to_vec());
    add(0x0405, BINARY, vec![figures.density]);
    add(0x0407, BINARY, 16_352_u64.to_be_bytes().to_vec());
    let medium_type = match sidecar.kind {
        CartridgeKind::Data => 0x00,
        CartridgeKind::Cleaning => 0x01,
        CartridgeKind::Worm => 0x80,
    };
    add(0x0408, BINARY, vec![medium_type]);
    let uses = if sidecar.kind == CartridgeKind::Cleaning { sidecar.cleanings_left } else { 0 };
    add(0x0409, BINARY, u16::try_from(uses).unwrap_or(u16::MAX).to_be_bytes().to_vec());
    values
}

fn supported(values: &BTreeMap<u16, Value>) -> Vec<u16> {
    let mut ids: Vec<u16> = values.keys().copied().chain(HOST.iter().map(|(id, _, _)| *id)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn value_list<'a>(values: impl Iterator<Item = (&'a u16, &'a Value)>) -> Vec<u8> {
    let mut body = Vec::new();
    for (id, value) in values {
        body.extend(id.to_be_bytes());
        body.push(value.format);
        body.extend(saturated_u16(value.bytes.len()).to_be_bytes());
        body.extend(&value.bytes);
    }
    with_len(body)
}

fn id_list(ids: impl Iterator<Item = u16>) -> Vec<u8> {
    with_len(ids.flat_map(u16::to_be_bytes).collect())
}

fn with_len(body: Vec<u8>) -> Vec<u8> {
    let mut bytes = saturated_u32(u64::try_from(body.len()).unwrap_or(0)).to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}
