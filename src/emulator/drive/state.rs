//! State of a drive on disk.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::modes::Modes;
use crate::emulator::cartridge::Cartridge;
use crate::emulator::counters::DriveCounters;
use crate::emulator::place::{EndOfData, Place};
use crate::emulator::time_model::DriveTime;
use crate::emulator::unit::UnitState;

/// Parts of the write buffer that are told apart.
const BUFFER_STEPS: u64 = 32;

/// Everything that a drive remembers from command to command.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(in crate::emulator) struct DriveState {
    pub(in crate::emulator) unit: UnitState,
    pub(in crate::emulator) modes: Modes,
    pub(in crate::emulator) loaded: Option<Loaded>,
    pub(in crate::emulator) counters: DriveCounters,
    pub(in crate::emulator) time: DriveTime,
    /// An error of an earlier command that nobody was told of: sense key, code and qualifier.
    pub(in crate::emulator) deferred: Option<(u8, u8, u8)>,
    /// The object that was lost.
    pub(in crate::emulator) deferred_object: u64,
    /// TapeAlert flags 1 to 64 in bits 0 to 63.
    pub(in crate::emulator) alerts: u64,
    /// Counts loads and changes of what is recorded other than by appending.
    pub(in crate::emulator) epoch: u64,
}

/// The cartridge in a drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::emulator) struct Loaded {
    /// Name of its files.
    pub(in crate::emulator) name: String,
    pub(in crate::emulator) barcode: String,
    /// False after UNLOAD: the cartridge stands in the drive's mouth.
    pub(in crate::emulator) is_threaded: bool,
    /// How often the drive will still say that it is becoming ready.
    pub(in crate::emulator) becoming_ready: u32,
    /// When the drive is ready, in nanoseconds of its time.
    pub(in crate::emulator) ready_at_ns: u64,
    /// Why the cartridge cannot be used: sense key, code and qualifier.
    pub(in crate::emulator) obstacle: Option<(u8, u8, u8)>,
    /// Changes whenever what is recorded is changed otherwise than by appending.
    pub(in crate::emulator) epoch: u64,
    pub(in crate::emulator) partition: usize,
    pub(in crate::emulator) place: Place,
    pub(in crate::emulator) ends: Vec<EndOfData>,
    /// What is on tape and not in the buffer.
    pub(in crate::emulator) synced: Place,
    pub(in crate::emulator) pending: VecDeque<Place>,
    /// Object before which ALLOW OVERWRITE lets one command write.
    pub(in crate::emulator) overwrite_at: Option<u64>,
    pub(in crate::emulator) is_written: bool,
    /// Bytes moved since the load.
    pub(in crate::emulator) written_bytes: u64,
    pub(in crate::emulator) read_bytes: u64,
}

impl Loaded {
    pub(in crate::emulator) fn new(name: &str, cartridge: &Cartridge) -> Self {
        Self {
            name: name.to_owned(),
            barcode: cartridge.sidecar.barcode.clone(),
            is_threaded: true,
            becoming_ready: 0,
            ready_at_ns: 0,
            obstacle: None,
            epoch: 0,
            partition: 0,
            place: Place::default(),
            ends: cartridge.sidecar.partitions.iter().map(|partition| partition.end).collect(),
            synced: Place::default(),
            pending: VecDeque::new(),
            overwrite_at: None,
            is_written: false,
            written_bytes: 0,
            read_bytes: 0,
        }
    }

    /// The end of data of the present partition.
    pub(in crate::emulator) fn end(&self) -> EndOfData {
        self.ends.get(self.partition).copied().unwrap_or_default()
    }

    /// Something was written up to the present place: what has no room in the buffer is on tape by now.
    pub(in crate::emulator) fn buffer_up_to_here(&mut self, buffer_bytes: u64) {
        let last = self.pending.back().copied().unwrap_or(self.synced);
        if self.place.offset.saturating_sub(last.offset) >= buffer_bytes / BUFFER_STEPS {
            self.pending.push_back(self.place);
        }
        while self.place.offset.saturating_sub(self.synced.offset) > buffer_bytes {
            let Some(place) = self.pending.pop_front() else { break };
            self.synced = place;
        }
    }

    /// The buffer is empty.
    pub(in crate::emulator) fn synchronize(&mut self) {
        self.pending.clear();
        self.synced = self.place;
    }
}
