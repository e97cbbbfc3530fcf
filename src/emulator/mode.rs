//! MODE SENSE and MODE SELECT (SPC-4, sections 6.9 to 6.12): the frame around mode pages.

use super::bytes::{saturated_u8, saturated_u16, u8_at, u16_at};
use super::exchange::{Done, Exchange};
use super::sense::Sense;

/// A mode page: its bytes with the header, and the bits in them that may be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) code: u8,
    pub(super) subpage: u8,
    pub(super) current: Vec<u8>,
    pub(super) default: Vec<u8>,
    pub(super) changeable: Vec<u8>,
}

impl Page {
    /// A page that cannot be changed.
    pub(super) fn constant(code: u8, body: &[u8]) -> Self {
        Self::changeable(code, 0, body, body, &vec![0; body.len()])
    }

    /// A page of which some bits can be changed.
    pub(super) fn changeable(code: u8, subpage: u8, current: &[u8], default: &[u8], mask: &[u8]) -> Self {
        let frame = |body: &[u8]| {
            let mut bytes = if subpage == 0 {
                vec![code, saturated_u8(body.len())]
            } else {
                let [high, low] = saturated_u16(body.len()).to_be_bytes();
                vec![code | 0x40, subpage, high, low]
            };
            bytes.extend(body);
            bytes
        };
        Self { code, subpage, current: frame(current), default: frame(default), changeable: frame(mask) }
    }

    /// Length of the header in bytes.
    pub(super) fn header_len(&self) -> usize {
        if self.subpage == 0 { 2 } else { 4 }
    }
}

/// What stands before the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ModeHeader {
    pub(super) medium_type: u8,
    pub(super) device_specific: u8,
    /// Block descriptor, if the device has any.
    pub(super) block: Option<[u8; 8]>,
}

fn is_long(exchange: &Exchange<'_>) -> bool {
    matches!(exchange.operation_code(), 0x55 | 0x5a)
}

/// Answers MODE SENSE(6) or (10).
pub(super) fn mode_sense(exchange: &mut Exchange<'_>, header: ModeHeader, pages: &[Page]) -> Done {
    let cdb = exchange.cdb;
    let is_long = is_long(exchange);
    let (control, code, subpage) = (u8_at(cdb, 2) >> 6, u8_at(cdb, 2) & 0x3f, u8_at(cdb, 3));
    if control == 3 {
        // SAVING PARAMETERS NOT SUPPORTED.
        return Err(Sense::illegal(0x39, 0).into());
    }
    let chosen: Vec<&Page> = pages.iter().filter(|page| is_asked(page, code, subpage)).collect();
    // Page 00h alone asks for header and block descriptor.
    if chosen.is_empty() && code != 0 {
        let byte = if pages.iter().any(|page| page.code == code) { 3 } else { 2 };
        return Err(Sense::invalid_field(byte, if byte == 2 { Some(5) } else { None }).into());
    }
    let mut body = Vec::new();
    for page in chosen {
        body.extend(match control {
            1 => &page.changeable,
            2 => &page.default,
            _ => &page.current,
        });
    }
    let block = header.block.filter(|_| !exchange.bit(1, 3));
    let descriptor = block.as_ref().map_or(&[][..], |block| block.as_slice());
    let mut reply = Vec::new();
    if is_long {
        reply.extend(saturated_u16(6 + descriptor.len() + body.len()).to_be_bytes());
        reply.extend([header.medium_type, header.device_specific, 0, 0]);
        reply.extend(saturated_u16(descriptor.len()).to_be_bytes());
    } else {
        reply.push(saturated_u8(3 + descriptor.len() + body.len()));
        reply.extend([header.medium_type, header.device_specific, saturated_u8(descriptor.len())]);
    }
    reply.extend(descriptor);
    reply.append(&mut body);
    let len = if is_long { usize::from(u16_at(cdb, 7)) } else { usize::from(u8_at(cdb, 4)) };
    exchange.answer(&reply, len);
    Ok(())
}

