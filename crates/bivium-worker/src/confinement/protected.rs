//! Checks what a granted directory contains besides files: directories that no plugin may have, and sockets of services.

use std::path::PathBuf;

use bivium_instances::Protected;
use bivium_interface::{PluginError, Result};

/// The directories in which services of the machine and of users have their sockets.
const SOCKETS: &[&str] = &["/run", "/tmp", "/var/run", "/var/tmp"];

/// Refuses grants of protected directories. A grant of a directory above a protected one is accepted if the worker has a root of its
/// own, in which the protected one can be covered.
///
/// # Errors
/// `denied`, naming the grant and what is there.
pub(super) fn check(protected: &Protected, granted: &[PathBuf], can_cover: bool) -> Result<()> {
    for path in granted {
        protected.check(path)?;
        let beneath = protected.existing().find(|(place, _)| place.starts_with(path)).filter(|_| !can_cover);
        if let Some((place, what)) = beneath {
            let message = format!(
                "permissions.filesystem grants {}, and {} ({what}) is in it: without a mount namespace, which this machine does \
                 not give, the worker cannot be kept from that",
                path.display(),
                place.display()
            );
            return Err(PluginError::denied(message)
                .with_help("grant only those directories in it that the plugin needs, one by one"));
        }
    }
    Ok(())
}

/// Whether a granted directory may contain sockets of services, to which a worker could then connect.
pub(super) fn brings_sockets(granted: &[PathBuf]) -> bool {
    let run = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let home = directories::BaseDirs::new().map(|home| home.home_dir().to_owned());
    let places: Vec<PathBuf> = SOCKETS.iter().map(PathBuf::from).chain(run.clone()).chain(home).collect();
    let beneath = [Some(PathBuf::from("/run")), run];
    granted.iter().any(|path| {
        places.iter().any(|place| place.starts_with(path))
            || beneath.iter().flatten().any(|place| path.starts_with(place))
    })
}

#[cfg(test)]
mod tests {
    use bivium_exchange::Exchange;

    use super::*;

    #[test]
    fn a_grant_above_a_protected_directory_is_refused_if_it_cannot_be_covered() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let exchange = Exchange::builder().root(&root).open().unwrap();
        let protected = Protected::default().and_exchange(&exchange);
        check(&protected, &[root.clone(), "/".into()], true).unwrap();
        let error = check(&protected, std::slice::from_ref(&root), false).unwrap_err();
        assert!(error.message().contains("is in it: without a mount namespace"), "{error}");
        let session = exchange.directories().remove(0);
        for can_cover in [true, false] {
            check(&protected, std::slice::from_ref(&session), can_cover).unwrap_err();
        }
        std::fs::create_dir(root.join("models")).unwrap();
        check(&protected, &[root.join("models")], false).unwrap();
    }

    #[test]
    fn a_data_directory_has_no_sockets_of_services_and_a_home_may() {
        let brings = |path: &str| brings_sockets(&[path.into()]);
        assert!(brings("/") && brings("/run/user/1000") && brings("/tmp") && brings("/var"));
        assert!(!brings("/srv/models") && !brings("/tmp/models"));
        assert!(!brings_sockets(&[]));
    }
}
