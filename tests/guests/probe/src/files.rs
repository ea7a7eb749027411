//! Files. `dir` names a preopened directory by the path that the host gives it, `path` is relative to it.

use std::cell::RefCell;

use serde_json::{Value, json};

use crate::wasi::filesystem::preopens::get_directories;
use crate::wasi::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use crate::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::{Outcome, Probe, text};

pub(crate) const METHODS: &[(&str, Probe)] = &[
    ("directories", |_| Ok(get_directories().into_iter().map(|(_, name)| name).collect())),
    ("list", list),
    ("read", |arguments| {
        let (bytes, _) = open(arguments, OpenFlags::empty(), DescriptorFlags::READ)?.read(1 << 20, 0).map_err(code)?;
        Ok(json!(String::from_utf8_lossy(&bytes)))
    }),
    ("read-kept", |_| {
        KEPT.with_borrow(|kept| match kept.first() {
            Some(file) => file.read(1 << 20, 0).map_err(code).map(|(bytes, _)| json!(String::from_utf8_lossy(&bytes))),
            None => Err("nothing kept".into()),
        })
    }),
    ("write", |arguments| {
        let file = open(arguments, OpenFlags::CREATE, DescriptorFlags::WRITE)?;
        file.write(text(arguments, "text").as_bytes(), 0).map_err(code).map(|written| json!(written))
    }),
    // For writing, of what is there.
    ("open", |arguments| open(arguments, OpenFlags::empty(), DescriptorFlags::WRITE).map(|_| json!(null))),
    ("truncate", |arguments| open(arguments, OpenFlags::TRUNCATE, DescriptorFlags::WRITE).map(|_| json!(null))),
    // Opened for reading, and then written.
    ("write-unasked", |arguments| {
        let file = open(arguments, OpenFlags::empty(), DescriptorFlags::READ)?;
        file.write(b"x", 0).map_err(code).map(|written| json!(written))
    }),
    ("set-size", |arguments| {
        let file = open(arguments, OpenFlags::CREATE, DescriptorFlags::WRITE)?;
        done(file.set_size(arguments["bytes"].as_u64().unwrap_or_default()))
    }),
    ("keep-open", keep_open),
    ("keep-streams", keep_streams),
    ("keep-lists", keep_lists),
    ("drop-kept", |_| {
        KEPT.take();
        STREAMS.take();
        Ok(json!(null))
    }),
    ("stream-out", stream_out),
    ("rename", |arguments| {
        let (from, to) = (directory(text(arguments, "dir"))?, directory(text(arguments, "to-dir"))?);
        done(from.rename_at(text(arguments, "path"), &to, text(arguments, "to")))
    }),
    ("link", |arguments| {
        let (from, to) = (directory(text(arguments, "dir"))?, directory(text(arguments, "to-dir"))?);
        done(from.link_at(PathFlags::empty(), text(arguments, "path"), &to, text(arguments, "to")))
    }),
    ("symlink", |arguments| {
        done(directory(text(arguments, "dir"))?.symlink_at(text(arguments, "target"), text(arguments, "path")))
    }),
    ("readlink", |arguments| {
        let link = directory(text(arguments, "dir"))?.readlink_at(text(arguments, "path"));
        link.map(|target| json!(target)).map_err(code)
    }),
    ("make-directory", |arguments| {
        done(directory(text(arguments, "dir"))?.create_directory_at(text(arguments, "path")))
    }),
    ("unlink", |arguments| done(directory(text(arguments, "dir"))?.unlink_file_at(text(arguments, "path")))),
    ("stat", |arguments| {
        let stat = directory(text(arguments, "dir"))?.stat_at(PathFlags::SYMLINK_FOLLOW, text(arguments, "path"));
        stat.map(|stat| json!(stat.size)).map_err(code)
    }),
];

