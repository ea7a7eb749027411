//! The exchange: a private, shared temporary directory in which blobs live, so that large data goes from one plugin to
//! the next as a file and without a copy, whatever runtimes the two have.
//!
//! An [`Exchange`] owns a session directory (mode 0700, held by a file lock) in each place that it uses: memory
//! (`/dev/shm`) while there is space, the temp directory for large files. Everything in it belongs to handles: a
//! [`Blob`](bivium_interface::Blob) made here is deleted with its last handle, an [`Area`] (the part in which one plugin
//! instance may write) when it is dropped, and the directories when the last blob, area and exchange is dropped. What a
//! killed host left behind is removed by the next one that opens an exchange in the same place.
//!
//! What a plugin writes is not trusted. A file that it hands back is opened beneath its own area, must be a regular file
//! with one name, and is moved to where the plugin has no name for it before anyone else sees it. A plugin that still
//! holds the file open, or runs without confinement as the same user, can go on changing its bytes. Therefore hosts read
//! blobs with [`read_at`] and never map them.
//!
//! All functions here block on file operations; async callers that write much use a blocking task.
//!
//! ```
//! use bivium_exchange::{Exchange, read_at};
//! use std::io::Write;
//!
//! let exchange = Exchange::open()?;
//! let mut writer = exchange.writer("text/plain")?.limit(1 << 20);
//! writer.append(b"large ")?;        // a typed error …
//! write!(writer, "data").unwrap();  // … or one of std::io
//! let blob = writer.finish()?;
//!
//! assert_eq!(read_at(&blob.open().unwrap(), 6, 1000).unwrap(), b"data");
//! assert_eq!(exchange.usage().bytes, 10);
//!
//! let path = blob.path().to_owned();
//! drop(blob);
//! assert!(!path.exists());
//! # Ok::<(), bivium_interface::PluginError>(())
//! ```

mod area;
mod errors;
mod exchange;
mod ledger;
mod media_type;
mod place;
mod random_name;
mod read;
mod reclaim;
mod session;
#[cfg(test)]
#[path = "../../../tests/support/skipped.rs"]
mod skipped;
mod state;
mod tree;
mod window;
mod writer;

pub use area::Area;
pub use exchange::{Builder, Exchange};
pub use ledger::Usage;
pub use read::read_at;
pub use window::Window;
pub use writer::BlobWriter;
