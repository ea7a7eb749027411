//! [`Cli`]: the command line of a component: environment variables that are granted by name, a program's arguments, and the standard
//! streams.

mod output;
mod program;

use std::env;
use std::sync::Arc;

use bivium_interface::manifest::Permissions;
use wasmtime_wasi::WasiCtxBuilder;

pub(crate) use program::ProgramIo;

use crate::store::{AccessRecorder, StdStream, StoreState};
use output::LineStream;
use program::{Stdin, Stdout};

/// The permission's key.
pub(crate) const ENV: &str = "permissions.env";

/// What one component is granted.
#[derive(Default)]
pub(crate) struct CliGrant {
    /// Names and values.
    variables: Vec<(String, String)>,
}

impl CliGrant {
    pub(crate) fn new(permissions: &Permissions) -> Self {
        // The guest does not see variables that are not set or are not text.
        let variables = permissions.env.iter().filter_map(|name| Some((name.clone(), env::var(name).ok()?)));
        Self { variables: variables.collect() }
    }

    /// What the guest lacks, if it has asked for its variables and its error says that one was not found.
    pub(crate) fn missed(&self, access: &AccessRecorder, error: &str) -> Option<String> {
        /// How standard libraries say that a variable is not there.
        const NO_VARIABLE: &[&str] = &["environment variable", "notpresent", "keyerror", "getenv", "environ"];
        let not_found = || NO_VARIABLE.iter().any(|said| error.contains(said));
        let missed = self.variables.is_empty() && access.has_used(ENV) && not_found();
        missed.then(|| format!("no environment variable (`{ENV}`)"))
    }
}

/// The command line of one instance.
pub(crate) struct Cli {
    pub(crate) grant: Arc<CliGrant>,
    /// A program's arguments and streams; `None` in any other component.
    pub(crate) program: Option<Arc<ProgramIo>>,
}

impl Cli {
    pub(crate) fn new(grant: Arc<CliGrant>) -> Self {
        Self { grant, program: None }
    }

    /// Names and values of the variables that the guest may see.
    pub(crate) fn environment(&self, store: &StoreState) -> Vec<(String, String)> {
        let names = self.grant.variables.iter().map(|(name, _)| name.as_str());
        let may_see = store.access.granted_once(ENV, names);
        if may_see { self.grant.variables.clone() } else { Vec::new() }
    }

    /// A program's arguments, its name first.
    pub(crate) fn arguments(&self) -> Vec<String> {
        self.program.as_ref().map(|program| program.arguments()).unwrap_or_default()
    }

    /// Connects the standard streams. Output goes to the log; a program's standard output is the result of its call.
    pub(crate) fn connect(&self, store: &StoreState, builder: &mut WasiCtxBuilder) {
        let log = &store.log;
        builder.stdout(LineStream::new(log, StdStream::Stdout)).stderr(LineStream::new(log, StdStream::Stderr));
        if let Some(program) = &self.program {
            builder.stdin(Stdin(Arc::clone(program))).stdout(Stdout(Arc::clone(program)));
        }
    }
}
