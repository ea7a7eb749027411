//! What an exchange holds lives as long as its handles, and nothing is left after them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bivium_exchange::{Exchange, Usage};
use bivium_interface::{Blob, ErrorCode, FileBackedDto, PluginError};

fn root() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn exchange(root: &tempfile::TempDir) -> Exchange {
    Exchange::builder().root(root.path()).open().unwrap()
}

fn entries(path: &Path) -> usize {
    path.read_dir().unwrap().count()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_blob_is_deleted_with_its_last_handle() {
    let root = root();
    let exchange = exchange(&root);
    let blob = exchange.write(b"data", "audio/wav").unwrap();
    assert_eq!((blob.size(), blob.media_type(), blob.is_owned()), (4, "audio/wav", true));
    assert!(blob.path().is_absolute() && blob.path().extension().unwrap() == "wav");
    assert_eq!(fs::read(blob.path()).unwrap(), b"data");
    let (path, other) = (blob.path().to_owned(), blob.clone());
    drop(blob);
    assert!(path.exists());
    drop(other);
    assert!(!path.exists());
    assert_eq!(exchange.usage(), Usage::default());
}

#[test]
fn the_directories_are_deleted_with_the_last_of_all_handles() {
    let root = root();
    let exchange = exchange(&root);
    let blob = exchange.write(b"data", "text/plain").unwrap();
    let area = exchange.area("whisper").unwrap();
    let clone = exchange.clone();
    drop((exchange, clone));
    assert_eq!(fs::read(blob.path()).unwrap(), b"data");
    fs::write(area.path().join("out"), "more").unwrap();
    let adopted = area.adopt("out", "text/plain").unwrap();
    drop((blob, area));
    assert_eq!(fs::read(adopted.path()).unwrap(), b"more");
    drop(adopted);
    assert_eq!(entries(root.path()), 0);
}

#[test]
fn a_writer_that_does_not_finish_leaves_nothing() {
    let root = root();
    let exchange = exchange(&root);
    let mut writer = exchange.writer("text/plain").unwrap();
    write!(writer, "{}", "x".repeat(1000)).unwrap();
    assert_eq!((writer.written(), exchange.usage().bytes, exchange.usage().blobs), (1000, 1000, 1));
    drop(writer);
    assert_eq!(exchange.usage(), Usage::default());
    assert_eq!(entries(&exchange.directories()[0].join("blobs")), 0);
}

#[test]
fn nobody_else_can_look_in_and_finished_blobs_are_read_only() {
    let root = root();
    let exchange = exchange(&root);
    let blob = exchange.write(b"data", "text/plain").unwrap();
    let area = exchange.area("x").unwrap();
    let session = &exchange.directories()[0];
    for dir in [session, &session.join("blobs"), &session.join("areas"), &area.path().to_owned()] {
        assert_eq!(mode(dir), 0o700, "{}", dir.display());
    }
    assert_eq!((mode(blob.path()), mode(&session.join("lock"))), (0o400, 0o600));
    let name = session.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(&format!("bivium-{}-", fs::metadata(session).unwrap().uid())));
    assert_eq!(entries(root.path()), 1, "no other directory beside it");
}

#[test]
fn the_default_places_are_left_as_they_were() {
    let exchange = Exchange::open().unwrap();
    let blob = exchange.write(b"data", "text/plain").unwrap();
    let directories = exchange.directories();
    assert!(directories.iter().any(|directory| blob.path().starts_with(directory)));
    drop((exchange, blob));
    assert!(directories.iter().all(|directory| !directory.exists()));
}

#[test]
fn the_quota_is_one_for_all_blobs_and_is_given_back() {
    let root = root();
    let exchange = Exchange::builder().root(root.path()).max_bytes(10).open().unwrap();
    let six = exchange.write(b"123456", "text/plain").unwrap();
    let error = exchange.write(b"12345", "text/plain").unwrap_err();
    assert_eq!(error.code(), ErrorCode::ResourceExhausted);
    assert!(error.to_string().contains("max_bytes"), "{error}");
    let area = exchange.area("x").unwrap();
    fs::write(area.path().join("out"), "12345").unwrap();
    assert_eq!(area.adopt("out", "text/plain").unwrap_err().code(), ErrorCode::ResourceExhausted);
    assert_eq!((exchange.usage().blobs, exchange.usage().bytes), (1, 6));
    drop(six);
    exchange.write(b"1234567890", "text/plain").unwrap();
}

#[test]
fn a_writers_limit_holds_and_its_error_is_final() {
    let root = root();
    let exchange = exchange(&root);
    let mut writer = exchange.writer("text/plain").unwrap().limit(4);
    writer.append(b"1234").unwrap();
    let error = writer.write_all(b"5").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(error.get_ref().unwrap().downcast_ref::<PluginError>().unwrap().code(), ErrorCode::ResourceExhausted);
    assert_eq!(writer.finish().unwrap_err().code(), ErrorCode::ResourceExhausted);
}

#[test]
fn an_invalid_media_type_is_refused_everywhere() {
    let root = root();
    let exchange = exchange(&root);
    let area = exchange.area("x").unwrap();
    fs::write(area.path().join("out"), "x").unwrap();
    for result in [exchange.write(b"", "x\ny"), area.adopt("out", "../x"), exchange.writer("").map(|_| unreachable!())]
    {
        assert_eq!(result.unwrap_err().code(), ErrorCode::InvalidInput);
    }
}

#[test]
fn an_unusable_root_is_named_in_the_error() {
    let root = root();
    let missing = root.path().join("missing");
    let error = Exchange::builder().root(&missing).open().unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert!(error.message().contains("missing"), "{error}");
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(Exchange::builder().root(root.path()).open().unwrap_err().code(), ErrorCode::Denied);
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    Exchange::builder().root(root.path()).open().unwrap();
}

/// Writes itself into the directory it is given, or says that it lies elsewhere.
struct Samples(Option<PathBuf>);

impl FileBackedDto for Samples {
    fn media_type(&self) -> &str {
        "audio/wav"
    }

    fn to_temp_file(&self, dir: &Path) -> io::Result<PathBuf> {
        match &self.0 {
            Some(path) => Ok(path.clone()),
            None => {
                let path = dir.join("samples.wav");
                fs::write(&path, "RIFF")?;
                Ok(path)
            }
        }
    }
}

#[test]
fn a_hosts_own_type_becomes_a_blob_of_the_exchange_or_stays_where_it_is() {
    let root = root();
    let exchange = exchange(&root);
    let made: Blob = exchange.adopt_dto(&Samples(None)).unwrap();
    assert!(made.is_owned() && made.media_type() == "audio/wav" && made.size() == 4);
    assert_eq!((exchange.usage().blobs, exchange.usage().areas), (1, 0));

    let elsewhere = root.path().join("mine.wav");
    fs::write(&elsewhere, "RIFF").unwrap();
    let lent = exchange.adopt_dto(&Samples(Some(elsewhere.clone()))).unwrap();
    assert!(!lent.is_owned());
    drop((lent, made));
    assert!(elsewhere.exists());
    let missing = exchange.adopt_dto(&Samples(Some(root.path().join("missing"))));
    assert_eq!(missing.unwrap_err().code(), ErrorCode::NotFound);
}
