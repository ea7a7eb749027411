//! Finds or makes a Rust compiler that has the guests' target.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::target::{RUSTC, TARGET, active, ask, has_target, kept};

/// A compiler that has the target.
pub(super) struct Compiler {
    /// `None` means the active toolchain's, as cargo finds it.
    rustc: Option<PathBuf>,
}

impl Compiler {
    /// The compiler that the variable names, or the active toolchain's if it has the target.
    pub(super) fn find() -> Result<Option<Self>> {
        if let Some(rustc) = env::var_os(RUSTC) {
            if !has_target(&rustc) {
                bail!("{RUSTC} is {}, which has no standard library for {TARGET}", rustc.display());
            }
            return Ok(Some(Self { rustc: Some(rustc.into()) }));
        }
        Ok(has_target(&active()).then_some(Self { rustc: None }))
    }

    /// A compiler that `xtask/wasm-toolchain.sh` makes in the user's cache directory.
    pub(super) fn make() -> Result<Self> {
        let dir = kept().context("there is neither XDG_CACHE_HOME nor a home directory to keep a toolchain in")?;
        let script = crate::root().join("xtask/wasm-toolchain.sh");
        eprintln!("guests: a toolchain for {TARGET} is made or kept in {}", dir.display());
        run(Command::new("bash").arg(&script).arg(&dir))?;
        let rustc = dir.join("bin/rustc");
        if !has_target(rustc.as_os_str()) {
            bail!("{} made no toolchain for {TARGET} in {}", script.display(), dir.display());
        }
        Ok(Self { rustc: Some(rustc) })
    }

    /// Builds all guests of a workspace.
    pub(super) fn build(&self, workspace: &Path) -> Result<()> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // Runs in the workspace, so that cargo reads its .cargo/config.toml.
        cargo.current_dir(workspace);
        cargo.args(["build", "--release", "--locked", "--target", TARGET, "--target-dir", "target"]);
        // RUSTFLAGS is meant for the host's programs; this variable takes precedence over it.
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.anonymous_paths()?.join("\x1f"));
        if let Some(rustc) = &self.rustc {
            cargo.env("RUSTC", rustc);
        }
        run(&mut cargo)
    }

    /// Flags that keep paths of this machine out of the components: panic messages contain paths. The directories of crates exist, because
    /// cargo has unpacked crates for this program.
    fn anonymous_paths(&self) -> Result<Vec<String>> {
        let mut known = vec![(crate::root().to_owned(), "bivium")];
        let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
        let crates = fs::read_dir(home.context("there is no home directory")?.join("registry/src"));
        for source in crates.into_iter().flatten() {
            known.push((source?.path(), "crates"));
        }
        let rustc = self.rustc.as_ref().map_or_else(active, |rustc| rustc.into());
        if let Some(sysroot) = ask(&rustc, &["--print", "sysroot"]) {
            known.extend(fs::canonicalize(sysroot.join("lib/rustlib/src/rust")).map(|std| (std, "rust")));
        }
        known.sort();
        Ok(known.into_iter().map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())).collect())
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
