//! The environment variables that tell a plugin's libraries to use its cache.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use bivium_interface::Granted;

use crate::manifest::PythonManifest;

const HOME_OF_CACHES: &str = "XDG_CACHE_HOME";

/// Each variable with its directory in the cache. A directory that a library also finds through [`HOME_OF_CACHES`] has the same name
/// as there.
const NAMES: &[(&str, &str)] = &[
    (HOME_OF_CACHES, ""),
    ("HF_HOME", "huggingface"),
    ("TORCH_HOME", "torch"),
    ("TORCHINDUCTOR_CACHE_DIR", "torchinductor"),
    ("TRITON_CACHE_DIR", "triton"),
    ("NUMBA_CACHE_DIR", "numba"),
    ("CUDA_CACHE_PATH", "cuda"),
];

/// Variables of libraries that use [`HOME_OF_CACHES`] if these are not set.
const BY_HOME: &[&str] = &["HF_HOME", "TORCH_HOME"];

/// A variable for a directory that also contains settings: a trusted plugin keeps using its user's settings.
const CONFINED: (&str, &str) = ("MPLCONFIGDIR", "matplotlib");

/// The user's token of Hugging Face, in their home.
const TOKEN: &str = ".cache/huggingface/token";

/// Sets the variables that make a worker's libraries use `files`. Variables that come from the manifest or a permission, or are
/// `declared`, are not changed, nor are those that a trusted plugin has from its user.
pub(crate) fn name(
    variables: &mut BTreeMap<OsString, OsString>,
    files: &Path,
    granted: &Granted,
    manifest: &PythonManifest,
    declared: &BTreeSet<String>,
) {
    let is_chosen = |name: &str| {
        !granted.confined
            || manifest.python.env_vars.contains_key(name)
            || granted.permissions.env.iter().any(|granted| granted == name)
            || declared.contains(name)
    };
    let mut names: Vec<(&str, &str)> = NAMES.to_vec();
    names.extend(granted.confined.then_some(CONFINED));
    // For a confined plugin a variable of the host names a directory that it may not write to.
    for (name, _) in names.iter().filter(|(name, _)| !is_chosen(name)) {
        variables.remove(OsStr::new(name));
    }
    let has_home = variables.contains_key(OsStr::new(HOME_OF_CACHES));
    let has_hub = variables.contains_key(OsStr::new("HF_HOME"));
    for (name, directory) in names {
        if !(has_home && BY_HOME.contains(&name)) {
            let own = if directory.is_empty() { files.to_owned() } else { files.join(directory) };
            variables.entry(name.into()).or_insert_with(|| own.into());
        }
    }
    let home =
        variables.get(OsStr::new("HOME")).map(PathBuf::from).filter(|_| !granted.confined && !has_home && !has_hub);
    if let Some(token) = home.map(|home| home.join(TOKEN)).filter(|token| token.is_file()) {
        variables.entry("HF_TOKEN_PATH".into()).or_insert_with(|| token.into());
    }
}

#[cfg(test)]
mod tests {
    use bivium_interface::HostPolicy;
    use serde_json::{Value, json};

    use super::*;

    fn named(more: Value, given: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut manifest = json!({"name": "p", "version": "1", "module": "m", "class": "C"});
        manifest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let manifest = PythonManifest::parse(&manifest.to_string(), Path::new("/m/p.json")).unwrap();
        let mut variables: BTreeMap<OsString, OsString> =
            given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        variables.extend(manifest.python.env_vars.iter().map(|(name, value)| (name.into(), value.into())));
        let declared = BTreeSet::from(["NUMBA_CACHE_DIR".to_owned()]);
        name(&mut variables, Path::new("/c"), &HostPolicy::default().grant(&manifest), &manifest, &declared);
        let text = |text: OsString| text.into_string().unwrap();
        variables.into_iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn every_library_uses_the_plugins_own_directory() {
        let found = named(json!({"permissions": {}}), &[("CUDA_CACHE_PATH", "/home/me/.nv"), ("HOME", "/area")]);
        let expected = [
            ("CUDA_CACHE_PATH", "/c/cuda"),
            ("HF_HOME", "/c/huggingface"),
            ("HOME", "/area"),
            ("MPLCONFIGDIR", "/c/matplotlib"),
            ("NUMBA_CACHE_DIR", "/c/numba"),
            ("TORCHINDUCTOR_CACHE_DIR", "/c/torchinductor"),
            ("TORCH_HOME", "/c/torch"),
            ("TRITON_CACHE_DIR", "/c/triton"),
            ("XDG_CACHE_HOME", "/c"),
        ];
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn variables_of_the_user_or_the_manifest_are_kept() {
        let found = named(json!({"env_vars": {"TORCH_HOME": "/models"}}), &[("TRITON_CACHE_DIR", "/mine")]);
        assert_eq!((found["TORCH_HOME"].as_str(), found["TRITON_CACHE_DIR"].as_str()), ("/models", "/mine"));
        assert!(found["HF_HOME"] == "/c/huggingface" && !found.contains_key("MPLCONFIGDIR"));
        let found = named(json!({}), &[("XDG_CACHE_HOME", "/mine")]);
        assert!(found["XDG_CACHE_HOME"] == "/mine" && !found.contains_key("HF_HOME"), "it is below that");
        // The manifest also grants it.
        let confined = json!({"permissions": {}, "env_vars": {"HF_HOME": "/models"}});
        let found = named(confined, &[("NUMBA_CACHE_DIR", "/declared"), ("TRITON_CACHE_DIR", "/mine")]);
        assert_eq!((found["HF_HOME"].as_str(), found["NUMBA_CACHE_DIR"].as_str()), ("/models", "/declared"));
        assert_eq!(found["TRITON_CACHE_DIR"], "/c/triton");
    }

    #[test]
    fn a_trusted_plugin_finds_its_users_token() {
        let home = tempfile::tempdir().unwrap();
        let at_home = [("HOME", home.path().to_str().unwrap())];
        assert!(!named(json!({}), &at_home).contains_key("HF_TOKEN_PATH"));
        std::fs::create_dir_all(home.path().join(".cache/huggingface")).unwrap();
        std::fs::write(home.path().join(TOKEN), "hf_1").unwrap();
        assert_eq!(named(json!({}), &at_home)["HF_TOKEN_PATH"], home.path().join(TOKEN).to_str().unwrap());
        assert!(!named(json!({"permissions": {}}), &at_home).contains_key("HF_TOKEN_PATH"));
    }
}
