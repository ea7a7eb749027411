//! `cargo xtask guests`: puts every component into `target/guests/NAME.wasm` of its workspace, where the manifests expect it.
//!
//! Components are built from source if there is a compiler with the target. Otherwise the committed copies in `prebuilt/` are used, so that
//! a machine with plain Rust is enough. Only `--update-prebuilt` changes files that git tracks.

mod compiler;
mod languages;
mod prebuilt;
mod target;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use compiler::Compiler;
use target::TARGET;

/// The workspaces of guests, from the repository's root.
const WORKSPACES: &[&str] = &["examples/plugins", "tests/guests", "bench/guests"];

const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";
const MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";

/// The guests that are core modules: plug-ins of another host, for comparison in the benchmark.
const MODULES: &[&str] = &["echo-extism"];

/// The options of the task.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// Build the components from source, or fail. If there is no toolchain for it, make one.
    pub(crate) from_source: bool,
    /// Build the components and store them as the committed copies.
    pub(crate) update_prebuilt: bool,
    /// Build only the components in other languages, if their tools are installed.
    pub(crate) languages: bool,
}

impl Options {
    /// `None` if the arguments are wrong.
    pub(crate) fn parse(arguments: &[&str]) -> Option<Self> {
        let mut options = Self::default();
        for argument in arguments {
            match *argument {
                "--from-source" => options.from_source = true,
                "--update-prebuilt" => options.update_prebuilt = true,
                "--languages" => options.languages = true,
                _ => return None,
            }
        }
        Some(options)
    }
}

pub(crate) fn run(options: Options) -> Result<()> {
    if options.languages {
        return languages::build();
    }
    let mut found = Compiler::find()?;
    if found.is_none() && (options.from_source || options.update_prebuilt) {
        found = Some(Compiler::make()?);
    }
    if found.is_none() {
        eprintln!("guests: prebuilt copies are used; to build from source: rustup target add {TARGET}");
    }
    for workspace in WORKSPACES.iter().copied().map(Workspace::at) {
        let workspace = workspace?;
        if let Some(compiler) = &found {
            compiler.build(&workspace.dir)?;
        }
        for name in &workspace.guests {
            let component = match found {
                Some(_) => workspace.built(name)?,
                None => prebuilt::read(&workspace, name)?,
            };
            let place = workspace.place(name);
            write(&place, &component).with_context(|| format!("cannot write {}", place.display()))?;
        }
        if options.update_prebuilt {
            prebuilt::update(&workspace)?;
        }
    }
    Ok(())
}

/// Installs the tools that [`Options::languages`] needs.
pub(crate) fn prepare_languages() {
    languages::install();
}

/// A Cargo workspace whose members are guests. Each member's directory has the guest's name.
struct Workspace {
    dir: PathBuf,
    guests: Vec<String>,
}

impl Workspace {
    fn at(dir: &str) -> Result<Self> {
        let dir = crate::root().join(dir);
        let mut guests = Vec::new();
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let entry = entry?;
            if entry.path().join("Cargo.toml").is_file() {
                guests.extend(entry.file_name().into_string().ok());
            }
        }
        guests.sort();
        Ok(Self { dir, guests })
    }

    /// Where the manifests expect a component.
    fn place(&self, name: &str) -> PathBuf {
        self.dir.join("target/guests").join(format!("{name}.wasm"))
    }

    /// The file that cargo has just built.
    fn built(&self, name: &str) -> Result<Vec<u8>> {
        let path =
            self.dir.join("target").join(TARGET).join("release").join(format!("{}.wasm", name.replace('-', "_")));
        let component = fs::read(&path).with_context(|| format!("cargo made no {}", path.display()))?;
        if !component.starts_with(beginning(name)) {
            bail!(
                "{} is not a file of the expected kind: does .cargo/config.toml name the linker wasm-component-ld?",
                path.display()
            );
        }
        Ok(component)
    }
}

/// The first bytes of a guest's file.
fn beginning(name: &str) -> &'static [u8] {
    if MODULES.contains(&name) { &MODULE } else { &COMPONENT }
}

/// Writes a file whole or not at all. Does nothing if the file already has this content.
fn write(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == content) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&unfinished, content)?;
    Ok(fs::rename(&unfinished, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspaces() -> Vec<Workspace> {
        WORKSPACES.iter().map(|dir| Workspace::at(dir).unwrap()).collect()
    }

    #[test]
    fn prebuilt_copies_are_made_of_the_sources_beside_them() {
        for workspace in workspaces() {
            assert!(!workspace.guests.is_empty());
            for name in &workspace.guests {
                prebuilt::read(&workspace, name).unwrap();
                let stale = prebuilt::is_stale(&workspace, name).unwrap();
                assert!(
                    !stale,
                    "the prebuilt {name}.wasm is stale: run `cargo xtask guests --update-prebuilt` and commit"
                );
            }
            prebuilt::only_known(&workspace).unwrap();
        }
    }

    /// The guests with their own worlds.
    const TYPED: &[&str] = &["typed"];

    /// The guests that test WASI.
    const WASI: &[&str] = &["probe"];

    #[test]
    fn components_need_nothing_but_the_world() {
        let has = |component: &[u8], text: &[u8]| component.windows(text.len()).any(|window| window == text);
        for workspace in workspaces() {
            for name in &workspace.guests {
                let component = prebuilt::read(&workspace, name).unwrap();
                assert!(component.starts_with(beginning(name)), "{name}");
                let of_our_world = !TYPED.contains(&name.as_str()) && !MODULES.contains(&name.as_str());
                assert_eq!(has(&component, b"bivium:plugin/guest@0.1.0"), of_our_world, "{name}");
                assert_eq!(has(&component, b"wasi:"), WASI.contains(&name.as_str()), "{name}");
                assert!(!has(&component, b".cargo/registry"), "{name} holds paths of the machine that built it");
            }
        }
    }

    #[test]
    fn options_are_understood_or_refused() {
        assert!(Options::parse(&[]).is_some_and(|options| !options.from_source));
        assert!(Options::parse(&["--from-source", "--update-prebuilt"]).is_some_and(|options| options.update_prebuilt));
        assert!(Options::parse(&["--from-sauce"]).is_none());
    }
}
