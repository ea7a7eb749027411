//! `cargo xtask test --cjm`: the published plugins of cjm-plugin-system and cjm-substrate, unmodified, in environments
//! of their own.

use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::command::{cargo, run};

/// An environment, what is installed in it, and what `cjm-ctl` writes manifests of.
struct Environment {
    name: &'static str,
    packages: &'static [&'static str],
    manifests: &'static [&'static [&'static str]],
}

const ENVIRONMENTS: &[Environment] = &[
    Environment {
        name: "media",
        packages: &[
            "cjm-plugin-system==0.0.46",
            "cjm-media-plugin-ffmpeg==0.0.24",
            "cjm-media-processing-adapter-interface==0.0.4",
            "cjm-capability-primitives==0.0.8",
        ],
        manifests: &[&[
            "cjm-media-plugin-ffmpeg",
            "cjm_media_processing_adapter_interface.generic:GenericMediaProcessingAdapter",
        ]],
    },
    Environment {
        name: "graph",
        packages: &[
            "cjm-plugin-system==0.0.46",
            "cjm-graph-plugin-sqlite==0.0.24",
            "cjm-graph-storage-adapter-interface==0.0.6",
            "cjm-context-graph-primitives==0.0.10",
        ],
        manifests: &[
            &["cjm-graph-plugin-sqlite", "cjm_graph_storage_adapter_interface.generic:GenericGraphStorageAdapter"],
            &["--probe", "probe-plugin-system"],
        ],
    },
    Environment {
        name: "sentences",
        packages: &[
            "cjm-substrate==0.0.74",
            "cjm-capability-pysbd==0.0.1",
            "cjm-sentence-segmentation-adapter-interface==0.0.2",
            "cjm-capability-primitives==0.0.13",
        ],
        manifests: &[
            &[
                "cjm-capability-pysbd",
                "cjm_sentence_segmentation_adapter_interface.generic:GenericSentenceSegmentationAdapter",
            ],
            &["--probe", "probe-substrate"],
        ],
    },
];

/// The oldest and the first too new Python that their packages are made for.
const PYTHON: std::ops::Range<(u32, u32)> = (3, 12)..(3, 14);

/// Makes the environments, unless they are there, and an installation of theirs in the target directory; then runs
/// the tests that use it.
pub(crate) fn run_tests() -> Result<()> {
    if !has_program("ffmpeg") || !has_program("ffprobe") {
        bail!("the tests need ffmpeg and ffprobe: `apt-get install ffmpeg`");
    }
    let place = crate::target().join("cjm");
    std::fs::create_dir_all(place.join(".cjm/manifests"))?;
    std::fs::write(place.join("cjm.yaml"), "runtime:\n  mode: local\ndata_dir: .cjm\nmodels_dir: models\n")?;
    for environment in ENVIRONMENTS {
        environment.make(&place).with_context(|| format!("cannot make the environment {}", environment.name))?;
    }
    // A test of one package does not build the other's program.
    run(&mut cargo(&["build", "--workspace", "--bin", "bivium"]))?;
    let mut tests = cargo(&["test", "--workspace", "--test", "cjm", "--", "--ignored"]);
    run(tests.env("BIVIUM_CJM", &place))
}

impl Environment {
    fn make(&self, place: &Path) -> Result<()> {
        let home = place.join("environments").join(self.name);
        let python = home.join("bin").join(format!("python{EXE_SUFFIX}"));
        let stamp = home.join("packages.sha256");
        let wanted = format!("{:x}", Sha256::digest(self.packages.join("\n")));
        if !std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            if home.exists() {
                std::fs::remove_dir_all(&home)?;
            }
            run(Command::new(find_python()?).args(["-m", "venv"]).arg(&home))?;
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(self.packages);
            run(&mut pip)?;
            std::fs::write(&stamp, wanted)?;
        }
        for what in self.manifests {
            let mut writer = Command::new(&python);
            writer.arg(crate::root().join("tests/cjm/manifests.py")).arg(place.join(".cjm/manifests"));
            writer.arg(self.name).args(*what).current_dir(place).env("PYTHONDONTWRITEBYTECODE", "1");
            // What their tools keep beside it goes where the rest is.
            run(writer.env("CJM_DATA_DIR", place.join(".cjm")))?;
        }
        Ok(())
    }
}

/// A Python of the right age: on PATH, known to uv, or one of pyenv's.
fn find_python() -> Result<PathBuf> {
    let mut candidates: Vec<PathBuf> =
        ["python3.12", "python3.13", "python3"].map(|name| format!("{name}{EXE_SUFFIX}").into()).into();
    if let Ok(found) = Command::new("uv").args(["python", "find", ">=3.12,<3.14"]).output()
        && found.status.success()
    {
        candidates.push(String::from_utf8_lossy(&found.stdout).trim().into());
    }
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let pyenv = pyenv.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = pyenv.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
    for version in versions.into_iter().flatten().flatten() {
        candidates.push(version.path().join("bin").join(format!("python{EXE_SUFFIX}")));
    }
    let found = candidates.into_iter().find(|python| age(python.as_os_str()).is_some_and(|age| PYTHON.contains(&age)));
    found.context(
        "no Python 3.12 or 3.13 is on PATH, known to uv or pyenv: install one, for example `uv python install 3.12`",
    )
}

fn age(python: &OsStr) -> Option<(u32, u32)> {
    let said = Command::new(python).args(["-c", "import sys; print(*sys.version_info[:2])"]).output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn has_program(name: &str) -> bool {
    Command::new(name).arg("-version").output().is_ok_and(|output| output.status.success())
}
