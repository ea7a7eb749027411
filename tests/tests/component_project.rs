//! The pages that build a component's project from nothing do: their files are written, and their commands run, in the order of
//! the page, as somebody does who reads it.
//!
//! Where no compiler has the WebAssembly target only the tests of the project run, on this machine's own target.

#[path = "../support/skipped.rs"]
mod skipped;
#[path = "../support/snippets.rs"]
mod snippets;
#[path = "../../xtask/src/guests/target.rs"]
mod target;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use bivium_tests::{program, root};
use skipped::skipped;
use snippets::{Mark, blocks, command_lines};

/// A compiler that has the target: the one that is named, the active toolchain's, or one that `cargo xtask guests --from-source` has made.
fn compiler() -> Option<OsString> {
    let named = std::env::var_os(target::RUSTC);
    let made = target::kept().map(|dir| dir.join("bin/rustc").into_os_string());
    [named, Some(target::active()), made].into_iter().flatten().find(|rustc| target::has_target(rustc))
}

/// A directory beside a clone of the repository, in which the project of a page is made. What cargo has built is kept from one run of the
/// tests to the next.
fn place(project: &str) -> PathBuf {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("component-project-{project}"));
    let place = kept.join("place");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).unwrap();
    symlink(root(), place.join("bivium")).unwrap();
    fs::create_dir_all(kept.join("target")).unwrap();
    place
}

/// Runs a line as a shell in `dir` does, and gives the directory that it leaves the shell in.
fn run(line: &str, dir: &Path, place: &Path, rustc: &OsString) -> PathBuf {
    let programs = program().unwrap().parent().unwrap().to_owned();
    let path =
        std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())));
    let mut command = Command::new("bash");
    command.args(["-e", "-c", &format!("{line}\npwd > '{}'", place.join("where").display())]).current_dir(dir);
    command.env("PATH", path.unwrap()).env("BIVIUM_HOME", place.join("home")).env_remove("BIVIUM_MANIFESTS");
    command.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET_DIR").env_remove("RUSTFLAGS");
    // Those of the cargo that runs this test are about another package.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
            command.env_remove(name);
        }
    }
    if line.contains(target::TARGET) {
        command.env("RUSTC", rustc);
    }
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{line}: {said}");
    fs::read_to_string(place.join("where")).unwrap().trim_end().into()
}

#[test]
fn the_component_of_the_page_is_built_from_nothing() {
    let page = fs::read_to_string(root().join("docs/components.md")).unwrap();
    let place = place("matches");
    let rustc = compiler();
    if rustc.is_none() {
        skipped("the component of docs/components.md is not built: no compiler has the target wasm32-unknown-unknown");
    }
    let native = target::active();
    let mut dir = place.clone();
    let (mut files, mut lines) = (0, 0);
    for block in blocks(&page) {
        match &block.mark {
            Some(Mark::File(path)) => {
                let file = dir.join(path);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, &block.text).unwrap();
                files += 1;
            }
            // The block that builds the component also runs it.
            None if block.language == "sh" && (rustc.is_some() || !block.text.contains(target::TARGET)) => {
                // A reader's toolchain gets its target by `rustup`.
                for line in command_lines(&block.text).into_iter().filter(|line| !line.starts_with("rustup ")) {
                    if line.starts_with("cargo ") && dir != place {
                        prepare(&place, &dir);
                    }
                    dir = run(&line, &dir, &place, rustc.as_ref().unwrap_or(&native));
                    lines += 1;
                }
            }
            _ => {}
        }
    }
    assert!(files == 5 && lines > 2, "{files} {lines}");
    if rustc.is_some() {
        assert_eq!(fs::read_to_string(dir.join("report/report.txt")).unwrap(), "1: all is well\n");
    }
    let _ = fs::remove_dir_all(place);
}

/// Gives the project what cargo needs to work without a registry: the versions that the examples have, and what was built before.
fn prepare(place: &Path, project: &Path) {
    let lock = project.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(root().join("examples/plugins/Cargo.lock"), lock).unwrap();
        symlink(place.with_file_name("target"), project.join("target")).unwrap();
    }
}
