//! The memory of process trees, by the kernel's own account.

use anyhow::{Context, Result};

/// What a process and everything below it holds, in MiB: each page is counted in as many parts as processes have it.
///
/// # Errors
/// Where the kernel does not tell: elsewhere than on Linux, or of a process that has gone.
pub fn of_tree(root: u32) -> Result<f64> {
    let mut kib = 0;
    let mut left = vec![root];
    while let Some(pid) = left.pop() {
        kib += share(pid)?;
        left.extend(children(pid)?);
    }
    Ok(kib as f64 / 1024.0)
}

/// The parent of a process.
///
/// # Errors
/// As [`of_tree`].
pub fn parent(pid: u32) -> Result<u32> {
    field(&read(&format!("/proc/{pid}/status"))?, "PPid:")
}

fn share(pid: u32) -> Result<u64> {
    let smaps = read(&format!("/proc/{pid}/smaps_rollup"))?;
    Ok(u64::from(field(&smaps, "Pss:")? + field(&smaps, "SwapPss:")?))
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
        assert!(of_tree(child.id()).unwrap() > 0.0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(of_tree(child.id()).is_err());
    }
}
