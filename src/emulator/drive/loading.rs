//! A cartridge comes, becomes ready, and goes.

use super::{Drive, Loaded};
use crate::emulator::bytes::u8_at;
use crate::emulator::cartridge::{Cartridge, CartridgeKind};
use crate::emulator::exchange::{Done, Exchange, Halt};
use crate::emulator::generation::Access;
use crate::emulator::nexus::MEDIUM_CHANGED;
use crate::emulator::place::Place;
use crate::emulator::sense::{Sense, key};

impl Drive {
    /// What stands against any command that needs a cartridge (TEST UNIT READY tells it).
    pub(super) fn check_ready(&mut self) -> Result<(), Sense> {
        let now_ns = self.now_ns();
        let loaded = self.file.state.loaded.as_mut().filter(|loaded| loaded.is_threaded);
        let loaded = loaded.ok_or(Sense::no_medium())?;
        if loaded.becoming_ready > 0 || loaded.ready_at_ns > now_ns {
            loaded.becoming_ready = loaded.becoming_ready.saturating_sub(1);
            // LOGICAL UNIT IS IN PROCESS OF BECOMING READY.
            return Err(Sense::new(key::NOT_READY, 0x04, 0x01));
        }
        match loaded.obstacle {
            Some((sense_key, asc, ascq)) => Err(Sense::new(sense_key, asc, ascq)),
            None => Ok(()),
        }
    }

    /// What REQUEST SENSE says when there is nothing else to say: why the drive is not ready, and how far it is.
    pub(super) fn idle_sense(&mut self) -> Sense {
        let (now_ns, since_ns) = (self.now_ns(), self.file.state.time.busy_since_ns);
        let until_ns = self.file.state.loaded.as_ref().map_or(0, |loaded| loaded.ready_at_ns);
        let idle = self.check_ready().err().unwrap_or_default();
        if until_ns <= now_ns || now_ns < since_ns {
            return idle;
        }
        let share = (now_ns - since_ns).saturating_mul(65_536) / (until_ns - since_ns).max(1);
        Sense { progress: u16::try_from(share).ok(), ..idle }
    }

    /// Ready, and the cartridge can be read.
    pub(super) fn check_readable(&mut self) -> Done {
        Ok(self.check_ready()?)
    }

    /// Ready, and the present place may be written to.
    pub(super) fn check_writable(&mut self) -> Done {
        self.check_ready()?;
        let drive = self.generation();
        let append_only = self.file.state.modes.append_only;
        let mounted = self.mounted()?;
        let sidecar = &mounted.cartridge.sidecar;
        if sidecar.write_protected {
            self.raise(super::logs::alert::WRITE_PROTECT);
            return Err(Sense::new(key::DATA_PROTECT, 0x27, 0).into());
        }
        if drive.access(sidecar.generation) != Access::Write {
            // CANNOT WRITE MEDIUM - INCOMPATIBLE FORMAT.
            return Err(Sense::new(key::DATA_PROTECT, 0x30, 0x05).into());
        }
        let (place, end) = (mounted.loaded.place, mounted.loaded.end());
        if sidecar.kind == CartridgeKind::Worm && place.object < end.place.object {
            // WORM MEDIUM - OVERWRITE ATTEMPTED.
            return Err(Sense::new(key::DATA_PROTECT, 0x30, 0x0c).into());
        }
        let is_allowed = mounted.loaded.overwrite_at == Some(place.object);
        if append_only && place.object < end.place.object && !is_allowed {
            // WRITE APPEND POSITION ERROR.
            return Err(Sense::new(key::DATA_PROTECT, 0x50, 0x01).into());
        }
        Ok(())
    }

    /// The changer puts a cartridge in. The state file is locked by the caller.
    pub(in crate::emulator) fn insert(&mut self, name: &str) -> Result<(), Halt> {
        let cartridge = Cartridge::open(&self.place.cartridges.join(name))?;
        self.file.state.loaded = Some(Loaded::new(name, &cartridge));
        self.cache = None;
        self.thread()
    }

