//! The lock of an environment that is being made: the process that makes it holds it, and all others wait for it.
//!
//! Making an environment takes minutes, so the wait has no limit of its own: dropping the future ends it. The log says which process is
//! waited for; a process that is stopped may never end, and is not waited for.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use bivium_interface::{LogLevel, LogSource, PluginError};
use bivium_records::PluginLog;

/// How often a lock that another process holds is tried. A blocking wait could not be cancelled.
const TRY: Duration = Duration::from_millis(50);
/// After this time the wait is logged as a warning.
const LONG: Duration = Duration::from_secs(5);
/// How long the holder may be stopped: a debugger, or a person, may let it continue.
pub(super) const STOPPED: Duration = Duration::from_secs(10);

/// Waits for the lock, but not if its holder stays stopped for the time `stopped`.
///
/// # Errors
/// `unavailable` if the holder is stopped, naming it; the result of `unusable` for an error of the file.
pub(super) async fn acquire(
    file: &Path,
    log: &PluginLog,
    stopped: Duration,
    unusable: impl Fn(io::Error) -> PluginError,
) -> Result<File, PluginError> {
    let lock = File::options().create(true).truncate(false).read(true).write(true).open(file).map_err(&unusable)?;
    let since = Instant::now();
    let mut stopped_since = None;
    let mut told = None;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let holder = holder(&lock);
        let level = if since.elapsed() < LONG { LogLevel::Info } else { LogLevel::Warn };
        if told != Some((holder, level)) {
            told = Some((holder, level));
            let who = shown(holder);
            log.push(level, LogSource::Host, 0, None, &format!("waiting for an environment that {who} is making"));
        }
        match holder.filter(|pid| is_stopped(*pid)) {
            None => stopped_since = None,
            Some(pid) if stopped_since.get_or_insert_with(Instant::now).elapsed() >= stopped => {
                let message =
                    format!("process {pid}, which is stopped, is making its environment and holds {}", file.display());
                let help = format!("let that process continue (`kill -CONT {pid}`), or end it");
                return Err(PluginError::unavailable(message).with_help(help));
            }
            Some(_) => {}
        }
        tokio::time::sleep(TRY).await;
    }
}

/// Who holds a lock, for a message.
pub(super) fn holder_of(lock: &File) -> String {
    shown(holder(lock))
}

fn shown(holder: Option<u32>) -> String {
    match holder {
        Some(pid) if pid == std::process::id() => "this host".to_owned(),
        Some(pid) => format!("process {pid}"),
        None => "another host".to_owned(),
    }
}

/// The process that holds a lock, if the kernel tells. It may have ended while an installer that it started still holds the lock.
#[cfg(target_os = "linux")]
fn holder(lock: &File) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;

    let found = lock.metadata().ok()?;
    let (device, inode) = (found.dev(), format!(":{}", found.ino()));
    let exact = format!("{:02x}:{:02x}{inode}", rustix::fs::major(device), rustix::fs::minor(device));
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let held: Vec<(&str, u32)> = locks.lines().filter_map(held).collect();
    // For some file systems the kernel lists another device than `stat` does.
    let found = held.iter().find(|(place, _)| *place == exact);
    found.or_else(|| held.iter().find(|(place, _)| place.ends_with(&inode))).map(|(_, pid)| *pid)
}

#[cfg(not(target_os = "linux"))]
fn holder(_lock: &File) -> Option<u32> {
    None
}

/// The file and the process of a line such as `1: FLOCK  ADVISORY  WRITE 4711 fe:00:5333003 0 EOF`.
#[cfg(target_os = "linux")]
fn held(line: &str) -> Option<(&str, u32)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    // A process that waits has an arrow in this place.
    let is_flock = words.next()? == "FLOCK";
    let pid = words.nth(2)?.parse().ok().filter(|pid| *pid != 0)?;
    Some((words.next()?, pid)).filter(|_| is_flock)
}

#[cfg(target_os = "linux")]
fn is_stopped(pid: u32) -> bool {
    crate::process::stat::Stat::of(pid).is_some_and(|stat| matches!(stat.state, b'T' | b't'))
}

#[cfg(not(target_os = "linux"))]
fn is_stopped(_pid: u32) -> bool {
    false
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Command, Stdio};

    use bivium_interface::ErrorCode;
    use rustix::process::{Pid, Signal, kill_process};
    use tokio::time::timeout;

    use super::*;

    const AT_ONCE: Duration = Duration::from_millis(60);
    const LONGEST: Duration = Duration::from_secs(60);

    /// Another host that makes an environment and never finishes.
    struct Other(Child);

    impl Other {
        fn holding(file: &Path) -> Self {
            let script = "import fcntl, sys\nfile = open(sys.argv[1], 'a')\nfcntl.flock(file, fcntl.LOCK_EX)\n\
                          print(flush=True)\nsys.stdin.read()";
            let mut command = Command::new("python3");
            command.args(["-c", script]).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
            Self(child)
        }

        fn signal(&self, signal: Signal) {
            kill_process(Pid::from_child(&self.0), signal).unwrap();
        }
    }

    impl Drop for Other {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    async fn wait(file: &Path, log: &PluginLog, stopped: Duration) -> Result<File, PluginError> {
        acquire(file, log, stopped, |error| PluginError::internal(error.to_string())).await
    }

    #[tokio::test]
    async fn a_stopped_holder_is_not_waited_for_and_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.lock");
        let log = PluginLog::new("p");
        let other = Other::holding(&file);
        other.signal(Signal::STOP);
        let error = timeout(LONGEST, wait(&file, &log, AT_ONCE)).await.unwrap().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        let (text, pid) = (error.to_string(), other.0.id());
        for part in [&format!("process {pid}, which is stopped"), &format!("kill -CONT {pid}"), "key.lock"] {
            assert!(text.contains(part), "{text}");
        }
        // A holder that continues is waited for, longer than it was stopped, and the log names its process id.
        other.signal(Signal::CONT);
        let mut records = log.follow();
        let mut attempt = std::pin::pin!(wait(&file, &log, AT_ONCE));
        assert!(timeout(AT_ONCE * 4, &mut attempt).await.is_err());
        let said = records.recv().await.unwrap().message;
        assert_eq!(said, format!("waiting for an environment that process {pid} is making"));
        drop(other);
        timeout(LONGEST, attempt).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn this_host_itself_may_hold_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key.lock");
        let log = PluginLog::new("p");
        let held = wait(&file, &log, STOPPED).await.unwrap();
        assert_eq!(holder(&held), Some(std::process::id()));
        assert!(timeout(AT_ONCE, wait(&file, &log, STOPPED)).await.is_err());
        assert_eq!(log.tail(1)[0].message, "waiting for an environment that this host is making");
        drop(held);
        timeout(LONGEST, wait(&file, &log, STOPPED)).await.unwrap().unwrap();
    }

    #[test]
    fn lines_of_the_kernels_list_are_read() {
        assert_eq!(held("1: FLOCK  ADVISORY  WRITE 4711 fe:00:53 0 EOF"), Some(("fe:00:53", 4711)));
        for other in [
            "",
            "1: POSIX  ADVISORY  WRITE 4711 fe:00:53 0 EOF",
            "1: -> FLOCK  ADVISORY  WRITE 4711 fe:00:53 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 0 fe:00:53 0 EOF",
            "1: FLOCK  ADVISORY  WRITE -1 fe:00:53 0 EOF",
        ] {
            assert_eq!(held(other), None, "{other}");
        }
    }
}
