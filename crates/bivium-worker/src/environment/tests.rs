//! Tests of the whole module, with tools that the tests put on a `PATH` of their own.

use std::io::Write;
use std::process::{Command, Stdio};

use bivium_interface::ErrorCode;
use tempfile::TempDir;

use super::*;
use crate::executable::copy_executable;
use crate::manifest::PythonManifest;

pub(super) fn manifest() -> PythonManifest {
    let text = r#"{"name": "p", "version": "1", "module": "m", "class": "C"}"#;
    PythonManifest::parse(text, Path::new("/plugins/p.json")).unwrap()
}

fn with_requirements(requirements: &[&str]) -> PythonManifest {
    let mut manifest = manifest();
    manifest.python_mut().requirements = Some(requirements.iter().map(|text| (*text).to_owned()).collect());
    manifest
}

/// A `PATH` with one directory, and a record of the tools that ran.
pub(super) struct Fixture {
    directory: TempDir,
    log: PluginLog,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("bin")).unwrap();
        Self { directory, log: PluginLog::new("p") }
    }

    pub(super) fn bin(&self) -> PathBuf {
        self.directory.path().join("bin")
    }

    pub(super) fn machine(&self) -> Machine {
        Machine::new(self.bin().into(), Vec::new())
    }

    /// A shell script; `note WORDS` in it is recorded for [`Fixture::ran`]. Another process writes it: if the file were
    /// open for writing here, a child that another test forks meanwhile would keep it open, and it could not be run.
    pub(super) fn tool(&self, name: &str, script: &str) -> PathBuf {
        let file = self.bin().join(name);
        let mut write = Command::new("/bin/sh");
        write.args(["-c", "rm -f \"$1\" && cat >\"$1\" && chmod +x \"$1\"", "sh"]).arg(&file).stdin(Stdio::piped());
        let mut child = write.spawn().unwrap();
        let notes = self.directory.path().join("notes");
        let text = format!("#!/bin/sh\nnote() {{ echo \"$*\" >>'{}'; }}\n{script}\n", notes.display());
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        file
    }

    /// A Python of that version, with venv and a pip that installs anything.
    pub(super) fn python(&self, name: &str, version: &str) -> PathBuf {
        self.python_with(name, version, "", "")
    }

    /// The same, running `venv` when asked whether it has that module and `pip` in place of pip.
    fn python_with(&self, name: &str, version: &str, venv: &str, pip: &str) -> PathBuf {
        let script = format!(
            "case \"$*\" in
             '-I -S -m compileall '*) note \"$*\"; exit 1;;
             '-I -S '*) note probe; printf 'bivium\\t{version}\\tcpython-{version}\\t\\n';;
             '-I -c import '*) {venv}
             ;;
             '-I -m venv '*) note \"$*\"; {MAKE};;
             '-I -m pip '*) note \"$*\"; {pip}
             ;;
             *) exit 99;;
             esac"
        );
        self.tool(name, &script)
    }

    /// The notes of the tools; this test's own directory is replaced by `DIR`.
    pub(super) fn ran(&self) -> Vec<String> {
        let notes = std::fs::read_to_string(self.directory.path().join("notes")).unwrap_or_default();
        let root = self.directory.path().to_str().unwrap();
        notes.lines().map(|line| line.replace(root, "DIR").replace(&self.key(), "KEY")).collect()
    }

    fn forget(&self) {
        let _ = std::fs::remove_file(self.directory.path().join("notes"));
    }

    fn environments(&self) -> PathBuf {
        self.directory.path().join("environments")
    }

    /// The key of the environment; there is at most one in a test.
    fn key(&self) -> String {
        let Ok(entries) = std::fs::read_dir(self.environments()) else { return "no environment".into() };
        let mut names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.find_map(|name| name.strip_suffix(".lock").map(str::to_owned)).unwrap()
    }

    async fn choose(&self, manifest: &PythonManifest) -> Result<Interpreter, PluginError> {
        choose(&self.machine(), manifest, Some(&self.environments()), &self.log).await
    }

    fn said(&self, level: LogLevel) -> Vec<String> {
        let records = self.log.tail(usize::MAX).into_iter().filter(|record| record.level == level);
        records.map(|record| record.message).collect()
    }
}

/// Makes its last argument an environment whose interpreter is the running script.
const MAKE: &str =
    "for d; do :; done; /bin/mkdir -p \"$d/bin\"; /bin/ln -s \"$0\" \"$d/bin/python\"; : >\"$d/pyvenv.cfg\"";

