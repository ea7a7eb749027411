//! Somebody removes directories of the exchange while its host runs: the host goes on with new ones.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use bivium_exchange::{Exchange, Usage};
use bivium_interface::{Blob, ErrorCode};

fn root() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn exchange(root: &Path) -> Exchange {
    Exchange::builder().root(root).open().unwrap()
}

fn session(exchange: &Exchange) -> PathBuf {
    let directories = exchange.directories();
    assert_eq!(directories.len(), 1);
    directories[0].clone()
}

fn text(blob: &Blob) -> String {
    fs::read_to_string(blob.path()).unwrap()
}

fn assert_works(exchange: &Exchange) {
    let blob = exchange.write(b"new", "text/plain").unwrap();
    assert_eq!(text(&blob), "new");
    let area = exchange.area("new").unwrap();
    fs::write(area.path().join("out"), "made").unwrap();
    assert_eq!(text(&area.adopt("out", "text/plain").unwrap()), "made");
    let window = exchange.window("new").unwrap();
    assert_eq!(text(&window.lend(&blob).unwrap()), "new");
    assert!(area.is_there() && window.is_there());
}

#[test]
fn after_any_part_is_removed_the_next_blob_and_area_work() {
    for part in ["", "blobs", "areas"] {
        let root = root();
        let exchange = exchange(root.path());
        let (lost, area) = (exchange.write(b"lost", "text/plain").unwrap(), exchange.area("old").unwrap());
        let window = exchange.window("old").unwrap();
        let before = session(&exchange);
        fs::remove_dir_all(before.join(part)).unwrap();
        assert_works(&exchange);
        assert_ne!(session(&exchange), before);
        let mode = session(&exchange).symlink_metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
        // The errors name the files that were lost.
        if part != "areas" {
            assert!(!lost.path().exists());
            let error = exchange.window("new").unwrap().lend(&lost).unwrap_err();
            assert_eq!(error.code(), ErrorCode::NotFound);
            assert!(error.to_string().contains("the file of a blob is gone"), "{error}");
        }
        if part != "blobs" {
            assert!(!area.is_there() && !window.is_there());
            let error = area.adopt("out", "text/plain").unwrap_err();
            assert_eq!(error.code(), ErrorCode::NotFound, "{error}");
        }
        drop((exchange, lost, area, window));
        assert_eq!(root.path().read_dir().unwrap().count(), 0, "{part}: nothing is left");
    }
}

#[test]
fn an_area_hands_over_its_files_though_the_directory_of_blobs_is_gone() {
    let root = root();
    let exchange = exchange(root.path());
    let area = exchange.area("old").unwrap();
    fs::remove_dir_all(session(&exchange).join("blobs")).unwrap();
    fs::write(area.path().join("out"), "kept").unwrap();
    assert_eq!(text(&area.adopt("out", "text/plain").unwrap()), "kept");
}

#[test]
fn removing_one_area_is_noticed_and_affects_no_other() {
    let root = root();
    let exchange = exchange(root.path());
    let (area, other) = (exchange.area("a").unwrap(), exchange.area("b").unwrap());
    let before = session(&exchange);
    fs::remove_dir_all(area.path()).unwrap();
    assert!(!area.is_there() && other.is_there());
    assert_works(&exchange);
    assert_eq!(session(&exchange), before);
    // Another directory at its path does not count as the area.
    fs::create_dir(area.path()).unwrap();
    assert!(!area.is_there());
}

#[test]
fn a_blob_that_is_being_written_is_saved() {
    let root = root();
    let exchange = exchange(root.path());
    let mut writer = exchange.writer("text/plain").unwrap();
    writer.append(b"first ").unwrap();
    fs::remove_dir_all(session(&exchange)).unwrap();
    writer.append(b"second").unwrap();
    let blob = writer.finish().unwrap();
    assert_eq!(text(&blob), "first second");
    assert_eq!(exchange.usage().bytes, 12);
    drop(blob);
    assert_eq!(exchange.usage(), Usage::default());
}

#[test]
fn what_somebody_else_puts_in_its_place_is_not_followed_and_not_touched() {
    let (root, other) = (root(), root());
    for part in ["blobs", "areas"] {
        fs::create_dir(other.path().join(part)).unwrap();
    }
    fs::write(other.path().join("blobs/precious"), "x").unwrap();
    let exchange = exchange(root.path());
    let old = exchange.write(b"old", "text/plain").unwrap();
    let mut planted = Vec::new();
    for plant in ["link", "directory", "empty", "file", "part"] {
        let at = session(&exchange);
        if plant == "part" {
            fs::remove_dir_all(at.join("blobs")).unwrap();
            symlink(other.path().join("blobs"), at.join("blobs")).unwrap();
        } else {
            fs::remove_dir_all(&at).unwrap();
            planted.push(at.clone());
        }
        match plant {
            "link" => symlink(other.path(), &at).unwrap(),
            "directory" => {
                fs::create_dir_all(at.join("blobs")).unwrap();
                fs::create_dir(at.join("areas")).unwrap();
            }
            "empty" => fs::create_dir(&at).unwrap(),
            "file" => fs::write(&at, "theirs").unwrap(),
            _ => {}
        }
        assert_works(&exchange);
        assert_ne!(session(&exchange), at);
        assert_eq!(other.path().join("blobs").read_dir().unwrap().count(), 1, "{plant}");
        assert!(!at.is_dir() || at.join("blobs").read_dir().map_or(0, Iterator::count) <= 1, "{plant}");
    }
    drop((old, exchange));
    assert_eq!(fs::read_to_string(other.path().join("blobs/precious")).unwrap(), "x");
    for at in planted {
        assert!(at.symlink_metadata().is_ok(), "what others have put there stays: {}", at.display());
    }
}

#[test]
fn a_removed_root_is_made_again_for_this_user_alone_and_another_users_is_refused() {
    let above = root();
    let root = above.path().join("root");
    fs::create_dir(&root).unwrap();
    let exchange = exchange(&root);
    fs::remove_dir_all(&root).unwrap();
    assert_works(&exchange);
    assert_eq!(root.symlink_metadata().unwrap().permissions().mode() & 0o777, 0o700);

    fs::remove_dir_all(&root).unwrap();
    let elsewhere = above.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, &root).unwrap();
    let error = exchange.write(b"x", "text/plain").unwrap_err();
    assert!(error.help().is_some() || error.code() == ErrorCode::Internal, "{error}");
    assert_eq!(elsewhere.read_dir().unwrap().count(), 0);
    fs::remove_file(&root).unwrap();

    if rustix::process::geteuid().is_root() {
        fs::create_dir(&root).unwrap();
        std::os::unix::fs::chown(&root, Some(12345), None).unwrap();
        let error = exchange.write(b"x", "text/plain").unwrap_err();
        assert_eq!(error.code(), ErrorCode::Denied, "{error}");
        assert_eq!(root.read_dir().unwrap().count(), 0);
        fs::remove_dir(&root).unwrap();
    }
    assert_works(&exchange);
}

#[test]
fn two_hosts_in_one_place_do_not_mix_up_their_sessions() {
    let root = root();
    let (one, two) = (exchange(root.path()), exchange(root.path()));
    let kept = two.write(b"kept", "text/plain").unwrap();
    fs::remove_dir_all(session(&one)).unwrap();
    assert_works(&one);
    assert_works(&two);
    // A third host removes no session of a running host.
    let three = exchange(root.path());
    assert_works(&three);
    assert_eq!(text(&kept), "kept");
    drop((one, two, three, kept));
    assert_eq!(root.path().read_dir().unwrap().count(), 0);
}
