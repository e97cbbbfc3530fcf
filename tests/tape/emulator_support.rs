//! An emulated library and raw commands to it.

use std::sync::Arc;
use std::time::Duration;

use reelfs::clock::{Clock, ManualClock};
use reelfs::emulator::{EmulatedLibrary, EmulatedTransport, Generation, LibraryShape};
use reelfs::scsi::{Data, Outcome, Status, Transport, TransportError};

/// Element address of the first slot.
pub(crate) const SLOT: u16 = 1024;
/// Element address of the first drive.
pub(crate) const DRIVE: u16 = 256;
/// Element address of the first mail slot.
pub(crate) const MAIL: u16 = 16;

/// A library in a directory of its own.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) library: EmulatedLibrary,
}

impl Bench {
    pub(crate) fn new(shape: &LibraryShape) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::default());
        EmulatedLibrary::create(dir.path(), shape).unwrap();
        let library = EmulatedLibrary::open(dir.path(), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        Self { dir, clock, library }
    }

    /// Two LTO-8 drives and four cartridges of this capacity.
    pub(crate) fn small(capacity_bytes: u64) -> Self {
        let shape = LibraryShape::new(Generation::Lto8);
        Self::new(&shape.with_cartridges(4, Generation::Lto8, Some(capacity_bytes)))
    }

    pub(crate) fn unit(&self, lun: u16) -> Unit {
        Unit { transport: self.library.transport(lun).unwrap() }
    }

    pub(crate) fn unit_as(&self, lun: u16, initiator: &str) -> Unit {
        Unit { transport: self.library.transport_as(lun, initiator).unwrap() }
    }

    /// Moves the cartridge of a slot, from 0, to the first drive and waits until it is ready.
    pub(crate) fn loaded(&self, slot: u16) -> Unit {
        let mut changer = self.unit(0);
        changer.settle();
        changer.good(&move_medium(SLOT + slot, DRIVE));
        let mut drive = self.unit(1);
        drive.settle();
        drive
    }
}

pub(crate) fn move_medium(from: u16, to: u16) -> Vec<u8> {
    let ([a, b], [c, d]) = (from.to_be_bytes(), to.to_be_bytes());
    vec![0xa5, 0, 0, 0, a, b, c, d, 0, 0, 0, 0]
}

/// One way to a logical unit.
pub(crate) struct Unit {
    pub(crate) transport: EmulatedTransport,
}

/// What a command came to: sense key, code and qualifier; zeros if good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) outcome: Outcome,
    pub(crate) data: Vec<u8>,
}

impl Reply {
    /// Sense key, code and qualifier of fixed-format sense data.
    pub(crate) fn sense(&self) -> (u8, u8, u8) {
        match self.outcome.sense.as_slice() {
            [] => (0, 0, 0),
            sense => (sense[2] & 0x0f, sense[12], sense[13]),
        }
    }

    /// INFORMATION, if it is valid, as a signed number.
    pub(crate) fn information(&self) -> Option<i32> {
        let sense = &self.outcome.sense;
        (sense[0] & 0x80 != 0).then(|| i32::from_be_bytes(sense[3..7].try_into().unwrap()))
    }

    /// FILEMARK, EOM and ILI in bits 7 to 5.
    pub(crate) fn flags(&self) -> u8 {
        self.outcome.sense.get(2).map_or(0, |byte| byte & 0xe0)
    }

    /// Byte and bit of the field pointer in the CDB.
    pub(crate) fn field(&self) -> (u16, Option<u8>) {
        let sense = &self.outcome.sense;
        assert_eq!(sense[15] & 0x80, 0x80, "the field pointer is valid: {sense:02x?}");
        let bit = (sense[15] & 0x08 != 0).then_some(sense[15] & 7);
        (u16::from_be_bytes([sense[16], sense[17]]), bit)
    }
}

pub(crate) const GOOD: (u8, u8, u8) = (0, 0, 0);

