//! Bytes of a cartridge that one thread asks for and another one, which has the drive, reads.

use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};

use super::storage::BlockReader;
use crate::id::FileId;
use crate::tape::archive::BlockAddress;
use crate::tape::reader::VolumeReader;

/// A cartridge as the threads see it that do not have its drive.
#[derive(Debug)]
pub(super) struct Port {
    volume: FileId,
    asked: Mutex<SyncSender<Asked>>,
}

/// Bytes that one of them waits for.
#[derive(Debug)]
pub(super) struct Asked {
    address: BlockAddress,
    len: usize,
    answer: SyncSender<Result<Vec<u8>, String>>,
}

impl Port {
    /// The port of a cartridge, and what is asked of it until it is dropped.
    pub(super) fn new(volume: FileId) -> (Self, Receiver<Asked>) {
        let (sender, receiver) = mpsc::sync_channel(1);
        (Self { volume, asked: Mutex::new(sender) }, receiver)
    }
}

impl Asked {
    /// Reads the bytes and answers.
    pub(super) fn serve(self, reader: &mut VolumeReader<'_>) {
        let mut bytes = vec![0; self.len];
        let read = reader.read_from(self.address, &mut bytes);
        let answer = read.map(|()| bytes).map_err(|error| crate::job::chain(&error));
        // Who asked may have gone.
        self.answer.send(answer).unwrap_or_default();
    }
}

impl BlockReader for Port {
    fn read(&self, volume: FileId, address: BlockAddress, buffer: &mut [u8]) -> io::Result<()> {
        if volume != self.volume {
            return Err(io::Error::from_raw_os_error(libc::ENOMEDIUM));
        }
        let (answer, answered) = mpsc::sync_channel(1);
        let asked = Asked { address, len: buffer.len(), answer };
        let sender = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        sender.send(asked).map_err(io::Error::other)?;
        let bytes = answered.recv().map_err(io::Error::other)?.map_err(io::Error::other)?;
        buffer.copy_from_slice(&bytes);
        Ok(())
    }
}
