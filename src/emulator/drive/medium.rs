//! The loaded cartridge under the head: what stands next, going to a place, cutting.

use super::state::Loaded;
use super::{Cache, Drive};
use crate::emulator::cartridge::{Cartridge, Partition};
use crate::emulator::exchange::Halt;
use crate::emulator::place::{EndOfData, Place};
use crate::emulator::sense::Sense;
use crate::emulator::tap::{Found, Object};

/// The cartridge and where the head is.
#[derive(Debug)]
pub(super) struct Mounted<'a> {
    pub(super) cartridge: &'a mut Cartridge,
    pub(super) loaded: &'a mut Loaded,
}

/// What a step met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Went over an object that starts at this offset.
    Over(Object, u64),
    /// The beginning of the partition.
    Beginning,
    /// The end of data.
    End,
    /// The end of what is whole; there is no end-of-data mark.
    Torn,
}

impl Drive {
    /// The loaded cartridge; its files are opened, and looked at anew if somebody else has changed them.
    pub(super) fn mounted(&mut self) -> Result<Mounted<'_>, Halt> {
        let loaded = self.file.state.loaded.as_mut().ok_or(Sense::no_medium())?;
        if self.cache.as_ref().is_none_or(|cache| cache.epoch != loaded.epoch) {
            let cartridge = Cartridge::open(&self.place.cartridges.join(&loaded.name))?;
            self.cache = Some(Cache { epoch: loaded.epoch, cartridge });
        }
        let cache = self.cache.as_mut().ok_or(Sense::no_medium())?;
        let cartridge = &mut cache.cartridge;
        for (number, end) in loaded.ends.iter_mut().enumerate() {
            cartridge.agree(number, end)?;
        }
        let end = loaded.end();
        let is_inside = loaded.place.object <= end.place.object && loaded.place.offset <= end.place.offset;
        if !is_inside || !loaded.place.is_sound() {
            loaded.place = end.place;
        }
        Ok(Mounted { cartridge, loaded })
    }

    /// Says that the cartridge was changed otherwise than by appending, so that others look at it anew.
    pub(super) fn changed(&mut self) {
        self.file.state.epoch += 1;
        let epoch = self.file.state.epoch;
        if let (Some(loaded), Some(cache)) = (self.file.state.loaded.as_mut(), self.cache.as_mut()) {
            loaded.epoch = epoch;
            cache.epoch = epoch;
        }
    }

    /// Writes the sidecar with the present ends of data.
    pub(super) fn save_cartridge(&mut self) -> Result<(), Halt> {
        let mounted = self.mounted()?;
        let ends = mounted.loaded.ends.iter();
        for (partition, end) in mounted.cartridge.sidecar.partitions.iter_mut().zip(ends) {
            partition.end = *end;
        }
        mounted.cartridge.save()?;
        Ok(())
    }
}

impl Mounted<'_> {
    /// What is known of the present partition.
    pub(super) fn partition(&self) -> Option<&Partition> {
        self.cartridge.sidecar.partitions.get(self.loaded.partition)
    }

    /// Goes over the next object.
    pub(super) fn step_forward(&mut self) -> Result<Step, Halt> {
        let (place, end, partition) = (self.loaded.place, self.loaded.end(), self.loaded.partition);
        if place.offset >= end.place.offset {
            return Ok(if end.is_torn { Step::Torn } else { Step::End });
        }
        let found = self.cartridge.on_tap(partition, "read", |tap| tap.next(place.offset, end.file_len))?;
        match found {
            Found::Object { object, start, end } => {
                self.loaded.place = place.after(object, end);
                self.cartridge.note(partition, self.loaded.place);
                Ok(Step::Over(object, start))
            }
            // The file was changed behind our back: what is left is not whole.
            Found::End | Found::Torn => Ok(Step::Torn),
        }
    }

    /// Goes back over the previous object.
    pub(super) fn step_back(&mut self) -> Result<Step, Halt> {
        let (place, partition) = (self.loaded.place, self.loaded.partition);
        if place.object == 0 {
            self.loaded.place = Place::default();
            return Ok(Step::Beginning);
        }
        match self.cartridge.on_tap(partition, "read", |tap| tap.previous(place.offset))? {
            Found::Object { object, start, .. } => {
                self.loaded.place = place.before(object, start);
                Ok(Step::Over(object, start))
            }
            Found::End => Ok(Step::Beginning),
            Found::Torn => Ok(Step::Torn),
        }
    }

    /// Goes to an object of the present partition; at the end of data, if there is no such object, says so.
    pub(super) fn go_to_object(&mut self, object: u64) -> Result<Step, Halt> {
        let end = self.loaded.end();
        if object >= end.place.object {
            self.loaded.place = end.place;
            let missing = if end.is_torn { Step::Torn } else { Step::End };
            let reached = object == end.place.object && !end.is_torn;
            return Ok(if reached { Step::Over(Object::Filemark, end.place.offset) } else { missing });
        }
        if object < self.loaded.place.object || object - self.loaded.place.object > 64 {
            let mark = self.partition().map(|partition| partition.marks.at_or_before_object(object));
            self.loaded.place = mark.unwrap_or_default();
        }
        while self.loaded.place.object < object {
            match self.step_forward()? {
                Step::Over(..) => {}
                other => return Ok(other),
            }
        }
        Ok(Step::Over(Object::Filemark, self.loaded.place.offset))
    }

    /// Goes to the place right after a filemark of the present partition, counted from 1; 0 is the beginning.
    pub(super) fn go_behind_filemark(&mut self, filemark: u64) -> Result<Step, Halt> {
        let end = self.loaded.end();
        if filemark > end.place.filemarks {
            self.loaded.place = end.place;
            return Ok(if end.is_torn { Step::Torn } else { Step::End });
        }
        let mark = self.partition().map(|partition| partition.marks.before_filemark(filemark));
        self.loaded.place = mark.unwrap_or_default();
        while self.loaded.place.filemarks < filemark {
            match self.step_forward()? {
                Step::Over(..) => {}
                other => return Ok(other),
            }
        }
        Ok(Step::Over(Object::Filemark, self.loaded.place.offset))
    }

    /// Makes the present place the end of data. The sidecar goes first, so that it never knows of objects
    /// that are gone. Returns whether anything was behind.
    pub(super) fn cut_here(&mut self) -> Result<bool, Halt> {
        let place = self.loaded.place;
        let whole = EndOfData { place, file_len: place.offset, is_torn: false };
        if self.loaded.end() == whole {
            return Ok(false);
        }
        if let Some(end) = self.loaded.ends.get_mut(self.loaded.partition) {
            *end = whole;
        }
        if let Some(partition) = self.cartridge.sidecar.partitions.get_mut(self.loaded.partition) {
            partition.marks.cut(place.offset);
            partition.end = whole;
        }
        self.cartridge.save()?;
        self.cartridge.on_tap(self.loaded.partition, "cut", |tap| tap.truncate(place.offset))?;
        Ok(true)
    }

    /// So many objects were written, up to `end` of the file, which is the end of data now.
    pub(super) fn wrote(&mut self, object: Object, end: u64, count: u32, buffer_bytes: u64) {
        let place = &mut self.loaded.place;
        place.object += u64::from(count);
        place.filemarks += if object == Object::Filemark { u64::from(count) } else { 0 };
        place.offset = end;
        let place = *place;
        self.cartridge.note(self.loaded.partition, place);
        if let Some(end) = self.loaded.ends.get_mut(self.loaded.partition) {
            *end = EndOfData { place, file_len: place.offset, is_torn: false };
        }
        self.loaded.buffer_up_to_here(buffer_bytes);
    }
}
