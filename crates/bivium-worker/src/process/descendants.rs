//! Ends the processes that a guard has not ended: a guard that was killed, that is stopped, or that could not finish.
//!
//! A guard that lives is the subreaper of all processes below it, so these belong to its worker, whether the guard runs or is stopped.
//! Besides, every process of a worker has the worker's mark in its environment, and most are in the guard's process group.
//!
//! All processes that are found are stopped first, until a scan of the process table finds none that runs; then all are killed, the
//! guard last. A process that forks and exits at once is gone before a scan of the whole table reaches it, so between two scans only
//! the newest processes are looked up, again and again. `descendants.py` is the guard's own copy of this.

/// The name of the environment variable that contains the mark.
pub(crate) const MARK: &str = "BIVIUM_WORKER";

#[cfg(target_os = "linux")]
pub(crate) use linux::kill_descendants;

/// On other systems than Linux processes cannot be found.
#[cfg(not(target_os = "linux"))]
pub(crate) fn kill_descendants(_guard: u32, _mark: &str) -> Vec<u32> {
    Vec::new()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    use rustix::time::{ClockId, clock_gettime};

    use super::MARK;
    use crate::process::stat::Stat;

    /// How much processor time may be spent on stopping them all; after that they are killed while they run.
    const STOP: Duration = Duration::from_millis(300);

    /// How much processor time everything together may take. A process in an uninterruptible system call is left to the kernel.
    const KILL: Duration = Duration::from_secs(1);

    /// How much wall-clock time everything may take, where other programs use the processors.
    const WALL: Duration = Duration::from_secs(3);

    /// For how long the newest processes are looked up between two scans, in processor time; at least as long as the last scan
    /// took, as there may be very many processes.
    const NEWEST_TIME: Duration = Duration::from_millis(2);

    /// How many of the newest processes are looked up.
    const NEWEST: u32 = 64;

    /// How many parents of a process are followed to find the guard.
    const DEPTH: usize = 1000;

    /// Ends every process of a worker except its guard, whether the guard still exists or not. Returns those that are left.
    pub(crate) fn kill_descendants(guard: u32, mark: &str) -> Vec<u32> {
        Descendants::new(guard, mark).end()
    }

    /// A process, as it was when it was looked up.
    #[derive(Clone, Copy)]
    struct Process {
        pid: u32,
        state: u8,
        parent: u32,
        group: u32,
        started: u64,
    }

    impl Process {
        /// The process with this id, if it lives.
        fn look(pid: u32) -> Option<Self> {
            let Stat { state, parent, group, started, .. } = Stat::of(pid)?;
            Some(Self { pid, state, parent, group, started })
        }

        fn is_stopped(&self) -> bool {
            matches!(self.state, b'T' | b't')
        }

        /// Signals this process, if it is still the same one.
        fn send(&self, signal: Signal) {
            send(self.pid, signal, |now| now.started == self.started);
        }
    }

    /// Signals a process if `is_meant` accepts it, and never another process that gets the same id meanwhile. Returns
    /// whether it was there.
    fn send(pid: u32, signal: Signal, is_meant: impl FnOnce(&Process) -> bool) -> bool {
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
        let Ok(handle) = pidfd_open(number, PidfdFlags::empty()) else { return false };
        let is_there = Process::look(pid).as_ref().is_some_and(is_meant);
        if is_there {
            // It may have ended by itself.
            let _ = pidfd_send_signal(handle, signal);
        }
        is_there
    }

    /// Measures the processor time of this thread and the wall-clock time that were used.
    struct Clock {
        begun: Duration,
        deadline: Instant,
    }

    impl Clock {
        fn new() -> Self {
            Self { begun: processor_time(), deadline: Instant::now() + WALL }
        }

        fn is_over(&self, limit: Duration) -> bool {
            processor_time().saturating_sub(self.begun) > limit || Instant::now() > self.deadline
        }
    }

    fn processor_time() -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        // Neither is negative, and the second is below a thousand million.
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
    }

    /// The processes of one worker except its guard.
    struct Descendants {
        guard: u32,
        mark: Vec<u8>,
        /// Processes without the mark, with their start times.
        unmarked: RefCell<HashMap<u32, u64>>,
        newest: u32,
        newest_time: Duration,
        /// How many scans and look-ups of the newest in a row have found nothing.
        quiet: u32,
    }

    impl Descendants {
        fn new(guard: u32, mark: &str) -> Self {
            let mark = format!("{MARK}={mark}").into_bytes();
            Self { guard, mark, unmarked: RefCell::default(), newest: 0, newest_time: NEWEST_TIME, quiet: 0 }
        }

        fn end(mut self) -> Vec<u32> {
            let clock = Clock::new();
            let mut left = self.stop_all(&clock);
            loop {
                left.iter().for_each(|process| process.send(Signal::KILL));
                // Between two scans there may have been a process that neither has seen.
                if self.quiet >= 4 || clock.is_over(KILL) {
                    return left.iter().map(|process| process.pid).collect();
                }
                self.signal_newest(Signal::KILL);
                left = self.all();
            }
        }

        /// Stops all of them, until a scan finds none that runs; returns those that the last scan found.
        fn stop_all(&mut self, clock: &Clock) -> Vec<Process> {
            let mut signalled = HashMap::new();
            loop {
                let new = self.signal_newest(Signal::STOP);
                let everyone = self.all();
                let running = everyone.iter().filter(|process| !process.is_stopped());
                // A process that waits in the kernel (state D) stops before it returns from there.
                let waits =
                    |process: &&Process| process.state == b'D' && signalled.get(&process.pid) == Some(&process.started);
                let moving: Vec<Process> = running.filter(|process| !waits(process)).copied().collect();
                if moving.is_empty() && !new || clock.is_over(STOP) {
                    return everyone;
                }
                for process in moving {
                    process.send(Signal::STOP);
                    signalled.insert(process.pid, process.started);
                }
            }
        }

        /// All of them, by a scan of the process table.
        fn all(&mut self) -> Vec<Process> {
            let begun = processor_time();
            let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
            let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            let table: HashMap<u32, Process> = pids.filter_map(|pid| Some((pid, Process::look(pid)?))).collect();
            let find = |pid| table.get(&pid).copied();
            let found: Vec<Process> = table.values().filter(|process| self.has(process, find)).copied().collect();
            self.newest_time = NEWEST_TIME.max(processor_time().saturating_sub(begun));
            self.saw(!found.is_empty());
            found
        }

        fn saw(&mut self, any: bool) {
            self.quiet = if any { 0 } else { self.quiet + 1 };
        }

        /// Whether the process belongs to the worker. `find` looks up parents.
        fn has(&self, process: &Process, find: impl Fn(u32) -> Option<Process>) -> bool {
            if process.pid == self.guard || process.pid == std::process::id() {
                return false;
            }
            if process.parent == self.guard || process.group == self.guard {
                return true;
            }
            let mut above = Some(*process);
            for _ in 0..DEPTH {
                match above {
                    Some(one) if one.parent == self.guard => return true,
                    Some(one) => above = find(one.parent),
                    None => break,
                }
            }
            self.marks(process)
        }

        fn marks(&self, process: &Process) -> bool {
            if self.unmarked.borrow().get(&process.pid) == Some(&process.started) {
                return false;
            }
            let has = |path: PathBuf| {
                let environment = std::fs::read(path.join("environ"));
                environment.is_ok_and(|all| all.split(|byte| *byte == 0).any(|variable| variable == self.mark))
            };
            let path = Path::new("/proc").join(process.pid.to_string());
            let marked = if process.state == b'Z' {
                // A thread that has ended has no environment any more; the other threads of its process have.
                let mut threads = std::fs::read_dir(path.join("task")).into_iter().flatten().flatten();
                threads.any(|thread| has(thread.path()))
            } else {
                has(path)
            };
            if !marked {
                self.unmarked.borrow_mut().insert(process.pid, process.started);
            }
            marked
        }

        /// Signals the processes that were started last, and new ones as they appear, for a short time. Returns whether there were any.
        fn signal_newest(&mut self, signal: Signal) -> bool {
            let until = processor_time() + self.newest_time;
            let mut any = false;
            while processor_time() < until {
                let newest = last_pid();
                // Process ids start again at the end of their range.
                let first = if self.newest < newest { self.newest + 1 } else { newest };
                // The newest first: the others may be gone by now.
                for pid in (first.max(newest.saturating_sub(NEWEST))..=newest).rev() {
                    any |= send(pid, signal, |found| self.has(found, Process::look));
                }
                self.newest = newest;
            }
            self.saw(any);
            any
        }
    }

    /// The id of the process that was started last; 0 if it is not known.
    fn last_pid() -> u32 {
        let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        text.split_ascii_whitespace().next_back().and_then(|last| last.parse().ok()).unwrap_or_default()
    }

    #[cfg(test)]
    mod tests {
        use std::io::{BufRead, BufReader};
        use std::os::unix::process::{CommandExt, ExitStatusExt};
        use std::process::{Child, Command, Stdio};

        use super::*;

        /// Never the id of a process.
        const NO_GUARD: u32 = u32::MAX;

        fn is_there(pid: u32) -> bool {
            Process::look(pid).is_some()
        }

        #[test]
        fn ends_processes_with_the_mark_and_no_others() {
            let start = |mark: &str| {
                let child = Command::new("sleep").arg("100").env(MARK, mark).spawn().unwrap();
                // The environment of a process can be read only a moment after its program has started.
                let environ = format!("/proc/{}/environ", child.id());
                while std::fs::read(&environ).unwrap().is_empty() {
                    std::thread::yield_now();
                }
                child
            };
            let (mut marked, mut other) = (start("kill-test-a"), start("kill-test-ab"));
            assert!(kill_descendants(NO_GUARD, "kill-test-a").is_empty());
            assert_eq!(marked.wait().unwrap().signal(), Some(9));
            assert!(other.try_wait().unwrap().is_none());
            other.kill().unwrap();
            other.wait().unwrap();
        }

        /// A process in Python that has started its own processes.
        fn python(code: &str, mark: &str) -> (Child, Vec<u32>) {
            let mut child = Command::new("python3")
                .args(["-S", "-c", code])
                .env(MARK, mark)
                .process_group(0)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let pids = line.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
            (child, pids)
        }

        #[test]
        fn processes_that_fork_and_exit_all_the_time_are_ended() {
            // Chains of processes, each of which lives only until it has started the next. The first process reaps those
            // that have ended.
            let code = "import ctypes, os, signal, sys\nctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n\
                        signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfor _ in range(10):\n  if os.fork() == 0:\n    \
                        while True:\n      if os.fork(): os._exit(0)\n      os.setsid()\n\
                        print(1, flush=True)\nsignal.pause()\n";
            let (mut guard, _) = python(code, "kill-test-hop");
            // Without a guard: found by the mark alone.
            assert_eq!(kill_descendants(NO_GUARD, "kill-test-hop"), [0; 0]);
            guard.wait().unwrap();
            assert_eq!(Descendants::new(NO_GUARD, "kill-test-hop").all().len(), 0);
        }

        #[test]
        fn a_stopped_guard_still_shows_what_is_below_it() {
            // Without the mark, in a session of its own, and orphaned: still below the subreaper.
            let code = "import ctypes, os, signal\nctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\nread, write = os.pipe()\n\
                        if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    \
                        os.write(write, b'%d' % os.getpid())\n    os.execve('/bin/sleep', ['sleep', '100'], {})\n  \
                        os._exit(0)\nprint(os.read(read, 20).decode(), flush=True)\nos.wait()\n\
                        os.kill(os.getpid(), signal.SIGSTOP)\n";
            let (mut guard, pids) = python(code, "kill-test-stopped");
            let stopped = || Process::look(guard.id()).is_some_and(|process| process.is_stopped());
            while !stopped() {
                std::thread::yield_now();
            }
            assert!(!pids.is_empty() && pids.iter().copied().all(is_there));
            assert_eq!(kill_descendants(guard.id(), "no such mark"), [0; 0]);
            assert!(!pids.into_iter().any(is_there));
            guard.kill().unwrap();
            assert_eq!(guard.wait().unwrap().signal(), Some(9));
        }

        #[test]
        fn a_process_whose_name_is_not_text_is_found() {
            let code = "import ctypes, time\nctypes.CDLL(None).prctl(15, b'\\xff\\xfe) Z 1 (')\nprint(1, flush=True)\n\
                        time.sleep(100)\n";
            let (mut child, _) = python(code, "kill-test-name");
            assert_eq!(kill_descendants(NO_GUARD, "kill-test-name"), [0; 0]);
            assert_eq!(child.wait().unwrap().signal(), Some(9));
        }

        #[test]
        fn a_process_whose_first_thread_has_ended_counts_as_alive() {
            let code = "import ctypes, threading, time\nthreading.Thread(target=time.sleep, args=(100,)).start()\n\
                        print(1, flush=True)\nctypes.CDLL(None).syscall(60, 0)\n";
            let (mut child, _) = python(code, "kill-test-thread");
            while std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap().contains(") S") {
                std::thread::yield_now();
            }
            assert!(is_there(child.id()));
            assert_eq!(kill_descendants(NO_GUARD, "kill-test-thread"), [0; 0]);
            assert_eq!(child.wait().unwrap().signal(), Some(9));
        }
    }
}
