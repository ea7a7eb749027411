//! A worker's environment variables: built from what programs and GPU libraries need, never the host's own set,
//! which holds the host's secrets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use bivium_interface::{Granted, Manifest};

use crate::sweep::MARK;

/// Handed on from the host where it has them.
const NAMES: &[&str] = &[
    // Where programs are, and when.
    "PATH",
    "TZ",
    // The locale.
    "LANG",
    "LANGUAGE",
    // Where libraries are, on machines whose GPU driver is not in a standard place.
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    // Which certificates to believe.
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
];

/// All variables that begin so are handed on, too.
const PREFIXES: &[&str] = &["LC_", "CUDA_", "NVIDIA_", "NCCL_", "ROCR_", "HIP_", "OMP_"];

/// Handed on to a worker that is not confined: who its user is, and where that user's files are.
const PERSONAL: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    // Where models and caches are kept.
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_CACHE",
    "TORCH_HOME",
    "TRITON_CACHE_DIR",
    "NUMBA_CACHE_DIR",
];

/// As [`PERSONAL`].
const PERSONAL_PREFIX: &str = "XDG_";

/// The variables of a worker, later ones winning: the host's of the lists above and those that it is granted, the
/// temporary directory, the manifest's `env_vars`, the mark. A confined worker's home is its temporary directory, so
/// that libraries which keep caches at home find one they may write to.
pub(crate) fn variables(
    manifest: &Manifest,
    granted: &Granted,
    temporary: &Path,
    mark: &str,
    host: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let is_personal = |name: &str| PERSONAL.contains(&name) || name.starts_with(PERSONAL_PREFIX);
    let handed_on = |name: &str| {
        NAMES.contains(&name)
            || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || !granted.confined && is_personal(name)
            || granted.permissions.env.iter().any(|granted| granted == name)
    };
    let mut variables: BTreeMap<OsString, OsString> =
        host.filter(|(name, _)| name.to_str().is_some_and(handed_on)).collect();
    variables.insert("TMPDIR".into(), temporary.into());
    if granted.confined {
        variables.entry("HOME".into()).or_insert_with(|| temporary.into());
    }
    variables.extend(manifest.env_vars.iter().map(|(name, value)| (name.into(), value.into())));
    variables.insert(MARK.into(), mark.into());
    variables
}

#[cfg(test)]
mod tests {
    use bivium_interface::HostPolicy;

    use super::*;

    const HOST: [(&str, &str); 9] = [
        ("PATH", "/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("CUDA_VISIBLE_DEVICES", "0"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("GRANTED", "yes"),
        ("PYTHONPATH", "/host"),
        ("TMPDIR", "/host/tmp"),
        ("HOME", "/home/me"),
        ("XDG_CACHE_HOME", "/home/me/cache"),
    ];

    fn found(permissions: &str, policy: &HostPolicy) -> Vec<String> {
        let text = format!(
            r#"{{"name": "p", "version": "1", "module": "m", "class": "C",
                "env_vars": {{"CUDA_VISIBLE_DEVICES": "1", "OWN": "x"}}{permissions}}}"#
        );
        let manifest = Manifest::parse(&text, Path::new("/m/p.json")).unwrap();
        let host = HOST.into_iter().map(|(name, value)| (name.into(), value.into()));
        let found = variables(&manifest, &policy.grant(&manifest), Path::new("/area"), "mark", host);
        found.iter().map(|(name, value)| format!("{}={}", name.to_str().unwrap(), value.to_str().unwrap())).collect()
    }

    #[test]
    fn the_hosts_secrets_stay_with_the_host() {
        let expected = [
            "BIVIUM_WORKER=mark",
            "CUDA_VISIBLE_DEVICES=1",
            "HOME=/home/me",
            "LC_ALL=C.UTF-8",
            "OWN=x",
            "PATH=/bin",
            "TMPDIR=/area",
            "XDG_CACHE_HOME=/home/me/cache",
        ];
        assert_eq!(found("", &HostPolicy::default()), expected);
    }

    #[test]
    fn a_confined_worker_gets_what_it_is_granted_and_has_no_other_home() {
        let asks = r#", "permissions": {"env": ["GRANTED"]}"#;
        let mut expected = vec![
            "BIVIUM_WORKER=mark",
            "CUDA_VISIBLE_DEVICES=1",
            "GRANTED=yes",
            "HOME=/area",
            "LC_ALL=C.UTF-8",
            "OWN=x",
            "PATH=/bin",
            "TMPDIR=/area",
        ];
        assert_eq!(found(asks, &HostPolicy::default()), expected);
        expected.remove(2);
        assert_eq!(found(asks, &HostPolicy::deny_all()), expected, "what the policy does not grant stays away");
    }
}