    // The cartridge is drawn in, and its memory says that it was.
    fn thread(&mut self) -> Result<(), Halt> {
        let figures = self.figures();
        let (drive, serial) = (self.generation(), self.place.config.drive_serial(self.place.number));
        self.file.state.epoch += 1;
        let epoch = self.file.state.epoch;
        let becoming_ready = self.place.config.becoming_ready_count;
        let Some(loaded) = self.file.state.loaded.as_mut() else { return Ok(()) };
        loaded.epoch = epoch;
        loaded.is_threaded = true;
        loaded.is_written = false;
        loaded.becoming_ready = becoming_ready;
        loaded.partition = 0;
        loaded.place = Place::default();
        loaded.synchronize();
        self.cache = None;
        let mounted = self.mounted()?;
        let sidecar = &mut mounted.cartridge.sidecar;
        sidecar.load_count += 1;
        sidecar.drives.insert(0, serial);
        sidecar.drives.truncate(4);
        mounted.loaded.obstacle = match (sidecar.kind, drive.access(sidecar.generation)) {
            // CLEANING CARTRIDGE INSTALLED.
            (CartridgeKind::Cleaning, _) => Some((key::NOT_READY, 0x30, 0x03)),
            // INCOMPATIBLE MEDIUM INSTALLED.
            (_, Access::None) => Some((key::NOT_READY, 0x30, 0x00)),
            _ => None,
        };
        let is_cleaning = sidecar.kind == CartridgeKind::Cleaning;
        let is_new = !is_cleaning && sidecar.load_count == 1 && mounted.loaded.obstacle.is_none();
        let calibration_ms = if is_new { sidecar.generation.figures().calibration_ms } else { 0 };
        let is_expired = is_cleaning && sidecar.cleanings_left == 0;
        if is_cleaning {
            sidecar.cleanings_left = sidecar.cleanings_left.saturating_sub(1);
        }
        self.save_cartridge()?;
        if is_expired {
            self.raise(super::logs::alert::EXPIRED_CLEANING);
        } else if is_cleaning {
            self.file.state.alerts = 0;
        }
        self.file.state.counters.load_count += 1;
        self.file.state.modes = super::modes::Modes::default();
        // The changer does not wait for the drive.
        self.is_immediate = true;
        let ready_at_ns = self.begin_motion((figures.load_ms + calibration_ms) * 1_000_000);
        if let Some(loaded) = self.file.state.loaded.as_mut() {
            loaded.ready_at_ns = ready_at_ns;
        }
        self.file.state.unit.nexuses.tell_all(MEDIUM_CHANGED);
        Ok(())
    }

    /// The changer takes the cartridge out; it must be unloaded. Returns its name.
    pub(in crate::emulator) fn remove(&mut self) -> Option<String> {
        self.cache = None;
        self.file.state.loaded.take().map(|loaded| loaded.name)
    }

    /// Tells whether there is a cartridge that the drive holds on to.
    pub(in crate::emulator) fn holds(&self) -> bool {
        self.file.state.loaded.as_ref().is_some_and(|loaded| loaded.is_threaded)
    }

    /// Writes everything out, rewinds, and lets go of the cartridge.
    pub(in crate::emulator) fn unload(&mut self) -> Done {
        if !self.holds() {
            return Ok(());
        }
        if self.file.state.unit.nexuses.is_removal_prevented() {
            // MEDIUM REMOVAL PREVENTED.
            return Err(Sense::illegal(0x53, 0x02).into());
        }
        self.synchronize()?;
        let from = self.head();
        let mounted = self.mounted()?;
        mounted.loaded.place = Place::default();
        mounted.loaded.partition = 0;
        mounted.loaded.synchronize();
        mounted.loaded.is_threaded = false;
        self.file.state.counters.rewind_count += 1;
        self.travel(from);
        let unload_ns = self.figures().unload_ms * 1_000_000;
        self.begin_motion(unload_ns);
        self.cache = None;
        Ok(())
    }

    /// LOAD UNLOAD (SSC-4, section 7.2).
    pub(super) fn load_unload(&mut self, exchange: &mut Exchange<'_>) -> Done {
        let flags = u8_at(exchange.cdb, 4);
        let (load, end, hold) = (flags & 1 != 0, flags & 4 != 0, flags & 8 != 0);
        if load && end {
            return Err(Sense::invalid_field(4, Some(2)).into());
        }
        if hold {
            return Err(Sense::invalid_field(4, Some(3)).into());
        }
        let Some(loaded) = self.file.state.loaded.as_ref() else {
            return if load { Err(Sense::no_medium().into()) } else { Ok(()) };
        };
        match (load, loaded.is_threaded) {
            (true, false) => self.thread(),
            (true, true) => {
                self.check_ready()?;
                self.finish_writing()?;
                let from = self.head();
                let mounted = self.mounted()?;
                mounted.loaded.partition = 0;
                mounted.loaded.place = Place::default();
                mounted.loaded.synchronize();
                self.travel(from);
                Ok(())
            }
            (false, _) => self.unload(),
        }
    }
}
