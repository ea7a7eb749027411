//! The program on an installation of theirs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;

use super::{place, speech};

fn bivium(own: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(bivium_tests::program().unwrap());
    command.args(arguments).arg("--data-dir").arg(own).env_remove("CJM_DATA_DIR").env_remove("CJM_MODELS_DIR");
    let output = command.arg("--manifests").arg(place().join(".cjm/manifests")).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Every file outside the environments, with when it was changed.
fn files(dir: &Path, found: &mut BTreeMap<PathBuf, SystemTime>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() && !entry.path().ends_with("environments") {
            files(&entry.path(), found);
        }
        found.insert(entry.path(), metadata.modified().unwrap());
    }
}

#[test]
#[ignore = "needs environments: cargo xtask test --cjm"]
fn a_task_is_called_as_a_method_from_the_command_line() {
    let own = tempfile::tempdir().unwrap();
    let file = format!("file_path={}", speech().display());
    let media = "cjm-media-plugin-ffmpeg";
    let call = ["run", media, "--method", "media_processing.get_info", &file];
    let (status, stdout, stderr) = bivium(own.path(), &call);
    assert_eq!(status, Some(0), "{stderr}");
    let result: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(result["data"]["audio_streams"][0]["channels"], 1);

    let (status, stdout, _) = bivium(own.path(), &["info", media, "--load"]);
    assert_eq!(status, Some(0));
    for part in
        ["media_processing by GenericMediaProcessingAdapter", "media_processing.convert", "default_audio_bitrate"]
    {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    assert!(!stdout.contains("  execute"), "{stdout}");

    let force = ["run", "probe-substrate", "--method", "probing.force", "--control", "force:=true"];
    let (status, stdout, stderr) = bivium(own.path(), &force);
    assert_eq!((status, stdout.trim()), (Some(0), "true"), "{stderr}");

    let (status, _, stderr) = bivium(own.path(), &["run", media, "--method", "get_info", "file_path=/none.wav"]);
    assert_eq!(status, Some(4));
    assert!(stderr.contains("File not found: /none.wav; check file_path"), "{stderr}");
}

#[test]
#[ignore = "needs environments: cargo xtask test --cjm"]
fn import_cjm_shows_what_would_be_loaded_and_changes_nothing() {
    let own = tempfile::tempdir().unwrap();
    let place = place();
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    files(&place, &mut before);
    let dir = place.to_str().unwrap();
    let (status, stdout, stderr) = bivium(own.path(), &["import-cjm", dir, "--output", "json"]);
    assert_eq!(status, Some(0), "{stderr}");
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(shown["installation"]["data_dir"], place.join(".cjm").to_str().unwrap());
    assert_eq!(shown["installation"]["models_dir"], place.join("models").to_str().unwrap());
    let plugins = shown["plugins"].as_array().unwrap();
    let of = |name: &str| plugins.iter().find(|plugin| plugin["name"] == name).unwrap();
    assert_eq!(plugins.len(), 5);
    assert_eq!(of("cjm-graph-plugin-sqlite")["tasks"], serde_json::json!(["graph-storage"]));
    assert_eq!(of("cjm-capability-pysbd")["has_python"], true);
    assert_eq!(of("probe-substrate")["secrets"], serde_json::json!(["PROBE_KEY"]));
    assert_eq!(shown["problems"], serde_json::json!([]));

    let (status, stdout, stderr) = bivium(own.path(), &["import-cjm", dir]);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stdout.contains("media_processing") && stdout.contains("give its secret as BIVIUM_SECRET_PROBE_KEY"));
    assert!(stderr.contains("Nothing was changed") && stderr.contains("CJM_DATA_DIR="), "{stderr}");
    files(&place, &mut after);
    assert_eq!(before, after);
    assert_eq!(std::fs::read_dir(own.path()).unwrap().count(), 0);

    let (status, _, stderr) = bivium(own.path(), &["import-cjm", own.path().to_str().unwrap()]);
    assert_eq!(status, Some(3), "{stderr}");
}
