//! Every command line in the help texts and the documents works as printed, in its order.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::place::Place;
use crate::snippets;

/// Documents whose commands need things that are not in the repository: a project of cjm-plugin-system, or toolchains of other languages.
const ELSEWHERE: [&str; 2] = ["docs/cjm.md", "examples/plugins-other/README.md"];

/// A program that succeeds at once.
const PROGRAM: &str = r#"(component
    (core module $program (func (export "run") (result i32) i32.const 0))
    (core instance $program (instantiate $program))
    (func $run (result (result)) (canon lift (core func $program "run")))
    (instance $exports (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $exports)))"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A directory like a clone of the repository after `cargo xtask guests`, with the components of docs/typed-components.md and
/// the policy of docs/policy.md.
fn clone() -> Place {
    let (place, root) = (Place::new(), root());
    for name in ["examples", "README.md"] {
        symlink(root.join(name), place.path(name)).unwrap();
    }
    for name in ["redact", "image-thumb", "audio-prep", "subtitles"] {
        let component = root.join(format!("examples/plugins/target/guests/{name}.wasm"));
        assert!(component.is_file(), "{} is not built: run `cargo xtask guests`", component.display());
    }
    std::fs::copy(root.join("tests/guests/target/guests/typed.wasm"), place.path("manifests/images.wasm")).unwrap();
    place.component("images", serde_json::json!({}));
    std::fs::write(place.path("manifests/resize.wasm"), wat::parse_str(PROGRAM).unwrap()).unwrap();
    place.component("resize", serde_json::json!({}));
    place.write("cat.png", "PNG");
    let policies = std::fs::read_to_string(root.join("docs/policy.md")).unwrap();
    let policy = snippets::blocks(&policies).into_iter().find(|block| block.language == "json").unwrap();
    place.write("policy.json", &policy.text);
    place
}

/// Runs one command line as a shell in the clone does.
#[track_caller]
fn assert_works(place: &Place, line: &str, document: &str) {
    let program = Path::new(env!("CARGO_BIN_EXE_bivium")).parent().unwrap();
    let path = std::env::join_paths(
        [program.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let manifests = std::env::join_paths([Path::new("examples/plugins"), Path::new("manifests")]).unwrap();
    // `-f` ends only when it is interrupted.
    let follows = line.contains(" -f");
    let (line, ended) =
        if follows { (format!("timeout --preserve-status -s INT 2 {line}"), 130) } else { (line.to_owned(), 0) };
    let mut command = Command::new("bash");
    command.args(["-c", &line]).current_dir(place.path("")).env("PATH", path.unwrap()).env("HOME", place.path(""));
    command.env("TMPDIR", place.path("tmp")).env("BIVIUM_MANIFESTS", manifests).env_remove("BIVIUM_DATA_DIR");
    // `cache clean` is among the lines.
    for variable in ["BIVIUM_CACHE", "BIVIUM_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"] {
        command.env_remove(variable);
    }
    // Files that take a minute to make are shared between tests.
    let kept = directories().join("bivium/environments");
    command.env("BIVIUM_ENVIRONMENTS", kept).stdin(Stdio::null());
    let ran = place.ran(command.output().unwrap());
    assert_eq!(ran.status, ended, "{document}: {line}\n{}", ran.all());
}

/// The cache directory of the user who runs the tests.
fn directories() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"))
}

/// The lines of a text that run the program.
fn command_lines(text: &str) -> Vec<String> {
    let runs = |line: &String| line.starts_with("bivium ") || line.contains("| bivium ") || line.contains("<(bivium ");
    snippets::command_lines(text).into_iter().filter(runs).collect()
}

/// Those of a document's shell blocks. (Other lines are seen to by `tests/tests/snippets.rs`.)
fn shown(document: &str) -> Vec<String> {
    snippets::shell(document).iter().flat_map(|block| command_lines(&block.text)).collect()
}

#[test]
fn command_lines_in_help_texts_work() {
    let place = clone();
    let mut seen = 0;
    for command in [
        "",
        "run",
        "stream",
        "pipeline",
        "pipeline run",
        "compile",
        "logs",
        "config",
        "config set",
        "completions",
        "man",
        "info",
        "list",
        "validate",
        "cache",
        "env",
        "env clean",
        "stats",
    ] {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = place.run(&args).assert_status(0).stdout.clone();
        let Some((_, examples)) = help.split_once("Example") else { continue };
        for line in command_lines(examples) {
            assert_works(&place, &line, &format!("bivium {command} --help"));
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn command_lines_in_the_readme_work_in_their_order() {
    let place = clone();
    let lines = shown(&std::fs::read_to_string(root().join("README.md")).unwrap());
    assert!(lines.len() > 8, "{lines:?}");
    for line in lines {
        assert_works(&place, &line, "README.md");
    }
}

#[test]
fn command_lines_in_documents_work() {
    let place = clone();
    let documents = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut seen = 0;
    for document in documents.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let name = document.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        if ELSEWHERE.contains(&name.as_str()) {
            continue;
        }
        for line in shown(&std::fs::read_to_string(&document).unwrap()) {
            assert_works(&place, &line, &name);
            seen += 1;
        }
    }
    assert!(seen > 3, "{seen}");
}
