//! Hands tasks to worker threads and takes their results back in the order in which they were given.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::error::StoreError;
use super::prepare::{Outcome, Task, Worker};

type Answer = (u64, Result<Outcome, StoreError>);

/// The side of the pipeline that gives tasks.
#[derive(Debug)]
pub(in crate::job) struct Pipeline {
    tasks: Option<SyncSender<(u64, Task)>>,
    answers: Receiver<Answer>,
    early: BTreeMap<u64, Outcome>,
    next_task: u64,
    next_answer: u64,
}

/// Runs `drive` with a pipeline of `worker_count` threads, which end with it.
pub(in crate::job) fn run<'a, T, E>(
    worker_count: usize,
    make_worker: impl Fn() -> Worker<'a> + Sync,
    drive: impl FnOnce(Pipeline) -> Result<T, E>,
) -> Result<T, E> {
    // Enough for every worker to find the next task waiting; each holds a frame's worth of data.
    let (task_sender, task_receiver) = sync_channel(worker_count * 2);
    let (answer_sender, answers) = channel();
    let task_receiver = Mutex::new(task_receiver);
    thread::scope(|scope| {
        for _ in 0..worker_count {
            let answer_sender = answer_sender.clone();
            let (task_receiver, make_worker) = (&task_receiver, &make_worker);
            scope.spawn(move || {
                let mut worker = make_worker();
                work(|task| worker.run(task), task_receiver, &answer_sender);
            });
        }
        drop(answer_sender);
        drive(Pipeline {
            tasks: Some(task_sender),
            answers,
            early: BTreeMap::new(),
            next_task: 0,
            next_answer: 0,
        })
    })
}

fn work(
    mut run: impl FnMut(Task) -> Result<Outcome, StoreError>,
    tasks: &Mutex<Receiver<(u64, Task)>>,
    answers: &Sender<Answer>,
) {
    loop {
        let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((number, task)) = task else { return };
        // Without an answer the driver would wait for ever. The worker is not used again after a panic.
        let answer = catch_unwind(AssertUnwindSafe(|| run(task)));
        let is_over = answer.is_err();
        // When the driver failed it takes no answers any more, and there is nothing left to do.
        if answers.send((number, answer.unwrap_or(Err(StoreError::Worker)))).is_err() || is_over {
            return;
        }
    }
}

impl Pipeline {
    /// Number of the task that is given next.
    pub(in crate::job) fn next_task(&self) -> u64 {
        self.next_task
    }

    /// Gives a task if a place is free, else hands it back.
    pub(in crate::job) fn try_give(&mut self, task: Task) -> Result<Option<Task>, StoreError> {
        let sender = self.tasks.as_ref().ok_or(StoreError::Worker)?;
        match sender.try_send((self.next_task, task)) {
            Ok(()) => {
                self.next_task += 1;
                Ok(None)
            }
            Err(TrySendError::Full((_, task))) => Ok(Some(task)),
            Err(TrySendError::Disconnected(_)) => Err(StoreError::Worker),
        }
    }

    /// Waits for the answer to the oldest task that was not answered yet; `None` if all were.
    pub(in crate::job) fn wait(&mut self) -> Result<Option<(u64, Outcome)>, StoreError> {
        while self.next_answer < self.next_task {
            if let Some(answer) = self.take_early() {
                return Ok(Some(answer));
            }
            let (number, outcome) = self.answers.recv().map_err(|_| StoreError::Worker)?;
            self.early.insert(number, outcome?);
        }
        Ok(None)
    }

    /// Takes the next answer in order if it is there.
    pub(in crate::job) fn poll(&mut self) -> Result<Option<(u64, Outcome)>, StoreError> {
        while let Ok((number, outcome)) = self.answers.try_recv() {
            self.early.insert(number, outcome?);
        }
        Ok(self.take_early())
    }

    fn take_early(&mut self) -> Option<(u64, Outcome)> {
        let outcome = self.early.remove(&self.next_answer)?;
        self.next_answer += 1;
        Some((self.next_answer - 1, outcome))
    }

    /// Tells the workers that no more tasks come.
    pub(in crate::job) fn close(&mut self) {
        self.tasks = None;
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_worker_that_panics_answers_with_an_error() {
        let (task_sender, task_receiver) = sync_channel(1);
        let (answer_sender, answers) = channel();
        task_sender.send((7, Task::Small(Vec::new()))).expect("the receiver is there");
        work(|_| panic!("a fault"), &Mutex::new(task_receiver), &answer_sender);
        let (number, answer) = answers.try_recv().expect("an answer");
        assert_eq!(number, 7);
        assert!(matches!(answer, Err(StoreError::Worker)));
    }
}
