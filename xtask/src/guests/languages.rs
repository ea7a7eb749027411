//! Builds the components in languages other than Rust: `examples/plugins-other`. Each needs the tools of its language. Components whose
//! tools are missing are left out, with a message.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command::run;
use crate::environment;

const DIR: &str = "examples/plugins-other";

/// How a component is built.
struct Recipe {
    name: &'static str,
    /// The tool, another directory than those of `PATH` where it may be, and how to install it.
    tool: &'static str,
    places: &'static str,
    install: &'static str,
    /// The arguments. Paths are relative to `examples/plugins-other`; WIT and OUT stand for the world's directory and the component.
    arguments: &'static [&'static str],
}

const RECIPES: &[Recipe] = &[
    Recipe {
        name: "slug-js",
        tool: "componentize-js",
        places: "javascript/node_modules/.bin",
        install: "npm install in examples/plugins-other/javascript",
        arguments: &[
            "javascript/plugin.js",
            "-w",
            "WIT",
            "-n",
            "plugin",
            "-o",
            "OUT",
            // Without these features it imports no WASI.
            "-d",
            "stdio",
            "random",
            "clocks",
            "http",
            "fetch-event",
        ],
    },
    Recipe {
        name: "slug-qjs",
        tool: "componentize-qjs",
        places: "javascript/node_modules/.bin",
        install: "npm install in examples/plugins-other/javascript",
        arguments: &["-w", "WIT", "-j", "javascript/plugin.js", "-n", "plugin", "--sync", "--stub-wasi", "-o", "OUT"],
    },
    Recipe {
        name: "slug-py",
        tool: "componentize-py",
        places: "python/.venv/bin",
        install: "pip install -r requirements.txt in a .venv in examples/plugins-other/python",
        arguments: &["-d", "WIT", "-w", "plugin", "componentize", "--stub-wasi", "-p", "python", "plugin", "-o", "OUT"],
    },
];

/// Installs the tools of the languages with npm and Python. Failures are reported, and are no error.
pub(super) fn install() {
    let dir = crate::root().join(DIR);
    let npm =
        || run(Command::new("npm").args(["install", "--no-audit", "--no-fund"]).current_dir(dir.join("javascript")));
    let pip = || {
        let requirements = fs::read_to_string(dir.join("python/requirements.txt"))?;
        let requirements: Vec<&str> = requirements.lines().filter(|line| !line.starts_with('#')).collect();
        environment::make(&dir.join("python/.venv"), Path::new("python3"), &requirements).map(drop)
    };
    let has =
        |tool: &str| RECIPES.iter().any(|recipe| recipe.tool == tool && find(tool, &dir.join(recipe.places)).is_some());
    let attempts: [(&str, &dyn Fn() -> Result<()>); 2] = [("componentize-js", &npm), ("componentize-py", &pip)];
    for (tool, install) in attempts {
        if !has(tool)
            && let Err(error) = install()
        {
            eprintln!("guests: {tool} cannot be installed: {error:#}");
        }
    }
}

/// Builds the components whose tools are installed.
pub(super) fn build() -> Result<()> {
    let dir = crate::root().join(DIR);
    let built = dir.join("target/guests");
    fs::create_dir_all(&built)?;
    for recipe in RECIPES {
        let Some(tool) = find(recipe.tool, &dir.join(recipe.places)) else {
            eprintln!("guests: {} is left out, because there is no {}: {}", recipe.name, recipe.tool, recipe.install);
            continue;
        };
        // Renamed at the end, so that an incomplete component never has the final name.
        let unfinished = built.join(format!("{}.tmp", recipe.name));
        let mut command = Command::new(tool);
        command.current_dir(&dir);
        for argument in recipe.arguments {
            match *argument {
                "WIT" => command.arg(crate::root().join("wit")),
                "OUT" => command.arg(&unfinished),
                argument => command.arg(argument),
            };
        }
        run(&mut command)?;
        fs::rename(&unfinished, built.join(format!("{}.wasm", recipe.name)))?;
    }
    Ok(())
}

fn find(tool: &str, place: &Path) -> Option<PathBuf> {
    let on_path = env::var_os("PATH").unwrap_or_default();
    let mut places = env::split_paths(&on_path).chain([place.to_owned()]).map(|place| place.join(tool));
    places.find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_manifest_that_names_what_is_built() {
        for recipe in RECIPES {
            let manifests = ["javascript", "python"]
                .map(|language| crate::root().join(DIR).join(language).join(format!("{}.json", recipe.name)));
            let text = manifests.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap();
            assert!(text.contains(&format!("../target/guests/{}.wasm", recipe.name)), "{text}");
        }
    }
}
