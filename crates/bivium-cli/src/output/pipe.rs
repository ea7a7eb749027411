//! Writes to standard output and standard error, and does not block the program when a reader has stopped reading.
//!
//! Text that fits into the pipe's buffer is written at once. Other text is written by a separate thread, so that the caller can also
//! wait for a deadline or a signal. The program can exit while such a thread still waits.

use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::oneshot;

/// The most bytes that a pipe takes in one write if it is ready for writing (`PIPE_BUF`).
const ATOMIC: usize = 4096;

/// How long a message waits for its reader.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether nobody has read standard error for that long. Then messages are left out until the previous one is read.
static UNREAD: AtomicBool = AtomicBool::new(false);

/// Writes to standard output. The future is ready once all of the text is written.
pub(super) async fn print(text: String) -> io::Result<()> {
    if takes_at_once(&io::stdout(), text.len()) {
        return print_now(&text);
    }
    let (sender, written) = oneshot::channel();
    on_a_thread(move || {
        // An error means that the caller no longer waits.
        let _ = sender.send(print_now(&text));
    })?;
    written.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
}

pub(super) fn print_now(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes to standard error. Errors are ignored: there is no other place to report them.
pub(super) fn print_error(text: &[u8]) {
    if UNREAD.load(Ordering::SeqCst) {
        return;
    }
    if takes_at_once(&io::stderr(), text.len()) {
        let _ = io::stderr().lock().write_all(text);
        return;
    }
    let (sender, written) = mpsc::channel();
    let text = text.to_vec();
    let begun = on_a_thread(move || {
        let _ = io::stderr().lock().write_all(&text);
        UNREAD.store(false, Ordering::SeqCst);
        let _ = sender.send(());
    });
    if begun.is_ok() && written.recv_timeout(PATIENCE).is_err() {
        UNREAD.store(true, Ordering::SeqCst);
        if written.try_recv().is_ok() {
            // Just now.
            UNREAD.store(false, Ordering::SeqCst);
        }
    }
}

fn on_a_thread(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("bivium-output".to_owned()).spawn(work).map(drop)
}

/// Whether a write of this many bytes does not block.
fn takes_at_once(file: &impl AsFd, length: usize) -> bool {
    let fd = file.as_fd();
    // Only a pipe, a socket or a terminal can block.
    let is_file = rustix::fs::fstat(fd).is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file());
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    is_file
        || length <= ATOMIC && poll(&mut [PollFd::new(&fd, PollFlags::OUT)], Some(&now)).is_ok_and(|ready| ready > 0)
}
