//! The full-feature phase of a session: what the initiator sends, and who answers it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender as JobSender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use super::Shared;
use super::login::{Session, SessionError};
use super::negotiation::{Agreement, SEGMENT_LEN_MAX};
use super::task::{TRANSFER_LEN_MAX, Task};
use super::worker::{Job, Sender, SharedSender, answer, answer_management, answer_status, lock, work};
use crate::emulator::sense::Sense;
use crate::scsi::iscsi::frame::{Frame, FrameError};
use crate::scsi::iscsi::pdu::{
    Command, DataOut, LogoutResponse, NO_TAG, NopIn, NopOut, ReadyToTransfer, Reject, Request,
    TaskManagementRequest, TextRequest, TextResponse, lun_number,
};
use crate::scsi::iscsi::text::{Keys, TEXT_LEN_MAX};
use crate::scsi::{Outcome, Status};

pub(super) use super::worker::WINDOW;

const INQUIRY: u8 = 0x12;
const REPORT_LUNS: u8 = 0xa0;

/// A logical unit of a session: the tasks that wait for data or for those before them, and who runs them.
struct Unit {
    waiting: VecDeque<Task>,
    jobs: JobSender<Job>,
    worker: JoinHandle<()>,
    /// Tags of tasks that were handed over, each with whether its answer is unwanted.
    running: Vec<(u32, Arc<AtomicBool>)>,
}

/// Reads what the initiator sends.
struct Reader<'a> {
    shared: &'a Arc<Shared>,
    session: &'a Session,
    agreement: Agreement,
    local: SocketAddr,
    sender: SharedSender,
    units: BTreeMap<u16, Unit>,
    /// Text that goes on in the next request.
    text: Vec<u8>,
}

/// Serves a session until it ends.
pub(super) fn serve_session(
    shared: &Arc<Shared>,
    session: &Session,
    local: SocketAddr,
    mut stream: impl std::io::Read,
    writer: TcpStream,
) -> Result<(), SessionError> {
    let sender = Sender {
        stream: writer,
        agreement: session.agreement,
        status_sn: session.status_sn,
        expected_command_sn: session.expected_command_sn,
        open_count: 0,
    };
    let mut reader = Reader {
        shared,
        session,
        agreement: session.agreement,
        local,
        sender: Arc::new(Mutex::new(sender)),
        units: BTreeMap::new(),
        text: Vec::new(),
    };
    let result = reader.read_all(&mut stream);
    reader.end();
    result
}

