//! Runs the commands of one logical unit for one session, one after the other, and answers.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Shared;
use super::negotiation::Agreement;
use super::task::Task;
use crate::emulator::transport::EmulatedTransport;
use crate::scsi::iscsi::frame;
use crate::scsi::iscsi::pdu::{DataIn, NO_TAG, Residual, ScsiResponse, Sequence, TaskManagementResponse};
use crate::scsi::{Data, Outcome, Status, Transport, TransportError};

/// Commands that an initiator may send ahead.
pub(super) const WINDOW: u32 = 32;

/// The sending side of a connection, and its numbers.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) stream: TcpStream,
    pub(super) agreement: Agreement,
    pub(super) status_sn: u32,
    pub(super) expected_command_sn: u32,
    /// Commands that are not answered yet.
    pub(super) open_count: u32,
}

impl Sender {
    /// The numbers for a PDU that uses up a StatSN, or not.
    pub(super) fn sequence(&mut self, uses_status: bool) -> Sequence {
        let free = WINDOW.saturating_sub(self.open_count);
        let sequence = Sequence {
            status_sn: self.status_sn,
            expected_command_sn: self.expected_command_sn,
            max_command_sn: self.expected_command_sn.wrapping_add(free).wrapping_sub(1),
        };
        if uses_status {
            self.status_sn = self.status_sn.wrapping_add(1);
        }
        sequence
    }

    /// Sends a PDU.
    pub(super) fn send(&mut self, header: &frame::Header, data: &[u8]) -> io::Result<()> {
        frame::write(&mut self.stream, header, data, self.agreement.digests)
    }
}

/// The sending side, used by the reader and the workers.
pub(super) type SharedSender = Arc<Mutex<Sender>>;

/// Takes the sending side.
pub(super) fn lock(sender: &SharedSender) -> MutexGuard<'_, Sender> {
    sender.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a worker is to do.
#[derive(Debug)]
pub(super) enum Job {
    /// Run a command; whether its answer is still wanted is known only at its end.
    Run(Box<Task>, Arc<std::sync::atomic::AtomicBool>),
    /// Answer a task management function when everything before is done; reset the unit first if asked for.
    Manage {
        task_tag: u32,
        reset: bool,
        /// Whether this worker is the one to answer.
        answers: bool,
    },
}

/// Works until the session ends.
pub(super) fn work(
    shared: &Shared,
    sender: &SharedSender,
    mut transport: EmulatedTransport,
    jobs: &Receiver<Job>,
) {
    while let Ok(job) = jobs.recv() {
        let done = match job {
            Job::Run(task, is_aborted) => run(shared, sender, &mut transport, *task, &is_aborted),
            Job::Manage { task_tag, reset, answers } => {
                let response = match if reset { transport.reset() } else { Ok(()) } {
                    Ok(()) => 0,
                    Err(error) => {
                        log::warn!("cannot reset: {error}");
                        255
                    }
                };
                if answers { answer_management(sender, task_tag, response) } else { Ok(()) }
            }
        };
        if done.is_err() {
            // The reader sees that the connection is gone.
            lock(sender).stream.shutdown(Shutdown::Both).unwrap_or_default();
            return;
        }
    }
}

/// Answers a task management function.
pub(super) fn answer_management(sender: &SharedSender, task_tag: u32, response: u8) -> io::Result<()> {
    let mut sender = lock(sender);
    let sequence = sender.sequence(true);
    sender.send(&TaskManagementResponse { response, task_tag, sequence }.header(), &[])
}

fn run(
    shared: &Shared,
    sender: &SharedSender,
    transport: &mut EmulatedTransport,
    task: Task,
    is_aborted: &std::sync::atomic::AtomicBool,
) -> io::Result<()> {
    let expected = usize::try_from(task.command.expected_len_bytes).unwrap_or(0);
    let mut buffer = Vec::new();
    if task.command.reads {
        buffer.resize(expected, 0);
    }
    let data = match (task.command.reads, task.command.writes) {
        (true, _) => Data::In(&mut buffer),
        (_, true) => Data::Out(&task.data),
        _ => Data::None,
    };
    let result = transport.execute(&task.command.cdb, data, Duration::MAX);
    let is_wanted = !is_aborted.load(std::sync::atomic::Ordering::Relaxed);
    let done = match result {
        Ok(outcome) if is_wanted => answer(sender, &task, &outcome, &buffer),
        Ok(_) => {
            lock(sender).open_count -= 1;
            Ok(())
        }
        Err(error) => answer_breakdown(sender, &task, &error),
    };
    shared.release(expected);
    done
}

