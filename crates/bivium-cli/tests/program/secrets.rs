//! Secrets in the environment: the program has them, and no other process can read them.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::place::{Place, signal, until};
use crate::skipped::skipped;

const VALUE: &str = "s3cret-value";

impl Place {
    /// A component that is not loaded without the secret `KEY`.
    fn wants_key(&self) {
        let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/target/guests/echo.wasm");
        assert!(guest.is_file(), "{} is not built: run `cargo xtask guests`", guest.display());
        fs::copy(guest, self.path("manifests/echo.wasm")).unwrap();
        let secret = json!({"name": "KEY", "header": "X-Key", "hosts": ["api.example.com"]});
        self.component("echo", json!({"permissions": {"network": ["https://api.example.com"], "secrets": [secret]}}));
    }

    fn with_key(&self, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command.env("BIVIUM_SECRET_KEY", VALUE).env("BIVIUM_SECRET_OTHER", "s3cret-value too");
        command
    }
}

/// A process and all its descendants.
fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(pid) = family.get(next) {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        family
            .extend(children.flat_map(|pids| pids.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()));
    }
    family
}

#[test]
fn the_program_has_its_secrets_and_its_input() {
    let place = Place::new();
    place.wants_key();
    let without = place.run(&["run", "echo", "text=b"]);
    assert!(without.assert_status(4).stderr.contains("BIVIUM_SECRET_KEY"), "{}", without.all());
    let with = place.ran(place.with_key(&["run", "echo", "text=b", "times:=1"]).output().unwrap());
    with.assert_status(0);

    let place = Place::with_probe();
    let mut command = place.with_key(&["run", "probe", "--json", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), br#"{"text": "from the input"}"#).unwrap();
    assert_eq!(place.ended(child).assert_status(0).json()["kwargs"]["text"], "from the input");
    place.assert_clean();
}

#[track_caller]
fn assert_none_has_a_secret(family: &[u32]) {
    for pid in family {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let environment = String::from_utf8_lossy(&environment);
        assert!(!environment.contains("BIVIUM_SECRET_") && !environment.contains(VALUE), "{pid}: {environment}");
        for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let target = fs::read_link(fd.path()).unwrap_or_default();
            assert!(!target.to_string_lossy().contains("bivium-secrets"), "{pid}: {}", target.display());
        }
    }
}

#[test]
fn no_process_has_a_secret_in_its_environment_or_the_file_that_held_it() {
    let place = Place::with_probe();
    let flag = format!("flag={}", place.path("flag").display());
    let args = ["run", "probe", "--method", "wait", &flag];
    let child = place.with_key(&args).spawn().unwrap();
    until("the plugin's wait", || place.path("flag").exists());
    let family = family(child.id());
    assert!(family.len() > 1, "no worker: {family:?}");
    assert_none_has_a_secret(&family);
    // It is the same process, with the same id, name and command line.
    let line = fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap();
    let expected: Vec<&str> = std::iter::once(env!("CARGO_BIN_EXE_bivium")).chain(args).collect();
    assert_eq!(line.trim_end_matches('\0').split('\0').collect::<Vec<_>>(), expected);
    assert_eq!(fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap(), "bivium\n");
    signal(&child, "TERM");
    place.ended(child).assert_status(130);
    place.assert_clean();
}

#[test]
fn a_program_that_has_secrets_leaves_no_core() {
    let place = Place::with_probe();
    for with_key in [true, false] {
        let flag = place.path(if with_key { "with" } else { "without" });
        let given = format!("flag={}", flag.display());
        let args = ["run", "probe", "--method", "wait", &given];
        let own = if with_key { place.with_key(&args) } else { place.command(&args) };
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -c unlimited && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_bivium")]).args(args);
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        shell.current_dir(place.path("tmp")).envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut child = shell.spawn().unwrap();
        until("the plugin's wait", || flag.exists() || child.try_wait().unwrap().is_some());
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.code() == Some(2) && !flag.exists(), "{status}");
            skipped("the size of core files cannot be raised here");
            return;
        }
        for pid in family(child.id()) {
            let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
            let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
            assert_eq!(core.split_whitespace().nth(4), Some(if with_key { "1" } else { "unlimited" }), "{pid}: {core}");
        }
        // Writing a core file of a program of this size takes long, and is not needed.
        signal(&child, if with_key { "ABRT" } else { "KILL" });
        assert!(!child.wait().unwrap().core_dumped());
    }
}

#[test]
fn the_compiler_has_no_secret() {
    let place = Place::new();
    place.endless(json!({}));
    let child = place.with_key(&["compile", "endless"]).spawn().unwrap();
    until("the compiler's start", || {
        let lines = family(child.id()).into_iter().filter_map(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok());
        lines.into_iter().any(|line| line.ends_with(b"\0compiler\0"))
    });
    assert_none_has_a_secret(&family(child.id()));
    signal(&child, "TERM");
    place.ended(child).assert_status(130);
}

#[test]
fn a_status_is_the_same_with_secrets() {
    let place = Place::new();
    for (args, status) in [(&["nonsense"] as &[_], 2), (&["run", "none"], 3), (&["help"], 0), (&["list"], 0)] {
        let (without, with) = (place.run(args), place.ran(place.with_key(args).output().unwrap()));
        assert_eq!((without.status, with.status), (status, status));
        assert_eq!(without.all(), with.all());
    }
}

#[test]
fn a_descriptor_of_another_file_is_not_read_or_closed() {
    let place = Place::new();
    place.component("redact", json!({}));
    let expected = place.run(&["list"]);
    for fd in ["0", "1", "2", "3", "9", "999999", "-1", "x", "", "4294967299"] {
        for secret in [false, true] {
            let mut command = place.command(&["list"]);
            command.env("BIVIUM_SECRETS_FD", fd);
            if secret {
                command.env("BIVIUM_SECRET_KEY", VALUE);
            }
            assert_eq!(place.ran(command.output().unwrap()).all(), expected.all(), "{fd}");
        }
    }
    // A pipe without a writer, and a file with the right content that is not sealed.
    place.write("unsealed", "bivium secrets 1\0x\0BIVIUM_SECRET_KEY\0v\0");
    for (open, fd) in [("mkfifo fifo && exec 7<>fifo", "7"), ("exec 7<unsealed", "7"), ("exec 7</dev/zero", "7")] {
        let script = format!("{open}; BIVIUM_SECRETS_FD={fd} exec \"$0\" list");
        let mut shell = Command::new("sh");
        let own = place.command(&[]);
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_bivium")]).current_dir(place.path(""));
        shell.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        assert_eq!(place.ran(shell.output().unwrap()).all(), expected.all(), "{open}");
    }
}
