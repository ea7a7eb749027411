//! A host in memory, one per thread, for tests outside WebAssembly. Blobs are byte vectors, and what a plugin reports is kept
//! for [`crate::testing`]. It limits a read as the real host does.

use std::cell::RefCell;
use std::rc::Rc;

use crate::{Level, Result};

/// The real host's limit of one read.
const LONGEST_READ: usize = 1 << 20;

#[derive(Default)]
pub(crate) struct Host {
    pub(crate) logs: Vec<(Level, String)>,
    pub(crate) progress: Vec<(Option<f64>, String)>,
    pub(crate) cancelled: bool,
}

thread_local! {
    pub(crate) static HOST: RefCell<Host> = RefCell::default();
}

pub(crate) struct Handle {
    media_type: String,
    bytes: Rc<Vec<u8>>,
}

impl Handle {
    pub(crate) fn media_type(&self) -> String {
        self.media_type.clone()
    }

    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>> {
        let length = usize::try_from(length).unwrap_or(LONGEST_READ).min(LONGEST_READ);
        let rest = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..)).unwrap_or_default();
        Ok(rest.get(..length).unwrap_or(rest).to_vec())
    }
}

#[derive(Debug)]
pub(crate) struct Writer {
    media_type: String,
    bytes: RefCell<Vec<u8>>,
}

impl Writer {
    pub(crate) fn new(media_type: &str) -> Self {
        Self { media_type: media_type.to_owned(), bytes: RefCell::default() }
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        self.bytes.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<Handle> {
        Ok(Handle { media_type: self.media_type, bytes: Rc::new(self.bytes.into_inner()) })
    }
}

pub(crate) fn log(level: Level, message: &str) {
    HOST.with_borrow_mut(|host| host.logs.push((level, message.to_owned())));
}

pub(crate) fn report_progress(fraction: Option<f64>, message: &str) {
    HOST.with_borrow_mut(|host| host.progress.push((fraction, message.to_owned())));
}

pub(crate) fn is_cancelled() -> bool {
    HOST.with_borrow(|host| host.cancelled)
}

pub(crate) fn call_id() -> String {
    "test".to_owned()
}

pub(crate) fn remaining_ms() -> Option<u64> {
    None
}
