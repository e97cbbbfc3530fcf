//! Answers programs that reach the socket, each in a thread of its own.

use std::io::{self, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::message::{Answer, Refusal, RefusalKind};
use super::request::Request;
use super::service::Service;
use super::socket::{ControlListener, receive, send};
use crate::progress::Progress;

const PROGRESS_PERIOD: Duration = Duration::from_millis(200);
const CONNECTION_COUNT_MAX: usize = 64;

impl Service {
    /// Answers all who come and whom `is_allowed` lets in, until the listener fails.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn serve(
        self: &Arc<Self>,
        listener: &ControlListener,
        is_allowed: &dyn Fn(&UnixStream) -> bool,
    ) -> io::Result<()> {
        let count = Arc::new(AtomicUsize::new(0));
        loop {
            let stream = match listener.accept() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                accepted => accepted?,
            };
            if !is_allowed(&stream) || count.load(Ordering::Relaxed) >= CONNECTION_COUNT_MAX {
                continue;
            }
            count.fetch_add(1, Ordering::Relaxed);
            let (service, open) = (Arc::clone(self), Arc::clone(&count));
            let answer = move || {
                if let Err(error) = service.answer(&stream) {
                    log::debug!("control: {error}");
                }
                open.fetch_sub(1, Ordering::Relaxed);
            };
            if let Err(error) = thread::Builder::new().name("control".to_owned()).spawn(answer) {
                count.fetch_sub(1, Ordering::Relaxed);
                log::warn!("control: no thread to answer: {error}");
            }
        }
    }

    fn answer(&self, stream: &UnixStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let request: Request = match receive(&mut reader) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let refusal = Refusal::new(RefusalKind::Usage, format!("no request: {error}"));
                return send(&mut &*stream, &Answer::Failed(refusal));
            }
            Err(error) => return Err(error),
        };
        drop(reader);
        let progress = Progress::new();
        // Lines of two threads must not mix.
        let writer = Mutex::new(stream);
        let write = |answer: &Answer| {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            send(&mut *writer, answer)
        };
        let done = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    if !watch(stream, &progress, &write) {
                        return;
                    }
                }
            });
            let mut emit = |answer: Answer| {
                if write(&answer).is_err() {
                    progress.cancel();
                }
            };
            let result = self.perform(&request, &progress, &mut emit);
            done.store(true, Ordering::Release);
            emit(result.map_or_else(Answer::Failed, |()| Answer::Done));
        });
        Ok(())
    }
}

// Tells how far the work is, and whether the other side is still there.
fn watch(stream: &UnixStream, progress: &Progress, write: &dyn Fn(&Answer) -> io::Result<()>) -> bool {
    if stream.set_read_timeout(Some(PROGRESS_PERIOD)).is_err() {
        return false;
    }
    match (&*stream).read(&mut [0; 64]) {
        Ok(0) => {
            progress.cancel();
            return false;
        }
        Ok(_) => return true,
        Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            progress.cancel();
            return false;
        }
        Err(_) => {}
    }
    let [files, bytes, total_bytes] = [&progress.done_items, &progress.done_bytes, &progress.total_bytes]
        .map(|counter| counter.load(Ordering::Relaxed));
    total_bytes == 0 || write(&Answer::Progress { files, bytes, total_bytes }).is_ok()
}
