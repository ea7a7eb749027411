//! Reads what the kernel says about a process in `/proc/PID/stat`.

/// A process, as it was when it was looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) state: u8,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    threads: u64,
    /// Processor time, in the kernel's ticks.
    pub(crate) processor: u64,
    /// When it was started: the id and this identify a process.
    pub(crate) started: u64,
    /// Resident memory, in pages.
    pub(crate) resident: u64,
}

impl Stat {
    /// The process with this id, if it lives.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?).filter(|stat| !stat.has_ended())
    }

    fn parse(text: &[u8]) -> Option<Self> {
        // The process chooses its name, in parentheses; the fields after the last parenthesis are the kernel's.
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(text.get(end + 1..)?).ok()?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let number = |n: usize| fields.get(n)?.parse::<u64>().ok();
        let small = |n: usize| u32::try_from(number(n)?).ok();
        Some(Self {
            state: *fields.first()?.as_bytes().first()?,
            parent: small(1)?,
            group: small(2)?,
            threads: number(17)?,
            processor: number(11)?.saturating_add(number(12)?),
            started: number(19)?,
            resident: number(21)?,
        })
    }

    /// Whether it has ended. The kernel reports a zombie also when only the first thread has ended and others run.
    fn has_ended(&self) -> bool {
        self.state == b'X' || self.state == b'Z' && self.threads < 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "5 6 7 0 -1 4194304 1 2 3 4 60 40 0 0 20 0 N 0 321 9999 25 18446744073709551615";

    #[test]
    fn a_name_may_hold_any_byte() {
        for name in [&b"sh"[..], b"a) Z 1 (", b"\xff\xfe", b""] {
            let text = [b"7 (", name, b") R ", REST.replace('N', "1").as_bytes()].concat();
            let stat = Stat::parse(&text).unwrap();
            assert_eq!((stat.state, stat.parent, stat.group, stat.processor), (b'R', 5, 6, 100));
            assert_eq!((stat.started, stat.resident, stat.has_ended()), (321, 25, false));
        }
        for broken in [&b""[..], b"7 (a", b"7 (a) R", b"7 (a) R x 7"] {
            assert!(Stat::parse(broken).is_none());
        }
    }

    #[test]
    fn a_zombie_with_threads_lives() {
        for (state, threads, ended) in [("Z", "1", true), ("Z", "2", false), ("X", "2", true), ("S", "1", false)] {
            let text = format!("7 (a) {state} {}", REST.replace('N', threads));
            assert_eq!(Stat::parse(text.as_bytes()).unwrap().has_ended(), ended, "{text}");
        }
    }
}
