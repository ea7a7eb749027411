//! `cargo xtask test --cjm`: tests the published plugins of cjm-plugin-system and cjm-substrate, unmodified, in separate environments.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, run};
use crate::environment;

/// An environment, its packages, and the arguments for the program that writes manifests.
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

/// Makes the environments, unless they exist, and an installation in the target directory. Then runs the tests that use it.
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
    // A test of one package does not build the program of another one.
    run(&mut cargo(&["build", "--workspace", "--bin", "bivium"]))?;
    let mut tests = cargo(&["test", "--workspace", "--test", "cjm", "--", "--ignored"]);
    run(tests.env("BIVIUM_CJM", &place))
}

impl Environment {
    fn make(&self, place: &Path) -> Result<()> {
        let python = environment::make(
            &place.join("environments").join(self.name),
            &environment::find_python()?,
            self.packages,
        )?;
        for what in self.manifests {
            let mut writer = Command::new(&python);
            writer.arg(crate::root().join("tests/cjm/manifests.py")).arg(place.join(".cjm/manifests"));
            writer.arg(self.name).args(*what).current_dir(place).env("PYTHONDONTWRITEBYTECODE", "1");
            // Data of their tools goes into the same directory.
            run(writer.env("CJM_DATA_DIR", place.join(".cjm")))?;
        }
        Ok(())
    }
}

fn has_program(name: &str) -> bool {
    Command::new(name).arg("-version").output().is_ok_and(|output| output.status.success())
}
