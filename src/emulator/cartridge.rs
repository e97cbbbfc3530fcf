//! A cartridge: an image file for each partition, `NAME.p0.tap` and `NAME.p1.tap`, and `NAME.json` beside them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::EmulatorError;
use super::generation::Generation;
use super::json::has_small_numbers;
use super::place::{EndOfData, Marks, Place, scan};
use super::tap::Tap;

/// Longest sidecar that is read, in bytes.
const SIDECAR_LEN_MAX: u64 = 8 << 20;
/// Version of the sidecar.
const VERSION: u32 = 1;

/// What a cartridge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CartridgeKind {
    /// Data, to be written again and again.
    #[default]
    Data,
    /// Data, to be written once.
    Worm,
    /// Cleaning.
    Cleaning,
}

/// A cartridge to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartridgeSpec {
    /// Barcode, up to 32 characters of A-Z, 0-9, `-`, `_`, `.` and `$`; none for an unlabelled cartridge.
    pub barcode: Option<String>,
    /// Serial number in the cartridge memory, up to 32 characters.
    pub serial: String,
    /// Generation.
    pub generation: Generation,
    /// What it is for.
    pub kind: CartridgeKind,
    /// Capacity in bytes; the native one of the generation if not given.
    pub capacity_bytes: Option<u64>,
    /// Bytes between early warning and the end; a 64th of the capacity and at most 2 GiB if not given.
    pub early_warning_bytes: Option<u64>,
}

impl CartridgeSpec {
    /// A data cartridge with the native capacity.
    #[must_use]
    pub fn data(barcode: &str, generation: Generation) -> Self {
        Self {
            barcode: Some(barcode.to_owned()),
            serial: format!("S{barcode}"),
            generation,
            kind: CartridgeKind::Data,
            capacity_bytes: None,
            early_warning_bytes: None,
        }
    }
}

/// What a reader meets behind a record that a power failure cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TornTail {
    /// 8/14/03 END-OF-DATA NOT FOUND.
    #[default]
    EndOfDataNotFound,
    /// 3/11/00 UNRECOVERED READ ERROR.
    ReadError,
}

/// An attribute of the cartridge memory (SPC-4, section 7.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attribute {
    /// 0 binary, 1 ASCII, 2 text.
    pub(super) format: u8,
    /// Value in hexadecimal.
    pub(super) value: String,
}

/// What the sidecar holds of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Partition {
    pub(super) capacity_bytes: u64,
    pub(super) end: EndOfData,
    /// Attributes that hosts have written, by identifier.
    #[serde(default)]
    pub(super) attributes: BTreeMap<u16, Attribute>,
    #[serde(default)]
    pub(super) marks: Marks,
}

/// The sidecar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sidecar {
    pub(super) version: u32,
    /// Empty if there is no label.
    pub(super) barcode: String,
    pub(super) serial: String,
    pub(super) generation: Generation,
    pub(super) kind: CartridgeKind,
    pub(super) write_protected: bool,
    pub(super) capacity_bytes: u64,
    /// Share of the capacity in use, in 65535ths (SET CAPACITY).
    pub(super) proportion: u16,
    pub(super) early_warning_bytes: u64,
    #[serde(default)]
    pub(super) torn_tail: TornTail,
    /// Whether the cartridge memory can be read.
    pub(super) has_memory: bool,
    pub(super) change_reference: u32,
    pub(super) load_count: u64,
    pub(super) written_bytes: u64,
    pub(super) read_bytes: u64,
    pub(super) cleanings_left: u32,
    /// Serial numbers of the drives of the last loads, latest first, at most four.
    pub(super) drives: Vec<String>,
    pub(super) partitions: Vec<Partition>,
}

