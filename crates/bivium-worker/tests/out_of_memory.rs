//! A worker that the kernel kills because memory runs out, on machines where a memory control group can be made.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test ends where it fails")]

mod common;

use std::path::{Path, PathBuf};

use bivium_interface::{Call, ErrorCode, PluginInterface};
use common::load_with;
use common::skipped::skipped;
use serde_json::json;

/// A control group with a memory limit that contains this process until it is dropped.
struct Group {
    own: PathBuf,
    made: PathBuf,
}

impl Group {
    fn enter(bytes: u64) -> Result<Self, String> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let (own, limit) = groups
            .lines()
            .filter_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
                match controllers {
                    "memory" => Some((Path::new("/sys/fs/cgroup/memory").join(path), "memory.limit_in_bytes")),
                    "" => Some((Path::new("/sys/fs/cgroup").join(path), "memory.max")),
                    _ => None,
                }
            })
            .find(|(own, limit)| own.join(limit).exists())
            .ok_or("it has no memory control groups")?;
        let made = own.join(format!("bivium-test-{}", std::process::id()));
        std::fs::create_dir(&made).map_err(|error| format!("{}: {error}", made.display()))?;
        let group = Self { own, made };
        let write = |name: &str, value: String| {
            std::fs::write(group.made.join(name), value).map_err(|error| format!("{name}: {error}"))
        };
        write(limit, bytes.to_string())?;
        write("cgroup.procs", std::process::id().to_string())?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::write(self.own.join("cgroup.procs"), std::process::id().to_string());
        let _ = std::fs::remove_dir(&self.made);
    }
}

#[tokio::test]
async fn a_kill_because_of_memory_is_reported_as_such_and_another_is_not() {
    let _group = match Group::enter(300 << 20) {
        Ok(group) => group,
        Err(why) => return skipped(&format!("no memory control group can be made on this machine: {why}")),
    };
    let dir = tempfile::tempdir().unwrap();
    let code = "
import os
class P:
    def execute(self):
        held = []
        while True:
            held.append(bytearray(b'x') * (8 << 20))
    def die(self):
        os.kill(os.getpid(), 9)
";
    std::fs::write(dir.path().join("hungry.py"), code).unwrap();
    let sample = load_with("P", json!({"module": "hungry", "source": dir.path()})).await;
    let error = sample.plugin.execute(Call::new()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted, "{error}");
    assert_eq!(error.message(), "the kernel killed the worker in the middle of a call because memory ran out");
    assert_eq!(error.failure().unwrap().kind, "OutOfMemory");
    assert!(error.help().unwrap().contains("limits.memory_mb"), "{error}");

    let error = sample.plugin.execute(Call::new().method("die")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Crashed, "{error}");
    sample.plugin.cleanup().await.unwrap();
}
