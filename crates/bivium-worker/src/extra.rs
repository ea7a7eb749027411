//! [`WorkerExtension`]: what the workers of one kind of plugin get beside what a manifest says.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use bivium_instances::PluginContext;
use bivium_interface::Result;
use serde_json::{Map, Value};

/// Environment variables.
pub type Variables = BTreeMap<OsString, OsString>;

/// Gives each worker of a plugin what a host of another kind would give it.
pub trait WorkerExtension: Send + Sync {
    /// Called before each start of a worker. May add to its `variables`; `host` is the host's environment. It may block on the file
    /// system for as long as a directory takes to make.
    ///
    /// # Errors
    /// Then the worker is not started, and the error is the call's.
    fn prepare(&self, variables: &mut Variables, host: &Variables, context: &PluginContext) -> Result<WorkerExtras>;
}

/// What a worker gets beside its variables.
#[derive(Default)]
#[non_exhaustive]
pub struct WorkerExtras {
    /// A directory of the plugin's own that stays when the worker ends. It may write there, whatever it is held to.
    pub data: Option<PathBuf>,
    /// Secrets, by the names of the variables in which the plugin finds them.
    pub secrets: BTreeMap<String, String>,
    /// Variables that the plugin declares: where they name a place, it is not replaced by one in the host's cache.
    pub declared: BTreeSet<String>,
    /// The level of Python's `logging`, unless the host asks for one.
    pub log_level: Option<String>,
    /// Settings for a module of the worker, each under a key that the worker protocol has for it.
    pub settings: Map<String, Value>,
}