// A time-out is silence; a lack of memory is a busy unit; a broken way is a broken connection.
fn answer_breakdown(sender: &SharedSender, task: &Task, error: &TransportError) -> io::Result<()> {
    match error {
        TransportError::Timeout { .. } => {
            lock(sender).open_count -= 1;
            Ok(())
        }
        TransportError::NoMemory { .. } => answer_status(sender, task, Status::Busy),
        other => Err(io::Error::other(other.to_string())),
    }
}

/// Answers a command that was not run.
pub(super) fn answer_status(sender: &SharedSender, task: &Task, status: Status) -> io::Result<()> {
    let outcome = Outcome { status, sense: Vec::new(), transferred_bytes: 0 };
    answer(sender, task, &outcome, &[])
}

/// Answers a command.
pub(super) fn answer(sender: &SharedSender, task: &Task, outcome: &Outcome, buffer: &[u8]) -> io::Result<()> {
    let mut sender = lock(sender);
    sender.open_count -= 1;
    let expected =
        if task.command.reads || task.command.writes { task.command.expected_len_bytes } else { 0 };
    let moved = u32::try_from(outcome.transferred_bytes).unwrap_or(u32::MAX);
    let residual = match expected.checked_sub(moved) {
        Some(0) => Residual::None,
        Some(less) => Residual::Underflow(less),
        None => Residual::Overflow(moved - expected),
    };
    let data = buffer.get(..outcome.transferred_bytes.min(buffer.len())).unwrap_or_default();
    let is_collapsed = outcome.status == Status::Good && !data.is_empty();
    let count = send_data(&mut sender, task, data, is_collapsed.then_some((outcome.status, residual)))?;
    if is_collapsed {
        return Ok(());
    }
    let mut sense = Vec::new();
    if !outcome.sense.is_empty() {
        sense.extend(crate::emulator::bytes::saturated_u16(outcome.sense.len()).to_be_bytes());
        sense.extend(&outcome.sense);
    }
    let response = ScsiResponse {
        response: 0,
        status: outcome.status,
        task_tag: task.command.task_tag,
        sequence: sender.sequence(true),
        expected_data_sn: count.saturating_add(task.ready_count),
        residual,
    };
    sender.send(&response.header(), &sense)
}

// Sends data in as many PDUs as it takes, with the status in the last one if given; returns their count.
fn send_data(
    sender: &mut Sender,
    task: &Task,
    data: &[u8],
    end: Option<(Status, Residual)>,
) -> io::Result<u32> {
    let segment_len = usize::try_from(sender.agreement.segment_len_max.min(256 << 10)).unwrap_or(512);
    let burst_len = usize::try_from(sender.agreement.max_burst_len).unwrap_or(512);
    let mut offset = 0;
    let mut data_sn = 0;
    while offset < data.len() {
        let burst_left = burst_len - offset % burst_len;
        let len = segment_len.min(burst_left).min(data.len() - offset);
        let is_last = offset + len == data.len();
        let end = end.filter(|_| is_last);
        let pdu = DataIn {
            is_final: is_last || len == burst_left,
            acknowledge: false,
            status: end.map(|(status, _)| status),
            lun: 0,
            task_tag: task.command.task_tag,
            transfer_tag: NO_TAG,
            sequence: sender.sequence(end.is_some()),
            data_sn,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            residual: end.map_or(Residual::None, |(_, residual)| residual),
        };
        sender.send(&pdu.header(), data.get(offset..offset + len).unwrap_or_default())?;
        offset += len;
        data_sn += 1;
    }
    Ok(data_sn)
}
