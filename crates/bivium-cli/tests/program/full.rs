//! Disks that are full or read-only, and directories that vanish: the program goes on if it can, and reports the problem.

use serde_json::{Value, json};

use crate::place::{PROBE, Place};
use crate::small_disk::SmallDisk;

/// A full disk, a read-only disk, and a path that is not a directory.
fn bad_disks() -> Option<[SmallDisk; 2]> {
    let (full, read_only) = (SmallDisk::new()?, SmallDisk::new()?);
    full.fill();
    read_only.make_read_only();
    Some([full, read_only])
}

#[test]
fn a_cache_that_cannot_be_written_stops_no_plugin_of_either_kind() {
    let Some(disks) = bad_disks() else { return };
    let place = Place::with_probe();
    place.echo();
    let python = |name: &str, more: Value| {
        let mut manifest =
            json!({"name": name, "version": "1.0.0", "module": "probe_plugin", "class": "Probe", "source": "."});
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        place.write(&format!("manifests/{name}.json"), &manifest.to_string());
    };
    // A confined plugin has its modules in the directory of its manifest.
    place.write("manifests/probe_plugin.py", PROBE);
    python("made", json!({"requirements": []}));
    python("confined", json!({"permissions": {}}));
    python("both", json!({"requirements": [], "permissions": {}}));
    for disk in &disks {
        let cache = disk.path().to_str().unwrap();
        let run = |args: &[&str]| {
            let output = place.command(args).env("XDG_CACHE_HOME", cache).output().unwrap();
            place.ran(output)
        };
        let echo = run(&["run", "echo", "text=hello"]);
        assert_eq!(echo.assert_status(0).json()["text"].as_str().map(|text| text.contains("hello")), Some(true));
        assert_eq!(echo.stderr.matches("the cache").count(), 1, "one warning: {}", echo.all());
        for plugin in ["probe", "made", "confined", "both"] {
            let ran = run(&["run", plugin, "text=hello"]);
            ran.assert_status(0);
            assert_eq!(ran.stderr.matches("its own copy of the Python worker's files").count(), 1, "{}", ran.all());
            let is_made = ran.stderr.contains("its environment is made in a directory for this host alone");
            assert_eq!(is_made, ["made", "both"].contains(&plugin), "{}", ran.all());
        }
        place.assert_clean();
    }
}

#[test]
fn doctor_writes_a_small_file_where_things_are_kept() {
    let Some(disks) = bad_disks() else { return };
    let place = Place::new();
    for disk in &disks {
        let dir = disk.path().to_str().unwrap();
        let ran = place.run(&["doctor", "--data-dir", dir, "--environments", dir, "--cache", dir]);
        let lines: Vec<&str> = ran.assert_status(1).stdout.lines().collect();
        for (begins, says) in [
            ("FAIL  data directory: ", "cannot be written to"),
            ("warn  cache: ", "compiled at each load"),
            ("warn  environments: ", "name another"),
        ] {
            let is_told = |line: &&str| line.starts_with(begins) && line.contains(says);
            // Without uv and venv no environment is made.
            let is_made = |line: &&str| line.contains("neither uv nor");
            assert!(lines.iter().any(|line| is_told(line) || is_made(line)), "{begins}: {}", ran.all());
        }
    }
}

#[test]
fn settings_and_results_that_cannot_be_written_are_errors_that_name_the_file() {
    let Some(disks) = bad_disks() else { return };
    let place = Place::new();
    place.component("redact", json!({}));
    for disk in &disks {
        let dir = disk.path().to_str().unwrap();
        let output = place.command(&["disable", "redact"]).env("BIVIUM_DATA_DIR", dir).output().unwrap();
        let ran = place.ran(output);
        assert_ne!(ran.status, 0);
        assert!(ran.stderr.contains("cannot write the saved settings"), "{}", ran.all());
        assert!(ran.stderr.contains("name another data directory"), "{}", ran.all());
    }
}

#[test]
fn an_audit_log_that_cannot_be_written_is_reported_and_with_enforce_nothing_runs() {
    let place = Place::with_probe();
    let args = ["run", "probe", "text=hello", "--audit", "/dev/full"];
    let ran = place.run(&args);
    ran.assert_status(0);
    assert!(ran.stderr.contains("the audit log cannot be written"), "{}", ran.all());
    assert!(ran.stderr.contains("/dev/full"), "{}", ran.all());
    // A component, whose permissions and limits can be enforced on any machine.
    place.echo();
    place.component("echo", json!({"permissions": {"env": ["HOME"]}, "enforce": true}));
    place.run(&["run", "echo", "text=hello", "--audit", "/dev/full"]).assert_status(0);
}