impl Unit {
    pub(crate) fn try_send(&mut self, cdb: &[u8], data: Data<'_>) -> Result<Outcome, TransportError> {
        self.transport.execute(cdb, data, Duration::from_secs(60))
    }

    pub(crate) fn send(&mut self, cdb: &[u8]) -> Reply {
        let outcome = self.try_send(cdb, Data::None).unwrap();
        Reply { outcome, data: Vec::new() }
    }

    pub(crate) fn send_in(&mut self, cdb: &[u8], len: usize) -> Reply {
        let mut data = vec![0xee; len];
        let outcome = self.try_send(cdb, Data::In(&mut data)).unwrap();
        data.truncate(outcome.transferred_bytes);
        Reply { outcome, data }
    }

    pub(crate) fn send_out(&mut self, cdb: &[u8], data: &[u8]) -> Reply {
        let outcome = self.try_send(cdb, Data::Out(data)).unwrap();
        Reply { outcome, data: Vec::new() }
    }

    /// Sends a command that must succeed.
    pub(crate) fn good(&mut self, cdb: &[u8]) {
        let reply = self.send(cdb);
        assert_eq!(reply.outcome.status, Status::Good, "{cdb:02x?}: {:02x?}", reply.outcome.sense);
    }

    /// Sends a command that must succeed, and returns its data.
    pub(crate) fn get(&mut self, cdb: &[u8], len: usize) -> Vec<u8> {
        let reply = self.send_in(cdb, len);
        assert_eq!(reply.outcome.status, Status::Good, "{cdb:02x?}: {:02x?}", reply.outcome.sense);
        reply.data
    }

    /// Sends a command with data that must succeed.
    pub(crate) fn put(&mut self, cdb: &[u8], data: &[u8]) {
        let reply = self.send_out(cdb, data);
        assert_eq!(reply.outcome.status, Status::Good, "{cdb:02x?}: {:02x?}", reply.outcome.sense);
    }

    /// TEST UNIT READY until it is good, or says something else than a unit attention or becoming ready.
    pub(crate) fn settle(&mut self) -> (u8, u8, u8) {
        for _ in 0..20 {
            let sense = self.send(&[0; 6]).sense();
            if sense.0 != 6 && (sense.0, sense.1) != (2, 4) {
                return sense;
            }
        }
        panic!("the unit does not settle");
    }

    pub(crate) fn write(&mut self, data: &[u8]) -> Reply {
        let [_, a, b, c] = u32::try_from(data.len()).unwrap().to_be_bytes();
        self.send_out(&[0x0a, 0, a, b, c, 0], data)
    }

    /// READ of a block with a buffer of this length.
    pub(crate) fn read(&mut self, len: usize) -> Reply {
        let [_, a, b, c] = u32::try_from(len).unwrap().to_be_bytes();
        self.send_in(&[0x08, 0, a, b, c, 0], len)
    }

    pub(crate) fn filemarks(&mut self, count: u8) {
        self.good(&[0x10, 0, 0, 0, count, 0]);
    }

    pub(crate) fn rewind(&mut self) {
        self.good(&[0x01, 0, 0, 0, 0, 0]);
    }

    pub(crate) fn locate(&mut self, object: u64) -> Reply {
        let mut cdb = vec![0x92, 0, 0, 0];
        cdb.extend(object.to_be_bytes());
        cdb.extend([0; 4]);
        self.send(&cdb)
    }

    pub(crate) fn space(&mut self, code: u8, count: i32) -> Reply {
        let [_, a, b, c] = count.to_be_bytes();
        self.send(&[0x11, code, a, b, c, 0])
    }

    /// Flags, partition, object and file from READ POSITION, long form.
    pub(crate) fn position(&mut self) -> (u8, u32, u64, u64) {
        let data = self.get(&[0x34, 6, 0, 0, 0, 0, 0, 0, 0, 0], 32);
        let long = |at: usize| u64::from_be_bytes(data[at..at + 8].try_into().unwrap());
        (data[0], u32::from_be_bytes(data[4..8].try_into().unwrap()), long(8), long(16))
    }
}