#[tokio::test]
async fn nothing_is_built_for_a_confined_plugin() {
    let fixture = Fixture::new();
    fixture.python("python3", "3.11.7");
    let machine = fixture.machine().wheels_only(true);
    let chosen = async |requirement: &str| {
        choose(&machine, &with_requirements(&[requirement]), Some(&fixture.environments()), &fixture.log).await
    };
    chosen("a").await.unwrap();
    let ran = fixture.ran().join("\n");
    assert!(ran.ends_with("--progress-bar=off --only-binary=:all: -- a"), "{ran}");

    // The environment that was made without that restriction is another one, whichever was made first.
    let before = std::fs::read_dir(fixture.environments()).unwrap().count();
    fixture.choose(&with_requirements(&["a"])).await.unwrap();
    assert!(std::fs::read_dir(fixture.environments()).unwrap().count() > before);
    assert!(fixture.ran().last().unwrap().ends_with("--progress-bar=off -- a"), "{:?}", fixture.ran());

    // A package from a URL is fetched and built, whatever it contains.
    for url in ["https://x.example/a-1.tar.gz", "git+https://x.example/a", "https://x.example/a.zip#a-1.whl"] {
        let error = chosen(&format!("a @ {url}")).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Denied, "{url}");
        assert!(
            error.problems()[0].message.ends_with("would have to be built, which runs its author's code"),
            "{error}"
        );
    }
    chosen("a @ https://x.example/a-1-py3-none-any.whl#sha256=00").await.unwrap();
}

