//! The host, called through the world's imports.

use crate::{Error, Failure, Level, Result};

/// The bindings that wit-bindgen generates from `wit/`; [`export!`](crate::export) uses them.
#[doc(hidden)]
#[allow(missing_docs, unreachable_pub, unsafe_code, clippy::all, clippy::restriction)]
pub mod bindings {
    wit_bindgen::generate!({
        inline: "package bivium:guest@0.1.0; world described {
            include bivium:plugin/plugin@0.1.0;
            export bivium:plugin/signatures@0.1.0;
        }",
        world: "bivium:guest/described",
        generate_all,
        path: "wit",
        pub_export_macro: true,
        default_bindings_module: "bivium_guest::bindings",
    });
}

use bindings::bivium::plugin::{blobs, host, types};

#[derive(Debug)]
pub(crate) struct Handle(pub(crate) blobs::Blob);

impl Handle {
    pub(crate) fn media_type(&self) -> String {
        self.0.media_type()
    }

    pub(crate) fn size(&self) -> u64 {
        self.0.size()
    }

    pub(crate) fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>> {
        self.0.read(offset, length).map_err(from_wire)
    }

    pub(crate) fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
pub(crate) struct Writer(blobs::BlobWriter);

impl Writer {
    pub(crate) fn new(media_type: &str) -> Self {
        Self(blobs::BlobWriter::new(media_type))
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        self.0.write(bytes).map_err(from_wire)
    }

    pub(crate) fn finish(self) -> Result<Handle> {
        blobs::BlobWriter::finish(self.0).map(Handle).map_err(from_wire)
    }
}

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Trace => host::Level::Trace,
        Level::Debug => host::Level::Debug,
        Level::Info => host::Level::Info,
        Level::Warn => host::Level::Warn,
        Level::Error => host::Level::Error,
    };
    host::log(level, message);
}

pub(crate) fn report_progress(fraction: Option<f64>, message: &str) {
    host::report_progress(fraction, message);
}

pub(crate) fn is_cancelled() -> bool {
    host::is_cancelled()
}

pub(crate) fn call_id() -> String {
    host::call_id()
}

pub(crate) fn remaining_ms() -> Option<u64> {
    host::remaining_ms()
}

fn from_wire(error: types::Error) -> Error {
    match error {
        types::Error::NotFound(message) => Error::NotFound(message),
        types::Error::InvalidConfig(message) => Error::InvalidConfig(message),
        types::Error::InvalidInput(message) => Error::InvalidInput(message),
        types::Error::Denied(message) => Error::Denied(message),
        types::Error::ResourceExhausted(message) => Error::ResourceExhausted(message),
        types::Error::Timeout(message) => Error::Timeout(message),
        types::Error::Cancelled(message) => Error::Cancelled(message),
        types::Error::Unavailable(message) => Error::Unavailable(message),
        types::Error::PluginFailed(types::Failure { kind, message, trace }) => {
            Error::PluginFailed(Failure { kind, message, trace })
        }
    }
}

pub(crate) fn to_wire(error: Error) -> types::Error {
    match error {
        Error::NotFound(message) => types::Error::NotFound(message),
        Error::InvalidConfig(message) => types::Error::InvalidConfig(message),
        Error::InvalidInput(message) => types::Error::InvalidInput(message),
        Error::Denied(message) => types::Error::Denied(message),
        Error::ResourceExhausted(message) => types::Error::ResourceExhausted(message),
        Error::Timeout(message) => types::Error::Timeout(message),
        Error::Cancelled(message) => types::Error::Cancelled(message),
        Error::Unavailable(message) => types::Error::Unavailable(message),
        Error::PluginFailed(Failure { kind, message, trace }) => {
            types::Error::PluginFailed(types::Failure { kind, message, trace })
        }
    }
}