enum Stream {
    In(#[expect(dead_code, reason = "only held")] InputStream),
    Out(#[expect(dead_code, reason = "only held")] OutputStream),
}

thread_local! {
    static KEPT: RefCell<Vec<Descriptor>> = const { RefCell::new(Vec::new()) };
    static STREAMS: RefCell<Vec<Stream>> = const { RefCell::new(Vec::new()) };
}

fn code(error: ErrorCode) -> String {
    error.name().to_owned()
}

fn done(result: Result<(), ErrorCode>) -> Outcome {
    result.map(|()| json!(null)).map_err(code)
}

fn directory(name: &str) -> Result<Descriptor, String> {
    let all = get_directories();
    all.into_iter().find(|(_, given)| given == name).map(|(directory, _)| directory).ok_or("no such preopen".into())
}

fn open(arguments: &Value, how: OpenFlags, flags: DescriptorFlags) -> Result<Descriptor, String> {
    let follow = if arguments["follow"] == false { PathFlags::empty() } else { PathFlags::SYMLINK_FOLLOW };
    directory(text(arguments, "dir"))?.open_at(follow, text(arguments, "path"), how, flags).map_err(code)
}

fn list(arguments: &Value) -> Outcome {
    let entries = open(arguments, OpenFlags::DIRECTORY, DescriptorFlags::READ)?.read_directory().map_err(code)?;
    let mut names = Vec::new();
    while let Some(entry) = entries.read_directory_entry().map_err(code)? {
        names.push(entry.name);
    }
    names.sort();
    Ok(json!(names))
}

/// Opens the file `times` times and keeps all; gives how many are open.
fn keep_open(arguments: &Value) -> Outcome {
    for _ in 0..arguments["times"].as_u64().unwrap_or_default() {
        let file = open(arguments, OpenFlags::empty(), DescriptorFlags::READ)?;
        KEPT.with_borrow_mut(|kept| kept.push(file));
    }
    Ok(json!(KEPT.with_borrow(Vec::len)))
}

/// The same with streams, whose descriptors are dropped at once.
fn keep_streams(arguments: &Value) -> Outcome {
    for _ in 0..arguments["times"].as_u64().unwrap_or_default() {
        let stream = if arguments["out"] == true {
            let file = open(arguments, OpenFlags::CREATE, DescriptorFlags::WRITE)?;
            Stream::Out(file.append_via_stream().map_err(code)?)
        } else {
            Stream::In(open(arguments, OpenFlags::empty(), DescriptorFlags::READ)?.read_via_stream(0).map_err(code)?)
        };
        STREAMS.with_borrow_mut(|streams| streams.push(stream));
    }
    Ok(json!(STREAMS.with_borrow(Vec::len)))
}

/// The same with lists of a directory's entries, from one descriptor.
fn keep_lists(arguments: &Value) -> Outcome {
    let directory = directory(text(arguments, "dir"))?;
    let mut lists = Vec::new();
    for _ in 0..arguments["times"].as_u64().unwrap_or_default() {
        lists.push(directory.read_directory().map_err(code)?);
    }
    Ok(json!(lists.len()))
}

/// Writes `bytes` bytes through a stream, in pieces that the stream takes.
fn stream_out(arguments: &Value) -> Outcome {
    let file = open(arguments, OpenFlags::CREATE, DescriptorFlags::WRITE)?;
    let stream = if arguments["append"] == true { file.append_via_stream() } else { file.write_via_stream(0) };
    let stream = stream.map_err(code)?;
    let failed = |error: StreamError| match error {
        StreamError::Closed => "closed".to_owned(),
        StreamError::LastOperationFailed(error) => {
            let known = crate::wasi::filesystem::types::filesystem_error_code(&error);
            known.map_or_else(|| error.to_debug_string(), code)
        }
    };
    let mut left = arguments["bytes"].as_u64().unwrap_or_default();
    while left > 0 {
        let piece = left.min(4096);
        stream.blocking_write_and_flush(&vec![b'x'; piece as usize]).map_err(failed)?;
        left -= piece;
    }
    Ok(json!(null))
}
