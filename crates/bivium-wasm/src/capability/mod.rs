//! What a component can reach beyond its own memory.
//!
//! Each capability is a module with the state of one instance and, if it can be granted, the grant of one component, from which that
//! state is made. Its logic is in methods of these two. A capability uses the state of the store, but neither the other capabilities
//! nor the interfaces by which a guest calls it: those are implemented in `wasi/` and `world/`.

pub(crate) mod blobs;
pub(crate) mod cli;
pub(crate) mod clocks;
pub(crate) mod files;
pub(crate) mod network;
pub(crate) mod random;

use std::sync::Arc;

use bivium_instances::Protected;
use bivium_interface::{Granted, PluginError, Result};

use crate::store::AccessRecorder;
use cli::CliGrant;
use files::FilesGrant;
use network::NetworkGrant;

/// The grants of one component, set up once when it is loaded.
pub(crate) struct Grants {
    pub(crate) files: Arc<FilesGrant>,
    pub(crate) cli: Arc<CliGrant>,
    pub(crate) clocks: bool,
    pub(crate) random: bool,
    pub(crate) network: Arc<NetworkGrant>,
}

impl Grants {
    /// Opens what is granted. Blocks on the file system.
    ///
    /// # Errors
    /// Those of [`FilesGrant::open`].
    pub(crate) fn open(granted: &Granted, protected: &Protected, network: NetworkGrant) -> Result<Self> {
        let permissions = &granted.permissions;
        Ok(Self {
            files: Arc::new(FilesGrant::open(permissions, protected)?),
            cli: Arc::new(CliGrant::new(permissions)),
            clocks: permissions.clocks,
            random: permissions.random,
            network: Arc::new(network),
        })
    }

    /// What the guest lacks according to its own error, if it has asked for that and was granted nothing of it.
    pub(crate) fn missed(&self, access: &AccessRecorder, error: &PluginError) -> Option<String> {
        missed(&self.files, &self.cli, access, error)
    }
}

/// The host does not see which file or variable a guest looked for: a standard library asks once for all directories and variables,
/// whatever the plugin does, and then searches by itself.
fn missed(files: &FilesGrant, cli: &CliGrant, access: &AccessRecorder, error: &PluginError) -> Option<String> {
    let words = error.message().to_lowercase();
    let missed = [files.missed(access, &words), cli.missed(access, &words)];
    let missed: Vec<String> = missed.into_iter().flatten().collect();
    let granted = || format!("the plugin asked for something that it is not granted: it has {}", missed.join(" and "));
    (!missed.is_empty()).then(granted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_permission_that_the_guest_lacks() {
        use bivium_interface::Failure;
        use bivium_interface::manifest::Permissions;
        use bivium_records::{Auditor, PluginLog};

        use super::cli::ENV;
        use super::files::FILESYSTEM;

        let log = PluginLog::new("p");
        let guest = Arc::new(crate::store::GuestLog::new(log.clone(), 1, 1000));
        let access = Arc::new(AccessRecorder::new(Auditor::new("p", None, log), guest));
        let (files, cli) = (FilesGrant::default(), CliGrant::default());
        let failed = |message: &str| PluginError::plugin_failed(Failure::new("", message));
        let no_file = failed("No such file or directory (os error 44)");
        assert_eq!(missed(&files, &cli, &access, &no_file), None, "it has not asked");
        for permission in [FILESYSTEM, ENV] {
            assert!(access.granted_once(permission, std::iter::empty()));
        }
        let help = missed(&files, &cli, &access, &no_file).unwrap();
        assert!(help.contains("`permissions.filesystem`") && !help.contains(ENV), "{help}");
        let help = missed(&files, &cli, &access, &failed("KeyError: 'HOME'")).unwrap();
        assert!(help.contains("`permissions.env`") && !help.contains(FILESYSTEM), "{help}");
        for other in ["ValueError: no such thing", "index out of bounds", ""] {
            assert_eq!(missed(&files, &cli, &access, &failed(other)), None, "{other}");
        }
        let mut permissions = Permissions::default();
        permissions.env = vec!["PATH".to_owned()];
        let some = CliGrant::new(&permissions);
        assert_eq!(missed(&files, &some, &access, &failed("KeyError: 'HOME'")), None, "it has some");
    }
}
