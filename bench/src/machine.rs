//! Describes the machine and the versions of a measurement.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sysinfo::System;

use crate::site::Site;

/// The machine, without names that could identify its owner.
#[must_use]
pub fn describe() -> Value {
    let system = System::new_all().ok();
    let processor = system.as_ref().and_then(|system| Some(system.cpus().first()?.brand().trim().to_owned()));
    json!({
        "os": System::name().ok(),
        "os_version": System::os_version().ok(),
        "kernel": System::kernel_version().ok(),
        "architecture": std::env::consts::ARCH,
        "processor": processor,
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_mib": system.map(|system| system.total_memory() >> 20),
    })
}

/// The versions of everything that was measured.
#[must_use]
pub fn versions(site: &Site) -> Value {
    let mut versions = json!({
        "bivium": env!("CARGO_PKG_VERSION"),
        "rustc": said(Command::new("rustc").arg("--version")),
        "wasmtime": LOCKED.wasmtime,
        "extism": LOCKED.extism,
        "extism's wasmtime": LOCKED.extism_wasmtime,
        "python": python(&site.python, "import sys; print(*sys.version_info[:3], sep='.')"),
    });
    for (name, interpreter, package) in [
        ("cjm-plugin-system", &site.cjm, "cjm-plugin-system"),
        ("cjm-substrate", &site.substrate, "cjm-substrate"),
        ("fastapi", &site.fastapi, "fastapi"),
        ("uvicorn", &site.fastapi, "uvicorn"),
        ("httpx", &site.fastapi, "httpx"),
    ] {
        let code = format!("import importlib.metadata as m; print(m.version('{package}'))");
        let version = interpreter.as_deref().and_then(|interpreter| python(interpreter, &code));
        if let Some(versions) = versions.as_object_mut() {
            versions.insert(name.to_owned(), version.into());
        }
    }
    versions
}

fn python(interpreter: &Path, code: &str) -> Option<String> {
    said(Command::new(interpreter).args(["-c", code]))
}

fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The versions in the lock file of this workspace.
struct Locked {
    wasmtime: Option<&'static str>,
    extism: Option<&'static str>,
    extism_wasmtime: Option<&'static str>,
}

const LOCK: &str = include_str!("../Cargo.lock");
static LOCKED: std::sync::LazyLock<Locked> = std::sync::LazyLock::new(|| Locked {
    wasmtime: locked("wasmtime").last(),
    extism: locked("extism").last(),
    extism_wasmtime: locked("wasmtime").next(),
});

/// The versions of a package in the lock file, the oldest first.
fn locked(name: &str) -> impl Iterator<Item = &'static str> {
    let wanted = format!("name = \"{name}\"");
    let mut lines = LOCK.lines();
    std::iter::from_fn(move || {
        lines.find(|line| *line == wanted)?;
        lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')
    })
}
