//! Threads for what takes long: decompressing, so that the dispatcher goes on answering.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads that take jobs in order.
///
/// The queue needs no bound: the kernel has a bounded number of requests under way.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    jobs: Sender<Job>,
}

impl Pool {
    pub(crate) fn start(thread_count: usize) -> io::Result<Self> {
        let (jobs, receiver) = channel();
        let receiver: Arc<Mutex<Receiver<Job>>> = Arc::new(Mutex::new(receiver));
        for _ in 0..thread_count {
            let receiver = Arc::clone(&receiver);
            thread::Builder::new().name("reader".to_owned()).spawn(move || {
                loop {
                    let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = job else { return };
                    job();
                }
            })?;
        }
        Ok(Self { jobs })
    }

    /// Hands over a job; if no thread is left, it is dropped and its request answered with an error.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        if self.jobs.send(Box::new(job)).is_err() {
            log::error!("no thread is left to read");
        }
    }
}