impl Reader<'_> {
    fn read_all(&mut self, stream: &mut impl std::io::Read) -> Result<(), SessionError> {
        let mut frame = Frame::default();
        let len_max = usize::try_from(SEGMENT_LEN_MAX).unwrap_or(0);
        loop {
            match frame.read(stream, self.agreement.digests, len_max) {
                Ok(()) => {}
                Err(FrameError::Closed) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            if !self.take(&frame)? {
                return Ok(());
            }
        }
    }

    // False at the end of the session.
    fn take(&mut self, frame: &Frame) -> Result<bool, SessionError> {
        match Request::parse(&frame.header)? {
            Request::NopOut(pdu) => self.answer_ping(&pdu, &frame.data)?,
            Request::Text(pdu) => self.answer_text(&pdu, frame)?,
            Request::Logout(pdu) => {
                self.count(pdu.immediate, pdu.command_sn)?;
                self.finish_work();
                let mut sender = lock(&self.sender);
                let sequence = sender.sequence(true);
                let (task_tag, response) = (pdu.task_tag, 0);
                let answer =
                    LogoutResponse { response, task_tag, sequence, time_to_wait_s: 2, time_to_retain_s: 0 };
                sender.send(&answer.header(), &[])?;
                return Ok(false);
            }
            _ if self.session.is_discovery => self.reject(frame, 0x04)?,
            Request::Command(pdu) => self.take_command(pdu, frame.data.clone())?,
            Request::DataOut(pdu) => self.take_data(&pdu, &frame.data)?,
            Request::TaskManagement(pdu) => self.manage(&pdu)?,
            Request::Login(_) => return Err(SessionError::Protocol("a login within a session")),
            Request::Other(_) => self.reject(frame, 0x05)?,
        }
        Ok(true)
    }

    // Commands come in order: there is one connection.
    fn count(&self, is_immediate: bool, command_sn: u32) -> Result<(), SessionError> {
        let mut sender = lock(&self.sender);
        if is_immediate {
            return Ok(());
        }
        if command_sn != sender.expected_command_sn {
            return Err(SessionError::Protocol("a command out of order"));
        }
        sender.expected_command_sn = sender.expected_command_sn.wrapping_add(1);
        Ok(())
    }

    fn reject(&self, frame: &Frame, reason: u8) -> Result<(), SessionError> {
        let mut sender = lock(&self.sender);
        let sequence = sender.sequence(true);
        Ok(sender.send(&Reject { reason, sequence }.header(), &frame.header)?)
    }

    fn answer_ping(&self, pdu: &NopOut, data: &[u8]) -> Result<(), SessionError> {
        self.count(pdu.immediate, pdu.command_sn)?;
        if pdu.task_tag == NO_TAG {
            return Ok(());
        }
        let mut sender = lock(&self.sender);
        let sequence = sender.sequence(true);
        let answer = NopIn { lun: 0, task_tag: pdu.task_tag, transfer_tag: NO_TAG, sequence };
        let len = data.len().min(usize::try_from(self.agreement.segment_len_max).unwrap_or(0));
        Ok(sender.send(&answer.header(), data.get(..len).unwrap_or_default())?)
    }

    fn answer_text(&mut self, pdu: &TextRequest, frame: &Frame) -> Result<(), SessionError> {
        self.count(pdu.immediate, pdu.command_sn)?;
        self.text.extend_from_slice(&frame.data);
        if self.text.len() > TEXT_LEN_MAX {
            return Err(SessionError::Protocol("the text has no end"));
        }
        let mut answer = Keys::new();
        if !pdu.continues {
            let keys = Keys::parse(&std::mem::take(&mut self.text))?;
            for (key, value) in keys.iter() {
                match key {
                    "SendTargets" => self.list_targets(value, &mut answer),
                    "MaxRecvDataSegmentLength" => {}
                    other => answer.push(other, "NotUnderstood"),
                }
            }
        }
        let mut sender = lock(&self.sender);
        let sequence = sender.sequence(true);
        let is_final = !pdu.continues;
        let response = TextResponse {
            is_final,
            continues: false,
            lun: pdu.lun,
            task_tag: pdu.task_tag,
            transfer_tag: if is_final { NO_TAG } else { 1 },
            sequence,
        };
        Ok(sender.send(&response.header(), &answer.encode())?)
    }

    // RFC 7143, appendix C: all targets, the one that is named, or the one of this session.
    fn list_targets(&self, which: &str, answer: &mut Keys) {
        let own = &self.shared.settings.name;
        let is_asked = match which {
            "All" => self.session.is_discovery,
            "" => !self.session.is_discovery,
            name => name == own,
        };
        if is_asked {
            answer.push("TargetName", own.clone());
            answer.push("TargetAddress", format!("{},1", self.local));
        }
    }

    fn take_command(&mut self, command: Command, immediate: Vec<u8>) -> Result<(), SessionError> {
        self.count(command.immediate, command.command_sn)?;
        let task =
            Task::new(command, lun_number(command.lun).unwrap_or(u16::MAX), immediate, &self.agreement)?;
        {
            let mut sender = lock(&self.sender);
            // An initiator that sends more than it may gets what it asked for.
            if sender.open_count >= 2 * WINDOW {
                return Err(SessionError::Protocol("more commands than were allowed"));
            }
            sender.open_count += 1;
        }
        let len = command.expected_len_bytes;
        if command.reads && command.writes || len > TRANSFER_LEN_MAX {
            let sense = Sense::illegal(0x24, 0).encode(false);
            return self.refuse(task, Status::CheckCondition, sense);
        }
        if task.lun > self.shared.library.last_lun() {
            return self.answer_nobody(task);
        }
        if !self.shared.hold(usize::try_from(len).unwrap_or(usize::MAX)) {
            answer_status(&self.sender, &task, Status::TaskSetFull)?;
            return Ok(());
        }
        let lun = task.lun;
        self.unit(lun)?.waiting.push_back(task);
        self.go_on(lun)
    }

    fn refuse(&self, task: Task, status: Status, sense: Vec<u8>) -> Result<(), SessionError> {
        Ok(answer(&self.sender, &task, &Outcome { status, sense, transferred_bytes: 0 }, &[])?)
    }

    // A logical unit that does not exist (SPC-4, section 6.6.2): INQUIRY says so, REPORT LUNS lists the others.
    fn answer_nobody(&self, task: Task) -> Result<(), SessionError> {
        let [operation, ..] = task.command.cdb;
        let mut buffer = vec![0; usize::try_from(task.command.expected_len_bytes).unwrap_or(0).min(4096)];
        let transferred_bytes = match operation {
            INQUIRY => {
                let reply = [0x7f, 0, 0x06, 0x02, 31, 0, 0, 0];
                for (to, from) in buffer.iter_mut().zip(reply) {
                    *to = from;
                }
                buffer.len().min(36)
            }
            REPORT_LUNS => {
                let mut exchange = crate::emulator::exchange::Exchange::new(
                    &self.session.initiator,
                    &task.command.cdb,
                    crate::scsi::Data::In(&mut buffer),
                );
                let last = self.shared.library.last_lun();
                crate::emulator::primary::report_luns(&mut exchange, last)
                    .map_or(0, |()| exchange.transferred)
            }
            // LOGICAL UNIT NOT SUPPORTED.
            _ => return self.refuse(task, Status::CheckCondition, Sense::illegal(0x25, 0).encode(false)),
        };
        let outcome = Outcome { status: Status::Good, sense: Vec::new(), transferred_bytes };
        Ok(answer(&self.sender, &task, &outcome, &buffer)?)
    }

    // The unit with its worker, which is made when it is needed first.
    fn unit(&mut self, lun: u16) -> Result<&mut Unit, SessionError> {
        if !self.units.contains_key(&lun) {
            let mut transport = self.shared.library.transport_as(lun, &self.session.initiator)?;
            transport.lose_nexus()?;
            let (jobs, received) = mpsc::channel();
            let (shared, sender) = (Arc::clone(self.shared), Arc::clone(&self.sender));
            let run = move || work(&shared, &sender, transport, &received);
            let worker = thread::Builder::new().name(format!("iscsi-lun-{lun}")).spawn(run)?;
            self.units.insert(lun, Unit { waiting: VecDeque::new(), jobs, worker, running: Vec::new() });
        }
        self.units.get_mut(&lun).ok_or(SessionError::Protocol("no such logical unit"))
    }

    // Asks for data that is missing, and hands over the tasks that are complete, in order.
    fn go_on(&mut self, lun: u16) -> Result<(), SessionError> {
        let agreement = self.agreement;
        let Some(unit) = self.units.get_mut(&lun) else { return Ok(()) };
        for task in &mut unit.waiting {
            if let Some((offset, len_bytes)) = task.ask(&agreement) {
                let mut sender = lock(&self.sender);
                let pdu = ReadyToTransfer {
                    lun: task.command.lun,
                    task_tag: task.command.task_tag,
                    transfer_tag: task.command.task_tag & 0x7fff_ffff,
                    sequence: sender.sequence(false),
                    ready_sn: task.ready_count - 1,
                    offset,
                    len_bytes,
                };
                sender.send(&pdu.header(), &[])?;
            }
        }
        unit.running.retain(|(_, wanted)| Arc::strong_count(wanted) > 1);
        while unit.waiting.front().is_some_and(Task::is_complete) {
            let Some(task) = unit.waiting.pop_front() else { break };
            let is_aborted = Arc::new(AtomicBool::new(false));
            unit.running.push((task.command.task_tag, Arc::clone(&is_aborted)));
            let handed = unit.jobs.send(Job::Run(Box::new(task), is_aborted));
            handed.map_err(|_| SessionError::Protocol("the worker is gone"))?;
        }
        Ok(())
    }

    fn take_data(&mut self, pdu: &DataOut, bytes: &[u8]) -> Result<(), SessionError> {
        let is_meant = |task: &&mut Task| task.command.task_tag == pdu.task_tag;
        for (lun, unit) in &mut self.units {
            if let Some(task) = unit.waiting.iter_mut().find(is_meant) {
                task.take(pdu, bytes)?;
                let lun = *lun;
                return self.go_on(lun);
            }
        }
        // Data of a task that was refused or aborted is still on its way.
        Ok(())
    }

    // RFC 7143, section 11.5: abort, clear and reset. All tasks of this session are meant: others have their own.
    fn manage(&mut self, pdu: &TaskManagementRequest) -> Result<(), SessionError> {
        const ABORT_TASK: u8 = 1;
        const LOGICAL_UNIT_RESET: u8 = 5;
        self.count(pdu.immediate, pdu.command_sn)?;
        let lun = lun_number(pdu.lun).filter(|lun| *lun <= self.shared.library.last_lun());
        let luns: Vec<u16> = match (pdu.function, lun) {
            (1 | 2 | 4 | 5, Some(lun)) => vec![lun],
            (1 | 2 | 4 | 5, None) => return Ok(answer_management(&self.sender, pdu.task_tag, 2)?),
            (6 | 7, _) => (0..=self.shared.library.last_lun()).collect(),
            _ => return Ok(answer_management(&self.sender, pdu.task_tag, 5)?),
        };
        let only = (pdu.function == ABORT_TASK).then_some(pdu.referenced_tag);
        let reset = pdu.function >= LOGICAL_UNIT_RESET;
        let last = luns.last().copied();
        for lun in luns {
            self.abort(lun, only)?;
            let job = Job::Manage { task_tag: pdu.task_tag, reset, answers: Some(lun) == last };
            let handed = self.unit(lun)?.jobs.send(job);
            handed.map_err(|_| SessionError::Protocol("the worker is gone"))?;
        }
        Ok(())
    }

    fn abort(&mut self, lun: u16, only: Option<u32>) -> Result<(), SessionError> {
        let unit = self.unit(lun)?;
        let is_meant = |tag: u32| only.is_none_or(|only| only == tag);
        for (_, is_aborted) in unit.running.iter().filter(|(tag, _)| is_meant(*tag)) {
            is_aborted.store(true, Ordering::Relaxed);
        }
        let (gone, left) = std::mem::take(&mut unit.waiting)
            .into_iter()
            .partition::<VecDeque<Task>, _>(|task| is_meant(task.command.task_tag));
        unit.waiting = left;
        for task in gone {
            self.forget(&task);
        }
        self.go_on(lun)
    }

    fn forget(&self, task: &Task) {
        self.shared.release(usize::try_from(task.command.expected_len_bytes).unwrap_or(0));
        lock(&self.sender).open_count -= 1;
    }

    // Lets the workers finish what they have.
    fn finish_work(&mut self) {
        for (_, unit) in std::mem::take(&mut self.units) {
            for task in &unit.waiting {
                self.forget(task);
            }
            drop(unit.jobs);
            unit.worker.join().unwrap_or_default();
        }
    }

    fn end(&mut self) {
        self.finish_work();
    }
}
