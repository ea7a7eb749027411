//! What every Python worker must be able to read: its interpreter, its modules, the system's libraries. As little as possible.
//!
//! A manifest is not trusted, and neither is its directory. So what it names is taken literally and gives no more:
//! `source` must be below the manifest's directory, links in an environment that lead outside are not followed, and an interpreter
//! adds the directories of an installation and nothing beside them.

use std::path::{Path, PathBuf};

use bivium_instances::PlacedGpu;
use bivium_interface::{Granted, PluginError, Result};

use crate::manifest::PythonManifest;

/// Programs, libraries and their shared files. Every user may read them.
const SYSTEM: &[&str] = &[
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/include",
    "/usr/share",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/share",
    // NixOS and Guix have all of these there.
    "/nix/store",
    "/run/current-system/sw",
    "/gnu/store",
];

/// Files in which libraries look up facts about the machine.
const FACTS: &[&str] = &[
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/fonts",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/magic",
    // Debian keeps the defaults of matplotlib and of Python itself there.
    "/etc/matplotlibrc",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
    "/run/systemd/resolve/stub-resolv.conf",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
];

/// Devices without a shared state.
const DEVICES: &[&str] = &["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

/// Files of GPU drivers and their tools.
const GPU: &[&str] = &[
    "/etc/OpenCL/vendors",
    "/etc/nvidia",
    "/etc/vulkan",
    "/opt/cuda",
    "/opt/rocm",
    "/sys/bus/pci/devices",
    "/sys/class/drm",
    "/sys/class/kfd",
    "/sys/devices",
    "/sys/module/nvidia",
    "/sys/module/nvidia_uvm",
    "/usr/local/cuda",
    // Containers have the driver's libraries there.
    "/usr/local/nvidia",
];

/// The names of GPU devices begin with these.
const GPU_DEVICES: &[&str] = &["nvidia", "kfd", "dri"];

/// The directories of an installation of Python.
const INSTALLATION: &[&str] = &["bin", "lib", "lib64", "libexec", "include"];

/// Entries that mark a whole directory as an environment.
const ENVIRONMENT: &[&str] = &["pyvenv.cfg", "conda-meta"];

/// The files that a worker may use in any case.
#[derive(Debug, Default)]
pub(super) struct Baseline {
    pub(super) programs: Vec<PathBuf>,
    /// Files that it may only read.
    pub(super) facts: Vec<PathBuf>,
    /// Devices that it may read and write.
    pub(super) devices: Vec<PathBuf>,
}

impl Baseline {
    /// The baseline of a worker of this manifest. `package` is the directory of the worker's own files.
    ///
    /// # Errors
    /// `denied` if `source` is outside the manifest's directory.
    pub(super) fn of(manifest: &PythonManifest, python: &Path, package: &Path, granted: &[PathBuf]) -> Result<Self> {
        let mut programs: Vec<PathBuf> = there(SYSTEM).collect();
        programs.extend(installations(python));
        // The worker imports itself by name from the directory above, which contains nothing else.
        programs.extend(package.parent().map(Path::to_owned));
        programs.extend(source(manifest, granted)?);
        programs.extend(std::env::var_os("LD_LIBRARY_PATH").iter().flat_map(std::env::split_paths).filter(|path| {
            // Relative paths depend on the working directory.
            path.is_absolute() && path.is_dir()
        }));
        let mut facts: Vec<PathBuf> = there(FACTS).collect();
        facts.extend(named("/etc", &["python3"]));
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"] {
            facts.extend(std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute() && path.exists()));
        }
        let mut devices: Vec<PathBuf> = there(DEVICES).collect();
        if manifest.resources.gpus() > 0 {
            programs.extend(there(GPU));
            devices.extend(named("/dev", GPU_DEVICES));
        }
        Ok(Self { programs, facts, devices })
    }

    /// The devices of a worker that was placed on these GPUs: without `/dev/nvidiaN` of other GPUs. All, if it was not placed, or if the
    /// number of one of its GPUs is not known. Entries in `/dev/dri` are not told apart.
    pub(super) fn devices_for(&self, gpus: &[PlacedGpu]) -> Vec<PathBuf> {
        let minors: Option<Vec<u32>> = gpus.iter().map(|gpu| gpu.minor).collect();
        let Some(minors) = minors.filter(|minors| !minors.is_empty()) else { return self.devices.clone() };
        let is_allowed = |path: &&PathBuf| gpu_number(path).is_none_or(|number| minors.contains(&number));
        self.devices.iter().filter(is_allowed).cloned().collect()
    }
}

/// The number of an NVIDIA GPU, by the name of its device (`/dev/nvidia0`).
fn gpu_number(path: &Path) -> Option<u32> {
    path.strip_prefix("/dev").ok()?.to_str()?.strip_prefix("nvidia")?.parse().ok()
}

fn there(paths: &[&str]) -> impl Iterator<Item = PathBuf> {
    paths.iter().map(PathBuf::from).filter(|path| path.exists())
}

/// The entries of a directory whose names begin with one of the prefixes.
fn named(directory: &str, prefixes: &[&str]) -> impl Iterator<Item = PathBuf> {
    let all = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let is_meant = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
    all.filter(move |entry| entry.file_name().to_str().is_some_and(is_meant)).map(|entry| entry.path())
}

