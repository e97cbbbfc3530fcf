//! The system calls of the sg driver, version 3: all that is `unsafe` about SCSI.

#![allow(unsafe_code, reason = "commands reach a device by ioctl alone, which has no safe interface")]

use std::ffi::{c_int, c_uchar, c_uint, c_ulong, c_ushort, c_void};
use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::ptr;

use crate::scsi::sense::SENSE_LEN_MAX;
use crate::scsi::transport::Data;

const SG_IO: c_ulong = 0x2285;
const SG_GET_VERSION_NUM: c_ulong = 0x2282;
const SG_SET_RESERVED_SIZE: c_ulong = 0x2275;
const SG_GET_RESERVED_SIZE: c_ulong = 0x2272;
/// On sg nodes, the answer is in bytes.
const BLKSECTGET: c_ulong = 0x1267;

const SG_DXFER_NONE: c_int = -1;
const SG_DXFER_TO_DEV: c_int = -2;
const SG_DXFER_FROM_DEV: c_int = -3;

/// `struct sg_io_hdr` of `include/scsi/sg.h`.
#[repr(C)]
struct SgIoHeader {
    interface_id: c_int,
    dxfer_direction: c_int,
    cmd_len: c_uchar,
    mx_sb_len: c_uchar,
    iovec_count: c_ushort,
    dxfer_len: c_uint,
    dxferp: *mut c_void,
    cmdp: *const c_uchar,
    sbp: *mut c_uchar,
    timeout: c_uint,
    flags: c_uint,
    pack_id: c_int,
    usr_ptr: *mut c_void,
    status: c_uchar,
    masked_status: c_uchar,
    msg_status: c_uchar,
    sb_len_wr: c_uchar,
    host_status: c_ushort,
    driver_status: c_ushort,
    resid: c_int,
    duration: c_uint,
    info: c_uint,
}

// The kernel's structure has 88 bytes with pointers of 64 bits, 64 with pointers of 32.
const _: () = assert!(mem::size_of::<SgIoHeader>() == if mem::size_of::<usize>() == 8 { 88 } else { 64 });

/// What the driver says of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawOutcome {
    pub(super) status: u8,
    pub(super) host_status: u16,
    pub(super) driver_status: u16,
    pub(super) residual: i32,
    pub(super) sense: Vec<u8>,
}

/// Sends a command and waits for its end.
pub(super) fn execute(file: &File, cdb: &[u8], data: Data<'_>, timeout_ms: u32) -> io::Result<RawOutcome> {
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let (direction, data_pointer, len) = match data {
        Data::None => (SG_DXFER_NONE, ptr::null_mut(), 0),
        Data::In(buffer) => (SG_DXFER_FROM_DEV, buffer.as_mut_ptr().cast::<c_void>(), buffer.len()),
        Data::Out(bytes) => (SG_DXFER_TO_DEV, bytes.as_ptr().cast_mut().cast::<c_void>(), bytes.len()),
    };
    let mut sense = [0; SENSE_LEN_MAX];
    let mut header = SgIoHeader {
        interface_id: c_int::from(b'S'),
        dxfer_direction: direction,
        cmd_len: cdb.len().try_into().map_err(too_long)?,
        mx_sb_len: sense.len().try_into().map_err(too_long)?,
        iovec_count: 0,
        dxfer_len: len.try_into().map_err(too_long)?,
        dxferp: data_pointer,
        cmdp: cdb.as_ptr(),
        sbp: sense.as_mut_ptr(),
        timeout: timeout_ms,
        flags: 0,
        pack_id: 0,
        usr_ptr: ptr::null_mut(),
        status: 0,
        masked_status: 0,
        msg_status: 0,
        sb_len_wr: 0,
        host_status: 0,
        driver_status: 0,
        resid: 0,
        duration: 0,
        info: 0,
    };
    let signals = SignalsBlocked::new()?;
    // SAFETY: the header is the kernel's structure, checked in length above; its pointers are of a CDB, a
    // sense buffer and a data buffer that outlive the call, with their true lengths, and the data is
    // written only in the direction FROM_DEV, where the buffer was given for writing.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), SG_IO as _, &raw mut header) };
    let failure = io::Error::last_os_error();
    drop(signals);
    if result < 0 {
        return Err(failure);
    }
    Ok(RawOutcome {
        status: header.status,
        host_status: header.host_status,
        driver_status: header.driver_status,
        residual: header.resid,
        sense: sense.get(..usize::from(header.sb_len_wr)).unwrap_or(&sense).to_vec(),
    })
}

/// Version of the driver, 30000 and above for this interface; an error if it is another driver.
pub(super) fn version(file: &File) -> io::Result<i32> {
    get(file, SG_GET_VERSION_NUM)
}

/// Asks for a reserved buffer of `len` bytes, and returns what there is.
pub(super) fn reserve(file: &File, len: i32) -> io::Result<i32> {
    let mut value: c_int = len;
    // SAFETY: this request reads one int through the pointer, which is of an int that outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), SG_SET_RESERVED_SIZE as _, &raw mut value) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    get(file, SG_GET_RESERVED_SIZE)
}

/// Longest transfer in bytes that the adapter wants.
pub(super) fn transfer_len_max(file: &File) -> io::Result<i32> {
    get(file, BLKSECTGET)
}

fn get(file: &File, request: c_ulong) -> io::Result<i32> {
    let mut value: c_int = 0;
    // SAFETY: these requests write one int through the pointer, which is of an int that outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), request as _, &raw mut value) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// Keeps signals from the thread while a command is in flight: the driver would give the command up, and the
/// kernel, for handlers that restart system calls, would send it a second time.
struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    fn new() -> io::Result<Self> {
        // SAFETY: a signal set is plain data, for which zeros are a value.
        let mut all: libc::sigset_t = unsafe { mem::zeroed() };
        let mut before = all;
        // SAFETY: the pointer is of a signal set.
        unsafe { libc::sigfillset(&raw mut all) };
        // SAFETY: both pointers are of signal sets that outlive the call.
        let result = unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) };
        if result == 0 { Ok(Self { before }) } else { Err(io::Error::from_raw_os_error(result)) }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the pointer is of the signal set that was in force; the old one is not asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}
