//! A separate directory for each test, with manifests, saved settings and temporary files.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// The source of the Python plugin `probe`.
pub(crate) const PROBE: &str = include_str!("probe.py");

pub(crate) struct Place {
    dir: TempDir,
}

/// How a run ended. In its output, `[DIR]` stands for the place's directory.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// In memory if possible: then the exchange uses only the test's directory.
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
        for name in ["manifests", "data", "tmp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    /// With the Python plugin `probe`.
    pub(crate) fn with_probe() -> Self {
        let place = Self::new();
        place.write("probe_plugin.py", PROBE);
        let manifest = json!({"name": "probe", "version": "1.0.0", "module": "probe_plugin", "class": "Probe",
            "source": ".."});
        place.write("manifests/probe.json", &manifest.to_string());
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A manifest of a component that does not exist.
    pub(crate) fn component(&self, name: &str, more: Value) {
        let mut manifest = json!({"name": name, "version": "1.0.0", "component": format!("{name}.wasm")});
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.write(&format!("manifests/{name}.json"), &manifest.to_string());
    }

    /// The program, to be run in this place.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_bivium")), args)
    }

    /// The program, by another path, to be run in this place.
    pub(crate) fn command_of(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("TMPDIR", self.path("tmp"))
            .env("BIVIUM_MANIFESTS", self.path("manifests"))
            .env("BIVIUM_DATA_DIR", self.path("data"))
            .env_remove("BIVIUM_LOG")
            .env_remove("BIVIUM_PLUGIN_LOG")
            .env_remove("BIVIUM_CACHE")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_DATA_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.ran(self.command(args).output().unwrap())
    }

    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        self.ran(child.wait_with_output().unwrap())
    }

    pub(crate) fn ended(&self, child: Child) -> Ran {
        self.ran(child.wait_with_output().unwrap())
    }

    pub(crate) fn ran(&self, output: Output) -> Ran {
        let dir = self.dir.path().to_str().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(dir, "[DIR]");
        let status = output.status.code().expect("ended by a signal");
        Ran { status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Checks that nothing is left of the exchange.
    pub(crate) fn assert_clean(&self) {
        let left: Vec<_> = std::fs::read_dir(self.path("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Ran {
    /// Status, standard output and standard error in one text, for snapshots.
    pub(crate) fn all(&self) -> String {
        format!("{}\n--- stdout\n{}--- stderr\n{}", self.status, self.stdout, self.stderr)
    }

    #[track_caller]
    pub(crate) fn assert_status(&self, status: i32) -> &Self {
        assert_eq!(self.status, status, "{}", self.all());
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.all()))
    }
}

/// Waits until the condition holds.
#[track_caller]
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < LONG, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal to a running program.
pub(crate) fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}