/// The directories of the installations that an interpreter belongs to: that of its path (in an environment the interpreter is a
/// link), that of the file itself, and the base that an environment's `pyvenv.cfg` names.
fn installations(python: &Path) -> Vec<PathBuf> {
    let above = |program: &Path| program.parent().and_then(Path::parent).map(Path::to_owned);
    let mut prefixes: Vec<PathBuf> = [Some(python.to_owned()), python.canonicalize().ok()]
        .into_iter()
        .flatten()
        .filter_map(|program| above(&program))
        .collect();
    let bases: Vec<PathBuf> = prefixes.iter().filter_map(|prefix| base(prefix)).collect();
    prefixes.extend(bases);
    prefixes.iter().filter_map(|prefix| prefix.canonicalize().ok()).flat_map(|prefix| parts(&prefix)).collect()
}

/// The prefix of the Python with which a virtual environment was made.
fn base(prefix: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(prefix.join("pyvenv.cfg")).ok()?;
    let home = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "home").then(|| PathBuf::from(value.trim()))
    })?;
    home.canonicalize().ok()?.parent().map(Path::to_owned)
}

fn parts(prefix: &Path) -> Vec<PathBuf> {
    if prefix.parent().is_some() && ENVIRONMENT.iter().any(|mark| prefix.join(mark).exists()) {
        return vec![prefix.to_owned()];
    }
    let inside = |path: PathBuf| path.canonicalize().ok().filter(|real| real.starts_with(prefix));
    INSTALLATION.iter().filter_map(|part| inside(prefix.join(part))).collect()
}

/// Why a plugin with these grants may not use its `source`; None if it may.
pub(crate) fn refusal_of_source(manifest: &PythonManifest, granted: &Granted) -> Option<PluginError> {
    let directories = granted.permissions.filesystem.iter().map(|directory| directory.path.clone());
    granted.confined.then(|| source(manifest, &directories.collect::<Vec<_>>()).err())?
}

/// The plugin's own directory of modules.
fn source(manifest: &PythonManifest, granted: &[PathBuf]) -> Result<Option<PathBuf>> {
    let Some(source) = &manifest.python.source else { return Ok(None) };
    let Ok(real) = source.canonicalize() else {
        // The worker reports that the module does not exist.
        return Ok(None);
    };
    let home = manifest.path.parent().and_then(|home| home.canonicalize().ok());
    if home.is_some_and(|home| real.starts_with(home)) {
        return Ok(Some(real));
    }
    if granted.iter().any(|granted| real.starts_with(granted)) {
        // A grant already says what it may do there.
        return Ok(None);
    }
    Err(PluginError::denied(format!("`source` ({}) is outside the manifest's directory", source.display()))
        .with_help("put the modules beside the manifest, or grant that directory in permissions.filesystem"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use bivium_interface::ErrorCode;

    use super::*;

    fn manifest(home: &Path, source: &str) -> PythonManifest {
        let text = format!(r#"{{"name": "p", "version": "1", "module": "m", "class": "C", "source": "{source}"}}"#);
        PythonManifest::parse(&text, &home.join("p.json")).unwrap()
    }

    #[test]
    fn an_environment_is_read_whole_and_an_installation_in_its_parts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for dir in ["base/bin", "base/lib", "base/private", "venv/bin", "elsewhere/secret"] {
            std::fs::create_dir_all(root.join(dir)).unwrap();
        }
        std::fs::write(root.join("base/bin/python3"), "").unwrap();
        symlink(root.join("base/bin/python3"), root.join("venv/bin/python")).unwrap();
        symlink(root.join("elsewhere/secret"), root.join("base/include")).unwrap();
        std::fs::write(root.join("venv/pyvenv.cfg"), format!("home = {}/base/bin\nversion = 3\n", root.display()))
            .unwrap();
        let mut found = installations(&root.join("venv/bin/python"));
        found.sort();
        found.dedup();
        assert_eq!(
            found,
            ["base/bin", "base/lib", "venv"].map(|part| root.join(part)),
            "links that lead out are not followed"
        );

        // Whatever base an environment names, only the directories of an installation are readable there.
        std::fs::write(root.join("venv/pyvenv.cfg"), format!("home = {}/elsewhere/bin\n", root.display())).unwrap();
        assert!(
            !installations(&root.join("venv/bin/python")).iter().any(|path| path.starts_with(root.join("elsewhere")))
        );
    }

    #[test]
    fn a_plugins_modules_must_be_below_its_manifest() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let home = root.join("home");
        std::fs::create_dir_all(home.join("src")).unwrap();
        symlink("/etc", home.join("link")).unwrap();
        assert_eq!(source(&manifest(&home, "src"), &[]).unwrap(), Some(home.join("src")));
        assert_eq!(source(&manifest(&home, "."), &[]).unwrap(), Some(home.clone()));
        for outside in ["/", "..", "link", "src/../.."] {
            let error = source(&manifest(&home, outside), &[]).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Denied, "{outside}");
        }
        assert_eq!(source(&manifest(&home, ".."), &[root]).unwrap(), None);
    }
}
