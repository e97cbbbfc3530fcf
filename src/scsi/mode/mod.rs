//! Mode parameters: how a device is set (SPC-4, section 7.5).
//!
//! A page is read, changed in place and sent back, so that bits unknown here stay as they were.

mod pages;

pub use pages::{
    DataCompression, DeviceConfiguration, DeviceConfigurationExtension, ElementAddressAssignment,
    ElementRange, LogicalBlockProtection, MediumPartition, ProtectionMethod,
};

use super::fields::{Fields, u24};
use crate::codec::DecodeError;

/// Most pages that are taken from a reply.
const PAGES_MAX: usize = 256;
/// Length of a short block descriptor (SPC-4; SSC-4).
const BLOCK_DESCRIPTOR_LEN: usize = 8;

/// Which of the two forms of MODE SENSE and MODE SELECT: they have different headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModeForm {
    /// MODE SENSE(6), header of four bytes.
    Six,
    /// MODE SENSE(10), header of eight bytes.
    Ten,
}

/// The first block descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockDescriptor {
    /// Density code.
    pub density_code: u8,
    /// Number of blocks; 0 for all.
    pub block_count: u32,
    /// Length of blocks in bytes; 0 for variable blocks.
    pub block_len_bytes: u32,
}

/// A mode page with its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModePage {
    /// Page code.
    pub page: u8,
    /// Subpage code; 0 for pages without.
    pub subpage: u8,
    /// All bytes of the page, from the page code on.
    pub bytes: Vec<u8>,
}

/// Mode parameters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModeParameters {
    /// Medium type.
    pub medium_type: u8,
    /// Device-specific parameter: see [`ModeParameters::is_write_protected`].
    pub device_specific: u8,
    /// Block descriptor, if there is one.
    pub block_descriptor: Option<BlockDescriptor>,
    /// Pages.
    pub pages: Vec<ModePage>,
}

impl ModeParameters {
    /// Decodes the reply to MODE SENSE, up to where it is cut off.
    ///
    /// # Errors
    /// [`DecodeError`] if the header is short.
    pub fn parse(form: ModeForm, reply: &[u8]) -> Result<Self, DecodeError> {
        let fields = Fields::new("mode parameters", reply);
        // SPC-4. The length counts what follows it.
        let (announced, header_len, descriptors_len) = match form {
            ModeForm::Six => (usize::from(fields.u8(0)?) + 1, 4, usize::from(fields.u8(3)?)),
            ModeForm::Ten => (usize::from(fields.u16(0)?) + 2, 8, usize::from(fields.u16(6)?)),
        };
        let at = if form == ModeForm::Six { 1 } else { 2 };
        let fields = fields.up_to(announced.max(header_len));
        let mut parameters = Self {
            medium_type: fields.u8(at)?,
            device_specific: fields.u8(at + 1)?,
            block_descriptor: None,
            pages: Vec::new(),
        };
        if descriptors_len >= BLOCK_DESCRIPTOR_LEN {
            parameters.block_descriptor = Some(BlockDescriptor {
                density_code: fields.u8(header_len)?,
                block_count: fields.u24(header_len + 1)?,
                block_len_bytes: fields.u24(header_len + 5)?,
            });
        }
        parameters.take_pages(fields.rest(header_len + descriptors_len));
        Ok(parameters)
    }

    // SPC-4: pages without and with a subpage.
    fn take_pages(&mut self, mut rest: &[u8]) {
        while let [code, second, ..] = *rest {
            let has_subpage = code & 0x40 != 0;
            let len = match (has_subpage, rest.get(2..4)) {
                (false, _) => 2 + usize::from(second),
                (true, Some([high, low])) => 4 + usize::from(u16::from_be_bytes([*high, *low])),
                (true, _) => return,
            };
            let Some(bytes) = rest.get(..len) else {
                return;
            };
            if self.pages.len() == PAGES_MAX {
                return;
            }
            let subpage = if has_subpage { second } else { 0 };
            self.pages.push(ModePage { page: code & 0x3f, subpage, bytes: bytes.to_vec() });
            rest = rest.get(len..).unwrap_or_default();
        }
    }

    /// Encodes the parameter list of MODE SELECT: lengths and medium type are zero, and so is the bit
    /// that says whether a page can be saved, as the standard wants it.
    ///
    /// # Panics
    /// If a length of blocks needs more than 24 bits.
    #[must_use]
    pub fn encode(&self, form: ModeForm) -> Vec<u8> {
        // Bit 7 tells of write protection and is reserved here.
        let device_specific = self.device_specific & 0x7f;
        let descriptor_len = if self.block_descriptor.is_some() { 8 } else { 0 };
        let mut list = match form {
            ModeForm::Six => vec![0, 0, device_specific, descriptor_len],
            ModeForm::Ten => vec![0, 0, 0, device_specific, 0, 0, 0, descriptor_len],
        };
        if let Some(descriptor) = self.block_descriptor {
            list.push(descriptor.density_code);
            list.extend_from_slice(&u24(descriptor.block_count));
            list.push(0);
            list.extend_from_slice(&u24(descriptor.block_len_bytes));
        }
        for page in &self.pages {
            let start = list.len();
            list.extend_from_slice(&page.bytes);
            if let Some(code) = list.get_mut(start) {
                *code &= 0x7f;
            }
        }
        list
    }

    /// Whether the device refuses to write: the cartridge's switch, or the drive (SSC-4).
    #[must_use]
    pub fn is_write_protected(&self) -> bool {
        self.device_specific & 0x80 != 0
    }

    /// Buffered mode: 0 writes through, 1 answers when data is in the buffer (SSC-4).
    #[must_use]
    pub fn buffered_mode(&self) -> u8 {
        self.device_specific >> 4 & 0x07
    }

    /// Sets the buffered mode.
    pub fn set_buffered_mode(&mut self, mode: u8) {
        self.device_specific = self.device_specific & 0x8f | (mode & 0x07) << 4;
    }

    /// The page with these codes.
    #[must_use]
    pub fn page(&self, page: u8, subpage: u8) -> Option<&ModePage> {
        self.pages.iter().find(|found| found.page == page && found.subpage == subpage)
    }

    /// The page with these codes, to be changed.
    pub fn page_mut(&mut self, page: u8, subpage: u8) -> Option<&mut ModePage> {
        self.pages.iter_mut().find(|found| found.page == page && found.subpage == subpage)
    }
}

impl ModePage {
    fn fields(&self, what: &'static str) -> Fields<'_> {
        Fields::new(what, &self.bytes)
    }

    // Changes the bits of `mask` in the byte at `offset`; bytes that the device's page lacks are left out.
    fn set(&mut self, offset: usize, mask: u8, bits: u8) {
        if let Some(byte) = self.bytes.get_mut(offset) {
            *byte = *byte & !mask | bits & mask;
        }
    }
}
