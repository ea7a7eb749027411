//! A file that a plugin hands back is taken only if it is a regular file of its own area; each refusal is one sentence.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use bivium_exchange::{Area, Exchange, Usage};
use bivium_interface::ErrorCode;
use rustix::fs::{CWD, FileType, Mode, mknodat};

struct World {
    root: tempfile::TempDir,
    exchange: Exchange,
    area: Area,
}

fn world() -> World {
    let root = tempfile::tempdir().unwrap();
    let exchange = Exchange::builder().root(root.path()).open().unwrap();
    let area = exchange.area("worker").unwrap();
    fs::write(root.path().join("secret"), "secret").unwrap();
    World { root, exchange, area }
}

impl World {
    fn there(&self, name: &str) -> PathBuf {
        self.area.path().join(name)
    }

    #[track_caller]
    fn refuses(&self, relative: &str, why: &str) {
        let error = self.area.adopt(relative, "text/plain").unwrap_err();
        assert_eq!(error.code(), ErrorCode::Denied, "{error}");
        assert!(error.message().contains(why), "{error}");
        let usage = self.exchange.usage();
        assert_eq!((usage.blobs, usage.bytes, usage.areas), (0, 0, 1));
    }
}

#[test]
fn a_plain_file_is_moved_and_not_copied() {
    use std::os::unix::fs::MetadataExt;
    let world = world();
    fs::create_dir(world.there("out")).unwrap();
    fs::write(world.there("out/speech.wav"), "RIFF").unwrap();
    let inode = fs::metadata(world.there("out/speech.wav")).unwrap().ino();
    let blob = world.area.adopt("./out/speech.wav", "audio/wav").unwrap();
    assert!(!world.there("out/speech.wav").exists());
    let metadata = fs::metadata(blob.path()).unwrap();
    assert_eq!((metadata.ino(), metadata.len(), metadata.mode() & 0o777), (inode, blob.size(), 0o400));
    assert!(!blob.path().starts_with(world.area.path()) && blob.path().extension().unwrap() == "wav");
    assert_eq!(world.exchange.usage().bytes, 4);
    let (path, root) = (blob.path().to_owned(), world.root);
    drop((world.area, world.exchange));
    assert!(path.exists());
    drop(blob);
    assert_eq!(root.path().read_dir().unwrap().count(), 1, "only the secret is left");
}

#[test]
fn paths_that_lead_out_are_refused() {
    let world = world();
    fs::write(world.there("file"), "x").unwrap();
    let absolute = world.there("file");
    let beneath = "the path is not beneath";
    for path in
        ["..", "../x", "a/../../x", "a/..", "file/../file", "/etc/passwd", "", ".", "/", absolute.to_str().unwrap()]
    {
        world.refuses(path, beneath);
    }
    world.refuses("a\0b", "nul byte");
    world.refuses("missing", "no such file");
    world.refuses("missing/x", "no such file");
    world.refuses("file/x", "no such file");
    world.refuses(&"x".repeat(5000), "too long");
    world.refuses("a\u{1b}[2Jb", r"a\u{1b}[2Jb");
}

#[test]
fn links_that_lead_out_are_refused() {
    let world = world();
    let root = world.root.path().canonicalize().unwrap();
    symlink(root.join("secret"), world.there("link")).unwrap();
    symlink("../../../secret", world.there("relative")).unwrap();
    symlink("missing", world.there("dangling")).unwrap();
    symlink(&root, world.there("dir")).unwrap();
    symlink("../../..", world.there("up")).unwrap();
    symlink("loop", world.there("loop")).unwrap();
    for link in ["link", "relative", "dangling", "loop"] {
        world.refuses(link, "symbolic link");
    }
    world.refuses("dir/secret", "cannot take \"dir/secret\" as a blob");
    world.refuses("up/secret", "cannot take \"up/secret\" as a blob");
    world.refuses("loop/x", "cannot take \"loop/x\" as a blob");
    assert_eq!(fs::read(root.join("secret")).unwrap(), b"secret");
}

#[test]
fn only_a_regular_file_with_one_name_is_taken() {
    let world = world();
    fs::hard_link(world.root.path().join("secret"), world.there("hard")).unwrap();
    fs::create_dir(world.there("dir")).unwrap();
    mknodat(CWD, world.there("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _listener = UnixListener::bind(world.there("socket")).unwrap();
    world.refuses("hard", "hard link");
    world.refuses("dir", "is a directory");
    world.refuses("fifo", "not a regular file");
    world.refuses("socket", "not a regular file");
    // Only root can make one.
    if mknodat(CWD, world.there("null"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 3)).is_ok() {
        world.refuses("null", "not a regular file");
    }
    assert_eq!(fs::read(world.root.path().join("secret")).unwrap(), b"secret");
}

#[test]
fn a_file_of_another_user_is_refused() {
    let world = world();
    fs::write(world.there("foreign"), "x").unwrap();
    // Only root can give a file away.
    if std::os::unix::fs::chown(world.there("foreign"), Some(12345), None).is_ok() {
        world.refuses("foreign", "another user");
    }
}

#[test]
fn a_file_is_taken_once() {
    let world = world();
    fs::write(world.there("file"), "x").unwrap();
    let blob = world.area.adopt("file", "text/plain").unwrap();
    assert_eq!(world.area.adopt("file", "text/plain").unwrap_err().code(), ErrorCode::Denied);
    drop(blob);
}

#[test]
fn dropping_an_area_deletes_its_content() {
    let world = world();
    fs::create_dir_all(world.there("a/b")).unwrap();
    symlink(world.root.path(), world.there("a/b/link")).unwrap();
    let path = world.area.path().to_owned();
    drop(world.area);
    assert!(!path.exists() && world.root.path().join("secret").exists());
    assert_eq!(world.exchange.usage(), Usage::default());
}
