//! `tests/src/bin/confined.rs` at every level of confinement that this machine supports: as root, as root without `CAP_SYS_ADMIN`, as
//! an ordinary user, and without namespaces.

#[path = "../support/executable.rs"]
mod executable;
#[path = "../support/skipped.rs"]
mod skipped;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use executable::copy_executable;
use skipped::skipped;

/// An ordinary user, who owns nothing.
const USER: &str = "61234";

/// Runs the program under `wrapper`, and returns its report. None if the wrapper does not work here.
fn report(wrapper: &[&str], user: Option<&str>) -> Option<Value> {
    let place = tempfile::tempdir().unwrap();
    let open = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    open(place.path(), 0o755);
    let plugins = place.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    for entry in std::fs::read_dir(bivium_tests::root().join("tests/plugins/escapes")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), plugins.join(entry.file_name())).unwrap();
        }
    }
    // In a place where another user can read it.
    let program = place.path().join("confined");
    copy_executable(Path::new(env!("CARGO_BIN_EXE_confined")), &program);
    let data = place.path().join("own");
    std::fs::create_dir(&data).unwrap();
    if let Some(user) = user {
        let user = user.parse().unwrap();
        std::os::unix::fs::chown(&data, Some(user), Some(user)).unwrap();
    }
    let mut whole = wrapper.to_vec();
    whole.push(program.to_str().unwrap());
    let mut command = Command::new(whole[0]);
    command.args(&whole[1..]).arg(&plugins).arg(&data).env("HOME", &data).env("PATH", path(user.is_some()));
    for name in ["XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"] {
        command.env_remove(name);
    }
    let done = command.output().unwrap();
    let errors = String::from_utf8_lossy(&done.stderr).into_owned();
    if let Some(line) = errors.lines().find(|line| line.starts_with("setpriv:") || line.starts_with("unshare:")) {
        skipped(line);
        return None;
    }
    assert!(done.status.success(), "{}\n{errors}", done.status);
    Some(serde_json::from_slice(&done.stdout).unwrap_or_else(|error| panic!("{error}: {errors}")))
}

/// The `PATH` for the program; for another user without the directories that only this user can enter.
fn path(other: bool) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_open = |dir: &Path| !other || !dir.starts_with("/root");
    std::env::join_paths(std::env::split_paths(&path).filter(|dir| is_open(dir))).unwrap()
}

fn is_root() -> bool {
    let is = rustix::process::geteuid().is_root();
    if !is {
        skipped("only root can become another user");
    }
    is
}

fn check(report: Option<Value>) -> Option<Value> {
    let report = report?;
    assert_eq!(report["escaped"], json!({}), "{report:#}");
    assert_eq!(report["left"], json!([]), "{report:#}");
    assert!(report["cases"].as_u64().unwrap() >= 2 * 80, "{report:#}");
    Some(report)
}

fn has(report: &Value, what: &str) -> bool {
    report["support"]["held"].as_array().unwrap().iter().any(|held| held.as_str().unwrap().contains(what))
}

/// Checks the results of ordinary library use.
fn check_works(report: &Value, has_root: bool) {
    let all = json!({
        "multiprocessing fork": [[1, 1], 2, [0, 1, 4, 9], {"here": true}],
        "multiprocessing spawn": [[1, 1], 2, [0, 1, 4, 9], {"here": true}],
        "multiprocessing forkserver": [[1, 1], 2, [0, 1, 4, 9], {"here": true}],
        "shared_memory": "here",
        "futures": [0, 1, 4, 9],
        "asyncio": ["here", "", 9],
        "files": ["data.db", "data.db.copy"],
        "threads": [0, 1, 2, 3, 4, 5, 6, 7],
    });
    for (name, expected) in all.as_object().unwrap() {
        let found = &report["works"][name];
        if has_root || name == "threads" {
            assert_eq!(found, expected, "{name}: {report:#}");
        }
    }
}

fn namespaces(report: &Value) {
    for what in ["root directory", "processes of their own", "network"] {
        assert!(has(report, what), "{report:#}");
    }
    check_works(report, true);
    let told = report["told"].to_string();
    assert!(!told.contains("namespace"), "{told}");
}

#[test]
fn confined_as_whoever_runs_the_tests() {
    let report = check(report(&["env"], None)).unwrap();
    check_works(&report, has(&report, "root directory"));
}

#[test]
fn confined_by_root() {
    if is_root()
        && let Some(report) = check(report(&["env"], None))
    {
        namespaces(&report);
    }
}

#[test]
fn confined_by_root_without_sys_admin() {
    let wrapper = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"];
    if is_root()
        && let Some(report) = check(report(&wrapper, None))
    {
        namespaces(&report);
    }
}

#[test]
fn confined_by_a_user() {
    let wrapper = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"];
    if is_root()
        && let Some(report) = check(report(&wrapper, Some(USER)))
    {
        namespaces(&report);
    }
}

/// Starts a program that ignores SIGCHLD: then the kernel reaps its children by itself.
const CHILDLESS: &str =
    "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])";

#[test]
fn confined_by_a_host_that_ignores_how_children_end() {
    let as_others = has(&report(&["env"], None).unwrap(), "root directory");
    let report = check(report(&["python3", "-c", CHILDLESS], None)).unwrap();
    assert_eq!(has(&report, "root directory"), as_others, "{report:#}");
    check_works(&report, as_others);
}

/// In a user namespace that allows no further namespaces.
const NONE: &str =
    "for kind in user mnt pid net ipc; do echo 0 > /proc/sys/user/max_${kind}_namespaces; done; exec \"$0\" \"$@\"";

fn without_namespaces(report: &Value) {
    assert!(!has(report, "root directory") && !has(report, "processes of their own"), "{report:#}");
    check_works(report, false);
    let told = report["told"].to_string();
    for key in ["without a mount namespace", "without a PID namespace"] {
        assert!(told.contains(key), "{told}");
    }
}

#[test]
fn confined_without_namespaces() {
    if let Some(report) = check(report(&["unshare", "--user", "--map-root-user", "sh", "-c", NONE], None)) {
        without_namespaces(&report);
    }
}

#[test]
fn confined_without_namespaces_by_a_user() {
    let user = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"];
    let wrapper = [&user[..], &["unshare", "--user", "--map-root-user", "sh", "-c", NONE]].concat();
    if is_root()
        && let Some(report) = check(report(&wrapper, Some(USER)))
    {
        without_namespaces(&report);
    }
}
