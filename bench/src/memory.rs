//! The memory of process trees, as the kernel reports it.

use anyhow::{Context, Result};

/// The memory of processes, in MiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Proportional share: a page that several processes use is divided among them.
    pub share: f64,
    /// Memory that no other process uses. It does not contain code in files that other processes map too.
    pub private: f64,
}

impl Memory {
    /// The difference to an earlier measurement.
    pub fn over(self, before: Self) -> Self {
        Self { share: self.share - before.share, private: self.private - before.private }
    }
}

/// The memory of a process and all its descendants.
///
/// # Errors
/// If the kernel does not report it: on other systems than Linux, or for a process that has ended.
pub fn of_tree(root: u32) -> Result<Memory> {
    let mut memory = Memory::default();
    let mut left = vec![root];
    while let Some(pid) = left.pop() {
        let smaps = read(&format!("/proc/{pid}/smaps_rollup"))?;
        let mib = |fields: &[&str]| -> Result<f64> {
            fields.iter().try_fold(0.0, |mib, name| Ok(mib + f64::from(field(&smaps, name)?) / 1024.0))
        };
        memory.share += mib(&["Pss:", "SwapPss:"])?;
        memory.private += mib(&["Private_Clean:", "Private_Dirty:", "SwapPss:"])?;
        left.extend(children(pid)?);
    }
    Ok(memory)
}

/// The parent of a process.
///
/// # Errors
/// As [`of_tree`].
pub fn parent(pid: u32) -> Result<u32> {
    field(&read(&format!("/proc/{pid}/status"))?, "PPid:")
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = read(&format!("{}/children", task?.path().display()))?;
        for child in list.split_whitespace() {
            found.push(child.parse()?);
        }
    }
    Ok(found)
}

fn field(text: &str, name: &str) -> Result<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("there is no {name}"))?;
    Ok(line.split_whitespace().next().context("an empty field")?.parse()?)
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_counts_with_its_parent() {
        let me = std::process::id();
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        assert_eq!(parent(child.id()).unwrap(), me);
        assert!(children(me).unwrap().contains(&child.id()));
        let memory = of_tree(child.id()).unwrap();
        assert!(memory.private > 0.0 && memory.share > 0.0, "{memory:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(of_tree(child.id()).is_err());
    }
}