#[tokio::test]
async fn a_confined_plugins_refusal_says_that_wheels_only_are_taken() {
    let fixture = Fixture::new();
    fixture.python_with("python3", "3.11.7", "", "echo no matching distribution; exit 1");
    let machine = fixture.machine().wheels_only(true);
    let (manifest, environments) = (with_requirements(&["a"]), fixture.environments());
    let error = choose(&machine, &manifest, Some(&environments), &fixture.log).await.unwrap_err().to_string();
    for part in [
        "could be made from wheels only, because the plugin is confined: pip ended",
        "name a version that has a wheel for this machine",
        "name its interpreter as `python_path`",
        "trust the plugin",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn for_a_shim_the_interpreter_that_answered_is_used() {
    let fixture = Fixture::new();
    let real = fixture.python("real", "3.11.7");
    let answer = format!("printf 'bivium\\t3.11.7\\tcpython-311\\t{}\\n'", real.display());
    std::fs::create_dir(fixture.bin().join("shims")).unwrap();
    let shim = fixture.tool("shims/python3", &answer);
    let named = |path: &Path| {
        let mut manifest = manifest();
        manifest.python_mut().python_path = Some(path.to_owned());
        manifest
    };
    assert_eq!(fixture.choose(&named(&shim)).await.unwrap().path, real);
    let link = fixture.bin().join("linked");
    std::os::unix::fs::symlink(&shim, &link).unwrap();
    assert_eq!(fixture.choose(&named(&link)).await.unwrap().path, real);
    // A script elsewhere may prepare something first.
    let script = fixture.tool("script", &answer);
    assert_eq!(fixture.choose(&named(&script)).await.unwrap().path, script);
}

#[tokio::test]
async fn python_runs_nothing_that_lies_beside_a_link_in_a_confined_plugins_directory() {
    let real = Machine::here().find("python3").unwrap();
    let real = probe::probe(&Machine::here(), &real).await.unwrap().program.canonicalize().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().canonicalize().unwrap();
    let bin = home.join("venv/bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(&real, bin.join("real")).unwrap();
    std::os::unix::fs::symlink("real", bin.join("python")).unwrap();
    let config = format!("home = {}\n", home.join("base/bin").display());
    std::fs::write(home.join("venv/pyvenv.cfg"), config).unwrap();
    // A standard library that ends the interpreter.
    for minor in 9..20 {
        let library = home.join(format!("base/lib/python3.{minor}"));
        for name in ["encodings", "lib-dynload"] {
            std::fs::create_dir_all(library.join(name)).unwrap();
        }
        for name in ["os.py", "encodings/__init__.py"] {
            std::fs::write(library.join(name), "import sys; sys.stderr.write('it has run')").unwrap();
        }
    }
    let text = r#"{"name": "p", "version": "1", "module": "m", "class": "C", "python_path": "venv/bin/python"}"#;
    let manifest = PythonManifest::parse(text, &home.join("p.json")).unwrap();
    let log = PluginLog::new("p");
    let found = interpreter(&manifest, None, None, true, &log).await.unwrap();
    assert_eq!((found.path, found.bare), (bin.join("python"), Some(real)));
    // The library was the right one.
    let error = interpreter(&manifest, None, None, false, &log).await.unwrap_err();
    assert!(error.message().contains("python_path"), "{error}");
}

#[tokio::test]
async fn pip_makes_an_environment_once() {
    let fixture = Fixture::new();
    fixture.python_with(
        "python3",
        "3.11.7",
        "note asked for venv",
        "note in \"$PWD\"; [ /dev/fd/0 -ef \"$PWD.lock\" ] && note holds the lock; echo Collecting b; echo odd >&2",
    );
    let found = fixture.choose(&with_requirements(&["b", "a>=2", "b"])).await.unwrap();
    assert_eq!(found.version, (3, 11, 7));
    assert_eq!(found.path, fixture.environments().join(fixture.key()).join("bin/python"));
    let ran = [
        "probe",
        "asked for venv",
        "-I -m venv -- DIR/environments/KEY",
        "-I -m pip install --disable-pip-version-check --no-input --progress-bar=off -- a>=2 b",
        "in DIR/environments/KEY",
        "holds the lock",
    ];
    assert_eq!(fixture.ran(), ran);
    assert_eq!(fixture.said(LogLevel::Info)[0], "making an environment with a>=2, b (pip)");
    assert_eq!(fixture.said(LogLevel::Debug), ["Collecting b", "odd"]);
    assert_eq!(fixture.key().len(), 16);

    fixture.forget();
    assert_eq!(fixture.choose(&with_requirements(&["a>=2", "b"])).await.unwrap(), found);
    assert!(fixture.ran().is_empty(), "an existing environment is used without running anything: {:?}", fixture.ran());
    assert_eq!(fixture.said(LogLevel::Info).len(), 2);
}

#[tokio::test]
async fn uv_is_preferred() {
    let fixture = Fixture::new();
    let python = fixture.python("python3", "3.11.7");
    let make = MAKE.replace("$0", python.to_str().unwrap());
    fixture.tool("uv", &format!("note uv \"$*\"; case \"$*\" in *' venv '*) {make};; esac"));
    fixture.choose(&with_requirements(&["a"])).await.unwrap();
    let ran = [
        "probe",
        "uv --no-progress --color never venv --no-project --no-python-downloads --python DIR/bin/python3 -- \
         DIR/environments/KEY",
        "uv --no-progress --color never pip install --python DIR/environments/KEY/bin/python -- a",
    ];
    assert_eq!(fixture.ran(), ran);
    assert_eq!(fixture.said(LogLevel::Info)[0], "making an environment with a (uv)");
}

#[tokio::test]
async fn what_uv_installs_for_a_confined_plugin_is_compiled_by_the_interpreter_outside() {
    let fixture = Fixture::new();
    let python = fixture.python("python3", "3.11.7");
    let make = MAKE.replace("$0", python.to_str().unwrap());
    fixture.tool("uv", &format!("case \"$*\" in *' venv '*) {make};; esac"));
    let machine = fixture.machine().wheels_only(true);
    let chosen = async |requirements: &[&str]| {
        let manifest = with_requirements(requirements);
        choose(&machine, &manifest, Some(&fixture.environments()), &fixture.log).await.unwrap()
    };
    // That it fails does not matter.
    let found = chosen(&["a"]).await;
    assert_eq!(fixture.ran(), ["probe", "-I -S -m compileall -q -j 0 DIR/environments/KEY"]);
    fixture.forget();
    assert_eq!(chosen(&["a"]).await, found);
    assert!(fixture.ran().is_empty());
}

#[tokio::test]
async fn a_failed_installation_shows_its_last_lines_and_leaves_nothing() {
    let fixture = Fixture::new();
    let pip = "i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; echo no such package >&2; exit 1";
    fixture.python_with("python3", "3.11.7", "", pip);
    let error = fixture.choose(&with_requirements(&["a"])).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(
        error
            .to_string()
            .contains("no environment with a could be made: pip ended with exit status: 1: no such package"),
        "{error}"
    );
    assert!(error.help().unwrap().contains("`requirements`"));
    let lines: Vec<_> = error.failure().unwrap().traceback.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[19]), (20, "line 11", "no such package"));
    assert!(!fixture.environments().join(fixture.key()).exists());
}

#[tokio::test]
async fn a_python_without_venv_is_told_what_to_install() {
    let fixture = Fixture::new();
    fixture.python_with(
        "python3",
        "3.11.7",
        "echo \"ModuleNotFoundError: No module named 'ensurepip'\" >&2; exit 1",
        "",
    );
    let error = fixture.choose(&with_requirements(&["a"])).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    let text = error.to_string();
    assert!(
        text.ends_with("it lacks venv or ensurepip; install python3-venv (apt install python3-venv) or uv"),
        "{text}"
    );
    assert!(error.failure().unwrap().traceback.contains("ensurepip"));
    assert_eq!(fixture.ran(), ["probe"]);
}

#[tokio::test]
async fn an_unfinished_attempt_is_removed_first() {
    let fixture = Fixture::new();
    fixture.python("python3", "3.11.7");
    let manifest = with_requirements(&[]);
    let found = fixture.choose(&manifest).await.unwrap();
    let directory = fixture.environments().join(fixture.key());
    for broken in ["bivium-environment.json", "bin/python", "pyvenv.cfg"] {
        std::fs::remove_file(directory.join(broken)).unwrap();
        std::fs::write(directory.join("left-over"), "").unwrap();
        assert_eq!(fixture.choose(&manifest).await.unwrap(), found);
        assert!(!directory.join("left-over").exists());
        assert!(directory.join(broken).exists());
    }
    assert!(
        fixture.said(LogLevel::Info).contains(&"removed an environment that was not finished or is damaged".to_owned())
    );
}

#[tokio::test]
async fn an_environment_whose_python_does_not_start_is_made_again() {
    let fixture = Fixture::new();
    let (manifest, environments) = (with_requirements(&[]), fixture.environments());
    let found = interpreter(&manifest, Some(&environments), None, false, &fixture.log).await.unwrap();
    let repair = async || repair(&found, &manifest, Some(&environments), None, false, &fixture.log).await.unwrap();
    assert!(!repair().await, "it starts");
    std::fs::remove_file(&found.path).unwrap();
    copy_executable(Path::new("/bin/false"), &found.path);
    assert!(repair().await);
    assert!(Command::new(&found.path).args(["-c", ""]).status().unwrap().success());
    let said = fixture.said(LogLevel::Warn);
    assert!(said[0].starts_with("its environment is damaged and is made again: ") && said.len() == 1, "{said:?}");

    // An environment that the manifest names is not changed.
    let named = Interpreter { hold: None, ..found.clone() };
    std::fs::remove_file(&found.path).unwrap();
    assert!(!super::repair(&named, &manifest, Some(&environments), None, false, &fixture.log).await.unwrap());
}

#[tokio::test]
async fn the_python_of_a_confined_plugins_environment_is_not_run_to_find_out_whether_it_is_damaged() {
    let fixture = Fixture::new();
    let (manifest, environments) = (with_requirements(&[]), fixture.environments());
    let find = async || interpreter(&manifest, Some(&environments), None, true, &fixture.log).await.unwrap();
    let found = find().await;
    let repair = async || repair(&found, &manifest, Some(&environments), None, true, &fixture.log).await.unwrap();
    assert!(!repair().await, "it is the one that it was made with");
    // pip lets a wheel do this.
    std::fs::remove_file(&found.path).unwrap();
    std::fs::rename(fixture.tool("python", "note ran; exit 1"), &found.path).unwrap();
    assert!(repair().await);
    assert!(fixture.ran().is_empty());
    assert_eq!(find().await.path.canonicalize().ok(), found.bare);
    std::fs::remove_file(&found.path).unwrap();
    assert!(repair().await, "it is not there");
}

#[tokio::test]
async fn several_at_once_make_one() {
    let fixture = Fixture::new();
    fixture.python("python3", "3.11.7");
    let manifest = with_requirements(&["a"]);
    let (one, two, three) =
        tokio::join!(fixture.choose(&manifest), fixture.choose(&manifest), fixture.choose(&manifest));
    assert_eq!(one.unwrap(), two.unwrap());
    three.unwrap();
    assert_eq!(fixture.ran().iter().filter(|line| line.contains("pip")).count(), 1);
}

#[tokio::test]
async fn a_dropped_attempt_releases_its_lock() {
    let fixture = Fixture::new();
    let go = fixture.directory.path().join("go");
    // Hangs until the file exists; the process that it starts inherits the lock.
    let pip = format!("[ -e '{}' ] && exit; echo started; /bin/sleep 1000", go.display());
    fixture.python_with("python3", "3.11.7", "", &pip);
    let manifest = with_requirements(&["a"]);
    let mut records = fixture.log.follow();
    let started = async { while records.recv().await.unwrap().message != "started" {} };
    tokio::select! {
        found = fixture.choose(&manifest) => panic!("it should hang: {found:?}"),
        () = started => {}
    }
    assert!(fixture.environments().join(fixture.key()).exists());
    std::fs::write(go, "").unwrap();
    fixture.choose(&manifest).await.unwrap();
    assert!(
        fixture.said(LogLevel::Info).contains(&"removed an environment that was not finished or is damaged".to_owned())
    );
}

#[tokio::test]
async fn a_bad_requirement_is_passed_to_no_program() {
    let fixture = Fixture::new();
    fixture.python("python3", "3.11.7");
    let error = fixture.choose(&with_requirements(&["a", "--index-url=https://evil.example"])).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidManifest);
    assert_eq!(error.problems()[0].location, "requirements[1]");
    assert!(fixture.ran().is_empty() && !fixture.environments().exists());
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_named() {
    let fixture = Fixture::new();
    fixture.python("python3", "3.11.7");
    std::fs::write(fixture.environments(), "a file").unwrap();
    let error = fixture.choose(&with_requirements(&[])).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Internal);
    assert!(error.to_string().contains("environments cannot be kept in "), "{error}");
}

