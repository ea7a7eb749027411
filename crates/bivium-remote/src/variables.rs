//! A worker's environment variables: built from what programs and GPU libraries need, never the host's own set,
//! which holds the host's secrets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use bivium_interface::Manifest;

use crate::sweep::MARK;

/// Handed on from the host where it has them.
const NAMES: &[&str] = &[
    // Where programs and people are.
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
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

/// All variables that begin so are handed on, too.
const PREFIXES: &[&str] = &["LC_", "XDG_", "CUDA_", "NVIDIA_", "NCCL_", "ROCR_", "HIP_", "OMP_"];

/// The variables of a worker, later ones winning: the host's of the lists above and those that the manifest's
/// permissions name, the temporary directory, the manifest's `env_vars`, the mark.
pub(crate) fn variables(
    manifest: &Manifest,
    temporary: &Path,
    mark: &str,
    host: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let granted = manifest.permissions.as_ref().map(|permissions| permissions.env.as_slice()).unwrap_or_default();
    let handed_on = |name: &str| {
        NAMES.contains(&name)
            || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || granted.iter().any(|granted| granted == name)
    };
    let mut variables: BTreeMap<OsString, OsString> =
        host.filter(|(name, _)| name.to_str().is_some_and(handed_on)).collect();
    variables.insert("TMPDIR".into(), temporary.into());
    variables.extend(manifest.env_vars.iter().map(|(name, value)| (name.into(), value.into())));
    variables.insert(MARK.into(), mark.into());
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_secrets_stay_with_the_host() {
        let text = r#"{"name": "p", "version": "1", "module": "m", "class": "C",
            "env_vars": {"CUDA_VISIBLE_DEVICES": "1", "OWN": "x"}, "permissions": {"env": ["GRANTED"]}}"#;
        let manifest = Manifest::parse(text, Path::new("/m/p.json")).unwrap();
        let host = [
            ("PATH", "/bin"),
            ("LC_ALL", "C.UTF-8"),
            ("CUDA_VISIBLE_DEVICES", "0"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("GRANTED", "yes"),
            ("PYTHONPATH", "/host"),
            ("TMPDIR", "/host/tmp"),
        ];
        let host = host.into_iter().map(|(name, value)| (name.into(), value.into()));
        let found = variables(&manifest, Path::new("/area"), "mark", host);
        let found: Vec<(&str, &str)> = found.iter().map(|(n, v)| (n.to_str().unwrap(), v.to_str().unwrap())).collect();
        let expected = [
            ("BIVIUM_WORKER", "mark"),
            ("CUDA_VISIBLE_DEVICES", "1"),
            ("GRANTED", "yes"),
            ("LC_ALL", "C.UTF-8"),
            ("OWN", "x"),
            ("PATH", "/bin"),
            ("TMPDIR", "/area"),
        ];
        assert_eq!(found, expected);
    }
}
