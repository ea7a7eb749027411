//! [`Compiler`]: where components are compiled, and the public results of compiling.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bivium_interface::{PluginError, Result};

/// Where components are compiled.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Compiler {
    /// On a thread of this process. It cannot be stopped: after its time limit the host stops waiting, and the thread goes on until the
    /// compilation ends. Its memory is not limited.
    #[default]
    InProcess,
    /// In a child process with its own limits. It is killed when its time is over or nobody waits for it any more.
    Child {
        /// The absolute path of a program that calls [`compiler_main`](crate::compiler_main) when it is run with `args`. It must be of
        /// the same build as the host.
        program: PathBuf,
        /// The arguments that make it do so.
        args: Vec<OsString>,
    },
}

impl Compiler {
    /// This program itself, run with these arguments, as a child.
    ///
    /// # Errors
    /// `internal` if the path of this program cannot be found.
    pub fn this_program(args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Self> {
        // On Linux through its handle, since the file may have been replaced by a newer version meanwhile.
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

/// The result of compiling a component in advance.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Compilation {
    /// Whether it was in the cache already.
    pub was_cached: bool,
    /// The size of the compiled component.
    pub bytes: u64,
    /// The directory of the cache; `None` if this host has no cache.
    pub cache: Option<PathBuf>,
}

/// The content of a cache of compiled components.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheUsage {
    /// Its directory.
    pub directory: PathBuf,
    /// How many compiled components it holds.
    pub entries: usize,
    /// Their size in bytes.
    pub bytes: u64,
}