#[tokio::test]
async fn python3_is_used_unless_it_is_not_suitable() {
    let fixture = Fixture::new();
    let error = fixture.choose(&manifest()).await.unwrap_err();
    assert!(error.message().ends_with("no Python on PATH is 3.9 or newer: there is no python3"), "{error}");

    fixture.python("python3", "3.8.19");
    let error = fixture.choose(&manifest()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(error.message().ends_with("/bin/python3 is 3.8.19"), "{error}");
    assert!(error.help().unwrap().contains("python_path in /plugins/p.json"));

    fixture.python("python3.10", "3.10.2");
    // Like a launcher for a version that is not installed.
    fixture.tool("python3.12", "echo not installed; exit 127");
    assert_eq!(fixture.choose(&manifest()).await.unwrap().version, (3, 10, 2));

    let mut newer = manifest();
    newer.python_mut().requires_python = Some(">=3.11".into());
    let error = fixture.choose(&newer).await.unwrap_err();
    assert!(error.message().contains("3.9 or newer and \">=3.11\" (requires_python)"), "{error}");
    fixture.python("python3", "3.11.1");
    assert_eq!(fixture.choose(&newer).await.unwrap().path, fixture.bin().join("python3"));
}

#[tokio::test]
async fn python_path_is_checked() {
    let fixture = Fixture::new();
    let named = |path: PathBuf| {
        let mut manifest = manifest();
        let python = manifest.python_mut();
        (python.python_path, python.requires_python) = (Some(path), Some("<3.12".into()));
        manifest
    };
    let good = fixture.python("good", "3.11.7");
    let found = fixture.choose(&named(good.clone())).await.unwrap();
    let (tag, bare) = ("cpython-3.11.7".into(), good.canonicalize().ok());
    assert_eq!(found, Interpreter { path: good, version: (3, 11, 7), prctl: false, tag, bare, hold: None });

    std::fs::write(fixture.bin().join("plain"), "").unwrap();
    for (path, code, says) in [
        (fixture.python("old", "3.8.1"), ErrorCode::Unavailable, "is Python 3.8.1, and the plugin needs 3.9 or newer"),
        (fixture.python("new", "3.12.0"), ErrorCode::Unavailable, "and \"<3.12\" (requires_python); name a Python"),
        (fixture.bin().join("none"), ErrorCode::NotFound, "does not exist; make that environment, or write"),
        (fixture.bin().join("plain"), ErrorCode::Unavailable, "is not an executable file; name"),
        (fixture.tool("odd", "exit 1"), ErrorCode::Unavailable, "(exit status: 1: it printed nothing)"),
    ] {
        let error = fixture.choose(&named(path.clone())).await.unwrap_err();
        assert_eq!(error.code(), code);
        let place = format!("python_path of /plugins/p.json ({}) ", path.display());
        assert!(error.to_string().starts_with(&place) && error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_real_python_makes_a_real_environment() {
    let fixture = Fixture::new();
    let manifest = with_requirements(&[]);
    let (environments, cache) = (fixture.environments(), fixture.directory.path());
    let choose = || interpreter(&manifest, Some(&environments), Some(cache), false, &fixture.log);
    let found = choose().await.unwrap();
    let asked = Command::new(&found.path)
        .args(["-I", "-c", "import sys; print(sys.prefix != sys.base_prefix, sys.prefix)"])
        .output()
        .unwrap();
    let directory = fixture.environments().join(fixture.key()).canonicalize().unwrap();
    assert_eq!(String::from_utf8(asked.stdout).unwrap().trim(), format!("True {}", directory.display()));
    let stamp = std::fs::read_to_string(directory.join("bivium-environment.json")).unwrap();
    assert!(stamp.contains("\"requirements\": []"), "{stamp}");
    assert_eq!(choose().await.unwrap(), found);
}
