//! [`Compiler`]: where components are compiled, and what of it is told.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bivium_interface::{PluginError, Result};

/// Where components are compiled.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Compiler {
    /// On a thread of this process. It cannot be stopped: one that takes longer than its limit is left behind, and
    /// goes on until it ends by itself. What memory it takes is not limited.
    #[default]
    InProcess,
    /// In a child process with limits of its own, which is killed when its time is up or nobody waits any more.
    Child {
        /// The absolute path of a program that ends in [`compiler_main`](crate::compiler_main) when it is run with `args`. It must be of the
        /// same build as the host.
        program: PathBuf,
        /// What makes it do that.
        args: Vec<OsString>,
    },
}

impl Compiler {
    /// This very program, run with these arguments, as a child.
    ///
    /// # Errors
    /// `internal` if the system does not tell where it is.
    pub fn this_program(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self> {
        // On Linux by its handle: the file may have been replaced by a newer version meanwhile.
        let own = Path::new("/proc/self/exe");
        let program = if own.exists() {
            own.to_owned()
        } else {
            std::env::current_exe()
                .map_err(|error| PluginError::internal(format!("cannot find this program's file: {error}")))?
        };
        Ok(Self::Child { program, args: args.into_iter().map(Into::into).collect() })
    }
}

/// What compiling a component ahead came to.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Compilation {
    /// Whether it lay in the cache already.
    pub was_cached: bool,
    /// The size of the compiled component.
    pub bytes: u64,
    /// The directory where it lies now; none if this host keeps nothing.
    pub cache: Option<PathBuf>,
}

/// What a cache of compiled components holds.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheUsage {
    /// Its directory.
    pub directory: PathBuf,
    /// Compiled components in it.
    pub entries: usize,
    /// Their bytes.
    pub bytes: u64,
}
