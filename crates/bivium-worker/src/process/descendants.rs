//! Ending what a guard did not: one that was killed, that is stopped, or that could not finish.
//!
//! A guard that lives is the subreaper of all below it, so what is below it is its worker's, whether it runs or not. Besides,
//! every process of a worker carries the worker's mark in its environment, and most are in the guard's group.
//!
//! What is found is stopped first, until a look finds nothing that runs; then all are killed, the guard last. A process that
//! forks and exits at once is gone before a look at the whole table comes to it, so between two such looks only the newest
//! processes are looked at, again and again. `sweep.py` is the guard's own copy of this.

/// The name of the variable that holds the mark.
pub(crate) const MARK: &str = "BIVIUM_WORKER";

#[cfg(target_os = "linux")]
pub(crate) use linux::sweep;

/// Elsewhere than on Linux processes cannot be looked at.
#[cfg(not(target_os = "linux"))]
pub(crate) fn sweep(_guard: u32, _mark: &str) -> Vec<u32> {
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

    /// How much processor time is spent on stopping them all; after that they are killed as they run.
    const FREEZE: Duration = Duration::from_millis(300);

    /// How much of it all may take. A process in an uninterruptible system call is left to the kernel.
    const SWEEP: Duration = Duration::from_secs(1);

    /// How long all may take where others have the processors.
    const WALL: Duration = Duration::from_secs(3);

    /// How long the newest processes are looked at between two looks at all, or as long as such a look took: there may be
    /// very many processes. Processor time, too.
    const CHASE: Duration = Duration::from_millis(2);

    /// How many of the newest are looked at.
    const NEWEST: u32 = 64;

    /// How far up a process is followed to the guard.
    const DEPTH: usize = 1000;

    /// Ends every process of a worker but its guard, whether the guard still exists or not. Gives those that are left.
    pub(crate) fn sweep(guard: u32, mark: &str) -> Vec<u32> {
        Family::new(guard, mark).end()
    }

    /// A process as a look found it.
    #[derive(Clone, Copy)]
    struct Process {
        pid: u32,
        state: u8,
        parent: u32,
        group: u32,
        started: u64,
    }

    impl Process {
        /// The process with this number, if it lives.
        fn look(pid: u32) -> Option<Self> {
            let Stat { state, parent, group, started, .. } = Stat::of(pid)?;
            Some(Self { pid, state, parent, group, started })
        }

        fn is_stopped(&self) -> bool {
            matches!(self.state, b'T' | b't')
        }

        /// Signals this process, as it was found.
        fn send(&self, signal: Signal) {
            send(self.pid, signal, |now| now.started == self.started);
        }
    }

    /// Signals a process if it is the one that is meant, and never another one that is given its number meanwhile. Says
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

    /// Says when so much processor time of this thread is used up, or the time is over.
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

    /// The processes of one worker but its guard.
    struct Family {
        guard: u32,
        mark: Vec<u8>,
        /// Those without the mark, with the times of their starts.
        foreign: RefCell<HashMap<u32, u64>>,
        newest: u32,
        chase: Duration,
        /// How many looks in a row, at all and at the newest, have found nothing.
        quiet: u32,
    }

    impl Family {
        fn new(guard: u32, mark: &str) -> Self {
            let mark = format!("{MARK}={mark}").into_bytes();
            Self { guard, mark, foreign: RefCell::default(), newest: 0, chase: CHASE, quiet: 0 }
        }

        fn end(mut self) -> Vec<u32> {
            let clock = Clock::new();
            let mut left = self.freeze(&clock);
            loop {
                left.iter().for_each(|process| process.send(Signal::KILL));
                // Between two looks there may be one that neither has seen.
                if self.quiet >= 4 || clock.is_over(SWEEP) {
                    return left.iter().map(|process| process.pid).collect();
                }
                self.chase(Signal::KILL);
                left = self.all();
            }
        }

        /// Stops all of them, for as long as there are any that run; gives all that were found last.
        fn freeze(&mut self, clock: &Clock) -> Vec<Process> {
            let mut told = HashMap::new();
            loop {
                let new = self.chase(Signal::STOP);
                let everyone = self.all();
                let running = everyone.iter().filter(|process| !process.is_stopped());
                // One that waits in the kernel stops before it comes back from there.
                let waits =
                    |process: &&Process| process.state == b'D' && told.get(&process.pid) == Some(&process.started);
                let moving: Vec<Process> = running.filter(|process| !waits(process)).copied().collect();
                if moving.is_empty() && !new || clock.is_over(FREEZE) {
                    return everyone;
                }
                for process in moving {
                    process.send(Signal::STOP);
                    told.insert(process.pid, process.started);
                }
            }
        }

        /// All of them, by a look at every process there is.
        fn all(&mut self) -> Vec<Process> {
            let begun = processor_time();
            let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
            let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            let table: HashMap<u32, Process> = pids.filter_map(|pid| Some((pid, Process::look(pid)?))).collect();
            let find = |pid| table.get(&pid).copied();
            let found: Vec<Process> = table.values().filter(|process| self.has(process, find)).copied().collect();
            self.chase = CHASE.max(processor_time().saturating_sub(begun));
            self.saw(!found.is_empty());
            found
        }

        fn saw(&mut self, any: bool) {
            self.quiet = if any { 0 } else { self.quiet + 1 };
        }

        /// Whether the process is the worker's. `find` looks up its parents.
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
            if self.foreign.borrow().get(&process.pid) == Some(&process.started) {
                return false;
            }
            let has = |path: PathBuf| {
                let environment = std::fs::read(path.join("environ"));
                environment.is_ok_and(|all| all.split(|byte| *byte == 0).any(|variable| variable == self.mark))
            };
            let path = Path::new("/proc").join(process.pid.to_string());
            let marked = if process.state == b'Z' {
                // A thread that has ended has no environment any more; the others of its process have.
                let mut threads = std::fs::read_dir(path.join("task")).into_iter().flatten().flatten();
                threads.any(|thread| has(thread.path()))
            } else {
                has(path)
            };
            if !marked {
                self.foreign.borrow_mut().insert(process.pid, process.started);
            }
            marked
        }

        /// Signals those that were started last, as they come, for a moment. Says whether there were any.
        fn chase(&mut self, signal: Signal) -> bool {
            let until = processor_time() + self.chase;
            let mut any = false;
            while processor_time() < until {
                let newest = last_pid();
                // Numbers begin anew at the end of their range.
                let first = if self.newest < newest { self.newest + 1 } else { newest };
                // The last one first: the others may have gone by now.
                for pid in (first.max(newest.saturating_sub(NEWEST))..=newest).rev() {
                    any |= send(pid, signal, |found| self.has(found, Process::look));
                }
                self.newest = newest;
            }
            self.saw(any);
            any
        }
    }

    /// The number that was given to a process last; 0 where that is not known.
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

        /// Never the number of a process.
        const NO_GUARD: u32 = u32::MAX;

        fn is_there(pid: u32) -> bool {
            Process::look(pid).is_some()
        }

        #[test]
        fn ends_what_carries_the_mark_and_nothing_else() {
            let start = |mark: &str| {
                let child = Command::new("sleep").arg("100").env(MARK, mark).spawn().unwrap();
                // The environment of a process can be read a moment after its program has begun.
                let environ = format!("/proc/{}/environ", child.id());
                while std::fs::read(&environ).unwrap().is_empty() {
                    std::thread::yield_now();
                }
                child
            };
            let (mut ours, mut other) = (start("sweep-test-a"), start("sweep-test-ab"));
            assert!(sweep(NO_GUARD, "sweep-test-a").is_empty());
            assert_eq!(ours.wait().unwrap().signal(), Some(9));
            assert!(other.try_wait().unwrap().is_none());
            other.kill().unwrap();
            other.wait().unwrap();
        }

        /// A process in Python that has started what it is to start.
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
        fn what_hops_from_process_to_process_is_caught() {
            // Chains of processes, each of which lives no longer than it takes to start the next. The first takes those
            // that have ended off the kernel's table.
            let code = "import ctypes, os, signal, sys\nctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\n\
                        signal.signal(signal.SIGCHLD, signal.SIG_IGN)\nfor _ in range(10):\n  if os.fork() == 0:\n    \
                        while True:\n      if os.fork(): os._exit(0)\n      os.setsid()\n\
                        print(1, flush=True)\nsignal.pause()\n";
            let (mut guard, _) = python(code, "sweep-test-hop");
            // Without a guard's help: the mark alone.
            assert_eq!(sweep(NO_GUARD, "sweep-test-hop"), [0; 0]);
            guard.wait().unwrap();
            assert_eq!(Family::new(NO_GUARD, "sweep-test-hop").all().len(), 0);
        }

        #[test]
        fn a_stopped_guard_still_shows_what_is_below_it() {
            // Without the mark, in sessions of their own, and orphaned: below the subreaper all the same.
            let code = "import ctypes, os, signal\nctypes.CDLL(None).prctl(36, 1, 0, 0, 0)\nread, write = os.pipe()\n\
                        if os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    \
                        os.write(write, b'%d' % os.getpid())\n    os.execve('/bin/sleep', ['sleep', '100'], {})\n  \
                        os._exit(0)\nprint(os.read(read, 20).decode(), flush=True)\nos.wait()\n\
                        os.kill(os.getpid(), signal.SIGSTOP)\n";
            let (mut guard, pids) = python(code, "sweep-test-stopped");
            let stopped = || Process::look(guard.id()).is_some_and(|process| process.is_stopped());
            while !stopped() {
                std::thread::yield_now();
            }
            assert!(!pids.is_empty() && pids.iter().copied().all(is_there));
            assert_eq!(sweep(guard.id(), "no such mark"), [0; 0]);
            assert!(!pids.into_iter().any(is_there));
            guard.kill().unwrap();
            assert_eq!(guard.wait().unwrap().signal(), Some(9));
        }

        #[test]
        fn a_process_whose_name_is_no_text_is_found() {
            let code = "import ctypes, time\nctypes.CDLL(None).prctl(15, b'\\xff\\xfe) Z 1 (')\nprint(1, flush=True)\n\
                        time.sleep(100)\n";
            let (mut child, _) = python(code, "sweep-test-name");
            assert_eq!(sweep(NO_GUARD, "sweep-test-name"), [0; 0]);
            assert_eq!(child.wait().unwrap().signal(), Some(9));
        }

        #[test]
        fn a_process_whose_first_thread_has_ended_lives() {
            let code = "import ctypes, threading, time\nthreading.Thread(target=time.sleep, args=(100,)).start()\n\
                        print(1, flush=True)\nctypes.CDLL(None).syscall(60, 0)\n";
            let (mut child, _) = python(code, "sweep-test-thread");
            while std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap().contains(") S") {
                std::thread::yield_now();
            }
            assert!(is_there(child.id()));
            assert_eq!(sweep(NO_GUARD, "sweep-test-thread"), [0; 0]);
            assert_eq!(child.wait().unwrap().signal(), Some(9));
        }
    }
}