impl Sidecar {
    pub(super) fn new(spec: &CartridgeSpec) -> Self {
        let capacity_bytes = spec.capacity_bytes.unwrap_or(spec.generation.capacity_bytes());
        let warning = spec.early_warning_bytes.unwrap_or((capacity_bytes / 64).min(2 << 30));
        Self {
            version: VERSION,
            barcode: spec.barcode.clone().unwrap_or_default(),
            serial: spec.serial.clone(),
            generation: spec.generation,
            kind: spec.kind,
            write_protected: false,
            capacity_bytes,
            proportion: u16::MAX,
            early_warning_bytes: warning.min(capacity_bytes / 2),
            torn_tail: TornTail::default(),
            has_memory: true,
            change_reference: 0,
            load_count: 0,
            written_bytes: 0,
            read_bytes: 0,
            cleanings_left: if spec.kind == CartridgeKind::Cleaning { 50 } else { 0 },
            drives: Vec::new(),
            partitions: vec![Partition { capacity_bytes, ..Partition::default() }],
        }
    }

    /// Reads a sidecar; bytes that are none are an error.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let sidecar: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if !has_small_numbers(bytes) {
            return Err(String::from("a number is beyond all measure"));
        }
        if sidecar.version != VERSION {
            return Err(format!("version {} is not known, only {VERSION}", sidecar.version));
        }
        if sidecar.partitions.is_empty() || sidecar.partitions.len() > 2 {
            return Err(format!("{} partitions, there are 1 or 2", sidecar.partitions.len()));
        }
        if sidecar.serial.len() > 32 || sidecar.barcode.len() > 32 || sidecar.drives.len() > 4 {
            return Err(String::from("a serial number, a barcode or a list of drives is too long"));
        }
        let sum: u64 = sidecar.partitions.iter().fold(0, |sum, p| sum.saturating_add(p.capacity_bytes));
        if sidecar.capacity_bytes > 1 << 50 || sum > 1 << 50 {
            return Err(String::from("a capacity of more than 1 PiB"));
        }
        Ok(sidecar)
    }
}

/// A cartridge that is opened.
#[derive(Debug)]
pub(super) struct Cartridge {
    base: PathBuf,
    pub(super) sidecar: Sidecar,
    pub(super) taps: Vec<Tap>,
}

/// File of a partition.
pub(super) fn tap_path(base: &Path, partition: usize) -> PathBuf {
    with_ending(base, &format!(".p{partition}.tap"))
}

/// File with everything else.
pub(super) fn sidecar_path(base: &Path) -> PathBuf {
    with_ending(base, ".json")
}

fn with_ending(base: &Path, ending: &str) -> PathBuf {
    let mut path = base.as_os_str().to_owned();
    path.push(ending);
    PathBuf::from(path)
}

impl Cartridge {
    /// Makes a cartridge; `base` is its path without the endings. Image files that are there are taken over.
    pub(super) fn create(base: &Path, spec: &CartridgeSpec) -> Result<(), EmulatorError> {
        let path = sidecar_path(base);
        if path.exists() {
            return Err(EmulatorError::Shape(format!("there is a cartridge {} already", path.display())));
        }
        let mut cartridge = Self { base: base.to_owned(), sidecar: Sidecar::new(spec), taps: Vec::new() };
        cartridge.open_taps()?;
        cartridge.find_ends()?;
        cartridge.save()
    }

    /// Opens a cartridge, and finds the end of data if its files are not as the sidecar says.
    pub(super) fn open(base: &Path) -> Result<Self, EmulatorError> {
        let sidecar = read_sidecar(base)?;
        let mut cartridge = Self { base: base.to_owned(), sidecar, taps: Vec::new() };
        cartridge.open_taps()?;
        cartridge.find_ends()?;
        Ok(cartridge)
    }

    fn open_taps(&mut self) -> Result<(), EmulatorError> {
        self.taps.clear();
        for partition in 0..self.sidecar.partitions.len() {
            let path = tap_path(&self.base, partition);
            self.taps.push(Tap::open(&path).map_err(EmulatorError::file("open", &path))?);
        }
        Ok(())
    }

