//! Makes Python environments with pinned packages, once each.

use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::command::run;

/// The versions of Python on which the packages of cjm-plugin-system run; the end is excluded.
const PYTHON: std::ops::Range<(u32, u32)> = (3, 12)..(3, 14);

/// Makes an environment with exactly these packages in `home`, unless it exists, and returns its interpreter.
pub(crate) fn make(home: &Path, python: &Path, packages: &[&str]) -> Result<PathBuf> {
    let interpreter = home.join("bin").join(format!("python{EXE_SUFFIX}"));
    let stamp = home.join("packages.sha256");
    let wanted = format!("{:x}", Sha256::digest(packages.join("\n")));
    if !fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        if home.exists() {
            fs::remove_dir_all(home)?;
        }
        run(Command::new(python).args(["-m", "venv"]).arg(home))?;
        let mut pip = Command::new(&interpreter);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
        run(&mut pip)?;
        fs::write(&stamp, wanted)?;
    }
    Ok(interpreter)
}

/// Finds a Python on which cjm-plugin-system runs: on PATH, with uv, or with pyenv.
pub(crate) fn find_python() -> Result<PathBuf> {
    let mut candidates: Vec<PathBuf> =
        ["python3.12", "python3.13", "python3"].map(|name| format!("{name}{EXE_SUFFIX}").into()).into();
    if let Ok(found) = Command::new("uv").args(["python", "find", ">=3.12,<3.14"]).output()
        && found.status.success()
    {
        candidates.push(String::from_utf8_lossy(&found.stdout).trim().into());
    }
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let pyenv = pyenv.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = pyenv.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
    for version in versions.into_iter().flatten().flatten() {
        candidates.push(version.path().join("bin").join(format!("python{EXE_SUFFIX}")));
    }
    let found = candidates.into_iter().find(|python| age(python.as_os_str()).is_some_and(|age| PYTHON.contains(&age)));
    found.context(
        "neither PATH nor uv nor pyenv has Python 3.12 or 3.13: install one, for example with `uv python install 3.12`",
    )
}

fn age(python: &OsStr) -> Option<(u32, u32)> {
    let said = Command::new(python).args(["-c", "import sys; print(*sys.version_info[:2])"]).output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
