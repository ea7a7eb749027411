//! A worker's environment variables: only those that programs and GPU libraries need, never all of the host's,
//! which may contain secrets.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use bivium_instances::PlacedGpu;
use bivium_interface::Granted;
use bivium_interface::policy::{SECRET_VARIABLE, matches_pattern};

use crate::manifest::PythonManifest;
use crate::process::descendants::MARK;

/// Passed on from the host, if it has them.
const NAMES: &[&str] = &[
    // Where programs are, and the time zone.
    "PATH",
    "TZ",
    // The locale.
    "LANG",
    "LANGUAGE",
    // Where libraries are, on machines whose GPU driver is not in a standard place.
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    // Which certificates to trust.
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
];

/// All variables with these prefixes are passed on, too.
const PREFIXES: &[&str] = &["LC_", "CUDA_", "NVIDIA_", "NCCL_", "ROCR_", "HIP_", "OMP_"];

/// Passed on to a worker that is not confined: the user, and where the user's files are.
const PERSONAL: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    // Network proxies.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    // Directories of models and caches.
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_CACHE",
    "TORCH_HOME",
    "TRITON_CACHE_DIR",
    "NUMBA_CACHE_DIR",
];

/// As [`PERSONAL`], by patterns.
const PERSONAL_PATTERNS: &[&str] = &["XDG_*", "HF_*", "*_NUM_THREADS"];

/// The `PATH` if the host has none.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The variables of a worker; later ones replace earlier ones: the host's in the lists above and those that it is granted, the
/// temporary directory, the manifest's `env_vars`, the mark. A confined worker's home is its temporary directory, so
/// that libraries which keep caches in the home directory can write there. The interpreter's directory comes first on `PATH`: it contains
/// the programs of an environment.
pub(crate) fn variables(
    manifest: &PythonManifest,
    granted: &Granted,
    python: &Path,
    temporary: &Path,
    mark: &str,
    host: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let is_personal = |name: &str| {
        let passed = granted.pass_env.iter().map(String::as_str).filter(|_| !name.starts_with(SECRET_VARIABLE));
        PERSONAL.contains(&name)
            || PERSONAL_PATTERNS.iter().copied().chain(passed).any(|pattern| matches_pattern(pattern, name))
    };
    let handed_on = |name: &str| {
        NAMES.contains(&name)
            || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || !granted.confined && is_personal(name)
            || granted.permissions.env.iter().any(|granted| granted == name)
    };
    let mut variables: BTreeMap<OsString, OsString> =
        host.filter(|(name, _)| name.to_str().is_some_and(handed_on)).collect();
    variables.insert("TMPDIR".into(), temporary.into());
    if let Some(beside) = python.parent().filter(|beside| beside.is_absolute()) {
        let path = variables.entry("PATH".into()).or_insert_with(|| USUAL_PATH.into());
        let all = std::iter::once(beside.to_owned()).chain(std::env::split_paths(&*path));
        // A directory whose name contains a separator cannot be on `PATH`.
        if let Ok(joined) = std::env::join_paths(all) {
            *path = joined;
        }
    }
    if granted.confined {
        variables.entry("HOME".into()).or_insert_with(|| temporary.into());
    }
    variables.extend(manifest.python.env_vars.iter().map(|(name, value)| (name.into(), value.into())));
    variables.insert(MARK.into(), mark.into());
    variables
}

/// Lets a worker see only the GPUs that it was placed on. Changes nothing if it was not placed.
pub(crate) fn show_gpus(variables: &mut BTreeMap<OsString, OsString>, gpus: &[PlacedGpu]) {
    if gpus.is_empty() {
        return;
    }
    // <https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#env-vars>: UUIDs, or indexes in the order of the driver.
    let name = |gpu: &PlacedGpu| if gpu.uuid.is_empty() { gpu.index.to_string() } else { gpu.uuid.clone() };
    let names: Vec<String> = gpus.iter().map(name).collect();
    variables.insert("CUDA_VISIBLE_DEVICES".into(), names.join(",").into());
    variables.insert("CUDA_DEVICE_ORDER".into(), "PCI_BUS_ID".into());
}

#[cfg(test)]
mod tests {
    use bivium_interface::HostPolicy;

    use super::*;

    const HOST: [(&str, &str); 15] = [
        ("PATH", "/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("CUDA_VISIBLE_DEVICES", "0"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("GRANTED", "yes"),
        ("PYTHONPATH", "/host"),
        ("TMPDIR", "/host/tmp"),
        ("HOME", "/home/me"),
        ("XDG_CACHE_HOME", "/home/me/cache"),
        ("https_proxy", "http://proxy"),
        ("HF_TOKEN_PATH", "/home/me/token"),
        ("MKL_NUM_THREADS", "2"),
        ("MY_OWN", "1"),
        ("YOUR_OWN", "2"),
        ("BIVIUM_SECRET_MY", "secret"),
    ];

    #[test]
    fn a_placed_worker_sees_its_gpus_alone_whatever_its_manifest_says() {
        let mut found = BTreeMap::from([("CUDA_VISIBLE_DEVICES".into(), "1".into())]);
        show_gpus(&mut found, &[]);
        assert_eq!(found["CUDA_VISIBLE_DEVICES".as_ref() as &std::ffi::OsStr], "1");
        show_gpus(&mut found, &[PlacedGpu::new("GPU-a", 3, None), PlacedGpu::new("", 1, None)]);
        assert_eq!(found["CUDA_VISIBLE_DEVICES".as_ref() as &std::ffi::OsStr], "GPU-a,1");
    }

    fn found(permissions: &str, policy: &HostPolicy) -> Vec<String> {
        let text = format!(
            r#"{{"name": "p", "version": "1", "module": "m", "class": "C",
                "env_vars": {{"CUDA_VISIBLE_DEVICES": "1", "OWN": "x"}}{permissions}}}"#
        );
        let manifest = PythonManifest::parse(&text, Path::new("/m/p.json")).unwrap();
        let host = HOST.into_iter().map(|(name, value)| (name.into(), value.into()));
        let found = variables(
            &manifest,
            &policy.grant(&manifest),
            Path::new("/env/bin/python"),
            Path::new("/area"),
            "mark",
            host,
        );
        found.iter().map(|(name, value)| format!("{}={}", name.to_str().unwrap(), value.to_str().unwrap())).collect()
    }

    #[test]
    fn the_hosts_secrets_stay_with_the_host() {
        let expected = [
            "BIVIUM_WORKER=mark",
            "CUDA_VISIBLE_DEVICES=1",
            "HF_TOKEN_PATH=/home/me/token",
            "HOME=/home/me",
            "LC_ALL=C.UTF-8",
            "MKL_NUM_THREADS=2",
            "OWN=x",
            "PATH=/env/bin:/bin",
            "TMPDIR=/area",
            "XDG_CACHE_HOME=/home/me/cache",
            "https_proxy=http://proxy",
        ];
        assert_eq!(found("", &HostPolicy::default()), expected);
        let mut expected = expected.to_vec();
        expected.insert(6, "MY_OWN=1");
        assert_eq!(found(r#", "pass_env": ["*MY*"]"#, &HostPolicy::default()), expected, "and no secret of the host");
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
            "PATH=/env/bin:/bin",
            "TMPDIR=/area",
        ];
        assert_eq!(found(asks, &HostPolicy::default()), expected);
        expected.remove(2);
        assert_eq!(found(asks, &HostPolicy::deny_all()), expected, "what the policy does not grant is not passed on");
    }
}