    fn find_ends(&mut self) -> Result<(), EmulatorError> {
        for (number, (tap, partition)) in self.taps.iter().zip(&mut self.sidecar.partitions).enumerate() {
            let find = |partition: &mut Partition| -> io::Result<()> {
                let file_len = tap.len()?;
                if !partition.marks.is_sound(file_len) {
                    partition.marks = Marks::default();
                }
                if partition.end.file_len != file_len || !partition.end.is_sound() {
                    let from = partition.marks.last();
                    partition.end = scan(tap, from, &mut partition.marks)?;
                }
                Ok(())
            };
            find(partition).map_err(EmulatorError::file("read", &tap_path(&self.base, number)))?;
        }
        Ok(())
    }

    /// Makes as many image files as there are partitions in the sidecar, all empty.
    pub(super) fn make_partitions(&mut self, capacities: &[u64]) -> Result<(), EmulatorError> {
        let fresh = |capacity: &u64| Partition { capacity_bytes: *capacity, ..Partition::default() };
        self.sidecar.partitions = capacities.iter().map(fresh).collect();
        self.save()?;
        self.open_taps()?;
        for (number, tap) in self.taps.iter().enumerate() {
            tap.truncate(0).map_err(EmulatorError::file("cut", &tap_path(&self.base, number)))?;
        }
        let unused = tap_path(&self.base, capacities.len());
        match fs::remove_file(&unused) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(EmulatorError::file("remove", &unused)(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes the sidecar: a new file, then its name.
    pub(super) fn save(&self) -> Result<(), EmulatorError> {
        write_sidecar(&self.base, &self.sidecar)
    }

    /// Does something with the image file of a partition.
    pub(super) fn on_tap<T>(
        &self,
        partition: usize,
        operation: &'static str,
        act: impl FnOnce(&Tap) -> io::Result<T>,
    ) -> Result<T, EmulatorError> {
        let path = tap_path(&self.base, partition);
        let tap =
            self.taps.get(partition).ok_or_else(|| EmulatorError::damaged(&path, "no such partition"))?;
        act(tap).map_err(EmulatorError::file(operation, &path))
    }

    /// Makes what is known of a partition agree with its file: a process that died may have written more
    /// than it said, or have cut the tape without saying so.
    pub(super) fn agree(&mut self, number: usize, end: &mut EndOfData) -> Result<(), EmulatorError> {
        let file_len = self.on_tap(number, "read", Tap::len)?;
        let Some(partition) = self.sidecar.partitions.get_mut(number) else { return Ok(()) };
        if file_len == end.file_len && end.is_sound() {
            return Ok(());
        }
        let mut marks = std::mem::take(&mut partition.marks);
        marks.cut(file_len);
        let from = if file_len > end.file_len && end.is_sound() { end.place } else { marks.last() };
        let found = self.on_tap(number, "read", |tap| scan(tap, from, &mut marks));
        if let Some(partition) = self.sidecar.partitions.get_mut(number) {
            partition.marks = marks;
        }
        *end = found?;
        Ok(())
    }

    /// Takes note of a place that was passed.
    pub(super) fn note(&mut self, partition: usize, place: Place) {
        if let Some(partition) = self.sidecar.partitions.get_mut(partition) {
            partition.marks.note(place);
        }
    }
}

/// Reads the sidecar alone.
pub(super) fn read_sidecar(base: &Path) -> Result<Sidecar, EmulatorError> {
    let path = sidecar_path(base);
    let file = File::open(&path).map_err(EmulatorError::file("open", &path))?;
    let mut bytes = Vec::new();
    file.take(SIDECAR_LEN_MAX).read_to_end(&mut bytes).map_err(EmulatorError::file("read", &path))?;
    Sidecar::decode(&bytes).map_err(|reason| EmulatorError::damaged(&path, reason))
}

/// Writes the sidecar alone: a new file, then its name.
pub(super) fn write_sidecar(base: &Path, sidecar: &Sidecar) -> Result<(), EmulatorError> {
    let path = sidecar_path(base);
    let text = serde_json::to_vec_pretty(sidecar)
        .map_err(|error| EmulatorError::damaged(&path, error.to_string()))?;
    replace_file(&path, &text)
}

/// Replaces a file by one with other bytes, or makes it.
pub(super) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), EmulatorError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(&new)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&new, path)
    };
    write().map_err(EmulatorError::file("write", path))
}