fn is_asked(page: &Page, code: u8, subpage: u8) -> bool {
    let is_code = code == 0x3f || code == page.code;
    is_code && (subpage == 0xff || subpage == page.subpage)
}

/// What MODE SELECT brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    /// Device-specific parameter.
    pub(super) device_specific: u8,
    /// Offset of the device-specific parameter in the list.
    pub(super) device_specific_at: usize,
    /// Block descriptor and its offset.
    pub(super) block: Option<([u8; 8], usize)>,
    /// Pages, each with its offset; they are known and change nothing that cannot be changed.
    pub(super) pages: Vec<(usize, Vec<u8>)>,
}

/// Reads the parameter list of MODE SELECT(6) or (10) and checks it against the pages that there are.
pub(super) fn mode_select(
    exchange: &mut Exchange<'_>,
    known: &[Page],
    has_block: bool,
) -> Result<Option<Selection>, super::exchange::Halt> {
    let is_long = is_long(exchange);
    let cdb = exchange.cdb;
    if exchange.bit(1, 0) {
        // Pages cannot be saved.
        return Err(Sense::invalid_field(1, Some(0)).into());
    }
    if !exchange.bit(1, 4) {
        return Err(Sense::invalid_field(1, Some(4)).into());
    }
    let len = if is_long { usize::from(u16_at(cdb, 7)) } else { usize::from(u8_at(cdb, 4)) };
    if len == 0 {
        return Ok(None);
    }
    let list = exchange.parameters(len)?;
    let header_len = if is_long { 8 } else { 4 };
    if len < header_len {
        return Err(Sense::parameter_length().into());
    }
    // Mode data length is reserved in MODE SELECT.
    let reserved = if is_long { u16_at(list, 0) != 0 } else { u8_at(list, 0) != 0 };
    if reserved {
        return Err(Sense::invalid_parameter(0, None).into());
    }
    let device_specific_at = if is_long { 3 } else { 2 };
    let block_len = if is_long { usize::from(u16_at(list, 6)) } else { usize::from(u8_at(list, 3)) };
    let block = match block_len {
        0 => None,
        8 if has_block && list.len() >= header_len + 8 => {
            Some((super::bytes::array_at(list, header_len), header_len))
        }
        8 if has_block => return Err(Sense::parameter_length().into()),
        _ => return Err(Sense::invalid_parameter(if is_long { 6 } else { 3 }, None).into()),
    };
    let pages = select_pages(list, header_len + block_len, known)?;
    let device_specific = u8_at(list, device_specific_at);
    Ok(Some(Selection { device_specific, device_specific_at, block, pages }))
}

fn select_pages(list: &[u8], start: usize, known: &[Page]) -> Result<Vec<(usize, Vec<u8>)>, Sense> {
    let mut pages = Vec::new();
    let mut at = start;
    while at < list.len() {
        let first = u8_at(list, at);
        let has_subpage = first & 0x40 != 0;
        let subpage = if has_subpage { u8_at(list, at + 1) } else { 0 };
        // The bit PS is reserved in MODE SELECT.
        if first & 0x80 != 0 {
            return Err(Sense::invalid_parameter(at, Some(7)));
        }
        let found = known.iter().find(|page| page.code == first & 0x3f && page.subpage == subpage);
        let page = found.ok_or(Sense::invalid_parameter(at, None))?;
        let end = at + page.current.len();
        let given = list.get(at..end).ok_or(Sense::parameter_length())?;
        check_page(page, given, at)?;
        pages.push((at, given.to_vec()));
        at = end;
    }
    Ok(pages)
}

// The length is the right one, and no bit differs that cannot be changed.
fn check_page(page: &Page, given: &[u8], at: usize) -> Result<(), Sense> {
    let header = page.header_len();
    let bytes = given.iter().zip(&page.current).zip(&page.changeable).enumerate();
    for (index, ((given, current), changeable)) in bytes {
        let fixed = if index < header { 0xff } else { !changeable };
        let wrong = (given ^ current) & fixed;
        if wrong != 0 {
            return Err(Sense::invalid_parameter(at + index, u8::try_from(wrong.ilog2()).ok()));
        }
    }
    Ok(())
}
